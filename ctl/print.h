/* What people see: sizes and times in words, a little colour. Every text that came from outside
 * goes through log_escape here, so that no subject or server's reply can steer a terminal. */
#ifndef CTL_PRINT_H
#define CTL_PRINT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct screen {
    FILE *out;
    int width;   /* columns; 0: not a terminal, nothing is cut */
    bool colour; /* a terminal, and NO_COLOR isn't set */
};
/* Looks at the descriptor behind out, at COLUMNS and at NO_COLOR. */
struct screen screen_open(FILE *out);

enum print_style {
    PRINT_PLAIN,
    PRINT_TITLE,
    PRINT_GOOD,
    PRINT_WARN,
    PRINT_BAD,
    PRINT_DIM,
    PRINT_STYLES
};
/* Prints text (escaped) in a style, which leaves no trace where there is no colour. */
void print_styled(const struct screen *screen, enum print_style style, const char *text);
/* One line of its own, escaped as a whole. */
void print_line(const struct screen *screen, enum print_style style, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Prints "label:   text", the label filled up to a common width; a text that is NULL or empty is
 * passed over. */
void print_field(const struct screen *screen, const char *label, const char *text);

/* Columns on a terminal that `text` takes: UTF-8, combining marks none, East Asian wide ones two.
 */
int print_width(const char *text);
/* Cuts text, in place and between characters, to at most `width` columns, the last being "…" where
 * something was taken. size is the buffer's. */
void print_cut(char *text, size_t size, int width);

#define PRINT_SHORT 32 /* enough for each of these; they return buf */
char *print_size(uint64_t bytes, char buf[static PRINT_SHORT]);          /* 10.5M */
char *print_duration(int64_t ms, char buf[static PRINT_SHORT]);          /* 15m */
char *print_when(int64_t at, int64_t now, char buf[static PRINT_SHORT]); /* 3m ago, in 2m, now */
char *print_number(int64_t n, char buf[static PRINT_SHORT]);

/* Scores as they were given: 17.3, not the double next to it. */
#define PRINT_JSON_REALS JSON_REAL_PRECISION(10)
void print_json(const json_t *json); /* on standard output */

#endif
