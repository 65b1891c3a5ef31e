/* The client from which a message reached the account's own server, as that server's Received line
 * tells: for the filters, and for the SMTP server. */
#ifndef SPOOL_CLIENT_H
#define SPOOL_CLIENT_H

#include <stdbool.h>
#include <stddef.h>

enum { CLIENT_NAME_MAX = 180 }; /* octets of a name; longer ones count as not known */

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

#endif
