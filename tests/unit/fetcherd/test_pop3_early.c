/* Answers that were there before their command was sent: whoever can put octets into the line would
 * else have the session believe in a deletion, or a login, that never was. Here each answer brings
 * about the next command, as in a session. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fetcherd/pop3.h"

struct talk {
    struct pop3 core;
    enum pop3_command next[8]; /* POP3_CMD_GREETING ends them */
    unsigned sent, answers;
    char problem[80], line[80];
};

static void send_next(struct talk *t)
{
    enum pop3_command command = t->next[t->sent];

    if (command == POP3_CMD_GREETING)
        return;
    t->sent++;
    if (command == POP3_CMD_RETR || command == POP3_CMD_DELE)
        assert_int_equal(pop3_send_number(&t->core, command, 1), POP3_SENT);
    else if (command == POP3_CMD_AUTH)
        assert_int_equal(pop3_send(&t->core, command, "LOGIN", 5), POP3_SENT);
    else
        assert_int_equal(pop3_send(&t->core, command, NULL, 0), POP3_SENT);
}

static void on_event(void *arg, const struct pop3_event *event)
{
    struct talk *t = arg;
    bool listing = event->command == POP3_CMD_CAPA || event->command == POP3_CMD_RETR;

    switch (event->type) {
    case POP3_EV_BROKEN:
        strncpy(t->problem, event->problem, sizeof t->problem - 1);
        strncpy(t->line, event->data ? event->data : "", event->len);
        break;
    case POP3_EV_CHALLENGE:
        assert_int_equal(pop3_respond(&t->core, "eA==", 4), POP3_SENT);
        break;
    case POP3_EV_REPLY:
        t->answers++;
        if (!listing)
            send_next(t);
        break;
    case POP3_EV_LISTING_END:
    case POP3_EV_MESSAGE_END:
        send_next(t);
        break;
    default:
        break;
    }
}

static void on_send(void *arg, const char *data, size_t len)
{
    (void)arg;
    (void)data;
    (void)len;
}

static const struct pop3_ops ops = {.send = on_send, .event = on_event};

static void begin(struct talk *t, const enum pop3_command *next, size_t count)
{
    memset(t, 0, sizeof *t);
    memcpy(t->next, next, count * sizeof *next);
    pop3_init(&t->core, 20, &ops, t);
}
#define BEGIN(t, ...)                                                                              \
    begin((t), (const enum pop3_command[]){__VA_ARGS__},                                           \
          sizeof((enum pop3_command[]){__VA_ARGS__}) / sizeof(enum pop3_command))

static void feed(struct talk *t, const char *text)
{
    pop3_feed(&t->core, text, strlen(text));
}

static void expect_early(const struct talk *t, unsigned answers, const char *line)
{
    assert_int_equal(t->core.state, POP3_BROKEN);
    assert_string_equal(t->problem, "an answer before its command");
    assert_string_equal(t->line, line);
    assert_int_equal(t->answers, answers);
}

static void test_after_a_reply(void **state)
{
    (void)state;
    struct talk t;

    BEGIN(&t, POP3_CMD_DELE, POP3_CMD_QUIT);
    feed(&t, "+OK ready\r\n");
    feed(&t, "+OK gone\r\n+OK bye\r\n");
    expect_early(&t, 2, "+OK bye");
}

static void test_after_the_greeting(void **state)
{
    (void)state;
    struct talk t;

    BEGIN(&t, POP3_CMD_STAT);
    feed(&t, "+OK ready\r\n+OK 0 0\r\n");
    expect_early(&t, 1, "+OK 0 0");
}

static void test_after_a_message(void **state)
{
    (void)state;
    struct talk t;

    BEGIN(&t, POP3_CMD_RETR, POP3_CMD_DELE);
    feed(&t, "+OK ready\r\n");
    feed(&t, "+OK\r\nSubject: x\r\n\r\n.\r\n+OK gone\r\n");
    expect_early(&t, 2, "+OK gone");
}

static void test_after_a_listing(void **state)
{
    (void)state;
    struct talk t;

    BEGIN(&t, POP3_CMD_CAPA, POP3_CMD_QUIT);
    feed(&t, "+OK ready\r\n");
    feed(&t, "+OK\r\nUIDL\r\n.\r\n+OK bye\r\n");
    expect_early(&t, 2, "+OK bye");
}

static void test_after_a_challenge(void **state)
{
    (void)state;
    struct talk t;

    BEGIN(&t, POP3_CMD_AUTH);
    feed(&t, "+OK ready\r\n");
    feed(&t, "+ VXNlcm5hbWU6\r\n+OK in\r\n");
    expect_early(&t, 1, "+OK in");
}

/* Its beginning was there before, its end comes after. */
static void test_half_a_line(void **state)
{
    (void)state;
    struct talk t;

    BEGIN(&t, POP3_CMD_DELE, POP3_CMD_QUIT);
    feed(&t, "+OK ready\r\n");
    feed(&t, "+OK gone\r\n+");
    assert_int_equal(t.core.state, POP3_READY);
    feed(&t, "OK bye\r\n");
    expect_early(&t, 2, "+OK bye");

    BEGIN(&t, POP3_CMD_GREETING);
    feed(&t, "+OK ready\r\n");
    feed(&t, "+O");
    t.next[0] = POP3_CMD_QUIT;
    send_next(&t);
    feed(&t, "K\r\n");
    expect_early(&t, 1, "+OK");
}

/* What comes an octet at a time can't be told from an answer, and has to be taken for one. */
static void test_by_octet(void **state)
{
    (void)state;
    static const char said[] = "+OK ready\r\n+OK\r\nPIPELINING\r\n.\r\n+OK gone\r\n+OK bye\r\n";
    struct talk t;

    BEGIN(&t, POP3_CMD_CAPA, POP3_CMD_DELE, POP3_CMD_QUIT);
    for (const char *at = said; *at; at++)
        pop3_feed(&t.core, at, 1);
    assert_int_equal(t.core.state, POP3_CLOSED);
    assert_int_equal(t.answers, 4);
}

/* With PIPELINING several answers may come at once: as many as there were commands. */
static void test_pipelining(void **state)
{
    (void)state;
    struct talk t;

    for (unsigned extra = 0; extra < 2; extra++) {
        BEGIN(&t, POP3_CMD_CAPA);
        feed(&t, "+OK ready\r\n");
        feed(&t, "+OK\r\nPIPELINING\r\n.\r\n");
        for (uint32_t i = 1; i <= 3; i++)
            assert_int_equal(pop3_send_number(&t.core, POP3_CMD_DELE, i), POP3_SENT);
        t.next[1] = POP3_CMD_NOOP;
        feed(&t, extra ? "+OK 1\r\n+OK 2\r\n+OK 3\r\n+OK 4\r\n" : "+OK 1\r\n-ERR 2\r\n+OK 3\r\n");
        if (extra)
            expect_early(&t, 5, "+OK 4");
        else
            assert_int_equal(t.core.state, POP3_READY);
        assert_int_equal(t.answers, 5);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_after_a_reply),     cmocka_unit_test(test_after_the_greeting),
        cmocka_unit_test(test_after_a_message),   cmocka_unit_test(test_after_a_listing),
        cmocka_unit_test(test_after_a_challenge), cmocka_unit_test(test_half_a_line),
        cmocka_unit_test(test_by_octet),          cmocka_unit_test(test_pipelining),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
