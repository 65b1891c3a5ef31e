/* What is ready to be relayed: a bounded window on outgoing/ and on the deferred rows of the
 * ledger. Its memory does not grow with the spool: the directory is read a piece at a time, and
 * left open in between. Fresh mail goes first, but every fifth message is a deferred one that is
 * due. Within the window each kind goes in the order of its time: arrival, or the time at which it
 * was due. Held messages stay out.
 *
 * An id that was taken is not given out again before queue_done or queue_again. */
#ifndef RELAYD_QUEUE_H
#define RELAYD_QUEUE_H

#include "lib/db.h"
#include "spool/spool.h"

enum {
    QUEUE_FRESH_MAX = 768,
    QUEUE_DUE_MAX = 256,  /* that the server answered at the last attempt */
    QUEUE_LOST_MAX = 128, /* that it did not; together the window of 1152 */
};

struct queue;

/* A file in outgoing/ whose message is settled already (a power cut came between the commit and the
 * file's move). Called from queue_refill. */
typedef void queue_settled_fn(void *arg, const char *id, bool delivered);

struct queue *queue_new(struct db *db, const struct spool *spool, queue_settled_fn *settled,
                        void *arg);
void queue_free(struct queue *queue); /* NULL is fine */

/* A doorbell with an id: joins the window when it is new and there is room, else a scan finds it.
 */
void queue_push(struct queue *queue, const char *id);
/* Asks for a scan of outgoing/. */
void queue_scan(struct queue *queue);
/* Does a bounded piece of the reading. True: there is more to do, and room for it. `now` is the
 * wall clock, `longest` what a message may be put off (ledger_each_due). */
bool queue_refill(struct queue *queue, int64_t now, int64_t longest);
/* May outgoing/ have changed since the last scan began, with no scan under way? One fstat(2). A
 * file system's clock is coarse (4 ms and more), so that a change which was new when the scan began
 * may hide a later one: then it is yes once more. */
bool queue_stale(const struct queue *queue);

/* The next message to relay; false when there is none. Unless `also_lost`, one whose last attempt
 * ended without a reply is stepped over. */
bool queue_take(struct queue *queue, char id[static ID_SIZE], bool also_lost);
/* It has a row that says what is next (or none, and no file). */
void queue_done(struct queue *queue, const char *id);
/* Takes an id that waits out of the window, since it is to be held; false when it was taken. */
bool queue_drop(struct queue *queue, const char *id);
/* It comes again, behind all that came until `now`: it may be what broke the session. Returns how
 * often in a row. */
unsigned queue_again(struct queue *queue, const char *id, int64_t now);
unsigned queue_losses(const struct queue *queue, const char *id); /* queue_again, so far */
/* It goes back to where it came from: nothing was learnt of it. */
void queue_back(struct queue *queue, const char *id);
unsigned queue_backs(const struct queue *queue, const char *id); /* queue_back, so far */

bool queue_knows(const struct queue *queue, const char *id); /* waiting in the window, or taken */
size_t queue_ready(const struct queue *queue);
size_t queue_lost(const struct queue *queue); /* of these, what queue_take may step over */
size_t queue_taken(const struct queue *queue);

#endif
