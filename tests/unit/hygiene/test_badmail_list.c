/* badmail.list: pages, filters, states, ids that are named. */
#include "tests/unit/hygiene/quarantine.h"
#include <glib.h>

static const char mail[] = "From: a@x.example\r\nSubject: hello\r\n\r\nhello\r\n";

struct seen {
    GString *ids; /* each with a blank behind it */
    int pages, items, empty_pages;
};

/* Asks for page after page. */
static struct seen list(struct fixture *f, json_t *request)
{
    struct seen seen = {g_string_new(NULL), 0, 0, 0};
    for (bool more = true; more; seen.pages++) {
        json_t *reply = good_answer(f, badmail_answer_list, json_incref(request));
        const json_t *items = json_object_get(reply, "items"), *next;
        assert_true(json_dumpb(reply, NULL, 0, JSON_COMPACT) < BUS_MESSAGE_MAX);
        for (size_t i = 0; i < json_array_size(items); i++)
            g_string_append_printf(seen.ids, "%s ", text_of(json_array_get(items, i), "id"));
        seen.items += (int)json_array_size(items);
        seen.empty_pages += json_array_size(items) == 0;
        next = json_object_get(reply, "next");
        more = next != NULL;
        if (more)
            (void)json_object_set(request, "after", (json_t *)next);
        json_decref(reply);
        assert_true(seen.pages < 100);
    }
    json_decref(request);
    return seen;
}

static void assert_list(struct fixture *f, json_t *request, const char *ids)
{
    struct seen seen = list(f, request);
    assert_string_equal(seen.ids->str, ids);
    (void)g_string_free(seen.ids, TRUE);
}

/* Rows of another account in front of, between and behind those that are meant. */
static void a_page_looks_at_a_bounded_number(void **state)
{
    struct fixture *f = *state;
    char wanted[3][ID_SIZE], want[3 * ID_SIZE + 4] = "";
    db_begin(f->d.db);
    for (int i = 0; i < 4500; i++) {
        struct badmail b = {.account = "other"};
        if (i % 2100 == 100) {
            add_message(f, wanted[i / 2100], 0, mail);
            (void)snprintf(want + strlen(want), ID_SIZE + 1, "%s ", wanted[i / 2100]);
        }
        add_row(f, &b, 0);
    }
    db_commit(f->d.db);
    struct seen seen = list(f, json_pack("{s:s}", "account", "sales"));
    assert_string_equal(seen.ids->str, want);
    assert_int_equal(seen.pages, 3); /* of 2000 rows each */
    assert_int_equal(seen.empty_pages, 0);
    (void)g_string_free(seen.ids, TRUE);
    seen = list(f, json_pack("{s:s}", "account", "nobody"));
    assert_int_equal(seen.items, 0);
    assert_int_equal(seen.pages, 3);
    (void)g_string_free(seen.ids, TRUE);
}

static void full_pages_lose_none(void **state)
{
    struct fixture *f = *state;
    GString *want = g_string_new(NULL);
    db_begin(f->d.db);
    for (int i = 0; i < 100; i++) {
        struct badmail b = {.account = "sales"};
        fixture_message(f, SPOOL_BADMAIL, "eml", b.id, "a@x.example", mail);
        memset(b.reason, 'r', sizeof b.reason - 1);
        memset(b.subject, '"', sizeof b.subject - 1); /* two octets each in JSON */
        add_row(f, &b, 0);
        g_string_append_printf(want, "%s ", b.id);
    }
    db_commit(f->d.db);
    struct seen seen = list(f, json_object());
    assert_string_equal(seen.ids->str, want->str);
    assert_true(seen.pages > 2);
    (void)g_string_free(seen.ids, TRUE);
    (void)g_string_free(want, TRUE);
}

/* Still on its way into badmail/ it is held too; removed by hand it is not there. */
static void what_is_held_has_a_file(void **state)
{
    struct fixture *f = *state;
    struct error err;
    char there[ID_SIZE], gone[ID_SIZE], coming[ID_SIZE], want[2 * ID_SIZE + 3];
    add_message(f, there, 0, mail);
    add_message(f, gone, 0, mail);
    add_message(f, coming, 0, mail);
    assert_true(spool_move(f->h.spool, coming, SPOOL_BADMAIL, SPOOL_REJECTED, &err));
    assert_true(spool_remove(f->h.spool, SPOOL_BADMAIL, gone, &err));
    (void)snprintf(want, sizeof want, "%s %s ", there, coming);
    assert_list(f, json_object(), want);
}

static void other_states(void **state)
{
    static const char *const words[] = {"held", "replayed", "deleted", "removed", "expired"};
    struct fixture *f = *state;
    char id[BADMAIL_STATES][ID_SIZE], want[ID_SIZE + 2];
    for (int i = 0; i < BADMAIL_STATES; i++) {
        add_message(f, id[i], 0, mail);
        ledger_badmail_set(f->d.db, id[i], (enum badmail_state)i, NULL);
    }
    for (int i = 0; i < BADMAIL_STATES; i++) {
        (void)snprintf(want, sizeof want, "%.26s ", id[i]);
        assert_list(f, json_pack("{s:s}", "state", words[i]), want);
    }
    bad_answer(f, badmail_answer_list, json_pack("{s:s}", "state", "lost"), "usage", "expired");
    bad_answer(f, badmail_answer_list, json_pack("{s:s}", "subject", ""), "usage", "subject");
}

/* In the order in which they are named, whatever their state; what is not known is left out. */
static void named_ones(void **state)
{
    struct fixture *f = *state;
    char id[2][ID_SIZE], want[3 * ID_SIZE + 4];
    add_message(f, id[0], 0, mail);
    add_message(f, id[1], 0, mail);
    ledger_badmail_set(f->d.db, id[0], BADMAIL_EXPIRED, NULL);
    (void)snprintf(want, sizeof want, "%s %s %s ", id[1], id[0], id[1]);
    assert_list(f,
                json_pack("{s:[s, s, i, s, s]}", "ids", id[1], "01JD0VSM7N4C2T8RZ5K3W9XQHB", 7,
                          id[0], id[1]),
                want);
    assert_list(f, json_pack("{s:[]}", "ids"), "");
}

static json_t *ids_of(const char *id, int count)
{
    json_t *ids = json_array();
    for (int i = 0; i < count; i++)
        (void)json_array_append_new(ids, json_string(id));
    return json_pack("{s:o}", "ids", ids);
}

static void one_named_often_comes_to_an_end(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE];
    add_message(f, id, 0, mail);
    struct seen seen = list(f, ids_of(id, 500));
    assert_int_equal(seen.items, 500);
    assert_true(seen.pages > 1);
    (void)g_string_free(seen.ids, TRUE);
    bad_answer(f, badmail_answer_list, ids_of(id, 501), "usage", "at most 500");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        quarantine_test(a_page_looks_at_a_bounded_number),
        quarantine_test(full_pages_lose_none),
        quarantine_test(what_is_held_has_a_file),
        quarantine_test(other_states),
        quarantine_test(named_ones),
        quarantine_test(one_named_often_comes_to_an_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
