/* Words and tables for people: widths, cuts, escapes, and what gives way on a narrow screen. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/print.h"
#include "ctl/table.h"

static void test_width(void **state)
{
    (void)state;
    assert_int_equal(print_width(""), 0);
    assert_int_equal(print_width("plain"), 5);
    assert_int_equal(print_width("Größe"), 5);
    assert_int_equal(print_width("e\xCC\x81t\xC3\xA9"), 3); /* a combining accent takes no column */
    assert_int_equal(print_width("日本語"), 6);
    assert_int_equal(print_width("📧"), 2);
}

static void check_cut(const char *text, int width, const char *expected)
{
    char buf[64];
    (void)snprintf(buf, sizeof buf, "%s", text);
    print_cut(buf, sizeof buf, width);
    assert_string_equal(buf, expected);
}

static void test_cut(void **state)
{
    (void)state;
    check_cut("short", 5, "short");
    check_cut("longer", 5, "long…");
    check_cut("日本語", 6, "日本語");
    check_cut("日本語", 5, "日本…");
    check_cut("日本語", 4, "日…"); /* never half of a wide one */
    check_cut("ab", 1, "…");
    check_cut("ab", 0, "");
    char tight[] = "abcd"; /* no room for the three bytes of "…" behind the last cut */
    print_cut(tight, sizeof tight, 3);
    assert_string_equal(tight, "ab");
}

static void test_size(void **state)
{
    static const struct {
        uint64_t bytes;
        const char *text;
    } cases[] = {
        {0, "0"},          {999, "999"},          {1023, "1023"},          {1024, "1.0K"},
        {10752, "10.5K"},  {11010048, "10.5M"},   {150 * 1048576, "150M"}, {1073741824, "1.0G"},
        {1048575, "1.0M"}, {UINT64_MAX, "16.0E"},
    };
    char buf[PRINT_SHORT];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(print_size(cases[i].bytes, buf), cases[i].text);
}

static void test_when(void **state)
{
    const int64_t now = 1800000000000;
    static const struct {
        int64_t ms; /* from now */
        const char *text;
    } cases[] = {
        {0, "now"},           {999, "now"},          {-500, "now"},         {-1000, "1s ago"},
        {-180000, "3m ago"},  {120000, "in 2m"},     {-5400000, "90m ago"}, {-7200000, "2h ago"},
        {172800000, "in 2d"}, {-119000, "119s ago"}, {90061000, "in 25h"},
    };
    char buf[PRINT_SHORT];
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        assert_string_equal(print_when(now + cases[i].ms, now, buf), cases[i].text);
    assert_string_equal(print_when(0, now, buf), "");
}

static void test_duration(void **state)
{
    char buf[PRINT_SHORT];
    (void)state;
    assert_string_equal(print_duration(900000, buf), "15m");
    assert_string_equal(print_duration(3600000, buf), "1h");
    assert_string_equal(print_duration(86400000, buf), "1d");
    assert_string_equal(print_duration(1500, buf), "1s");
    assert_string_equal(print_duration(0, buf), "0s");
}

/* What table_print writes, on a screen without colour of this width. */
static char *printed(const struct table *table, int width, bool colour)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    struct screen screen = {.out = out, .width = width, .colour = colour};
    table_print(table, &screen);
    (void)fclose(out);
    return text;
}

static const struct table_column columns[] = {
    {.title = "ID"},
    {.title = "SENDER", .least = 6, .drop = 1},
    {.title = "SIZE", .right = true, .drop = 2},
    {.title = "REASON", .least = 6},
    {.title = NULL},
};

static struct table *sample(void)
{
    struct table *table = table_new(columns);
    table_add(table, (const char *[]){"01", "anna@corp.example", "10.5M", "550 5.7.1 refused"});
    table_add(table, (const char *[]){"02", "<>", "7", NULL});
    return table;
}

static void check_table(const struct table *table, int width, const char *expected)
{
    char *text = printed(table, width, false);
    assert_string_equal(text, expected);
    free(text);
}

static void test_table_whole(void **state)
{
    struct table *table = sample();
    (void)state;
    check_table(table, 0,
                "ID  SENDER              SIZE  REASON\n"
                "01  anna@corp.example  10.5M  550 5.7.1 refused\n"
                "02  <>                     7\n");
    assert_int_equal(table_rows(table), 2);
    table_free(table);
}

static void test_table_cut(void **state)
{
    struct table *table = sample();
    (void)state;
    check_table(table, 34,
                "ID  SENDER       SIZE  REASON\n"
                "01  anna@corp…  10.5M  550 5.7.1 …\n"
                "02  <>              7\n");
    table_free(table);
}

static void test_table_drop(void **state)
{
    struct table *table = sample();
    (void)state;
    check_table(table, 20, /* SIZE went, and its room went to the others */
                "ID  SENDER   REASON\n"
                "01  anna@c…  550 5.…\n"
                "02  <>\n");
    check_table(table, 12, /* SENDER too */
                "ID  REASON\n"
                "01  550 5.7…\n"
                "02\n");
    table_free(table);
}

static void test_table_never_wider(void **state)
{
    struct table *table = sample();
    (void)state;
    for (int width = 10; width < 60; width++) {
        char *text = printed(table, width, false), *at = NULL;
        for (char *line = strtok_r(text, "\n", &at); line; line = strtok_r(NULL, "\n", &at))
            assert_true(print_width(line) <= width);
        free(text);
    }
    table_free(table);
}

static void test_table_escapes(void **state)
{
    struct table *table = table_new(columns);
    (void)state;
    table_add(table, (const char *[]){"01", "\033[2J", "1", "line\r\nline \xFF"});
    check_table(table, 0,
                "ID  SENDER   SIZE  REASON\n"
                "01  \\x1B[2J     1  line\\x0D\\x0Aline \\xFF\n");
    table_free(table);
}

static void test_colour(void **state)
{
    struct table *table = table_new(columns);
    (void)state;
    table_add(table, (const char *[]){"01", "a", "1", "bad"});
    table_style(table, 3, PRINT_BAD);
    char *text = printed(table, 0, true);
    assert_non_null(strstr(text, "\033[31mbad\033[0m"));
    free(text);
    check_table(table, 0, "ID  SENDER  SIZE  REASON\n01  a          1  bad\n");
    table_free(table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_cut),
        cmocka_unit_test(test_size),
        cmocka_unit_test(test_when),
        cmocka_unit_test(test_duration),
        cmocka_unit_test(test_table_whole),
        cmocka_unit_test(test_table_cut),
        cmocka_unit_test(test_table_drop),
        cmocka_unit_test(test_table_never_wider),
        cmocka_unit_test(test_table_escapes),
        cmocka_unit_test(test_colour),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
