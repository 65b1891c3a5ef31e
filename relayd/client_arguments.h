/* How the SMTP server is told of the client that a message came from: Postfix's XCLIENT and
 * XFORWARD. */
#ifndef RELAYD_CLIENT_ARGUMENTS_H
#define RELAYD_CLIENT_ARGUMENTS_H

#include "spool/client.h"

enum { CLIENT_ARGUMENTS_SIZE = 500 }; /* with the verb and CRLF under 512 octets */

/* " ADDR=... NAME=..." for those of ADDR, NAME, HELO, PROTO that are `offered` (the words behind
 * the keyword in the answer to EHLO), in xtext (RFC 3461, 4). False when ADDR is not offered. */
bool client_arguments(const struct client *client, const char *offered,
                      char out[static CLIENT_ARGUMENTS_SIZE]);

#endif
