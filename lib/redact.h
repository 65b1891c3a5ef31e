/* What must not be read in a server's words. There are servers that say again what they were told,
 * "-ERR unknown command: PASS ..."; their words go to the log, to `status` and into transcripts.
 * Whoever sends something secret notes it here; in the lines that come back it is put as stars. */
#ifndef LIB_REDACT_H
#define LIB_REDACT_H

#include <stddef.h>

enum { REDACT_MAX = 16 };

struct redact {
    size_t count;
    char *texts[REDACT_MAX];
};

/* Notes a password or token, and how it looks in base64. It is copied; "" is of no account. */
void redact_secret(struct redact *r, const char *secret);
/* Notes an answer of a SASL exchange, as it is on the wire. */
void redact_response(struct redact *r, const char *response);
/* Wipes and forgets. */
void redact_clear(struct redact *r);

/* Puts "****" for each of them, also where only a long beginning of it stands. Returns what is left
 * of len, which is never more. */
size_t redact_apply(const struct redact *r, char *text, size_t len);

#endif
