/* Finds files in pickup/ that are complete: inotify tells at once, and a walk every few seconds
 * finds what it missed. A file counts when it ends in .eml, does not begin with a dot, is regular
 * and not empty, and nobody has it open for writing. What was found and is still there is found
 * again by the next walk, not before. */
#ifndef HYGIENE_PICKUP_WATCH_H
#define HYGIENE_PICKUP_WATCH_H

#include "spool/spool.h"
#include <event2/event.h>

struct pickup_claim {
    char id[ID_SIZE]; /* filled in by the one who claims */
    char name[256];
};

struct pickup_watch;
/* May reorder claims. */
typedef void pickup_found_fn(void *arg, struct pickup_claim *claims, size_t n);

MUST_CHECK struct pickup_watch *pickup_watch_new(struct event_base *base, const struct spool *spool,
                                                 pickup_found_fn *fn, void *arg, struct error *err);
void pickup_watch_free(struct pickup_watch *w); /* NULL is fine */

#endif
