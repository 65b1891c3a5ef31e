/* Whether there is room on the ledger's disk for the verdict on what is sent. Without a verdict
 * that is written down, what the server took is sent again: so nothing is sent. */
#ifndef RELAYD_ROOM_H
#define RELAYD_ROOM_H

#include "lib/db.h"

#include <stdbool.h>
#include <stdint.h>

#define ROOM_MIN                                                                                   \
    (INT64_C(4) << 20) /* bytes; under this it is low, until a quarter more is free                \
                        */

struct room {
    const struct db *db;
    int64_t looked; /* monotonic, when last */
    bool low;       /* as found then */
};

/* For when something is about to be sent: looks at the disk, at most once a second. `now` is
 * monotonic, ms. Going low is an alarm, and being over it a note, once each. */
bool room_is_low(struct room *room, int64_t now);
/* Why nothing is sent, or NULL; as last found. */
const char *room_problem(const struct room *room);

#endif
