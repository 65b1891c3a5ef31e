/* Joins a stream to the SMTP core. Promises: the message is read in pieces as the connection takes
 * them, never more than some 300 KiB ahead; the final dot goes out only when size and hash of the
 * file were found true; each state has its own time-out (RFC 5321, 4.5.3.2); after `ended` nothing
 * is called any more. */
#include "relayd/session.h"

#include "lib/clock.h"
#include "lib/log.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_TIMEOUT (30 * CLOCK_SECOND)
#define IDLE_SECONDS    5
#define LEAVE_SECONDS   2 /* for each reply, when all that is left to say is QUIT */

enum {
    OUTPUT_HIGH = 256 * 1024, /* stop reading the file */
    OUTPUT_LOW = 64 * 1024,   /* read on */
    PIECE = 32 * 1024,
    PACE_MIN = 128, /* octets a second of the message that a server has to take */
};

struct session {
    struct session_owner owner;
    struct stream *stream;
    struct smtp *smtp;
    struct conf *conf; /* shared: a reload does not change what this session goes by */
    struct auth auth;
    struct sasl_binding binding;
    const char *method; /* of the login; "" before it */
    const char *stage;
    struct event *idle;
    struct session_deadline {
        struct event *timer;
        enum smtp_state state; /* in which it was set, and how many replies had come */
        uint64_t replies;
        uint64_t moved; /* octets of ours that had gone out */
    } deadline;
    uint64_t written; /* octets of ours */
    int64_t began;    /* monotonic: the message; 0: there was none yet */
    int64_t heard; /* monotonic: the server said something, or took of the message, or it began */
    struct attempt *attempt;
    struct smtp_envelope envelope;
    uint64_t ticket;
    size_t messages;
    bool read_whole; /* the file, and it is true */
    bool quit_wanted;
    bool was_ready;
    bool over;
};

/* Told to quit before it was of any use: how it ends says nothing about the server. */
static bool unwanted(const struct session *session)
{
    return session->quit_wanted && !session->was_ready;
}

/* ---- time-outs ---- */

static uint64_t moved(const struct session *session)
{
    return session->written - evbuffer_get_length(stream_output(session->stream));
}

static int patience(const struct session *session)
{
    int usual = smtp_patience(session->smtp);
    return unwanted(session) && usual > LEAVE_SECONDS ? LEAVE_SECONDS : usual;
}

static void set_deadline(struct session *session)
{
    const struct timeval wait = {patience(session), 0};
    session->deadline.state = smtp_state(session->smtp);
    session->deadline.replies = smtp_replies(session->smtp);
    session->deadline.moved = moved(session);
    (void)evtimer_add(session->deadline.timer, &wait);
}

/* What the server owes now says how long it may take: for the whole of a reply, also when it comes
 * in drips; a silent line has timed out as well. */
static void renew_timeout(struct session *session)
{
    const struct session_deadline *deadline = &session->deadline;
    if (session->over)
        return;
    stream_set_timeout(session->stream, smtp_patience(session->smtp) * CLOCK_SECOND);
    if (smtp_state(session->smtp) == SMTP_READY)
        (void)evtimer_del(deadline->timer);
    else if (deadline->state != smtp_state(session->smtp) ||
             deadline->replies != smtp_replies(session->smtp) ||
             !evtimer_pending(deadline->timer, NULL))
        set_deadline(session);
}

/* Of the message the server owes no reply, but has to take it at a bearable pace. Once it is out,
 * it may be we who wait, for a commit. */
static bool takes_it(const struct session *session)
{
    uint64_t got = moved(session) - session->deadline.moved;
    if (smtp_state(session->smtp) != SMTP_BODY)
        return false;
    return got >= (uint64_t)smtp_patience(session->smtp) * PACE_MIN ||
           (session->read_whole && !session->owner.may_end(session->owner.arg, (void *)session));
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    struct session *session = arg;
    char why[120];
    (void)fd;
    (void)what;
    if (session->over)
        return;
    if (takes_it(session)) {
        set_deadline(session);
        return;
    }
    (void)snprintf(why, sizeof why, "the server took longer than %d s (%s)", patience(session),
                   session->stage);
    smtp_lost(session->smtp, why);
}

/* ---- the message ---- */

static struct attempt *give_up_attempt(struct session *session)
{
    struct attempt *attempt = session->attempt;
    session->attempt = NULL;
    return attempt;
}

static void end_session(struct session *session, enum smtp_close how, const char *text)
{
    if (session->over)
        return;
    session->over = true;
    (void)evtimer_del(session->idle);
    (void)evtimer_del(session->deadline.timer);
    session->owner.ended(session->owner.arg, session, unwanted(session) ? SMTP_CLOSED_QUIT : how,
                         text);
}

static void on_unreadable(struct session *session, const struct error *err)
{
    smtp_abandon(session->smtp);
    session->owner.unreadable(session->owner.arg, session, give_up_attempt(session), err);
    end_session(session, SMTP_CLOSED_QUIT, "dropped, because the message can't be sent");
}

static void send_end(struct session *session)
{
    if (session->owner.may_end(session->owner.arg, session))
        smtp_body_end(session->smtp);
}

static void send_body(struct session *session)
{
    char piece[PIECE];
    struct evbuffer *output = stream_output(session->stream);
    while (!session->read_whole && smtp_wants_body(session->smtp) &&
           evbuffer_get_length(output) < OUTPUT_HIGH) {
        struct error err;
        size_t got = 0;
        if (!message_read(session->attempt->reader, piece, sizeof piece, &got, &err)) {
            on_unreadable(session, &err);
            return;
        }
        session->read_whole = got == 0;
        smtp_body(session->smtp, piece, got);
    }
    if (session->read_whole)
        send_end(session);
}

void session_go_on(struct session *session)
{
    if (!session->over && smtp_state(session->smtp) == SMTP_BODY && session->read_whole)
        send_end(session);
    renew_timeout(session);
}

enum smtp_refusal session_begin(struct session *session, struct attempt *attempt)
{
    const struct message_head *head = message_reader_head(attempt->reader);
    session->envelope = (struct smtp_envelope){
        .sender = head->sender,
        .recipients = attempt->addresses,
        .count = attempt->count,
        .size = message_reader_size(attempt->reader),
        .by_data = attempt->by_data,
        .client = attempt->client.address[0] != '\0' ? &attempt->client : NULL,
    };
    session->attempt = attempt;
    session->began = session->heard = clock_monotonic();
    session->read_whole = false;
    enum smtp_refusal refusal = smtp_start(session->smtp, &session->envelope);
    if (refusal == SMTP_STARTED)
        (void)evtimer_del(session->idle);
    else
        session->attempt = NULL;
    renew_timeout(session);
    return refusal;
}

/* ---- events of the core ---- */

static void on_send(void *ctx, const char *bytes, size_t len)
{
    struct session *session = ctx;
    session->written += len;
    stream_write(session->stream, bytes, len);
}

static void on_secure(void *ctx)
{
    struct session *session = ctx;
    struct error err;
    if (!stream_secure(session->stream, &err))
        smtp_lost(session->smtp, err.text);
}

/* ---- logging in ---- */

static enum auth_progress begin_login(struct session *session)
{
    const struct conf *conf = session->conf;
    struct stream *stream = session->stream;
    struct sasl_binding *binding = &session->binding;
    bool bound = stream_binding(stream, &binding->exporter, binding->data, sizeof binding->data,
                                &binding->len);
    const struct auth_login login = {
        .option = conf->relay.auth,
        .user = conf->relay.user,
        .host = conf->relay.host,
        .port = conf->relay.port,
        .secure = stream_is_secure(stream) || conf->relay.host[0] == '/',
        .clear_is_ok = conf->relay.tls == CONF_TLS_NONE,
        .binding = bound ? binding : NULL,
        .secret = session->owner.secret,
        .arg = session->owner.arg,
    };
    return auth_begin(&session->auth, session->smtp, &login);
}

static void on_login(void *ctx, const struct smtp_reply *reply)
{
    struct session *session = ctx;
    struct auth *auth = &session->auth;
    if (!reply && session->quit_wanted) { /* the password may be another server's by now */
        smtp_quit(session->smtp);
        return;
    }
    enum auth_progress progress = reply ? auth_reply(auth, reply) : begin_login(session);
    if (progress == AUTH_GOES_ON)
        return;
    if (progress != AUTH_DONE) {
        char why[sizeof auth->error.text];
        (void)snprintf(why, sizeof why, "%s", auth->error.text);
        auth_free(auth);
        smtp_login_failed(session->smtp,
                          progress == AUTH_REFUSED ? SMTP_CLOSED_LOGIN : SMTP_CLOSED_FAILED, why);
        return;
    }
    LOG(LOG_DETAIL, "relay-logged-in", KV("user", session->conf->relay.user),
        KV("by", auth_method(auth)), KV("tls", stream_is_secure(session->stream) ? "yes" : "no"));
    session->method = auth_method(auth);
    auth_free(auth);
    smtp_login_done(session->smtp);
}

static void on_ready(void *ctx)
{
    struct session *session = ctx;
    static const struct timeval wait = {IDLE_SECONDS, 0};
    session->was_ready = true;
    if (session->quit_wanted) {
        smtp_quit(session->smtp);
        return;
    }
    (void)evtimer_add(session->idle, &wait);
    session->owner.ready(session->owner.arg, session);
}

static void on_recipient(void *ctx, size_t index, enum smtp_verdict verdict, const char *reply)
{
    struct session *session = ctx;
    attempt_answer(session->attempt, index, verdict, reply);
}

static void on_want_data(void *ctx)
{
    struct session *session = ctx;
    session->attempt->body_begun = true;
    send_body(session);
}

static void on_result(void *ctx, const struct smtp_result *result)
{
    struct session *session = ctx;
    session->messages++;
    session->owner.result(session->owner.arg, session, give_up_attempt(session), result);
}

/* A server that hangs up on a password has refused it. */
static void on_closed(void *ctx, enum smtp_close how, const char *text)
{
    struct session *session = ctx;
    bool hung_up = how == SMTP_CLOSED_FAILED && auth_in_the_balance(&session->auth);
    auth_free(&session->auth); /* what it knows of the password is not to lie about */
    end_session(session, hung_up ? SMTP_CLOSED_LOGIN : how, text);
}

static void on_trace(void *ctx, enum smtp_state from, enum smtp_state to)
{
    struct session *session = ctx;
    if (to != SMTP_CLOSED)
        session->stage = smtp_state_name(to);
    if (log_is_verbose())
        LOG(LOG_DETAIL, "smtp-state", KV("from", smtp_state_name(from)),
            KV("to", smtp_state_name(to)),
            KV("id", session->attempt ? session->attempt->id : NULL));
}

static const struct smtp_events smtp_events = {
    .send = on_send,
    .secure = on_secure,
    .login = on_login,
    .ready = on_ready,
    .recipient = on_recipient,
    .want_data = on_want_data,
    .result = on_result,
    .closed = on_closed,
    .trace = on_trace,
};

/* ---- events of the stream ---- */

static void on_data(struct session *session)
{
    char bytes[8192];
    int n;
    while (!session->over &&
           (n = evbuffer_remove(stream_input(session->stream), bytes, sizeof bytes)) > 0)
        smtp_receive(session->smtp, bytes, (size_t)n);
    session->heard = clock_monotonic();
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct session *session = arg;
    switch (event) {
    case STREAM_CONNECTED:
        session->stage = smtp_state_name(smtp_state(session->smtp));
        break;
    case STREAM_DATA:
        on_data(session);
        break;
    case STREAM_SECURED:
        smtp_secured(session->smtp);
        break;
    case STREAM_DRAINED:
        session->heard = clock_monotonic();
        if (!session->over && smtp_state(session->smtp) == SMTP_BODY && !session->read_whole)
            send_body(session);
        break;
    case STREAM_CLOSED:
    case STREAM_FAILED:
    case STREAM_TIMEOUT:
        on_data(session); /* its last words */
        if (!session->over)
            smtp_lost(session->smtp, stream_error(stream));
        break;
    default:
        break;
    }
    renew_timeout(session);
}

static void on_idle(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    session_quit(arg);
}

/* ---- for the owner ---- */

struct session *session_open(struct event_base *base, struct stream_context *streams,
                             struct conf *conf, const char *helo, const struct session_owner *owner)
{
    struct session *session = calloc(1, sizeof *session);
    const struct smtp_config config = {
        .helo = helo,
        .max_errors = (unsigned)conf->relay.session_errors,
        .starttls = conf->relay.tls == CONF_TLS_STARTTLS,
        .login = conf->relay.user[0] != '\0',
        .lmtp = strcmp(conf->relay.protocol, "lmtp") == 0,
        .xclient = conf->relay.client == CONF_CLIENT_XCLIENT,
        .xforward = conf->relay.client == CONF_CLIENT_XFORWARD,
    };
    if (!session)
        abort();
    session->owner = *owner;
    session->conf = conf_share(conf);
    session->method = "";
    session->stage = "connect";
    auth_init(&session->auth);
    session->smtp = smtp_new(&config, &smtp_events, session);
    session->idle = evtimer_new(base, on_idle, session);
    session->deadline.timer = evtimer_new(base, on_deadline, session);
    if (!session->smtp || !session->idle || !session->deadline.timer)
        abort();
    const struct stream_peer peer = {
        .host = conf->relay.host,
        .port = conf->relay.port,
        .tls = conf->relay.tls == CONF_TLS_IMPLICIT,
        .ca = conf->relay.ca,
        .pin = conf->relay.pin,
        .connect_timeout = CONNECT_TIMEOUT,
        .timeout = smtp_patience(session->smtp) * CLOCK_SECOND,
    };
    session->stream = stream_connect(streams, &peer, on_stream, session);
    stream_set_low_water(session->stream, OUTPUT_LOW);
    return session;
}

void session_free(struct session *session)
{
    if (!session)
        return;
    session->over = true;
    if (session->attempt && smtp_state(session->smtp) == SMTP_FINAL)
        LOG(LOG_WARN, "possible-duplicate", KV("id", session->attempt->id),
            KV("error", "abandoned while the server's answer was awaited"));
    attempt_free(session->attempt);
    auth_free(&session->auth);
    stream_free(session->stream);
    event_free(session->idle);
    event_free(session->deadline.timer);
    smtp_free(session->smtp);
    conf_free(session->conf);
    free(session);
}

void session_quit(struct session *session)
{
    session->quit_wanted = true;
    if (session->over)
        return;
    if (unwanted(session))
        set_deadline(session);
    if (smtp_state(session->smtp) != SMTP_READY)
        return;
    (void)evtimer_del(session->idle);
    smtp_quit(session->smtp);
    renew_timeout(session);
}

const char *session_stage(const struct session *session)
{
    return session->stage;
}

const char *session_address(const struct session *session)
{
    return stream_address(session->stream);
}

const char *session_method(const struct session *session)
{
    return session->method;
}

bool session_tls_facts(const struct session *session, struct tls_facts *facts)
{
    return stream_tls_facts(session->stream, facts);
}

bool session_idle(const struct session *session)
{
    return !session->over && !session->quit_wanted && smtp_state(session->smtp) == SMTP_READY;
}

const struct attempt *session_attempt(const struct session *session)
{
    return session->attempt;
}

bool session_is_to(const struct session *session, const struct conf *conf)
{
    return strcmp(session->conf->relay.host, conf->relay.host) == 0 &&
           session->conf->relay.port == conf->relay.port;
}

int64_t session_took(const struct session *session)
{
    return clock_monotonic() - session->began;
}

bool session_hangs(const struct session *session, int64_t now, int64_t limit)
{
    return !session->over && smtp_state(session->smtp) != SMTP_READY && session->began > 0 &&
           now - session->heard >= limit;
}

bool session_was_ready(const struct session *session)
{
    return session->was_ready;
}

bool session_greeted(const struct session *session)
{
    return !session->over && smtp_state(session->smtp) != SMTP_GREETING;
}

bool session_over(const struct session *session)
{
    return session->over;
}

size_t session_messages(const struct session *session)
{
    return session->messages;
}

const struct smtp_extensions *session_offers(const struct session *session)
{
    return smtp_offers(session->smtp);
}

void session_set_ticket(struct session *session, uint64_t ticket)
{
    session->ticket = ticket;
}

uint64_t session_ticket(const struct session *session)
{
    return session->ticket;
}
