/* Lists gathered and sorted: by text and by number, both ways, stable, and up to a bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/field.h"
#include "ctl/order.h"

static const struct {
    const char *id, *name;
    int size;
} rows[] = {{"1", "beta", 30}, {"2", "Alpha", 9}, {"3", "alpha", 100}, {"4", "", 9}};
#define ROWS ((int64_t)(sizeof rows / sizeof rows[0]))

/* Two a page. */
static json_t *serve(void *arg, json_t *request, struct problem *problem)
{
    (void)arg;
    (void)problem;
    int64_t at = field_int(request, "after"), end = at + 2;
    json_t *items = json_array();
    json_decref(request);
    for (; at < end && at < ROWS; at++)
        json_array_append_new(items, json_pack("{s:s, s:s, s:i}", "id", rows[at].id, "name",
                                               rows[at].name, "size", rows[at].size));
    json_t *reply = json_pack("{s:b, s:o}", "ok", true, "items", items);
    if (at < ROWS)
        json_object_set_new(reply, "next", json_integer(at));
    return reply;
}

static bool append_id(void *arg, json_t *item)
{
    strcat(arg, field_text(item, "id"));
    return true;
}

static bool one_only(void *arg, json_t *item)
{
    (void)append_id(arg, item);
    return false;
}

static void assert_order(const char *key, bool reverse, const char *ids)
{
    struct order order = {key, reverse};
    struct problem problem;
    char seen[16] = "";
    assert_true(order_pages(serve, NULL, json_object(), &order, ROWS, append_id, seen, &problem));
    assert_string_equal(seen, ids);
}

static void test_orders(void **state)
{
    (void)state;
    assert_order("id", false, "1234");
    assert_order("id", true, "4321");
    assert_order("name", false, "4231"); /* equals by their ids */
    assert_order("name", true, "1324");
    assert_order("size", false, "2413");
    assert_order("size", true, "3142");
    assert_order("nothing", false, "1234");
}

static void test_stopped_early(void **state)
{
    (void)state;
    struct order order = {"size", true};
    struct problem problem;
    char seen[16] = "";
    assert_true(order_pages(serve, NULL, json_object(), &order, ROWS, one_only, seen, &problem));
    assert_string_equal(seen, "3");
}

static void test_too_many(void **state)
{
    (void)state;
    struct order order = {"size", false};
    struct problem problem;
    char seen[16] = "";
    assert_false(
        order_pages(serve, NULL, json_object(), &order, ROWS - 1, append_id, seen, &problem));
    assert_int_equal(problem.exit_code, CTL_FAILED);
    assert_non_null(strstr(problem.text, "more than 3 "));
    assert_string_equal(seen, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_stopped_early),
        cmocka_unit_test(test_too_many),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
