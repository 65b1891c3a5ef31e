/* From the greeting to a logged-in session.
 *
 * Promises: no octet of a user name or password goes out before the line is as secure as the
 * account demands; what was learnt in clear is not used after TLS; a refused password is told apart
 * from a server that can't log anybody in just now. */
#include "fetcherd/session_inner.h"

#include <stdlib.h>
#include <string.h>

#include "lib/log.h"

static void ask_capabilities(struct session *s)
{
    session_send(s, POP3_CMD_CAPA, NULL);
}

static void send_user(struct session *s)
{
    if (s->account->tls != CONF_TLS_NONE && !stream_is_secure(s->stream)) {
        session_fail(s, "USER", "the line is not secure: the user name and password are not sent");
        return;
    }
    session_send(s, POP3_CMD_USER, s->account->user);
}

static void send_password(struct session *s)
{
    struct error err;
    char *sealed = ledger_account_secret(s->f->ledger, s->account->key);
    char *secret = secret_open(s->f->key, s->account->name, sealed, &err);

    free(sealed);
    if (!secret) {
        session_fail(s, "PASS", "%s", err.text);
        return;
    }
    session_send(s, POP3_CMD_PASS, secret);
    secret_wipe(secret);
}

void login_capabilities_known(struct session *s, bool answered)
{
    bool wants_tls = s->account->tls == CONF_TLS_STARTTLS && !stream_is_secure(s->stream);

    if (wants_tls && answered && !(s->core.capabilities & POP3_CAP_STLS))
        session_fail(s, "STLS", "the server does not offer STLS (TLS after connecting)");
    else if (wants_tls)
        session_send(s, POP3_CMD_STLS, NULL);
    else if (s->authenticated)
        survey_begin(s);
    else
        send_user(s);
}

void login_secured(struct session *s)
{
    ask_capabilities(s);
}

/* RFC 2449, RFC 3206: these say that the password is not what is wrong. */
static bool is_temporary(const struct reply *reply)
{
    return reply_has_code(reply, "SYS") || reply_has_code(reply, "IN-USE") ||
           reply_has_code(reply, "LOGIN-DELAY");
}

static void on_refused(struct session *s, const struct pop3_event *event)
{
    bool credentials = event->command == POP3_CMD_USER || event->command == POP3_CMD_PASS;

    if (event->command == POP3_CMD_CAPA) {
        login_capabilities_known(s, false);
        return;
    }
    s->result.bad_password = credentials && !is_temporary(event->reply);
    session_fail_reply(s, event->command, event->reply);
}

static void on_logged_in(struct session *s)
{
    s->authenticated = true;
    /* Some servers announce PIPELINING to those alone who are logged in (RFC 2449 section 5). */
    if (s->core.capabilities & POP3_CAP_PIPELINING)
        survey_begin(s);
    else
        ask_capabilities(s);
}

void login_reply(struct session *s, const struct pop3_event *event)
{
    if (!event->reply->ok) {
        on_refused(s, event);
        return;
    }
    switch (event->command) {
    case POP3_CMD_GREETING:
        ask_capabilities(s);
        break;
    case POP3_CMD_USER:
        send_password(s);
        break;
    case POP3_CMD_PASS:
        on_logged_in(s);
        break;
    default: /* CAPA: its lines follow. STLS: session.c begins TLS when the input is used up */
        break;
    }
}
