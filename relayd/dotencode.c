/* Normalises line ends and stuffs dots, fed in pieces of any size. Promises: what goes out is lines
 * that end in CRLF; with stuffing none of them is a lone dot, and then the one terminator. Bytes
 * are looked at by memchr and copied in spans as long as nothing in them must change: on ordinary
 * mail the cost is two vector scans and a copy. */
#include "relayd/dotencode.h"

#include <string.h>

/* The next CR and the next LF at or after the cursor; `end` where there is none. Each is searched
 * for only when it has been passed, so that mail with one of them only is still linear. */
struct scan {
    const char *cr;
    const char *lf;
    const char *end;
};

static const char *find(const char *from, const char *end, char byte)
{
    const char *hit = from < end ? memchr(from, byte, (size_t)(end - from)) : NULL;
    return hit ? hit : end;
}

static void scan_pass(struct scan *scan, const char *at)
{
    if (scan->cr < at)
        scan->cr = find(at, scan->end, '\r');
    if (scan->lf < at)
        scan->lf = find(at, scan->end, '\n');
}

static char *put(char *out, const char *from, size_t len)
{
    memcpy(out, from, len);
    return out + len;
}

static char *put_held(struct dot_encoder *encoder, char *out)
{
    memset(out, '\0', encoder->held);
    out += encoder->held;
    encoder->held = 0;
    return out;
}

/* A line begins with what is held and goes on at `at`: a dot goes before it all if a dot is the
 * first in it that is no NUL. Returns where to go on: at the end, when nothing but NULs stood
 * there, which are held back for what follows; else at `at`. */
static const char *begin_line(struct dot_encoder *encoder, const char *at, const char *end,
                              char **out)
{
    const char *first = at;
    while (first < end && *first == '\0')
        first++;
    size_t nuls = (size_t)(first - at);
    if (first == end) {
        if (encoder->held + nuls > DOT_ENCODE_HELD_MAX)
            *out = put(put_held(encoder, *out), at, nuls);
        else
            encoder->held += nuls;
        return end;
    }
    if (*first == '.')
        *(*out)++ = '.';
    *out = put_held(encoder, *out);
    return at;
}

void dot_encode_init(struct dot_encoder *encoder, bool stuffing)
{
    *encoder = (struct dot_encoder){.stuffing = stuffing, .line_start = true};
}

size_t dot_encode(struct dot_encoder *encoder, const char *in, size_t len, char *out)
{
    const char *const end = in + len;
    const char *at = in;   /* the cursor */
    const char *from = in; /* copied up to here */
    char *const begin = out;
    if (len == 0)
        return 0;
    if (encoder->after_cr && *in == '\n')
        from = ++at; /* second half of a CRLF whose CR ended the piece before */
    encoder->after_cr = false;
    struct scan scan = {.cr = find(at, end, '\r'), .lf = find(at, end, '\n'), .end = end};
    bool line_start = encoder->line_start;
    while (at < end) {
        if (line_start && encoder->stuffing && (*at == '.' || *at == '\0' || encoder->held > 0)) {
            out = put(out, from, (size_t)(at - from));
            from = at = begin_line(encoder, at, end, &out);
            if (at == end)
                break;
        }
        const char *eol = scan.cr < scan.lf ? scan.cr : scan.lf;
        line_start = eol < end;
        if (!line_start)
            break;
        if (eol == scan.cr && eol + 1 < end && eol[1] == '\n') {
            at = eol + 2; /* CRLF: stays within the span */
        } else {
            out = put(out, from, (size_t)(eol - from));
            out = put(out, "\r\n", 2);
            from = at = eol + 1;
            encoder->after_cr = eol == scan.cr && at == end;
        }
        scan_pass(&scan, at);
    }
    encoder->line_start = line_start;
    out = put(out, from, (size_t)(end - from));
    return (size_t)(out - begin);
}

size_t dot_encode_end(struct dot_encoder *encoder, char out[DOT_ENCODE_END_MAX])
{
    bool open = !encoder->line_start || encoder->held > 0;
    char *end = put_held(encoder, out);
    if (open)
        end = put(end, "\r\n", 2);
    if (encoder->stuffing)
        end = put(end, ".\r\n", 3);
    encoder->line_start = true;
    return (size_t)(end - out);
}
