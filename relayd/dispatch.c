/* A message's way between the queue and its verdict.
 *
 * Promises: what can't be opened is stepped over and shown; each message that was taken from the
 * queue goes back to it, or gets a verdict. */
#include "relayd/dispatch.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "relayd/ledger.h"

#include <stdio.h>
#include <string.h>

static struct attempt_policy policy(const struct relay *relay)
{
    const struct conf *conf = relay->d->conf;
    return (struct attempt_policy){
        .retry_min = conf->relay.retry_min,
        .retry_max = conf->relay.retry_max,
        .expire = conf->relay.expire,
        .down = route_fails(&relay->route, clock_monotonic(), conf->relay.expire),
        .well_at = relay->well_at,
    };
}

uint64_t dispatch_result(struct relay *relay, struct attempt *attempt,
                         const struct smtp_result *result)
{
    const struct attempt_policy p = policy(relay);
    struct attempt_verdict verdict;
    attempt_decide(attempt, result, &p, clock_now(), &verdict);
    if (verdict.end == ATTEMPT_AGAIN) {
        (void)queue_again(relay->queue, attempt->id, clock_now());
        attempt_free(attempt);
        relay_work(relay);
        return 0;
    }
    return settle_add(relay->settle, attempt, &verdict);
}

void dispatch_refuse(struct relay *relay, struct attempt *attempt, const char *reason)
{
    struct attempt_verdict verdict;
    attempt_refuse(attempt, reason, clock_now(), &verdict);
    (void)settle_add(relay->settle, attempt, &verdict);
}

static void close_attempt(struct relay *relay, struct attempt *attempt)
{
    struct attempt_verdict verdict;
    attempt_close(attempt, clock_now(), &verdict);
    (void)settle_add(relay->settle, attempt, &verdict);
}

/* An attempt that has nothing but the id, for a file that can't be opened. */
static struct attempt *bare_attempt(struct relay *relay, const char *id)
{
    struct attempt *attempt = g_new0(struct attempt, 1);
    (void)snprintf(attempt->id, sizeof attempt->id, "%s", id);
    (void)ledger_find(relay->d->db, id, &attempt->row);
    return attempt;
}

void dispatch_unreadable(struct relay *relay, struct attempt *attempt, const struct error *err)
{
    if (err->kind == ERROR_PERMANENT) {
        LOG(LOG_ALARM, "spool-file-damaged", KV("id", attempt->id), KV("error", err->text));
        dispatch_refuse(relay, attempt, err->text);
        return;
    }
    LOG(LOG_WARN, "spool-file-unreadable", KV("id", attempt->id), KV("error", err->text));
    (void)dispatch_result(
        relay, attempt,
        &(struct smtp_result){.outcome = SMTP_MESSAGE_TEMPORARY, .text = err->text});
}

/* A file that is gone is no loss when its message is settled (a bell that came late), or when a
 * person has moved it. */
static void file_missing(struct relay *relay, const char *id)
{
    enum ledger_state state = ledger_state(relay->d->db, id);
    if (state != LEDGER_DELIVERED && state != LEDGER_REJECTED) {
        if (spool_find(relay->spool, id) == SPOOL_DIRS)
            LOG(LOG_ALARM, "spool-file-missing", KV("id", id), KV("dir", "outgoing"));
        ledger_begin(relay->d->db);
        ledger_forget(relay->d->db, id);
        ledger_commit(relay->d->db);
    }
    queue_done(relay->queue, id);
}

static bool look(const struct relay *relay, struct attempt *attempt, struct error *err)
{
    const struct conf *conf = relay->d->conf;
    bool client = conf->relay.client != CONF_CLIENT_NONE;
    if (!attempt_look(attempt, client ? conf->fetch.received_by : NULL, err))
        return false;
    attempt->by_data |= relay->no_chunks;
    return true;
}

struct attempt *dispatch_next(struct relay *relay, bool also_lost)
{
    char id[ID_SIZE];
    while (queue_take(relay->queue, id, also_lost)) {
        struct error err;
        struct attempt *attempt = attempt_open(relay->spool, relay->d->db, id, &err);
        if (attempt && attempt->count > 0 && !look(relay, attempt, &err)) {
            dispatch_unreadable(relay, attempt, &err);
            continue;
        }
        if (attempt && attempt->count > 0) {
            attempt->losses = queue_losses(relay->queue, id);
            attempt->backs = queue_backs(relay->queue, id);
            return attempt;
        }
        if (attempt)
            close_attempt(relay, attempt);
        else if (err.kind == ERROR_MISSING)
            file_missing(relay, id);
        else
            dispatch_unreadable(relay, bare_attempt(relay, id), &err);
    }
    return NULL;
}
