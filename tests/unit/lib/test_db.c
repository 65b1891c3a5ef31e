/* The ledger: one owner, schema steps, statements, and the end of the process when it is damaged.
 */
#include "lib/db.h"
#include "lib/log.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"

static const char *const steps[] = {
    "CREATE TABLE t (k TEXT PRIMARY KEY, n INTEGER, b BLOB)",
    "ALTER TABLE t ADD COLUMN more TEXT DEFAULT 'new'; CREATE INDEX by_n ON t (n)",
    "CREATE TABLE second (x)",
    NULL,
};

static struct db *open_good(void **state, const char *const migrations[])
{
    struct error err = {0};
    struct db *db = db_open(((struct scratch *)*state)->dir, "unit", migrations, &err);
    if (db == NULL)
        fail_msg("%s", err.text);
    return db;
}

static int64_t one_int(struct db *db, const char *sql)
{
    sqlite3_stmt *st = db_query(db, sql);
    assert_true(db_row(db, st));
    int64_t n = db_column_int(st, 0);
    db_done(st);
    return n;
}

static char *one_text(struct db *db, const char *sql)
{
    sqlite3_stmt *st = db_query(db, sql);
    assert_true(db_row(db, st));
    char *text = strdup(db_column_text(st, 0));
    db_done(st);
    return text;
}

static void assert_text(struct db *db, const char *sql, const char *want)
{
    char *text = one_text(db, sql);
    assert_string_equal(text, want);
    free(text);
}

/* Runs fn in a child with standard error in the scratch file; returns its exit code. */
static int in_child(void **state, void (*fn)(void **))
{
    pid_t pid = fork();
    if (pid == 0) {
        scratch_catch(*state);
        fn(state);
        _exit(0);
    }
    return exit_code(pid);
}

/* --- opening --- */

static void test_pragmas(void **state)
{
    struct db *db = open_good(state, steps);
    assert_text(db, "PRAGMA journal_mode", "wal");
    assert_text(db, "PRAGMA locking_mode", "exclusive");
    assert_int_equal(one_int(db, "PRAGMA synchronous"), 2); /* FULL */
    assert_int_equal(one_int(db, "PRAGMA foreign_keys"), 1);
    assert_int_equal(one_int(db, "PRAGMA trusted_schema"), 0);
    assert_int_equal(one_int(db, "PRAGMA user_version"), 3);
    db_close(db);
}

static void test_files_are_private(void **state)
{
    mode_t before = umask(0);
    struct db *db = open_good(state, steps);
    assert_int_equal(umask(before), 0); /* put back as it was */
    db_run(db, "INSERT INTO t (k) VALUES (?1)", DB_TEXT("a"));
    static const char *const names[] = {"unit.db", "unit.db-wal", "unit.lock"};
    for (size_t i = 0; i < COUNT(names); i++) {
        struct stat st;
        assert_int_equal(stat(scratch_path(*state, names[i]), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0600);
    }
    struct stat st;
    assert_int_equal(stat(scratch_path(*state, "unit.db-shm"), &st), -1);
    db_close(db);
}

static void try_to_open(void **state)
{
    struct error err = {0};
    struct db *db = db_open(((struct scratch *)*state)->dir, "unit", steps, &err);
    if (db != NULL)
        _exit(10);
    if (err.kind != ERROR_TEMPORARY || strstr(err.text, "unit is running already") == NULL ||
        strstr(err.text, "/unit.lock") == NULL)
        _exit(11);
}

static void test_second_process_is_refused(void **state)
{
    struct db *db = open_good(state, steps);
    assert_int_equal(in_child(state, try_to_open), 0);
    db_run(db, "INSERT INTO t (k) VALUES (?1)", DB_TEXT("a")); /* nothing was taken from us */
    db_close(db);
    assert_int_equal(in_child(state, try_to_open), 10);
}

/* Nor may the same process open it twice. */
static void test_second_time_is_refused(void **state)
{
    struct db *db = open_good(state, steps);
    struct error err;
    assert_null(db_open(((struct scratch *)*state)->dir, "unit", steps, &err));
    assert_int_equal(err.kind, ERROR_TEMPORARY);
    db_close(db);
}

static void hold_for_a_moment(void **state)
{
    struct db *db = open_good(state, steps);
    (void)scratch_write(*state, "held", "x", 1, 0600);
    (void)usleep(300000);
    db_close(db);
}

/* One that only answers a request in between (option -1) is waited for. */
static void test_a_short_hold_is_waited_for(void **state)
{
    pid_t pid = fork();
    if (pid == 0) {
        hold_for_a_moment(state);
        _exit(0);
    }
    for (int i = 0; i < 500 && access(scratch_path(*state, "held"), F_OK) < 0; i++)
        (void)usleep(10000);
    db_close(open_good(state, steps));
    assert_int_equal(exit_code(pid), 0);
}

static void hold_and_die(void **state)
{
    struct db *db = open_good(state, steps);
    db_run(db, "INSERT INTO t (k) VALUES (?1)", DB_TEXT("committed"));
    db_begin(db);
    db_run(db, "INSERT INTO t (k) VALUES (?1)", DB_TEXT("open"));
    (void)kill(getpid(), SIGKILL);
}

static void test_after_sigkill(void **state)
{
    assert_int_equal(in_child(state, hold_and_die), -1);
    struct db *db = open_good(state, steps); /* the lock went with the process */
    assert_int_equal(one_int(db, "SELECT count(*) FROM t"), 1);
    assert_text(db, "SELECT k FROM t", "committed");
    db_close(db);
}

static void test_two_names_side_by_side(void **state)
{
    struct error err;
    const char *dir = ((struct scratch *)*state)->dir;
    struct db *a = db_open(dir, "a", steps, &err), *b = db_open(dir, "b", steps, &err);
    assert_non_null(a);
    assert_non_null(b);
    db_close(a);
    db_close(b);
    db_close(NULL);
}

static void test_no_state_dir(void **state)
{
    struct error err = {0};
    assert_null(db_open(scratch_path(*state, "none"), "unit", steps, &err));
    assert_int_equal(err.kind, ERROR_MISSING);
    assert_non_null(strstr(err.text, "none/unit.lock"));
}

/* A state directory behind a link is an administrator's right; a link in place of the ledger is
 * not. */
static void test_links(void **state)
{
    struct scratch *s = *state;
    struct error err = {0};
    assert_int_equal(mkdir(scratch_path(s, "real"), 0700), 0);
    assert_int_equal(symlink(scratch_path(s, "real"), scratch_path(s, "link")), 0);
    struct db *db = db_open(scratch_path(s, "link"), "unit", steps, &err);
    if (db == NULL)
        fail_msg("%s", err.text);
    db_close(db);
    assert_int_equal(access(scratch_path(s, "real/unit.db"), F_OK), 0);
    assert_int_equal(symlink("/etc/passwd", scratch_path(s, "unit.db")), 0);
    assert_null(db_open(s->dir, "unit", steps, &err));
    assert_int_equal(err.kind, ERROR_PERMANENT);
    assert_int_equal(symlink("/etc/passwd", scratch_path(s, "other.lock")), 0);
    assert_null(db_open(s->dir, "other", steps, &err));
}

/* --- migrations --- */

static void test_step_by_step(void **state)
{
    const char *so_far[4] = {NULL};
    for (size_t n = 0; n <= 3; n++) {
        if (n > 0)
            so_far[n - 1] = steps[n - 1];
        struct db *db = open_good(state, so_far);
        assert_int_equal(one_int(db, "PRAGMA user_version"), n);
        if (n == 1)
            db_run(db, "INSERT INTO t (k, n) VALUES (?1, ?2)", DB_TEXT("kept"), DB_INT(5));
        if (n >= 2)
            assert_text(db, "SELECT k || n || more FROM t", "kept5new");
        db_close(db);
    }
    struct db *db = open_good(state, steps); /* nothing is left to do */
    assert_text(db, "SELECT k || n || more FROM t", "kept5new");
    db_close(db);
}

static void test_all_at_once(void **state)
{
    struct db *db = open_good(state, steps);
    db_run(db, "INSERT INTO t (k, n) VALUES (?1, ?2)", DB_TEXT("a"), DB_INT(1));
    db_run(db, "INSERT INTO second VALUES (?1)", DB_NULL);
    assert_text(db, "SELECT more FROM t", "new");
    db_close(db);
}

static void test_newer_schema_is_refused(void **state)
{
    db_close(open_good(state, steps));
    size_t len, len_after;
    char *before = scratch_read(*state, "unit.db", &len);
    const char *const older[] = {steps[0], steps[1], NULL};
    struct error err = {0};
    assert_null(db_open(((struct scratch *)*state)->dir, "unit", older, &err));
    assert_int_equal(err.kind, ERROR_PERMANENT);
    assert_non_null(strstr(err.text, "newer popferry (schema 3, this one knows 2)"));
    char *after = scratch_read(*state, "unit.db", &len_after);
    assert_int_equal(len, len_after);
    assert_memory_equal(before, after, len);
    free(before);
    free(after);
    db_close(open_good(state, steps)); /* and no lock was left */
}

static void test_failed_step_changes_nothing(void **state)
{
    const char *const broken[] = {steps[0], "CREATE TABLE half (x); CREATE TABLE t (y)", NULL};
    struct error err = {0};
    assert_null(db_open(((struct scratch *)*state)->dir, "unit", broken, &err));
    assert_int_equal(err.kind, ERROR_PERMANENT);
    assert_non_null(strstr(err.text, "table t already exists"));
    struct db *db = open_good(state, steps); /* from step 1 on */
    assert_int_equal(one_int(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'half'"), 0);
    db_close(db);
}

/* --- statements --- */

static void test_values(void **state)
{
    static const char bytes[] = "\0a\0\xff\0";
    struct db *db = open_good(state, steps);
    size_t len;
    assert_int_equal(db_run(db, "INSERT INTO t (k, n, b) VALUES (?1, ?2, ?3)", DB_TEXT("blob"),
                            DB_INT(INT64_MIN), DB_BLOB(bytes, sizeof bytes)),
                     1);
    assert_int_equal(db_run(db, "INSERT INTO t (k, n, b) VALUES (?1, ?2, ?3)", DB_TEXT("none"),
                            DB_NULL, DB_BLOB(NULL, 0)),
                     1);
    assert_int_equal(db_run(db, "INSERT INTO t (k, n, b) VALUES (?1, ?2, ?3)", DB_TEXT("null"),
                            DB_INT(INT64_MAX), DB_TEXT(NULL)),
                     1);
    const char *sql = "SELECT n, b, typeof(n), typeof(b) FROM t WHERE k = ?1";
    sqlite3_stmt *st = db_query(db, sql, DB_TEXT("blob"));
    assert_true(db_row(db, st));
    assert_true(db_column_int(st, 0) == INT64_MIN);
    const void *blob = db_column_blob(st, 1, &len);
    assert_int_equal(len, sizeof bytes);
    assert_memory_equal(blob, bytes, len);
    assert_false(db_row(db, st));

    st = db_query(db, sql, DB_TEXT("none"));
    assert_true(db_row(db, st));
    assert_int_equal(db_column_int(st, 0), 0);
    assert_string_equal(db_column_text(st, 0), "");
    assert_string_equal(db_column_text(st, 2), "null");
    assert_non_null(db_column_blob(st, 1, &len));
    assert_int_equal(len, 0);
    assert_string_equal(db_column_text(st, 3), "blob"); /* empty, yet not NULL */
    assert_false(db_row(db, st));

    st = db_query(db, sql, DB_TEXT("null"));
    assert_true(db_row(db, st));
    assert_true(db_column_int(st, 0) == INT64_MAX);
    assert_string_equal(db_column_text(st, 3), "null");
    assert_non_null(db_column_blob(st, 1, &len));
    assert_int_equal(len, 0);
    assert_false(db_row(db, st));

    st = db_query(db, sql, DB_TEXT("nobody"));
    assert_false(db_row(db, st));
    db_close(db);
}

static void test_values_come_back_after_reopening(void **state)
{
    unsigned long long seed = 7;
    unsigned char bytes[3000];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (unsigned char)dice(&seed);
    struct db *db = open_good(state, steps);
    for (int i = 0; i < 50; i++)
        db_run(db, "INSERT INTO t (k, n, b) VALUES (?1, ?2, ?3)", DB_NULL, DB_INT(i),
               DB_BLOB(bytes, (size_t)i * 60));
    db_close(db);
    db = open_good(state, steps);
    int n = 0;
    sqlite3_stmt *st = db_query(db, "SELECT n, b FROM t ORDER BY n");
    for (; db_row(db, st); n++) {
        size_t len;
        const void *blob = db_column_blob(st, 1, &len);
        assert_int_equal(db_column_int(st, 0), n);
        assert_int_equal(len, (size_t)n * 60);
        assert_memory_equal(blob, bytes, len);
    }
    assert_int_equal(n, 50);
    db_close(db);
}

static void test_rows_changed(void **state)
{
    struct db *db = open_good(state, steps);
    for (int i = 0; i < 5; i++)
        db_run(db, "INSERT INTO t (n) VALUES (?1)", DB_INT(i));
    assert_int_equal(db_run(db, "UPDATE t SET n = n + 10 WHERE n >= ?1", DB_INT(3)), 2);
    assert_int_equal(db_run(db, "UPDATE t SET n = 0 WHERE n > ?1", DB_INT(100)), 0);
    assert_int_equal(db_run(db, "DELETE FROM t"), 5);
    assert_int_equal(db_run(db, "DELETE FROM t"), 0);
    db_close(db);
}

/* A loop left early, the same statement again, bindings not carried over. */
static void test_statement_is_used_again(void **state)
{
    struct db *db = open_good(state, steps);
    for (int i = 0; i < 5; i++)
        db_run(db, "INSERT INTO t (n, more) VALUES (?1, ?2)", DB_INT(i), DB_TEXT("x"));
    const char *sql = "SELECT n FROM t WHERE n >= ?1 ORDER BY n";
    sqlite3_stmt *first = db_query(db, sql, DB_INT(2));
    assert_true(db_row(db, first));
    assert_int_equal(db_column_int(first, 0), 2);
    sqlite3_stmt *second = db_query(db, sql, DB_INT(4));
    assert_ptr_equal(first, second);
    assert_true(db_row(db, second));
    assert_int_equal(db_column_int(second, 0), 4);
    db_done(second);
    db_run(db, "UPDATE t SET n = n"); /* no reader is left that would be in the way */
    second = db_query(db, "SELECT ?1 IS NULL");
    assert_true(db_row(db, second));
    assert_int_equal(db_column_int(second, 0), 1);
    db_done(second);
    const char *keep = "SELECT ?1";
    second = db_query(db, keep, DB_TEXT("bound"));
    assert_true(db_row(db, second));
    db_done(second);
    second = db_query(db, keep);
    assert_true(db_row(db, second));
    assert_int_equal(sqlite3_column_type(second, 0), SQLITE_NULL);
    db_done(second);
    db_close(db);
}

static void test_transactions(void **state)
{
    struct db *db = open_good(state, steps);
    db_begin(db);
    db_run(db, "INSERT INTO t (n) VALUES (1)");
    db_rollback(db);
    assert_int_equal(one_int(db, "SELECT count(*) FROM t"), 0);
    db_begin(db);
    db_run(db, "INSERT INTO t (n) VALUES (1)");
    db_commit(db);
    assert_int_equal(one_int(db, "SELECT count(*) FROM t"), 1);
    db_begin(db);
    db_run(db, "INSERT INTO t (n) VALUES (2)");
    db_close(db); /* not committed: gone */
    db = open_good(state, steps);
    assert_int_equal(one_int(db, "SELECT count(*) FROM t"), 1);
    db_close(db);
}

/* --- damage --- */

static void assert_ledger_failed(void **state, void (*fn)(void **), const char *sql)
{
    assert_int_equal(in_child(state, fn), 75);
    char *log = scratch_read(*state, "stderr", NULL);
    assert_non_null(strstr(log, "alarm ledger-failed file="));
    assert_non_null(strstr(log, "/unit.db"));
    assert_non_null(strstr(log, "advice="));
    if (sql != NULL)
        assert_non_null(strstr(log, sql));
    free(log);
}

static void bad_sql(void **state)
{
    struct db *db = open_good(state, steps);
    db_run(db, "SELECT nonsense FROM nowhere");
}

static void double_key(void **state)
{
    struct db *db = open_good(state, steps);
    db_run(db, "INSERT INTO t (k) VALUES (?1)", DB_TEXT("a"));
    db_run(db, "INSERT INTO t (k) VALUES (?1)", DB_TEXT("a"));
}

static void too_many_values(void **state)
{
    struct db *db = open_good(state, steps);
    db_run(db, "INSERT INTO t (k) VALUES (?1)", DB_TEXT("a"), DB_TEXT("b"));
}

static void begin_twice(void **state)
{
    struct db *db = open_good(state, steps);
    db_begin(db);
    db_begin(db);
}

static void test_sql_errors_end_the_process(void **state)
{
    assert_ledger_failed(state, bad_sql, "SELECT nonsense FROM nowhere");
    assert_ledger_failed(state, double_key, "UNIQUE constraint failed");
    assert_ledger_failed(state, too_many_values, "out of range");
    assert_ledger_failed(state, begin_twice, "within a transaction");
}

static void read_all_rows(void **state)
{
    struct error err;
    struct db *db = db_open(((struct scratch *)*state)->dir, "unit", steps, &err);
    if (db == NULL)
        _exit(20);
    sqlite3_stmt *st = db_query(db, "SELECT k, n, b FROM t");
    while (db_row(db, st))
        ;
}

static void fill_many(void **state)
{
    struct db *db = open_good(state, steps);
    db_begin(db);
    for (int i = 0; i < 2000; i++)
        db_run(db, "INSERT INTO t (n, b) VALUES (?1, zeroblob(100))", DB_INT(i));
    db_commit(db);
    db_close(db);
}

static void test_damaged_pages(void **state)
{
    fill_many(state);
    size_t len, after_len;
    char *bytes = scratch_read(*state, "unit.db", &len);
    assert_true(len > 20 * 4096);
    memset(bytes + 4096 * 6, 0xA5, 4096 * 10);
    scratch_write(*state, "unit.db", bytes, len, 0600);
    assert_ledger_failed(state, read_all_rows, "malformed");
    char *after = scratch_read(*state, "unit.db", &after_len); /* kept as evidence */
    assert_int_equal(after_len, len);
    assert_memory_equal(after, bytes, len);
    free(after);
    free(bytes);
}

static void test_truncated_file(void **state)
{
    fill_many(state);
    assert_int_equal(truncate(scratch_path(*state, "unit.db"), 4096 * 8), 0);
    int code = in_child(state, read_all_rows);
    assert_true(code == 20 || code == 75); /* not opened, or given up */
    struct stat st;
    assert_int_equal(stat(scratch_path(*state, "unit.db"), &st), 0);
    assert_int_equal(st.st_size, 4096 * 8);
}

static void test_no_ledger_at_all(void **state)
{
    char junk[8192];
    memset(junk, 'j', sizeof junk);
    scratch_write(*state, "unit.db", junk, sizeof junk, 0600);
    struct error err = {0};
    assert_null(db_open(((struct scratch *)*state)->dir, "unit", steps, &err));
    assert_int_equal(err.kind, ERROR_DAMAGED);
    assert_non_null(strstr(err.text, "not a database"));
    assert_non_null(strstr(err.text, "from a backup"));
    size_t len;
    char *after = scratch_read(*state, "unit.db", &len);
    assert_int_equal(len, sizeof junk);
    assert_memory_equal(after, junk, len);
    free(after);
}

static void fill_the_disk(void **state)
{
    struct db *db = open_good(state, steps);
    db_run(db, "INSERT INTO t (k) VALUES ('before')");
    db_run(db, "PRAGMA max_page_count = 20"); /* SQLITE_FULL, as ENOSPC would give it */
    for (int i = 0; i < 1000; i++)
        db_run(db, "INSERT INTO t (b) VALUES (zeroblob(4000))");
}

static void test_full(void **state)
{
    assert_ledger_failed(state, fill_the_disk, "full");
    struct db *db = open_good(state, steps);
    assert_int_equal(one_int(db, "SELECT count(*) FROM t WHERE k = 'before'"), 1);
    db_close(db);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(test_pragmas),
        scratch_test(test_files_are_private),
        scratch_test(test_second_process_is_refused),
        scratch_test(test_second_time_is_refused),
        scratch_test(test_a_short_hold_is_waited_for),
        scratch_test(test_after_sigkill),
        scratch_test(test_two_names_side_by_side),
        scratch_test(test_no_state_dir),
        scratch_test(test_links),
        scratch_test(test_step_by_step),
        scratch_test(test_all_at_once),
        scratch_test(test_newer_schema_is_refused),
        scratch_test(test_failed_step_changes_nothing),
        scratch_test(test_values),
        scratch_test(test_values_come_back_after_reopening),
        scratch_test(test_rows_changed),
        scratch_test(test_statement_is_used_again),
        scratch_test(test_transactions),
        scratch_test(test_sql_errors_end_the_process),
        scratch_test(test_damaged_pages),
        scratch_test(test_truncated_file),
        scratch_test(test_no_ledger_at_all),
        scratch_test(test_full),
    };
    return cmocka_run_group_tests_name("db", tests, NULL, NULL);
}
