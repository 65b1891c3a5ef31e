/* waiting.list, waiting.show. Promises: a page, and the work for it, is bounded however many wait;
 * asking changes nothing. */
#include "hygiene/waiting.h"
#include "hygiene/ledger.h"
#include "hygiene/shown.h"
#include "spool/message.h"
#include <string.h>

#define LOOKED_AT_MAX 500 /* files opened for a page */

/* Of a file that can't be read only the id is known. NULL: it is gone, and so is its row soon. */
static json_t *file_json(const struct hygiene *h, const char *id)
{
    struct error err;
    struct message_reader *reader = message_open(h->spool, SPOOL_INCOMING, id, &err);
    json_t *item = NULL;
    if (reader != NULL) {
        const struct message_head *head = message_reader_head(reader);
        item = json_pack("{s:s, s:o, s:I, s:o, s:o}", "id", id, "sender",
                         shown_text(head->sender, SHOWN_MAX), "size", (json_int_t)head->size,
                         "account", shown_text(head->account, SHOWN_MAX), "origin",
                         shown_text(head->origin, SHOWN_MAX));
        bus_put_list(item, "recipients", head->recipients.items, head->recipients.count);
    } else if (err.kind != ERROR_MISSING) {
        item = json_pack("{s:s, s:s, s:[], s:i, s:i}", "id", id, "sender", "", "recipients",
                         "recipients_total", 0, "size", 0);
    }
    message_close(reader);
    return item;
}

static json_t *item_json(const struct hygiene *h, const char *id, const struct waiting *w)
{
    char at[CLOCK_TEXT_SIZE];
    json_t *item = file_json(h, id);
    if (item == NULL)
        return NULL;
    (void)json_object_set_new(item, "attempts", json_integer(w->attempts));
    (void)json_object_set_new(item, "next_attempt", json_string(clock_text(w->next_at, at)));
    (void)json_object_set_new(item, "last_reply", shown_text(w->reason, SHOWN_MAX));
    (void)json_object_set_new(item, "state", json_string("waiting"));
    (void)json_object_set_new(item, "filter", shown_text(w->filter, SHOWN_MAX));
    return item;
}

struct listing {
    const struct hygiene *h;
    struct bus_page page;
    char last[ID_SIZE];
    int looked_at;
    bool more;
};

static bool list_one(void *arg, const char *id, const struct waiting *w)
{
    struct listing *l = arg;
    l->more = l->looked_at++ == LOOKED_AT_MAX;
    json_t *item = l->more ? NULL : item_json(l->h, id, w);
    if (item != NULL && !bus_page_add(&l->page, item))
        l->more = true;
    if (l->more)
        return false;
    (void)snprintf(l->last, sizeof l->last, "%s", id);
    return true;
}

json_t *waiting_answer_list(struct hygiene *h, const json_t *request)
{
    const char *after = json_string_value(json_object_get(request, "after"));
    struct listing l = {.h = h};
    bus_page_begin(&l.page);
    ledger_each_waiting_behind(h->d->db, after != NULL ? after : "", list_one, &l);
    json_t *reply = bus_page_end(&l.page, l.more ? l.last : NULL);
    if (after == NULL)
        (void)json_object_set_new(reply, "total", json_integer(ledger_waiting_count(h->d->db)));
    return reply;
}

json_t *waiting_answer_show(struct hygiene *h, const json_t *request)
{
    const char *id = json_string_value(json_object_get(request, "id"));
    struct waiting w;
    if (id == NULL || !id_valid(id, strlen(id)))
        return bus_error("usage", "waiting.show needs \"id\", as waiting.list has it");
    json_t *item = ledger_waiting(h->d->db, id, &w) ? item_json(h, id, &w) : NULL;
    if (item == NULL)
        return bus_error("notfound", "no message %s waits for a verdict", id);
    return bus_ok(json_pack("{s:o}", "item", item));
}
