/* The SMTP client core against a server that says anything at all (libFuzzer). The input is cut
 * into what the server says and what the caller does; checked is what must hold in any case: one
 * result a transaction, one end a connection, nothing after it, whole lines on the wire, no byte of
 * the message before 354, and no lone dot but the terminator.
 *
 *   clang -std=c17 -D_GNU_SOURCE -I. -g -O1 -fsanitize=fuzzer,address,undefined \
 *       tests/fuzz/smtp_fuzz.c relayd/smtp*.c relayd/client_arguments.c spool/client.c relayd/reply.c relayd/extension.c \
 *       relayd/dotencode.c spool/address.c spool/header.c lib/domain.c \
 *       $(pkg-config --cflags --libs glib-2.0) -o smtp_fuzz && ./smtp_fuzz -max_len=4096 */
#include "relayd/smtp.h"

#include <stdlib.h>
#include <string.h>

struct world {
    struct smtp *smtp;
    bool active, in_body, closed;
    char last; /* byte on the wire */
    unsigned results, starts;
};

static void must(bool truth)
{
    if (!truth)
        abort();
}

static void on_send(void *ctx, const char *bytes, size_t len)
{
    struct world *w = ctx;
    must(!w->closed && len > 0);
    for (size_t i = 0; i < len; i++) {
        must((bytes[i] == '\n') == (w->last == '\r')); /* CR and LF only as a pair */
        must(w->in_body || (bytes[i] != '\0' && (unsigned char)bytes[i] < 0x7f));
        w->last = bytes[i];
    }
    if (!w->in_body)
        must(w->last == '\n');
}

static void on_secure(void *ctx)
{
    (void)ctx;
}

/* Every answer gets one of the steps there are, by the code's last digit. */
static void on_login(void *ctx, const struct smtp_reply *reply)
{
    struct world *w = ctx;
    must(!w->active && !w->closed && smtp_state(w->smtp) == SMTP_LOGIN);
    if (!reply)
        must(smtp_auth(w->smtp, "PLAIN", NULL));
    else if (reply->code == SMTP_CHALLENGE)
        must(smtp_auth_answer(w->smtp, "AAAA"));
    else if (reply->code % 10 == 5)
        smtp_login_failed(w->smtp, SMTP_CLOSED_LOGIN, "refused");
    else if (reply->code / 100 == 2)
        smtp_login_done(w->smtp);
    else
        must(smtp_auth(w->smtp, "LOGIN", ""));
}

static void on_ready(void *ctx)
{
    const struct world *w = ctx;
    must(!w->active && !w->closed);
}

static void on_recipient(void *ctx, size_t index, enum smtp_verdict verdict, const char *reply)
{
    const struct world *w = ctx;
    must(w->active && index < 3 && verdict <= SMTP_TAKEN && strlen(reply) >= 3);
}

static void on_want_data(void *ctx)
{
    struct world *w = ctx;
    must(w->active);
    w->in_body = true;
}

static void on_result(void *ctx, const struct smtp_result *result)
{
    struct world *w = ctx;
    must(w->active && result->text && result->command && result->outcome < SMTP_OUTCOMES);
    w->active = w->in_body = false;
    w->results++;
}

static void on_closed(void *ctx, enum smtp_close how, const char *text)
{
    struct world *w = ctx;
    must(!w->closed && !w->active && text && how <= SMTP_CLOSED_LOGIN);
    w->closed = true;
}

static const struct smtp_events events = {
    .send = on_send,
    .secure = on_secure,
    .login = on_login,
    .ready = on_ready,
    .recipient = on_recipient,
    .want_data = on_want_data,
    .result = on_result,
    .closed = on_closed,
};

static const char *const recipients[] = {"a@c.example", "b@c.example", "c@c.example"};

static void start(struct world *w, uint8_t choice)
{
    static const struct client client = {.address = "192.0.2.7", .helo = "h.example"};
    static struct smtp_envelope envelope = {.sender = "s@o.example", .recipients = recipients};
    envelope.count = 1 + choice % 3;
    envelope.size = choice;
    envelope.client = choice & 4 ? &client : NULL;
    envelope.by_data = choice & 8;
    bool was_ready = smtp_state(w->smtp) == SMTP_READY;
    w->active = w->active || was_ready; /* before the first event can come */
    enum smtp_refusal refusal = smtp_start(w->smtp, &envelope);
    must((refusal == SMTP_REFUSED_BUSY) == !was_ready);
    if (was_ready && refusal != SMTP_STARTED)
        w->active = false;
    w->starts += refusal == SMTP_STARTED;
}

/* Returns how many bytes of the input it used. */
static size_t act(struct world *w, uint8_t what, const uint8_t *data, size_t size)
{
    size_t len = what >> 3 < size ? what >> 3 : size;
    switch (what & 7) {
    case 0:
        start(w, what >> 3);
        return 0;
    case 1:
        smtp_body(w->smtp, (const char *)data, len);
        return len;
    case 2:
        smtp_body_end(w->smtp);
        w->in_body = w->in_body && smtp_state(w->smtp) == SMTP_BODY;
        return 0;
    case 3:
        if (what >> 3 == 31)
            smtp_quit(w->smtp);
        else if (what >> 3 == 30)
            smtp_lost(w->smtp, "lost");
        else
            smtp_secured(w->smtp);
        return 0;
    default:
        smtp_receive(w->smtp, (const char *)data, len);
        return len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct world w = {.last = '\n'};
    if (size < 2)
        return 0;
    struct smtp_config config = {.helo = "fuzz.test",
                                 .max_errors = 1 + data[0] % 8,
                                 .starttls = data[0] & 128,
                                 .login = data[0] & 64,
                                 .lmtp = data[1] & 1,
                                 .xclient = data[1] & 2,
                                 .xforward = data[1] & 4};
    w.smtp = smtp_new(&config, &events, &w);
    for (size_t at = 2; at < size;) {
        uint8_t what = data[at++];
        at += act(&w, what, data + at, size - at);
        must(smtp_patience(w.smtp) > 0);
    }
    smtp_lost(w.smtp, "the end");
    must(w.closed && !w.active && w.results == w.starts);
    smtp_free(w.smtp);
    return 0;
}
