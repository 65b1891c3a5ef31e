/* Whether the wall clock can be believed when mail is removed by it. What lies in quarantine may be
 * the only copy of somebody's mail, and a machine that starts with a wrong date would find all of
 * it too old. */
#ifndef HYGIENE_STEADY_H
#define HYGIENE_STEADY_H

#include "lib/clock.h"
#include "lib/db.h"
#include <stdbool.h>

#define STEADY_JUMP    (1 * CLOCK_HOUR) /* that the clock may be put right by, while we run */
#define STEADY_ABSENCE (2 * CLOCK_DAY)  /* that we may have been away for */
#define STEADY_DOUBT   (1 * CLOCK_DAY)  /* for which it is not believed behind a jump */

struct steady {
    bool begun;
    int64_t ahead; /* of the wall clock before the monotonic one, at the last look */
    int64_t doubt; /* monotonic: until then it is not believed */
};

/* A look, every hour or so; db remembers the last time that was believed. A jump is told. */
bool steady_clock(struct steady *steady, struct db *db);

#endif
