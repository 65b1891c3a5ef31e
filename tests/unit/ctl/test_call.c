/* Longer answers in pages, ids from the command line, and lenient reading of reply fields. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/call.h"
#include "ctl/field.h"
#include "ctl/listing.h"

/* A daemon that gives the numbers 1 to `last`, `page` at a time. */
struct server {
    int last, page;
    int asked;
    bool stuck;  /* its cursor never moves */
    int fail_at; /* the request that fails; 0: none */
};

static json_t *serve(void *arg, json_t *request, struct problem *problem)
{
    struct server *server = arg;
    int64_t after = field_int(request, "after");
    json_t *items = json_array();
    assert_string_equal(field_text(request, "cmd"), "list");
    json_decref(request);
    if (++server->asked == server->fail_at) {
        json_decref(items);
        (void)problem_set(problem, CTL_DOWN, "gone");
        return NULL;
    }
    int64_t n = after;
    while (n < server->last && n < after + server->page)
        json_array_append_new(items, json_integer(++n));
    json_t *reply = json_pack("{s:b, s:o}", "ok", true, "items", items);
    if (n < server->last)
        json_object_set_new(reply, "next", json_integer(server->stuck ? 1 : n));
    return reply;
}

struct sum {
    int64_t total;
    int seen, stop_after;
};

static bool add(void *arg, json_t *item)
{
    struct sum *sum = arg;
    sum->total += json_integer_value(item);
    return ++sum->seen != sum->stop_after;
}

static void test_pages(void **state)
{
    (void)state;
    for (int page = 1; page <= 12; page++) {
        struct server server = {.last = 10, .page = page};
        struct sum sum = {0};
        struct problem problem;
        assert_true(call_pages(serve, &server, call_request("list"), add, &sum, &problem));
        assert_int_equal(sum.total, 55);
        assert_int_equal(server.asked, (10 + page - 1) / page);
    }
}

static void test_no_items(void **state)
{
    struct server server = {.last = 0, .page = 5};
    struct sum sum = {0};
    struct problem problem;
    (void)state;
    assert_true(call_pages(serve, &server, call_request("list"), add, &sum, &problem));
    assert_int_equal(sum.seen, 0);
    assert_int_equal(server.asked, 1);
}

static void test_stopped_early(void **state)
{
    struct server server = {.last = 10, .page = 3};
    struct sum sum = {.stop_after = 4};
    struct problem problem;
    (void)state;
    assert_true(call_pages(serve, &server, call_request("list"), add, &sum, &problem));
    assert_int_equal(sum.seen, 4);
    assert_int_equal(server.asked, 2);
}

static void test_stuck_cursor(void **state)
{
    struct server server = {.last = 10, .page = 1, .stuck = true};
    struct sum sum = {0};
    struct problem problem;
    (void)state;
    assert_false(call_pages(serve, &server, call_request("list"), add, &sum, &problem));
    assert_int_equal(problem.exit_code, CTL_FAILED);
    assert_int_equal(server.asked, 2);
}

static void test_failing_page(void **state)
{
    struct server server = {.last = 10, .page = 3, .fail_at = 2};
    struct sum sum = {0};
    struct problem problem;
    (void)state;
    assert_false(call_pages(serve, &server, call_request("list"), add, &sum, &problem));
    assert_int_equal(problem.exit_code, CTL_DOWN);
    assert_string_equal(problem.text, "gone");
    assert_int_equal(sum.seen, 3);
}

static void test_ids(void **state)
{
    char *good[] = {(char *)"01JD0VSM7N4C2T8RZ5K3W9XQHB", (char *)"01jd0vsm7n4c2t8rz5k3w9xqhc"};
    char *bad[] = {(char *)"", (char *)"01JD", (char *)"91JD0VSM7N4C2T8RZ5K3W9XQHB",
                   (char *)"01JD0VSM7N4C2T8RZ5K3W9XQHB.", (char *)"01JD0VSM7N4C2T8RZ5K3W9XQH/"};
    struct problem problem;
    (void)state;
    json_t *ids = listing_ids(good, 2, &problem);
    assert_int_equal(json_array_size(ids), 2);
    assert_string_equal(json_string_value(json_array_get(ids, 1)), "01JD0VSM7N4C2T8RZ5K3W9XQHC");
    json_decref(ids);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_null(listing_ids(&bad[i], 1, &problem));
        assert_int_equal(problem.exit_code, CTL_USAGE);
    }
}

static void test_fields(void **state)
{
    char buf[64];
    json_t *o = json_pack("{s:s, s:s, s:n, s:[s,s,s], s:s, s:s}", "name", "x", "at",
                          "2026-11-22T10:00:00Z", "null", "to", "a", "b", "c", "odd", "2026-11-22",
                          "zone", "2026-11-22T10:00:00+01:00");
    (void)state;
    assert_string_equal(field_text(o, "name"), "x");
    assert_string_equal(field_text(o, "null"), "");
    assert_string_equal(field_text(o, "none"), "");
    assert_string_equal(field_text(NULL, "name"), "");
    assert_int_equal(field_int(o, "name"), 0);
    assert_true(field_time(o, "at") == INT64_C(1795341600000));
    assert_true(field_time(o, "odd") == 0 && field_time(o, "zone") == 0 &&
                field_time(o, "to") == 0);
    assert_string_equal(field_list(o, "to", false, buf, sizeof buf), "a, b, c");
    assert_string_equal(field_list(o, "to", true, buf, sizeof buf), "a +2");
    assert_string_equal(field_list(o, "to", false, buf, 4), "a, ");
    assert_string_equal(field_list(o, "none", true, buf, sizeof buf), "");
    json_decref(o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pages),         cmocka_unit_test(test_no_items),
        cmocka_unit_test(test_stopped_early), cmocka_unit_test(test_stuck_cursor),
        cmocka_unit_test(test_failing_page),  cmocka_unit_test(test_ids),
        cmocka_unit_test(test_fields),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
