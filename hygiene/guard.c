/* See guard.h. */
#include "hygiene/guard.h"
#include "lib/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

void guard_init(void)
{
    (void)signal(SIGIO, SIG_IGN);
}

static enum guard_answer lease(int fd)
{
    if (fcntl(fd, F_SETLEASE, F_RDLCK) == 0)
        return GUARD_STILL;
    return errno == EAGAIN ? GUARD_WRITTEN : GUARD_UNKNOWN;
}

enum guard_answer guard_ask(int fd)
{
    enum guard_answer answer = lease(fd);
    if (answer == GUARD_STILL)
        (void)fcntl(fd, F_SETLEASE, F_UNLCK);
    return answer;
}

/* By ctime, which nobody can set, and which a rename moves too. One in the future is of another
 * setting of the clock: it would move with the next change. */
static bool settled(const struct stat *st)
{
    int64_t changed = (int64_t)st->st_ctim.tv_sec * 1000 + st->st_ctim.tv_nsec / 1000000;
    return llabs(clock_now() - changed) >= GUARD_SETTLED;
}

static enum guard_answer cannot_read(struct error *err)
{
    if (errno == ELOOP)
        (void)error_set(err, ERROR_PERMANENT, "it is a symbolic link");
    else
        (void)error_errno(err, "it cannot be read");
    return GUARD_FAILED;
}

static enum guard_answer begin(struct guard *g, struct error *err)
{
    struct stat st;
    enum guard_answer answer = lease(g->fd);
    g->leased = answer == GUARD_STILL;
    if (fstat(g->fd, &st) < 0)
        return cannot_read(err);
    if (!S_ISREG(st.st_mode)) {
        (void)error_set(err, ERROR_PERMANENT, "it is not a regular file");
        return GUARD_FAILED;
    }
    g->size = st.st_size;
    g->changed = st.st_ctim;
    if (g->leased || (answer == GUARD_UNKNOWN && settled(&st)))
        return GUARD_STILL;
    (void)error_set(err, ERROR_TEMPORARY, "it is still open for writing");
    return GUARD_WRITTEN;
}

enum guard_answer guard_begin(struct guard *g, int dir, const char *name, struct error *err)
{
    struct guard fresh = {
        .fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY)};
    if (fresh.fd < 0)
        return cannot_read(err);
    enum guard_answer answer = begin(&fresh, err);
    if (answer == GUARD_STILL)
        *g = fresh;
    else
        guard_end(&fresh);
    return answer;
}

/* Size always: an open with O_RDONLY | O_TRUNC breaks no lease. */
bool guard_holds(const struct guard *g)
{
    struct stat st;
    if (fstat(g->fd, &st) < 0 || st.st_size != g->size)
        return false;
    if (g->leased)
        return fcntl(g->fd, F_GETLEASE) == F_RDLCK;
    return st.st_ctim.tv_sec == g->changed.tv_sec && st.st_ctim.tv_nsec == g->changed.tv_nsec;
}

void guard_end(struct guard *g)
{
    if (g->fd >= 0) {
        if (g->leased) /* closing alone would leave it to a descriptor that a child has inherited */
            (void)fcntl(g->fd, F_SETLEASE, F_UNLCK);
        (void)close(g->fd);
    }
    *g = GUARD_NONE;
}
