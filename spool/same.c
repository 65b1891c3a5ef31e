/* See same.h. */
#include "spool/same.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHUNK 32768

/* Bytes read, fewer only at the end; -1 with errno set. */
static ssize_t read_chunk(int fd, char *buf, off_t at)
{
    size_t n = 0;
    while (n < CHUNK) {
        ssize_t got = pread(fd, buf + n, CHUNK - n, at + (off_t)n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return -1;
        if (got == 0)
            break;
        n += (size_t)got;
    }
    return (ssize_t)n;
}

static bool same_bytes(int a, int b)
{
    char buf_a[CHUNK], buf_b[CHUNK];
    for (off_t at = 0;; at += CHUNK) {
        ssize_t n = read_chunk(a, buf_a, at), m = n < 0 ? -1 : read_chunk(b, buf_b, at);
        if (n < 0 || m < 0)
            return false;
        if (n != m || memcmp(buf_a, buf_b, (size_t)n) != 0) {
            errno = EEXIST;
            return false;
        }
        if (n < CHUNK)
            return fsync(b) == 0;
    }
}

static int open_to_read(int dir, const char *name)
{
    return openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
}

static bool same_content(int first_dir, const char *first, int second_dir, const char *second)
{
    int a = open_to_read(first_dir, first), b = a < 0 ? -1 : open_to_read(second_dir, second);
    bool same = a >= 0 && b >= 0 && same_bytes(a, b);
    int why = errno;
    if (a >= 0)
        (void)close(a);
    if (b >= 0)
        (void)close(b);
    /* One that may not be read can't be called the same, now or later. */
    errno = why == EACCES || why == EPERM || why == ELOOP ? EEXIST : why;
    return same;
}

bool same_file(int first_dir, const char *first, int second_dir, const char *second)
{
    struct stat a, b;
    if (fstatat(first_dir, first, &a, AT_SYMLINK_NOFOLLOW) < 0)
        return false;
    if (fstatat(second_dir, second, &b, AT_SYMLINK_NOFOLLOW) < 0) {
        errno = errno == ENOENT ? EAGAIN : errno; /* it has gone on meanwhile: the name is free */
        return false;
    }
    if (a.st_dev == b.st_dev && a.st_ino == b.st_ino && !S_ISDIR(a.st_mode))
        return true;
    if (S_ISREG(a.st_mode) && S_ISREG(b.st_mode) && a.st_size == b.st_size)
        return same_content(first_dir, first, second_dir, second);
    errno = EEXIST;
    return false;
}
