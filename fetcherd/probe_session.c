/* The session of a probe: connect, log in, STAT, UIDL, LIST, QUIT.
 *
 * Promises: RETR and DELE are never sent, and the ledger is only read; a probe ends within a fixed
 * time, whatever the server does; the password is guarded as in a poll (fetcherd/auth.h); a poll
 * and a probe of one account are never open at once. */
#include "fetcherd/probe_inner.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetcherd/poll.h"
#include "fetcherd/watch.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/tls_report.h"

#define DEADLINE    (2 * CLOCK_MINUTE) /* from the connection on */
#define LOOK        200                /* ms between looks whether the poll has ended */
#define LISTING_MAX 1000000            /* lines of UIDL or LIST */

enum { CAPABILITIES_MAX = 64 };

/* --- the end ------------------------------------------------------------------------------ */

void probe_free(struct probe *p)
{
    if (!p)
        return;
    if (p->holds_account)
        p->account->preparing = false;
    stream_free(p->stream);
    event_free(p->timer);
    login_free(&p->login);
    probe_list_free(&p->list);
    json_decref(p->capabilities);
    json_decref(p->warnings);
    json_decref(p->result);
    free(p);
}

static void warn(struct probe *p, const char *text)
{
    json_array_append_new(p->warnings, json_string(text));
}

static json_t *safe_string(const char *text)
{
    char safe[1024];
    return json_string(log_escape(safe, sizeof safe, text, strlen(text)));
}

static void report_tls(struct probe *p)
{
    struct tls_facts facts;

    if (!p->stream || !stream_tls_facts(p->stream, &facts))
        return;
    if (tls_report(p->result, &facts))
        warn(p, "the certificate will expire within two weeks");
}

/* Only the first end counts. */
static void end(struct probe *p, const char *step, const char *error)
{
    if (p->over)
        return;
    p->over = true;
    p->ended = clock_monotonic();
    pop3_stop(&p->core);
    (void)evtimer_del(p->timer);
    if (p->stream && stream_address(p->stream)[0])
        json_object_set_new(p->result, "address", json_string(stream_address(p->stream)));
    report_tls(p);
    json_object_set_new(p->result, "ok", json_boolean(!error));
    json_object_set_new(p->result, "step", error ? json_string(step) : json_null());
    json_object_set_new(p->result, "error", error ? safe_string(error) : json_null());
    json_object_set(p->result, "capabilities", p->capabilities);
    json_object_set(p->result, "warnings", p->warnings);
    stream_free(p->stream); /* it may be within its callback: it looks after that */
    login_free(&p->login);  /* what it knows of the password is not to lie about */
    p->stream = NULL;
    if (p->holds_account)
        p->account->preparing = false;
    p->holds_account = false;
    p->account = NULL;
    poll_wake(p->f->poll);
}

void probe_fail(struct probe *p, const char *step, const char *fmt, ...)
{
    char text[900];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    end(p, step, text);
}

static void fail_reply(struct probe *p, enum pop3_command command, const struct reply *reply)
{
    probe_fail(p, pop3_command_name(command), "the server said: -ERR %.*s", (int)reply->text_len,
               reply->text);
}

/* --- counting ----------------------------------------------------------------------------- */

static void ask(struct probe *p, enum pop3_command command)
{
    if (pop3_send(&p->core, command, NULL, 0) != POP3_SENT)
        probe_fail(p, pop3_command_name(command), "the command may not be sent now");
}

static void finish_counting(struct probe *p)
{
    struct probe_totals totals;

    probe_list_complete(&p->list, p->f->ledger, p->account->key);
    totals = probe_list_totals(&p->list, watch_size_limit(p->f->watch));
    json_object_set_new(p->result, "new", json_integer((json_int_t)totals.unknown));
    json_object_set_new(p->result, "too_large", json_integer((json_int_t)totals.too_large));
    json_object_set_new(p->result, "largest", json_integer((json_int_t)totals.largest));
    p->step = PROBE_QUITTING;
    ask(p, POP3_CMD_QUIT);
}

/* STAT, then UIDL, then LIST; an empty mailbox needs no listings. */
static void go_on(struct probe *p)
{
    static const enum pop3_command listings[] = {POP3_CMD_UIDL, POP3_CMD_LIST};

    if (p->listings == sizeof listings / sizeof *listings || p->list.expected == 0)
        finish_counting(p);
    else
        ask(p, listings[p->listings++]);
}

static void on_counted(struct probe *p, const struct pop3_event *event)
{
    if (event->command == POP3_CMD_STAT) {
        if (!event->reply->ok) {
            fail_reply(p, event->command, event->reply);
            return;
        }
        p->list.expected = event->number;
        json_object_set_new(p->result, "messages", json_integer(event->number));
        json_object_set_new(p->result, "octets", json_integer((json_int_t)event->size));
        go_on(p);
    } else if (!event->reply->ok) { /* of a listing; its lines come as other events */
        if (event->command == POP3_CMD_UIDL)
            warn(p, "the server has no UIDL: mail is told apart by its content alone");
        go_on(p);
    }
}

/* --- login -------------------------------------------------------------------------------- */

static void on_logged_in(struct probe *p)
{
    json_object_set_new(p->result, "method", json_string(auth_method(&p->login.auth)));
    p->step = PROBE_COUNTING;
    ask(p, POP3_CMD_STAT);
}

static void on_progress(struct probe *p, enum auth_progress progress)
{
    if (progress == AUTH_DONE)
        on_logged_in(p);
    else if (progress == AUTH_REFUSED)
        probe_fail(p, "login", "the user name or password was refused (%s): %s",
                   p->login.auth.command, p->login.auth.error.text);
    else if (progress == AUTH_FAILED)
        probe_fail(p, "login", "%s: %s", p->login.auth.command, p->login.auth.error.text);
}

static void begin_auth(struct probe *p)
{
    enum auth_progress progress = login_begin(&p->login, p->stream, &p->core);

    if (!stream_is_secure(p->stream) && progress == AUTH_GOES_ON)
        warn(p, auth_warning(&p->login.auth));
    on_progress(p, progress);
}

static void capabilities_known(struct probe *p, bool answered)
{
    enum login_next next = login_capabilities(&p->login, p->stream, &p->core, answered);

    if (next == LOGIN_NO_STLS)
        probe_fail(p, "STLS", "%s", login_no_stls);
    else if (next == LOGIN_STLS)
        ask(p, POP3_CMD_STLS);
    else
        begin_auth(p);
}

static void on_capability(struct probe *p, const struct pop3_event *event)
{
    char line[256];

    auth_capability(&p->login.auth, event->data, event->len);
    if (json_array_size(p->capabilities) < CAPABILITIES_MAX)
        json_array_append_new(p->capabilities,
                              json_string(log_escape(line, sizeof line, event->data, event->len)));
}

static void on_login_reply(struct probe *p, const struct pop3_event *event)
{
    switch (event->command) {
    case POP3_CMD_USER:
    case POP3_CMD_PASS:
    case POP3_CMD_APOP:
    case POP3_CMD_AUTH:
        on_progress(p, auth_event(&p->login.auth, event));
        return;
    case POP3_CMD_CAPA:
        if (event->reply->ok)
            auth_capabilities_begin(&p->login.auth);
        else
            capabilities_known(p, false);
        return;
    default:
        break;
    }
    if (!event->reply->ok) {
        fail_reply(p, event->command, event->reply);
    } else if (event->command == POP3_CMD_GREETING) {
        auth_greeting(&p->login.auth, event->reply);
        ask(p, POP3_CMD_CAPA);
    } /* STLS: TLS begins when the input is used up */
}

/* --- the protocol core and the connection ------------------------------------------------- */

static void on_core_send(void *arg, const char *data, size_t len)
{
    struct probe *p = arg;
    if (p->stream)
        stream_write(p->stream, data, len);
}

static void on_reply(struct probe *p, const struct pop3_event *event)
{
    if (p->step == PROBE_LOGIN)
        on_login_reply(p, event);
    else if (p->step == PROBE_COUNTING)
        on_counted(p, event);
    else if (p->step == PROBE_QUITTING)
        end(p, "", NULL);
}

static void on_listing_end(struct probe *p, enum pop3_command command)
{
    if (command == POP3_CMD_CAPA)
        capabilities_known(p, true);
    else if (p->step == PROBE_COUNTING)
        go_on(p);
}

static void on_broken(struct probe *p, const struct pop3_event *event)
{
    char line[300] = "";

    if (event->data)
        log_escape(line, sizeof line, event->data, event->len);
    probe_fail(p, pop3_command_name(event->command), "%s%s%s%s", event->problem,
               event->data ? ": \"" : "", line, event->data ? "\"" : "");
}

static void on_core_event(void *arg, const struct pop3_event *event)
{
    struct probe *p = arg;

    if (p->over)
        return;
    switch (event->type) {
    case POP3_EV_REPLY:
        on_reply(p, event);
        break;
    case POP3_EV_CHALLENGE:
        on_progress(p, auth_event(&p->login.auth, event));
        break;
    case POP3_EV_CAPABILITY:
        on_capability(p, event);
        break;
    case POP3_EV_LIST_ITEM:
        probe_list_size(&p->list, event->number, event->size);
        break;
    case POP3_EV_UIDL_ITEM:
        probe_list_uidl(&p->list, event->number, event->data, event->len);
        break;
    case POP3_EV_LISTING_END:
        on_listing_end(p, event->command);
        break;
    case POP3_EV_BROKEN:
        on_broken(p, event);
        break;
    default: /* bad lines of a listing are passed over */
        break;
    }
}

static const struct pop3_ops core_ops = {.send = on_core_send, .event = on_core_event};

static void take_input(struct probe *p)
{
    struct evbuffer *in = stream_input(p->stream);
    size_t len = evbuffer_get_length(in);
    struct error err;

    if (p->over || !len)
        return;
    pop3_feed(&p->core, (const char *)evbuffer_pullup(in, -1), len);
    if (!p->over)
        evbuffer_drain(in, len);
    /* Octets that are here already came in clear; stream_secure refuses them. */
    if (!p->over && p->core.state == POP3_TLS && !stream_secure(p->stream, &err))
        probe_fail(p, "STLS", "%s", err.text);
}

static const char *lost_at(const struct probe *p)
{
    if (p->step == PROBE_CONNECTING)
        return stream_address(p->stream)[0] ? "connect" : "resolve";
    return p->core.state == POP3_TLS ? "STLS" : pop3_awaited(&p->core);
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct probe *p = arg;

    switch (event) {
    case STREAM_CONNECTED:
        p->step = PROBE_LOGIN;
        break;
    case STREAM_SECURED: /* what was said in clear is forgotten */
        pop3_tls_done(&p->core);
        auth_capabilities_begin(&p->login.auth);
        json_array_clear(p->capabilities);
        ask(p, POP3_CMD_CAPA);
        break;
    case STREAM_DATA:
        take_input(p);
        break;
    case STREAM_DRAINED:
        break;
    default:
        if (event == STREAM_CLOSED)
            take_input(p);
        if (p->step == PROBE_QUITTING)
            end(p, "", NULL);
        else if (!p->over)
            probe_fail(p, lost_at(p), "%s", stream_error(stream));
    }
}

/* --- the beginning ------------------------------------------------------------------------ */

static void wake_in(struct probe *p, int64_t ms)
{
    struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    (void)evtimer_add(p->timer, &wait);
}

static void connect_now(struct probe *p)
{
    p->account->preparing = p->holds_account = true;
    p->step = PROBE_CONNECTING;
    p->stream = login_connect(&p->login, on_stream, p);
    wake_in(p, DEADLINE);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct probe *p = arg;

    (void)fd;
    (void)what;
    if (p->over)
        return;
    if (p->step != PROBE_QUEUED)
        probe_fail(p, lost_at(p), "not done within %d s", (int)(DEADLINE / CLOCK_SECOND));
    else if (p->account->session || p->account->preparing)
        wake_in(p, LOOK);
    else
        connect_now(p);
}

struct probe *probe_new(struct fetcherd *f, struct account *a)
{
    struct probe *p = calloc(1, sizeof *p);

    if (!p)
        abort();
    *p = (struct probe){.f = f, .account = a};
    p->timer = evtimer_new(f->daemon->base, on_timer, p);
    if (!p->timer)
        abort();
    p->result = json_pack("{s:s, s:s, s:i, s:s, s:o}", "name", a->name, "server", a->server, "port",
                          a->port, "tls", conf_tls_name(a->tls), "user", safe_string(a->user));
    p->capabilities = json_array();
    p->warnings = json_array();
    login_init(&p->login, f, a);
    pop3_init(&p->core, LISTING_MAX, &core_ops, p);
    wake_in(p, 0);
    return p;
}
