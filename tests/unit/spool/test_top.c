/* Another top for a message: written, read, sent in place of the message's own. */
#include "spool/message.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"

static const char text[] = "A: 1\r\nB: 2\r\n\r\nbo\0dy\r\n";
enum { TEXT_LEN = sizeof text - 1, HEADER_LEN = 14 };

struct fixture {
    struct scratch *scratch;
    struct spool *spool;
    char id[ID_SIZE];
};

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error err;
    void *scratch;
    if (scratch_make(&scratch) != 0)
        return -1;
    f->scratch = scratch;
    f->spool = spool_open(scratch_path(f->scratch, "spool"), true, &err);
    struct message_head head = {.account = "a", .origin = "test", .sender = "a@b.example"};
    id_new(f->id);
    memcpy(head.id, f->id, ID_SIZE);
    bool ok = envelope_list_add(&head.recipients, "c@corp.example");
    struct message_writer *w = message_create(f->spool, SPOOL_OUTGOING, "eml", &head, &err);
    ok = ok && message_append(w, text, TEXT_LEN, &err) && message_finish(w, &err);
    message_writer_free(w);
    message_head_free(&head);
    *state = f;
    return ok ? 0 : -1;
}

static int end(void **state)
{
    struct fixture *f = *state;
    void *scratch = f->scratch;
    spool_close(f->spool);
    free(f);
    return scratch_remove(&scratch);
}

static const char *file(struct fixture *f)
{
    char path[100];
    (void)snprintf(path, sizeof path, "spool/outgoing/%s.top", f->id);
    return scratch_path(f->scratch, path);
}

static void put(struct fixture *f, const char *bytes, size_t len, uint64_t skip, bool drop_nul)
{
    struct error err = {.text = ""};
    struct top top = {.bytes = (char *)bytes, .len = len, .skip = skip, .drop_nul = drop_nul};
    int fd;
    if (!top_write(f->spool, f->id, &top, &fd, &err))
        fail_msg("%s", err.text);
    (void)close(fd);
}

/* Twice, from the beginning each time, in pieces of `most` bytes. */
static void expect(struct fixture *f, size_t most, const char *want, size_t len)
{
    struct error err = {.text = ""};
    struct message_reader *r = message_open(f->spool, SPOOL_OUTGOING, f->id, &err);
    struct top top;
    assert_true(top_read(f->spool, f->id, &top, &err));
    message_put_top(r, &top);
    assert_true(message_has_top(r));
    for (int round = 0; round < 2; round++) {
        char got[200];
        size_t n = 0, piece = 1;
        for (; piece > 0; n += piece)
            if (!message_read(r, got + n, most, &piece, &err))
                fail_msg("%s", err.text);
        assert_int_equal(n, len);
        assert_memory_equal(got, want, len);
        assert_true(message_rewind(r, &err));
    }
    assert_true(message_reader_size(r) >= len);
    message_close(r);
}

static void test_in_place_of_the_header(void **state)
{
    struct fixture *f = *state;
    static const char want[] = "X: y\r\nB: 2\r\n\r\nbo\0dy\r\n";
    put(f, want, HEADER_LEN, HEADER_LEN, false);
    for (size_t most = 1; most < 40; most++)
        expect(f, most, want, sizeof want - 1);
}

static void test_before_all_of_it(void **state)
{
    struct fixture *f = *state;
    char want[100] = "X: y\r\n";
    memcpy(want + 6, text, TEXT_LEN);
    put(f, want, 6, 0, false);
    expect(f, 7, want, 6 + TEXT_LEN);
}

static void test_nothing_added(void **state)
{
    struct fixture *f = *state;
    put(f, "", 0, HEADER_LEN, false);
    expect(f, 3, "bo\0dy\r\n", 7);
}

static void test_without_nul(void **state)
{
    struct fixture *f = *state;
    put(f, "X: y\r\n\r\n", 8, HEADER_LEN, true);
    for (size_t most = 1; most < 20; most++)
        expect(f, most, "X: y\r\n\r\nbody\r\n", 14);
}

static void test_one_takes_the_place_of_another(void **state)
{
    struct fixture *f = *state;
    put(f, "A long first one: 1\r\n", 21, 0, false);
    put(f, "\r\n", 2, HEADER_LEN, false);
    expect(f, 5, "\r\nbo\0dy\r\n", 9);
}

static void test_more_than_there_is(void **state)
{
    struct fixture *f = *state;
    struct error err;
    struct top top;
    char got[100];
    size_t n;
    put(f, "\r\n", 2, 1000, false);
    struct message_reader *r = message_open(f->spool, SPOOL_OUTGOING, f->id, &err);
    assert_true(top_read(f->spool, f->id, &top, &err));
    message_put_top(r, &top);
    assert_true(message_read(r, got, sizeof got, &n, &err));
    assert_false(message_read(r, got, sizeof got, &n, &err));
    assert_int_equal(err.kind, ERROR_PERMANENT);
    message_close(r);
}

/* The hash is of the file, whatever of it is sent. */
static void test_damage_in_what_it_stands_for(void **state)
{
    struct fixture *f = *state;
    struct error err;
    struct top top;
    char path[100], got[100];
    size_t n = 1, len;
    put(f, "\r\n", 2, HEADER_LEN, false);
    (void)snprintf(path, sizeof path, "spool/outgoing/%s.eml", f->id);
    char *bytes = scratch_read(f->scratch, path, &len);
    bytes[len - TEXT_LEN] = 'Z';
    scratch_write(f->scratch, path, bytes, len, 0600);
    free(bytes);
    struct message_reader *r = message_open(f->spool, SPOOL_OUTGOING, f->id, &err);
    assert_true(top_read(f->spool, f->id, &top, &err));
    message_put_top(r, &top);
    bool ok = true;
    while (ok && n > 0)
        ok = message_read(r, got, sizeof got, &n, &err);
    assert_false(ok);
    assert_int_equal(err.kind, ERROR_PERMANENT);
    message_close(r);
}

static void test_missing_and_damaged(void **state)
{
    struct fixture *f = *state;
    struct error err;
    struct top top;
    size_t len;
    char path[100], *bytes;
    assert_false(top_read(f->spool, f->id, &top, &err));
    assert_int_equal(err.kind, ERROR_MISSING);
    put(f, "X: y\r\n", 6, 0, false);
    (void)snprintf(path, sizeof path, "spool/outgoing/%s.top", f->id);
    bytes = scratch_read(f->scratch, path, &len);
    for (size_t i = 0; i <= len; i++) { /* each byte changed; and cut at each */
        char was = bytes[i];
        if (i < len)
            bytes[i] ^= 1;
        (void)unlink(file(f));
        scratch_write(f->scratch, path, bytes, i < len && i % 2 ? len : i, 0600);
        bytes[i] = was;
        bool whole = i == len;
        assert_int_equal(top_read(f->spool, f->id, &top, &err), whole);
        if (whole)
            top_free(&top);
        else
            assert_int_equal(err.kind, ERROR_PERMANENT);
    }
    free(bytes);
    assert_true(top_remove(f->spool, f->id, &err));
    assert_true(top_remove(f->spool, f->id, &err));
    assert_int_equal(symlink("/etc/passwd", file(f)), 0);
    assert_false(top_read(f->spool, f->id, &top, &err));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, begin, end)
    const struct CMUnitTest tests[] = {
        TEST(test_in_place_of_the_header),
        TEST(test_before_all_of_it),
        TEST(test_nothing_added),
        TEST(test_without_nul),
        TEST(test_one_takes_the_place_of_another),
        TEST(test_more_than_there_is),
        TEST(test_damage_in_what_it_stands_for),
        TEST(test_missing_and_damaged),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
