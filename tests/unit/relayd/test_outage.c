/* The server is down for twelve hours with 10,000 messages queued, on a clock that is not slept
 * through (tests/unit/relayd/simulated.h): the whole of relayd above the connection, on a real
 * spool and a real ledger. */
#include "tests/unit/relayd/relay_world.h"

enum {
    OLD = 5000,   /* these were put off before; they are due while the server is down */
    BEFORE = 200, /* come while the server is well, and it goes down in their midst */
    OLD_ATTEMPTS = 3,
    PROBE_MIN = 45, /* s between two probes, in the long run: a minute, give or take a quarter */
    PROBE_MAX = 75,
    GREETED_MIN = 11, /* where EHLO is answered: between ROUTE_PROBES of them and as many more */
    GREETED_MAX = 19,
    CONNECT_MAX = 30, /* s until a probe that nobody answers is over */
};

#define OUTAGE (12 * CLOCK_HOUR)
#define EXPIRE (EXPIRE_HOURS * CLOCK_HOUR)
/* Two answers a message, and a half more. */
#define DRAIN_MAX   (SIM_MESSAGES / SESSIONS * 2 * SIM_LATENCY * 3 / 2)
#define NEARLY_OVER CLOCK_MINUTE /* what is left to old ones until they expire */

static int64_t due[SIM_MESSAGES]; /* 0: fresh */
static bool put_off[SIM_MESSAGES];

/* ---- the queue ---- */

/* Due in an order that has nothing to do with their age, over the first four hours. By plan each
 * has waited until just before EXPIRE by then. */
static struct ledger_row old_row(int number)
{
    int64_t delay = (int64_t)(number * 7919 % OLD + 1) * 3 * CLOCK_SECOND;
    return (struct ledger_row){
        .state = LEDGER_DEFERRED,
        .attempts = OLD_ATTEMPTS,
        .first_at = START - EXPIRE,
        .at = START,
        .next_attempt = START + delay,
        .waited = EXPIRE - NEARLY_OVER - delay,
        .code = 451,
        .reason = "451 4.7.1 later",
    };
}

static void put_old(void)
{
    ledger_begin(place.db);
    for (int i = 0; i < OLD; i++) {
        struct ledger_row row = old_row(i);
        put_message(i);
        ledger_put(place.db, ids[i], &row);
    }
    ledger_commit(place.db);
}

/* Every tenth old one is put off once more when the server is back, each once. */
static bool once_more(int number)
{
    bool first = number < OLD && number % 10 == 0 && !put_off[number];
    put_off[number] |= first;
    return first;
}

/* ---- time ---- */

/* Mail goes on coming in, evenly, until `end`. */
static void outage_until(int64_t end, int *next, int last)
{
    while (*next < last) {
        run_until(sim.now + (end - sim.now) / (last - *next), SIZE_MAX);
        put_bell((*next)++);
    }
    run_until(end, SIZE_MAX);
}

/* ---- what must be so ---- */

static struct ledger_row row_of(int number)
{
    struct ledger_row row = {.state = LEDGER_FRESH};
    (void)ledger_find(place.db, ids[number], &row);
    return row;
}

/* Whom no probe was about is as it was. For the others counts what the server had begun to read, or
 * lost three times in a row. Returns how many are not due yet. */
static size_t check_rows(void)
{
    size_t early = 0;
    for (int i = 0; i < SIM_MESSAGES; i++) {
        struct ledger_row row = row_of(i), was = {.state = LEDGER_FRESH};
        if (i < OLD)
            was = old_row(i);
        due[i] = row.state == LEDGER_DEFERRED ? row.next_attempt : 0;
        early += due[i] > sim.now;
        if (sim.copies[i] > 0)
            continue;
        assert_true(row.attempts - was.attempts <= sim.bodies[i] + sim.mails[i] / 3U);
        if (sim.mails[i] > 0)
            continue;
        assert_int_equal(row.state, was.state);
        assert_int_equal(row.next_attempt, was.next_attempt);
        assert_int_equal(row.waited, was.waited);
    }
    assert_int_equal(ledger_count(place.db, LEDGER_REJECTED), 0);
    return early;
}

static void check_probes(unsigned probes, int64_t length, bool greeted)
{
    unsigned seconds = (unsigned)(length / CLOCK_SECOND);
    assert_int_equal(crowds, 0);
    if (greeted)
        assert_in_range(probes, seconds * ROUTE_PROBES / GREETED_MAX,
                        seconds * ROUTE_PROBES / GREETED_MIN);
    else
        assert_in_range(probes, seconds / (PROBE_MAX + CONNECT_MAX), seconds / PROBE_MIN);
}

/* The deferred ones went strictly as they were due, and were a fifth as long as there was fresh
 * mail; this by its age, but for a step back with each stride of the scan. */
static void check_order(void)
{
    int64_t last_due = 0;
    size_t deferred = 0, steps_back = 0, window = 0;
    int last_fresh = 0;
    for (size_t i = 0; i < sim.ordered; i++) {
        int number = sim.order[i];
        if (due[number] != 0) {
            assert_true(due[number] >= last_due);
            last_due = due[number];
            deferred++;
        } else {
            steps_back += number < last_fresh;
            last_fresh = number;
        }
        if (i == 2000)
            window = deferred;
    }
    assert_in_range(window, 350, 450);
    assert_true(steps_back < SIM_MESSAGES / (QUEUE_FRESH_MAX / 2));
}

static void check_all_delivered(void)
{
    for (int i = 0; i < SIM_MESSAGES; i++) {
        assert_int_equal(sim.copies[i], 1);
        assert_true(told[i]);
    }
    assert_int_equal(spool_count(place.spool, SPOOL_OUTGOING), 0);
    assert_int_equal(spool_count(place.spool, SPOOL_REJECTED), 0);
    assert_int_equal(ledger_count(place.db, LEDGER_DELIVERED), SIM_MESSAGES);
}

static void test_down_for_hours(void **state)
{
    static const enum sim_mood moods[] = {SIM_HANGS_UP, SIM_DIES, SIM_REFUSED, SIM_SILENT,
                                          SIM_BUSY};
    const int kinds = (int)(sizeof moods / sizeof *moods);
    int next = OLD + BEFORE;
    unsigned probes = 0;
    (void)state;
    put_old();
    relay_start(relay);
    for (int i = OLD; i < next; i++)
        put_bell(i);
    run_until(START + CLOCK_MINUTE, BEFORE / 2); /* the clock stands where half of them are gone */
    size_t taken = sim.taken;
    assert_in_range(taken, BEFORE / 2, BEFORE / 2 + SESSIONS);
    assert_int_equal(sim.peak, SESSIONS);

    for (int i = 0; i < kinds; i++) {
        unsigned before = sim.connects;
        sim_become(moods[i]);
        outage_until(START + OUTAGE * (i + 1) / kinds, &next,
                     OLD + BEFORE + (SIM_MESSAGES - OLD - BEFORE) * (i + 1) / kinds);
        check_probes(sim.connects - before, OUTAGE / kinds,
                     moods[i] == SIM_HANGS_UP || moods[i] == SIM_DIES);
        probes += sim.connects - before;
    }
    assert_int_equal(next, SIM_MESSAGES);
    assert_int_equal(sim.taken, taken);
    assert_int_equal(route_circuit(&relay->route), ROUTE_OPEN);
    size_t early = check_rows();

    int64_t back = sim.now;
    sim_become(SIM_WELL);
    sim.ordered = 0;
    sim.first_taken = 0;
    memset(sim.mails, 0, sizeof sim.mails);
    sim.later = once_more;
    run_until(back + CLOCK_HOUR, taken + 1);
    assert_in_range(sim.now - back, 0, (PROBE_MAX + 1) * CLOCK_SECOND);
    run_until(sim.first_taken + 10 * SIM_LATENCY, SIZE_MAX);
    assert_int_equal(sim.live, SESSIONS);
    run_until(back + CLOCK_HOUR, SIM_MESSAGES - OLD / 10 - early);
    int64_t drained = sim.now - sim.first_taken;
    run_until(back + CLOCK_HOUR, SIM_MESSAGES);
    print_message("%u probes in %d h; then after %lld ms the first message, %lld ms later all that"
                  " were due, %lld ms later all\n",
                  probes, (int)(OUTAGE / CLOCK_HOUR), (long long)(sim.first_taken - back),
                  (long long)drained, (long long)(sim.now - sim.first_taken));
    assert_in_range(drained, 0, DRAIN_MAX);
    assert_in_range(sim.now - sim.first_taken, 0, 10 * CLOCK_MINUTE);
    run_until(sim.now + CLOCK_SECOND, SIZE_MAX);
    check_order();
    check_all_delivered();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_down_for_hours, relay_world_open, relay_world_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
