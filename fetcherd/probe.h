/* A look at a mailbox that changes nothing, on the server or in the ledger: connect, log in, count,
 * list, QUIT. For `account test` and `mailbox`.
 *
 * It takes its time, and a request is answered at once: probe_start gives a ticket, and
 * probe_report tells how it goes. What was found is kept for some minutes. */
#ifndef FETCHERD_PROBE_H
#define FETCHERD_PROBE_H

#include <jansson.h>
#include <stdint.h>

#include "fetcherd/fetcherd.h"

struct probes;

struct probes *probes_new(struct fetcherd *f);
/* Ends what is in progress. */
void probes_free(struct probes *probes);

/* Begins one, as soon as the account is not being polled; meanwhile no poll of it begins. Returns
 * its ticket, or 0 when too many are in progress. */
int64_t probe_start(struct probes *probes, struct account *account);
/* The account goes away: its probes end. */
void probes_forget(struct probes *probes, const struct account *account);

/* {"done": false} or {"done": true, "result": {...}}; a new reference, NULL: no such ticket. */
json_t *probe_report(const struct probes *probes, int64_t ticket);
/* A page of what lies there, as bus_page_end gives it; after: how many items came before. NULL: no
 * such ticket. */
json_t *probe_items(const struct probes *probes, int64_t ticket, size_t after);

#endif
