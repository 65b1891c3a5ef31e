/* Parses SMTP replies, fed in pieces of any size. Promises: whatever the peer sends, memory is
 * bounded and the answer is the same for one byte at a time as for all at once; a reply is reported
 * only when its last line has ended; text that is kept is safe to show. */
#include "relayd/reply.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char *const error_texts[] = {
    [SMTP_REPLY_OK] = "no error",
    [SMTP_REPLY_BAD_CODE] = "reply without a code from 200 to 599",
    [SMTP_REPLY_BAD_SEP] = "reply code not followed by space or hyphen",
    [SMTP_REPLY_MIXED] = "reply with different codes in its lines",
    [SMTP_REPLY_LONG_LINE] = "reply line too long",
    [SMTP_REPLY_MANY_LINES] = "reply of too many lines",
};
static_assert(sizeof error_texts / sizeof *error_texts == SMTP_REPLY_ERRORS, "a text an error");

const char *smtp_reply_error_text(enum smtp_reply_error error)
{
    return error_texts[error];
}

void smtp_reply_reset(struct smtp_reply_parser *parser)
{
    parser->reply = (struct smtp_reply){0};
    parser->error = SMTP_REPLY_OK;
    parser->line_len = 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static int parse_code(const char *line, size_t len)
{
    if (len < 3 || !is_digit(line[0]) || !is_digit(line[1]) || !is_digit(line[2]))
        return -1;
    int code = (line[0] - '0') * 100 + (line[1] - '0') * 10 + (line[2] - '0');
    return code >= 200 && code <= 599 ? code : -1;
}

/* "5.1.1" at the start of the text, of the same class as the code (RFC 2034, 4). */
static void parse_enhanced(struct smtp_reply *reply, const char *text, size_t len)
{
    int part[3] = {0};
    size_t at = 0;
    for (int i = 0; i < 3; i++) {
        size_t digits = 0;
        while (at < len && is_digit(text[at]) && digits < 3) {
            part[i] = part[i] * 10 + (text[at++] - '0');
            digits++;
        }
        if (digits == 0)
            return;
        if (i < 2 && (at >= len || text[at++] != '.'))
            return;
    }
    if (at < len && text[at] != ' ')
        return;
    if (part[0] == reply->code / 100)
        memcpy(reply->enhanced, part, sizeof part);
}

static void keep_text(struct smtp_reply *reply, const char *text, size_t len)
{
    size_t room = (reply->code == SMTP_CHALLENGE ? sizeof reply->text : SMTP_REPLY_TEXT_MAX) - 1;
    if (reply->lines > 1 && reply->text_len < room)
        reply->text[reply->text_len++] = '\n';
    for (size_t i = 0; i < len && reply->text_len < room; i++) {
        char c = text[i];
        reply->text[reply->text_len++] = (char)(c >= ' ' && c <= '~' ? c : '?');
    }
    reply->text[reply->text_len] = '\0';
}

static enum smtp_reply_status fail(struct smtp_reply_parser *parser, enum smtp_reply_error error)
{
    parser->error = error;
    return SMTP_REPLY_BAD;
}

static enum smtp_reply_status take_line(struct smtp_reply_parser *parser)
{
    struct smtp_reply *reply = &parser->reply;
    const char *line = parser->line;
    size_t len = parser->line_len;
    parser->line_len = 0;
    if (len > 0 && line[len - 1] == '\r')
        len--;
    int code = parse_code(line, len);
    if (code < 0)
        return fail(parser, SMTP_REPLY_BAD_CODE);
    if (len > 3 && line[3] != ' ' && line[3] != '-')
        return fail(parser, SMTP_REPLY_BAD_SEP);
    if (reply->lines > 0 && code != reply->code)
        return fail(parser, SMTP_REPLY_MIXED);
    if (++reply->lines > SMTP_REPLY_LINES_MAX)
        return fail(parser, SMTP_REPLY_MANY_LINES);
    reply->code = code;
    const char *text = len > 4 ? line + 4 : line + len;
    size_t text_len = len > 4 ? len - 4 : 0;
    if (reply->lines == 1)
        parse_enhanced(reply, text, text_len);
    keep_text(reply, text, text_len);
    return len > 3 && line[3] == '-' ? SMTP_REPLY_MORE : SMTP_REPLY_DONE;
}

/* A line that begins like a challenge may be longer; whether it is one is seen at its end. */
static size_t line_max(const struct smtp_reply_parser *parser)
{
    bool challenge = parser->line_len >= 3 && memcmp(parser->line, "334", 3) == 0;
    return challenge ? SMTP_CHALLENGE_MAX : SMTP_REPLY_LINE_MAX;
}

static bool append(struct smtp_reply_parser *parser, const char *data, size_t len)
{
    if (len > sizeof parser->line - parser->line_len)
        return false;
    memcpy(parser->line + parser->line_len, data, len);
    parser->line_len += len;
    return parser->line_len <= line_max(parser);
}

enum smtp_reply_status smtp_reply_feed(struct smtp_reply_parser *parser, const char *data,
                                       size_t len, size_t *used)
{
    enum smtp_reply_status status = SMTP_REPLY_MORE;
    size_t at = 0;
    if (parser->error != SMTP_REPLY_OK)
        status = SMTP_REPLY_BAD;
    while (status == SMTP_REPLY_MORE && at < len) {
        const char *lf = memchr(data + at, '\n', len - at);
        size_t span = lf ? (size_t)(lf - (data + at)) : len - at;
        if (!append(parser, data + at, span)) {
            status = fail(parser, SMTP_REPLY_LONG_LINE);
            break;
        }
        at += span;
        if (lf) {
            at++;
            status = take_line(parser);
        }
    }
    *used = at;
    return status;
}

int smtp_reply_class(const struct smtp_reply *reply)
{
    return reply->code / 100;
}

void smtp_reply_format(const struct smtp_reply *reply, char *out, size_t size)
{
    int n = snprintf(out, size, "%d%s%s", reply->code, reply->text_len ? " " : "", reply->text);
    size_t len = n < 0 ? 0 : (size_t)n < size ? (size_t)n : size - 1;
    for (size_t i = 0; i < len; i++)
        if (out[i] == '\n')
            out[i] = ' ';
}
