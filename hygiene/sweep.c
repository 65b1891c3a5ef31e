/* See sweep.h. */
#include "hygiene/sweep.h"
#include "lib/log.h"
#include <stdlib.h>

struct sweep {
    const struct spool *spool;
    enum spool_dir dir;
    sweep_fn *fn;
    void *arg;
    struct spool_scan *scan; /* of the walk under way */
    bool again;
    struct event *turn, *unasked;
};

static bool begin(struct sweep *sweep)
{
    struct error err;
    sweep->again = false;
    sweep->scan = spool_scan_begin(sweep->spool, sweep->dir, &err);
    if (sweep->scan == NULL)
        LOG(LOG_ALARM, "scan-failed", KV("dir", spool_dir_name(sweep->dir)), KV("error", err.text));
    return sweep->scan != NULL;
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct sweep *sweep = arg;
    if (sweep->scan == NULL && !begin(sweep))
        return;
    char ids[SWEEP_TURN][ID_SIZE];
    size_t n = 0;
    while (n < SWEEP_TURN && spool_scan_next(sweep->scan, ids[n]))
        n++;
    bool at_end = n < SWEEP_TURN;
    if (at_end) {
        spool_scan_end(sweep->scan);
        sweep->scan = NULL;
    }
    if (n > 0)
        sweep->fn(sweep->arg, ids, n);
    if (!at_end || sweep->again)
        event_active(sweep->turn, EV_TIMEOUT, 0);
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
        event_active(sweep->turn, EV_TIMEOUT, 0);
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
