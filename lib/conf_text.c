/* libconfuse 3.3 counts three lines for each comment, and takes a section that the file ends
 * within. Its callers' errors would name wrong lines, so that comments become blanks here, and
 * what is left open is found here. Newlines stay where they are. It would also put in ${VARIABLES}
 * of the environment, which a daemon and popferryctl need not have in common: refused here. */
#include "lib/conf_text.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAX (1024 * 1024)

static char *read_all(int fd, const char *file, struct error *err)
{
    char *text = malloc(FILE_MAX + 2);
    size_t n = 0;
    ssize_t got = 1;
    while (text != NULL && got > 0 && n <= FILE_MAX) {
        got = read(fd, text + n, FILE_MAX + 1 - n);
        n += got > 0 ? (size_t)got : 0;
    }
    if (text == NULL)
        (void)error_set(err, ERROR_TEMPORARY, "out of memory");
    else if (got < 0)
        (void)error_errno(err, "%s", file);
    else if (n > FILE_MAX)
        (void)error_set(err, ERROR_USAGE, "%s: expected a file of at most 1 MiB", file);
    else if (memchr(text, '\0', n) != NULL)
        (void)error_set(err, ERROR_USAGE, "%s: it holds a NUL byte: expected text", file);
    else {
        text[n] = '\0';
        return text;
    }
    free(text);
    return NULL;
}

static char *read_file(const char *file, struct error *err)
{
    int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    char *text = NULL;
    if (fd < 0 || fstat(fd, &st) < 0)
        (void)error_errno(err, "%s", file);
    else if (!S_ISREG(st.st_mode))
        (void)error_set(err, ERROR_USAGE, "%s: expected a configuration file", file);
    else
        text = read_all(fd, file, err);
    if (fd >= 0)
        (void)close(fd);
    return text;
}

enum within { WITHIN_NOTHING, WITHIN_LINE_COMMENT, WITHIN_COMMENT, WITHIN_STRING };

struct walk {
    enum within within;
    char quote;
    int line, opened; /* the line we are on; the one where what we are in began */
    int depth, section;
    int variable; /* the line of the first ${; 0: there is none */
    bool fresh;   /* no unquoted word runs on here, so that a slash may begin a comment */
};

/* Outside of strings and comments. */
static void step_outside(struct walk *w, char *at)
{
    bool slash = at[0] == '/' && w->fresh;
    if (at[0] == '#' || (slash && at[1] == '/'))
        w->within = WITHIN_LINE_COMMENT;
    else if (slash && at[1] == '*')
        w->within = WITHIN_COMMENT;
    else if (at[0] == '"' || at[0] == '\'')
        w->within = WITHIN_STRING;
    else if (at[0] == '{' && w->depth++ == 0)
        w->section = w->line;
    else if (at[0] == '}')
        w->depth--;
    w->fresh = strchr(" \t\r\n={}()+,", at[0]) != NULL;
    w->opened = w->line;
    w->quote = at[0];
}

/* What libconfuse would replace: not in single quotes, and not behind a backslash. */
static bool is_variable(const struct walk *w, const char *at)
{
    bool replaced = w->within == WITHIN_NOTHING || (w->within == WITHIN_STRING && w->quote == '"');
    return replaced && at[0] == '$' && at[1] == '{';
}

/* Takes the character at `at`, and in a string perhaps the one it escapes; returns how many. */
static size_t step(struct walk *w, char *at)
{
    size_t n = 1;
    if (w->variable == 0 && is_variable(w, at))
        w->variable = w->line;
    if (w->within == WITHIN_NOTHING) {
        step_outside(w, at);
        if (w->within == WITHIN_COMMENT)
            n = 2; /* "/" "*" "/" is not closed yet */
    } else if (w->within == WITHIN_STRING) {
        if (at[0] == w->quote)
            w->within = WITHIN_NOTHING;
        else if (at[0] == '\\' && at[1] != '\0')
            n = 2;
    } else if (w->within == WITHIN_LINE_COMMENT) {
        if (at[0] == '\n')
            w->within = WITHIN_NOTHING;
    } else if (at[0] == '*' && at[1] == '/') {
        w->within = WITHIN_NOTHING;
        memset(at, ' ', 2);
        n = 2;
    }
    bool blank = w->within == WITHIN_LINE_COMMENT || w->within == WITHIN_COMMENT;
    for (size_t i = 0; i < n; i++) {
        if (at[i] == '\n')
            w->line++;
        else if (blank)
            at[i] = ' ';
    }
    return n;
}

static bool check_walk(const struct walk *w, const char *file, struct error *err)
{
    if (w->within == WITHIN_STRING)
        return error_set(err, ERROR_USAGE, "%s:%d: this text has no end: expected a closing %c",
                         file, w->opened, w->quote);
    if (w->within == WITHIN_COMMENT)
        return error_set(err, ERROR_USAGE, "%s:%d: this comment has no end: expected */", file,
                         w->opened);
    if (w->depth > 0)
        return error_set(err, ERROR_USAGE, "%s:%d: this section has no end: expected }", file,
                         w->section);
    if (w->variable > 0)
        return error_set(err, ERROR_USAGE,
                         "%s:%d: variables are not replaced: expected the value itself in place of "
                         "${...}, or single quotes around what is meant as it stands",
                         file, w->variable);
    return true;
}

char *conf_text_read(const char *file, struct error *err)
{
    char *text = read_file(file, err);
    if (text == NULL)
        return NULL;
    struct walk w = {.line = 1, .fresh = true};
    for (char *at = text; *at != '\0';)
        at += step(&w, at);
    if (check_walk(&w, file, err))
        return text;
    free(text);
    return NULL;
}
