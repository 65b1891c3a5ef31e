/* relayd's ledger: what became of every message it took on, and what it knows of the server.
 *
 *   no row     fresh: never tried, or tried without a word about the message itself
 *   deferred   tried; due again at next_attempt. Which recipients are settled stands beside it.
 *   held       a person keeps it back, until it is released; otherwise as it was before
 *   delivered  the server took it; its file is to be unlinked wherever it turns up again
 *   rejected   for good; its file belongs in rejected/
 *
 * Changes are made between ledger_begin and ledger_commit, by relayd/settle alone but for retry,
 * hold and release, facts and pruning. A failing database ends the process (lib/db.h). Times are ms
 * since the epoch.
 */
#ifndef RELAYD_LEDGER_H
#define RELAYD_LEDGER_H

#include "lib/db.h"
#include "spool/address.h"
#include "spool/envelope.h"
#include "spool/hash.h"
#include "spool/id.h"

enum ledger_state {
    LEDGER_FRESH, /* no row */
    LEDGER_DEFERRED,
    LEDGER_DELIVERED,
    LEDGER_REJECTED,
    LEDGER_HELD,
    LEDGER_STATES,
};
const char *ledger_state_name(enum ledger_state state);

enum ledger_recipient {
    LEDGER_SENT = 1,
    LEDGER_REFUSED,
    LEDGER_PUT_OFF, /* by 4xx, while others have not been asked about yet: these come first */
};

enum { LEDGER_REASON_MAX = 480 };

struct ledger_row {
    enum ledger_state state;
    unsigned attempts;
    int64_t first_at;     /* of the first attempt that counted */
    int64_t next_attempt; /* deferred only */
    int64_t at;           /* of the last change */
    int64_t waited;       /* between attempts, as planned: what counts towards expire */
    int code;             /* SMTP's; 0 when relayd decided */
    uint64_t size;
    char hash[HASH_TEXT_SIZE]; /* of the message; "" where it could not be read */
    char sender[ADDRESS_MAX + 1];
    char reason[LEDGER_REASON_MAX]; /* the last reply, or relayd's own words */
};

extern const char *const ledger_migrations[];

enum ledger_state ledger_state(struct db *db, const char *id);
/* False when there is no row. */
bool ledger_find(struct db *db, const char *id, struct ledger_row *row);

/* Proves that verdicts on as many messages can be written down, by writing as much and removing it
 * again: the room stays with the ledger. Ends the process when it can't. */
void ledger_prove_room(struct db *db, int messages);

void ledger_begin(struct db *db);
void ledger_commit(struct db *db);
/* Writes the row of `id`, in place of an older one. */
void ledger_put(struct db *db, const char *id, const struct ledger_row *row);
/* Forgets the message and its recipients. */
void ledger_forget(struct db *db, const char *id);

/* Recipients that are settled, one way or the other, or put off. */
void ledger_put_recipient(struct db *db, const char *id, const char *address,
                          enum ledger_recipient state, const char *reply);
/* All have been asked about: nobody is put off behind others any more. */
void ledger_forget_put_off(struct db *db, const char *id);
typedef void ledger_recipient_fn(void *arg, const char *address, enum ledger_recipient state,
                                 const char *reply);
void ledger_each_recipient(struct db *db, const char *id, ledger_recipient_fn *fn, void *arg);

/* Deferred messages due at `now`, the longest due first; behind them those that are planned for
 * later than `longest` (ms) from now, which is no delay of ours: the clock has been set back since.
 * They count as due since now. Lost: those whose last attempt ended without a reply; otherwise all
 * others. Calls fn until it returns false. */
typedef bool ledger_due_fn(void *arg, const char *id, int64_t since);
void ledger_each_due(struct db *db, bool lost, int64_t now, int64_t longest, ledger_due_fn *fn,
                     void *arg);
/* When the next one after `now` is due; 0 when none is. */
int64_t ledger_next_due(struct db *db, int64_t now);
uint64_t ledger_count(struct db *db, enum ledger_state state);

/* Makes a deferred message due now; false when there is none of that id. */
bool ledger_retry(struct db *db, const char *id, int64_t now);
/* The one that is due first, whenever that is; false when none is deferred. */
bool ledger_retry_first(struct db *db, int64_t now);
uint64_t ledger_retry_all(struct db *db, int64_t now);

/* Keeps a fresh or deferred message from being tried; false when it is in another state. */
bool ledger_hold(struct db *db, const char *id);
/* Makes it what it was before it was held; false when it is not. */
bool ledger_release(struct db *db, const char *id);

/* Drops a bounded number of delivered and rejected rows older than `before`; returns how many. */
int ledger_prune(struct db *db, int64_t before);

/* What is known of the server across restarts: "size-limit". */
int64_t ledger_fact(struct db *db, const char *name, int64_t otherwise);
void ledger_put_fact(struct db *db, const char *name, int64_t value);

#endif
