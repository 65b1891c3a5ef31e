/* What fetcherd must not forget: the accounts with their sealed secrets and their schedule, and
 * every UIDL with what became of it. This is the one interface between fetcherd and whatever stores
 * it.
 *
 * Storage errors end the process (lib/db.h), so that nothing here reports one. Calls that change
 * messages are to be made between ledger_begin and ledger_commit, many at a time; after
 * ledger_commit they are durable. */
#ifndef POPFERRY_FETCHERD_LEDGER_H
#define POPFERRY_FETCHERD_LEDGER_H

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
const char *ledger_state_name(enum ledger_state state);

struct ledger_message {
    const char *uidl; /* opaque octets; lent */
    size_t uidl_len;
    enum ledger_state state;
    char id[ID_SIZE]; /* "" before it was spooled */
    uint64_t size;
    unsigned char hash[MESSAGE_HASH_LEN]; /* of the message; zeroes before it was spooled */
    unsigned attempts;
    int64_t changed; /* when it came into this state; ms since the epoch */
};

/* Everything known of an account's mailbox, in one query. */
typedef void ledger_message_fn(void *arg, const struct ledger_message *message);
void ledger_messages(struct ledger *ledger, int64_t account, ledger_message_fn *fn, void *arg);

/* Records a message as it is now, in place of what was known of this UIDL. */
void ledger_message_put(struct ledger *ledger, int64_t account,
                        const struct ledger_message *message);
/* A new state for a UIDL that is there. */
void ledger_message_state(struct ledger *ledger, int64_t account, const char *uidl, size_t uidl_len,
                          enum ledger_state state, int64_t now);
/* DELE was accepted, but nobody knows whether it will be carried out: a settled message (delivered,
 * quarantined) becomes LEDGER_VANISHED; others stay as they are. */
void ledger_message_doubt(struct ledger *ledger, int64_t account, const char *uidl, size_t uidl_len,
                          int64_t now);
/* Makes a name, of at most size octets, that no server lists: for a UIDL of a mailbox that the
 * account stands for no longer. Returns its length. */
size_t ledger_foreign_uidl(const char *uidl, size_t uidl_len, char *name, size_t size);
/* Counts a failed attempt on a UIDL that is there, whatever its state; returns how many there are
 * now. */
unsigned ledger_message_charge(struct ledger *ledger, int64_t account, const char *uidl,
                               size_t uidl_len, int64_t now);
/* The account's mailbox lies elsewhere from now on: what was known of its UIDLs stands for none of
 * the new ones. The messages stay known by size and hash, as ones whose UIDL is listed no more. */
void ledger_maildrop_moved(struct ledger *ledger, int64_t account);
/* Forgets a UIDL. */
void ledger_message_forget(struct ledger *ledger, int64_t account, const char *uidl,
                           size_t uidl_len);
/* Gives a message a new UIDL: the server has renamed it. */
void ledger_message_rename(struct ledger *ledger, int64_t account, const char *from,
                           size_t from_len, const char *to, size_t to_len);

/* Records the outcome of a spooled message: LEDGER_DELIVERED or LEDGER_QUARANTINED. False when the
 * id is not held as spooled; otherwise *account is told. */
bool ledger_outcome(struct ledger *ledger, const char *id, enum ledger_state state, int64_t now,
                    int64_t *account);
/* Drops a spooled message that is lost, so that it is fetched again. */
bool ledger_lost(struct ledger *ledger, const char *id, int64_t *account);
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
