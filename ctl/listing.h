/* A list that may be very long: in JSON every item is written as its page comes; people are shown a
 * table of the first ones, or with --all one table after the other. */
#ifndef CTL_LISTING_H
#define CTL_LISTING_H

#include "ctl/call.h"
#include "ctl/table.h"

#define LISTING_ROWS 500 /* of a table */

struct listing {
    const char *daemon;
    const char *cmd;
    const struct table_column *columns;
    void (*add_row)(struct table *table, const json_t *item, int64_t now);
    const char *none; /* said when there is no item */
};
/* Asks and prints, heeding --all; the exit code. */
int listing_run(const struct ctl *ctl, const struct listing *listing, const struct args *args);

/* Ids from the command line, in their one spelling (lower case is taken too). NULL with problem
 * filled in. */
MUST_CHECK json_t *listing_ids(char *const *words, int count, struct problem *problem);

#endif
