/* From the greeting to a logged-in session.
 *
 * Promises: no octet of a user name or password goes out before the line is as secure as the
 * account demands; what was learnt in clear is not used after TLS; a refused password is told apart
 * from a server that can't log anybody in just now. */
#include "fetcherd/session_inner.h"

#include <string.h>

#include "lib/log.h"

static void ask_capabilities(struct session *s)
{
    session_send(s, POP3_CMD_CAPA, NULL);
}

/* Some servers announce PIPELINING to those alone who are logged in (RFC 2449 section 5). */
static void on_logged_in(struct session *s)
{
    s->authenticated = true;
    LOG(LOG_DETAIL, "logged-in", KV("account", s->account->name),
        KV("by", auth_method(&s->login.auth)),
        KV("tls", stream_is_secure(s->stream) ? "yes" : "no"));
    if (s->core.capabilities & POP3_CAP_PIPELINING)
        survey_begin(s);
    else
        ask_capabilities(s);
}

static void on_progress(struct session *s, enum auth_progress progress)
{
    if (progress == AUTH_DONE) {
        on_logged_in(s);
    } else if (progress != AUTH_GOES_ON) {
        s->result.bad_password = progress == AUTH_REFUSED;
        session_fail(s, s->login.auth.command, "%s", s->login.auth.error.text);
    }
}

static void begin_auth(struct session *s)
{
    bool secure = stream_is_secure(s->stream);
    enum auth_progress progress = login_begin(&s->login, s->stream, &s->core);

    if (progress == AUTH_GOES_ON && !secure)
        LOG(LOG_NOTE,
            auth_method_is_clear(&s->login.auth) ? "password-in-clear" : "login-without-tls",
            KV("account", s->account->name), KV("server", s->account->server),
            KV("by", auth_method(&s->login.auth)));
    on_progress(s, progress);
}

void login_capabilities_known(struct session *s, bool answered)
{
    enum login_next next = login_capabilities(&s->login, s->stream, &s->core, answered);

    if (next == LOGIN_NO_STLS)
        session_fail(s, "STLS", "%s", login_no_stls);
    else if (next == LOGIN_STLS)
        session_send(s, POP3_CMD_STLS, NULL);
    else if (s->authenticated)
        survey_begin(s);
    else
        begin_auth(s);
}

void login_secured(struct session *s)
{
    auth_capabilities_begin(&s->login.auth); /* said in clear, by whomever */
    ask_capabilities(s);
}

void login_event(struct session *s, const struct pop3_event *event)
{
    if (event->type == POP3_EV_CAPABILITY)
        auth_capability(&s->login.auth, event->data, event->len);
    else if (event->type == POP3_EV_CHALLENGE)
        on_progress(s, auth_event(&s->login.auth, event));
}

static void on_refused(struct session *s, const struct pop3_event *event)
{
    if (event->command == POP3_CMD_CAPA)
        login_capabilities_known(s, false);
    else
        session_fail_reply(s, event->command, event->reply);
}

void login_reply(struct session *s, const struct pop3_event *event)
{
    switch (event->command) {
    case POP3_CMD_USER:
    case POP3_CMD_PASS:
    case POP3_CMD_APOP:
    case POP3_CMD_AUTH:
        session_note_code(s, event->reply);
        on_progress(s, auth_event(&s->login.auth, event));
        return;
    default:
        break;
    }
    if (!event->reply->ok) {
        on_refused(s, event);
    } else if (event->command == POP3_CMD_GREETING) {
        auth_greeting(&s->login.auth, event->reply);
        ask_capabilities(s);
    } else if (event->command == POP3_CMD_CAPA) {
        auth_capabilities_begin(&s->login.auth);
    } /* STLS: session.c begins TLS when the input is used up */
}
