/* The window on a real spool directory and a real ledger. */
#include "lib/clock.h"
#include "relayd/queue.h"
#include "tests/unit/relayd/place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static struct place place;
static struct queue *queue;
static char settled[256];

static void on_settled(void *arg, const char *id, bool delivered)
{
    struct error err;
    (void)arg;
    strcat(settled, delivered ? "d:" : "r:");
    strcat(settled, id);
    assert_true(spool_remove(place.spool, SPOOL_OUTGOING, id, &err));
}

static int setup(void **state)
{
    (void)state;
    place_open(&place);
    queue = queue_new(place.db, place.spool, on_settled, NULL);
    settled[0] = '\0';
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    queue_free(queue);
    place_close(&place);
    return 0;
}

static void refill(int64_t now)
{
    while (queue_refill(queue, now, INT64_MAX / 2))
        ;
}

static void test_scan_finds_files(void **state)
{
    (void)state;
    char a[ID_SIZE], b[ID_SIZE], id[ID_SIZE];
    place_file(&place, a);
    place_file(&place, b);
    assert_false(queue_take(queue, id, true));
    refill(0);
    assert_int_equal(queue_ready(queue), 2);
    assert_true(queue_take(queue, id, true));
    assert_true(strcmp(id, a) == 0 || strcmp(id, b) == 0);
    assert_true(queue_take(queue, id, true));
    assert_false(queue_take(queue, id, true));
    assert_int_equal(queue_taken(queue), 2);
}

static void test_no_id_twice(void **state)
{
    (void)state;
    char a[ID_SIZE], id[ID_SIZE];
    place_file(&place, a);
    queue_push(queue, a);
    queue_push(queue, a);
    refill(0);
    assert_int_equal(queue_ready(queue), 1);
    assert_true(queue_take(queue, id, true));
    queue_push(queue, a); /* in flight */
    queue_scan(queue);
    refill(0);
    assert_int_equal(queue_ready(queue), 0);
    assert_true(queue_knows(queue, a));
    queue_done(queue, a);
    assert_false(queue_knows(queue, a));
    queue_done(queue, a); /* harmless */
    assert_int_equal(queue_taken(queue), 0);
}

static void test_again_comes_last(void **state)
{
    (void)state;
    char a[ID_SIZE], b[ID_SIZE], c[ID_SIZE], id[ID_SIZE];
    place_file(&place, a);
    place_file(&place, b);
    queue_push(queue, a);
    queue_push(queue, b);
    assert_true(queue_take(queue, id, true));
    assert_string_equal(id, a);
    assert_int_equal(queue_again(queue, a, id_time(b) + 1), 1);
    assert_int_equal(queue_losses(queue, a), 1);
    assert_true(queue_take(queue, id, true));
    assert_string_equal(id, b);
    assert_true(queue_take(queue, id, true));
    assert_string_equal(id, a);
    assert_int_equal(queue_again(queue, a, id_time(a) + 1000), 2);
    place_file(&place, c);
    queue_push(queue, c);
    assert_true(queue_take(queue, id, true));
    assert_string_equal(id, c);
}

static void test_settled_is_not_sent(void **state)
{
    (void)state;
    char a[ID_SIZE], want[64];
    place_file(&place, a);
    place_row(&place, a, LEDGER_DELIVERED, 0);
    refill(0);
    assert_int_equal(queue_ready(queue), 0);
    snprintf(want, sizeof want, "d:%s", a);
    assert_string_equal(settled, want);
    settled[0] = '\0';
    place_file(&place, a);
    place_row(&place, a, LEDGER_REJECTED, 0);
    queue_push(queue, a);
    snprintf(want, sizeof want, "r:%s", a);
    assert_string_equal(settled, want);
    assert_int_equal(queue_ready(queue), 0);
}

static void test_deferred_waits(void **state)
{
    (void)state;
    char a[ID_SIZE], id[ID_SIZE];
    place_file(&place, a);
    place_row(&place, a, LEDGER_DEFERRED, 1000);
    refill(999);
    queue_push(queue, a);
    assert_int_equal(queue_ready(queue), 0);
    refill(1000);
    assert_true(queue_take(queue, id, true));
    assert_string_equal(id, a);
    refill(2000); /* its row still says due */
    assert_int_equal(queue_ready(queue), 0);
}

static void test_neither_starves(void **state)
{
    (void)state;
    char id[ID_SIZE], due[20][ID_SIZE];
    int seen_due = 0;
    for (int i = 0; i < 20; i++) {
        place_file(&place, due[i]);
        place_row(&place, due[i], LEDGER_DEFERRED, 20 - i);
        place_file(&place, id);
    }
    refill(100);
    assert_int_equal(queue_ready(queue), 40);
    for (int i = 0; i < 10; i++) {
        assert_true(queue_take(queue, id, true));
        if (strcmp(id, due[19 - seen_due]) == 0) /* the longest due first */
            seen_due++;
    }
    assert_int_equal(seen_due, 2);
}

/* Each kind by its time, in whatever order they were found. */
static void test_order_of_time(void **state)
{
    (void)state;
    enum { FILES = 100 };
    char fresh[FILES][ID_SIZE], due[FILES][ID_SIZE], id[ID_SIZE];
    for (int i = 0; i < FILES; i++) {
        place_file(&place, fresh[i]);
        place_file(&place, due[i]);
        place_row(&place, due[i], LEDGER_DEFERRED, 1 + i * 37 % FILES);
    }
    for (int i = FILES; i-- > 0;)
        queue_push(queue, fresh[i]);
    refill(FILES);
    int next_fresh = 0, next_due = 1;
    while (queue_take(queue, id, true)) {
        if (next_fresh < FILES && strcmp(id, fresh[next_fresh]) == 0) {
            next_fresh++;
            continue;
        }
        int which = 0;
        while (strcmp(due[which], id) != 0)
            assert_true(++which < FILES);
        assert_int_equal(1 + which * 37 % FILES, next_due++);
    }
    assert_int_equal(next_fresh, FILES);
    assert_int_equal(next_due, FILES + 1);
}

static void test_held_stays_out(void **state)
{
    (void)state;
    char a[ID_SIZE], b[ID_SIZE], c[ID_SIZE], id[ID_SIZE];
    place_file(&place, a);
    place_file(&place, b);
    place_file(&place, c);
    place_row(&place, b, LEDGER_DEFERRED, 1);
    refill(1);
    assert_int_equal(queue_ready(queue), 3);
    assert_true(queue_drop(queue, a));
    assert_true(queue_drop(queue, b));
    assert_true(ledger_hold(place.db, a) && ledger_hold(place.db, b));
    assert_false(queue_knows(queue, a));
    queue_scan(queue);
    refill(1);
    queue_push(queue, a);
    assert_true(queue_take(queue, id, true));
    assert_string_equal(id, c);
    assert_false(queue_drop(queue, c)); /* taken */
    assert_false(queue_take(queue, id, true));
    assert_true(ledger_release(place.db, a) && ledger_release(place.db, b));
    queue_scan(queue);
    refill(1);
    assert_true(queue_take(queue, id, true) && queue_take(queue, id, true));
}

static void test_window_is_bounded(void **state)
{
    (void)state;
    enum { FILES = 3000 };
    char id[ID_SIZE];
    for (int i = 0; i < FILES; i++)
        place_file(&place, id);
    size_t taken = 0, most = 0;
    while (refill(0), queue_take(queue, id, true)) {
        struct error err;
        size_t ready = queue_ready(queue);
        most = ready > most ? ready : most;
        assert_true(spool_remove(place.spool, SPOOL_OUTGOING, id, &err));
        place_row(&place, id, LEDGER_DELIVERED, 0);
        queue_done(queue, id);
        taken++;
    }
    assert_int_equal(taken, FILES);
    assert_true(most <= QUEUE_FRESH_MAX + QUEUE_DUE_MAX);
}

static void test_push_beyond_the_window_is_found_later(void **state)
{
    (void)state;
    enum { FILES = QUEUE_FRESH_MAX + 50 };
    char id[ID_SIZE];
    refill(0); /* the first scan is over */
    for (int i = 0; i < FILES; i++) {
        place_file(&place, id);
        queue_push(queue, id);
    }
    assert_int_equal(queue_ready(queue), QUEUE_FRESH_MAX);
    int taken = 0;
    while (refill(0), queue_take(queue, id, true))
        taken++;
    assert_int_equal(taken, FILES);
}

static void test_stale(void **state)
{
    (void)state;
    char id[ID_SIZE];
    refill(0);
    assert_false(queue_stale(queue));
    usleep(20000); /* a file system's clock is coarse */
    place_file(&place, id);
    assert_true(queue_stale(queue));
    queue_scan(queue);
    refill(0);
    assert_int_equal(queue_ready(queue), 1);
    assert_false(queue_stale(queue));
}

static void set_outgoing_time(const struct timespec *time)
{
    const struct timespec times[2] = {*time, *time};
    assert_int_equal(futimens(spool_fd(place.spool, SPOOL_OUTGOING), times), 0);
}

/* Two changes in one tick of the file system's clock, and the scan began between them. */
static void test_second_change_of_one_time(void **state)
{
    (void)state;
    char id[ID_SIZE];
    const struct timespec tick = {.tv_sec = 1000000000};
    const int64_t now = 1000000000 * CLOCK_SECOND;
    place_file(&place, id);
    set_outgoing_time(&tick);
    refill(now + 3);
    assert_int_equal(queue_ready(queue), 1);
    place_file(&place, id);
    set_outgoing_time(&tick);
    assert_true(queue_stale(queue));
    queue_scan(queue);
    refill(now + 2 * CLOCK_SECOND);
    assert_int_equal(queue_ready(queue), 2);
    assert_false(queue_stale(queue)); /* nothing can bear that time any more */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_scan_finds_files, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_id_twice, setup, teardown),
        cmocka_unit_test_setup_teardown(test_again_comes_last, setup, teardown),
        cmocka_unit_test_setup_teardown(test_settled_is_not_sent, setup, teardown),
        cmocka_unit_test_setup_teardown(test_deferred_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_neither_starves, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order_of_time, setup, teardown),
        cmocka_unit_test_setup_teardown(test_held_stays_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_window_is_bounded, setup, teardown),
        cmocka_unit_test_setup_teardown(test_push_beyond_the_window_is_found_later, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_stale, setup, teardown),
        cmocka_unit_test_setup_teardown(test_second_change_of_one_time, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
