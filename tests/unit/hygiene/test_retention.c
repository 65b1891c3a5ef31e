/* What has lain in quarantine for hygiene.badmail-keep goes: when, in which order, and what a crash
 * between two steps leaves for the next start. */
#include "hygiene/retention.h"
#include "lib/log.h"
#include "tests/unit/hygiene/quarantine.h"

#define KEEP (90 * CLOCK_DAY)

static const char mail[] = "From: a@x.example\r\nSubject: old\r\n\r\nhello\r\n";

/* --- events --- */

struct watch {
    struct fixture *f;
    int events, out_of_order;
    char last[ID_SIZE];
};

static bool in_transaction(struct db *db)
{
    sqlite3_stmt *st = db_query(db, "SELECT 1");
    bool open = sqlite3_get_autocommit(sqlite3_db_handle(st)) == 0;
    db_done(st);
    return open;
}

/* Behind the commit of the row, and before the file goes. */
static void on_event(void *arg, enum log_level level, const char *what,
                     const struct log_field *fields)
{
    struct watch *watch = arg;
    (void)level;
    if (strcmp(what, "badmail-expired") != 0)
        return;
    watch->events++;
    (void)snprintf(watch->last, sizeof watch->last, "%s", fields[0].text);
    watch->out_of_order += state_of(watch->f, watch->last) != BADMAIL_EXPIRED ||
                           in_transaction(watch->f->d.db) || !has_file(watch->f, watch->last);
}

static struct watch watch_events(struct fixture *f)
{
    return (struct watch){.f = f};
}

/* --- when --- */

static void age_decides(void **state)
{
    struct fixture *f = *state;
    struct watch watch = watch_events(f);
    char young[ID_SIZE], due[ID_SIZE], old[ID_SIZE];
    add_message(f, young, KEEP - 1, mail);
    add_message(f, due, KEEP, mail);
    add_message(f, old, KEEP + 1, mail);
    assert_int_equal(f->d.conf->hygiene.badmail_keep, KEEP);
    log_set_sink(on_event, &watch);
    assert_false(retention_turn(&f->h));
    assert_int_equal(watch.events, 1);
    assert_int_equal(watch.out_of_order, 0);
    assert_string_equal(watch.last, old);
    assert_int_equal(state_of(f, old), BADMAIL_EXPIRED);
    assert_false(has_file(f, old));
    assert_int_equal(state_of(f, young), BADMAIL_HELD);
    assert_int_equal(state_of(f, due), BADMAIL_HELD);
    clock_set_for_test(QUARANTINE_NOW + 1);
    assert_false(retention_turn(&f->h));
    assert_int_equal(watch.events, 2);
    assert_false(has_file(f, due));
    assert_true(has_file(f, young));
    log_set_sink(NULL, NULL);
}

/* On its way into badmail/, or out of the ledger's hands: neither is ours to remove. */
static void only_what_is_held_and_has_entered(void **state)
{
    struct fixture *f = *state;
    struct badmail b;
    char coming[ID_SIZE] = "", replayed[ID_SIZE];
    fixture_message(f, SPOOL_BADMAIL, "eml", coming, "a@x.example", mail);
    badmail_describe(f->h.spool, SPOOL_BADMAIL, coming, "relay", "550 no", &b);
    b.at = 0;
    ledger_hold(f->d.db, &b);
    ledger_badmail_free(&b);
    add_message(f, replayed, KEEP + 1, mail);
    ledger_badmail_set(f->d.db, replayed, BADMAIL_REPLAYED, coming);
    assert_false(retention_turn(&f->h));
    assert_true(has_file(f, coming) && has_file(f, replayed));
    assert_int_equal(state_of(f, coming), BADMAIL_HELD);
    assert_int_equal(state_of(f, replayed), BADMAIL_REPLAYED);
}

static void turns_are_bounded(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE];
    db_begin(f->d.db);
    for (int i = 0; i < 2 * RETENTION_TURN + 3; i++)
        add_message(f, id, KEEP + CLOCK_DAY, mail);
    db_commit(f->d.db);
    assert_true(retention_turn(&f->h));
    assert_int_equal(spool_count(f->h.spool, SPOOL_BADMAIL), RETENTION_TURN + 3);
    assert_true(retention_turn(&f->h));
    assert_int_equal(spool_count(f->h.spool, SPOOL_BADMAIL), 3);
    assert_false(retention_turn(&f->h));
    assert_int_equal(spool_count(f->h.spool, SPOOL_BADMAIL), 0);
    assert_int_equal(ledger_held_count(f->d.db), 0);
}

static void removed_by_hand_is_no_removal_of_ours(void **state)
{
    struct fixture *f = *state;
    struct error err;
    struct watch watch = watch_events(f);
    char id[ID_SIZE];
    add_message(f, id, KEEP + 1, mail);
    assert_true(spool_remove(f->h.spool, SPOOL_BADMAIL, id, &err));
    log_set_sink(on_event, &watch);
    assert_false(retention_turn(&f->h));
    log_set_sink(NULL, NULL);
    assert_int_equal(watch.events, 0);
    assert_int_equal(state_of(f, id), BADMAIL_REMOVED);
}

/* --- crashes --- */

static void start_again(struct fixture *f)
{
    struct error err;
    assert_true(badmail_reconcile(&f->h, &err));
}

/* Before the commit nothing has happened; behind it the start tells, and removes the file. The
 * event alone leaves no trace, so a crash behind it means one more. */
static void a_crash_behind_the_commit(void **state)
{
    struct fixture *f = *state;
    struct watch watch = watch_events(f);
    char id[ID_SIZE], other[ID_SIZE];
    add_message(f, id, KEEP + 1, mail);
    add_message(f, other, KEEP + 1, mail);
    start_again(f);
    assert_int_equal(state_of(f, id), BADMAIL_HELD);
    ledger_badmail_set(f->d.db, id, BADMAIL_EXPIRED, NULL);
    log_set_sink(on_event, &watch);
    start_again(f);
    log_set_sink(NULL, NULL);
    assert_int_equal(watch.events, 1);
    assert_string_equal(watch.last, id);
    assert_int_equal(state_of(f, id), BADMAIL_EXPIRED);
    assert_false(has_file(f, id));
    assert_true(has_file(f, other));
}

static void a_crash_behind_the_last_step(void **state)
{
    struct fixture *f = *state;
    struct watch watch = watch_events(f);
    char id[ID_SIZE];
    add_message(f, id, KEEP + 1, mail);
    assert_false(retention_turn(&f->h));
    log_set_sink(on_event, &watch);
    start_again(f);
    assert_false(retention_turn(&f->h));
    log_set_sink(NULL, NULL);
    assert_int_equal(watch.events, 0);
    assert_int_equal(state_of(f, id), BADMAIL_EXPIRED);
}

/* The outcome was told long ago, and stays what it was. */
static void fetcherd_hears_the_same(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE];
    add_message(f, id, KEEP + 1, mail);
    assert_false(retention_turn(&f->h));
    assert_int_equal(ledger_badmail_outcome(f->d.db, id), BADMAIL_CERTAIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        quarantine_test(age_decides),
        quarantine_test(only_what_is_held_and_has_entered),
        quarantine_test(turns_are_bounded),
        quarantine_test(removed_by_hand_is_no_removal_of_ours),
        quarantine_test(a_crash_behind_the_commit),
        quarantine_test(a_crash_behind_the_last_step),
        quarantine_test(fetcherd_hears_the_same),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
