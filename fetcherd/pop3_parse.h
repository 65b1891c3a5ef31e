/* Lines within POP3 answers: the drop listing, the scan listing, the UIDL listing, capabilities.
 *
 * Numbers are read strictly: digits only, no sign, no overflow. Outputs are untouched on failure.
 */
#ifndef FETCHERD_POP3_PARSE_H
#define FETCHERD_POP3_PARSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "NUMBER SIZE", and whatever else after a space (RFC 1939, LIST). The number is 1 to 2^31-1. */
bool pop3_parse_list(const char *line, size_t len, uint32_t *number, uint64_t *size);

/* "COUNT SIZE", as in the answer to STAT. The count may be 0. */
bool pop3_parse_stat(const char *text, size_t len, uint32_t *count, uint64_t *size);

/* "NUMBER UIDL". Blanks around the UIDL are no part of it; within it any octet is taken, since it
 * is only ever compared. 1 to POP3_UIDL_MAX octets. */
bool pop3_parse_uidl(const char *line, size_t len, uint32_t *number, const char **uidl,
                     size_t *uidl_len);

/* The enum pop3_capability of a line of CAPA, or 0 for one that is of no interest. */
unsigned pop3_parse_capability(const char *line, size_t len);

#endif
