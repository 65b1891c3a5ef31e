/* Quarantine: putting a message in, and what a person does with it there. */
#ifndef HYGIENE_BADMAIL_H
#define HYGIENE_BADMAIL_H

#include "hygiene/hygiene.h"
#include "hygiene/ledger.h"

#define BADMAIL_FOUND "found in badmail/ without a record" /* the reason of such a row */

/* Fills in what the file <id>.eml in dir says of itself: account, envelope, subject, size. A
 * damaged file leaves these empty, and decides by itself: LEDGER_DAMAGED, with what is wrong as the
 * reason. Give b back to ledger_badmail_free. */
void badmail_describe(const struct spool *spool, enum spool_dir dir, const char *id,
                      const char *decided_by, const char *reason, struct badmail *b);

/* "unknown", "pending", "badmail", "damaged": the words of outcomes. */
const char *badmail_outcome_name(enum badmail_outcome outcome);

/* The last step into quarantine, behind the commit of the rows: renames these messages, syncs
 * badmail/, commits that they have entered, and then tells fetcherd (which deletes them at the POP3
 * server) and the log. One that is no longer in `from` is passed over. */
void badmail_enter(struct hygiene *h, char (*ids)[ID_SIZE], size_t n, enum spool_dir from);

/* The same news of a message that was fetched as `id` and is held as `held_as`. */
void badmail_tell(struct hygiene *h, const char *id, const char *held_as);

/* At start: badmail/ is synced, and what lies there has entered. Files without a row get one; files
 * of deleted rows are unlinked. Of rows without a file anywhere those that had entered are closed;
 * the others are forgotten, so that the message is fetched again. */
MUST_CHECK bool badmail_reconcile(struct hygiene *h, struct error *err);

/* The answers to badmail.list, badmail.show, ... */
json_t *badmail_answer_list(struct hygiene *h, const json_t *request);
json_t *badmail_answer_show(struct hygiene *h, const json_t *request);
json_t *badmail_answer_parts(struct hygiene *h, const json_t *request);
json_t *badmail_answer_export(struct hygiene *h, const json_t *request);
json_t *badmail_answer_delete(struct hygiene *h, const json_t *request);
json_t *badmail_answer_recipients(struct hygiene *h, const json_t *request);
json_t *badmail_answer_replay(struct hygiene *h, const json_t *request);

#endif
