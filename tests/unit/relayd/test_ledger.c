/* relayd's ledger, in a real file. */
#include "relayd/ledger.h"
#include "tests/unit/relayd/place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/wait.h>

#include <cmocka.h>

enum { LONGEST = 10000 }; /* that a message is put off */

static struct place place;

static int setup(void **state)
{
    (void)state;
    place_open(&place);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    place_close(&place);
    return 0;
}

static const struct ledger_row sample = {
    .state = LEDGER_DEFERRED,
    .attempts = 3,
    .first_at = 1000,
    .next_attempt = 5000,
    .at = 4000,
    .code = 451,
    .size = UINT64_C(5000000000),
    .sender = "a@origin.example",
    .reason = "451 4.3.0 later",
    .waited = 77,
};

static void test_row(void **state)
{
    (void)state;
    struct ledger_row row = {.attempts = 77};
    assert_int_equal(ledger_state(place.db, "X"), LEDGER_FRESH);
    assert_false(ledger_find(place.db, "X", &row));
    assert_int_equal(row.attempts, 77); /* untouched */
    ledger_put(place.db, "X", &sample);
    assert_true(ledger_find(place.db, "X", &row));
    assert_int_equal(row.state, LEDGER_DEFERRED);
    assert_int_equal(row.attempts, 3);
    assert_int_equal(row.first_at, 1000);
    assert_int_equal(row.next_attempt, 5000);
    assert_int_equal(row.at, 4000);
    assert_int_equal(row.code, 451);
    assert_true(row.size == UINT64_C(5000000000));
    assert_string_equal(row.sender, "a@origin.example");
    assert_string_equal(row.reason, "451 4.3.0 later");
    assert_int_equal(row.waited, 77);
}

static void test_row_is_replaced(void **state)
{
    (void)state;
    struct ledger_row row = sample;
    ledger_put(place.db, "X", &row);
    row.state = LEDGER_DELIVERED;
    ledger_put(place.db, "X", &row);
    assert_int_equal(ledger_state(place.db, "X"), LEDGER_DELIVERED);
    assert_int_equal(ledger_count(place.db, LEDGER_DEFERRED), 0);
    assert_int_equal(ledger_count(place.db, LEDGER_DELIVERED), 1);
}

static bool take_two(void *arg, const char *id, int64_t since)
{
    (void)since;
    char *text = arg;
    strcat(text, id);
    return strlen(text) < 2;
}

static bool take_all(void *arg, const char *id, int64_t since)
{
    (void)since;
    strcat(arg, id);
    return true;
}

static void test_due(void **state)
{
    (void)state;
    char ids[32] = "";
    place_row(&place, "C", LEDGER_DEFERRED, 300);
    place_row(&place, "A", LEDGER_DEFERRED, 100);
    place_row(&place, "B", LEDGER_DEFERRED, 200);
    place_row(&place, "D", LEDGER_DEFERRED, 400);
    place_row(&place, "E", LEDGER_REJECTED, 1);
    ledger_each_due(place.db, true, 300, LONGEST, take_two, ids);
    assert_string_equal(ids, "AB");
    ids[0] = '\0';
    ledger_each_due(place.db, true, 300, LONGEST, take_all, ids);
    assert_string_equal(ids, "ABC");
    assert_int_equal(ledger_next_due(place.db, 300), 400);
    assert_int_equal(ledger_next_due(place.db, 400), 0);
}

struct due {
    char ids[32];
    int64_t since;
};

static bool take_time(void *arg, const char *id, int64_t since)
{
    struct due *due = arg;
    strcat(due->ids, id);
    due->since = since;
    return true;
}

/* What a clock that was ahead has planned counts as due since now, behind what is due. */
static void test_planned_by_a_clock_that_was_ahead(void **state)
{
    (void)state;
    struct due due = {.ids = ""};
    char ids[32] = "";
    place_row(&place, "F", LEDGER_DEFERRED, 300 + LONGEST + 1);
    place_row(&place, "N", LEDGER_DEFERRED, 300 + LONGEST);
    place_row(&place, "A", LEDGER_DEFERRED, 100);
    place_row(&place, "B", LEDGER_DEFERRED, 200);
    place_row(&place, "H", LEDGER_HELD, 300 + 2 * LONGEST);
    ledger_each_due(place.db, true, 300, LONGEST, take_time, &due);
    assert_string_equal(due.ids, "ABF");
    assert_int_equal(due.since, 300);
    ledger_each_due(place.db, true, 300, LONGEST, take_two,
                    ids); /* whoever has enough gets no more */
    assert_string_equal(ids, "AB");
}

static void test_retry(void **state)
{
    (void)state;
    char ids[32] = "";
    place_row(&place, "A", LEDGER_DEFERRED, 1000);
    place_row(&place, "B", LEDGER_DEFERRED, 1000);
    place_row(&place, "C", LEDGER_REJECTED, 1000);
    assert_true(ledger_retry(place.db, "B", 50));
    assert_false(ledger_retry(place.db, "C", 50));
    assert_false(ledger_retry(place.db, "nobody", 50));
    ledger_each_due(place.db, true, 50, LONGEST, take_all, ids);
    assert_string_equal(ids, "B");
    assert_int_equal(ledger_retry_all(place.db, 60), 1); /* B is due already */
}

static void test_retry_first(void **state)
{
    (void)state;
    char ids[32] = "";
    assert_false(ledger_retry_first(place.db, 50));
    place_row(&place, "A", LEDGER_DEFERRED, 2000);
    place_row(&place, "B", LEDGER_DEFERRED, 1000);
    place_row(&place, "C", LEDGER_DELIVERED, 1);
    assert_true(ledger_retry_first(place.db, 50));
    ledger_each_due(place.db, true, 50, LONGEST, take_all, ids);
    assert_string_equal(ids, "B");
}

static void test_hold(void **state)
{
    (void)state;
    struct ledger_row row = {0};
    char ids[32] = "";
    ledger_put(place.db, "A", &sample);
    assert_true(ledger_hold(place.db, "A"));
    assert_true(ledger_hold(place.db, "B")); /* fresh */
    assert_false(ledger_hold(place.db, "A"));
    place_row(&place, "C", LEDGER_REJECTED, 1000);
    assert_false(ledger_hold(place.db, "C"));
    assert_int_equal(ledger_count(place.db, LEDGER_HELD), 2);
    assert_int_equal(ledger_state(place.db, "B"), LEDGER_HELD);
    assert_false(ledger_retry(place.db, "A", 1));
    assert_int_equal(ledger_retry_all(place.db, 1), 0);
    assert_false(ledger_retry_first(place.db, 1));
    assert_int_equal(ledger_next_due(place.db, 1), 0);
    ledger_each_due(place.db, true, INT64_MAX / 2, LONGEST, take_all, ids);
    assert_string_equal(ids, "");
    assert_int_equal(ledger_prune(place.db, INT64_MAX), 1); /* C */

    assert_true(ledger_release(place.db, "A"));
    assert_true(ledger_release(place.db, "B"));
    assert_false(ledger_release(place.db, "A"));
    assert_true(ledger_find(place.db, "A", &row));
    assert_int_equal(row.state, LEDGER_DEFERRED);
    assert_int_equal(row.attempts, sample.attempts);
    assert_int_equal(row.next_attempt, sample.next_attempt);
    assert_int_equal(row.at, sample.at);
    assert_int_equal(ledger_state(place.db, "B"), LEDGER_FRESH);
}

/* A ledger of the version before: what had been waited is known from its times. */
static void test_migration(void **state)
{
    (void)state;
    struct error err;
    struct ledger_row row;
    const char *const first[] = {ledger_migrations[0], NULL};
    struct db *old = db_open(place.dir, "old", first, &err);
    assert_non_null(old);
    (void)db_run(old, "INSERT INTO message VALUES ('A', 1, 3, 1000, 9000, 5000, 451, 1, 's', 'r')");
    (void)db_run(old, "INSERT INTO message VALUES ('B', 2, 1, 1000, 0, 5000, 250, 1, 's', 'r')");
    db_close(old);
    old = db_open(place.dir, "old", ledger_migrations, &err);
    assert_non_null(old);
    assert_true(ledger_find(old, "A", &row));
    assert_int_equal(row.waited, 4000);
    assert_int_equal(ledger_state(old, "B"), LEDGER_DELIVERED);
    assert_int_equal(ledger_prune(old, 6000), 1);
    db_close(old);
}

/* Without room for it the process ends, before anything is sent. */
static void test_no_room(void **state)
{
    (void)state;
    int status = 0;
    ledger_prove_room(place.db, 10);
    ledger_prove_room(place.db, 10);
    assert_int_equal(ledger_fact(place.db, "room", -1), -1);
    pid_t pid = fork();
    if (pid == 0) {
        (void)!freopen("/dev/null", "w", stderr);
        (void)db_run(place.db, "PRAGMA max_page_count = 1"); /* as many as it has */
        ledger_prove_room(place.db, 20);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 75);
}

static void note_recipient(void *arg, const char *address, enum ledger_recipient state,
                           const char *reply)
{
    char *text = arg;
    sprintf(text + strlen(text), "%s:%d:%s ", address, (int)state, reply);
}

static void test_recipients(void **state)
{
    (void)state;
    char text[256] = "";
    ledger_put_recipient(place.db, "X", "b@x", LEDGER_SENT, "250 ok");
    ledger_put_recipient(place.db, "X", "a@x", LEDGER_SENT, "250 ok");
    ledger_put_recipient(place.db, "X", "a@x", LEDGER_REFUSED, "550 no");
    ledger_put_recipient(place.db, "Y", "c@x", LEDGER_SENT, "250 ok");
    ledger_each_recipient(place.db, "X", note_recipient, text);
    assert_string_equal(text, "a@x:2:550 no b@x:1:250 ok ");
    ledger_put(place.db, "X", &sample);
    ledger_forget(place.db, "X");
    text[0] = '\0';
    ledger_each_recipient(place.db, "X", note_recipient, text);
    assert_string_equal(text, "");
    assert_int_equal(ledger_state(place.db, "X"), LEDGER_FRESH);
}

static void test_prune(void **state)
{
    (void)state;
    struct ledger_row row = sample;
    ledger_put(place.db, "deferred", &row);
    row.state = LEDGER_DELIVERED;
    ledger_put(place.db, "old", &row);
    ledger_put_recipient(place.db, "old", "a@x", LEDGER_SENT, "250");
    row.at = 9000;
    ledger_put(place.db, "new", &row);
    assert_int_equal(ledger_prune(place.db, 9000), 1);
    assert_int_equal(ledger_prune(place.db, 9000), 0);
    assert_int_equal(ledger_state(place.db, "old"), LEDGER_FRESH);
    assert_int_equal(ledger_state(place.db, "new"), LEDGER_DELIVERED);
    assert_int_equal(ledger_state(place.db, "deferred"), LEDGER_DEFERRED);
}

static void test_facts(void **state)
{
    (void)state;
    assert_int_equal(ledger_fact(place.db, "size-limit", -1), -1);
    ledger_put_fact(place.db, "size-limit", 10485760);
    assert_int_equal(ledger_fact(place.db, "size-limit", -1), 10485760);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_row, setup, teardown),
        cmocka_unit_test_setup_teardown(test_row_is_replaced, setup, teardown),
        cmocka_unit_test_setup_teardown(test_due, setup, teardown),
        cmocka_unit_test_setup_teardown(test_planned_by_a_clock_that_was_ahead, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retry, setup, teardown),
        cmocka_unit_test_setup_teardown(test_retry_first, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(test_migration, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_room, setup, teardown),
        cmocka_unit_test_setup_teardown(test_recipients, setup, teardown),
        cmocka_unit_test_setup_teardown(test_prune, setup, teardown),
        cmocka_unit_test_setup_teardown(test_facts, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
