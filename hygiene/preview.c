/* See preview.h. A charset that nobody knows, or that is a lie, leaves octets that come out
 * escaped. */
#include "hygiene/preview.h"
#include "hygiene/htmltext.h"
#include "lib/log.h"
#include <errno.h>
#include <glib.h>
#include <gmime/gmime.h>
#include <iconv.h>
#include <stdlib.h>
#include <string.h>

#define RAW_MAX   (256 * 1024) /* octets of the part that are decoded */
#define TAB_WIDTH 8

/* --- which part --- */

static const struct mimelook_part *first_of(const struct mimelook *look, const char *type)
{
    for (size_t i = 0; i < look->count; i++) {
        const struct mimelook_part *part = &look->parts[i];
        if (!part->attachment && !part->container &&
            g_ascii_strncasecmp(part->type, type, strlen(type)) == 0)
            return part;
    }
    return NULL;
}

const struct mimelook_part *preview_part(const struct mimelook *look)
{
    static const char *const wanted[] = {"text/plain", "text/html", "text/"};
    const struct mimelook_part *part = NULL;
    for (size_t i = 0; part == NULL && i < G_N_ELEMENTS(wanted); i++)
        part = first_of(look, wanted[i]);
    return part;
}

/* --- its text --- */

/* A name such as mail has; anything else is no business of iconv_open's, which loads modules. */
static bool is_charset_name(const char *name)
{
    size_t n = name != NULL ? strlen(name) : 0;
    for (size_t i = 0; i < n; i++)
        if (!g_ascii_isalnum(name[i]) && strchr("-_.:+", name[i]) == NULL)
            return false;
    return n > 0 && n <= 40;
}

/* How many octets are passed over when they make no sense. */
static size_t unit_of(const char *charset)
{
    return g_ascii_strncasecmp(charset, "utf-16", 6) == 0   ? 2
           : g_ascii_strncasecmp(charset, "utf-32", 6) == 0 ? 4
                                                            : 1;
}

/* Takes text over. What the charset does not have, since it is a lie, stays as it is. */
static GByteArray *in_utf8(GByteArray *text, const char *charset)
{
    iconv_t cd = is_charset_name(charset) && g_ascii_strcasecmp(charset, "utf-8") != 0
                     ? g_mime_iconv_open("utf-8", charset)
                     : (iconv_t)-1;
    if (cd == (iconv_t)-1)
        return text;
    GByteArray *converted = g_byte_array_new();
    char *from = (char *)text->data;
    size_t left = text->len;
    for (bool more = true; more;) {
        char piece[4096], *to = piece;
        size_t room = sizeof piece;
        more = left > 0; /* behind the last octet, what the converter has kept back */
        bool done = iconv(cd, more ? &from : NULL, &left, &to, &room) != (size_t)-1;
        size_t odd = more && !done && errno != E2BIG ? MIN(unit_of(charset), left) : 0;
        g_byte_array_append(converted, (guint8 *)piece, (guint)(to - piece));
        g_byte_array_append(converted, (guint8 *)from, (guint)odd);
        from += odd;
        left -= odd;
    }
    g_mime_iconv_close(cd);
    g_byte_array_unref(text);
    return converted;
}

static GByteArray *decode(const struct mimelook *look, const struct mimelook_part *part)
{
    size_t len = MIN(part->end - part->start, RAW_MAX);
    GMimeStream *raw = g_mime_stream_mem_new_with_buffer(look->bytes + part->start, len);
    GMimeStream *filtered = g_mime_stream_filter_new(raw), *out = g_mime_stream_mem_new();
    GMimeFilter *basic = g_mime_filter_basic_new((GMimeContentEncoding)part->encoding, FALSE);
    GByteArray *text = g_byte_array_new();
    g_mime_stream_filter_add(GMIME_STREAM_FILTER(filtered), basic);
    g_mime_stream_mem_set_byte_array(GMIME_STREAM_MEM(out), text);
    (void)g_mime_stream_write_to_stream(filtered, out);
    g_object_unref(basic);
    g_object_unref(out);
    g_object_unref(filtered);
    g_object_unref(raw);
    return in_utf8(text, part->charset);
}

/* --- lines --- */

/* Tabs would be escaped, and "\x09" is nothing to read. Returns how many octets it has. */
static size_t expand_tabs(const char *line, size_t len, char *to, size_t room)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n < room; i++) {
        if (line[i] != '\t') {
            to[n++] = line[i];
            continue;
        }
        do
            to[n++] = ' ';
        while (n < room && n % TAB_WIDTH != 0);
    }
    return n;
}

static json_t *shown_line(const char *line, size_t len)
{
    char plain[PREVIEW_WIDTH], safe[PREVIEW_WIDTH];
    if (len > 0 && line[len - 1] == '\r')
        len--;
    size_t n = expand_tabs(line, len, plain, sizeof plain);
    return json_string(log_escape(safe, sizeof safe, plain, n));
}

/* Empty lines in front say nothing. */
static size_t first_line(const char *text, size_t len)
{
    size_t at = 0;
    while (at < len && strchr(" \t\r\n", text[at]) != NULL && text[at] != '\0')
        at++;
    while (at > 0 && text[at - 1] != '\n')
        at--;
    return at;
}

json_t *preview_raw(const char *text, size_t len)
{
    json_t *lines = json_array();
    for (size_t at = first_line(text, len); at < len && json_array_size(lines) < PREVIEW_LINES;) {
        const char *lf = memchr(text + at, '\n', len - at);
        size_t n = lf != NULL ? (size_t)(lf - text) - at : len - at;
        (void)json_array_append_new(lines, shown_line(text + at, n));
        at += n + 1;
    }
    return lines;
}

json_t *preview_lines(const struct mimelook *look, const struct mimelook_part *part)
{
    GByteArray *text = decode(look, part);
    json_t *lines;
    if (text->len > 0 && g_ascii_strcasecmp(part->type, "text/html") == 0) {
        size_t n;
        char *plain = htmltext_reduce((const char *)text->data, text->len, &n);
        lines = preview_raw(plain, n);
        free(plain);
    } else {
        lines = preview_raw((const char *)text->data, text->len);
    }
    g_byte_array_unref(text);
    return lines;
}
