/* Promises: whatever a filter says, what comes out are whole header fields, and no line of them
 * ends the section early. */
#include "hygiene/edit.h"
#include "spool/header.h"
#include <gmime/gmime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

enum { LINE_LONG = 700 }; /* octets; a name has 200 at most, and the end of a word must fit, too */

enum edit_op { EDIT_ADD, EDIT_REMOVE };

struct edit {
    enum edit_op op;
    char *name;
    char *value; /* EDIT_ADD */
    int nth;     /* EDIT_REMOVE */
};

void edits_free(struct edits *edits)
{
    for (size_t i = 0; i < edits->count; i++) {
        free(edits->items[i].name);
        free(edits->items[i].value);
    }
    free(edits->items);
    *edits = (struct edits){0};
}

/* --- collecting --- */

/* Printable US-ASCII but the colon; the length is our own bound. */
static bool name_valid(const char *name)
{
    size_t n = strlen(name);
    for (size_t i = 0; i < n; i++)
        if (name[i] <= ' ' || name[i] >= 127 || name[i] == ':')
            return false;
    return n > 0 && n <= 200;
}

/* A line end stays where a blank and then more text follows: the line is folded there. */
static bool is_fold(const char *at)
{
    size_t blanks = strspn(at + 1, " \t");
    return *at == '\n' && blanks > 0 && at[1 + blanks] != '\0' && at[1 + blanks] != '\r' &&
           at[1 + blanks] != '\n';
}

/* A line that gets too long (RFC 5322, 2.1.1) is folded at the next blank between two words. */
static bool wants_fold(const char *at, size_t column)
{
    return column > LINE_LONG && *at == ' ' && (unsigned char)at[1] > ' ' && at[1] != 127;
}

static char *clean_value(const char *value)
{
    size_t n = strnlen(value, EDIT_VALUE_MAX), out = 0, line = 0;
    char *clean = malloc(2 * n + 1);
    if (clean == NULL)
        abort();
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)value[i];
        if (c == '\r' && value[i + 1] == '\n')
            continue;
        if (i + 1 < n && wants_fold(value + i, out - line)) {
            clean[out++] = '\r';
            clean[out++] = '\n';
            line = out;
        }
        if (c == '\n' && i + 2 < n && is_fold(value + i)) {
            clean[out++] = '\r';
            line = out + 1;
        } else if (c != '\t' && (c < 32 || c == 127))
            c = ' ';
        clean[out++] = (char)c;
    }
    while (out > 0 && strchr(" \t\r\n", clean[out - 1]) != NULL)
        out--;
    clean[out] = '\0';
    return clean;
}

static bool append(struct edits *edits, struct edit edit)
{
    struct edit *items = realloc(edits->items, (edits->count + 1) * sizeof *items);
    if (items == NULL)
        abort();
    edits->items = items;
    items[edits->count++] = edit;
    return true;
}

static bool may_take(const struct edits *edits, const char *name)
{
    return edits->count < EDIT_MAX && name_valid(name);
}

bool edits_add(struct edits *edits, const char *name, const char *value)
{
    return may_take(edits, name) &&
           append(edits, (struct edit){EDIT_ADD, strdup(name), clean_value(value), 0});
}

bool edits_remove(struct edits *edits, const char *name, int nth)
{
    return may_take(edits, name) &&
           append(edits, (struct edit){EDIT_REMOVE, strdup(name), NULL, nth});
}

bool edits_subject(struct edits *edits, const char *subject)
{
    char *valid = g_utf8_make_valid(subject, (gssize)strnlen(subject, EDIT_VALUE_MAX));
    char *encoded =
        g_mime_utils_header_encode_text(g_mime_format_options_get_default(), valid, "utf-8");
    bool ok = edits_remove(edits, "Subject", 0) && edits_add(edits, "Subject", encoded);
    g_free(encoded);
    g_free(valid);
    return ok;
}

void edits_move(struct edits *edits, struct edits *more)
{
    size_t room = EDIT_MAX - edits->count;
    for (size_t i = 0; i < more->count && i < room; i++) {
        (void)append(edits, more->items[i]);
        more->items[i] = (struct edit){0};
    }
    edits_free(more);
}

/* --- applying --- */

struct text {
    char *bytes;
    size_t len, room;
};

static void put(struct text *text, const char *bytes, size_t n)
{
    if (n > text->room - text->len) {
        text->room = 2 * (text->room + n);
        text->bytes = realloc(text->bytes, text->room);
        if (text->bytes == NULL)
            abort();
    }
    memcpy(text->bytes + text->len, bytes, n);
    text->len += n;
}

static void put_added(const struct edits *edits, struct text *text)
{
    for (size_t i = 0; i < edits->count; i++) {
        const struct edit *edit = &edits->items[i];
        if (edit->op != EDIT_ADD)
            continue;
        put(text, edit->name, strlen(edit->name));
        put(text, ": ", 2);
        put(text, edit->value, strlen(edit->value));
        put(text, "\r\n", 2);
    }
}

static int count_fields(const char *header, size_t len, const char *name)
{
    struct header_walk walk = header_begin(header, len);
    int count = 0;
    for (struct header_field field; header_next(&walk, &field);)
        count += header_is(&field, name);
    return count;
}

/* `seen` fields of that name came before this one. */
static bool hits(const struct edit *edit, int seen, int all)
{
    int nth = edit->nth < 0 ? all + 1 + edit->nth : edit->nth;
    return edit->nth == 0 || nth == seen + 1;
}

struct removal {
    const struct edit *edit;
    int seen, all;
};

static size_t removals_of(const struct edits *edits, const char *header, size_t len,
                          struct removal removals[static EDIT_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < edits->count; i++)
        if (edits->items[i].op == EDIT_REMOVE)
            removals[n++] = (struct removal){&edits->items[i], 0,
                                             count_fields(header, len, edits->items[i].name)};
    return n;
}

static bool is_removed(struct removal *removals, size_t n, const struct header_field *field)
{
    bool removed = false;
    for (size_t i = 0; i < n; i++) {
        if (!header_is(field, removals[i].edit->name))
            continue;
        removed = hits(removals[i].edit, removals[i].seen, removals[i].all) || removed;
        removals[i].seen++;
    }
    return removed;
}

/* The length of a first line "From ...", which is no field "From :". */
static size_t mbox_line(const char *header, size_t len)
{
    struct header_walk walk = header_begin(header, len);
    struct header_field field;
    const char *lf = memchr(header, '\n', len);
    if (len < 5 || strncasecmp(header, "From ", 5) != 0 || lf == NULL ||
        (header_next(&walk, &field) && field.name == header))
        return 0;
    return (size_t)(lf + 1 - header);
}

char *edits_apply(const struct edits *edits, const char *header, size_t len, size_t *out_len)
{
    struct removal removals[EDIT_MAX];
    size_t n = removals_of(edits, header, len, removals);
    size_t first = mbox_line(header, len);
    struct text text = {.bytes = malloc(len + 1), .room = len + 1};
    if (text.bytes == NULL)
        abort();
    put(&text, header, first);
    put_added(edits, &text);
    const char *from = header + first;
    struct header_walk walk = header_begin(header, len);
    for (struct header_field field; header_next(&walk, &field);) {
        if (!is_removed(removals, n, &field))
            continue;
        put(&text, from, (size_t)(field.name - from));
        from = walk.at;
    }
    put(&text, from, (size_t)(header + len - from));
    *out_len = text.len;
    return text.bytes;
}
