/* The command line: options anywhere among the words, slips of the finger, addresses and ports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/option.h"

#define WORDS_MAX 16

static bool parse(const char *line, struct args *args, struct error *err)
{
    static char text[512];
    static char *argv[WORDS_MAX + 1];
    char *at = NULL;
    int argc = 0;
    (void)snprintf(text, sizeof text, "popferryctl|%s", line);
    for (char *word = strtok_r(text, "|", &at); word != NULL && argc < WORDS_MAX;
         word = strtok_r(NULL, "|", &at))
        argv[argc++] = word;
    argv[argc] = NULL;
    return option_parse(argc, argv, args, err);
}

static void test_anywhere(void **state)
{
    static const char *const lines[] = {
        "account|show|sales|-c|FILE|--json",
        "-c|FILE|--json|account|show|sales",
        "account|--json|show|-cFILE|sales",
        "--config=FILE|account|show|--json|sales",
    };
    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof lines[0]; i++) {
        struct args args;
        assert_true(parse(lines[i], &args, NULL));
        assert_int_equal(args.count, 3);
        assert_string_equal(args.words[0], "account");
        assert_string_equal(args.words[2], "sales");
        assert_string_equal(args.value[OPTION_CONFIG], "FILE");
        assert_non_null(args.value[OPTION_JSON]);
        assert_null(args.value[OPTION_VERBOSE]);
        assert_int_equal(args.given, OPTION_BIT(OPTION_CONFIG) | OPTION_BIT(OPTION_JSON));
        option_free(&args);
    }
}

static void test_end_of_options(void **state)
{
    struct args args;
    (void)state;
    assert_true(parse("fetch|--|--all", &args, NULL));
    assert_int_equal(args.count, 2);
    assert_string_equal(args.words[1], "--all");
    assert_null(args.value[OPTION_ALL]);
    option_free(&args);
}

static void test_last_counts(void **state)
{
    struct args args;
    (void)state;
    assert_true(parse("x|--port|1|--port|2", &args, NULL));
    assert_string_equal(args.value[OPTION_PORT], "2");
    option_free(&args);
}

static void test_deliver_to(void **state)
{
    struct args args;
    (void)state;
    assert_true(parse("x|--deliver-to|a@x, b@x ,,|--deliver-to|c@x", &args, NULL));
    assert_int_equal(json_array_size(args.deliver_to), 3);
    assert_string_equal(json_string_value(json_array_get(args.deliver_to, 0)), "a@x");
    assert_string_equal(json_string_value(json_array_get(args.deliver_to, 1)), "b@x");
    assert_string_equal(json_string_value(json_array_get(args.deliver_to, 2)), "c@x");
    option_free(&args);
}

static void test_to(void **state)
{
    (void)state;
    struct args args;
    assert_true(parse("x|--to|a@x, b|--deliver-to|c@x|--to|,", &args, NULL));
    assert_int_equal(json_array_size(args.to), 2);
    assert_string_equal(json_string_value(json_array_get(args.to, 1)), "b");
    assert_int_equal(json_array_size(args.deliver_to), 1);
    assert_true((args.given & OPTION_BIT(OPTION_TO)) != 0);
    assert_true((args.given & OPTION_BIT(OPTION_MAIL)) == 0);
    option_free(&args);
}

static void test_refused(void **state)
{
    static const struct {
        const char *line, *text;
    } cases[] = {
        {"x|--port", "--port needs a value"},
        {"x|-c", "-c needs a value"},
        {"x|-z", "unknown option -z"},
        {"x|--jsno", "unknown option --jsno; did you mean --json?"},
        {"x|--sever=a", "unknown option --sever; did you mean --server?"},
        {"x|--nothing-like-it", "unknown option --nothing-like-it"},
        {"x|--json=yes", "--json takes no value"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct args args = {.count = 77};
        struct error err = {0};
        assert_false(parse(cases[i].line, &args, &err));
        assert_int_equal(err.kind, ERROR_USAGE);
        assert_string_equal(err.text, cases[i].text);
        assert_int_equal(args.count, 77); /* untouched */
    }
}

static void test_nearest(void **state)
{
    static const char *const names[] = {"status", "fetch", "queue", "badmail list", "retry", NULL};
    (void)state;
    assert_string_equal(option_nearest("staus", names), "status");
    assert_string_equal(option_nearest("fecth", names), "fetch");
    assert_string_equal(option_nearest("badmial lsit", names), "badmail list");
    assert_string_equal(option_nearest("que", names), "queue");
    assert_null(option_nearest("xyzzy", names));
    assert_null(option_nearest("", names));
    assert_null(
        option_nearest("a word that is longer than any buffer for it in the function", names));
}

static void test_port(void **state)
{
    static const char *const bad[] = {"",   "0",  "65536", "-1",
                                      "+1", " 1", "1x",    "999999999999999999999"};
    int port = 7;
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
        assert_false(option_port(bad[i], &port));
    assert_int_equal(port, 7);
    assert_true(option_port("65535", &port));
    assert_int_equal(port, 65535);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_anywhere),    cmocka_unit_test(test_end_of_options),
        cmocka_unit_test(test_last_counts), cmocka_unit_test(test_deliver_to),
        cmocka_unit_test(test_to),          cmocka_unit_test(test_refused),
        cmocka_unit_test(test_nearest),     cmocka_unit_test(test_port),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
