/* See steady.h. */
#include "hygiene/steady.h"
#include "hygiene/ledger.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <stdlib.h>

static bool has_jumped(const struct steady *steady, int64_t now, int64_t ahead, int64_t seen)
{
    if (steady->begun)
        return llabs(ahead - steady->ahead) > STEADY_JUMP;
    return seen > 0 && (now - seen > STEADY_ABSENCE || seen - now > STEADY_JUMP);
}

bool steady_clock(struct steady *steady, struct db *db)
{
    char was[CLOCK_TEXT_SIZE], is[CLOCK_TEXT_SIZE];
    int64_t now = clock_now(), monotonic = clock_monotonic(), ahead = now - monotonic;
    int64_t seen = ledger_clock(db);
    if (has_jumped(steady, now, ahead, seen)) {
        steady->doubt = monotonic + STEADY_DOUBT;
        LOG(LOG_ALARM, "clock-jumped", KV("last", clock_text(seen, was)),
            KV("now", clock_text(now, is)),
            KV("meaning", "nothing is removed from quarantine for a day; is the date right?"));
    }
    steady->begun = true;
    steady->ahead = ahead;
    if (monotonic < steady->doubt)
        return false;
    ledger_clock_set(db, now);
    return true;
}
