/* Lines within POP3 answers.
 *
 * Promises: nothing is read past the length given; a number with a sign, with letters or too big
 * for its type fails the line; a line fails alone. */
#include "fetcherd/pop3_parse.h"

#include <string.h>
#include <strings.h>

#include "fetcherd/pop3.h"

static bool is_blank(char c)
{
    return c == ' ' || c == '\t';
}

static void skip_blanks(const char **at, const char *end)
{
    while (*at < end && is_blank(**at))
        (*at)++;
}

/* Digits up to a blank or the end. */
static bool take_number(const char **at, const char *end, uint64_t max, uint64_t *out)
{
    const char *p = *at;
    uint64_t value = 0;

    for (; p < end && *p >= '0' && *p <= '9'; p++) {
        uint64_t digit = (uint64_t)(*p - '0');
        if (value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    if (p == *at || (p < end && !is_blank(*p)))
        return false;
    *at = p;
    *out = value;
    return true;
}

static bool take_two(const char *line, size_t len, uint32_t *first, uint64_t *second)
{
    const char *at = line, *end = line + len;
    uint64_t a, b;

    skip_blanks(&at, end);
    if (!take_number(&at, end, INT32_MAX, &a))
        return false;
    skip_blanks(&at, end);
    if (!take_number(&at, end, INT64_MAX, &b))
        return false;
    *first = (uint32_t)a;
    *second = b;
    return true;
}

bool pop3_parse_list(const char *line, size_t len, uint32_t *number, uint64_t *size)
{
    uint32_t n;
    uint64_t s;

    if (!take_two(line, len, &n, &s) || n == 0)
        return false;
    *number = n;
    *size = s;
    return true;
}

bool pop3_parse_stat(const char *text, size_t len, uint32_t *count, uint64_t *size)
{
    return take_two(text, len, count, size);
}

bool pop3_parse_uidl(const char *line, size_t len, uint32_t *number, const char **uidl,
                     size_t *uidl_len)
{
    const char *at = line, *end = line + len;
    uint64_t n;

    skip_blanks(&at, end);
    if (!take_number(&at, end, INT32_MAX, &n) || n == 0)
        return false;
    skip_blanks(&at, end);
    while (end > at && is_blank(end[-1]))
        end--;
    if (end == at || end - at > POP3_UIDL_MAX)
        return false;
    *number = (uint32_t)n;
    *uidl = at;
    *uidl_len = (size_t)(end - at);
    return true;
}

static const struct {
    const char *word;
    enum pop3_capability bit;
} capabilities[] = {
    {.word = "PIPELINING", .bit = POP3_CAP_PIPELINING},
    {.word = "STLS", .bit = POP3_CAP_STLS},
    {.word = "UIDL", .bit = POP3_CAP_UIDL},
    {.word = "USER", .bit = POP3_CAP_USER},
    {.word = "RESP-CODES", .bit = POP3_CAP_RESP_CODES},
    {.word = "AUTH-RESP-CODE", .bit = POP3_CAP_AUTH_RESP_CODE},
    {.word = "SASL", .bit = POP3_CAP_SASL},
    {.word = "TOP", .bit = POP3_CAP_TOP},
};

unsigned pop3_parse_capability(const char *line, size_t len)
{
    size_t word = 0;
    while (word < len && !is_blank(line[word]))
        word++;
    for (size_t i = 0; i < sizeof capabilities / sizeof *capabilities; i++)
        if (strlen(capabilities[i].word) == word && !strncasecmp(line, capabilities[i].word, word))
            return capabilities[i].bit;
    return 0;
}
