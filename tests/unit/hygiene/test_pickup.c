/* Drops from pickup/ to outgoing/, and each point where a crash can cut that off. */
#include "hygiene/badmail.h"
#include "hygiene/pickup.h"
#include "tests/unit/hygiene/fixture.h"

static const char mail[] = "From: a@x.example\r\nTo: b@corp.example\r\n\r\nhello\r\n";

static void drop_file(struct fixture *f, const char *name, const char *text)
{
    char path[400];
    (void)snprintf(path, sizeof path, "spool/pickup/%s", name);
    scratch_write(f->scratch, path, text, strlen(text), 0640);
}

static bool one_out(struct fixture *f)
{
    return spool_count(f->h.spool, SPOOL_OUTGOING) == 1;
}

static bool two_out(struct fixture *f)
{
    return spool_count(f->h.spool, SPOOL_OUTGOING) == 2;
}

static bool refused(struct fixture *f)
{
    return fixture_exists(f, SPOOL_PICKUP, "bad.eml.bad");
}

static void start(struct fixture *f)
{
    struct error err = {.text = ""};
    f->h.pickup = pickup_start(&f->h, &err);
    assert_non_null(f->h.pickup);
}

static void stop(struct fixture *f)
{
    syncpool_free(f->h.sync);
    f->h.sync = NULL;
    pickup_free(f->h.pickup);
}

static void drops_are_taken(void **state)
{
    struct fixture *f = *state;
    drop_file(f, "one.eml", mail);
    drop_file(f, "note.txt", mail);
    drop_file(f, ".hidden.eml", mail);
    drop_file(f, "empty.eml", "");
    start(f);
    assert_true(fixture_run(f, one_out));
    drop_file(f, "two.eml", mail); /* the same content again is another drop */
    assert_true(fixture_run(f, two_out));
    assert_true(fixture_exists(f, SPOOL_PICKUP, "note.txt"));
    assert_true(fixture_exists(f, SPOOL_PICKUP, ".hidden.eml"));
    assert_true(fixture_exists(f, SPOOL_PICKUP, "empty.eml"));
    assert_false(fixture_exists(f, SPOOL_PICKUP, "one.eml"));
    stop(f);
}

static void a_file_open_for_writing_waits(void **state)
{
    struct fixture *f = *state;
    drop_file(f, "slow.eml", mail);
    FILE *writer = fopen(scratch_path(f->scratch, "spool/pickup/slow.eml"), "a");
    drop_file(f, "quick.eml", mail);
    start(f);
    assert_true(fixture_run(f, one_out));
    assert_true(fixture_exists(f, SPOOL_PICKUP, "slow.eml"));
    (void)fclose(writer);
    assert_true(fixture_run(f, two_out));
    stop(f);
}

static void what_is_no_mail_goes_back(void **state)
{
    struct fixture *f = *state;
    drop_file(f, "bad.eml", "hopeless");
    drop_file(f, "good.eml", mail);
    assert_int_equal(symlink("/etc/passwd", scratch_path(f->scratch, "spool/pickup/link.eml")), 0);
    assert_int_equal(mkfifo(scratch_path(f->scratch, "spool/pickup/fifo.eml"), 0600), 0);
    start(f);
    assert_true(fixture_run(f, one_out));
    assert_true(fixture_run(f, refused));
    assert_true(fixture_exists(f, SPOOL_PICKUP, "link.eml"));
    assert_true(fixture_exists(f, SPOOL_PICKUP, "fifo.eml"));
    stop(f);
}

/* --- crash points --- */

static void drop_claimed(struct fixture *f, char id[static ID_SIZE], const char *file_suffix)
{
    char path[64];
    id_new(id);
    ledger_drop_claim(f->d.db, id, "one.eml");
    (void)snprintf(path, sizeof path, "spool/outgoing/%s.%s", id, file_suffix);
    scratch_write(f->scratch, path, mail, strlen(mail), 0640);
}

static bool is_out(struct fixture *f, const char *id)
{
    char eml[SPOOL_NAME_SIZE], drop[SPOOL_NAME_SIZE], fresh[SPOOL_NAME_SIZE];
    return fixture_exists(f, SPOOL_OUTGOING, spool_name(eml, id, "eml")) &&
           !fixture_exists(f, SPOOL_OUTGOING, spool_name(drop, id, "drop")) &&
           !fixture_exists(f, SPOOL_OUTGOING, spool_name(fresh, id, "new"));
}

static void cut_off_behind_the_claim(void **state)
{
    struct fixture *f = *state;
    drop_file(f, "one.eml", mail);
    char id[ID_SIZE];
    id_new(id);
    ledger_drop_claim(f->d.db, id, "one.eml"); /* the rename was lost */
    start(f);
    assert_true(fixture_run(f, one_out));
    stop(f);
}

static void cut_off_before_the_copy(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE];
    drop_claimed(f, id, "drop");
    start(f);
    assert_true(fixture_run(f, one_out));
    assert_true(is_out(f, id));
    stop(f);
}

static void cut_off_within_the_copy(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE], path[64];
    drop_claimed(f, id, "drop");
    (void)snprintf(path, sizeof path, "spool/outgoing/%s.new", id);
    scratch_write(f->scratch, path, "X-Pop", 5, 0640);
    start(f);
    assert_true(fixture_run(f, one_out));
    assert_true(is_out(f, id));
    stop(f);
}

static void cut_off_when_taken(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE];
    drop_claimed(f, id, "drop");
    fixture_message(f, SPOOL_OUTGOING, "new", id, "a@x.example", mail);
    ledger_drop_set(f->d.db, id, DROP_TAKEN);
    start(f);
    assert_true(is_out(f, id));
    stop(f);
}

static void cut_off_when_relayed_already(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE];
    drop_claimed(f, id,
                 "drop"); /* relayd has sent and unlinked ID.eml; only our unlink is missing */
    ledger_drop_set(f->d.db, id, DROP_TAKEN);
    start(f);
    drop_file(f, "next.eml", mail);
    assert_true(fixture_run(f, one_out));
    assert_false(is_out(f, id));
    stop(f);
}

static void unlink_before_rename(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE] = "";
    fixture_message(f, SPOOL_OUTGOING, "new", id, "a@x.example", mail);
    ledger_drop_claim(f->d.db, id, "one.eml");
    ledger_drop_set(f->d.db, id, DROP_TAKEN);
    start(f);
    assert_true(is_out(f, id));
    stop(f);
}

/* --- replay --- */

static void replay_goes_to_those_who_lack_it(void **state)
{
    struct fixture *f = *state;
    struct error err = {.text = ""};
    char old[ID_SIZE] = "", fresh[ID_SIZE] = "", name[SPOOL_NAME_SIZE];
    fixture_message(f, SPOOL_BADMAIL, "eml", old, "a@x.example", mail);
    struct badmail b;
    badmail_describe(f->h.spool, SPOOL_BADMAIL, old, "relay", "550 no", &b);
    free(b.recipients.items[--b.recipients.count]); /* "two" got it */
    ledger_hold(f->d.db, &b);
    ledger_badmail_free(&b);
    start(f);
    assert_true(
        pickup_claim(f->h.pickup, SPOOL_BADMAIL, spool_name(name, old, "eml"), fresh, &err));
    assert_true(fixture_run(f, one_out));
    struct message_reader *r = message_open(f->h.spool, SPOOL_OUTGOING, fresh, &err);
    assert_non_null(r);
    assert_string_equal(message_reader_head(r)->replay_of, old);
    assert_int_equal(message_reader_head(r)->recipients.count, 1);
    assert_string_equal(message_reader_head(r)->recipients.items[0], "one@corp.example");
    message_close(r);
    assert_true(ledger_badmail(f->d.db, old, &b));
    assert_int_equal(b.state, BADMAIL_REPLAYED);
    assert_string_equal(b.replayed_as, fresh);
    ledger_badmail_free(&b);
    assert_false(
        pickup_claim(f->h.pickup, SPOOL_BADMAIL, spool_name(name, old, "eml"), fresh, &err));
    assert_int_equal(err.kind, ERROR_MISSING);
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(drops_are_taken),           fixture_test(a_file_open_for_writing_waits),
        fixture_test(what_is_no_mail_goes_back), fixture_test(cut_off_behind_the_claim),
        fixture_test(cut_off_before_the_copy),   fixture_test(cut_off_within_the_copy),
        fixture_test(cut_off_when_taken),        fixture_test(cut_off_when_relayed_already),
        fixture_test(unlink_before_rename),      fixture_test(replay_goes_to_those_who_lack_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
