/* The schedule: intervals, back-off, pausing, requests by hand. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fetcherd/schedule.h"
#include "lib/clock.h"

#define NOW      INT64_C(1763800000000)
#define INTERVAL (15 * CLOCK_MINUTE)

static void assert_around(int64_t delay, int64_t wanted)
{
    assert_in_range(delay, wanted * 3 / 4, wanted * 5 / 4);
}

static void test_success(void **state)
{
    (void)state;
    struct account a = {.enabled = true, .failures = 4, .bad_passwords = 2, .error = "x"};

    schedule_after_success(&a, NOW, INTERVAL);
    assert_around(a.next_poll - NOW, INTERVAL);
    assert_int_equal(a.last_ok, NOW);
    assert_int_equal(a.failures, 0);
    assert_int_equal(a.bad_passwords, 0);
    assert_string_equal(a.error, "");
    a.interval = 2 * CLOCK_HOUR;
    schedule_after_success(&a, NOW, INTERVAL);
    assert_around(a.next_poll - NOW, 2 * CLOCK_HOUR);
}

static void test_failures_back_off(void **state)
{
    (void)state;
    static const int64_t minutes[] = {1, 2, 4, 8, 15, 15, 15};
    struct account a = {.enabled = true};

    for (size_t i = 0; i < sizeof minutes / sizeof *minutes; i++) {
        schedule_after_failure(&a, NOW, INTERVAL);
        assert_around(a.next_poll - NOW, minutes[i] * CLOCK_MINUTE);
        assert_int_equal(a.failures, i + 1);
    }
}

static void test_back_off_ends_at_an_hour(void **state)
{
    (void)state;
    struct account a = {.enabled = true, .interval = 24 * CLOCK_HOUR, .failures = 4000000000u};

    schedule_after_failure(&a, NOW, INTERVAL);
    assert_around(a.next_poll - NOW, CLOCK_HOUR);
}

static void test_due(void **state)
{
    (void)state;
    struct account a = {.enabled = true, .next_poll = NOW};

    assert_false(schedule_is_due(&a, NOW - 1, INTERVAL));
    assert_true(schedule_is_due(&a, NOW, INTERVAL));
    a.preparing = true;
    assert_false(schedule_is_due(&a, NOW, INTERVAL));
    a.preparing = false;
    a.enabled = false;
    assert_false(schedule_is_due(&a, NOW, INTERVAL));
    a.round = 1; /* asked for by hand, but disabled */
    assert_false(schedule_is_due(&a, NOW, INTERVAL));
    a.enabled = true;
    assert_true(schedule_is_due(&a, 0, INTERVAL));
}

/* The clock was two days ahead when the next poll was planned, and has been set back since. */
static void test_a_clock_that_was_ahead(void **state)
{
    (void)state;
    clock_set_for_test(NOW + 2 * CLOCK_DAY);
    struct account well = {.name = "a", .enabled = true};
    struct account refused = {.name = "b", .enabled = true};
    struct account waits = {.name = "c", .enabled = true};
    struct account paused = {.name = "d", .enabled = true, .paused = true};
    struct account *items[] = {&well, &refused};
    struct account_set set = {.items = items, .count = 2};

    schedule_after_success(&well, clock_now(), INTERVAL);
    schedule_after_permanent(&refused, clock_now());
    waits.login_delay = CLOCK_DAY;
    schedule_respect_login_delay(&waits, clock_now());
    paused.next_poll = clock_now();
    assert_false(schedule_is_due(&well, clock_now(), INTERVAL));
    assert_false(schedule_is_due(&refused, clock_now(), INTERVAL));
    assert_false(schedule_is_due(&waits, clock_now(), INTERVAL));
    clock_set_for_test(NOW);
    assert_true(schedule_is_due(&well, clock_now(), INTERVAL));
    assert_true(schedule_is_due(&refused, clock_now(), INTERVAL));
    assert_true(schedule_is_due(&waits, clock_now(), INTERVAL));
    assert_false(schedule_is_due(&paused, clock_now(), INTERVAL));
    schedule_spread(&set, clock_now(), INTERVAL); /* a start of ours: they are overdue */
    assert_in_range(well.next_poll, NOW, NOW + CLOCK_SECOND);
    assert_in_range(refused.next_poll, NOW, NOW + CLOCK_SECOND);
    clock_set_for_test(0);
}

/* However the jitter falls: a delay of ours is none of a clock that went wrong. */
static void test_no_delay_of_ours_is_cut_short(void **state)
{
    (void)state;
    struct account a = {.enabled = true};

    for (int i = 0; i < 2000; i++) {
        a.interval = i % 2 == 0 ? 0 : 3 * CLOCK_HOUR + i;
        schedule_after_success(&a, NOW, INTERVAL);
        assert_false(schedule_is_due(&a, NOW, INTERVAL));
        schedule_after_failure(&a, NOW, INTERVAL);
        assert_false(schedule_is_due(&a, NOW, INTERVAL));
        schedule_after_permanent(&a, NOW);
        assert_false(schedule_is_due(&a, NOW, INTERVAL));
    }
}

static void test_bad_passwords_pause(void **state)
{
    (void)state;
    struct account a = {.enabled = true, .next_poll = NOW};

    assert_false(schedule_bad_password(&a));
    assert_false(schedule_bad_password(&a));
    assert_true(schedule_bad_password(&a));
    assert_true(a.paused);
    assert_false(schedule_is_due(&a, NOW, INTERVAL));
    assert_string_equal(account_condition(&a), "paused");
    a.round = 1;
    assert_true(schedule_is_due(&a, NOW, INTERVAL));
    assert_false(schedule_bad_password(&a)); /* told once */
    schedule_reset(&a, NOW);
    assert_false(a.paused);
    assert_int_equal(a.bad_passwords, 0);
}

static void test_wake(void **state)
{
    (void)state;
    struct account a = {.name = "a", .enabled = true, .next_poll = NOW + 5};
    struct account b = {.name = "b", .enabled = true, .next_poll = NOW + 3, .paused = true};
    struct account c = {.name = "c", .enabled = true, .next_poll = NOW + 1, .preparing = true};
    struct account *items[] = {&a, &b, &c};
    struct account_set set = {.items = items, .count = 3};

    assert_int_equal(schedule_wake(&set, NOW), NOW + 5);
    assert_int_equal(schedule_wake(&set, NOW + 5), INT64_MAX);
    b.paused = false;
    assert_int_equal(schedule_wake(&set, NOW), NOW + 3);
    set.count = 0;
    assert_int_equal(schedule_wake(&set, NOW), INT64_MAX);
}

/* One waits for its server, since before now or because somebody asked: the others are in time. */
static void test_who_waits_delays_nobody(void **state)
{
    (void)state;
    struct account overdue = {.name = "a", .enabled = true, .next_poll = NOW - 7};
    struct account asked = {.name = "b", .enabled = true, .next_poll = 1, .round = 1};
    struct account other = {.name = "c", .enabled = true, .next_poll = NOW + 2};
    struct account *items[] = {&overdue, &asked, &other};
    struct account_set set = {.items = items, .count = 3};

    assert_true(schedule_is_due(&overdue, NOW, INTERVAL));
    assert_true(schedule_is_due(&asked, NOW, INTERVAL));
    assert_int_equal(schedule_wake(&set, NOW), NOW + 2);
    assert_true(schedule_is_due(&other, NOW + 2, INTERVAL));
}

/* What the last poll received is not in the ledger yet: the next would fetch it again. */
static void test_not_before_the_last_batch_is_recorded(void **state)
{
    (void)state;
    struct account a = {.name = "a", .enabled = true, .next_poll = NOW, .round = 1, .commits = 1};

    assert_false(schedule_is_due(&a, NOW, INTERVAL));
    a.commits = 0;
    assert_true(schedule_is_due(&a, NOW, INTERVAL));
}

static void test_spread(void **state)
{
    (void)state;
    enum { MANY = 1000 };
    static struct account accounts[MANY];
    static struct account *items[MANY];
    struct account_set set = {.items = items, .count = MANY};
    int64_t first = INT64_MAX, last = 0;

    for (size_t i = 0; i < MANY; i++) {
        accounts[i] = (struct account){.enabled = true, .next_poll = i ? NOW - 7 : NOW + 7};
        items[i] = &accounts[i];
    }
    schedule_spread(&set, NOW, 15 * CLOCK_MINUTE);
    assert_int_equal(accounts[0].next_poll, NOW + 7);
    for (size_t i = 1; i < MANY; i++) {
        first = accounts[i].next_poll < first ? accounts[i].next_poll : first;
        last = accounts[i].next_poll > last ? accounts[i].next_poll : last;
    }
    assert_in_range(first, NOW, NOW + 10 * CLOCK_SECOND);
    assert_in_range(last, NOW + 90 * CLOCK_SECOND, NOW + 100 * CLOCK_SECOND);
}

static void test_what_servers_want(void **state)
{
    (void)state;
    struct account a = {.enabled = true, .continued = true, .round = 1, .next_poll = NOW};

    a.login_delay = CLOCK_HOUR;
    schedule_respect_login_delay(&a, NOW);
    assert_int_equal(a.next_poll, NOW + CLOCK_HOUR);
    assert_false(
        schedule_is_due(&a, NOW, INTERVAL)); /* by hand, but it goes on with the poll before */
    assert_true(schedule_is_due(&a, NOW + CLOCK_HOUR, INTERVAL));
    schedule_after_permanent(&a, NOW);
    assert_in_range(a.next_poll, NOW + 4 * CLOCK_HOUR, NOW + 8 * CLOCK_HOUR);
    assert_int_equal(a.failures, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_success),
        cmocka_unit_test(test_failures_back_off),
        cmocka_unit_test(test_back_off_ends_at_an_hour),
        cmocka_unit_test(test_due),
        cmocka_unit_test(test_a_clock_that_was_ahead),
        cmocka_unit_test(test_no_delay_of_ours_is_cut_short),
        cmocka_unit_test(test_bad_passwords_pause),
        cmocka_unit_test(test_wake),
        cmocka_unit_test(test_who_waits_delays_nobody),
        cmocka_unit_test(test_not_before_the_last_batch_is_recorded),
        cmocka_unit_test(test_spread),
        cmocka_unit_test(test_what_servers_want),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
