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

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(outcome_follows_the_file),
        fixture_test(pruning_leaves_what_is_held),
        fixture_test(the_first_schema_is_brought_up),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
