/* Checks of form: is this file what a spool file must be, and can it go to an SMTP server? Each
 * rule has a name, which shows in the verdict as "form:NAME" and is the key by which the
 * configuration turns it to pass, badmail or repair; a damaged file is never passed. A replay is
 * repaired, and not held again. An envelope that is not valid counts as damage: none is written
 * (spool/preface.h). Content filters come behind these. */
#ifndef HYGIENE_FORM_H
#define HYGIENE_FORM_H

#include "lib/conf.h"
#include "spool/message.h"

enum form_result {
    FORM_PASS,
    FORM_BAD,   /* quarantine; the finding says why */
    FORM_LATER, /* it could not be read now */
    FORM_GONE,  /* no longer there */
    FORM_MORE,  /* it has not been read to its end: form_read */
};

struct form_finding {
    const char *rule; /* "damaged", "bad-sender", "no-header", "long-header", "too-large", "nul" */
    char reason[600];
};

/* Reads the top of an open reader into malloc'd memory: bytes[0..header) is the header section, at
 * most ENVELOPE_HEADER_MAX bytes of it, and bytes[header..len) what was read of the body with it;
 * the reader goes on behind that. */
struct form_top {
    char *bytes;
    size_t header, len;
    bool whole; /* the header section ends among these bytes, or the message does */
};
MUST_CHECK bool form_read_top(struct message_reader *r, struct form_top *top, struct error *err);
void form_top_free(struct form_top *top);

/* A check under way. */
struct form {
    struct message_reader *reader; /* open, and so is what it lends, until form_close */
    struct form_top top;
    const struct conf *conf;
    bool nul;                  /* there is one */
    bool add_header, drop_nul; /* repairs that are asked for, and needed */
};
/* Opens <id>.eml in dir and looks at its top; FORM_MORE: go on with form_read. Of other results
 * nothing is left open. The finding is filled in for FORM_BAD and FORM_LATER. */
enum form_result form_open(struct form *form, const struct spool *spool, enum spool_dir dir,
                           const char *id, const struct conf *conf, struct form_finding *finding);
/* Reads on, up to `budget` bytes. */
enum form_result form_read(struct form *form, size_t budget, struct form_finding *finding);
void form_close(struct form *form); /* one that is not open is fine */

/* Reads it to its end: false when it is not, byte for byte, what its preface says. */
MUST_CHECK bool form_whole(const struct spool *spool, enum spool_dir dir, const char *id,
                           struct error *err);

#endif
