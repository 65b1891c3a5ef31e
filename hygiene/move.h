/* Messages on their way from directory to directory. */
#ifndef HYGIENE_MOVE_H
#define HYGIENE_MOVE_H

#include "hygiene/hygiene.h"
#include "hygiene/ledger.h"

/* True when a message lies there under this id now; false when it is not there, or can't be moved:
 * that is told, for one message a minute, as all of them are tried again at each walk. Where
 * another message has the name already (somebody has put one of the two there by hand), that one
 * stays as it is, and this one is quarantined under a new id, with an alarm. A row that was written
 * for it goes with it, and the other gets one of its own. */
bool move_on(struct hygiene *h, const char *id, enum spool_dir from, enum spool_dir to);

/* Whether another message lies in `to` under the id of this one. */
bool move_is_taken(const struct hygiene *h, const char *id, enum spool_dir from, enum spool_dir to);

/* For one whose name is taken in badmail/, and of which more is known than its file says: it is
 * quarantined under a new id, which b gets, with what b says. False as above. */
bool move_aside(struct hygiene *h, struct badmail *b, enum spool_dir from);

#endif
