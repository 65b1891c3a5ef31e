/* Short words for people, and how wide they are on a terminal. */
#include "ctl/print.h"
#include "lib/log.h"
#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define LABEL_WIDTH 13

static const char *const style_code[] = {
    [PRINT_PLAIN] = "",        [PRINT_TITLE] = "\033[1m", [PRINT_GOOD] = "\033[32m",
    [PRINT_WARN] = "\033[33m", [PRINT_BAD] = "\033[31m",  [PRINT_DIM] = "\033[2m",
};
static_assert(sizeof style_code / sizeof style_code[0] == PRINT_STYLES, "a code for each style");

struct screen screen_open(FILE *out)
{
    struct screen screen = {.out = out};
    const char *columns = getenv("COLUMNS");
    bool terminal = isatty(fileno(out));
    struct winsize size = {0};
    if (columns != NULL && atoi(columns) > 0)
        screen.width = atoi(columns);
    else if (terminal)
        screen.width =
            ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
    const char *no_colour = getenv("NO_COLOR");
    const char *term = getenv("TERM");
    screen.colour = terminal && (no_colour == NULL || no_colour[0] == '\0') &&
                    (term == NULL || strcmp(term, "dumb") != 0);
    return screen;
}

static void put_styled(const struct screen *screen, enum print_style style, const char *safe)
{
    bool dress = screen->colour && style != PRINT_PLAIN && safe[0] != '\0';
    fprintf(screen->out, "%s%s%s", dress ? style_code[style] : "", safe, dress ? "\033[0m" : "");
}

void print_styled(const struct screen *screen, enum print_style style, const char *text)
{
    char safe[16384]; /* a list of 50 addresses fits */
    put_styled(screen, style, log_escape(safe, sizeof safe, text, strlen(text)));
}

void print_line(const struct screen *screen, enum print_style style, const char *fmt, ...)
{
    char text[16384];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    print_styled(screen, style, text);
    fputc('\n', screen->out);
}

void print_field(const struct screen *screen, const char *label, const char *text)
{
    if (text == NULL || text[0] == '\0')
        return;
    char head[64];
    (void)snprintf(head, sizeof head, "%s:", label);
    fprintf(screen->out, "%-*s", LABEL_WIDTH, head);
    print_styled(screen, PRINT_PLAIN, text);
    fputc('\n', screen->out);
}

/* One character of text that is known to be well-formed UTF-8: its length, and its code point. */
static size_t next_char(const char *text, uint32_t *c)
{
    unsigned char lead = (unsigned char)text[0];
    size_t n = lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    *c = n == 1 ? lead : lead & (0x7Fu >> n);
    for (size_t i = 1; i < n; i++) {
        if (text[i] == '\0')
            return i;
        *c = *c << 6 | ((unsigned char)text[i] & 0x3F);
    }
    return n;
}

/* The ranges that matter in mail (Unicode TR11 and the Mn category), not all of them. */
static int char_width(uint32_t c)
{
    static const struct {
        uint32_t first, last;
        int width;
    } ranges[] = {
        {0x0300, 0x036F, 0},   {0x0591, 0x05BD, 0},   {0x064B, 0x065F, 0},   {0x0E34, 0x0E3A, 0},
        {0x0E47, 0x0E4E, 0},   {0x1100, 0x115F, 2},   {0x1AB0, 0x1AFF, 0},   {0x20D0, 0x20FF, 0},
        {0x2E80, 0xA4CF, 2},   {0xAC00, 0xD7A3, 2},   {0xF900, 0xFAFF, 2},   {0xFE00, 0xFE0F, 0},
        {0xFE20, 0xFE2F, 0},   {0xFE30, 0xFE6F, 2},   {0xFF00, 0xFF60, 2},   {0xFFE0, 0xFFE6, 2},
        {0x1F300, 0x1F64F, 2}, {0x1F680, 0x1F6FF, 2}, {0x1F900, 0x1F9FF, 2}, {0x20000, 0x3FFFD, 2},
    };
    for (size_t i = 0; i < sizeof ranges / sizeof ranges[0]; i++)
        if (c >= ranges[i].first && c <= ranges[i].last)
            return ranges[i].width;
    return 1;
}

int print_width(const char *text)
{
    int width = 0;
    uint32_t c;
    for (; *text != '\0'; text += next_char(text, &c))
        width += (next_char(text, &c), char_width(c));
    return width;
}

void print_cut(char *text, size_t size, int width)
{
    static const char dots[] = "…";
    if (print_width(text) <= width)
        return;
    size_t at = 0;
    int used = 0;
    for (uint32_t c; text[at] != '\0';) {
        size_t n = next_char(text + at, &c);
        if (used + char_width(c) > width - 1)
            break;
        used += char_width(c);
        at += n;
    }
    if (width > 0 && at + sizeof dots <= size)
        memcpy(text + at, dots, sizeof dots);
    else
        text[at] = '\0';
}

char *print_size(uint64_t bytes, char buf[static PRINT_SHORT])
{
    static const char units[] = "KMGTPE";
    double size = (double)bytes;
    int unit = -1;
    while (size >= 1023.5 && unit < 5) {
        size /= 1024;
        unit++;
    }
    if (unit < 0)
        (void)snprintf(buf, PRINT_SHORT, "%d", (int)bytes);
    else
        (void)snprintf(buf, PRINT_SHORT, size < 99.95 ? "%.1f%c" : "%.0f%c", size, units[unit]);
    return buf;
}

char *print_duration(int64_t ms, char buf[static PRINT_SHORT])
{
    static const struct {
        int64_t ms;
        const char *unit;
    } units[] = {{86400000, "d"}, {3600000, "h"}, {60000, "m"}, {1000, "s"}};
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        /* two of a unit before it is used, so that "90m" isn't shown as "1h"; exact ones at once */
        if (ms >= 2 * units[i].ms || (ms > 0 && ms % units[i].ms == 0)) {
            (void)snprintf(buf, PRINT_SHORT, "%lld%s", (long long)(ms / units[i].ms),
                           units[i].unit);
            return buf;
        }
    }
    (void)snprintf(buf, PRINT_SHORT, "%s", ms >= 1000 ? "1s" : "0s");
    return buf;
}

char *print_when(int64_t at, int64_t now, char buf[static PRINT_SHORT])
{
    char span[PRINT_SHORT];
    int64_t distance = at > now ? at - now : now - at;
    if (at <= 0)
        buf[0] = '\0';
    else if (distance < 1000)
        (void)snprintf(buf, PRINT_SHORT, "now");
    else if (at > now)
        (void)snprintf(buf, PRINT_SHORT, "in %.20s", print_duration(distance, span));
    else
        (void)snprintf(buf, PRINT_SHORT, "%.20s ago", print_duration(distance, span));
    return buf;
}

char *print_number(int64_t n, char buf[static PRINT_SHORT])
{
    (void)snprintf(buf, PRINT_SHORT, "%lld", (long long)n);
    return buf;
}

void print_json(const json_t *json)
{
    json_dumpf(json, stdout, JSON_INDENT(2) | JSON_ENCODE_ANY | PRINT_JSON_REALS);
    putchar('\n');
}
