/* Reply lines: gathered in any pieces, bounded, and read strictly. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "fetcherd/reply.h"

static void test_lines_in_pieces(void **state)
{
    (void)state;
    static const char wire[] = "+OK a\r\nb\nc\rd\r\n\r\n";
    static const char *const want[] = {"+OK a", "b", "c\rd", ""};
    struct reply_line line;

    for (size_t chunk = 1; chunk < sizeof wire; chunk++) {
        size_t lines = 0;
        reply_line_init(&line);
        for (size_t at = 0; at < sizeof wire - 1;) {
            size_t left = sizeof wire - 1 - at, used;
            enum reply_feed r =
                reply_line_feed(&line, wire + at, left < chunk ? left : chunk, &used);
            at += used;
            if (r != REPLY_LINE)
                continue;
            assert_int_equal(line.len, strlen(want[lines]));
            assert_memory_equal(line.text, want[lines], line.len);
            lines++;
        }
        assert_int_equal(lines, 4);
    }
}

static void test_line_has_a_ceiling(void **state)
{
    (void)state;
    static char much[REPLY_LINE_MAX + 1];
    struct reply_line line;
    size_t used;

    memset(much, 'x', sizeof much);
    reply_line_init(&line);
    assert_int_equal(reply_line_feed(&line, much, REPLY_LINE_MAX, &used), REPLY_MORE);
    assert_int_equal(reply_line_feed(&line, much, 1, &used), REPLY_TOO_LONG);
    reply_line_init(&line);
    assert_int_equal(reply_line_feed(&line, much, sizeof much, &used), REPLY_TOO_LONG);
}

static void test_only_ok_and_err(void **state)
{
    (void)state;
    static const char *const bad[] = {"",     "+",     "+ok",    "+Ok x", "+ERR", "-OK",
                                      "OK",   "+OK\t", "+OKAY",  "-err",  "-ER",  "-ERROR x",
                                      " +OK", "+ ",    "-ERR\t", "250 x"};
    struct reply reply = {.text_len = 77};

    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(reply_parse(bad[i], strlen(bad[i]), &reply));
    assert_int_equal(reply.text_len, 77);
    assert_true(reply_parse("+OK", 3, &reply));
    assert_true(reply.ok);
    assert_int_equal(reply.text_len, 0);
    assert_true(reply_parse("-ERR no\0t", 9, &reply));
    assert_false(reply.ok);
    assert_int_equal(reply.text_len, 4);
}

static const struct {
    const char *line, *code;
} codes[] = {
    {.line = "-ERR [IN-USE] locked", .code = "IN-USE"},
    {.line = "-ERR [SYS/TEMP] later", .code = "SYS/TEMP"},
    {.line = "+OK [x]", .code = "x"},
    {.line = "-ERR [unclosed", .code = NULL},
    {.line = "-ERR [] empty", .code = NULL},
    {.line = "-ERR later [AUTH]", .code = NULL},
};

static void test_response_codes(void **state)
{
    (void)state;
    struct reply reply;

    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        assert_true(reply_parse(codes[i].line, strlen(codes[i].line), &reply));
        assert_int_equal(reply.code != NULL, codes[i].code != NULL);
        if (!codes[i].code)
            continue;
        assert_int_equal(reply.code_len, strlen(codes[i].code));
        assert_memory_equal(reply.code, codes[i].code, reply.code_len);
    }
    assert_true(reply_parse("-ERR [sys/temp] x", 17, &reply));
    assert_true(reply_has_code(&reply, "SYS"));
    assert_true(reply_has_code(&reply, "SYS/TEMP"));
    assert_false(reply_has_code(&reply, "SY"));
    assert_false(reply_has_code(&reply, "SYS/PERM"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines_in_pieces),
        cmocka_unit_test(test_line_has_a_ceiling),
        cmocka_unit_test(test_only_ok_and_err),
        cmocka_unit_test(test_response_codes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
