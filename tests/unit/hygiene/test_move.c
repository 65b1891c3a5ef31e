/* A name that is taken: both messages are kept, and the walk goes on. */
#include "hygiene/badmail.h"
#include "hygiene/move.h"
#include "tests/unit/hygiene/fixture.h"

static const char mail[] =
    "From: a@x.example\r\nTo: b@corp.example\r\nSubject: one\r\n\r\nhello\r\n";
static const char other[] = "From: a@x.example\r\nSubject: two\r\n\r\nanother\r\n";

static void assert_event(struct fixture *f, const char *words)
{
    char *events = scratch_read(f->scratch, "stderr", NULL);
    if (strstr(events, words) == NULL)
        fail_msg("no \"%s\" in: %s", words, events);
    free(events);
}

/* The only file in badmail/ that is not `id`. */
static void find_aside(struct fixture *f, const char *id, char new_id[static ID_SIZE])
{
    struct error err;
    struct spool_scan *scan = spool_scan_begin(f->h.spool, SPOOL_BADMAIL, &err);
    int found = 0;
    assert_non_null(scan);
    for (char one[ID_SIZE]; spool_scan_next(scan, one);)
        if (strcmp(one, id) != 0) {
            memcpy(new_id, one, ID_SIZE);
            found++;
        }
    spool_scan_end(scan);
    assert_int_equal(found, 1);
}

static void assert_message(struct fixture *f, enum spool_dir dir, const char *id, const char *want)
{
    struct error err = {.text = ""};
    char text[200];
    size_t got;
    struct message_reader *r = message_open(f->h.spool, dir, id, &err);
    if (r == NULL)
        fail_msg("%s", err.text);
    assert_true(message_read(r, text, sizeof text, &got, &err));
    assert_int_equal(got, strlen(want));
    assert_memory_equal(text, want, got);
    assert_true(message_read(r, text, sizeof text, &got, &err)); /* its hash is true */
    message_close(r);
}

static void assert_row(struct fixture *f, const char *id, const char *decided_by, bool entered)
{
    struct badmail b;
    assert_true(ledger_badmail(f->d.db, id, &b));
    assert_string_equal(b.decided_by, decided_by);
    assert_int_equal(b.state, BADMAIL_HELD);
    assert_int_equal(b.entered, entered);
    ledger_badmail_free(&b);
}

static void differing(struct fixture *f, enum spool_dir from, enum spool_dir to)
{
    char id[ID_SIZE] = "", new_id[ID_SIZE];
    fixture_message(f, to, "eml", id, "a@x.example", mail);
    fixture_message(f, from, "eml", id, "a@x.example", other);
    assert_true(move_on(&f->h, id, from, to));
    assert_false(spool_has(f->h.spool, from, id));
    find_aside(f, id, new_id);
    assert_message(f, to, id, mail);
    assert_message(f, SPOOL_BADMAIL, new_id, other);
    assert_row(f, new_id, "name-taken", true);
    assert_event(f, "alarm spool-name-taken id=");
    assert_event(f, new_id);
    assert_event(f, "popferryctl badmail show");
}

static void both_in_badmail(void **state)
{
    differing(*state, SPOOL_INCOMING, SPOOL_BADMAIL);
}

static void refused_twice(void **state)
{
    differing(*state, SPOOL_REJECTED, SPOOL_BADMAIL);
}

/* Written for the one that comes: the verdict is committed before the rename. */
static void a_row_goes_with_its_message(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE] = "", new_id[ID_SIZE];
    struct badmail b;
    fixture_message(f, SPOOL_INCOMING, "eml", id, "a@x.example", other);
    badmail_describe(f->h.spool, SPOOL_INCOMING, id, "rspamd", "score 17", &b);
    b.report = strdup("[{}]");
    ledger_hold(f->d.db, &b);
    ledger_badmail_free(&b);
    fixture_message(f, SPOOL_BADMAIL, "eml", id, "a@x.example", mail);
    assert_true(move_on(&f->h, id, SPOOL_INCOMING, SPOOL_BADMAIL));
    find_aside(f, id, new_id);
    assert_message(f, SPOOL_BADMAIL, new_id, other);
    assert_row(f, new_id, "rspamd", true);
    assert_row(f, id, "unknown", true);
    assert_true(ledger_badmail(f->d.db, new_id, &b));
    assert_string_equal(b.subject, "two");
    assert_string_equal(b.reason, "score 17");
    assert_string_equal(b.report, "[{}]");
    ledger_badmail_free(&b);
    assert_true(ledger_badmail(f->d.db, id, &b));
    assert_string_equal(b.subject, "one");
    assert_null(b.report);
    ledger_badmail_free(&b);
}

/* What the other file is must not become what is told of the message that was fetched. */
static void the_other_is_damaged(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE] = "", new_id[ID_SIZE], name[SPOOL_NAME_SIZE], path[128];
    struct badmail b;
    fixture_message(f, SPOOL_INCOMING, "eml", id, "a@x.example", other);
    badmail_describe(f->h.spool, SPOOL_INCOMING, id, "rspamd", "score 17", &b);
    ledger_hold(f->d.db, &b);
    ledger_badmail_free(&b);
    (void)snprintf(path, sizeof path, "spool/badmail/%s", spool_name(name, id, "eml"));
    scratch_write(f->scratch, path, "x", 1, 0600);
    assert_true(move_on(&f->h, id, SPOOL_INCOMING, SPOOL_BADMAIL));
    find_aside(f, id, new_id);
    assert_row(f, new_id, "rspamd", true);
    assert_int_equal(ledger_badmail_outcome(f->d.db, id), BADMAIL_CERTAIN);
}

static void one_in_outgoing(void **state)
{
    differing(*state, SPOOL_INCOMING, SPOOL_OUTGOING);
}

static void the_same_twice(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE] = "";
    fixture_message(f, SPOOL_OUTGOING, "eml", id, "a@x.example", mail);
    fixture_message(f, SPOOL_INCOMING, "eml", id, "a@x.example", mail);
    assert_true(move_on(&f->h, id, SPOOL_INCOMING, SPOOL_OUTGOING));
    assert_int_equal(spool_count(f->h.spool, SPOOL_INCOMING), 0);
    assert_int_equal(spool_count(f->h.spool, SPOOL_BADMAIL), 0);
    assert_message(f, SPOOL_OUTGOING, id, mail);
}

/* What can't get another preface, such as no file at all, is kept as it is. */
static void a_directory(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE] = "", new_id[ID_SIZE], name[SPOOL_NAME_SIZE];
    fixture_message(f, SPOOL_BADMAIL, "eml", id, "a@x.example", mail);
    assert_int_equal(
        mkdirat(spool_fd(f->h.spool, SPOOL_INCOMING), spool_name(name, id, "eml"), 0700), 0);
    assert_true(move_on(&f->h, id, SPOOL_INCOMING, SPOOL_BADMAIL));
    find_aside(f, id, new_id);
    assert_message(f, SPOOL_BADMAIL, id, mail);
    assert_row(f, new_id, LEDGER_DAMAGED, true);
    assert_event(f, "move it to pickup/");
}

/* Another name for the file would have its preface changed too. */
static void a_hard_link(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE] = "", new_id[ID_SIZE], name[SPOOL_NAME_SIZE];
    fixture_message(f, SPOOL_BADMAIL, "eml", id, "a@x.example", mail);
    fixture_message(f, SPOOL_OUTGOING, "eml", id, "a@x.example", other);
    spool_name(name, id, "eml");
    assert_int_equal(linkat(spool_fd(f->h.spool, SPOOL_OUTGOING), name,
                            spool_fd(f->h.spool, SPOOL_REJECTED), name, 0),
                     0);
    assert_true(move_on(&f->h, id, SPOOL_REJECTED, SPOOL_BADMAIL));
    find_aside(f, id, new_id);
    assert_message(f, SPOOL_OUTGOING, id, other);
    assert_message(f, SPOOL_BADMAIL, id, mail);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(both_in_badmail),      fixture_test(refused_twice),
        fixture_test(one_in_outgoing),      fixture_test(a_row_goes_with_its_message),
        fixture_test(the_other_is_damaged), fixture_test(the_same_twice),
        fixture_test(a_directory),          fixture_test(a_hard_link),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
