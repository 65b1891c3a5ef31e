/* See preface.h. Reading is strict: what we did not write ourselves is not believed. */
#include "spool/preface.h"
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FIRST          "X-Popferry: "
#define ORIGIN         "X-Popferry-Origin: "
#define SENDER         "X-Sender: "
#define RECEIVER       "X-Receiver: "
#define BODY           "X-Popferry-Body: "
#define LINE_MAX_BYTES 1200
#define LINES_MAX      (ENVELOPE_RECIPIENTS_MAX + 4)

/* --- writing --- */

void preface_body_line(const struct message_head *head, char line[static PREFACE_BODY_WIDTH + 1])
{
    char hash[MESSAGE_HASH_TEXT_SIZE], text[PREFACE_BODY_WIDTH + 1];
    (void)snprintf(text, sizeof text, BODY "%llu blake2b=%s", (unsigned long long)head->size,
                   message_hash_text(head->hash, hash));
    (void)snprintf(line, PREFACE_BODY_WIDTH + 1, "%-*s", PREFACE_BODY_WIDTH, text);
}

static bool fit_for_line(const char *text)
{
    return strpbrk(text, "\r\n") == NULL;
}

char *preface_write(const struct message_head *head, size_t *len, struct error *err)
{
    bool fit = fit_for_line(head->account) && strchr(head->account, ' ') == NULL &&
               fit_for_line(head->origin) && fit_for_line(head->sender);
    for (size_t i = 0; i < head->recipients.count; i++)
        fit = fit && fit_for_line(head->recipients.items[i]);
    if (!fit || head->recipients.count == 0 || head->recipients.count > ENVELOPE_RECIPIENTS_MAX) {
        (void)error_set(err, ERROR_PERMANENT,
                        "message %s: no preface can be written for its envelope", head->id);
        return NULL;
    }
    char *text = NULL, body[PREFACE_BODY_WIDTH + 1];
    FILE *out = open_memstream(&text, len);
    if (out == NULL)
        abort();
    fprintf(out, FIRST "1 lines=%zu id=%s account=%s", head->recipients.count + 4, head->id,
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
    if (n >= sizeof lines->line || memchr(lines->at, '\0', n) != NULL)
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

/* "1 lines=5 id=... account=NAME [replay=ID]" */
static bool read_first(const char *text, struct message_head *head, size_t *lines)
{
    char account[sizeof head->account] = "", replay[ID_SIZE] = "", id[ID_SIZE] = "";
    int used = 0;
    if (sscanf(text, "1 lines=%zu id=%26s account=%n", lines, id, &used) != 2 || used == 0)
        return false;
    const char *rest = text + used;
    size_t n = strcspn(rest, " ");
    if (n >= sizeof account)
        return false;
    memcpy(account, rest, n);
    rest += n;
    if (rest[0] != '\0' &&
        (sscanf(rest, " replay=%26s", replay) != 1 || !id_valid(replay, strlen(replay))))
        return false;
    if (!id_valid(id, strlen(id)) || *lines < 5 || *lines > LINES_MAX)
        return false;
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

static bool read_body(const char *text, struct message_head *head)
{
    unsigned long long size;
    char hex[MESSAGE_HASH_TEXT_SIZE];
    size_t len;
    if (sscanf(text, "%llu blake2b=%64[0-9a-f]", &size, hex) != 2 ||
        strlen(hex) != 2 * MESSAGE_HASH_LEN)
        return false;
    head->size = size;
    return sodium_hex2bin(head->hash, sizeof head->hash, hex, strlen(hex), NULL, &len, NULL) == 0;
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
    size_t first = strlen(FIRST), count;
    if (memcmp(text, FIRST, n < first ? n : first) != 0)
        return PREFACE_NONE;
    struct lines lines = {.at = text, .end = text + n};
    if (!take_line(&lines))
        return n < LINE_MAX_BYTES ? PREFACE_SHORT : bad(err, "endless first line");
    const char *value = behind(lines.line, FIRST);
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
