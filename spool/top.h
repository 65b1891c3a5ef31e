/* Another top for a message: what hygiene's filters and repairs make of its header section. The
 * spool file stays as it was written; beside it lies outgoing/<id>.top,
 *
 *   X-Popferry-Top: 1 id=01JD... skip=812 nul=keep size=901 blake2b=...
 *   X-Spam: Yes                                     <- size octets, sent instead of the first skip
 *   Return-Path: ...                                   octets of the message
 *
 * hygiene writes and syncs it before the message comes to outgoing/; relayd reads it together with
 * the message, and removes it behind it. */
#ifndef SPOOL_TOP_H
#define SPOOL_TOP_H

#include "spool/spool.h"
#include <stddef.h>

#define TOP_MAX    (512 * 1024) /* octets */
#define TOP_SUFFIX "top"

struct top {
    char *bytes; /* malloc'd */
    size_t len;
    uint64_t skip;
    bool drop_nul; /* NULs of the message behind it are not sent */
};
void top_free(struct top *top); /* what it holds */

/* Writes it, in place of one that is there; *fd is to be synced, with the directory, and closed. */
MUST_CHECK bool top_write(const struct spool *spool, const char *id, const struct top *top, int *fd,
                          struct error *err);
/* ERROR_MISSING: there is none, which is usual. ERROR_PERMANENT: it is damaged. */
MUST_CHECK bool top_read(const struct spool *spool, const char *id, struct top *top,
                         struct error *err);
/* One that is not there is fine. */
MUST_CHECK bool top_remove(const struct spool *spool, const char *id, struct error *err);

#endif
