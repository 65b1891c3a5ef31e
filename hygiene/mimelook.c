/* Promises: memory in proportion to MIMELOOK_BYTES, and some hundred milliseconds at most.
 *
 * GMime 3.2 alone keeps neither: 1.2 million parts fit into 8 MiB and take 1.5 GB, lines that might
 * be boundaries are compared with each of up to 1024 that are open, and groups within groups of an
 * address field, some 40,000 deep, overrun the stack. So
 *
 * - it reads through a stream of ours, which ends when the time is up or a count is reached;
 * - a message within a message is a plain part to it: its addresses are not parsed, and we look
 *   into it by a parser of its own;
 * - a line with its folded ones behind it counts up to LINE_MAX_BYTES; what follows is replaced by
 *   letters that mean nothing, and sizes stay true. */
#include "hygiene/mimelook.h"
#include "lib/clock.h"
#include <glib.h>
#include <gmime/gmime.h>
#include <stdlib.h>
#include <string.h>

#define READ_BYTES       4096 /* that GMime gets at once; between two reads the time is looked at */
#define LINE_MAX_BYTES   65536
#define TIME_MAX         500 /* ms */
#define BOUNDARIES_MAX   10000
#define FIELDS_MAX       10000
#define FIELD_BYTES_MAX  ((size_t)1024 * 1024)
#define PARSED_BYTES_MAX (3 * MIMELOOK_BYTES) /* what lies in messages is parsed once a level */

static const char cut_bytes[] = "only its first 8 MiB were looked at";
static const char cut_boundaries[] = "more than 10000 lines in it look like boundaries";
static const char cut_fields[] = "it has too many header fields, or too long ones";
static const char cut_depth[] = "what lies more than 100 levels deep was not looked at";
static const char cut_parts[] = "only its first 1000 parts are shown";
static const char cut_time[] = "to look at all of it would have taken too long";
static const char cut_damaged[] = "the file is damaged, and looked at as far as it goes";

struct walk {
    struct mimelook *look;
    GByteArray *bytes;
    int64_t deadline;
    size_t fields, field_bytes;
};

static int64_t patience = TIME_MAX;

void mimelook_patience_for_test(int64_t ms)
{
    patience = ms < 0 ? TIME_MAX : ms;
}

static void cut(struct walk *walk, const char *why)
{
    if (walk->look->cut == NULL)
        walk->look->cut = why;
}

/* --- the stream that ends when it is enough --- */

struct bounded_stream {
    GMimeStreamMem mem;
    struct walk *walk;
};

static GMimeStreamClass *plain_class;

static bool enough(struct walk *walk)
{
    if (walk->fields > FIELDS_MAX || walk->field_bytes > FIELD_BYTES_MAX)
        cut(walk, cut_fields);
    else if (walk->look->parsed > PARSED_BYTES_MAX || clock_monotonic() >= walk->deadline)
        cut(walk, cut_time);
    else
        return false;
    return true;
}

static ssize_t bounded_read(GMimeStream *stream, char *buf, size_t len)
{
    struct walk *walk = ((struct bounded_stream *)stream)->walk;
    if (enough(walk))
        return 0;
    ssize_t n = plain_class->read(stream, buf, MIN(len, READ_BYTES));
    walk->look->parsed += n > 0 ? (size_t)n : 0;
    return n;
}

static void init_class(gpointer class, gpointer data)
{
    (void)data;
    plain_class = g_type_class_peek_parent(class);
    ((GMimeStreamClass *)class)->read = bounded_read;
}

static GType bounded_type(void)
{
    static GType type;
    if (type == 0)
        type = g_type_register_static_simple(GMIME_TYPE_STREAM_MEM, "PopferryBoundedStream",
                                             sizeof(GMimeStreamMemClass), init_class,
                                             sizeof(struct bounded_stream), NULL, 0);
    return type;
}

/* What GMime would take apart as a message is a part like others: see above. */
static void keep_messages_shut(void)
{
    static const char *const subtypes[] = {"rfc822", "rfc2822", "global", "news", "external-body"};
    static bool done;
    for (size_t i = 0; !done && i < G_N_ELEMENTS(subtypes); i++)
        g_mime_object_register_type("message", subtypes[i], GMIME_TYPE_PART);
    done = true;
}

static void on_field(GMimeParser *parser, const char *name, const char *value, gint64 offset,
                     gpointer arg)
{
    (void)parser;
    (void)offset;
    struct walk *walk = arg;
    walk->fields++;
    walk->field_bytes += strlen(name) + strlen(value);
}

/* Behind the line of mbox that a message may begin with, which is no field, and for lack of which
 * GMime would see none in it. */
static gint64 behind_mbox_line(const struct walk *walk, gint64 start, gint64 end)
{
    const char *at = (const char *)walk->bytes->data + start;
    size_t len = (size_t)(end - start), from = len > 0 && *at == '>' ? 6 : 5;
    if (len < from || g_ascii_strncasecmp(at + from - 5, "From ", 5) != 0)
        return start;
    const char *lf = memchr(at, '\n', len), *word = at + from;
    while (lf != NULL && (*word == ' ' || *word == '\t'))
        word++;
    return lf != NULL && *word != ':' ? start + (lf + 1 - at) : start; /* "From : a@x.example" */
}

/* The tree of bytes[start..end), its header section included; NULL when there is none to see. */
static GMimeObject *parse(struct walk *walk, gint64 start, gint64 end)
{
    struct bounded_stream *bounded = g_object_new(bounded_type(), NULL);
    start = behind_mbox_line(walk, start, end);
    GMimeStream *stream = (GMimeStream *)bounded;
    bounded->walk = walk;
    g_mime_stream_mem_set_byte_array(&bounded->mem, walk->bytes);
    g_mime_stream_set_bounds(stream, start, end);
    g_mime_stream_seek(stream, start, GMIME_STREAM_SEEK_SET);
    GMimeParser *parser = g_mime_parser_new_with_stream(stream);
    g_mime_parser_set_header_regex(parser, ".", on_field, walk);
    GMimeObject *tree = g_mime_parser_construct_part(parser, NULL);
    g_object_unref(parser);
    g_object_unref(stream);
    return tree;
}

/* --- parts --- */

static void look_into(struct walk *walk, GMimeObject *object, int depth);

/* NULL: there are too many. */
static struct mimelook_part *add_part(struct walk *walk, GMimeObject *object, int depth)
{
    struct mimelook *look = walk->look;
    if (look->count == MIMELOOK_PARTS || depth > MIMELOOK_DEPTH) {
        cut(walk, depth > MIMELOOK_DEPTH ? cut_depth : cut_parts);
        return NULL;
    }
    GMimeContentType *type = g_mime_object_get_content_type(object);
    struct mimelook_part *part = &look->parts[look->count++];
    *part = (struct mimelook_part){.depth = depth, .type = g_mime_content_type_get_mime_type(type)};
    part->charset = g_strdup(g_mime_content_type_get_parameter(type, "charset"));
    const char *disposition = g_mime_object_get_disposition(object);
    part->attachment =
        disposition != NULL && g_ascii_strcasecmp(disposition, GMIME_DISPOSITION_ATTACHMENT) == 0;
    return part;
}

static void look_into_multipart(struct walk *walk, GMimeMultipart *multipart, int depth)
{
    struct mimelook_part *part = add_part(walk, GMIME_OBJECT(multipart), depth);
    if (part == NULL)
        return;
    part->container = true;
    size_t before = walk->look->count;
    for (int i = 0; i < g_mime_multipart_get_count(multipart); i++)
        look_into(walk, g_mime_multipart_get_part(multipart, i), depth + 1);
    for (size_t i = before; i < walk->look->count; i++)
        if (walk->look->parts[i].depth == depth + 1)
            part->size += walk->look->parts[i].size;
}

static bool is_encoded(const struct mimelook_part *part)
{
    return part->encoding == GMIME_CONTENT_ENCODING_BASE64 ||
           part->encoding == GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE ||
           part->encoding == GMIME_CONTENT_ENCODING_UUENCODE;
}

static uint64_t decoded_size(struct walk *walk, const struct mimelook_part *part,
                             GMimeDataWrapper *content)
{
    if (!is_encoded(part) || enough(walk))
        return part->end - part->start;
    GMimeStream *nowhere = g_mime_stream_null_new();
    ssize_t n = g_mime_data_wrapper_write_to_stream(content, nowhere);
    g_object_unref(nowhere);
    return n > 0 ? (uint64_t)n : 0;
}

/* A message within; an encoded one is against the rules (RFC 2046 5.2.1), and stays shut. */
static bool is_open_message(const struct mimelook_part *part)
{
    return (g_ascii_strcasecmp(part->type, "message/rfc822") == 0 ||
            g_ascii_strcasecmp(part->type, "message/global") == 0) &&
           !is_encoded(part) && part->start < part->end;
}

static void look_into_part(struct walk *walk, GMimePart *leaf, int depth)
{
    struct mimelook_part *part = add_part(walk, GMIME_OBJECT(leaf), depth);
    GMimeDataWrapper *content = part != NULL ? g_mime_part_get_content(leaf) : NULL;
    if (content == NULL)
        return;
    GMimeStream *stream = g_mime_data_wrapper_get_stream(content);
    part->name = g_strdup(g_mime_part_get_filename(leaf));
    part->encoding = g_mime_part_get_content_encoding(leaf);
    part->start = (size_t)stream->bound_start;
    part->end = stream->bound_end >= 0 ? (size_t)stream->bound_end : walk->look->len;
    part->size = decoded_size(walk, part, content);
    GMimeObject *within =
        is_open_message(part) ? parse(walk, (gint64)part->start, (gint64)part->end) : NULL;
    if (within == NULL)
        return;
    part->container = true;
    look_into(walk, within, depth + 1);
    g_object_unref(within);
}

static void look_into(struct walk *walk, GMimeObject *object, int depth)
{
    if (GMIME_IS_MULTIPART(object))
        look_into_multipart(walk, GMIME_MULTIPART(object), depth);
    else if (GMIME_IS_PART(object))
        look_into_part(walk, GMIME_PART(object), depth);
}

/* --- the bytes --- */

/* An endless line of letters is still base64, or a word; blanks keep their place, and so does "=",
 * which says where base64 ends. */
static void mask(char *from, const char *to)
{
    for (; from < to; from++)
        if (strchr("\r\n \t=", *from) == NULL || *from == '\0')
            *from = 'A';
}

static void mask_endless_lines(char *bytes, size_t len)
{
    char *end = bytes + len;
    for (char *line = bytes; line < end;) {
        char *next = line;
        do {
            char *lf = memchr(next, '\n', (size_t)(end - next));
            next = lf != NULL ? lf + 1 : end;
        } while (next < end && (*next == ' ' || *next == '\t'));
        if (next - line > LINE_MAX_BYTES)
            mask(line + LINE_MAX_BYTES, next);
        line = next;
    }
}

/* Where the look ends for having seen enough lines that begin with "--". */
static size_t boundaries_end(const char *bytes, size_t len)
{
    int found = 0;
    for (size_t at = 0; at < len;) {
        if (len - at >= 2 && memcmp(bytes + at, "--", 2) == 0 && ++found > BOUNDARIES_MAX)
            return at;
        const char *lf = memchr(bytes + at, '\n', len - at);
        at = lf != NULL ? (size_t)(lf - bytes) + 1 : len;
    }
    return len;
}

static bool read_bytes(struct message_reader *r, struct walk *walk, struct error *err)
{
    struct mimelook *look = walk->look;
    uint64_t size = message_reader_size(r);
    size_t room = size < MIMELOOK_BYTES ? (size_t)size : MIMELOOK_BYTES, got = 1;
    look->bytes = g_malloc0(room + 1);
    while (look->len < room && got > 0) {
        if (message_read(r, look->bytes + look->len, room - look->len, &got, err))
            look->len += got;
        else if (err->kind != ERROR_PERMANENT)
            return false;
        else
            break;
    }
    char behind;
    look->damaged = look->len < room || (size == room && !message_read(r, &behind, 1, &got, err));
    if (look->damaged)
        cut(walk, cut_damaged);
    else if (size > room)
        cut(walk, cut_bytes);
    return true;
}

static void take_apart(struct walk *walk)
{
    struct mimelook *look = walk->look;
    size_t end = boundaries_end(look->bytes, look->len);
    if (end < look->len)
        cut(walk, cut_boundaries);
    look->len = end;
    mask_endless_lines(look->bytes, look->len);
    walk->bytes = g_byte_array_new_take((guint8 *)look->bytes, look->len);
    GMimeObject *tree = parse(walk, 0, (gint64)look->len);
    if (tree != NULL) {
        look_into(walk, tree, 0);
        g_object_unref(tree);
    }
    look->bytes = (char *)g_byte_array_free(walk->bytes, FALSE);
}

bool mimelook_read(struct message_reader *r, struct mimelook *look, struct error *err)
{
    *look = (struct mimelook){.bytes = NULL};
    struct walk walk = {.look = look, .deadline = clock_monotonic() + patience};
    if (!read_bytes(r, &walk, err)) {
        mimelook_free(look);
        return false;
    }
    look->parts = g_new0(struct mimelook_part, MIMELOOK_PARTS);
    keep_messages_shut();
    take_apart(&walk);
    return true;
}

void mimelook_free(struct mimelook *look)
{
    for (size_t i = 0; i < look->count; i++) {
        g_free(look->parts[i].type);
        g_free(look->parts[i].name);
        g_free(look->parts[i].charset);
    }
    g_free(look->parts);
    g_free(look->bytes);
    *look = (struct mimelook){.bytes = NULL};
}
