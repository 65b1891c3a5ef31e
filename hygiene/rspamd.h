/* Rspamd by HTTP (POST /checkv2 to its normal worker): it is told the envelope and, where known,
 * the client, and names an action. */
#ifndef HYGIENE_RSPAMD_H
#define HYGIENE_RSPAMD_H

#include "hygiene/filter.h"

/* What the answer to a request means: its body, of a reply with that status. */
void rspamd_read(int status, const char *body, size_t len, struct filter_answer *answer);

#endif
