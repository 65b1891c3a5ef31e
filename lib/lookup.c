/* evdns calls back even for what was cancelled, and later: so that the one who asked may be gone by
 * then, a small struct of its own stands between. */
#include "lib/lookup.h"
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct lookup {
    lookup_fn *fn; /* NULL: cancelled */
    void *arg;
    struct evdns_getaddrinfo_request *request;
};

static void on_result(int result, struct evutil_addrinfo *list, void *arg)
{
    struct lookup lookup = *(struct lookup *)arg;
    free(arg);
    if (lookup.fn != NULL)
        lookup.fn(lookup.arg, result, list);
    else if (list != NULL)
        evutil_freeaddrinfo(list);
}

struct lookup *lookup_start(struct evdns_base *dns, const char *host, int port, lookup_fn *fn,
                            void *arg)
{
    struct lookup *lookup = calloc(1, sizeof *lookup);
    if (lookup == NULL)
        abort();
    *lookup = (struct lookup){.fn = fn, .arg = arg};
    char service[12];
    (void)snprintf(service, sizeof service, "%d", port);
    struct evutil_addrinfo hints = {.ai_family = AF_UNSPEC,
                                    .ai_socktype = SOCK_STREAM,
                                    .ai_protocol = IPPROTO_TCP,
                                    .ai_flags = EVUTIL_AI_NUMERICSERV};
    struct evdns_getaddrinfo_request *request =
        evdns_getaddrinfo(dns, host, service, &hints, on_result, lookup);
    if (request == NULL)
        return NULL; /* on_result has been called */
    lookup->request = request;
    return lookup;
}

void lookup_cancel(struct lookup *lookup)
{
    if (lookup == NULL)
        return;
    lookup->fn = NULL;
    evdns_getaddrinfo_cancel(lookup->request);
}
