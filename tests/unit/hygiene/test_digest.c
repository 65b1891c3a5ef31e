/* The digest: what it counts and names, and that it goes as mail like any drop. */
#include "hygiene/digest.h"
#include "hygiene/digest_mail.h"
#include "hygiene/mimelook.h"
#include "hygiene/pickup.h"
#include "hygiene/preview.h"
#include "tests/unit/hygiene/quarantine.h"

#define KEEP (90 * CLOCK_DAY)

static void add(struct fixture *f, const char *account, const char *decided_by, const char *subject,
                int64_t age)
{
    struct badmail b = {.id = ""};
    (void)snprintf(b.account, sizeof b.account, "%s", account);
    (void)snprintf(b.decided_by, sizeof b.decided_by, "%s", decided_by);
    (void)snprintf(b.subject, sizeof b.subject, "%s", subject);
    (void)snprintf(b.reason, sizeof b.reason, "because");
    add_row(f, &b, age);
}

static json_int_t count_of(const json_t *reply, const char *key)
{
    return json_integer_value(json_object_get(reply, key));
}

static int times(const char *text, const char *words)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, words)) != NULL; at++)
        n++;
    return n;
}

/* --- what is counted --- */

static void what_came_lately(void **state)
{
    struct fixture *f = *state;
    struct badmail coming = {.id = ""};
    add(f, "sales", "rspamd", "one day", CLOCK_DAY);
    add(f, "sales", "rspamd", "a little more", CLOCK_DAY + 1);
    add(f, "sales", "rspamd", "now", 0);
    id_new(coming.id); /* which has not entered */
    coming.at = clock_now();
    ledger_hold(f->d.db, &coming);
    add(f, "sales", "rspamd", "deleted", 0);
    char gone[ID_SIZE];
    add_message(f, gone, 0, "Subject: gone\r\n\r\n");
    ledger_badmail_set(f->d.db, gone, BADMAIL_DELETED, NULL);
    json_t *reply = good_answer(f, digest_answer, json_object());
    assert_int_equal(count_of(reply, "fresh"), 3);
    assert_int_equal(count_of(reply, "expiring"), 0);
    assert_null(strstr(text_of(reply, "text"), "a little more"));
    assert_non_null(strstr(text_of(reply, "text"), "\"one day\""));
    assert_null(strstr(text_of(reply, "text"), "gone"));
    json_decref(reply);
    reply = good_answer(f, digest_answer, json_pack("{s:I}", "since", CLOCK_DAY + 1));
    assert_int_equal(count_of(reply, "fresh"), 4);
    json_decref(reply);
    reply = good_answer(f, digest_answer, json_pack("{s:I}", "since", INT64_C(1)));
    assert_int_equal(count_of(reply, "fresh"), 2);
    json_decref(reply);
}

static void what_will_go_soon(void **state)
{
    struct fixture *f = *state;
    add(f, "sales", "rspamd", "in a week", KEEP - 7 * CLOCK_DAY);
    add(f, "sales", "rspamd", "a little less", KEEP - 7 * CLOCK_DAY + 1);
    add(f, "sales", "zzz", "at once", KEEP + CLOCK_DAY);
    json_t *reply = good_answer(f, digest_answer, json_object());
    const char *text = text_of(reply, "text");
    assert_int_equal(count_of(reply, "fresh"), 0);
    assert_int_equal(count_of(reply, "expiring"), 2);
    assert_non_null(strstr(text, "Nothing that came into quarantine since"));
    assert_non_null(strstr(text, "Within 7d hygiene.badmail-keep will remove 2:"));
    assert_non_null(strstr(text, "in 6d  <>  \"a little less\""));
    assert_non_null(strstr(text, "in 0m  <>  \"at once\""));
    assert_true(strstr(text, "\"at once\"") < strstr(text, "\"a little less\""));
    assert_null(strstr(text, "in a week"));
    json_decref(reply);
    f->d.conf->hygiene.badmail_keep = CLOCK_DAY; /* no longer ahead than half of it */
    add(f, "sales", "rspamd", "young", CLOCK_DAY / 2);
    reply = good_answer(f, digest_answer, json_object());
    assert_int_equal(count_of(reply, "fresh"), 1);
    assert_int_equal(count_of(reply, "expiring"), 3);
    json_decref(reply);
}

static void groups(void **state)
{
    struct fixture *f = *state;
    add(f, "sales", "rspamd", "s1", 3000);
    add(f, "info", "rspamd", "i1", 2000);
    add(f, "", "relay", "p1", 1500);
    add(f, "sales", "form:nul", "s2", 1000);
    json_t *reply = good_answer(f, digest_answer, json_object());
    const char *text = text_of(reply, "text");
    assert_non_null(strstr(text, "\naccount info: 1\n"));
    assert_non_null(strstr(text, "\naccount sales: 2\n"));
    assert_non_null(strstr(text, "\naccount (none: it came by pickup/): 1\n"));
    assert_true(strstr(text, "\"s1\"") < strstr(text, "\"s2\""));
    json_decref(reply);
    reply = good_answer(f, digest_answer, json_pack("{s:s}", "by", "reason"));
    text = text_of(reply, "text");
    assert_non_null(strstr(text, "\ndecided by rspamd: 2\n"));
    assert_non_null(strstr(text, "\ndecided by form:nul: 1\n"));
    json_decref(reply);
}

static void commands_name_the_configuration(void **state)
{
    struct fixture *f = *state;
    char how[200];
    add(f, "sales", "rspamd", "s1", 0);
    json_t *reply = good_answer(f, digest_answer, json_object());
    (void)snprintf(how, sizeof how, "popferryctl -c %.100s badmail replay ", f->d.conf->file);
    assert_int_equal(times(text_of(reply, "text"), how), 3); /* the row's, and two hints */
    json_decref(reply);
}

/* --- bounds --- */

static int named(const char *text)
{
    return times(text, "  <>\n    \"") + times(text, "  <>  \"");
}

/* Subjects that JSON doubles, in an answer that carries them all the same. */
static void an_answer_carries_it(void **state)
{
    struct fixture *f = *state;
    char subject[200];
    memset(subject, '"', sizeof subject - 1);
    subject[sizeof subject - 1] = '\0';
    db_begin(f->d.db);
    for (int i = 0; i < 1500; i++)
        add(f, "\"\"\"\"\"\"\"", subject, subject, i % 2 ? 1000 : KEEP);
    db_commit(f->d.db);
    json_t *reply = good_answer(f, digest_answer, json_object());
    const char *text = text_of(reply, "text");
    int more = 0, also = 0;
    assert_true(json_dumpb(reply, NULL, 0, JSON_COMPACT) < BUS_MESSAGE_MAX - 256);
    assert_int_equal(count_of(reply, "fresh"), 750);
    assert_int_equal(count_of(reply, "expiring"), 750);
    const char *first = strstr(text, "... and "), *second = strstr(first + 1, "... and ");
    assert_int_equal(sscanf(first, "... and %d more: ", &more), 1);
    assert_int_equal(sscanf(second, "... and %d more: ", &also), 1);
    assert_int_equal(named(text) + more + also, 1500);
    assert_true(also < 750);
    assert_non_null(strstr(first, "badmail list --newer 25h"));
    assert_non_null(strstr(second, "badmail list --older 1992h"));
    json_decref(reply);
}

/* What there is room for is used, also when there is nothing of the other kind. */
static void all_room_is_used(void **state)
{
    struct fixture *f = *state;
    db_begin(f->d.db);
    for (int i = 0; i < 500; i++)
        add(f, "sales", "rspamd", "hello", 1000);
    db_commit(f->d.db);
    json_t *reply = good_answer(f, digest_answer, json_object());
    assert_true(strlen(text_of(reply, "text")) > 24 * 1024);
    json_decref(reply);
}

static void heads_of_what_was_not_read(void **state)
{
    struct fixture *f = *state;
    db_begin(f->d.db);
    for (int i = 0; i < 1100; i++)
        add(f, "sales", "rspamd", "hello", i);
    db_commit(f->d.db);
    json_t *reply = good_answer(f, digest_answer, json_object());
    assert_int_equal(count_of(reply, "fresh"), 1100);
    assert_non_null(strstr(text_of(reply, "text"), "\naccount sales: at least 1000\n"));
    json_decref(reply);
}

static void any_time_will_do(void **state)
{
    struct fixture *f = *state;
    add(f, "sales", "rspamd", "old", 80 * CLOCK_DAY);
    json_t *reply = good_answer(f, digest_answer, json_pack("{s:I}", "since", INT64_MAX));
    assert_string_equal(text_of(reply, "since"), "1970-01-01T00:00:00Z");
    assert_non_null(strstr(text_of(reply, "text"),
                           "1 message came into quarantine since 1970-01-01 00:00 UTC.\n"));
    json_decref(reply);
    bad_answer(f, digest_answer, json_pack("{s:i}", "since", 0), "usage", "since");
    bad_answer(f, digest_answer, json_pack("{s:i}", "since", -5), "usage", "since");
    bad_answer(f, digest_answer, json_pack("{s:s}", "since", "1d"), "usage", "since");
    bad_answer(f, digest_answer, json_pack("{s:s}", "by", "sender"), "usage", "by");
}

/* --- as mail --- */

static void set_reviewer(struct fixture *f, const char *reviewer)
{
    free(f->d.conf->hygiene.reviewer);
    f->d.conf->hygiene.reviewer = strdup(reviewer);
}

static void reviewers(void **state)
{
    static const struct {
        const char *reviewer;
        bool valid, possible;
    } cases[] = {
        {"", true, false},
        {"boss@corp.example", true, true},
        {"\"the boss\"@corp.example", true, true},
        {"b\xC3\xB6ss@corp.example", true, true},
        {"boss", false, false},
        {"@corp.example", false, false},
        {"boss@", false, false},
        {"boss@corp.example\nX-Receiver: <eve@x.example>", false, false},
        {"<boss@corp.example>", false, false},
        {"boss@corp.example, eve@x.example", false, false},
    };
    struct fixture *f = *state;
    add(f, "sales", "rspamd", "hello", 0);
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct error err = {.text = ""};
        print_message("%s\n", cases[i].reviewer);
        set_reviewer(f, cases[i].reviewer);
        assert_int_equal(digest_reviewer_valid(f->d.conf, &err), cases[i].valid);
        if (!cases[i].valid)
            assert_non_null(strstr(err.text, "hygiene.reviewer"));
        assert_int_equal(digest_mail_possible(f->d.conf, &err), cases[i].possible);
        if (!cases[i].possible)
            bad_answer(f, digest_answer, json_pack("{s:b}", "mail", 1), "failed", "reviewer");
    }
    assert_int_equal(spool_count(f->h.spool, SPOOL_PICKUP), 0);
}

static bool sent_on(struct fixture *f)
{
    return spool_count(f->h.spool, SPOOL_INCOMING) == 1;
}

static struct message_reader *what_was_sent(struct fixture *f)
{
    struct error err;
    char id[ID_SIZE];
    struct spool_scan *scan = spool_scan_begin(f->h.spool, SPOOL_INCOMING, &err);
    assert_true(spool_scan_next(scan, id));
    spool_scan_end(scan);
    return message_open(f->h.spool, SPOOL_INCOMING, id, &err);
}

/* No server has to have an extension for it. */
static void assert_plain_lines(const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        assert_true((unsigned char)bytes[i] < 0x80);
    for (size_t at = 0; at < len;) {
        const char *lf = memchr(bytes + at, '\n', len - at);
        size_t n = lf != NULL ? (size_t)(lf - bytes) - at : len - at;
        assert_true(n <= 998);
        at += n + 1;
    }
}

static void assert_is_the_digest(struct message_reader *r)
{
    struct error err;
    struct mimelook look;
    char subject[200], sender[200], by[100];
    assert_true(mimelook_read(r, &look, &err));
    size_t header = envelope_header_end(look.bytes, look.len);
    assert_true(header > 0);
    assert_int_equal(look.count, 1);
    assert_string_equal(look.parts[0].type, "text/plain");
    assert_null(memmem(look.bytes, look.len, "X-Sender", 8));
    assert_string_equal(envelope_field(look.bytes, header, "Subject", subject, sizeof subject),
                        "Quarantine: 2 new, 0 to be removed soon");
    assert_non_null(strstr(envelope_field(look.bytes, header, "From", sender, sizeof sender),
                           "postmaster@corp.example"));
    assert_string_equal(envelope_field(look.bytes, header, "Auto-Submitted", by, sizeof by),
                        "auto-generated");
    assert_plain_lines(look.bytes, look.len);
    json_t *lines = preview_lines(&look, &look.parts[0]);
    assert_string_equal(json_string_value(json_array_get(lines, 0)),
                        "2 messages came into quarantine since 2026-11-17 11:06 UTC.");
    json_decref(lines);
    mimelook_free(&look);
}

static void it_goes_as_a_drop_does(void **state)
{
    struct fixture *f = *state;
    struct error err = {.text = ""};
    char path[128];
    set_reviewer(f, "boss@corp.example");
    add(f, "sales", "rspamd", "=?utf-8?q? \xC3\xA4 From here", 0);
    add(f, "sales", "rspamd", ".", 0);
    json_t *reply = good_answer(f, digest_answer, json_pack("{s:b}", "mail", 1));
    assert_string_equal(text_of(reply, "mailed_to"), "boss@corp.example");
    assert_null(json_object_get(reply, "text"));
    (void)snprintf(path, sizeof path, "spool/pickup/%.60s", text_of(reply, "name"));
    assert_int_equal(access(scratch_path(f->scratch, path), R_OK), 0);
    json_decref(reply);
    clock_set_for_test(0); /* pickup waits for leases, or for time to pass */
    f->h.pickup = pickup_start(&f->h, &err);
    assert_non_null(f->h.pickup);
    assert_true(fixture_run(f, sent_on));
    struct message_reader *r = what_was_sent(f);
    assert_non_null(r);
    const struct message_head *head = message_reader_head(r);
    assert_string_equal(head->sender, "");
    assert_int_equal(head->recipients.count, 1);
    assert_string_equal(head->recipients.items[0], "boss@corp.example");
    assert_is_the_digest(r);
    message_close(r);
    syncpool_free(f->h.sync);
    f->h.sync = NULL;
    pickup_free(f->h.pickup);
}

static void nothing_is_mailed_of_nothing(void **state)
{
    struct fixture *f = *state;
    set_reviewer(f, "boss@corp.example");
    json_t *reply = good_answer(f, digest_answer, json_pack("{s:b}", "mail", 1));
    assert_null(json_object_get(reply, "mailed_to"));
    assert_null(json_object_get(reply, "name"));
    json_decref(reply);
    assert_int_equal(spool_count(f->h.spool, SPOOL_PICKUP), 0);
}

/* What a crash left half written, and nothing else. */
static void a_start_removes_drafts(void **state)
{
    static const char *const drafts[] = {
        ".digest-01JD0VSM7N4C2T8RZ5K3W9XQHB.eml.part",
        ".digest-01JD0VSM7N4C2T8RZ5K3W9XQHC.eml.part",
    };
    static const char *const others[] = {
        ".digest-01JD0VSM7N4C2T8RZ5K3W9XQHB.eml",
        "digest-01JD0VSM7N4C2T8RZ5K3W9XQHB.eml.part",
        ".digest-x.eml.part",
        ".digest-01JD0VSM7N4C2T8RZ5K3W9XQHBx.eml.part",
        ".other.eml.part",
        ".digest-",
        "digest-01JD0VSM7N4C2T8RZ5K3W9XQHB.eml",
    };
    struct fixture *f = *state;
    char path[128];
    for (size_t i = 0; i < COUNT(drafts); i++) {
        (void)snprintf(path, sizeof path, "spool/pickup/%s", drafts[i]);
        scratch_write(f->scratch, path, "x", 1, 0600);
    }
    for (size_t i = 0; i < COUNT(others); i++) {
        (void)snprintf(path, sizeof path, "spool/pickup/%s", others[i]);
        scratch_write(f->scratch, path, "x", 1, 0600);
    }
    digest_mail_clean(&f->h);
    for (size_t i = 0; i < COUNT(drafts); i++)
        assert_false(fixture_exists(f, SPOOL_PICKUP, drafts[i]));
    for (size_t i = 0; i < COUNT(others); i++)
        assert_true(fixture_exists(f, SPOOL_PICKUP, others[i]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        quarantine_test(what_came_lately),
        quarantine_test(what_will_go_soon),
        quarantine_test(groups),
        quarantine_test(commands_name_the_configuration),
        quarantine_test(an_answer_carries_it),
        quarantine_test(all_room_is_used),
        quarantine_test(heads_of_what_was_not_read),
        quarantine_test(any_time_will_do),
        quarantine_test(reviewers),
        quarantine_test(it_goes_as_a_drop_does),
        quarantine_test(nothing_is_mailed_of_nothing),
        quarantine_test(a_start_removes_drafts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
