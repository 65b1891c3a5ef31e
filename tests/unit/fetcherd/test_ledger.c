/* The ledger: what is put in comes out, after closing and opening too; outcomes count once. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "fetcherd/ledger.h"
#include "lib/clock.h"
#include "lib/db.h"

#define NOW INT64_C(1763800000000)

struct fixture {
    char dir[64];
    struct db *db;
    struct ledger *ledger;
};

static void open_ledger(struct fixture *f)
{
    struct error err = {.text = ""};
    f->db = db_open(f->dir, "fetcherd", ledger_migrations, &err);
    if (!f->db)
        fail_msg("%s", err.text);
    f->ledger = ledger_new(f->db);
}

static void close_ledger(struct fixture *f)
{
    ledger_free(f->ledger);
    db_close(f->db);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/ledger-test-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    open_ledger(f);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    char command[128];
    close_ledger(f);
    snprintf(command, sizeof command, "rm -r %s", f->dir);
    assert_int_equal(system(command), 0);
    free(f);
    return 0;
}

static struct account *new_account(struct fixture *f, const char *name)
{
    struct account *a = calloc(1, sizeof *a);
    snprintf(a->name, sizeof a->name, "%s", name);
    strcpy(a->server, "pop.example");
    strcpy(a->user, "joe");
    strcpy(a->auth, "auto");
    a->port = 110;
    a->tls = CONF_TLS_STARTTLS;
    a->enabled = true;
    assert_true(envelope_list_add(&a->deliver_to, "a@corp.example"));
    assert_true(envelope_list_add(&a->deliver_to, "b@corp.example"));
    ledger_account_add(f->ledger, a, "SEALED");
    assert_true(a->key > 0);
    return a;
}

static void into_set(void *arg, struct account *a)
{
    account_set_add(arg, a);
}

static void test_accounts(void **state)
{
    struct fixture *f = *state;
    struct account *a = new_account(f, "sales"), *b = new_account(f, "a");
    struct account_set set = {0};

    a->failures = 3;
    a->paused = true;
    a->round = 9;
    a->next_poll = NOW;
    a->deleted = 12;
    strcpy(a->error, "broken");
    ledger_account_progress(f->ledger, a);
    a->port = 1110;
    ledger_account_set(f->ledger, a, NULL);
    ledger_account_set(f->ledger, b, "OTHER");
    close_ledger(f);
    open_ledger(f);
    ledger_accounts(f->ledger, into_set, &set);
    assert_int_equal(set.count, 2);
    struct account *got = account_set_find(&set, "sales");
    assert_non_null(got);
    assert_int_equal(got->key, a->key);
    assert_int_equal(got->port, 1110);
    assert_int_equal(got->tls, CONF_TLS_STARTTLS);
    assert_int_equal(got->failures, 3);
    assert_true(got->paused && got->enabled);
    assert_int_equal(got->round, 9);
    assert_int_equal(got->next_poll, NOW);
    assert_int_equal(got->deleted, 12);
    assert_string_equal(got->error, "broken");
    assert_int_equal(got->deliver_to.count, 2);
    assert_string_equal(got->deliver_to.items[1], "b@corp.example");
    char *secret = ledger_account_secret(f->ledger, a->key);
    assert_string_equal(secret, "SEALED");
    free(secret);
    secret = ledger_account_secret(f->ledger, b->key);
    assert_string_equal(secret, "OTHER");
    free(secret);
    account_set_free(&set);
    account_free(a);
    account_free(b);
}

static void put(struct fixture *f, int64_t account, const char *uidl, size_t len, const char *id)
{
    struct ledger_message m = {.uidl = uidl,
                               .uidl_len = len,
                               .state = id[0] ? LEDGER_SPOOLED : LEDGER_PENDING,
                               .size = 77,
                               .hash = {1, 2, 3},
                               .listed = 79,
                               .attempts = 1,
                               .changed = NOW};
    snprintf(m.id, sizeof m.id, "%s", id);
    ledger_begin(f->ledger);
    ledger_message_put(f->ledger, account, &m);
    ledger_commit(f->ledger);
}

struct seen {
    size_t count;
    struct ledger_message last;
    char uidl[256];
};

static void see(void *arg, const struct ledger_message *m)
{
    struct seen *seen = arg;
    seen->count++;
    seen->last = *m;
    memcpy(seen->uidl, m->uidl, m->uidl_len);
}

static struct seen look(struct fixture *f, int64_t account)
{
    struct seen seen = {.count = 0};
    ledger_messages(f->ledger, account, see, &seen);
    return seen;
}

#define ID_A "01JD0000000000000000000001"
#define ID_B "01JD0000000000000000000002"
#define ID_C "01JD0000000000000000000003"

static void test_messages(void **state)
{
    struct fixture *f = *state;
    static const char uidl[] = "\xff\0 8bit";

    put(f, 1, uidl, sizeof uidl - 1, ID_A);
    struct seen seen = look(f, 1);
    assert_int_equal(seen.count, 1);
    assert_int_equal(seen.last.uidl_len, sizeof uidl - 1);
    assert_memory_equal(seen.uidl, uidl, sizeof uidl - 1);
    assert_string_equal(seen.last.id, ID_A);
    assert_int_equal(seen.last.size, 77);
    assert_int_equal(seen.last.hash[1], 2);
    assert_int_equal(seen.last.changed, NOW);
    assert_true(ledger_knows_id(f->ledger, ID_A));
    assert_false(ledger_knows_id(f->ledger, ID_B));
    assert_int_equal(seen.last.listed, 79);
    put(f, 1, uidl, sizeof uidl - 1, ID_B); /* another message: the first stays known */
    assert_int_equal(look(f, 1).count, 2);
    assert_true(ledger_knows_id(f->ledger, ID_A));
    assert_int_equal(look(f, 2).count, 0);
    put(f, 2, "p", 1, "");
    assert_int_equal(look(f, 2).last.state, LEDGER_PENDING);
    assert_string_equal(look(f, 2).last.id, "");
    ledger_message_forget(f->ledger, 2, "p", 1);
    assert_int_equal(look(f, 2).count, 0);
}

static void test_outcomes(void **state)
{
    struct fixture *f = *state;
    int64_t account = 0;
    bool deleted;

    put(f, 5, "u", 1, ID_A);
    assert_false(ledger_outcome(f->ledger, ID_B, LEDGER_DELIVERED, NOW, &account));
    assert_int_equal(account, 0);
    assert_true(ledger_outcome(f->ledger, ID_A, LEDGER_QUARANTINED, NOW + 1, &account));
    assert_int_equal(account, 5);
    assert_false(ledger_outcome(f->ledger, ID_A, LEDGER_DELIVERED, NOW, &account)); /* once */
    assert_int_equal(look(f, 5).last.state, LEDGER_QUARANTINED);
    assert_int_equal(look(f, 5).last.changed, NOW + 1);
    assert_int_equal(look(f, 5).last.settled, NOW + 1);
    assert_false(ledger_lost(f->ledger, ID_A, false, NOW, &account, &deleted));
}

/* What is lost to us is fetched again under its UIDL; what is damaged counts as an attempt. */
static void test_lost(void **state)
{
    struct fixture *f = *state;
    int64_t account = 0;
    bool deleted = true;

    put(f, 5, "v", 1, ID_B);
    assert_true(ledger_lost(f->ledger, ID_B, false, NOW + 1, &account, &deleted));
    assert_int_equal(account, 5);
    assert_false(deleted);
    struct ledger_message row = look(f, 5).last;
    assert_int_equal(row.state, LEDGER_PENDING);
    assert_int_equal(row.attempts, 1); /* as it was */
    assert_string_equal(row.id, "");
    assert_false(ledger_lost(f->ledger, ID_B, false, NOW, &account, &deleted));
    put(f, 5, "v", 1, ID_C);
    ledger_message_doubt(f->ledger, 5, "v", 1, NOW);
    assert_true(ledger_lost(f->ledger, ID_C, true, NOW, &account, &deleted));
    assert_true(deleted); /* the server was told to */
    assert_int_equal(look(f, 5).last.attempts, 2);
}

static void settle(struct fixture *f, const char *id)
{
    int64_t account;

    assert_true(ledger_outcome(f->ledger, id, LEDGER_DELIVERED, NOW, &account));
}

/* What DELE was accepted for is in doubt until QUIT is answered; a spooled one keeps its state. */
static void test_doubt_and_gone(void **state)
{
    struct fixture *f = *state;

    put(f, 1, "s", 1, ID_A);
    ledger_message_doubt(f->ledger, 1, "s", 1, NOW);
    ledger_message_gone(f->ledger, 1, "s", 1, NOW);
    struct ledger_message row = look(f, 1).last;
    assert_int_equal(row.state, LEDGER_SPOOLED); /* its outcome is still to come */
    assert_true(row.listed == LEDGER_DOUBT);
    settle(f, ID_A);
    assert_int_equal(look(f, 1).last.state, LEDGER_DELIVERED);

    put(f, 2, "d", 1, ID_B);
    settle(f, ID_B);
    ledger_message_doubt(f->ledger, 2, "d", 1, NOW);
    assert_int_equal(look(f, 2).last.state, LEDGER_VANISHED);
    assert_int_equal(look(f, 2).last.listed, 79);
    ledger_message_gone(f->ledger, 2, "d", 1, NOW);
    assert_int_equal(look(f, 2).last.state, LEDGER_GONE);
    ledger_message_found(f->ledger, 2, ID_B, "d", 1, 80, NOW); /* the server has kept it */
    row = look(f, 2).last;
    assert_int_equal(row.state, LEDGER_DELIVERED);
    assert_int_equal(row.attempts, 1); /* the outcome had set them to 0 */
    assert_int_equal(row.listed, 80);
}

/* Two messages have changed places: none of the rows is lost on the way. */
static void test_found_elsewhere(void **state)
{
    struct fixture *f = *state;

    put(f, 1, "1", 1, ID_A);
    put(f, 1, "2", 1, ID_B);
    ledger_message_found(f->ledger, 1, ID_B, "1", 1, 79, NOW);
    assert_int_equal(look(f, 1).count, 2);
    ledger_message_found(f->ledger, 1, ID_A, "2", 1, 79, NOW);
    struct seen seen = look(f, 1);
    assert_int_equal(seen.count, 2);
    assert_memory_equal(seen.uidl, "2", 1);
    assert_string_equal(seen.last.id, ID_A);
    assert_int_equal(seen.last.state, LEDGER_SPOOLED);
    assert_int_equal(seen.last.attempts, 1);
}

/* Another server: UIDLs mean nothing there, but what counted as seen still does. */
static void test_moved(void **state)
{
    struct fixture *f = *state;
    struct ledger_message baseline = {
        .uidl = "seen", .uidl_len = 4, .state = LEDGER_SEEN, .size = 5, .changed = NOW};

    put(f, 1, "a", 1, ID_A);
    put(f, 1, "p", 1, "");
    ledger_message_put(f->ledger, 1, &baseline);
    ledger_maildrop_moved(f->ledger, 1);
    struct seen seen = look(f, 1);
    assert_int_equal(seen.count, 2);
    assert_int_equal(seen.last.state, LEDGER_SEEN);
    assert_memory_equal(seen.uidl, "seen", 4);
    assert_true(ledger_knows_id(f->ledger, ID_A));
    ledger_message_forget(f->ledger, 1, "a", 1);
    assert_true(ledger_knows_id(f->ledger, ID_A)); /* under another name */
}

static void test_spooled_ids_in_pages(void **state)
{
    struct fixture *f = *state;
    char ids[2][ID_SIZE];

    put(f, 1, "c", 1, ID_C);
    put(f, 1, "a", 1, ID_A);
    put(f, 2, "b", 1, ID_B);
    put(f, 1, "p", 1, "");
    assert_int_equal(ledger_spooled_count(f->ledger, 1), 2);
    assert_int_equal(ledger_spooled_count(f->ledger, 0), 3);
    assert_int_equal(ledger_spooled_ids(f->ledger, 1, "", ids, 1), 1);
    assert_string_equal(ids[0], ID_A);
    assert_int_equal(ledger_spooled_ids(f->ledger, 1, ID_A, ids, 2), 1);
    assert_string_equal(ids[0], ID_C);
    assert_int_equal(ledger_spooled_ids(f->ledger, 1, ID_C, ids, 2), 0);
}

static void test_found_vanished_prune(void **state)
{
    struct fixture *f = *state;

    put(f, 1, "old", 3, ID_A);
    put(f, 1, "new", 3, "");
    ledger_message_found(f->ledger, 1, ID_A, "new", 3, 79, NOW);
    struct seen seen = look(f, 1);
    assert_int_equal(seen.count, 1);
    assert_memory_equal(seen.uidl, "new", 3);
    assert_string_equal(seen.last.id, ID_A);
    ledger_message_vanished(f->ledger, 1, "new", 3, NOW);
    ledger_prune(f->ledger, NOW);
    assert_int_equal(look(f, 1).count, 1);
    ledger_prune(f->ledger, NOW + 1);
    assert_int_equal(look(f, 1).count, 0);
}

static void test_removal_and_numbers(void **state)
{
    struct fixture *f = *state;
    struct account *a = new_account(f, "x");
    int64_t key = a->key;

    put(f, key, "u", 1, ID_A);
    ledger_account_remove(f->ledger, key);
    assert_int_equal(look(f, key).count, 0);
    account_free(a);
    a = new_account(f, "x");
    assert_true(a->key > key); /* a number is not used twice */
    account_free(a);
    assert_int_equal(ledger_number(f->ledger, "n", 4), 4);
    ledger_set_number(f->ledger, "n", 5);
    ledger_set_number(f->ledger, "n", INT64_C(1) << 40);
    assert_int_equal(ledger_number(f->ledger, "n", 4), INT64_C(1) << 40);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_accounts),
        TEST(test_messages),
        TEST(test_outcomes),
        TEST(test_spooled_ids_in_pages),
        TEST(test_found_vanished_prune),
        TEST(test_removal_and_numbers),
        TEST(test_lost),
        TEST(test_doubt_and_gone),
        TEST(test_found_elsewhere),
        TEST(test_moved),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
