/* When an account is polled next. Arithmetic alone; fetcherd/poll.h does the polling. */
#ifndef FETCHERD_SCHEDULE_H
#define FETCHERD_SCHEDULE_H

#include <stdbool.h>
#include <stdint.h>

#include "fetcherd/account.h"

/* Whether a poll should begin now: its time has come, or somebody asked for it by hand. Paused
 * accounts are polled by hand only, disabled ones not at all. A time further off than any delay of
 * ours has come, too: it was planned by a clock that has been set back since. */
bool schedule_is_due(const struct account *account, int64_t now, int64_t default_interval);

/* Whether what makes it due is a request by hand. */
bool schedule_by_hand(const struct account *account);

/* The earliest time after now at which one of them becomes due; INT64_MAX: none. What is due by now
 * and was not begun waits for room, and is begun when another poll ends. */
int64_t schedule_wake(const struct account_set *set, int64_t now);

/* After a pause of ours many accounts are overdue: spreads their polls, the more of them the
 * wider, so that they don't all start together. */
void schedule_spread(const struct account_set *set, int64_t now, int64_t default_interval);

/* The next poll after one that went well: an interval later, jittered. */
void schedule_after_success(struct account *account, int64_t now, int64_t default_interval);

/* After one that failed: 1, 2, 4, ... minutes, jittered, up to the interval or an hour, whichever
 * is less. Counts the failure. */
void schedule_after_failure(struct account *account, int64_t now, int64_t default_interval);

/* After an answer that calls for a person ([SYS/PERM]): hours later. Counts the failure. */
void schedule_after_permanent(struct account *account, int64_t now);

/* Not before the server lets the account log in again; by hand neither, when the poll goes on
 * with the work of the one before. */
void schedule_respect_login_delay(struct account *account, int64_t now);

/* Counts a refused password; true when the account is paused by this one. */
bool schedule_bad_password(struct account *account);

/* Forgets failures and pausing, and makes the account due: its settings were changed. */
void schedule_reset(struct account *account, int64_t now);

#endif
