/* Errors as sentences, and the kind that follows from errno. */
#include "lib/error.h"
#include "tests/unit/cmocka_all.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

static void test_set(void **state)
{
    (void)state;
    struct error err = {0};
    assert_false(error_set(&err, ERROR_USAGE, "%s has %d", "it", 3));
    assert_int_equal(err.kind, ERROR_USAGE);
    assert_string_equal(err.text, "it has 3");
    assert_false(error_set(NULL, ERROR_USAGE, "nobody hears"));
}

static void test_errno(void **state)
{
    (void)state;
    static const struct {
        int number;
        enum error_kind kind;
    } cases[] = {
        {ENOENT, ERROR_MISSING},   {EIO, ERROR_TEMPORARY},    {ENOSPC, ERROR_TEMPORARY},
        {EDQUOT, ERROR_TEMPORARY}, {EMFILE, ERROR_TEMPORARY}, {ENFILE, ERROR_TEMPORARY},
        {ENOMEM, ERROR_TEMPORARY}, {EAGAIN, ERROR_TEMPORARY}, {EINTR, ERROR_TEMPORARY},
        {EACCES, ERROR_PERMANENT}, {ELOOP, ERROR_PERMANENT},  {EROFS, ERROR_PERMANENT},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {0};
        char want[200];
        errno = cases[i].number;
        assert_false(error_errno(&err, "cannot open %s", "it"));
        assert_int_equal(err.kind, cases[i].kind);
        (void)snprintf(want, sizeof want, "cannot open it: %s", strerror(cases[i].number));
        assert_string_equal(err.text, want);
    }
    assert_false(error_errno(NULL, "nobody hears"));
}

static void test_cut(void **state)
{
    (void)state;
    char much[2000];
    struct error err;
    memset(much, 'm', sizeof much - 1);
    much[sizeof much - 1] = '\0';
    assert_false(error_set(&err, ERROR_PERMANENT, "%s", much));
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
    errno = EIO;
    assert_false(error_errno(&err, "%s", much));
    assert_int_equal(strlen(err.text), sizeof err.text - 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_set),
        cmocka_unit_test(test_errno),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests_name("error", tests, NULL, NULL);
}
