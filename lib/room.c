/* Promises: each of the two changes is said once; a disk that hovers about the limit does not make
 * us flap. */
#include "lib/room.h"

#include "lib/clock.h"
#include "lib/log.h"

bool room_is_below(uint64_t free_bytes, uint64_t margin, bool was)
{
    return free_bytes < (was ? margin + margin / 4 : margin);
}

static void look(struct room *room)
{
    uint64_t free_bytes = db_free_bytes(room->db);
    bool was = room->low;
    room->low = room_is_below(free_bytes, room->min, was);
    if (room->low && !was)
        LOG(LOG_ALARM, "holding-off", KV("reason", room_problem(room)),
            KVN("free", (long long)free_bytes),
            KV("advice", "make room in state-dir; mail waits meanwhile, and goes on by itself"));
    if (was && !room->low)
        LOG(LOG_NOTE, room->again);
}

bool room_is_low(struct room *room, int64_t now)
{
    if (room->looked == 0 || now - room->looked >= CLOCK_SECOND) {
        room->looked = now;
        look(room);
    }
    return room->low;
}

const char *room_problem(const struct room *room)
{
    return room->low
               ? "the disk of state-dir is nearly full, and what becomes of mail could not be "
                 "written down"
               : NULL;
}
