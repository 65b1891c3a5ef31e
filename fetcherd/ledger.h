/* What fetcherd must not forget: the accounts with their sealed secrets and their schedule, and
 * every UIDL with what became of it. This is the one interface between fetcherd and whatever stores
 * it.
 *
 * Storage errors end the process (lib/db.h), so that nothing here reports one. Calls that change
 * messages are to be made between ledger_begin and ledger_commit, many at a time; after
 * ledger_commit they are durable. */
#ifndef FETCHERD_LEDGER_H
#define FETCHERD_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fetcherd/account.h"
#include "spool/id.h"
#include "spool/message.h"

struct ledger;
struct db;

/* The schema, for the daemon's skeleton. */
extern const char *const ledger_migrations[];

/* Over an opened database, which stays the caller's. */
struct ledger *ledger_new(struct db *db);
void ledger_free(struct ledger *ledger);

void ledger_begin(struct ledger *ledger);
void ledger_commit(struct ledger *ledger);

/* --- accounts ----------------------------------------------------------------------------- */

/* Every account, by name. fn takes the account over. */
typedef void ledger_account_fn(void *arg, struct account *account);
void ledger_accounts(struct ledger *ledger, ledger_account_fn *fn, void *arg);

/* Records a new account and sets its key. */
void ledger_account_add(struct ledger *ledger, struct account *account, const char *sealed);
/* Records the settings; sealed NULL keeps the secret that is there. */
void ledger_account_set(struct ledger *ledger, const struct account *account, const char *sealed);
/* Records how polling goes. */
void ledger_account_progress(struct ledger *ledger, const struct account *account);
/* Forgets the account, and all its messages. */
void ledger_account_remove(struct ledger *ledger, int64_t account);
/* The sealed secret; the caller frees it. */
char *ledger_account_secret(struct ledger *ledger, int64_t account);

/* --- messages ----------------------------------------------------------------------------- */

enum ledger_state {
    LEDGER_PENDING,     /* on the server; retrieving it has failed `attempts` times */
    LEDGER_SPOOLED,     /* ours too, outcome unknown */
    LEDGER_DELIVERED,   /* accepted by the SMTP server */
    LEDGER_QUARANTINED, /* in badmail */
    LEDGER_GONE,        /* deleted by us, and QUIT was confirmed */
    LEDGER_VANISHED,    /* no longer listed, without our doing */
    LEDGER_TOO_LARGE,   /* left on the server */
    LEDGER_SEEN,        /* was there before the account was: not fetched, never deleted */
    LEDGER_STATES,
};

/* In place of a listed size: DELE was accepted for a spooled message, so that its UIDL may stand
 * for another by the time it is listed again. */
#define LEDGER_DOUBT UINT64_MAX

const char *ledger_state_name(enum ledger_state state);

struct ledger_message {
    const char *uidl; /* opaque octets; lent */
    size_t uidl_len;
    enum ledger_state state;
    char id[ID_SIZE]; /* "" before it was spooled */
    uint64_t size;
    unsigned char hash[HASH_LEN]; /* of the message; zeroes before it was spooled */
    uint64_t listed; /* its size by LIST when we had its content; 0: not known; LEDGER_DOUBT */
    unsigned attempts;
    int64_t changed; /* when it came into this state; ms since the epoch */
    int64_t settled; /* when it was delivered or quarantined; 0: not yet */
};

/* Everything known of an account's mailbox, in one query. */
typedef void ledger_message_fn(void *arg, const struct ledger_message *message);
void ledger_messages(struct ledger *ledger, int64_t account, ledger_message_fn *fn, void *arg);

/* Records a message as it is now. Another that was spooled under this UIDL stays known by size and
 * hash, under a name that no server lists. One that
 * is spooled keeps the attempts it took, until its outcome. */
void ledger_message_put(struct ledger *ledger, int64_t account,
                        const struct ledger_message *message);
/* No listing has it any more, and that was not our doing. */
void ledger_message_vanished(struct ledger *ledger, int64_t account, const char *uidl,
                             size_t uidl_len, int64_t now);
/* DELE was accepted, but nobody knows whether it will be carried out: what is listed under this
 * UIDL next is in doubt. A settled message (delivered, quarantined) becomes LEDGER_VANISHED; one
 * that is spooled stays so, since its outcome is still to come. */
void ledger_message_doubt(struct ledger *ledger, int64_t account, const char *uidl, size_t uidl_len,
                          int64_t now);
/* The deletion is certain: after ledger_message_doubt. A spooled message stays spooled. */
void ledger_message_gone(struct ledger *ledger, int64_t account, const char *uidl, size_t uidl_len,
                         int64_t now);
/* Counts a failed attempt on a UIDL that is there, whatever its state; returns how many there are
 * now. */
unsigned ledger_message_charge(struct ledger *ledger, int64_t account, const char *uidl,
                               size_t uidl_len, int64_t now);
/* The spooled message of this id lies on the server under this UIDL, with this size by LIST: it was
 * retrieved and compared. What was deleted is delivered again, and counted as an attempt. */
void ledger_message_found(struct ledger *ledger, int64_t account, const char *id, const char *uidl,
                          size_t uidl_len, uint64_t listed, int64_t now);
/* Forgets a UIDL. */
void ledger_message_forget(struct ledger *ledger, int64_t account, const char *uidl,
                           size_t uidl_len);

/* The account's mailbox lies elsewhere from now on: what was known of its UIDLs stands for none of
 * the new ones. The messages stay known by size and hash, as ones whose UIDL is listed no more;
 * what counts as seen stays as it is. */
void ledger_maildrop_moved(struct ledger *ledger, int64_t account);
/* Makes a name, of at most size octets, that no server lists: for a UIDL of a mailbox that the
 * account stands for no longer. Returns its length. */
size_t ledger_foreign_uidl(const char *uidl, size_t uidl_len, char *name, size_t size);

/* Records the outcome of a spooled message: LEDGER_DELIVERED or LEDGER_QUARANTINED. False when the
 * id is not held as spooled; otherwise *account is told. */
bool ledger_outcome(struct ledger *ledger, const char *id, enum ledger_state state, int64_t now,
                    int64_t *account);
/* A spooled message is lost to us, so that it is to be fetched again; `damaged` counts as an
 * attempt. False when the id is not held as spooled; otherwise *account is told, and whether the
 * server has accepted its deletion, so that there may be nothing to fetch. */
bool ledger_lost(struct ledger *ledger, const char *id, bool damaged, int64_t now, int64_t *account,
                 bool *deleted);
/* Whether a message of this id was recorded. */
bool ledger_knows_id(struct ledger *ledger, const char *id);

/* Up to max ids of the account beyond `after` that are held as spooled, ascending. */
size_t ledger_spooled_ids(struct ledger *ledger, int64_t account, const char *after,
                          char (*ids)[ID_SIZE], size_t max);
/* How many are held as spooled, of one account or of all (0). */
uint64_t ledger_spooled_count(struct ledger *ledger, int64_t account);

/* Forgets what has been gone or vanished since before `before`. */
void ledger_prune(struct ledger *ledger, int64_t before);

/* --- settings ----------------------------------------------------------------------------- */

/* A number kept under a name; `otherwise` when there is none. */
int64_t ledger_number(struct ledger *ledger, const char *name, int64_t otherwise);
void ledger_set_number(struct ledger *ledger, const char *name, int64_t value);

#endif
