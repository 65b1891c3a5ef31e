/* The clocks: text, jitter, back-off. */
#include "lib/clock.h"
#include "tests/unit/cmocka_all.h"
#include <string.h>
#include <time.h>

static void test_text(void **state)
{
    (void)state;
    static const struct {
        int64_t ms;
        const char *text;
    } cases[] = {
        {0, "1970-01-01T00:00:00Z"},
        {999, "1970-01-01T00:00:00Z"},
        {1000, "1970-01-01T00:00:01Z"},
        {INT64_C(951782400000), "2000-02-29T00:00:00Z"},
        {INT64_C(1795341600000), "2026-11-22T10:00:00Z"},
        {INT64_C(4294967296000), "2106-02-07T06:28:16Z"},
        {INT64_C(253402300799999), "9999-12-31T23:59:59Z"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char buf[CLOCK_TEXT_SIZE];
        assert_ptr_equal(clock_text(cases[i].ms, buf), buf);
        assert_string_equal(buf, cases[i].text);
    }
}

/* A time too far off for the buffer (ids can name one) gives an ended string all the same. */
static void test_text_out_of_range(void **state)
{
    (void)state;
    static const int64_t far[] = {INT64_C(253402300800000), INT64_C(1) << 50, INT64_MAX, INT64_MIN,
                                  -1};
    for (size_t i = 0; i < sizeof far / sizeof far[0]; i++) {
        char buf[CLOCK_TEXT_SIZE];
        memset(buf, 'x', sizeof buf);
        clock_text(far[i], buf);
        assert_true(strnlen(buf, sizeof buf) < sizeof buf);
        assert_null(strchr(buf, 'x'));
    }
}

static void test_now(void **state)
{
    (void)state;
    int64_t seconds = (int64_t)time(NULL);
    assert_in_range(clock_now(), (seconds - 2) * 1000, (seconds + 3) * 1000);
    clock_set_for_test(12345);
    assert_int_equal(clock_now(), 12345);
    assert_int_equal(clock_now(), 12345);
    int64_t before = clock_monotonic();
    clock_set_for_test(1);
    assert_int_equal(clock_now(), 1);
    assert_true(clock_monotonic() >= before);
    clock_set_for_test(0);
    assert_true(clock_now() >= seconds * 1000);
}

static void test_jitter_stays_within_bounds(void **state)
{
    (void)state;
    static const int64_t delays[] = {0,
                                     1,
                                     2,
                                     3,
                                     4,
                                     5,
                                     7,
                                     100,
                                     60000,
                                     CLOCK_HOUR,
                                     CLOCK_DAY,
                                     5 * CLOCK_DAY,
                                     60 * CLOCK_DAY,
                                     400 * CLOCK_DAY};
    for (size_t i = 0; i < sizeof delays / sizeof delays[0]; i++) {
        int64_t ms = delays[i], least = INT64_MAX, most = 0;
        for (int n = 0; n < 2000; n++) {
            int64_t delay = clock_jitter(ms);
            assert_true(delay >= ms - ms / 4 - 1 && delay <= clock_jitter_max(ms));
            least = delay < least ? delay : least;
            most = delay > most ? delay : most;
        }
        assert_true(clock_jitter_max(ms) <= ms + ms / 4 + 1);
        if (ms >= 100) /* it spreads, over most of the room it has */
            assert_true(least < ms - ms / 5 && most > ms + ms / 5);
    }
}

static void test_backoff_doubles_up_to_its_end(void **state)
{
    (void)state;
    for (unsigned failures = 0; failures < 100; failures++) {
        int64_t want = failures < 6 ? CLOCK_MINUTE << failures : CLOCK_HOUR;
        for (int n = 0; n < 50; n++) {
            int64_t delay = clock_backoff(CLOCK_MINUTE, CLOCK_HOUR, failures);
            assert_true(delay >= want * 3 / 4 && delay <= want * 5 / 4);
        }
    }
    int64_t delay = clock_backoff(CLOCK_SECOND, 7 * CLOCK_DAY, 4000000000U);
    assert_true(delay >= 5 * CLOCK_DAY && delay <= 9 * CLOCK_DAY);
    assert_in_range(clock_backoff(4000, 1000, 0), 750, 1250); /* never more than max */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_text_out_of_range),
        cmocka_unit_test(test_now),
        cmocka_unit_test(test_jitter_stays_within_bounds),
        cmocka_unit_test(test_backoff_doubles_up_to_its_end),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
