/* The SMTP client's session: greeting, EHLO, TLS, what is between transactions, QUIT. Promises:
 * every reply goes to the state that waits for it, and one nobody waits for ends the session; every
 * connection ends in exactly one closed event; nothing with a control character in it is ever
 * written as a command. */
#include "relayd/smtp_core.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LINE_MAX_OUT = 640,
    MINUTE = 60,
};

typedef void reply_fn(struct smtp *smtp, const struct smtp_reply *reply);
static reply_fn on_greeting, on_ehlo, on_helo, on_starttls, on_login, on_unasked, on_rset, on_quit;

static const struct {
    const char *name;
    int patience; /* seconds */
    reply_fn *on_reply;
} states[] = {
    [SMTP_GREETING] = {"greeting", 5 * MINUTE, on_greeting},
    [SMTP_EHLO] = {"ehlo", 5 * MINUTE, on_ehlo},
    [SMTP_HELO] = {"helo", 5 * MINUTE, on_helo},
    [SMTP_STARTTLS] = {"starttls", 2 * MINUTE, on_starttls},
    [SMTP_SECURING] = {"securing", 2 * MINUTE, on_unasked},
    [SMTP_LOGIN] = {"login", 5 * MINUTE, on_login},
    [SMTP_READY] = {"ready", 5 * MINUTE, on_unasked},
    [SMTP_XCLIENT] = {"xclient", 5 * MINUTE, smtp_on_xclient},
    [SMTP_XFORWARD] = {"xforward", 5 * MINUTE, smtp_on_xforward},
    [SMTP_ENVELOPE] = {"envelope", 5 * MINUTE, smtp_on_envelope},
    [SMTP_BODY] = {"body", 3 * MINUTE, smtp_on_body},
    [SMTP_FINAL] = {"final", 10 * MINUTE, smtp_on_final},
    [SMTP_RSET] = {"rset", 5 * MINUTE, on_rset},
    [SMTP_QUIT] = {"quit", 10, on_quit},
    [SMTP_CLOSED] = {"closed", 10, NULL},
};
static_assert(sizeof states / sizeof *states == SMTP_STATES, "a row a state");

static const char too_early[] = "a reply came before its command";

void smtp_set_state(struct smtp *smtp, enum smtp_state to)
{
    enum smtp_state from = smtp->state;
    smtp->state = to;
    if (smtp->events->trace)
        smtp->events->trace(smtp->ctx, from, to);
}

/* ---- endings ---- */

static void lose_transaction(struct smtp *smtp, int code, const char *text)
{
    smtp_finish(smtp, &(struct smtp_result){
                          .outcome = SMTP_SESSION_FAILED,
                          .command = smtp_pending_command(smtp),
                          .text = text,
                          .code = code,
                          .in_doubt = code == 0 && smtp_in_doubt(smtp),
                          .of_each = smtp->lmtp && smtp->state == SMTP_FINAL,
                      });
}

void smtp_close_session(struct smtp *smtp, enum smtp_close how, const char *text)
{
    if (smtp->state == SMTP_CLOSED)
        return;
    lose_transaction(smtp, 0, text);
    smtp_set_state(smtp, SMTP_CLOSED);
    smtp->events->closed(smtp->ctx, how, text);
}

void smtp_fail_session(struct smtp *smtp, int code, const char *text)
{
    bool idle = smtp->state == SMTP_READY && (code == 0 || code == 421);
    bool quitting = smtp->state == SMTP_QUIT;
    lose_transaction(smtp, code, text);
    smtp_close_session(smtp,
                       quitting ? SMTP_CLOSED_QUIT
                       : idle   ? SMTP_CLOSED_IDLE
                                : SMTP_CLOSED_FAILED,
                       text);
}

static void fail_reply(struct smtp *smtp, const struct smtp_reply *reply)
{
    smtp_fail_session(smtp, reply->code, smtp->text);
}

/* ---- the one writer of commands ---- */

bool smtp_argument_ok(const char *text, size_t max)
{
    size_t len = strlen(text);
    if (len > max)
        return false;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < ' ' || text[i] == 0x7f)
            return false;
    return true;
}

void smtp_flush(struct smtp *smtp)
{
    size_t len = smtp->out_len;
    smtp->out_len = 0;
    if (len > 0)
        smtp->events->send(smtp->ctx, smtp->out, len);
}

/* Writes `verb`, `argument` and `rest` side by side and CRLF. Arguments were checked by whoever
 * took them in; that one slips through all the same must not become a second command. */
bool smtp_put_command(struct smtp *smtp, const char *verb, const char *argument, const char *rest)
{
    if (!smtp_argument_ok(argument, SMTP_ADDRESS_MAX)) {
        smtp->out_len = 0;
        smtp_fail_session(smtp, 0, "refused to write a command with a bad argument");
        return false;
    }
    if (sizeof smtp->out - smtp->out_len < LINE_MAX_OUT)
        smtp_flush(smtp);
    int n = snprintf(smtp->out + smtp->out_len, LINE_MAX_OUT, "%s%s%s\r\n", verb, argument, rest);
    smtp->out_len += (size_t)n;
    return true;
}

void smtp_put_simple(struct smtp *smtp, const char *verb, enum smtp_state next)
{
    if (smtp_put_command(smtp, verb, "", "")) {
        smtp_set_state(smtp, next);
        smtp_flush(smtp);
    }
}

/* ---- the session ---- */

static void enter_hello(struct smtp *smtp, const char *verb, enum smtp_state state)
{
    /* Behind XCLIENT: the server takes its HELO from here (seen in Postfix). */
    bool other = smtp->active && smtp->speaks_for.helo[0] != '\0';
    if (smtp_put_command(smtp, verb, other ? smtp->speaks_for.helo : smtp->helo, "")) {
        smtp_set_state(smtp, state);
        smtp_flush(smtp);
    }
}

void smtp_hello(struct smtp *smtp)
{
    enter_hello(smtp, smtp->lmtp ? "LHLO " : "EHLO ", SMTP_EHLO);
}

static void on_greeting(struct smtp *smtp, const struct smtp_reply *reply)
{
    if (smtp_reply_class(reply) == 2)
        smtp_hello(smtp);
    else
        fail_reply(smtp, reply);
}

/* Between EHLO and the first message: what is not done yet of TLS and login, in this order. */
static void enter_ready(struct smtp *smtp)
{
    if (smtp->starttls && !smtp->secured) {
        if (smtp_extensions_has(&smtp->offers, SMTP_EXT_STARTTLS))
            smtp_put_simple(smtp, "STARTTLS", SMTP_STARTTLS);
        else
            smtp_fail_session(smtp, 0,
                              "the server does not offer STARTTLS, so nothing is sent: is "
                              "relay.port right, or relay.tls = \"implicit\" meant (port 465)?");
    } else if (smtp->login && !smtp->logged_in) {
        smtp_set_state(smtp, SMTP_LOGIN);
        smtp->events->login(smtp->ctx, NULL);
    } else if (smtp->active) {
        smtp_begin_envelope(smtp); /* behind XCLIENT */
    } else {
        smtp_set_state(smtp, SMTP_READY);
        smtp->events->ready(smtp->ctx);
    }
}

static void on_ehlo(struct smtp *smtp, const struct smtp_reply *reply)
{
    if (smtp_reply_class(reply) == 2) {
        smtp_extensions_parse(&smtp->offers, reply);
        enter_ready(smtp);
    } else if ((reply->code == 500 || reply->code == 502) && !smtp->lmtp) {
        enter_hello(smtp, "HELO ", SMTP_HELO);
    } else if (smtp->active) {
        smtp_client_refused(smtp, reply);
    } else {
        fail_reply(smtp, reply);
    }
}

static void on_helo(struct smtp *smtp, const struct smtp_reply *reply)
{
    smtp->offers = (struct smtp_extensions){0};
    if (smtp_reply_class(reply) == 2)
        enter_ready(smtp);
    else
        fail_reply(smtp, reply);
}

static void on_starttls(struct smtp *smtp, const struct smtp_reply *reply)
{
    if (reply->code != 220) {
        fail_reply(smtp, reply);
        return;
    }
    smtp_set_state(smtp, SMTP_SECURING);
    smtp->events->secure(smtp->ctx);
}

void smtp_secured(struct smtp *smtp)
{
    if (smtp->state != SMTP_SECURING)
        return;
    smtp->secured = true;
    smtp->offers = (struct smtp_extensions){0}; /* said in clear: worth nothing (RFC 3207, 4.2) */
    smtp_hello(smtp);
}

/* ---- logging in ---- */

static void on_login(struct smtp *smtp, const struct smtp_reply *reply)
{
    bool owed = smtp->login_owed;
    smtp->login_owed = false;
    if (!owed)
        smtp_fail_session(smtp, reply->code, too_early);
    else if (smtp_reply_class(reply) == 3 && reply->code != SMTP_CHALLENGE)
        fail_reply(smtp, reply);
    else
        smtp->events->login(smtp->ctx, reply);
}

/* Three texts and CRLF as one line, which leaves no copy behind here. */
static bool put_login(struct smtp *smtp, const char *verb, const char *blank, const char *text,
                      size_t max)
{
    char line[SMTP_AUTH_ANSWER_MAX + 1];
    if (smtp->state != SMTP_LOGIN || smtp->login_owed || !smtp_argument_ok(verb, max) ||
        !smtp_argument_ok(text, max))
        return false;
    int n = snprintf(line, sizeof line, "%s%s%s\r\n", verb, blank, text);
    bool fits = n > 0 && (size_t)n <= max;
    if (fits) {
        redact_response(&smtp->redact, text);
        smtp->login_owed = true;
        smtp->events->send(smtp->ctx, line, (size_t)n);
    }
    explicit_bzero(line, sizeof line);
    return fits;
}

bool smtp_auth(struct smtp *smtp, const char *mechanism, const char *initial)
{
    char verb[64];
    int n = snprintf(verb, sizeof verb, "AUTH %s", mechanism);
    if (n < 0 || (size_t)n >= sizeof verb)
        return false;
    if (!initial)
        return put_login(smtp, verb, "", "", SMTP_AUTH_LINE_MAX);
    return put_login(smtp, verb, " ", *initial ? initial : "=", SMTP_AUTH_LINE_MAX);
}

bool smtp_auth_answer(struct smtp *smtp, const char *answer)
{
    return put_login(smtp, "", "", answer, SMTP_AUTH_ANSWER_MAX);
}

void smtp_auth_cancel(struct smtp *smtp)
{
    (void)put_login(smtp, "*", "", "", SMTP_AUTH_LINE_MAX);
}

void smtp_secret(struct smtp *smtp, const char *secret)
{
    redact_secret(&smtp->redact, secret);
}

void smtp_login_done(struct smtp *smtp)
{
    if (smtp->state != SMTP_LOGIN)
        return;
    redact_clear(&smtp->redact);
    smtp->logged_in = true;
    enter_ready(smtp);
}

void smtp_login_failed(struct smtp *smtp, enum smtp_close how, const char *why)
{
    if (smtp->state == SMTP_LOGIN)
        smtp_close_session(smtp, how, why);
}

/* Also the bytes that someone slipped in behind the 220 to STARTTLS. */
static void on_unasked(struct smtp *smtp, const struct smtp_reply *reply)
{
    char text[sizeof smtp->text + 32];
    snprintf(text, sizeof text, "reply without a command: %s", smtp->text);
    smtp_fail_session(smtp, reply->code, text);
}

static void on_rset(struct smtp *smtp, const struct smtp_reply *reply)
{
    if (smtp_reply_class(reply) != 2) {
        fail_reply(smtp, reply);
        return;
    }
    smtp->forwarded = false;
    smtp_set_state(smtp, SMTP_READY);
    smtp->events->ready(smtp->ctx);
}

static void on_quit(struct smtp *smtp, const struct smtp_reply *reply)
{
    (void)reply;
    smtp_close_session(smtp, SMTP_CLOSED_QUIT, smtp->text);
}

static void redact(struct smtp *smtp, struct smtp_reply *reply)
{
    if (smtp->redact.count == 0 || reply->code == SMTP_CHALLENGE)
        return;
    reply->text_len = redact_apply(&smtp->redact, reply->text, reply->text_len);
    reply->text[reply->text_len] = '\0';
}

static void on_reply(struct smtp *smtp, struct smtp_reply *reply)
{
    redact(smtp, reply);
    smtp_reply_format(reply, smtp->text, sizeof smtp->text);
    if (smtp->state != SMTP_QUIT) {
        smtp->refusals += smtp_reply_class(reply) == 5;
        smtp->put_offs += smtp_reply_class(reply) == 4;
    }
    smtp->replies++;
    if (reply->code == 421)
        fail_reply(smtp, reply);
    else
        states[smtp->state].on_reply(smtp, reply);
}

/* A reply beyond those that were owed. A server may take its leave at any time. */
static void on_surplus(struct smtp *smtp, const char *bytes, size_t len)
{
    size_t used = 0;
    if (smtp_reply_feed(&smtp->parser, bytes, len, &used) == SMTP_REPLY_DONE &&
        smtp->parser.reply.code == 421)
        on_reply(smtp, &smtp->parser.reply);
    else
        smtp_fail_session(smtp, 0, too_early);
}

/* What lies in these bytes was sent before any command that they lead us to write: a reply beyond
 * those that are owed now answers nothing, least of all a message that is still with us. */
void smtp_receive(struct smtp *smtp, const char *bytes, size_t len)
{
    size_t at = 0, due = smtp_owed(smtp);
    while (at < len && smtp->state != SMTP_CLOSED) {
        size_t used = 0;
        if (smtp->state == SMTP_SECURING) {
            smtp_fail_session(smtp, 0, "bytes in clear behind the reply to STARTTLS");
            return;
        }
        enum smtp_reply_status status = smtp_reply_feed(&smtp->parser, bytes + at, len - at, &used);
        at += used;
        if (status == SMTP_REPLY_BAD)
            smtp_fail_session(smtp, 0, smtp_reply_error_text(smtp->parser.error));
        if (status != SMTP_REPLY_DONE)
            continue;
        on_reply(smtp, &smtp->parser.reply);
        smtp_reply_reset(&smtp->parser);
        if (--due == 0 && at < len && smtp->state != SMTP_CLOSED && smtp->state != SMTP_SECURING) {
            on_surplus(smtp, bytes + at, len - at);
            return;
        }
    }
}

void smtp_lost(struct smtp *smtp, const char *why)
{
    if (smtp->state != SMTP_CLOSED)
        smtp_fail_session(smtp, 0, why);
}

/* ---- for the caller ---- */

enum smtp_state smtp_state(const struct smtp *smtp)
{
    return smtp->state;
}

const char *smtp_state_name(enum smtp_state state)
{
    return states[state].name;
}

int smtp_patience(const struct smtp *smtp)
{
    bool data = smtp->state == SMTP_ENVELOPE && smtp->data_sent && smtp->answered > smtp->asked;
    return data ? 2 * MINUTE : states[smtp->state].patience;
}

const struct smtp_extensions *smtp_offers(const struct smtp *smtp)
{
    return &smtp->offers;
}

unsigned smtp_errors(const struct smtp *smtp)
{
    return smtp->refusals + smtp->put_offs;
}

uint64_t smtp_replies(const struct smtp *smtp)
{
    return smtp->replies;
}

struct smtp *smtp_new(const struct smtp_config *config, const struct smtp_events *events, void *ctx)
{
    if (config->max_errors == 0 || *config->helo == '\0' ||
        !smtp_argument_ok(config->helo, SMTP_HELO_MAX))
        return NULL;
    struct smtp *smtp = calloc(1, sizeof *smtp);
    if (!smtp)
        return NULL;
    smtp->events = events;
    smtp->ctx = ctx;
    smtp->max_errors = config->max_errors;
    smtp->starttls = config->starttls;
    smtp->login = config->login;
    smtp->lmtp = config->lmtp;
    smtp->xclient = config->xclient;
    smtp->xforward = config->xforward;
    snprintf(smtp->helo, sizeof smtp->helo, "%s", config->helo);
    smtp_reply_reset(&smtp->parser);
    return smtp;
}

void smtp_free(struct smtp *smtp)
{
    if (!smtp)
        return;
    redact_clear(&smtp->redact);
    free(smtp->takers);
    free(smtp->chunk);
    free(smtp);
}
