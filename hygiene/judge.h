/* incoming/ -> a verdict in the ledger -> outgoing/ or badmail/. A bounded number of messages is
 * judged at a time; those that wait for a filter have a row, and no place here. */
#ifndef HYGIENE_JUDGE_H
#define HYGIENE_JUDGE_H

#include "hygiene/hygiene.h"

/* Clears away what a crash left, and begins. */
MUST_CHECK struct judge *judge_start(struct hygiene *h, struct error *err);
void judge_free(struct judge *judge); /* NULL is fine */

/* incoming/ has something new: this id, or (NULL) one that is not known. */
void judge_ring(struct judge *judge, const char *id);
/* The same for one that pickup hands on: what waits for filters does not stand in its way. */
void judge_drop(struct judge *judge, const char *id);
/* The configuration is new: what is being judged begins anew by it. */
void judge_reload(struct judge *judge);
/* Filters that are in trouble may be tried at once; who waits has been made due. */
void judge_retry(struct judge *judge);
/* Begins to write the verdicts that have come, and gives up what has none yet. */
void judge_stop(struct judge *judge);

/* Into hygiene's status: filters [..], judging, waiting. */
void judge_status(struct judge *judge, json_t *status);

#endif
