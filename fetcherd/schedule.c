/* When an account is polled next.
 *
 * Promises: a failing account is asked less and less often, but never given up; a password that was
 * refused three times in a row is not sent again on our own, since that locks accounts. */
#include "fetcherd/schedule.h"

#include <sodium.h>

#include "lib/clock.h"

#define SPREAD          100 /* ms for each account that is overdue */
#define PERMANENT_DELAY (6 * CLOCK_HOUR)

bool schedule_by_hand(const struct account *a)
{
    return a->round_done < a->round;
}

/* A new poll has to know of all that the last one has received. */
static bool is_free(const struct account *a)
{
    return a->enabled && !a->removed && !a->session && !a->preparing && !a->commits;
}

/* By hand, and not merely to go on with what an earlier poll of this round has begun. */
static bool asked_for(const struct account *a)
{
    return schedule_by_hand(a) && !a->continued;
}

static int64_t interval_of(const struct account *a, int64_t default_interval)
{
    return a->interval ? a->interval : default_interval;
}

/* The longest that any of the rules below puts a poll off. An hour at least, since a login delay
 * learnt before our start is not known any more. */
static int64_t longest_delay(const struct account *a, int64_t default_interval)
{
    int64_t interval = interval_of(a, default_interval);
    int64_t rule = a->failures > 0 ? PERMANENT_DELAY : CLOCK_HOUR;
    int64_t longest = clock_jitter_max(interval > rule ? interval : rule);

    return a->login_delay > longest ? a->login_delay : longest;
}

static bool time_has_come(const struct account *a, int64_t now, int64_t default_interval)
{
    return a->next_poll <= now || a->next_poll > now + longest_delay(a, default_interval);
}

bool schedule_is_due(const struct account *a, int64_t now, int64_t default_interval)
{
    if (!is_free(a))
        return false;
    return asked_for(a) || (!a->paused && time_has_come(a, now, default_interval));
}

void schedule_spread(const struct account_set *set, int64_t now, int64_t default_interval)
{
    int64_t window = 0;

    for (size_t i = 0; i < set->count; i++)
        if (is_free(set->items[i]) && time_has_come(set->items[i], now, default_interval))
            window += SPREAD;
    for (size_t i = 0; i < set->count; i++) {
        struct account *a = set->items[i];
        int64_t most = interval_of(a, default_interval);
        if (time_has_come(a, now, default_interval))
            a->next_poll = now + (int64_t)(((double)randombytes_random() / UINT32_MAX) *
                                           (double)(window < most ? window : most));
    }
}

int64_t schedule_wake(const struct account_set *set, int64_t now)
{
    int64_t wake = INT64_MAX;

    for (size_t i = 0; i < set->count; i++) {
        const struct account *a = set->items[i];
        if (is_free(a) && !a->paused && a->next_poll > now && a->next_poll < wake)
            wake = a->next_poll;
    }
    return wake;
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

void schedule_after_permanent(struct account *a, int64_t now)
{
    a->next_poll = now + clock_jitter(PERMANENT_DELAY);
    a->failures++;
}

void schedule_respect_login_delay(struct account *a, int64_t now)
{
    int64_t earliest = now + a->login_delay;

    if (a->login_delay && a->next_poll < earliest)
        a->next_poll = earliest;
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
