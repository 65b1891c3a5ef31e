/* The two clocks, their RFC 3339 text, and the one rule for back-off. */
#include "lib/clock.h"
#include <sodium.h>
#include <time.h>

static int64_t test_time;

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    (void)clock_gettime(id, &ts);
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

int64_t clock_now(void)
{
    return test_time != 0 ? test_time : read_clock(CLOCK_REALTIME);
}

int64_t clock_monotonic(void)
{
    return read_clock(CLOCK_MONOTONIC);
}

void clock_set_for_test(int64_t ms)
{
    test_time = ms;
}

const char *clock_text(int64_t ms, char buf[static CLOCK_TEXT_SIZE])
{
    time_t seconds = (time_t)(ms / 1000);
    struct tm tm;
    /* What strftime leaves behind when the text does not fit (year 10000) is undefined. */
    if (gmtime_r(&seconds, &tm) == NULL ||
        strftime(buf, CLOCK_TEXT_SIZE, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        buf[0] = '\0';
    return buf;
}

int64_t clock_jitter(int64_t ms)
{
    if (ms < 4)
        return ms;
    int64_t spread = ms / 2;
    uint64_t chance;
    randombytes_buf(&chance, sizeof chance);
    return ms - spread / 2 + (int64_t)(chance % (uint64_t)spread);
}

int64_t clock_jitter_max(int64_t ms)
{
    return ms + ms / 4 + 1; /* clock_jitter rounds in our disfavour by one at most */
}

int64_t clock_backoff(int64_t base, int64_t max, unsigned failures)
{
    int64_t delay = base;
    while (failures-- > 0 && delay < max)
        delay *= 2;
    return clock_jitter(delay < max ? delay : max);
}
