/* One request on many ids, so many at a time. */
#ifndef CTL_ACT_H
#define CTL_ACT_H

#include "ctl/call.h"

#define ACT_IDS 200 /* a request: relayd takes no more */

struct act {
    const char *daemon, *cmd;
    const json_t *more; /* further fields of each request, or NULL */
    size_t most;        /* ids a request: what the daemon takes, and answers in time */
};

/* Sends {"cmd": cmd, "ids": [...]} as often as it takes; of what a reply names as "left", which are
 * the last ones of its request, once more. The replies so far are summed up in `all`:
 * lists and objects grow, numbers add up. False with problem filled in. */
MUST_CHECK bool act_on_ids(const struct ctl *ctl, const struct act *act, const json_t *ids,
                           json_t *all, struct problem *problem);

/* Says why of each id in "failed"; whether there were any. */
bool act_report_failed(const json_t *all);

#endif
