/* Time. Everything that waits or records asks here. Wall-clock times are milliseconds since 1970
 * UTC in an int64_t; the monotonic clock is for deadlines only. */
#ifndef LIB_CLOCK_H
#define LIB_CLOCK_H

#include <stdint.h>

#define CLOCK_SECOND INT64_C(1000)
#define CLOCK_MINUTE (60 * CLOCK_SECOND)
#define CLOCK_HOUR   (60 * CLOCK_MINUTE)
#define CLOCK_DAY    (24 * CLOCK_HOUR)

int64_t clock_now(void);       /* wall clock, ms since the epoch */
int64_t clock_monotonic(void); /* ms; only differences mean something */

/* For tests: the wall clock stands still at `ms` until it is set again; 0 gives the real one back.
 */
void clock_set_for_test(int64_t ms);

#define CLOCK_TEXT_SIZE sizeof("2026-11-22T10:00:00Z")
/* RFC 3339, UTC, whole seconds; "" for a time behind the year 9999. Returns buf. */
const char *clock_text(int64_t ms, char buf[static CLOCK_TEXT_SIZE]);

/* A delay around `ms`, anywhere from 3/4 to 5/4 of it, so that many who wait don't come back at
 * once. */
int64_t clock_jitter(int64_t ms);
/* The longest that clock_jitter makes of `ms`. What is planned for later than this was planned by a
 * clock that has been set back since, and may count as due now: nobody is to wait until that
 * clock's day has come. */
int64_t clock_jitter_max(int64_t ms);

/* base * 2^failures, at most max, jittered; failures counts from 0. The one rule for every
 * back-off. */
int64_t clock_backoff(int64_t base, int64_t max, unsigned failures);

#endif
