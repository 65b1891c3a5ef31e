/* A login through the SMTP core, with a server that says what it is told to. */
#ifndef TESTS_TALK_H
#define TESTS_TALK_H

#include "relayd/auth.h"
#include "tests/unit/cmocka_all.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PLAIN_LINE "AUTH PLAIN AHRpbQB0YW5zdGFhZg==\r\n"
/* RFC 2195 section 2, and its answer for "tanstaaf" */
#define CRAM_CHALLENGE "334 PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"
#define CRAM_ANSWER    "dGltIDg1YTJkZWFlYjUyMDliMGY1NGQ0MDc1OWRhY2MyNGM0\r\n"

struct talk {
    size_t piece; /* of what the server says */
    struct auth_login login;
    struct smtp *core;
    struct auth auth;
    const char *password; /* NULL: it can't be had */
    enum auth_progress progress;
    bool ready, closed;
    char sent[16384]; /* and not looked at yet */
};

static inline char *talk_secret(void *arg, struct error *err)
{
    const struct talk *t = arg;
    if (!t->password) {
        (void)error_set(err, ERROR_PERMANENT, "there is no password");
        return NULL;
    }
    char *out = sodium_malloc(strlen(t->password) + 1); /* as secret_wipe wants it */
    assert_non_null(out);
    return strcpy(out, t->password);
}

static inline void talk_on_send(void *ctx, const char *bytes, size_t len)
{
    struct talk *t = ctx;
    assert_true(strlen(t->sent) + len < sizeof t->sent);
    strncat(t->sent, bytes, len);
}

static inline void talk_on_login(void *ctx, const struct smtp_reply *reply)
{
    struct talk *t = ctx;
    t->progress = reply ? auth_reply(&t->auth, reply) : auth_begin(&t->auth, t->core, &t->login);
    if (t->progress == AUTH_DONE)
        smtp_login_done(t->core);
}

static inline void talk_on_ready(void *ctx)
{
    struct talk *t = ctx;
    t->ready = true;
}

static inline void talk_on_closed(void *ctx, enum smtp_close how, const char *text)
{
    struct talk *t = ctx;
    (void)how;
    (void)text;
    t->closed = true;
}

static const struct smtp_events talk_events = {
    .send = talk_on_send,
    .login = talk_on_login,
    .ready = talk_on_ready,
    .closed = talk_on_closed,
};

/* *state is how many octets the server says at once. */
static inline int talk_make(void **state)
{
    struct talk *t = calloc(1, sizeof *t);
    t->piece = *(const size_t *)*state;
    t->password = "tanstaaf";
    t->login = (struct auth_login){.option = "auto",
                                   .user = "tim",
                                   .host = "mail.example",
                                   .port = 587,
                                   .secure = true,
                                   .secret = talk_secret,
                                   .arg = t};
    auth_init(&t->auth);
    *state = t;
    return 0;
}

static inline int talk_drop(void **state)
{
    struct talk *t = *state;
    auth_free(&t->auth);
    smtp_free(t->core);
    free(t);
    return 0;
}

static inline void talk_hears(struct talk *t, const char *line)
{
    char text[16384];
    size_t len = (size_t)snprintf(text, sizeof text, "%s\r\n", line);
    for (size_t at = 0; at < len; at += t->piece)
        smtp_receive(t->core, text + at, len - at < t->piece ? len - at : t->piece);
}

/* Whatever was sent. */
static inline void talk_skip(struct talk *t)
{
    t->sent[0] = '\0';
}

static inline void talk_says(struct talk *t, const char *expected)
{
    assert_string_equal(t->sent, expected);
    t->sent[0] = '\0';
}

/* Greeting, EHLO with this line in its answer, and the first step. */
static inline void talk_begin(struct talk *t, const char *offer)
{
    const struct smtp_config config = {.helo = "relay.test", .max_errors = 9, .login = true};
    char line[600];
    auth_free(&t->auth);
    smtp_free(t->core);
    t->ready = t->closed = false;
    t->sent[0] = '\0';
    t->core = smtp_new(&config, &talk_events, t);
    talk_hears(t, "220 mail.example");
    talk_says(t, "EHLO relay.test\r\n");
    (void)snprintf(line, sizeof line, "250-mail.example\r\n250 %s", offer);
    talk_hears(t, line);
}

static inline void talk_begin_as(struct talk *t, const char *option, const char *offer)
{
    t->login.option = option;
    talk_begin(t, offer);
}

static inline void talk_error_has(const struct talk *t, const char *words)
{
    if (!strstr(t->auth.error.text, words))
        fail_msg("\"%s\" is not in \"%s\"", words, t->auth.error.text);
}

static inline void talk_done(const struct talk *t)
{
    assert_int_equal(t->progress, AUTH_DONE);
    assert_true(t->ready);
}

/* It ends so, with these words and not an octet more. */
static inline void talk_over(struct talk *t, enum auth_progress how, const char *words)
{
    assert_int_equal(t->progress, how);
    assert_false(t->ready);
    talk_says(t, "");
    talk_error_has(t, words);
}

static size_t talk_whole = 65536, talk_octet = 1;

/* What the server says comes whole, and an octet at a time. */
#define talk_tests(fn)                                                                             \
    cmocka_unit_test_prestate_setup_teardown(fn, talk_make, talk_drop, &talk_whole),               \
        cmocka_unit_test_prestate_setup_teardown(fn, talk_make, talk_drop, &talk_octet)

#endif
