/* Polling.
 *
 * Promises: every poll that began is accounted for, with an event and in the ledger; a failing
 * account holds up none of the others; a request by hand made during a poll gets a poll of its own.
 */
#include "fetcherd/poll.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "fetcherd/resolve.h"
#include "fetcherd/schedule.h"
#include "fetcherd/transcript.h"
#include "fetcherd/watch.h"
#include "lib/clock.h"
#include "lib/log.h"

#define SLEEP_MAX (30 * CLOCK_SECOND) /* the disk and the relay are looked at again */
/* Sessions at once with one server (host and port). Servers limit connections from one address,
 * and count those above it as failures: Courier at 4 (MAXPERIP), Dovecot at 10 for each user. */
#define PER_SERVER 4

struct poll {
    struct fetcherd *f;
    struct event *timer;
    struct account **running_accounts; /* room for as many sessions as ever were allowed */
    size_t running, capacity;
    bool started;
};

size_t poll_running(const struct poll *p)
{
    return p->running;
}

/* --- the end of a poll -------------------------------------------------------------------- */

static void stop_if_quiet(struct poll *p)
{
    if (p->f->daemon->stopping && p->running == 0 && p->f->commits == 0)
        daemon_stopped(p->f->daemon);
}

static void account_success(struct poll *p, struct account *a, const struct session_result *r,
                            int64_t now)
{
    schedule_after_success(a, now, fetcherd_conf(p->f)->fetch.interval);
    if (r->more)
        a->next_poll = now;
    LOG(LOG_NOTE, "fetch-done", KV("account", a->name), KVN("fetched", r->fetched),
        KVN("deleted", r->deleted), KVN("on_server", r->on_server), KVN("too_large", r->too_large));
}

static void account_failure(struct poll *p, struct account *a, const struct session_result *r,
                            int64_t now)
{
    if (r->permanent)
        schedule_after_permanent(a, now);
    else
        schedule_after_failure(a, now, fetcherd_conf(p->f)->fetch.interval);
    snprintf(a->error, sizeof a->error, "%.20s%s%s", r->command, r->command[0] ? ": " : "",
             r->error);
    LOG(LOG_WARN, "poll-failed", KV("account", a->name), KV("server", a->server),
        KV("command", r->command[0] ? r->command : NULL), KV("error", r->error),
        KVN("failures", a->failures));
    if (r->permanent)
        LOG(LOG_ALARM, "server-refuses", KV("account", a->name), KV("server", a->server),
            KV("error", r->error),
            KV("advice", "the server says that this will not pass by itself; it is tried again in "
                         "some hours"));
    if (r->bad_password && schedule_bad_password(a))
        LOG(LOG_ALARM, "account-paused", KV("account", a->name), KV("server", a->server),
            KVN("refusals", a->bad_passwords),
            KV("advice", "the password was refused again and again; set it anew, or enable the "
                         "account"));
}

static void keep_books(struct poll *p, struct account *a, const struct session_result *r)
{
    int64_t now = clock_now();

    a->last_try = now;
    a->fetched = r->fetched + (a->continued ? a->fetched : 0);
    a->deleted = r->deleted + (a->continued ? a->deleted : 0);
    a->continued = r->more;
    a->login_delay = r->login_delay;
    if (r->surveyed) {
        a->on_server = r->on_server;
        a->too_large = r->too_large;
        a->stepped_over = r->stepped_over;
    }
    if (r->ok)
        account_success(p, a, r, now);
    else
        account_failure(p, a, r, now);
    schedule_respect_login_delay(a, now);
    if (!r->more)
        a->round_done = a->covers;
    ledger_account_progress(p->f->ledger, a);
}

static void forget_running(struct poll *p, const struct account *a)
{
    for (size_t i = 0; i < p->running; i++) {
        if (p->running_accounts[i] == a) {
            p->running_accounts[i] = p->running_accounts[--p->running];
            return;
        }
    }
}

static void note_running(struct poll *p, struct account *a)
{
    if (p->running == p->capacity) {
        size_t wanted = p->capacity ? 2 * p->capacity : 64;
        struct account **larger = realloc(p->running_accounts, wanted * sizeof(struct account *));
        if (!larger)
            abort();
        p->running_accounts = larger;
        p->capacity = wanted;
    }
    p->running_accounts[p->running++] = a;
}

/* Whether its server has as many of our sessions as we want to bother it with. */
static bool server_is_busy(const struct poll *p, const struct account *a)
{
    unsigned sessions = 0;

    for (size_t i = 0; i < p->running; i++) {
        const struct account *other = p->running_accounts[i];
        sessions += other->port == a->port && strcasecmp(other->server, a->server) == 0;
    }
    return sessions >= PER_SERVER;
}

static void poll_ended(struct poll *p, struct account *a, const struct session_result *r)
{
    a->session = NULL;
    a->preparing = false;
    forget_running(p, a);
    if (a->removed)
        account_free(a);
    else if (!r->aborted)
        keep_books(p, a, r);
    if (p->f->daemon->stopping)
        stop_if_quiet(p);
    else
        poll_wake(p);
}

void poll_session_ended(struct poll *p, struct account *a, const struct session_result *r)
{
    poll_ended(p, a, r);
}

void poll_commit_ended(struct poll *p)
{
    if (p->f->daemon->stopping)
        stop_if_quiet(p);
    else
        poll_wake(p);
}

/* --- the beginning ------------------------------------------------------------------------ */

struct beginning {
    struct poll *poll;
    struct account *account;
};

static void on_resolved(void *arg)
{
    struct beginning b = *(struct beginning *)arg;
    struct fetcherd *f = b.poll->f;
    struct session_result none = {.aborted = true};
    const char *disk = watch_disk_low(f->watch);

    free(arg);
    if (f->daemon->stopping || b.account->removed || !b.account->enabled) {
        poll_ended(b.poll, b.account, &none);
        return;
    }
    if (disk) {
        struct session_result held = {.command = ""};
        snprintf(held.error, sizeof held.error, "%s", disk);
        poll_ended(b.poll, b.account, &held);
        return;
    }
    b.account->preparing = false;
    LOG(LOG_NOTE, "fetch-started", KV("account", b.account->name), KV("server", b.account->server));
    b.account->session = session_begin(f, b.account, schedule_by_hand(b.account));
}

static void begin(struct poll *p, struct account *a)
{
    struct beginning *b = malloc(sizeof *b);

    if (!b)
        abort();
    *b = (struct beginning){.poll = p, .account = a};
    a->preparing = true;
    a->covers = a->round;
    note_running(p, a);
    resolve_account(p->f->resolve, a->key, on_resolved, b);
}

static int by_next_poll(const void *x, const void *y)
{
    const struct account *a = *(struct account *const *)x, *b = *(struct account *const *)y;

    if (schedule_by_hand(a) != schedule_by_hand(b))
        return schedule_by_hand(a) ? -1 : 1;
    return a->next_poll < b->next_poll ? -1 : a->next_poll > b->next_poll;
}

/* Those that are due, the longest waiting first. */
static void begin_due(struct poll *p, int64_t now)
{
    const struct account_set *set = &p->f->accounts;
    size_t room = (size_t)fetcherd_conf(p->f)->fetch.sessions, n = 0;
    struct account **due = calloc(set->count ? set->count : 1, sizeof *due);
    bool held = watch_holding_off(p->f->watch) != NULL;
    int64_t interval = fetcherd_conf(p->f)->fetch.interval;

    if (!due)
        abort();
    for (size_t i = 0; i < set->count; i++)
        if (schedule_is_due(set->items[i], now, interval) &&
            (!held || schedule_by_hand(set->items[i])))
            due[n++] = set->items[i];
    qsort(due, n, sizeof *due, by_next_poll);
    for (size_t i = 0; i < n && p->running < room; i++)
        if (!server_is_busy(p, due[i]))
            begin(p, due[i]);
    free(due);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct poll *p = arg;
    int64_t now = clock_now(), sleep;

    (void)fd;
    (void)what;
    if (!p->started || p->f->daemon->stopping)
        return;
    begin_due(p, now);
    sleep = schedule_wake(&p->f->accounts, now) - now;
    if (sleep > SLEEP_MAX)
        sleep = SLEEP_MAX;
    struct timeval wait = {.tv_sec = sleep / 1000, .tv_usec = sleep % 1000 * 1000};
    (void)evtimer_add(p->timer, &wait);
}

void poll_wake(struct poll *p)
{
    if (p->started)
        event_active(p->timer, EV_TIMEOUT, 0);
}

void poll_start(struct poll *p)
{
    p->started = true;
    schedule_spread(&p->f->accounts, clock_now(), fetcherd_conf(p->f)->fetch.interval);
    poll_wake(p);
}

/* --- life --------------------------------------------------------------------------------- */

void poll_remove_account(struct poll *p, struct account *a)
{
    bool busy = a->session || a->preparing;

    transcript_remove(fetcherd_conf(p->f)->state_dir, a->name);
    account_set_take(&p->f->accounts, a);
    a->removed = true;
    if (a->session)
        session_abort(a->session); /* frees the account in the end */
    else if (!busy)
        account_free(a);
}

void poll_stop(struct poll *p)
{
    for (size_t i = 0; i < p->f->accounts.count; i++)
        if (p->f->accounts.items[i]->session)
            session_abort(p->f->accounts.items[i]->session);
    stop_if_quiet(p);
}

struct poll *poll_new(struct fetcherd *f)
{
    struct poll *p = calloc(1, sizeof *p);

    if (!p)
        abort();
    p->f = f;
    p->timer = evtimer_new(f->daemon->base, on_timer, p);
    if (!p->timer)
        abort();
    return p;
}

void poll_free(struct poll *p)
{
    if (!p)
        return;
    event_free(p->timer);
    free(p->running_accounts);
    free(p);
}
