/* See preface.h. Reading is strict: what we did not write ourselves is not believed. */
#include "spool/preface.h"
#include <assert.h>
#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ORIGIN         "X-Popferry-Origin: "
#define SENDER         "X-Sender: "
#define RECEIVER       "X-Receiver: "
#define BODY           "X-Popferry-Body: "
#define LINE_MAX_BYTES 1200
#define LINES_MAX      (ENVELOPE_RECIPIENTS_MAX + 4)

static_assert(sizeof PREFACE_FIRST - 1 == PREFACE_FIRST_BYTES, "the length that preface.h tells");

/* --- writing --- */

void preface_body_line(const struct message_head *head, char line[static PREFACE_BODY_WIDTH + 1])
{
    char hash[HASH_TEXT_SIZE], text[PREFACE_BODY_WIDTH + 1];
    (void)snprintf(text, sizeof text, BODY "%llu blake2b=%s", (unsigned long long)head->size,
                   hash_text(head->hash, hash));
    (void)snprintf(line, PREFACE_BODY_WIDTH + 1, "%-*s", PREFACE_BODY_WIDTH, text);
}

static bool fit_for_line(const char *text)
{
    return strpbrk(text, "\r\n") == NULL;
}

/* What would be refused when it is read again must not be written. */
static bool fit_to_write(const struct message_head *head)
{
    bool fit = id_valid(head->id, strlen(head->id)) &&
               (head->replay_of[0] == '\0' || id_valid(head->replay_of, strlen(head->replay_of))) &&
               fit_for_line(head->account) && strchr(head->account, ' ') == NULL &&
               fit_for_line(head->origin) &&
               (head->sender[0] == '\0' || address_valid(head->sender)) &&
               head->recipients.count > 0 && head->recipients.count <= ENVELOPE_RECIPIENTS_MAX;
    for (size_t i = 0; fit && i < head->recipients.count; i++)
        fit = address_valid(head->recipients.items[i]);
    return fit;
}

char *preface_write(const struct message_head *head, size_t *len, struct error *err)
{
    if (!fit_to_write(head)) {
        (void)error_set(err, ERROR_PERMANENT,
                        "message %s: no preface can be written for its envelope", head->id);
        return NULL;
    }
    char *text = NULL, body[PREFACE_BODY_WIDTH + 1];
    FILE *out = open_memstream(&text, len);
    if (out == NULL)
        abort();
    fprintf(out, PREFACE_FIRST "1 lines=%zu id=%s account=%s", head->recipients.count + 4, head->id,
            head->account);
    if (head->replay_of[0] != '\0')
        fprintf(out, " replay=%s", head->replay_of);
    fprintf(out, "\r\n" ORIGIN "%s\r\n" SENDER "<%s>\r\n", head->origin, head->sender);
    for (size_t i = 0; i < head->recipients.count; i++)
        fprintf(out, RECEIVER "<%s>\r\n", head->recipients.items[i]);
    preface_body_line(head, body);
    fprintf(out, "%s\r\n", body);
    if (fclose(out) != 0)
        abort();
    return text;
}

/* --- reading --- */

struct lines {
    const char *at, *end;
    char line[LINE_MAX_BYTES]; /* the last one taken, without its end */
};

static bool take_line(struct lines *lines)
{
    const char *lf = memchr(lines->at, '\n', (size_t)(lines->end - lines->at));
    if (lf == NULL)
        return false;
    size_t n = (size_t)(lf - lines->at);
    if (n > 0 && lines->at[n - 1] == '\r')
        n--;
    if (n >= sizeof lines->line || memchr(lines->at, '\0', n) != NULL ||
        memchr(lines->at, '\r', n) != NULL)
        n = 0; /* no line of ours: the caller finds it empty */
    memcpy(lines->line, lines->at, n);
    lines->line[n] = '\0';
    lines->at = lf + 1;
    return true;
}

static const char *behind(const char *line, const char *prefix)
{
    size_t n = strlen(prefix);
    return strncmp(line, prefix, n) == 0 ? line + n : NULL;
}

/* KEY and the word behind it, up to a blank; *at goes on behind that. */
static bool take_word(const char **at, const char *key, char *word, size_t size)
{
    const char *value = behind(*at, key);
    size_t n = value != NULL ? strcspn(value, " ") : size;
    if (n >= size)
        return false;
    memcpy(word, value, n);
    word[n] = '\0';
    *at = value + n;
    return true;
}

static bool read_number(const char *digits, unsigned long long *number)
{
    if (digits[0] == '\0' || strspn(digits, "0123456789") != strlen(digits))
        return false;
    errno = 0;
    *number = strtoull(digits, NULL, 10);
    return errno == 0;
}

/* "1 lines=5 id=... account=NAME [replay=ID]" */
static bool read_first(const char *text, struct message_head *head, size_t *lines)
{
    char account[sizeof head->account], replay[ID_SIZE] = "", id[ID_SIZE], digits[8];
    unsigned long long count;
    if (!take_word(&text, "1 lines=", digits, sizeof digits) || !read_number(digits, &count) ||
        count < 5 || count > LINES_MAX || !take_word(&text, " id=", id, sizeof id) ||
        !id_valid(id, strlen(id)) || !take_word(&text, " account=", account, sizeof account))
        return false;
    if (text[0] != '\0' && (!take_word(&text, " replay=", replay, sizeof replay) ||
                            !id_valid(replay, strlen(replay)) || text[0] != '\0'))
        return false;
    *lines = (size_t)count;
    memcpy(head->id, id, sizeof id);
    memcpy(head->account, account, sizeof account);
    memcpy(head->replay_of, replay, sizeof replay);
    return true;
}

/* "<address>"; the null path only where that is allowed. */
static bool read_path(const char *text, bool null_allowed, char out[static ADDRESS_MAX + 1])
{
    size_t n = strlen(text);
    if (n < 2 || n - 2 > ADDRESS_MAX || text[0] != '<' || text[n - 1] != '>')
        return false;
    char address[ADDRESS_MAX + 1];
    memcpy(address, text + 1, n - 2);
    address[n - 2] = '\0';
    if (!address_valid(address) && !(null_allowed && address[0] == '\0'))
        return false;
    memcpy(out, address, n - 1);
    return true;
}

/* "SIZE blake2b=HEX", perhaps blanks. */
static bool read_body(const char *text, struct message_head *head)
{
    unsigned long long size;
    char digits[24], hex[HASH_TEXT_SIZE];
    unsigned char hash[HASH_LEN];
    size_t len;
    if (!take_word(&text, "", digits, sizeof digits) || !read_number(digits, &size) ||
        !take_word(&text, " blake2b=", hex, sizeof hex) || strspn(text, " ") != strlen(text) ||
        sodium_hex2bin(hash, sizeof hash, hex, strlen(hex), NULL, &len, NULL) != 0 ||
        len != sizeof hash)
        return false;
    head->size = size;
    memcpy(head->hash, hash, sizeof hash);
    return true;
}

static bool read_receivers(struct lines *lines, size_t count, struct message_head *head)
{
    for (size_t i = 0; i < count; i++) {
        char address[ADDRESS_MAX + 1];
        const char *value = take_line(lines) ? behind(lines->line, RECEIVER) : NULL;
        if (value == NULL || !read_path(value, false, address) ||
            !envelope_list_add(&head->recipients, address))
            return false;
    }
    return true;
}

static enum preface_result bad(struct error *err, const char *what)
{
    (void)error_set(err, ERROR_PERMANENT, "damaged preface: %s", what);
    return PREFACE_BAD;
}

static bool has_lines(const char *text, size_t n, size_t count)
{
    const char *end = text + n;
    for (; count > 0; count--) {
        const char *lf = memchr(text, '\n', (size_t)(end - text));
        if (lf == NULL)
            return false;
        text = lf + 1;
    }
    return true;
}

enum preface_result preface_read(const char *text, size_t n, struct message_head *head, size_t *len,
                                 struct error *err)
{
    size_t first = strlen(PREFACE_FIRST), count;
    if (memcmp(text, PREFACE_FIRST, n < first ? n : first) != 0)
        return PREFACE_NONE;
    struct lines lines = {.at = text, .end = text + n};
    if (!take_line(&lines))
        return n < LINE_MAX_BYTES ? PREFACE_SHORT : bad(err, "endless first line");
    const char *value = behind(lines.line, PREFACE_FIRST);
    if (value == NULL || !read_first(value, head, &count))
        return bad(err, "its first line");
    if (!has_lines(text, n, count))
        return n < MESSAGE_PREFACE_MAX ? PREFACE_SHORT : bad(err, "too long");
    if (!take_line(&lines) || (value = behind(lines.line, ORIGIN)) == NULL ||
        strlen(value) >= sizeof head->origin)
        return bad(err, "X-Popferry-Origin");
    memcpy(head->origin, value, strlen(value) + 1);
    if (!take_line(&lines) || (value = behind(lines.line, SENDER)) == NULL ||
        !read_path(value, true, head->sender))
        return bad(err, "X-Sender");
    if (!read_receivers(&lines, count - 4, head))
        return bad(err, "X-Receiver");
    if (!take_line(&lines) || (value = behind(lines.line, BODY)) == NULL || !read_body(value, head))
        return bad(err, "X-Popferry-Body");
    *len = (size_t)(lines.at - text);
    return PREFACE_OK;
}
