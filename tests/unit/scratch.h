/* A directory of a test's own with small files in it, and standard error caught in a file there. */
#ifndef TESTS_UNIT_SCRATCH_H
#define TESTS_UNIT_SCRATCH_H

#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

struct scratch {
    char dir[64];
    int kept_stderr;
};

static inline int scratch_make(void **state)
{
    struct scratch *s = calloc(1, sizeof *s);
    (void)snprintf(s->dir, sizeof s->dir, "/tmp/popferry-unit-XXXXXX");
    s->kept_stderr = -1;
    *state = s;
    return mkdtemp(s->dir) != NULL ? 0 : -1;
}

static inline int scratch_rm(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    (void)st;
    (void)type;
    (void)ftw;
    return remove(path);
}

/* Standard error goes to the file "stderr" from here on. */
static inline void scratch_catch(struct scratch *s)
{
    char path[96];
    (void)snprintf(path, sizeof path, "%s/stderr", s->dir);
    int fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (s->kept_stderr < 0)
        s->kept_stderr = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 100);
    (void)dup2(fd, STDERR_FILENO);
    (void)close(fd);
}

static inline void scratch_release(struct scratch *s)
{
    if (s->kept_stderr < 0)
        return;
    (void)dup2(s->kept_stderr, STDERR_FILENO);
    (void)close(s->kept_stderr);
    s->kept_stderr = -1;
}

static inline int scratch_remove(void **state)
{
    struct scratch *s = *state;
    scratch_release(s);
    (void)nftw(s->dir, scratch_rm, 16, FTW_DEPTH | FTW_PHYS);
    free(s);
    return 0;
}

/* DIR/name in one of four static buffers, used in turn. */
static inline const char *scratch_path(const struct scratch *s, const char *name)
{
    static char paths[4][512];
    static unsigned turn;
    char *path = paths[turn++ % 4];
    (void)snprintf(path, sizeof paths[0], "%s/%s", s->dir, name);
    return path;
}

static inline const char *scratch_write(const struct scratch *s, const char *name,
                                        const void *bytes, size_t n, mode_t mode)
{
    const char *path = scratch_path(s, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
    if (fd < 0 || write(fd, bytes, n) != (ssize_t)n || fchmod(fd, mode) < 0)
        abort();
    (void)close(fd);
    return path;
}

/* The whole file, with a NUL behind it; the caller frees it. */
static inline char *slurp(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) < 0)
        abort();
    char *text = malloc((size_t)st.st_size + 1);
    ssize_t n = read(fd, text, (size_t)st.st_size);
    if (n != st.st_size)
        abort();
    text[n] = '\0';
    (void)close(fd);
    if (len != NULL)
        *len = (size_t)n;
    return text;
}

static inline char *scratch_read(const struct scratch *s, const char *name, size_t *len)
{
    return slurp(scratch_path(s, name), len);
}

/* A file of tests/data. */
static inline char *data_read(const char *name, size_t *len)
{
    const char *dir = getenv("POPFERRY_DATA");
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", dir != NULL ? dir : "tests/data", name);
    return slurp(path, len);
}

/* Undoes \r \n \t \\ \xNN, and \*N; which stands for N of the byte before it, in place; the result
 * may be longer than the text, up to room - 1. Returns its length; a NUL stands behind it. */
static inline size_t unescape(char *text, size_t room)
{
    char *copy = strdup(text);
    size_t n = 0;
    for (const char *c = copy; *c != '\0' && n + 1 < room; c++) {
        if (*c != '\\') {
            text[n++] = *c;
            continue;
        }
        char *end = NULL;
        char hex[3] = {c[2] != '\0' ? c[2] : '0', c[2] != '\0' ? c[3] : '0', '\0'};
        switch (*++c) {
        case 'r':
            text[n++] = '\r';
            break;
        case 'n':
            text[n++] = '\n';
            break;
        case 't':
            text[n++] = '\t';
            break;
        case 'x':
            text[n++] = (char)strtol(hex, NULL, 16);
            c += 2;
            break;
        case '*':
            for (long more = strtol(c + 1, &end, 10) - 1; more > 0 && n + 1 < room; more--, n++)
                text[n] = text[n - 1];
            c = end; /* on its ";" */
            break;
        default:
            text[n++] = *c;
        }
    }
    text[n] = '\0';
    free(copy);
    return n;
}

/* The exit code of a child, or -1 when a signal ended it. */
static inline int exit_code(pid_t pid)
{
    int status = 0;
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

/* Numbers that are the same in every run (xorshift64*). */
static inline unsigned long long dice(unsigned long long *seed)
{
    *seed ^= *seed >> 12;
    *seed ^= *seed << 25;
    *seed ^= *seed >> 27;
    return *seed * 2685821657736338717ULL;
}

#define scratch_test(fn) cmocka_unit_test_setup_teardown(fn, scratch_make, scratch_remove)

#endif
