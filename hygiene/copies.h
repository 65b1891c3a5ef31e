/* Step 3 of pickup.h: outgoing/ID.drop is copied to ID.new, and that is synced. Large drops are
 * copied in slices, COPIES_LARGE at once, so that the loop serves others in between, and small
 * drops pass them. A drop that somebody writes to is not copied, or the copy is thrown away
 * (guard.h). */
#ifndef HYGIENE_COPIES_H
#define HYGIENE_COPIES_H

#include "hygiene/hygiene.h"

#define COPIES_SLICE   (256 * 1024)          /* what is larger is copied in pieces of this size */
#define COPIES_LARGE   2                     /* such copies open at once */
#define COPIES_BATCH   32                    /* small ones synced together */
#define COPIES_SYNC    (32 * 1024 * 1024)    /* bytes behind which a large copy waits for a sync */
#define COPIES_RESERVE (64ULL * 1024 * 1024) /* of disk, that a large copy leaves free */

struct copied {
    char id[ID_SIZE];
    char replay_of[ID_SIZE]; /* "" unless it is a replay */
};

enum copies_failure {
    COPIES_REFUSED, /* it can't be understood */
    COPIES_LATER,   /* it could not be read or written now */
    COPIES_WRITTEN, /* somebody writes to it, or has a moment ago */
    COPIES_GONE,    /* there is no ID.drop */
};

/* What becomes of each id that was added, unless it was abandoned at the end. */
struct copies_user {
    void (*synced)(void *arg, const struct copied *done, size_t n); /* ID.new and its name are */
    void (*failed)(void *arg, const char *id, enum copies_failure how, const char *why);
};

struct copies;
struct copies *copies_new(struct hygiene *h, const struct copies_user *user, void *arg);
/* Behind syncpool_free. NULL is fine. */
void copies_free(struct copies *c);

void copies_add(struct copies *c, const char *id);
size_t copies_waiting(const struct copies *c); /* added, and not begun */
size_t copies_open(const struct copies *c);    /* begun, and neither synced nor failed */

/* Begins nothing any more, and abandons what is being copied; what is being synced is told to
 * `synced` yet. */
void copies_stop(struct copies *c);

#endif
