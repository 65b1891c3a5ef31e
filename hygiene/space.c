/* See space.h. */
#include "hygiene/space.h"
#include "lib/log.h"

bool space_is_low(struct hygiene *h)
{
    uint64_t bytes = db_free_bytes(h->d->db);
    bool was = h->space_low;
    h->space_low = bytes < (was ? DB_ROOM + DB_ROOM / 4 : DB_ROOM);
    if (h->space_low && !was)
        LOG(LOG_ALARM, "holding-off", KV("reason", space_problem(h)), KVN("free", (long long)bytes),
            KV("advice", "make room in state-dir; mail waits meanwhile, and goes on by itself"));
    if (was && !h->space_low)
        LOG(LOG_NOTE, "judging-again");
    return h->space_low;
}

const char *space_problem(const struct hygiene *h)
{
    return h->space_low
               ? "the disk of state-dir is full, and what becomes of mail could not be written down"
               : NULL;
}
