/* pickup/: what people and programs drop there, and what is replayed from badmail/. Each file is
 * taken in steps that a crash at any point lets be done again under the same id, so that no drop is
 * lost and none is sent twice:
 *
 *   1 ledger row: claimed, ID, NAME (and other recipients, where a person named them)
 *   2 rename pickup/NAME -> outgoing/ID.drop      from here on nobody else touches it
 *   3 copy to outgoing/ID.new, sync file and directory
 *   4 ledger row: taken
 *   5 rename ID.new -> incoming/ID.eml, unlink ID.drop
 *
 * From there on it is judged like any other message (judge.h), but for the content filters.
 * What cannot be understood goes back: as pickup/NAME.bad, or to badmail/ when it came from there.
 */
#ifndef HYGIENE_PICKUP_H
#define HYGIENE_PICKUP_H

#include "hygiene/hygiene.h"
#include "spool/envelope.h"

/* Finishes what a crash left, and begins to watch. */
MUST_CHECK struct pickup *pickup_start(struct hygiene *h, struct error *err);
void pickup_free(struct pickup *p); /* NULL is fine */
/* Takes nothing any more, and abandons copies that are under way, but for those being synced. */
void pickup_stop(struct pickup *p);

/* {"left_alone", "left" (left.h), "waiting", "copying", "put_off", "put_off_why"}. A new reference.
 */
json_t *pickup_status(const struct pickup *p);

/* Steps 1 and 2 for dir/NAME; the rest follows by itself under the new id. It goes to `to`; NULL:
 * to the recipients that it has. */
MUST_CHECK bool pickup_claim(struct pickup *p, enum spool_dir dir, const char *name,
                             const struct envelope_list *to, char id[static ID_SIZE],
                             struct error *err);

#endif
