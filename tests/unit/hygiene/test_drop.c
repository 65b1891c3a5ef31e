/* tests/data/pickup: NAME.eml is dropped; NAME.expect holds "error WORDS", or the envelope, an
 * empty line, and the message that must come of it. */
#include "hygiene/drop.h"
#include "tests/unit/hygiene/fixture.h"
#include <dirent.h>

static void put_drop(struct fixture *f, const char *id, const char *bytes, size_t n)
{
    char path[128];
    (void)snprintf(path, sizeof path, "spool/outgoing/%s.drop", id);
    scratch_write(f->scratch, path, bytes, n, 0640);
}

/* NULL: it can't be copied, err says why. */
static struct message_writer *copy_all(struct fixture *f, struct drop *drop, struct error *err)
{
    bool whole = false;
    struct message_writer *w = drop_copy_begin(f->h.spool, drop, err);
    while (w != NULL && !whole) {
        if (drop_copy_some(drop, w, 1, &whole, err))
            continue;
        message_abandon(w);
        return NULL;
    }
    if (w != NULL)
        assert_true(message_finish(w, err));
    return w;
}

static void expect_error(struct fixture *f, const char *name, const char *words, bool opened,
                         struct drop *drop, struct error *err)
{
    if (opened) { /* damage at the end shows as it is copied */
        assert_null(copy_all(f, drop, err));
        drop_close(drop);
    }
    if (strstr(err->text, words) == NULL)
        fail_msg("%s: \"%s\" lacks \"%s\"", name, err->text, words);
    assert_int_equal(err->kind, ERROR_PERMANENT);
}

static char *whole_copy(struct fixture *f, const char *id, struct drop *drop, size_t *len)
{
    struct error err = {.text = ""};
    char name[SPOOL_NAME_SIZE];
    struct message_writer *w = copy_all(f, drop, &err);
    assert_non_null(w);
    message_writer_free(w);
    struct message_reader *r =
        message_open_any(f->h.spool, SPOOL_OUTGOING, spool_name(name, id, "new"), &err);
    assert_non_null(r);
    *len = (size_t)message_reader_head(r)->size;
    char *text = malloc(*len + 1);
    size_t got = 1, n = 0;
    while (got > 0) {
        assert_true(message_read(r, text + n, *len - n + 1, &got, &err));
        n += got;
    }
    message_close(r);
    return text;
}

static void expect_copy(struct fixture *f, const char *name, const char *id, const char *expect,
                        size_t expect_len, struct drop *drop)
{
    char *envelope = NULL;
    size_t n, len;
    FILE *out = open_memstream(&envelope, &n);
    fprintf(out, "sender %s\n", drop->head.sender);
    for (size_t i = 0; i < drop->head.recipients.count; i++)
        fprintf(out, "receiver %s\n", drop->head.recipients.items[i]);
    fprintf(out, "\n");
    (void)fclose(out);
    if (expect_len < n || memcmp(envelope, expect, n) != 0)
        fail_msg("%s: envelope\n%s", name, envelope);
    char *text = whole_copy(f, id, drop, &len);
    if (len != expect_len - n || memcmp(text, expect + n, len) != 0)
        fail_msg("%s: %.*s", name, (int)len, text);
    free(text);
    free(envelope);
    drop_close(drop);
}

static void check_case(struct fixture *f, const char *stem)
{
    char path[300], id[ID_SIZE];
    size_t n, expect_len;
    (void)snprintf(path, sizeof path, "pickup/%s.eml", stem);
    char *bytes = data_read(path, &n);
    (void)snprintf(path, sizeof path, "pickup/%s.expect", stem);
    char *expect = data_read(path, &expect_len);
    id_new(id);
    put_drop(f, id, bytes, n);
    struct drop drop;
    struct error err = {.text = ""};
    bool opened = drop_open(f->h.spool, id, stem, "corp.example", &drop, &err);
    if (strncmp(expect, "error ", 6) == 0) {
        expect_error(f, stem, expect + 6, opened, &drop, &err);
    } else {
        if (!opened)
            fail_msg("%s: %s", stem, err.text);
        expect_copy(f, stem, id, expect, expect_len, &drop);
    }
    free(expect);
    free(bytes);
}

static void every_case(void **state)
{
    char path[300];
    (void)snprintf(path, sizeof path, "%s/pickup", getenv("POPFERRY_DATA"));
    DIR *dir = opendir(path);
    assert_non_null(dir);
    int cases = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        char *suffix = strstr(entry->d_name, ".eml");
        if (suffix == NULL)
            continue;
        *suffix = '\0';
        check_case(*state, entry->d_name);
        cases++;
    }
    (void)closedir(dir);
    assert_true(cases >= 13);
}

static void a_preface_is_a_replay(void **state)
{
    struct fixture *f = *state;
    char old[ID_SIZE] = "", fresh[ID_SIZE], from[64], to[64];
    struct error err = {.text = ""};
    fixture_message(f, SPOOL_BADMAIL, "eml", old, "s@x.example",
                    "X-Receiver: <evil@x.example>\r\n\r\nbody");
    id_new(fresh);
    (void)snprintf(from, sizeof from, "spool/badmail/%s.eml", old);
    (void)snprintf(to, sizeof to, "spool/outgoing/%s.drop", fresh);
    assert_int_equal(rename(scratch_path(f->scratch, from), scratch_path(f->scratch, to)), 0);
    struct drop drop;
    assert_true(drop_open(f->h.spool, fresh, "x.eml", "", &drop, &err));
    assert_string_equal(drop.head.replay_of, old);
    assert_string_equal(drop.head.account, "sales");
    assert_string_equal(drop.head.sender, "s@x.example");
    assert_int_equal(drop.head.recipients.count, 2);
    size_t len;
    char *text = whole_copy(f, fresh, &drop, &len);
    assert_int_equal(len, 36);
    assert_memory_equal(text, "X-Receiver: <evil@x.example>\r\n\r\nbody", 36);
    free(text);
    drop_close(&drop);
}

/* Behind the part that is looked at may be more recipients, or a Bcc. */
static void a_header_section_without_end(void **state)
{
    struct fixture *f = *state;
    static const char lines[] = "X-Sender: <a@x.example>\nX-Receiver: <b@x.example>\n";
    struct error err = {.text = ""};
    struct drop drop;
    char *text = malloc(200000), id[ID_SIZE];
    for (int with_lines = 0; with_lines < 2; with_lines++) {
        size_t n = (size_t)sprintf(
            text, "%sFrom: a@x.example\nTo: b@x.example\nX: ", with_lines ? lines : "");
        memset(text + n, 'x', 150000);
        n += 150000;
        n += (size_t)sprintf(text + n, "\nBcc: c@x.example\n\nbody\n");
        id_new(id);
        put_drop(f, id, text, n);
        assert_int_equal(drop_open(f->h.spool, id, "x.eml", "", &drop, &err), with_lines);
    }
    assert_non_null(strstr(err.text, "X-Receiver"));
    assert_int_equal(err.kind, ERROR_PERMANENT);
    drop_close(&drop);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {fixture_test(every_case),
                                       fixture_test(a_preface_is_a_replay),
                                       fixture_test(a_header_section_without_end)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
