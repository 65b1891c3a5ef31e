/* What people ask of the quarantine: list, show, delete, replay. */
#include "hygiene/badmail.h"
#include "hygiene/form.h"
#include "hygiene/pickup.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PREVIEW_LINES 20

/* Text of a message in JSON: escaped already, so that whatever shows it needs no care. */
static json_t *safe(const char *text)
{
    char buf[2048];
    return json_string(log_escape(buf, sizeof buf, text, strlen(text)));
}

static json_t *item(const struct badmail *b)
{
    char at[CLOCK_TEXT_SIZE];
    json_t *json =
        json_pack("{s:s, s:s, s:o, s:o, s:I, s:s, s:s, s:o, s:s}", "id", b->id, "account",
                  b->account, "sender", safe(b->sender), "subject", safe(b->subject), "size",
                  (json_int_t)b->size, "at", clock_text(b->at, at), "decided_by", b->decided_by,
                  "reason", safe(b->reason), "state", ledger_badmail_state_name(b->state));
    bus_put_list(json, "recipients", b->recipients.items, b->recipients.count);
    return json;
}

/* --- list --- */

struct listing {
    struct hygiene *h;
    struct bus_page page;
    char last[ID_SIZE];
    bool full;
};

static bool list_one(void *arg, const struct badmail *b)
{
    struct listing *l = arg;
    if (spool_find(l->h->spool, b->id) == SPOOL_DIRS)
        return true; /* removed by hand; reconciled at the next start */
    if (!bus_page_add(&l->page, item(b))) {
        l->full = true;
        return false;
    }
    memcpy(l->last, b->id, ID_SIZE);
    return true;
}

json_t *badmail_answer_list(struct hygiene *h, const json_t *request)
{
    const char *after = json_string_value(json_object_get(request, "after"));
    struct listing l = {.h = h};
    bus_page_begin(&l.page);
    ledger_each_held(h->d->db, after != NULL ? after : "", list_one, &l);
    return bus_page_end(&l.page, l.full ? l.last : NULL);
}

/* --- show --- */

static void add_preview(json_t *reply, const char *text, size_t n)
{
    char line[512];
    json_t *lines = json_array();
    for (size_t at = 0; at < n && json_array_size(lines) < PREVIEW_LINES;) {
        const char *lf = memchr(text + at, '\n', n - at);
        size_t len = lf != NULL ? (size_t)(lf - text) - at : n - at;
        size_t shown = len > 0 && text[at + len - 1] == '\r' ? len - 1 : len;
        (void)json_array_append_new(lines,
                                    json_string(log_escape(line, sizeof line, text + at, shown)));
        at += len + 1;
    }
    (void)json_object_set_new(reply, "preview", lines);
}

static void add_content(json_t *reply, struct message_reader *r)
{
    static const char *const fields[] = {"From", "To", "Subject", "Date"};
    struct error err;
    struct form_top top;
    if (!form_read_top(r, &top, &err))
        return;
    json_t *headers = json_object();
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        char value[1024];
        envelope_field(top.bytes, top.header, fields[i], value, sizeof value);
        (void)json_object_set_new(headers, fields[i], safe(value));
    }
    (void)json_object_set_new(reply, "headers", headers);
    add_preview(reply, top.bytes + top.header, top.len - top.header);
    form_top_free(&top);
}

json_t *badmail_answer_show(struct hygiene *h, const json_t *request)
{
    const char *id = json_string_value(json_object_get(request, "id"));
    struct badmail b;
    if (id == NULL || !ledger_badmail(h->d->db, id, &b))
        return bus_error("notfound",
                         "badmail holds no message %.40s; see: popferryctl badmail list",
                         id != NULL ? id : "");
    json_t *reply = item(&b);
    ledger_badmail_free(&b);
    char path[4200], name[SPOOL_NAME_SIZE];
    (void)snprintf(path, sizeof path, "%s/%s/%s", spool_path(h->spool),
                   spool_dir_name(SPOOL_BADMAIL), spool_name(name, id, "eml"));
    (void)json_object_set_new(reply, "path", json_string(path));
    if (b.replayed_as[0] != '\0')
        (void)json_object_set_new(reply, "replayed_as", json_string(b.replayed_as));
    struct error err;
    struct message_reader *r = message_open(h->spool, SPOOL_BADMAIL, id, &err);
    if (r == NULL) {
        (void)json_object_set_new(reply, "unreadable", safe(err.text));
        return bus_ok(reply);
    }
    (void)json_object_set_new(reply, "origin", safe(message_reader_head(r)->origin));
    add_content(reply, r);
    message_close(r);
    return bus_ok(reply);
}

/* --- delete, replay --- */

/* Calls act for each of request.ids; its reasons are gathered under "failed". */
typedef bool act_fn(struct hygiene *h, const char *id, json_t *done, struct error *err);

static json_t *for_each_id(struct hygiene *h, const json_t *request, act_fn *act, json_t **done,
                           const char *done_name)
{
    const json_t *ids = json_object_get(request, "ids");
    json_t *failed = json_object();
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        struct error err;
        struct badmail b;
        if (id == NULL)
            continue;
        bool held = ledger_badmail(h->d->db, id, &b);
        if (held) {
            held = b.state == BADMAIL_HELD;
            ledger_badmail_free(&b);
        }
        if (!held)
            (void)json_object_set_new(failed, id, json_string("badmail holds no such message"));
        else if (!act(h, id, *done, &err))
            (void)json_object_set_new(failed, id, safe(err.text));
    }
    json_t *reply = json_pack("{s:o, s:o}", done_name, *done, "failed", failed);
    return bus_ok(reply);
}

static bool delete_one(struct hygiene *h, const char *id, json_t *done, struct error *err)
{
    ledger_badmail_set(h->d->db, id, BADMAIL_DELETED, NULL);
    if (!spool_remove(h->spool, SPOOL_BADMAIL, id, err))
        return false;
    LOG(LOG_NOTE, "badmail-deleted", KV("id", id));
    (void)json_array_append_new(done, json_string(id));
    return true;
}

json_t *badmail_answer_delete(struct hygiene *h, const json_t *request)
{
    json_t *done = json_array();
    return for_each_id(h, request, delete_one, &done, "deleted");
}

static bool replay_one(struct hygiene *h, const char *id, json_t *done, struct error *err)
{
    char name[SPOOL_NAME_SIZE], fresh[ID_SIZE];
    if (!form_whole(h->spool, SPOOL_BADMAIL, id, err) ||
        !pickup_claim(h->pickup, SPOOL_BADMAIL, spool_name(name, id, "eml"), fresh, err))
        return false;
    (void)json_object_set_new(done, id, json_string(fresh));
    return true;
}

json_t *badmail_answer_replay(struct hygiene *h, const json_t *request)
{
    json_t *done = json_object();
    return for_each_id(h, request, replay_one, &done, "replayed");
}
