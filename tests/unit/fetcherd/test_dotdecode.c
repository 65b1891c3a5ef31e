/* The dot decoder: every split of every case gives what a slow decoder, written after the RFC's
 * words, gives; and plain text goes through in one span. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fetcherd/dotdecode.h"

struct output {
    char bytes[4096];
    size_t len;
    size_t spans;
    size_t stop_after; /* spans; 0 for never */
};

static bool collect(void *arg, const char *data, size_t len)
{
    struct output *out = arg;

    assert_true(len > 0);
    assert_true(out->len + len <= sizeof out->bytes);
    memcpy(out->bytes + out->len, data, len);
    out->len += len;
    out->spans++;
    return out->spans != out->stop_after;
}

/* Cuts at CRLF, compares the line with ".", takes one dot off. Returns octets used; 0: no end. */
static size_t decode_slowly(const char *in, size_t len, struct output *out)
{
    size_t at = 0;

    while (at < len) {
        const char *crlf = memmem(in + at, len - at, "\r\n", 2);
        if (!crlf)
            return 0;
        size_t line = (size_t)(crlf - (in + at));
        if (line == 1 && in[at] == '.')
            return at + 3;
        size_t dot = line && in[at] == '.';
        memcpy(out->bytes + out->len, in + at + dot, line + 2 - dot);
        out->len += line + 2 - dot;
        at += line + 2;
    }
    return 0;
}

static size_t decode_in_pieces(const char *in, size_t len, size_t first, size_t rest,
                               struct output *out, bool *ended)
{
    struct dotdecode d;
    size_t at = 0, chunk = first;

    dotdecode_init(&d);
    while (at < len && !dotdecode_ended(&d)) {
        size_t n = len - at < chunk ? len - at : chunk;
        size_t used = dotdecode_feed(&d, in + at, n, collect, out);
        assert_true(used == n || dotdecode_ended(&d));
        at += used;
        chunk = rest;
    }
    *ended = dotdecode_ended(&d);
    return at;
}

static void check(const char *in, size_t len)
{
    struct output want = {.len = 0};
    size_t used = decode_slowly(in, len, &want);

    for (size_t first = 1; first <= len; first++) {
        for (size_t rest = 1; rest <= len; rest += len > 8 ? len / 4 : 1) {
            struct output got = {.len = 0};
            bool ended;
            size_t at = decode_in_pieces(in, len, first, rest, &got, &ended);
            assert_int_equal(ended, used > 0);
            if (!ended)
                continue;
            assert_int_equal(at, used);
            assert_int_equal(got.len, want.len);
            assert_memory_equal(got.bytes, want.bytes, want.len);
        }
    }
}

#define CASE(text)                                                                                 \
    {                                                                                              \
        .bytes = text, .len = sizeof text - 1                                                      \
    }
static const struct {
    const char *bytes;
    size_t len;
} cases[] = {
    CASE(".\r\n"),
    CASE(".\r\nleft alone"),
    CASE("a\r\n.\r\n"),
    CASE("..\r\n.\r\n"),
    CASE("...\r\n.\r\n"),
    CASE(".a\r\n.\r\n"),
    CASE("a\n.\nb\r\n.\r\n"),
    CASE("a\r.\rb\r\n.\r\n"),
    CASE("a\n.\r\nb\r\n.\r\n"),
    CASE("a\r\n.\nb\r\n.\r\n"),
    CASE("a\r\n.\r.\r\n.\r\n"),
    CASE("a\r\n.\r\r\n.\r\n"),
    CASE("a\r\r\n.\r\n"),
    CASE("\r\n\r\n\n\n\r\n.\r\n"),
    CASE("a\0b\r\n.\0\r\n.\r\n"),
    CASE("glued.\r\n"),
    CASE("cut\r\n.\r"),
};

static void test_cases(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        check(cases[i].bytes, cases[i].len);
}

/* All strings of up to eight octets over the ones that matter. */
static void test_all_short_strings(void **state)
{
    (void)state;
    static const char alphabet[] = {'.', '\r', '\n', 'x'};
    char in[12];

    for (size_t len = 1; len <= 8; len++) {
        for (unsigned long n = 0; n < 1ul << (2 * len); n++) {
            for (size_t i = 0; i < len; i++)
                in[i] = alphabet[n >> (2 * i) & 3];
            memcpy(in + len, "\r\n.", 3);
            struct output want = {.len = 0}, got = {.len = 0};
            char whole[16];
            memcpy(whole, in, len);
            memcpy(whole + len, "\r\n.\r\n", 5);
            size_t used = decode_slowly(whole, len + 5, &want);
            bool ended;
            assert_int_equal(decode_in_pieces(whole, len + 5, n % 5 + 1, n % 3 + 1, &got, &ended),
                             used);
            assert_true(ended);
            assert_int_equal(got.len, want.len);
            assert_memory_equal(got.bytes, want.bytes, want.len);
        }
    }
}

static void test_plain_text_is_one_span(void **state)
{
    (void)state;
    static const char text[] = "From: a\r\nTo: b\r\n\r\nx.y\r\n z\r\n";
    struct dotdecode d;
    struct output out = {.len = 0};

    dotdecode_init(&d);
    assert_int_equal(dotdecode_feed(&d, text, sizeof text - 1, collect, &out), sizeof text - 1);
    assert_int_equal(out.spans, 1);
}

static void test_sink_stops(void **state)
{
    (void)state;
    static const char text[] = "a\r\n..b\r\n..c\r\n.\r\n";
    struct dotdecode d;
    struct output out = {.stop_after = 1};

    dotdecode_init(&d);
    assert_int_equal(dotdecode_feed(&d, text, sizeof text - 1, collect, &out), 3);
    assert_false(dotdecode_ended(&d));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_all_short_strings),
        cmocka_unit_test(test_plain_text_is_one_span),
        cmocka_unit_test(test_sink_stops),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
