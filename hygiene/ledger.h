/* hygiene's ledger: what was judged, what is held in badmail/ and why, and what was taken from
 * pickup/. */
#ifndef HYGIENE_LEDGER_H
#define HYGIENE_LEDGER_H

#include "lib/clock.h"
#include "lib/db.h"
#include "spool/message.h"
#include <jansson.h>
#include <stdbool.h>

extern const char *const ledger_migrations[];

/* --- verdicts on what came in --- */

void ledger_passed(struct db *db, const char *id);
bool ledger_has_passed(struct db *db, const char *id);

/* --- who waits for a verdict --- */

struct waiting {
    unsigned attempts; /* that count: the filter was asked */
    int64_t waited;    /* ms between them, as planned: what counts towards filter-expire */
    int64_t next_at;   /* due then */
    char filter[32];   /* that had none */
    char reason[600];
};

/* Enters or changes the row. */
void ledger_wait(struct db *db, const char *id, const struct waiting *waiting);
/* False when there is no row. */
bool ledger_waiting(struct db *db, const char *id, struct waiting *waiting);
void ledger_wait_over(struct db *db, const char *id);
/* Those that are due at `now`, who was asked about least and then the longest due first, each to
 * fn until it says false. What was planned for a time further ahead than any delay was so by a
 * clock that went wrong: it is due. */
#define LEDGER_WAIT_MAX (2 * CLOCK_HOUR)
typedef bool ledger_waiting_fn(void *arg, const char *id);
void ledger_each_waiting(struct db *db, int64_t now, ledger_waiting_fn *fn, void *arg);
/* Of those that wait for no filter, since their form could not be seen to ("form"): that are due.
 */
void ledger_each_unformed(struct db *db, int64_t now, ledger_waiting_fn *fn, void *arg);
/* All of them behind `after` ("" for the first), by id, each to fn until it says false. fn may not
 * change the ledger. */
typedef bool ledger_waiting_row_fn(void *arg, const char *id, const struct waiting *waiting);
void ledger_each_waiting_behind(struct db *db, const char *after, ledger_waiting_row_fn *fn,
                                void *arg);
/* When the next one is due; 0: none waits. */
int64_t ledger_next_waiting(struct db *db);
int64_t ledger_waiting_count(struct db *db);
/* Makes all of them (NULL) due at `now`, or this one, which then comes before all others; how many.
 */
int ledger_wait_no_longer(struct db *db, const char *id, int64_t now);

/* --- badmail --- */

enum badmail_state {
    BADMAIL_HELD,     /* lies in badmail/ */
    BADMAIL_REPLAYED, /* went back on its way under a new id */
    BADMAIL_DELETED,  /* by popferryctl */
    BADMAIL_REMOVED,  /* by somebody's hand */
    BADMAIL_EXPIRED,  /* it had lain there for hygiene.badmail-keep */
    BADMAIL_STATES
};
const char *ledger_badmail_state_name(enum badmail_state state);

struct badmail {
    char id[ID_SIZE];
    char account[65];
    char sender[ADDRESS_MAX + 1];
    struct envelope_list recipients;
    char subject[512]; /* decoded; not fit for a terminal as it is */
    uint64_t size;
    int64_t at;
    char decided_by[32]; /* the rule, filter or process: "form:damaged", "rspamd", "relay" */
    char reason[600];
    enum badmail_state state;
    char replayed_as[ID_SIZE];
    bool entered; /* its file has been in badmail/, and that was synced */
    char *report; /* what the filters said: JSON, see hygiene/filter.h; NULL: nothing */
};
void ledger_badmail_free(struct badmail *b); /* what it holds */

/* Adds a message that is held; one that is known already stays as it is. */
void ledger_hold(struct db *db, const struct badmail *b);
/* False: no such id. Fills in b, to be given back to ledger_badmail_free. */
MUST_CHECK bool ledger_badmail(struct db *db, const char *id, struct badmail *b);
bool ledger_is_badmail(struct db *db, const char *id);
/* What may be told of it. Certain: its file is or was in badmail/ for good, so that the POP3
 * server's copy may go. Damaged: so is this, but the file is no true copy. Pending: the verdict
 * stands, the file is on its way. */
enum badmail_outcome {
    BADMAIL_UNKNOWN,
    BADMAIL_PENDING,
    BADMAIL_CERTAIN,
    BADMAIL_DAMAGED,
    BADMAIL_OUTCOMES
};
#define LEDGER_DAMAGED "form:damaged" /* decided_by, of what our disk has damaged */
enum badmail_outcome ledger_badmail_outcome(struct db *db, const char *id);
/* Behind the sync of badmail/. */
void ledger_badmail_entered(struct db *db, const char *id);
/* As if it had never been judged. */
void ledger_badmail_forget(struct db *db, const char *id);
/* Fills in the id of what was replayed under the id `as`, which may be the same buffer. */
MUST_CHECK bool ledger_badmail_replayed_as(struct db *db, const char *as, char id[static ID_SIZE]);
void ledger_badmail_set(struct db *db, const char *id, enum badmail_state state,
                        const char *replayed_as);
int64_t ledger_held_count(struct db *db);
/* Held messages behind `after` ("" for the first), by id, each to fn until it says false. fn may
 * not change the ledger. */
typedef bool ledger_badmail_fn(void *arg, const struct badmail *b);
void ledger_each_held(struct db *db, const char *after, ledger_badmail_fn *fn, void *arg);
/* The same for those in another state than held. */
void ledger_each_in_state(struct db *db, enum badmail_state state, const char *after,
                          ledger_badmail_fn *fn, void *arg);
/* Held messages that have entered, quarantined from `from` on and before `to`, the oldest first, at
 * most `limit`. fn may not change the ledger. */
void ledger_each_held_between(struct db *db, int64_t from, int64_t to, int limit,
                              ledger_badmail_fn *fn, void *arg);
/* How many there are of them in all. */
int64_t ledger_held_between(struct db *db, int64_t from, int64_t to);

/* --- drops --- */

enum drop_state { DROP_UNKNOWN, DROP_CLAIMED, DROP_TAKEN, DROP_REFUSED };

/* Before the file is renamed from `name` to ID.drop. Replay: out of badmail/, not pickup/. */
void ledger_drop_claim(struct db *db, const char *id, const char *name, bool replay);
/* With the claim: whom it goes to, in place of the recipients that it has. */
void ledger_drop_redirect(struct db *db, const char *id, const struct envelope_list *to);
/* Fills in the recipients that ledger_drop_redirect was given; false: it was not called. */
MUST_CHECK bool ledger_drop_recipients(struct db *db, const char *id, struct envelope_list *to);
void ledger_drop_forget(struct db *db, const char *id);
bool ledger_drop_is_replay(struct db *db, const char *id);
void ledger_drop_set(struct db *db, const char *id, enum drop_state state);
/* Its state, and the name it had; "" when unknown. */
enum drop_state ledger_drop(struct db *db, const char *id, char name[static 256]);

/* The wall clock when it was last believed (steady.h); 0: never. */
int64_t ledger_clock(struct db *db);
void ledger_clock_set(struct db *db, int64_t now);

/* Drops a bounded number of rows that changed before `before`: verdicts, drops, and badmail that is
 * no longer held. Returns how many. */
int ledger_prune(struct db *db, int64_t before);

#endif
