/* Messages on their way from directory to directory. */
#ifndef HYGIENE_MOVE_H
#define HYGIENE_MOVE_H

#include "hygiene/hygiene.h"

/* True when it has moved; false when it is not there, or can't be moved: that is told, for one
 * message a minute, as all of them are tried again at each walk. */
bool move_on(struct hygiene *h, const char *id, enum spool_dir from, enum spool_dir to);

#endif
