/* Intake: whatever the pieces, the same file comes out, with the envelope of its header section;
 * what is given up leaves nothing behind. */
#include "fetcherd/intake.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"

#include <stdlib.h>
#include <string.h>

struct fixture {
    void *scratch;
    struct spool *spool;
    struct account *account;
    struct intake intake;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error err = {.text = ""};
    assert_int_equal(scratch_make(&f->scratch), 0);
    f->spool = spool_open(((struct scratch *)f->scratch)->dir, true, &err);
    if (!f->spool)
        fail_msg("%s", err.text);
    f->account = calloc(1, sizeof *f->account);
    strcpy(f->account->name, "sales");
    strcpy(f->account->server, "::1");
    strcpy(f->account->user, "jo e");
    f->account->port = 995;
    f->account->tls = CONF_TLS_IMPLICIT;
    assert_true(envelope_list_add(&f->account->deliver_to, "sales@corp.example"));
    intake_init(&f->intake, f->spool, f->account, "corp.example");
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    intake_free(&f->intake);
    account_free(f->account);
    spool_close(f->spool);
    scratch_remove(&f->scratch);
    free(f);
    return 0;
}

static struct message_writer *take(struct fixture *f, const char *text, size_t len, size_t chunk)
{
    struct error err = {.text = ""};

    intake_begin(&f->intake, "u 1", 3, 1 << 20);
    for (size_t at = 0; at < len; at += chunk) {
        size_t n = len - at < chunk ? len - at : chunk;
        assert_int_equal(intake_data(&f->intake, text + at, n, &err), INTAKE_OK);
    }
    struct message_writer *w = intake_end(&f->intake, &err);
    if (!w)
        fail_msg("%s", err.text);
    return w;
}

/* What the file in tmp/ holds; closes the writer. */
static void check(struct fixture *f, struct message_writer *w, const char *text, size_t len,
                  const char *sender)
{
    struct error err = {.text = ""};
    char id[ID_SIZE], *body = malloc(len + 1);
    size_t got, at = 0;

    strcpy(id, message_writer_id(w));
    assert_int_equal(message_writer_size(w), len);
    message_writer_free(w);
    struct message_reader *r = message_open(f->spool, SPOOL_TMP, id, &err);
    if (!r)
        fail_msg("%s", err.text);
    const struct message_head *head = message_reader_head(r);
    assert_string_equal(head->sender, sender);
    assert_string_equal(head->account, "sales");
    assert_int_equal(strncmp(head->origin, "pop3s://[::1]:995/jo%20e uidl=u%201 at=", 39), 0);
    assert_int_equal(head->recipients.count, 1);
    while (message_read(r, body + at, len + 1 - at, &got, &err) && got)
        at += got;
    assert_int_equal(at, len);
    assert_memory_equal(body, text, len);
    message_close(r);
    assert_true(spool_remove(f->spool, SPOOL_TMP, id, &err));
    free(body);
}

static void test_any_pieces(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *text, *sender;
    } messages[] = {
        {"From: a@b.example\r\nSubject: x\r\n\r\nbody\r\n", "a@b.example"},
        {"Subject: x\nFrom: a@b.example\n\nReturn-Path: <no@b.example>\n", "a@b.example"},
        {"Return-Path: <bare>\r\n\r\n", "bare@corp.example"},
        {"\r\nFrom: a@b.example\r\n\r\n", ""}, /* no header section at all */
        {"From: a@b.example", "a@b.example"},  /* nothing but */
        {"x", ""},
        {"", ""},
    };
    for (size_t i = 0; i < sizeof messages / sizeof *messages; i++) {
        size_t len = strlen(messages[i].text);
        for (size_t chunk = 1; chunk <= len + 1; chunk += 3)
            check(f, take(f, messages[i].text, len, chunk), messages[i].text, len,
                  messages[i].sender);
    }
}

static void test_endless_header(void **state)
{
    struct fixture *f = *state;
    size_t len = 5 * ENVELOPE_HEADER_MAX;
    char *text = malloc(len);

    memset(text, 'h', len);
    memcpy(text, "From: a@b.example\r\nX: ", 22);
    struct message_writer *w = take(f, text, len, 4096);
    assert_true(f->intake.header_capacity < 3 * ENVELOPE_HEADER_MAX);
    check(f, w, text, len, "a@b.example");
    free(text);
}

static void test_limit_is_counted(void **state)
{
    struct fixture *f = *state;
    struct error err;

    intake_begin(&f->intake, "u", 1, 10);
    assert_int_equal(intake_data(&f->intake, "a: b\n\n1234", 10, &err), INTAKE_OK);
    assert_int_equal(spool_count(f->spool, SPOOL_TMP), 1);
    assert_int_equal(intake_data(&f->intake, "5", 1, &err), INTAKE_TOO_LARGE);
    intake_abandon(&f->intake);
    assert_int_equal(spool_count(f->spool, SPOOL_TMP), 0);
    intake_abandon(&f->intake); /* nothing is there any more */
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {TEST(test_any_pieces), TEST(test_endless_header),
                                       TEST(test_limit_is_counted)};
    envelope_init();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
