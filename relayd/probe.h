/* A look at the SMTP server without mail: `popferryctl relay test`. It connects, begins TLS and
 * logs in as any session does, and tells what it found. One at a time. */
#ifndef RELAYD_PROBE_H
#define RELAYD_PROBE_H

#include "relayd/relay.h"

struct probe;

/* Begins one, or joins the one that is under way. */
void probe_begin(struct relay *relay);
/* Ends the one under way, if there is one, as failed; its connection is dropped. */
void probe_give_up(struct probe *probe, const char *why);
void probe_free(struct probe *probe); /* NULL is fine */
/* {"done", "result"}; the result belongs to the reply. */
json_t *probe_report(const struct relay *relay);

#endif
