/* Copies in slices: who passes whom, what a writer does to them, and how they end. */
#include "hygiene/copies.h"
#include "hygiene/guard.h"
#include "tests/unit/hygiene/fixture.h"
#include <sched.h>
#include <sys/mount.h>

#define LARGE (8 * 1024 * 1024)

static const char top[] = "X-Sender: <a@x.example>\r\nX-Receiver: <b@corp.example>\r\n";

/* What was told, in its order. */
static struct {
    char ids[64][ID_SIZE];
    size_t n;
    char failed_id[ID_SIZE];
    enum copies_failure how;
    char why[300];
    int failures, stopped;
} told;

static void on_synced(void *arg, const struct copied *done, size_t n)
{
    (void)arg;
    for (size_t i = 0; i < n; i++)
        memcpy(told.ids[told.n++], done[i].id, ID_SIZE);
}

static void on_failed(void *arg, const char *id, enum copies_failure how, const char *why)
{
    (void)arg;
    memcpy(told.failed_id, id, ID_SIZE);
    told.how = how;
    (void)snprintf(told.why, sizeof told.why, "%s", why);
    told.failures++;
}

static void on_stopped(void *arg)
{
    (void)arg;
    told.stopped++;
}

static struct copies *start(struct fixture *f)
{
    static const struct copies_user user = {on_synced, on_failed};
    guard_init();
    memset(&told, 0, sizeof told);
    return copies_new(&f->h, &user, NULL);
}

static void stop(struct fixture *f, struct copies *c)
{
    syncpool_free(f->h.sync);
    f->h.sync = NULL;
    copies_free(c);
}

static const char *path_of(struct fixture *f, const char *id, const char *suffix)
{
    char name[64];
    (void)snprintf(name, sizeof name, "spool/outgoing/%s.%s", id, suffix);
    return scratch_path(f->scratch, name);
}

/* outgoing/ID.drop: envelope lines, an empty line, and `size` bytes of body that differ by place.
 */
static void put(struct fixture *f, char id[static ID_SIZE], size_t size)
{
    char *body = malloc(size + 1);
    for (size_t i = 0; i < size; i++)
        body[i] = (char)('a' + (i / 7 + i / 4096) % 26);
    id_new(id);
    ledger_drop_claim(f->d.db, id, "name.eml", false);
    FILE *out = fopen(path_of(f, id, "drop"), "w");
    assert_non_null(out);
    assert_true(fputs(top, out) >= 0 && fputs("\r\n", out) >= 0);
    assert_int_equal(fwrite(body, 1, size, out), size);
    assert_int_equal(fclose(out), 0);
    free(body);
}

static off_t size_of(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 ? st.st_size : -1;
}

/* ID.new is true to its preface, and holds what ID.drop holds behind the envelope lines. */
static void expect_copied(struct fixture *f, const char *id)
{
    size_t drop_len, n = 0, got = 1, skip = sizeof top - 1;
    char name[SPOOL_NAME_SIZE], *drop = slurp(path_of(f, id, "drop"), &drop_len);
    struct error err = {.text = ""};
    struct message_reader *r =
        message_open_any(f->h.spool, SPOOL_OUTGOING, spool_name(name, id, "new"), &err);
    assert_non_null(r);
    assert_int_equal(message_reader_head(r)->size, drop_len - skip);
    char *text = malloc(drop_len);
    while (got > 0) {
        assert_true(message_read(r, text + n, drop_len - n, &got, &err));
        n += got;
    }
    assert_int_equal(n, drop_len - skip);
    assert_memory_equal(text, drop + skip, n);
    message_close(r);
    free(text);
    free(drop);
}

static void turn(struct fixture *f)
{
    (void)event_base_loop(f->d.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
}

static bool one_told(struct fixture *f)
{
    (void)f;
    return told.n == 1;
}

static bool failed(struct fixture *f)
{
    (void)f;
    return told.failures > 0;
}

/* --- slices --- */

static void other_work_goes_on_between_slices(void **state)
{
    struct fixture *f = *state;
    struct copies *c = start(f);
    char id[ID_SIZE];
    put(f, id, LARGE);
    copies_add(c, id);
    off_t before = 0, most = 0;
    int turns = 0;
    for (; told.n == 0 && turns < 100000; turns++) {
        turn(f);
        off_t size = size_of(path_of(f, id, "new"));
        most = size - before > most ? size - before : most;
        before = size;
    }
    assert_int_equal(told.n, 1);
    assert_true(turns > LARGE / COPIES_SLICE);
    assert_true(most <= COPIES_SLICE + 65536);
    expect_copied(f, id);
    stop(f, c);
}

static void small_ones_pass_large_ones(void **state)
{
    struct fixture *f = *state;
    struct copies *c = start(f);
    char large[5][ID_SIZE], small[40][ID_SIZE];
    for (size_t i = 0; i < COUNT(large); i++) {
        put(f, large[i], LARGE);
        copies_add(c, large[i]);
    }
    for (size_t i = 0; i < COUNT(small); i++) {
        put(f, small[i], i == 0 ? COPIES_SLICE - 200 : 10 * i);
        copies_add(c, small[i]);
    }
    assert_int_equal(copies_waiting(c), COUNT(large) + COUNT(small));
    size_t most = 0;
    for (int turns = 0; told.n < COUNT(large) + COUNT(small) && turns < 1000000; turns++) {
        turn(f);
        size_t open = 0, done = told.n > COUNT(small) ? told.n - COUNT(small) : 0;
        for (size_t i = 0; i < COUNT(large); i++)
            open += size_of(path_of(f, large[i], "new")) >= 0;
        most = open - done > most ? open - done : most;
    }
    assert_int_equal(told.n, COUNT(large) + COUNT(small));
    assert_int_equal(most, COPIES_LARGE);
    for (size_t i = 0; i < COUNT(small); i++) {
        assert_string_equal(told.ids[i], small[i]);
        expect_copied(f, small[i]);
    }
    for (size_t i = 0; i < COUNT(large); i++)
        expect_copied(f, large[i]);
    assert_int_equal(copies_waiting(c), 0);
    assert_int_equal(copies_open(c), 0);
    stop(f, c);
}

/* --- writers --- */

/* Begins a large copy, and goes some slices far. */
static void begin_large(struct fixture *f, struct copies *c, char id[static ID_SIZE])
{
    put(f, id, LARGE);
    copies_add(c, id);
    for (int i = 0; size_of(path_of(f, id, "new")) < 4 * COPIES_SLICE && i < 1000; i++)
        turn(f);
    assert_true(size_of(path_of(f, id, "new")) < LARGE / 2);
}

static void append_to(const char *path)
{
    int fd = open(path, O_WRONLY | O_APPEND | O_CLOEXEC); /* waits for our lease */
    _exit(fd >= 0 && write(fd, "the end\r\n", 9) == 9 ? 0 : 1);
}

static void shorten(const char *path)
{
    _exit(truncate(path, LARGE / 4));
}

static void overwrite(const char *path)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    _exit(fd >= 0 && pwrite(fd, "CHANGED", 7, 1000) == 7 ? 0 : 1);
}

static void empty(const char *path)
{
    _exit(open(path, O_RDONLY | O_TRUNC | O_CLOEXEC) >= 0 ? 0 : 1);
}

static void written_while_it_is_copied(void **state, void (*change)(const char *path))
{
    struct fixture *f = *state;
    struct copies *c = start(f);
    char id[ID_SIZE];
    begin_large(f, c, id);
    pid_t writer = fork();
    if (writer == 0)
        change(path_of(f, id, "drop"));
    assert_true(fixture_run(f, failed));
    assert_int_equal(told.how, COPIES_WRITTEN);
    assert_string_equal(told.failed_id, id);
    assert_int_equal(size_of(path_of(f, id, "new")), -1);
    assert_int_equal(exit_code(writer), 0); /* it was let in at once */
    assert_int_equal(told.n, 0);
    if (change != empty) {
        copies_add(c, id);
        assert_true(fixture_run(f, one_told));
        expect_copied(f, id); /* as it is now */
    }
    stop(f, c);
}

static void appended_to(void **state)
{
    written_while_it_is_copied(state, append_to);
}

static void truncated(void **state)
{
    written_while_it_is_copied(state, shorten);
}

static void changed_within(void **state)
{
    written_while_it_is_copied(state, overwrite);
}

static void emptied(void **state)
{
    written_while_it_is_copied(state, empty);
}

/* What is not to be understood while somebody writes is not refused. */
static void kept_open_by_a_writer(void **state)
{
    struct fixture *f = *state;
    struct copies *c = start(f);
    char id[ID_SIZE];
    put(f, id, 10);
    int writer = open(path_of(f, id, "drop"), O_WRONLY | O_TRUNC | O_CLOEXEC);
    assert_int_equal(write(writer, "hopeless", 8), 8);
    copies_add(c, id);
    assert_true(fixture_run(f, failed));
    assert_int_equal(told.how, COPIES_WRITTEN);
    assert_int_equal(size_of(path_of(f, id, "new")), -1);
    (void)close(writer);
    told.failures = 0;
    copies_add(c, id);
    assert_true(fixture_run(f, failed));
    assert_int_equal(told.how, COPIES_REFUSED);
    stop(f, c);
}

/* --- ends --- */

static void a_stop_abandons_what_is_copied(void **state)
{
    struct fixture *f = *state;
    struct copies *c = start(f);
    char id[ID_SIZE], waiting[ID_SIZE];
    begin_large(f, c, id);
    put(f, waiting, 10);
    copies_add(c, waiting);
    copies_stop(c);
    assert_int_equal(size_of(path_of(f, id, "new")), -1);
    assert_true(size_of(path_of(f, id, "drop")) > LARGE);
    for (int i = 0; i < 20; i++)
        turn(f);
    assert_int_equal(told.n + (size_t)told.failures, 0);
    copies_free(c);
    c = start(f); /* the next life */
    copies_add(c, id);
    copies_add(c, waiting);
    while (told.n < 2)
        turn(f);
    expect_copied(f, id);
    stop(f, c);
}

static bool is_stopped(struct fixture *f)
{
    (void)f;
    return told.stopped > 0;
}

static void a_stop_waits_for_what_is_synced(void **state)
{
    struct fixture *f = *state;
    struct copies *c = start(f);
    char id[3][ID_SIZE];
    for (size_t i = 0; i < COUNT(id); i++) {
        put(f, id[i], 10);
        copies_add(c, id[i]);
    }
    turn(f); /* three are gathered, and their sync has begun */
    copies_stop(c);
    syncpool_when_idle(f->h.sync, on_stopped, NULL);
    assert_int_equal(told.stopped, 0);
    assert_true(fixture_run(f, is_stopped));
    assert_int_equal(told.stopped, 1);
    assert_int_equal(told.n, 3);
    stop(f, c);
}

/* The directory can't be synced: nothing counts, and the next time all is written anew. */
static void a_sync_that_fails(void **state)
{
    struct fixture *f = *state;
    struct copies *c = start(f);
    int ends[2], outgoing = spool_fd(f->h.spool, SPOOL_OUTGOING), kept = dup(outgoing);
    char id[ID_SIZE];
    begin_large(f, c, id);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_true(dup2(ends[0], outgoing) >= 0); /* fsync: EINVAL */
    assert_true(fixture_run(f, failed));
    assert_int_equal(told.how, COPIES_LATER);
    assert_int_equal(told.n, 0);
    assert_true(dup2(kept, outgoing) >= 0);
    copies_add(c, id);
    assert_true(fixture_run(f, one_told));
    expect_copied(f, id);
    (void)close(ends[0]);
    (void)close(ends[1]);
    (void)close(kept);
    stop(f, c);
}

static void there_is_no_such_drop(void **state)
{
    struct fixture *f = *state;
    struct copies *c = start(f);
    char id[ID_SIZE];
    id_new(id);
    copies_add(c, id);
    assert_true(fixture_run(f, failed));
    assert_int_equal(told.how, COPIES_GONE);
    stop(f, c);
}

/* In a child with a small disk of its own; exit code 77 where that is not allowed. */
static int on_a_small_disk(struct fixture *f)
{
    struct error err;
    const char *dir = scratch_path(f->scratch, "spool");
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", dir, "tmpfs", 0, "mode=0750,size=70m") < 0)
        return 77;
    f->h.spool = spool_open(dir, true, &err);
    struct copies *c = start(f);
    char id[ID_SIZE], small[ID_SIZE];
    put(f, id, 1000);
    put(f, small, 1000);
    if (truncate(path_of(f, id, "drop"), 16 * 1024 * 1024) < 0)
        return 1;
    copies_add(c, id);
    copies_add(c, small);
    for (int i = 0; i < 1000 && told.failures == 0; i++)
        turn(f);
    return told.how == COPIES_LATER && strstr(told.why, "bytes of disk") != NULL &&
                   size_of(path_of(f, id, "new")) < 0 && size_of(path_of(f, small, "new")) > 0
               ? 0
               : 2;
}

/* What does not fit is not begun, so that the disk is not filled again and again. */
static void a_large_one_leaves_room(void **state)
{
    pid_t pid = fork();
    if (pid == 0)
        _exit(on_a_small_disk(*state));
    int code = exit_code(pid);
    if (code == 77)
        skip();
    assert_int_equal(code, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(other_work_goes_on_between_slices),
        fixture_test(small_ones_pass_large_ones),
        fixture_test(appended_to),
        fixture_test(truncated),
        fixture_test(changed_within),
        fixture_test(emptied),
        fixture_test(kept_open_by_a_writer),
        fixture_test(a_stop_abandons_what_is_copied),
        fixture_test(a_stop_waits_for_what_is_synced),
        fixture_test(a_sync_that_fails),
        fixture_test(there_is_no_such_drop),
        fixture_test(a_large_one_leaves_room),
    };
    return cmocka_run_group_tests_name("copies", tests, NULL, NULL);
}
