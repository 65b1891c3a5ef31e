/* The sessions as a whole: how many are up, and what they are doing. Of those to the server that is
 * configured now; others, from before a reload, come to their ends beside them. */
#ifndef RELAYD_CREW_H
#define RELAYD_CREW_H

#include "relayd/relay.h"

#define CREW_STUCK CLOCK_MINUTE /* without an answer */

size_t crew_up(const struct relay *relay);      /* connecting too */
size_t crew_greeted(const struct relay *relay); /* by the server */
size_t crew_busy(const struct relay *relay);    /* with a message, or with what follows it */
size_t crew_stuck(const struct relay *relay);   /* of these: the server is silent */
/* Busy with what may be at fault itself: these keep no probe waiting. */
size_t crew_aside(const struct relay *relay);
/* How many there may be: as many as the server has let in, where that is fewer than sessions. */
size_t crew_allowed(const struct relay *relay);
/* The server may hang on what was lost with its session before: one connection is kept for other
 * mail, and while there is only one, other mail goes first. */
bool crew_may_have_a_lost_one(const struct relay *relay);

#endif
