/* What fetching depends on elsewhere: how large a message the SMTP server takes, whether it takes
 * mail at all, how much waits for it, and whether there is room in the spool. */
#ifndef FETCHERD_WATCH_H
#define FETCHERD_WATCH_H

#include <stdint.h>

#include "fetcherd/fetcherd.h"

struct relay_watch;

/* Asks relayd now and again. ready is called once, when the first answer is there or is not to be
 * waited for any longer. */
struct relay_watch *watch_new(struct fetcherd *f, void (*ready)(struct fetcherd *f));
void watch_free(struct relay_watch *watch);

/* The largest message to fetch, in octets: the configuration's, or what relayd last told (and the
 * ledger kept), or 10 MiB. */
uint64_t watch_size_limit(const struct relay_watch *watch);

/* Why scheduled polls should wait, for a person; NULL: they need not. */
const char *watch_holding_off(struct relay_watch *watch);

/* Why nothing may be fetched at all, even by hand; NULL: it may. */
const char *watch_disk_low(struct relay_watch *watch);

#endif
