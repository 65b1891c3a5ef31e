/* One POP3 session: log in, see what is there, delete what is ours for good, retrieve what is new,
 * wait a little for its outcomes, delete that too, quit. */
#ifndef FETCHERD_SESSION_H
#define FETCHERD_SESSION_H

#include <stdbool.h>
#include <stdint.h>

#include "fetcherd/account.h"
#include "fetcherd/ledger.h"

struct fetcherd;
struct session;

struct session_result {
    bool ok;
    bool aborted;                       /* by session_abort: no success, no failure */
    bool more;                          /* there is more to fetch: go on at once */
    bool bad_password;                  /* the server refused it */
    bool permanent;                     /* [SYS/PERM]: a person is needed */
    int64_t login_delay;                /* ms that the server wants between logins; 0: none known */
    bool surveyed;                      /* the figures about the server are true */
    const char *command;                /* at which it failed; "" for none */
    char error[ACCOUNT_ERROR_MAX - 32]; /* for a person; safe for a terminal */
    uint32_t fetched, deleted, on_server, too_large, stepped_over;
};

/* Begins one for the account, which must outlive it. by_hand: what was stepped over is tried too.
 * It ends with poll_session_ended, never from within session_begin, and frees itself. */
struct session *session_begin(struct fetcherd *f, struct account *account, bool by_hand);

/* Drops the connection at once, without QUIT. What was received whole is kept. It may be gone
 * when this returns. */
void session_abort(struct session *session);

/* An outcome of one of the account's messages, already recorded. The session may end by it. */
void session_outcome(struct session *session, const char *id, enum ledger_state state);

#endif
