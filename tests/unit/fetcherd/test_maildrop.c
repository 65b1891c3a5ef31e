/* The plan of a poll: what is done about each message, for every state and policy. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fetcherd/maildrop.h"
#include "lib/clock.h"

#define NOW   INT64_C(1763800000000)
#define LIMIT 1000

static struct maildrop_policy policy(enum conf_delete delete)
{
    return (struct maildrop_policy){
        .delete = delete, .size_limit = LIMIT, .fetch_max = 500, .now = NOW};
}

static void list(struct maildrop *m, uint32_t number, const char *uidl)
{
    maildrop_uidl(m, number, uidl, strlen(uidl));
}

static struct ledger_message row(const char *uidl, enum ledger_state state)
{
    struct ledger_message r = {.uidl = uidl,
                               .uidl_len = strlen(uidl),
                               .state = state,
                               .size = 100,
                               .listed = 100,
                               .changed = NOW,
                               .settled = NOW};
    if (state != LEDGER_PENDING && state != LEDGER_TOO_LARGE)
        strcpy(r.id, "01JD0000000000000000000000");
    return r;
}

/* What is done about one message in this state. */
static enum maildrop_action act(struct ledger_message r, uint64_t size, struct maildrop_policy p)
{
    struct maildrop m;

    maildrop_init(&m);
    list(&m, 1, "u");
    maildrop_listed(&m);
    maildrop_size(&m, 1, size);
    maildrop_complete(&m);
    maildrop_known(&m, &r);
    maildrop_plan(&m, &p);
    enum maildrop_action action = (enum maildrop_action)m.items[0].action;
    assert_int_equal(m.totals[action], 1);
    maildrop_free(&m);
    return action;
}

static void test_states_and_policies(void **state)
{
    (void)state;
    static const struct {
        enum ledger_state state;
        enum maildrop_action delivered, spooled, never;
    } table[] = {
        {LEDGER_PENDING, MAILDROP_FETCH, MAILDROP_FETCH, MAILDROP_FETCH},
        {LEDGER_SPOOLED, MAILDROP_WAIT, MAILDROP_DELETE, MAILDROP_WAIT},
        {LEDGER_DELIVERED, MAILDROP_DELETE, MAILDROP_DELETE, MAILDROP_KEEP},
        {LEDGER_QUARANTINED, MAILDROP_DELETE, MAILDROP_DELETE, MAILDROP_KEEP},
        {LEDGER_GONE, MAILDROP_VERIFY, MAILDROP_VERIFY, MAILDROP_VERIFY},
        {LEDGER_VANISHED, MAILDROP_VERIFY, MAILDROP_VERIFY, MAILDROP_VERIFY},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        struct ledger_message r = row("u", table[i].state);
        assert_int_equal(act(r, 100, policy(CONF_DELETE_DELIVERED)), table[i].delivered);
        assert_int_equal(act(r, 100, policy(CONF_DELETE_SPOOLED)), table[i].spooled);
        assert_int_equal(act(r, 100, policy(CONF_DELETE_NEVER)), table[i].never);
    }
}

static void test_delete_after(void **state)
{
    (void)state;
    struct maildrop_policy p = policy(CONF_DELETE_AFTER);
    struct ledger_message r = row("u", LEDGER_DELIVERED);

    p.delete_after = 30 * CLOCK_DAY;
    r.settled = NOW - 30 * CLOCK_DAY + 1;
    assert_int_equal(act(r, 100, p), MAILDROP_KEEP);
    r.settled = NOW - 30 * CLOCK_DAY;
    assert_int_equal(act(r, 100, p), MAILDROP_DELETE);
}

static void test_too_large(void **state)
{
    (void)state;
    struct maildrop_policy p = policy(CONF_DELETE_DELIVERED);
    struct ledger_message r = row("other", LEDGER_PENDING);

    assert_int_equal(act(r, LIMIT, p), MAILDROP_FETCH);
    assert_int_equal(act(r, LIMIT + 1, p), MAILDROP_TOO_LARGE);
    r = row("u", LEDGER_TOO_LARGE);
    r.size = LIMIT + 1; /* counted; LIST had told less */
    assert_int_equal(act(r, 10, p), MAILDROP_TOO_LARGE);
    p.by_hand = true; /* LIST lied once; does it still? */
    assert_int_equal(act(r, 10, p), MAILDROP_FETCH);
    assert_int_equal(act(r, LIMIT + 1, p), MAILDROP_TOO_LARGE);
    r.attempts = MAILDROP_ATTEMPTS;
    assert_int_equal(act(r, 10, p), MAILDROP_TOO_LARGE);
    p.size_limit = LIMIT + 1; /* raised */
    assert_int_equal(act(r, 10, p), MAILDROP_FETCH);
}

static void test_attempts(void **state)
{
    (void)state;
    struct maildrop_policy p = policy(CONF_DELETE_DELIVERED);
    struct ledger_message r = row("u", LEDGER_PENDING);

    r.attempts = MAILDROP_ATTEMPTS - 1;
    assert_int_equal(act(r, 10, p), MAILDROP_FETCH);
    r.attempts = MAILDROP_ATTEMPTS;
    assert_int_equal(act(r, 10, p), MAILDROP_STEP_OVER);
    r.changed = NOW - CLOCK_DAY;
    assert_int_equal(act(r, 10, p), MAILDROP_FETCH); /* once a day */
    r.changed = NOW;
    p.by_hand = true;
    assert_int_equal(act(r, 10, p), MAILDROP_FETCH);
}

static void test_order_and_limit(void **state)
{
    (void)state;
    struct maildrop m;
    struct maildrop_policy p = policy(CONF_DELETE_DELIVERED);
    struct ledger_message r = row("b", LEDGER_PENDING);

    maildrop_init(&m);
    list(&m, 30, "c"); /* out of order, as some servers have it */
    list(&m, 10, "a");
    list(&m, 20, "b");
    list(&m, 40, "d");
    list(&m, 10, "again");
    maildrop_listed(&m);
    assert_int_equal(m.count, 4);
    maildrop_size(&m, 99, 5);
    r.attempts = 1;
    maildrop_known(&m, &r);
    p.fetch_max = 3;
    maildrop_plan(&m, &p);
    assert_int_equal(m.fetch_count, 3);
    assert_int_equal(m.items[m.fetches[0]].number, 10);
    assert_int_equal(m.items[m.fetches[1]].number, 30);
    assert_int_equal(m.items[m.fetches[2]].number, 40);
    assert_int_equal(m.safe_count, 3);
    assert_int_equal(m.left_over, 0); /* what failed before is no reason to go on at once */
    maildrop_free(&m);
}

/* A server that keeps what it was told to delete must not keep new mail from us. */
static void test_new_mail_comes_first(void **state)
{
    (void)state;
    struct maildrop m;
    struct maildrop_policy p = policy(CONF_DELETE_DELIVERED);
    struct ledger_message gone = row("a", LEDGER_GONE), kept = row("b", LEDGER_GONE);

    maildrop_init(&m);
    list(&m, 1, "a");
    list(&m, 2, "b");
    list(&m, 3, "c");
    list(&m, 4, "d");
    maildrop_listed(&m);
    maildrop_size(&m, 1, 100);
    maildrop_size(&m, 2, 100);
    kept.attempts = 1; /* looked at already: the same as before */
    maildrop_known(&m, &gone);
    maildrop_known(&m, &kept);
    p.fetch_max = 2;
    maildrop_plan(&m, &p);
    assert_int_equal(m.items[m.fetches[0]].number, 3);
    assert_int_equal(m.items[m.fetches[1]].number, 4);
    assert_int_equal(m.left_over, 0);
    assert_int_equal(m.items[0].action, MAILDROP_VERIFY);
    assert_int_equal(m.items[1].action, MAILDROP_KEEP);
    maildrop_free(&m);
    kept = row("u", LEDGER_GONE);
    kept.attempts = 1;
    kept.changed = NOW - CLOCK_DAY;
    assert_int_equal(act(kept, 100, p), MAILDROP_VERIFY);
}

static void test_dele_that_breaks(void **state)
{
    (void)state;
    struct ledger_message r = row("u", LEDGER_DELIVERED);

    r.attempts = MAILDROP_ATTEMPTS - 1;
    assert_int_equal(act(r, 100, policy(CONF_DELETE_DELIVERED)), MAILDROP_DELETE);
    r.attempts = MAILDROP_ATTEMPTS;
    assert_int_equal(act(r, 100, policy(CONF_DELETE_DELIVERED)), MAILDROP_STEP_OVER);
    r.changed = NOW - CLOCK_DAY;
    assert_int_equal(act(r, 100, policy(CONF_DELETE_DELIVERED)), MAILDROP_DELETE);
}

/* The content decides which of them is the one we have: never a guess. */
static void test_shared_uidl(void **state)
{
    (void)state;
    struct maildrop m;
    struct maildrop_policy p = policy(CONF_DELETE_DELIVERED);
    struct ledger_message r = row("x", LEDGER_DELIVERED);

    maildrop_init(&m);
    list(&m, 1, "x");
    list(&m, 2, "x");
    list(&m, 3, "y");
    maildrop_listed(&m);
    maildrop_size(&m, 1, 100);
    maildrop_complete(&m);
    maildrop_known(&m, &r);
    maildrop_plan(&m, &p);
    assert_int_equal(m.delete_count, 0);
    assert_int_equal(m.fetch_count, 3);
    assert_true(m.items[0].nameless && m.items[1].nameless && !m.items[2].nameless);
    assert_memory_equal(maildrop_item_uidl(&m, &m.items[0]), " 1 100", 6);
    assert_int_equal(m.loose_count, 1);
    struct maildrop_loose *same = maildrop_same(&m, &m.items[1], 100, r.hash);
    assert_non_null(same);
    maildrop_name_by_row(&m, 1, same);
    assert_int_equal(m.items[1].uidl_len, 1);
    maildrop_taken(&m, 1, same->row.id);
    assert_null(maildrop_same(&m, &m.items[0], 100, r.hash)); /* one row, one message */
    maildrop_free(&m);
}

/* Another client deletes, and the UIDL stands for other mail: the size tells. */
static void test_other_size(void **state)
{
    (void)state;
    static const enum conf_delete policies[] = {CONF_DELETE_DELIVERED, CONF_DELETE_SPOOLED,
                                                CONF_DELETE_NEVER, CONF_DELETE_AFTER};
    static const enum ledger_state states[] = {LEDGER_SPOOLED, LEDGER_DELIVERED,
                                               LEDGER_QUARANTINED};

    for (size_t i = 0; i < 4; i++)
        for (size_t n = 0; n < 3; n++)
            assert_int_equal(act(row("u", states[n]), 101, policy(policies[i])), MAILDROP_VERIFY);
    struct ledger_message unlisted = row("u", LEDGER_DELIVERED);
    unlisted.listed = 0; /* the server had no LIST then */
    assert_int_equal(act(unlisted, 101, policy(CONF_DELETE_DELIVERED)), MAILDROP_DELETE);
    assert_int_equal(act(row("u", LEDGER_DELIVERED), 0, policy(CONF_DELETE_DELIVERED)),
                     MAILDROP_VERIFY); /* it has none now */
    assert_int_equal(act(row("u", LEDGER_SEEN), 101, policy(CONF_DELETE_DELIVERED)),
                     MAILDROP_KEEP); /* sizes of some servers change; seen stays seen */
}

/* It was deleted while still in the spool, and the server lists it again. */
static void test_doubt(void **state)
{
    (void)state;
    struct ledger_message r = row("u", LEDGER_SPOOLED);

    r.listed = LEDGER_DOUBT;
    assert_int_equal(act(r, 100, policy(CONF_DELETE_SPOOLED)), MAILDROP_VERIFY);
    r.attempts = 1; /* it was the same: the server keeps what it is told to delete */
    assert_int_equal(act(r, 100, policy(CONF_DELETE_SPOOLED)), MAILDROP_KEEP);
    r.changed = NOW - CLOCK_DAY;
    assert_int_equal(act(r, 100, policy(CONF_DELETE_SPOOLED)), MAILDROP_VERIFY);
}

/* Lists `count` messages of 100 octets whose UIDLs are their numbers. */
static void list_numbers(struct maildrop *m, uint32_t count)
{
    char uidl[16];

    maildrop_init(m);
    for (uint32_t i = 1; i <= count; i++) {
        snprintf(uidl, sizeof uidl, "%u", i);
        list(m, i, uidl);
    }
    maildrop_listed(m);
    for (uint32_t i = 1; i <= count; i++)
        maildrop_size(m, i, 100);
    maildrop_complete(m);
}

static void test_numbers_with_zeros_and_gaps(void **state)
{
    (void)state;
    struct maildrop m;

    maildrop_init(&m);
    list(&m, 1, "00000001");
    list(&m, 3, "3");
    maildrop_listed(&m);
    maildrop_nameless(&m, 2, 20); /* its line was broken */
    maildrop_complete(&m);
    assert_true(m.numbered);
    maildrop_free(&m);
    maildrop_init(&m);
    maildrop_nameless(&m, 1, 20);
    maildrop_complete(&m);
    assert_false(m.numbered);
    maildrop_free(&m);
}

/* What was found to be elsewhere is not charged for what happens to the message in its place. */
static void test_found_row_is_detached(void **state)
{
    (void)state;
    struct maildrop m;
    struct maildrop_policy p = policy(CONF_DELETE_NEVER);
    struct ledger_message one = row("1", LEDGER_DELIVERED), two = row("2", LEDGER_DELIVERED);

    strcpy(two.id, "01JD0000000000000000000002");
    two.hash[0] = 2;
    list_numbers(&m, 2);
    maildrop_known(&m, &one);
    maildrop_known(&m, &two);
    maildrop_plan(&m, &p);
    struct maildrop_loose *same = maildrop_same(&m, &m.items[0], two.size, two.hash);
    maildrop_taken(&m, 0, same->row.id);
    assert_null(maildrop_row(&m, &m.items[1]));
    assert_non_null(maildrop_row(&m, &m.items[0]));
    maildrop_free(&m);
}

/* A number is no name: it is looked at what has it now before that is deleted. */
static void test_numbers_for_uidls(void **state)
{
    (void)state;
    struct maildrop m;
    struct maildrop_policy p = policy(CONF_DELETE_DELIVERED);
    struct ledger_message one = row("1", LEDGER_DELIVERED), two = row("2", LEDGER_SPOOLED);

    list_numbers(&m, 2);
    maildrop_known(&m, &one);
    maildrop_known(&m, &two);
    maildrop_plan(&m, &p);
    assert_true(m.numbered);
    assert_int_equal(m.items[0].action, MAILDROP_VERIFY);
    assert_int_equal(m.items[1].action, MAILDROP_WAIT);
    assert_false(m.items[1].doubtful); /* nothing says that they have moved */
    assert_non_null(maildrop_same(&m, &m.items[0], two.size, two.hash)); /* but they may have */
    maildrop_free(&m);
}

static void test_numbers_that_moved(void **state)
{
    (void)state;
    struct maildrop m;
    struct maildrop_policy p = policy(CONF_DELETE_NEVER);
    struct ledger_message one = row("1", LEDGER_DELIVERED), two = row("2", LEDGER_SPOOLED);
    struct ledger_message three = row("3", LEDGER_DELIVERED);

    list_numbers(&m, 2); /* somebody deleted one: which is not to be seen */
    maildrop_known(&m, &one);
    maildrop_known(&m, &two);
    maildrop_known(&m, &three);
    maildrop_plan(&m, &p);
    assert_int_equal(m.items[0].action, MAILDROP_VERIFY);
    assert_int_equal(m.items[1].action, MAILDROP_VERIFY);
    assert_int_equal(m.loose_count, 3);
    maildrop_free(&m);
}

/* Mail of the baseline without a UIDL, and then with another number. */
static void test_seen_without_name(void **state)
{
    (void)state;
    struct maildrop m;
    struct maildrop_policy p = policy(CONF_DELETE_DELIVERED);
    struct ledger_message named = row("u", LEDGER_SEEN), nameless = row(" 7 70", LEDGER_SEEN);

    named.id[0] = nameless.id[0] = '\0';
    nameless.size = 70;
    maildrop_init(&m);
    maildrop_nameless(&m, 1, 100);
    maildrop_nameless(&m, 2, 70);
    maildrop_nameless(&m, 3, 70);
    maildrop_nameless(&m, 4, 200);
    maildrop_complete(&m);
    maildrop_known(&m, &named);
    maildrop_known(&m, &nameless);
    maildrop_plan(&m, &p);
    assert_int_equal(m.items[0].action, MAILDROP_KEEP);
    assert_int_equal(m.totals[MAILDROP_KEEP], 2);
    assert_int_equal(m.totals[MAILDROP_FETCH], 2); /* one of 70 octets, and the one of 200 */
    assert_int_equal(m.items[3].action, MAILDROP_FETCH);
    maildrop_free(&m);
}

static void test_loose_and_renamed(void **state)
{
    (void)state;
    struct maildrop m;
    unsigned char hash[HASH_LEN] = {1}, other[HASH_LEN] = {2};
    unsigned char third[HASH_LEN] = {3};
    struct ledger_message delivered = row("old", LEDGER_DELIVERED);
    struct ledger_message gone = row("older", LEDGER_GONE), kept = row(" id", LEDGER_GONE);

    maildrop_init(&m);
    list(&m, 1, "new");
    maildrop_listed(&m);
    maildrop_nameless(&m, 2, 100);
    maildrop_complete(&m);
    memcpy(delivered.hash, hash, sizeof hash);
    memcpy(gone.hash, other, sizeof other);
    memcpy(kept.hash, third, sizeof third);
    maildrop_known(&m, &delivered);
    maildrop_known(&m, &gone);
    maildrop_known(&m, &kept);
    assert_int_equal(m.loose_count, 3);
    assert_non_null(maildrop_same(&m, &m.items[0], 100, hash));
    assert_null(maildrop_same(&m, &m.items[0], 101, hash));
    /* Deleted by us: a new copy under a UIDL is new mail; without one the server has kept it. */
    assert_null(maildrop_same(&m, &m.items[0], 100, other));
    assert_non_null(maildrop_same(&m, &m.items[1], 100, other));
    assert_non_null(maildrop_same(&m, &m.items[0], 100, third)); /* it had none, and has one now */
    maildrop_free(&m);
}

static void test_many(void **state)
{
    (void)state;
    enum { MANY = 200000 };
    struct maildrop m;
    struct maildrop_policy p = policy(CONF_DELETE_DELIVERED);
    char uidl[32];

    maildrop_init(&m);
    for (uint32_t i = 1; i <= MANY; i++) {
        snprintf(uidl, sizeof uidl, "uid-%u", i);
        list(&m, i, uidl);
    }
    maildrop_listed(&m);
    for (uint32_t i = 1; i <= MANY; i++)
        maildrop_size(&m, i, 100);
    for (uint32_t i = 1; i <= MANY; i += 2) {
        snprintf(uidl, sizeof uidl, "uid-%u", i);
        struct ledger_message r = row(uidl, LEDGER_DELIVERED);
        maildrop_known(&m, &r);
    }
    maildrop_plan(&m, &p);
    assert_int_equal(m.delete_count, MANY / 2);
    assert_int_equal(m.fetch_count, 500);
    assert_int_equal(m.left_over, MANY / 2 - 500);
    maildrop_free(&m);
}

/* A server that lists sizes alone, or lacks a UIDL for one message. */
static void test_nameless(void **state)
{
    (void)state;
    struct maildrop m;
    struct maildrop_policy p = policy(CONF_DELETE_DELIVERED);
    struct ledger_message ours = row(" 01JD0000000000000000000000", LEDGER_SPOOLED);
    struct ledger_message failed = row(" 2 20", LEDGER_PENDING);

    maildrop_init(&m);
    maildrop_nameless(&m, 1, 10);
    maildrop_nameless(&m, 2, 20);
    maildrop_nameless(&m, 3, 30);
    maildrop_complete(&m);
    failed.attempts = MAILDROP_ATTEMPTS;
    maildrop_known(&m, &ours);
    maildrop_known(&m, &failed);
    maildrop_plan(&m, &p);
    assert_int_equal(m.items[1].action, MAILDROP_STEP_OVER);
    assert_int_equal(m.fetch_count, 2);
    assert_int_equal(m.fetches[0], 2); /* the oldest is most likely the one we have */
    assert_int_equal(m.fetches[1], 0);
    assert_non_null(maildrop_same(&m, &m.items[0], 100, ours.hash));
    maildrop_name_by_id(&m, 2, "01JD0000000000000000000001");
    assert_memory_equal(maildrop_item_uidl(&m, &m.items[2]), " 01JD0000000000000000000001", 27);
    assert_true(maildrop_is_own_name(maildrop_item_uidl(&m, &m.items[2]), m.items[2].uidl_len));
    maildrop_free(&m);
}

static void test_one_nameless_among_others(void **state)
{
    (void)state;
    struct maildrop m;
    struct maildrop_policy p = policy(CONF_DELETE_DELIVERED);
    struct ledger_message r = row("three", LEDGER_DELIVERED);

    maildrop_init(&m);
    list(&m, 1, "one");
    list(&m, 3, "three");
    maildrop_listed(&m);
    assert_true(maildrop_size(&m, 1, 10));
    assert_false(maildrop_size(&m, 2, 20));
    maildrop_nameless(&m, 2, 20);
    assert_true(maildrop_size(&m, 3, 100));
    maildrop_complete(&m);
    maildrop_known(&m, &r);
    maildrop_plan(&m, &p);
    assert_int_equal(m.count, 3);
    assert_int_equal(m.fetch_count, 2);
    assert_true(m.items[m.fetches[1]].nameless);
    assert_int_equal(m.items[2].action, MAILDROP_DELETE);
    assert_false(maildrop_is_own_name("one", 3));
    maildrop_free(&m);
}

static void test_seen_stays(void **state)
{
    (void)state;
    struct maildrop_policy p = policy(CONF_DELETE_SPOOLED);

    p.by_hand = true;
    assert_int_equal(act(row("u", LEDGER_SEEN), 100, p), MAILDROP_KEEP);
    p.delete = CONF_DELETE_AFTER;
    p.now += 400 * CLOCK_DAY;
    assert_int_equal(act(row("u", LEDGER_SEEN), 100, p), MAILDROP_KEEP);
}

static void test_empty(void **state)
{
    (void)state;
    struct maildrop m;
    struct maildrop_policy p = policy(CONF_DELETE_DELIVERED);
    struct ledger_message r = row("u", LEDGER_DELIVERED);

    maildrop_init(&m);
    maildrop_listed(&m);
    maildrop_known(&m, &r);
    maildrop_plan(&m, &p);
    assert_int_equal(m.fetch_count + m.delete_count, 0);
    assert_int_equal(m.loose_count, 1);
    maildrop_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states_and_policies),
        cmocka_unit_test(test_delete_after),
        cmocka_unit_test(test_too_large),
        cmocka_unit_test(test_attempts),
        cmocka_unit_test(test_order_and_limit),
        cmocka_unit_test(test_new_mail_comes_first),
        cmocka_unit_test(test_dele_that_breaks),
        cmocka_unit_test(test_shared_uidl),
        cmocka_unit_test(test_other_size),
        cmocka_unit_test(test_doubt),
        cmocka_unit_test(test_numbers_for_uidls),
        cmocka_unit_test(test_numbers_that_moved),
        cmocka_unit_test(test_numbers_with_zeros_and_gaps),
        cmocka_unit_test(test_found_row_is_detached),
        cmocka_unit_test(test_seen_without_name),
        cmocka_unit_test(test_loose_and_renamed),
        cmocka_unit_test(test_many),
        cmocka_unit_test(test_nameless),
        cmocka_unit_test(test_one_nameless_among_others),
        cmocka_unit_test(test_seen_stays),
        cmocka_unit_test(test_empty),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
