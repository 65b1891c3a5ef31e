/* Makes verdicts durable, many at a time: those of one turn of the loop go into one commit. Only
 * then are files moved, and the others told:
 *
 *   delivered   commit -> unlink from outgoing/ -> outcome "delivered"
 *   rejected    commit -> rename into rejected/ -> bell "rejected"
 *   deferred    commit
 *
 * A crash behind the commit leaves a settled file in outgoing/; the queue's scan hands it to
 * settle_again. */
#ifndef RELAYD_SETTLE_H
#define RELAYD_SETTLE_H

#include "lib/bus.h"
#include "relayd/attempt.h"
#include "relayd/queue.h"

struct settle;

struct settle_counts {
    uint64_t delivered, rejected, deferred;
};

/* `committed` is called behind each commit, when its files are moved. */
struct settle *settle_new(struct event_base *base, struct bus *bus, struct db *db,
                          const struct spool *spool, void (*committed)(void *arg), void *arg);
void settle_set_queue(struct settle *settle, struct queue *queue);
/* Commits what is waiting, then frees. NULL is fine. */
void settle_free(struct settle *settle);

/* Takes over the attempt. The message stays taken in the queue until the commit. Not for
 * ATTEMPT_AGAIN. Returns a ticket for settle_durable. */
uint64_t settle_add(struct settle *settle, struct attempt *attempt,
                    const struct attempt_verdict *verdict);
bool settle_durable(const struct settle *settle, uint64_t ticket);

/* Rings "rejected" once more when something was rejected since the last call: the first bell may
 * have rung before anybody listened. For a timer of a second or so. */
void settle_remind(struct settle *settle);

/* Moves the file of a message that the ledger has as settled. Another one under its id goes to
 * quarantine. */
void settle_again(struct settle *settle, const char *id, bool delivered);

/* True when a file could not be moved since the last call: a scan finds it again. */
bool settle_left_some(struct settle *settle);

const struct settle_counts *settle_counts(const struct settle *settle);

#endif
