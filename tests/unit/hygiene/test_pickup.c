/* Drops from pickup/ to incoming/, and each point where a crash can cut that off. */
#include "hygiene/badmail.h"
#include "lib/log.h"
#include "tests/unit/hygiene/dropping.h"

static bool refused(struct fixture *f)
{
    return fixture_exists(f, SPOOL_PICKUP, "bad.eml.bad");
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

/* Neither is worth a look at every turn or write: the walk every few seconds sees them. */
static void what_is_not_ready_is_left_in_peace(void **state)
{
    struct fixture *f = *state;
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    drop_file(f, "empty.eml", "");
    drop_file(f, "slow.eml", mail);
    FILE *writer = fopen(scratch_path(f->scratch, "spool/pickup/slow.eml"), "a");
    assert_true(
        inotify_add_watch(watch, scratch_path(f->scratch, "spool/pickup/slow.eml"), IN_OPEN) >= 0);
    start(f);
    int looks = 0;
    for (int i = 0; i < 10; i++) { /* events that are alike are merged until they are read */
        run_for(f, 250);
        (void)fputs("more\n", writer);
        (void)fflush(writer);
        looks += opened(watch);
    }
    assert_int_equal(looks, 1);
    (void)fclose(writer);
    assert_true(fixture_run(f, one_out));
    (void)close(watch);
    stop(f);
}

static int stuck_events;

static void count_stuck(void *arg, enum log_level level, const char *what,
                        const struct log_field *fields)
{
    (void)arg;
    (void)level;
    (void)fields;
    stuck_events += strcmp(what, "pickup-failed") == 0;
}

static int drop_rows(struct fixture *f)
{
    sqlite3_stmt *st = db_query(f->d.db, "SELECT count(*) FROM pickup");
    int n = db_row(f->d.db, st) ? (int)db_column_int(st, 0) : -1;
    db_done(st);
    return n;
}

/* More of them than one turn takes: no row stays, and no turn follows at once. */
static void what_cannot_be_renamed_leaves_no_trace(void **state)
{
    struct fixture *f = *state;
    char name[32];
    int ends[2], outgoing = spool_fd(f->h.spool, SPOOL_OUTGOING), kept = dup(outgoing);
    for (int i = 0; i < 600; i++) {
        (void)snprintf(name, sizeof name, "n%d.eml", i);
        drop_file(f, name, mail);
    }
    start(f);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_true(dup2(ends[0], outgoing) >= 0); /* rename: ENOTDIR */
    stuck_events = 0;
    log_set_sink(count_stuck, NULL);
    run_for(f, 1500);
    assert_int_equal(stuck_events, 3);
    assert_int_equal(drop_rows(f), 0);
    assert_true(dup2(kept, outgoing) >= 0);
    (void)close(ends[0]);
    (void)close(ends[1]);
    (void)close(kept);
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
    ledger_drop_claim(f->d.db, id, "one.eml", false);
    (void)snprintf(path, sizeof path, "spool/outgoing/%s.%s", id, file_suffix);
    scratch_write(f->scratch, path, mail, strlen(mail), 0640);
}

static bool is_out(struct fixture *f, const char *id)
{
    char eml[SPOOL_NAME_SIZE], drop[SPOOL_NAME_SIZE], fresh[SPOOL_NAME_SIZE];
    return fixture_exists(f, SPOOL_INCOMING, spool_name(eml, id, "eml")) &&
           !fixture_exists(f, SPOOL_OUTGOING, spool_name(drop, id, "drop")) &&
           !fixture_exists(f, SPOOL_OUTGOING, spool_name(fresh, id, "new"));
}

static void cut_off_behind_the_claim(void **state)
{
    struct fixture *f = *state;
    drop_file(f, "one.eml", mail);
    char id[ID_SIZE];
    id_new(id);
    ledger_drop_claim(f->d.db, id, "one.eml", false); /* the rename was lost */
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

/* Between the look and the rename somebody has opened it: it is sent as he leaves it, whole. */
static void cut_off_while_it_is_written(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE], name[SPOOL_NAME_SIZE], path[64], text[128];
    size_t got;
    struct error err;
    drop_claimed(f, id, "drop");
    (void)snprintf(path, sizeof path, "spool/outgoing/%s.drop", id);
    int writer = open(scratch_path(f->scratch, path), O_WRONLY | O_APPEND | O_CLOEXEC);
    start(f);
    run_for(f, 1500);
    assert_int_equal(files_out(f), 0);
    assert_false(fixture_exists(f, SPOOL_OUTGOING, spool_name(name, id, "new")));
    assert_int_equal(write(writer, "more\r\n", 6), 6);
    run_for(f, 1500);
    assert_int_equal(files_out(f), 0);
    (void)close(writer);
    assert_true(fixture_run(f, one_out));
    struct message_reader *r = message_open(f->h.spool, SPOOL_INCOMING, id, &err);
    assert_non_null(r);
    assert_true(message_read(r, text, sizeof text, &got, &err));
    assert_int_equal(got, strlen(mail) + 6);
    assert_memory_equal(text + strlen(mail), "more\r\n", 6);
    message_close(r);
    stop(f);
}

/* The disk takes no rename back: the drop is not lost sight of. */
static void cut_off_before_it_goes_back(void **state)
{
    struct fixture *f = *state;
    int ends[2], pickup = spool_fd(f->h.spool, SPOOL_PICKUP), kept = dup(pickup);
    drop_file(f, "bad.eml", "hopeless");
    start(f);
    while (drop_rows(f) == 0)
        (void)event_base_loop(f->d.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_true(dup2(ends[0], pickup) >= 0); /* rename: ENOTDIR */
    run_for(f, 300);
    json_t *status = pickup_status(f->h.pickup);
    assert_int_equal(json_integer_value(json_object_get(status, "put_off")), 1);
    assert_string_equal(json_string_value(json_object_get(status, "put_off_why")),
                        "Not a directory");
    json_decref(status);
    stop(f);
    assert_true(dup2(kept, pickup) >= 0);
    struct error err;
    f->h.sync = syncpool_new(f->d.base, &err);
    start(f);
    assert_true(fixture_run(f, refused));
    (void)close(ends[0]);
    (void)close(ends[1]);
    (void)close(kept);
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
    ledger_drop_claim(f->d.db, id, "one.eml", false);
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
        pickup_claim(f->h.pickup, SPOOL_BADMAIL, spool_name(name, old, "eml"), NULL, fresh, &err));
    assert_true(fixture_run(f, one_out));
    struct message_reader *r = message_open(f->h.spool, SPOOL_INCOMING, fresh, &err);
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
        pickup_claim(f->h.pickup, SPOOL_BADMAIL, spool_name(name, old, "eml"), NULL, fresh, &err));
    assert_int_equal(err.kind, ERROR_MISSING);
    stop(f);
}

/* A held message for "one" and "two", and its bytes with a NUL behind them. */
static char *held(struct fixture *f, char id[static ID_SIZE])
{
    char path[64];
    size_t n;
    id[0] = '\0';
    fixture_message(f, SPOOL_BADMAIL, "eml", id, "a@x.example", mail);
    struct badmail b;
    badmail_describe(f->h.spool, SPOOL_BADMAIL, id, "relay", "550 no", &b);
    ledger_hold(f->d.db, &b);
    ledger_badmail_free(&b);
    (void)snprintf(path, sizeof path, "spool/badmail/%s.eml", id);
    char *bytes = scratch_read(f->scratch, path, &n);
    bytes = realloc(bytes, n + 1);
    bytes[n] = '\0';
    return bytes;
}

static struct message_reader *the_one_that_is_out(struct fixture *f)
{
    struct error err;
    char id[ID_SIZE] = "";
    struct spool_scan *scan = spool_scan_begin(f->h.spool, SPOOL_INCOMING, &err);
    assert_true(spool_scan_next(scan, id));
    spool_scan_end(scan);
    struct message_reader *r = message_open(f->h.spool, SPOOL_INCOMING, id, &err);
    assert_non_null(r);
    return r;
}

static void assert_is_drop(struct fixture *f)
{
    struct message_reader *r = the_one_that_is_out(f);
    const struct message_head *head = message_reader_head(r);
    assert_true(message_is_drop(head));
    assert_string_equal(head->replay_of, "");
    assert_int_equal(strncmp(head->origin, "pickup:one.eml", 14), 0);
    assert_string_equal(head->sender, "a@x.example");
    assert_int_equal(head->recipients.count, 2);
    message_close(r);
}

/* What is copied stays in quarantine, and can be replayed. */
static void a_copy_of_what_is_held_is_a_drop(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE];
    char *bytes = held(f, id);
    drop_file(f, "one.eml", bytes);
    free(bytes);
    start(f);
    assert_true(fixture_run(f, one_out));
    assert_is_drop(f);
    struct badmail b;
    assert_true(ledger_badmail(f->d.db, id, &b));
    assert_int_equal(b.state, BADMAIL_HELD);
    ledger_badmail_free(&b);
    stop(f);
}

static void a_preface_of_nothing_known_is_no_replay(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE], name[SPOOL_NAME_SIZE];
    char *bytes = held(f, id);
    drop_file(f, "one.eml", bytes);
    free(bytes);
    assert_int_equal(unlinkat(spool_fd(f->h.spool, SPOOL_BADMAIL), spool_name(name, id, "eml"), 0),
                     0);
    db_run(f->d.db, "DELETE FROM badmail");
    start(f);
    assert_true(fixture_run(f, one_out));
    assert_is_drop(f);
    stop(f);
}

/* "two" is the only one left; the file that is moved back names somebody else. */
static void recipients_changed_by_hand(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE], name[SPOOL_NAME_SIZE];
    char *bytes = held(f, id);
    char *line = strstr(bytes, "two@");
    memcpy(line, "six@", 4);
    drop_file(f, "one.eml", bytes);
    free(bytes);
    assert_int_equal(unlinkat(spool_fd(f->h.spool, SPOOL_BADMAIL), spool_name(name, id, "eml"), 0),
                     0);
    start(f);
    assert_true(fixture_run(f, one_out));
    struct message_reader *r = the_one_that_is_out(f);
    const struct message_head *head = message_reader_head(r);
    assert_string_equal(head->replay_of, id);
    assert_int_equal(head->recipients.count, 2);
    assert_string_equal(head->recipients.items[1], "six@corp.example");
    message_close(r);
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(drops_are_taken),
        fixture_test(a_file_open_for_writing_waits),
        fixture_test(what_is_not_ready_is_left_in_peace),
        fixture_test(what_cannot_be_renamed_leaves_no_trace),
        fixture_test(what_is_no_mail_goes_back),
        fixture_test(cut_off_behind_the_claim),
        fixture_test(cut_off_while_it_is_written),
        fixture_test(cut_off_before_it_goes_back),
        fixture_test(cut_off_before_the_copy),
        fixture_test(cut_off_within_the_copy),
        fixture_test(cut_off_when_taken),
        fixture_test(cut_off_when_relayed_already),
        fixture_test(unlink_before_rename),
        fixture_test(replay_goes_to_those_who_lack_it),
        fixture_test(a_copy_of_what_is_held_is_a_drop),
        fixture_test(a_preface_of_nothing_known_is_no_replay),
        fixture_test(recipients_changed_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
