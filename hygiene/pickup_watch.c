/* See pickup_watch.h. Whether somebody still writes is asked of the kernel: a read lease is refused
 * (EAGAIN) while the file is open for writing (fcntl(2), F_SETLEASE). Where leases can't be had, a
 * file must have been quiet for a while. */
#include "hygiene/pickup_watch.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#define TURN_MAX     256
#define WALK_SECONDS 5
#define QUIET_MS     3000

struct pickup_watch {
    const struct spool *spool;
    pickup_found_fn *fn;
    void *arg;
    int inotify_fd;
    struct event *notified, *walk, *soon;
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

static bool is_complete(int fd)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
        return false;
    enum writing writing = is_written(fd);
    return writing == WRITING_NO || (writing == WRITING_UNKNOWN && is_quiet(&st));
}

static bool named_as_mail(const char *name)
{
    size_t n = strlen(name);
    return n > 4 && name[0] != '.' && strcmp(name + n - 4, ".eml") == 0;
}

/* *unfinished is set when a file should be looked at again soon. */
static bool take(struct pickup_watch *w, const char *name, bool *unfinished)
{
    int fd = openat(spool_fd(w->spool, SPOOL_PICKUP), name,
                    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return false; /* a link, a FIFO's other end, not readable: left alone, and counted by status
                       */
    bool complete = is_complete(fd);
    struct stat st;
    if (!complete && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
        *unfinished = true;
    (void)close(fd);
    return complete;
}

static void look(struct pickup_watch *w)
{
    static struct pickup_claim claims[TURN_MAX];
    bool unfinished = false;
    size_t n = 0;
    int fd = openat(spool_fd(w->spool, SPOOL_PICKUP), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *walk = fd >= 0 ? fdopendir(fd) : NULL;
    if (walk == NULL) {
        LOG(LOG_ALARM, "scan-failed", KV("dir", "pickup"), KV("error", strerror(errno)));
        return;
    }
    for (struct dirent *entry; n < TURN_MAX && (entry = readdir(walk)) != NULL;)
        if (named_as_mail(entry->d_name) && take(w, entry->d_name, &unfinished))
            (void)snprintf(claims[n++].name, sizeof claims[0].name, "%s", entry->d_name);
    (void)closedir(walk);
    if (n > 0)
        w->fn(w->arg, claims, n);
    struct timeval wait = {n == TURN_MAX ? 0 : 1, 0};
    if (n == TURN_MAX || unfinished)
        (void)event_add(w->soon, &wait);
}

static void on_look(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    look(arg);
}

static void on_notified(evutil_socket_t fd, short what, void *arg)
{
    (void)what;
    char events[8192] __attribute__((aligned(__alignof__(struct inotify_event))));
    while (read(fd, events, sizeof events) > 0)
        ; /* which names does not matter: the walk sees them all */
    look(arg);
}

struct pickup_watch *pickup_watch_new(struct event_base *base, const struct spool *spool,
                                      pickup_found_fn *fn, void *arg, struct error *err)
{
    struct pickup_watch *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    *w = (struct pickup_watch){.spool = spool, .fn = fn, .arg = arg};
    (void)signal(SIGIO, SIG_IGN); /* a writer that comes while we hold the lease */
    char path[4200];
    (void)snprintf(path, sizeof path, "%s/%s", spool_path(spool), spool_dir_name(SPOOL_PICKUP));
    w->inotify_fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    if (w->inotify_fd < 0 ||
        inotify_add_watch(w->inotify_fd, path, IN_CLOSE_WRITE | IN_MOVED_TO | IN_ONLYDIR) < 0)
        LOG(LOG_WARN, "watch-failed", KV("dir", path), KV("error", strerror(errno)),
            KV("meaning", "drops are found a few seconds late"));
    w->notified = event_new(base, w->inotify_fd, EV_READ | EV_PERSIST, on_notified, w);
    w->walk = event_new(base, -1, EV_PERSIST, on_look, w);
    w->soon = event_new(base, -1, 0, on_look, w);
    struct timeval interval = {WALK_SECONDS, 0};
    bool ok = w->walk != NULL && w->soon != NULL && event_add(w->walk, &interval) == 0 &&
              (w->inotify_fd < 0 || event_add(w->notified, NULL) == 0);
    if (ok) {
        event_active(w->soon, EV_TIMEOUT, 0);
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
    struct event *events[] = {w->notified, w->walk, w->soon};
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++)
        if (events[i] != NULL)
            event_free(events[i]);
    if (w->inotify_fd >= 0)
        (void)close(w->inotify_fd);
    free(w);
}
