/* See drop.h. */
#include "hygiene/drop.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "spool/header.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* --- envelope --- */

/* "<address>", or "address"; returns what stands behind it, or NULL. */
static const char *path_of(const char *value, char out[static ADDRESS_MAX + 1])
{
    bool brackets = *value == '<';
    const char *start = value + brackets;
    size_t n = strcspn(start, brackets ? ">" : " ");
    if (n > ADDRESS_MAX || (brackets && start[n] == '\0'))
        return NULL;
    memcpy(out, start, n);
    out[n] = '\0';
    return start + n + brackets;
}

/* ESMTP parameters (RFC 5321, 4.1.2), each behind a blank: they are left out, and a second address
 * is not taken for one. */
static bool only_parameters(const char *rest)
{
    while (*rest == ' ') {
        rest += strspn(rest, " ");
        rest += strspn(rest, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-");
        rest += *rest == '=' ? strcspn(rest, " ") : 0;
    }
    return *rest == '\0';
}

static bool bad_line(struct error *err, const char *name, const char *value)
{
    char shown[128];
    return error_set(err, ERROR_PERMANENT,
                     "%s: %s: expected one address, such as <you@corp.example>", name,
                     log_escape(shown, sizeof shown, value, strlen(value)));
}

static bool take_sender(struct drop *drop, const char *value, const char *default_domain,
                        struct error *err)
{
    char text[ADDRESS_MAX + 1], path[ADDRESS_MAX + 1] = "";
    if (!path_of(value, text) || !(text[0] == '\0' || address_complete(text, default_domain, path)))
        return bad_line(err, "X-Sender", value);
    memcpy(drop->head.sender, path, sizeof path);
    return true;
}

static bool take_receiver(struct drop *drop, const char *value, const char *default_domain,
                          struct error *err)
{
    char text[ADDRESS_MAX + 1], path[ADDRESS_MAX + 1];
    const char *behind = path_of(value, text);
    if (!behind || !only_parameters(behind) || !address_complete(text, default_domain, path))
        return bad_line(err, "X-Receiver", value);
    return envelope_list_add(&drop->head.recipients, path) ||
           error_set(err, ERROR_PERMANENT, "more than %d recipients", ENVELOPE_RECIPIENTS_MAX);
}

/* Of a value as it stands in the file: all but folding is one line of text. */
static bool is_text(const struct header_field *field)
{
    for (size_t i = 0; i < field->value_len; i++) {
        char c = field->value[i];
        bool line_end =
            c == '\n' || (c == '\r' && i + 1 < field->value_len && field->value[i + 1] == '\n');
        if (((unsigned char)c < ' ' && c != '\t' && !line_end) || c == 0x7f)
            return false;
    }
    return true;
}

static bool take_line(struct drop *drop, const struct header_field *field,
                      const char *default_domain, struct error *err)
{
    char value[512];
    bool sender = header_is(field, "X-Sender");
    header_unfold(field, value, sizeof value);
    if (!is_text(field))
        return bad_line(err, sender ? "X-Sender" : "X-Receiver", value);
    return sender ? take_sender(drop, value, default_domain, err)
                  : take_receiver(drop, value, default_domain, err);
}

static bool misplaced(struct error *err)
{
    return error_set(err, ERROR_PERMANENT,
                     "the envelope is not understood: X-Sender, once, and X-Receiver lines belong "
                     "on top, with nothing before or between them");
}

/* Takes the X-Sender and X-Receiver lines at the top, and tells which there were. What is meant as
 * a recipient and stands elsewhere must not lead to the mail going to others. */
static bool take_lines(struct drop *drop, const char *default_domain, bool *sender, bool *receivers,
                       struct error *err)
{
    struct header_walk walk = header_begin(drop->top.bytes, drop->top.header);
    const char *expected = walk.at;
    bool on_top = true;
    for (struct header_field field; header_next(&walk, &field);) {
        bool is_sender = header_is(&field, "X-Sender"),
             is_receiver = header_is(&field, "X-Receiver");
        if (on_top && (is_sender || is_receiver)) {
            if (field.name != expected || (is_sender && *sender))
                return misplaced(err);
            *sender |= is_sender;
            *receivers |= is_receiver;
            if (!take_line(drop, &field, default_domain, err))
                return false;
            drop->skip = (size_t)(walk.at - drop->top.bytes);
            expected = walk.at;
            continue;
        }
        on_top = false;
        if (*receivers || !*sender)
            break;
        if (is_receiver)
            return misplaced(err);
    }
    return true;
}

static bool take_fields(struct drop *drop, const char *default_domain, struct error *err)
{
    size_t invalid;
    if (!drop->top.whole) /* behind its end, in what is not looked at, may be more of them */
        return error_set(err, ERROR_PERMANENT,
                         "a header section of more than %d octets: name the recipients in "
                         "X-Receiver lines on top",
                         ENVELOPE_HEADER_MAX);
    envelope_recipients(drop->top.bytes, drop->top.header, default_domain, &drop->head.recipients,
                        &invalid);
    if (drop->head.recipients.count == ENVELOPE_RECIPIENTS_MAX && invalid > 0)
        return error_set(err, ERROR_PERMANENT, "more than %d recipients", ENVELOPE_RECIPIENTS_MAX);
    if (invalid > 0)
        return error_set(err, ERROR_PERMANENT, "%zu addresses in To, Cc or Bcc cannot be used",
                         invalid);
    drop->strip_bcc = true;
    return true;
}

static bool find_envelope(struct drop *drop, const char *default_domain, struct error *err)
{
    bool sender = false, receivers = false;
    if (!take_lines(drop, default_domain, &sender, &receivers, err))
        return false;
    const char *rest = drop->top.bytes + drop->skip;
    size_t len = drop->top.header - drop->skip;
    if (!receivers && !take_fields(drop, default_domain, err))
        return false;
    if (drop->head.recipients.count == 0)
        return error_set(err, ERROR_PERMANENT, "no recipient in X-Receiver, To, Cc or Bcc");
    if (!sender &&
        envelope_reverse_path(rest, len, default_domain, drop->head.sender) == ENVELOPE_NOTHING)
        return error_set(err, ERROR_PERMANENT,
                         "no usable sender in X-Sender, Return-Path, Sender, From or Reply-To");
    return true;
}

static void take_preface(struct drop *drop)
{
    const struct message_head *from = message_reader_head(drop->reader);
    struct message_head *head = &drop->head;
    memcpy(head->replay_of, from->id, ID_SIZE);
    memcpy(head->account, from->account, sizeof head->account);
    memcpy(drop->picked_up, head->origin, sizeof head->origin);
    memcpy(head->origin, from->origin, sizeof head->origin);
    memcpy(head->sender, from->sender, sizeof head->sender);
    for (size_t i = 0; i < from->recipients.count; i++)
        if (!envelope_list_add(&head->recipients, from->recipients.items[i]))
            break;
}

void drop_disown(struct drop *drop)
{
    struct message_head *head = &drop->head;
    head->replay_of[0] = head->account[0] = '\0';
    memcpy(head->origin, drop->picked_up, sizeof head->origin);
}

bool drop_open(const struct spool *spool, const char *id, const char *name,
               const char *default_domain, struct drop *drop, struct error *err)
{
    char file[SPOOL_NAME_SIZE], now[CLOCK_TEXT_SIZE], shown[300];
    *drop = (struct drop){0};
    memcpy(drop->head.id, id, ID_SIZE);
    (void)snprintf(drop->head.origin, sizeof drop->head.origin, "pickup:%s at=%s",
                   log_escape(shown, sizeof shown, name, strlen(name)),
                   clock_text(clock_now(), now));
    drop->reader = message_open_any(spool, SPOOL_OUTGOING, spool_name(file, id, "drop"), err);
    bool ok = drop->reader != NULL && form_read_top(drop->reader, &drop->top, err);
    if (ok && message_reader_has_preface(drop->reader))
        take_preface(drop);
    else if (ok)
        ok = find_envelope(drop, default_domain, err);
    if (!ok)
        drop_close(drop);
    return ok;
}

void drop_close(struct drop *drop)
{
    message_close(drop->reader);
    form_top_free(&drop->top);
    message_head_free(&drop->head);
    *drop = (struct drop){0};
}

/* --- copy --- */

static bool append_without_bcc(struct drop *drop, struct message_writer *w, struct error *err)
{
    const char *from = drop->top.bytes + drop->skip;
    struct header_walk walk = header_begin(from, drop->top.header - drop->skip);
    for (struct header_field field; header_next(&walk, &field);) {
        if (!header_is(&field, "Bcc"))
            continue;
        if (!message_append(w, from, (size_t)(field.name - from), err))
            return false;
        from = walk.at;
    }
    return message_append(w, from, (size_t)(drop->top.bytes + drop->top.len - from), err);
}

struct message_writer *drop_copy_begin(const struct spool *spool, struct drop *drop,
                                       struct error *err)
{
    char name[SPOOL_NAME_SIZE];
    (void)unlinkat(spool_fd(spool, SPOOL_OUTGOING), spool_name(name, drop->head.id, "new"), 0);
    struct message_writer *w = message_create(spool, SPOOL_OUTGOING, "new", &drop->head, err);
    if (w == NULL)
        return NULL;
    if (drop->strip_bcc
            ? append_without_bcc(drop, w, err)
            : message_append(w, drop->top.bytes + drop->skip, drop->top.len - drop->skip, err))
        return w;
    message_abandon(w);
    return NULL;
}

bool drop_copy_some(struct drop *drop, struct message_writer *w, size_t most, bool *whole,
                    struct error *err)
{
    char chunk[32768];
    for (size_t done = 0, got = 1; done < most; done += got) {
        if (!message_read(drop->reader, chunk, sizeof chunk, &got, err) ||
            !message_append(w, chunk, got, err))
            return false;
        if (got == 0) {
            *whole = true;
            return true;
        }
    }
    *whole = false;
    return true;
}
