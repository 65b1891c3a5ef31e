/* hygiene.db: what may be told of a message, pruning, and the step from its first schema. */
#include "tests/unit/hygiene/fixture.h"

static void hold(struct fixture *f, const char *id, int64_t at)
{
    struct badmail b = {.at = at};
    (void)snprintf(b.id, sizeof b.id, "%s", id);
    ledger_hold(f->d.db, &b);
}

static int count(struct db *db, const char *sql)
{
    sqlite3_stmt *st = db_query(db, sql);
    int n = db_row(db, st) ? (int)db_column_int(st, 0) : -1;
    db_done(st);
    return n;
}

static void outcome_follows_the_file(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ledger_badmail_outcome(f->d.db, "A"), BADMAIL_UNKNOWN);
    hold(f, "A", 1);
    assert_int_equal(ledger_badmail_outcome(f->d.db, "A"), BADMAIL_PENDING);
    ledger_badmail_entered(f->d.db, "A");
    assert_int_equal(ledger_badmail_outcome(f->d.db, "A"), BADMAIL_CERTAIN);
    hold(f, "B", 1);
    ledger_badmail_set(f->d.db, "B", BADMAIL_DELETED, NULL);
    assert_int_equal(ledger_badmail_outcome(f->d.db, "B"), BADMAIL_CERTAIN);
    ledger_badmail_forget(f->d.db, "B");
    assert_int_equal(ledger_badmail_outcome(f->d.db, "B"), BADMAIL_UNKNOWN);
}

static void pruning_leaves_what_is_held(void **state)
{
    struct fixture *f = *state;
    struct db *db = f->d.db;
    int64_t now = clock_now();
    char id[16];
    db_begin(db);
    for (int i = 0; i < 1500; i++) {
        (void)snprintf(id, sizeof id, "P%d", i);
        ledger_passed(db, id);
        ledger_drop_claim(db, id, "x.eml", false);
        ledger_drop_set(db, id, DROP_TAKEN);
        hold(f, id, now);
        ledger_badmail_set(db, id, i == 0 ? BADMAIL_HELD : BADMAIL_DELETED, NULL);
    }
    db_commit(db);
    assert_int_equal(ledger_prune(db, now - 1000), 0);
    int first = ledger_prune(db, now + 60000), gone = first;
    assert_true(first > 0 && first < 4499); /* bounded */
    for (int n; (n = ledger_prune(db, now + 60000)) > 0;)
        gone += n;
    assert_int_equal(gone, 4499);
    assert_int_equal(count(db, "SELECT count(*) FROM badmail"), 1);
    assert_int_equal(ledger_held_count(db), 1);
}

static void the_first_schema_is_brought_up(void **state)
{
    struct fixture *f = *state;
    struct error err;
    const char *const first[] = {ledger_migrations[0], NULL};
    struct db *db = db_open(f->scratch->dir, "old", first, &err);
    assert_non_null(db);
    db_run(db,
           "INSERT INTO badmail (id, account, sender, recipients, subject, size, at, decided_by,"
           " reason, state, changed_at) VALUES ('A', '', '', '[]', '', 1, 1, 'relay', '', 0, 1)");
    db_run(db, "INSERT INTO pickup (id, name, state, at) VALUES ('A', 'x.eml', 1, 1)");
    db_close(db);
    db = db_open(f->scratch->dir, "old", ledger_migrations, &err);
    assert_non_null(db);
    struct badmail b;
    assert_true(ledger_badmail(db, "A", &b));
    assert_false(b.entered);
    ledger_badmail_free(&b);
    assert_false(ledger_drop_is_replay(db, "A"));
    db_close(db);
}

/* Up to the schema before the last: what is held, and a replay under way, stay what they were. */
static void the_schema_before_is_brought_up(void **state)
{
    struct fixture *f = *state;
    struct error err;
    struct badmail b;
    struct envelope_list to = {.count = 0};
    const char *const before[] = {ledger_migrations[0], ledger_migrations[1], ledger_migrations[2],
                                  NULL};
    struct db *db = db_open(f->scratch->dir, "old", before, &err);
    assert_non_null(db);
    db_run(db,
           "INSERT INTO badmail (id, account, sender, recipients, subject, size, at, decided_by,"
           " reason, state, changed_at, entered, report)"
           " VALUES ('A', 'sales', 'a@x.example', '[\"b@corp.example\"]', 'hello', 7, 1000,"
           " 'rspamd', 'spam', 0, 1000, 1, '[{\"filter\": \"rspamd\"}]')");
    db_run(db,
           "INSERT INTO badmail (id, account, sender, recipients, subject, size, at, decided_by,"
           " reason, state, changed_at) VALUES ('B', '', '', '[]', '', 1, 1, 'relay', '', 2, 1)");
    db_run(db, "INSERT INTO pickup (id, name, state, at, replay) VALUES ('C', 'A.eml', 1, 1, 1)");
    db_close(db);
    db = db_open(f->scratch->dir, "old", ledger_migrations, &err);
    assert_non_null(db);
    assert_true(ledger_badmail(db, "A", &b));
    assert_true(b.entered);
    assert_string_equal(b.subject, "hello");
    assert_string_equal(b.recipients.items[0], "b@corp.example");
    assert_non_null(strstr(b.report, "rspamd"));
    ledger_badmail_free(&b);
    assert_int_equal(ledger_held_between(db, 1000, 1001), 1);
    assert_int_equal(ledger_held_between(db, 0, 1000), 0);
    assert_true(ledger_drop_is_replay(db, "C"));
    assert_false(ledger_drop_recipients(db, "C", &to)); /* to whom it was for */
    assert_true(envelope_list_add(&to, "new@other.example"));
    ledger_drop_redirect(db, "C", &to);
    envelope_list_free(&to);
    assert_true(ledger_drop_recipients(db, "C", &to));
    assert_int_equal(to.count, 1);
    envelope_list_free(&to);
    db_close(db);
}

/* --- work --- */

/* The statement whose text begins like this, among those that were prepared. */
static sqlite3_stmt *statement(struct db *db, const char *with)
{
    sqlite3_stmt *any = db_query(db, "SELECT 1"), *st = NULL;
    sqlite3 *handle = sqlite3_db_handle(any);
    db_done(any);
    while ((st = sqlite3_next_stmt(handle, st)) != NULL)
        if (strstr(sqlite3_sql(st), with) != NULL)
            return st;
    fail_msg("no statement with %s", with);
    return NULL;
}

/* How many steps SQLite's machine took for it since the last time. */
static int work(struct db *db, const char *with)
{
    return sqlite3_stmt_status(statement(db, with), SQLITE_STMTSTATUS_VM_STEP, 1);
}

static bool count_rows(void *arg, const struct badmail *b)
{
    (void)b;
    ++*(int *)arg;
    return true;
}

static void fill(struct fixture *f, int from, int to)
{
    char id[16];
    db_begin(f->d.db);
    for (int i = from; i < to; i++) {
        (void)snprintf(id, sizeof id, "P%06d", i);
        hold(f, id, i);
        ledger_badmail_entered(f->d.db, id);
    }
    db_commit(f->d.db);
}

/* The few among the many: what is held may be a million. */
static void other_states_cost_what_they_are(void **state)
{
    struct fixture *f = *state;
    int seen = 0;
    fill(f, 0, 3000);
    ledger_badmail_set(f->d.db, "P000007", BADMAIL_EXPIRED, NULL);
    ledger_badmail_set(f->d.db, "P002999", BADMAIL_EXPIRED, NULL);
    ledger_badmail_set(f->d.db, "P001000", BADMAIL_DELETED, NULL);
    ledger_each_in_state(f->d.db, BADMAIL_EXPIRED, "", count_rows, &seen);
    assert_int_equal(seen, 2);
    assert_true(work(f->d.db, "state > 0 AND id >") < 300);
    ledger_each_in_state(f->d.db, BADMAIL_EXPIRED, "P000007", count_rows, &seen);
    assert_int_equal(seen, 3);
}

static void the_oldest_are_found_first(void **state)
{
    struct fixture *f = *state;
    int seen = 0;
    fill(f, 0, 3000);
    ledger_each_held_between(f->d.db, 0, 2500, 5, count_rows, &seen);
    assert_int_equal(seen, 5);
    assert_true(work(f->d.db, "ORDER BY at, id LIMIT") < 500);
    assert_int_equal(ledger_held_between(f->d.db, 100, 2500), 2400);
    assert_int_equal(ledger_held_between(f->d.db, 2999, 5000), 1);
}

/* Rows carry reports, so that to read each would be to read all of the file. */
static void counting_reads_no_rows(void **state)
{
    struct fixture *f = *state;
    char plan[400] = "";
    (void)ledger_held_between(f->d.db, 0, 1);
    sqlite3_stmt *counting = statement(f->d.db, "count(*) FROM badmail WHERE state = 0 AND"), *st;
    (void)snprintf(plan, sizeof plan, "EXPLAIN QUERY PLAN %s", sqlite3_sql(counting));
    assert_int_equal(sqlite3_prepare_v2(sqlite3_db_handle(counting), plan, -1, &st, NULL),
                     SQLITE_OK);
    assert_int_equal(sqlite3_step(st), SQLITE_ROW);
    assert_non_null(strstr((const char *)sqlite3_column_text(st, 3), "COVERING INDEX"));
    (void)sqlite3_finalize(st);
}

static bool last_due(void *arg, const char *id)
{
    (void)snprintf(arg, ID_SIZE, "%s", id);
    return false;
}

/* A clock that was ahead and came back leaves plans for days that are far off. */
static void absurd_plans_are_due(void **state)
{
    struct fixture *f = *state;
    const int64_t now = INT64_C(1795000000) * CLOCK_SECOND;
    struct waiting w = {.next_at = now + 30 * CLOCK_DAY};
    char id[ID_SIZE] = "";
    ledger_wait(f->d.db, "absurd", &w);
    w.next_at = now + CLOCK_HOUR + CLOCK_MINUTE * 15; /* the longest that there is */
    ledger_wait(f->d.db, "planned", &w);
    ledger_each_waiting(f->d.db, now, last_due, id);
    assert_string_equal(id, "absurd");
    ledger_wait_over(f->d.db, "absurd");
    id[0] = '\0';
    ledger_each_waiting(f->d.db, now, last_due, id);
    assert_string_equal(id, "");
}

static bool note_id(void *arg, const char *id)
{
    (void)strcat(arg, id);
    return true;
}

static bool note_row(void *arg, const char *id, const struct waiting *w)
{
    assert_string_equal(w->filter, "clamd");
    (void)strcat(arg, id);
    return strcmp(id, "C") != 0;
}

/* Who was asked about least comes first, and no more is sorted for it than is taken. */
static void those_that_wait_take_turns(void **state)
{
    struct fixture *f = *state;
    const int64_t now = INT64_C(1795000000) * CLOCK_SECOND;
    static const struct {
        const char *id;
        unsigned attempts;
        int64_t due;
    } rows[] = {{"A", 2, -9000}, {"B", 0, -1}, {"C", 1, -5000}, {"D", 0, -2}, {"E", 0, 1}};
    char ids[40] = "";
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct waiting w = {
            .attempts = rows[i].attempts, .next_at = now + rows[i].due, .filter = "clamd"};
        ledger_wait(f->d.db, rows[i].id, &w);
    }
    ledger_each_waiting(f->d.db, now, note_id, ids);
    assert_string_equal(ids, "DBCA");
    assert_int_equal(
        sqlite3_stmt_status(statement(f->d.db, "next_at <= ?1"), SQLITE_STMTSTATUS_SORT, 1), 0);
    ids[0] = '\0';
    ledger_each_waiting_behind(f->d.db, "A", note_row, ids);
    assert_string_equal(ids, "BC");
    ids[0] = '\0';
    ledger_each_waiting_behind(f->d.db, "C", note_row, ids);
    assert_string_equal(ids, "DE");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(outcome_follows_the_file),
        fixture_test(pruning_leaves_what_is_held),
        fixture_test(the_first_schema_is_brought_up),
        fixture_test(the_schema_before_is_brought_up),
        fixture_test(other_states_cost_what_they_are),
        fixture_test(the_oldest_are_found_first),
        fixture_test(counting_reads_no_rows),
        fixture_test(absurd_plans_are_due),
        fixture_test(those_that_wait_take_turns),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
