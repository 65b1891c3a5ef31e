/* Polling: begins a session for each account that is due, so many at once as the configuration
 * allows, and keeps the account's books when it ends. */
#ifndef FETCHERD_POLL_H
#define FETCHERD_POLL_H

#include "fetcherd/fetcherd.h"
#include "fetcherd/session.h"

struct poll;

struct poll *poll_new(struct fetcherd *f);
void poll_free(struct poll *poll);

/* Polling may begin: the first look at the schedule. */
void poll_start(struct poll *poll);
/* The schedule has changed: an account was added, changed, or asked for. */
void poll_wake(struct poll *poll);
/* Begins no more polls and ends those in progress; daemon_stopped follows when the last batch is
 * in. */
void poll_stop(struct poll *poll);
/* Takes an account that the ledger has forgotten out of the set, ends its poll, and frees it. */
void poll_remove_account(struct poll *poll, struct account *account);

/* How many polls are in progress. */
size_t poll_running(const struct poll *poll);

/* Called by a session as its last act, and by a commit. */
void poll_session_ended(struct poll *poll, struct account *account,
                        const struct session_result *result);
void poll_commit_ended(struct poll *poll);

#endif
