/* What a server says again of what it was told: as it is, in base64, cut off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "lib/redact.h"

static void expect(const struct redact *r, const char *text, const char *shown)
{
    char line[400];
    int len = snprintf(line, sizeof line, "%s", text);

    line[redact_apply(r, line, (size_t)len)] = '\0';
    assert_string_equal(line, shown);
}

static void test_secret(void **state)
{
    (void)state;
    struct redact r = {0};

    expect(&r, "no hunter22 here", "no hunter22 here");
    redact_secret(&r, "hunter22");
    redact_secret(&r, "hunter22");
    assert_int_equal(r.count, 2);
    expect(&r, "", "");
    expect(&r, "hunter22", "****");
    expect(&r, "PASS hunter22hunter22.", "PASS ********.");
    expect(&r, "hunter2 hunterhunter22", "hunter2 hunter****");
    expect(&r, "aHVudGVyMjI= and aHVudGVyMjI", "****= and ****");
    redact_clear(&r);
    assert_int_equal(r.count, 0);
    expect(&r, "hunter22", "hunter22");
}

static void test_short_and_empty(void **state)
{
    (void)state;
    struct redact r = {0};

    redact_secret(&r, "");
    redact_response(&r, "=");
    redact_response(&r, "");
    expect(&r, "a = b", "a = b");
    redact_secret(&r, "=");
    expect(&r, "a = b", "a * b");
    redact_clear(&r);
}

static void test_cut_off(void **state)
{
    (void)state;
    struct redact r = {0};

    redact_response(&r, "AG1hcmlhAGh1bnRlcjIyaHVudGVyMjI=");
    expect(&r, "what? AG1hcmlhAGh1bnRlcj...", "what? ****...");
    expect(&r, "what? AG1hcmlhAGh1bnRl", "what? ****");
    expect(&r, "what? AG1hcmlhAGh1bnR", "what? AG1hcmlhAGh1bnR");
    redact_clear(&r);
}

static void test_many_responses(void **state)
{
    (void)state;
    struct redact r = {0};
    char response[32];

    redact_secret(&r, "hunter22");
    for (int i = 0; i < 3 * REDACT_MAX; i++) {
        snprintf(response, sizeof response, "response%d", i);
        redact_response(&r, response);
    }
    assert_int_equal(r.count, REDACT_MAX);
    expect(&r, response, "****");
    expect(&r, "hunter22", "****");
    redact_clear(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_secret),
        cmocka_unit_test(test_short_and_empty),
        cmocka_unit_test(test_cut_off),
        cmocka_unit_test(test_many_responses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
