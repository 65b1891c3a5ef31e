/* POP3 response lines.
 *
 * Promises: no line grows past REPLY_LINE_MAX; only the exact indicators of RFC 1939 are taken
 * for an answer; everything is counted by length, so that a NUL hides nothing. */
#include "fetcherd/reply.h"

#include <string.h>
#include <strings.h>

void reply_line_init(struct reply_line *line)
{
    line->len = 0;
    line->complete = false;
}

static bool append(struct reply_line *line, const char *data, size_t len)
{
    if (len > sizeof line->text - line->len)
        return false;
    memcpy(line->text + line->len, data, len);
    line->len += len;
    return true;
}

enum reply_feed reply_line_feed(struct reply_line *line, const char *data, size_t len, size_t *used)
{
    if (line->complete)
        reply_line_init(line);
    const char *lf = len ? memchr(data, '\n', len) : NULL;
    size_t take = lf ? (size_t)(lf - data) : len;

    *used = lf ? take + 1 : take;
    if (!append(line, data, take))
        return REPLY_TOO_LONG;
    if (!lf)
        return REPLY_MORE;
    if (line->len && line->text[line->len - 1] == '\r')
        line->len--;
    line->complete = true;
    return REPLY_LINE;
}

/* RFC 2449: "[" resp-level *("/" resp-level) "]". A bracket without its partner is plain text. */
static void find_code(struct reply *reply)
{
    if (!reply->text_len || reply->text[0] != '[')
        return;
    const char *end = memchr(reply->text, ']', reply->text_len);
    if (!end || end == reply->text + 1)
        return;
    reply->code = reply->text + 1;
    reply->code_len = (size_t)(end - reply->code);
}

static bool has_indicator(const char *line, size_t len, const char *word, size_t word_len)
{
    return len >= word_len && !memcmp(line, word, word_len) &&
           (len == word_len || line[word_len] == ' ');
}

bool reply_parse(const char *line, size_t len, struct reply *out)
{
    bool ok = has_indicator(line, len, "+OK", 3);
    if (!ok && !has_indicator(line, len, "-ERR", 4))
        return false;

    size_t head = ok ? 3 : 4;
    if (head < len)
        head++;
    *out = (struct reply){.ok = ok, .text = line + head, .text_len = len - head};
    find_code(out);
    return true;
}

bool reply_has_code(const struct reply *reply, const char *code)
{
    size_t len = strlen(code);
    return reply->code && reply->code_len >= len && !strncasecmp(reply->code, code, len) &&
           (reply->code_len == len || reply->code[len] == '/');
}
