/* See pickup_watch.h. */
#include "hygiene/pickup_watch.h"
#include "hygiene/guard.h"
#include "hygiene/left.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define TURN_MAX     256  /* claims in one turn of the loop */
#define NAMES_MAX    2048 /* names read in one turn */
#define WALK_SECONDS 5
#define QUIET_MS     120000
#define KNOWN_MAX    20000
#define READY        (IN_CLOSE_WRITE | IN_MOVED_TO)
#define WATCHED      (READY | IN_MODIFY | IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR)

/* What inotify has told of a name last. */
enum known { KNOWN_NOTHING, KNOWN_CLOSED, KNOWN_WRITTEN };

struct pickup_watch {
    const struct spool *spool;
    pickup_found_fn *fn;
    void *arg;
    int inotify_fd;
    struct event *notified, *unasked, *turn;
    DIR *walk;  /* under way, over as many turns as it takes; NULL: none */
    bool again; /* something has changed since it began */
    bool paused;
    GHashTable *known; /* name -> enum known */
    uint32_t cookie;   /* of the move that inotify began to tell of last, */
    enum known moving; /* and what was known of the name before it */
    struct left *left;
};

/* --- one name --- */

static enum known known_of(const struct pickup_watch *w, const char *name)
{
    return (enum known)GPOINTER_TO_INT(g_hash_table_lookup(w->known, name));
}

static bool is_quiet(const struct stat *st)
{
    int64_t changed = (int64_t)st->st_ctim.tv_sec * 1000 + st->st_ctim.tv_nsec / 1000000;
    return llabs(clock_now() - changed) >= QUIET_MS;
}

/* Without a lease: a writer who was seen is waited for until he closes, however long he pauses. Of
 * one from before our time nothing is known but when he wrote last. */
static bool is_complete(const struct pickup_watch *w, int fd, const char *name)
{
    struct stat st;
    enum guard_answer answer = guard_ask(fd);
    if (answer != GUARD_UNKNOWN)
        return answer == GUARD_STILL;
    enum known known = known_of(w, name);
    return known == KNOWN_CLOSED ||
           (known == KNOWN_NOTHING && fstat(fd, &st) == 0 && is_quiet(&st));
}

static enum left_reason by_name(const char *name)
{
    size_t n = strlen(name);
    if (name[0] == '.')
        return LEFT_HIDDEN;
    if (n > 4 && strcmp(name + n - 4, ".eml") == 0)
        return LEFT_NOT;
    return n > 4 && strcmp(name + n - 4, ".bad") == 0 ? LEFT_REFUSED : LEFT_NAME;
}

static enum left_reason by_kind(const struct stat *st)
{
    if (S_ISLNK(st->st_mode))
        return LEFT_LINK;
    if (!S_ISREG(st->st_mode))
        return LEFT_NO_FILE;
    return st->st_size == 0 ? LEFT_EMPTY : LEFT_NOT;
}

/* Only what is a regular file is opened: opening a FIFO would let its writer go. False: it is gone
 * again. */
static bool look_at(const struct pickup_watch *w, const char *name, enum left_reason *reason)
{
    struct stat st;
    int dir = spool_fd(w->spool, SPOOL_PICKUP);
    if ((*reason = by_name(name)) != LEFT_NOT)
        return true;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    if ((*reason = by_kind(&st)) != LEFT_NOT)
        return true;
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        *reason = LEFT_UNREADABLE;
        return errno == EACCES || errno == EPERM; /* anything else is another matter next time */
    }
    *reason = is_complete(w, fd, name) ? LEFT_NOT : LEFT_WRITTEN;
    (void)close(fd);
    return true;
}

/* --- a walk --- */

static bool begin(struct pickup_watch *w)
{
    w->again = false;
    int fd = openat(spool_fd(w->spool, SPOOL_PICKUP), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    w->walk = fd >= 0 ? fdopendir(fd) : NULL;
    if (w->walk == NULL)
        LOG(LOG_ALARM, "scan-failed", KV("dir", "pickup"), KV("error", strerror(errno)));
    else
        left_walk_begins(w->left);
    return w->walk != NULL;
}

static void end(struct pickup_watch *w)
{
    (void)closedir(w->walk);
    w->walk = NULL;
    left_walk_ends(w->left);
}

static void turn_in(struct pickup_watch *w, int seconds)
{
    struct timeval wait = {seconds, 0};
    (void)event_add(w->turn, &wait);
}

/* Puts up to TURN_MAX names that are to be taken into claims; *over: these are the last. */
static size_t find(struct pickup_watch *w, struct pickup_claim *claims, bool *over)
{
    size_t n = 0;
    for (int names = 0; n < TURN_MAX && names < NAMES_MAX; names++) {
        const struct dirent *entry = readdir(w->walk);
        if (entry == NULL) {
            *over = true;
            break;
        }
        const char *name = entry->d_name;
        enum left_reason reason;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || !look_at(w, name, &reason))
            continue;
        if (reason != LEFT_NOT) {
            (void)left_note(w->left, name, reason, clock_monotonic());
            continue;
        }
        claims[n] = (struct pickup_claim){.failed = 0};
        (void)snprintf(claims[n++].name, sizeof claims[0].name, "%s", name);
    }
    return n;
}

/* One event for all of a turn; it is found again at each walk, but not told again. */
static void note_stuck(struct pickup_watch *w, const struct pickup_claim *claims, size_t n)
{
    int error = 0;
    long long fresh = 0;
    for (size_t i = 0; i < n; i++) {
        if (claims[i].failed == 0 || claims[i].failed == ENOENT)
            continue;
        error = claims[i].failed;
        fresh += left_note(w->left, claims[i].name, LEFT_STUCK, clock_monotonic());
    }
    if (fresh > 0)
        LOG(LOG_WARN, "pickup-failed", KV("error", strerror(error)), KVN("files", fresh));
}

/* A walk goes through the whole directory, so that names which can't be taken keep nobody waiting
 * who stands behind them. */
static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    static struct pickup_claim claims[TURN_MAX];
    struct pickup_watch *w = arg;
    if (w->paused || (w->walk == NULL && !begin(w)))
        return;
    bool over = false;
    size_t n = find(w, claims, &over);
    if (n > 0) {
        w->fn(w->arg, claims, n);
        note_stuck(w, claims, n);
    }
    if (over)
        end(w);
    if (w->walk != NULL || w->again)
        turn_in(w, 0);
}

static void look(struct pickup_watch *w)
{
    w->again = true;
    turn_in(w, 0);
}

static void on_unasked(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    look(arg);
}

void pickup_watch_pause(struct pickup_watch *w)
{
    w->paused = true;
}

void pickup_watch_resume(struct pickup_watch *w)
{
    if (!w->paused)
        return;
    w->paused = false;
    turn_in(w, 0);
}

json_t *pickup_watch_left(const struct pickup_watch *w)
{
    return left_json(w->left);
}

/* --- inotify --- */

/* Under its new name a file is still written, when it was under its old one. */
static enum known known_by(const struct pickup_watch *w, const struct inotify_event *event)
{
    if ((event->mask & IN_MOVED_TO) != 0 && event->cookie == w->cookie)
        return w->moving == KNOWN_WRITTEN ? KNOWN_WRITTEN : KNOWN_CLOSED;
    return (event->mask & READY) != 0 ? KNOWN_CLOSED : KNOWN_WRITTEN;
}

static void note(struct pickup_watch *w, const struct inotify_event *event)
{
    if ((event->mask & IN_Q_OVERFLOW) != 0 || g_hash_table_size(w->known) >= KNOWN_MAX)
        g_hash_table_remove_all(w->known);
    if (event->len == 0)
        return;
    if ((event->mask & IN_MOVED_FROM) != 0) {
        w->cookie = event->cookie;
        w->moving = known_of(w, event->name);
    }
    if ((event->mask & (IN_DELETE | IN_MOVED_FROM)) != 0)
        (void)g_hash_table_remove(w->known, event->name);
    else
        (void)g_hash_table_replace(w->known, g_strdup(event->name),
                                   GINT_TO_POINTER(known_by(w, event)));
}

/* Who writes on gives no cause for a walk; who has ended does. */
static void on_notified(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    uint32_t seen = 0;
    char events[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
    for (ssize_t n; (n = read(fd, events, sizeof events)) > 0;) {
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *event = (const struct inotify_event *)(events + at);
            note(arg, event);
            seen |= event->mask;
            at += (ssize_t)(sizeof *event + event->len);
        }
    }
    if ((seen & (READY | IN_Q_OVERFLOW)) != 0)
        look(arg);
}

/* --- start and end --- */

static void watch(struct pickup_watch *w)
{
    char path[4200];
    (void)snprintf(path, sizeof path, "%s/%s", spool_path(w->spool), spool_dir_name(SPOOL_PICKUP));
    w->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->inotify_fd < 0 || inotify_add_watch(w->inotify_fd, path, WATCHED) < 0)
        LOG(LOG_WARN, "watch-failed", KV("dir", path), KV("error", strerror(errno)),
            KV("meaning", "drops are found a few seconds late"));
}

struct pickup_watch *pickup_watch_new(struct event_base *base, const struct spool *spool,
                                      pickup_found_fn *fn, void *arg, struct error *err)
{
    struct pickup_watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    *w = (struct pickup_watch){.spool = spool, .fn = fn, .arg = arg, .left = left_new()};
    w->known = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    watch(w);
    w->notified = event_new(base, w->inotify_fd, EV_READ | EV_PERSIST, on_notified, w);
    w->unasked = event_new(base, -1, EV_PERSIST, on_unasked, w);
    w->turn = event_new(base, -1, 0, on_turn, w);
    struct timeval interval = {WALK_SECONDS, 0};
    bool ok = w->unasked != NULL && w->turn != NULL && event_add(w->unasked, &interval) == 0 &&
              (w->inotify_fd < 0 || event_add(w->notified, NULL) == 0);
    if (ok) {
        turn_in(w, 0);
        return w;
    }
    (void)error_set(err, ERROR_TEMPORARY, "cannot watch pickup");
    pickup_watch_free(w);
    return NULL;
}

void pickup_watch_free(struct pickup_watch *w)
{
    if (w == NULL)
        return;
    struct event *events[] = {w->notified, w->unasked, w->turn};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (events[i] != NULL)
            event_free(events[i]);
    if (w->walk != NULL)
        (void)closedir(w->walk);
    if (w->inotify_fd >= 0)
        (void)close(w->inotify_fd);
    g_hash_table_destroy(w->known);
    left_free(w->left);
    free(w);
}
