/* Whether there is room on the ledger's disk for what is about to be decided. What can't be written
 * down is decided again: a message would be sent twice, or end its process start after start. So
 * nothing is begun without room. */
#ifndef LIB_ROOM_H
#define LIB_ROOM_H

#include "lib/db.h"

#include <stdbool.h>
#include <stdint.h>

struct room {
    const struct db *db;
    uint64_t min;      /* bytes; under this it is low, until a quarter more is free */
    const char *again; /* the event when it is not low any more */
    int64_t looked;    /* monotonic, when last */
    bool low;          /* as found then */
};

/* Free bytes against a margin; once below it, a quarter more is wanted, so that it does not flap.
 */
bool room_is_below(uint64_t free_bytes, uint64_t margin, bool was);

/* For when something is about to be begun: looks at the disk, at most once a second. `now` is
 * monotonic, ms. Going low is an alarm, and being over it a note, once each. */
bool room_is_low(struct room *room, int64_t now);
/* Why nothing is begun, or NULL; as last found. */
const char *room_problem(const struct room *room);

#endif
