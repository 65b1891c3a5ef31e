/* fsync in threads: all of a job before its callback, failures told, and an end at any time. */
#include "lib/syncpool.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"
#include <errno.h>

struct fixture {
    struct scratch *scratch;
    struct event_base *base;
    struct syncpool *pool;
    int calls, failed_calls, last_errno;
    int want; /* calls until the loop ends */
    int idle; /* how many calls there had been; -1: not told */
};

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    void *scratch;
    struct error err;
    if (scratch_make(&scratch) != 0)
        return -1;
    f->scratch = scratch;
    f->base = event_base_new();
    f->pool = syncpool_new(f->base, &err);
    *state = f;
    return f->pool != NULL ? 0 : -1;
}

static int end(void **state)
{
    struct fixture *f = *state;
    void *scratch = f->scratch;
    syncpool_free(f->pool);
    event_base_free(f->base);
    free(f);
    return scratch_remove(&scratch);
}

static void on_synced(void *arg, int failed_errno)
{
    struct fixture *f = arg;
    f->calls++;
    f->failed_calls += failed_errno != 0;
    f->last_errno = failed_errno;
    if (f->calls == f->want)
        (void)event_base_loopbreak(f->base);
}

static void wait_for(struct fixture *f, int calls)
{
    struct timeval limit = {20, 0};
    f->want = calls;
    (void)event_base_loopexit(f->base, &limit);
    (void)event_base_dispatch(f->base);
    assert_int_equal(f->calls, calls);
}

static int new_file(struct fixture *f, int number)
{
    char name[32];
    (void)snprintf(name, sizeof name, "f%d", number);
    int fd = open(scratch_path(f->scratch, name), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "x", 1), 1);
    return fd;
}

static void test_files_and_directory(void **state)
{
    struct fixture *f = *state;
    int fds[50], dir = open(f->scratch->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 50; i++)
        fds[i] = new_file(f, i);
    syncpool_run(f->pool, fds, 50, dir, on_synced, f);
    assert_int_equal(f->calls, 0); /* only from the loop */
    wait_for(f, 1);
    assert_int_equal(f->last_errno, 0);
    for (int i = 0; i < 50; i++)
        (void)close(fds[i]);
    (void)close(dir);
}

static void on_idle(void *arg)
{
    struct fixture *f = arg;
    f->idle = f->calls;
}

static void on_synced_once_more(void *arg, int failed_errno)
{
    struct fixture *f = arg;
    on_synced(arg, failed_errno);
    syncpool_run(f->pool, NULL, 0, -1, on_synced, f);
}

static void test_idle(void **state)
{
    struct fixture *f = *state;
    f->idle = -1;
    syncpool_when_idle(f->pool, on_idle, f);
    assert_int_equal(f->idle, 0); /* at once */
    syncpool_run(f->pool, NULL, 0, -1, on_synced, f);
    syncpool_run(f->pool, NULL, 0, -1, on_synced_once_more, f);
    f->idle = -1;
    syncpool_when_idle(f->pool, on_idle, f);
    assert_int_equal(f->idle, -1);
    wait_for(f, 3);
    assert_int_equal(f->idle, 3); /* behind the last, and once */
    f->idle = -1;
    syncpool_run(f->pool, NULL, 0, -1, on_synced, f);
    wait_for(f, 4);
    assert_int_equal(f->idle, -1);
}

static void test_the_array_is_copied(void **state)
{
    struct fixture *f = *state;
    int *fds = malloc(sizeof *fds);
    int fd = fds[0] = new_file(f, 0);
    syncpool_run(f->pool, fds, 1, -1, on_synced, f);
    fds[0] = -1;
    free(fds);
    wait_for(f, 1);
    assert_int_equal(f->last_errno, 0);
    (void)close(fd);
}

static void test_nothing_to_sync(void **state)
{
    struct fixture *f = *state;
    syncpool_run(f->pool, NULL, 0, -1, on_synced, f);
    wait_for(f, 1);
    assert_int_equal(f->last_errno, 0);
}

static void test_only_a_directory(void **state)
{
    struct fixture *f = *state;
    int dir = open(f->scratch->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    syncpool_run(f->pool, NULL, 0, dir, on_synced, f);
    wait_for(f, 1);
    assert_int_equal(f->last_errno, 0);
    (void)close(dir);
}

static void test_failure_anywhere_is_told(void **state)
{
    struct fixture *f = *state;
    int fds[9], pipe_fds[2], calls = 0;
    for (int i = 0; i < 9; i++)
        fds[i] = new_file(f, i);
    for (int bad = 0; bad < 9; bad++) { /* a descriptor that is not open */
        int kept = fds[bad];
        fds[bad] = 10000;
        syncpool_run(f->pool, fds, 9, -1, on_synced, f);
        wait_for(f, ++calls);
        assert_int_equal(f->last_errno, EBADF);
        fds[bad] = kept;
    }
    assert_int_equal(pipe(pipe_fds), 0); /* one that cannot be synced */
    syncpool_run(f->pool, pipe_fds, 1, -1, on_synced, f);
    wait_for(f, ++calls);
    assert_int_equal(f->last_errno, EINVAL);
    syncpool_run(f->pool, fds, 9, 10000, on_synced, f); /* the directory */
    wait_for(f, ++calls);
    assert_int_equal(f->last_errno, EBADF);
    syncpool_run(f->pool, fds, 9, -1, on_synced, f); /* and nothing of it stays behind */
    wait_for(f, ++calls);
    assert_int_equal(f->last_errno, 0);
    for (int i = 0; i < 9; i++)
        (void)close(fds[i]);
}

static void test_many_jobs(void **state)
{
    enum { JOBS = 400 };
    struct fixture *f = *state;
    unsigned long long seed = 3;
    int fds[40], bad = 0, dir = open(f->scratch->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 40; i++)
        fds[i] = new_file(f, i);
    for (int job = 0; job < JOBS; job++) {
        size_t n = dice(&seed) % 40;
        int some[40];
        memcpy(some, fds, sizeof some);
        if (n > 0 && job % 7 == 0) {
            some[dice(&seed) % n] = 10000;
            bad++;
        }
        syncpool_run(f->pool, some, n, job % 3 == 0 ? dir : -1, on_synced, f);
    }
    wait_for(f, JOBS);
    assert_int_equal(f->failed_calls, bad);
    for (int i = 0; i < 40; i++)
        (void)close(fds[i]);
    (void)close(dir);
}

static void chain(void *arg, int failed_errno)
{
    struct fixture *f = arg;
    if (f->calls < 99)
        syncpool_run(f->pool, NULL, 0, -1, chain, f);
    on_synced(f, failed_errno);
}

static void test_a_callback_may_ask_for_more(void **state)
{
    struct fixture *f = *state;
    syncpool_run(f->pool, NULL, 0, -1, chain, f);
    wait_for(f, 100);
}

static void must_not_be_called(void *arg, int failed_errno)
{
    (void)arg;
    (void)failed_errno;
    fail();
}

static void test_free_with_jobs_open(void **state)
{
    struct fixture *f = *state;
    int fds[20];
    for (int i = 0; i < 20; i++)
        fds[i] = new_file(f, i);
    for (int round = 0; round < 30; round++) {
        for (int job = 0; job < 20; job++)
            syncpool_run(f->pool, fds, 20, fds[0], must_not_be_called, f);
        if (round % 3 == 0)
            (void)usleep(500);
        syncpool_free(f->pool);
        (void)event_base_loop(f->base, EVLOOP_NONBLOCK);
        struct error err;
        f->pool = syncpool_new(f->base, &err);
        assert_non_null(f->pool);
    }
    syncpool_free(NULL);
    for (int i = 0; i < 20; i++)
        (void)close(fds[i]);
}

static void free_it(void *arg, int failed_errno)
{
    struct fixture *f = arg;
    on_synced(f, failed_errno);
    syncpool_free(f->pool);
    f->pool = NULL;
}

/* Freed by a callback while others are finished too: none of them is called any more. */
static void test_free_in_a_callback(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++)
        syncpool_run(f->pool, NULL, 0, -1, free_it, f);
    (void)usleep(50000); /* all ten are finished, and come in one turn */
    wait_for(f, 1);
    (void)event_base_loop(f->base, EVLOOP_NONBLOCK);
    assert_int_equal(f->calls, 1);
}

#define pool_test(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        pool_test(test_files_and_directory),
        pool_test(test_the_array_is_copied),
        pool_test(test_idle),
        pool_test(test_nothing_to_sync),
        pool_test(test_only_a_directory),
        pool_test(test_failure_anywhere_is_told),
        pool_test(test_many_jobs),
        pool_test(test_a_callback_may_ask_for_more),
        pool_test(test_free_with_jobs_open),
        pool_test(test_free_in_a_callback),
    };
    return cmocka_run_group_tests_name("syncpool", tests, NULL, NULL);
}
