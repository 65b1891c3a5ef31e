/* What the parts of this daemon share. */
#ifndef HYGIENE_HYGIENE_H
#define HYGIENE_HYGIENE_H

#include "hygiene/steady.h"
#include "lib/clock.h"
#include "lib/daemon.h"
#include "lib/room.h"
#include "lib/syncpool.h"
#include "spool/spool.h"

struct hygiene {
    struct daemon *d;
    struct spool *spool;
    struct syncpool *sync;     /* this and what follows: NULL while d->once */
    struct judge *judge;       /* judge.c */
    struct rejected *rejected; /* rejected.c */
    struct pickup *pickup;     /* pickup.c */
    struct event *prune;       /* main.c */
    struct steady steady;
    struct room room;    /* of state-dir */
    int64_t move_failed; /* move.c: when it was told last, monotonic */
};

/* Then nothing new is begun: it lies where it is, and is found again by the sweeps. */
static inline bool hygiene_lacks_room(struct hygiene *h)
{
    return room_is_low(&h->room, clock_monotonic());
}

extern const struct daemon_request control_requests[]; /* control.c */

#endif
