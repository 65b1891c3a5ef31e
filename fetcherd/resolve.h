/* What became of the messages that the ledger holds as spooled.
 *
 * Outcomes are heard (resolve_heard) and asked for (resolve_account): first the spool is looked at,
 * then, for messages without a file, relayd and hygiene are asked. What neither knows is lost: an
 * alarm, and it is fetched again. A daemon that is down gives no verdict; its messages wait. */
#ifndef FETCHERD_RESOLVE_H
#define FETCHERD_RESOLVE_H

#include <stdint.h>

#include "fetcherd/fetcherd.h"

struct resolve;

struct resolve *resolve_new(struct fetcherd *f);
/* Drops questions that are open, without calling anybody. */
void resolve_free(struct resolve *resolve);

/* An outcome that somebody told: "delivered", "badmail" or "damaged". It is recorded soon, together
 * with others, and the account's session is then told (session_outcome). Others are ignored. */
void resolve_heard(struct resolve *resolve, const char *id, const char *state);

/* Finds out about all that the account has spooled; done is called once, from the loop. */
typedef void resolve_done_fn(void *arg);
void resolve_account(struct resolve *resolve, int64_t account, resolve_done_fn *done, void *arg);

#endif
