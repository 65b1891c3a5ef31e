/* Which quarantined messages a person means: the filters of `badmail list`, `replay` and `delete`.
 * Texts are compared as people see them: decoded, without regard to case or to how a letter is
 * composed. */
#ifndef HYGIENE_MATCH_H
#define HYGIENE_MATCH_H

#include "hygiene/ledger.h"
#include "lib/error.h"

struct match {
    char *account;                   /* all of it; these texts are folded, NULL takes any */
    char *sender, *subject, *reason; /* part of it */
    char *decided_by;                /* all of it, or all before its colon */
    int64_t from, to;                /* quarantined within these, both included */
    enum badmail_state state;
};

/* Of a request: account, sender, subject, reason, decided_by (texts), older, newer (ms), state (the
 * first word of its name). What is not there takes any, but for the state: held. */
MUST_CHECK bool match_read(const json_t *request, struct match *match, struct error *err);
bool match_fits(const struct match *match, const struct badmail *b);
void match_free(struct match *match); /* what it holds */

#endif
