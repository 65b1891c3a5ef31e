/* A ledger: one SQLite file with one owner and one connection. WAL with synchronous=FULL, so that
 * what was committed survives a power cut; exclusive locking, and a lock file beside it that tells
 * a second process to stay away.
 *
 * An SQL error behind an opened ledger (corrupt, full, I/O error) is never worked around: the
 * process ends at once with an alarm event and exit code 75, with the file kept as it is. All that
 * matters is in committed transactions, so that the supervisor's restart finds a true ledger or
 * fails in the same clear way. Callers need not check. */
#ifndef LIB_DB_H
#define LIB_DB_H

#include "lib/error.h"
#include <sqlite3.h>
#include <stddef.h>
#include <stdint.h>

struct db;

#define DB_EXIT_FAILED 75 /* EX_TEMPFAIL: once a person has mended the ledger, it goes on */

/* Opens STATE_DIR/NAME.db under the lock STATE_DIR/NAME.lock and brings its schema up to date:
 * migrations[i] is run when user_version is i; NULL ends the list. Fails with ERROR_TEMPORARY when
 * another process holds the lock, and with ERROR_DAMAGED, and words on what to do, when the file is
 * no ledger any more. */
MUST_CHECK struct db *db_open(const char *state_dir, const char *name,
                              const char *const migrations[], struct error *err);
void db_close(struct db *db);

/* Bytes that are free for us on its filesystem. Quotas may leave less. */
#define DB_ROOM (UINT64_C(1) << 20) /* with less, nothing should be begun that takes a write */
uint64_t db_free_bytes(const struct db *db);

enum db_type { DB_END, DB_TYPE_NULL, DB_TYPE_INT, DB_TYPE_TEXT, DB_TYPE_BLOB };
struct db_value {
    enum db_type type;
    int64_t number;
    const void *bytes;
    size_t len;
};
#define DB_INT(n)     ((struct db_value){.type = DB_TYPE_INT, .number = (n)})
#define DB_TEXT(s)    ((struct db_value){.type = DB_TYPE_TEXT, .bytes = (s)}) /* NULL binds NULL */
#define DB_BLOB(p, n) ((struct db_value){.type = DB_TYPE_BLOB, .bytes = (p), .len = (n)})
#define DB_NULL       ((struct db_value){.type = DB_TYPE_NULL})

/* Binds values to the statement (prepared once for each SQL text and kept) and runs it to its end.
 * Returns the rows changed. Values are read during the call only. db_run(db, "UPDATE t SET a = ?1",
 * DB_INT(1)); */
#define db_run(db, sql, ...)                                                                       \
    db_run_values(                                                                                 \
        db, sql, &(const struct db_value[]){{.type = DB_END}, ##__VA_ARGS__, {.type = DB_END}}[1])
int db_run_values(struct db *db, const char *sql, const struct db_value *values);

/* Binds values for reading: for (st = db_query(db, sql, ...); db_row(db, st);) ... Columns are read
 * with db_column_*; texts and blobs stay valid until the next db_row. A loop left early ends with
 * db_done. */
#define db_query(db, sql, ...)                                                                     \
    db_query_values(                                                                               \
        db, sql, &(const struct db_value[]){{.type = DB_END}, ##__VA_ARGS__, {.type = DB_END}}[1])
sqlite3_stmt *db_query_values(struct db *db, const char *sql, const struct db_value *values);
bool db_row(struct db *db, sqlite3_stmt *st);
void db_done(sqlite3_stmt *st);

int64_t db_column_int(sqlite3_stmt *st, int column);
const char *db_column_text(sqlite3_stmt *st, int column); /* NULL becomes "" */
const void *db_column_blob(sqlite3_stmt *st, int column, size_t *len);

/* One transaction; they do not nest. */
void db_begin(struct db *db);
void db_commit(struct db *db);
void db_rollback(struct db *db);

#endif
