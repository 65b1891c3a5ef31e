/* Walks a spool directory in turns, so that no directory, however full, keeps the loop from its
 * other work. A ring asks for a walk; rings during a walk make one more behind it; and every
 * SWEEP_INTERVAL ms a walk is made unasked, because a ring may be lost. Walks take one part in
 * SWEEP_SHARE of the time at the most. */
#ifndef HYGIENE_SWEEP_H
#define HYGIENE_SWEEP_H

#include "spool/spool.h"
#include <event2/event.h>

#define SWEEP_INTERVAL 2000
#define SWEEP_TURN     64 /* messages */
#define SWEEP_SHARE    20

struct sweep;
/* Up to SWEEP_TURN ids that lay in the directory a moment ago. */
typedef void sweep_fn(void *arg, char (*ids)[ID_SIZE], size_t n);

struct sweep *sweep_new(struct event_base *base, const struct spool *spool, enum spool_dir dir,
                        sweep_fn *fn, void *arg);
void sweep_ring(struct sweep *sweep);
/* While paused the walk stands where it is: there is no room for what it would find. */
void sweep_pause(struct sweep *sweep, bool pause);
void sweep_free(struct sweep *sweep); /* NULL is fine */

#endif
