/* Reads a Received line as Postfix, Exim, Sendmail, OpenSMTPD, Exchange and qmail write it.
 * Promises: the address is the one that the server itself saw: it comes from the last comment
 * before "by", and a line with a second "from" or "by", or with comments that don't close, tells
 * nothing, since a HELO with blanks in it could have made them. */
#include "spool/client.h"

#include "spool/address.h"
#include "spool/header.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { LINE_MAX_READ = 4096, WORD_SIZE = 512 };

struct received {
    char from[WORD_SIZE];
    char before[WORD_SIZE]; /* the last comment but one between "from" and "by" */
    char comment[WORD_SIZE];
    bool commented;
    char by[WORD_SIZE];
    char with[WORD_SIZE];
};

/* ---- the line ---- */

static const char *skip_blanks(const char *at)
{
    while (*at == ' ' || *at == '\t')
        at++;
    return at;
}

/* Copies the comment at `at` without its outer brackets; NULL when it does not end, or is too long.
 */
static const char *take_comment(const char *at, char out[static WORD_SIZE])
{
    size_t len = 0;
    unsigned depth = 0;
    for (; *at; at++) {
        if (*at == '(' && depth++ == 0)
            continue;
        if (*at == ')' && --depth == 0)
            break;
        if (len + 1 == WORD_SIZE)
            return NULL;
        out[len++] = *at;
    }
    out[len] = '\0';
    return *at ? at + 1 : NULL;
}

static const char *take_word(const char *at, char out[static WORD_SIZE])
{
    size_t len = strcspn(at, " \t();");
    if (len == 0 || len >= WORD_SIZE)
        return NULL;
    memcpy(out, at, len);
    out[len] = '\0';
    return at + len;
}

/* The word behind a keyword. */
static const char *take_value(const char *at, char out[static WORD_SIZE])
{
    return out[0] == '\0' ? take_word(skip_blanks(at), out) : NULL;
}

static const char *take_item(const char *at, struct received *r)
{
    char word[WORD_SIZE];
    if (*at == '(') {
        if (r->by[0] != '\0')
            return take_comment(at, word); /* of no interest */
        memcpy(r->before, r->comment, sizeof r->before);
        r->commented = true;
        return take_comment(at, r->comment);
    }
    at = take_word(at, word);
    if (!at)
        return NULL;
    if (strcasecmp(word, "from") == 0)
        return take_value(at, r->from);
    if (strcasecmp(word, "by") == 0)
        return take_value(at, r->by);
    if (strcasecmp(word, "with") == 0 && r->with[0] == '\0')
        return take_value(at, r->with);
    /* Between the name behind "from" and "by" nothing but comments may stand. */
    return r->by[0] != '\0' ? at : NULL;
}

static bool parse_received(const char *line, struct received *r)
{
    const char *at = skip_blanks(line);
    *r = (struct received){0};
    while (at && *at != '\0' && *at != ';') {
        at = take_item(at, r);
        if (!at || r->from[0] == '\0')
            return false;
        at = skip_blanks(at);
    }
    return r->by[0] != '\0';
}

/* ---- addresses ---- */

static bool is_global4(uint32_t address)
{
    static const struct {
        uint32_t net;
        unsigned bits;
    } local[] = {
        {0x00000000, 8},  {0x0a000000, 8},  {0x64400000, 10}, {0x7f000000, 8},
        {0xa9fe0000, 16}, {0xac100000, 12}, {0xc0a80000, 16}, {0xe0000000, 3},
    };
    for (size_t i = 0; i < sizeof local / sizeof *local; i++)
        if ((address ^ local[i].net) >> (32 - local[i].bits) == 0)
            return false;
    return true;
}

/* What is assigned for global unicast lies in 2000::/3. */
static bool is_global6(const struct in6_addr *address)
{
    return address->s6_addr[0] >> 5 == 1;
}

static bool set_address(const char *text, struct client *client)
{
    struct in_addr v4;
    struct in6_addr v6;
    char canonical[INET6_ADDRSTRLEN];
    if (strncasecmp(text, "IPv6:", 5) == 0)
        text += 5;
    if (inet_pton(AF_INET6, text, &v6) == 1 && IN6_IS_ADDR_V4MAPPED(&v6))
        memcpy(&v4, v6.s6_addr + 12, sizeof v4);
    else if (inet_pton(AF_INET, text, &v4) != 1) {
        if (inet_pton(AF_INET6, text, &v6) != 1 || !is_global6(&v6))
            return false;
        (void)inet_ntop(AF_INET6, &v6, canonical, sizeof canonical);
        (void)snprintf(client->address, sizeof client->address, "IPV6:%s", canonical);
        return true;
    }
    if (!is_global4(ntohl(v4.s_addr)))
        return false;
    (void)inet_ntop(AF_INET, &v4, client->address, INET_ADDRSTRLEN);
    return true;
}

/* "[ADDRESS]", with whatever behind it. */
static bool literal_address(const char *text, struct client *client)
{
    char address[INET6_ADDRSTRLEN + 8];
    size_t len = strcspn(text, "]");
    if (text[0] != '[' || text[len] != ']' || len > sizeof address ||
        !strchr(" :", text[len + 1])) /* or the end */
        return false;
    (void)snprintf(address, sizeof address, "%.*s", (int)len - 1, text + 1);
    return set_address(address, client);
}

/* ---- names ---- */

static void set_name(char out[static CLIENT_NAME_MAX + 1], const char *text, size_t len)
{
    char name[CLIENT_NAME_MAX + 1];
    if (len > 0 && text[len - 1] == '.')
        len--;
    if (len > CLIENT_NAME_MAX)
        return;
    memcpy(name, text, len);
    name[len] = '\0';
    if (strcasecmp(name, "unknown") != 0 && address_domain_valid(name) && !address_is_utf8(name))
        memcpy(out, name, len + 1);
}

/* "helo=NAME" within the comment (Exim). */
static bool helo_of_exim(const char *comment, struct client *client)
{
    const char *helo = strstr(comment, "helo=");
    if (!helo || (helo != comment && helo[-1] != ' '))
        return false;
    helo += 5;
    set_name(client->helo, helo, strcspn(helo, " "));
    return true;
}

/* "from HELO (NAME [ADDRESS])", "from HELO ([ADDRESS])", "from NAME ([ADDRESS] helo=HELO)" */
static bool read_bracketed(const struct received *r, struct client *client)
{
    const char *comment = r->comment;
    size_t name = strcspn(comment, " [");
    if (name > 0 && (comment[name] != ' ' || strcspn(comment, ":@") < name))
        return false; /* "IDENT:...": who connects says it */
    if (!literal_address(comment + name + (comment[name] == ' '), client))
        return false;
    if (comment[0] == '[' && helo_of_exim(comment, client)) {
        set_name(client->name, r->from, strlen(r->from));
        return true;
    }
    set_name(client->helo, r->from, strlen(r->from));
    if (comment[0] != '[' && !strstr(comment, "may be forged"))
        set_name(client->name, comment, name);
    return true;
}

/* "from NAME (HELO name) (ADDRESS)" (qmail), "from HELO (ADDRESS)" (Exchange) */
static bool read_bare(const struct received *r, struct client *client)
{
    const char *before = r->before;
    if (!set_address(r->comment, client))
        return false;
    if (strncasecmp(before, "HELO ", 5) == 0 || strncasecmp(before, "EHLO ", 5) == 0) {
        set_name(client->helo, before + 5, strlen(before + 5));
        set_name(client->name, r->from, strlen(r->from));
    } else {
        set_name(client->helo, r->from, strlen(r->from));
    }
    return true;
}

/* "from [ADDRESS] (helo=HELO)", "from [ADDRESS]": Exim, of a client without a name. With any other
 * comment the word is what the client said in HELO. */
static bool read_nameless(const struct received *r, struct client *client)
{
    if (r->commented && strncmp(r->comment, "helo=", 5) != 0 &&
        strncmp(r->comment, "port=", 5) != 0)
        return false;
    if (!literal_address(r->from, client))
        return false;
    (void)helo_of_exim(r->comment, client);
    return true;
}

static const char *protocol_of(const char *with)
{
    if (strncasecmp(with, "ESMTP", 5) == 0 || strncasecmp(with, "UTF8SMTP", 8) == 0)
        return "ESMTP";
    return strcasecmp(with, "SMTP") == 0 ? "SMTP" : NULL;
}

/* Is one of the names anywhere in the line? */
static bool names_one_of(const char *line, const char *names)
{
    while (*names) {
        char name[WORD_SIZE];
        size_t n = strcspn(names, " \t");
        (void)snprintf(name, sizeof name, "%.*s", (int)n, names);
        if (strcasestr(line, name))
            return true;
        names = skip_blanks(names + n);
    }
    return false;
}

static bool by_one_of(const char *by, const char *names)
{
    size_t len = strlen(by);
    while (*names) {
        size_t n = strcspn(names, " \t");
        if (n == len && strncasecmp(names, by, n) == 0)
            return true;
        names = skip_blanks(names + n);
    }
    return false;
}

bool client_find(const char *header, size_t len, const char *by, struct client *client)
{
    struct header_walk walk = header_begin(header, len);
    struct header_field field;
    while (header_next(&walk, &field)) {
        char line[LINE_MAX_READ];
        struct received r;
        struct client found = {.address = ""};
        if (!header_is(&field, "Received"))
            continue;
        if (field.value_len >= sizeof line)
            return false;
        if (!parse_received(header_unfold(&field, line, sizeof line), &r)) {
            if (names_one_of(line, by))
                return false; /* may be the one: none below it is to be believed */
            continue;
        }
        if (!by_one_of(r.by, by))
            continue;
        /* Into the mailbox, on the same host: the line that is sought stands below. */
        if (strncasecmp(r.with, "LMTP", 4) == 0)
            continue;
        if (!read_bracketed(&r, &found) && !read_bare(&r, &found) && !read_nameless(&r, &found))
            return false;
        found.protocol = protocol_of(r.with);
        *client = found;
        return true;
    }
    return false;
}

bool client_same(const struct client *a, const struct client *b)
{
    return strcmp(a->address, b->address) == 0 && strcmp(a->name, b->name) == 0 &&
           strcmp(a->helo, b->helo) == 0 && a->protocol == b->protocol;
}
