/* The reply parser and the reading of EHLO, whole and a byte at a time. */
#include "relayd/extension.h"
#include "relayd/reply.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static enum smtp_reply_status feed(struct smtp_reply_parser *parser, const char *bytes, size_t len,
                                   size_t piece)
{
    enum smtp_reply_status status = SMTP_REPLY_MORE;
    smtp_reply_reset(parser);
    for (size_t at = 0; at < len && status == SMTP_REPLY_MORE;) {
        size_t used = 0, n = len - at < piece ? len - at : piece;
        status = smtp_reply_feed(parser, bytes + at, n, &used);
        at += used;
    }
    return status;
}

static const struct smtp_reply *parse(struct smtp_reply_parser *parser, const char *text)
{
    struct smtp_reply_parser trickle;
    assert_int_equal(feed(parser, text, strlen(text), strlen(text)), SMTP_REPLY_DONE);
    assert_int_equal(feed(&trickle, text, strlen(text), 1), SMTP_REPLY_DONE);
    assert_memory_equal(&trickle.reply, &parser->reply, sizeof trickle.reply);
    return &parser->reply;
}

static void refuse(const char *text, size_t len, enum smtp_reply_error error)
{
    static struct smtp_reply_parser parser;
    assert_int_equal(feed(&parser, text, len, len), SMTP_REPLY_BAD);
    assert_int_equal(parser.error, error);
    assert_int_equal(feed(&parser, text, len, 1), SMTP_REPLY_BAD);
    assert_int_equal(parser.error, error);
    assert_non_null(smtp_reply_error_text(error));
    size_t used;
    assert_int_equal(smtp_reply_feed(&parser, "250 ok\r\n", 8, &used), SMTP_REPLY_BAD);
}

static void test_lines(void **state)
{
    (void)state;
    struct smtp_reply_parser parser;
    char line[64], cut[8];
    const struct smtp_reply *r = parse(&parser, "550-5.1.1 no\r\n550-5.1.1\r\n550 such user\r\n");
    assert_int_equal(r->code, 550);
    assert_int_equal(smtp_reply_class(r), 5);
    assert_int_equal(r->lines, 3);
    assert_int_equal(r->enhanced[0], 5);
    assert_int_equal(r->enhanced[2], 1);
    assert_string_equal(r->text, "5.1.1 no\n5.1.1\nsuch user");
    smtp_reply_format(r, line, sizeof line);
    assert_string_equal(line, "550 5.1.1 no 5.1.1 such user");
    smtp_reply_format(r, cut, sizeof cut);
    assert_string_equal(cut, "550 5.1");
}

static void test_plain(void **state)
{
    (void)state;
    struct smtp_reply_parser parser;
    char line[64];
    assert_int_equal(parse(&parser, "250\r\n")->text_len, 0);
    smtp_reply_format(&parser.reply, line, sizeof line);
    assert_string_equal(line, "250");
    assert_string_equal(parse(&parser, "250 \r\n")->text, "");
    assert_string_equal(parse(&parser, "354 go\n")->text, "go");
    assert_int_equal(parse(&parser, "250-\r\n250 a\r\n")->lines, 2);
    assert_int_equal(parse(&parser, "599 x\r\n")->code, 599);
}

static void test_enhanced(void **state)
{
    (void)state;
    struct smtp_reply_parser parser;
    assert_int_equal(parse(&parser, "250 2.1.5 ok\r\n")->enhanced[2], 5);
    assert_int_equal(parse(&parser, "452 4.3.1\r\n")->enhanced[1], 3);
    assert_int_equal(parse(&parser, "550 4.1.1 class differs\r\n")->enhanced[0], 0);
    assert_int_equal(parse(&parser, "550 5.1 short\r\n")->enhanced[0], 0);
    assert_int_equal(parse(&parser, "550 5.1.1x\r\n")->enhanced[0], 0);
    assert_int_equal(parse(&parser, "550 5.1000.1 x\r\n")->enhanced[0], 0);
}

static void test_takes_one_reply(void **state)
{
    (void)state;
    struct smtp_reply_parser parser;
    size_t used = 0;
    smtp_reply_reset(&parser);
    assert_int_equal(smtp_reply_feed(&parser, "250 a\r\n354 b\r\n", 14, &used), SMTP_REPLY_DONE);
    assert_int_equal(used, 7);
    assert_string_equal(parser.reply.text, "a");
}

static void test_refused(void **state)
{
    (void)state;
    char *big = malloc(4096);
    refuse("199 x\r\n", 7, SMTP_REPLY_BAD_CODE);
    refuse("600 x\r\n", 7, SMTP_REPLY_BAD_CODE);
    refuse("\r\n", 2, SMTP_REPLY_BAD_CODE);
    refuse("25\r\n", 4, SMTP_REPLY_BAD_CODE);
    refuse("25\0 x\r\n", 7, SMTP_REPLY_BAD_CODE);
    refuse("-50 x\r\n", 7, SMTP_REPLY_BAD_CODE);
    refuse("250x\r\n", 6, SMTP_REPLY_BAD_SEP);
    refuse("250\tx\r\n", 7, SMTP_REPLY_BAD_SEP);
    refuse("250-a\r\n550 b\r\n", 14, SMTP_REPLY_MIXED);
    memset(big, '2', 4096);
    refuse(big, 4096, SMTP_REPLY_LONG_LINE);
    size_t len = 0;
    for (int i = 0; i <= SMTP_REPLY_LINES_MAX; i++, len += 7)
        memcpy(big + len, "250-a\r\n", 7);
    refuse(big, len, SMTP_REPLY_MANY_LINES);
    free(big);
}

static void test_limits_are_reachable(void **state)
{
    (void)state;
    static struct smtp_reply_parser parser;
    static char text[SMTP_REPLY_LINES_MAX * (SMTP_REPLY_LINE_MAX + 1) + 1];
    size_t len = 0;
    for (int i = 1; i <= SMTP_REPLY_LINES_MAX; i++) {
        memset(text + len, 'x', SMTP_REPLY_LINE_MAX);
        memcpy(text + len, i < SMTP_REPLY_LINES_MAX ? "250-" : "250 ", 4);
        text[len + SMTP_REPLY_LINE_MAX - 1] = '\r';
        text[len + SMTP_REPLY_LINE_MAX] = '\n';
        len += SMTP_REPLY_LINE_MAX + 1;
    }
    const struct smtp_reply *r = parse(&parser, text);
    assert_int_equal(r->lines, SMTP_REPLY_LINES_MAX);
    assert_int_equal(r->text_len, SMTP_REPLY_TEXT_MAX - 1);
}

static void test_text_is_safe(void **state)
{
    (void)state;
    struct smtp_reply_parser parser;
    assert_string_equal(parse(&parser, "550 \x1b[31m\x80\xc3\xa9\r\r\n")->text, "?[31m????");
}

static void test_random_bytes(void **state)
{
    (void)state;
    static const char alphabet[] = "0125-. \r\n\0x";
    struct smtp_reply_parser whole, trickle;
    char text[64];
    srandom(1);
    for (int round = 0; round < 100000; round++) {
        size_t len = (size_t)random() % sizeof text;
        for (size_t i = 0; i < len; i++)
            text[i] = alphabet[(size_t)random() % (sizeof alphabet - 1)];
        if (random() % 2 && len > 3)
            memcpy(text, "250", 3);
        assert_int_equal(feed(&whole, text, len, len ? len : 1), feed(&trickle, text, len, 1));
        assert_int_equal(whole.error, trickle.error);
        assert_memory_equal(&whole.reply, &trickle.reply, sizeof whole.reply);
    }
}

static void test_extensions(void **state)
{
    (void)state;
    static struct smtp_reply_parser parser;
    struct smtp_extensions x;
    smtp_extensions_parse(&x, parse(&parser,
                                    "250-SIZE PIPELINING\r\n250-pipelining\r\n250-SIZE 10485760\r\n"
                                    "250-8BITMIME\r\n250-AUTH PLAIN LOGIN\r\n250-STARTTLS\r\n"
                                    "250-CHUNKING\r\n250-DSN\r\n250-XCLIENT ADDR "
                                    "NAME\r\n250-XFORWARD HELO\r\n250-XFOO bar\r\n250-\r\n"
                                    "250-ENHANCEDSTATUSCODES\r\n250 SMTPUTF8\r\n"));
    for (int i = 0; i < SMTP_EXTENSIONS; i++) {
        assert_true(smtp_extensions_has(&x, (enum smtp_extension)i));
        assert_non_null(smtp_extension_name((enum smtp_extension)i));
    }
    assert_int_equal(x.size_limit, 10485760);
    assert_string_equal(x.auth, "PLAIN LOGIN");
    assert_string_equal(x.xclient, "ADDR NAME");
    assert_string_equal(x.xforward, "HELO");
}

static uint64_t size_of(const char *line)
{
    static struct smtp_reply_parser parser;
    struct smtp_extensions x;
    char text[128];
    snprintf(text, sizeof text, "250-x\r\n250 %s\r\n", line);
    smtp_extensions_parse(&x, parse(&parser, text));
    return x.size_limit;
}

static void test_extension_oddities(void **state)
{
    (void)state;
    static struct smtp_reply_parser parser;
    struct smtp_extensions x;
    assert_int_equal(size_of("SIZE"), 0);
    assert_int_equal(size_of("SIZE 0"), 0);
    assert_int_equal(size_of("SIZE -1"), 0);
    assert_int_equal(size_of("SIZE 12x"), 0);
    assert_true(size_of("SIZE 99999999999999999999999") == UINT64_MAX);
    smtp_extensions_parse(&x, parse(&parser, "250 PIPELINING\r\n"));
    assert_int_equal(x.offered, 0); /* the first line is the server's name */
    smtp_extensions_parse(&x, parse(&parser, "250-x\r\n250 AUTH=LOGIN\r\n"));
    assert_string_equal(x.auth, "LOGIN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lines),        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_enhanced),     cmocka_unit_test(test_takes_one_reply),
        cmocka_unit_test(test_refused),      cmocka_unit_test(test_limits_are_reachable),
        cmocka_unit_test(test_text_is_safe), cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_extensions),   cmocka_unit_test(test_extension_oddities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
