#include "hygiene/move.h"
#include "lib/clock.h"
#include "lib/log.h"

bool move_on(struct hygiene *h, const char *id, enum spool_dir from, enum spool_dir to)
{
    struct error err;
    int64_t now = clock_monotonic();
    if (spool_move(h->spool, id, from, to, &err))
        return true;
    if (err.kind == ERROR_MISSING || (h->move_failed > 0 && now - h->move_failed < CLOCK_MINUTE))
        return false;
    h->move_failed = now;
    LOG(LOG_ALARM, "move-failed", KV("id", id), KV("to", spool_dir_name(to)), KV("error", err.text),
        KV("meaning", "it and others like it are tried again and again"));
    return false;
}
