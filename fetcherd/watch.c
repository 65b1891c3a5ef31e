/* What fetching depends on elsewhere.
 *
 * Promises: the last size limit that the SMTP server named survives a restart and relayd's absence;
 * an answer that does not come changes nothing; what is low or full has to be well clear of its
 * limit again before fetching goes on, so that it does not flap. */
#include "fetcherd/watch.h"

#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/room.h"

enum {
    ASK_EVERY = 10,        /* seconds */
    ANSWER_TIMEOUT = 1500, /* ms */
};
#define DEFAULT_LIMIT (UINT64_C(10) << 20)
#define DISK_MARGIN   (UINT64_C(64) << 20)
#define STATE_MARGIN  (UINT64_C(4) << 20) /* a session writes a row for each message */
#define PUT_OFF_LIMIT UINT64_C(1000)      /* messages that may wait while all are put off */
#define FILTER_LIMIT  UINT64_C(1000)      /* the same, for a filter */

struct relay_watch {
    struct fetcherd *f;
    void (*ready)(struct fetcherd *f); /* NULL once called */
    struct event *timer;
    uint64_t size_limit;           /* as relayd told; 0: none is known */
    uint64_t outgoing;             /* as relayd told */
    uint64_t unjudged;             /* as hygiene told: wait for a filter in trouble */
    bool circuit_open, put_off;    /* the same */
    bool disk_low, state_low;      /* as last found: the disks of spool-dir, state-dir */
    bool queue_full, filters_full; /* the same */
    bool held;                     /* as last logged */
};

uint64_t watch_size_limit(const struct relay_watch *w)
{
    uint64_t configured = fetcherd_conf(w->f)->fetch.message_size;

    if (configured)
        return configured;
    return w->size_limit ? w->size_limit : DEFAULT_LIMIT;
}

static void look_at_disks(struct relay_watch *w)
{
    w->disk_low = room_is_below(spool_free_bytes(w->f->spool), DISK_MARGIN + watch_size_limit(w),
                                w->disk_low);
    w->state_low = room_is_below(db_free_bytes(w->f->daemon->db), STATE_MARGIN, w->state_low);
}

/* What lies before hygiene is on its way to outgoing/: it counts, and it is known when relayd is
 * silent. */
static void look_at_queue(struct relay_watch *w)
{
    uint64_t limit = (uint64_t)fetcherd_conf(w->f)->relay.queue_limit, waiting;

    if (w->put_off && (limit == 0 || limit > PUT_OFF_LIMIT))
        limit = PUT_OFF_LIMIT;
    w->queue_full = w->queue_full && limit > 0;
    if (limit == 0)
        return;
    waiting = ledger_spooled_count(w->f->ledger, 0);
    if (w->outgoing > waiting)
        waiting = w->outgoing;
    w->queue_full = waiting > (w->queue_full ? limit - limit / 4 : limit);
}

const char *watch_disk_low(struct relay_watch *w)
{
    look_at_disks(w);
    if (w->disk_low)
        return "the spool's disk is nearly full";
    return w->state_low ? "the disk of state-dir is nearly full" : NULL;
}

const char *watch_holding_off(struct relay_watch *w)
{
    const char *disk = watch_disk_low(w);

    if (disk)
        return disk;
    if (w->circuit_open)
        return "the SMTP server does not take mail at present";
    if (w->filters_full)
        return "much mail waits for a content filter";
    if (w->queue_full && w->put_off)
        return "the SMTP server puts mail off, and much of it waits already";
    return w->queue_full ? "the queue is over relay.queue-limit" : NULL;
}

static void log_change(struct relay_watch *w)
{
    const char *why = watch_holding_off(w);

    if (why && !w->held)
        LOG(LOG_WARN, "holding-off", KV("reason", why));
    else if (!why && w->held)
        LOG(LOG_NOTE, "fetching-again");
    w->held = why != NULL;
}

static void on_answer(void *arg, const json_t *reply)
{
    struct relay_watch *w = arg;
    const json_t *limit = json_object_get(reply, "size_limit");
    const char *circuit = json_string_value(json_object_get(reply, "circuit"));

    if (json_is_integer(limit) && (uint64_t)json_integer_value(limit) != w->size_limit) {
        w->size_limit = (uint64_t)json_integer_value(limit);
        look_at_disks(w);
        if (!w->state_low) /* else it is told once more */
            ledger_set_number(w->f->ledger, "size-limit", json_integer_value(limit));
    }
    if (reply) {
        const json_t *spool = json_object_get(reply, "spool");
        w->circuit_open = circuit && strcmp(circuit, "open") == 0;
        w->put_off = circuit && strcmp(circuit, "probing") == 0;
        w->outgoing = (uint64_t)json_integer_value(json_object_get(spool, "outgoing"));
    }
    look_at_queue(w);
    log_change(w);
    if (w->ready) {
        void (*ready)(struct fetcherd *) = w->ready;
        w->ready = NULL;
        ready(w->f);
    }
}

/* What a filter that is well has put off does not keep other mail from being judged. */
static bool a_filter_is_down(const json_t *filters)
{
    size_t i;
    const json_t *filter;
    json_array_foreach(filters, i, filter)
    {
        if (json_is_false(json_object_get(filter, "up")))
            return true;
    }
    return false;
}

static void on_hygiene(void *arg, const json_t *reply)
{
    struct relay_watch *w = arg;

    if (reply) {
        bool trouble = a_filter_is_down(json_object_get(reply, "filters"));
        w->unjudged = trouble ? (uint64_t)json_integer_value(json_object_get(reply, "waiting")) : 0;
    }
    w->filters_full = w->unjudged > FILTER_LIMIT - (w->filters_full ? FILTER_LIMIT / 4 : 0);
    log_change(w);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct relay_watch *w = arg;

    (void)fd;
    (void)what;
    bus_ask(w->f->daemon->bus, "relayd", json_pack("{s:s}", "cmd", "status"), ANSWER_TIMEOUT,
            on_answer, w);
    bus_ask(w->f->daemon->bus, "hygiene", json_pack("{s:s}", "cmd", "status"), ANSWER_TIMEOUT,
            on_hygiene, w);
}

struct relay_watch *watch_new(struct fetcherd *f, void (*ready)(struct fetcherd *f))
{
    static const struct timeval every = {.tv_sec = ASK_EVERY};
    struct relay_watch *w = calloc(1, sizeof *w);

    if (!w)
        abort();
    w->f = f;
    w->ready = ready;
    w->size_limit = (uint64_t)ledger_number(f->ledger, "size-limit", 0);
    w->timer = event_new(f->daemon->base, -1, EV_PERSIST, on_timer, w);
    if (!w->timer)
        abort();
    (void)event_add(w->timer, &every);
    event_active(w->timer, EV_TIMEOUT, 0);
    return w;
}

void watch_free(struct relay_watch *w)
{
    if (!w)
        return;
    event_free(w->timer);
    free(w);
}
