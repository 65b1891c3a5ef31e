/* See sweep.h. */
#include "hygiene/sweep.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <stdlib.h>

struct sweep {
    const struct spool *spool;
    enum spool_dir dir;
    sweep_fn *fn;
    void *arg;
    struct spool_scan *scan; /* of the walk under way */
    int64_t taken;           /* ms that its turns have taken */
    int64_t next_at;         /* monotonic; no walk begins before */
    bool again, paused;
    bool told; /* of names that don't belong there */
    struct event *turn, *unasked;
};

static bool begin(struct sweep *sweep)
{
    struct error err;
    sweep->again = false;
    sweep->taken = 0;
    sweep->scan = spool_scan_begin(sweep->spool, sweep->dir, &err);
    if (sweep->scan == NULL)
        LOG(LOG_ALARM, "scan-failed", KV("dir", spool_dir_name(sweep->dir)), KV("error", err.text));
    return sweep->scan != NULL;
}

static void turn_in(struct sweep *sweep, int64_t ms)
{
    struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    (void)event_add(sweep->turn, &wait);
}

static void finish(struct sweep *sweep)
{
    spool_scan_end(sweep->scan);
    sweep->scan = NULL;
    sweep->next_at = clock_monotonic() + sweep->taken * SWEEP_SHARE;
}

static void take_turn(struct sweep *sweep)
{
    char ids[SWEEP_TURN][ID_SIZE];
    size_t n = 0;
    int64_t began = clock_monotonic();
    while (n < SWEEP_TURN && spool_scan_next(sweep->scan, ids[n]))
        n++;
    if (n > 0)
        sweep->fn(sweep->arg, ids, n);
    sweep->taken += clock_monotonic() - began;
    if (n < SWEEP_TURN) {
        spool_scan_warn(sweep->scan, &sweep->told);
        finish(sweep);
    }
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct sweep *sweep = arg;
    int64_t early = sweep->next_at - clock_monotonic();
    if (sweep->paused)
        return;
    if (sweep->scan == NULL && early > 0) {
        turn_in(sweep, early);
        return;
    }
    if (sweep->scan == NULL && !begin(sweep))
        return;
    take_turn(sweep);
    if (sweep->scan != NULL || sweep->again)
        turn_in(sweep, 0);
}

static void on_unasked(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    sweep_ring(arg);
}

struct sweep *sweep_new(struct event_base *base, const struct spool *spool, enum spool_dir dir,
                        sweep_fn *fn, void *arg)
{
    struct sweep *sweep = calloc(1, sizeof *sweep);
    if (sweep == NULL)
        abort();
    *sweep = (struct sweep){.spool = spool, .dir = dir, .fn = fn, .arg = arg};
    sweep->turn = event_new(base, -1, 0, on_turn, sweep);
    sweep->unasked = event_new(base, -1, EV_PERSIST, on_unasked, sweep);
    struct timeval interval = {SWEEP_INTERVAL / 1000, 0};
    (void)event_add(sweep->unasked, &interval);
    return sweep;
}

void sweep_ring(struct sweep *sweep)
{
    if (sweep->scan != NULL)
        sweep->again = true;
    else
        turn_in(sweep, 0);
}

void sweep_pause(struct sweep *sweep, bool pause)
{
    bool resume = sweep->paused && !pause;
    sweep->paused = pause;
    if (resume)
        turn_in(sweep, 0);
}

void sweep_free(struct sweep *sweep)
{
    if (sweep == NULL)
        return;
    event_free(sweep->turn);
    event_free(sweep->unasked);
    spool_scan_end(sweep->scan);
    free(sweep);
}
