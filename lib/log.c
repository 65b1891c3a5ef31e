/* Events as lines. A line is put together in one buffer and written with one write(2), so that
 * lines of several processes that share a log never mix. What is too long is cut, never split. */
#include "lib/log.h"
#include "lib/clock.h"
#include <assert.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES  4096
#define VALUE_MAX_BYTES 1024

static const char *const level_names[] = {
    [LOG_DETAIL] = "detail",
    [LOG_NOTE] = "note",
    [LOG_WARN] = "warning",
    [LOG_ALARM] = "alarm",
};
static_assert(sizeof level_names / sizeof level_names[0] == LOG_LEVELS, "a name for each level");

static const char *program_name = "popferry";
static bool verbose;
static bool with_time = true;
static log_sink_fn *sink;
static void *sink_arg;

void log_open(const char *program)
{
    program_name = program;
    with_time = getenv("JOURNAL_STREAM") == NULL; /* the journal has its own time */
}

void log_verbose(bool on)
{
    verbose = on;
}

bool log_is_verbose(void)
{
    return verbose;
}

const char *log_level_name(enum log_level level)
{
    return level_names[level];
}

void log_set_sink(log_sink_fn *fn, void *arg)
{
    sink = fn;
    sink_arg = arg;
}

/* Length of the well-formed UTF-8 sequence at s (RFC 3629), its code point in *cp; 0 when it is
 * none. */
static size_t utf8_sequence(const unsigned char *s, size_t len, uint32_t *cp)
{
    static const struct {
        unsigned char mask, lead;
        uint32_t min;
    } form[] = {{0x80, 0x00, 0}, {0xE0, 0xC0, 0x80}, {0xF0, 0xE0, 0x800}, {0xF8, 0xF0, 0x10000}};
    for (size_t n = 0; n < 4; n++) {
        if ((s[0] & form[n].mask) != form[n].lead)
            continue;
        if (len < n + 1)
            return 0;
        uint32_t c = s[0] & (unsigned char)~form[n].mask;
        for (size_t i = 1; i <= n; i++) {
            if ((s[i] & 0xC0) != 0x80)
                return 0;
            c = c << 6 | (s[i] & 0x3F);
        }
        if (c < form[n].min || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
            return 0;
        *cp = c;
        return n + 1;
    }
    return 0;
}

/* Characters that would steer a terminal or reorder its text (Unicode TR36; bidi controls of UAX
 * #9). */
static bool steers(uint32_t c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x061C || (c >= 0x200B && c <= 0x200F) ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2060 && c <= 0x206F) || c == 0xFEFF ||
           (c >= 0xFFF9 && c <= 0xFFFB) || (c >= 0xE0000 && c <= 0xE007F);
}

char *log_escape(char *dst, size_t size, const char *src, size_t len)
{
    size_t out = 0;
    size_t cut = 0; /* the last place where "..." still fits */
    for (size_t i = 0; i < len;) {
        const unsigned char *s = (const unsigned char *)src + i;
        char piece[16];
        uint32_t c = 0;
        size_t n = utf8_sequence(s, len - i, &c);
        size_t made;
        if (n == 0 || (n == 1 && steers(c)))
            made = (size_t)snprintf(piece, sizeof piece, "\\x%02X", s[0]);
        else if (steers(c))
            made = (size_t)snprintf(piece, sizeof piece, "\\u{%04X}", c);
        else
            memcpy(piece, s, made = n);
        if (out + made >= size) {
            size_t dots = size - cut > 3 ? 3 : size - cut - 1;
            memcpy(dst + cut, "...", dots);
            out = cut + dots;
            break;
        }
        memcpy(dst + out, piece, made);
        out += made;
        if (out + 3 < size)
            cut = out;
        i += n == 0 ? 1 : n;
    }
    dst[out] = '\0';
    return dst;
}

struct line {
    char text[LINE_MAX_BYTES];
    size_t used;
};

static void put(struct line *line, const char *text)
{
    size_t room = sizeof line->text - 2 - line->used; /* the newline and the NUL stay free */
    size_t n = strnlen(text, room);
    while (n > 0 && ((unsigned char)text[n] & 0xC0) == 0x80)
        n--; /* no character is cut in two */
    memcpy(line->text + line->used, text, n);
    line->used += n;
}

static void put_text(struct line *line, const char *text)
{
    char safe[VALUE_MAX_BYTES];
    log_escape(safe, sizeof safe, text, strlen(text));
    if (safe[0] != '\0' && strpbrk(safe, " \"=") == NULL) {
        put(line, safe);
        return;
    }
    /* A quoted value ends at the next quote, whatever stands before it: a backslash of the value's
     * own must not be able to hide it. */
    put(line, "\"");
    for (char *rest = safe, *piece; (piece = strsep(&rest, "\"")) != NULL;) {
        put(line, piece);
        if (rest != NULL)
            put(line, "\\x22");
    }
    put(line, "\"");
}

static void put_field(struct line *line, const struct log_field *field)
{
    if (!field->is_number && field->text == NULL)
        return;
    put(line, " ");
    put(line, field->key);
    put(line, "=");
    if (field->is_number) {
        char number[24];
        (void)snprintf(number, sizeof number, "%lld", field->number);
        put(line, number);
    } else {
        put_text(line, field->text);
    }
}

void log_event(enum log_level level, const char *what, const struct log_field *fields)
{
    if (level == LOG_DETAIL && !verbose)
        return;
    struct line line = {.used = 0};
    if (with_time) {
        char now[CLOCK_TEXT_SIZE];
        put(&line, clock_text(clock_now(), now));
        put(&line, " ");
    }
    put(&line, program_name);
    put(&line, ": ");
    put(&line, level_names[level]);
    put(&line, " ");
    put(&line, what);
    for (const struct log_field *f = fields; f->key != NULL; f++)
        put_field(&line, f);
    line.text[line.used++] = '\n';
    ssize_t written = write(STDERR_FILENO, line.text, line.used);
    (void)written; /* nowhere is left to say so; the sink may still be heard */
    if (sink != NULL && level > LOG_DETAIL)
        sink(sink_arg, level, what, fields);
}
