/* A batch of received messages on its way to being ours: synced, recorded in the ledger as spooled,
 * renamed into incoming/, and hygiene's bell rung. It lives on when the POP3 session that fed it
 * ends: what has been received whole is kept. */
#ifndef FETCHERD_COMMIT_H
#define FETCHERD_COMMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fetcherd/fetcherd.h"
#include "spool/message.h"

enum {
    COMMIT_MESSAGES = 50,
    COMMIT_BYTES = 8 << 20,
};

struct commit;

struct commit_item {
    char id[ID_SIZE];
    uint64_t size, listed; /* listed: by LIST; 0: not known */
    unsigned char hash[HASH_LEN];
    uint32_t tag; /* the caller's own */
    uint8_t uidl_len;
    char uidl[255];
};

/* Called once from the loop; the commit is freed behind it. With ok the messages are durably ours.
 * Otherwise the batch is discarded, the reason is in the event log, and nothing was recorded. */
typedef void commit_fn(void *arg, const struct commit *commit, bool ok);

/* For messages of the account with this key. */
struct commit *commit_new(struct fetcherd *f, const struct account *account, commit_fn *fn,
                          void *arg);
/* Takes over a finished writer. */
void commit_add(struct commit *commit, struct message_writer *writer, const char *uidl,
                size_t uidl_len, uint64_t listed, uint32_t tag);
/* Whether it has grown enough to be started. */
bool commit_is_full(const struct commit *commit);
size_t commit_count(const struct commit *commit);
const struct commit_item *commit_item(const struct commit *commit, size_t i);
/* Begins the syncs; not with an empty one. */
void commit_start(struct commit *commit);
/* Nobody wants to hear of it any more; it goes on by itself. */
void commit_orphan(struct commit *commit);
/* Unlinks everything. Not after commit_start. NULL is fine. */
void commit_discard(struct commit *commit);

#endif
