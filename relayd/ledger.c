/* The SQL of relayd. Promises: one row a message, indexed for the two questions that are asked all
 * the time (state of an id, what is due); nothing is read into memory that grows with the queue. */
#include "relayd/ledger.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define PRUNE_AT_ONCE 1000
#define VERDICT_BYTES                                                                              \
    (16 << 10) /* a page each of the table, both of its indexes, and recipients                    \
                */

const char *const ledger_migrations[] = {
    "CREATE TABLE message ("
    " id TEXT PRIMARY KEY, state INTEGER NOT NULL, attempts INTEGER NOT NULL,"
    " first_at INTEGER NOT NULL, next_attempt INTEGER NOT NULL, at INTEGER NOT NULL,"
    " code INTEGER NOT NULL, size INTEGER NOT NULL, sender TEXT NOT NULL, reason TEXT NOT NULL"
    ") WITHOUT ROWID;"
    "CREATE INDEX message_due ON message (next_attempt) WHERE state = 1;"
    "CREATE INDEX message_old ON message (at) WHERE state > 1;"
    "CREATE TABLE recipient ("
    " id TEXT NOT NULL, address TEXT NOT NULL, state INTEGER NOT NULL, reply TEXT NOT NULL,"
    " PRIMARY KEY (id, address)) WITHOUT ROWID;"
    "CREATE TABLE fact (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID",
    /* held messages are neither due nor old, however long they lie */
    "ALTER TABLE message ADD COLUMN waited INTEGER NOT NULL DEFAULT 0;"
    "UPDATE message SET waited = MAX(0, at - first_at) WHERE state = 1;"
    "DROP INDEX message_old;"
    "CREATE INDEX message_old ON message (at) WHERE state IN (2, 3);"
    "CREATE INDEX message_held ON message (id) WHERE state = 4",
    "CREATE INDEX message_lost ON message (next_attempt) WHERE state = 1 AND code = 0;"
    "CREATE INDEX message_answered ON message (next_attempt) WHERE state = 1 AND code <> 0;"
    "ALTER TABLE message ADD COLUMN hash TEXT NOT NULL DEFAULT ''",
    NULL,
};

static const char *const state_names[] = {
    [LEDGER_FRESH] = "fresh",         [LEDGER_DEFERRED] = "deferred",
    [LEDGER_DELIVERED] = "delivered", [LEDGER_REJECTED] = "rejected",
    [LEDGER_HELD] = "held",
};
static_assert(sizeof state_names / sizeof *state_names == LEDGER_STATES, "a name a state");
static_assert(LEDGER_DEFERRED == 1 && LEDGER_DELIVERED == 2 && LEDGER_REJECTED == 3 &&
                  LEDGER_HELD == 4,
              "the partial indexes say so");

const char *ledger_state_name(enum ledger_state state)
{
    return state_names[state];
}

static int64_t one_number(struct db *db, sqlite3_stmt *st, int64_t otherwise)
{
    int64_t number = otherwise;
    if (db_row(db, st)) {
        if (sqlite3_column_type(st, 0) != SQLITE_NULL)
            number = db_column_int(st, 0);
        db_done(st);
    }
    return number;
}

enum ledger_state ledger_state(struct db *db, const char *id)
{
    sqlite3_stmt *st = db_query(db, "SELECT state FROM message WHERE id = ?1", DB_TEXT(id));
    return (enum ledger_state)one_number(db, st, LEDGER_FRESH);
}

bool ledger_find(struct db *db, const char *id, struct ledger_row *row)
{
    sqlite3_stmt *st = db_query(db,
                                "SELECT state, attempts, first_at, next_attempt, at, code, size,"
                                " sender, reason, waited, hash FROM message WHERE id = ?1",
                                DB_TEXT(id));
    if (!db_row(db, st))
        return false;
    row->state = (enum ledger_state)db_column_int(st, 0);
    row->attempts = (unsigned)db_column_int(st, 1);
    row->first_at = db_column_int(st, 2);
    row->next_attempt = db_column_int(st, 3);
    row->at = db_column_int(st, 4);
    row->code = (int)db_column_int(st, 5);
    row->size = (uint64_t)db_column_int(st, 6);
    (void)snprintf(row->sender, sizeof row->sender, "%s", db_column_text(st, 7));
    (void)snprintf(row->reason, sizeof row->reason, "%s", db_column_text(st, 8));
    row->waited = db_column_int(st, 9);
    (void)snprintf(row->hash, sizeof row->hash, "%s", db_column_text(st, 10));
    db_done(st);
    return true;
}

void ledger_prove_room(struct db *db, int messages)
{
    (void)db_run(db, "INSERT OR REPLACE INTO fact (name, value) VALUES ('room', randomblob(?1))",
                 DB_INT((int64_t)messages * VERDICT_BYTES));
    (void)db_run(db, "DELETE FROM fact WHERE name = 'room'");
    /* From here on the log is written from its beginning, over what has been written now. */
    (void)db_run(db, "PRAGMA wal_checkpoint(PASSIVE)");
}

void ledger_begin(struct db *db)
{
    db_begin(db);
}

void ledger_commit(struct db *db)
{
    db_commit(db);
}

void ledger_put(struct db *db, const char *id, const struct ledger_row *row)
{
    (void)db_run(db,
                 "INSERT OR REPLACE INTO message (id, state, attempts, first_at, next_attempt, at,"
                 " code, size, sender, reason, waited, hash)"
                 " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
                 DB_TEXT(id), DB_INT(row->state), DB_INT(row->attempts), DB_INT(row->first_at),
                 DB_INT(row->next_attempt), DB_INT(row->at), DB_INT(row->code),
                 DB_INT((int64_t)row->size), DB_TEXT(row->sender), DB_TEXT(row->reason),
                 DB_INT(row->waited), DB_TEXT(row->hash));
}

void ledger_forget(struct db *db, const char *id)
{
    (void)db_run(db, "DELETE FROM recipient WHERE id = ?1", DB_TEXT(id));
    (void)db_run(db, "DELETE FROM message WHERE id = ?1", DB_TEXT(id));
}

void ledger_put_recipient(struct db *db, const char *id, const char *address,
                          enum ledger_recipient state, const char *reply)
{
    (void)db_run(db,
                 "INSERT OR REPLACE INTO recipient (id, address, state, reply)"
                 " VALUES (?1, ?2, ?3, ?4)",
                 DB_TEXT(id), DB_TEXT(address), DB_INT(state), DB_TEXT(reply));
}

void ledger_forget_put_off(struct db *db, const char *id)
{
    (void)db_run(db, "DELETE FROM recipient WHERE id = ?1 AND state = ?2", DB_TEXT(id),
                 DB_INT(LEDGER_PUT_OFF));
}

void ledger_each_recipient(struct db *db, const char *id, ledger_recipient_fn *fn, void *arg)
{
    sqlite3_stmt *st =
        db_query(db, "SELECT address, state, reply FROM recipient WHERE id = ?1", DB_TEXT(id));
    while (db_row(db, st))
        fn(arg, db_column_text(st, 0), (enum ledger_recipient)db_column_int(st, 1),
           db_column_text(st, 2));
}

static bool each_of(struct db *db, sqlite3_stmt *st, ledger_due_fn *fn, void *arg)
{
    while (db_row(db, st)) {
        if (!fn(arg, db_column_text(st, 0), db_column_int(st, 1))) {
            db_done(st);
            return false;
        }
    }
    return true;
}

void ledger_each_due(struct db *db, bool lost, int64_t now, int64_t longest, ledger_due_fn *fn,
                     void *arg)
{
    static const char *const due[] = {"SELECT id, next_attempt FROM message WHERE state = 1 AND"
                                      " code <> 0 AND next_attempt <= ?1 ORDER BY next_attempt",
                                      "SELECT id, next_attempt FROM message WHERE state = 1 AND"
                                      " code = 0 AND next_attempt <= ?1 ORDER BY next_attempt"};
    static const char *const astray[] = {
        "SELECT id, ?1 FROM message WHERE state = 1 AND"
        " code <> 0 AND next_attempt > ?1 + ?2 ORDER BY next_attempt",
        "SELECT id, ?1 FROM message WHERE state = 1 AND"
        " code = 0 AND next_attempt > ?1 + ?2 ORDER BY next_attempt"};
    if (each_of(db, db_query(db, due[lost], DB_INT(now)), fn, arg))
        (void)each_of(db, db_query(db, astray[lost], DB_INT(now), DB_INT(longest)), fn, arg);
}

int64_t ledger_next_due(struct db *db, int64_t now)
{
    sqlite3_stmt *st =
        db_query(db, "SELECT MIN(next_attempt) FROM message WHERE state = 1 AND next_attempt > ?1",
                 DB_INT(now));
    return one_number(db, st, 0);
}

uint64_t ledger_count(struct db *db, enum ledger_state state)
{
    /* Literals, so that partial indexes serve the counts that are asked for often. */
    sqlite3_stmt *st =
        state == LEDGER_DEFERRED ? db_query(db, "SELECT COUNT(*) FROM message WHERE state = 1")
        : state == LEDGER_HELD
            ? db_query(db, "SELECT COUNT(*) FROM message WHERE state = 4")
            : db_query(db, "SELECT COUNT(*) FROM message WHERE state = ?1", DB_INT(state));
    return (uint64_t)one_number(db, st, 0);
}

bool ledger_retry(struct db *db, const char *id, int64_t now)
{
    return db_run(db, "UPDATE message SET next_attempt = ?2 WHERE id = ?1 AND state = 1",
                  DB_TEXT(id), DB_INT(now)) > 0;
}

bool ledger_retry_first(struct db *db, int64_t now)
{
    return db_run(db,
                  "UPDATE message SET next_attempt = MIN(next_attempt, ?1) WHERE id ="
                  " (SELECT id FROM message WHERE state = 1 ORDER BY next_attempt LIMIT 1)",
                  DB_INT(now)) > 0;
}

uint64_t ledger_retry_all(struct db *db, int64_t now)
{
    return (uint64_t)db_run(
        db, "UPDATE message SET next_attempt = ?1 WHERE state = 1 AND next_attempt > ?1",
        DB_INT(now));
}

bool ledger_hold(struct db *db, const char *id)
{
    if (db_run(db, "UPDATE message SET state = 4 WHERE id = ?1 AND state = 1", DB_TEXT(id)) > 0)
        return true;
    return db_run(db,
                  "INSERT OR IGNORE INTO message (id, state, attempts, first_at, next_attempt, at,"
                  " code, size, sender, reason) VALUES (?1, 4, 0, 0, 0, 0, 0, 0, '', '')",
                  DB_TEXT(id)) > 0;
}

bool ledger_release(struct db *db, const char *id)
{
    if (db_run(db, "DELETE FROM message WHERE id = ?1 AND state = 4 AND first_at = 0",
               DB_TEXT(id)) > 0)
        return true;
    return db_run(db, "UPDATE message SET state = 1 WHERE id = ?1 AND state = 4", DB_TEXT(id)) > 0;
}

int ledger_prune(struct db *db, int64_t before)
{
    ledger_begin(db);
    (void)db_run(db,
                 "DELETE FROM recipient WHERE id IN (SELECT id FROM message WHERE state IN (2, 3)"
                 " AND at < ?1 ORDER BY at LIMIT ?2)",
                 DB_INT(before), DB_INT(PRUNE_AT_ONCE));
    int gone =
        db_run(db,
               "DELETE FROM message WHERE id IN (SELECT id FROM message WHERE state IN (2, 3)"
               " AND at < ?1 ORDER BY at LIMIT ?2)",
               DB_INT(before), DB_INT(PRUNE_AT_ONCE));
    ledger_commit(db);
    return gone;
}

int64_t ledger_fact(struct db *db, const char *name, int64_t otherwise)
{
    sqlite3_stmt *st = db_query(db, "SELECT value FROM fact WHERE name = ?1", DB_TEXT(name));
    return one_number(db, st, otherwise);
}

void ledger_put_fact(struct db *db, const char *name, int64_t value)
{
    (void)db_run(db, "INSERT OR REPLACE INTO fact (name, value) VALUES (?1, ?2)", DB_TEXT(name),
                 DB_INT(value));
}
