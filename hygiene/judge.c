/* See judge.h. Promises: a verdict once given holds, and a message found again in incoming/ behind
 * a power cut goes where its row says; no file moves before its verdict is durable; a filter in
 * trouble is tried with one message at a time, those first that it has seen least, and those that
 * wait for it cost nothing meanwhile. */
#include "hygiene/judge.h"
#include "hygiene/badmail.h"
#include "hygiene/judgement.h"
#include "hygiene/sweep.h"
#include "hygiene/verdicts.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    WINDOW = 256,     /* judged at a time */
    FOR_DROPS = 32,   /* of these, for what was handed in by pickup/ */
    DROPS_MAX = 4096, /* that wait for one of those */
    TURN = 64,        /* begun to be read in one turn of the loop */
    FILTERS_MAX = 3,  /* in the order they are asked */
};
#define TURN_BYTES  (4 * 1024 * 1024) /* read in one turn of the loop */
#define SLICE_BYTES (1024 * 1024)     /* of one message */
#define WAKE_MAX    CLOCK_MINUTE
#define PROBE_STEP  50 /* ms from one probe to the next, at least */

struct judge {
    struct hygiene *h;
    struct sweep *sweep;
    struct verdicts *verdicts;
    GHashTable *known;  /* id -> struct judgement, which holds the key */
    GQueue reading;     /* struct judgement; whose form is being checked */
    GQueue drops;       /* ids (malloc'd) of drops that found no place */
    struct event *turn; /* reads */
    struct event *wake; /* somebody who waits is due */
    struct filter *filters[FILTERS_MAX + 1];
    int64_t probed_at; /* monotonic: the last one was begun */
};

static void now_do(struct event *event)
{
    static const struct timeval now = {0, 0};
    if (!evtimer_pending(event, NULL))
        (void)evtimer_add(event, &now);
}

static size_t judging(const struct judge *judge)
{
    return g_hash_table_size(judge->known);
}

/* --- the window --- */

static void on_judged(void *arg, struct judgement *j)
{
    struct judge *judge = arg;
    verdicts_add(judge->verdicts, j);
}

static struct judgement *begin(struct judge *judge, const char *id)
{
    const struct hygiene *h = judge->h;
    struct judgement *j = judgement_new(id, h->spool, h->d->conf, judge->filters, on_judged, judge);
    j->was_waiting = ledger_waiting(h->d->db, id, &j->waiting);
    (void)g_hash_table_insert(judge->known, j->id, j);
    g_queue_push_tail(&judge->reading, j);
    now_do(judge->turn);
    return j;
}

/* True when its row says where it goes, and it has gone there. */
static bool judged_before(struct hygiene *h, const char *id)
{
    char ids[1][ID_SIZE];
    if (ledger_has_passed(h->d->db, id)) {
        verdicts_pass_on(h, id);
        return true;
    }
    if (!ledger_is_badmail(h->d->db, id))
        return false;
    (void)snprintf(ids[0], ID_SIZE, "%s", id);
    badmail_enter(h, ids, 1, SPOOL_INCOMING);
    return true;
}

/* False: there was no place, or no room to write down what would become of it. */
static bool offer(struct judge *judge, const char *id, size_t window)
{
    struct waiting waiting;
    if (judge->h->d->stopping || g_hash_table_contains(judge->known, id) ||
        ledger_waiting(judge->h->d->db, id, &waiting))
        return true;
    if (hygiene_lacks_room(judge->h))
        return false;
    if (judged_before(judge->h, id))
        return true;
    if (judging(judge) >= window)
        return false;
    (void)begin(judge, id);
    return true;
}

/* The places that are kept for them are theirs also when they are taken just now. */
static void offer_drops(struct judge *judge)
{
    while (!g_queue_is_empty(&judge->drops) && judging(judge) < WINDOW &&
           !hygiene_lacks_room(judge->h)) {
        char *id = g_queue_pop_head(&judge->drops);
        (void)offer(judge, id, WINDOW);
        g_free(id);
    }
}

static void keep_drop(struct judge *judge, const char *id)
{
    if (g_queue_get_length(&judge->drops) < DROPS_MAX)
        g_queue_push_tail(&judge->drops, g_strdup(id));
    else
        sweep_ring(judge->sweep); /* it is found again */
}

static void set_pace(struct judge *judge)
{
    size_t n = judging(judge);
    if (n > WINDOW - FOR_DROPS - SWEEP_TURN)
        sweep_pause(judge->sweep, true);
    else if (n <= WINDOW / 2)
        sweep_pause(judge->sweep, false);
}

static void on_sweep(void *arg, char (*ids)[ID_SIZE], size_t n)
{
    struct judge *judge = arg;
    if (hygiene_lacks_room(judge->h))
        return; /* the next unasked walk finds them again */
    for (size_t i = 0; i < n; i++)
        if (!offer(judge, ids[i], WINDOW - FOR_DROPS))
            sweep_ring(judge->sweep); /* it is found again */
    set_pace(judge);
}

/* --- those who wait --- */

/* The first one that is in trouble: past it no message comes, whatever those behind it are like.
 * NULL: none is, or nobody waits for one. */
static struct filter *in_trouble(const struct judge *judge)
{
    if (judge->h->d->conf->hygiene.on_filter_error != CONF_FILTER_DEFER)
        return NULL;
    size_t i = 0;
    while (judge->filters[i] != NULL && filter_next_probe(judge->filters[i]) == 0)
        i++;
    return judge->filters[i];
}

/* When it may be tried again. */
static int64_t next_probe(const struct judge *judge, const struct filter *filter)
{
    int64_t at = filter_next_probe(filter), step = judge->probed_at + PROBE_STEP;
    return at > step ? at : step;
}

/* A probe that has not come as far as the filter yet keeps the next one waiting. */
static bool probe_is_on_its_way(const struct judge *judge, const struct filter *filter)
{
    GHashTableIter iter;
    gpointer value;
    int probes = 0;
    g_hash_table_iter_init(&iter, judge->known);
    while (g_hash_table_iter_next(&iter, NULL, &value))
        probes += ((struct judgement *)value)->is_probe;
    return probes > filter_under_way(filter);
}

static bool may_probe(const struct judge *judge, const struct filter *filter)
{
    return clock_monotonic() >= next_probe(judge, filter) && !probe_is_on_its_way(judge, filter);
}

struct due {
    struct judge *judge;
    char (*ids)[ID_SIZE];
    size_t count, max;
};

static bool note_due(void *arg, const char *id)
{
    struct due *due = arg;
    if (!g_hash_table_contains(due->judge->known, id))
        (void)snprintf(due->ids[due->count++], ID_SIZE, "%s", id);
    return due->count < due->max;
}

/* Whatever the filters are like. */
static void begin_unformed(struct judge *judge)
{
    static char ids[WINDOW / 4][ID_SIZE];
    struct due due = {.judge = judge, .ids = ids, .max = WINDOW / 4};
    if (judging(judge) < WINDOW / 2 && !hygiene_lacks_room(judge->h))
        ledger_each_unformed(judge->h->d->db, clock_now(), note_due, &due);
    for (size_t i = 0; i < due.count; i++)
        (void)begin(judge, ids[i]);
}

static void begin_due(struct judge *judge)
{
    static char ids[WINDOW / 2][ID_SIZE];
    const struct filter *trouble = in_trouble(judge);
    struct due due = {.judge = judge, .ids = ids, .max = WINDOW / 2};
    begin_unformed(judge);
    if (trouble != NULL)
        due.max = may_probe(judge, trouble) ? 1 : 0;
    if (due.max > 0 && judging(judge) < WINDOW / 2 && !hygiene_lacks_room(judge->h))
        ledger_each_waiting(judge->h->d->db, clock_now(), note_due, &due);
    if (trouble != NULL && due.count > 0)
        judge->probed_at = clock_monotonic();
    for (size_t i = 0; i < due.count; i++)
        begin(judge, ids[i])->is_probe = trouble != NULL;
}

static void arm_wake(struct judge *judge)
{
    int64_t next = ledger_next_waiting(judge->h->d->db);
    int64_t wait = next > 0 ? next - clock_now() : WAKE_MAX;
    const struct filter *trouble = in_trouble(judge);
    int64_t probe = trouble != NULL ? next_probe(judge, trouble) - clock_monotonic() : 0;
    if (trouble != NULL && probe < PROBE_STEP)
        probe = PROBE_STEP; /* one is on its way */
    if (wait < probe)
        wait = probe;
    if (wait <= 0 && judging(judge) > 0)
        return; /* at the next commit */
    if (room_problem(&judge->h->room) != NULL && wait < SWEEP_INTERVAL)
        wait = SWEEP_INTERVAL;
    wait = wait < 0 ? 0 : wait < WAKE_MAX ? wait : WAKE_MAX;
    const struct timeval in = {wait / 1000, wait % 1000 * 1000 + 1000};
    (void)evtimer_add(judge->wake, &in);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct judge *judge = arg;
    if (judge->h->d->stopping)
        return;
    begin_due(judge);
    arm_wake(judge);
}

static void on_recovered(void *arg)
{
    struct judge *judge = arg;
    static const struct timeval now = {0, 0};
    (void)evtimer_add(judge->wake, &now);
}

/* --- reading --- */

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct judge *judge = arg;
    size_t turns = TURN;
    for (size_t bytes = 0; bytes < TURN_BYTES && turns-- > 0;) {
        struct judgement *j = g_queue_pop_head(&judge->reading);
        if (j == NULL)
            return;
        bool more = judgement_read(j, SLICE_BYTES);
        bytes += more ? SLICE_BYTES : 0;
        if (more)
            g_queue_push_tail(&judge->reading, j);
    }
    if (!g_queue_is_empty(&judge->reading))
        now_do(judge->turn);
}

/* --- verdicts --- */

static void on_written(void *arg, struct judgement *j)
{
    struct judge *judge = arg;
    (void)g_hash_table_remove(judge->known, j->id);
    judgement_free(j);
}

static void on_settled(void *arg)
{
    struct judge *judge = arg;
    if (judge->h->d->stopping)
        return;
    offer_drops(judge);
    set_pace(judge);
    begin_due(judge);
    arm_wake(judge);
}

/* --- life --- */

static void make_filters(struct judge *judge)
{
    const struct conf *conf = judge->h->d->conf;
    const struct {
        const struct filter_protocol *protocol;
        const struct conf_filter *conf;
    } all[FILTERS_MAX] = {
        {&filter_clamd, &conf->hygiene.clamd},
        {&filter_rspamd, &conf->hygiene.rspamd},
        {&filter_spamd, &conf->hygiene.spamd},
    };
    size_t n = 0;
    for (size_t i = 0; i < FILTERS_MAX; i++)
        if (all[i].conf->server[0] != '\0')
            judge->filters[n++] =
                filter_new(judge->h, all[i].protocol, all[i].conf, on_recovered, judge);
    judge->filters[n] = NULL;
}

static void free_filters(struct judge *judge)
{
    for (size_t i = 0; judge->filters[i] != NULL; i++)
        filter_free(judge->filters[i]);
    judge->filters[0] = NULL;
}

/* They lie in incoming/, and are found again. */
static void give_up(struct judge *judge, bool also_batched)
{
    GHashTableIter iter;
    gpointer key, value;
    g_queue_clear(&judge->reading);
    verdicts_give_up(judge->verdicts);
    g_hash_table_iter_init(&iter, judge->known);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        if (!also_batched && verdicts_holds(judge->verdicts, value))
            continue;
        g_hash_table_iter_remove(&iter);
        judgement_free(value);
    }
}

static void remove_stale_top(struct hygiene *h, const char *id)
{
    struct error err;
    enum spool_dir dir = spool_find(h->spool, id);
    if (dir == SPOOL_OUTGOING || (dir == SPOOL_INCOMING && ledger_has_passed(h->d->db, id)) ||
        top_remove(h->spool, id, &err))
        return;
    LOG(LOG_ALARM, "remove-failed", KV("id", id), KV("error", err.text),
        KV("meaning", "remove it by hand; all else goes on"));
}

static bool remove_stale_tops(struct hygiene *h, struct error *err)
{
    struct spool_scan *scan = spool_scan_begin_of(h->spool, SPOOL_OUTGOING, TOP_SUFFIX, err);
    if (scan == NULL)
        return false;
    for (char id[ID_SIZE]; spool_scan_next(scan, id);)
        remove_stale_top(h, id);
    spool_scan_end(scan);
    return true;
}

/* What a stop left in incoming/. */
static bool find_drops(struct judge *judge, struct error *err)
{
    char name[256];
    struct spool_scan *scan = spool_scan_begin(judge->h->spool, SPOOL_INCOMING, err);
    if (scan == NULL)
        return false;
    for (char id[ID_SIZE]; spool_scan_next(scan, id);)
        if (ledger_drop(judge->h->d->db, id, name) == DROP_TAKEN)
            keep_drop(judge, id);
    spool_scan_end(scan);
    return true;
}

struct judge *judge_start(struct hygiene *h, struct error *err)
{
    static const struct verdicts_user user = {on_written, on_settled};
    if (!remove_stale_tops(h, err))
        return NULL;
    struct judge *judge = calloc(1, sizeof *judge);
    if (judge == NULL)
        abort();
    judge->h = h;
    judge->known = g_hash_table_new(g_str_hash, g_str_equal);
    g_queue_init(&judge->reading);
    g_queue_init(&judge->drops);
    judge->verdicts = verdicts_new(h, &user, judge);
    judge->turn = evtimer_new(h->d->base, on_turn, judge);
    judge->wake = evtimer_new(h->d->base, on_wake, judge);
    if (judge->turn == NULL || judge->wake == NULL)
        abort();
    judge->sweep = sweep_new(h->d->base, h->spool, SPOOL_INCOMING, on_sweep, judge);
    make_filters(judge);
    if (!find_drops(judge, err)) {
        judge_free(judge);
        return NULL;
    }
    offer_drops(judge);
    sweep_ring(judge->sweep);
    arm_wake(judge);
    return judge;
}

void judge_free(struct judge *judge)
{
    if (judge == NULL)
        return;
    give_up(judge, true);
    verdicts_free(judge->verdicts);
    g_queue_clear_full(&judge->drops, g_free);
    free_filters(judge);
    sweep_free(judge->sweep);
    event_free(judge->turn);
    event_free(judge->wake);
    g_hash_table_destroy(judge->known);
    free(judge);
}

void judge_ring(struct judge *judge, const char *id)
{
    if (id == NULL || !id_valid(id, strlen(id)) || !offer(judge, id, WINDOW - FOR_DROPS))
        sweep_ring(judge->sweep);
}

void judge_drop(struct judge *judge, const char *id)
{
    if (!offer(judge, id, WINDOW))
        keep_drop(judge, id);
}

void judge_reload(struct judge *judge)
{
    give_up(judge, false);
    free_filters(judge);
    make_filters(judge);
    sweep_ring(judge->sweep);
    set_pace(judge);
    on_recovered(judge);
}

void judge_retry(struct judge *judge)
{
    for (size_t i = 0; judge->filters[i] != NULL; i++)
        filter_retry(judge->filters[i]);
    on_recovered(judge);
}

void judge_stop(struct judge *judge)
{
    verdicts_write(judge->verdicts);
    give_up(judge, false);
}

void judge_status(struct judge *judge, json_t *status)
{
    json_t *filters = json_array();
    for (size_t i = 0; judge->filters[i] != NULL; i++)
        (void)json_array_append_new(filters, filter_status(judge->filters[i]));
    (void)json_object_set_new(status, "filters", filters);
    (void)json_object_set_new(status, "judging", json_integer((json_int_t)judging(judge)));
}
