/* What follows from the answers: verdicts, recipients, retry arithmetic. */
#include "lib/clock.h"
#include "relayd/attempt.h"
#include "tests/unit/relayd/place.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

static const struct attempt_policy policy = {
    .retry_min = CLOCK_MINUTE, .retry_max = CLOCK_HOUR, .expire = 5 * CLOCK_DAY};
static const int64_t now = 100 * CLOCK_DAY;
static struct place place;

static int setup(void **state)
{
    (void)state;
    place_open(&place);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    place_close(&place);
    return 0;
}

static void test_next(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        int64_t first = attempt_next(&policy, 1, 0, now) - now;
        assert_in_range(first, CLOCK_MINUTE * 3 / 4, CLOCK_MINUTE * 5 / 4);
        int64_t third = attempt_next(&policy, 3, 0, now) - now;
        assert_in_range(third, CLOCK_MINUTE * 3, CLOCK_MINUTE * 5);
        int64_t late = attempt_next(&policy, 1000, 0, now) - now;
        assert_in_range(late, CLOCK_HOUR * 3 / 4, CLOCK_HOUR * 5 / 4);
    }
}

static void test_next_expires(void **state)
{
    (void)state;
    assert_int_equal(attempt_next(&policy, 9, 5 * CLOCK_DAY, now), 0);
    /* One last attempt at the very end. */
    assert_int_equal(attempt_next(&policy, 9, 5 * CLOCK_DAY - 1000, now), now + 1000);
}

/* What counts towards expire: waiting by plan, not time in which nothing could be tried. */
static void test_waited(void **state)
{
    (void)state;
    struct ledger_row row = {.at = now, .next_attempt = now + CLOCK_HOUR, .waited = 7};
    assert_int_equal(attempt_waited(&row, now + CLOCK_HOUR), CLOCK_HOUR + 7);
    assert_int_equal(attempt_waited(&row, now + 9 * CLOCK_DAY), CLOCK_HOUR + 7); /* down */
    assert_int_equal(attempt_waited(&row, now + 1000), 1007);   /* tried early, by hand */
    assert_int_equal(attempt_waited(&row, now - CLOCK_DAY), 7); /* a clock set back */
    row.next_attempt = now + 5;                                 /* "retry", and it took a while */
    assert_int_equal(attempt_waited(&row, now + 1000), 12);
    row = (struct ledger_row){0};
    assert_int_equal(attempt_waited(&row, now), 0);
}

/* One letter a recipient: + accepted, ~ 4xx, - 5xx, ? not asked. */
static struct attempt *make(const char *answers)
{
    struct error err = {.text = ""};
    char id[ID_SIZE];
    place_message(&place, id, (int)strlen(answers));
    struct attempt *attempt = attempt_open(place.spool, place.db, id, &err);
    place_must(attempt != NULL, &err);
    for (size_t i = 0; answers[i]; i++) {
        if (answers[i] == '+')
            attempt_answer(attempt, i, SMTP_ACCEPTED, "250 ok");
        else if (answers[i] == '~')
            attempt_answer(attempt, i, SMTP_TEMPORARY, "450 grey");
        else if (answers[i] == '-')
            attempt_answer(attempt, i, SMTP_PERMANENT, "550 5.1.1 no such user");
    }
    return attempt;
}

static struct attempt_verdict decide(const char *answers, enum smtp_outcome outcome,
                                     const char *text)
{
    struct attempt_verdict verdict;
    struct attempt *attempt = make(answers);
    attempt->body_begun = outcome == SMTP_DELIVERED;
    attempt_decide(attempt, &(struct smtp_result){.outcome = outcome, .text = text}, &policy, now,
                   &verdict);
    attempt_free(attempt);
    return verdict;
}

static void test_verdicts(void **state)
{
    (void)state;
    static const struct {
        const char *answers;
        enum smtp_outcome outcome;
        const char *text;
        enum attempt_end end;
        int code;
        const char *reason;
    } rows[] = {
        {"+", SMTP_DELIVERED, "250 taken", ATTEMPT_DELIVERED, 250, "250 taken"},
        {"++", SMTP_DELIVERED, "250 taken", ATTEMPT_DELIVERED, 250, "250 taken"},
        {"+-", SMTP_DELIVERED, "250 taken", ATTEMPT_REJECTED, 550, "550 5.1.1 no such user"},
        {"+~", SMTP_DELIVERED, "250 taken", ATTEMPT_DEFERRED, 450, "450 grey"},
        {"+~-", SMTP_DELIVERED, "250 taken", ATTEMPT_DEFERRED, 450, "450 grey"},
        {"+-?", SMTP_DELIVERED, "250 taken", ATTEMPT_DEFERRED, 550, "550 5.1.1 no such user"},
        {"--", SMTP_NO_RECIPIENT, "503", ATTEMPT_REJECTED, 550, "550 5.1.1 no such user"},
        {"-~", SMTP_NO_RECIPIENT, "503", ATTEMPT_DEFERRED, 450, "450 grey"},
        {"+", SMTP_MESSAGE_PERMANENT, "554 spam", ATTEMPT_REJECTED, 554, "554 spam"},
        {"?", SMTP_MESSAGE_PERMANENT, "550 sender", ATTEMPT_REJECTED, 550, "550 sender"},
        {"+", SMTP_MESSAGE_TEMPORARY, "451 later", ATTEMPT_DEFERRED, 451, "451 later"},
        {"?", SMTP_SESSION_FAILED, "421 bye", ATTEMPT_AGAIN, 0, ""},
        {"+", SMTP_SESSION_FAILED, "421 bye", ATTEMPT_AGAIN, 0, ""},
        {"-", SMTP_SESSION_FAILED, "reset", ATTEMPT_REJECTED, 550, "550 5.1.1 no such user"},
        {"--", SMTP_SESSION_FAILED, "421 bye", ATTEMPT_REJECTED, 550, "550 5.1.1 no such user"},
        {"+-", SMTP_SESSION_FAILED, "421 bye", ATTEMPT_DEFERRED, 421, "421 bye"},
        {"~", SMTP_SESSION_FAILED, "421 bye", ATTEMPT_DEFERRED, 421, "421 bye"},
        {"~~?", SMTP_NO_RECIPIENT, "450", ATTEMPT_DEFERRED, 450, "450 grey"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct attempt_verdict v = decide(rows[i].answers, rows[i].outcome, rows[i].text);
        print_message("%s %d\n", rows[i].answers, (int)rows[i].outcome);
        assert_int_equal(v.end, rows[i].end);
        assert_int_equal(v.row.code, rows[i].code);
        assert_string_equal(v.row.reason, rows[i].reason);
        assert_int_equal(v.row.attempts, v.end == ATTEMPT_AGAIN || v.goes_on ? 0 : 1);
        assert_int_equal(v.goes_on,
                         strchr(rows[i].answers, '?') != NULL && v.end == ATTEMPT_DEFERRED);
        assert_int_equal(v.row.first_at, now);
        assert_string_equal(v.row.sender, "a@origin.example");
        assert_int_equal(v.row.size, 21);
    }
}

static void test_unasked_go_on_at_once(void **state)
{
    (void)state;
    assert_int_equal(decide("-?", SMTP_NO_RECIPIENT, "550").row.next_attempt, now);
    assert_int_equal(decide("-~?", SMTP_NO_RECIPIENT, "550").row.next_attempt, now);
    assert_true(decide("-~", SMTP_NO_RECIPIENT, "550").row.next_attempt > now);
}

static void test_lost_sessions(void **state)
{
    (void)state;
    const struct smtp_result lost = {.outcome = SMTP_SESSION_FAILED, .text = "connection reset"};
    struct attempt_verdict verdict;
    struct attempt *attempt = make("+");
    attempt->losses = 1;
    attempt_decide(attempt, &lost, &policy, now, &verdict);
    assert_int_equal(verdict.end, ATTEMPT_AGAIN);
    attempt->losses = 2; /* the third in a row: it may be the message */
    attempt_decide(attempt, &lost, &policy, now, &verdict);
    assert_int_equal(verdict.end, ATTEMPT_DEFERRED);
    assert_true(verdict.row.next_attempt > now);
    attempt->losses = 0;
    attempt->body_begun = true;
    attempt_decide(attempt, &lost, &policy, now, &verdict);
    assert_int_equal(verdict.end, ATTEMPT_DEFERRED);
    assert_string_equal(verdict.row.reason, "connection reset");
    attempt_free(attempt);
}

static void test_expired_names_the_last_reply(void **state)
{
    (void)state;
    struct attempt_verdict verdict;
    struct attempt *attempt = make("+");
    attempt->row =
        (struct ledger_row){.state = LEDGER_DEFERRED, .attempts = 40, .waited = 5 * CLOCK_DAY};
    attempt_decide(attempt,
                   &(struct smtp_result){.outcome = SMTP_MESSAGE_TEMPORARY, .text = "451 later"},
                   &policy, now, &verdict);
    assert_int_equal(verdict.end, ATTEMPT_REJECTED);
    assert_true(verdict.refused_rest);
    assert_int_equal(verdict.row.attempts, 41);
    assert_int_equal(verdict.row.code, 451);
    assert_non_null(strstr(verdict.row.reason, "last reply: 451 later"));
    attempt_free(attempt);
}

/* While the server fails session after session, a session lost over a message says nothing of it.
 */
static void test_a_server_that_is_down_expires_nothing(void **state)
{
    (void)state;
    struct attempt_policy down = policy;
    struct attempt_verdict verdict;
    struct attempt *attempt = make("+");
    const struct smtp_result lost = {.outcome = SMTP_SESSION_FAILED, .text = "connection lost"};
    attempt->row =
        (struct ledger_row){.state = LEDGER_DEFERRED, .attempts = 40, .waited = 9 * CLOCK_DAY};
    attempt->body_begun = true;
    down.down = true;
    attempt_decide(attempt, &lost, &down, now, &verdict);
    assert_int_equal(verdict.end, ATTEMPT_DEFERRED);
    assert_in_range(verdict.row.next_attempt - now, CLOCK_MINUTE * 3 / 4, CLOCK_MINUTE * 5 / 4);
    assert_int_equal(verdict.row.attempts, 40);
    assert_int_equal(attempt_waited(&verdict.row, now + CLOCK_DAY), 9 * CLOCK_DAY);
    attempt_decide(attempt, &lost, &policy, now, &verdict);
    assert_int_equal(verdict.end, ATTEMPT_REJECTED);
    attempt_free(attempt);
}

/* Who is settled by an earlier attempt is not asked again, and is remembered. */
static void test_settled_recipients_are_left_out(void **state)
{
    (void)state;
    struct error err;
    struct attempt_verdict verdict;
    char id[ID_SIZE];
    place_message(&place, id, 3);
    place_row(&place, id, LEDGER_DEFERRED, 1);
    ledger_put_recipient(place.db, id, "r0@corp.example", LEDGER_SENT, "250 ok");
    ledger_put_recipient(place.db, id, "r1@corp.example", LEDGER_REFUSED, "550 gone");
    struct attempt *attempt = attempt_open(place.spool, place.db, id, &err);
    assert_non_null(attempt);
    assert_int_equal(attempt->count, 1);
    assert_string_equal(attempt->addresses[0], "r2@corp.example");
    attempt_answer(attempt, 0, SMTP_ACCEPTED, "250 ok");
    attempt_decide(attempt, &(struct smtp_result){.outcome = SMTP_DELIVERED, .text = "250 taken"},
                   &policy, now, &verdict);
    assert_int_equal(verdict.end, ATTEMPT_REJECTED);
    assert_string_equal(verdict.row.reason, "550 gone");
    assert_int_equal(verdict.row.attempts, 2);
    attempt_free(attempt);
}

static void test_open_fails(void **state)
{
    (void)state;
    struct error err;
    char id[ID_SIZE];
    id_new(id);
    assert_null(attempt_open(place.spool, place.db, id, &err));
    assert_int_equal(err.kind, ERROR_MISSING);
    place_file(&place, id);
    assert_null(attempt_open(place.spool, place.db, id, &err));
    assert_int_equal(err.kind, ERROR_PERMANENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_next),
        cmocka_unit_test(test_next_expires),
        cmocka_unit_test_setup_teardown(test_verdicts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unasked_go_on_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_lost_sessions, setup, teardown),
        cmocka_unit_test(test_waited),
        cmocka_unit_test_setup_teardown(test_expired_names_the_last_reply, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_server_that_is_down_expires_nothing, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(test_settled_recipients_are_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_open_fails, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
