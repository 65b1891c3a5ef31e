/* Decoder of multi-line POP3 data.
 *
 * Promises: CRLF.CRLF and nothing else ends the data; all other octets are passed on unchanged;
 * at most the two octets ". CR" are ever held back, and those are constants, so no buffer is
 * needed. Text is scanned with memchr from LF to LF, and goes out in one span from one stuffed
 * line to the next. */
#include "fetcherd/dotdecode.h"

#include <string.h>

void dotdecode_init(struct dotdecode *d)
{
    d->state = DOTDECODE_LINE_START;
}

bool dotdecode_ended(const struct dotdecode *d)
{
    return d->state == DOTDECODE_END;
}

/* How much of the input is plain content, to be passed on in one span. The state afterwards tells
 * what follows: the end of the input, or (LINE_START) a dot at the start of a line. */
static size_t scan_text(struct dotdecode *d, const char *in, size_t len)
{
    bool after_cr = d->state == DOTDECODE_CR;
    size_t at = 0;

    while (at < len) {
        const char *lf = memchr(in + at, '\n', len - at);
        if (!lf)
            break;
        size_t pos = (size_t)(lf - in);
        bool crlf = pos ? in[pos - 1] == '\r' : after_cr;
        at = pos + 1;
        if (crlf && (at == len || in[at] == '.')) {
            d->state = DOTDECODE_LINE_START;
            return at;
        }
    }
    d->state = in[len - 1] == '\r' ? DOTDECODE_CR : DOTDECODE_TEXT;
    return len;
}

/* One octet after "." at the start of a line. True when the octet is used up. */
static bool after_dot(struct dotdecode *d, char c)
{
    if (c == '\r') {
        d->state = DOTDECODE_DOT_CR;
        return true;
    }
    d->state = DOTDECODE_TEXT; /* the dot was stuffing */
    return false;
}

size_t dotdecode_feed(struct dotdecode *d, const char *in, size_t len, dotdecode_sink *sink,
                      void *arg)
{
    size_t at = 0;

    while (at < len && d->state != DOTDECODE_END) {
        if (d->state == DOTDECODE_DOT) {
            at += after_dot(d, in[at]);
        } else if (d->state == DOTDECODE_DOT_CR) {
            if (in[at] == '\n') {
                d->state = DOTDECODE_END;
                return at + 1;
            }
            d->state = DOTDECODE_CR; /* the dot was stuffing, the CR is content */
            if (!sink(arg, "\r", 1))
                return at;
        } else if (d->state == DOTDECODE_LINE_START && in[at] == '.') {
            d->state = DOTDECODE_DOT;
            at++;
        } else {
            size_t n = scan_text(d, in + at, len - at);
            at += n;
            if (!sink(arg, in + at - n, n))
                return at;
        }
    }
    return at;
}
