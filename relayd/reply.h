/* SMTP replies (RFC 5321, 4.2), parsed as the bytes come in.
 *
 * The parser keeps no pointer to what it was fed, allocates nothing and has a ceiling on
 * everything: bytes a line, lines a reply, text kept. It is strict where a server's answer would
 * otherwise be guessed at (codes, continuation) and lenient where nothing hangs on it (a bare LF
 * ends a line, the text may be missing). */
#ifndef RELAYD_REPLY_H
#define RELAYD_REPLY_H

#include <stdbool.h>
#include <stddef.h>

enum {
    SMTP_REPLY_LINE_MAX = 2048, /* bytes, with a CR but without the LF; RFC 5321 says 512 */
    SMTP_CHALLENGE_MAX = 12288, /* the same of a 334 line (RFC 4954, 4), and of its text */
    SMTP_REPLY_LINES_MAX = 100,
    SMTP_REPLY_TEXT_MAX = 4096, /* bytes of text kept; the rest is read and dropped */
};

enum { SMTP_CHALLENGE = 334 }; /* the code */

enum smtp_reply_status {
    SMTP_REPLY_MORE, /* feed on */
    SMTP_REPLY_DONE, /* `reply` is whole; smtp_reply_reset before the next */
    SMTP_REPLY_BAD,  /* not SMTP; `error` says why, the connection is of no more use */
};

enum smtp_reply_error {
    SMTP_REPLY_OK,
    SMTP_REPLY_BAD_CODE,  /* not three digits, or outside 200..599 */
    SMTP_REPLY_BAD_SEP,   /* neither space, '-' nor line end after the code */
    SMTP_REPLY_MIXED,     /* the lines of one reply differ in their codes */
    SMTP_REPLY_LONG_LINE, /* over SMTP_REPLY_LINE_MAX */
    SMTP_REPLY_MANY_LINES,
    SMTP_REPLY_ERRORS,
};

struct smtp_reply {
    int code;        /* 200..599 */
    int enhanced[3]; /* RFC 3463, of the first line; all 0 where there is none */
    size_t lines;
    size_t text_len;
    /* The lines' text without code, joined by '\n', NUL-terminated. Only printable ASCII: control
     * and 8-bit bytes have become '?', so it can go to a log, a terminal or JSON as it is. That of
     * a challenge (334) is whole; other text is cut to SMTP_REPLY_TEXT_MAX. */
    char text[SMTP_CHALLENGE_MAX];
};

struct smtp_reply_parser {
    struct smtp_reply reply;
    enum smtp_reply_error error;
    size_t line_len;
    char line[SMTP_CHALLENGE_MAX];
};

void smtp_reply_reset(struct smtp_reply_parser *parser);

/* Takes bytes up to and with the end of one reply; `*used` tells how many it took. */
enum smtp_reply_status smtp_reply_feed(struct smtp_reply_parser *parser, const char *data,
                                       size_t len, size_t *used);

const char *smtp_reply_error_text(enum smtp_reply_error error);

/* Class of the code: 2, 3, 4 or 5. */
int smtp_reply_class(const struct smtp_reply *reply);

/* The reply on one line ("550 5.1.1 no such user"), cut to `size` bytes with the NUL. */
void smtp_reply_format(const struct smtp_reply *reply, char *out, size_t size);

#endif
