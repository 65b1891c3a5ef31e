/* Brings messages and sessions together. Promises: no message is in two sessions; no session ends
 * its message before the verdict on its last one is durable (so a crash leaves at most one message
 * in doubt for each connection), and none begins one without room to write its verdict down; a
 * server in trouble is tried as relayd/route says, mail or no mail. */
#include "relayd/relay.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "relayd/advice.h"
#include "relayd/crew.h"
#include "relayd/dispatch.h"
#include "relayd/judge.h"
#include "relayd/ledger.h"
#include "relayd/peer.h"
#include "relayd/probe.h"
#include "relayd/session.h"

#include <string.h>

#define TICK          (2 * CLOCK_SECOND)
#define SCAN_SHARE    20 /* a scan may take one part in this of the time */
#define SCAN_WAIT_MAX CLOCK_MINUTE
#define ROOM_MIN      (UINT64_C(4) << 20)
#define SWEEP_EVERY   CLOCK_MINUTE
#define PRUNE_EVERY   CLOCK_HOUR
#define KEEP_SETTLED  (90 * CLOCK_DAY)

static struct timeval timeval_of(int64_t ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
}

static void arm(struct event *ev, int64_t ms)
{
    struct timeval wait = timeval_of(ms);
    (void)evtimer_add(ev, &wait);
}

void relay_work(struct relay *relay)
{
    if (relay->work && !evtimer_pending(relay->work, NULL))
        arm(relay->work, 0);
}

static bool lacks_room(struct relay *relay)
{
    return room_is_low(&relay->room, clock_monotonic());
}

/* A server in trouble gets one message at a time; but one on which it hangs must not stop the
 * others. */
static bool may_give(struct relay *relay)
{
    if (relay->d->stopping || !route_may_send(&relay->route, clock_monotonic()) ||
        lacks_room(relay))
        return false;
    return !route_in_trouble(&relay->route) || crew_busy(relay) == crew_aside(relay);
}

/* The message is for a new session. */
static void put_back(struct relay *relay, struct session *session, struct attempt *attempt)
{
    queue_back(relay->queue, attempt->id);
    attempt_free(attempt);
    session_quit(session);
    relay_work(relay);
}

/* True when the session has got a message. */
static bool give_message(struct relay *relay, struct session *session)
{
    struct attempt *attempt;
    if (!may_give(relay))
        return false;
    while ((attempt = dispatch_next(relay, crew_may_have_a_lost_one(relay))) != NULL) {
        enum smtp_refusal refusal = session_begin(session, attempt);
        if (refusal == SMTP_STARTED)
            return true;
        if (refusal == SMTP_REFUSED_CLIENT) {
            put_back(relay, session, attempt);
            return false;
        }
        dispatch_refuse(relay, attempt, smtp_refusal_text(refusal));
    }
    return false;
}

/* ---- what sessions say ---- */

static void learn_offers(struct relay *relay, const struct session *session)
{
    int64_t limit = (int64_t)(session_offers(session)->size_limit & INT64_MAX);
    const char *advice = advice_on_client(relay->d->conf, session_offers(session));
    relay->probe = false;
    if (advice && !relay->advised)
        LOG(LOG_WARN, "relay-client-not-told", KV("error", advice));
    relay->advised = advice != NULL;
    if (ledger_fact(relay->d->db, "size-limit", -1) == limit)
        return;
    ledger_put_fact(relay->d->db, "size-limit", limit);
    LOG(LOG_NOTE, "relay-size-limit", KVN("bytes", limit));
}

static void on_ready(void *arg, struct session *session)
{
    struct relay *relay = arg;
    relay->proven = true;
    if (session_messages(session) == 0) {
        learn_offers(relay, session);
        route_admitted(&relay->route, clock_monotonic(), crew_greeted(relay),
                       (size_t)relay->d->conf->relay.sessions);
    }
    if (give_message(relay, session))
        return;
    /* A probe without mail: its EHLO has been answered, and nothing better can be learnt. */
    const struct route *route = &relay->route;
    if (route->failures > 0 && !route->answered && queue_ready(relay->queue) == 0)
        route_well(&relay->route);
    relay_work(relay);
}

static void learn_of_chunks(struct relay *relay, const struct smtp_result *result)
{
    if (result->outcome != SMTP_SESSION_FAILED || result->code < 500 ||
        strcmp(result->command, "BDAT") != 0)
        return;
    relay->no_chunks = true;
    LOG(LOG_NOTE, "relay-without-chunks", KV("reply", result->text),
        KV("meaning", "it offers CHUNKING and does not know BDAT: mail goes by DATA"));
}

static void on_result(void *arg, struct session *session, struct attempt *attempt,
                      const struct smtp_result *result)
{
    struct relay *relay = arg;
    attempt->was_slow = session_took(session) >= CREW_STUCK;
    if (judge_has_had_enough(session, attempt, result, (unsigned)relay->d->conf->relay.sessions)) {
        put_back(relay, session, attempt);
        return;
    }
    if (session_is_to(session, relay->d->conf)) {
        judge_result(relay, attempt, result);
        learn_of_chunks(relay, result);
    }
    if (result->in_doubt)
        LOG(LOG_WARN, "possible-duplicate", KV("id", attempt->id), KV("error", result->text));
    uint64_t ticket = dispatch_result(relay, attempt, result);
    if (ticket != 0)
        session_set_ticket(session, ticket);
}

static void on_unreadable(void *arg, struct session *session, struct attempt *attempt,
                          const struct error *err)
{
    (void)session;
    dispatch_unreadable(arg, attempt, err);
}

static bool may_end(void *arg, struct session *session)
{
    const struct relay *relay = arg;
    return settle_durable(relay->settle, session_ticket(session));
}

static void on_ended(void *arg, struct session *session, enum smtp_close how, const char *text)
{
    struct relay *relay = arg;
    bool here = session_is_to(session, relay->d->conf);
    if (here && how == SMTP_CLOSED_LOGIN) {
        relay->proven = false;
        route_refused(&relay->route, clock_monotonic(), text);
    }
    if (here && how == SMTP_CLOSED_FAILED && session_messages(session) == 0)
        judge_connection(relay, session, crew_greeted(relay), text);
    LOG(LOG_DETAIL, "session-ended", KV("how", text),
        KVN("messages", (long long)session_messages(session)));
    arm(relay->reaper, 0);
}

/* ---- the work ---- */

static void on_committed(void *arg)
{
    struct relay *relay = arg;
    for (guint i = 0; i < relay->sessions->len; i++)
        session_go_on(g_ptr_array_index(relay->sessions, i));
    relay_work(relay);
}

static void on_settled(void *arg, const char *id, bool delivered)
{
    struct relay *relay = arg;
    settle_again(relay->settle, id, delivered);
}

static char *on_secret(void *arg, struct error *err)
{
    const struct relay *relay = arg;
    return login_secret(relay->login, err);
}

static void feed_idle(struct relay *relay)
{
    for (guint i = 0; i < relay->sessions->len && queue_ready(relay->queue) > 0; i++) {
        struct session *session = g_ptr_array_index(relay->sessions, i);
        if (session_idle(session))
            (void)give_message(relay, session);
    }
}

static void open_session(struct relay *relay)
{
    const struct session_owner owner = {
        .secret = on_secret,
        .ready = on_ready,
        .result = on_result,
        .unreadable = on_unreadable,
        .may_end = may_end,
        .ended = on_ended,
        .arg = relay,
    };
    struct daemon *d = relay->d;
    g_ptr_array_add(relay->sessions,
                    session_open(d->base, d->streams, d->conf, relay->helo, &owner));
}

/* Without a password there is no use in connecting, nor when nothing may be sent. */
static bool may_log_in(struct relay *relay)
{
    struct error err;
    int64_t now = clock_monotonic();
    if (!route_may_send(&relay->route, now) || lacks_room(relay))
        return false;
    bool ready = login_ready(relay->login, &err);
    if (!ready)
        route_failed(&relay->route, now, err.text);
    return ready;
}

static size_t may_take(const struct relay *relay)
{
    size_t ready = queue_ready(relay->queue);
    return crew_may_have_a_lost_one(relay) ? ready : ready - queue_lost(relay->queue);
}

static void open_sessions(struct relay *relay)
{
    size_t busy = crew_busy(relay), up = crew_up(relay);
    size_t sessions = (size_t)relay->d->conf->relay.sessions;
    size_t limit = route_limit(&relay->route, clock_monotonic(), sessions);
    if (route_in_trouble(&relay->route) && limit > 0)
        limit = MIN(limit + crew_aside(relay), sessions);
    if (up == 0)
        relay->proven = false; /* the password may have changed since */
    /* Those that are not busy will take from the queue as soon as they are up. */
    size_t wanted = may_take(relay) + busy;
    if (wanted == 0 && (relay->probe || route_circuit(&relay->route) == ROUTE_OPEN))
        wanted = 1;
    bool unsure = !relay->proven && relay->d->conf->relay.user[0] != '\0';
    if (unsure && limit > 1)
        limit = 1; /* a password that is wrong is to be given once, not by each connection */
    if (up < limit && up < wanted && !may_log_in(relay))
        return;
    for (; up < limit && up < wanted; up++)
        open_session(relay);
}

static bool refill(struct relay *relay)
{
    return queue_refill(relay->queue, clock_now(),
                        clock_jitter_max(relay->d->conf->relay.retry_max));
}

/* A circuit that messages opened is closed by one that is taken. Those lost with their sessions are
 * due within minutes; of those put off nobody has to wait for one to be due (an hour, perhaps): the
 * first is the probe. */
static void find_probe(struct relay *relay)
{
    struct route *route = &relay->route;
    struct db *db = relay->d->db;
    bool idle = queue_ready(relay->queue) + queue_taken(relay->queue) == 0;
    if (route_circuit(route) != ROUTE_PROBING || !idle ||
        !route_may_send(route, clock_monotonic()) || lacks_room(relay))
        return;
    bool left = route->failures > 0 ? ledger_count(db, LEDGER_DEFERRED) > 0
                                    : ledger_retry_first(db, clock_now());
    if (!left)
        route_well(route); /* there is nothing to try it with */
    else
        (void)refill(relay);
}

static void arm_wake(struct relay *relay)
{
    int64_t wait = CLOCK_MINUTE, now = clock_now();
    int64_t due = ledger_next_due(relay->d->db, now);
    int64_t pause = relay->route.next_at - clock_monotonic();
    int64_t crowd = relay->route.more_at - clock_monotonic();
    if (due > 0 && due - now < wait)
        wait = due - now;
    if (pause > 0 && pause < wait)
        wait = pause;
    if (crowd > 0 && crowd < wait)
        wait = crowd;
    arm(relay->wake, wait + 1);
}

static void follow_scan(struct relay *relay, bool more)
{
    int64_t now = clock_monotonic();
    if (more && relay->scan_began == 0)
        relay->scan_began = now;
    if (more || relay->scan_began == 0)
        return;
    int64_t wait = (now - relay->scan_began) * SCAN_SHARE;
    relay->scan_next = now + (wait < SCAN_WAIT_MAX ? wait : SCAN_WAIT_MAX);
    relay->scan_began = 0;
}

static void on_work(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct relay *relay = arg;
    if (relay->d->stopping)
        return;
    bool more = refill(relay);
    follow_scan(relay, more);
    find_probe(relay);
    feed_idle(relay);
    open_sessions(relay);
    arm_wake(relay);
    if (more)
        relay_work(relay);
}

/* Each connection waits for an answer: nothing else gets through. */
static void look_for_hanging(struct relay *relay)
{
    size_t stuck = crew_stuck(relay);
    bool hangs = stuck >= crew_allowed(relay) && queue_ready(relay->queue) > 0;
    if (hangs && !relay->hangs)
        LOG(LOG_ALARM, "relay-hangs", KVN("connections", (long long)stuck),
            KV("error", "the server has not answered on any of them for a minute"),
            KV("do", "look at its log and its filters; relay { sessions } allows more"));
    relay->hangs = hangs;
}

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct relay *relay = arg;
    int64_t now = clock_monotonic();
    settle_remind(relay->settle);
    look_for_hanging(relay);
    if (relay->room.low && !lacks_room(relay))
        relay_work(relay);
    if (now - relay->swept >= SWEEP_EVERY) {
        relay->swept = now;
        if (settle_left_some(relay->settle))
            queue_scan(relay->queue);
    }
    if (now >= relay->scan_next && queue_stale(relay->queue)) {
        queue_scan(relay->queue);
        relay_work(relay);
    }
    if (now - relay->pruned >= PRUNE_EVERY && !lacks_room(relay) &&
        ledger_prune(relay->d->db, clock_now() - KEEP_SETTLED) == 0)
        relay->pruned = now;
    arm(relay->tick, TICK);
}

static void on_reap(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct relay *relay = arg;
    for (guint i = relay->sessions->len; i-- > 0;) {
        struct session *session = g_ptr_array_index(relay->sessions, i);
        if (session_over(session))
            session_free(g_ptr_array_remove_index_fast(relay->sessions, i));
    }
    if (relay->d->stopping && relay->sessions->len == 0)
        daemon_stopped(relay->d);
    else
        relay_work(relay);
}

static void on_notice(void *arg, const char *peer, const char *topic, const json_t *body)
{
    struct relay *relay = arg;
    const char *dir = json_string_value(json_object_get(body, "dir"));
    const char *id = json_string_value(json_object_get(body, "id"));
    (void)peer;
    if (strcmp(topic, "bell") != 0 || !dir || strcmp(dir, "outgoing") != 0)
        return;
    if (id && id_valid(id, strlen(id)))
        queue_push(relay->queue, id);
    else
        queue_scan(relay->queue);
    relay_work(relay);
}

/* ---- life ---- */

struct relay *relay_new(struct daemon *d, struct error *err)
{
    struct spool *spool = spool_open(d->conf->spool_dir, false, err);
    struct login *login = spool ? login_open(d, err) : NULL;
    if (!login) {
        spool_close(spool);
        return NULL;
    }
    struct relay *relay = g_new0(struct relay, 1);
    relay->login = login;
    relay->d = d;
    relay->spool = spool;
    return relay;
}

void relay_start(struct relay *relay)
{
    struct daemon *d = relay->d;
    ledger_prove_room(d->db, d->conf->relay.sessions);
    relay->room = (struct room){.db = d->db, .min = ROOM_MIN, .again = "relaying-again"};
    advice_on_login(d->conf, relay->login);
    peer_helo(d->conf, relay->helo);
    route_init(&relay->route, d->conf->relay.retry_max);
    relay->probe = true;
    relay->settle = settle_new(d->base, d->bus, d->db, relay->spool, on_committed, relay);
    relay->queue = queue_new(d->db, relay->spool, on_settled, relay);
    settle_set_queue(relay->settle, relay->queue);
    relay->sessions = g_ptr_array_new();
    relay->work = evtimer_new(d->base, on_work, relay);
    relay->wake = evtimer_new(d->base, on_work, relay);
    relay->tick = evtimer_new(d->base, on_tick, relay);
    relay->reaper = evtimer_new(d->base, on_reap, relay);
    bus_on_notice(d->bus, on_notice, relay);
    bus_listen(d->bus, "hygiene");
    arm(relay->tick, TICK);
    relay_work(relay);
}

static void end_sessions(struct relay *relay)
{
    for (guint i = relay->sessions->len; i-- > 0;) {
        struct session *session = g_ptr_array_index(relay->sessions, i);
        if (session_greeted(session))
            session_quit(session);
        else
            session_free(g_ptr_array_remove_index_fast(relay->sessions, i));
    }
}

void relay_reload(struct relay *relay)
{
    advice_on_login(relay->d->conf, relay->login);
    peer_helo(relay->d->conf, relay->helo);
    end_sessions(relay);
    probe_give_up(relay->look, "the configuration has changed: try again");
    relay->probe = true;
    relay->proven = false;
    relay->advised = false;
    relay->no_chunks = false;
    route_set_retry_max(&relay->route, relay->d->conf->relay.retry_max);
    route_retry(&relay->route);
    relay_work(relay);
}

void relay_new_password(struct relay *relay)
{
    if (!relay->work)
        return; /* -1: nothing is running */
    relay->proven = false;
    relay->probe = true;
    route_retry(&relay->route);
    relay_work(relay);
}

const char *relay_holding_off(struct relay *relay)
{
    bool was = relay->room.low;
    if (lacks_room(relay))
        return room_problem(&relay->room);
    if (was)
        relay_work(relay);
    return NULL;
}

void relay_stop(struct relay *relay)
{
    end_sessions(relay);
    if (relay->sessions->len == 0)
        daemon_stopped(relay->d);
}

void relay_free(struct relay *relay)
{
    struct event *events[] = {relay->work, relay->wake, relay->tick, relay->reaper};
    for (guint i = 0; relay->sessions && i < relay->sessions->len; i++)
        session_free(g_ptr_array_index(relay->sessions, i));
    if (relay->sessions)
        (void)g_ptr_array_free(relay->sessions, TRUE);
    probe_free(relay->look);
    settle_free(relay->settle);
    for (size_t i = 0; i < sizeof events / sizeof *events; i++)
        if (events[i])
            event_free(events[i]);
    queue_free(relay->queue);
    login_free(relay->login);
    spool_close(relay->spool);
    g_free(relay);
}
