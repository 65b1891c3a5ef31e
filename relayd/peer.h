/* What the configuration says of the SMTP server, beyond lib/conf's checks. */
#ifndef RELAYD_PEER_H
#define RELAYD_PEER_H

#include "lib/conf.h"

#define PEER_HELO_SIZE 256
/* Our name for EHLO: this host's if it is one, else a host of the default domain, else an address
 * literal. Always one that smtp_new takes. */
void peer_helo(const struct conf *conf, char helo[static PEER_HELO_SIZE]);

#endif
