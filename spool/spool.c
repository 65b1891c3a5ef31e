/* Six directories, held open: every name below is looked up relative to a descriptor, so that a
 * path that changes under us can't lead elsewhere. */
#include "spool/spool.h"
#include "lib/log.h"
#include "spool/same.h"
#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

struct spool {
    int fd[SPOOL_DIRS];
    char path[PATH_MAX];
};

static const char *const dir_names[] = {
    [SPOOL_TMP] = "tmp",           [SPOOL_INCOMING] = "incoming", [SPOOL_OUTGOING] = "outgoing",
    [SPOOL_REJECTED] = "rejected", [SPOOL_BADMAIL] = "badmail",   [SPOOL_PICKUP] = "pickup",
};
static_assert(sizeof dir_names / sizeof dir_names[0] == SPOOL_DIRS, "a name for each directory");

const char *spool_dir_name(enum spool_dir dir)
{
    return dir_names[dir];
}

const char *spool_path(const struct spool *spool)
{
    return spool->path;
}

int spool_fd(const struct spool *spool, enum spool_dir dir)
{
    return spool->fd[dir];
}

/* --- opening --- */

/* Mail is private: no permission for others, and none to write for the group. Only pickup may let
 * others drop files: its group, or, without reading and sticky, everybody. */
static bool check_mode(const struct spool *spool, enum spool_dir dir, const struct stat *st,
                       struct error *err)
{
    const char *name = dir_names[dir], *path = spool->path;
    unsigned mode = (unsigned)st->st_mode & 07777;
    bool is_pickup = dir == SPOOL_PICKUP;
    if ((mode & 0007) != 0 && !(is_pickup && (mode & S_ISVTX) != 0 && (mode & 0004) == 0))
        return error_set(err, ERROR_PERMANENT,
                         "%s/%s is open to others (mode %04o): chmod o= %s/%s", path, name, mode,
                         path, name);
    if ((mode & 0020) != 0 && !is_pickup)
        return error_set(err, ERROR_PERMANENT,
                         "%s/%s may be written to by its group (mode %04o): chmod g-w %s/%s", path,
                         name, mode, path, name);
    return true;
}

static bool open_dir(struct spool *spool, int root, enum spool_dir dir, bool create,
                     struct error *err)
{
    const char *name = dir_names[dir];
    if (create && mkdirat(root, name, 0750) < 0 && errno != EEXIST)
        return error_errno(err, "cannot make %s/%s", spool->path, name);
    spool->fd[dir] = openat(root, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (spool->fd[dir] < 0)
        return error_errno(err, "cannot open %s/%s (popferryctl init makes it)", spool->path, name);
    struct stat st, first;
    if (fstat(spool->fd[dir], &st) < 0 || fstat(spool->fd[SPOOL_TMP], &first) < 0)
        return error_errno(err, "%s/%s", spool->path, name);
    if (st.st_dev != first.st_dev)
        return error_set(err, ERROR_PERMANENT,
                         "%s/%s is on another filesystem than %s/tmp: mail moves by rename",
                         spool->path, name, spool->path);
    return check_mode(spool, dir, &st, err);
}

struct spool *spool_open(const char *path, bool create, struct error *err)
{
    if (create && mkdir(path, 0750) < 0 && errno != EEXIST) {
        (void)error_errno(err, "cannot make %s", path);
        return NULL;
    }
    int root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (root < 0) {
        (void)error_errno(err, "cannot open %s (popferryctl init makes it)", path);
        return NULL;
    }
    struct spool *spool = calloc(1, sizeof *spool);
    if (spool == NULL)
        abort();
    (void)snprintf(spool->path, sizeof spool->path, "%s", path);
    for (int d = 0; d < SPOOL_DIRS; d++)
        spool->fd[d] = -1;
    bool ok = true;
    for (int d = 0; d < SPOOL_DIRS && ok; d++)
        ok = open_dir(spool, root, (enum spool_dir)d, create, err);
    if (ok && create)
        (void)fsync(root); /* the directories' own names */
    (void)close(root);
    if (ok)
        return spool;
    spool_close(spool);
    return NULL;
}

void spool_close(struct spool *spool)
{
    if (spool == NULL)
        return;
    for (int d = 0; d < SPOOL_DIRS; d++)
        if (spool->fd[d] >= 0)
            (void)close(spool->fd[d]);
    free(spool);
}

/* --- names --- */

const char *spool_name(char name[static SPOOL_NAME_SIZE], const char *id, const char *suffix)
{
    (void)snprintf(name, SPOOL_NAME_SIZE, "%.26s.%.6s", id, suffix);
    return name;
}

bool spool_parse_name(const char *name, const char *suffix, char id[static ID_SIZE])
{
    size_t len = strlen(name);
    if (len != ID_LEN + 1 + strlen(suffix) || name[ID_LEN] != '.' ||
        strcmp(name + ID_LEN + 1, suffix) != 0 || !id_valid(name, ID_LEN))
        return false;
    memcpy(id, name, ID_LEN);
    id[ID_LEN] = '\0';
    return true;
}

/* --- moving --- */

/* As renameat(2) with RENAME_NOREPLACE, which some filesystems (NFS) don't know: there a second
 * name, and then the first is removed. A crash between leaves both. */
static bool rename_new(int from, const char *name, int to, const char *as)
{
    if (renameat2(from, name, to, as, RENAME_NOREPLACE) == 0)
        return true;
    if (errno != EINVAL && errno != ENOSYS)
        return false;
    return linkat(from, name, to, as, 0) == 0 && unlinkat(from, name, 0) == 0;
}

bool spool_move_as(const struct spool *spool, const char *id, enum spool_dir from,
                   enum spool_dir to, const char *as, struct error *err)
{
    char name[SPOOL_NAME_SIZE], new_name[SPOOL_NAME_SIZE];
    spool_name(name, id, "eml");
    spool_name(new_name, as, "eml");
    if (rename_new(spool->fd[from], name, spool->fd[to], new_name))
        return true;
    if (errno == EEXIST && same_file(spool->fd[from], name, spool->fd[to], new_name) &&
        unlinkat(spool->fd[from], name, 0) == 0)
        return true;
    return error_errno(err, "cannot move %s from %s to %s/%s", name, dir_names[from], dir_names[to],
                       new_name);
}

bool spool_move(const struct spool *spool, const char *id, enum spool_dir from, enum spool_dir to,
                struct error *err)
{
    return spool_move_as(spool, id, from, to, id, err);
}

bool spool_remove(const struct spool *spool, enum spool_dir dir, const char *id, struct error *err)
{
    char name[SPOOL_NAME_SIZE];
    spool_name(name, id, "eml");
    if (unlinkat(spool->fd[dir], name, 0) == 0 || errno == ENOENT)
        return true;
    if (errno == EISDIR && unlinkat(spool->fd[dir], name, AT_REMOVEDIR) == 0)
        return true;
    if (errno == ENOTEMPTY)
        return error_set(err, ERROR_PERMANENT, "a directory that is not empty: rm -r %s/%s/%s",
                         spool->path, dir_names[dir], name);
    return error_errno(err, "cannot remove %s from %s", name, dir_names[dir]);
}

bool spool_has(const struct spool *spool, enum spool_dir dir, const char *id)
{
    char name[SPOOL_NAME_SIZE];
    struct stat st;
    return fstatat(spool->fd[dir], spool_name(name, id, "eml"), &st, AT_SYMLINK_NOFOLLOW) == 0;
}

enum spool_dir spool_find(const struct spool *spool, const char *id)
{
    for (int d = 0; d < SPOOL_DIRS; d++)
        if (spool_has(spool, (enum spool_dir)d, id))
            return (enum spool_dir)d;
    return SPOOL_DIRS;
}

/* --- walking --- */

struct spool_scan {
    DIR *dir;
    const char *suffix;
    enum spool_dir of;
    uint64_t foreign;       /* names that don't belong there */
    char foreign_name[256]; /* the first of them */
};

static bool belongs(enum spool_dir dir, const char *name)
{
    static const char *const beside[] = {"top", "drop", "new"}; /* in outgoing/ */
    char id[ID_SIZE];
    bool is_ours =
        strcmp(name, ".") == 0 || strcmp(name, "..") == 0 || spool_parse_name(name, "eml", id);
    for (size_t i = 0; dir == SPOOL_OUTGOING && i < sizeof beside / sizeof beside[0]; i++)
        is_ours = is_ours || spool_parse_name(name, beside[i], id);
    return is_ours;
}

static DIR *open_walk(const struct spool *spool, enum spool_dir dir)
{
    int fd = openat(spool->fd[dir], ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *walk = fd >= 0 ? fdopendir(fd) : NULL;
    if (walk == NULL && fd >= 0)
        (void)close(fd);
    return walk;
}

struct spool_scan *spool_scan_begin(const struct spool *spool, enum spool_dir dir,
                                    struct error *err)
{
    return spool_scan_begin_of(spool, dir, "eml", err);
}

struct spool_scan *spool_scan_begin_of(const struct spool *spool, enum spool_dir dir,
                                       const char *suffix, struct error *err)
{
    DIR *walk = open_walk(spool, dir);
    if (walk == NULL) {
        (void)error_errno(err, "cannot read %s/%s", spool->path, dir_names[dir]);
        return NULL;
    }
    struct spool_scan *scan = malloc(sizeof *scan);
    if (scan == NULL)
        abort();
    *scan = (struct spool_scan){.dir = walk, .suffix = suffix, .of = dir};
    return scan;
}

bool spool_scan_next(struct spool_scan *scan, char id[static ID_SIZE])
{
    for (struct dirent *entry; (entry = readdir(scan->dir)) != NULL;) {
        if (spool_parse_name(entry->d_name, scan->suffix, id))
            return true;
        if (!belongs(scan->of, entry->d_name) && scan->foreign++ == 0)
            (void)snprintf(scan->foreign_name, sizeof scan->foreign_name, "%s", entry->d_name);
    }
    return false;
}

void spool_scan_warn(const struct spool_scan *scan, bool *told)
{
    if (scan->foreign == 0 || *told)
        return;
    *told = true;
    LOG(LOG_WARN, "spool-foreign-name", KV("dir", dir_names[scan->of]),
        KV("name", scan->foreign_name), KVN("names", (long long)scan->foreign),
        KV("meaning",
           "nothing is done with what has such a name; mail to be sent goes to pickup/"));
}

long spool_scan_tell(const struct spool_scan *scan)
{
    return telldir(scan->dir);
}

void spool_scan_seek(struct spool_scan *scan, long place)
{
    seekdir(scan->dir, place);
}

void spool_scan_end(struct spool_scan *scan)
{
    if (scan == NULL)
        return;
    (void)closedir(scan->dir);
    free(scan);
}

/* What may be taken, or will be when its writer is done with it. */
static bool is_drop(const struct spool *spool, const char *name)
{
    struct stat st;
    size_t len = strlen(name);
    return len > 4 && name[0] != '.' && strcmp(name + len - 4, ".eml") == 0 &&
           fstatat(spool->fd[SPOOL_PICKUP], name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
           S_ISREG(st.st_mode) && st.st_size > 0;
}

static bool counts(const struct spool *spool, enum spool_dir dir, const char *name)
{
    char id[ID_SIZE];
    return dir == SPOOL_PICKUP ? is_drop(spool, name) : spool_parse_name(name, "eml", id);
}

uint64_t spool_count(const struct spool *spool, enum spool_dir dir)
{
    uint64_t n = 0;
    DIR *walk = open_walk(spool, dir);
    if (walk == NULL)
        return 0;
    for (struct dirent *entry; (entry = readdir(walk)) != NULL;)
        n += counts(spool, dir, entry->d_name);
    (void)closedir(walk);
    return n;
}

uint64_t spool_free_bytes(const struct spool *spool)
{
    struct statvfs st;
    if (fstatvfs(spool->fd[SPOOL_TMP], &st) < 0)
        return 0;
    return (uint64_t)st.f_bavail * st.f_frsize;
}
