/* Lists in a reply, whole and cut. */
#include "ctl/field.h"
#include "tests/unit/cmocka_all.h"

static const char *list(const char *json, bool brief)
{
    static char buf[64];
    json_t *object = json_loads(json, 0, NULL);
    assert_non_null(object);
    (void)field_list(object, "to", brief, buf, sizeof buf);
    json_decref(object);
    return buf;
}

static void test_list(void **state)
{
    (void)state;
    assert_string_equal(list("{\"to\":[\"a\",\"b\",\"c\"]}", false), "a, b, c");
    assert_string_equal(list("{\"to\":[\"a\",\"b\",\"c\"]}", true), "a +2");
    assert_string_equal(list("{\"to\":[\"a\"]}", true), "a");
    assert_string_equal(list("{\"to\":[]}", true), "");
    assert_string_equal(list("{\"to\":7}", true), "");
    assert_string_equal(list("{\"to\":[1,\"b\"]}", false), "?, b");
}

static void test_list_that_was_cut(void **state)
{
    (void)state;
    assert_string_equal(list("{\"to\":[\"a\",\"b\"],\"to_total\":1000}", false), "a, b +998");
    assert_string_equal(list("{\"to\":[\"a\",\"b\"],\"to_total\":1000}", true), "a +999");
    assert_string_equal(list("{\"to\":[\"a\",\"b\"],\"to_total\":2}", false), "a, b");
    assert_string_equal(list("{\"to\":[\"a\",\"b\"],\"to_total\":-1}", true), "a +1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),
        cmocka_unit_test(test_list_that_was_cut),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
