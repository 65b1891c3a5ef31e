/* The window of messages that are ready. Promises: bounded memory and bounded work a call; no id
 * twice at a time; an id never given out that the ledger has as settled. What does not fit now is
 * found again, by the scan that goes on or by the next one. */
#include "relayd/queue.h"

#include "lib/log.h"
#include "relayd/ledger.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    RING_MAX = 1280, /* the larger window, and what comes back into it */
    SCAN_STEP = 500, /* names read in one call */
    FRESH_PER_DUE = 4,
};

struct item {
    char id[ID_SIZE];
    bool taken;
    unsigned losses;
};

struct ring {
    struct item *items[RING_MAX];
    size_t head, count;
};

struct queue {
    struct db *db;
    const struct spool *spool;
    queue_settled_fn *settled;
    void *arg;
    GHashTable *known; /* id -> struct item, which holds the key; owns the item */
    struct ring fresh, due;
    struct spool_scan *scan;
    bool scan_wanted;
    struct timespec scanned; /* the directory's mtime when the last scan began */
    unsigned turn;
    size_t taken;
};

/* ---- rings ---- */

static bool ring_add(struct ring *ring, struct item *item, size_t max)
{
    if (ring->count >= max)
        return false;
    ring->items[(ring->head + ring->count++) % RING_MAX] = item;
    return true;
}

static bool ring_add_first(struct ring *ring, struct item *item)
{
    if (ring->count >= RING_MAX)
        return false;
    ring->head = (ring->head + RING_MAX - 1) % RING_MAX;
    ring->items[ring->head] = item;
    ring->count++;
    return true;
}

static struct item *ring_take(struct ring *ring)
{
    if (ring->count == 0)
        return NULL;
    struct item *item = ring->items[ring->head];
    ring->head = (ring->head + 1) % RING_MAX;
    ring->count--;
    return item;
}

/* ---- life ---- */

struct queue *queue_new(struct db *db, const struct spool *spool, queue_settled_fn *settled,
                        void *arg)
{
    struct queue *queue = g_new0(struct queue, 1);
    queue->db = db;
    queue->spool = spool;
    queue->settled = settled;
    queue->arg = arg;
    queue->known = g_hash_table_new_full(g_str_hash, g_str_equal, NULL, g_free);
    queue->scan_wanted = true;
    return queue;
}

void queue_free(struct queue *queue)
{
    if (!queue)
        return;
    spool_scan_end(queue->scan);
    g_hash_table_destroy(queue->known);
    g_free(queue);
}

/* ---- filling ---- */

static bool join(struct queue *queue, struct ring *ring, size_t max, const char *id)
{
    if (ring->count >= max)
        return false;
    struct item *item = g_new0(struct item, 1);
    (void)snprintf(item->id, sizeof item->id, "%s", id);
    (void)g_hash_table_insert(queue->known, item->id, item);
    return ring_add(ring, item, max);
}

/* False when it has to wait because the window is full. */
static bool offer(struct queue *queue, const char *id)
{
    if (queue_knows(queue, id))
        return true;
    switch (ledger_state(queue->db, id)) {
    case LEDGER_FRESH:
        return join(queue, &queue->fresh, QUEUE_FRESH_MAX, id);
    case LEDGER_DELIVERED:
        queue->settled(queue->arg, id, true);
        return true;
    case LEDGER_REJECTED:
        queue->settled(queue->arg, id, false);
        return true;
    default:
        return true; /* deferred: its row brings it */
    }
}

void queue_push(struct queue *queue, const char *id)
{
    if (!offer(queue, id))
        queue->scan_wanted = true;
}

void queue_scan(struct queue *queue)
{
    queue->scan_wanted = true;
}

static bool add_due(void *arg, const char *id)
{
    struct queue *queue = arg;
    return queue_knows(queue, id) || join(queue, &queue->due, QUEUE_DUE_MAX, id);
}

static void dir_time(const struct queue *queue, struct timespec *time)
{
    struct stat st;
    *time = (struct timespec){0};
    if (fstat(spool_fd(queue->spool, SPOOL_OUTGOING), &st) == 0)
        *time = st.st_mtim;
}

static bool begin_scan(struct queue *queue)
{
    struct error err;
    dir_time(queue, &queue->scanned);
    queue->scan = spool_scan_begin(queue->spool, SPOOL_OUTGOING, &err);
    if (queue->scan)
        queue->scan_wanted = false;
    else
        LOG(LOG_WARN, "scan-failed", KV("dir", "outgoing"), KV("error", err.text));
    return queue->scan != NULL;
}

/* The window is left to drain to a half before the scan goes on, so that it is read in strides. */
static bool room_to_scan(const struct queue *queue)
{
    return queue->fresh.count <= QUEUE_FRESH_MAX / 2;
}

static void step_scan(struct queue *queue)
{
    char id[ID_SIZE];
    for (int i = 0; i < SCAN_STEP && queue->fresh.count < QUEUE_FRESH_MAX; i++) {
        if (!spool_scan_next(queue->scan, id)) {
            spool_scan_end(queue->scan);
            queue->scan = NULL;
            return;
        }
        (void)offer(queue, id); /* there is room: the loop's condition */
    }
}

bool queue_refill(struct queue *queue, int64_t now)
{
    if (queue->due.count < QUEUE_DUE_MAX / 2)
        ledger_each_due(queue->db, now, add_due, queue);
    if (!room_to_scan(queue))
        return false;
    if (queue->scan || (queue->scan_wanted && begin_scan(queue)))
        step_scan(queue);
    return queue->scan && room_to_scan(queue);
}

bool queue_stale(const struct queue *queue)
{
    struct timespec time;
    if (queue->scan)
        return false;
    dir_time(queue, &time);
    return time.tv_sec != queue->scanned.tv_sec || time.tv_nsec != queue->scanned.tv_nsec;
}

/* ---- giving out ---- */

bool queue_take(struct queue *queue, enum queue_order order, char id[static ID_SIZE])
{
    bool due_first = order == QUEUE_BY_TURNS && queue->turn % (FRESH_PER_DUE + 1) == FRESH_PER_DUE;
    struct item *item = ring_take(due_first ? &queue->due : &queue->fresh);
    if (!item)
        item = ring_take(due_first ? &queue->fresh : &queue->due);
    if (!item)
        return false;
    queue->turn++;
    item->taken = true;
    queue->taken++;
    memcpy(id, item->id, ID_SIZE);
    return true;
}

static struct item *taken_item(const struct queue *queue, const char *id)
{
    struct item *item = g_hash_table_lookup(queue->known, id);
    return item && item->taken ? item : NULL;
}

void queue_done(struct queue *queue, const char *id)
{
    struct item *item = taken_item(queue, id);
    if (!item)
        return;
    queue->taken--;
    (void)g_hash_table_remove(queue->known, id);
}

unsigned queue_again(struct queue *queue, const char *id)
{
    struct item *item = taken_item(queue, id);
    if (!item)
        return 0;
    unsigned losses = ++item->losses;
    item->taken = false;
    queue->taken--;
    if (!ring_add_first(&queue->fresh, item)) {
        (void)g_hash_table_remove(queue->known, id);
        queue->scan_wanted = true;
    }
    return losses;
}

unsigned queue_losses(const struct queue *queue, const char *id)
{
    const struct item *item = g_hash_table_lookup(queue->known, id);
    return item ? item->losses : 0;
}

bool queue_knows(const struct queue *queue, const char *id)
{
    return g_hash_table_contains(queue->known, id);
}

size_t queue_ready(const struct queue *queue)
{
    return queue->fresh.count + queue->due.count;
}

size_t queue_taken(const struct queue *queue)
{
    return queue->taken;
}
