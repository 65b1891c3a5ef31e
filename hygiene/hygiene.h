/* What the parts of this daemon share. */
#ifndef HYGIENE_HYGIENE_H
#define HYGIENE_HYGIENE_H

#include "lib/daemon.h"
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
};

extern const struct daemon_request control_requests[]; /* control.c */

#endif
