/* See copies.h. A turn of the loop: a slice for each large copy, and then small ones up to a
 * batch. A batch is synced while the next one is gathered. */
#include "hygiene/copies.h"
#include "hygiene/drop.h"
#include "hygiene/guard.h"
#include "hygiene/ledger.h"
#include "lib/log.h"
#include <glib.h>
#include <stdlib.h>
#include <string.h>

#define TURN_BYTES (1024 * 1024) /* of small drops */

struct copy {
    struct copies *c;
    struct copied is;
    struct drop drop;
    struct guard guard;
    struct message_writer *writer;
    size_t unsynced;
    bool whole;   /* all is written; it lacks the last sync only */
    bool syncing; /* in the pool: not to be touched */
};

struct batch {
    size_t n;
    struct copied is[COPIES_BATCH];
    struct message_writer *writers[COPIES_BATCH];
};

struct copies {
    struct hygiene *h;
    const struct copies_user *user;
    void *arg;
    GQueue waiting, waiting_large; /* ids (malloc'd) */
    struct copy *large[COPIES_LARGE];
    struct batch gathered, syncing;
    bool stopping;
    struct event *turn;
};

static void want_turn(struct copies *c)
{
    static const struct timeval now = {0, 0};
    (void)event_add(c->turn, &now);
}

/* --- one copy --- */

static struct copy *copy_new(struct copies *c, const char *id)
{
    struct copy *copy = calloc(1, sizeof *copy);
    if (copy == NULL)
        abort();
    copy->c = c;
    copy->guard = GUARD_NONE;
    memcpy(copy->is.id, id, ID_SIZE);
    return copy;
}

static void stop_reading(struct copy *copy)
{
    drop_close(&copy->drop);
    guard_end(&copy->guard);
}

static void leave_slot(struct copy *copy)
{
    for (size_t i = 0; i < COPIES_LARGE; i++)
        if (copy->c->large[i] == copy)
            copy->c->large[i] = NULL;
}

static void abandon(struct copy *copy)
{
    stop_reading(copy);
    message_abandon(copy->writer);
    leave_slot(copy);
    free(copy);
}

static enum copies_failure failure_of(const struct error *err)
{
    return err->kind == ERROR_MISSING     ? COPIES_GONE
           : err->kind == ERROR_TEMPORARY ? COPIES_LATER
                                          : COPIES_REFUSED;
}

/* What was found wrong while somebody wrote proves nothing. */
static void fail(struct copy *copy, const struct error *err)
{
    struct copies *c = copy->c;
    struct copied is = copy->is;
    enum copies_failure how = failure_of(err);
    if (copy->guard.fd >= 0 && !guard_holds(&copy->guard))
        how = COPIES_WRITTEN;
    abandon(copy);
    c->user->failed(c->arg, is.id, how,
                    how == COPIES_WRITTEN ? "it was written to while it was copied" : err->text);
}

/* Whom relayd delivered to already must not get it again: the row of the quarantined original knows
 * who is left. Where the preface lacks one of them, somebody has changed it. */
static void leave_out_reached(const struct badmail *b, struct message_head *head)
{
    struct envelope_list left = {.count = 0};
    for (size_t i = 0; i < b->recipients.count; i++)
        if (!envelope_list_has(&head->recipients, b->recipients.items[i]) ||
            !envelope_list_add(&left, b->recipients.items[i])) {
            envelope_list_free(&left);
            return;
        }
    if (left.count == 0)
        return;
    envelope_list_free(&head->recipients);
    head->recipients = left;
}

/* A replay is what lay in quarantine, and no longer does: a copy of that, or what only says so of
 * itself, is a drop like others. */
static void know_replay(struct hygiene *h, struct drop *drop)
{
    struct message_head *head = &drop->head;
    struct badmail b;
    if (head->replay_of[0] == '\0')
        return;
    if (spool_has(h->spool, SPOOL_BADMAIL, head->replay_of) ||
        !ledger_badmail(h->d->db, head->replay_of, &b)) {
        drop_disown(drop);
        return;
    }
    leave_out_reached(&b, head);
    ledger_badmail_free(&b);
}

static void redirect(struct db *db, struct message_head *head)
{
    struct envelope_list to = {.count = 0};
    if (!ledger_drop_recipients(db, head->id, &to))
        return;
    envelope_list_free(&head->recipients);
    head->recipients = to;
}

static bool open_copy(struct copy *copy, struct error *err)
{
    struct hygiene *h = copy->c->h;
    char name[256];
    (void)ledger_drop(h->d->db, copy->is.id, name);
    if (!drop_open(h->spool, copy->is.id, name, h->d->conf->default_domain, &copy->drop, err))
        return false;
    know_replay(h, &copy->drop);
    redirect(h->d->db, &copy->drop.head);
    memcpy(copy->is.replay_of, copy->drop.head.replay_of, ID_SIZE);
    copy->writer = drop_copy_begin(h->spool, &copy->drop, err);
    return copy->writer != NULL;
}

/* A piece more. The guard has the last word on what was read, before it counts as whole. */
static bool go_on(struct copy *copy, size_t most, struct error *err)
{
    bool whole;
    if (!drop_copy_some(&copy->drop, copy->writer, most, &whole, err))
        return false;
    if (!guard_holds(&copy->guard))
        return error_set(err, ERROR_TEMPORARY, "it was written to");
    if (!whole)
        return true;
    stop_reading(copy);
    copy->whole = true;
    return message_finish(copy->writer, err);
}

/* --- small ones --- */

static void on_batch_synced(void *arg, int failed_errno);

static void sync_batch(struct copies *c)
{
    int fds[COPIES_BATCH];
    c->syncing = c->gathered;
    c->gathered.n = 0;
    for (size_t i = 0; i < c->syncing.n; i++)
        fds[i] = message_writer_fd(c->syncing.writers[i]);
    syncpool_run(c->h->sync, fds, c->syncing.n, spool_fd(c->h->spool, SPOOL_OUTGOING),
                 on_batch_synced, c);
}

static void sync_failed(int failed_errno, size_t messages)
{
    LOG(LOG_ALARM, "sync-failed", KV("dir", "outgoing"), KV("error", strerror(failed_errno)),
        KVN("messages", (long long)messages));
}

static void batch_failed(struct copies *c, const struct batch *batch, int failed_errno)
{
    sync_failed(failed_errno, batch->n);
    for (size_t i = 0; i < batch->n; i++) {
        message_abandon(batch->writers[i]);
        c->user->failed(c->arg, batch->is[i].id, COPIES_LATER, strerror(failed_errno));
    }
}

static void on_batch_synced(void *arg, int failed_errno)
{
    struct copies *c = arg;
    struct batch batch = c->syncing;
    c->syncing.n = 0;
    if (failed_errno != 0) {
        batch_failed(c, &batch, failed_errno);
    } else {
        for (size_t i = 0; i < batch.n; i++)
            message_writer_free(batch.writers[i]);
        c->user->synced(c->arg, batch.is, batch.n);
    }
    want_turn(c);
}

static void gather(struct copy *copy)
{
    struct batch *batch = &copy->c->gathered;
    batch->is[batch->n] = copy->is;
    batch->writers[batch->n++] = copy->writer;
    free(copy);
}

/* --- large ones --- */

static void on_large_synced(void *arg, int failed_errno);

static void sync_large(struct copy *copy)
{
    int fd = message_writer_fd(copy->writer);
    copy->unsynced = 0;
    copy->syncing = true;
    syncpool_run(copy->c->h->sync, &fd, 1,
                 copy->whole ? spool_fd(copy->c->h->spool, SPOOL_OUTGOING) : -1, on_large_synced,
                 copy);
}

static void on_large_synced(void *arg, int failed_errno)
{
    struct copy *copy = arg;
    struct copies *c = copy->c;
    copy->syncing = false;
    if (failed_errno != 0) {
        struct error err;
        sync_failed(failed_errno, 1);
        (void)error_set(&err, ERROR_TEMPORARY, "%s", strerror(failed_errno));
        fail(copy, &err);
    } else if (copy->whole) {
        struct copied is = copy->is;
        message_writer_free(copy->writer);
        leave_slot(copy);
        free(copy);
        c->user->synced(c->arg, &is, 1);
    } else if (c->stopping) {
        abandon(copy);
    }
    want_turn(c);
}

/* Synced every now and then, so that no mass of data gathers that stops the disk, and with it the
 * ledger, for long. */
static void slice(struct copy *copy)
{
    struct error err;
    if (!go_on(copy, COPIES_SLICE, &err)) {
        fail(copy, &err);
        return;
    }
    copy->unsynced += COPIES_SLICE;
    if (copy->whole || copy->unsynced >= COPIES_SYNC)
        sync_large(copy);
}

static size_t free_slot(const struct copies *c)
{
    size_t i = 0;
    while (i < COPIES_LARGE && c->large[i] != NULL)
        i++;
    return i;
}

static bool has_room(const struct copies *c, uint64_t size, struct error *err)
{
    uint64_t room = spool_free_bytes(c->h->spool);
    return room >= size + COPIES_RESERVE ||
           error_set(err, ERROR_TEMPORARY,
                     "it needs %llu bytes of disk, with %llu to spare, and there are %llu",
                     (unsigned long long)size, COPIES_RESERVE, (unsigned long long)room);
}

/* --- a turn --- */

/* Returns how many bytes were copied. */
static size_t begin_small(struct copy *copy)
{
    struct error err;
    size_t size = (size_t)copy->guard.size;
    if (open_copy(copy, &err) && go_on(copy, SIZE_MAX, &err))
        gather(copy);
    else
        fail(copy, &err);
    return size;
}

static void begin_large(struct copy *copy)
{
    struct copies *c = copy->c;
    struct error err;
    size_t slot = free_slot(c);
    if (slot == COPIES_LARGE) {
        g_queue_push_tail(&c->waiting_large, g_strdup(copy->is.id));
        abandon(copy);
    } else if (has_room(c, (uint64_t)copy->guard.size, &err) && open_copy(copy, &err)) {
        c->large[slot] = copy;
    } else {
        fail(copy, &err);
    }
}

static size_t begin(struct copies *c, const char *id)
{
    struct error err;
    struct copy *copy = copy_new(c, id);
    char name[SPOOL_NAME_SIZE];
    switch (guard_begin(&copy->guard, spool_fd(c->h->spool, SPOOL_OUTGOING),
                        spool_name(name, id, "drop"), &err)) {
    case GUARD_STILL:
        if (copy->guard.size <= COPIES_SLICE)
            return begin_small(copy);
        begin_large(copy);
        return 0;
    case GUARD_WRITTEN:
        abandon(copy);
        c->user->failed(c->arg, id, COPIES_WRITTEN, err.text);
        return 0;
    default:
        fail(copy, &err);
        return 0;
    }
}

static char *next(struct copies *c)
{
    if (!g_queue_is_empty(&c->waiting_large) && free_slot(c) < COPIES_LARGE)
        return g_queue_pop_head(&c->waiting_large);
    return c->gathered.n < COPIES_BATCH ? g_queue_pop_head(&c->waiting) : NULL;
}

static bool has_more(const struct copies *c)
{
    for (size_t i = 0; i < COPIES_LARGE; i++)
        if (c->large[i] != NULL && !c->large[i]->syncing)
            return true;
    return (c->gathered.n < COPIES_BATCH && !g_queue_is_empty((GQueue *)&c->waiting)) ||
           (free_slot(c) < COPIES_LARGE && !g_queue_is_empty((GQueue *)&c->waiting_large));
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct copies *c = arg;
    size_t bytes = 0;
    char *id;
    if (c->stopping)
        return;
    for (size_t i = 0; i < COPIES_LARGE; i++)
        if (c->large[i] != NULL && !c->large[i]->syncing)
            slice(c->large[i]);
    for (int begun = 0; begun < COPIES_BATCH && bytes < TURN_BYTES && (id = next(c)) != NULL;
         begun++) {
        bytes += begin(c, id);
        g_free(id);
    }
    bool all = c->gathered.n == COPIES_BATCH || g_queue_is_empty(&c->waiting);
    if (c->gathered.n > 0 && c->syncing.n == 0 && all)
        sync_batch(c);
    if (has_more(c))
        want_turn(c);
}

/* --- start and end --- */

struct copies *copies_new(struct hygiene *h, const struct copies_user *user, void *arg)
{
    struct copies *c = calloc(1, sizeof *c);
    if (c == NULL)
        abort();
    c->h = h;
    c->user = user;
    c->arg = arg;
    g_queue_init(&c->waiting);
    g_queue_init(&c->waiting_large);
    c->turn = event_new(h->d->base, -1, 0, on_turn, c);
    return c;
}

void copies_add(struct copies *c, const char *id)
{
    g_queue_push_tail(&c->waiting, g_strdup(id));
    want_turn(c);
}

size_t copies_waiting(const struct copies *c)
{
    return c->waiting.length + c->waiting_large.length;
}

size_t copies_open(const struct copies *c)
{
    size_t n = c->gathered.n + c->syncing.n;
    for (size_t i = 0; i < COPIES_LARGE; i++)
        n += c->large[i] != NULL;
    return n;
}

static void abandon_all(struct copies *c, bool also_syncing)
{
    for (size_t i = 0; i < COPIES_LARGE; i++)
        if (c->large[i] != NULL && (also_syncing || !c->large[i]->syncing))
            abandon(c->large[i]);
    for (size_t i = 0; i < c->gathered.n; i++)
        message_abandon(c->gathered.writers[i]);
    c->gathered.n = 0;
}

void copies_stop(struct copies *c)
{
    c->stopping = true;
    abandon_all(c, false);
}

void copies_free(struct copies *c)
{
    if (c == NULL)
        return;
    abandon_all(c, true);
    for (size_t i = 0; i < c->syncing.n; i++)
        message_writer_free(c->syncing.writers[i]);
    g_queue_clear_full(&c->waiting, g_free);
    g_queue_clear_full(&c->waiting_large, g_free);
    event_free(c->turn);
    free(c);
}
