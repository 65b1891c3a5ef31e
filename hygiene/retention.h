/* What has lain in quarantine for hygiene.badmail-keep is removed, with an event for each. */
#ifndef HYGIENE_RETENTION_H
#define HYGIENE_RETENTION_H

#include "hygiene/hygiene.h"
#include "hygiene/ledger.h"

#define RETENTION_TURN 50 /* messages */

/* Removes some of them. True: there may be more. */
bool retention_turn(struct hygiene *h);
/* The event of a removal: to be written before the file goes, so that a crash leaves one event too
 * many, and never one too few. */
void retention_tell(const struct badmail *b);

#endif
