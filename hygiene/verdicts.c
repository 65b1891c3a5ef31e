/* See verdicts.h. */
#include "hygiene/verdicts.h"
#include "hygiene/badmail.h"
#include "hygiene/ledger.h"
#include "hygiene/move.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BATCH 64

struct verdicts {
    struct hygiene *h;
    const struct verdicts_user *user;
    void *arg;
    GQueue done; /* struct judgement, not yet in a batch */
    struct event *turn;
    struct judgement *batch[BATCH];
    int fds[BATCH]; /* of new tops, being synced */
    size_t batch_count, fd_count;
    bool syncing;
};

static void want_turn(struct verdicts *v)
{
    static const struct timeval now = {0, 0};
    if (!evtimer_pending(v->turn, NULL))
        (void)evtimer_add(v->turn, &now);
}

/* --- rows and files --- */

static void hold(struct hygiene *h, const struct judgement *j)
{
    struct badmail b;
    badmail_describe(h->spool, SPOOL_INCOMING, j->id, j->decided_by, j->reason, &b);
    if (json_array_size(j->reports) > 0)
        b.report = json_dumps(j->reports, JSON_COMPACT);
    ledger_hold(h->d->db, &b);
    ledger_badmail_free(&b);
}

static void write_verdict(struct hygiene *h, const struct judgement *j)
{
    if (j->verdict == VERDICT_PASS)
        ledger_passed(h->d->db, j->id);
    else if (j->verdict == VERDICT_BADMAIL)
        hold(h, j);
    else if (j->verdict == VERDICT_WAIT)
        ledger_wait(h->d->db, j->id, &j->waiting);
    if (j->was_waiting && j->verdict != VERDICT_WAIT)
        ledger_wait_over(h->d->db, j->id);
}

void verdicts_pass_on(struct hygiene *h, const char *id)
{
    if (move_on(h, id, SPOOL_INCOMING, SPOOL_OUTGOING))
        bus_ring(h->d->bus, "outgoing", id);
}

static void move_batch(struct verdicts *v)
{
    char bad[BATCH][ID_SIZE];
    size_t bad_count = 0;
    for (size_t i = 0; i < v->batch_count; i++) {
        const struct judgement *j = v->batch[i];
        if (j->verdict == VERDICT_PASS)
            verdicts_pass_on(v->h, j->id);
        else if (j->verdict == VERDICT_BADMAIL)
            memcpy(bad[bad_count++], j->id, ID_SIZE);
    }
    if (bad_count > 0)
        badmail_enter(v->h, bad, bad_count, SPOOL_INCOMING);
}

static void commit_batch(struct verdicts *v)
{
    db_begin(v->h->d->db);
    for (size_t i = 0; i < v->batch_count; i++)
        write_verdict(v->h, v->batch[i]);
    db_commit(v->h->d->db);
    move_batch(v);
    size_t n = v->batch_count;
    v->batch_count = 0;
    for (size_t i = 0; i < n; i++)
        v->user->written(v->arg, v->batch[i]);
    if (!g_queue_is_empty(&v->done))
        want_turn(v);
    v->user->settled(v->arg);
}

/* --- tops --- */

/* What can't be written now waits. */
static void put_off(struct judgement *j, const char *why)
{
    LOG(LOG_WARN, "top-failed", KV("id", j->id), KV("error", why));
    if (j->waiting.waited >= j->conf->hygiene.filter_expire) {
        j->verdict = VERDICT_BADMAIL;
        (void)snprintf(j->decided_by, sizeof j->decided_by, "form:top");
        (void)snprintf(j->reason, sizeof j->reason,
                       "what filters want changed can't be written: %s", why);
        return;
    }
    j->verdict = VERDICT_WAIT;
    j->waiting.attempts++;
    j->waiting.waited += CLOCK_MINUTE;
    j->waiting.next_at = clock_now() + CLOCK_MINUTE;
    (void)snprintf(j->waiting.filter, sizeof j->waiting.filter, "form");
    (void)snprintf(j->waiting.reason, sizeof j->waiting.reason, "%s", why);
}

/* It would be so at each try: a filter asks for more than any server takes. */
static void refuse(struct judgement *j, size_t len)
{
    j->verdict = VERDICT_BADMAIL;
    (void)snprintf(j->decided_by, sizeof j->decided_by, "form:long-header");
    (void)snprintf(j->reason, sizeof j->reason,
                   "with what filters want changed, its header section would have %zu octets", len);
}

static void write_top(struct verdicts *v, struct judgement *j)
{
    struct top top;
    struct error err;
    if (j->verdict != VERDICT_PASS || spool_has(v->h->spool, SPOOL_OUTGOING, j->id) ||
        !judgement_top(j, &top)) /* another of this id, put there by hand, keeps the top it has */
        return;
    if (top.len > TOP_MAX)
        refuse(j, top.len);
    else if (top_write(v->h->spool, j->id, &top, &v->fds[v->fd_count], &err))
        v->fd_count++;
    else
        put_off(j, err.text);
    top_free(&top);
}

static void close_fds(struct verdicts *v)
{
    for (size_t i = 0; i < v->fd_count; i++)
        (void)close(v->fds[i]);
    v->fd_count = 0;
}

static void on_synced(void *arg, int failed_errno)
{
    struct verdicts *v = arg;
    close_fds(v);
    v->syncing = false;
    for (size_t i = 0; failed_errno != 0 && i < v->batch_count; i++) {
        struct judgement *j = v->batch[i];
        if (j->verdict != VERDICT_PASS)
            continue;
        (void)!top_remove(v->h->spool, j->id, NULL); /* the next verdict may want none */
        put_off(j, strerror(failed_errno));
    }
    commit_batch(v);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct verdicts *v = arg;
    if (v->syncing)
        return; /* behind it */
    while (v->batch_count < BATCH && !g_queue_is_empty(&v->done)) {
        struct judgement *j = g_queue_pop_head(&v->done);
        v->batch[v->batch_count++] = j;
        write_top(v, j);
    }
    if (v->fd_count == 0) {
        commit_batch(v);
        return;
    }
    v->syncing = true;
    syncpool_run(v->h->sync, v->fds, v->fd_count, spool_fd(v->h->spool, SPOOL_OUTGOING), on_synced,
                 v);
}

/* --- life --- */

struct verdicts *verdicts_new(struct hygiene *h, const struct verdicts_user *user, void *arg)
{
    struct verdicts *v = calloc(1, sizeof *v);
    if (v == NULL)
        abort();
    v->h = h;
    v->user = user;
    v->arg = arg;
    g_queue_init(&v->done);
    v->turn = evtimer_new(h->d->base, on_turn, v);
    if (v->turn == NULL)
        abort();
    return v;
}

void verdicts_free(struct verdicts *v)
{
    if (v == NULL)
        return;
    close_fds(v);
    g_queue_clear(&v->done);
    event_free(v->turn);
    free(v);
}

void verdicts_add(struct verdicts *v, struct judgement *j)
{
    g_queue_push_tail(&v->done, j);
    want_turn(v);
}

void verdicts_write(struct verdicts *v)
{
    if (!g_queue_is_empty(&v->done))
        on_turn(-1, 0, v);
}

void verdicts_give_up(struct verdicts *v)
{
    g_queue_clear(&v->done);
}

bool verdicts_holds(const struct verdicts *v, const struct judgement *j)
{
    for (size_t i = 0; i < v->batch_count; i++)
        if (v->batch[i] == j)
            return true;
    return false;
}
