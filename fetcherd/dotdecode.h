/* Decoder of multi-line POP3 data (RFC 1939 section 3): takes off dot-stuffing and finds the end.
 *
 * Only CRLF "." CRLF ends the data; the start counts as after CRLF, so that "." CRLF alone is
 * empty data. LF "." LF and the like are content. Every other octet is passed on as it came:
 * lone CR, lone LF, NUL, lines of any length. Nothing is buffered and the spans handed out point
 * into the input, so that plain text costs one scan for LF. */
#ifndef FETCHERD_DOTDECODE_H
#define FETCHERD_DOTDECODE_H

#include <stdbool.h>
#include <stddef.h>

enum dotdecode_state {
    DOTDECODE_LINE_START, /* after CRLF */
    DOTDECODE_TEXT,
    DOTDECODE_CR,     /* after a CR that was passed on */
    DOTDECODE_DOT,    /* "." at the start of a line, held back */
    DOTDECODE_DOT_CR, /* "." CR at the start of a line, held back */
    DOTDECODE_END,
};

struct dotdecode {
    enum dotdecode_state state;
};

/* Receives decoded octets. False stops the decoder at once. */
typedef bool dotdecode_sink(void *arg, const char *data, size_t len);

void dotdecode_init(struct dotdecode *d);

/* Decodes until the end of the data, the end of the input, or a sink that says stop. Returns the
 * number of input octets used; what lies beyond the end of the data is left alone. */
size_t dotdecode_feed(struct dotdecode *d, const char *in, size_t len, dotdecode_sink *sink,
                      void *arg);

/* Whether the terminator has been seen. */
bool dotdecode_ended(const struct dotdecode *d);

#endif
