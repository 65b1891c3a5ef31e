/* Group commit of verdicts. Promises: no file is unlinked or moved, and nobody is told, before the
 * row that says so is durable; a message leaves the queue's "taken" only then, so that it can't be
 * taken up a second time in between. */
#include "relayd/settle.h"

#include "lib/clock.h"
#include "lib/log.h"

#include <glib.h>
#include <stdlib.h>
#include <string.h>

struct pending {
    struct attempt *attempt;
    struct attempt_verdict verdict;
};

struct settle {
    struct bus *bus;
    struct db *db;
    const struct spool *spool;
    struct queue *queue;
    struct event *turn;
    GArray *pending; /* struct pending */
    uint64_t added, durable;
    struct settle_counts counts;
    bool rang;          /* "rejected", and not yet a second time */
    bool unmoved;       /* a file that could not be moved still lies in outgoing/ */
    int64_t taken_told; /* monotonic */
    void (*committed)(void *arg);
    void *arg;
};

/* ---- the rows ---- */

static void write_recipient(struct db *db, const struct attempt *attempt,
                            const struct attempt_verdict *verdict, size_t i)
{
    const struct attempt_recipient *r = &attempt->recipients[i];
    if (r->answered && r->verdict == SMTP_PERMANENT)
        ledger_put_recipient(db, attempt->id, r->address, LEDGER_REFUSED, r->reply);
    else if (r->answered && r->verdict == SMTP_TAKEN)
        ledger_put_recipient(db, attempt->id, r->address, LEDGER_SENT, r->reply);
    else if (r->answered && r->verdict == SMTP_ACCEPTED && verdict->accepted != 0)
        ledger_put_recipient(db, attempt->id, r->address, verdict->accepted,
                             verdict->accepted == LEDGER_SENT ? r->reply : verdict->row.reason);
    else if (verdict->put_off == r->address)
        ledger_put_recipient(db, attempt->id, r->address, LEDGER_PUT_OFF, verdict->row.reason);
    else if (verdict->refused_rest)
        ledger_put_recipient(db, attempt->id, r->address, LEDGER_REFUSED, verdict->row.reason);
    else if (verdict->goes_on && r->answered && r->verdict == SMTP_TEMPORARY)
        ledger_put_recipient(db, attempt->id, r->address, LEDGER_PUT_OFF, r->reply);
}

/* Those who had been put off before. */
static void write_put_off(struct db *db, const struct attempt *attempt,
                          const struct attempt_verdict *verdict)
{
    if (!verdict->goes_on)
        ledger_forget_put_off(db, attempt->id);
    for (size_t i = 0; verdict->refused_rest && i < attempt->put_off; i++)
        ledger_put_recipient(db, attempt->id, attempt->addresses[attempt->count + i],
                             LEDGER_REFUSED, verdict->row.reason);
}

static void write_pending(struct db *db, const struct pending *p)
{
    ledger_put(db, p->attempt->id, &p->verdict.row);
    if (p->verdict.end == ATTEMPT_DELIVERED)
        return; /* all have it: the row says enough */
    for (size_t i = 0; i < p->attempt->count; i++)
        write_recipient(db, p->attempt, &p->verdict, i);
    write_put_off(db, p->attempt, &p->verdict);
}

/* ---- the files ---- */

static void move_failed(struct settle *settle, const char *id, const char *what,
                        const struct error *err)
{
    if (err->kind == ERROR_MISSING)
        return;
    settle->unmoved = true;
    LOG(LOG_ALARM, "spool-move-failed", KV("id", id), KV("to", what), KV("error", err->text),
        KV("meaning", "the ledger has it right; it is tried again within a minute"));
}

bool settle_left_some(struct settle *settle)
{
    bool unmoved = settle->unmoved;
    settle->unmoved = false;
    return unmoved;
}

/* Behind the message, so that none is ever sent without the one it has. */
static void remove_top(struct settle *settle, const char *id)
{
    struct error err;
    if (!top_remove(settle->spool, id, &err))
        move_failed(settle, id, "nowhere", &err);
}

static void move_delivered(struct settle *settle, const char *id)
{
    struct error err;
    if (!spool_remove(settle->spool, SPOOL_OUTGOING, id, &err))
        move_failed(settle, id, "nowhere", &err);
    bus_outcome(settle->bus, id, "delivered");
}

/* It waits until hygiene, which is rung, has taken the other one away; once a minute is enough. */
static void name_taken(struct settle *settle, const char *id)
{
    int64_t now = clock_monotonic();
    settle->unmoved = true;
    if (settle->taken_told > 0 && now - settle->taken_told < CLOCK_MINUTE)
        return;
    settle->taken_told = now;
    LOG(LOG_ALARM, "spool-name-taken", KV("id", id), KV("from", "outgoing"), KV("to", "rejected"),
        KV("meaning",
           "another message lies there under this id, and both are kept: this one stays "
           "in outgoing/, and is not sent, until hygiene has taken the other to badmail/"));
}

static void move_rejected(struct settle *settle, const char *id)
{
    struct error err;
    bool moved = spool_move(settle->spool, id, SPOOL_OUTGOING, SPOOL_REJECTED, &err);
    if (!moved && err.kind == ERROR_TAKEN)
        name_taken(settle, id);
    else if (!moved)
        move_failed(settle, id, "rejected", &err);
    bus_ring(settle->bus, "rejected", id);
    settle->rang = true;
}

void settle_remind(struct settle *settle)
{
    if (settle->rang)
        bus_ring(settle->bus, "rejected", NULL);
    settle->rang = false;
}

/* Put there by hand, under the id of one that was delivered. */
static bool is_another(const struct settle *settle, const char *id)
{
    struct error err;
    struct ledger_row row;
    struct message_reader *reader = message_open(settle->spool, SPOOL_OUTGOING, id, &err);
    bool another = false;
    if (reader && ledger_find(settle->db, id, &row)) {
        char hash[HASH_TEXT_SIZE];
        (void)hash_text(message_reader_head(reader)->hash, hash);
        another = row.hash[0] != '\0' && strcmp(hash, row.hash) != 0;
    }
    message_close(reader);
    return another;
}

void settle_again(struct settle *settle, const char *id, bool delivered)
{
    if (delivered && is_another(settle, id)) {
        LOG(LOG_ALARM, "spool-name-taken", KV("id", id), KV("from", "outgoing"),
            KV("to", "rejected"),
            KV("meaning", "a message of this id has been delivered, and this is another: it goes "
                          "to badmail/, from where it can be replayed"));
        move_rejected(settle, id);
        return;
    }
    LOG(LOG_NOTE, "settled-again", KV("id", id), KV("state", delivered ? "delivered" : "rejected"));
    if (delivered)
        move_delivered(settle, id);
    else
        move_rejected(settle, id);
    remove_top(settle, id);
}

static bool may_have_top(const struct pending *p)
{
    const struct message_reader *reader = p->attempt->reader;
    bool over = p->verdict.end == ATTEMPT_DELIVERED || p->verdict.end == ATTEMPT_REJECTED;
    return over && (!reader || message_has_top(reader));
}

static void tell(struct settle *settle, const struct pending *p)
{
    const struct ledger_row *row = &p->verdict.row;
    const char *id = p->attempt->id;
    char next[CLOCK_TEXT_SIZE];
    switch (p->verdict.end) {
    case ATTEMPT_DELIVERED:
        settle->counts.delivered++;
        move_delivered(settle, id);
        LOG(LOG_NOTE, "delivered", KV("id", id), KV("reply", row->reason),
            KVN("recipients", (long long)p->attempt->count), KVN("size", (long long)row->size),
            KVN("attempts", row->attempts));
        break;
    case ATTEMPT_REJECTED:
        settle->counts.rejected++;
        move_rejected(settle, id);
        LOG(LOG_WARN, "rejected", KV("id", id), KV("reason", row->reason),
            KVN("attempts", row->attempts));
        break;
    default:
        if (p->verdict.goes_on) {
            LOG(LOG_DETAIL, "goes-on", KV("id", id), KV("reply", row->reason));
            break;
        }
        settle->counts.deferred++;
        LOG(LOG_WARN, "deferred", KV("id", id), KV("reply", row->reason),
            KVN("attempts", row->attempts), KV("next", clock_text(row->next_attempt, next)));
    }
}

/* ---- the commit ---- */

static void commit(struct settle *settle)
{
    GArray *batch = settle->pending;
    if (batch->len == 0)
        return;
    settle->pending = g_array_new(FALSE, FALSE, sizeof(struct pending));
    ledger_begin(settle->db);
    for (guint i = 0; i < batch->len; i++)
        write_pending(settle->db, &g_array_index(batch, struct pending, i));
    ledger_commit(settle->db);
    settle->durable += batch->len;
    for (guint i = 0; i < batch->len; i++) {
        struct pending *p = &g_array_index(batch, struct pending, i);
        tell(settle, p);
        if (may_have_top(p))
            remove_top(settle, p->attempt->id);
        queue_done(settle->queue, p->attempt->id);
        attempt_free(p->attempt);
    }
    (void)g_array_free(batch, TRUE);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct settle *settle = arg;
    commit(settle);
    settle->committed(settle->arg);
}

uint64_t settle_add(struct settle *settle, struct attempt *attempt,
                    const struct attempt_verdict *verdict)
{
    struct pending p = {.attempt = attempt, .verdict = *verdict};
    static const struct timeval soon = {0, 0};
    g_array_append_val(settle->pending, p);
    /* A timer of nothing runs behind all that is ready in this turn of the loop. */
    if (settle->pending->len == 1)
        (void)evtimer_add(settle->turn, &soon);
    return ++settle->added;
}

bool settle_durable(const struct settle *settle, uint64_t ticket)
{
    return ticket <= settle->durable;
}

const struct settle_counts *settle_counts(const struct settle *settle)
{
    return &settle->counts;
}

struct settle *settle_new(struct event_base *base, struct bus *bus, struct db *db,
                          const struct spool *spool, void (*committed)(void *arg), void *arg)
{
    struct settle *settle = g_new0(struct settle, 1);
    settle->bus = bus;
    settle->db = db;
    settle->spool = spool;
    settle->committed = committed;
    settle->arg = arg;
    settle->pending = g_array_new(FALSE, FALSE, sizeof(struct pending));
    settle->turn = evtimer_new(base, on_turn, settle);
    return settle;
}

void settle_set_queue(struct settle *settle, struct queue *queue)
{
    settle->queue = queue;
}

void settle_free(struct settle *settle)
{
    if (!settle)
        return;
    commit(settle);
    event_free(settle->turn);
    (void)g_array_free(settle->pending, TRUE);
    g_free(settle);
}
