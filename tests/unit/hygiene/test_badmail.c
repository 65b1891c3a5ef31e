/* Into quarantine and out of it: what is told when, and what a start finds. */
#include "hygiene/badmail.h"
#include "hygiene/pickup.h"
#include "tests/unit/hygiene/fixture.h"

static const char mail[] = "From: a@x.example\r\nTo: b@corp.example\r\n\r\nhello\r\n";

static json_t *ask(struct fixture *f, const char *cmd, json_t *request)
{
    for (const struct daemon_request *r = control_requests; r->cmd != NULL; r++) {
        if (strcmp(r->cmd, cmd) != 0)
            continue;
        json_t *reply = r->answer(&f->d, request);
        json_decref(request);
        assert_true(json_is_true(json_object_get(reply, "ok")));
        return reply;
    }
    fail_msg("no request %s", cmd);
    return NULL;
}

static void assert_outcome(struct fixture *f, const char *id, const char *want)
{
    json_t *reply = ask(f, "outcomes", json_pack("{s:[s]}", "ids", id));
    const char *got = json_string_value(json_object_get(json_object_get(reply, "states"), id));
    assert_string_equal(got, want);
    json_decref(reply);
}

/* A message in dir with its row. */
static void held(struct fixture *f, enum spool_dir dir, char id[static ID_SIZE])
{
    struct badmail b;
    id[0] = '\0';
    fixture_message(f, dir, "eml", id, "a@x.example", mail);
    badmail_describe(f->h.spool, dir, id, "relay", "550 no", &b);
    ledger_hold(f->d.db, &b);
    ledger_badmail_free(&b);
}

static enum badmail_state state_of(struct fixture *f, const char *id)
{
    struct badmail b;
    assert_true(ledger_badmail(f->d.db, id, &b));
    ledger_badmail_free(&b);
    return b.state;
}

static void told_when_it_has_entered(void **state)
{
    struct fixture *f = *state;
    char id[1][ID_SIZE];
    held(f, SPOOL_INCOMING, id[0]);
    assert_outcome(f, id[0], "pending");
    badmail_enter(&f->h, id, 1, SPOOL_INCOMING);
    assert_outcome(f, id[0], "badmail");
    assert_outcome(f, "01JD0VSM7N4C2T8RZ5K3W9XQHB", "unknown");
}

/* Until its new name is on the disk, fetcherd must not hear of it: it would delete the original. */
static void not_told_without_a_sync(void **state)
{
    struct fixture *f = *state;
    char ids[1][ID_SIZE] = {""};
    int dir = spool_fd(f->h.spool, SPOOL_BADMAIL), kept = dup(dir);
    held(f, SPOOL_INCOMING, ids[0]);
    int path = open(scratch_path(f->scratch, "spool/badmail"), O_PATH | O_DIRECTORY | O_CLOEXEC);
    assert_true(dup2(path, dir) >= 0); /* rename works, fsync does not */
    badmail_enter(&f->h, ids, 1, SPOOL_INCOMING);
    assert_int_equal(spool_find(f->h.spool, ids[0]), SPOOL_BADMAIL);
    assert_outcome(f, ids[0], "pending");
    assert_true(dup2(kept, dir) >= 0);
    (void)close(path);
    (void)close(kept);
}

static void start_finds_all(void **state)
{
    struct fixture *f = *state;
    struct error err = {.text = ""};
    char moved[ID_SIZE], waits[ID_SIZE], lost[ID_SIZE], removed[ID_SIZE], found[ID_SIZE] = "";
    held(f, SPOOL_BADMAIL, moved); /* a crash between rename and sync */
    held(f, SPOOL_REJECTED, waits);
    held(f, SPOOL_INCOMING, lost);
    held(f, SPOOL_BADMAIL, removed);
    ledger_badmail_entered(f->d.db, removed);
    fixture_message(f, SPOOL_BADMAIL, "eml", found, "a@x.example", mail);
    assert_true(spool_remove(f->h.spool, SPOOL_INCOMING, lost, &err));
    assert_true(spool_remove(f->h.spool, SPOOL_BADMAIL, removed, &err));
    assert_outcome(f, moved, "pending");
    assert_true(badmail_reconcile(&f->h, &err));
    assert_outcome(f, moved, "badmail");
    assert_outcome(f, waits, "pending");
    assert_outcome(f, lost, "unknown"); /* so that it is fetched again */
    assert_outcome(f, removed, "badmail");
    assert_int_equal(state_of(f, removed), BADMAIL_REMOVED);
    assert_outcome(f, found, "badmail");
}

static void rename_in_badmail(struct fixture *f, const char *id, char new_id[static ID_SIZE])
{
    struct error err;
    id_new(new_id);
    assert_true(spool_move_as(f->h.spool, id, SPOOL_BADMAIL, SPOOL_BADMAIL, new_id, &err));
}

static void assert_found(struct fixture *f, const char *id, const char *decided_by,
                         const char *reason)
{
    struct badmail b;
    struct error err = {.text = ""};
    assert_true(ledger_badmail(f->d.db, id, &b));
    assert_string_equal(b.decided_by, decided_by);
    if (strstr(b.reason, reason) == NULL)
        fail_msg("no \"%s\" in: %s", reason, b.reason);
    assert_true(b.entered);
    assert_int_equal(b.state, BADMAIL_HELD);
    ledger_badmail_free(&b);
    struct message_reader *r = message_open(f->h.spool, SPOOL_BADMAIL, id, &err);
    if (r == NULL)
        fail_msg("%s", err.text);
    message_close(r);
}

/* Set aside under a new id, and a crash before the preface had it. */
static void a_preface_that_was_not_changed(void **state)
{
    struct fixture *f = *state;
    struct error err = {.text = ""};
    struct badmail b;
    char old[ID_SIZE] = "", id[ID_SIZE];
    fixture_message(f, SPOOL_BADMAIL, "eml", old, "a@x.example", mail);
    badmail_describe(f->h.spool, SPOOL_BADMAIL, old, "relay", "550 no", &b);
    rename_in_badmail(f, old, id);
    memcpy(b.id, id, sizeof b.id);
    ledger_hold(f->d.db, &b);
    ledger_badmail_free(&b);
    assert_true(badmail_reconcile(&f->h, &err));
    assert_found(f, id, "relay", "550 no");
}

static void renamed_by_hand(void **state)
{
    struct fixture *f = *state;
    struct error err = {.text = ""};
    char unknown[ID_SIZE] = "", known[ID_SIZE], ids[2][ID_SIZE];
    fixture_message(f, SPOOL_BADMAIL, "eml", unknown, "a@x.example", mail);
    held(f, SPOOL_BADMAIL, known);
    ledger_badmail_entered(f->d.db, known);
    rename_in_badmail(f, unknown, ids[0]);
    rename_in_badmail(f, known, ids[1]);
    assert_true(badmail_reconcile(&f->h, &err));
    assert_found(f, ids[0], "unknown", unknown);
    assert_found(f, ids[1], "relay", "550 no"); /* and whom it was refused for */
    assert_int_equal(state_of(f, known), BADMAIL_REMOVED);
    assert_outcome(f, known, "badmail");
}

/* Another lies there already when a start finds the row: both stay apart. */
static void a_row_of_one_to_come(void **state)
{
    struct fixture *f = *state;
    struct error err = {.text = ""};
    char ids[1][ID_SIZE];
    held(f, SPOOL_INCOMING, ids[0]);
    fixture_message(f, SPOOL_BADMAIL, "eml", ids[0], "b@x.example", "Subject: b\r\n\r\nb\r\n");
    assert_true(badmail_reconcile(&f->h, &err));
    assert_outcome(f, ids[0], "pending");
    badmail_enter(&f->h, ids, 1, SPOOL_INCOMING);
    assert_found(f, ids[0], "unknown", "without a record");
    assert_int_equal(ledger_held_count(f->d.db), 2);
    assert_int_equal(spool_count(f->h.spool, SPOOL_BADMAIL), 2);
}

/* A start would unlink what is deleted. */
static void put_back_by_way_of_incoming(void **state)
{
    static const enum badmail_state states[] = {BADMAIL_DELETED, BADMAIL_EXPIRED, BADMAIL_REPLAYED,
                                                BADMAIL_REMOVED};
    struct fixture *f = *state;
    struct error err = {.text = ""};
    for (size_t i = 0; i < COUNT(states); i++) {
        struct badmail b;
        char ids[1][ID_SIZE] = {""};
        fixture_message(f, SPOOL_INCOMING, "eml", ids[0], "a@x.example", mail);
        badmail_describe(f->h.spool, SPOOL_INCOMING, ids[0], "relay", "550 no", &b);
        b.at = 1000;
        ledger_hold(f->d.db, &b);
        ledger_badmail_entered(f->d.db, ids[0]);
        ledger_badmail_set(f->d.db, ids[0], states[i], NULL);
        ledger_badmail_free(&b);
        badmail_enter(&f->h, ids, 1, SPOOL_INCOMING);
        assert_found(f, ids[0], "relay", "550 no");
        assert_true(badmail_reconcile(&f->h, &err));
        assert_found(f, ids[0], "relay", "550 no");
        assert_true(ledger_badmail(f->d.db, ids[0], &b));
        assert_true(b.at > 1000); /* its time begins anew */
        ledger_badmail_free(&b);
    }
}

static void no_start_without_a_sync(void **state)
{
    struct fixture *f = *state;
    struct error err = {.text = ""};
    int ends[2];
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_true(dup2(ends[1], spool_fd(f->h.spool, SPOOL_BADMAIL)) >= 0); /* fsync: EINVAL */
    assert_false(badmail_reconcile(&f->h, &err));
    assert_non_null(strstr(err.text, "badmail"));
    (void)close(ends[0]);
    (void)close(ends[1]);
}

/* Rule 6: one odd thing stops nothing else. */
static void a_directory_that_was_deleted(void **state)
{
    struct fixture *f = *state;
    struct error err = {.text = ""};
    char id[ID_SIZE], after[ID_SIZE], name[SPOOL_NAME_SIZE];
    held(f, SPOOL_BADMAIL, id);
    held(f, SPOOL_BADMAIL, after);
    int dir = spool_fd(f->h.spool, SPOOL_BADMAIL);
    assert_int_equal(unlinkat(dir, spool_name(name, id, "eml"), 0), 0);
    assert_int_equal(mkdirat(dir, name, 0700), 0);
    ledger_badmail_set(f->d.db, id, BADMAIL_DELETED, NULL);
    assert_true(badmail_reconcile(&f->h, &err));
    assert_outcome(f, after, "badmail");
}

static void a_thousand_recipients_fit_an_answer(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE] = "";
    fixture_message(f, SPOOL_BADMAIL, "eml", id, "a@x.example", mail);
    struct badmail b;
    badmail_describe(f->h.spool, SPOOL_BADMAIL, id, "relay", "550 no", &b);
    for (int i = 2; i < ENVELOPE_RECIPIENTS_MAX; i++) {
        char address[128];
        (void)snprintf(address, sizeof address, "%060d@corp.example", i);
        assert_true(envelope_list_add(&b.recipients, address));
    }
    ledger_hold(f->d.db, &b);
    ledger_badmail_free(&b);
    char other[ID_SIZE];
    held(f, SPOOL_BADMAIL, other);
    json_t *reply = ask(f, "badmail.list", json_object());
    json_t *items = json_object_get(reply, "items");
    assert_int_equal(json_array_size(items), 2);
    json_t *item = json_array_get(items, 0);
    assert_int_equal(json_array_size(json_object_get(item, "recipients")), BUS_LIST_MAX);
    assert_int_equal(json_integer_value(json_object_get(item, "recipients_total")),
                     ENVELOPE_RECIPIENTS_MAX);
    json_decref(reply);
    reply = ask(f, "badmail.show", json_pack("{s:s}", "id", id));
    assert_true(json_dumpb(reply, NULL, 0, JSON_COMPACT) < BUS_MESSAGE_MAX);
    json_decref(reply);
}

static void what_can_not_be_removed_stays_held(void **state)
{
    struct fixture *f = *state;
    struct error err;
    char id[ID_SIZE], name[SPOOL_NAME_SIZE], within[SPOOL_NAME_SIZE + 8];
    int dir = spool_fd(f->h.spool, SPOOL_BADMAIL);
    held(f, SPOOL_BADMAIL, id);
    assert_true(spool_remove(f->h.spool, SPOOL_BADMAIL, id, &err));
    assert_int_equal(mkdirat(dir, spool_name(name, id, "eml"), 0700), 0);
    (void)snprintf(within, sizeof within, "%s/x", name);
    assert_int_equal(mkdirat(dir, within, 0700), 0);
    json_t *reply = ask(f, "badmail.delete", json_pack("{s:[s]}", "ids", id));
    const char *why = json_string_value(json_object_get(json_object_get(reply, "failed"), id));
    assert_non_null(why);
    assert_non_null(strstr(why, "not empty: rm -r /"));
    assert_non_null(strstr(why, "it stays in quarantine"));
    assert_int_equal(json_array_size(json_object_get(reply, "deleted")), 0);
    json_decref(reply);
    assert_int_equal(state_of(f, id), BADMAIL_HELD);
    assert_int_equal(unlinkat(dir, within, AT_REMOVEDIR), 0);
    json_decref(ask(f, "badmail.delete", json_pack("{s:[s]}", "ids", id)));
    assert_int_equal(state_of(f, id), BADMAIL_DELETED);
    assert_false(spool_has(f->h.spool, SPOOL_BADMAIL, id));
}

/* --- replay of a file that is no longer what its preface says --- */

static void damage(struct fixture *f, const char *id)
{
    char name[SPOOL_NAME_SIZE], path[128];
    (void)snprintf(path, sizeof path, "spool/badmail/%s", spool_name(name, id, "eml"));
    FILE *file = fopen(scratch_path(f->scratch, path), "r+");
    assert_non_null(file);
    (void)fseek(file, -3, SEEK_END);
    (void)fputs("X", file);
    (void)fclose(file);
}

static bool given_back(struct fixture *f)
{
    return spool_count(f->h.spool, SPOOL_BADMAIL) == 1;
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

static void replay_of_a_damaged_file_fails(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE], good[ID_SIZE];
    held(f, SPOOL_BADMAIL, id);
    held(f, SPOOL_BADMAIL, good);
    damage(f, id);
    start(f);
    json_t *reply = ask(f, "badmail.replay", json_pack("{s:[s, s]}", "ids", id, good));
    assert_non_null(json_object_get(json_object_get(reply, "failed"), id));
    assert_int_equal(json_object_size(json_object_get(reply, "failed")), 1);
    assert_non_null(json_object_get(json_object_get(reply, "replayed"), good));
    assert_int_equal(json_object_size(json_object_get(reply, "replayed")), 1);
    json_decref(reply);
    assert_true(given_back(f));
    assert_int_equal(state_of(f, id), BADMAIL_HELD);
    stop(f);
}

/* It went bad between the look and the copy, or a crash came between. */
static void a_damaged_claim_goes_back(void **state)
{
    struct fixture *f = *state;
    struct error err = {.text = ""};
    char id[ID_SIZE], fresh[ID_SIZE], name[SPOOL_NAME_SIZE];
    held(f, SPOOL_BADMAIL, id);
    ledger_badmail_entered(f->d.db, id);
    damage(f, id);
    start(f);
    assert_true(
        pickup_claim(f->h.pickup, SPOOL_BADMAIL, spool_name(name, id, "eml"), NULL, fresh, &err));
    assert_false(given_back(f));
    assert_true(badmail_reconcile(&f->h, &err)); /* as a start does, before it takes up claims */
    assert_int_equal(state_of(f, id), BADMAIL_REMOVED);
    assert_true(fixture_run(f, given_back));
    assert_true(fixture_exists(f, SPOOL_BADMAIL, name));
    assert_int_equal(state_of(f, id), BADMAIL_HELD);
    assert_int_equal(spool_count(f->h.spool, SPOOL_PICKUP), 0);
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(told_when_it_has_entered),
        fixture_test(start_finds_all),
        fixture_test(a_preface_that_was_not_changed),
        fixture_test(renamed_by_hand),
        fixture_test(a_row_of_one_to_come),
        fixture_test(put_back_by_way_of_incoming),
        fixture_test(what_can_not_be_removed_stays_held),
        fixture_test(no_start_without_a_sync),
        fixture_test(not_told_without_a_sync),
        fixture_test(a_directory_that_was_deleted),
        fixture_test(a_thousand_recipients_fit_an_answer),
        fixture_test(replay_of_a_damaged_file_fails),
        fixture_test(a_damaged_claim_goes_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
