/* fetcherd's ledger on SQLite.
 *
 * Promises: one query for all that is known of a mailbox; an id belongs to one UIDL; an outcome is
 * recorded once, and only for a message that was spooled. Errors of the database end the process in
 * lib/db. */
#include "fetcherd/ledger.h"

#include <assert.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/db.h"

struct ledger {
    struct db *db;
};

const char *const ledger_migrations[] = {
    "CREATE TABLE account ("
    " key INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, server TEXT NOT NULL,"
    " port INTEGER NOT NULL, tls TEXT NOT NULL, auth TEXT NOT NULL, user TEXT NOT NULL,"
    " secret TEXT NOT NULL, deliver_to TEXT NOT NULL, interval INTEGER NOT NULL,"
    " enabled INTEGER NOT NULL, last_try INTEGER NOT NULL DEFAULT 0,"
    " last_ok INTEGER NOT NULL DEFAULT 0, next_poll INTEGER NOT NULL DEFAULT 0,"
    " failures INTEGER NOT NULL DEFAULT 0, bad_passwords INTEGER NOT NULL DEFAULT 0,"
    " paused INTEGER NOT NULL DEFAULT 0, error TEXT NOT NULL DEFAULT '',"
    " on_server INTEGER NOT NULL DEFAULT 0, too_large INTEGER NOT NULL DEFAULT 0,"
    " stepped_over INTEGER NOT NULL DEFAULT 0, fetched INTEGER NOT NULL DEFAULT 0,"
    " deleted INTEGER NOT NULL DEFAULT 0, round INTEGER NOT NULL DEFAULT 0, round_done INTEGER NOT "
    "NULL DEFAULT 0);"
    "CREATE TABLE message ("
    " account INTEGER NOT NULL, uidl BLOB NOT NULL, state INTEGER NOT NULL, id TEXT,"
    " size INTEGER NOT NULL, hash BLOB, attempts INTEGER NOT NULL, changed INTEGER NOT NULL,"
    " PRIMARY KEY (account, uidl)) WITHOUT ROWID;"
    "CREATE UNIQUE INDEX message_id ON message (id) WHERE id IS NOT NULL;"
    "CREATE INDEX message_spooled ON message (account, id) WHERE state = 1;"
    "CREATE INDEX message_gone ON message (changed) WHERE state IN (4, 5);"
    "CREATE TABLE setting (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;",
    "ALTER TABLE account ADD COLUMN ca TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE account ADD COLUMN pin TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE account ADD COLUMN baseline_pending INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE message ADD COLUMN listed INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE message ADD COLUMN settled INTEGER NOT NULL DEFAULT 0;"
    "UPDATE message SET settled = changed WHERE state IN (2, 3, 4, 5);",
    NULL,
};
static_assert(LEDGER_PENDING == 0 && LEDGER_SPOOLED == 1 && LEDGER_DELIVERED == 2 &&
                  LEDGER_QUARANTINED == 3 && LEDGER_GONE == 4 && LEDGER_VANISHED == 5 &&
                  LEDGER_SEEN == 7,
              "the schema's indexes and the statements below name these numbers");
static_assert((int64_t)LEDGER_DOUBT == -1, "the statements below name it");

static const char *const state_names[] = {
    [LEDGER_PENDING] = "pending",     [LEDGER_SPOOLED] = "spooled",
    [LEDGER_DELIVERED] = "delivered", [LEDGER_QUARANTINED] = "quarantined",
    [LEDGER_GONE] = "gone",           [LEDGER_VANISHED] = "vanished",
    [LEDGER_TOO_LARGE] = "too-large", [LEDGER_SEEN] = "seen",
};
static_assert(sizeof state_names / sizeof *state_names == LEDGER_STATES, "a name for every state");

const char *ledger_state_name(enum ledger_state state)
{
    return state_names[state];
}

struct ledger *ledger_new(struct db *db)
{
    struct ledger *ledger = malloc(sizeof *ledger);

    if (!ledger)
        abort();
    ledger->db = db;
    return ledger;
}

void ledger_free(struct ledger *ledger)
{
    free(ledger);
}

void ledger_begin(struct ledger *ledger)
{
    db_begin(ledger->db);
}

void ledger_commit(struct ledger *ledger)
{
    db_commit(ledger->db);
}

/* --- accounts ----------------------------------------------------------------------------- */

static enum conf_tls tls_from_text(const char *text)
{
    enum conf_tls tls = CONF_TLS_IMPLICIT;

    (void)!conf_tls_parse(text, &tls);
    return tls;
}

/* Addresses lie in one column, a line each: none can hold a line end. */
static void split_addresses(struct envelope_list *list, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "\n");
        char address[ADDRESS_MAX + 1];
        snprintf(address, sizeof address, "%.*s", (int)len, text);
        if (!envelope_list_add(list, address))
            return;
        text += len + (text[len] == '\n');
    }
}

static char *join_addresses(const struct envelope_list *list)
{
    char *text = malloc(list->count * (ADDRESS_MAX + 1) + 1);
    size_t at = 0;

    if (!text)
        abort();
    text[0] = '\0';
    for (size_t i = 0; i < list->count; i++)
        at += (size_t)sprintf(text + at, "%s%s", i ? "\n" : "", list->items[i]);
    return text;
}

#define COPY_TEXT(to, st, column) snprintf(to, sizeof(to), "%s", db_column_text(st, column))

static struct account *account_from_row(sqlite3_stmt *st)
{
    struct account *a = calloc(1, sizeof *a);

    if (!a)
        abort();
    a->key = db_column_int(st, 0);
    COPY_TEXT(a->name, st, 1);
    COPY_TEXT(a->server, st, 2);
    a->port = (int)db_column_int(st, 3);
    a->tls = tls_from_text(db_column_text(st, 4));
    COPY_TEXT(a->auth, st, 5);
    COPY_TEXT(a->user, st, 6);
    split_addresses(&a->deliver_to, db_column_text(st, 7));
    a->interval = db_column_int(st, 8);
    a->enabled = db_column_int(st, 9);
    a->last_try = db_column_int(st, 10);
    a->last_ok = db_column_int(st, 11);
    a->next_poll = db_column_int(st, 12);
    a->failures = (unsigned)db_column_int(st, 13);
    a->bad_passwords = (unsigned)db_column_int(st, 14);
    a->paused = db_column_int(st, 15);
    COPY_TEXT(a->error, st, 16);
    a->on_server = (uint32_t)db_column_int(st, 17);
    a->too_large = (uint32_t)db_column_int(st, 18);
    a->stepped_over = (uint32_t)db_column_int(st, 19);
    a->fetched = (uint32_t)db_column_int(st, 20);
    a->round = (uint64_t)db_column_int(st, 21);
    a->round_done = (uint64_t)db_column_int(st, 22);
    a->deleted = (uint32_t)db_column_int(st, 23);
    COPY_TEXT(a->ca, st, 24);
    COPY_TEXT(a->pin, st, 25);
    a->baseline_pending = db_column_int(st, 26);
    return a;
}

void ledger_accounts(struct ledger *ledger, ledger_account_fn *fn, void *arg)
{
    sqlite3_stmt *st = db_query(
        ledger->db, "SELECT key, name, server, port, tls, auth, user, deliver_to, interval,"
                    " enabled, last_try, last_ok, next_poll, failures, bad_passwords,"
                    " paused, error, on_server, too_large, stepped_over, fetched, round,"
                    " round_done, deleted, ca, pin, baseline_pending FROM account ORDER BY name");
    while (db_row(ledger->db, st))
        fn(arg, account_from_row(st));
}

void ledger_account_add(struct ledger *ledger, struct account *a, const char *sealed)
{
    char *to = join_addresses(&a->deliver_to);
    db_run(ledger->db,
           "INSERT INTO account (name, server, port, tls, auth, user, secret, deliver_to, interval,"
           " enabled, ca, pin, baseline_pending)"
           " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)",
           DB_TEXT(a->name), DB_TEXT(a->server), DB_INT(a->port), DB_TEXT(conf_tls_name(a->tls)),
           DB_TEXT(a->auth), DB_TEXT(a->user), DB_TEXT(sealed), DB_TEXT(to), DB_INT(a->interval),
           DB_INT(a->enabled), DB_TEXT(a->ca), DB_TEXT(a->pin), DB_INT(a->baseline_pending));
    free(to);
    sqlite3_stmt *st =
        db_query(ledger->db, "SELECT key FROM account WHERE name = ?1", DB_TEXT(a->name));
    while (db_row(ledger->db, st))
        a->key = db_column_int(st, 0);
}

void ledger_account_set(struct ledger *ledger, const struct account *a, const char *sealed)
{
    char *to = join_addresses(&a->deliver_to);
    db_run(ledger->db,
           "UPDATE account SET server = ?2, port = ?3, tls = ?4, auth = ?5, user = ?6,"
           " secret = coalesce(?7, secret), deliver_to = ?8, interval = ?9, enabled = ?10,"
           " ca = ?11, pin = ?12, baseline_pending = ?13"
           " WHERE key = ?1",
           DB_INT(a->key), DB_TEXT(a->server), DB_INT(a->port), DB_TEXT(conf_tls_name(a->tls)),
           DB_TEXT(a->auth), DB_TEXT(a->user), DB_TEXT(sealed), DB_TEXT(to), DB_INT(a->interval),
           DB_INT(a->enabled), DB_TEXT(a->ca), DB_TEXT(a->pin), DB_INT(a->baseline_pending));
    free(to);
}

void ledger_account_progress(struct ledger *ledger, const struct account *a)
{
    db_run(ledger->db,
           "UPDATE account SET last_try = ?2, last_ok = ?3, next_poll = ?4, failures = ?5,"
           " bad_passwords = ?6, paused = ?7, error = ?8, on_server = ?9, too_large = ?10,"
           " stepped_over = ?11, fetched = ?12, round = ?13, round_done = ?14, deleted = ?15,"
           " baseline_pending = ?16 WHERE key = ?1",
           DB_INT(a->key), DB_INT(a->last_try), DB_INT(a->last_ok), DB_INT(a->next_poll),
           DB_INT(a->failures), DB_INT(a->bad_passwords), DB_INT(a->paused), DB_TEXT(a->error),
           DB_INT(a->on_server), DB_INT(a->too_large), DB_INT(a->stepped_over), DB_INT(a->fetched),
           DB_INT((int64_t)a->round), DB_INT((int64_t)a->round_done), DB_INT(a->deleted),
           DB_INT(a->baseline_pending));
}

void ledger_account_remove(struct ledger *ledger, int64_t account)
{
    db_begin(ledger->db);
    db_run(ledger->db, "DELETE FROM message WHERE account = ?1", DB_INT(account));
    db_run(ledger->db, "DELETE FROM account WHERE key = ?1", DB_INT(account));
    db_commit(ledger->db);
}

char *ledger_account_secret(struct ledger *ledger, int64_t account)
{
    char *sealed = NULL;
    sqlite3_stmt *st =
        db_query(ledger->db, "SELECT secret FROM account WHERE key = ?1", DB_INT(account));

    if (db_row(ledger->db, st)) {
        sealed = strdup(db_column_text(st, 0));
        db_done(st);
    }
    return sealed ? sealed : strdup("");
}

/* --- messages ----------------------------------------------------------------------------- */

void ledger_messages(struct ledger *ledger, int64_t account, ledger_message_fn *fn, void *arg)
{
    sqlite3_stmt *st = db_query(ledger->db,
                                "SELECT uidl, state, id, size, hash, attempts, changed,"
                                " listed, settled FROM message WHERE account = ?1",
                                DB_INT(account));

    while (db_row(ledger->db, st)) {
        struct ledger_message m = {0};
        size_t hash_len;
        m.uidl = db_column_blob(st, 0, &m.uidl_len);
        m.state = (enum ledger_state)db_column_int(st, 1);
        COPY_TEXT(m.id, st, 2);
        m.size = (uint64_t)db_column_int(st, 3);
        const void *hash = db_column_blob(st, 4, &hash_len);
        if (hash && hash_len == sizeof m.hash)
            memcpy(m.hash, hash, hash_len);
        m.attempts = (unsigned)db_column_int(st, 5);
        m.changed = db_column_int(st, 6);
        m.listed = (uint64_t)db_column_int(st, 7);
        m.settled = db_column_int(st, 8);
        fn(arg, &m);
    }
}

/* No UIDL begins with the octet 1: RFC 1939 has them of 0x21 to 0x7E. */
#define FOREIGN_UIDL "CAST(x'01' || hex(randomblob(4)) || substr(uidl, 1, 246) AS BLOB)"

/* Makes room under a UIDL for the message of this id. */
static void displace(struct ledger *ledger, int64_t account, const char *uidl, size_t uidl_len,
                     const char *id)
{
    db_run(ledger->db,
           "UPDATE message SET uidl = " FOREIGN_UIDL
           " WHERE account = ?1 AND uidl = ?2 AND id <> ?3",
           DB_INT(account), DB_BLOB(uidl, uidl_len), DB_TEXT(id));
}

void ledger_message_put(struct ledger *ledger, int64_t account, const struct ledger_message *m)
{
    bool spooled = m->id[0] != '\0';

    displace(ledger, account, m->uidl, m->uidl_len, m->id);
    db_run(ledger->db,
           "INSERT INTO message (account, uidl, state, id, size, hash, attempts, changed, listed,"
           " settled) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
           " ON CONFLICT (account, uidl) DO UPDATE SET state = ?3, id = ?4, size = ?5, hash = ?6,"
           " attempts = iif(?3 = 1 AND state = 0, attempts, ?7), changed = ?8, listed = ?9,"
           " settled = ?10",
           DB_INT(account), DB_BLOB(m->uidl, m->uidl_len), DB_INT(m->state),
           spooled ? DB_TEXT(m->id) : DB_NULL, DB_INT((int64_t)m->size),
           spooled ? DB_BLOB(m->hash, sizeof m->hash) : DB_NULL, DB_INT(m->attempts),
           DB_INT(m->changed), DB_INT((int64_t)m->listed), DB_INT(m->settled));
}

void ledger_message_vanished(struct ledger *ledger, int64_t account, const char *uidl,
                             size_t uidl_len, int64_t now)
{
    db_run(ledger->db,
           "UPDATE message SET state = 5, changed = ?3 WHERE account = ?1 AND uidl = ?2",
           DB_INT(account), DB_BLOB(uidl, uidl_len), DB_INT(now));
}

void ledger_message_doubt(struct ledger *ledger, int64_t account, const char *uidl, size_t uidl_len,
                          int64_t now)
{
    db_run(ledger->db,
           "UPDATE message SET state = iif(state = 1, 1, 5),"
           " listed = iif(state = 1, -1, listed), changed = ?3"
           " WHERE account = ?1 AND uidl = ?2 AND state IN (1, 2, 3)",
           DB_INT(account), DB_BLOB(uidl, uidl_len), DB_INT(now));
}

void ledger_message_gone(struct ledger *ledger, int64_t account, const char *uidl, size_t uidl_len,
                         int64_t now)
{
    db_run(ledger->db,
           "UPDATE message SET state = 4, changed = ?3"
           " WHERE account = ?1 AND uidl = ?2 AND state = 5",
           DB_INT(account), DB_BLOB(uidl, uidl_len), DB_INT(now));
}

unsigned ledger_message_charge(struct ledger *ledger, int64_t account, const char *uidl,
                               size_t uidl_len, int64_t now)
{
    unsigned attempts = 0;
    sqlite3_stmt *st = db_query(ledger->db,
                                "UPDATE message SET attempts = attempts + 1, changed = ?3"
                                " WHERE account = ?1 AND uidl = ?2 RETURNING attempts",
                                DB_INT(account), DB_BLOB(uidl, uidl_len), DB_INT(now));
    while (db_row(ledger->db, st))
        attempts = (unsigned)db_column_int(st, 0);
    return attempts;
}

void ledger_message_found(struct ledger *ledger, int64_t account, const char *id, const char *uidl,
                          size_t uidl_len, uint64_t listed, int64_t now)
{
    displace(ledger, account, uidl, uidl_len, id);
    db_run(ledger->db, "DELETE FROM message WHERE account = ?1 AND uidl = ?2 AND id IS NULL",
           DB_INT(account), DB_BLOB(uidl, uidl_len));
    db_run(ledger->db,
           "UPDATE message SET uidl = ?2, listed = ?3,"
           " attempts = attempts + (state IN (4, 5) OR listed = -1), changed = ?4,"
           " state = iif(state IN (4, 5), 2, state) WHERE id = ?1",
           DB_TEXT(id), DB_BLOB(uidl, uidl_len), DB_INT((int64_t)listed), DB_INT(now));
}

void ledger_message_forget(struct ledger *ledger, int64_t account, const char *uidl,
                           size_t uidl_len)
{
    db_run(ledger->db, "DELETE FROM message WHERE account = ?1 AND uidl = ?2", DB_INT(account),
           DB_BLOB(uidl, uidl_len));
}

size_t ledger_foreign_uidl(const char *uidl, size_t uidl_len, char *name, size_t size)
{
    int head = snprintf(name, size, "\x01%08X", (unsigned)randombytes_random());
    size_t room = size - (size_t)head, len = uidl_len < room ? uidl_len : room;

    memcpy(name + head, uidl, len);
    return (size_t)head + len;
}

void ledger_maildrop_moved(struct ledger *ledger, int64_t account)
{
    db_begin(ledger->db);
    db_run(ledger->db, "DELETE FROM message WHERE account = ?1 AND id IS NULL AND state <> 7",
           DB_INT(account));
    db_run(ledger->db,
           "UPDATE message SET uidl = " FOREIGN_UIDL
           " WHERE account = ?1 AND id IS NOT NULL AND substr(uidl, 1, 1) <> x'01'",
           DB_INT(account));
    db_commit(ledger->db);
}

/* Whose message this id is; 0 when none is held as spooled under it. */
static int64_t spooled_account(struct ledger *ledger, const char *id)
{
    int64_t account = 0;
    sqlite3_stmt *st = db_query(
        ledger->db, "SELECT account FROM message WHERE id = ?1 AND state = 1", DB_TEXT(id));

    while (db_row(ledger->db, st))
        account = db_column_int(st, 0);
    return account;
}

bool ledger_outcome(struct ledger *ledger, const char *id, enum ledger_state state, int64_t now,
                    int64_t *account)
{
    assert(state == LEDGER_DELIVERED || state == LEDGER_QUARANTINED);
    int64_t owner = spooled_account(ledger, id);
    if (!owner)
        return false;
    db_run(ledger->db,
           "UPDATE message SET state = ?2, changed = ?3, settled = ?3, attempts = 0"
           " WHERE id = ?1",
           DB_TEXT(id), DB_INT(state), DB_INT(now));
    *account = owner;
    return true;
}

bool ledger_lost(struct ledger *ledger, const char *id, bool damaged, int64_t now, int64_t *account,
                 bool *deleted)
{
    bool held = false;
    sqlite3_stmt *st =
        db_query(ledger->db, "SELECT account, listed = -1 FROM message WHERE id = ?1 AND state = 1",
                 DB_TEXT(id));

    while (db_row(ledger->db, st)) {
        held = true;
        *account = db_column_int(st, 0);
        *deleted = db_column_int(st, 1);
    }
    if (held)
        db_run(ledger->db,
               "UPDATE message SET state = 0, id = NULL, hash = NULL, listed = 0,"
               " attempts = attempts + ?2, changed = ?3 WHERE id = ?1",
               DB_TEXT(id), DB_INT(damaged), DB_INT(now));
    return held;
}

bool ledger_knows_id(struct ledger *ledger, const char *id)
{
    bool known = false;
    sqlite3_stmt *st = db_query(ledger->db, "SELECT 1 FROM message WHERE id = ?1", DB_TEXT(id));

    while (db_row(ledger->db, st))
        known = true;
    return known;
}

size_t ledger_spooled_ids(struct ledger *ledger, int64_t account, const char *after,
                          char (*ids)[ID_SIZE], size_t max)
{
    size_t n = 0;
    sqlite3_stmt *st = db_query(ledger->db,
                                "SELECT id FROM message WHERE state = 1 AND account = ?1"
                                " AND id > ?2 ORDER BY id LIMIT ?3",
                                DB_INT(account), DB_TEXT(after), DB_INT((int64_t)max));

    while (db_row(ledger->db, st))
        snprintf(ids[n++], ID_SIZE, "%s", db_column_text(st, 0));
    return n;
}

uint64_t ledger_spooled_count(struct ledger *ledger, int64_t account)
{
    static const char of_one[] = "SELECT count(*) FROM message WHERE state = 1 AND account = ?1";
    static const char of_all[] = "SELECT count(*) FROM message WHERE state = 1 AND ?1 = 0";
    uint64_t n = 0;
    sqlite3_stmt *st = db_query(ledger->db, account ? of_one : of_all, DB_INT(account));

    while (db_row(ledger->db, st))
        n = (uint64_t)db_column_int(st, 0);
    return n;
}

void ledger_prune(struct ledger *ledger, int64_t before)
{
    db_run(ledger->db, "DELETE FROM message WHERE state IN (4, 5) AND changed < ?1",
           DB_INT(before));
}

/* --- settings ----------------------------------------------------------------------------- */

int64_t ledger_number(struct ledger *ledger, const char *name, int64_t otherwise)
{
    int64_t value = otherwise;
    sqlite3_stmt *st =
        db_query(ledger->db, "SELECT value FROM setting WHERE name = ?1", DB_TEXT(name));

    while (db_row(ledger->db, st))
        value = db_column_int(st, 0);
    return value;
}

void ledger_set_number(struct ledger *ledger, const char *name, int64_t value)
{
    db_run(ledger->db,
           "INSERT INTO setting VALUES (?1, ?2) ON CONFLICT (name) DO UPDATE SET value = ?2",
           DB_TEXT(name), DB_INT(value));
}
