/* See rejected.h. One question to relayd at a time; what comes up meanwhile is found by the sweep
 * that follows. */
#include "hygiene/rejected.h"
#include "hygiene/badmail.h"
#include "hygiene/ledger.h"
#include "hygiene/move.h"
#include "hygiene/sweep.h"
#include "lib/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/param.h>

#define ASK_MAX     10 /* a thousand recipients of each fit into an answer */
#define ASK_TIMEOUT 5000

struct rejected {
    struct hygiene *h;
    struct sweep *sweep;
    bool asking;
    bool silent; /* relayd did not answer; said once */
    size_t ask_max;
    char ids[ASK_MAX][ID_SIZE];
    size_t count;
};

/* Those that the others name by their places; none named: all. */
static void keep_refused(struct envelope_list *recipients, const json_t *places)
{
    struct envelope_list refused = {0};
    for (size_t i = 0; i < json_array_size(places); i++) {
        json_int_t at = json_integer_value(json_array_get(places, i));
        if (at >= 0 && (size_t)at < recipients->count)
            (void)!envelope_list_add(&refused, recipients->items[at]);
    }
    if (refused.count == 0)
        return;
    envelope_list_free(recipients);
    *recipients = refused;
}

/* relayd's words for one message into its row. An id that relayd does not know (its ledger was
 * lost) is quarantined all the same: never drop, never stand still. */
static void take_why(struct badmail *b, const json_t *why)
{
    const char *reason = json_string_value(json_object_get(why, "reason"));
    (void)snprintf(b->reason, sizeof b->reason, "%s",
                   reason != NULL ? reason : "relayd has no record of its refusal");
    keep_refused(&b->recipients, json_object_get(why, "refused"));
}

static void describe(struct hygiene *h, const char *id, const json_t *why, struct badmail *b)
{
    badmail_describe(h->spool, SPOOL_REJECTED, id, "relay", "", b);
    if (strcmp(b->decided_by, LEDGER_DAMAGED) != 0)
        take_why(b, json_object_get(why, id));
}

/* Another file lies in badmail/ under this id, and what relayd says is not about that one: it
 * speaks of an id once, and the other's row has other words, or there is none. */
static bool stands_behind_another(struct hygiene *h, const char *id)
{
    struct badmail b;
    if (!move_is_taken(h, id, SPOOL_REJECTED, SPOOL_BADMAIL))
        return false;
    if (!ledger_badmail(h->d->db, id, &b))
        return true;
    bool behind = b.entered && strcmp(b.decided_by, "relay") != 0;
    ledger_badmail_free(&b);
    return behind;
}

static bool has_its_own_words(const struct rejected *r, const char *id, const json_t *why)
{
    return json_object_get(why, id) != NULL && stands_behind_another(r->h, id);
}

/* Held under a new id at once: in a row of the one that it has, what relayd says would be of the
 * other, which then goes to those who refused this one, and this one to all. */
static bool set_aside(struct hygiene *h, const char *id, const json_t *why)
{
    struct badmail b;
    describe(h, id, why, &b);
    bool ok = move_aside(h, &b, SPOOL_REJECTED);
    if (ok)
        badmail_tell(h, id, b.id);
    ledger_badmail_free(&b);
    return ok;
}

/* False: one has to be asked about again, later. */
static bool hold_all(struct rejected *r, const json_t *why)
{
    struct hygiene *h = r->h;
    char ids[ASK_MAX][ID_SIZE];
    size_t n = 0;
    bool ok = true;
    for (size_t i = 0; i < r->count; i++)
        if (!has_its_own_words(r, r->ids[i], why))
            memcpy(ids[n++], r->ids[i], ID_SIZE);
        else
            ok = set_aside(h, r->ids[i], why) && ok;
    db_begin(h->d->db);
    for (size_t i = 0; i < n; i++) {
        struct badmail b;
        describe(h, ids[i], why, &b);
        ledger_hold(h->d->db, &b);
        ledger_badmail_free(&b);
    }
    db_commit(h->d->db);
    badmail_enter(h, ids, n, SPOOL_REJECTED);
    return ok;
}

static void on_why(void *arg, const json_t *reply)
{
    struct rejected *r = arg;
    r->asking = false;
    if (r->h->d->stopping)
        return;
    if (reply == NULL) {
        if (!r->silent)
            LOG(LOG_WARN, "relayd-silent",
                KV("meaning", "what it refused waits in rejected/ until it answers"));
        r->silent = true;
        return; /* the next unasked sweep tries again */
    }
    r->silent = false;
    bool ok = true;
    if (json_is_true(json_object_get(reply, "ok"))) {
        if (r->ask_max < ASK_MAX)
            r->ask_max = MIN(2 * r->ask_max, ASK_MAX);
        ok = hold_all(r, json_object_get(reply, "why"));
    } else if (r->ask_max > 1) { /* longer than one message carries */
        r->ask_max = 1;
    } else {
        ok = hold_all(r, NULL);
    }
    if (ok) /* otherwise the next unasked sweep tries again */
        sweep_ring(r->sweep);
}

static void ask(struct rejected *r)
{
    json_t *ids = json_array();
    for (size_t i = 0; i < r->count; i++)
        (void)json_array_append_new(ids, json_string(r->ids[i]));
    r->asking = true;
    bus_ask(r->h->d->bus, "relayd", json_pack("{s:s, s:o}", "cmd", "why", "ids", ids), ASK_TIMEOUT,
            on_why, r);
}

static void on_sweep(void *arg, char (*ids)[ID_SIZE], size_t n)
{
    struct rejected *r = arg;
    if (r->asking || r->h->d->stopping || hygiene_lacks_room(r->h))
        return;
    r->count = 0;
    for (size_t i = 0; i < n; i++) {
        if (ledger_is_badmail(r->h->d->db, ids[i]) && !stands_behind_another(r->h, ids[i]))
            /* committed before a crash: only the rename is missing */
            badmail_enter(r->h, &ids[i], 1, SPOOL_REJECTED);
        else if (r->count < r->ask_max)
            memcpy(r->ids[r->count++], ids[i], ID_SIZE);
    }
    if (r->count > 0)
        ask(r);
}

struct rejected *rejected_start(struct hygiene *h)
{
    struct rejected *r = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    r->h = h;
    r->ask_max = ASK_MAX;
    r->sweep = sweep_new(h->d->base, h->spool, SPOOL_REJECTED, on_sweep, r);
    sweep_ring(r->sweep);
    return r;
}

void rejected_ring(struct rejected *r)
{
    sweep_ring(r->sweep);
}

void rejected_free(struct rejected *r)
{
    if (r == NULL)
        return;
    sweep_free(r->sweep);
    free(r);
}
