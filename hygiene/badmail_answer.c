/* What people do with quarantined messages: delete, replay. */
#include "hygiene/badmail.h"
#include "hygiene/form.h"
#include "hygiene/pickup.h"
#include "hygiene/shown.h"
#include "lib/clock.h"
#include "lib/log.h"

#define TIME_MAX 500 /* ms that one request may take of the loop; at least one id is done */

/* Does one id of a request, and adds it to `done`. */
typedef bool act_fn(struct hygiene *h, const char *id, const struct envelope_list *to, json_t *done,
                    struct error *err);

/* Why nothing can be done with it; NULL: it lies there. */
static const char *why_not(const struct hygiene *h, const char *id)
{
    struct badmail b;
    bool held = ledger_badmail(h->d->db, id, &b);
    if (held) {
        held = b.state == BADMAIL_HELD;
        ledger_badmail_free(&b);
    }
    if (!held)
        return "badmail holds no such message";
    return spool_has(h->spool, SPOOL_BADMAIL, id)
               ? NULL
               : "its file is not in badmail/: it is being sent again, or somebody has removed it";
}

/* Calls act for each of request.ids; its reasons are gathered under "failed". The ids that time did
 * not suffice for are under "left", to be sent again: a file is read to its end before it is
 * replayed, and fifty large ones are a while. */
static json_t *for_each_id(struct hygiene *h, const json_t *request, act_fn *act,
                           const struct envelope_list *to, json_t *done, const char *done_name)
{
    const json_t *ids = json_object_get(request, "ids");
    json_t *failed = json_object(), *left = json_array();
    int64_t end = clock_monotonic() + TIME_MAX;
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        struct error err;
        if (id == NULL)
            continue;
        const char *why = why_not(h, id);
        if (i > 0 && clock_monotonic() > end)
            (void)json_array_append(left, json_array_get(ids, i));
        else if (why != NULL)
            (void)json_object_set_new(failed, id, json_string(why));
        else if (!act(h, id, to, done, &err))
            (void)json_object_set_new(failed, id, shown_text(err.text, SHOWN_MAX));
    }
    json_t *reply = json_pack("{s:o, s:o}", done_name, done, "failed", failed);
    if (json_array_size(left) > 0)
        (void)json_object_set(reply, "left", left);
    json_decref(left);
    return bus_ok(reply);
}

/* --- delete --- */

static bool delete_one(struct hygiene *h, const char *id, const struct envelope_list *to,
                       json_t *done, struct error *err)
{
    (void)to;
    ledger_badmail_set(h->d->db, id, BADMAIL_DELETED, NULL);
    if (!spool_remove(h->spool, SPOOL_BADMAIL, id, err)) {
        struct error why = *err;
        ledger_badmail_set(h->d->db, id, BADMAIL_HELD, NULL);
        return error_set(err, why.kind, "%.400s; it stays in quarantine", why.text);
    }
    LOG(LOG_NOTE, "badmail-deleted", KV("id", id));
    (void)json_array_append_new(done, json_string(id));
    return true;
}

json_t *badmail_answer_delete(struct hygiene *h, const json_t *request)
{
    return for_each_id(h, request, delete_one, NULL, json_array(), "deleted");
}

/* --- replay --- */

static bool replay_one(struct hygiene *h, const char *id, const struct envelope_list *to,
                       json_t *done, struct error *err)
{
    char name[SPOOL_NAME_SIZE], fresh[ID_SIZE];
    if (!form_whole(h->spool, SPOOL_BADMAIL, id, err) ||
        !pickup_claim(h->pickup, SPOOL_BADMAIL, spool_name(name, id, "eml"), to, fresh, err))
        return false;
    if (to != NULL && to->count > 0)
        LOG(LOG_NOTE, "replay-redirected", KV("id", fresh), KV("replay_of", id),
            KV("to", to->items[0]), KVN("recipients", (long long)to->count));
    (void)json_object_set_new(done, id, json_string(fresh));
    return true;
}

/* One recipient that a person named, with default-domain where it has none. */
static bool add_recipient(const struct conf *conf, const json_t *value, struct envelope_list *to,
                          struct error *err)
{
    const char *text = json_string_value(value);
    char address[ADDRESS_MAX + 1];
    if (text == NULL)
        return error_set(err, ERROR_USAGE, "to: expected addresses");
    if (!address_complete(text, conf->default_domain, address))
        return error_set(err, ERROR_USAGE,
                         "to: \"%.300s\": expected an address such as you@corp.example", text);
    return envelope_list_add(to, address) ||
           error_set(err, ERROR_USAGE, "to: at most %d recipients", ENVELOPE_RECIPIENTS_MAX);
}

static bool read_recipients(const struct conf *conf, const json_t *value, struct envelope_list *to,
                            struct error *err)
{
    if (json_array_size(value) == 0)
        return error_set(err, ERROR_USAGE, "to: expected at least one address");
    for (size_t i = 0; i < json_array_size(value); i++)
        if (!add_recipient(conf, json_array_get(value, i), to, err))
            return false;
    return true;
}

json_t *badmail_answer_recipients(struct hygiene *h, const json_t *request)
{
    struct envelope_list to = {.count = 0};
    struct error err;
    json_t *reply;
    if (read_recipients(h->d->conf, json_object_get(request, "to"), &to, &err)) {
        reply = bus_ok(NULL);
        bus_put_list(reply, "to", to.items, to.count);
    } else {
        reply = bus_error_from(&err);
    }
    envelope_list_free(&to);
    return reply;
}

json_t *badmail_answer_replay(struct hygiene *h, const json_t *request)
{
    const json_t *value = json_object_get(request, "to");
    struct envelope_list to = {.count = 0};
    struct error err;
    json_t *reply = value == NULL || read_recipients(h->d->conf, value, &to, &err)
                        ? for_each_id(h, request, replay_one, value != NULL ? &to : NULL,
                                      json_object(), "replayed")
                        : bus_error_from(&err);
    envelope_list_free(&to);
    return reply;
}
