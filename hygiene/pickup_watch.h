/* Finds files in pickup/ that are complete: inotify tells at once, and a walk every few seconds
 * finds what it missed. A file counts when it ends in .eml, does not begin with a dot, is regular
 * and not empty, and nobody has it open for writing (guard.h). Where the kernel does not tell that,
 * inotify must have shown that its last writer closed it, or, when it was there before, it must
 * have been quiet for two minutes. What was found and is still there is found again by the next
 * walk, not before. What is not taken is noted (left.h). */
#ifndef HYGIENE_PICKUP_WATCH_H
#define HYGIENE_PICKUP_WATCH_H

#include "spool/spool.h"
#include <event2/event.h>
#include <jansson.h>

struct pickup_claim {
    char id[ID_SIZE]; /* filled in by the one who claims */
    int failed;       /* so is this: errno, where it can't be taken; 0 */
    char name[256];
};

struct pickup_watch;
typedef void pickup_found_fn(void *arg, struct pickup_claim *claims, size_t n);

MUST_CHECK struct pickup_watch *pickup_watch_new(struct event_base *base, const struct spool *spool,
                                                 pickup_found_fn *fn, void *arg, struct error *err);
void pickup_watch_free(struct pickup_watch *w); /* NULL is fine */

/* Nothing is found until it goes on; it remembers where it stood. */
void pickup_watch_pause(struct pickup_watch *w);
void pickup_watch_resume(struct pickup_watch *w);

/* What is left alone: left_json of its last walk. A new reference. */
json_t *pickup_watch_left(const struct pickup_watch *w);

#endif
