/* The window of messages that are ready. Promises: bounded memory and bounded work a call; no id
 * twice at a time; an id never given out that the ledger has as settled. What does not fit now is
 * found again, by the scan that goes on or by the next one. */
#include "relayd/queue.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "relayd/ledger.h"

#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum {
    WINDOW_MAX = 1280, /* the larger window, and what comes back into it */
    SCAN_STEP = 500,   /* names read in one call */
    FRESH_PER_DUE = 4,
};

struct item {
    char id[ID_SIZE];
    int64_t since; /* when it came, was due, or was lost with its session */
    bool taken;
    bool lost; /* its last attempt ended without a reply */
    unsigned losses, backs;
};

/* The next one last. */
struct window {
    struct item *items[WINDOW_MAX];
    size_t count;
};

struct queue {
    struct db *db;
    const struct spool *spool;
    queue_settled_fn *settled;
    void *arg;
    GHashTable *known; /* id -> struct item, which holds the key; owns the item */
    struct window fresh, due;
    struct spool_scan *scan;
    bool scan_wanted;
    bool told;               /* of names that don't belong there */
    struct timespec scanned; /* the directory's mtime when the last scan began */
    bool in_doubt;           /* it was so new that a later change may bear the same time */
    unsigned turn;
    size_t taken;
};

/* ---- windows ---- */

static int compare(const struct item *a, const struct item *b)
{
    if (a->since != b->since)
        return a->since < b->since ? -1 : 1;
    return strcmp(a->id, b->id);
}

static bool window_add(struct window *window, struct item *item)
{
    size_t low = 0, high = window->count;
    if (window->count >= WINDOW_MAX)
        return false;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (compare(window->items[middle], item) > 0)
            low = middle + 1;
        else
            high = middle;
    }
    struct item **at = window->items + low;
    memmove(at + 1, at, (window->count - low) * sizeof *at);
    *at = item;
    window->count++;
    return true;
}

static void window_remove(struct window *window, size_t index)
{
    struct item **at = window->items + index;
    memmove(at, at + 1, (--window->count - index) * sizeof *at);
}

static struct item *window_take(struct window *window, bool also_lost)
{
    for (size_t i = window->count; i-- > 0;) {
        struct item *item = window->items[i];
        if (item->lost && !also_lost)
            continue;
        window_remove(window, i);
        return item;
    }
    return NULL;
}

static size_t count_lost(const struct window *window)
{
    size_t lost = 0;
    for (size_t i = 0; i < window->count; i++)
        lost += window->items[i]->lost;
    return lost;
}

static bool window_drop(struct window *window, const struct item *item)
{
    for (size_t i = 0; i < window->count; i++) {
        if (window->items[i] != item)
            continue;
        window_remove(window, i);
        return true;
    }
    return false;
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

static bool join(struct queue *queue, struct window *window, size_t max, const char *id,
                 int64_t since, bool lost)
{
    if (window->count >= max)
        return false;
    struct item *item = g_new0(struct item, 1);
    item->since = since;
    item->lost = lost;
    (void)snprintf(item->id, sizeof item->id, "%s", id);
    (void)g_hash_table_insert(queue->known, item->id, item);
    return window_add(window, item);
}

/* False when it has to wait because the window is full. */
static bool offer(struct queue *queue, const char *id)
{
    if (queue_knows(queue, id))
        return true;
    switch (ledger_state(queue->db, id)) {
    case LEDGER_FRESH:
        return join(queue, &queue->fresh, QUEUE_FRESH_MAX, id, MIN(id_time(id), clock_now()),
                    false);
    case LEDGER_DELIVERED:
        queue->settled(queue->arg, id, true);
        return true;
    case LEDGER_REJECTED:
        queue->settled(queue->arg, id, false);
        return true;
    default:
        return true; /* deferred: its row brings it; held: a person does */
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

struct due {
    struct queue *queue;
    bool lost;
    size_t room;
};

static bool add_due(void *arg, const char *id, int64_t since)
{
    struct due *due = arg;
    if (queue_knows(due->queue, id))
        return true;
    return due->room-- > 0 && join(due->queue, &due->queue->due, WINDOW_MAX, id, since, due->lost);
}

/* Each kind has places of its own, so that many of the one leave some for the other. */
static void refill_due(struct queue *queue, bool lost, int64_t now, int64_t longest)
{
    size_t max = lost ? QUEUE_LOST_MAX : QUEUE_DUE_MAX, there = count_lost(&queue->due);
    there = lost ? there : queue->due.count - there;
    struct due due = {queue, lost, max > there ? max - there : 0};
    if (there < max / 2)
        ledger_each_due(queue->db, lost, now, longest, add_due, &due);
}

static void dir_time(const struct queue *queue, struct timespec *time)
{
    struct stat st;
    *time = (struct timespec){0};
    if (fstat(spool_fd(queue->spool, SPOOL_OUTGOING), &st) == 0)
        *time = st.st_mtim;
}

static bool is_new(struct timespec time, int64_t now)
{
    int64_t age = now - ((int64_t)time.tv_sec * 1000 + time.tv_nsec / 1000000);
    return age > -CLOCK_SECOND && age < CLOCK_SECOND;
}

static bool begin_scan(struct queue *queue, int64_t now)
{
    struct error err;
    dir_time(queue, &queue->scanned);
    queue->in_doubt = is_new(queue->scanned, now);
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
            spool_scan_warn(queue->scan, &queue->told);
            spool_scan_end(queue->scan);
            queue->scan = NULL;
            return;
        }
        (void)offer(queue, id); /* there is room: the loop's condition */
    }
}

bool queue_refill(struct queue *queue, int64_t now, int64_t longest)
{
    refill_due(queue, false, now, longest);
    refill_due(queue, true, now, longest);
    if (!room_to_scan(queue))
        return false;
    if (queue->scan || (queue->scan_wanted && begin_scan(queue, now)))
        step_scan(queue);
    return queue->scan && room_to_scan(queue);
}

bool queue_stale(const struct queue *queue)
{
    struct timespec time;
    if (queue->scan)
        return false;
    dir_time(queue, &time);
    return queue->in_doubt || time.tv_sec != queue->scanned.tv_sec ||
           time.tv_nsec != queue->scanned.tv_nsec;
}

/* ---- giving out ---- */

bool queue_take(struct queue *queue, char id[static ID_SIZE], bool also_lost)
{
    bool due_first = queue->turn % (FRESH_PER_DUE + 1) == FRESH_PER_DUE;
    struct item *item = window_take(due_first ? &queue->due : &queue->fresh, also_lost);
    if (!item)
        item = window_take(due_first ? &queue->fresh : &queue->due, also_lost);
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

bool queue_drop(struct queue *queue, const char *id)
{
    const struct item *item = g_hash_table_lookup(queue->known, id);
    if (!item)
        return true;
    if (item->taken)
        return false;
    if (!window_drop(&queue->fresh, item))
        (void)window_drop(&queue->due, item);
    (void)g_hash_table_remove(queue->known, id);
    return true;
}

static void give_back(struct queue *queue, struct item *item)
{
    item->taken = false;
    queue->taken--;
    if (!window_add(&queue->fresh, item)) {
        (void)g_hash_table_remove(queue->known, item->id);
        queue->scan_wanted = true;
    }
}

unsigned queue_again(struct queue *queue, const char *id, int64_t now)
{
    struct item *item = taken_item(queue, id);
    if (!item)
        return 0;
    unsigned losses = ++item->losses;
    item->since = now;
    item->lost = true;
    give_back(queue, item);
    return losses;
}

void queue_back(struct queue *queue, const char *id)
{
    struct item *item = taken_item(queue, id);
    if (!item)
        return;
    item->backs++;
    give_back(queue, item);
}

unsigned queue_losses(const struct queue *queue, const char *id)
{
    const struct item *item = g_hash_table_lookup(queue->known, id);
    return item ? item->losses : 0;
}

unsigned queue_backs(const struct queue *queue, const char *id)
{
    const struct item *item = g_hash_table_lookup(queue->known, id);
    return item ? item->backs : 0;
}

bool queue_knows(const struct queue *queue, const char *id)
{
    return g_hash_table_contains(queue->known, id);
}

size_t queue_ready(const struct queue *queue)
{
    return queue->fresh.count + queue->due.count;
}

size_t queue_lost(const struct queue *queue)
{
    return count_lost(&queue->due) + count_lost(&queue->fresh);
}

size_t queue_taken(const struct queue *queue)
{
    return queue->taken;
}
