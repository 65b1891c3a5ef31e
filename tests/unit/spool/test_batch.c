/* Group commit: nothing is in incoming/ before the callback, all of it behind batch_publish,
 * nothing behind batch_discard; and recovery with and without rows. */
#include "spool/batch.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"
#include <errno.h>

struct fixture {
    struct scratch *scratch;
    struct spool *spool;
    struct event_base *base;
    struct syncpool *pool;
    int calls, failed_errno;
    bool discard; /* in the callback, whatever happened */
    const char *known[8];
    int asked;
};

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    void *scratch;
    struct error err;
    if (scratch_make(&scratch) != 0)
        return -1;
    f->scratch = scratch;
    f->spool = spool_open(scratch_path(f->scratch, "spool"), true, &err);
    f->base = event_base_new();
    f->pool = syncpool_new(f->base, &err);
    scratch_catch(f->scratch);
    *state = f;
    return f->spool != NULL && f->pool != NULL ? 0 : -1;
}

static int end(void **state)
{
    struct fixture *f = *state;
    void *scratch = f->scratch;
    syncpool_free(f->pool);
    event_base_free(f->base);
    spool_close(f->spool);
    free(f);
    return scratch_remove(&scratch);
}

static struct message_writer *new_message(struct fixture *f, size_t size, bool finish)
{
    struct message_head head = {.account = "sales", .origin = "test", .sender = "a@b.example"};
    struct error err;
    id_new(head.id);
    assert_true(envelope_list_add(&head.recipients, "sales@corp.example"));
    struct message_writer *w = message_create(f->spool, SPOOL_TMP, "eml", &head, &err);
    assert_non_null(w);
    char *bytes = calloc(1, size + 1);
    assert_true(message_append(w, bytes, size, &err));
    if (finish)
        assert_true(message_finish(w, &err));
    free(bytes);
    message_head_free(&head);
    return w;
}

static void on_synced(void *arg, struct batch *batch, int failed_errno)
{
    struct fixture *f = arg;
    f->calls++;
    f->failed_errno = failed_errno;
    assert_int_equal(spool_count(f->spool, SPOOL_INCOMING), 0);
    if (failed_errno != 0 || f->discard)
        batch_discard(batch);
    else
        batch_publish(batch);
    (void)event_base_loopbreak(f->base);
}

static void sync_and_wait(struct fixture *f, struct batch *batch)
{
    struct timeval limit = {20, 0};
    f->calls = 0;
    batch_sync(batch, f->pool, on_synced, f);
    assert_int_equal(f->calls, 0);
    (void)event_base_loopexit(f->base, &limit);
    (void)event_base_dispatch(f->base);
    assert_int_equal(f->calls, 1);
}

static void assert_counts(struct fixture *f, uint64_t tmp, uint64_t incoming)
{
    assert_int_equal(spool_count(f->spool, SPOOL_TMP), tmp);
    assert_int_equal(spool_count(f->spool, SPOOL_INCOMING), incoming);
}

static void assert_no_event(struct fixture *f)
{
    char *log = scratch_read(f->scratch, "stderr", NULL);
    assert_string_equal(log, "");
    free(log);
}

static void assert_event(struct fixture *f, const char *words)
{
    char *log = scratch_read(f->scratch, "stderr", NULL);
    if (strstr(log, words) == NULL)
        fail_msg("wanted %s in: %s", words, log);
    free(log);
}

static void test_publish(void **state)
{
    enum { MANY = 60 };
    struct fixture *f = *state;
    struct batch *batch = batch_new(f->spool);
    char ids[MANY][ID_SIZE];
    uint64_t bytes = 0;
    for (size_t i = 0; i < MANY; i++) {
        struct message_writer *w = new_message(f, i * 1000, true);
        memcpy(ids[i], message_writer_id(w), ID_SIZE);
        batch_add(batch, w);
        bytes += i * 1000;
        assert_int_equal(batch_count(batch), i + 1);
        assert_int_equal(batch_bytes(batch), bytes);
        assert_ptr_equal(batch_writer(batch, i), w);
    }
    assert_counts(f, MANY, 0);
    sync_and_wait(f, batch);
    assert_int_equal(f->failed_errno, 0);
    assert_counts(f, 0, MANY);
    for (size_t i = 0; i < MANY; i++) {
        struct error err;
        struct message_reader *r = message_open(f->spool, SPOOL_INCOMING, ids[i], &err);
        assert_non_null(r);
        assert_int_equal(message_reader_head(r)->size, i * 1000);
        message_close(r);
    }
    assert_no_event(f);
}

static void test_empty(void **state)
{
    struct fixture *f = *state;
    struct batch *batch = batch_new(f->spool);
    assert_int_equal(batch_count(batch), 0);
    assert_int_equal(batch_bytes(batch), 0);
    sync_and_wait(f, batch);
    assert_int_equal(f->failed_errno, 0);
    assert_counts(f, 0, 0);
}

static void test_discard(void **state)
{
    struct fixture *f = *state;
    struct batch *batch = batch_new(f->spool);
    for (int i = 0; i < 5; i++)
        batch_add(batch, new_message(f, 100, true));
    struct message_writer *other = new_message(f, 100, true); /* of another batch */
    f->discard = true;
    sync_and_wait(f, batch);
    assert_counts(f, 1, 0);
    message_abandon(other);
    batch = batch_new(f->spool); /* without a sync too */
    batch_add(batch, new_message(f, 100, true));
    batch_discard(batch);
    assert_counts(f, 0, 0);
}

/* An fsync that fails, of any file, spoils the whole batch: nothing is published. */
static void test_sync_fails(void **state)
{
    struct fixture *f = *state;
    for (int bad = 0; bad < 5; bad++) {
        struct batch *batch = batch_new(f->spool);
        int kept = -1, fd = -1, pipe_fds[2];
        for (int i = 0; i < 5; i++) {
            struct message_writer *w = new_message(f, 100, true);
            if (i == bad)
                fd = message_writer_fd(w);
            batch_add(batch, w);
        }
        assert_int_equal(pipe(pipe_fds), 0); /* what cannot be synced, in the file's place */
        kept = dup(fd);
        assert_true(dup2(pipe_fds[1], fd) >= 0);
        sync_and_wait(f, batch);
        assert_int_equal(f->failed_errno, EINVAL);
        assert_counts(f, 0, 0);
        (void)close(kept);
        (void)close(pipe_fds[0]);
        (void)close(pipe_fds[1]);
    }
    assert_event(f, "alarm sync-failed dir=tmp");
    assert_event(f, "messages=5");
}

/* And so does one of the directory. */
static void test_directory_sync_fails(void **state)
{
    struct fixture *f = *state;
    struct batch *batch = batch_new(f->spool);
    batch_add(batch, new_message(f, 100, true));
    int pipe_fds[2], tmp = spool_fd(f->spool, SPOOL_TMP), kept = dup(tmp);
    assert_int_equal(pipe(pipe_fds), 0);
    (void)dup2(pipe_fds[1], tmp);
    sync_and_wait(f, batch);
    assert_int_equal(f->failed_errno, EINVAL);
    (void)dup2(kept, tmp);
    assert_int_equal(spool_count(f->spool, SPOOL_INCOMING), 0);
    (void)close(kept);
    (void)close(pipe_fds[0]);
    (void)close(pipe_fds[1]);
}

/* A rename that fails leaves its file where recovery finds it, and the others go on. */
static void test_rename_fails(void **state)
{
    struct fixture *f = *state;
    struct batch *batch = batch_new(f->spool);
    char path[100];
    for (int i = 0; i < 3; i++)
        batch_add(batch, new_message(f, 100, true));
    (void)snprintf(path, sizeof path, "spool/incoming/%s.eml",
                   message_writer_id(batch_writer(batch, 1)));
    assert_int_equal(mkdir(scratch_path(f->scratch, path), 0700), 0);
    batch_publish(batch);
    assert_int_equal(spool_count(f->spool, SPOOL_TMP), 1);
    assert_int_equal(spool_count(f->spool, SPOOL_INCOMING), 3); /* two and the directory */
    assert_event(f, "alarm move-failed id=");
}

/* --- recovery --- */

static bool known(void *arg, const char *id)
{
    struct fixture *f = arg;
    f->asked++;
    for (size_t i = 0; i < COUNT(f->known) && f->known[i] != NULL; i++)
        if (strcmp(f->known[i], id) == 0)
            return true;
    return false;
}

static void test_recover(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    char with[3][ID_SIZE], without[3][ID_SIZE];
    for (int i = 0; i < 3; i++) {
        struct message_writer *w = new_message(f, 100, true);
        memcpy(with[i], message_writer_id(w), ID_SIZE);
        f->known[i] = with[i];
        message_writer_free(w);
        w = new_message(f, 100, i != 0); /* one is unfinished */
        memcpy(without[i], message_writer_id(w), ID_SIZE);
        message_writer_free(w);
    }
    (void)scratch_write(f->scratch, "spool/tmp/not-ours", "x", 1, 0600);
    assert_true(batch_recover(f->spool, known, f, &err));
    assert_int_equal(f->asked, 6);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(spool_find(f->spool, with[i]), SPOOL_INCOMING);
        assert_int_equal(spool_find(f->spool, without[i]), SPOOL_DIRS);
    }
    assert_counts(f, 0, 3);
    assert_int_equal(access(scratch_path(f->scratch, "spool/tmp/not-ours"), F_OK), 0);
    assert_event(f, "note recovered dir=tmp handed_on=3 unfinished=3");
    assert_true(batch_recover(f->spool, known, f, &err)); /* twice does no harm */
    assert_int_equal(f->asked, 6);
    assert_counts(f, 0, 3);
}

static void test_recover_nothing(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    assert_true(batch_recover(f->spool, known, f, &err));
    assert_int_equal(f->asked, 0);
    assert_no_event(f);
}

static void test_recover_many(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    for (int i = 0; i < 500; i++)
        message_writer_free(new_message(f, 10, true));
    assert_true(batch_recover(f->spool, known, f, &err));
    assert_int_equal(f->asked, 500);
    assert_counts(f, 0, 0);
}

/* What can't be removed, or finds its name taken, is told, and stops nothing else. */
static void test_recover_fails(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    char dir[ID_SIZE], path[100];
    id_new(dir);
    (void)snprintf(path, sizeof path, "spool/tmp/%s.eml", dir);
    assert_int_equal(mkdir(scratch_path(f->scratch, path), 0700), 0);
    (void)snprintf(path, sizeof path, "spool/tmp/%s.eml/x", dir); /* cannot be removed */
    (void)scratch_write(f->scratch, path, "x", 1, 0600);
    struct message_writer *taken = new_message(f, 100, true), *good = new_message(f, 100, true);
    f->known[0] = message_writer_id(taken);
    f->known[1] = message_writer_id(good);
    (void)snprintf(path, sizeof path, "spool/incoming/%s.eml", f->known[0]);
    (void)scratch_write(f->scratch, path, "another", 7, 0600);
    assert_true(batch_recover(f->spool, known, f, &err));
    assert_event(f, "alarm remove-failed id=");
    assert_event(f, dir);
    assert_event(f, "alarm move-failed id=");
    assert_event(f, "handed_on=1 unfinished=0");
    assert_int_equal(spool_find(f->spool, f->known[0]), SPOOL_TMP);
    assert_int_equal(spool_find(f->spool, f->known[1]), SPOOL_INCOMING);
    assert_counts(f, 2, 2);
    message_writer_free(taken);
    message_writer_free(good);
}

#define batch_test(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        batch_test(test_publish),
        batch_test(test_empty),
        batch_test(test_discard),
        batch_test(test_sync_fails),
        batch_test(test_directory_sync_fails),
        batch_test(test_rename_fails),
        batch_test(test_recover),
        batch_test(test_recover_nothing),
        batch_test(test_recover_many),
        batch_test(test_recover_fails),
    };
    return cmocka_run_group_tests_name("batch", tests, NULL, NULL);
}
