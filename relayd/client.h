/* The client from which a message reached the account's own server, as that server's Received line
 * tells, and how the SMTP server is told of it: Postfix's XCLIENT and XFORWARD. */
#ifndef RELAYD_CLIENT_H
#define RELAYD_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

enum {
    CLIENT_NAME_MAX = 180,      /* octets of a name; longer ones count as not known */
    CLIENT_ARGUMENTS_SIZE = 500 /* with the verb and CRLF under 512 octets */
};

struct client {
    char address[56];               /* as the commands want it: "192.0.2.1", "IPV6:2001:db8::1" */
    char name[CLIENT_NAME_MAX + 1]; /* by reverse lookup; "": not known */
    char helo[CLIENT_NAME_MAX + 1]; /* "": not known */
    const char *protocol;           /* "SMTP" or "ESMTP"; NULL: not known */
};

/* The client in the topmost Received line of header[0..len) whose "by" is one of `by` (names with
 * blanks between). That line was put on by the server; what stands below it, and what it does not
 * tell in a form that is known, is the sender's word and counts for nothing. False when there is
 * none, and for an address that is not a global unicast one: nobody may borrow the trust that the
 * SMTP server has in its own network. */
bool client_find(const char *header, size_t len, const char *by, struct client *client);

bool client_same(const struct client *a, const struct client *b);

/* " ADDR=... NAME=..." for those of ADDR, NAME, HELO, PROTO that are `offered` (the words behind
 * the keyword in the answer to EHLO), in xtext (RFC 3461, 4). False when ADDR is not offered. */
bool client_arguments(const struct client *client, const char *offered,
                      char out[static CLIENT_ARGUMENTS_SIZE]);

#endif
