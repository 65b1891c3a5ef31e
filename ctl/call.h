/* Asking a daemon: by its control socket, or, when nobody listens there, by running the daemon's
 * own binary once (-1), which answers from its ledger under the owner's lock. */
#ifndef CTL_CALL_H
#define CTL_CALL_H

#include "ctl/command.h"
#include "lib/error.h"
#include <jansson.h>

enum call_way {
    CALL_RUNNING, /* only one that is up */
    CALL_ANYHOW,  /* one that is down is run once */
};

/* Takes over request. Returns the reply, whose "ok" is true, or NULL with problem filled in: exit
 * code 69 when the daemon is needed and down, 2 when it calls the request wrong, otherwise 1. */
MUST_CHECK json_t *call_daemon(const struct ctl *ctl, const char *daemon, json_t *request,
                               enum call_way way, struct problem *problem);

/* One item of a longer answer; false ends the walk. The item is only lent. */
typedef bool call_item_fn(void *arg, json_t *item);
/* Asks once for each page ("after" is the "next" of the page before) and calls fn for every item.
 * Takes over request, and ask takes over each that it is given. */
typedef json_t *call_ask_fn(void *ask_arg, json_t *request, struct problem *problem);
MUST_CHECK bool call_pages(call_ask_fn *ask, void *ask_arg, json_t *request, call_item_fn *fn,
                           void *arg, struct problem *problem);
/* The same, of a daemon, into one array; NULL with problem filled in. */
MUST_CHECK json_t *call_list(const struct ctl *ctl, const char *daemon, json_t *request,
                             struct problem *problem);

/* A request {"cmd": cmd}. */
json_t *call_request(const char *cmd);

/* How to start it, for a person: the command, with the folder of this program and its
 * configuration. */
const char *call_how_to_start(const struct ctl *ctl, const char *daemon, char *buf, size_t size);

extern const char *const call_daemons[]; /* "fetcherd", "hygiene", "relayd", NULL */

#endif
