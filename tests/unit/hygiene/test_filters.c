/* Settings that hygiene can't serve yet. */
#include "hygiene/filters.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "tests/unit/cmocka_all.h"
#include <string.h>

static int warnings;

static void on_event(void *arg, enum log_level level, const char *what,
                     const struct log_field *fields)
{
    (void)arg;
    (void)fields;
    warnings += level == LOG_WARN && strcmp(what, "setting-not-in-force") == 0;
}

static struct conf defaults(void)
{
    static char file[] = "popferry.conf", none[] = "";
    return (struct conf){
        .file = file,
        .hygiene = {.rspamd = none, .clamd = none, .spamd = none, .badmail_keep = 90 * CLOCK_DAY}};
}

static void test_defaults(void **state)
{
    (void)state;
    struct error err;
    struct conf conf = defaults();
    log_set_sink(on_event, NULL);
    assert_true(filters_supported(&conf, &err));
    filters_warn(&conf);
    assert_int_equal(warnings, 0);
}

static void test_a_filter_is_refused(void **state)
{
    (void)state;
    static char where[] = "/run/x.sock";
    static const char *const keys[] = {"rspamd", "clamd", "spamd"};
    for (int i = 0; i < 3; i++) {
        struct conf conf = defaults();
        struct error err;
        char **fields[] = {&conf.hygiene.rspamd, &conf.hygiene.clamd, &conf.hygiene.spamd};
        *fields[i] = where;
        assert_false(filters_supported(&conf, &err));
        assert_int_equal(err.kind, ERROR_USAGE);
        assert_non_null(strstr(err.text, "popferry.conf: hygiene."));
        assert_non_null(strstr(err.text, keys[i]));
    }
}

static void test_the_rest_is_said(void **state)
{
    (void)state;
    struct conf conf = defaults();
    log_set_sink(on_event, NULL);
    warnings = 0;
    conf.hygiene.badmail_keep = CLOCK_DAY;
    filters_warn(&conf);
    assert_int_equal(warnings, 1);
    conf.hygiene.on_filter_error = CONF_FILTER_PASS;
    filters_warn(&conf);
    assert_int_equal(warnings, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_a_filter_is_refused),
        cmocka_unit_test(test_the_rest_is_said),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
