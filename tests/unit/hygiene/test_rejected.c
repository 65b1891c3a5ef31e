/* Asking relayd why, with a relayd that answers as it is told. */
#include "hygiene/badmail.h"
#include "hygiene/rejected.h"
#include "tests/unit/hygiene/fixture.h"

static struct relayd {
    int refusals; /* answers to come that are "longer than one message" */
    size_t asked[64];
    size_t requests;
} relayd;

static json_t *answer(void *arg, const json_t *request)
{
    (void)arg;
    const json_t *ids = json_object_get(request, "ids");
    size_t n = json_array_size(ids);
    if (relayd.requests < COUNT(relayd.asked))
        relayd.asked[relayd.requests++] = n;
    if (n > 1 && relayd.refusals-- > 0)
        return bus_error("failed", "the answer has 99999 bytes, more than one message carries");
    json_t *why = json_object();
    for (size_t i = 0; i < n; i++)
        (void)json_object_set_new(why, json_string_value(json_array_get(ids, i)),
                                  json_pack("{s:s}", "reason", "550 no"));
    return bus_ok(json_pack("{s:o}", "why", why));
}

static json_t *refused_by_the_second(void *arg, const json_t *request)
{
    (void)arg;
    const char *id = json_string_value(json_array_get(json_object_get(request, "ids"), 0));
    return bus_ok(json_pack("{s:{s:{s:s, s:[i]}}}", "why", id, "reason", "550 no", "refused", 1));
}

static bool both_in(struct fixture *f)
{
    return spool_count(f->h.spool, SPOOL_BADMAIL) == 2;
}

static void assert_row(const struct badmail *b, const char *decided_by, const char *subject)
{
    assert_string_equal(b->decided_by, decided_by);
    assert_string_equal(b->subject, subject);
    assert_true(b->entered);
}

static bool check_row(void *arg, const struct badmail *b)
{
    int *refused = arg;
    if (strcmp(b->subject, "theirs") == 0) {
        assert_row(b, "unknown", "theirs");
        assert_int_equal(b->recipients.count, 2);
        return true;
    }
    assert_row(b, "relay", "refused");
    assert_string_equal(b->reason, "550 no");
    assert_int_equal(b->recipients.count, 1);
    assert_string_equal(b->recipients.items[0], "two@corp.example");
    ++*refused;
    return true;
}

/* relayd's words go with what it refused, not to what somebody has put into badmail/ as its id. */
static void words_for_one_whose_name_is_taken(struct fixture *f, bool found_at_start)
{
    struct error err = {.text = ""};
    char id[ID_SIZE] = "";
    int refused = 0;
    struct bus *bus =
        bus_open(f->d.base, f->scratch->dir, "relayd", refused_by_the_second, NULL, &err);
    assert_non_null(bus);
    fixture_message(f, SPOOL_BADMAIL, "eml", id, "a@x.example", "Subject: theirs\r\n\r\nx\r\n");
    if (found_at_start)
        assert_true(badmail_reconcile(&f->h, &err));
    fixture_message(f, SPOOL_REJECTED, "eml", id, "a@x.example", "Subject: refused\r\n\r\nx\r\n");
    f->h.rejected = rejected_start(&f->h);
    assert_true(fixture_run(f, both_in));
    assert_int_equal(spool_count(f->h.spool, SPOOL_REJECTED), 0);
    ledger_each_held(f->d.db, "", check_row, &refused);
    assert_int_equal(refused, 1);
    assert_int_equal(ledger_held_count(f->d.db), 2);
    assert_int_equal(ledger_badmail_outcome(f->d.db, id), BADMAIL_CERTAIN);
    rejected_free(f->h.rejected);
    bus_free(bus);
}

static void taken_just_now(void **state)
{
    words_for_one_whose_name_is_taken(*state, false);
}

static void taken_before_the_start(void **state)
{
    words_for_one_whose_name_is_taken(*state, true);
}

static bool all_in(struct fixture *f)
{
    return spool_count(f->h.spool, SPOOL_BADMAIL) == 12;
}

/* One answer that was too long does not make it ask one by one for ever. */
static void asks_for_more_again(void **state)
{
    struct fixture *f = *state;
    struct error err = {.text = ""};
    relayd = (struct relayd){.refusals = 1};
    struct bus *bus = bus_open(f->d.base, f->scratch->dir, "relayd", answer, NULL, &err);
    assert_non_null(bus);
    for (int i = 0; i < 12; i++) {
        char id[ID_SIZE] = "";
        fixture_message(f, SPOOL_REJECTED, "eml", id, "a@x.example", "Subject: x\r\n\r\nx\r\n");
    }
    f->h.rejected = rejected_start(&f->h);
    assert_true(fixture_run(f, all_in));
    assert_int_equal(relayd.asked[0], 10);
    assert_int_equal(relayd.asked[1], 1);
    assert_true(relayd.asked[2] > 1);
    assert_true(relayd.requests < 8);
    rejected_free(f->h.rejected);
    bus_free(bus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {fixture_test(asks_for_more_again),
                                       fixture_test(taken_just_now),
                                       fixture_test(taken_before_the_start)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
