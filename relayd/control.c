/* What popferryctl and the other daemons may ask. Promises: an answer stays within one message of
 * the bus, whatever the queue's length; asking changes nothing but by `retry`, save that what waits
 * for room goes on when `status` finds it; what is true only in memory (in flight, connections) is
 * told only by a running daemon. */
#include "relayd/control.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "relayd/crew.h"
#include "relayd/ledger.h"
#include "relayd/probe.h"
#include "spool/message.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { IDS_MAX = 200, REPLY_SHOWN = 200 };

static json_t *time_json(int64_t ms)
{
    char text[CLOCK_TEXT_SIZE];
    return ms > 0 ? json_string(clock_text(ms, text)) : json_null();
}

static json_t *answer_init(struct daemon *d, const json_t *request)
{
    (void)d;
    (void)request;
    return bus_ok(NULL); /* spool and ledger were opened before the request was looked at */
}

/* ---- status ---- */

static json_t *queue_json(const struct relay *relay)
{
    return json_pack("{s:I, s:I, s:I, s:I}", "ready", (json_int_t)queue_ready(relay->queue),
                     "deferred", (json_int_t)ledger_count(relay->d->db, LEDGER_DEFERRED),
                     "in_flight", (json_int_t)queue_taken(relay->queue), "held",
                     (json_int_t)ledger_count(relay->d->db, LEDGER_HELD));
}

static json_t *outgoing_json(struct relay *relay)
{
    return json_integer(
        (json_int_t)backlog_count(&relay->backlog, relay->spool, clock_monotonic()));
}

static void add_counts(struct relay *relay, json_t *status)
{
    const struct settle_counts *counts = settle_counts(relay->settle);
    int64_t limit = ledger_fact(relay->d->db, "size-limit", -1);
    (void)json_object_set_new(status, "delivered", json_integer((json_int_t)counts->delivered));
    (void)json_object_set_new(status, "rejected", json_integer((json_int_t)counts->rejected));
    (void)json_object_set_new(status, "deferrals", json_integer((json_int_t)counts->deferred));
    (void)json_object_set_new(status, "size_limit", limit < 0 ? json_null() : json_integer(limit));
    (void)json_object_set_new(status, "spool",
                              json_pack("{s:o}", "outgoing", outgoing_json(relay)));
}

static json_t *answer_status(struct daemon *d, const json_t *request)
{
    (void)request;
    struct relay *relay = d->state;
    json_t *status = daemon_status(d);
    json_int_t up = (json_int_t)crew_up(relay);
    (void)json_object_set_new(status, "relay",
                              json_sprintf("%s:%d", d->conf->relay.host, d->conf->relay.port));
    (void)json_object_set_new(status, "queue", queue_json(relay));
    (void)json_object_set_new(status, "connections", json_integer(up));
    (void)json_object_set_new(status, "sessions", json_integer(up));
    (void)json_object_set_new(status, "hanging", json_integer((json_int_t)crew_stuck(relay)));
    (void)json_object_set_new(status, "circuit",
                              json_string(route_circuit_name(route_circuit(&relay->route))));
    (void)json_object_set_new(status, "error",
                              relay->route.error[0] != '\0' ? json_string(relay->route.error)
                                                            : json_null());
    const char *held = relay_holding_off(relay);
    (void)json_object_set_new(status, "holding_off", held ? json_string(held) : json_null());
    add_counts(relay, status);
    return bus_ok(status);
}

/* ---- the queue ---- */

static json_t *head_json(const struct message_head *head)
{
    json_t *item =
        json_pack("{s:s, s:s, s:I, s:s, s:s}", "id", head->id, "sender", head->sender, "size",
                  (json_int_t)head->size, "account", head->account, "origin", head->origin);
    bus_put_list(item, "recipients", head->recipients.items, head->recipients.count);
    return item;
}

/* Of a file that can't be read, only the id is known; it will be shown as damaged soon. */
static json_t *file_json(const struct relay *relay, const char *id)
{
    struct error err;
    struct message_reader *reader = message_open(relay->spool, SPOOL_OUTGOING, id, &err);
    json_t *item = NULL;
    if (reader)
        item = head_json(message_reader_head(reader));
    else if (err.kind != ERROR_MISSING)
        item = json_pack("{s:s, s:s, s:[], s:i, s:i}", "id", id, "sender", "", "recipients",
                         "recipients_total", 0, "size", 0);
    message_close(reader);
    return item;
}

/* NULL when the message is not in the queue. */
static json_t *item_json(const struct relay *relay, const char *id)
{
    struct ledger_row row = {.state = LEDGER_FRESH};
    (void)ledger_find(relay->d->db, id, &row);
    if (row.state == LEDGER_DELIVERED || row.state == LEDGER_REJECTED)
        return NULL;
    json_t *item = file_json(relay, id);
    if (!item)
        return NULL;
    (void)json_object_set_new(item, "attempts", json_integer(row.attempts));
    (void)json_object_set_new(item, "next_attempt",
                              time_json(row.state == LEDGER_HELD ? 0 : row.next_attempt));
    (void)json_object_set_new(item, "last_reply",
                              row.attempts > 0 ? json_string(row.reason) : json_null());
    (void)json_object_set_new(item, "state", json_string(ledger_state_name(row.state)));
    return item;
}

static json_t *answer_list(struct daemon *d, const json_t *request)
{
    struct relay *relay = d->state;
    const char *after = json_string_value(json_object_get(request, "after"));
    struct backlog_page ids;
    struct bus_page page;
    struct error err;
    if (!backlog_list(relay->spool, after ? after : "", &ids, &err))
        return bus_error_from(&err);
    bus_page_begin(&page);
    const char *cursor = ids.more ? ids.cursors[ids.count - 1] : NULL, *last = NULL;
    for (size_t i = 0; i < ids.count; i++) {
        json_t *item = item_json(relay, ids.ids[i]);
        if (item && !bus_page_add(&page, item)) {
            cursor = last;
            break;
        }
        last = ids.cursors[i];
    }
    json_t *reply = bus_page_end(&page, cursor);
    if (!after)
        (void)json_object_set_new(reply, "total", outgoing_json(relay));
    return reply;
}

static const char *const recipient_states[] = {
    [LEDGER_SENT] = "sent",
    [LEDGER_REFUSED] = "refused",
    [LEDGER_PUT_OFF] = "put off",
};

struct settled_list {
    json_t *items;
    size_t total;
};

static void add_recipient(void *arg, const char *address, enum ledger_recipient state,
                          const char *reply)
{
    struct settled_list *settled = arg;
    char text[REPLY_SHOWN];
    if (settled->total++ >= BUS_LIST_MAX)
        return;
    (void)json_array_append_new(settled->items,
                                json_pack("{s:s, s:s, s:s}", "address", address, "state",
                                          recipient_states[state], "reply",
                                          log_escape(text, sizeof text, reply, strlen(reply))));
}

static json_t *answer_show(struct daemon *d, const json_t *request)
{
    const struct relay *relay = d->state;
    const char *id = json_string_value(json_object_get(request, "id"));
    if (!id || !id_valid(id, strlen(id)))
        return bus_error("usage", "queue.show needs \"id\", as the queue lists it");
    json_t *item = item_json(relay, id);
    if (!item)
        return bus_error("notfound", "no message %s in the queue", id);
    struct ledger_row row;
    struct settled_list settled = {.items = json_array()};
    ledger_each_recipient(d->db, id, add_recipient, &settled);
    (void)json_object_set_new(item, "settled", settled.items);
    (void)json_object_set_new(item, "settled_total", json_integer((json_int_t)settled.total));
    if (ledger_find(d->db, id, &row))
        (void)json_object_set_new(item, "first_attempt", time_json(row.first_at));
    if (relay->queue && queue_knows(relay->queue, id))
        (void)json_object_set_new(item, "state", json_string("ready"));
    return bus_ok(json_pack("{s:o}", "item", item));
}

/* ---- retry ---- */

/* NULL when the request is well-formed: at most IDS_MAX ids in `*ids`. */
static json_t *check_ids(const json_t *request, const json_t **ids)
{
    *ids = json_object_get(request, "ids");
    if (!json_is_array(*ids) || json_array_size(*ids) > IDS_MAX)
        return bus_error("usage", "expected \"ids\", a list of at most %d ids", IDS_MAX);
    for (size_t i = 0; i < json_array_size(*ids); i++) {
        const char *id = json_string_value(json_array_get(*ids, i));
        if (!id || !id_valid(id, strlen(id)))
            return bus_error("usage", "expected \"ids\", a list of message ids");
    }
    return NULL;
}

static uint64_t retry_all(const struct relay *relay)
{
    uint64_t count = ledger_retry_all(relay->d->db, clock_now());
    if (relay->queue) /* fresh mail that waits for the server */
        count += queue_ready(relay->queue);
    return count;
}

/* What it can't do is told of each, like hygiene's; the others are retried all the same. */
static uint64_t retry_ids(const struct relay *relay, const json_t *ids, json_t *others,
                          json_t *failed)
{
    uint64_t count = 0;
    int64_t now = clock_now();
    ledger_begin(relay->d->db);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        if (ledger_state(relay->d->db, id) == LEDGER_HELD)
            (void)json_object_set_new(failed, id,
                                      json_sprintf("it is held: popferryctl queue release %s", id));
        else if (ledger_retry(relay->d->db, id, now) ||
                 spool_find(relay->spool, id) == SPOOL_OUTGOING)
            count++;
        else
            (void)json_array_append(others, json_array_get(ids, i));
    }
    ledger_commit(relay->d->db);
    return count;
}

static json_t *answer_retry(struct daemon *d, const json_t *request)
{
    struct relay *relay = d->state;
    const json_t *ids = NULL;
    bool all = json_is_true(json_object_get(request, "all"));
    json_t *problem = all ? NULL : check_ids(request, &ids);
    if (problem)
        return problem;
    json_t *others = json_array(), *failed = json_object();
    uint64_t count = all ? retry_all(relay) : retry_ids(relay, ids, others, failed);
    route_retry(&relay->route);
    relay_work(relay);
    return bus_ok(json_pack("{s:I, s:o, s:o}", "count", (json_int_t)count, "others", others,
                            "failed", failed));
}

/* ---- hold and release ---- */

/* NULL: it is held from here on. What is being sent can't be called back. */
static const char *hold(const struct relay *relay, const char *id)
{
    enum ledger_state state = ledger_state(relay->d->db, id);
    if (state == LEDGER_HELD)
        return NULL;
    if (state == LEDGER_DELIVERED || state == LEDGER_REJECTED ||
        spool_find(relay->spool, id) != SPOOL_OUTGOING)
        return "it is not in the queue";
    if (relay->queue && !queue_drop(relay->queue, id))
        return "it is being sent just now";
    return ledger_hold(relay->d->db, id) ? NULL : "it is not in the queue";
}

static const char *release(const struct relay *relay, const char *id)
{
    if (!ledger_release(relay->d->db, id))
        return "it is not held";
    if (relay->queue)
        queue_push(relay->queue, id);
    return NULL;
}

/* {"<done>": [ids], "failed": {id: why}} */
static json_t *act_on_ids(struct relay *relay, const json_t *request, const char *done,
                          const char *(*act)(const struct relay *relay, const char *id))
{
    const json_t *ids = NULL;
    json_t *problem = check_ids(request, &ids);
    if (problem)
        return problem;
    json_t *good = json_array(), *failed = json_object();
    ledger_begin(relay->d->db);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        json_t *id = json_array_get(ids, i);
        const char *why = act(relay, json_string_value(id));
        if (why)
            (void)json_object_set_new(failed, json_string_value(id), json_string(why));
        else
            (void)json_array_append(good, id);
    }
    ledger_commit(relay->d->db);
    size_t i;
    const json_t *id;
    json_array_foreach(good, i, id)
    {
        LOG(LOG_NOTE, done, KV("id", json_string_value(id)));
    }
    relay_work(relay);
    return bus_ok(json_pack("{s:o, s:o}", done, good, "failed", failed));
}

static json_t *answer_hold(struct daemon *d, const json_t *request)
{
    return act_on_ids(d->state, request, "held", hold);
}

static json_t *answer_release(struct daemon *d, const json_t *request)
{
    return act_on_ids(d->state, request, "released", release);
}

/* ---- questions of the other daemons ---- */

static const char *outcome_of(const struct relay *relay, const char *id)
{
    struct stat st;
    char name[SPOOL_NAME_SIZE];
    enum ledger_state state = ledger_state(relay->d->db, id);
    if (state == LEDGER_DELIVERED || state == LEDGER_REJECTED)
        return ledger_state_name(state);
    if (state != LEDGER_FRESH || (relay->queue && queue_knows(relay->queue, id)))
        return "queued";
    if (fstatat(spool_fd(relay->spool, SPOOL_OUTGOING), spool_name(name, id, "eml"), &st,
                AT_SYMLINK_NOFOLLOW) == 0)
        return "queued";
    return "unknown";
}

static json_t *answer_outcomes(struct daemon *d, const json_t *request)
{
    const json_t *ids = NULL;
    json_t *problem = check_ids(request, &ids);
    if (problem)
        return problem;
    json_t *states = json_object();
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        (void)json_object_set_new(states, id, json_string(outcome_of(d->state, id)));
    }
    return bus_ok(json_pack("{s:o}", "states", states));
}

struct refused_list {
    const struct envelope_list *envelope;
    json_t *places;
};

static void add_refused(void *arg, const char *address, enum ledger_recipient state,
                        const char *reply)
{
    const struct refused_list *refused = arg;
    (void)reply;
    for (size_t i = 0; state == LEDGER_REFUSED && i < refused->envelope->count; i++)
        if (strcmp(refused->envelope->items[i], address) == 0)
            (void)json_array_append_new(refused->places, json_integer((json_int_t)i));
}

/* By their places in the envelope, so that a thousand addresses fit into an answer. None when the
 * file can't be read, which says "all": some would get it twice then, but none not at all. */
static json_t *refused_json(struct daemon *d, const char *id)
{
    const struct relay *relay = d->state;
    struct error err;
    json_t *places = json_array();
    struct message_reader *reader = message_open(relay->spool, SPOOL_REJECTED, id, &err);
    if (reader) {
        struct refused_list refused = {&message_reader_head(reader)->recipients, places};
        ledger_each_recipient(d->db, id, add_refused, &refused);
    }
    message_close(reader);
    return places;
}

static json_t *why_json(struct daemon *d, const char *id)
{
    struct ledger_row row;
    if (!ledger_find(d->db, id, &row) || row.state != LEDGER_REJECTED)
        return NULL;
    return json_pack("{s:s, s:i, s:o, s:i, s:o}", "reason", row.reason, "code", row.code, "refused",
                     refused_json(d, id), "attempts", (int)row.attempts, "at", time_json(row.at));
}

/* Where the answer is longer than a message of the bus, the asker is told so, and asks for fewer.
 */
static json_t *answer_why(struct daemon *d, const json_t *request)
{
    const json_t *ids = NULL;
    json_t *problem = check_ids(request, &ids);
    if (problem)
        return problem;
    json_t *why = json_object();
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        json_t *one = why_json(d, id);
        if (one)
            (void)json_object_set_new(why, id, one);
    }
    return bus_ok(json_pack("{s:o}", "why", why));
}

/* ---- the login ---- */

static json_t *answer_pubkey(struct daemon *d, const json_t *request)
{
    const struct relay *relay = d->state;
    (void)request;
    return bus_ok(json_pack("{s:s}", "public_key", login_public_key(relay->login)));
}

static json_t *answer_secret(struct daemon *d, const json_t *request)
{
    struct relay *relay = d->state;
    const char *sealed = json_string_value(json_object_get(request, "secret"));
    struct error err;
    if (!sealed)
        return bus_error("usage", "relay.secret needs \"secret\", sealed to our public key");
    if (!login_put(relay->login, sealed, &err))
        return bus_error_from(&err);
    LOG(LOG_NOTE, "relay-password-set", KV("user", d->conf->relay.user));
    relay_new_password(relay);
    return bus_ok(NULL);
}

static json_t *answer_relay(struct daemon *d, const json_t *request)
{
    const struct relay *relay = d->state;
    const struct conf *conf = d->conf;
    struct error err;
    (void)request;
    bool ready = login_ready(relay->login, &err);
    return bus_ok(json_pack(
        "{s:s, s:s, s:i, s:s, s:s, s:s, s:s, s:s, s:b, s:o}", "protocol", conf->relay.protocol,
        "host", conf->relay.host, "port", conf->relay.port, "tls", conf_tls_name(conf->relay.tls),
        "ca", conf->relay.ca, "pin", conf->relay.pin, "user", conf->relay.user, "auth",
        conf->relay.auth, "password", conf->relay.user[0] != '\0' && ready, "problem",
        ready ? json_null() : json_string(err.text)));
}

static json_t *answer_probe(struct daemon *d, const json_t *request)
{
    (void)request;
    probe_begin(d->state);
    return bus_ok(json_pack("{s:i}", "ticket", 1)); /* there is one at a time */
}

static json_t *answer_report(struct daemon *d, const json_t *request)
{
    (void)request;
    return probe_report(d->state);
}

const struct daemon_request control_requests[] = {
    {.cmd = "init", .answer = answer_init},
    {.cmd = "status", .answer = answer_status, .needs_loop = true},
    {.cmd = "queue.list", .answer = answer_list},
    {.cmd = "queue.show", .answer = answer_show},
    {.cmd = "queue.hold", .answer = answer_hold, .writes = true},
    {.cmd = "queue.release", .answer = answer_release, .writes = true},
    {.cmd = "retry", .answer = answer_retry, .writes = true},
    {.cmd = "outcomes", .answer = answer_outcomes},
    {.cmd = "why", .answer = answer_why},
    {.cmd = "pubkey", .answer = answer_pubkey},
    {.cmd = "relay", .answer = answer_relay},
    {.cmd = "relay.secret", .answer = answer_secret, .writes = true},
    {.cmd = "probe", .answer = answer_probe, .needs_loop = true},
    {.cmd = "probe.report", .answer = answer_report, .needs_loop = true},
    {.cmd = NULL},
};
