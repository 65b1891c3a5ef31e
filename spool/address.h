/* A strict check of mailboxes by RFC 5321 4.1.2 (Mailbox, with 4.5.3.1's lengths) and RFC 6531 for
 * UTF-8, and by what servers make of them. What passes here can stand in MAIL FROM:<...> and
 * RCPT TO:<...> without being a syntax error there. */
#ifndef SPOOL_ADDRESS_H
#define SPOOL_ADDRESS_H

#include <stdbool.h>

#define ADDRESS_MAX 254 /* octets of a path without its brackets (RFC 5321 4.5.3.1.3) */

/* `address` is without angle brackets. The null path "" is not valid here. */
bool address_valid(const char *address);
/* text, or text@default_domain where it has no "@", into out; false when that is not valid. */
bool address_complete(const char *text, const char *default_domain,
                      char out[static ADDRESS_MAX + 1]);
/* True when it needs SMTPUTF8: any octet above 127. */
bool address_is_utf8(const char *address);
/* True for a domain name or address literal as Mailbox allows behind the "@". */
bool address_domain_valid(const char *domain);

#endif
