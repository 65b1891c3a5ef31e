/* The server is down for twelve hours with 10,000 messages queued, on a clock that is not slept
 * through (tests/unit/relayd/simulated.h): the whole of relayd above the connection, on a real
 * spool and a real ledger. */
#include "lib/bus.h"
#include "lib/daemon.h"
#include "relayd/relay.h"
#include "tests/unit/relayd/place.h"
#include "tests/unit/relayd/simulated.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define START INT64_C(1800000000000)

enum {
    SESSIONS = 10,
    OLD = 5000,   /* these were put off before; they are due while the server is down */
    BEFORE = 200, /* come while the server is well, and it goes down in their midst */
    OLD_ATTEMPTS = 3,
    PROBE_MIN = 45, /* s between two probes, in the long run: a minute, give or take a quarter */
    PROBE_MAX = 75,
    CONNECT_MAX = 30, /* s until a probe that nobody answers is over */
};

#define OUTAGE (12 * CLOCK_HOUR)
#define EXPIRE (6 * CLOCK_HOUR)
/* Two answers a message, and a half more. */
#define DRAIN_MAX   (SIM_MESSAGES / SESSIONS * 2 * SIM_LATENCY * 3 / 2)
#define NEARLY_OVER CLOCK_MINUTE /* what is left to old ones until they expire */

static struct place place;
static struct daemon process;
static struct relay *relay;
static struct conf *conf;
static char ids[SIM_MESSAGES][ID_SIZE];
static int64_t due[SIM_MESSAGES]; /* 0: fresh */
static bool put_off[SIM_MESSAGES];
static bool told[SIM_MESSAGES]; /* delivered, by an outcome */
static unsigned crowds;         /* more than one connection while the server was in trouble */
static bus_notice_fn *notice;
static void *notice_arg;

static int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* ---- the bus and the daemon, as far as relayd calls them here ---- */

void bus_on_notice(struct bus *bus, bus_notice_fn *fn, void *arg)
{
    (void)bus;
    notice = fn;
    notice_arg = arg;
}

void bus_listen(struct bus *bus, const char *peer)
{
    (void)bus, (void)peer;
}

void bus_ring(struct bus *bus, const char *dir, const char *id)
{
    (void)bus, (void)dir, (void)id;
}

void bus_outcome(struct bus *bus, const char *id, const char *state)
{
    (void)bus;
    const char(*found)[ID_SIZE] = bsearch(id, ids, SIM_MESSAGES, ID_SIZE, compare_ids);
    if (found && strcmp(state, "delivered") == 0)
        told[found - ids] = true;
}

json_t *bus_ok(json_t *fields)
{
    return fields;
}

json_t *bus_error(const char *code, const char *fmt, ...)
{
    (void)code, (void)fmt;
    return NULL;
}

void daemon_stopped(struct daemon *d)
{
    (void)d;
}

/* ---- the queue ---- */

static void put_message(int number)
{
    struct error err = {.text = ""};
    struct message_head head = {.account = "sales", .origin = "test"};
    id_new(ids[number]);
    memcpy(head.id, ids[number], ID_SIZE);
    (void)snprintf(head.sender, sizeof head.sender, "n%d@origin.example", number);
    place_must(envelope_list_add(&head.recipients, "you@corp.example"), &err);
    struct message_writer *w = message_create(place.spool, SPOOL_TMP, "eml", &head, &err);
    place_must(w != NULL, &err);
    place_must(message_append(w, "Subject: x\r\n\r\nhello\r\n", 21, &err), &err);
    place_must(message_finish(w, &err), &err);
    message_writer_free(w);
    place_must(spool_move(place.spool, ids[number], SPOOL_TMP, SPOOL_OUTGOING, &err), &err);
    message_head_free(&head);
}

static void put_bell(int number)
{
    put_message(number);
    json_t *body = json_pack("{s:s, s:s}", "dir", "outgoing", "id", ids[number]);
    notice(notice_arg, "hygiene", "bell", body);
    json_decref(body);
}

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

/* What is logged here is of no interest, and much. */
static void run_until(int64_t end, size_t taken)
{
    int kept = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    (void)dup2(nowhere, STDERR_FILENO);
    while (sim_step(end) && sim.taken < taken)
        crowds += route_in_trouble(&relay->route) && sim.live > 1;
    (void)dup2(kept, STDERR_FILENO);
    (void)close(kept);
    (void)close(nowhere);
}

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

static void check_probes(unsigned probes, int64_t length)
{
    unsigned seconds = (unsigned)(length / CLOCK_SECOND);
    assert_int_equal(crowds, 0);
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
    static const enum sim_mood moods[] = {SIM_REFUSED, SIM_SILENT, SIM_BUSY, SIM_HANGS_UP,
                                          SIM_DIES};
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
        check_probes(sim.connects - before, OUTAGE / kinds);
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

/* ---- the set-up ---- */

static struct conf *load_conf(void)
{
    struct error err = {.text = ""};
    char path[128];
    (void)snprintf(path, sizeof path, "%s/popferry.conf", place.dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fprintf(f,
                  "spool-dir = \"%s\"\nstate-dir = \"%s\"\nrun-dir = \"%s\"\n"
                  "relay { host = \"sim.example\" sessions = %d retry-min = \"1m\""
                  " retry-max = \"1h\" expire = \"%dh\" }\n",
                  place.spool_dir, place.dir, place.dir, SESSIONS, (int)(EXPIRE / CLOCK_HOUR));
    assert_int_equal(fclose(f), 0);
    struct conf *loaded = conf_load(path, &err);
    place_must(loaded != NULL, &err);
    return loaded;
}

static int setup(void **state)
{
    struct error err = {.text = ""};
    (void)state;
    sim.now = START;
    for (int i = 0; i < SIM_MESSAGES; i++)
        ids[i][0] = '~'; /* so that they are sorted before all are there */
    sim.base = event_base_new();
    place_open_in(&place, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    conf = load_conf();
    process = (struct daemon){.name = "relayd", .conf = conf, .db = place.db, .base = sim.base};
    relay = relay_new(&process, &err);
    place_must(relay != NULL, &err);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    relay_free(relay);
    event_base_free(sim.base);
    conf_free(conf);
    place_close(&place);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_down_for_hours, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
