/* The digest: what came into quarantine lately, and what will soon be removed, for a person to read
 * here or to be mailed to hygiene.reviewer. */
#ifndef HYGIENE_DIGEST_H
#define HYGIENE_DIGEST_H

#include "hygiene/hygiene.h"
#include <glib.h>

enum digest_group { DIGEST_BY_ACCOUNT, DIGEST_BY_REASON };

struct digest {
    int64_t since; /* ms since 1970 */
    enum digest_group by;
    size_t most;             /* octets of text, and some for a last row and hints; what is left
                                out is counted */
    GString *text;           /* lines that end in LF, each fit for a terminal */
    int64_t fresh, expiring; /* messages */
};

/* Fills in text and counts of a digest that has the rest set. */
void digest_write(const struct hygiene *h, struct digest *digest);
void digest_free(struct digest *digest); /* what it holds */

/* The answer to badmail.digest. */
json_t *digest_answer(struct hygiene *h, const json_t *request);

#endif
