/* One connection to one SQLite file. Exclusive locking mode keeps the WAL index in memory, so that
 * no shared-memory file can be truncated under us and no second connection can exist (SQLite
 * below 3.51.3 has a WAL-reset race that needs two). */
#include "lib/db.h"
#include "lib/log.h"
#include <errno.h>
#include <fcntl.h>
#include <glib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <time.h>
#include <unistd.h>

#define LOCK_TRIES 60
#define LOCK_PAUSE (50 * 1000 * 1000) /* ns */

struct db {
    sqlite3 *handle;
    GHashTable *statements; /* SQL text (its address) -> sqlite3_stmt */
    int lock_fd;
    char path[PATH_MAX];
};

static const char damaged_advice[] =
    "stop the daemons, then put the file back from a backup, or move it and its -wal aside, and a "
    "new one is made";

static bool is_damage(int code)
{
    return (code & 0xff) == SQLITE_CORRUPT || (code & 0xff) == SQLITE_NOTADB;
}

__attribute__((noreturn)) static void give_up(struct db *db, const char *sql)
{
    bool damaged = is_damage(sqlite3_errcode(db->handle));
    LOG(LOG_ALARM, "ledger-failed", KV("file", db->path), KV("error", sqlite3_errmsg(db->handle)),
        KVN("code", sqlite3_extended_errcode(db->handle)), KV("sql", sql),
        KV("advice", damaged ? damaged_advice
                             : "the ledger is kept as it is; see to the disk, then restart"));
    _exit(DB_EXIT_FAILED);
}

/* --- opening --- */

/* Waits a little: a request that is being answered without the daemon (option -1) holds the lock
 * for a moment. */
static bool lock_soon(int fd)
{
    for (int tries = 0; tries < LOCK_TRIES; tries++) {
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
            return true;
        if (errno != EWOULDBLOCK)
            return false;
        (void)nanosleep(&(struct timespec){.tv_nsec = LOCK_PAUSE}, NULL);
    }
    errno = EWOULDBLOCK;
    return false;
}

static int take_lock(const char *state_dir, const char *name, struct error *err)
{
    char path[PATH_MAX];
    (void)snprintf(path, sizeof path, "%s/%s.lock", state_dir, name);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        (void)error_errno(err, "%s", path);
        return -1;
    }
    if (!lock_soon(fd)) {
        if (errno == EWOULDBLOCK)
            (void)error_set(err, ERROR_TEMPORARY, "%s is running already (it holds %s)", name,
                            path);
        else
            (void)error_errno(err, "cannot lock %s", path);
        (void)close(fd);
        return -1;
    }
    return fd;
}

static bool cannot_open(struct db *db, const char *words, struct error *err)
{
    int code = sqlite3_errcode(db->handle) & 0xff;
    if (code == SQLITE_FULL || code == SQLITE_IOERR)
        return error_set(err, ERROR_TEMPORARY, "%s: %s: make room on its disk, or mend that",
                         db->path, words);
    if (is_damage(sqlite3_errcode(db->handle)))
        return error_set(err, ERROR_DAMAGED, "%s is damaged (%s): %s", db->path, words,
                         damaged_advice);
    return error_set(err, ERROR_PERMANENT, "%s: %s", db->path, words);
}

static bool run_plain(struct db *db, const char *sql, struct error *err)
{
    char *words = NULL;
    if (sqlite3_exec(db->handle, sql, NULL, NULL, &words) == SQLITE_OK)
        return true;
    (void)cannot_open(db, words != NULL ? words : "failed", err);
    sqlite3_free(words);
    return false;
}

static bool read_version(struct db *db, int64_t *version, struct error *err)
{
    sqlite3_stmt *st = NULL;
    bool ok = sqlite3_prepare_v2(db->handle, "PRAGMA user_version", -1, &st, NULL) == SQLITE_OK &&
              sqlite3_step(st) == SQLITE_ROW;
    if (ok)
        *version = sqlite3_column_int64(st, 0);
    else
        (void)cannot_open(db, sqlite3_errmsg(db->handle), err);
    (void)sqlite3_finalize(st);
    return ok;
}

static bool migrate(struct db *db, const char *const migrations[], struct error *err)
{
    int64_t version = 0;
    if (!read_version(db, &version, err))
        return false;
    int64_t newest = 0;
    while (migrations[newest] != NULL)
        newest++;
    if (version > newest)
        return error_set(err, ERROR_PERMANENT,
                         "%s was written by a newer popferry (schema %lld, this one knows %lld)",
                         db->path, (long long)version, (long long)newest);
    for (; version < newest; version++) {
        char *sql = sqlite3_mprintf("BEGIN IMMEDIATE; %s; PRAGMA user_version = %lld; COMMIT",
                                    migrations[version], (long long)(version + 1));
        bool ok = run_plain(db, sql, err);
        sqlite3_free(sql);
        if (!ok)
            return false;
    }
    return true;
}

static bool open_file(struct db *db, const char *const migrations[], struct error *err)
{
    int flags =
        SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW;
    mode_t before = umask(0077); /* hashes of mail and sealed secrets are nobody else's business */
    int rc = sqlite3_open_v2(db->path, &db->handle, flags, NULL);
    bool ok =
        rc == SQLITE_OK || error_set(err, ERROR_PERMANENT, "%s: %s", db->path, sqlite3_errstr(rc));
    ok =
        ok &&
        run_plain(
            db,
            "PRAGMA locking_mode = EXCLUSIVE; PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
            "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON;"
            "PRAGMA wal_autocheckpoint = 1000; PRAGMA journal_size_limit = 16777216",
            err) &&
        migrate(db, migrations, err);
    (void)umask(before);
    return ok;
}

/* SQLITE_OPEN_NOFOLLOW refuses a link anywhere in the path. A state directory may lie behind one;
 * only the ledger itself may not be one. */
static bool find_place(struct db *db, const char *state_dir, const char *name, struct error *err)
{
    char *dir = realpath(state_dir, NULL);
    if (dir == NULL)
        return error_errno(err, "%s", state_dir);
    int n = snprintf(db->path, sizeof db->path, "%s/%s.db", dir, name);
    free(dir);
    return (size_t)n < sizeof db->path ||
           error_set(err, ERROR_USAGE, "%s: path too long", state_dir);
}

static void finalize(gpointer st)
{
    (void)sqlite3_finalize(st);
}

struct db *db_open(const char *state_dir, const char *name, const char *const migrations[],
                   struct error *err)
{
    int lock_fd = take_lock(state_dir, name, err);
    if (lock_fd < 0)
        return NULL;
    struct db *db = calloc(1, sizeof *db);
    if (db == NULL) {
        (void)close(lock_fd);
        (void)error_set(err, ERROR_TEMPORARY, "out of memory");
        return NULL;
    }
    db->lock_fd = lock_fd;
    db->statements = g_hash_table_new_full(g_direct_hash, g_direct_equal, NULL, finalize);
    if (find_place(db, state_dir, name, err) && open_file(db, migrations, err))
        return db;
    db_close(db);
    return NULL;
}

void db_close(struct db *db)
{
    if (db == NULL)
        return;
    g_hash_table_destroy(db->statements);
    (void)sqlite3_close(db->handle);
    (void)close(db->lock_fd);
    free(db);
}

uint64_t db_free_bytes(const struct db *db)
{
    struct statvfs st;
    if (fstatvfs(db->lock_fd, &st) < 0) /* it lies beside the ledger */
        return 0;
    return (uint64_t)st.f_bavail * st.f_frsize;
}

/* --- statements --- */

static sqlite3_stmt *prepared(struct db *db, const char *sql)
{
    sqlite3_stmt *st = g_hash_table_lookup(db->statements, sql);
    if (st == NULL) {
        if (sqlite3_prepare_v3(db->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &st, NULL) !=
            SQLITE_OK)
            give_up(db, sql);
        g_hash_table_insert(db->statements, (gpointer)(uintptr_t)sql, st);
    }
    return st;
}

static int bind_one(sqlite3_stmt *st, int place, const struct db_value *value)
{
    if (value->type == DB_TYPE_INT)
        return sqlite3_bind_int64(st, place, value->number);
    if (value->type == DB_TYPE_TEXT && value->bytes != NULL)
        return sqlite3_bind_text(st, place, value->bytes, -1, SQLITE_TRANSIENT);
    if (value->type == DB_TYPE_BLOB)
        return sqlite3_bind_blob64(st, place, value->len > 0 ? value->bytes : "", value->len,
                                   SQLITE_TRANSIENT);
    return sqlite3_bind_null(st, place);
}

sqlite3_stmt *db_query_values(struct db *db, const char *sql, const struct db_value *values)
{
    sqlite3_stmt *st = prepared(db, sql);
    db_done(st);
    for (int i = 0; values[i].type != DB_END; i++)
        if (bind_one(st, i + 1, &values[i]) != SQLITE_OK)
            give_up(db, sql);
    return st;
}

bool db_row(struct db *db, sqlite3_stmt *st)
{
    int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW)
        return true;
    if (rc != SQLITE_DONE)
        give_up(db, sqlite3_sql(st));
    db_done(st);
    return false;
}

void db_done(sqlite3_stmt *st)
{
    (void)sqlite3_reset(st);
    (void)sqlite3_clear_bindings(st);
}

int db_run_values(struct db *db, const char *sql, const struct db_value *values)
{
    sqlite3_stmt *st = db_query_values(db, sql, values);
    while (db_row(db, st))
        ;
    return sqlite3_changes(db->handle);
}

int64_t db_column_int(sqlite3_stmt *st, int column)
{
    return sqlite3_column_int64(st, column);
}

const char *db_column_text(sqlite3_stmt *st, int column)
{
    const unsigned char *text = sqlite3_column_text(st, column);
    return text != NULL ? (const char *)text : "";
}

const void *db_column_blob(sqlite3_stmt *st, int column, size_t *len)
{
    const void *bytes = sqlite3_column_blob(st, column);
    *len = (size_t)sqlite3_column_bytes(st, column);
    return bytes != NULL ? bytes : "";
}

void db_begin(struct db *db)
{
    db_run(db, "BEGIN IMMEDIATE");
}

void db_commit(struct db *db)
{
    db_run(db, "COMMIT");
}

void db_rollback(struct db *db)
{
    db_run(db, "ROLLBACK");
}
