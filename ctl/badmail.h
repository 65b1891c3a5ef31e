/* What the commands on quarantined messages share. */
#ifndef CTL_BADMAIL_H
#define CTL_BADMAIL_H

#include "ctl/call.h"

/* The options that say which messages are meant. */
enum {
    BADMAIL_FILTERS = OPTION_BIT(OPTION_ACCOUNT) | OPTION_BIT(OPTION_SENDER) |
                      OPTION_BIT(OPTION_SUBJECT) | OPTION_BIT(OPTION_REASON) |
                      OPTION_BIT(OPTION_DECIDED_BY) | OPTION_BIT(OPTION_OLDER) |
                      OPTION_BIT(OPTION_NEWER)
};

/* The request badmail.list with these options, and with --state; NULL with problem filled in. */
MUST_CHECK json_t *badmail_request(const struct args *args, struct problem *problem);

/* Items as badmail.list gives them, as a table. */
void badmail_table(const struct screen *screen, const json_t *items);

#endif
