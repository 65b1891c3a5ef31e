/* What a server's answer to EHLO offers (RFC 5321, 4.1.1.1). */
#ifndef RELAYD_EXTENSION_H
#define RELAYD_EXTENSION_H

#include "relayd/reply.h"

#include <stdint.h>

enum smtp_extension {
    SMTP_EXT_PIPELINING, /* RFC 2920 */
    SMTP_EXT_SIZE,       /* RFC 1870 */
    SMTP_EXT_8BITMIME,   /* RFC 6152 */
    SMTP_EXT_SMTPUTF8,   /* RFC 6531 */
    SMTP_EXT_CHUNKING,   /* RFC 3030 */
    SMTP_EXT_STARTTLS,   /* RFC 3207 */
    SMTP_EXT_AUTH,       /* RFC 4954 */
    SMTP_EXT_DSN,        /* RFC 3461 */
    SMTP_EXT_ENHANCED,   /* RFC 2034 */
    SMTP_EXT_XCLIENT,    /* Postfix's XCLIENT_README */
    SMTP_EXT_XFORWARD,   /* Postfix's XFORWARD_README */
    SMTP_EXTENSIONS,
};

struct smtp_extensions {
    uint32_t offered;    /* a bit an extension */
    uint64_t size_limit; /* octets; 0: none named */
    char auth[512];      /* the mechanisms of all its AUTH lines, separated by spaces */
    char xclient[128], xforward[128]; /* the attributes that they take; cut if longer */
};

/* Reads a 250 answer to EHLO. The first line, the greeting, is passed over; unknown keywords are.
 */
void smtp_extensions_parse(struct smtp_extensions *extensions, const struct smtp_reply *reply);

bool smtp_extensions_has(const struct smtp_extensions *extensions, enum smtp_extension extension);

const char *smtp_extension_name(enum smtp_extension extension);

#endif
