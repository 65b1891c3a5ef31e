/* What a message is made of, found out by GMime within bounds, whoever made it and whatever for: so
 * many of its octets, so many levels, parts, boundaries and header fields, and so much time. Where
 * a bound was met, `cut` says which, and what was seen until then is there. */
#ifndef HYGIENE_MIMELOOK_H
#define HYGIENE_MIMELOOK_H

#include "spool/message.h"

#define MIMELOOK_BYTES ((size_t)8 * 1024 * 1024)
#define MIMELOOK_DEPTH 100
#define MIMELOOK_PARTS 1000

struct mimelook_part {
    int depth;         /* 0: the message itself */
    char *type;        /* "text/plain" */
    char *name;        /* decoded; NULL: it has none. Neither is fit for a terminal as it is */
    char *charset;     /* as named, or NULL */
    bool attachment;   /* it says so */
    bool container;    /* its parts follow, one level deeper */
    int encoding;      /* GMimeContentEncoding */
    uint64_t size;     /* octets of its content, decoded */
    size_t start, end; /* its content as it stands, in bytes */
};

struct mimelook {
    char *bytes; /* of the message; those far behind in an endless line may be other ones */
    size_t len;
    struct mimelook_part *parts; /* in their order, from outside inwards */
    size_t count;
    const char *cut; /* a sentence; NULL: all was seen */
    bool damaged;    /* as far as it was read */
    size_t parsed;   /* octets that went through a parser, what lies in messages once a level */
};

/* Looks at what r gives from here on. A damaged file is looked at as far as it goes. False: it
 * can't be read. */
MUST_CHECK bool mimelook_read(struct message_reader *r, struct mimelook *look, struct error *err);
void mimelook_free(struct mimelook *look); /* what it holds */

/* For tests: how long a look may take, in ms; negative: the usual time. */
void mimelook_patience_for_test(int64_t ms);

#endif
