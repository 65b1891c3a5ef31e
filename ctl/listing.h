/* A list that may be very long: in JSON every item is written as its page comes; people are shown a
 * table of the first ones, or with --all one table after the other. */
#ifndef CTL_LISTING_H
#define CTL_LISTING_H

#include "ctl/order.h"
#include "ctl/table.h"

#define LISTING_ROWS 500 /* of a table */

struct listing {
    const char *daemon;
    const struct table_column *columns;
    void (*add_row)(struct table *table, const json_t *item, int64_t now);
    const char *none; /* said when there is no item */
    /* Whose items come behind these, and by which request; NULL: nobody's. When one of the two
     * fails, what the other has is printed all the same. */
    const char *then_daemon, *then_cmd;
};
/* Asks and prints, heeding --all; the exit code. Takes over request. Order NULL: as they come. */
int listing_run(const struct ctl *ctl, const struct listing *listing, json_t *request,
                const struct order *order, const struct args *args);

/* Ids from the command line, in their one spelling (lower case is taken too), each once. NULL with
 * problem filled in. */
MUST_CHECK json_t *listing_ids(char *const *words, int count, struct problem *problem);

#endif
