/* See form.h. Size is checked as the file is opened; the hash is checked by relayd, which reads all
 * of it anyway, in front of the final dot. */
#include "hygiene/form.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A rule says false when the message is bad, with the reason written. */
struct subject {
    const struct message_head *head;
    const struct conf *conf;
    const char *header;
    size_t header_len;
};

static bool sender_usable(const struct subject *s, char *reason, size_t size)
{
    char path[ADDRESS_MAX + 1];
    bool asked = s->conf->hygiene.bad_sender == CONF_SENDER_BADMAIL;
    if (!asked || s->head->sender[0] != '\0' || s->head->replay_of[0] != '\0')
        return true;
    if (envelope_reverse_path(s->header, s->header_len, s->conf->default_domain, path) !=
        ENVELOPE_NOTHING)
        return true; /* Return-Path: <> is the null path by intention */
    (void)snprintf(reason, size, "no usable address in Return-Path, Sender, From or Reply-To");
    return false;
}

static const struct {
    const char *name;
    bool (*good)(const struct subject *s, char *reason, size_t size);
} rules[] = {
    {"bad-sender", sender_usable},
};

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
    *top = (struct form_top){bytes, end > 0 ? end : n, n};
    return true;
}

void form_top_free(struct form_top *top)
{
    free(top->bytes);
    *top = (struct form_top){0};
}

static enum form_result result_of(const struct error *err, struct form_finding *finding)
{
    if (err->kind == ERROR_MISSING)
        return FORM_GONE;
    finding->rule = "damaged";
    (void)snprintf(finding->reason, sizeof finding->reason, "%s", err->text);
    return err->kind == ERROR_TEMPORARY ? FORM_LATER : FORM_BAD;
}

static enum form_result check_open(struct message_reader *r, const struct conf *conf,
                                   struct form_finding *finding)
{
    struct error err;
    struct form_top top;
    if (!form_read_top(r, &top, &err))
        return result_of(&err, finding);
    struct subject s = {message_reader_head(r), conf, top.bytes, top.header};
    enum form_result result = FORM_PASS;
    for (size_t i = 0; i < sizeof rules / sizeof rules[0] && result == FORM_PASS; i++) {
        if (rules[i].good(&s, finding->reason, sizeof finding->reason))
            continue;
        finding->rule = rules[i].name;
        result = FORM_BAD;
    }
    form_top_free(&top);
    return result;
}

enum form_result form_check(const struct spool *spool, enum spool_dir dir, const char *id,
                            const struct conf *conf, struct form_finding *finding)
{
    struct error err;
    struct message_reader *r = message_open(spool, dir, id, &err);
    if (r == NULL)
        return result_of(&err, finding);
    enum form_result result = check_open(r, conf, finding);
    message_close(r);
    return result;
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
