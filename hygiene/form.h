/* Checks of form: is this file what a spool file must be, and can its envelope go to an SMTP
 * server? Each rule has a name, which shows in the verdict as "form:NAME". Content filters come
 * behind these, in judge.c. */
#ifndef HYGIENE_FORM_H
#define HYGIENE_FORM_H

#include "lib/conf.h"
#include "spool/message.h"

enum form_result {
    FORM_PASS,
    FORM_BAD,   /* quarantine; the finding says why */
    FORM_LATER, /* it could not be read now */
    FORM_GONE,  /* no longer there */
};

struct form_finding {
    const char *rule; /* "damaged", "bad-sender" */
    char reason[600];
};

/* Looks at <id>.eml in dir. The finding is filled in for FORM_BAD and FORM_LATER. */
enum form_result form_check(const struct spool *spool, enum spool_dir dir, const char *id,
                            const struct conf *conf, struct form_finding *finding);

/* Reads it to its end: false when it is not, byte for byte, what its preface says. */
MUST_CHECK bool form_whole(const struct spool *spool, enum spool_dir dir, const char *id,
                           struct error *err);

/* Reads the top of an open reader into malloc'd memory: bytes[0..header) is the header section, at
 * most ENVELOPE_HEADER_MAX bytes of it, and bytes[header..len) what was read of the body with it;
 * the reader goes on behind that. */
struct form_top {
    char *bytes;
    size_t header, len;
};
MUST_CHECK bool form_read_top(struct message_reader *r, struct form_top *top, struct error *err);
void form_top_free(struct form_top *top);

#endif
