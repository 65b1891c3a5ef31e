/* A message on its way in.
 *
 * Promises: not more than ENVELOPE_HEADER_MAX octets of a header section are held in memory; the
 * file holds what was received and nothing else; a message that is given up leaves no file. */
#include "fetcherd/intake.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "spool/envelope.h"

void intake_init(struct intake *in, const struct spool *spool, const struct account *account,
                 const char *default_domain)
{
    *in = (struct intake){.spool = spool, .account = account};
    snprintf(in->default_domain, sizeof in->default_domain, "%s", default_domain);
}

void intake_begin(struct intake *in, const char *uidl, size_t uidl_len, uint64_t limit)
{
    in->active = true;
    in->size = 0;
    in->header_len = 0;
    in->limit = limit;
    in->uidl_len = uidl_len < sizeof in->uidl ? uidl_len : sizeof in->uidl;
    memcpy(in->uidl, uidl, in->uidl_len);
}

/* --- the origin line ---------------------------------------------------------------------- */

/* Everything but letters, digits and a few harmless marks as %XX, so that it is one word. */
static size_t percent_encode(char *out, size_t size, const char *text, size_t len)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                                "-._~!$&'()*+,;=:@<>[]{}^|/";
    size_t at = 0;

    for (size_t i = 0; i < len && at + 4 <= size; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c && strchr(plain, c))
            out[at++] = (char)c;
        else
            at += (size_t)snprintf(out + at, 4, "%%%02X", c);
    }
    out[at] = '\0';
    return at;
}

static void write_origin(const struct intake *in, char *origin, size_t size)
{
    const struct account *a = in->account;
    char user[3 * ACCOUNT_USER_MAX / 2 + 1], uidl[3 * 128 + 1], at[CLOCK_TEXT_SIZE];
    bool is_ipv6 = strchr(a->server, ':') != NULL;

    (void)percent_encode(user, sizeof user, a->user, strlen(a->user));
    (void)percent_encode(uidl, sizeof uidl, in->uidl, in->uidl_len);
    snprintf(origin, size,
             is_ipv6 ? "%s://[%s]:%d/%.380s uidl=%.255s at=%s"
                     : "%s://%s:%d/%.380s uidl=%.255s at=%s",
             a->tls == CONF_TLS_IMPLICIT ? "pop3s" : "pop3", a->server, a->port, user, uidl,
             clock_text(clock_now(), at));
}

/* --- the file ----------------------------------------------------------------------------- */

static bool create_file(struct intake *in, struct error *err)
{
    struct message_head head = {.recipients = in->account->deliver_to}; /* lent */
    size_t header = envelope_header_end(in->header, in->header_len);

    id_new(head.id);
    snprintf(head.account, sizeof head.account, "%s", in->account->name);
    write_origin(in, head.origin, sizeof head.origin);
    (void)envelope_reverse_path(in->header, header ? header : in->header_len, in->default_domain,
                                head.sender);
    in->writer = message_create(in->spool, SPOOL_TMP, "eml", &head, err);
    return in->writer && message_append(in->writer, in->header, in->header_len, err);
}

static void hold(struct intake *in, const char *data, size_t len)
{
    if (in->header_len + len > in->header_capacity) {
        size_t wanted = (in->header_len + len) * 2;
        char *larger = realloc(in->header, wanted);
        if (!larger)
            abort();
        in->header = larger;
        in->header_capacity = wanted;
    }
    memcpy(in->header + in->header_len, data, len);
    in->header_len += len;
}

/* Whether an empty line is among the octets from `from` on; what was there before is not looked at
 * again, so that a server which sends an octet at a time costs no more than another. */
static bool header_is_complete(const struct intake *in, size_t from)
{
    const char *at = in->header + (from > 2 ? from - 2 : 0), *end = in->header + in->header_len;

    if (in->header_len && in->header[0] == '\n')
        return true;
    if (in->header_len > 1 && in->header[0] == '\r' && in->header[1] == '\n')
        return true;
    while (at < end && (at = memchr(at, '\n', (size_t)(end - at)))) {
        at++;
        if (at < end && *at == '\n')
            return true;
        if (end - at > 1 && at[0] == '\r' && at[1] == '\n')
            return true;
    }
    return false;
}

enum intake_result intake_data(struct intake *in, const char *data, size_t len, struct error *err)
{
    in->size += len;
    if (in->size > in->limit)
        return INTAKE_TOO_LARGE;
    if (in->writer)
        return message_append(in->writer, data, len, err) ? INTAKE_OK : INTAKE_FAILED;
    size_t from = in->header_len;
    hold(in, data, len);
    if (!header_is_complete(in, from) && in->header_len < ENVELOPE_HEADER_MAX)
        return INTAKE_OK;
    return create_file(in, err) ? INTAKE_OK : INTAKE_FAILED;
}

struct message_writer *intake_end(struct intake *in, struct error *err)
{
    bool ok = (in->writer || create_file(in, err)) && message_finish(in->writer, err);

    if (!ok) {
        intake_abandon(in);
        return NULL;
    }
    struct message_writer *writer = in->writer;
    in->writer = NULL;
    in->active = false;
    return writer;
}

void intake_abandon(struct intake *in)
{
    message_abandon(in->writer);
    in->writer = NULL;
    in->active = false;
}

void intake_free(struct intake *in)
{
    intake_abandon(in);
    free(in->header);
    *in = (struct intake){0};
}
