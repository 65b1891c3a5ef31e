/* The list of outgoing/ page by page, in both orders, and the count that is kept. */
#include "relayd/backlog.h"
#include "tests/unit/relayd/place.h"

#include <glib.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

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

static void put_files(GHashTable *ids, size_t count)
{
    char id[ID_SIZE];
    for (size_t i = 0; i < count; i++) {
        place_file(&place, id);
        (void)g_hash_table_add(ids, g_strdup(id));
    }
}

static void take_file(const char *id)
{
    struct error err;
    assert_true(spool_remove(place.spool, SPOOL_OUTGOING, id, &err));
}

static void list(const char *after, struct backlog_page *page)
{
    struct error err;
    assert_true(backlog_list(place.spool, after, page, &err));
}

static void test_empty(void **state)
{
    (void)state;
    struct backlog_page page;
    list("", &page);
    assert_int_equal(page.count, 0);
    assert_false(page.more);
}

static void test_few_come_in_order(void **state)
{
    (void)state;
    enum { FEW = 3 * BACKLOG_PAGE };
    struct backlog_page page;
    char ids[FEW][ID_SIZE], after[ID_SIZE] = "";
    for (size_t i = 0; i < FEW; i++)
        place_file(&place, ids[i]);
    for (size_t at = 0; at < FEW; at += BACKLOG_PAGE) {
        list(after, &page);
        assert_int_equal(page.count, BACKLOG_PAGE);
        assert_int_equal(page.more, at + BACKLOG_PAGE < FEW);
        for (size_t i = 0; i < BACKLOG_PAGE; i++)
            assert_string_equal(page.ids[i], ids[at + i]);
        memcpy(after, page.cursors[BACKLOG_PAGE - 1], ID_SIZE);
    }
    list(ids[FEW - 3], &page); /* from the middle of a page */
    assert_int_equal(page.count, 2);
    assert_false(page.more);
}

/* The whole list, each page left at item `stop`; how many pages. */
static size_t walk(GHashTable *left, size_t stop, void (*meanwhile)(void))
{
    struct backlog_page page = {.more = true};
    char after[ID_SIZE] = "";
    size_t pages = 0;
    for (bool more = true; more; pages++) {
        list(after, &page);
        size_t used = page.count < stop ? page.count : stop;
        for (size_t i = 0; i < used; i++)
            (void)g_hash_table_remove(left, page.ids[i]);
        more = page.more || used < page.count;
        if (used > 0)
            memcpy(after, page.cursors[used - 1], ID_SIZE);
        if (more)
            assert_int_equal(after[0], '@'); /* one pass, not one for each page */
        meanwhile();
    }
    return pages;
}

static void nothing(void)
{
}

static void come_and_go(void)
{
    char id[ID_SIZE], gone[ID_SIZE];
    place_file(&place, id);
    place_file(&place, gone);
    take_file(gone);
}

static void test_many_are_read_once(void **state)
{
    (void)state;
    enum { MANY = BACKLOG_SORTED + 1000 };
    static const size_t stops[] = {BACKLOG_PAGE, 50};
    GHashTable *ids = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    put_files(ids, MANY);
    for (size_t i = 0; i < 2; i++) {
        GHashTable *left = g_hash_table_new(g_str_hash, g_str_equal);
        GHashTableIter each;
        gpointer id;
        g_hash_table_iter_init(&each, ids);
        while (g_hash_table_iter_next(&each, &id, NULL))
            (void)g_hash_table_add(left, id);
        size_t pages = walk(left, stops[i], nothing);
        assert_int_equal(g_hash_table_size(left), 0);
        assert_int_equal(pages, (MANY + stops[i] - 1) / stops[i]); /* so none came twice */
        g_hash_table_destroy(left);
    }
    (void)walk(ids, BACKLOG_PAGE, come_and_go);
    assert_int_equal(g_hash_table_size(ids), 0); /* what was there all the time was seen */
    g_hash_table_destroy(ids);
}

static void test_what_is_no_cursor(void **state)
{
    (void)state;
    static const char *const wrong[] = {"x", "@", "@1x", "@99999999999999999999", "../.."};
    struct backlog_page page;
    struct error err;
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++)
        assert_false(backlog_list(place.spool, wrong[i], &page, &err));
}

static void test_count_is_kept_by_what_it_costs(void **state)
{
    (void)state;
    struct backlog backlog = {.count = 0};
    char id[ID_SIZE];
    place_file(&place, id);
    assert_int_equal(backlog_count(&backlog, place.spool, 1000), 1);
    backlog.cost = 100; /* as if there were many */
    backlog.at = 1000;
    place_file(&place, id);
    assert_int_equal(backlog_count(&backlog, place.spool, 2999), 1);
    assert_int_equal(backlog_count(&backlog, place.spool, 3000), 2);
}

static void test_count_is_kept_while_nothing_changes(void **state)
{
    (void)state;
    struct backlog backlog = {.count = 0};
    char id[ID_SIZE];
    place_file(&place, id);
    assert_int_equal(backlog_count(&backlog, place.spool, 1000), 1);
    backlog.count = 7; /* a mark, to see whether it counts */
    backlog.cost = 1;
    backlog.at = 1000;
    assert_int_equal(backlog_count(&backlog, place.spool, 30000), 7);
    assert_int_equal(backlog_count(&backlog, place.spool, 62000), 1);
}

static void test_count_of_few_is_always_new(void **state)
{
    (void)state;
    struct backlog backlog = {.count = 0};
    char id[ID_SIZE];
    for (unsigned i = 1; i < 20; i++) {
        place_file(&place, id);
        backlog.cost = 0; /* however slow this machine is */
        backlog.at = 1000;
        assert_int_equal(backlog_count(&backlog, place.spool, 1000), i);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
        cmocka_unit_test_setup_teardown(test_few_come_in_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_many_are_read_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_what_is_no_cursor, setup, teardown),
        cmocka_unit_test_setup_teardown(test_count_is_kept_by_what_it_costs, setup, teardown),
        cmocka_unit_test_setup_teardown(test_count_is_kept_while_nothing_changes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_count_of_few_is_always_new, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
