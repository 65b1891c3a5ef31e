/* fsync(2) off the loop: a few threads that do nothing else. */
#ifndef LIB_SYNCPOOL_H
#define LIB_SYNCPOOL_H

#include "lib/error.h"
#include <event2/event.h>
#include <stddef.h>

#define SYNCPOOL_THREADS 4

struct syncpool;
/* failed_errno is 0 when every fsync succeeded. */
typedef void syncpool_fn(void *arg, int failed_errno);

MUST_CHECK struct syncpool *syncpool_new(struct event_base *base, struct error *err);
/* Waits for what is under way; calls nothing any more. */
void syncpool_free(struct syncpool *pool);

/* Syncs fds[0..n) side by side, then last_fd (a directory; -1 for none), then calls fn from the
 * loop. The array is copied; the descriptors stay the caller's and must stay open until then. An
 * fsync that failed is never tried again: the kernel may have thrown the data away
 * (docs/INTERNALS.md). */
void syncpool_run(struct syncpool *pool, const int *fds, size_t n, int last_fd, syncpool_fn *fn,
                  void *arg);

/* Calls fn once nothing is under way and all has been told: at once, or behind the last job. */
void syncpool_when_idle(struct syncpool *pool, void (*fn)(void *arg), void *arg);

#endif
