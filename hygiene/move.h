/* Messages on their way from directory to directory. */
#ifndef HYGIENE_MOVE_H
#define HYGIENE_MOVE_H

#include "hygiene/hygiene.h"

/* True when a message lies there under this id now; false when it is not there, or can't be moved:
 * that is told, for one message a minute, as all of them are tried again at each walk. Where
 * another message has the name already (somebody has put one of the two there by hand), that one
 * stays as it is, and this one is quarantined under a new id, with an alarm. */
bool move_on(struct hygiene *h, const char *id, enum spool_dir from, enum spool_dir to);

#endif
