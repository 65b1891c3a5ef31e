/* What lies in outgoing/: how many, and which, page by page. Neither takes more memory, or a larger
 * part of the time, when there are a million. */
#ifndef RELAYD_BACKLOG_H
#define RELAYD_BACKLOG_H

#include "spool/spool.h"

#include <time.h>

enum {
    BACKLOG_PAGE = 128,
    BACKLOG_SORTED = 4096, /* so many are listed in the order of their ids */
};

/* A count that is kept. All zeros: there is none yet. */
struct backlog {
    uint64_t count;
    int64_t at;              /* monotonic, when it was counted */
    int64_t cost;            /* ms that it took */
    struct timespec changed; /* the directory, before it was counted */
    bool counted;
};

/* Counts anew when the directory has changed, but spends no more than a twentieth of the time on
 * it: the answer is as old as twenty times what counting takes. `now` is monotonic. */
uint64_t backlog_count(struct backlog *backlog, const struct spool *spool, int64_t now);

struct backlog_page {
    char ids[BACKLOG_PAGE][ID_SIZE];
    char cursors[BACKLOG_PAGE][ID_SIZE]; /* the next page, when it is to go on behind ids[i] */
    size_t count;
    bool more; /* there is a next page */
};

/* The page behind the cursor `after`, "" for the first one. Few (BACKLOG_SORTED) come in the order
 * of their ids; of more, all pages together read the directory once, in its order. What lies there
 * from the first page to the last comes up once. */
MUST_CHECK bool backlog_list(const struct spool *spool, const char *after,
                             struct backlog_page *page, struct error *err);

#endif
