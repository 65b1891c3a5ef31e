/* Header sections as filters want them. */
#include "hygiene/edit.h"
#include "spool/envelope.h"
#include "spool/header.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"
#include <gmime/gmime.h>

static void expect(const struct edits *edits, const char *header, const char *want)
{
    size_t len;
    char *got = edits_apply(edits, header, strlen(header), &len);
    assert_int_equal(len, strlen(want));
    assert_memory_equal(got, want, len);
    free(got);
}

static void nothing_is_changed_without_edits(void **state)
{
    (void)state;
    struct edits none = {0};
    expect(&none, "A: 1\r\nB: 2\n\r\n", "A: 1\r\nB: 2\n\r\n");
    expect(&none, "no header\n", "no header\n");
    expect(&none, "", "");
}

static void added_at_the_top_in_order(void **state)
{
    (void)state;
    struct edits edits = {0};
    assert_true(edits_add(&edits, "X-A", "1"));
    assert_true(edits_add(&edits, "X-B", " 2 "));
    expect(&edits, "A: 1\r\n\r\n", "X-A: 1\r\nX-B:  2\r\nA: 1\r\n\r\n");
    expect(&edits, "\r\n", "X-A: 1\r\nX-B:  2\r\n\r\n");
    expect(&edits, "From me Mon\nA: 1\n\n", "From me Mon\nX-A: 1\r\nX-B:  2\r\nA: 1\n\n");
    expect(&edits, "From : a\nA: 1\n\n", "X-A: 1\r\nX-B:  2\r\nFrom : a\nA: 1\n\n");
    edits_free(&edits);
}

static void removed_by_number(void **state)
{
    static const char header[] = "A: 1\r\nB: x\r\n\ty\r\na : 2\r\nodd\r\nA: 3\r\n\r\n";
    static const struct {
        int nth;
        const char *want;
    } cases[] = {
        {0, "B: x\r\n\ty\r\nodd\r\n\r\n"},
        {1, "B: x\r\n\ty\r\na : 2\r\nodd\r\nA: 3\r\n\r\n"},
        {2, "A: 1\r\nB: x\r\n\ty\r\nodd\r\nA: 3\r\n\r\n"},
        {-1, "A: 1\r\nB: x\r\n\ty\r\na : 2\r\nodd\r\n\r\n"},
        {-3, "B: x\r\n\ty\r\na : 2\r\nodd\r\nA: 3\r\n\r\n"},
        {4, header},
        {-4, header},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct edits edits = {0};
        assert_true(edits_remove(&edits, "A", cases[i].nth));
        expect(&edits, header, cases[i].want);
        edits_free(&edits);
    }
}

static void values_stay_within_their_field(void **state)
{
    static const struct {
        const char *value, *line;
    } cases[] = {
        {"plain", "X: plain\r\n"},
        {"one,\n\ttwo,\r\n three", "X: one,\r\n\ttwo,\r\n three\r\n"},
        {"a\r\nEvil: 1", "X: a Evil: 1\r\n"},
        {"a\n\nbody", "X: a  body\r\n"},
        {"a\n \nbody", "X: a   body\r\n"},
        {"a\rb\x01 \x7f", "X: a b\r\n"},
        {"\n", "X: \r\n"},
        {"a\n ", "X: a\r\n"},
        {"gr\xc3\xbc\xc3\x9f", "X: gr\xc3\xbc\xc3\x9f\r\n"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct edits edits = {0};
        char want[100];
        print_message("%zu\n", i);
        assert_true(edits_add(&edits, "X", cases[i].value));
        (void)snprintf(want, sizeof want, "%sA: 1\n\n", cases[i].line);
        expect(&edits, "A: 1\n\n", want);
        edits_free(&edits);
    }
}

static void names_that_are_none(void **state)
{
    static const char *const bad[] = {"", "a b", "a:", "a\n", "\xc3\xbc", "a\x7f"};
    struct edits edits = {0};
    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        assert_false(edits_add(&edits, bad[i], "v"));
        assert_false(edits_remove(&edits, bad[i], 0));
    }
    for (int i = 0; i < EDIT_MAX; i++)
        assert_true(edits_add(&edits, "A", "v"));
    assert_false(edits_add(&edits, "A", "v"));
    assert_false(edits_subject(&edits, "s"));
    edits_free(&edits);
}

static void long_lines_are_folded(void **state)
{
    (void)state;
    struct edits edits = {0};
    size_t len, longest = 0;
    char value[EDIT_VALUE_MAX];
    for (size_t i = 0; i + 1 < sizeof value; i++)
        value[i] = i % 40 == 39 ? ' ' : 'w';
    value[sizeof value - 1] = '\0';
    assert_true(edits_add(&edits, "X-Long", value));
    char *got = edits_apply(&edits, "A: 1\r\n\r\n", 8, &len), unfolded[2 * EDIT_VALUE_MAX];
    size_t n = 0;
    for (const char *at = got, *end; at < got + len; at = end + 2) {
        end = memmem(at, (size_t)(got + len - at), "\r\n", 2);
        assert_non_null(end);
        longest = (size_t)(end - at) > longest ? (size_t)(end - at) : longest;
        memcpy(unfolded + n, at, (size_t)(end - at));
        n += (size_t)(end - at);
    }
    assert_in_range(longest, 78, 998);
    assert_memory_equal(unfolded, "X-Long: ", 8);
    assert_memory_equal(unfolded + 8, value, sizeof value - 1);
    assert_memory_equal(unfolded + n - 4, "A: 1", 4);
    free(got);
    edits_free(&edits);
}

static void a_subject_is_encoded(void **state)
{
    (void)state;
    struct edits edits = {0};
    g_mime_init();
    assert_true(edits_subject(&edits, "*** Gr\xc3\xbc\xc3\x9f"
                                      "e \xff"));
    size_t len;
    static const char header[] = "subject: old\r\nA: 1\r\nSubject: older\r\n\r\n";
    char *got = edits_apply(&edits, header, sizeof header - 1, &len), subject[100];
    for (size_t i = 0; i < len; i++)
        assert_true((unsigned char)got[i] < 128);
    envelope_field(got, len, "Subject", subject, sizeof subject);
    assert_string_equal(subject, "*** Gr\xc3\xbc\xc3\x9f"
                                 "e \xef\xbf\xbd");
    assert_null(memmem(got, len, "old", 3));
    free(got);
    edits_free(&edits);
}

static size_t count_added(const char *header, size_t len)
{
    struct header_walk walk = header_begin(header, len);
    size_t n = 0;
    for (struct header_field field; header_next(&walk, &field);)
        n += header_is(&field, "X-Added");
    return n;
}

/* Whatever the value is: one field more, in front, and what was there unharmed. */
static void any_value_is_one_field(void **state)
{
    static const char alphabet[] = "\r\n\t a:\x01\xff";
    unsigned long long seed = 4711;
    (void)state;
    for (int round = 0; round < 20000; round++) {
        char value[24];
        size_t n = dice(&seed) % (sizeof value - 1), len;
        for (size_t i = 0; i < n; i++)
            value[i] = alphabet[dice(&seed) % (sizeof alphabet - 1)];
        value[n] = '\0';
        struct edits edits = {0};
        assert_true(edits_add(&edits, "X-Added", value));
        char *got = edits_apply(&edits, "A: 1\r\n\r\nX-Added: body\r\n", 8, &len);
        assert_int_equal(count_added(got, len), 1);
        assert_int_equal(envelope_header_end(got, len), len);
        assert_memory_equal(got + len - 8, "A: 1\r\n\r\n", 8);
        free(got);
        edits_free(&edits);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_changed_without_edits),
        cmocka_unit_test(added_at_the_top_in_order),
        cmocka_unit_test(removed_by_number),
        cmocka_unit_test(values_stay_within_their_field),
        cmocka_unit_test(names_that_are_none),
        cmocka_unit_test(long_lines_are_folded),
        cmocka_unit_test(a_subject_is_encoded),
        cmocka_unit_test(any_value_is_one_field),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
