/* What a message says of itself, put into answers: escaped here already, so that whatever shows it
 * needs no care. */
#ifndef HYGIENE_SHOWN_H
#define HYGIENE_SHOWN_H

#include "hygiene/ledger.h"

#define SHOWN_MAX 2048 /* octets of a text, once it is escaped; what is longer ends in "..." */

/* One line of text; `most` is at most SHOWN_MAX. NULL is "". */
json_t *shown_text(const char *text, size_t most);
/* Several lines: their ends stay. */
json_t *shown_lines(const char *text, size_t most);
/* An item of badmail.list. */
json_t *shown_badmail(const struct badmail *b);

/* Leaves out of reply, one after the other, the members that `dispensable` (ending in NULL) names,
 * until one message carries it; "left_out" then names them. */
void shown_fit(json_t *reply, const char *const *dispensable);

#endif
