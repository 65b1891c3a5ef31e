/* What a filter wants done to a header section: fields added, fields taken away, another subject.
 * The message itself stays as it is; see spool/top.h. */
#ifndef HYGIENE_EDIT_H
#define HYGIENE_EDIT_H

#include "lib/error.h"
#include <stddef.h>

#define EDIT_MAX       100   /* edits of one message */
#define EDIT_VALUE_MAX 16384 /* octets of one value */

struct edit;

/* All zeros: nothing is to be done. */
struct edits {
    struct edit *items;
    size_t count;
};
void edits_free(struct edits *edits);

/* Adds a field at the top of the section, below those added before. The value may be folded; what
 * else of controls stands in it becomes a blank, and a value too long is cut. False, and nothing is
 * added: the name is no field's (RFC 5322, 2.2), or there are too many. */
MUST_CHECK bool edits_add(struct edits *edits, const char *name, const char *value);
/* Takes away the nth field NAME: 1 is the first, -1 the last, 0 all of them. False as above. */
MUST_CHECK bool edits_remove(struct edits *edits, const char *name, int nth);
/* Another subject, in UTF-8; encoded (RFC 2047) as far as it has to be. False as above. */
MUST_CHECK bool edits_subject(struct edits *edits, const char *subject);
/* Appends those of `more` to edits, and empties it. What is too many is left out. */
void edits_move(struct edits *edits, struct edits *more);

/* The header section header[0..len) (without the empty line, or with it) as edited, in malloc'd
 * memory. A first line "From " of mbox stays the first. */
char *edits_apply(const struct edits *edits, const char *header, size_t len, size_t *out_len);

#endif
