/* When an account is polled next.
 *
 * Promises: a failing account is asked less and less often, but never given up; a password that was
 * refused three times in a row is not sent again on our own, since that locks accounts. */
#include "fetcherd/schedule.h"

#include <stdio.h>

#include "lib/clock.h"

bool schedule_by_hand(const struct account *a)
{
    return a->round_done < a->round;
}

static bool is_free(const struct account *a)
{
    return a->enabled && !a->removed && !a->session && !a->preparing;
}

bool schedule_is_due(const struct account *a, int64_t now)
{
    if (!is_free(a))
        return false;
    return schedule_by_hand(a) || (!a->paused && a->next_poll <= now);
}

int64_t schedule_wake(const struct account_set *set)
{
    int64_t wake = INT64_MAX;

    for (size_t i = 0; i < set->count; i++) {
        const struct account *a = set->items[i];
        if (!is_free(a) || (a->paused && !schedule_by_hand(a)))
            continue;
        int64_t at = schedule_by_hand(a) ? 0 : a->next_poll;
        if (at < wake)
            wake = at;
    }
    return wake;
}

static int64_t interval_of(const struct account *a, int64_t default_interval)
{
    return a->interval ? a->interval : default_interval;
}

void schedule_after_success(struct account *a, int64_t now, int64_t default_interval)
{
    a->last_ok = now;
    a->failures = 0;
    a->bad_passwords = 0;
    a->paused = false;
    a->error[0] = '\0';
    a->next_poll = now + clock_jitter(interval_of(a, default_interval));
}

void schedule_after_failure(struct account *a, int64_t now, int64_t default_interval)
{
    int64_t most = interval_of(a, default_interval);

    if (most > CLOCK_HOUR)
        most = CLOCK_HOUR;
    a->next_poll = now + clock_backoff(CLOCK_MINUTE, most, a->failures);
    a->failures++;
}

bool schedule_bad_password(struct account *a)
{
    bool was = a->paused;

    a->bad_passwords++;
    a->paused = a->bad_passwords >= ACCOUNT_BAD_PASSWORDS;
    return a->paused && !was;
}

void schedule_reset(struct account *a, int64_t now)
{
    a->failures = 0;
    a->bad_passwords = 0;
    a->paused = false;
    a->error[0] = '\0';
    a->next_poll = now;
}
