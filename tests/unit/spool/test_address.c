/* Mailboxes: the table of tests/data/addresses.txt, and what holds of any bytes at all. */
#include "spool/address.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"

static void test_table(void **state)
{
    (void)state;
    char *text = data_read("addresses.txt", NULL), *rest = text;
    int good = 0, bad = 0;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        char address[2000];
        if (line[0] == '\0' || line[0] == '#')
            continue;
        bool want = strncmp(line, "ok ", 3) == 0;
        assert_true(want || strncmp(line, "bad ", 4) == 0);
        (void)snprintf(address, sizeof address, "%s", line + (want ? 3 : 4));
        (void)unescape(address, sizeof address);
        char *tight = strdup(address); /* ASan sees a byte read too much */
        if (address_valid(tight) != want)
            fail_msg("should be %s", line);
        free(tight);
        good += want;
        bad += !want;
    }
    assert_true(good >= 35 && bad >= 80);
    free(text);
}

static void test_domains(void **state)
{
    (void)state;
    static const char *const good[] = {"example.com",
                                       "localhost",
                                       "a",
                                       "1.example",
                                       "[127.0.0.1]",
                                       "[IPv6:::1]",
                                       "b\xc3\xbc"
                                       "cher.example",
                                       "a-b.c"};
    static const char *const bad[] = {
        "",   "1",  "1.2",           ".",        "a.",         ".a",  "a..b", "-a",    "a-",
        "[",  "[]", "a b",           "a_b",      "[127.0.0.1", "a@b", "\xff", "a\r\n", "a\x7f",
        " a", "a ", "[example.com]", "a\xc2\x85"};
    for (size_t i = 0; i < COUNT(good); i++)
        assert_true(address_domain_valid(good[i]));
    for (size_t i = 0; i < COUNT(bad); i++)
        if (address_domain_valid(bad[i]))
            fail_msg("taken: \"%s\"", bad[i]);
}

static void test_is_utf8(void **state)
{
    (void)state;
    assert_false(address_is_utf8(""));
    assert_false(address_is_utf8("user@example.com"));
    assert_true(address_is_utf8("j\xc3\xbc"
                                "rgen@example.com"));
    assert_true(address_is_utf8("user@b\xc3\xbc"
                                "cher.example"));
}

/* Whatever is found valid has no byte that could end or split a line of SMTP. */
static void test_valid_is_harmless(void **state)
{
    (void)state;
    static const char wild[] = "ab@@\"\"\\<>[]: \r\n\t\x01\x7f\xc2\x9b\xff,;()";
    static const char tame[] = "abcdefgh1.-@@";
    unsigned long long seed = 5321;
    int valid = 0;
    for (int round = 0; round < 300000; round++) {
        char text[24];
        size_t len = 1 + dice(&seed) % (sizeof text - 1);
        for (size_t i = 0; i < len; i++)
            text[i] = dice(&seed) % 8 == 0 ? wild[dice(&seed) % (sizeof wild - 1)]
                                           : tame[dice(&seed) % (sizeof tame - 1)];
        text[len] = '\0';
        if (!address_valid(text))
            continue;
        valid++;
        bool quoted = text[0] == '"';
        for (const char *c = text; *c != '\0'; c++)
            assert_true((unsigned char)*c >= 32 && *c != 127);
        if (!quoted)
            assert_null(strpbrk(text, "<> \\\","));
        const char *at = strrchr(text, '@');
        assert_non_null(at);
        assert_null(strpbrk(at, "<> \\\",;()"));
    }
    assert_true(valid > 100); /* the dice do find some */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),
        cmocka_unit_test(test_domains),
        cmocka_unit_test(test_is_utf8),
        cmocka_unit_test(test_valid_is_harmless),
    };
    return cmocka_run_group_tests_name("address", tests, NULL, NULL);
}
