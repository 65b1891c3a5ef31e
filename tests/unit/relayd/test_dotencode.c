/* The push encoder against the plainest one there is, on chosen and on random bodies, cut anywhere.
 */
#include "relayd/dotencode.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { BODY_MAX = 300, ROUNDS = 60000 };

/* Two passes, a byte at a time: line ends first, then dots. */
static size_t reference(const char *in, size_t len, char *out)
{
    char lines[2 * BODY_MAX + 2];
    size_t n = 0, o = 0;
    for (size_t i = 0; i < len; i++) {
        if (in[i] == '\r' || in[i] == '\n') {
            lines[n++] = '\r';
            lines[n++] = '\n';
            if (in[i] == '\r' && i + 1 < len && in[i + 1] == '\n')
                i++;
        } else {
            lines[n++] = in[i];
        }
    }
    if (n > 0 && lines[n - 1] != '\n') {
        lines[n++] = '\r';
        lines[n++] = '\n';
    }
    for (size_t i = 0; i < n; i++) {
        bool at_start = i == 0 || lines[i - 1] == '\n';
        size_t first = i;
        while (at_start && first < n && lines[first] == '\0')
            first++;
        if (at_start && first < n && lines[first] == '.')
            out[o++] = '.';
        out[o++] = lines[i];
    }
    memcpy(out + o, ".\r\n", 3);
    return o + 3;
}

/* `cut` gives the length of the next piece. */
static size_t encode(const char *in, size_t len, char *out, size_t (*cut)(size_t left))
{
    struct dot_encoder encoder;
    size_t o = 0;
    dot_encode_init(&encoder, true);
    for (size_t at = 0; at < len;) {
        size_t piece = cut(len - at);
        char *exact = malloc(piece ? piece : 1); /* so that a sanitizer sees a read too far */
        memcpy(exact, in + at, piece);
        size_t n = dot_encode(&encoder, exact, piece, out + o);
        assert_true(n <= piece * DOT_ENCODE_GROWTH + DOT_ENCODE_HELD_MAX);
        free(exact);
        o += n;
        at += piece;
    }
    return o + dot_encode_end(&encoder, out + o);
}

static size_t cut_none(size_t left)
{
    return left;
}

static size_t cut_bytes(size_t left)
{
    (void)left;
    return 1;
}

static size_t cut_random(size_t left)
{
    return (size_t)random() % (left + 1);
}

static void check(const char *in, size_t len)
{
    size_t (*const cuts[])(size_t) = {cut_none, cut_bytes, cut_random};
    char want[4 * BODY_MAX + 8], got[4 * BODY_MAX + DOT_ENCODE_HELD_MAX + 8];
    size_t want_len = reference(in, len, want);
    for (size_t i = 0; i < sizeof cuts / sizeof *cuts; i++) {
        size_t got_len = encode(in, len, got, cuts[i]);
        assert_int_equal(got_len, want_len);
        assert_memory_equal(got, want, want_len);
    }
}

static void expect(const char *in, const char *want)
{
    char got[256];
    check(in, strlen(in));
    size_t len = encode(in, strlen(in), got, cut_none);
    got[len] = '\0';
    assert_string_equal(got, want);
}

static void test_chosen(void **state)
{
    (void)state;
    expect("", ".\r\n");
    expect("a", "a\r\n.\r\n");
    expect("a\r\n", "a\r\n.\r\n");
    expect("\n.\n", "\r\n..\r\n.\r\n");
    expect(".\r\n", "..\r\n.\r\n");
    expect("a\n.\r\nMAIL FROM:<x>\r\n", "a\r\n..\r\nMAIL FROM:<x>\r\n.\r\n");
    expect("a\r.\rb", "a\r\n..\r\nb\r\n.\r\n");
    expect("a\r\r\nb\n\r", "a\r\n\r\nb\r\n\r\n.\r\n");
    expect("\r", "\r\n.\r\n");
    expect("...\r\n.a", "....\r\n..a\r\n.\r\n");
}

static void test_nul_passes(void **state)
{
    (void)state;
    char got[16];
    size_t len = encode("x\0.\0\n.\0", 7, got, cut_none);
    assert_int_equal(len, 14);
    assert_memory_equal(got, "x\0.\0\r\n..\0\r\n.\r\n", 14);
}

/* NULs and what is behind them, once as one piece and once a byte at a time. */
static size_t behind_nuls(size_t nuls, const char *rest, char *out, size_t (*cut)(size_t))
{
    size_t len = strlen(rest);
    char *in = calloc(1, nuls + len);
    memcpy(in + nuls, rest, len);
    size_t n = encode(in, nuls + len, out, cut);
    free(in);
    return n;
}

static void test_dot_behind_nuls(void **state)
{
    (void)state;
    enum { MOST = DOT_ENCODE_HELD_MAX };
    static char got[4 * MOST];
    static const size_t counts[] = {1, 2, MOST - 1, MOST};
    size_t (*const cuts[])(size_t) = {cut_none, cut_bytes, cut_random};
    for (size_t i = 0; i < 4 * 3; i++) {
        size_t nuls = counts[i % 4];
        assert_int_equal(behind_nuls(nuls, ".\r\n", got, cuts[i / 4]), nuls + 7);
        assert_true(got[0] == '.' && got[1] == '\0');
        assert_memory_equal(got + nuls, "\0.\r\n.\r\n", 7);
        assert_int_equal(behind_nuls(nuls, "x.", got, cuts[i / 4]), nuls + 7);
        assert_memory_equal(got + nuls - 1, "\0x.\r\n.\r\n", 8);
        assert_int_equal(behind_nuls(nuls, "", got, cuts[i / 4]), nuls + 5);
        assert_memory_equal(got + nuls - 1, "\0\r\n.\r\n", 6);
    }
    /* No line may be that long; who drops NULs is not deceived all the same. */
    size_t len = behind_nuls(3 * MOST, ".\r\n", got, cut_bytes), seen = 0;
    for (size_t i = 0; i < len; i++)
        if (got[i] != '\0')
            got[seen++] = got[i];
    assert_int_equal(len - seen, 3 * MOST);
    assert_int_equal(seen, 7);
    assert_memory_equal(got, "..\r\n.\r\n", 7);
}

static void test_random(void **state)
{
    (void)state;
    static const char alphabet[] = {'\r', '\n', '.', '\0', 'x', '\r', '\n', '.', '\xff'};
    char body[BODY_MAX];
    srandom(4711);
    for (int round = 0; round < ROUNDS; round++) {
        size_t len = (size_t)random() % (round % 10 ? 12 : BODY_MAX);
        for (size_t i = 0; i < len; i++)
            body[i] = alphabet[(size_t)random() % sizeof alphabet];
        check(body, len);
    }
}

/* Whatever a server takes for a line end, no lone dot stands between two of them before the end. */
static void test_no_smuggling(void **state)
{
    (void)state;
    static const char alphabet[] = {'\r', '\n', '.'};
    char body[8], out[64];
    for (unsigned code = 0; code < 2187; code++) { /* 3^7 */
        unsigned rest = code;
        for (size_t i = 0; i < 7; i++, rest /= 3)
            body[i] = alphabet[rest % 3];
        size_t len = encode(body, 7, out, cut_random);
        for (size_t i = 0; i < len; i++) {
            if (out[i] == '\r')
                assert_true(i + 1 < len && out[i + 1] == '\n');
            if (out[i] == '\n')
                assert_true(i > 0 && out[i - 1] == '\r');
            if (out[i] == '.' && (i == 0 || out[i - 1] == '\n') && out[i + 1] == '\r')
                assert_int_equal(i + 3, len);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_chosen),          cmocka_unit_test(test_nul_passes),
        cmocka_unit_test(test_dot_behind_nuls), cmocka_unit_test(test_random),
        cmocka_unit_test(test_no_smuggling),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
