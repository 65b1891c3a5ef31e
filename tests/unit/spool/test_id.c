/* ULIDs: their order, their one spelling, their time. */
#include "lib/clock.h"
#include "spool/id.h"
#include "tests/unit/cmocka_all.h"
#include <string.h>

static int still(void **state)
{
    (void)state;
    clock_set_for_test(0);
    return 0;
}

static void test_form(void **state)
{
    (void)state;
    char id[ID_SIZE];
    int64_t before = clock_now();
    id_new(id);
    assert_int_equal(strlen(id), ID_LEN);
    assert_true(id_valid(id, ID_LEN));
    assert_in_range(id_time(id), before, clock_now());
}

static void test_each_is_greater(void **state)
{
    (void)state;
    char last[ID_SIZE] = "", id[ID_SIZE];
    for (int i = 0; i < 200000; i++) {
        id_new(id);
        assert_true(strcmp(last, id) < 0);
        memcpy(last, id, sizeof id);
    }
}

/* The clock stands still, or goes back: ids go on growing. */
static void test_clock_goes_back(void **state)
{
    (void)state;
    char last[ID_SIZE], id[ID_SIZE];
    int64_t now = clock_now() + 1000;
    clock_set_for_test(now);
    id_new(last);
    assert_int_equal(id_time(last), now);
    for (int i = 0; i < 1000; i++) {
        clock_set_for_test(now - i * 60000);
        id_new(id);
        assert_true(strcmp(last, id) < 0);
        assert_in_range(id_time(id), now, now + 1);
        memcpy(last, id, sizeof id);
    }
    clock_set_for_test(now + 5000);
    id_new(id);
    assert_true(strcmp(last, id) < 0);
    assert_int_equal(id_time(id), now + 5000);
}

static void test_within_one_millisecond_they_differ_by_chance(void **state)
{
    (void)state;
    char a[ID_SIZE], b[ID_SIZE];
    int64_t now = clock_now() + 100000;
    clock_set_for_test(now);
    id_new(a);
    clock_set_for_test(now + 1);
    id_new(b);
    assert_memory_not_equal(a + 10, b + 10, 16);
}

static void test_time_of_known_ids(void **state)
{
    (void)state;
    assert_int_equal(id_time("01ARZ3NDEKTSV4RRFFQ69G5FAV"), INT64_C(1469922850259));
    assert_int_equal(id_time("00000000000000000000000000"), 0);
    assert_int_equal(id_time("7ZZZZZZZZZZZZZZZZZZZZZZZZZ"), (INT64_C(1) << 48) - 1);
    assert_int_equal(id_time("00000000010000000000000000"), 1);
    assert_int_equal(id_time("00000000100000000000000000"), 32);
}

static void test_valid(void **state)
{
    (void)state;
    static const char *const good[] = {"01ARZ3NDEKTSV4RRFFQ69G5FAV", "00000000000000000000000000",
                                       "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"};
    static const char *const bad[] = {
        "",
        "01ARZ3NDEKTSV4RRFFQ69G5FA",   /* short */
        "01ARZ3NDEKTSV4RRFFQ69G5FAVX", /* long */
        "81ARZ3NDEKTSV4RRFFQ69G5FAV",  /* over 48 bits */
        "Z1ARZ3NDEKTSV4RRFFQ69G5FAV",
        "01arz3ndektsv4rrffq69g5fav", /* lower case */
        "01ARZ3NDEKTSV4RRFFQ69G5FAI",
        "01ARZ3NDEKTSV4RRFFQ69G5FAL",
        "01ARZ3NDEKTSV4RRFFQ69G5FAO",
        "01ARZ3NDEKTSV4RRFFQ69G5FAU", /* not of the alphabet */
        "01ARZ3NDEKTSV4RRFFQ69G5FA.",
        "01ARZ3NDEKTSV4RRFFQ69G5FA/",
        "01ARZ3NDEKTSV4RRFFQ69G5F V",
        "../../../../../etc/passwd/",
        "-1ARZ3NDEKTSV4RRFFQ69G5FAV",
        "01ARZ3NDEKTSV4RRFFQ69G5FA\xff",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++)
        assert_true(id_valid(good[i], strlen(good[i])));
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        if (id_valid(bad[i], strlen(bad[i])))
            fail_msg("taken: %s", bad[i]);
    assert_false(id_valid("01ARZ3NDEKTSV4RRFFQ69G5FA\0", ID_LEN));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(test_form, still),
        cmocka_unit_test_teardown(test_each_is_greater, still),
        cmocka_unit_test_teardown(test_clock_goes_back, still),
        cmocka_unit_test_teardown(test_within_one_millisecond_they_differ_by_chance, still),
        cmocka_unit_test(test_time_of_known_ids),
        cmocka_unit_test(test_valid),
    };
    return cmocka_run_group_tests_name("id", tests, NULL, NULL);
}
