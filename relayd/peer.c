/* Promises: no session begins with a name for EHLO that costs a protocol error. */
#include "relayd/peer.h"

#include "spool/address.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

void peer_helo(const struct conf *conf, char helo[static PEER_HELO_SIZE])
{
    char host[128] = "";
    const char *domain = conf->default_domain;
    (void)gethostname(host, sizeof host - 1);
    (void)snprintf(helo, PEER_HELO_SIZE, "%s", host);
    if (!strchr(host, '.') && domain[0] != '\0')
        (void)snprintf(helo, PEER_HELO_SIZE, "%s.%.120s", host, domain);
    if (host[0] == '\0' || !address_domain_valid(helo))
        (void)snprintf(helo, PEER_HELO_SIZE, "[127.0.0.1]");
}
