/* Messages over which the server fails, ahead of good ones: these get through, within minutes of a
 * clock that is not slept through. */
#include "relayd/crew.h"
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

/* ---- messages that are the fault themselves ---- */

enum { FEW = 30 };

static enum sim_mood first_few_are_bad(int number)
{
    return number < FEW ? bad_mood : SIM_WELL;
}

static enum sim_mood first_is_bad(int number)
{
    return number == 0 ? bad_mood : SIM_WELL;
}

static void put_few(enum sim_mood mood)
{
    bad_mood = mood;
    sim.mood_of = first_few_are_bad;
    relay_start(relay);
    for (int i = 0; i < FEW; i++)
        put_bell(i);
}

static unsigned tried(int number)
{
    unsigned times = sim.mails[number];
    sim.mails[number] = 0;
    return times;
}

/* There is nothing else, so that it may be the server: new mail stays welcome, goes at once, and
 * all the same they don't wait for ever. */
static void alone(enum sim_mood mood)
{
    put_few(mood);
    for (int hour = 0; hour < 3 * EXPIRE_HOURS; hour++) {
        run_until(sim.now + CLOCK_HOUR, SIZE_MAX);
        assert_int_not_equal(route_circuit(&relay->route), ROUTE_OPEN);
    }
    assert_int_equal(ledger_count(place.db, LEDGER_REJECTED), FEW);
    assert_false(route_in_trouble(&relay->route)); /* nothing is left that would say so */
}

static void test_alone_at_mail(void **state)
{
    (void)state;
    alone(SIM_HANGS_UP);
}

static void test_alone_over_the_message(void **state)
{
    (void)state;
    alone(SIM_DIES);
}

static void test_alone_told_to_log_in(void **state)
{
    (void)state;
    alone(SIM_LOG_IN);
}

/* A message a second goes through; each that is bad is tried a few times, and then when it is due.
 */
static void among_others(enum sim_mood mood)
{
    enum { SECONDS = 600 };
    put_few(mood);
    for (int i = FEW; i < FEW + SECONDS; i++) {
        run_until(sim.now + CLOCK_SECOND, SIZE_MAX);
        put_bell(i);
    }
    run_until(sim.now + CLOCK_MINUTE, SIZE_MAX);
    assert_int_equal(taken_of(FEW, FEW + SECONDS), SECONDS);
    assert_int_equal(ledger_count(place.db, LEDGER_DEFERRED), FEW);
    for (int i = 0; i < FEW; i++)
        assert_in_range(tried(i), 1, 5 * (SESSIONS + 3));
    for (int hour = 0; hour < 6 * EXPIRE_HOURS; hour++) {
        put_bell(FEW + SECONDS + hour);
        run_until(sim.now + CLOCK_HOUR, SIZE_MAX);
    }
    assert_int_equal(ledger_count(place.db, LEDGER_REJECTED), FEW);
}

static void test_among_others_at_mail(void **state)
{
    (void)state;
    among_others(SIM_HANGS_UP);
}

/* A session that ends over it, behind messages that were taken, may have had enough; but not each
 * time. */
static void test_in_heavy_traffic(void **state)
{
    enum { RATE = 50, SECONDS = 50 };
    (void)state;
    bad_mood = SIM_HANGS_UP;
    sim.mood_of = first_is_bad;
    relay_start(relay);
    for (int i = 0; i < RATE * SECONDS; i++) {
        put_bell(i);
        run_until(sim.now + CLOCK_SECOND / RATE, SIZE_MAX);
    }
    run_until(sim.now + CLOCK_MINUTE / 2, SIZE_MAX);
    assert_int_equal(taken_of(1, RATE * SECONDS), RATE * SECONDS - 1);
    print_message("one that ends the session: tried %d times\n", sim.mails[0]);
    assert_in_range(tried(0), 1, 5 * (SESSIONS + 3));
    assert_int_equal(ledger_count(place.db, LEDGER_DEFERRED), 1);
}

static void test_among_others_told_to_log_in(void **state)
{
    (void)state;
    among_others(SIM_LOG_IN);
}

/* The first time nobody can know; from then on a connection is kept for what has not hung yet.
 * While nothing else was taken a message that may hang is given a minute before the next is tried.
 */
static void test_what_hung_before_leaves_a_connection(void **state)
{
    int64_t longest = 0;
    (void)state;
    put_few(SIM_HANGS);
    run_until(sim.now + CLOCK_HOUR, SIZE_MAX);
    assert_int_equal(ledger_count(place.db, LEDGER_DEFERRED), FEW);
    for (int i = FEW; i < 20 * FEW; i++) {
        int64_t began = sim.now;
        put_bell(i);
        while (sim.copies[i] == 0 && sim.now - began < CLOCK_HOUR)
            run_until(sim.now + CLOCK_SECOND, SIZE_MAX);
        longest = longest > sim.now - began ? longest : sim.now - began;
        run_until(sim.now + CLOCK_MINUTE, SIZE_MAX);
    }
    print_message("good ones among %d that hang: %lld ms at most\n", FEW, (long long)longest);
    assert_in_range(longest, 0, 3 * CLOCK_MINUTE);
    for (int i = 0; i < FEW; i++)
        assert_true(sim.bodies[i] > 1);
}

/* A person gives another server, since this one hangs on all connections. */
static void test_another_server(void **state)
{
    (void)state;
    put_few(SIM_HANGS);
    run_until(sim.now + 2 * CLOCK_MINUTE, SIZE_MAX);
    assert_int_equal(crew_stuck(relay), SESSIONS);
    assert_true(relay->hangs);
    sim.mood_of = NULL;
    struct conf *other = load_conf();
    other->relay.port = conf->relay.port + 1;
    process.conf = other;
    relay_reload(relay);
    run_until(sim.now + 10 * CLOCK_SECOND, SIZE_MAX);
    assert_int_equal(taken_of(0, FEW), FEW - SESSIONS);
    assert_int_equal(crew_stuck(relay), 0);
    assert_false(relay->hangs);
    run_until(sim.now + 15 * CLOCK_MINUTE, SIZE_MAX);
    assert_int_equal(taken_of(0, FEW), FEW);
    process.conf = conf;
    conf_free(other);
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
        IN_WORLD(test_alone_at_mail),
        IN_WORLD(test_alone_over_the_message),
        IN_WORLD(test_alone_told_to_log_in),
        IN_WORLD(test_among_others_at_mail),
        IN_WORLD(test_among_others_told_to_log_in),
        IN_WORLD(test_in_heavy_traffic),
        IN_WORLD(test_what_hung_before_leaves_a_connection),
        IN_WORLD(test_another_server),
        IN_WORLD(test_a_clock_that_was_ahead),
        IN_WORLD(test_no_answer_behind_the_message),
        IN_WORLD(test_greylisting),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
