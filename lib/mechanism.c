/* Choosing a SASL mechanism.
 *
 * Promises: the strongest on offer comes first; none that gives the password or a token away is
 * taken on a line that others may hear; none is taken twice. */
#include "lib/mechanism.h"

#include <assert.h>
#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* The strongest first: bound to TLS, then with the server's proof, then with a challenge, then the
 * password itself. */
static const struct mechanism rows[] = {
    {.option = "scram-sha-256",
     .sasl = SASL_SCRAM_SHA_256_PLUS,
     .plus = true,
     .in_auto = true,
     .initial = true,
     .command = "AUTH SCRAM-SHA-256-PLUS"},
    {.option = "scram-sha-1",
     .sasl = SASL_SCRAM_SHA_1_PLUS,
     .plus = true,
     .in_auto = true,
     .initial = true,
     .command = "AUTH SCRAM-SHA-1-PLUS"},
    {.option = "scram-sha-256",
     .sasl = SASL_SCRAM_SHA_256,
     .in_auto = true,
     .initial = true,
     .command = "AUTH SCRAM-SHA-256"},
    {.option = "scram-sha-1",
     .sasl = SASL_SCRAM_SHA_1,
     .in_auto = true,
     .initial = true,
     .command = "AUTH SCRAM-SHA-1"},
    {.option = "digest-md5",
     .sasl = SASL_DIGEST_MD5,
     .in_auto = true,
     .command = "AUTH DIGEST-MD5"},
    {.option = "cram-md5", .sasl = SASL_CRAM_MD5, .in_auto = true, .command = "AUTH CRAM-MD5"},
    /* Exchange wants the two steps of SPA, and so does Microsoft 365 for XOAUTH2. */
    {.option = "ntlm", .sasl = SASL_NTLM, .in_auto = true, .command = "AUTH NTLM"},
    {.option = "ntlmv1", .sasl = SASL_NTLMV1, .command = "AUTH NTLM"},
    {.option = "plain",
     .sasl = SASL_PLAIN,
     .clear = true,
     .in_auto = true,
     .initial = true,
     .command = "AUTH PLAIN"},
    {.option = "login",
     .sasl = SASL_LOGIN,
     .clear = true,
     .in_auto = true,
     .command = "AUTH LOGIN"},
    {.option = "oauthbearer",
     .sasl = SASL_OAUTHBEARER,
     .clear = true,
     .token = true,
     .initial = true,
     .command = "AUTH OAUTHBEARER"},
    {.option = "xoauth2",
     .sasl = SASL_XOAUTH2,
     .clear = true,
     .token = true,
     .command = "AUTH XOAUTH2"},
};
enum { ROWS = sizeof rows / sizeof *rows };
static_assert(ROWS == (int)SASL_MECHANISMS, "a row for each");
static_assert(ROWS <= 8 * sizeof(unsigned), "a bit for each");

void mechanism_offer_set(struct mechanism_offer *offer, const char *words, size_t len)
{
    char *to = offer->words;

    *to = '\0';
    if (!len || len + 3 > sizeof offer->words)
        return;
    *to++ = ' ';
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)words[i];
        *to++ = (char)(isgraph(c) ? toupper(c) : ' ');
    }
    *to++ = ' ';
    *to = '\0';
}

static bool offered(const struct mechanism_offer *offer, const struct mechanism *row)
{
    char word[64];

    snprintf(word, sizeof word, " %s ", sasl_name(row->sasl));
    return strstr(offer->words, word) != NULL;
}

static bool may_be_taken(const struct mechanism_wish *wish, const struct mechanism_offer *offer,
                         const struct mechanism *row)
{
    bool by_name = strcmp(wish->option, row->option) == 0;

    if (!by_name && !(row->in_auto && strcmp(wish->option, "auto") == 0))
        return false;
    if (row->plus)
        return wish->bound && offered(offer, row);
    return offered(offer, row) || (by_name && wish->blind && !offer->words[0]);
}

const struct mechanism *mechanism_next(const struct mechanism_wish *wish,
                                       const struct mechanism_offer *offer, unsigned *tried,
                                       const struct mechanism **unsafe)
{
    *unsafe = NULL;
    for (int i = 0; i < ROWS; i++) {
        const struct mechanism *row = &rows[i];
        if (*tried & 1u << i || !may_be_taken(wish, offer, row))
            continue;
        if (wish->secure || !row->clear) {
            *tried |= 1u << i;
            return row;
        }
        *unsafe = row;
    }
    return NULL;
}

bool mechanism_known(const char *option)
{
    for (int i = 0; i < ROWS; i++)
        if (strcmp(rows[i].option, option) == 0)
            return true;
    return false;
}

const char *mechanism_names(char *out, size_t size)
{
    size_t at = 0;

    *out = '\0';
    for (int i = 0; i < ROWS; i++)
        if (!rows[i].plus && at < size)
            at += (size_t)snprintf(out + at, size - at, "%s%s", at ? ", " : "", rows[i].option);
    return out;
}
