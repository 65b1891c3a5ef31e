/* Which way of logging in is taken, and when another one may follow. The server's octets go through
 * the POP3 core whole and one at a time. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "fetcherd/account.h"
#include "fetcherd/auth.h"

struct talk {
    struct pop3 core;
    struct auth auth;
    struct auth_login login;
    enum auth_progress progress;
    bool ready;
    size_t chunk;
    char sent[4096];
    char said[400]; /* the last reply, as it is shown */
};

static char *secret(void *arg, struct error *err)
{
    (void)arg;
    (void)err;
    char *out = sodium_malloc(sizeof "tanstaaf"); /* as secret_wipe wants it */
    assert_non_null(out);
    return strcpy(out, "tanstaaf");
}

static void on_send(void *arg, const char *data, size_t len)
{
    struct talk *t = arg;
    strncat(t->sent, data, len);
}

static void on_event(void *arg, const struct pop3_event *event)
{
    struct talk *t = arg;

    if (event->type == POP3_EV_REPLY) {
        memset(t->said, 0, sizeof t->said);
        memcpy(t->said, event->reply->text, event->reply->text_len);
    }
    if (event->type == POP3_EV_CAPABILITY)
        auth_capability(&t->auth, event->data, event->len);
    else if (event->type == POP3_EV_LISTING_END)
        t->ready = true;
    else if (event->command == POP3_CMD_GREETING)
        auth_greeting(&t->auth, event->reply);
    else if (event->type == POP3_EV_CHALLENGE || event->command != POP3_CMD_CAPA)
        t->progress = auth_event(&t->auth, event);
}

static const struct pop3_ops ops = {.send = on_send, .event = on_event};

static void feed(struct talk *t, const char *text)
{
    size_t len = strlen(text);
    for (size_t at = 0; at < len; at += t->chunk)
        pop3_feed(&t->core, text + at, len - at < t->chunk ? len - at : t->chunk);
}

/* Greeting, CAPA, and the first step. */
static void begin(struct talk *t, size_t chunk, const char *option, const char *sasl, bool secure)
{
    memset(t, 0, sizeof *t);
    t->chunk = chunk;
    t->login = (struct auth_login){.option = option,
                                   .account = "isp",
                                   .user = "mrose",
                                   .host = "pop.example",
                                   .port = 995,
                                   .secure = secure,
                                   .clear_is_ok = !secure,
                                   .secret = secret};
    auth_init(&t->auth);
    pop3_init(&t->core, 20, &ops, t);
    feed(t, "+OK POP3 server ready <1896.697170952@dbc.mtview.ca.us>\r\n");
    assert_int_equal(pop3_send(&t->core, POP3_CMD_CAPA, NULL, 0), POP3_SENT);
    feed(t, "+OK\r\nUSER\r\n");
    feed(t, sasl);
    feed(t, ".\r\n");
    assert_true(t->ready);
    t->sent[0] = '\0';
    t->progress = auth_begin(&t->auth, &t->core, &t->login);
}

static void says(struct talk *t, const char *expected)
{
    assert_string_equal(t->sent, expected);
    t->sent[0] = '\0';
}

static const size_t chunks[] = {4096, 1};
#define EACH_CHUNK(i) (size_t i = 0; i < sizeof chunks / sizeof *chunks; i++)

/* RFC 1939 section 7 */
static void test_apop(void **state)
{
    (void)state;
    for
        EACH_CHUNK(i)
        {
            struct talk t;
            begin(&t, chunks[i], "apop", "", false);
            says(&t, "APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\n");
            feed(&t, "+OK maildrop has 1 message\r\n");
            assert_int_equal(t.progress, AUTH_DONE);
            auth_free(&t.auth);
        }
}

static void test_basic(void **state)
{
    (void)state;
    for
        EACH_CHUNK(i)
        {
            struct talk t;
            begin(&t, chunks[i], "basic", "SASL PLAIN CRAM-MD5\r\n", false);
            says(&t, "USER mrose\r\n");
            assert_true(auth_method_is_clear(&t.auth));
            feed(&t, "+OK\r\n");
            says(&t, "PASS tanstaaf\r\n");
            feed(&t, "-ERR [AUTH] no\r\n");
            assert_int_equal(t.progress, AUTH_REFUSED);
            assert_string_equal(t.auth.command, "PASS");
            auth_free(&t.auth);
        }
}

/* Strength decides, whatever the order and the case of the list. */
static void test_strongest(void **state)
{
    (void)state;
    static const struct {
        const char *sasl, *method;
    } cases[] = {
        {"SASL PLAIN LOGIN CRAM-MD5 SCRAM-SHA-1 SCRAM-SHA-256\r\n", "SCRAM-SHA-256"},
        {"sasl plain scram-sha-1\r\n", "SCRAM-SHA-1"},
        {"SASL CRAM-MD5 DIGEST-MD5 NTLM PLAIN\r\n", "DIGEST-MD5"},
        {"SASL NTLM GSSAPI PLAIN\r\n", "NTLM"},
        {"SASL SCRAM-SHA-256-PLUS PLAIN XSCRAM-SHA-256\r\n", "PLAIN"}, /* nothing to bind to */
        {"SASL XOAUTH2 OAUTHBEARER GSSAPI\r\n", "USER"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct talk t;
        begin(&t, 4096, "auto", cases[i].sasl, true);
        assert_string_equal(auth_method(&t.auth), cases[i].method);
        auth_free(&t.auth);
    }
}

static void test_binding_makes_it_stronger(void **state)
{
    (void)state;
    struct talk t;
    struct sasl_binding binding = {.exporter = true, .len = 32};

    begin(&t, 4096, "auto", "SASL SCRAM-SHA-256 SCRAM-SHA-256-PLUS\r\n", true);
    auth_free(&t.auth);
    pop3_stop(&t.core);
    begin(&t, 4096, "basic", "SASL SCRAM-SHA-256 SCRAM-SHA-256-PLUS\r\n", true);
    feed(&t, "+OK\r\n");
    feed(&t, "+OK\r\n");
    t.login.option = "scram-sha-256";
    t.login.binding = &binding;
    t.auth.tried = 0;
    assert_int_equal(auth_begin(&t.auth, &t.core, &t.login), AUTH_GOES_ON);
    assert_string_equal(auth_method(&t.auth), "SCRAM-SHA-256-PLUS");
    auth_free(&t.auth);
}

/* The server wants the second step before the token: XOAUTH2 as Microsoft 365 has it. */
static void test_two_steps(void **state)
{
    (void)state;
    for
        EACH_CHUNK(i)
        {
            struct talk t;
            begin(&t, chunks[i], "xoauth2", "SASL XOAUTH2\r\n", true);
            says(&t, "AUTH XOAUTH2\r\n");
            feed(&t, "+ \r\n");
            says(&t, "dXNlcj1tcm9zZQFhdXRoPUJlYXJlciB0YW5zdGFhZgEB\r\n");
            feed(&t, "+ eyJzdGF0dXMiOiI0MDAifQ==\r\n");
            says(&t, "\r\n");
            feed(&t, "-ERR no\r\n");
            assert_int_equal(t.progress, AUTH_REFUSED);
            assert_non_null(strstr(t.auth.error.text, "400"));
            auth_free(&t.auth);
        }
}

/* With an initial response, and without where it makes the line too long. */
static void test_initial_response(void **state)
{
    (void)state;
    for
        EACH_CHUNK(i)
        {
            struct talk t;
            char user[200];
            begin(&t, chunks[i], "plain", "SASL PLAIN\r\n", true);
            says(&t, "AUTH PLAIN AG1yb3NlAHRhbnN0YWFm\r\n");
            feed(&t, "+OK\r\n");
            assert_int_equal(t.progress, AUTH_DONE);
            memset(user, 'u', sizeof user - 1);
            user[sizeof user - 1] = '\0';
            t.login.user = user;
            t.auth.tried = 0;
            t.sent[0] = '\0';
            assert_int_equal(auth_begin(&t.auth, &t.core, &t.login), AUTH_GOES_ON);
            says(&t, "AUTH PLAIN\r\n");
            feed(&t, "+ go ahead\r\n");
            assert_int_equal(strncmp(t.sent, "AHV1dXV1", 8), 0);
            auth_free(&t.auth);
        }
}

/* By PLAIN, with a name that leaves no room for the response in the command. */
static void begin_held(struct talk *t, size_t chunk, const char *option)
{
    static char user[201];
    memset(user, 'u', sizeof user - 1);
    begin(t, chunk, "cram-md5", "SASL PLAIN LOGIN\r\n", true); /* not offered, nothing is sent */
    t->login.user = user;
    t->login.option = option;
    assert_int_equal(auth_begin(&t->auth, &t->core, &t->login), AUTH_GOES_ON);
    says(t, "AUTH PLAIN\r\n");
}

/* It is made, but not given out before the server asks for it. */
static void test_response_that_is_held(void **state)
{
    (void)state;
    for
        EACH_CHUNK(i)
        {
            struct talk t;
            begin_held(&t, chunks[i], "auto");
            feed(&t, "-ERR not by this one\r\n");
            says(&t, "AUTH LOGIN\r\n");
            assert_int_equal(t.progress, AUTH_GOES_ON);
            auth_free(&t.auth);
            pop3_stop(&t.core);
            begin_held(&t, chunks[i], "plain");
            feed(&t, "+OK\r\n");
            assert_int_equal(t.progress, AUTH_FAILED);
            assert_non_null(strstr(t.auth.error.text, "before the exchange was through"));
            auth_free(&t.auth);
        }
}

static void test_no_second_way_for_a_refused_password(void **state)
{
    (void)state;
    for
        EACH_CHUNK(i)
        {
            struct talk t;
            begin(&t, chunks[i], "auto", "SASL CRAM-MD5 PLAIN\r\n", true);
            says(&t, "AUTH CRAM-MD5\r\n");
            feed(&t, "+ PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2U+\r\n");
            t.sent[0] = '\0';
            feed(&t, "-ERR no\r\n");
            assert_int_equal(t.progress, AUTH_REFUSED);
            says(&t, "");
            auth_free(&t.auth);
        }
}

static void test_next_way_while_nothing_was_given(void **state)
{
    (void)state;
    for
        EACH_CHUNK(i)
        {
            struct talk t;
            begin(&t, chunks[i], "auto", "SASL CRAM-MD5 NTLM PLAIN\r\n", true);
            says(&t, "AUTH CRAM-MD5\r\n");
            feed(&t, "-ERR unknown\r\n");
            says(&t, "AUTH NTLM\r\n");
            feed(&t, "+ \r\n");
            t.sent[0] = '\0';
            feed(&t, "+ bm90IE5UTE0=\r\n");
            says(&t, "*\r\n");
            feed(&t, "-ERR cancelled\r\n");
            assert_int_equal(strncmp(t.sent, "AUTH PLAIN ", 11), 0);
            auth_free(&t.auth);
        }
}

/* A server that goes on all the same is told nothing more. */
static void test_challenge_behind_a_cancelled_one(void **state)
{
    (void)state;
    for
        EACH_CHUNK(i)
        {
            struct talk t;
            begin(&t, chunks[i], "auto", "SASL CRAM-MD5 PLAIN\r\n", true);
            says(&t, "AUTH CRAM-MD5\r\n");
            feed(&t, "+ not base64!\r\n");
            says(&t, "*\r\n");
            feed(&t, "+ PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2U+\r\n");
            says(&t, "");
            assert_int_equal(t.progress, AUTH_FAILED);
            assert_non_null(strstr(t.auth.error.text, "not base64"));
            auth_free(&t.auth);
        }
}

/* Without TLS: what is said, and in the refusal what would do. */
static void test_what_may_go_in_clear(void **state)
{
    (void)state;
    static const struct {
        const char *option, *sasl, *sent, *words;
    } cases[] = {
        {"auto", "", "", "account set isp --auth basic --tls none"},
        {"auto", "SASL PLAIN LOGIN\r\n", "", "account set isp --auth basic --tls none"},
        {"auto", "SASL PLAIN CRAM-MD5\r\n", "AUTH CRAM-MD5\r\n", ""},
        {"plain", "SASL PLAIN\r\n", "", "not secure"},
        {"login", "SASL LOGIN\r\n", "", "not secure"},
        {"login", "", "", "not secure"},
        {"oauthbearer", "SASL OAUTHBEARER\r\n", "", "over TLS alone"},
        {"xoauth2", "SASL XOAUTH2\r\n", "", "over TLS alone"},
        {"basic", "SASL CRAM-MD5\r\n", "USER mrose\r\n", ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct talk t;
        begin(&t, 4096, cases[i].option, cases[i].sasl, false);
        assert_int_equal(t.progress, *cases[i].sent ? AUTH_GOES_ON : AUTH_FAILED);
        says(&t, cases[i].sent);
        assert_non_null(strstr(t.auth.error.text, cases[i].words));
        auth_free(&t.auth);
    }
}

/* A challenge may be tried on such a line; when it comes to nothing, nothing weaker follows. */
static void test_nothing_weaker_in_clear(void **state)
{
    (void)state;
    for
        EACH_CHUNK(i)
        {
            struct talk t;
            begin(&t, chunks[i], "auto", "SASL CRAM-MD5 PLAIN\r\n", false);
            says(&t, "AUTH CRAM-MD5\r\n");
            feed(&t, "-ERR unknown\r\n");
            says(&t, "");
            assert_int_equal(t.progress, AUTH_FAILED);
            assert_non_null(strstr(t.auth.error.text, "use TLS"));
            auth_free(&t.auth);
        }
}

/* An account that demands TLS, on a line that has none: not even what it asks for by name. */
static void test_basic_wants_an_account_without_tls(void **state)
{
    (void)state;
    struct talk t;

    begin(&t, 4096, "apop", "", true);
    feed(&t, "-ERR no\r\n");
    t.sent[0] = '\0';
    t.login.option = "basic";
    t.login.secure = t.login.clear_is_ok = false;
    assert_int_equal(auth_begin(&t.auth, &t.core, &t.login), AUTH_FAILED);
    says(&t, "");
    auth_free(&t.auth);
}

/* A server that says again what it was told: shown with stars until the login is over. */
static void test_echoes_are_starred(void **state)
{
    (void)state;
    for
        EACH_CHUNK(i)
        {
            struct talk t;
            begin(&t, chunks[i], "basic", "", true);
            feed(&t, "+OK tanstaaf is not known yet\r\n");
            assert_string_equal(t.said, "tanstaaf is not known yet");
            feed(&t, "-ERR [AUTH] unknown: PASS tanstaaf, dGFuc3RhYWY=\r\n");
            assert_string_equal(t.said, "[AUTH] unknown: PASS ****, ****=");
            assert_string_equal(t.auth.error.text,
                                "the server said: -ERR [AUTH] unknown: PASS ****, ****=");
            assert_int_equal(t.progress, AUTH_REFUSED);
            auth_free(&t.auth);

            begin(&t, chunks[i], "plain", "SASL PLAIN\r\n", true);
            says(&t, "AUTH PLAIN AG1yb3NlAHRhbnN0YWFm\r\n");
            feed(&t, "-ERR AG1yb3NlAHRhbnN0YWFm? mrose/tanstaaf?\r\n");
            assert_string_equal(t.said, "****? mrose/****?");
            assert_null(strstr(t.auth.error.text, "tanstaaf"));
            auth_free(&t.auth);
        }
}

/* By OAuth 2 the reason comes in a challenge. */
static void test_echo_in_a_challenge(void **state)
{
    (void)state;
    struct talk t;

    begin(&t, 4096, "xoauth2", "SASL XOAUTH2\r\n", true);
    feed(&t, "+ \r\n");
    feed(&t, "+ eyJ0b2tlbiI6InRhbnN0YWFmIn0=\r\n"); /* {"token":"tanstaaf"} */
    feed(&t, "-ERR dXNlcj1tcm9zZQFhdXRoPUJlYXJlciB0YW5zdGFhZgEB\r\n");
    assert_string_equal(t.said, "****");
    assert_non_null(strstr(t.auth.error.text, "****"));
    assert_non_null(strstr(t.auth.error.text, "token"));
    assert_null(strstr(t.auth.error.text, "tanstaaf"));
    auth_free(&t.auth);
}

/* What decides goes by the server's own words, and after the login nothing is hidden. */
static void test_stars_end_with_the_login(void **state)
{
    (void)state;
    struct talk t;

    begin(&t, 4096, "basic", "", true);
    feed(&t, "+OK\r\n");
    redact_secret(&t.core.redact, "in-use");
    feed(&t, "-ERR [in-use/tanstaaf] busy\r\n");
    assert_string_equal(t.said, "[****/****] busy");
    assert_int_equal(t.progress, AUTH_FAILED);
    assert_true(t.core.redact.count > 0);
    auth_free(&t.auth);
    assert_int_equal(t.core.redact.count, 0);

    begin(&t, 4096, "basic", "", true);
    feed(&t, "+OK\r\n");
    feed(&t, "+OK tanstaaf is right\r\n");
    assert_string_equal(t.said, "**** is right");
    assert_int_equal(t.progress, AUTH_DONE);
    assert_int_equal(t.core.redact.count, 0);
    auth_free(&t.auth);
}

static void test_options(void **state)
{
    (void)state;
    char text[200];

    auth_options(text, sizeof text);
    assert_true(strlen(text) + 1 < sizeof text);
    for (char *at, *name = strtok_r(text, ", ", &at); name; name = strtok_r(NULL, ", ", &at)) {
        assert_true(auth_option_known(name));
        assert_true(strlen(name) < sizeof((struct account *)0)->auth);
    }
    assert_false(auth_option_known("AUTO"));
    assert_false(auth_option_known(""));
}

int main(void)
{
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_apop),
        cmocka_unit_test(test_basic),
        cmocka_unit_test(test_strongest),
        cmocka_unit_test(test_binding_makes_it_stronger),
        cmocka_unit_test(test_two_steps),
        cmocka_unit_test(test_initial_response),
        cmocka_unit_test(test_response_that_is_held),
        cmocka_unit_test(test_no_second_way_for_a_refused_password),
        cmocka_unit_test(test_next_way_while_nothing_was_given),
        cmocka_unit_test(test_challenge_behind_a_cancelled_one),
        cmocka_unit_test(test_what_may_go_in_clear),
        cmocka_unit_test(test_nothing_weaker_in_clear),
        cmocka_unit_test(test_basic_wants_an_account_without_tls),
        cmocka_unit_test(test_echoes_are_starred),
        cmocka_unit_test(test_echo_in_a_challenge),
        cmocka_unit_test(test_stars_end_with_the_login),
        cmocka_unit_test(test_options),
    };
    return cmocka_run_group_tests_name("auth", tests, NULL, NULL);
}
