/* incoming/ -> a verdict in the ledger -> outgoing/ or badmail/. */
#ifndef HYGIENE_JUDGE_H
#define HYGIENE_JUDGE_H

#include "hygiene/hygiene.h"

/* One turn: judges these messages, commits their verdicts together, moves them. A sweep_fn; arg is
 * the struct hygiene. */
void judge_turn(void *arg, char (*ids)[ID_SIZE], size_t n);

#endif
