/* When a file counts as complete where the kernel gives no lease: it is another user's. The writer
 * is root, and the one who watches is not, in turns. */
#include "hygiene/guard.h"
#include "hygiene/pickup_watch.h"
#include "lib/clock.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"

#define STRANGER 47110

struct place {
    struct scratch *scratch;
    struct spool *spool;
    struct event_base *base;
    struct pickup_watch *watch;
    int found;
    char name[256];
};

static void on_found(void *arg, struct pickup_claim *claims, size_t n)
{
    struct place *p = arg;
    p->found += (int)n;
    (void)snprintf(p->name, sizeof p->name, "%s", claims[n - 1].name);
}

static int set_up(void **state)
{
    struct place *p = calloc(1, sizeof *p);
    struct error err;
    void *scratch;
    if (scratch_make(&scratch) < 0)
        return -1;
    p->scratch = scratch;
    *state = p;
    guard_init();
    p->spool = spool_open(scratch_path(p->scratch, "spool"), true, &err);
    p->base = event_base_new();
    (void)chmod(p->scratch->dir, 0755);
    (void)chmod(scratch_path(p->scratch, "spool"), 0755);
    return fchown(spool_fd(p->spool, SPOOL_PICKUP), STRANGER, STRANGER) == 0 || geteuid() != 0 ? 0
                                                                                               : -1;
}

static int tear_down(void **state)
{
    struct place *p = *state;
    void *scratch = p->scratch;
    clock_set_for_test(0);
    pickup_watch_free(p->watch);
    spool_close(p->spool);
    event_base_free(p->base);
    free(p);
    return scratch_remove(&scratch);
}

static void be_stranger(void)
{
    if (geteuid() != 0)
        skip();
    assert_int_equal(seteuid(STRANGER), 0);
}

static void be_root(void)
{
    assert_int_equal(seteuid(0), 0);
}

/* Watches for a while as another user than the writer. */
static int look(struct place *p, int ms)
{
    struct error err;
    be_stranger();
    if (p->watch == NULL)
        p->watch = pickup_watch_new(p->base, p->spool, on_found, p, &err);
    bool there = p->watch != NULL;
    struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    (void)event_base_loopexit(p->base, &wait);
    (void)event_base_dispatch(p->base);
    be_root();
    assert_true(there);
    int found = p->found;
    p->found = 0;
    return found;
}

/* The same behind an event of another file, which causes a walk. */
static int look_again(struct place *p)
{
    (void)scratch_write(p->scratch, "spool/pickup/other.txt", "x", 1, 0644);
    return look(p, 300);
}

static int write_to(struct place *p, const char *name)
{
    char path[300];
    (void)snprintf(path, sizeof path, "spool/pickup/%s", name);
    int fd = open(scratch_path(p->scratch, path), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
    assert_int_equal(write(fd, "half", 4), 4);
    return fd;
}

static void rename_in(struct place *p, const char *from, const char *to)
{
    char a[300], b[300];
    (void)snprintf(a, sizeof a, "spool/%s", from);
    (void)snprintf(b, sizeof b, "spool/pickup/%s", to);
    assert_int_equal(rename(scratch_path(p->scratch, a), scratch_path(p->scratch, b)), 0);
}

static void pass(int64_t ms)
{
    clock_set_for_test(clock_now() + ms);
}

static void closed_or_moved_in(void **state)
{
    struct place *p = *state;
    assert_int_equal(look(p, 100), 0);
    (void)close(write_to(p, "closed.eml"));
    assert_true(look(p, 300) > 0);
    assert_string_equal(p->name, "closed.eml");
    assert_int_equal(unlink(scratch_path(p->scratch, "spool/pickup/closed.eml")), 0);
    (void)scratch_write(p->scratch, "spool/draft", "whole", 5, 0644);
    rename_in(p, "draft", "moved.eml");
    assert_true(look(p, 300) > 0);
    assert_string_equal(p->name, "moved.eml");
}

/* However long he pauses: inotify has shown him, and will show that he closes. */
static void a_writer_who_was_seen(void **state)
{
    struct place *p = *state;
    (void)look(p, 100);
    int fd = write_to(p, "slow.eml");
    assert_int_equal(look(p, 300), 0);
    pass(CLOCK_HOUR);
    assert_int_equal(look_again(p), 0);
    (void)close(fd);
    assert_true(look(p, 300) > 0);
}

/* Renamed while it is open, it is still being written. */
static void a_writer_over_a_rename(void **state)
{
    struct place *p = *state;
    (void)look(p, 100);
    int fd = write_to(p, ".draft");
    rename_in(p, "pickup/.draft", "slow.eml");
    assert_int_equal(look(p, 300), 0);
    (void)close(fd);
    assert_true(look(p, 300) > 0);
    (void)close(write_to(p, ".draft"));
    rename_in(p, "pickup/.draft", "quick.eml");
    assert_true(look(p, 300) > 0);
}

/* Of what was there before nothing is known but when it was changed last. */
static void a_writer_from_before(void **state)
{
    struct place *p = *state;
    int fd = write_to(p, "old.eml");
    assert_int_equal(look(p, 300), 0);
    pass(CLOCK_MINUTE);
    assert_int_equal(look_again(p), 0);
    pass(CLOCK_MINUTE + CLOCK_SECOND);
    assert_true(look_again(p) > 0);
    assert_int_equal(write(fd, "more", 4), 4); /* now he is seen */
    assert_int_equal(look(p, 300), 0);
    pass(CLOCK_HOUR);
    assert_int_equal(look_again(p), 0);
    (void)close(fd);
    assert_true(look(p, 300) > 0);
}

static void not_while_it_is_paused(void **state)
{
    struct place *p = *state;
    (void)look(p, 100);
    pickup_watch_pause(p->watch);
    (void)close(write_to(p, "a.eml"));
    assert_int_equal(look(p, 300), 0);
    pickup_watch_resume(p->watch);
    assert_true(look(p, 300) > 0);
}

#define watch_test(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        watch_test(closed_or_moved_in),     watch_test(a_writer_who_was_seen),
        watch_test(a_writer_over_a_rename), watch_test(a_writer_from_before),
        watch_test(not_while_it_is_paused),
    };
    return cmocka_run_group_tests_name("pickup_watch", tests, NULL, NULL);
}
