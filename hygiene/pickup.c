/* The steps are in pickup.h. Watching for drops is pickup_watch.c's part. */
#include "hygiene/pickup.h"
#include "hygiene/drop.h"
#include "hygiene/ledger.h"
#include "hygiene/pickup_watch.h"
#include "lib/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TURN_MAX 32 /* drops copied and synced together */

struct copied {
    char id[ID_SIZE];
    char replay_of[ID_SIZE];
    struct message_writer *writer;
};

struct pickup {
    struct hygiene *h;
    struct pickup_watch *watch;
    GQueue waiting; /* ids (malloc'd) claimed, to be copied */
    GQueue later;   /* ids whose copy failed for now; they wait for the next round */
    struct copied turn[TURN_MAX];
    size_t turn_count;
    bool syncing;
    struct event *next_turn, *round;
};

static int outgoing_fd(const struct pickup *p)
{
    return spool_fd(p->h->spool, SPOOL_OUTGOING);
}

/* --- 1, 2: claim --- */

static void want_turn(struct pickup *p)
{
    if (!p->syncing)
        event_active(p->next_turn, EV_TIMEOUT, 0);
}

static bool take_file(struct pickup *p, enum spool_dir dir, const struct pickup_claim *claim,
                      struct error *err)
{
    char file[SPOOL_NAME_SIZE];
    if (renameat(spool_fd(p->h->spool, dir), claim->name, outgoing_fd(p),
                 spool_name(file, claim->id, "drop")) < 0)
        return error_errno(err, "cannot take %s from %s", claim->name, spool_dir_name(dir));
    g_queue_push_tail(&p->waiting, g_strdup(claim->id));
    return true;
}

static void claim_rows(struct pickup *p, enum spool_dir dir, struct pickup_claim *claims, size_t n)
{
    db_begin(p->h->d->db);
    for (size_t i = 0; i < n; i++) {
        id_new(claims[i].id);
        ledger_drop_claim(p->h->d->db, claims[i].id, claims[i].name, dir == SPOOL_BADMAIL);
    }
    db_commit(p->h->d->db);
}

bool pickup_claim(struct pickup *p, enum spool_dir dir, const char *name, char id[static ID_SIZE],
                  struct error *err)
{
    struct pickup_claim claim;
    (void)snprintf(claim.name, sizeof claim.name, "%s", name);
    claim_rows(p, dir, &claim, 1);
    if (!take_file(p, dir, &claim, err)) {
        ledger_drop_forget(p->h->d->db, claim.id);
        return false;
    }
    memcpy(id, claim.id, ID_SIZE);
    want_turn(p);
    return true;
}

static void forget_claims(struct pickup *p, const struct pickup_claim *claims, size_t n)
{
    db_begin(p->h->d->db);
    for (size_t i = 0; i < n; i++)
        ledger_drop_forget(p->h->d->db, claims[i].id);
    db_commit(p->h->d->db);
}

/* What can't be taken leaves no trace but one event: it is found again at each walk. */
static void on_found(void *arg, struct pickup_claim *claims, size_t n)
{
    struct pickup *p = arg;
    struct error err, first = {.text = ""};
    size_t failed = 0, stuck = 0;
    claim_rows(p, SPOOL_PICKUP, claims, n);
    for (size_t i = 0; i < n; i++) {
        if (take_file(p, SPOOL_PICKUP, &claims[i], &err))
            continue;
        if (err.kind != ERROR_MISSING && stuck++ == 0)
            first = err;
        claims[failed++] = claims[i];
    }
    if (failed > 0)
        forget_claims(p, claims, failed);
    if (stuck > 0)
        LOG(LOG_WARN, "pickup-failed", KV("error", first.text), KVN("files", (long long)stuck));
    want_turn(p);
}

/* --- giving back what cannot be understood --- */

static bool move_back(struct pickup *p, const char *id, enum spool_dir dir, const char *name)
{
    char file[SPOOL_NAME_SIZE];
    return renameat2(outgoing_fd(p), spool_name(file, id, "drop"), spool_fd(p->h->spool, dir), name,
                     RENAME_NOREPLACE) == 0;
}

static void move_back_failed(const char *id)
{
    LOG(LOG_ALARM, "move-failed", KV("id", id), KV("error", strerror(errno)));
}

static void give_back_drop(struct pickup *p, const char *id, const char *name, const char *reason)
{
    char bad[300];
    (void)snprintf(bad, sizeof bad, "%.250s.bad", name);
    bool moved = move_back(p, id, SPOOL_PICKUP, bad);
    if (!moved && (errno == EEXIST || errno == ENAMETOOLONG)) { /* an earlier one is still there */
        (void)snprintf(bad, sizeof bad, "%.200s.%s.bad", name, id);
        moved = move_back(p, id, SPOOL_PICKUP, bad);
    }
    if (!moved) {
        move_back_failed(id);
        return;
    }
    ledger_drop_set(p->h->d->db, id, DROP_REFUSED);
    LOG(LOG_WARN, "pickup-refused", KV("name", name), KV("renamed_to", bad), KV("reason", reason));
}

/* The quarantined message stays what it was. */
static void give_back_replay(struct pickup *p, const char *id, const char *name, const char *old,
                             const char *reason)
{
    struct db *db = p->h->d->db;
    if (!move_back(p, id, SPOOL_BADMAIL, name)) {
        move_back_failed(id);
        return;
    }
    db_begin(db);
    ledger_drop_set(db, id, DROP_REFUSED);
    ledger_badmail_set(db, old, BADMAIL_HELD, NULL); /* without its file the start had closed it */
    db_commit(db);
    LOG(LOG_WARN, "replay-refused", KV("id", old), KV("reason", reason));
}

static void give_back(struct pickup *p, const char *id, const char *reason)
{
    char name[256], old[ID_SIZE];
    (void)ledger_drop(p->h->d->db, id, name);
    if (name[0] == '\0')
        (void)snprintf(name, sizeof name, "%s.eml", id);
    if (ledger_drop_is_replay(p->h->d->db, id) && spool_parse_name(name, "eml", old))
        give_back_replay(p, id, name, old, reason);
    else
        give_back_drop(p, id, name, reason);
}

/* --- 3: copy and sync --- */

/* Whom relayd delivered to already must not get it again: the row of the quarantined original knows
 * who is left. */
static void narrow_recipients(struct pickup *p, struct message_head *head)
{
    struct badmail b;
    if (!ledger_badmail(p->h->d->db, head->replay_of, &b))
        return;
    if (b.recipients.count > 0) {
        struct envelope_list all = head->recipients;
        head->recipients = b.recipients;
        b.recipients = all;
    }
    ledger_badmail_free(&b);
}

static bool copy_one(struct pickup *p, const char *id, struct copied *copied, struct error *err)
{
    char name[256];
    struct drop drop;
    (void)ledger_drop(p->h->d->db, id, name);
    if (!drop_open(p->h->spool, id, name, p->h->d->conf->default_domain, &drop, err))
        return false;
    narrow_recipients(p, &drop.head);
    memcpy(copied->id, id, ID_SIZE);
    memcpy(copied->replay_of, drop.head.replay_of, ID_SIZE);
    copied->writer = drop_copy(p->h->spool, &drop, err);
    drop_close(&drop);
    return copied->writer != NULL;
}

static void copy_next(struct pickup *p)
{
    struct error err;
    char *id = g_queue_pop_head(&p->waiting);
    if (copy_one(p, id, &p->turn[p->turn_count], &err)) {
        p->turn_count++;
    } else if (err.kind == ERROR_TEMPORARY) {
        LOG(LOG_WARN, "pickup-later", KV("id", id), KV("error", err.text));
        g_queue_push_tail(&p->later, g_strdup(id));
    } else if (err.kind != ERROR_MISSING) {
        give_back(p, id, err.text);
    }
    g_free(id);
}

/* --- 4, 5: taken --- */

static void hand_on(struct pickup *p, const char *id)
{
    char from[SPOOL_NAME_SIZE], to[SPOOL_NAME_SIZE];
    int dir = outgoing_fd(p);
    if (renameat(dir, spool_name(from, id, "new"), dir, spool_name(to, id, "eml")) < 0 &&
        errno != ENOENT) {
        LOG(LOG_ALARM, "move-failed", KV("id", id), KV("error", strerror(errno)));
        g_queue_push_tail(&p->later, g_strdup(id));
        return;
    }
    (void)unlinkat(dir, spool_name(from, id, "drop"), 0);
    bus_ring(p->h->d->bus, "outgoing", id);
}

static void finish_turn(struct pickup *p)
{
    struct db *db = p->h->d->db;
    db_begin(db);
    for (size_t i = 0; i < p->turn_count; i++) {
        ledger_drop_set(db, p->turn[i].id, DROP_TAKEN);
        if (p->turn[i].replay_of[0] != '\0')
            ledger_badmail_set(db, p->turn[i].replay_of, BADMAIL_REPLAYED, p->turn[i].id);
    }
    db_commit(db);
    for (size_t i = 0; i < p->turn_count; i++) {
        struct copied *c = &p->turn[i];
        message_writer_free(c->writer);
        hand_on(p, c->id);
        if (c->replay_of[0] != '\0')
            LOG(LOG_NOTE, "replayed", KV("id", c->id), KV("replay_of", c->replay_of));
        else
            LOG(LOG_NOTE, "picked-up", KV("id", c->id));
    }
}

static void abandon_turn(struct pickup *p, const char *why)
{
    LOG(LOG_ALARM, "sync-failed", KV("dir", "outgoing"), KV("error", why),
        KVN("messages", (long long)p->turn_count));
    for (size_t i = 0; i < p->turn_count; i++) {
        message_abandon(p->turn[i].writer);
        g_queue_push_tail(&p->later, g_strdup(p->turn[i].id));
    }
}

static void on_synced(void *arg, int failed_errno)
{
    struct pickup *p = arg;
    if (failed_errno == 0)
        finish_turn(p);
    else
        abandon_turn(p, strerror(failed_errno));
    p->turn_count = 0;
    p->syncing = false;
    if (p->h->d->stopping)
        daemon_stopped(p->h->d);
    else
        want_turn(p);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct pickup *p = arg;
    if (p->syncing || p->h->d->stopping)
        return;
    while (p->turn_count < TURN_MAX && !g_queue_is_empty(&p->waiting))
        copy_next(p);
    if (p->turn_count == 0)
        return;
    int fds[TURN_MAX];
    for (size_t i = 0; i < p->turn_count; i++)
        fds[i] = message_writer_fd(p->turn[i].writer);
    p->syncing = true;
    syncpool_run(p->h->sync, fds, p->turn_count, outgoing_fd(p), on_synced, p);
}

/* Goes on where a crash, or a rename that failed, cut a drop off. */
static void recover_drop(struct pickup *p, const char *id)
{
    char name[256];
    if (ledger_drop(p->h->d->db, id, name) == DROP_TAKEN)
        hand_on(p, id);
    else
        g_queue_push_tail(&p->waiting, g_strdup(id));
}

static void on_round(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct pickup *p = arg;
    for (guint n = g_queue_get_length(&p->later); n > 0; n--) {
        char *id = g_queue_pop_head(&p->later);
        recover_drop(p, id);
        g_free(id);
    }
    want_turn(p);
}

/* --- start and end --- */

static bool parse_own(const char *name, const char *suffix, char id[static ID_SIZE])
{
    if (strlen(name) != ID_LEN + 1 + strlen(suffix) || name[ID_LEN] != '.' ||
        strcmp(name + ID_LEN + 1, suffix) != 0 || !id_valid(name, ID_LEN))
        return false;
    memcpy(id, name, ID_LEN);
    id[ID_LEN] = '\0';
    return true;
}

/* A copy without its drop. Taken: of the two last steps only the unlink reached the disk. Otherwise
 * the file is back in pickup/, where it will be found. */
static void recover_copy(struct pickup *p, const char *id)
{
    char file[SPOOL_NAME_SIZE], name[256];
    if (faccessat(outgoing_fd(p), spool_name(file, id, "drop"), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
        return; /* recover_drop has seen to it */
    if (ledger_drop(p->h->d->db, id, name) == DROP_TAKEN)
        hand_on(p, id);
    else
        (void)unlinkat(outgoing_fd(p), spool_name(file, id, "new"), 0);
}

static bool recover(struct pickup *p, const char *suffix, void (*fn)(struct pickup *, const char *),
                    struct error *err)
{
    int fd = openat(outgoing_fd(p), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *walk = fd >= 0 ? fdopendir(fd) : NULL;
    if (walk == NULL)
        return error_errno(err, "cannot read outgoing");
    char id[ID_SIZE];
    for (struct dirent *entry; (entry = readdir(walk)) != NULL;)
        if (parse_own(entry->d_name, suffix, id))
            fn(p, id);
    (void)closedir(walk);
    return true;
}

struct pickup *pickup_start(struct hygiene *h, struct error *err)
{
    struct pickup *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    p->h = h;
    g_queue_init(&p->waiting);
    g_queue_init(&p->later);
    p->next_turn = event_new(h->d->base, -1, 0, on_turn, p);
    p->round = event_new(h->d->base, -1, EV_PERSIST, on_round, p);
    struct timeval interval = {10, 0};
    (void)event_add(p->round, &interval);
    if (recover(p, "drop", recover_drop, err) && recover(p, "new", recover_copy, err)) {
        p->watch = pickup_watch_new(h->d->base, h->spool, on_found, p, err);
        want_turn(p);
    }
    if (p->watch != NULL)
        return p;
    pickup_free(p);
    return NULL;
}

void pickup_free(struct pickup *p)
{
    if (p == NULL)
        return;
    pickup_watch_free(p->watch);
    event_free(p->next_turn);
    event_free(p->round);
    for (size_t i = 0; i < p->turn_count; i++)
        message_writer_free(p->turn[i].writer);
    g_queue_clear_full(&p->waiting, g_free);
    g_queue_clear_full(&p->later, g_free);
    free(p);
}

bool pickup_busy(const struct pickup *p)
{
    return p->syncing;
}
