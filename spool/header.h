/* A walk through the fields of a header section (RFC 5322 2.2), linear in its length whatever it
 * holds. Lines end in LF, with or without CR; a line that is neither a field nor a continuation is
 * passed over. */
#ifndef SPOOL_HEADER_H
#define SPOOL_HEADER_H

#include <stdbool.h>
#include <stddef.h>

struct header_field {
    const char *name; /* without the colon */
    size_t name_len;
    const char *value; /* behind the colon, folded as it stands, without the last line end */
    size_t value_len;
};

struct header_walk {
    const char *at, *end;
};

struct header_walk header_begin(const char *header, size_t len);
/* False at the end of the section (an empty line, or no more bytes). */
bool header_next(struct header_walk *walk, struct header_field *field);
bool header_is(const struct header_field *field, const char *name);
/* The value without its folding and outer blanks, and with NULs and other controls as blanks; cut
 * at size - 1. Returns buf. */
char *header_unfold(const struct header_field *field, char *buf, size_t size);

#endif
