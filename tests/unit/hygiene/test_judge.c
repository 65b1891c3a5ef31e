/* incoming/ to outgoing/ or badmail/, and the ledger behind it. */
#include "hygiene/badmail.h"
#include "hygiene/form.h"
#include "hygiene/judge.h"
#include "tests/unit/hygiene/fixture.h"

static const char mail[] =
    "From: a@x.example\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\nhello\r\n";

static const char *judged;

static bool has_left(struct fixture *f)
{
    return spool_find(f->h.spool, judged) != SPOOL_INCOMING;
}

static void judge_one(struct fixture *f, const char *id)
{
    struct error err = {.text = ""};
    if (f->h.judge == NULL)
        f->h.judge = judge_start(&f->h, &err);
    assert_non_null(f->h.judge);
    judged = id;
    judge_ring(f->h.judge, id);
    assert_true(fixture_run(f, has_left));
}

static void set_bad_sender(struct fixture *f, enum conf_sender policy)
{
    f->d.conf->hygiene.bad_sender = policy;
}

static void good_mail_passes(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE] = "";
    fixture_message(f, SPOOL_INCOMING, "eml", id, "a@x.example", mail);
    judge_one(f, id);
    assert_int_equal(spool_find(f->h.spool, id), SPOOL_OUTGOING);
    assert_false(ledger_is_badmail(f->d.db, id));
}

static void a_message_without_a_header_passes(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE] = "", empty[ID_SIZE] = "";
    fixture_message(f, SPOOL_INCOMING, "eml", id, "", "no header at all");
    fixture_message(f, SPOOL_INCOMING, "eml", empty, "", "");
    judge_one(f, id);
    judge_one(f, empty);
    assert_int_equal(spool_find(f->h.spool, id), SPOOL_OUTGOING);
    assert_int_equal(spool_find(f->h.spool, empty), SPOOL_OUTGOING);
}

static void a_damaged_file_is_quarantined(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE] = "", name[SPOOL_NAME_SIZE];
    fixture_message(f, SPOOL_INCOMING, "eml", id, "a@x.example", mail);
    int fd = openat(spool_fd(f->h.spool, SPOOL_INCOMING), spool_name(name, id, "eml"),
                    O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "more", 4), 4);
    (void)close(fd);
    judge_one(f, id);
    assert_int_equal(spool_find(f->h.spool, id), SPOOL_BADMAIL);
    struct badmail b;
    assert_true(ledger_badmail(f->d.db, id, &b));
    assert_string_equal(b.decided_by, "form:damaged");
    assert_non_null(strstr(b.reason, "damaged"));
    ledger_badmail_free(&b);
}

static void a_symlink_is_quarantined_unread(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE], path[64];
    id_new(id);
    (void)snprintf(path, sizeof path, "spool/incoming/%s.eml", id);
    assert_int_equal(symlink("/etc/passwd", scratch_path(f->scratch, path)), 0);
    judge_one(f, id);
    assert_int_equal(spool_find(f->h.spool, id), SPOOL_BADMAIL);
}

static void bad_sender_follows_the_policy(void **state)
{
    struct fixture *f = *state;
    static const char hopeless[] = "From: @@@\r\nSubject: x\r\n\r\nhello\r\n";
    static const char null_path[] = "Return-Path: <>\r\nFrom: a@x.example\r\n\r\nhello\r\n";
    char pass[ID_SIZE] = "", hold[ID_SIZE] = "", null[ID_SIZE] = "";
    set_bad_sender(f, CONF_SENDER_NULL);
    fixture_message(f, SPOOL_INCOMING, "eml", pass, "", hopeless);
    judge_one(f, pass);
    assert_int_equal(spool_find(f->h.spool, pass), SPOOL_OUTGOING);
    set_bad_sender(f, CONF_SENDER_BADMAIL);
    fixture_message(f, SPOOL_INCOMING, "eml", hold, "", hopeless);
    fixture_message(f, SPOOL_INCOMING, "eml", null, "", null_path);
    judge_one(f, hold);
    judge_one(f, null);
    assert_int_equal(spool_find(f->h.spool, hold), SPOOL_BADMAIL);
    assert_int_equal(spool_find(f->h.spool, null), SPOOL_OUTGOING);
    struct badmail b;
    assert_true(ledger_badmail(f->d.db, hold, &b));
    assert_string_equal(b.decided_by, "form:bad-sender");
    assert_string_equal(b.subject, "x");
    assert_int_equal(b.recipients.count, 2);
    ledger_badmail_free(&b);
}

static void a_verdict_holds(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE] = "";
    struct badmail b;
    fixture_message(f, SPOOL_INCOMING, "eml", id, "a@x.example", mail);
    badmail_describe(f->h.spool, SPOOL_INCOMING, id, "form:test", "because", &b);
    assert_string_equal(b.subject, "Gr\xC3\xBC\xC3\x9F"
                                   "e");
    ledger_hold(f->d.db, &b); /* committed; then the power went */
    ledger_badmail_free(&b);
    judge_one(f, id);
    assert_int_equal(spool_find(f->h.spool, id), SPOOL_BADMAIL);
    assert_true(ledger_badmail(f->d.db, id, &b));
    assert_string_equal(b.decided_by, "form:test");
    ledger_badmail_free(&b);
}

static void the_start_reconciles(void **state)
{
    struct fixture *f = *state;
    struct error err = {.text = ""};
    char stray[ID_SIZE] = "", removed[ID_SIZE] = "", deleted[ID_SIZE] = "";
    struct badmail b;
    fixture_message(f, SPOOL_BADMAIL, "eml", stray, "a@x.example", mail);
    fixture_message(f, SPOOL_BADMAIL, "eml", removed, "a@x.example", mail);
    badmail_describe(f->h.spool, SPOOL_BADMAIL, removed, "relay", "550", &b);
    ledger_hold(f->d.db, &b);
    ledger_badmail_entered(f->d.db, removed);
    ledger_badmail_free(&b);
    assert_true(spool_remove(f->h.spool, SPOOL_BADMAIL, removed, &err));
    fixture_message(f, SPOOL_BADMAIL, "eml", deleted, "a@x.example", mail);
    badmail_describe(f->h.spool, SPOOL_BADMAIL, deleted, "relay", "550", &b);
    ledger_hold(f->d.db, &b);
    ledger_badmail_set(f->d.db, deleted, BADMAIL_DELETED, NULL);
    ledger_badmail_free(&b);
    assert_true(badmail_reconcile(&f->h, &err));
    assert_true(ledger_is_badmail(f->d.db, stray));
    assert_int_equal(spool_find(f->h.spool, deleted), SPOOL_DIRS);
    assert_int_equal(ledger_held_count(f->d.db), 1);
    assert_true(ledger_badmail(f->d.db, removed, &b));
    assert_int_equal(b.state, BADMAIL_REMOVED);
    ledger_badmail_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(good_mail_passes),
        fixture_test(a_message_without_a_header_passes),
        fixture_test(a_damaged_file_is_quarantined),
        fixture_test(a_symlink_is_quarantined_unread),
        fixture_test(bad_sender_follows_the_policy),
        fixture_test(a_verdict_holds),
        fixture_test(the_start_reconciles),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
