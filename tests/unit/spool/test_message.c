/* Spool files: byte for byte what was written, whatever it was; and every damage is found. */
#include "spool/message.h"
#include "spool/preface.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"
#include <sys/resource.h>

struct fixture {
    struct scratch *scratch;
    struct spool *spool;
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
    *state = f;
    return f->spool != NULL ? 0 : -1;
}

static int end(void **state)
{
    struct fixture *f = *state;
    void *scratch = f->scratch;
    spool_close(f->spool);
    free(f);
    return scratch_remove(&scratch);
}

static struct message_head example(void)
{
    struct message_head head = {
        .account = "sales", .origin = "pop3://pop.isp.example/sales", .sender = "a@b.example"};
    id_new(head.id);
    assert_true(envelope_list_add(&head.recipients, "sales@corp.example"));
    return head;
}

static const char *file_of(struct fixture *f, const char *dir, const char *id)
{
    char path[100];
    (void)snprintf(path, sizeof path, "spool/%s/%s.eml", dir, id);
    return scratch_path(f->scratch, path);
}

/* Written in pieces of at most `most` bytes, of random sizes; into incoming/. */
static struct message_head write_message(struct fixture *f, const char *bytes, size_t n,
                                         size_t most, unsigned long long seed)
{
    struct message_head head = example();
    struct error err = {0};
    struct message_writer *w = message_create(f->spool, SPOOL_INCOMING, "eml", &head, &err);
    if (w == NULL)
        fail_msg("%s", err.text);
    for (size_t at = 0; at < n;) {
        size_t piece = dice(&seed) % (most + 1);
        piece = piece < n - at ? piece : n - at;
        assert_true(message_append(w, bytes + at, piece, &err));
        at += piece;
        assert_int_equal(message_writer_size(w), at);
    }
    assert_true(message_finish(w, &err));
    assert_string_equal(message_writer_id(w), head.id);
    head.size = n;
    memcpy(head.hash, message_writer_hash(w), sizeof head.hash);
    message_writer_free(w);
    return head;
}

/* Reads to the end in pieces of `piece` bytes; false with err when the message is damaged. */
static bool read_all(struct message_reader *r, char *buf, size_t room, size_t piece, size_t *n,
                     struct error *err)
{
    size_t got = 1;
    for (*n = 0; got > 0; *n += got) {
        size_t ask = room - *n < piece ? room - *n : piece;
        if (!message_read(r, buf + *n, ask > 0 ? ask : 1, &got, err))
            return false;
    }
    return true;
}

static void assert_message(struct fixture *f, const struct message_head *head, const char *bytes,
                           size_t piece)
{
    struct error err = {0};
    struct message_reader *r = message_open(f->spool, SPOOL_INCOMING, head->id, &err);
    if (r == NULL)
        fail_msg("%s", err.text);
    const struct message_head *got = message_reader_head(r);
    assert_true(message_reader_has_preface(r));
    assert_string_equal(got->id, head->id);
    assert_string_equal(got->account, head->account);
    assert_string_equal(got->origin, head->origin);
    assert_string_equal(got->sender, head->sender);
    assert_int_equal(got->recipients.count, head->recipients.count);
    assert_int_equal(got->size, head->size);
    assert_memory_equal(got->hash, head->hash, sizeof head->hash);
    char *buf = malloc(head->size + 2);
    for (int round = 0; round < 2; round++) { /* and once more from the first byte */
        size_t n = 0;
        if (!read_all(r, buf, head->size + 1, piece, &n, &err))
            fail_msg("%s", err.text);
        assert_int_equal(n, head->size);
        assert_memory_equal(buf, bytes, n);
        assert_true(message_rewind(r, &err));
    }
    free(buf);
    message_close(r);
}

static char *noise(size_t n, unsigned long long seed)
{
    char *bytes = malloc(n > 0 ? n : 1);
    for (size_t i = 0; i < n; i++)
        bytes[i] = (char)(dice(&seed) >> 32);
    return bytes;
}

static void test_round_trips(void **state)
{
    static const size_t sizes[] = {0,     1,      2,      100,     4095,           4096,
                                   65279, 65280,  65281,  65535,   65536,          65537,
                                   70000, 131072, 200000, 1000003, 5 * 1024 * 1024};
    static const size_t most[] = {1000, 70000, 1 << 22};
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT(sizes); i++) {
        for (size_t m = 0; m < COUNT(most); m++) {
            char *bytes = noise(sizes[i], i + 1);
            struct message_head head = write_message(f, bytes, sizes[i], most[m], i * 7 + m + 1);
            assert_message(f, &head, bytes, m == 0 ? 8192 : 100000);
            struct error err;
            assert_true(spool_remove(f->spool, SPOOL_INCOMING, head.id, &err));
            message_head_free(&head);
            free(bytes);
        }
    }
}

static void test_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    char *bytes = noise(3000, 9);
    struct message_head head = write_message(f, bytes, 3000, 1, 5);
    assert_message(f, &head, bytes, 1);
    message_head_free(&head);
    free(bytes);
}

/* Around the size where the preface and the message no longer fit into one write. */
static void test_around_the_buffer(void **state)
{
    struct fixture *f = *state;
    char *bytes = noise(70000, 11);
    for (size_t n = 65100; n < 65540; n += 7) {
        struct message_head head = write_message(f, bytes, n, 70000, n);
        assert_message(f, &head, bytes, 70000);
        message_head_free(&head);
    }
    free(bytes);
}

static void test_file(void **state)
{
    struct fixture *f = *state;
    struct message_head head = write_message(f, "hello\r\n", 7, 100, 1);
    size_t len;
    char *text = slurp(file_of(f, "incoming", head.id), &len);
    assert_int_equal(strncmp(text, "X-Popferry: 1 lines=5 id=", 25), 0);
    assert_memory_equal(text + len - 7, "hello\r\n", 7);
    assert_non_null(strstr(text, "X-Popferry-Body: 7 blake2b="));
    struct stat st;
    assert_int_equal(stat(file_of(f, "incoming", head.id), &st), 0);
    assert_int_equal(st.st_mode & 0137, 0); /* 0640 or stricter */
    char hash[HASH_TEXT_SIZE];
    assert_non_null(strstr(text, hash_text(head.hash, hash)));
    free(text);
    message_head_free(&head);
}

/* BLAKE2b-256 of nothing and of "abc", as b2sum -l 256 has them: the hash is what we say it is. */
static void test_known_hashes(void **state)
{
    struct fixture *f = *state;
    static const char *const known[][2] = {
        {"", "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8"},
        {"abc", "bddd813c634239723171ef3fee98579b94964e3bb1cb3e427262c8c068d52319"}};
    for (size_t i = 0; i < COUNT(known); i++) {
        struct message_head head = write_message(f, known[i][0], strlen(known[i][0]), 10, 1);
        char hash[HASH_TEXT_SIZE];
        assert_string_equal(hash_text(head.hash, hash), known[i][1]);
        message_head_free(&head);
    }
}

/* --- a message that plays preface --- */

static void test_hostile_message(void **state)
{
    struct fixture *f = *state;
    static const char *const hostile[] = {
        "X-Receiver: <evil@fake.example>\r\nX-Receiver: <more@fake.example>\r\n\r\nbody\r\n",
        "X-Sender: <evil@fake.example>\r\nX-Receiver: <evil@fake.example>\r\n",
        "X-Popferry: 1 lines=5 id=01ARZ3NDEKTSV4RRFFQ69G5FAV account=evil\r\n"
        "X-Popferry-Origin: evil\r\nX-Sender: <evil@fake.example>\r\n"
        "X-Receiver: <evil@fake.example>\r\nX-Popferry-Body: 0 blake2b="
        "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8\r\n",
        "X-Popferry-Body: 1 blake2b=00\r\n\r\n",
        "\r\n\r\n",
        "\n",
        "\0\0\0"};
    for (size_t i = 0; i < COUNT(hostile); i++) {
        size_t n = strlen(hostile[i]);
        struct message_head head = write_message(f, hostile[i], n, 1000, i + 1);
        assert_message(f, &head, hostile[i], 1000);
        message_head_free(&head);
    }
}

static void test_a_thousand_recipients(void **state)
{
    struct fixture *f = *state;
    struct message_head head = example();
    struct error err = {0};
    char address[200];
    for (int i = 1; i < ENVELOPE_RECIPIENTS_MAX; i++) {
        (void)snprintf(address, sizeof address, "%060d@%060d.%060d.example", i, i, i);
        assert_true(envelope_list_add(&head.recipients, address));
    }
    struct message_writer *w = message_create(f->spool, SPOOL_INCOMING, "eml", &head, &err);
    assert_non_null(w); /* a preface longer than the writer's buffer */
    char *bytes = noise(300000, 3);
    for (size_t at = 0; at < 300000; at += 1000)
        assert_true(message_append(w, bytes + at, 1000, &err));
    assert_true(message_finish(w, &err));
    memcpy(head.hash, message_writer_hash(w), sizeof head.hash);
    head.size = 300000;
    message_writer_free(w);
    assert_message(f, &head, bytes, 5000);
    assert_true(envelope_list_add(&head.recipients, "sales@corp.example")); /* a double */
    message_head_free(&head);
    free(bytes);
}

/* --- creating --- */

static void test_create_refuses(void **state)
{
    struct fixture *f = *state;
    struct message_head head = write_message(f, "x", 1, 1, 1);
    struct error err = {0};
    assert_null(message_create(f->spool, SPOOL_INCOMING, "eml", &head, &err)); /* O_EXCL */
    assert_non_null(strstr(err.text, "incoming/"));
    (void)strcpy(head.sender, "a@b\r\nX-Receiver: <evil@x>");
    id_new(head.id);
    assert_null(message_create(f->spool, SPOOL_INCOMING, "eml", &head, &err));
    assert_int_equal(err.kind, ERROR_PERMANENT);
    assert_int_equal(spool_find(f->spool, head.id), SPOOL_DIRS);
    message_head_free(&head);
}

static void test_abandon(void **state)
{
    struct fixture *f = *state;
    struct message_head head = example();
    struct error err = {0};
    struct message_writer *w = message_create(f->spool, SPOOL_TMP, "eml", &head, &err);
    assert_true(message_append(w, "half", 4, &err));
    assert_int_equal(spool_find(f->spool, head.id), SPOOL_TMP);
    assert_true(fsync(message_writer_fd(w)) == 0);
    message_abandon(w);
    assert_int_equal(spool_find(f->spool, head.id), SPOOL_DIRS);
    message_abandon(NULL);
    w = message_create(f->spool, SPOOL_OUTGOING, "new", &head, &err);
    assert_non_null(w);
    assert_true(message_append(w, NULL, 0, &err)); /* nothing is fine */
    assert_true(message_finish(w, &err));
    message_abandon(w); /* finished or not */
    assert_int_equal(spool_count(f->spool, SPOOL_OUTGOING), 0);
    message_head_free(&head);
}

/* No room: the write fails and says so, and what is there is never taken for a message. */
static void test_no_space(void **state)
{
    struct fixture *f = *state;
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit limit = {100000, 100000};
        (void)signal(SIGXFSZ, SIG_IGN);
        (void)setrlimit(RLIMIT_FSIZE, &limit);
        struct message_head head = example();
        struct error err = {0};
        char *bytes = noise(200000, 5);
        struct message_writer *w = message_create(f->spool, SPOOL_INCOMING, "eml", &head, &err);
        bool ok = message_append(w, bytes, 50000, &err) && message_append(w, bytes, 200000, &err) &&
                  message_finish(w, &err);
        if (ok || err.text[0] == '\0')
            _exit(1);
        struct message_reader *r = message_open(f->spool, SPOOL_INCOMING, head.id, &err);
        if (r != NULL)
            _exit(2);
        message_abandon(w);
        _exit(spool_find(f->spool, head.id) == SPOOL_DIRS ? 0 : 3);
    }
    assert_int_equal(exit_code(pid), 0);
}

/* --- damage --- */

/* Opens and reads; true when the damage was told, in one or the other, as such. */
static bool damage_found(struct fixture *f, const char *id)
{
    struct error err = {0};
    struct message_reader *r = message_open(f->spool, SPOOL_INCOMING, id, &err);
    static char buf[300000];
    size_t n;
    bool whole = r != NULL && read_all(r, buf, sizeof buf, 10000, &n, &err);
    message_close(r);
    if (!whole)
        assert_true(err.kind == ERROR_PERMANENT && strstr(err.text, "damaged") != NULL);
    return !whole;
}

static void test_flipped_bits(void **state)
{
    struct fixture *f = *state;
    char *bytes = noise(5000, 13);
    struct message_head head = write_message(f, bytes, 5000, 1000, 3);
    size_t len;
    const char *path = file_of(f, "incoming", head.id);
    char *text = slurp(path, &len), *name = strdup(path);
    size_t preface = len - 5000;
    unsigned long long seed = 17;
    for (int round = 0; round < 400; round++) {
        size_t at = preface + (round < 2 ? (size_t)round * 4999 : dice(&seed) % 5000);
        char kept = text[at];
        text[at] = (char)(kept ^ (1 << dice(&seed) % 8));
        int fd = open(name, O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_int_equal(write(fd, text, len), len);
        (void)close(fd);
        if (!damage_found(f, head.id))
            fail_msg("byte %zu changed unseen", at);
        text[at] = kept;
    }
    /* in the preface: size and hash */
    char *body = strstr(text, "X-Popferry-Body: ");
    for (char *at = body + 17; *at != ' ' || at[1] != ' '; at++) {
        char kept = *at;
        *at = kept == '1' ? '2' : '1';
        int fd = open(name, O_WRONLY | O_TRUNC | O_CLOEXEC);
        assert_int_equal(write(fd, text, len), len);
        (void)close(fd);
        if (!damage_found(f, head.id))
            fail_msg("preface byte %d changed unseen", (int)(at - text));
        *at = kept;
    }
    free(name);
    free(text);
    free(bytes);
    message_head_free(&head);
}

static void test_truncated_and_grown(void **state)
{
    struct fixture *f = *state;
    char *bytes = noise(2000, 19);
    struct message_head head = write_message(f, bytes, 2000, 1000, 3);
    char *name = strdup(file_of(f, "incoming", head.id));
    struct stat st;
    assert_int_equal(stat(name, &st), 0);
    for (off_t size = st.st_size - 1; size > 0; size -= size > 300 ? 37 : 1) {
        assert_int_equal(truncate(name, size), 0);
        if (!damage_found(f, head.id))
            fail_msg("cut to %lld unseen", (long long)size);
    }
    assert_int_equal(truncate(name, 0), 0);
    assert_true(damage_found(f, head.id));
    free(name);
    message_head_free(&head);
    static const off_t more[] = {1, 2, 100, 100000};
    for (size_t i = 0; i < COUNT(more); i++) {
        head = write_message(f, bytes, 2000, 1000, 3);
        name = strdup(file_of(f, "incoming", head.id));
        assert_int_equal(stat(name, &st), 0);
        assert_int_equal(truncate(name, st.st_size + more[i]), 0);
        assert_true(damage_found(f, head.id));
        free(name);
        message_head_free(&head);
    }
    free(bytes);
}

/* What happens to a file while it is read. */
static void test_truncated_while_reading(void **state)
{
    struct fixture *f = *state;
    char *bytes = noise(50000, 23), buf[60000];
    struct message_head head = write_message(f, bytes, 50000, 1000, 3);
    struct error err = {0};
    struct message_reader *r = message_open(f->spool, SPOOL_INCOMING, head.id, &err);
    size_t got;
    assert_true(message_read(r, buf, 10000, &got, &err));
    assert_int_equal(truncate(file_of(f, "incoming", head.id), 20000), 0);
    size_t n;
    assert_false(read_all(r, buf, sizeof buf, 5000, &n, &err));
    assert_int_equal(err.kind, ERROR_PERMANENT);
    assert_non_null(strstr(err.text, "damaged: it ends after"));
    message_close(r);
    message_head_free(&head);
    free(bytes);
}

static void test_unfinished(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    char *bytes = noise(100000, 29);
    struct message_head head = example();
    struct message_writer *w = message_create(f->spool, SPOOL_INCOMING, "eml", &head, &err);
    assert_true(message_append(w, bytes, 100000, &err));
    message_writer_free(w); /* as a crash would leave it: no size, no hash */
    assert_true(damage_found(f, head.id));
    free(bytes);
    message_head_free(&head);
}

static void test_another_id(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    struct message_head head = write_message(f, "x", 1, 1, 1);
    char id[ID_SIZE];
    id_new(id);
    char *from = strdup(file_of(f, "incoming", head.id));
    assert_int_equal(rename(from, file_of(f, "incoming", id)), 0);
    assert_null(message_open(f->spool, SPOOL_INCOMING, id, &err));
    assert_int_equal(err.kind, ERROR_PERMANENT);
    assert_non_null(strstr(err.text, "another id"));
    free(from);
    message_head_free(&head);
}

/* --- what is no message file --- */

static void assert_refused(struct fixture *f, const char *id, enum error_kind kind)
{
    struct error err = {0};
    assert_null(message_open(f->spool, SPOOL_INCOMING, id, &err));
    if (err.kind != kind || strstr(err.text, id) == NULL)
        fail_msg("%d %s", err.kind, err.text);
}

static void test_no_regular_file(void **state)
{
    struct fixture *f = *state;
    struct message_head head = write_message(f, "x", 1, 1, 1);
    char id[ID_SIZE];
    id_new(id);
    assert_refused(f, id, ERROR_MISSING);
    assert_int_equal(mkfifo(file_of(f, "incoming", id), 0600), 0);
    assert_refused(f, id, ERROR_PERMANENT); /* and at once: no writer is waited for */
    id_new(id);
    assert_int_equal(mkdir(file_of(f, "incoming", id), 0700), 0);
    assert_refused(f, id, ERROR_PERMANENT);
    id_new(id);
    assert_int_equal(symlink(file_of(f, "incoming", head.id), file_of(f, "incoming", id)), 0);
    assert_refused(f, id, ERROR_PERMANENT);
    id_new(id);
    assert_int_equal(symlink("/dev/zero", file_of(f, "incoming", id)), 0);
    assert_refused(f, id, ERROR_PERMANENT);
    id_new(id);
    assert_int_equal(symlink("nowhere", file_of(f, "incoming", id)), 0);
    assert_refused(f, id, ERROR_PERMANENT);
    message_close(NULL);
    message_head_free(&head);
}

/* --- any name --- */

static struct message_reader *open_any(struct fixture *f, const char *text, size_t n,
                                       struct error *err)
{
    (void)scratch_write(f->scratch, "spool/pickup/letter.eml", text, n, 0640);
    *err = (struct error){0};
    return message_open_any(f->spool, SPOOL_PICKUP, "letter.eml", err);
}

static void test_any_without_preface(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {"From: a@b.example\r\n\r\nhello\r\n",
                                        "x",
                                        "X",
                                        "X-Pop",
                                        "X-Popferry",
                                        "X-Popferry:",
                                        "X-Popferry-Origin: x\r\n",
                                        "X-Receiver: <a@b.example>\r\n\r\n",
                                        "\r\n",
                                        ""};
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct error err;
        size_t len = strlen(texts[i]), n;
        struct message_reader *r = open_any(f, texts[i], len, &err);
        if (r == NULL)
            fail_msg("\"%s\": %s", texts[i], err.text);
        assert_false(message_reader_has_preface(r));
        const struct message_head *head = message_reader_head(r);
        assert_int_equal(head->size, len);
        assert_string_equal(head->id, "");
        assert_int_equal(head->recipients.count, 0);
        char buf[200];
        assert_true(read_all(r, buf, sizeof buf, 7, &n, &err));
        assert_int_equal(n, len);
        assert_memory_equal(buf, texts[i], n);
        message_close(r);
    }
}

static void test_any_with_preface(void **state)
{
    struct fixture *f = *state;
    struct message_head head = write_message(f, "hello", 5, 5, 1);
    struct error err;
    size_t len, n;
    char *text = slurp(file_of(f, "incoming", head.id), &len), buf[100];
    struct message_reader *r = open_any(f, text, len, &err);
    assert_non_null(r);
    assert_true(message_reader_has_preface(r));
    assert_string_equal(message_reader_head(r)->id, head.id);
    assert_true(read_all(r, buf, sizeof buf, 100, &n, &err));
    assert_int_equal(n, 5);
    message_close(r);
    for (size_t cut = 12; cut < len; cut += 5) { /* a preface that is cut is not "none" */
        r = open_any(f, text, cut, &err);
        if (r != NULL)
            fail_msg("taken with %zu bytes", cut);
        assert_int_equal(err.kind, ERROR_PERMANENT);
    }
    free(text);
    message_head_free(&head);
}

/* The whole of a file in outgoing is a message or is damaged: none of it without a preface. */
static void test_preface_is_needed_by_id(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE], path[100];
    struct error err = {0};
    id_new(id);
    (void)snprintf(path, sizeof path, "spool/incoming/%s.eml", id);
    (void)scratch_write(f->scratch, path, "From: x\r\n\r\n", 11, 0640);
    assert_null(message_open(f->spool, SPOOL_INCOMING, id, &err));
    assert_int_equal(err.kind, ERROR_PERMANENT);
    assert_non_null(strstr(err.text, "no preface"));
}

#define message_test(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        message_test(test_round_trips),
        message_test(test_byte_by_byte),
        message_test(test_around_the_buffer),
        message_test(test_file),
        message_test(test_known_hashes),
        message_test(test_hostile_message),
        message_test(test_a_thousand_recipients),
        message_test(test_create_refuses),
        message_test(test_abandon),
        message_test(test_no_space),
        message_test(test_flipped_bits),
        message_test(test_truncated_and_grown),
        message_test(test_truncated_while_reading),
        message_test(test_unfinished),
        message_test(test_another_id),
        message_test(test_no_regular_file),
        message_test(test_any_without_preface),
        message_test(test_any_with_preface),
        message_test(test_preface_is_needed_by_id),
    };
    return cmocka_run_group_tests_name("message", tests, NULL, NULL);
}
