/* What hygiene answers on its control socket. */
#include "hygiene/badmail.h"
#include "hygiene/digest.h"
#include "hygiene/hygiene.h"
#include "hygiene/judge.h"
#include "hygiene/ledger.h"
#include "hygiene/pickup.h"
#include "hygiene/waiting.h"
#include "lib/clock.h"

#define OUTCOMES_MAX 500

static struct hygiene *self(struct daemon *d)
{
    return d->state;
}

static json_t *answer_init(struct daemon *d, const json_t *request)
{
    (void)d;
    (void)request;
    return bus_ok(NULL); /* the ledger was made on the way here */
}

static json_t *answer_status(struct daemon *d, const json_t *request)
{
    (void)request;
    static const enum spool_dir dirs[] = {SPOOL_INCOMING, SPOOL_REJECTED, SPOOL_BADMAIL,
                                          SPOOL_PICKUP};
    json_t *status = daemon_status(d), *counts = json_object();
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++)
        (void)json_object_set_new(counts, spool_dir_name(dirs[i]),
                                  json_integer((json_int_t)spool_count(self(d)->spool, dirs[i])));
    (void)json_object_set_new(status, "spool", counts);
    (void)json_object_set_new(status, "held", json_integer(ledger_held_count(d->db)));
    (void)json_object_set_new(status, "waiting", json_integer(ledger_waiting_count(d->db)));
    const char *off = hygiene_lacks_room(self(d)) ? room_problem(&self(d)->room) : NULL;
    (void)json_object_set_new(status, "holding_off", off != NULL ? json_string(off) : json_null());
    if (self(d)->judge != NULL)
        judge_status(self(d)->judge, status);
    if (self(d)->pickup != NULL)
        (void)json_object_set_new(status, "pickup", pickup_status(self(d)->pickup));
    return bus_ok(status);
}

/* What became of these ids, as far as hygiene decided it. */
static json_t *answer_outcomes(struct daemon *d, const json_t *request)
{
    const json_t *ids = json_object_get(request, "ids");
    if (json_array_size(ids) > OUTCOMES_MAX)
        return bus_error("usage", "at most %d ids", OUTCOMES_MAX);
    json_t *states = json_object();
    for (size_t i = 0; i < json_array_size(ids); i++) {
        const char *id = json_string_value(json_array_get(ids, i));
        if (id != NULL)
            (void)json_object_set_new(
                states, id, json_string(badmail_outcome_name(ledger_badmail_outcome(d->db, id))));
    }
    return bus_ok(json_pack("{s:o}", "states", states));
}

/* Ids that do not wait for a filter are none of ours, and are told back. */
static json_t *answer_retry(struct daemon *d, const json_t *request)
{
    const json_t *ids = json_object_get(request, "ids");
    json_t *others = json_array();
    int64_t now = clock_now();
    int count = 0;
    if (json_array_size(ids) > OUTCOMES_MAX)
        return bus_error("usage", "at most %d ids", OUTCOMES_MAX);
    if (json_is_true(json_object_get(request, "all")))
        count = ledger_wait_no_longer(d->db, NULL, now);
    for (size_t i = 0; i < json_array_size(ids); i++) {
        json_t *id = json_array_get(ids, i);
        int found =
            json_is_string(id) ? ledger_wait_no_longer(d->db, json_string_value(id), now) : 0;
        count += found;
        if (found == 0)
            (void)json_array_append(others, id);
    }
    if (self(d)->judge != NULL)
        judge_retry(self(d)->judge);
    return bus_ok(json_pack("{s:i, s:o}", "count", count, "others", others));
}

static json_t *answer_waiting(struct daemon *d, const json_t *request)
{
    return waiting_answer_list(self(d), request);
}

static json_t *answer_waiting_show(struct daemon *d, const json_t *request)
{
    return waiting_answer_show(self(d), request);
}

static json_t *answer_list(struct daemon *d, const json_t *request)
{
    return badmail_answer_list(self(d), request);
}

static json_t *answer_show(struct daemon *d, const json_t *request)
{
    return badmail_answer_show(self(d), request);
}

static json_t *answer_parts(struct daemon *d, const json_t *request)
{
    return badmail_answer_parts(self(d), request);
}

static json_t *answer_export(struct daemon *d, const json_t *request)
{
    return badmail_answer_export(self(d), request);
}

static json_t *answer_delete(struct daemon *d, const json_t *request)
{
    return badmail_answer_delete(self(d), request);
}

static json_t *answer_recipients(struct daemon *d, const json_t *request)
{
    return badmail_answer_recipients(self(d), request);
}

static json_t *answer_replay(struct daemon *d, const json_t *request)
{
    return badmail_answer_replay(self(d), request);
}

static json_t *answer_digest(struct daemon *d, const json_t *request)
{
    return digest_answer(self(d), request);
}

const struct daemon_request control_requests[] = {
    {.cmd = "init", .answer = answer_init},
    {.cmd = "status", .answer = answer_status},
    {.cmd = "outcomes", .answer = answer_outcomes},
    {.cmd = "retry", .answer = answer_retry, .writes = true},
    {.cmd = "waiting.list", .answer = answer_waiting},
    {.cmd = "waiting.show", .answer = answer_waiting_show},
    {.cmd = "badmail.list", .answer = answer_list},
    {.cmd = "badmail.show", .answer = answer_show},
    {.cmd = "badmail.parts", .answer = answer_parts},
    {.cmd = "badmail.export", .answer = answer_export},
    {.cmd = "badmail.delete", .answer = answer_delete, .frees = true},
    {.cmd = "badmail.recipients", .answer = answer_recipients},
    {.cmd = "badmail.replay", .answer = answer_replay, .needs_loop = true, .writes = true},
    {.cmd = "badmail.digest", .answer = answer_digest},
    {.cmd = NULL},
};
