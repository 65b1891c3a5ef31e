/* Back-off and circuit, by a clock of our own. */
#include "lib/clock.h"
#include "lib/log.h"
#include "relayd/route.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static int downs, ups, fewers;

static void on_event(void *arg, enum log_level level, const char *what,
                     const struct log_field *fields)
{
    (void)arg;
    (void)level;
    (void)fields;
    downs += strcmp(what, "relay-down") == 0;
    ups += strcmp(what, "relay-up") == 0;
    fewers += strcmp(what, "relay-allows-fewer") == 0;
}

static int setup(void **state)
{
    (void)state;
    downs = ups = fewers = 0;
    log_set_sink(on_event, NULL);
    return 0;
}

static void test_well(void **state)
{
    (void)state;
    struct route route;
    route_init(&route, CLOCK_HOUR);
    assert_int_equal(route_limit(&route, 0, 10), 10);
    assert_true(route_may_send(&route, 0));
    route_well(&route);
    assert_int_equal(ups, 0);
}

static void test_back_off_grows(void **state)
{
    (void)state;
    struct route route;
    route_init(&route, CLOCK_HOUR);
    int64_t now = 1000, last = 0;
    for (int i = 0; i < 20; i++) {
        route_failed(&route, now, "refused");
        int64_t pause = route.next_at - now;
        assert_true(pause > last / 2);
        assert_in_range(pause, 1, CLOCK_MINUTE * 5 / 4);
        assert_int_equal(route_limit(&route, now, 10), 0);
        assert_int_equal(route_limit(&route, route.next_at, 10), 1);
        now = route.next_at;
        last = pause;
    }
    assert_true(last >= CLOCK_MINUTE * 3 / 4);
    assert_int_equal(downs, 1);
    assert_true(route.open);
    route_well(&route);
    assert_int_equal(ups, 1);
    assert_int_equal(route_limit(&route, now, 10), 10);
    assert_string_equal(route.error, "");
}

static void test_failures_at_once_count_as_one(void **state)
{
    (void)state;
    struct route route;
    route_init(&route, CLOCK_HOUR);
    for (int i = 0; i < 10; i++)
        route_failed(&route, 1000, "reset");
    assert_int_equal(route.failures, 1);
    assert_false(route.open);
}

static void test_put_off_opens_the_circuit(void **state)
{
    (void)state;
    struct route route;
    route_init(&route, CLOCK_HOUR);
    for (int i = 0; i < ROUTE_CIRCUIT_PUT_OFF - 1; i++)
        route_put_off(&route, 1000, true, "451 later");
    assert_false(route_in_trouble(&route));
    route_put_off(&route, 1000, true, "451 later");
    assert_int_equal(downs, 1);
    assert_false(route_may_send(&route, 1000));
    int64_t next_at = route.next_at;
    route_put_off(&route, 1000, true, "451 later"); /* was in flight already */
    assert_int_equal(route.next_at, next_at);
    assert_true(route_may_send(&route, route.next_at));
    route_put_off(&route, route.next_at, true, "451 later");
    assert_int_equal(downs, 1);
    assert_true(route_may_send(&route, next_at)); /* the next message is tried at once */
    route_well(&route);
    assert_int_equal(ups, 1);
}

static void test_one_message_opens_nothing(void **state)
{
    (void)state;
    struct route route;
    route_init(&route, CLOCK_HOUR);
    route_put_off(&route, 1000, true, "451 later");
    for (int i = 0; i < 200; i++) /* the same message, again and again */
        route_put_off(&route, 1000, false, "451 later");
    assert_false(route_in_trouble(&route));
    assert_int_equal(downs, 0);
}

static void test_a_second_attempt_is_a_probe_too(void **state)
{
    (void)state;
    struct route route;
    route_init(&route, CLOCK_HOUR);
    for (int i = 0; i < ROUTE_CIRCUIT_PUT_OFF; i++)
        route_put_off(&route, 1000, true, "451 later");
    int64_t probe_at = route.next_at;
    for (int i = 0; i < ROUTE_PROBES; i++) {
        assert_true(route_may_send(&route, probe_at));
        route_put_off(&route, probe_at, false, "451 later");
    }
    assert_true(route.next_at > probe_at);
}

/* The server answers EHLO, and ends one session after the other over its message. */
static void test_lost_over_messages(void **state)
{
    (void)state;
    struct route route;
    int64_t now = 1000, begin = 0;
    unsigned tried = 0;
    route_init(&route, CLOCK_HOUR);
    for (int i = 0; i < 10; i++)
        route_lost(&route, now, "reset"); /* together */
    assert_int_equal(route.failures, 1);
    assert_false(route_may_send(&route, now));
    for (; tried < 500; tried++) {
        now = now < route.next_at ? route.next_at : now;
        if (tried == 100)
            begin = now;
        route_lost(&route, now, "reset");
    }
    assert_int_equal(route_circuit(&route), ROUTE_PROBING); /* so new mail is fetched */
    assert_true(route_fails(&route, now, CLOCK_DAY));       /* so nothing expires meanwhile */
    assert_false(route_fails(&route, now, CLOCK_MINUTE));   /* but this does not go on for ever */
    assert_int_equal(downs, 1);
    assert_in_range(now - begin, 400 / ROUTE_PROBES * 11 * CLOCK_SECOND,
                    400 / ROUTE_PROBES * 19 * CLOCK_SECOND);
    route_failed(&route, route.next_at + 1, "refused"); /* now it is the server */
    int64_t at = route.next_at;
    assert_false(route_may_send(&route, at - 1));
    route_failed(&route, at, "refused");
    assert_true(route.next_at > at);
    assert_int_equal(route_circuit(&route), ROUTE_OPEN);
}

static void test_a_password_refused_many_times_at_once(void **state)
{
    (void)state;
    struct route route;
    route_init(&route, CLOCK_HOUR);
    for (int i = 0; i < 10; i++)
        route_refused(&route, 1000, "535 no");
    assert_in_range(route.next_at - 1000, 45 * CLOCK_SECOND, 75 * CLOCK_SECOND);
}

static void test_circuit_says_what_opened_it(void **state)
{
    (void)state;
    struct route route;
    route_init(&route, CLOCK_HOUR);
    assert_int_equal(route_circuit(&route), ROUTE_CLOSED);
    for (int i = 0; i < ROUTE_CIRCUIT_PUT_OFF; i++)
        route_put_off(&route, 1000, true, "451 later");
    assert_int_equal(route_circuit(&route), ROUTE_PROBING);
    for (int i = 0; i < ROUTE_CIRCUIT_FAILURES; i++)
        route_failed(&route, route.next_at, "refused");
    assert_int_equal(route_circuit(&route), ROUTE_OPEN);
    route_put_off(&route, route.next_at, true, "451 later"); /* it is there again */
    assert_int_equal(route_circuit(&route), ROUTE_PROBING);
    route_well(&route);
    assert_string_equal(route_circuit_name(route_circuit(&route)), "closed");
}

static void test_one_success_breaks_the_row(void **state)
{
    (void)state;
    struct route route;
    route_init(&route, CLOCK_HOUR);
    for (int i = 0; i < 200; i++) {
        route_put_off(&route, 1000, true, "451 greylisted");
        if (i % 10 == 0)
            route_well(&route);
    }
    assert_int_equal(downs, 0);
}

static void test_retry_is_now(void **state)
{
    (void)state;
    struct route route;
    route_init(&route, CLOCK_HOUR);
    route_failed(&route, 1000, "refused");
    route_retry(&route);
    assert_int_equal(route_limit(&route, 1001, 10), 1);
}

/* The server lets four in, of ten. */
static void test_a_crowd_lowers_the_limit(void **state)
{
    (void)state;
    struct route route;
    route_init(&route, CLOCK_HOUR);
    for (size_t up = 6; up >= 4; up--) /* the others' ends come one by one */
        route_crowded(&route, 1000, up, "421 too many");
    assert_int_equal(fewers, 1);
    assert_int_equal(route_limit(&route, 1000, 10), 4);
    assert_int_equal(route_limit(&route, 1000, 2), 2);
    assert_true(route_may_send(&route, 1000));
    assert_false(route_in_trouble(&route));
    route_well(&route); /* a message was taken, on one of the four */
    assert_int_equal(route_limit(&route, 1000, 10), 4);

    int64_t last = 0, now = 1000;
    for (int i = 0; i < 12; i++) { /* and it stays so */
        int64_t pause = route.more_at - now;
        assert_true(pause > last / 2);
        assert_in_range(pause, CLOCK_SECOND, 15 * CLOCK_MINUTE);
        last = pause;
        now = route.more_at;
        assert_int_equal(route_limit(&route, now - 1, 10), 4);
        assert_int_equal(route_limit(&route, now, 10), 5);
        route_crowded(&route, now, 4, "421 too many");
    }
    assert_true(last >= 7 * CLOCK_MINUTE);
    assert_int_equal(downs, 0);
}

static void test_room_is_found_again(void **state)
{
    (void)state;
    struct route route;
    route_init(&route, CLOCK_HOUR);
    route_crowded(&route, 1000, 4, "421 too many");
    route_admitted(&route, 1001, 4, 10); /* one of the four went and came */
    assert_int_equal(route_limit(&route, 1001, 10), 4);
    for (size_t up = 5; up < 10; up++) {
        route_admitted(&route, route.more_at, up, 10);
        assert_int_equal(route_limit(&route, route.more_at, 10), up + 1);
    }
    route_admitted(&route, route.more_at, 10, 10);
    assert_int_equal(route.fewer, 0);
    assert_int_equal(route_limit(&route, 0, 20), 20);

    route_crowded(&route, 1000, 4, "421 too many"); /* it is new again */
    assert_in_range(route.more_at - 1000, CLOCK_SECOND, 13 * CLOCK_SECOND);
}

static void test_a_crowd_is_forgotten(void **state)
{
    (void)state;
    struct route route;
    route_init(&route, CLOCK_HOUR);
    route_crowded(&route, 1000, 1, "connection reset");
    route_retry(&route); /* a person says so */
    assert_int_equal(route_limit(&route, 1000, 10), 10);
    route_crowded(&route, 1000, 1, "connection reset");
    route_failed(&route, 1000, "connection reset"); /* all of them broke */
    assert_int_equal(route_limit(&route, 1000, 10), 0);
    route_well(&route);
    assert_int_equal(route_limit(&route, 1000, 10), 10);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_well, setup),
        cmocka_unit_test_setup(test_back_off_grows, setup),
        cmocka_unit_test_setup(test_failures_at_once_count_as_one, setup),
        cmocka_unit_test_setup(test_put_off_opens_the_circuit, setup),
        cmocka_unit_test_setup(test_one_message_opens_nothing, setup),
        cmocka_unit_test_setup(test_a_second_attempt_is_a_probe_too, setup),
        cmocka_unit_test_setup(test_lost_over_messages, setup),
        cmocka_unit_test_setup(test_a_password_refused_many_times_at_once, setup),
        cmocka_unit_test_setup(test_circuit_says_what_opened_it, setup),
        cmocka_unit_test_setup(test_one_success_breaks_the_row, setup),
        cmocka_unit_test_setup(test_retry_is_now, setup),
        cmocka_unit_test_setup(test_a_crowd_lowers_the_limit, setup),
        cmocka_unit_test_setup(test_room_is_found_again, setup),
        cmocka_unit_test_setup(test_a_crowd_is_forgotten, setup),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
