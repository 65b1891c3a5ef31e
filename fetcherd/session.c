/* A session's life: connection, steps, end.
 *
 * Promises: a session ends exactly once and tells why; whatever way it ends, messages that were
 * received whole are kept and no others; nothing is freed while a callback of it is on the stack.
 */
#include "fetcherd/session_inner.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fetcherd/poll.h"
#include "fetcherd/transcript.h"
#include "fetcherd/watch.h"
#include "lib/clock.h"
#include "lib/log.h"

#define DEFAULT_LOGIN_DELAY (15 * CLOCK_MINUTE)
#define LOGIN_DELAY_MAX     CLOCK_DAY

static const char *const step_names[] = {
    [SESSION_CONNECTING] = "connecting", [SESSION_LOGIN] = "login",
    [SESSION_SECURING] = "securing",     [SESSION_SURVEY] = "survey",
    [SESSION_WORKING] = "working",       [SESSION_WAITING] = "waiting",
    [SESSION_QUITTING] = "quitting",     [SESSION_OVER] = "over",
};
static_assert(sizeof step_names / sizeof *step_names == SESSION_STEPS, "a name for every step");

void session_set_step(struct session *s, enum session_step step)
{
    if (log_is_verbose())
        LOG(LOG_DETAIL, "session-step", KV("account", s->account->name),
            KV("from", step_names[s->step]), KV("to", step_names[step]));
    s->step = step;
}

void session_uidl(const struct session *s, const struct maildrop_item *item,
                  char text[static POP3_UIDL_MAX + 1])
{
    snprintf(text, POP3_UIDL_MAX + 1, "%.*s", (int)item->uidl_len,
             maildrop_item_uidl(&s->drop, item));
}

/* --- ends --------------------------------------------------------------------------------- */

static void over(struct session *s)
{
    pop3_stop(&s->core);
    session_set_step(s, SESSION_OVER);
}

void session_fail(struct session *s, const char *command, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    if (s->step == SESSION_OVER)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    log_escape(s->result.error, sizeof s->result.error, text, strlen(text));
    s->result.ok = false;
    s->result.more = false;
    s->result.command = command;
    over(s);
}

void session_note_code(struct session *s, const struct reply *reply)
{
    s->result.permanent = reply_has_code(reply, "SYS/PERM");
    if (reply_has_code(reply, "LOGIN-DELAY") && !s->result.login_delay)
        s->result.login_delay = DEFAULT_LOGIN_DELAY;
}

void session_fail_reply(struct session *s, enum pop3_command command, const struct reply *reply)
{
    char text[400];

    session_note_code(s, reply);
    log_escape(text, sizeof text, reply->text, reply->text_len);
    session_fail(s, pop3_command_name(command), "the server said: -ERR %s", text);
}

void session_finish(struct session *s)
{
    if (s->step == SESSION_OVER)
        return;
    s->result.ok = true;
    over(s);
}

static void release(struct session *s)
{
    struct poll *poll = s->f->poll;
    struct account *account = s->account;
    struct session_result result = s->result;

    transcript_close(s->transcript, result.ok ? "done" : result.error);
    deadline_free(s);
    event_free(s->wait_timer);
    event_free(s->batch_timer);
    login_free(&s->login);
    intake_free(&s->intake);
    stream_free(s->stream);
    free(s->spooled);
    free(s->syncing);
    free(s->deleted);
    free(s->deletes);
    maildrop_free(&s->drop);
    free(s);
    poll_session_ended(poll, account, &result);
}

void session_enter(struct session *s)
{
    s->depth++;
}

void session_leave(struct session *s)
{
    if (s->depth == 1 && s->step == SESSION_OVER) {
        delete_doubtful(s);
        mail_close(s, false);
        release(s);
        return;
    }
    s->depth--;
}

void session_abort(struct session *s)
{
    session_enter(s);
    if (s->step != SESSION_OVER) {
        s->result.aborted = true;
        over(s);
    }
    session_leave(s);
}

/* --- the protocol core -------------------------------------------------------------------- */

void session_send(struct session *s, enum pop3_command command, const char *argument)
{
    size_t len = argument ? strlen(argument) : 0;
    enum pop3_sent sent = pop3_send(&s->core, command, argument, len);

    if (sent == POP3_REFUSED_ARGUMENT)
        session_fail(s, pop3_command_name(command),
                     "the user name or password can't be sent: it is empty or holds a line end");
    else if (sent != POP3_SENT)
        session_fail(s, pop3_command_name(command), "the command may not be sent now");
}

static void on_core_send(void *arg, const char *data, size_t len)
{
    struct session *s = arg;
    transcript_sent(s->transcript, data, len, !s->authenticated);
    stream_write(s->stream, data, len);
}

static void on_core_trace(void *arg, enum pop3_state from, enum pop3_state to)
{
    struct session *s = arg;

    if (log_is_verbose())
        LOG(LOG_DETAIL, "pop3-state", KV("account", s->account->name),
            KV("from", pop3_state_name(from)), KV("to", pop3_state_name(to)));
}

static void on_broken(struct session *s, const struct pop3_event *event)
{
    char line[300] = "";

    if (event->data)
        log_escape(line, sizeof line, event->data, event->len);
    mail_out_of_step(s, event->problem);
    session_fail(s, pop3_command_name(event->command), "%s%s%s%s", event->problem,
                 event->data ? ": \"" : "", line, event->data ? "\"" : "");
}

/* No QUIT, nothing deleted: going on at once is of use only where something was fetched. */
static void unconfirmed(struct session *s)
{
    s->result.more = s->result.more && s->result.fetched > 0;
}

static void on_quit(struct session *s, const struct reply *reply)
{
    if (reply->ok) {
        delete_confirmed(s);
    } else {
        LOG(LOG_WARN, "quit-refused", KV("account", s->account->name),
            KV("meaning", "the next listing shows what was deleted"));
        unconfirmed(s);
    }
    session_finish(s);
}

/* RFC 2449 section 6.5: "LOGIN-DELAY seconds [USER]", before authentication the largest there is,
 * after it perhaps less. */
static void note_capability(struct session *s, const char *line, size_t len)
{
    static const char word[] = "LOGIN-DELAY ";
    int64_t seconds = 0;

    if (len < sizeof word || strncasecmp(line, word, sizeof word - 1) != 0)
        return;
    for (size_t i = sizeof word - 1; i < len && line[i] >= '0' && line[i] <= '9'; i++)
        if (seconds < LOGIN_DELAY_MAX)
            seconds = 10 * seconds + (line[i] - '0');
    int64_t delay = seconds * CLOCK_SECOND;
    s->result.login_delay = delay < LOGIN_DELAY_MAX ? delay : LOGIN_DELAY_MAX;
}

static void note_event(struct session *s, const struct pop3_event *event)
{
    transcript_event(s->transcript, event);
    s->answers += event->type == POP3_EV_REPLY || event->type == POP3_EV_LISTING_END ||
                  event->type == POP3_EV_MESSAGE_END;
    if (event->type == POP3_EV_CAPABILITY)
        note_capability(s, event->data, event->len);
}

static void on_core_event(void *arg, const struct pop3_event *event)
{
    struct session *s = arg;

    if (s->step == SESSION_OVER)
        return;
    note_event(s, event);
    if (event->type == POP3_EV_BROKEN) {
        on_broken(s, event);
        return;
    }
    switch (s->step) {
    case SESSION_LOGIN:
        if (event->type == POP3_EV_LISTING_END)
            login_capabilities_known(s, true);
        else if (event->type == POP3_EV_REPLY)
            login_reply(s, event);
        else
            login_event(s, event);
        break;
    case SESSION_SURVEY:
        survey_event(s, event);
        break;
    case SESSION_WORKING:
    case SESSION_WAITING:
        mail_event(s, event);
        break;
    case SESSION_QUITTING:
        if (event->type == POP3_EV_REPLY)
            on_quit(s, event->reply);
        break;
    default:
        break;
    }
}

static const struct pop3_ops core_ops = {
    .send = on_core_send, .event = on_core_event, .trace = on_core_trace};

/* --- the connection ----------------------------------------------------------------------- */

static void take_input(struct session *s)
{
    struct evbuffer *in = stream_input(s->stream);
    size_t len = evbuffer_get_length(in);

    if (s->step == SESSION_OVER || !len)
        return;
    s->octets += len;
    pop3_feed(&s->core, (const char *)evbuffer_pullup(in, -1), len);
    evbuffer_drain(in, len);
}

/* STLS was accepted: octets that are here already came in clear, and stream_secure refuses them. */
static void begin_tls(struct session *s)
{
    struct error err;

    session_set_step(s, SESSION_SECURING);
    if (!stream_secure(s->stream, &err))
        session_fail(s, "STLS", "%s", err.text);
}

static void on_data(struct session *s)
{
    take_input(s);
    if (s->step == SESSION_LOGIN && s->core.state == POP3_TLS)
        begin_tls(s);
    else if (s->step == SESSION_WORKING || s->step == SESSION_WAITING)
        mail_advance(s);
}

static void on_lost(struct session *s, enum stream_event event)
{
    const char *why = stream_error(s->stream);
    const char *command = pop3_awaited(&s->core);

    if (event == STREAM_CLOSED)
        take_input(s);
    if (s->step == SESSION_OVER)
        return;
    /* All is done; what was deleted shows in the next listing. */
    if (s->step == SESSION_QUITTING || (s->step == SESSION_WAITING && pop3_idle(&s->core))) {
        unconfirmed(s);
        session_finish(s);
        return;
    }
    if (s->step == SESSION_CONNECTING || s->step == SESSION_SECURING)
        command = s->step == SESSION_CONNECTING ? "connect" : "STLS";
    mail_charge_current(s, why);
    session_fail(s, command, "%s", why);
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct session *s = arg;

    (void)stream;
    session_enter(s);
    switch (event) {
    case STREAM_CONNECTED:
        session_set_step(s, SESSION_LOGIN);
        transcript_note(s->transcript,
                        stream_is_secure(s->stream) ? "connected, TLS" : "connected");
        deadline_begin(s);
        stream_set_timeout(s->stream, fetcherd_conf(s->f)->fetch.timeout);
        break;
    case STREAM_SECURED:
        pop3_tls_done(&s->core);
        session_set_step(s, SESSION_LOGIN);
        login_secured(s);
        break;
    case STREAM_DATA:
        on_data(s);
        break;
    case STREAM_DRAINED:
        break;
    default:
        on_lost(s, event);
    }
    session_leave(s);
}

/* --- timers and the beginning ------------------------------------------------------------- */

static void on_batch_age(evutil_socket_t fd, short what, void *arg)
{
    struct session *s = arg;

    (void)fd;
    (void)what;
    session_enter(s);
    mail_advance(s);
    session_leave(s);
}

static void on_wait(evutil_socket_t fd, short what, void *arg)
{
    struct session *s = arg;

    (void)fd;
    (void)what;
    session_enter(s);
    wait_ask(s);
    session_leave(s);
}

struct session *session_begin(struct fetcherd *f, struct account *account, bool by_hand)
{
    const struct conf *conf = fetcherd_conf(f);
    struct session *s = calloc(1, sizeof *s);

    if (!s)
        abort();
    s->f = f;
    s->account = account;
    s->by_hand = by_hand;
    s->result.command = "";
    s->size_limit = watch_size_limit(f->watch);
    s->batch_timer = evtimer_new(f->daemon->base, on_batch_age, s);
    s->wait_timer = evtimer_new(f->daemon->base, on_wait, s);
    if (!s->batch_timer || !s->wait_timer)
        abort();
    maildrop_init(&s->drop);
    login_init(&s->login, f, account);
    if (by_hand)
        s->transcript = transcript_open(conf->state_dir, account, account->continued);
    intake_init(&s->intake, f->spool, account, conf->default_domain);
    pop3_init(&s->core, SESSION_LISTING_MAX, &core_ops, s);
    s->stream = login_connect(&s->login, on_stream, s);
    return s;
}
