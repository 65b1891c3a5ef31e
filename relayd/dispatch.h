/* Messages out of the queue, and their verdicts into the ledger. */
#ifndef RELAYD_DISPATCH_H
#define RELAYD_DISPATCH_H

#include "relayd/attempt.h"
#include "relayd/relay.h"

/* The next message to relay, opened; NULL when there is none (also_lost: see queue_take). What
 * can't be opened on the way is dealt with. The caller gives it to a session, or to one of the
 * calls below. */
struct attempt *dispatch_next(struct relay *relay, bool also_lost);

/* What a session made of it; takes the attempt over. Returns the verdict's ticket (settle_durable),
 * or 0 when nothing was learnt of the message and it is in the queue again. */
uint64_t dispatch_result(struct relay *relay, struct attempt *attempt,
                         const struct smtp_result *result);
/* relayd refuses it by itself, for this reason; takes the attempt over. */
void dispatch_refuse(struct relay *relay, struct attempt *attempt, const char *reason);
/* Its file can't be read, or is not what its preface says; takes the attempt over. */
void dispatch_unreadable(struct relay *relay, struct attempt *attempt, const struct error *err);

#endif
