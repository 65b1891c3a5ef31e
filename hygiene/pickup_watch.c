/* See pickup_watch.h. Whether somebody still writes is asked of the kernel: a read lease is refused
 * (EAGAIN) while the file is open for writing (fcntl(2), F_SETLEASE); inotify tells when it is
 * closed. Where leases can't be had, a file must have been quiet for a while, and is looked at
 * until it has. */
#include "hygiene/pickup_watch.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <signal.h>
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
#define CLOSED_MAX   100000
#define WATCHED      (IN_CLOSE_WRITE | IN_MOVED_TO | IN_MODIFY | IN_DELETE | IN_MOVED_FROM | IN_ONLYDIR)

struct pickup_watch {
    const struct spool *spool;
    pickup_found_fn *fn;
    void *arg;
    int inotify_fd;
    struct event *notified, *unasked, *turn;
    DIR *walk;          /* under way, over as many turns as it takes; NULL: none */
    bool again;         /* something has changed since it began */
    GHashTable *closed; /* names that inotify has shown closed by their writer, or moved in */
};

enum writing { WRITING_NO, WRITING_YES, WRITING_UNKNOWN };

static enum writing is_written(int fd)
{
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0) {
        (void)fcntl(fd, F_SETLEASE, F_UNLCK);
        return WRITING_NO;
    }
    return errno == EAGAIN ? WRITING_YES : WRITING_UNKNOWN;
}

static bool is_quiet(const struct stat *st)
{
    int64_t changed = (int64_t)st->st_ctim.tv_sec * 1000 + st->st_ctim.tv_nsec / 1000000;
    return clock_now() - changed >= QUIET_MS;
}

/* A lease is for the file's owner only. Of another's file inotify has told that its writer closed
 * it; one from before our time must have been quiet for long. */
static bool is_complete(const struct pickup_watch *w, int fd, const char *name)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return false;
    enum writing writing = is_written(fd);
    if (writing != WRITING_UNKNOWN)
        return writing == WRITING_NO;
    return g_hash_table_contains(w->closed, name) || is_quiet(&st);
}

static bool named_as_mail(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && name[0] != '.' && strcmp(name + n - 4, ".eml") == 0;
}

static bool take(struct pickup_watch *w, const char *name)
{
    int fd = openat(spool_fd(w->spool, SPOOL_PICKUP), name,
                    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) /* a link, a FIFO's other end, not readable: left alone, and counted by status */
        return false;
    bool complete = is_complete(w, fd, name);
    (void)close(fd);
    return complete;
}

static bool begin(struct pickup_watch *w)
{
    w->again = false;
    int fd = openat(spool_fd(w->spool, SPOOL_PICKUP), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    w->walk = fd >= 0 ? fdopendir(fd) : NULL;
    if (w->walk == NULL)
        LOG(LOG_ALARM, "scan-failed", KV("dir", "pickup"), KV("error", strerror(errno)));
    return w->walk != NULL;
}

static void turn_in(struct pickup_watch *w, int seconds)
{
    struct timeval wait = {seconds, 0};
    (void)event_add(w->turn, &wait);
}

/* A walk goes through the whole directory, so that names which can't be taken keep nobody waiting
 * who stands behind them. */
static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    static struct pickup_claim claims[TURN_MAX];
    struct pickup_watch *w = arg;
    if (w->walk == NULL && !begin(w))
        return;
    struct dirent *entry = NULL;
    size_t n = 0;
    for (int names = 0; n < TURN_MAX && names < NAMES_MAX; names++) {
        if ((entry = readdir(w->walk)) == NULL)
            break;
        if (named_as_mail(entry->d_name) && take(w, entry->d_name))
            (void)snprintf(claims[n++].name, sizeof claims[0].name, "%s", entry->d_name);
    }
    if (entry == NULL) {
        (void)closedir(w->walk);
        w->walk = NULL;
    }
    if (n > 0)
        w->fn(w->arg, claims, n);
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

/* Closed, until somebody writes again. */
static void note(struct pickup_watch *w, const struct inotify_event *event)
{
    if ((event->mask & IN_Q_OVERFLOW) != 0 || g_hash_table_size(w->closed) >= CLOSED_MAX)
        g_hash_table_remove_all(w->closed);
    if (event->len == 0 || !named_as_mail(event->name))
        return;
    if ((event->mask & (IN_CLOSE_WRITE | IN_MOVED_TO)) != 0)
        (void)g_hash_table_add(w->closed, g_strdup(event->name));
    else
        (void)g_hash_table_remove(w->closed, event->name);
}

static void on_notified(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    char events[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
    for (ssize_t n; (n = read(fd, events, sizeof events)) > 0;) {
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *event = (const struct inotify_event *)(events + at);
            note(arg, event);
            at += (ssize_t)(sizeof *event + event->len);
        }
    }
    look(arg);
}

struct pickup_watch *pickup_watch_new(struct event_base *base, const struct spool *spool,
                                      pickup_found_fn *fn, void *arg, struct error *err)
{
    struct pickup_watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    *w = (struct pickup_watch){.spool = spool,
                               .fn = fn,
                               .arg = arg,
                               .closed =
                                   g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL)};
    (void)signal(SIGIO, SIG_IGN); /* a writer that comes while we hold the lease */
    char path[4200];
    (void)snprintf(path, sizeof path, "%s/%s", spool_path(spool), spool_dir_name(SPOOL_PICKUP));
    w->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->inotify_fd < 0 || inotify_add_watch(w->inotify_fd, path, WATCHED) < 0)
        LOG(LOG_WARN, "watch-failed", KV("dir", path), KV("error", strerror(errno)),
            KV("meaning", "drops are found a few seconds late"));
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
    (void)error_set(err, ERROR_TEMPORARY, "cannot watch %s", path);
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
    g_hash_table_destroy(w->closed);
    free(w);
}
