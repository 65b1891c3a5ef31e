/* See form.h. What is in the top is judged when that is read; hash and NULs when all of it is. */
#include "hygiene/form.h"
#include "spool/header.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PIECE 32768

/* --- rules about the top --- */

/* A rule says false when the message breaks it, with the reason written. */
struct subject {
    const struct message_head *head;
    const struct conf *conf;
    const struct form_top *top;
};

static bool sender_usable(const struct subject *s, char *reason, size_t size)
{
    char path[ADDRESS_MAX + 1];
    if (s->head->sender[0] != '\0' || message_is_drop(s->head))
        return true; /* a drop is not taken without one; its null path is one by intention */
    if (envelope_reverse_path(s->top->bytes, s->top->header, s->conf->default_domain, path) !=
        ENVELOPE_NOTHING)
        return true; /* Return-Path: <> is the null path by intention */
    (void)snprintf(reason, size, "no usable address in Return-Path, Sender, From or Reply-To");
    return false;
}

/* The first line is a field, or one of mbox. */
static bool has_header(const struct subject *s, char *reason, size_t size)
{
    const char *at = s->top->bytes;
    struct header_walk walk = header_begin(at, s->top->header);
    struct header_field field;
    if (s->top->header > 5 && strncasecmp(at, "From ", 5) == 0)
        return true;
    if (header_next(&walk, &field) && field.name == at)
        return true;
    (void)snprintf(reason, size, "it does not begin with a header section");
    return false;
}

static bool header_bounded(const struct subject *s, char *reason, size_t size)
{
    if (s->top->whole)
        return true;
    (void)snprintf(reason, size, "its header section is longer than %d octets",
                   ENVELOPE_HEADER_MAX);
    return false;
}

static bool small_enough(const struct subject *s, char *reason, size_t size)
{
    uint64_t limit = s->conf->fetch.message_size;
    if (limit == 0 || s->head->size <= limit)
        return true;
    (void)snprintf(reason, size, "%llu octets, where fetch.message-size allows %llu",
                   (unsigned long long)s->head->size, (unsigned long long)limit);
    return false;
}

static enum conf_rule sender_mode(const struct conf *conf)
{
    return conf->hygiene.bad_sender == CONF_SENDER_BADMAIL ? CONF_RULE_BADMAIL : CONF_RULE_PASS;
}

static enum conf_rule no_header_mode(const struct conf *conf)
{
    return conf->hygiene.no_header;
}

static enum conf_rule long_header_mode(const struct conf *conf)
{
    return conf->hygiene.long_header;
}

static enum conf_rule too_large_mode(const struct conf *conf)
{
    return conf->hygiene.too_large;
}

static const struct {
    const char *name;
    enum conf_rule (*mode)(const struct conf *conf);
    bool (*good)(const struct subject *s, char *reason, size_t size);
    size_t repair; /* where the flag is in struct form */
} rules[] = {
    {"too-large", too_large_mode, small_enough, 0},
    {"long-header", long_header_mode, header_bounded, 0},
    {"no-header", no_header_mode, has_header, offsetof(struct form, add_header)},
    {"bad-sender", sender_mode, sender_usable, 0},
};

/* A person has seen what is replayed, and wants it to go: what can be repaired is, and the rest is
 * let through. */
static enum conf_rule mode_for(const struct form *form, enum conf_rule mode)
{
    bool replay = message_reader_head(form->reader)->replay_of[0] != '\0';
    return replay && mode == CONF_RULE_BADMAIL ? CONF_RULE_PASS : mode;
}

static enum form_result check_top(struct form *form, struct form_finding *finding)
{
    const struct subject s = {message_reader_head(form->reader), form->conf, &form->top};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        enum conf_rule mode = mode_for(form, rules[i].mode(form->conf));
        if (mode == CONF_RULE_PASS || rules[i].good(&s, finding->reason, sizeof finding->reason))
            continue;
        if (mode == CONF_RULE_REPAIR) {
            *(bool *)((char *)form + rules[i].repair) = true;
            continue;
        }
        finding->rule = rules[i].name;
        return FORM_BAD;
    }
    return FORM_MORE;
}

/* --- the top --- */

bool form_read_top(struct message_reader *r, struct form_top *top, struct error *err)
{
    char *bytes = malloc(ENVELOPE_HEADER_MAX);
    if (bytes == NULL)
        abort();
    size_t n = 0, got = 1, end = 0;
    while (end == 0 && n < ENVELOPE_HEADER_MAX && got > 0) {
        size_t chunk = n == 0 ? 8192 : ENVELOPE_HEADER_MAX - n;
        if (!message_read(r, bytes + n, chunk, &got, err)) {
            free(bytes);
            return false;
        }
        n += got;
        end = envelope_header_end(bytes, n);
    }
    *top = (struct form_top){bytes, end > 0 ? end : n, n, end > 0 || got == 0};
    return true;
}

void form_top_free(struct form_top *top)
{
    free(top->bytes);
    *top = (struct form_top){0};
}

/* --- the check --- */

static enum form_result result_of(const struct error *err, struct form_finding *finding)
{
    if (err->kind == ERROR_MISSING)
        return FORM_GONE;
    finding->rule = "damaged";
    (void)snprintf(finding->reason, sizeof finding->reason, "%s", err->text);
    return err->kind == ERROR_TEMPORARY ? FORM_LATER : FORM_BAD;
}

void form_close(struct form *form)
{
    message_close(form->reader);
    form_top_free(&form->top);
    *form = (struct form){.reader = NULL};
}

enum form_result form_open(struct form *form, const struct spool *spool, enum spool_dir dir,
                           const char *id, const struct conf *conf, struct form_finding *finding)
{
    struct error err;
    *form = (struct form){.conf = conf, .reader = message_open(spool, dir, id, &err)};
    if (form->reader == NULL)
        return result_of(&err, finding);
    enum form_result result = form_read_top(form->reader, &form->top, &err)
                                  ? check_top(form, finding)
                                  : result_of(&err, finding);
    if (result == FORM_MORE)
        form->nul = memchr(form->top.bytes, '\0', form->top.len) != NULL;
    else
        form_close(form);
    return result;
}

static enum form_result check_whole(struct form *form, struct form_finding *finding)
{
    enum conf_rule mode = mode_for(form, form->conf->hygiene.nul);
    form->drop_nul = form->nul && mode == CONF_RULE_REPAIR;
    if (!form->nul || mode != CONF_RULE_BADMAIL)
        return FORM_PASS;
    finding->rule = "nul";
    (void)snprintf(finding->reason, sizeof finding->reason, "it holds NUL octets");
    return FORM_BAD;
}

enum form_result form_read(struct form *form, size_t budget, struct form_finding *finding)
{
    char piece[PIECE];
    struct error err;
    for (size_t done = 0, got = 1; done < budget; done += got) {
        if (!message_read(form->reader, piece, sizeof piece, &got, &err))
            return result_of(&err, finding);
        if (got == 0)
            return check_whole(form, finding);
        form->nul = form->nul || memchr(piece, '\0', got) != NULL;
    }
    return FORM_MORE;
}

bool form_whole(const struct spool *spool, enum spool_dir dir, const char *id, struct error *err)
{
    char chunk[32768];
    struct message_reader *r = message_open(spool, dir, id, err);
    bool ok = r != NULL;
    for (size_t got = 1; ok && got > 0;)
        ok = message_read(r, chunk, sizeof chunk, &got, err);
    message_close(r);
    return ok;
}
