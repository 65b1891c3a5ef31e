/* Replay to others than the message was for: what is refused, and that it is kept to across a
 * restart. */
#include "hygiene/pickup.h"
#include "hygiene/retention.h"
#include "tests/unit/hygiene/quarantine.h"

static const char mail[] = "From: a@x.example\r\nTo: b@corp.example\r\n\r\nhello\r\n";

static void start(struct fixture *f)
{
    struct error err = {.text = ""};
    if (f->h.sync == NULL)
        f->h.sync = syncpool_new(f->d.base, &err);
    f->h.pickup = pickup_start(&f->h, &err);
    if (f->h.pickup == NULL)
        fail_msg("%s", err.text);
}

static void stop(struct fixture *f)
{
    syncpool_free(f->h.sync);
    f->h.sync = NULL;
    pickup_free(f->h.pickup);
    f->h.pickup = NULL;
}

static char fresh[ID_SIZE];

static bool sent_on(struct fixture *f)
{
    char name[SPOOL_NAME_SIZE];
    return fixture_exists(f, SPOOL_INCOMING, spool_name(name, fresh, "eml"));
}

/* Claims it, and keeps the new id in `fresh`. */
static void replay(struct fixture *f, const char *id, json_t *to)
{
    json_t *request = json_pack("{s:[s]}", "ids", id);
    if (to != NULL)
        (void)json_object_set_new(request, "to", to);
    json_t *reply = good_answer(f, badmail_answer_replay, request);
    (void)snprintf(fresh, sizeof fresh, "%s", text_of(json_object_get(reply, "replayed"), id));
    assert_true(id_valid(fresh, strlen(fresh)));
    json_decref(reply);
}

/* The file that relayd will find; `recipients` ends in NULL. */
static void assert_sent_to(struct fixture *f, const char *replay_of, const char *const *recipients)
{
    struct error err;
    struct message_reader *r = message_open(f->h.spool, SPOOL_INCOMING, fresh, &err);
    assert_non_null(r);
    const struct message_head *head = message_reader_head(r);
    size_t i = 0;
    for (; recipients[i] != NULL; i++) {
        assert_true(i < head->recipients.count);
        assert_string_equal(head->recipients.items[i], recipients[i]);
    }
    assert_int_equal(head->recipients.count, i);
    assert_string_equal(head->replay_of, replay_of);
    assert_string_equal(head->sender, "a@x.example");
    message_close(r);
}

static bool has_event(struct fixture *f, const char *words)
{
    char *events = scratch_read(f->scratch, "stderr", NULL);
    bool found = strstr(events, words) != NULL;
    free(events);
    return found;
}

static void to_others(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE];
    add_message(f, id, 0, mail);
    start(f);
    replay(f, id, json_pack("[s, s, s]", "new@other.example", "boss", "new@other.example"));
    assert_true(has_event(f, "note replay-redirected"));
    assert_true(fixture_run(f, sent_on));
    assert_sent_to(f, id, (const char *const[]){"new@other.example", "boss@corp.example", NULL});
    assert_int_equal(state_of(f, id), BADMAIL_REPLAYED);
    stop(f);
}

static void a_restart_in_between(void **state)
{
    struct fixture *f = *state;
    struct error err;
    char id[ID_SIZE];
    add_message(f, id, 0, mail);
    start(f);
    replay(f, id, json_pack("[s]", "new@other.example"));
    stop(f); /* it is claimed, and nothing of it is copied */
    assert_true(badmail_reconcile(&f->h, &err));
    start(f);
    assert_true(fixture_run(f, sent_on));
    assert_sent_to(f, id, (const char *const[]){"new@other.example", NULL});
    assert_int_equal(state_of(f, id), BADMAIL_REPLAYED);
    stop(f);
}

/* Whom relayd had reached does not get it again, unless he is named. */
static void otherwise_to_who_is_left(void **state)
{
    struct fixture *f = *state;
    struct badmail b;
    char id[ID_SIZE] = "";
    fixture_message(f, SPOOL_BADMAIL, "eml", id, "a@x.example", mail);
    badmail_describe(f->h.spool, SPOOL_BADMAIL, id, "relay", "550 no", &b);
    envelope_list_free(&b.recipients);
    assert_true(envelope_list_add(&b.recipients, "two@corp.example"));
    add_row(f, &b, 0);
    ledger_badmail_free(&b);
    start(f);
    replay(f, id, NULL);
    assert_true(fixture_run(f, sent_on));
    assert_sent_to(f, id, (const char *const[]){"two@corp.example", NULL});
    assert_false(has_event(f, "replay-redirected"));
    stop(f);
}

static json_t *many(int count)
{
    json_t *to = json_array();
    for (int i = 0; i < count; i++) {
        char address[40];
        (void)snprintf(address, sizeof address, "u%d@corp.example", i);
        (void)json_array_append_new(to, json_string(address));
    }
    return to;
}

static void what_is_no_address_is_refused(void **state)
{
    static const char *const lists[] = {
        "[]",
        "\"new@other.example\"",
        "[\"\"]",
        "[\"@\"]",
        "[\"a@\"]",
        "[\"@other.example\"]",
        "[\"new@other.example\", \"a b@other.example\"]",
        "[\"a@b@c\"]",
        "[\"a@x.example>\\r\\nDATA\"]",
        "[\"a\\u001b[2J@x.example\"]",
        "[7]",
        "[null]",
        "null",
        "{}",
    };
    struct fixture *f = *state;
    char id[ID_SIZE];
    add_message(f, id, 0, mail);
    start(f);
    for (size_t i = 0; i < COUNT(lists); i++) {
        print_message("%s\n", lists[i]);
        json_t *to = json_loads(lists[i], JSON_DECODE_ANY, NULL);
        bad_answer(f, badmail_answer_replay, json_pack("{s:[s], s:o}", "ids", id, "to", to),
                   "usage", "to: ");
    }
    bad_answer(f, badmail_answer_replay,
               json_pack("{s:[s], s:o}", "ids", id, "to", many(ENVELOPE_RECIPIENTS_MAX + 1)),
               "usage", "at most 1000");
    f->d.conf->default_domain[0] = '\0';
    bad_answer(f, badmail_answer_replay, json_pack("{s:[s], s:[s]}", "ids", id, "to", "boss"),
               "usage", "expected an address");
    assert_true(has_file(f, id));
    assert_int_equal(state_of(f, id), BADMAIL_HELD);
    stop(f);
}

static void as_many_as_an_envelope_has(void **state)
{
    struct fixture *f = *state;
    struct envelope_list to = {.count = 0};
    char id[ID_SIZE];
    add_message(f, id, 0, mail);
    start(f);
    replay(f, id, many(ENVELOPE_RECIPIENTS_MAX));
    assert_true(ledger_drop_recipients(f->d.db, fresh, &to));
    assert_int_equal(to.count, ENVELOPE_RECIPIENTS_MAX);
    envelope_list_free(&to);
    assert_true(fixture_run(f, sent_on));
    stop(f);
}

/* It can't be had back: so nobody is told that it is deleted. */
static void a_replay_under_way_is_not_deleted(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE];
    add_message(f, id, 0, mail);
    start(f);
    replay(f, id, NULL);
    json_t *reply = good_answer(f, badmail_answer_delete, json_pack("{s:[s]}", "ids", id));
    assert_int_equal(json_array_size(json_object_get(reply, "deleted")), 0);
    const char *why = json_string_value(json_object_get(json_object_get(reply, "failed"), id));
    assert_non_null(why);
    assert_non_null(strstr(why, "being sent again"));
    json_decref(reply);
    assert_true(fixture_run(f, sent_on));
    assert_int_equal(state_of(f, id), BADMAIL_REPLAYED);
    stop(f);
}

/* Retention comes while the file is neither here nor there. */
static void a_replay_under_way_does_not_expire(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE];
    add_message(f, id, 91 * CLOCK_DAY, mail);
    start(f);
    replay(f, id, NULL);
    assert_false(retention_turn(&f->h));
    assert_int_equal(state_of(f, id), BADMAIL_REMOVED);
    assert_true(fixture_run(f, sent_on));
    assert_int_equal(state_of(f, id), BADMAIL_REPLAYED);
    assert_false(has_event(f, "badmail-expired"));
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        quarantine_test(to_others),
        quarantine_test(a_restart_in_between),
        quarantine_test(otherwise_to_who_is_left),
        quarantine_test(what_is_no_address_is_refused),
        quarantine_test(as_many_as_an_envelope_has),
        quarantine_test(a_replay_under_way_is_not_deleted),
        quarantine_test(a_replay_under_way_does_not_expire),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
