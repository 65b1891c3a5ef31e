/* Group commit of received messages, in the order that a power cut forgives:
 *
 * - 1 message_create, message_append, message_finish: each file in tmp/ is written and finished
 * - 2 batch_sync: each file is synced, then tmp/ itself
 * - 3 the callback of batch_sync: the owner commits its ledger rows
 * - 4 batch_publish: each file is renamed into incoming/
 *
 * A crash before 3 leaves files without a row, which batch_recover unlinks; a crash behind 3 leaves
 * files with a row, which it renames. N messages cost N+1 syncs here and one in the ledger, the N
 * side by side. */
#ifndef SPOOL_BATCH_H
#define SPOOL_BATCH_H

#include "lib/error.h"
#include "lib/syncpool.h"
#include "spool/message.h"
#include "spool/spool.h"

struct batch;
/* failed_errno is 0 when all is durable: commit the rows and call batch_publish. Otherwise nothing
 * of the batch may be believed: call batch_discard. */
typedef void batch_fn(void *arg, struct batch *batch, int failed_errno);

struct batch *batch_new(const struct spool *spool);
/* Takes over a finished writer. */
void batch_add(struct batch *batch, struct message_writer *writer);
size_t batch_count(const struct batch *batch);
uint64_t batch_bytes(const struct batch *batch);
struct message_writer *batch_writer(const struct batch *batch, size_t i); /* lent */
void batch_sync(struct batch *batch, struct syncpool *pool, batch_fn *fn, void *arg);
/* Renames every file into incoming/ and frees the batch. A rename that fails leaves its file in
 * tmp/ for batch_recover, with an event. */
void batch_publish(struct batch *batch);
/* Unlinks every file and frees the batch. Not while a sync is under way. */
void batch_discard(struct batch *batch);

/* At start: for each message in tmp/, known(arg, id) tells whether the ledger has a row for it. */
typedef bool batch_known_fn(void *arg, const char *id);
MUST_CHECK bool batch_recover(const struct spool *spool, batch_known_fn *known, void *arg,
                              struct error *err);

#endif
