/* Who writes is seen, before and while a file is read. Writers are children: a lease is broken for
 * another's open only. */
#include "hygiene/guard.h"
#include "lib/clock.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"
#include <errno.h>

#define STRANGER 47110 /* a uid that owns nothing */

static const char *made(void **state)
{
    guard_init();
    return scratch_write(*state, "file", "some text", 9, 0644);
}

static enum guard_answer begin(void **state, struct guard *g, struct error *err)
{
    int dir = open(((struct scratch *)*state)->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    enum guard_answer answer = guard_begin(g, dir, "file", err);
    (void)close(dir);
    return answer;
}

/* Opens the file with these flags in a child, which gives up at once where it would have to wait.
 */
static bool child_opens(const char *path, int flags)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(open(path, flags | O_NONBLOCK | O_CLOEXEC) >= 0 ? 0 : errno == EWOULDBLOCK ? 1 : 2);
    int code = exit_code(pid);
    assert_true(code == 0 || code == 1);
    return code == 0;
}

static void a_file_that_nobody_writes(void **state)
{
    int fd = open(made(state), O_RDONLY | O_CLOEXEC);
    struct guard g = GUARD_NONE;
    struct error err;
    assert_int_equal(guard_ask(fd), GUARD_STILL);
    assert_int_equal(begin(state, &g, &err), GUARD_STILL);
    assert_true(g.leased);
    assert_int_equal(g.size, 9);
    assert_true(guard_holds(&g));
    assert_true(child_opens(scratch_path(*state, "file"), O_RDONLY)); /* a reader changes nothing */
    assert_true(guard_holds(&g));
    assert_int_equal(guard_ask(fd), GUARD_STILL); /* nor do we */
    guard_end(&g);
    assert_int_equal(g.fd, -1);
    guard_end(&g);
    assert_true(child_opens(scratch_path(*state, "file"), O_WRONLY)); /* nothing is kept */
    (void)close(fd);
}

static void a_file_that_is_open_for_writing(void **state)
{
    const char *path = made(state);
    int fd = open(path, O_RDONLY | O_CLOEXEC), writer = open(path, O_RDWR | O_CLOEXEC);
    struct guard g = GUARD_NONE;
    struct error err = {.kind = ERROR_NONE};
    assert_int_equal(guard_ask(fd), GUARD_WRITTEN);
    assert_int_equal(begin(state, &g, &err), GUARD_WRITTEN);
    assert_int_equal(err.kind, ERROR_TEMPORARY);
    assert_int_equal(g.fd, -1);
    (void)close(writer);
    assert_int_equal(guard_ask(fd), GUARD_STILL);
    (void)close(fd);
}

static void who_comes_to_write_is_seen(void **state)
{
    static const int flags[] = {O_WRONLY, O_RDWR, O_WRONLY | O_APPEND, O_WRONLY | O_TRUNC};
    const char *path = made(state);
    for (size_t i = 0; i < COUNT(flags); i++) {
        struct guard g = GUARD_NONE;
        struct error err;
        assert_int_equal(begin(state, &g, &err), GUARD_STILL);
        assert_false(child_opens(path, flags[i])); /* kept waiting */
        assert_false(guard_holds(&g));
        guard_end(&g);
        assert_true(child_opens(path, flags[i]));
    }
}

/* The one way to change a file past its leases. */
static void truncated_by_a_reader(void **state)
{
    struct guard g = GUARD_NONE;
    struct error err;
    const char *path = made(state);
    assert_int_equal(begin(state, &g, &err), GUARD_STILL);
    assert_true(child_opens(path, O_RDONLY | O_TRUNC));
    assert_false(guard_holds(&g));
    guard_end(&g);
}

/* By its other name: only a link tells that the two are one. */
static void a_hard_link_is_no_way_round(void **state)
{
    struct guard g = GUARD_NONE;
    struct error err;
    assert_int_equal(link(made(state), scratch_path(*state, "other")), 0);
    assert_int_equal(begin(state, &g, &err), GUARD_STILL);
    assert_int_equal(unlink(scratch_path(*state, "file")), 0);
    assert_true(guard_holds(&g));
    assert_false(child_opens(scratch_path(*state, "other"), O_WRONLY));
    assert_false(guard_holds(&g));
    guard_end(&g);
}

static void what_is_no_file(void **state)
{
    struct guard g = GUARD_NONE;
    struct error err;
    assert_int_equal(begin(state, &g, &err), GUARD_FAILED);
    assert_int_equal(err.kind, ERROR_MISSING);
    assert_int_equal(symlink("/etc/passwd", scratch_path(*state, "file")), 0);
    assert_int_equal(begin(state, &g, &err), GUARD_FAILED);
    assert_int_equal(err.kind, ERROR_PERMANENT);
    assert_string_equal(err.text, "it is a symbolic link");
    assert_int_equal(unlink(scratch_path(*state, "file")), 0);
    assert_int_equal(mkfifo(scratch_path(*state, "file"), 0600), 0);
    assert_int_equal(begin(state, &g, &err), GUARD_FAILED);
    assert_string_equal(err.text, "it is not a regular file");
    assert_int_equal(g.fd, -1);
}

/* --- without a lease --- */

/* What `check` says, in a child that is another user. */
static int as_stranger(void **state, int (*check)(void **state))
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(setgid(STRANGER) < 0 || setuid(STRANGER) < 0 ? 77 : check(state));
    int code = exit_code(pid);
    if (code == 77)
        skip();
    return code;
}

static void write_more(void **state)
{
    (void)scratch_write(*state, "file", "other text", 10, 0644);
}

/* It waits until all has been quiet for a moment, and what moves from then on shows. */
static int strangers_file(void **state)
{
    struct guard g = GUARD_NONE;
    struct error err;
    int fd = open(scratch_path(*state, "file"), O_RDONLY | O_CLOEXEC);
    if (guard_ask(fd) != GUARD_UNKNOWN || begin(state, &g, &err) != GUARD_WRITTEN)
        return 1;
    clock_set_for_test(clock_now() + GUARD_SETTLED + 1);
    if (begin(state, &g, &err) != GUARD_STILL || g.leased || !guard_holds(&g))
        return 2;
    for (int i = 0; i < 400 && guard_holds(&g); i++)
        (void)usleep(10000); /* the parent writes meanwhile */
    return guard_holds(&g) ? 3 : 0;
}

static void anothers_file_has_to_be_quiet(void **state)
{
    (void)made(state);
    assert_int_equal(chmod(((struct scratch *)*state)->dir, 0755), 0);
    pid_t writer = fork();
    if (writer == 0) {
        (void)usleep(500000);
        write_more(state);
        _exit(0);
    }
    int code = as_stranger(state, strangers_file);
    assert_int_equal(exit_code(writer), 0);
    assert_int_equal(code, 0);
}

/* A clock that was set back must not keep a file for ever. */
static int file_of_the_future(void **state)
{
    struct guard g = GUARD_NONE;
    struct error err;
    clock_set_for_test(clock_now() - CLOCK_HOUR);
    enum guard_answer answer = begin(state, &g, &err);
    guard_end(&g);
    return answer == GUARD_STILL ? 0 : 1;
}

static void a_time_to_come_is_no_obstacle(void **state)
{
    (void)made(state);
    assert_int_equal(chmod(((struct scratch *)*state)->dir, 0755), 0);
    assert_int_equal(as_stranger(state, file_of_the_future), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(a_file_that_nobody_writes),     scratch_test(a_file_that_is_open_for_writing),
        scratch_test(who_comes_to_write_is_seen),    scratch_test(truncated_by_a_reader),
        scratch_test(a_hard_link_is_no_way_round),   scratch_test(what_is_no_file),
        scratch_test(anothers_file_has_to_be_quiet), scratch_test(a_time_to_come_is_no_obstacle),
    };
    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
