/* The spooled messages whose outcomes a session can act on: a sorted array, searched by id.
 *
 * Promises: an outcome counts once; memory is that of the messages fetched or waiting. */
#include "fetcherd/session_inner.h"

#include <stdlib.h>
#include <string.h>

void spooled_add(struct session *s, const char *id, uint32_t item, bool ours)
{
    if (s->spooled_count == s->spooled_capacity) {
        size_t wanted = s->spooled_capacity ? 2 * s->spooled_capacity : 64;
        struct session_spooled *larger = realloc(s->spooled, wanted * sizeof *larger);
        if (!larger)
            abort();
        s->spooled = larger;
        s->spooled_capacity = wanted;
    }
    struct session_spooled *added = &s->spooled[s->spooled_count++];
    *added = (struct session_spooled){.item = item, .ours = ours};
    memcpy(added->id, id, ID_SIZE);
    s->unsettled += ours;
}

static int by_id(const void *a, const void *b)
{
    const struct session_spooled *x = a, *y = b;
    return strcmp(x->id, y->id);
}

void spooled_sort(struct session *s)
{
    if (s->spooled_count)
        qsort(s->spooled, s->spooled_count, sizeof *s->spooled, by_id);
}

int64_t spooled_settle(struct session *s, const char *id)
{
    struct session_spooled key = {.item = 0};

    if (s->spooled_count == 0)
        return -1;
    memcpy(key.id, id, ID_SIZE);
    struct session_spooled *found =
        bsearch(&key, s->spooled, s->spooled_count, sizeof *s->spooled, by_id);
    if (!found || found->settled)
        return -1;
    found->settled = true;
    s->unsettled -= found->ours;
    return found->item;
}
