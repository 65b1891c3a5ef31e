/* A daemon's binary run for one request: its reply, its last words, and one that never ends. Shell
 * scripts stand in for the daemons. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "ctl/field.h"
#include "ctl/oneshot.h"
#include "lib/clock.h"

static char dir[] = "/tmp/popferry-oneshot-XXXXXX";
static char program[64];

static int set_up(void **state)
{
    (void)state;
    if (mkdtemp(dir) == NULL)
        return -1;
    (void)snprintf(program, sizeof program, "%s/daemon", dir);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    (void)unlink(program);
    return rmdir(dir);
}

/* Runs a daemon with this body; its arguments must be right. */
static json_t *ask(const char *body, int timeout_ms, struct error *err)
{
    FILE *file = fopen(program, "w");
    assert_non_null(file);
    fprintf(file, "#!/bin/sh\n[ \"$*\" = '-c some.conf -1' ] || exit 9\n%s\n", body);
    (void)fclose(file);
    assert_int_equal(chmod(program, 0700), 0);
    struct oneshot oneshot = {
        .program = program, .conf_file = "some.conf", .state_dir = dir, .timeout_ms = timeout_ms};
    json_t *request = json_pack("{s:s}", "cmd", "echo");
    json_t *reply = oneshot_ask(&oneshot, request, err);
    json_decref(request);
    return reply;
}

static void test_reply(void **state)
{
    struct error err = {0};
    (void)state;
    json_t *reply = ask("cat; echo 'd: note all is well' >&2", 10000, &err);
    assert_non_null(reply);
    assert_string_equal(field_text(reply, "cmd"), "echo");
    json_decref(reply);
}

static void check_words(const char *body, enum error_kind kind, const char *text)
{
    struct error err = {0};
    assert_null(ask(body, 10000, &err));
    assert_int_equal(err.kind, kind);
    assert_string_equal(err.text, text);
}

static void test_last_words(void **state)
{
    (void)state;
    check_words("echo 'd: alarm cannot-start error=\"no \\\"such\\\" thing\" more=1' >&2; exit 1",
                ERROR_PERMANENT, "no \"such\" thing");
    check_words("echo 'd: alarm cannot-start error=short more=1' >&2; exit 1", ERROR_PERMANENT,
                "short");
    check_words("echo first >&2; echo plain words >&2; exit 1", ERROR_PERMANENT, "plain words");
    check_words("exit 3", ERROR_PERMANENT, "it gave no answer");
    check_words("echo not json", ERROR_PERMANENT, "it gave no answer");
    check_words("echo 'd: alarm cannot-start error=\"d is running already\"' >&2; exit 1",
                ERROR_TEMPORARY, "d is running already");
}

static void test_too_slow(void **state)
{
    struct error err = {0};
    int64_t began = clock_monotonic();
    (void)state;
    assert_null(ask("exec sleep 60", 200, &err));
    assert_non_null(strstr(err.text, "took too long"));
    assert_true(clock_monotonic() - began < 10000);
}

static void test_much_output(void **state)
{
    struct error err = {0};
    (void)state;
    json_t *reply = ask("head -c 300000 /dev/zero | tr '\\0' x >&2; cat", 10000, &err);
    assert_non_null(reply); /* what is beyond the limit is dropped, and blocks nothing */
    json_decref(reply);
}

static void test_missing(void **state)
{
    struct oneshot oneshot = {.program = "/nonexistent/daemon",
                              .conf_file = "some.conf",
                              .state_dir = dir,
                              .timeout_ms = 10000};
    struct error err = {0};
    json_t *request = json_object();
    (void)state;
    assert_null(oneshot_ask(&oneshot, request, &err));
    assert_string_equal(err.text, "cannot run /nonexistent/daemon: No such file or directory");
    json_decref(request);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reply),    cmocka_unit_test(test_last_words),
        cmocka_unit_test(test_too_slow), cmocka_unit_test(test_much_output),
        cmocka_unit_test(test_missing),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
