/* 10^5 random bodies of CR, LF, dots, NUL and what SMTP smuggling is made of, through the client
 * core, one session, DATA and BDAT by turns: whatever a server takes for a line end, it sees one
 * message each, and no CR or LF by itself. */
#include "relayd/smtp.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ROUNDS = 100000, BODY_MAX = 400, WIRE_MAX = 8 * BODY_MAX };

/* How a server reads. The first is RFC 5321's; the others have been met. */
static const struct model {
    const char *name;
    bool bare_lf, bare_cr; /* end a line as well */
    bool no_cr, no_nul;    /* are dropped before anything is looked at */
} models[] = {
    {.name = "strict"},
    {.name = "bare LF", .bare_lf = true},
    {.name = "bare CR", .bare_cr = true},
    {.name = "bare CR and LF", .bare_lf = true, .bare_cr = true},
    {.name = "without CR", .bare_lf = true, .no_cr = true},
    {.name = "without NUL", .no_nul = true},
    {.name = "without CR and NUL", .bare_lf = true, .no_cr = true, .no_nul = true},
};

/* Pieces that end a message somewhere, or nearly. */
static const char *const variants[] = {
    "\n.\n",         "\r.\r",           "\r\n.\r",    "\n.\r\n",
    "\r\n.\n",       "\r.\r\n",         "\r\n.\r\n",  "\n\n.\r\r\n",
    "\r\r\n.\r\r\n", "\r\n\x01.\r\n",   "\r\n..\r\n", "\n.\r",
    "\r.\n",         "\r\n.\r\r\n",     "\r\n.",      "MAIL FROM:<a@b>\r\n",
    "DATA\r\n",      "BDAT 9 LAST\r\n",
};

struct world {
    struct smtp *smtp;
    char wire[WIRE_MAX];
    size_t len;
    unsigned delivered;
    bool ready;
};

static void on_send(void *ctx, const char *bytes, size_t len)
{
    struct world *w = ctx;
    assert_true(w->len + len <= sizeof w->wire);
    memcpy(w->wire + w->len, bytes, len);
    w->len += len;
}

static void on_ready(void *ctx)
{
    ((struct world *)ctx)->ready = true;
}

static void on_recipient(void *ctx, size_t index, enum smtp_verdict verdict, const char *reply)
{
    (void)ctx;
    (void)reply;
    assert_true(index == 0 && verdict == SMTP_ACCEPTED);
}

static void on_want_data(void *ctx)
{
    (void)ctx;
}

static void on_result(void *ctx, const struct smtp_result *result)
{
    ((struct world *)ctx)->delivered += result->outcome == SMTP_DELIVERED;
}

static void on_closed(void *ctx, enum smtp_close how, const char *text)
{
    (void)ctx;
    (void)how;
    fail_msg("closed: %s", text);
}

static const struct smtp_events events = {
    .send = on_send,
    .ready = on_ready,
    .recipient = on_recipient,
    .want_data = on_want_data,
    .result = on_result,
    .closed = on_closed,
};

static void say(struct world *w, const char *text)
{
    smtp_receive(w->smtp, text, strlen(text));
}

static size_t make_body(char *body)
{
    static const char alphabet[] = {'\r', '\n', '.', '\0', 'x', '\r', '\n', '.'};
    size_t len = 0, want = (size_t)random() % (random() % 8 ? 24 : BODY_MAX);
    while (len < want) {
        if (random() % 6) {
            body[len++] = alphabet[(size_t)random() % sizeof alphabet];
            continue;
        }
        const char *piece = variants[(size_t)random() % (sizeof variants / sizeof *variants)];
        for (; *piece && len < want; piece++)
            body[len++] = *piece == 1 ? '\0' : *piece;
    }
    return len;
}

static size_t normalise(const char *in, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (in[i] != '\r' && in[i] != '\n') {
            out[n++] = in[i];
            continue;
        }
        out[n++] = '\r';
        out[n++] = '\n';
        if (in[i] == '\r' && i + 1 < len && in[i + 1] == '\n')
            i++;
    }
    if (n > 0 && out[n - 1] != '\n') {
        out[n++] = '\r';
        out[n++] = '\n';
    }
    return n;
}

/* How many octets of the line at `at`, and of its end; 0 when it does not end. */
static size_t line_of(const struct model *m, const char *at, size_t left, size_t *end)
{
    for (size_t i = 0; i < left; i++) {
        bool crlf = at[i] == '\r' && i + 1 < left && at[i + 1] == '\n';
        *end = crlf ? 2 : 1;
        if (crlf || (m->bare_lf && at[i] == '\n') || (m->bare_cr && at[i] == '\r'))
            return i + *end;
    }
    return 0;
}

/* The server's end of DATA: the lines without their stuffing go to `out`. Returns where it saw the
 * end, or 0. */
static size_t read_data(const struct model *m, const char *wire, size_t len, char *out, size_t *n)
{
    *n = 0;
    for (size_t at = 0, end; at < len;) {
        size_t line = line_of(m, wire + at, len - at, &end);
        if (line == 0)
            return 0;
        if (line - end == 1 && wire[at] == '.')
            return at + line;
        size_t skip = wire[at] == '.';
        memcpy(out + *n, wire + at + skip, line - skip);
        *n += line - skip;
        at += line;
    }
    return 0;
}

static size_t without(const struct model *m, const char *in, size_t len, char *out)
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++)
        if (!(m->no_cr && in[i] == '\r') && !(m->no_nul && in[i] == '\0'))
            out[n++] = in[i];
    return n;
}

static void no_stray(const char *wire, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (wire[i] == '\r')
            assert_true(i + 1 < len && wire[i + 1] == '\n');
        if (wire[i] == '\n')
            assert_true(i > 0 && wire[i - 1] == '\r');
    }
}

static void check_data(const char *wire, size_t len, const char *want, size_t want_len)
{
    char seen[WIRE_MAX], got[WIRE_MAX], plain[WIRE_MAX];
    size_t got_len;
    no_stray(wire, len);
    for (size_t i = 0; i < sizeof models / sizeof *models; i++) {
        size_t n = without(&models[i], wire, len, seen);
        if (read_data(&models[i], seen, n, got, &got_len) != n)
            fail_msg("a server of the kind \"%s\" sees an end within", models[i].name);
        size_t plain_len = without(&models[i], want, want_len, plain);
        assert_int_equal(got_len, plain_len);
        assert_memory_equal(got, plain, plain_len);
    }
}

static void check_bdat(const char *wire, size_t len, const char *want, size_t want_len)
{
    char command[64];
    int n = snprintf(command, sizeof command, "BDAT %zu LAST\r\n", want_len);
    assert_int_equal(len, (size_t)n + want_len);
    assert_memory_equal(wire, command, (size_t)n);
    assert_memory_equal(wire + n, want, want_len);
    no_stray(wire + n, want_len);
}

static void send_one(struct world *w, const char *body, size_t len, bool by_data)
{
    static const char *const to[] = {"b@c.example"};
    const struct smtp_envelope envelope = {
        .sender = "a@o.example", .recipients = to, .count = 1, .by_data = by_data};
    char want[2 * BODY_MAX + 2];
    size_t want_len = normalise(body, len, want);
    w->ready = false;
    assert_int_equal(smtp_start(w->smtp, &envelope), SMTP_STARTED);
    say(w, by_data ? "250 ok\r\n250 ok\r\n354 go\r\n" : "250 ok\r\n250 ok\r\n");
    w->len = 0;
    for (size_t at = 0; at < len;) {
        size_t piece = (size_t)random() % (len - at + 1);
        smtp_body(w->smtp, body + at, piece);
        at += piece;
    }
    smtp_body_end(w->smtp);
    if (by_data)
        check_data(w->wire, w->len, want, want_len);
    else
        check_bdat(w->wire, w->len, want, want_len);
    w->len = 0;
    say(w, "250 taken\r\n");
    assert_true(w->ready && w->len == 0);
}

static void test_random_bodies(void **state)
{
    (void)state;
    struct world w = {.len = 0};
    const struct smtp_config config = {.helo = "relay.test", .max_errors = 3};
    char body[BODY_MAX];
    srandom(20231218);
    for (int round = 0; round < ROUNDS; round++) {
        size_t len = make_body(body);
        w.smtp = smtp_new(&config, &events, &w);
        say(&w, "220 x\r\n");
        say(&w, "250-x\r\n250-PIPELINING\r\n250 CHUNKING\r\n");
        send_one(&w, body, len, false); /* the first on a connection, and none other */
        send_one(&w, body, len, true);
        smtp_free(w.smtp);
    }
    assert_int_equal(w.delivered, 2 * ROUNDS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_bodies)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
