/* SQL of hygiene.db. Recipients are kept as a JSON array: they are only ever read as a whole. */
#include "hygiene/ledger.h"
#include "lib/clock.h"
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PRUNE_AT_ONCE 1000 /* of each table */

const char *const ledger_migrations[] = {
    "CREATE TABLE verdict (id TEXT PRIMARY KEY, at INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE badmail (id TEXT PRIMARY KEY, account TEXT NOT NULL, sender TEXT NOT NULL,"
    " recipients TEXT NOT NULL, subject TEXT NOT NULL, size INTEGER NOT NULL, at INTEGER NOT NULL,"
    " decided_by TEXT NOT NULL, reason TEXT NOT NULL, state INTEGER NOT NULL, replayed_as TEXT,"
    " changed_at INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX badmail_held ON badmail (id) WHERE state = 0;"
    "CREATE TABLE pickup (id TEXT PRIMARY KEY, name BLOB NOT NULL, state INTEGER NOT NULL, at "
    "INTEGER NOT NULL)"
    " WITHOUT ROWID",
    "ALTER TABLE badmail ADD COLUMN entered INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE pickup ADD COLUMN replay INTEGER NOT NULL DEFAULT 0;"
    "CREATE INDEX verdict_old ON verdict (at);"
    "CREATE INDEX badmail_old ON badmail (changed_at) WHERE state > 0;"
    "CREATE INDEX pickup_old ON pickup (at)",
    "ALTER TABLE badmail ADD COLUMN report TEXT NOT NULL DEFAULT '';"
    "CREATE TABLE waiting (id TEXT PRIMARY KEY, attempts INTEGER NOT NULL, waited INTEGER NOT "
    "NULL,"
    " next_at INTEGER NOT NULL, filter TEXT NOT NULL, reason TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX waiting_next ON waiting (next_at)",
    "ALTER TABLE pickup ADD COLUMN recipients TEXT NOT NULL DEFAULT '';"
    /* With state, which is 0 in all of it: SQLite counts in the index alone only then. */
    "CREATE INDEX badmail_held_at ON badmail (at, entered, state) WHERE state = 0;"
    "CREATE INDEX badmail_settled ON badmail (state, id) WHERE state > 0;"
    "CREATE TABLE clock (seen INTEGER NOT NULL)",
    "CREATE INDEX waiting_turn ON waiting (attempts, next_at)",
    "CREATE INDEX waiting_form ON waiting (next_at) WHERE filter = 'form'",
    NULL,
};
static_assert(BADMAIL_HELD == 0, "the partial indexes say so: 0, and all others above it");

static const char *const state_names[] = {
    [BADMAIL_HELD] = "held",       [BADMAIL_REPLAYED] = "replayed",
    [BADMAIL_DELETED] = "deleted", [BADMAIL_REMOVED] = "removed by hand",
    [BADMAIL_EXPIRED] = "expired",
};
static_assert(sizeof state_names / sizeof state_names[0] == BADMAIL_STATES,
              "a name for each state");

const char *ledger_badmail_state_name(enum badmail_state state)
{
    return state_names[state];
}

static void copy(char *to, size_t size, const char *from)
{
    (void)snprintf(to, size, "%s", from);
}

static bool has_row(struct db *db, sqlite3_stmt *st)
{
    if (!db_row(db, st))
        return false;
    db_done(st);
    return true;
}

static int64_t one_number(struct db *db, sqlite3_stmt *st)
{
    int64_t n = db_row(db, st) ? db_column_int(st, 0) : 0;
    db_done(st);
    return n;
}

/* --- verdicts --- */

void ledger_passed(struct db *db, const char *id)
{
    db_run(db, "INSERT OR IGNORE INTO verdict (id, at) VALUES (?1, ?2)", DB_TEXT(id),
           DB_INT(clock_now()));
}

bool ledger_has_passed(struct db *db, const char *id)
{
    return has_row(db, db_query(db, "SELECT 1 FROM verdict WHERE id = ?1", DB_TEXT(id)));
}

/* --- who waits --- */

void ledger_wait(struct db *db, const char *id, const struct waiting *w)
{
    db_run(db,
           "INSERT OR REPLACE INTO waiting (id, attempts, waited, next_at, filter, reason)"
           " VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
           DB_TEXT(id), DB_INT(w->attempts), DB_INT(w->waited), DB_INT(w->next_at),
           DB_TEXT(w->filter), DB_TEXT(w->reason));
}

#define WAITING_COLUMNS "attempts, waited, next_at, filter, reason"

static void read_waiting(sqlite3_stmt *st, struct waiting *w)
{
    *w = (struct waiting){.attempts = (unsigned)db_column_int(st, 0),
                          .waited = db_column_int(st, 1),
                          .next_at = db_column_int(st, 2)};
    copy(w->filter, sizeof w->filter, db_column_text(st, 3));
    copy(w->reason, sizeof w->reason, db_column_text(st, 4));
}

bool ledger_waiting(struct db *db, const char *id, struct waiting *w)
{
    sqlite3_stmt *st =
        db_query(db, "SELECT " WAITING_COLUMNS " FROM waiting WHERE id = ?1", DB_TEXT(id));
    if (!db_row(db, st))
        return false;
    read_waiting(st, w);
    db_done(st);
    return true;
}

void ledger_each_waiting_behind(struct db *db, const char *after, ledger_waiting_row_fn *fn,
                                void *arg)
{
    sqlite3_stmt *st =
        db_query(db, "SELECT " WAITING_COLUMNS ", id FROM waiting WHERE id > ?1 ORDER BY id",
                 DB_TEXT(after));
    while (db_row(db, st)) {
        struct waiting w;
        char id[ID_SIZE];
        read_waiting(st, &w);
        copy(id, sizeof id, db_column_text(st, 5));
        if (fn(arg, id, &w))
            continue;
        db_done(st);
        return;
    }
}

void ledger_wait_over(struct db *db, const char *id)
{
    db_run(db, "DELETE FROM waiting WHERE id = ?1", DB_TEXT(id));
}

/* Whether there were any. */
static bool each_waiting(struct db *db, sqlite3_stmt *st, ledger_waiting_fn *fn, void *arg)
{
    bool any = false;
    while (db_row(db, st)) {
        any = true;
        if (fn(arg, db_column_text(st, 0)))
            continue;
        db_done(st);
        break;
    }
    return any;
}

void ledger_each_unformed(struct db *db, int64_t now, ledger_waiting_fn *fn, void *arg)
{
    (void)each_waiting(db,
                       db_query(db,
                                "SELECT id FROM waiting WHERE filter = 'form' AND next_at <= ?1"
                                " ORDER BY next_at",
                                DB_INT(now)),
                       fn, arg);
}

void ledger_each_waiting(struct db *db, int64_t now, ledger_waiting_fn *fn, void *arg)
{
    static const char due[] = /* "+": by waiting_turn, without sorting them all */
        "SELECT id FROM waiting WHERE +next_at <= ?1 AND filter <> 'form'"
        " ORDER BY attempts, next_at, id";
    static const char absurd[] = "SELECT id FROM waiting WHERE next_at > ?1 ORDER BY next_at, id";
    if (!each_waiting(db, db_query(db, due, DB_INT(now)), fn, arg))
        (void)each_waiting(db, db_query(db, absurd, DB_INT(now + LEDGER_WAIT_MAX)), fn, arg);
}

int64_t ledger_next_waiting(struct db *db)
{
    return one_number(db, db_query(db, "SELECT COALESCE(MIN(next_at), 0) FROM waiting"));
}

int64_t ledger_waiting_count(struct db *db)
{
    return one_number(db, db_query(db, "SELECT COUNT(*) FROM waiting"));
}

int ledger_wait_no_longer(struct db *db, const char *id, int64_t now)
{
    if (id == NULL)
        return db_run(db, "UPDATE waiting SET next_at = MIN(next_at, ?1)", DB_INT(now));
    return db_run(db, "UPDATE waiting SET next_at = 1, attempts = 0 WHERE id = ?1", DB_TEXT(id));
}

/* --- badmail --- */

void ledger_badmail_free(struct badmail *b)
{
    envelope_list_free(&b->recipients);
    free(b->report);
}

static char *recipients_text(const struct envelope_list *list)
{
    json_t *array = json_array();
    for (size_t i = 0; i < list->count; i++)
        (void)json_array_append_new(array, json_string(list->items[i]));
    char *text = json_dumps(array, JSON_COMPACT);
    json_decref(array);
    return text;
}

static void read_recipients(const char *text, struct envelope_list *list)
{
    json_t *array = json_loads(text, 0, NULL);
    for (size_t i = 0; i < json_array_size(array); i++)
        if (!envelope_list_add(list, json_string_value(json_array_get(array, i))))
            break;
    json_decref(array);
}

void ledger_hold(struct db *db, const struct badmail *b)
{
    char *recipients = recipients_text(&b->recipients);
    db_run(db,
           "INSERT OR IGNORE INTO badmail (id, account, sender, recipients, subject, size, at, "
           "decided_by, reason,"
           " state, changed_at, report) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?7, ?11)",
           DB_TEXT(b->id), DB_TEXT(b->account), DB_TEXT(b->sender), DB_TEXT(recipients),
           DB_TEXT(b->subject), DB_INT((int64_t)b->size), DB_INT(b->at), DB_TEXT(b->decided_by),
           DB_TEXT(b->reason), DB_INT(BADMAIL_HELD), DB_TEXT(b->report ? b->report : ""));
    free(recipients);
}

#define BADMAIL_COLUMNS                                                                            \
    "id, account, sender, recipients, subject, size, at, decided_by, reason, state, replayed_as, " \
    "entered, report"

static void read_badmail(sqlite3_stmt *st, struct badmail *b)
{
    *b = (struct badmail){.size = (uint64_t)db_column_int(st, 5),
                          .at = db_column_int(st, 6),
                          .state = (enum badmail_state)db_column_int(st, 9),
                          .entered = db_column_int(st, 11) != 0};
    copy(b->id, sizeof b->id, db_column_text(st, 0));
    copy(b->account, sizeof b->account, db_column_text(st, 1));
    copy(b->sender, sizeof b->sender, db_column_text(st, 2));
    read_recipients(db_column_text(st, 3), &b->recipients);
    copy(b->subject, sizeof b->subject, db_column_text(st, 4));
    copy(b->decided_by, sizeof b->decided_by, db_column_text(st, 7));
    copy(b->reason, sizeof b->reason, db_column_text(st, 8));
    copy(b->replayed_as, sizeof b->replayed_as, db_column_text(st, 10));
    const char *report = db_column_text(st, 12);
    b->report = report[0] != '\0' ? strdup(report) : NULL;
}

bool ledger_badmail(struct db *db, const char *id, struct badmail *b)
{
    sqlite3_stmt *st =
        db_query(db, "SELECT " BADMAIL_COLUMNS " FROM badmail WHERE id = ?1", DB_TEXT(id));
    if (!db_row(db, st))
        return false;
    read_badmail(st, b);
    db_done(st);
    return true;
}

bool ledger_is_badmail(struct db *db, const char *id)
{
    return has_row(db, db_query(db, "SELECT 1 FROM badmail WHERE id = ?1", DB_TEXT(id)));
}

enum badmail_outcome ledger_badmail_outcome(struct db *db, const char *id)
{
    sqlite3_stmt *st = db_query(
        db, "SELECT entered OR state > 0, decided_by FROM badmail WHERE id = ?1", DB_TEXT(id));
    if (!db_row(db, st))
        return BADMAIL_UNKNOWN;
    bool certain = db_column_int(st, 0) != 0;
    bool damaged = strcmp(db_column_text(st, 1), LEDGER_DAMAGED) == 0;
    db_done(st);
    if (!certain)
        return BADMAIL_PENDING;
    return damaged ? BADMAIL_DAMAGED : BADMAIL_CERTAIN;
}

void ledger_badmail_entered(struct db *db, const char *id)
{
    db_run(db, "UPDATE badmail SET entered = 1 WHERE id = ?1", DB_TEXT(id));
}

void ledger_badmail_forget(struct db *db, const char *id)
{
    db_run(db, "DELETE FROM badmail WHERE id = ?1", DB_TEXT(id));
}

void ledger_badmail_set(struct db *db, const char *id, enum badmail_state state,
                        const char *replayed_as)
{
    db_run(db, "UPDATE badmail SET state = ?2, replayed_as = ?3, changed_at = ?4 WHERE id = ?1",
           DB_TEXT(id), DB_INT(state), DB_TEXT(replayed_as), DB_INT(clock_now()));
}

bool ledger_badmail_replayed_as(struct db *db, const char *as, char id[static ID_SIZE])
{
    sqlite3_stmt *st =
        db_query(db, "SELECT id FROM badmail WHERE state = ?1 AND state > 0 AND replayed_as = ?2",
                 DB_INT(BADMAIL_REPLAYED), DB_TEXT(as)); /* "> 0": badmail_settled */
    if (!db_row(db, st))
        return false;
    copy(id, ID_SIZE, db_column_text(st, 0));
    db_done(st);
    return true;
}

int64_t ledger_held_count(struct db *db)
{
    return one_number(db, db_query(db, "SELECT count(*) FROM badmail WHERE state = 0"));
}

static void each_row(struct db *db, sqlite3_stmt *st, ledger_badmail_fn *fn, void *arg)
{
    while (db_row(db, st)) {
        struct badmail b;
        read_badmail(st, &b);
        bool more = fn(arg, &b);
        ledger_badmail_free(&b);
        if (!more) {
            db_done(st);
            return;
        }
    }
}

void ledger_each_held(struct db *db, const char *after, ledger_badmail_fn *fn, void *arg)
{
    sqlite3_stmt *st = db_query(
        db, "SELECT " BADMAIL_COLUMNS " FROM badmail WHERE state = 0 AND id > ?1 ORDER BY id",
        DB_TEXT(after));
    each_row(db, st, fn, arg);
}

void ledger_each_in_state(struct db *db, enum badmail_state state, const char *after,
                          ledger_badmail_fn *fn, void *arg)
{
    sqlite3_stmt *st = db_query(
        db,
        "SELECT " BADMAIL_COLUMNS " FROM badmail WHERE state = ?1 AND state > 0 AND id > ?2"
        " ORDER BY id",
        DB_INT(state), DB_TEXT(after)); /* "> 0": badmail_settled, not all that is held */
    each_row(db, st, fn, arg);
}

void ledger_each_held_between(struct db *db, int64_t from, int64_t to, int limit,
                              ledger_badmail_fn *fn, void *arg)
{
    sqlite3_stmt *st =
        db_query(db,
                 "SELECT " BADMAIL_COLUMNS " FROM badmail WHERE state = 0 AND entered = 1"
                 " AND at >= ?1 AND at < ?2 ORDER BY at, id LIMIT ?3",
                 DB_INT(from), DB_INT(to), DB_INT(limit));
    each_row(db, st, fn, arg);
}

int64_t ledger_held_between(struct db *db, int64_t from, int64_t to)
{
    sqlite3_stmt *st = db_query(db,
                                "SELECT count(*) FROM badmail WHERE state = 0 AND entered = 1"
                                " AND at >= ?1 AND at < ?2",
                                DB_INT(from), DB_INT(to));
    int64_t n = db_row(db, st) ? db_column_int(st, 0) : 0;
    db_done(st);
    return n;
}

/* --- drops --- */

void ledger_drop_claim(struct db *db, const char *id, const char *name, bool replay)
{
    db_run(db, "INSERT INTO pickup (id, name, state, at, replay) VALUES (?1, ?2, ?3, ?4, ?5)",
           DB_TEXT(id), DB_BLOB(name, strlen(name)), DB_INT(DROP_CLAIMED), DB_INT(clock_now()),
           DB_INT(replay));
}

void ledger_drop_redirect(struct db *db, const char *id, const struct envelope_list *to)
{
    char *recipients = recipients_text(to);
    db_run(db, "UPDATE pickup SET recipients = ?2 WHERE id = ?1", DB_TEXT(id), DB_TEXT(recipients));
    free(recipients);
}

bool ledger_drop_recipients(struct db *db, const char *id, struct envelope_list *to)
{
    sqlite3_stmt *st = db_query(
        db, "SELECT recipients FROM pickup WHERE id = ?1 AND recipients != ''", DB_TEXT(id));
    if (!db_row(db, st))
        return false;
    read_recipients(db_column_text(st, 0), to);
    db_done(st);
    return true;
}

void ledger_drop_forget(struct db *db, const char *id)
{
    db_run(db, "DELETE FROM pickup WHERE id = ?1", DB_TEXT(id));
}

bool ledger_drop_is_replay(struct db *db, const char *id)
{
    return has_row(db, db_query(db, "SELECT 1 FROM pickup WHERE id = ?1 AND replay", DB_TEXT(id)));
}

void ledger_drop_set(struct db *db, const char *id, enum drop_state state)
{
    db_run(db, "UPDATE pickup SET state = ?2, at = ?3 WHERE id = ?1", DB_TEXT(id), DB_INT(state),
           DB_INT(clock_now()));
}

enum drop_state ledger_drop(struct db *db, const char *id, char name[static 256])
{
    name[0] = '\0';
    sqlite3_stmt *st = db_query(db, "SELECT state, name FROM pickup WHERE id = ?1", DB_TEXT(id));
    if (!db_row(db, st))
        return DROP_UNKNOWN;
    enum drop_state state = (enum drop_state)db_column_int(st, 0);
    size_t len;
    const void *bytes = db_column_blob(st, 1, &len);
    if (len < 256) {
        memcpy(name, bytes, len);
        name[len] = '\0';
    }
    db_done(st);
    return state;
}

/* --- pruning --- */

int64_t ledger_clock(struct db *db)
{
    return one_number(db, db_query(db, "SELECT COALESCE(MAX(seen), 0) FROM clock"));
}

void ledger_clock_set(struct db *db, int64_t now)
{
    if (db_run(db, "UPDATE clock SET seen = ?1", DB_INT(now)) == 0)
        db_run(db, "INSERT INTO clock (seen) VALUES (?1)", DB_INT(now));
}

int ledger_prune(struct db *db, int64_t before)
{
    db_begin(db);
    int gone = db_run(db,
                      "DELETE FROM verdict WHERE id IN"
                      " (SELECT id FROM verdict WHERE at < ?1 ORDER BY at LIMIT ?2)",
                      DB_INT(before), DB_INT(PRUNE_AT_ONCE));
    gone += db_run(db,
                   "DELETE FROM pickup WHERE id IN"
                   " (SELECT id FROM pickup WHERE at < ?1 ORDER BY at LIMIT ?2)",
                   DB_INT(before), DB_INT(PRUNE_AT_ONCE));
    gone += db_run(db,
                   "DELETE FROM badmail WHERE id IN (SELECT id FROM badmail WHERE state > 0"
                   " AND changed_at < ?1 ORDER BY changed_at LIMIT ?2)",
                   DB_INT(before), DB_INT(PRUNE_AT_ONCE));
    db_commit(db);
    return gone;
}
