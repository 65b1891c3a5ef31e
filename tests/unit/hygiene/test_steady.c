/* A wall clock that jumps is not believed, and one that goes on is again. */
#include "hygiene/ledger.h"
#include "hygiene/steady.h"
#include "tests/unit/hygiene/fixture.h"

#define DATE (INT64_C(1795000000) * CLOCK_SECOND)

static void a_usual_life(void **state)
{
    struct fixture *f = *state;
    struct steady first = {0}, next = {0};
    clock_set_for_test(DATE);
    assert_true(steady_clock(&first, f->d.db)); /* the first ever */
    assert_int_equal(ledger_clock(f->d.db), DATE);
    clock_set_for_test(DATE + 30 * CLOCK_MINUTE); /* put right a little */
    assert_true(steady_clock(&first, f->d.db));
    clock_set_for_test(DATE + STEADY_ABSENCE); /* a weekend */
    assert_true(steady_clock(&next, f->d.db));
    assert_int_equal(ledger_clock(f->d.db), DATE + STEADY_ABSENCE);
}

static void a_jump_while_we_run(void **state)
{
    struct fixture *f = *state;
    struct steady steady = {0};
    for (int forth = 0; forth < 2; forth++) {
        steady = (struct steady){0};
        clock_set_for_test(DATE);
        assert_true(steady_clock(&steady, f->d.db));
        clock_set_for_test(DATE + (forth ? 2 : -2) * CLOCK_HOUR);
        assert_false(steady_clock(&steady, f->d.db));
        assert_false(steady_clock(&steady, f->d.db)); /* nor an hour later */
        assert_int_equal(ledger_clock(f->d.db), DATE);
        steady.doubt = clock_monotonic(); /* a day later */
        assert_true(steady_clock(&steady, f->d.db));
    }
}

/* Each start doubts anew, as long as the date is not one that was believed. */
static void a_start_with_another_date(void **state)
{
    struct fixture *f = *state;
    struct steady steady = {0};
    clock_set_for_test(DATE);
    assert_true(steady_clock(&steady, f->d.db));
    for (int start = 0; start < 3; start++) {
        steady = (struct steady){0};
        clock_set_for_test(DATE + 100 * CLOCK_DAY);
        assert_false(steady_clock(&steady, f->d.db));
    }
    steady = (struct steady){0};
    clock_set_for_test(DATE - CLOCK_DAY);
    assert_false(steady_clock(&steady, f->d.db));
    steady = (struct steady){0};
    clock_set_for_test(DATE + CLOCK_HOUR); /* put right */
    assert_true(steady_clock(&steady, f->d.db));
}

int main(void)
{
    const struct CMUnitTest tests[] = {fixture_test(a_usual_life),
                                       fixture_test(a_jump_while_we_run),
                                       fixture_test(a_start_with_another_date)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
