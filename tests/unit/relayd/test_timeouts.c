/* How long each state waits for its answer (RFC 5321, 4.5.3.2), on a clock that is not slept
 * through, and how slowly a server may take a message. */
#include "tests/unit/relayd/relay_world.h"

enum { SLACK = 2, FAR = 40 }; /* seconds */

/* It ends the session `seconds` behind the command, and names its state. */
static void hears_nothing(const char *mute, int64_t seconds, const char *words)
{
    sim.mute = mute;
    relay_start(relay);
    put_bell(0);
    run_until(START + (seconds - SLACK) * CLOCK_SECOND, SIZE_MAX);
    assert_int_equal(sim.live, 1);
    assert_string_equal(relay->route.error, "");
    run_until(START + (seconds + SLACK) * CLOCK_SECOND, SIZE_MAX);
    if (!strstr(relay->route.error, words))
        fail_msg("\"%s\" is not in \"%s\"", words, relay->route.error);
}

static void test_greeting(void **state)
{
    (void)state;
    hears_nothing("", 300, "longer than 300 s (greeting)");
}

static void test_ehlo(void **state)
{
    (void)state;
    hears_nothing("EHLO", 300, "longer than 300 s (ehlo)");
}

static void test_mail(void **state)
{
    (void)state;
    hears_nothing("MAIL", 300, "longer than 300 s (envelope)");
}

static void test_rcpt(void **state)
{
    (void)state;
    hears_nothing("RCPT", 300, "longer than 300 s (envelope)");
}

static void test_data(void **state)
{
    (void)state;
    hears_nothing("DATA", 120, "longer than 120 s (envelope)");
}

/* The message has its verdict; what is left says nothing about the server. */
static void ends_quietly(int64_t after)
{
    relay_start(relay);
    put_bell(0);
    run_until(START + (after - SLACK) * CLOCK_SECOND, SIZE_MAX);
    assert_int_equal(sim.live, 1);
    run_until(START + (after + SLACK) * CLOCK_SECOND, SIZE_MAX);
    assert_int_equal(sim.live, 0);
    assert_int_equal(sim.connects, 1);
    assert_false(route_in_trouble(&relay->route));
}

static bool always(int number)
{
    (void)number;
    return true;
}

static void test_rset(void **state)
{
    (void)state;
    sim.mute = "RSET";
    sim.later = always;
    conf->relay.retry_min = CLOCK_HOUR;
    ends_quietly(300);
}

static void test_quit(void **state)
{
    (void)state;
    sim.mute = "QUIT";
    ends_quietly(5 + 10); /* without work, then for the answer */
}

/* Larger than what is read ahead of the server. */
static void put_large(size_t pace)
{
    sim.pace = pace;
    relay_start(relay);
    put_long_message(0, 100000);
    ring_bell(0);
}

static void test_slow_enough(void **state)
{
    (void)state;
    put_large(135);
    run_until(START + 2 * CLOCK_HOUR, 1);
    assert_int_equal(sim.copies[0], 1);
    assert_in_range(sim.now - START, 5000 * CLOCK_SECOND, 5500 * CLOCK_SECOND);
    assert_int_equal(sim.connects, 1);
}

static void test_too_slow(void **state)
{
    (void)state;
    put_large(120);
    run_until(START + (180 - SLACK) * CLOCK_SECOND, SIZE_MAX);
    assert_int_equal(sim.live, 1);
    run_until(START + (180 + FAR) * CLOCK_SECOND, SIZE_MAX);
    assert_int_equal(sim.copies[0], 0);
    struct ledger_row row = {.state = LEDGER_FRESH};
    assert_true(ledger_find(place.db, ids[0], &row));
    assert_int_equal(row.state, LEDGER_DEFERRED);
    assert_non_null(strstr(row.reason, "longer than 180 s (body)"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, relay_world_open, relay_world_close)
        IN_WORLD(test_greeting), IN_WORLD(test_ehlo),        IN_WORLD(test_mail),
        IN_WORLD(test_rcpt),     IN_WORLD(test_data),        IN_WORLD(test_rset),
        IN_WORLD(test_quit),     IN_WORLD(test_slow_enough), IN_WORLD(test_too_slow),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
