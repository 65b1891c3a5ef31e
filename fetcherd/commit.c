/* A batch of received messages on its way to being ours.
 *
 * Promises: the order of docs/INTERNALS.md (files synced, tmp/ synced, ledger rows committed,
 * renamed, bell rung); after a failed fsync nothing of the batch is believed or tried again. */
#include "fetcherd/commit.h"

#include <stdlib.h>
#include <string.h>

#include "fetcherd/poll.h"
#include "lib/clock.h"
#include "spool/batch.h"

struct commit {
    struct fetcherd *f;
    int64_t account;
    unsigned moves; /* the account's, when the batch began */
    commit_fn *fn;  /* NULL: an orphan */
    void *arg;
    struct batch *batch;
    size_t count;
    struct commit_item items[COMMIT_MESSAGES];
};

struct commit *commit_new(struct fetcherd *f, const struct account *account, commit_fn *fn,
                          void *arg)
{
    struct commit *c = malloc(sizeof *c);

    if (!c)
        abort();
    c->f = f;
    c->account = account->key;
    c->moves = account->moves;
    c->fn = fn;
    c->arg = arg;
    c->count = 0;
    c->batch = batch_new(f->spool);
    return c;
}

void commit_add(struct commit *c, struct message_writer *writer, const char *uidl, size_t uidl_len,
                uint64_t listed, uint32_t tag)
{
    struct commit_item *item = &c->items[c->count++];

    memcpy(item->id, message_writer_id(writer), ID_SIZE);
    item->size = message_writer_size(writer);
    memcpy(item->hash, message_writer_hash(writer), sizeof item->hash);
    item->listed = listed;
    item->tag = tag;
    item->uidl_len = (uint8_t)uidl_len;
    memcpy(item->uidl, uidl, uidl_len);
    batch_add(c->batch, writer);
}

bool commit_is_full(const struct commit *c)
{
    return c->count == COMMIT_MESSAGES || batch_bytes(c->batch) >= COMMIT_BYTES;
}

size_t commit_count(const struct commit *c)
{
    return c->count;
}

const struct commit_item *commit_item(const struct commit *c, size_t i)
{
    return &c->items[i];
}

/* The account has come to stand for another mailbox meanwhile: these UIDLs mean nothing in that
 * one. */
static void estrange(struct commit *c)
{
    for (size_t i = 0; i < c->count; i++) {
        struct commit_item *item = &c->items[i];
        char name[sizeof item->uidl];
        size_t len = ledger_foreign_uidl(item->uidl, item->uidl_len, name, sizeof name);
        memcpy(item->uidl, name, len);
        item->uidl_len = (uint8_t)len;
    }
}

static void record(struct commit *c)
{
    int64_t now = clock_now();

    ledger_begin(c->f->ledger);
    for (size_t i = 0; i < c->count; i++) {
        const struct commit_item *item = &c->items[i];
        struct ledger_message row = {.uidl = item->uidl,
                                     .uidl_len = item->uidl_len,
                                     .state = LEDGER_SPOOLED,
                                     .size = item->size,
                                     .listed = item->listed,
                                     .changed = now};
        memcpy(row.id, item->id, sizeof row.id);
        memcpy(row.hash, item->hash, sizeof row.hash);
        ledger_message_put(c->f->ledger, c->account, &row);
    }
    ledger_commit(c->f->ledger);
}

static void count_commit(const struct commit *c, int by)
{
    struct account *account = account_set_by_key(&c->f->accounts, c->account);

    if (account)
        account->commits += (unsigned)by;
}

static void finish(struct commit *c, bool ok)
{
    struct fetcherd *f = c->f;

    if (c->fn)
        c->fn(c->arg, c, ok);
    f->commits--;
    count_commit(c, -1);
    free(c);
    poll_commit_ended(f->poll);
}

static void on_synced(void *arg, struct batch *batch, int failed_errno)
{
    struct commit *c = arg;
    const struct account *account = account_set_by_key(&c->f->accounts, c->account);

    if (failed_errno || !account) { /* spool/batch has told of the failure */
        batch_discard(batch);
        finish(c, false);
        return;
    }
    if (account->moves != c->moves)
        estrange(c);
    record(c);
    batch_publish(batch);
    for (size_t i = 0; i < c->count; i++)
        bus_ring(c->f->daemon->bus, spool_dir_name(SPOOL_INCOMING), c->items[i].id);
    finish(c, true);
}

void commit_start(struct commit *c)
{
    c->f->commits++;
    count_commit(c, 1);
    batch_sync(c->batch, c->f->syncs, on_synced, c);
}

void commit_orphan(struct commit *c)
{
    c->fn = NULL;
}

void commit_discard(struct commit *c)
{
    if (!c)
        return;
    batch_discard(c->batch);
    free(c);
}
