/* See header.h. Obsolete forms are taken as they come: blanks before the colon (RFC 5322 4.5), NUL,
 * 8-bit. */
#include "spool/header.h"
#include <string.h>
#include <strings.h>

struct header_walk header_begin(const char *header, size_t len)
{
    return (struct header_walk){.at = header, .end = header + len};
}

/* The end of the line at `at`, behind its LF. */
static const char *line_end(const char *at, const char *end)
{
    const char *lf = memchr(at, '\n', (size_t)(end - at));
    return lf != NULL ? lf + 1 : end;
}

static bool line_is_empty(const char *at, const char *end)
{
    return at == end || *at == '\n' || (*at == '\r' && (at + 1 == end || at[1] == '\n'));
}

static size_t without_line_end(const char *from, const char *to)
{
    while (to > from && (to[-1] == '\n' || to[-1] == '\r'))
        to--;
    return (size_t)(to - from);
}

/* How long the field's name is, or 0: printable US-ASCII, perhaps blanks, and a colon. */
static size_t name_length(const char *at, const char *end)
{
    size_t n = 0;
    while (at + n < end && at[n] > ' ' && at[n] < 127 && at[n] != ':')
        n++;
    size_t colon = n;
    while (at + colon < end && (at[colon] == ' ' || at[colon] == '\t'))
        colon++;
    return at + colon < end && at[colon] == ':' ? n : 0;
}

bool header_next(struct header_walk *walk, struct header_field *field)
{
    while (walk->at < walk->end && !line_is_empty(walk->at, walk->end)) {
        const char *start = walk->at;
        const char *next = line_end(start, walk->end);
        size_t n = name_length(start, next);
        while (next < walk->end && (*next == ' ' || *next == '\t'))
            next = line_end(next, walk->end);
        walk->at = next;
        if (n == 0)
            continue;
        const char *value = (const char *)memchr(start, ':', (size_t)(next - start)) + 1;
        *field = (struct header_field){start, n, value, without_line_end(value, next)};
        return true;
    }
    return false;
}

bool header_is(const struct header_field *field, const char *name)
{
    return field->name_len == strlen(name) && strncasecmp(field->name, name, field->name_len) == 0;
}

char *header_unfold(const struct header_field *field, char *buf, size_t size)
{
    size_t out = 0;
    for (size_t i = 0; i < field->value_len && out + 1 < size; i++) {
        unsigned char c = (unsigned char)field->value[i];
        bool crlf = c == '\r' && i + 1 < field->value_len && field->value[i + 1] == '\n';
        if (c == '\n' || crlf)
            continue; /* the blank that begins the next line stays */
        if (c < 32 || c == 127)
            c = ' ';
        if (out > 0 || c != ' ')
            buf[out++] = (char)c;
    }
    while (out > 0 && buf[out - 1] == ' ')
        out--;
    buf[out] = '\0';
    return buf;
}
