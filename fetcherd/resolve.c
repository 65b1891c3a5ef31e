/* What became of the messages that the ledger holds as spooled.
 *
 * Promises: an outcome is recorded durably before anybody acts on it; a message is called lost only
 * when both daemons have answered that they do not know it and the spool has no file of it, looked
 * at once more after their answers. */
#include "fetcherd/resolve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetcherd/session.h"
#include "lib/clock.h"
#include "lib/log.h"

enum {
    PAGE = 200,      /* ids a question */
    HEARD_MAX = 256, /* outcomes a transaction */
    HEARD_DELAY = 5, /* ms to gather them in */
    ANSWER_TIMEOUT = 2500,
};

static const char *const peers[] = {"relayd", "hygiene"};
enum { PEERS = sizeof peers / sizeof *peers };

struct outcome {
    char id[ID_SIZE];
    enum ledger_state state;
};

/* One account being looked into. */
struct inquiry {
    struct resolve *resolve;
    struct inquiry *next;
    int64_t account;
    resolve_done_fn *done;
    void *arg;
    struct event *step;
    char after[ID_SIZE];
    char ids[PAGE][ID_SIZE]; /* without a file */
    bool known[PAGE];        /* to at least one of the peers */
    size_t count;
    unsigned unanswered, silent; /* peers */
};

struct resolve {
    struct fetcherd *f;
    struct event *flush;
    struct outcome heard[HEARD_MAX];
    size_t heard_count;
    struct inquiry *inquiries;
};

/* --- outcomes that are heard -------------------------------------------------------------- */

static bool parse_state(const char *text, enum ledger_state *state)
{
    if (strcmp(text, "delivered") == 0)
        *state = LEDGER_DELIVERED;
    else if (strcmp(text, "badmail") == 0)
        *state = LEDGER_QUARANTINED;
    else if (strcmp(text, "damaged") == 0)
        *state = LEDGER_PENDING; /* to be fetched again */
    else
        return false;
    return true;
}

static void tell_session(struct fetcherd *f, int64_t account, const struct outcome *outcome)
{
    struct account *a = account_set_by_key(&f->accounts, account);
    if (a && a->session)
        session_outcome(a->session, outcome->id, outcome->state);
}

/* What a person is to expect of a message that we have no good copy of. */
static const char *prospect(bool deleted)
{
    return deleted ? "the server was told to delete it too (delete = spooled): only if it still "
                     "lists it, it is fetched again"
                   : "it is fetched again from the server";
}

/* A session that is under way may be about to delete it: without QUIT nothing is. */
static void drop_session(const struct resolve *r, int64_t account)
{
    struct account *a = account_set_by_key(&r->f->accounts, account);

    if (a && a->session)
        session_abort(a->session);
}

static void tell_lost(const struct resolve *r, const char *event, const char *id, int64_t account,
                      bool deleted, const char *meaning)
{
    const struct account *a = account_set_by_key(&r->f->accounts, account);

    LOG(LOG_ALARM, event, KV("id", id), KV("account", a ? a->name : NULL), KV("meaning", meaning),
        KV("next", prospect(deleted)));
}

/* A copy that our disk has damaged is in badmail for what it is worth; the server has the true one.
 */
static void fetch_again(struct resolve *r, const char *id, int64_t now, int64_t *account)
{
    bool deleted;

    if (ledger_lost(r->f->ledger, id, true, now, account, &deleted))
        tell_lost(r, "message-damaged", id, *account, deleted,
                  "its spool file was damaged, and is in badmail for what it is worth: see to the "
                  "disk");
}

static void record(struct resolve *r, const struct outcome *outcome, int64_t now, int64_t *account)
{
    if (outcome->state == LEDGER_PENDING)
        fetch_again(r, outcome->id, now, account);
    else
        (void)ledger_outcome(r->f->ledger, outcome->id, outcome->state, now, account);
}

static void flush_heard(struct resolve *r)
{
    int64_t accounts[HEARD_MAX] = {0}, now = clock_now();
    struct outcome outcomes[HEARD_MAX];
    size_t n = r->heard_count;

    if (n == 0)
        return;
    (void)evtimer_del(r->flush);
    memcpy(outcomes, r->heard, n * sizeof *outcomes);
    r->heard_count = 0;
    ledger_begin(r->f->ledger);
    for (size_t i = 0; i < n; i++)
        record(r, &outcomes[i], now, &accounts[i]);
    ledger_commit(r->f->ledger);
    for (size_t i = 0; i < n; i++)
        if (accounts[i] && outcomes[i].state != LEDGER_PENDING)
            tell_session(r->f, accounts[i], &outcomes[i]);
        else if (accounts[i])
            drop_session(r, accounts[i]);
}

static void on_flush(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    flush_heard(arg);
}

static void hear(struct resolve *r, const char *id, enum ledger_state state)
{
    static const struct timeval delay = {.tv_usec = HEARD_DELAY * 1000};

    if (r->heard_count == HEARD_MAX)
        flush_heard(r);
    struct outcome *outcome = &r->heard[r->heard_count++];
    snprintf(outcome->id, sizeof outcome->id, "%s", id);
    outcome->state = state;
    if (r->heard_count == 1)
        (void)evtimer_add(r->flush, &delay);
}

void resolve_heard(struct resolve *r, const char *id, const char *state)
{
    enum ledger_state parsed;

    if (id_valid(id, strlen(id)) && parse_state(state, &parsed))
        hear(r, id, parsed);
}

/* --- outcomes that are asked for ---------------------------------------------------------- */

static void inquiry_free(struct inquiry *q)
{
    event_free(q->step);
    free(q);
}

static void inquiry_unlink(struct inquiry *q)
{
    struct inquiry **at = &q->resolve->inquiries;

    while (*at != q)
        at = &(*at)->next;
    *at = q->next;
}

static void inquiry_end(struct inquiry *q)
{
    resolve_done_fn *done = q->done;
    void *arg = q->arg;

    flush_heard(q->resolve);
    inquiry_unlink(q);
    inquiry_free(q);
    done(arg);
}

static void step_soon(struct inquiry *q)
{
    event_active(q->step, EV_TIMEOUT, 0);
}

static bool is_on_its_way(enum spool_dir dir)
{
    return dir == SPOOL_INCOMING || dir == SPOOL_OUTGOING || dir == SPOOL_REJECTED;
}

/* A row is committed and its file renamed in one go: one that is still in tmp/ could not be renamed
 * then. */
static void publish_again(struct fetcherd *f, const char *id)
{
    struct error err;

    if (spool_move(f->spool, id, SPOOL_TMP, SPOOL_INCOMING, &err))
        bus_ring(f->daemon->bus, spool_dir_name(SPOOL_INCOMING), id);
    else if (err.kind != ERROR_MISSING)
        LOG(LOG_ALARM, "move-failed", KV("id", id), KV("error", err.text));
}

/* Both have answered: what neither knows, and has no file still, is lost. */
static void find_lost(struct inquiry *q)
{
    struct fetcherd *f = q->resolve->f;
    int64_t account, now = clock_now();
    bool deleted;

    flush_heard(q->resolve);
    ledger_begin(f->ledger);
    for (size_t i = 0; i < q->count; i++)
        if (!q->known[i] && spool_find(f->spool, q->ids[i]) == SPOOL_DIRS &&
            ledger_lost(f->ledger, q->ids[i], false, now, &account, &deleted))
            tell_lost(q->resolve, "message-lost", q->ids[i], account, deleted,
                      "it is in no directory and nobody knows of it");
    ledger_commit(f->ledger);
}

static void take_answer(struct inquiry *q, const char *id, const char *state)
{
    enum ledger_state parsed;

    for (size_t i = 0; i < q->count; i++) {
        if (strcmp(q->ids[i], id) != 0 || strcmp(state, "unknown") == 0)
            continue;
        q->known[i] = true;
        if (parse_state(state, &parsed))
            hear(q->resolve, id, parsed);
    }
}

static void on_answer(void *arg, const json_t *reply)
{
    struct inquiry *q = arg;
    const json_t *states = json_object_get(reply, "states"); /* id -> "delivered", "unknown", ... */
    const char *id;
    json_t *state;

    q->unanswered--;
    if (!json_is_true(json_object_get(reply, "ok")) || !json_is_object(states))
        q->silent++;
    json_object_foreach((json_t *)states, id, state)
    {
        if (json_is_string(state))
            take_answer(q, id, json_string_value(state));
    }
    if (q->unanswered)
        return;
    if (q->silent) {
        inquiry_end(q); /* no verdict: asked again before the next poll */
        return;
    }
    find_lost(q);
    step_soon(q);
}

static void ask_peers(struct inquiry *q)
{
    q->unanswered = PEERS;
    q->silent = 0;
    for (size_t p = 0; p < PEERS; p++) {
        json_t *ids = json_array();
        for (size_t i = 0; i < q->count; i++)
            json_array_append_new(ids, json_string(q->ids[i]));
        bus_ask(q->resolve->f->daemon->bus, peers[p],
                json_pack("{s:s, s:o}", "cmd", "outcomes", "ids", ids), ANSWER_TIMEOUT, on_answer,
                q);
    }
}

static void on_step(evutil_socket_t fd, short what, void *arg)
{
    struct inquiry *q = arg;
    struct fetcherd *f = q->resolve->f;
    char ids[PAGE][ID_SIZE];
    size_t n = ledger_spooled_ids(f->ledger, q->account, q->after, ids, PAGE);

    (void)fd;
    (void)what;
    if (n == 0) {
        inquiry_end(q);
        return;
    }
    memcpy(q->after, ids[n - 1], ID_SIZE);
    q->count = 0;
    memset(q->known, 0, sizeof q->known);
    for (size_t i = 0; i < n; i++) {
        enum spool_dir dir = spool_find(f->spool, ids[i]);
        if (dir == SPOOL_TMP)
            publish_again(f, ids[i]);
        else if (!is_on_its_way(dir)) /* badmail: hygiene knows whether the name is durable there */
            memcpy(q->ids[q->count++], ids[i], ID_SIZE);
    }
    if (q->count)
        ask_peers(q);
    else
        step_soon(q);
}

void resolve_account(struct resolve *r, int64_t account, resolve_done_fn *done, void *arg)
{
    struct inquiry *q = calloc(1, sizeof *q);

    if (!q)
        abort();
    q->resolve = r;
    q->account = account;
    q->done = done;
    q->arg = arg;
    q->step = evtimer_new(r->f->daemon->base, on_step, q);
    if (!q->step)
        abort();
    q->next = r->inquiries;
    r->inquiries = q;
    step_soon(q);
}

/* --- life --------------------------------------------------------------------------------- */

struct resolve *resolve_new(struct fetcherd *f)
{
    struct resolve *r = calloc(1, sizeof *r);

    if (!r)
        abort();
    r->f = f;
    r->flush = evtimer_new(f->daemon->base, on_flush, r);
    if (!r->flush)
        abort();
    return r;
}

void resolve_free(struct resolve *r)
{
    if (!r)
        return;
    flush_heard(r);
    for (struct inquiry *q = r->inquiries, *next; q; q = next) {
        next = q->next;
        inquiry_free(q);
    }
    event_free(r->flush);
    free(r);
}
