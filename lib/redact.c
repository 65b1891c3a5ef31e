/* Secrets in a server's words.
 *
 * Promises: a secret that was noted is in no text that went through redact_apply, neither as it is
 * nor in base64; the copies are wiped. */
#include "lib/redact.h"

#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#define STARS        4
#define BEGINNING    16 /* of a long one no more stands by chance: the echo may be cut off */
#define BASE64_LEAST 4  /* shorter is none, but the "=" that stands for nothing */

static void forget(char *text)
{
    explicit_bzero(text, strlen(text));
    free(text);
}

static void add(struct redact *r, const char *text)
{
    char *copy;

    for (size_t i = 0; i < r->count; i++)
        if (strcmp(r->texts[i], text) == 0)
            return;
    copy = strdup(text);
    if (!copy)
        abort();
    if (r->count == REDACT_MAX)
        forget(r->texts[--r->count]); /* the youngest: the password came first */
    r->texts[r->count++] = copy;
}

void redact_secret(struct redact *r, const char *secret)
{
    size_t len = strlen(secret),
           size = sodium_base64_encoded_len(len, sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    char *base64;

    if (!len)
        return;
    base64 = malloc(size);
    if (!base64)
        abort();
    sodium_bin2base64(base64, size, (const unsigned char *)secret, len,
                      sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
    add(r, secret);
    add(r, base64);
    forget(base64);
}

void redact_response(struct redact *r, const char *response)
{
    if (strlen(response) >= BASE64_LEAST)
        add(r, response);
}

void redact_clear(struct redact *r)
{
    while (r->count > 0)
        forget(r->texts[--r->count]);
}

/* How much at the head of `text` has to go for the sake of `secret`. */
static size_t match(const char *secret, const char *text, size_t len)
{
    size_t n = 0;

    while (n < len && secret[n] && secret[n] == text[n])
        n++;
    return !secret[n] || n >= BEGINNING ? n : 0;
}

static size_t longest_match(const struct redact *r, const char *text, size_t len)
{
    size_t longest = 0;

    for (size_t i = 0; i < r->count; i++) {
        size_t n = match(r->texts[i], text, len);
        longest = n > longest ? n : longest;
    }
    return longest;
}

size_t redact_apply(const struct redact *r, char *text, size_t len)
{
    size_t out = 0;

    for (size_t at = 0; at < len;) {
        size_t n = longest_match(r, text + at, len - at);
        size_t stars = n < STARS ? n : STARS;
        if (!n) {
            text[out++] = text[at++];
            continue;
        }
        memset(text + out, '*', stars);
        out += stars;
        at += n;
    }
    return out;
}
