/* badmail.show and badmail.parts: what a person gets to see of a message, also of a broken one. */
#include "hygiene/mimelook.h"
#include "tests/unit/hygiene/quarantine.h"
#include <glib.h>
#include <math.h>

static json_t *show(struct fixture *f, const char *id)
{
    return good_answer(f, badmail_answer_show, json_pack("{s:s}", "id", id));
}

static const char *line_of(const json_t *reply, size_t i)
{
    const char *line = json_string_value(json_array_get(json_object_get(reply, "preview"), i));
    return line != NULL ? line : "";
}

static void all_of_a_good_one(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE], path[300];
    add_message(f, id, CLOCK_HOUR,
                "From: =?utf-8?q?A=C3=A4?= <a@x.example>\r\nTo: b@corp.example\r\n"
                "Subject: folded\r\n as it is\r\nMessage-ID: <1@x>\r\n\r\nhello\r\nthere\r\n");
    json_t *reply = show(f, id), *headers = json_object_get(reply, "headers");
    assert_string_equal(text_of(headers, "From"), "A\xC3\xA4 <a@x.example>");
    assert_string_equal(text_of(headers, "Subject"), "folded as it is");
    assert_string_equal(text_of(headers, "Message-ID"), "<1@x>");
    assert_string_equal(text_of(headers, "Cc"), "");
    assert_string_equal(line_of(reply, 0), "hello");
    assert_string_equal(line_of(reply, 1), "there");
    assert_string_equal(text_of(reply, "preview_of"), "text/plain");
    assert_string_equal(text_of(reply, "reason"), "550 no");
    assert_string_equal(text_of(reply, "state"), "held");
    assert_non_null(strstr(text_of(reply, "origin"), "pop3://test/sales uidl=1"));
    (void)snprintf(path, sizeof path, "%s/spool/badmail/%s.eml", f->scratch->dir, id);
    assert_string_equal(text_of(reply, "path"), path);
    assert_null(json_object_get(reply, "cut"));
    assert_null(json_object_get(reply, "left_out"));
    json_decref(reply);
}

static void what_has_no_header_section(void **state)
{
    static const char *const texts[] = {
        "just text\r\nand more\r\n",
        "just text\r\nand more\r\n\r\nand more\r\n",
        "\r\njust text\r\n",
        "From a@x.example Mon May  2 16:07:05 2005\r\n\r\njust text\r\n",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        char id[ID_SIZE];
        add_message(f, id, 0, texts[i]);
        json_t *reply = show(f, id);
        print_message("%s\n", texts[i]);
        assert_string_equal(line_of(reply, 0), "just text");
        json_decref(reply);
    }
}

static void spoil(struct fixture *f, const char *id, off_t cut_off)
{
    char name[SPOOL_NAME_SIZE];
    struct stat st;
    int fd = openat(spool_fd(f->h.spool, SPOOL_BADMAIL), spool_name(name, id, "eml"),
                    O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0 && pwrite(fd, "X", 1, st.st_size - 1) == 1);
    assert_int_equal(ftruncate(fd, st.st_size - cut_off), 0);
    (void)close(fd);
}

/* What there is of a damaged file is shown, with or without an end to its header section. */
static void a_damaged_one(void **state)
{
    static const char *const texts[] = {
        "Subject: x\r\nContent-Type: text/plain\r\n\r\nhello\r\nthere\r\n",
        "Subject: x\r\nX-Text: hello\r\n",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT(texts); i++) {
        char id[ID_SIZE];
        add_message(f, id, 0, texts[i]);
        spoil(f, id, 0);
        json_t *reply = show(f, id);
        assert_string_equal(text_of(reply, "cut"),
                            "the file is damaged, and looked at as far as it goes");
        if (i == 0)
            assert_string_equal(line_of(reply, 0), "hello");
        assert_non_null(json_object_get(reply, "preview"));
        json_decref(reply);
    }
}

static void one_that_can_not_be_read(void **state)
{
    struct fixture *f = *state;
    struct error err;
    char id[ID_SIZE];
    add_message(f, id, 0, "Subject: x\r\n\r\nhello\r\n");
    spoil(f, id, 5);
    json_t *reply = show(f, id);
    assert_non_null(strstr(text_of(reply, "unreadable"), "damaged"));
    assert_string_equal(text_of(reply, "subject"), "x"); /* the row still knows */
    json_decref(reply);
    bad_answer(f, badmail_answer_parts, json_pack("{s:s}", "id", id), "failed", "damaged");
    assert_true(spool_remove(f->h.spool, SPOOL_BADMAIL, id, &err));
    reply = show(f, id);
    assert_true(strlen(text_of(reply, "unreadable")) > 0);
    json_decref(reply);
    bad_answer(f, badmail_answer_parts, json_pack("{s:s}", "id", id), "notfound", id);
    bad_answer(f, badmail_answer_show, json_pack("{s:s}", "id", "X"), "notfound", "message X");
    bad_answer(f, badmail_answer_show, json_object(), "notfound", "holds no message");
    bad_answer(f, badmail_answer_parts, json_pack("{s:i}", "id", 7), "notfound", "no message");
}

/* --- what filters said --- */

static json_t *show_report(struct fixture *f, const char *report)
{
    struct badmail b = {.id = "", .report = (char *)report};
    fixture_message(f, SPOOL_BADMAIL, "eml", b.id, "a@x.example", "Subject: x\r\n\r\nhello\r\n");
    add_row(f, &b, 0);
    return show(f, b.id);
}

static void the_weightiest_symbols(void **state)
{
    GString *report =
        g_string_new("[{\"filter\": \"rspamd\", \"word\": \"reject\", \"score\": 20.5,"
                     " \"symbols\": [{\"name\": \"NONE\"}, {\"name\": 7}, 8");
    for (int i = 0; i < 100; i++)
        g_string_append_printf(report, ", {\"name\": \"S%d\", \"score\": %s%d.5}", i,
                               i % 3 == 0 ? "-" : "", (i * 37) % 100);
    g_string_append(report,
                    "]}, \"odd\", {\"filter\": \"spamd\", \"text\": \"a\\r\\n\\u001b[2J\"}]");
    json_t *reply = show_report(*state, report->str), *shown = json_object_get(reply, "report");
    assert_int_equal(json_array_size(shown), 3);
    json_t *first = json_array_get(shown, 0), *symbols = json_object_get(first, "symbols");
    assert_int_equal(json_array_size(symbols), 60);
    assert_int_equal(json_integer_value(json_object_get(first, "symbols_total")), 103);
    for (size_t i = 0; i < 60; i++)
        assert_true(fabs(json_number_value(json_object_get(json_array_get(symbols, i), "score"))) ==
                    99.5 - (double)i); /* for or against it: as the reason names them */
    assert_string_equal(text_of(json_array_get(shown, 2), "text"), "a\n\\x1B[2J");
    json_decref(reply);
    (void)g_string_free(report, TRUE);
}

static void reports_that_are_none(void **state)
{
    static const char *const reports[] = {"",
                                          "{",
                                          "7",
                                          "{}",
                                          "[[]]",
                                          "[{\"symbols\": \"x\"}]",
                                          "[{\"filter\": [], \"score\": \"1\", \"text\": 2}]"};
    for (size_t i = 0; i < COUNT(reports); i++) {
        json_t *reply = show_report(*state, reports[i]);
        assert_true(json_is_array(json_object_get(reply, "report")));
        json_decref(reply);
    }
}

/* --- bounds --- */

/* All that is long at once: what is left out is named. */
static void an_answer_carries_it(void **state)
{
    struct fixture *f = *state;
    static const char *const fields[] = {"From", "Sender", "Reply-To", "To", "Cc", "Subject"};
    char *quotes = g_strnfill(3000, '"');
    GString *text = g_string_new(NULL);
    struct badmail b = {.id = ""};
    for (size_t i = 0; i < COUNT(fields); i++)
        g_string_append_printf(text, "%s: %s\r\n", fields[i], quotes);
    g_string_append(text, "\r\n");
    for (int i = 0; i < 20; i++)
        g_string_append_printf(text, "%s\r\n", quotes);
    fixture_message(f, SPOOL_BADMAIL, "eml", b.id, "a@x.example", text->str);
    json_t *report = json_array();
    for (int i = 0; i < 9; i++)
        (void)json_array_append_new(report, json_pack("{s:s, s:s}", "filter", "x", "text", quotes));
    b.report = json_dumps(report, 0);
    json_decref(report);
    for (int i = 0; i < 100; i++) {
        char address[300];
        (void)snprintf(address, sizeof address, "%d%.250s", i, quotes);
        assert_true(envelope_list_add(&b.recipients, address));
    }
    memset(b.reason, '"', sizeof b.reason - 1);
    add_row(f, &b, 0);
    json_t *reply = show(f, b.id);
    assert_true(json_dumpb(reply, NULL, 0, JSON_COMPACT) < BUS_MESSAGE_MAX);
    const json_t *left_out = json_object_get(reply, "left_out");
    assert_true(json_array_size(left_out) > 0);
    for (size_t i = 0; i < json_array_size(left_out); i++)
        assert_null(json_object_get(reply, json_string_value(json_array_get(left_out, i))));
    json_decref(reply);
    ledger_badmail_free(&b);
    (void)g_string_free(text, TRUE);
    g_free(quotes);
}

static void parts_come_in_pages(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE];
    GString *text = g_string_new("Content-Type: multipart/mixed; boundary=b\r\n\r\n");
    for (int i = 0; i < 1500; i++)
        g_string_append_printf(text,
                               "--b\r\nContent-Type: text/plain; name=\"part %04d %0100d\"\r\n"
                               "\r\nx\r\n",
                               i, 0);
    add_message(f, id, 0, text->str);
    json_t *request = json_pack("{s:s}", "id", id);
    int seen = 0, pages = 0;
    for (bool more = true; more; pages++) {
        json_t *reply = good_answer(f, badmail_answer_parts, json_incref(request));
        json_t *items = json_object_get(reply, "items"), *next = json_object_get(reply, "next");
        assert_true(json_dumpb(reply, NULL, 0, JSON_COMPACT) < BUS_MESSAGE_MAX);
        assert_int_equal(json_integer_value(json_object_get(reply, "total")), 1000);
        for (size_t i = 0; i < json_array_size(items); i++, seen++) {
            int number = -1;
            (void)sscanf(text_of(json_array_get(items, i), "name"), "part %d", &number);
            assert_int_equal(number, seen - 1); /* the first is what holds them */
        }
        assert_non_null(strstr(text_of(reply, "cut"), "1000 parts"));
        more = next != NULL;
        if (more)
            (void)json_object_set(request, "after", next);
        json_decref(reply);
    }
    assert_int_equal(seen, 1000);
    assert_true(pages > 1);
    json_decref(request);
    json_t *reply = good_answer(f, badmail_answer_parts,
                                json_pack("{s:s, s:s}", "id", id, "after", "99999999999999999999"));
    assert_int_equal(json_array_size(json_object_get(reply, "items")), 0);
    assert_null(json_object_get(reply, "next"));
    json_decref(reply);
    (void)g_string_free(text, TRUE);
}

int main(void)
{
    mimelook_patience_for_test(1000 * CLOCK_HOUR);
    const struct CMUnitTest tests[] = {
        quarantine_test(all_of_a_good_one),      quarantine_test(what_has_no_header_section),
        quarantine_test(a_damaged_one),          quarantine_test(one_that_can_not_be_read),
        quarantine_test(the_weightiest_symbols), quarantine_test(reports_that_are_none),
        quarantine_test(an_answer_carries_it),   quarantine_test(parts_come_in_pages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
