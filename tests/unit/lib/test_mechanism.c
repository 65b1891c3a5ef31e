/* Which mechanism is taken, and which never. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/mechanism.h"

/* The names of all that are taken, one after the other. */
static const char *order(const struct mechanism_wish *wish, const char *words)
{
    static char out[400];
    struct mechanism_offer offer;
    const struct mechanism *next, *unsafe;
    unsigned tried = 0;

    mechanism_offer_set(&offer, words, strlen(words));
    out[0] = '\0';
    while ((next = mechanism_next(wish, &offer, &tried, &unsafe))) {
        strcat(out, sasl_name(next->sasl));
        strcat(out, " ");
        assert_int_equal(strcmp(next->command + strlen("AUTH "), sasl_name(next->sasl)), 0);
    }
    if (unsafe) {
        strcat(out, "unsafe ");
        strcat(out, unsafe->option);
    }
    return out;
}

#define ALL                                                                                        \
    "LOGIN plain XOAUTH2 OAUTHBEARER NTLM cram-md5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256 "          \
    "SCRAM-SHA-1-PLUS SCRAM-SHA-256-PLUS GSSAPI"

static void test_strongest_first(void **state)
{
    (void)state;
    struct mechanism_wish wish = {.option = "auto", .secure = true, .bound = true};

    assert_string_equal(order(&wish, ALL),
                        "SCRAM-SHA-256-PLUS SCRAM-SHA-1-PLUS SCRAM-SHA-256 SCRAM-SHA-1 DIGEST-MD5 "
                        "CRAM-MD5 NTLM PLAIN LOGIN ");
    wish.bound = false;
    assert_string_equal(order(&wish, ALL),
                        "SCRAM-SHA-256 SCRAM-SHA-1 DIGEST-MD5 CRAM-MD5 NTLM PLAIN LOGIN ");
    assert_string_equal(order(&wish, "XPLAIN\tPLAINX  login\x80NTLM"), "NTLM LOGIN ");
    assert_string_equal(order(&wish, ""), "");
}

static void test_nothing_in_clear(void **state)
{
    (void)state;
    static const char *const clear[] = {"plain", "login", "xoauth2", "oauthbearer"};
    struct mechanism_wish wish = {.option = "auto"};

    assert_string_equal(order(&wish, ALL),
                        "SCRAM-SHA-256 SCRAM-SHA-1 DIGEST-MD5 CRAM-MD5 NTLM unsafe login");
    for (size_t i = 0; i < sizeof clear / sizeof *clear; i++) {
        wish.option = clear[i];
        assert_int_equal(strncmp(order(&wish, ALL), "unsafe ", 7), 0);
    }
}

static void test_by_name(void **state)
{
    (void)state;
    struct mechanism_wish wish = {.option = "scram-sha-1", .secure = true, .bound = true};

    assert_string_equal(order(&wish, ALL), "SCRAM-SHA-1-PLUS SCRAM-SHA-1 ");
    wish.option = "ntlmv1";
    assert_string_equal(order(&wish, ALL), "NTLM ");
    assert_string_equal(order(&wish, ""), "");
    wish.blind = true;
    assert_string_equal(order(&wish, ""), "NTLM ");
    assert_string_equal(order(&wish, "PLAIN"), "");
    wish.option = "auto";
    assert_string_equal(order(&wish, ""), "");
}

static void test_offer_is_bounded(void **state)
{
    (void)state;
    struct mechanism_offer offer;
    char words[2 * MECHANISM_WORDS_MAX];

    memset(words, 'A', sizeof words);
    mechanism_offer_set(&offer, words, MECHANISM_WORDS_MAX - 3);
    assert_int_equal(strlen(offer.words), MECHANISM_WORDS_MAX - 1);
    mechanism_offer_set(&offer, words, MECHANISM_WORDS_MAX - 2);
    assert_string_equal(offer.words, "");
}

static void test_names(void **state)
{
    (void)state;
    char names[200], none[1];

    assert_string_equal(mechanism_names(names, sizeof names),
                        "scram-sha-256, scram-sha-1, digest-md5, cram-md5, ntlm, ntlmv1, plain, "
                        "login, oauthbearer, xoauth2");
    assert_string_equal(mechanism_names(none, sizeof none), "");
    for (char *at, *name = strtok_r(names, ", ", &at); name; name = strtok_r(NULL, ", ", &at))
        assert_true(mechanism_known(name));
    assert_false(mechanism_known("auto"));
    assert_false(mechanism_known("SCRAM-SHA-256-PLUS"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_strongest_first), cmocka_unit_test(test_nothing_in_clear),
        cmocka_unit_test(test_by_name),         cmocka_unit_test(test_offer_is_bounded),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests_name("mechanism", tests, NULL, NULL);
}
