/* badmail.show and badmail.parts: one quarantined message, as far as a person needs to see it to
 * decide. The parts come in pages; each page looks at the message anew, which has its bounds
 * (mimelook.h). */
#include "hygiene/badmail.h"
#include "hygiene/form.h"
#include "hygiene/preview.h"
#include "hygiene/shown.h"
#include <glib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define HEADER_MAX      800 /* octets of a field, once it is escaped */
#define REPORT_TEXT_MAX 2048
#define SYMBOLS_MAX     60
#define FILTERS_MAX     5
#define NAME_MAX_BYTES  300
#define REPLAYS_MAX     10 /* of replays, looked back at for a report */

/* --- what the filters said --- */

static double weight(const json_t *symbol)
{
    return json_number_value(json_object_get(symbol, "score"));
}

/* For or against it, as those are chosen that the reason names. */
static int by_weight(gconstpointer a, gconstpointer b)
{
    double first = fabs(weight(*(json_t *const *)a)), second = fabs(weight(*(json_t *const *)b));
    return first < second ? 1 : first > second ? -1 : 0;
}

static void put_text(json_t *to, const json_t *from, const char *key, size_t most)
{
    const char *text = json_string_value(json_object_get(from, key));
    if (text != NULL)
        (void)json_object_set_new(to, key, shown_text(text, most));
}

static void put_number(json_t *to, const json_t *from, const char *key)
{
    json_t *number = json_object_get(from, key);
    if (json_is_number(number))
        (void)json_object_set(to, key, number);
}

static json_t *shown_symbol(const json_t *symbol)
{
    json_t *shown = json_object();
    put_text(shown, symbol, "name", 80);
    put_number(shown, symbol, "score");
    put_text(shown, symbol, "description", 120);
    return shown;
}

static void put_symbols(json_t *to, const json_t *symbols)
{
    size_t count = json_array_size(symbols);
    if (count == 0)
        return;
    GPtrArray *sorted = g_ptr_array_new();
    for (size_t i = 0; i < count; i++)
        g_ptr_array_add(sorted, json_array_get(symbols, i));
    g_ptr_array_sort(sorted, by_weight);
    json_t *shown = json_array();
    for (guint i = 0; i < sorted->len && i < SYMBOLS_MAX; i++)
        (void)json_array_append_new(shown, shown_symbol(sorted->pdata[i]));
    g_ptr_array_free(sorted, TRUE);
    (void)json_object_set_new(to, "symbols", shown);
    (void)json_object_set_new(to, "symbols_total", json_integer((json_int_t)count));
}

static json_t *shown_verdict(const json_t *verdict)
{
    json_t *shown = json_object();
    put_text(shown, verdict, "filter", 80);
    put_text(shown, verdict, "word", 200);
    put_number(shown, verdict, "score");
    put_number(shown, verdict, "required");
    put_symbols(shown, json_object_get(verdict, "symbols"));
    const char *text = json_string_value(json_object_get(verdict, "text"));
    if (text != NULL)
        (void)json_object_set_new(shown, "text", shown_lines(text, REPORT_TEXT_MAX));
    return shown;
}

static void add_report(json_t *reply, const char *text)
{
    json_t *report = text != NULL ? json_loads(text, 0, NULL) : NULL;
    json_t *shown = json_array();
    for (size_t i = 0; i < json_array_size(report) && i < FILTERS_MAX; i++)
        (void)json_array_append_new(shown, shown_verdict(json_array_get(report, i)));
    json_decref(report);
    (void)json_object_set_new(reply, "report", shown);
}

/* What was replayed and refused once more went past the filters: what they said is with the one
 * that it is a replay of, or with that one's. */
static void add_report_of_first(json_t *reply, struct db *db, const char *replay_of)
{
    char id[ID_SIZE];
    struct badmail b;
    (void)snprintf(id, sizeof id, "%s", replay_of);
    for (int i = 0; i < REPLAYS_MAX && ledger_badmail(db, id, &b); i++) {
        bool found = b.report != NULL;
        if (found) {
            add_report(reply, b.report);
            (void)json_object_set_new(reply, "report_of", json_string(id));
        }
        ledger_badmail_free(&b);
        if (found || !ledger_badmail_replayed_as(db, id, id))
            return;
    }
}

/* --- what it says --- */

static void add_headers(json_t *reply, const struct form_top *top)
{
    static const char *const fields[] = {"From", "Sender",  "Reply-To", "To",
                                         "Cc",   "Subject", "Date",     "Message-ID"};
    json_t *headers = json_object();
    for (size_t i = 0; i < G_N_ELEMENTS(fields); i++) {
        char value[4096];
        envelope_field(top->bytes, top->header, fields[i], value, sizeof value);
        (void)json_object_set_new(headers, fields[i], shown_text(value, HEADER_MAX));
    }
    (void)json_object_set_new(reply, "headers", headers);
}

static void add_preview(json_t *reply, const struct mimelook *look, const struct form_top *top)
{
    const struct mimelook_part *part = preview_part(look);
    json_t *lines;
    if (part != NULL) {
        lines = preview_lines(look, part);
        (void)json_object_set_new(reply, "preview_of", shown_text(part->type, NAME_MAX_BYTES));
    } else if (look->count == 0 && top->bytes != NULL) {
        lines = preview_raw(top->bytes, top->len); /* it has no header section */
    } else {
        lines = json_array(); /* nothing in it is text, or can be read */
    }
    (void)json_object_set_new(reply, "preview", lines);
    if (look->cut != NULL)
        (void)json_object_set_new(reply, "cut", json_string(look->cut));
}

/* It can neither be replayed nor exported. */
static void add_damaged(json_t *reply)
{
    (void)json_object_set_new(reply, "damaged", json_true());
}

/* Fields and text are read apart from each other: what a damaged file still has of them is shown.
 */
static void add_content(json_t *reply, struct message_reader *r)
{
    struct error err;
    struct form_top top = {.bytes = NULL};
    struct mimelook look;
    if (form_read_top(r, &top, &err))
        add_headers(reply, &top);
    if (message_rewind(r, &err) && mimelook_read(r, &look, &err)) {
        add_preview(reply, &look, &top);
        if (look.damaged)
            add_damaged(reply);
        mimelook_free(&look);
    }
    form_top_free(&top);
}

static void add_origin(json_t *reply, const struct hygiene *h, const struct message_head *head)
{
    (void)json_object_set_new(reply, "origin", shown_text(head->origin, SHOWN_MAX));
    if (head->replay_of[0] == '\0')
        return;
    (void)json_object_set_new(reply, "replay_of", json_string(head->replay_of));
    if (json_array_size(json_object_get(reply, "report")) == 0)
        add_report_of_first(reply, h->d->db, head->replay_of);
}

static void add_file(json_t *reply, const struct hygiene *h, const struct badmail *b)
{
    char path[4200], name[SPOOL_NAME_SIZE];
    (void)snprintf(path, sizeof path, "%s/%s/%s", spool_path(h->spool),
                   spool_dir_name(SPOOL_BADMAIL), spool_name(name, b->id, "eml"));
    (void)json_object_set_new(reply, "path", shown_text(path, SHOWN_MAX));
    struct error err;
    struct message_reader *r = message_open(h->spool, SPOOL_BADMAIL, b->id, &err);
    if (strcmp(b->decided_by, LEDGER_DAMAGED) == 0)
        add_damaged(reply);
    if (r == NULL) {
        if (b->state == BADMAIL_HELD && err.kind != ERROR_TEMPORARY)
            add_damaged(reply);
        (void)json_object_set_new(reply, "unreadable", shown_text(err.text, SHOWN_MAX));
        return;
    }
    add_origin(reply, h, message_reader_head(r));
    add_content(reply, r);
    message_close(r);
}

static json_t *not_found(const char *id)
{
    return bus_error("notfound", "badmail holds no message %.40s; see: popferryctl badmail list",
                     id != NULL ? id : "");
}

json_t *badmail_answer_show(struct hygiene *h, const json_t *request)
{
    static const char *const dispensable[] = {"preview", "report", "recipients", "headers", NULL};
    const char *id = json_string_value(json_object_get(request, "id"));
    struct badmail b;
    if (id == NULL || !ledger_badmail(h->d->db, id, &b))
        return not_found(id);
    json_t *reply = shown_badmail(&b);
    add_report(reply, b.report);
    if (b.replayed_as[0] != '\0')
        (void)json_object_set_new(reply, "replayed_as", json_string(b.replayed_as));
    add_file(reply, h, &b);
    ledger_badmail_free(&b);
    shown_fit(reply, dispensable);
    return bus_ok(reply);
}

/* --- parts --- */

static json_t *shown_part(const struct mimelook_part *part)
{
    json_t *shown =
        json_pack("{s:i, s:o, s:I}", "depth", part->depth, "type",
                  shown_text(part->type, NAME_MAX_BYTES), "size", (json_int_t)part->size);
    if (part->name != NULL)
        (void)json_object_set_new(shown, "name", shown_text(part->name, NAME_MAX_BYTES));
    if (part->charset != NULL)
        (void)json_object_set_new(shown, "charset", shown_text(part->charset, NAME_MAX_BYTES));
    if (part->attachment)
        (void)json_object_set_new(shown, "attachment", json_true());
    return shown;
}

static json_t *page_of_parts(const struct mimelook *look, size_t from)
{
    struct bus_page page;
    size_t at = from;
    char next[24];
    bus_page_begin(&page);
    while (at < look->count && bus_page_add(&page, shown_part(&look->parts[at])))
        at++;
    (void)snprintf(next, sizeof next, "%zu", at);
    json_t *reply = bus_page_end(&page, at < look->count ? next : NULL);
    (void)json_object_set_new(reply, "total", json_integer((json_int_t)look->count));
    if (look->cut != NULL)
        (void)json_object_set_new(reply, "cut", json_string(look->cut));
    return reply;
}

json_t *badmail_answer_parts(struct hygiene *h, const json_t *request)
{
    const char *id = json_string_value(json_object_get(request, "id"));
    const char *after = json_string_value(json_object_get(request, "after"));
    if (id == NULL || !ledger_is_badmail(h->d->db, id))
        return not_found(id);
    struct error err;
    struct mimelook look;
    struct message_reader *r = message_open(h->spool, SPOOL_BADMAIL, id, &err);
    if (r == NULL)
        return bus_error_from(&err);
    json_t *reply;
    if (mimelook_read(r, &look, &err)) {
        reply = page_of_parts(&look, after != NULL ? strtoul(after, NULL, 10) : 0);
        mimelook_free(&look);
    } else {
        reply = bus_error_from(&err);
    }
    message_close(r);
    return reply;
}
