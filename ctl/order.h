/* A list in another order than its daemon gives it in: gathered here, and sorted. */
#ifndef CTL_ORDER_H
#define CTL_ORDER_H

#include "ctl/call.h"

#define ORDER_MOST 50000 /* items; some 2 KiB of memory each */

struct order {
    const char *key; /* a text, compared without regard to the case of A to Z, or a whole number */
    bool reverse;
};

/* As call_pages, in that order; equals by their "id". Fails when there are more than `most`. */
MUST_CHECK bool order_pages(call_ask_fn *ask, void *ask_arg, json_t *request,
                            const struct order *order, size_t most, call_item_fn *fn, void *arg,
                            struct problem *problem);

#endif
