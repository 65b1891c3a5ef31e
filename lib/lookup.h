/* All addresses of a host, from evdns. Only stream.c uses it. */
#ifndef LIB_LOOKUP_H
#define LIB_LOOKUP_H

#include <event2/dns.h>
#include <event2/util.h>

struct lookup;
/* result is 0 and the list the receiver's (evutil_freeaddrinfo), or an EVUTIL_EAI_* with NULL. */
typedef void lookup_fn(void *arg, int result, struct evutil_addrinfo *list);

/* fn is called once, perhaps from within (then NULL is returned), unless it is cancelled. */
struct lookup *lookup_start(struct evdns_base *dns, const char *host, int port, lookup_fn *fn,
                            void *arg);
void lookup_cancel(struct lookup *lookup); /* NULL is fine */

#endif
