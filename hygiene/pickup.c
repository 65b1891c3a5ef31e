/* The steps are in pickup.h. Watching for drops is pickup_watch.c's part, copying them copies.c's.
 */
#include "hygiene/pickup.h"
#include "hygiene/copies.h"
#include "hygiene/guard.h"
#include "hygiene/judge.h"
#include "hygiene/ledger.h"
#include "hygiene/pickup_watch.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WAITING_MAX   1024 /* claimed and not begun, behind which nothing more is claimed */
#define ROUND_SECONDS 1
#define RETRY_AFTER   (10 * CLOCK_SECOND)
#define LOOK_AFTER    (1 * CLOCK_SECOND)  /* whether somebody still writes */
#define PATIENCE      (60 * CLOCK_SECOND) /* with a writer, before it is told */

/* A drop that is claimed and can't go on now. */
struct put_off {
    int64_t since, due;
    bool told;
    char why[200];
};

struct pickup {
    struct hygiene *h;
    struct pickup_watch *watch;
    struct copies *copies;
    GHashTable *put_off; /* id -> struct put_off */
    struct event *round;
};

static int outgoing_fd(const struct pickup *p)
{
    return spool_fd(p->h->spool, SPOOL_OUTGOING);
}

/* --- 1, 2: claim --- */

/* What waits here is known by its id alone, and what waits in pickup/ by nothing. Without room it
 * is not even looked for: it is as good as any other drop, and must not be told as left alone. */
static void pause_or_resume(struct pickup *p)
{
    size_t waiting = copies_waiting(p->copies);
    if (p->watch == NULL)
        return;
    if (waiting >= WAITING_MAX || p->h->d->stopping || (p->h->room.low && hygiene_lacks_room(p->h)))
        pickup_watch_pause(p->watch);
    else if (waiting < WAITING_MAX / 2)
        pickup_watch_resume(p->watch);
}

/* 0, or errno. */
static int take_file(struct pickup *p, enum spool_dir dir, const struct pickup_claim *claim)
{
    char file[SPOOL_NAME_SIZE];
    if (renameat(spool_fd(p->h->spool, dir), claim->name, outgoing_fd(p),
                 spool_name(file, claim->id, "drop")) < 0)
        return errno;
    copies_add(p->copies, claim->id);
    return 0;
}

static void claim_rows(struct pickup *p, enum spool_dir dir, struct pickup_claim *claims, size_t n,
                       const struct envelope_list *to)
{
    db_begin(p->h->d->db);
    for (size_t i = 0; i < n; i++) {
        id_new(claims[i].id);
        ledger_drop_claim(p->h->d->db, claims[i].id, claims[i].name, dir == SPOOL_BADMAIL);
        if (to != NULL)
            ledger_drop_redirect(p->h->d->db, claims[i].id, to);
    }
    db_commit(p->h->d->db);
}

bool pickup_claim(struct pickup *p, enum spool_dir dir, const char *name,
                  const struct envelope_list *to, char id[static ID_SIZE], struct error *err)
{
    struct pickup_claim claim;
    (void)snprintf(claim.name, sizeof claim.name, "%s", name);
    claim_rows(p, dir, &claim, 1, to);
    int failed = take_file(p, dir, &claim);
    if (failed != 0) {
        ledger_drop_forget(p->h->d->db, claim.id);
        errno = failed;
        return error_errno(err, "cannot take %s from %s", name, spool_dir_name(dir));
    }
    memcpy(id, claim.id, ID_SIZE);
    return true;
}

static void forget_failed(struct pickup *p, const struct pickup_claim *claims, size_t n)
{
    db_begin(p->h->d->db);
    for (size_t i = 0; i < n; i++)
        if (claims[i].failed != 0)
            ledger_drop_forget(p->h->d->db, claims[i].id);
    db_commit(p->h->d->db);
}

/* What can't be taken leaves no trace: it is found again at each walk. */
static void on_found(void *arg, struct pickup_claim *claims, size_t n)
{
    struct pickup *p = arg;
    bool failed = false;
    if (hygiene_lacks_room(p->h)) {
        pause_or_resume(p);
        return;
    }
    claim_rows(p, SPOOL_PICKUP, claims, n, NULL);
    for (size_t i = 0; i < n; i++) {
        claims[i].failed = take_file(p, SPOOL_PICKUP, &claims[i]);
        failed = failed || claims[i].failed != 0;
    }
    if (failed)
        forget_failed(p, claims, n);
    pause_or_resume(p);
}

/* --- putting off --- */

/* The event comes once, when it has lasted for `patience`. */
static void put_off(struct pickup *p, const char *id, int64_t delay, int64_t patience,
                    const char *why)
{
    char name[256];
    int64_t now = clock_monotonic();
    struct put_off *off = g_hash_table_lookup(p->put_off, id);
    if (off == NULL) {
        off = g_new0(struct put_off, 1);
        off->since = now;
        (void)g_hash_table_insert(p->put_off, g_strdup(id), off);
    }
    off->due = now + delay;
    (void)snprintf(off->why, sizeof off->why, "%s", why);
    if (off->told || now - off->since < patience)
        return;
    off->told = true;
    (void)ledger_drop(p->h->d->db, id, name);
    LOG(LOG_WARN, "pickup-later", KV("id", id), KV("name", name), KV("error", why));
}

static void move_failed(struct pickup *p, const char *id)
{
    const char *why = strerror(errno);
    if (!g_hash_table_contains(p->put_off, id))
        LOG(LOG_ALARM, "move-failed", KV("id", id), KV("error", why));
    put_off(p, id, RETRY_AFTER, 0, why);
}

/* --- giving back what cannot be understood --- */

static bool move_back(struct pickup *p, const char *id, enum spool_dir dir, const char *name)
{
    char file[SPOOL_NAME_SIZE];
    return renameat2(outgoing_fd(p), spool_name(file, id, "drop"), spool_fd(p->h->spool, dir), name,
                     RENAME_NOREPLACE) == 0;
}

static void give_back_drop(struct pickup *p, const char *id, const char *name, const char *reason)
{
    char bad[300];
    (void)snprintf(bad, sizeof bad, "%.251s.bad", name);
    bool moved = move_back(p, id, SPOOL_PICKUP, bad);
    if (!moved && (errno == EEXIST || errno == ENAMETOOLONG)) { /* an earlier one is still there */
        (void)snprintf(bad, sizeof bad, "%.200s.%s.bad", name, id);
        moved = move_back(p, id, SPOOL_PICKUP, bad);
    }
    if (!moved) {
        move_failed(p, id);
        return;
    }
    ledger_drop_set(p->h->d->db, id, DROP_REFUSED);
    (void)g_hash_table_remove(p->put_off, id);
    LOG(LOG_WARN, "pickup-refused", KV("name", name), KV("renamed_to", bad), KV("reason", reason));
}

/* The quarantined message stays what it was. */
static void give_back_replay(struct pickup *p, const char *id, const char *name, const char *old,
                             const char *reason)
{
    struct db *db = p->h->d->db;
    if (!move_back(p, id, SPOOL_BADMAIL, name)) {
        move_failed(p, id);
        return;
    }
    db_begin(db);
    ledger_drop_set(db, id, DROP_REFUSED);
    ledger_badmail_set(db, old, BADMAIL_HELD, NULL); /* without its file the start had closed it */
    db_commit(db);
    (void)g_hash_table_remove(p->put_off, id);
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

/* --- 4, 5: taken --- */

static void hand_on(struct pickup *p, const char *id)
{
    char from[SPOOL_NAME_SIZE], to[SPOOL_NAME_SIZE];
    int dir = outgoing_fd(p), incoming = spool_fd(p->h->spool, SPOOL_INCOMING);
    if ((renameat(dir, spool_name(from, id, "new"), incoming, spool_name(to, id, "eml")) < 0 &&
         errno != ENOENT) ||
        (unlinkat(dir, spool_name(from, id, "drop"), 0) < 0 && errno != ENOENT)) {
        move_failed(p, id);
        return;
    }
    (void)g_hash_table_remove(p->put_off, id);
    if (p->h->judge != NULL) /* or it is found at its start */
        judge_drop(p->h->judge, id);
}

static void on_synced(void *arg, const struct copied *done, size_t n)
{
    struct pickup *p = arg;
    struct db *db = p->h->d->db;
    db_begin(db);
    for (size_t i = 0; i < n; i++) {
        ledger_drop_set(db, done[i].id, DROP_TAKEN);
        if (done[i].replay_of[0] != '\0')
            ledger_badmail_set(db, done[i].replay_of, BADMAIL_REPLAYED, done[i].id);
    }
    db_commit(db);
    for (size_t i = 0; i < n; i++) {
        hand_on(p, done[i].id);
        if (done[i].replay_of[0] != '\0')
            LOG(LOG_NOTE, "replayed", KV("id", done[i].id), KV("replay_of", done[i].replay_of));
        else
            LOG(LOG_NOTE, "picked-up", KV("id", done[i].id));
    }
    pause_or_resume(p);
}

/* Goes on where a crash, or a step that failed, cut a drop off. */
static void recover_drop(struct pickup *p, const char *id)
{
    char name[256];
    if (ledger_drop(p->h->d->db, id, name) == DROP_TAKEN)
        hand_on(p, id);
    else if (hygiene_lacks_room(p->h))
        put_off(p, id, RETRY_AFTER, 0, room_problem(&p->h->room));
    else
        copies_add(p->copies, id);
}

static void on_failed(void *arg, const char *id, enum copies_failure how, const char *why)
{
    struct pickup *p = arg;
    if (how == COPIES_LATER)
        put_off(p, id, RETRY_AFTER, 0, why);
    else if (how == COPIES_WRITTEN)
        put_off(p, id, LOOK_AFTER, PATIENCE, why);
    else if (how == COPIES_REFUSED)
        give_back(p, id, why);
    else
        (void)g_hash_table_remove(p->put_off, id);
    pause_or_resume(p);
}

static void on_round(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct pickup *p = arg;
    GHashTableIter iter;
    gpointer id, value;
    GQueue due = G_QUEUE_INIT;
    g_hash_table_iter_init(&iter, p->put_off);
    while (g_hash_table_iter_next(&iter, &id, &value)) {
        struct put_off *off = value;
        if (off->due > clock_monotonic())
            continue;
        off->due = INT64_MAX; /* under way */
        g_queue_push_tail(&due, g_strdup(id));
    }
    for (char *each; (each = g_queue_pop_head(&due)) != NULL; g_free(each))
        recover_drop(p, each);
    pause_or_resume(p); /* there may be room again, and no mail that would have it looked for */
}

/* --- start and end --- */

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
    struct spool_scan *scan = spool_scan_begin_of(p->h->spool, SPOOL_OUTGOING, suffix, err);
    if (scan == NULL)
        return false;
    char id[ID_SIZE];
    while (spool_scan_next(scan, id))
        fn(p, id);
    spool_scan_end(scan);
    return true;
}

struct pickup *pickup_start(struct hygiene *h, struct error *err)
{
    static const struct copies_user user = {on_synced, on_failed};
    struct pickup *p = calloc(1, sizeof *p);
    if (p == NULL)
        abort();
    guard_init();
    p->h = h;
    p->put_off = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    p->copies = copies_new(h, &user, p);
    p->round = event_new(h->d->base, -1, EV_PERSIST, on_round, p);
    struct timeval interval = {ROUND_SECONDS, 0};
    (void)event_add(p->round, &interval);
    if (recover(p, "drop", recover_drop, err) && recover(p, "new", recover_copy, err))
        p->watch = pickup_watch_new(h->d->base, h->spool, on_found, p, err);
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
    copies_free(p->copies);
    event_free(p->round);
    g_hash_table_destroy(p->put_off);
    free(p);
}

void pickup_stop(struct pickup *p)
{
    pickup_watch_pause(p->watch);
    copies_stop(p->copies);
}

/* One of those that have lasted; NULL: there is none. */
static const char *why_put_off(const struct pickup *p)
{
    GHashTableIter iter;
    gpointer value;
    g_hash_table_iter_init(&iter, p->put_off);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        if (((const struct put_off *)value)->told)
            return ((const struct put_off *)value)->why;
    return NULL;
}

json_t *pickup_status(const struct pickup *p)
{
    json_t *status = pickup_watch_left(p->watch);
    const char *why = why_put_off(p);
    char safe[800];
    (void)json_object_set_new(status, "waiting",
                              json_integer((json_int_t)copies_waiting(p->copies)));
    (void)json_object_set_new(status, "copying", json_integer((json_int_t)copies_open(p->copies)));
    (void)json_object_set_new(status, "put_off",
                              json_integer((json_int_t)g_hash_table_size(p->put_off)));
    (void)json_object_set_new(
        status, "put_off_why",
        why != NULL ? json_string(log_escape(safe, sizeof safe, why, strlen(why))) : json_null());
    return status;
}
