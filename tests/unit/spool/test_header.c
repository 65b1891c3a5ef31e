/* The walk through a header section: obsolete and broken forms, and every truncation. */
#include "spool/header.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"

/* "name=value|name=value|", with values unfolded, of what the walk finds. */
static char *walked(const char *text, size_t len, char *out, size_t size)
{
    struct header_walk walk = header_begin(text, len);
    size_t n = 0;
    out[0] = '\0';
    for (struct header_field field; header_next(&walk, &field);) {
        char value[200];
        assert_true(field.name >= text && field.name + field.name_len <= text + len);
        assert_true(field.value >= text && field.value + field.value_len <= text + len);
        header_unfold(&field, value, sizeof value);
        n +=
            (size_t)snprintf(out + n, size - n, "%.*s=%s|", (int)field.name_len, field.name, value);
    }
    return out;
}

static void test_table(void **state)
{
    (void)state;
#define CASE(in, out)                                                                              \
    {                                                                                              \
        in, sizeof(in) - 1, out                                                                    \
    }
    static const struct {
        const char *text;
        size_t len;
        const char *want;
    } cases[] = {
        CASE("", ""),
        CASE("\r\n", ""),
        CASE("\n", ""),
        CASE("\r", ""),
        CASE("A: b\r\nC: d\r\n\r\nE: f\r\n", "A=b|C=d|"),
        CASE("A: b\nC: d\n\nE: f\n", "A=b|C=d|"),
        CASE("A: b\r\nC: d\n\r\nE: f", "A=b|C=d|"),
        CASE("A: b", "A=b|"),
        CASE("A: b\r", "A=b|"),
        CASE("A:b\r\nB:\r\nC: \r\n", "A=b|B=|C=|"),
        CASE("A: b\r\n c\r\n\td\r\nE: f\r\n", "A=b c d|E=f|"),
        CASE("A:\r\n b\r\n", "A=b|"),
        CASE("A: b\r\n \r\n c\r\n", "A=b  c|"),  /* a folded line of blanks does not end it */
        CASE("A : b\r\nC\t: d\r\n", "A=b|C=d|"), /* RFC 5322 4.5 */
        CASE("A:b:c\r\n", "A=b:c|"),
        CASE("no colon\r\nA: b\r\n", "A=b|"),
        CASE("no colon\r\n folded: x\r\nA: b\r\n", "A=b|"),
        CASE("From x@y Mon Jan 1 00:00:00 2026\r\nA: b\r\n", "A=b|"),
        CASE(">From: x\r\nA: b\r\n", ">From=x|A=b|"),
        CASE(": no name\r\nA: b\r\n", "A=b|"),
        CASE(" starts folded: x\r\nA: b\r\n", "A=b|"),
        CASE("Gr\xc3\xbc\xc3\x9f"
             "e: x\r\nA: b\r\n",
             "A=b|"), /* no 8-bit in names */
        CASE("A b: x\r\nA: b\r\n", "A=b|"),
        CASE("A: \xff\xfe\r\n", "A=\xff\xfe|"),
        CASE("A: b\0c\x01"
             "d\te\x7f"
             "f\r\n",
             "A=b c d e f|"),
        CASE("A: b\rc\r\n", "A=b c|"), /* a bare CR joins no two words */
        CASE("A: b\r\r\nC: d\r\n", "A=b|C=d|"),
        CASE("A: b\r\r\n c\r\n", "A=b  c|"),
        CASE("\0\r\nA: b\r\n", "A=b|"),
        CASE("A: b\r\n\0\r\n\r\nC: d", "A=b|"),
        CASE("A: b  \t \r\n", "A=b|"),
    };
#undef CASE
    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[500];
        walked(cases[i].text, cases[i].len, out, sizeof out);
        if (strcmp(out, cases[i].want) != 0)
            fail_msg("case %zu: got \"%s\", wanted \"%s\"", i, out, cases[i].want);
    }
}

/* Cut after every byte, in memory that ends there: no byte behind the end is read, and the whole
 * fields before the cut are found as before. */
static void test_every_truncation(void **state)
{
    (void)state;
    static const char text[] =
        "Return-Path: <a@b>\r\nno colon here\r\nX : y\r\n folded\r\n"
        "\tmore\rbare\r\r\nEmpty:\r\nFrom: \xc3\xa4\0z <c@d>\r\n\r\nbody: x\r\n";
    char whole[500], out[500];
    walked(text, sizeof text - 1, whole, sizeof whole);
    assert_string_equal(whole, "Return-Path=<a@b>|X=y folded more bare|Empty=|"
                               "From=\xc3\xa4 z <c@d>|");
    for (size_t n = 0; n < sizeof text; n++) {
        char *tight = malloc(n > 0 ? n : 1);
        memcpy(tight, text, n);
        walked(tight, n, out, sizeof out);
        char *last = strrchr(out, '|');
        if (last != NULL) { /* all but the field that was cut */
            *last = '\0';
            last = strrchr(out, '|');
            assert_memory_equal(out, whole, last != NULL ? (size_t)(last - out) : 0);
        }
        free(tight);
    }
}

static void test_random_bytes(void **state)
{
    (void)state;
    static const char alphabet[] = "aB:: \t\r\r\n\n\n-<\0\xff";
    unsigned long long seed = 5322;
    for (int round = 0; round < 100000; round++) {
        size_t len = dice(&seed) % 60;
        char *tight = malloc(len > 0 ? len : 1), out[1000];
        for (size_t i = 0; i < len; i++)
            tight[i] = alphabet[dice(&seed) % (sizeof alphabet - 1)];
        walked(tight, len, out, sizeof out);
        for (const char *c = out; *c != '\0'; c++)
            assert_true((unsigned char)*c >= 32);
        free(tight);
    }
}

static void test_is(void **state)
{
    (void)state;
    static const char text[] = "return-PATH: x\r\n";
    struct header_walk walk = header_begin(text, sizeof text - 1);
    struct header_field field;
    assert_true(header_next(&walk, &field));
    assert_true(header_is(&field, "Return-Path"));
    assert_false(header_is(&field, "Return-Pat"));
    assert_false(header_is(&field, "Return-Path2"));
    assert_false(header_is(&field, ""));
    assert_false(header_next(&walk, &field));
    assert_false(header_next(&walk, &field)); /* and stays at the end */
}

static void test_unfold_is_cut(void **state)
{
    (void)state;
    static const char text[] = "A: one\r\n two three\r\n";
    struct header_walk walk = header_begin(text, sizeof text - 1);
    struct header_field field;
    assert_true(header_next(&walk, &field));
    for (size_t size = 1; size <= 16; size++) {
        char *out = malloc(size);
        assert_ptr_equal(header_unfold(&field, out, size), out);
        assert_true(strlen(out) < size);
        assert_memory_equal(out, "one two three", strlen(out));
        free(out);
    }
}

/* A megabyte of fields, of one field, and of nothing but colons, each in one pass. */
static void test_large(void **state)
{
    (void)state;
    size_t size = 1 << 20;
    char *text = malloc(size), value[100];
    static const char *const fills[] = {"A: b\r\n", "A: b\r\n ", ":", "A:", "\r\n ", "x", "a \t"};
    for (size_t i = 0; i < COUNT(fills); i++) {
        size_t n = strlen(fills[i]);
        for (size_t at = 0; at < size; at++)
            text[at] = fills[i][at % n];
        struct header_walk walk = header_begin(text, size);
        for (struct header_field field; header_next(&walk, &field);)
            header_unfold(&field, value, sizeof value);
    }
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),         cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_random_bytes),  cmocka_unit_test(test_is),
        cmocka_unit_test(test_unfold_is_cut), cmocka_unit_test(test_large),
    };
    return cmocka_run_group_tests_name("header", tests, NULL, NULL);
}
