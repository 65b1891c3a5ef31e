/* The ledger's disk is full, and has room again: nothing is sent in between, and nothing counts as
 * a failure. */
#include "tests/unit/relayd/relay_world.h"

#include <sys/statvfs.h>

enum { SOME = 20, MANY = 2000 };
#define ROOM_MIN (INT64_C(4) << 20)
#define PLENTY   (INT64_C(1) << 30)

static int64_t free_bytes;
static unsigned looks;

/* In the C library's place. */
int fstatvfs(int fd, struct statvfs *st)
{
    (void)fd;
    looks++;
    *st = (struct statvfs){.f_frsize = 1024, .f_bavail = (fsblkcnt_t)free_bytes / 1024};
    return 0;
}

static void put_bells(int count)
{
    for (int i = 0; i < count; i++)
        put_bell(i);
}

static void assert_all_wait(int count)
{
    assert_int_equal(sim.taken, 0);
    assert_int_equal(sim.connects, 0);
    assert_int_equal(queue_ready(relay->queue), count);
    assert_int_equal(ledger_count(place.db, LEDGER_DEFERRED), 0);
    assert_int_equal(route_circuit(&relay->route), ROUTE_CLOSED);
    assert_non_null(room_problem(&relay->room));
}

static void test_nothing_is_sent_without_room(void **state)
{
    (void)state;
    free_bytes = ROOM_MIN - 1024;
    relay_start(relay);
    put_bells(SOME);
    run_until(sim.now + CLOCK_HOUR, SIZE_MAX);
    assert_all_wait(SOME);
    free_bytes = ROOM_MIN; /* not well clear of it */
    run_until(sim.now + CLOCK_MINUTE, SIZE_MAX);
    assert_all_wait(SOME);
    free_bytes = PLENTY;
    run_until(sim.now + 5 * CLOCK_SECOND, SIZE_MAX);
    assert_int_equal(sim.taken, SOME);
    assert_null(room_problem(&relay->room));
}

/* What is under way is seen through; connections stay, and are used when there is room. */
static void test_room_that_runs_out(void **state)
{
    (void)state;
    free_bytes = ROOM_MIN;
    relay_start(relay);
    put_bells(MANY);
    run_until(sim.now + CLOCK_MINUTE, SOME);
    free_bytes = 0;
    run_until(sim.now + CLOCK_SECOND + 20 * SIM_LATENCY,
              SIZE_MAX); /* a second old is not too old */
    size_t taken = sim.taken;
    assert_in_range(taken, SOME, MANY - 1);
    run_until(sim.now + CLOCK_HOUR, SIZE_MAX);
    assert_int_equal(sim.taken, taken);
    assert_int_equal(ledger_count(place.db, LEDGER_DELIVERED), taken);
    assert_int_equal(ledger_count(place.db, LEDGER_DEFERRED), 0);
    free_bytes = PLENTY;
    run_until(sim.now + CLOCK_MINUTE, MANY);
    run_until(sim.now + CLOCK_SECOND, SIZE_MAX);
    for (int i = 0; i < MANY; i++)
        assert_int_equal(sim.copies[i], 1);
}

static void test_the_disk_is_not_asked_all_the_time(void **state)
{
    (void)state;
    free_bytes = PLENTY;
    relay_start(relay);
    int64_t began = sim.now;
    looks = 0;
    put_bells(MANY);
    run_until(sim.now + CLOCK_MINUTE, MANY);
    assert_int_equal(sim.taken, MANY);
    assert_in_range(looks, 1, (unsigned)((sim.now - began) / CLOCK_SECOND) + 1);
}

/* The room that was proven stays with the ledger: what was written is no part of it any more. */
static void test_proof(void **state)
{
    (void)state;
    ledger_prove_room(place.db, SESSIONS);
    assert_int_equal(ledger_fact(place.db, "room", -1), -1);
    sqlite3_stmt *st = db_query(place.db, "PRAGMA freelist_count");
    assert_true(db_row(place.db, st));
    assert_true(db_column_int(st, 0) >= SESSIONS * 3);
    db_done(st);
    ledger_put_fact(place.db, "size-limit", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, relay_world_open, relay_world_close)
        IN_WORLD(test_nothing_is_sent_without_room),
        IN_WORLD(test_room_that_runs_out),
        IN_WORLD(test_the_disk_is_not_asked_all_the_time),
        IN_WORLD(test_proof),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
