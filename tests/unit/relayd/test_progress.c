/* Messages over which the server fails, ahead of good ones: these get through, within minutes of a
 * clock that is not slept through. */
#include "tests/unit/relayd/relay_world.h"

enum { BAD = 500, GOOD = 20 };

static enum sim_mood bad_mood, second_mood;

static enum sim_mood first_ones_are_bad(int number)
{
    return number < BAD ? bad_mood : SIM_WELL;
}

static enum sim_mood first_hangs_second_is_lost(int number)
{
    return number == 0 ? SIM_HANGS : number == 1 ? second_mood : SIM_WELL;
}

static size_t taken_of(int from, int to)
{
    size_t taken = 0;
    for (int i = from; i < to; i++)
        taken += sim.copies[i] > 0;
    return taken;
}

/* How long until the good ones behind BAD others are all taken. */
static int64_t good_behind(enum sim_mood mood)
{
    bad_mood = mood;
    sim.mood_of = first_ones_are_bad;
    relay_start(relay);
    for (int i = 0; i < BAD + GOOD; i++)
        put_bell(i);
    int64_t began = sim.now;
    while (taken_of(BAD, BAD + GOOD) < GOOD && sim.now - began < CLOCK_HOUR)
        run_until(sim.now + CLOCK_SECOND, SIZE_MAX);
    assert_int_equal(taken_of(0, BAD), 0);
    print_message("%d good ones behind %d: %lld ms\n", GOOD, BAD, (long long)(sim.now - began));
    return sim.now - began;
}

static void test_behind_messages_that_end_the_session(void **state)
{
    (void)state;
    assert_in_range(good_behind(SIM_DIES), 0, 12 * CLOCK_MINUTE);
}

static void test_behind_senders_that_end_the_session(void **state)
{
    (void)state;
    assert_in_range(good_behind(SIM_HANGS_UP), 0, 12 * CLOCK_MINUTE);
}

static void test_behind_messages_that_are_put_off(void **state)
{
    (void)state;
    assert_in_range(good_behind(SIM_LATER), 0, 12 * CLOCK_MINUTE);
}

static void test_behind_messages_told_421(void **state)
{
    (void)state;
    assert_in_range(good_behind(SIM_ENDS_IT), 0, 12 * CLOCK_MINUTE);
}

static void test_behind_senders_told_421(void **state)
{
    (void)state;
    assert_in_range(good_behind(SIM_ENDS), 0, 12 * CLOCK_MINUTE);
}

/* One holds a connection for the ten minutes of the final dot, and the route is in trouble. */
static void test_a_message_that_hangs_stops_nobody(void **state)
{
    (void)state;
    second_mood = SIM_DIES;
    sim.mood_of = first_hangs_second_is_lost;
    relay_start(relay);
    put_bell(0);
    run_until(sim.now + CLOCK_SECOND, SIZE_MAX);
    put_bell(1);
    run_until(sim.now + 50, SIZE_MAX);
    assert_true(route_in_trouble(&relay->route));
    for (int i = 2; i < 2 + GOOD; i++)
        put_bell(i);
    run_until(sim.now + 2 * CLOCK_MINUTE, SIZE_MAX);
    assert_int_equal(taken_of(2, 2 + GOOD), GOOD);
}

/* What was put off until that clock's tomorrow, or is held, when it comes back. */
static void test_a_clock_that_was_ahead(void **state)
{
    (void)state;
    sim.ahead = 2 * CLOCK_DAY;
    bad_mood = SIM_LATER;
    sim.mood_of = first_ones_are_bad;
    relay_start(relay);
    for (int i = 0; i < GOOD / 2; i++)
        put_bell(i);
    run_until(sim.now + 10 * CLOCK_SECOND, SIZE_MAX);
    assert_int_equal(ledger_count(place.db, LEDGER_DEFERRED), GOOD / 2);
    assert_true(ledger_hold(place.db, ids[0]));
    sim.ahead = 0;
    sim.mood_of = NULL;
    run_until(sim.now + 2 * CLOCK_MINUTE, SIZE_MAX);
    assert_int_equal(taken_of(0, GOOD), GOOD / 2 - 1);
    assert_int_equal(sim.copies[0], 0);
    assert_int_equal(ledger_count(place.db, LEDGER_HELD), 1);
}

/* RFC 5321, 4.5.3.2.6: ten minutes, and then nobody knows. */
static void test_no_answer_behind_the_message(void **state)
{
    struct ledger_row row = {.state = LEDGER_FRESH};
    (void)state;
    sim.mood = SIM_HANGS;
    relay_start(relay);
    put_bell(0);
    run_until(START + 599 * CLOCK_SECOND, SIZE_MAX);
    assert_false(ledger_find(place.db, ids[0], &row));
    assert_int_equal(sim.bodies[0], 1);
    run_until(START + 602 * CLOCK_SECOND, SIZE_MAX);
    assert_true(ledger_find(place.db, ids[0], &row));
    assert_int_equal(row.state, LEDGER_DEFERRED);
    assert_int_equal(row.attempts, 1);
    assert_non_null(strstr(row.reason, "600 s (final)"));
    sim.mood = SIM_WELL;
    run_until(sim.now + 3 * CLOCK_MINUTE, 1);
    assert_int_equal(sim.copies[0], 1);
}

static bool seen[SIM_MESSAGES];

static bool at_first(int number)
{
    bool first = !seen[number];
    seen[number] = true;
    return first;
}

/* Each message is put off once. What has been put off is a probe as good as any: were new ones
 * alone to be tried, none would ever be taken. */
static void test_greylisting(void **state)
{
    enum { MAIL = 1000 };
    (void)state;
    sim.later = at_first;
    relay_start(relay);
    for (int i = 0; i < MAIL; i++)
        put_bell(i);
    run_until(START + 15 * CLOCK_MINUTE, MAIL);
    print_message("%d greylisted messages: %lld ms\n", MAIL, (long long)(sim.now - START));
    assert_int_equal(taken_of(0, MAIL), MAIL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define IN_WORLD(test) cmocka_unit_test_setup_teardown(test, relay_world_open, relay_world_close)
        IN_WORLD(test_behind_messages_that_end_the_session),
        IN_WORLD(test_behind_senders_that_end_the_session),
        IN_WORLD(test_behind_messages_that_are_put_off),
        IN_WORLD(test_behind_messages_told_421),
        IN_WORLD(test_behind_senders_told_421),
        IN_WORLD(test_a_message_that_hangs_stops_nobody),
        IN_WORLD(test_a_clock_that_was_ahead),
        IN_WORLD(test_no_answer_behind_the_message),
        IN_WORLD(test_greylisting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
