/* The envelope of a message that came without one: its reverse-path out of the header section, its
 * recipients out of the account (or, in pickup, out of To, Cc, Bcc). Parsing is GMime's; what comes
 * out has passed spool/address.h. */
#ifndef SPOOL_ENVELOPE_H
#define SPOOL_ENVELOPE_H

#include "lib/error.h"
#include "spool/address.h"
#include <stddef.h>

#define ENVELOPE_HEADER_MAX     102400 /* bytes of a header section that are looked at */
#define ENVELOPE_RECIPIENTS_MAX 1000

/* Once a process, before anything else here and before threads. */
void envelope_init(void);

/* Where the reverse-path was found; ENVELOPE_NOTHING: no usable address, the path is the null one.
 */
enum envelope_source {
    ENVELOPE_NOTHING,
    ENVELOPE_RETURN_PATH,
    ENVELOPE_SENDER,
    ENVELOPE_FROM,
    ENVELOPE_REPLY_TO,
    ENVELOPE_SOURCES
};
const char *envelope_source_name(enum envelope_source source);

/* The first that parses of Return-Path, Sender, From, Reply-To in header[0..len). An address
 * without a domain gets default_domain ("" for none). `Return-Path: <>` is the null path, from
 * ENVELOPE_RETURN_PATH. path is without brackets. */
enum envelope_source envelope_reverse_path(const char *header, size_t len,
                                           const char *default_domain,
                                           char path[static ADDRESS_MAX + 1]);

/* A list of addresses; each is malloc'd. */
struct envelope_list {
    char **items;
    size_t count;
};
/* Adds a copy; false when the list is full (ENVELOPE_RECIPIENTS_MAX). A double is left out. */
MUST_CHECK bool envelope_list_add(struct envelope_list *list, const char *address);
bool envelope_list_has(const struct envelope_list *list, const char *address);
void envelope_list_free(struct envelope_list *list);

/* The addresses of To, Cc and Bcc that are valid; how many were not goes to *invalid. */
void envelope_recipients(const char *header, size_t len, const char *default_domain,
                         struct envelope_list *list, size_t *invalid);

/* The first field NAME of header[0..len), decoded (RFC 2047) to UTF-8, unfolded, at most size-1
 * bytes; "" when there is none. Not yet fit for a terminal: see log_escape. Returns buf. */
char *envelope_field(const char *header, size_t len, const char *name, char *buf, size_t size);

/* Where the header section of bytes[0..n) ends, behind its empty line; 0 when the end is not among
 * them. Lines end in LF, with or without CR. */
size_t envelope_header_end(const char *bytes, size_t n);

#endif
