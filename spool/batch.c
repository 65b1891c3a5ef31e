/* Group commit; the order is in batch.h. */
#include "spool/batch.h"
#include "lib/log.h"
#include <glib.h>
#include <stdlib.h>
#include <string.h>

struct batch {
    const struct spool *spool;
    GPtrArray *writers;
    uint64_t bytes;
    batch_fn *fn;
    void *arg;
};

struct batch *batch_new(const struct spool *spool)
{
    struct batch *batch = calloc(1, sizeof *batch);
    if (batch == NULL)
        abort();
    batch->spool = spool;
    batch->writers = g_ptr_array_new();
    return batch;
}

void batch_add(struct batch *batch, struct message_writer *writer)
{
    g_ptr_array_add(batch->writers, writer);
    batch->bytes += message_writer_size(writer);
}

size_t batch_count(const struct batch *batch)
{
    return batch->writers->len;
}

uint64_t batch_bytes(const struct batch *batch)
{
    return batch->bytes;
}

struct message_writer *batch_writer(const struct batch *batch, size_t i)
{
    return batch->writers->pdata[i];
}

static void on_synced(void *arg, int failed_errno)
{
    struct batch *batch = arg;
    if (failed_errno != 0)
        LOG(LOG_ALARM, "sync-failed", KV("dir", "tmp"), KV("error", strerror(failed_errno)),
            KVN("messages", batch->writers->len),
            KV("meaning", "the batch is discarded and will be fetched again"));
    batch->fn(batch->arg, batch, failed_errno);
}

void batch_sync(struct batch *batch, struct syncpool *pool, batch_fn *fn, void *arg)
{
    batch->fn = fn;
    batch->arg = arg;
    size_t n = batch->writers->len;
    int *fds = g_new(int, n);
    for (size_t i = 0; i < n; i++)
        fds[i] = message_writer_fd(batch->writers->pdata[i]);
    syncpool_run(pool, fds, n, spool_fd(batch->spool, SPOOL_TMP), on_synced, batch);
    g_free(fds);
}

static void batch_free(struct batch *batch)
{
    g_ptr_array_free(batch->writers, TRUE);
    free(batch);
}

void batch_publish(struct batch *batch)
{
    for (guint i = 0; i < batch->writers->len; i++) {
        struct message_writer *w = batch->writers->pdata[i];
        struct error err;
        if (!spool_move(batch->spool, message_writer_id(w), SPOOL_TMP, SPOOL_INCOMING, &err))
            LOG(LOG_ALARM, "move-failed", KV("id", message_writer_id(w)), KV("error", err.text));
        message_writer_free(w);
    }
    batch_free(batch);
}

void batch_discard(struct batch *batch)
{
    for (guint i = 0; i < batch->writers->len; i++)
        message_abandon(batch->writers->pdata[i]);
    batch_free(batch);
}

/* What can't be handed on or removed stops nothing else: with a row it is tried again before the
 * next poll, without one at the next start. */
static bool recover_one(const struct spool *spool, const char *id, bool has_row)
{
    struct error err;
    if (has_row ? spool_move(spool, id, SPOOL_TMP, SPOOL_INCOMING, &err)
                : spool_remove(spool, SPOOL_TMP, id, &err))
        return true;
    LOG(LOG_ALARM, has_row ? "move-failed" : "remove-failed", KV("id", id), KV("error", err.text),
        KV("meaning", "look at this file in tmp/; all others go on"));
    return false;
}

bool batch_recover(const struct spool *spool, batch_known_fn *known, void *arg, struct error *err)
{
    struct spool_scan *scan = spool_scan_begin(spool, SPOOL_TMP, err);
    if (scan == NULL)
        return false;
    size_t kept = 0, dropped = 0;
    for (char id[ID_SIZE]; spool_scan_next(scan, id);) {
        bool has_row = known(arg, id), done = recover_one(spool, id, has_row);
        kept += done && has_row;
        dropped += done && !has_row;
    }
    spool_scan_end(scan);
    if (kept + dropped > 0)
        LOG(LOG_NOTE, "recovered", KV("dir", "tmp"), KVN("handed_on", (long long)kept),
            KVN("unfinished", (long long)dropped));
    return true;
}
