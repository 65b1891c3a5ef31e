/* POP3 response lines: gathering them from the wire and reading them.
 *
 * RFC 1939 section 3: a response is "+OK" or "-ERR", in capitals, then nothing or a space and
 * text. Anything else is no answer, and the peer is out of step. RFC 2449 section 8 and RFC 3206
 * put a response code in brackets at the head of the text. */
#ifndef FETCHERD_REPLY_H
#define FETCHERD_REPLY_H

#include <stdbool.h>
#include <stddef.h>

enum { REPLY_LINE_MAX = 8192 };

enum reply_feed {
    REPLY_MORE,     /* all input used, the line is not complete */
    REPLY_LINE,     /* text[0..len) is a line, without its line end */
    REPLY_TOO_LONG, /* more than REPLY_LINE_MAX octets without a line end */
};

/* One line being gathered. A line ends with CRLF; a lone LF ends it too, for servers that write
 * no CR. (In replies and listings that is harmless; message data goes by CRLF alone, see
 * dotdecode.h.) A lone CR and NUL are part of the text. */
struct reply_line {
    size_t len;
    bool complete;
    char text[REPLY_LINE_MAX];
};

void reply_line_init(struct reply_line *line);

/* Takes octets up to the end of one line and sets *used to their number. After REPLY_LINE the
 * line stands until the next call. */
enum reply_feed reply_line_feed(struct reply_line *line, const char *data, size_t len,
                                size_t *used);

struct reply {
    bool ok;
    const char *text; /* after the status indicator and its space; not NUL-terminated */
    size_t text_len;
    const char *code; /* response code within the text, without brackets; NULL if none */
    size_t code_len;
};

/* Reads a status line. False when it is none; *out is then untouched. *out points into the line. */
bool reply_parse(const char *line, size_t len, struct reply *out);

/* Whether the reply carries this response code or a sub-code of it: "SYS" matches "SYS/TEMP".
 * Case is ignored (RFC 2449 section 8). */
bool reply_has_code(const struct reply *reply, const char *code);

#endif
