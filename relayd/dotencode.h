/* What DATA sends (RFC 5321, 2.3.8, 4.1.1.4, 4.5.2), or BDAT (RFC 3030: the same without dots),
 * from a message of any bytes.
 *
 * Line ends are made CRLF first and lines that begin with a dot are stuffed after that, so that
 * no byte sequence of the message can end it early, whatever a server takes for a line end
 * ("SMTP smuggling", CVE-2023-51764). The rule: CRLF stays; every other CR and every other LF
 * becomes CRLF. So `\r\r\n` goes out as `\r\n\r\n`, and no CR or LF ever goes out alone, nor one in
 * each of two pieces. NUL and 8-bit bytes pass.
 *
 * A line whose first octet behind NULs is a dot is stuffed too, at its front: servers are known
 * that drop NULs before they look for the lone dot, and to others it is stuffing like any (RFC
 * 5321, 4.5.2). For this NULs at the start of a line are held back, as many as a line may be long
 * (RFC 5321, 4.5.3.1.6); behind more of them the dot may be stuffed where it stands. */
#ifndef RELAYD_DOTENCODE_H
#define RELAYD_DOTENCODE_H

#include <stdbool.h>
#include <stddef.h>

struct dot_encoder {
    bool stuffing;   /* for DATA: dots are stuffed, and a lone one ends it */
    bool line_start; /* the next byte begins a line, but for NULs */
    size_t held;     /* NULs that begin it, and are not out yet */
    bool after_cr;   /* the byte before was a CR; its CRLF is out already */
};

enum {
    DOT_ENCODE_GROWTH = 2, /* output is at most this many times the input, and */
    DOT_ENCODE_HELD_MAX = 998,
    DOT_ENCODE_END_MAX = DOT_ENCODE_HELD_MAX + 5, /* room that dot_encode_end wants */
};

void dot_encode_init(struct dot_encoder *encoder, bool stuffing);

/* Encodes one piece into `out`, which has room for len * DOT_ENCODE_GROWTH + DOT_ENCODE_HELD_MAX
 * bytes and does not overlap `in`. Returns the bytes written. Pieces may be cut anywhere. */
size_t dot_encode(struct dot_encoder *encoder, const char *in, size_t len, char *out);

/* The CRLF that the last line lacks, if it does, and with stuffing the terminator. */
size_t dot_encode_end(struct dot_encoder *encoder, char out[DOT_ENCODE_END_MAX]);

#endif
