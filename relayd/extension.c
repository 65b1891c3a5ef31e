/* Reads the lines of an EHLO reply into a set of known extensions and their parameters. Promises:
 * unknown, malformed or repeated lines do no harm; a SIZE that is no number counts as no limit. */
#include "relayd/extension.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { WORDS_SIZE = sizeof((struct smtp_extensions *)0)->xclient };

static const char *const keywords[] = {
    [SMTP_EXT_PIPELINING] = "PIPELINING",
    [SMTP_EXT_SIZE] = "SIZE",
    [SMTP_EXT_8BITMIME] = "8BITMIME",
    [SMTP_EXT_SMTPUTF8] = "SMTPUTF8",
    [SMTP_EXT_CHUNKING] = "CHUNKING",
    [SMTP_EXT_STARTTLS] = "STARTTLS",
    [SMTP_EXT_AUTH] = "AUTH",
    [SMTP_EXT_DSN] = "DSN",
    [SMTP_EXT_ENHANCED] = "ENHANCEDSTATUSCODES",
    [SMTP_EXT_XCLIENT] = "XCLIENT",
    [SMTP_EXT_XFORWARD] = "XFORWARD",
};
static_assert(sizeof keywords / sizeof *keywords == SMTP_EXTENSIONS, "a keyword an extension");

const char *smtp_extension_name(enum smtp_extension extension)
{
    return keywords[extension];
}

bool smtp_extensions_has(const struct smtp_extensions *extensions, enum smtp_extension extension)
{
    return (extensions->offered >> extension & 1) != 0;
}

/* A limit beyond 64 bits is as good as the greatest that fits. */
static uint64_t parse_size(const char *text, size_t len)
{
    uint64_t size = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9')
            return 0;
        uint64_t digit = (uint64_t)(text[i] - '0');
        size = size > (UINT64_MAX - digit) / 10 ? UINT64_MAX : size * 10 + digit;
    }
    return size;
}

/* Many a server says it twice, as "AUTH LOGIN" and as "AUTH=LOGIN". What does not fit is left out
 * as a whole, so that no mechanism's name is cut. */
static void keep_auth(struct smtp_extensions *extensions, const char *text, size_t len)
{
    size_t at = strlen(extensions->auth);
    if (at + len + 2 > sizeof extensions->auth)
        return;
    if (at > 0)
        extensions->auth[at++] = ' ';
    memcpy(extensions->auth + at, text, len);
    extensions->auth[at + len] = '\0';
}

static void keep_words(char out[static WORDS_SIZE], const char *text, size_t len)
{
    (void)snprintf(out, WORDS_SIZE, "%.*s", (int)len, text);
}

static void parse_line(struct smtp_extensions *extensions, const char *line, size_t len)
{
    /* "AUTH=LOGIN" is the form of servers older than RFC 2554. */
    size_t word = 0;
    while (word < len && line[word] != ' ' && line[word] != '=')
        word++;
    const char *rest = line + word + (word < len);
    size_t rest_len = len - word - (word < len);
    for (unsigned i = 0; i < SMTP_EXTENSIONS; i++) {
        if (strlen(keywords[i]) != word || strncasecmp(keywords[i], line, word) != 0)
            continue;
        extensions->offered |= 1U << i;
        if (i == SMTP_EXT_SIZE)
            extensions->size_limit = parse_size(rest, rest_len);
        else if (i == SMTP_EXT_AUTH)
            keep_auth(extensions, rest, rest_len);
        else if (i == SMTP_EXT_XCLIENT)
            keep_words(extensions->xclient, rest, rest_len);
        else if (i == SMTP_EXT_XFORWARD)
            keep_words(extensions->xforward, rest, rest_len);
    }
}

void smtp_extensions_parse(struct smtp_extensions *extensions, const struct smtp_reply *reply)
{
    const char *line = strchr(reply->text, '\n');
    *extensions = (struct smtp_extensions){0};
    while (line) {
        line++;
        const char *end = strchr(line, '\n');
        parse_line(extensions, line, end ? (size_t)(end - line) : strlen(line));
        line = end;
    }
}
