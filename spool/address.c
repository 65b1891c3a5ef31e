/* Mailbox = Local-part "@" ( Domain / address-literal )             RFC 5321 4.1.2, 4.1.3
 *
 *   Local-part     = Dot-string / Quoted-string          at most 64 octets (4.5.3.1.1)
 *   Dot-string     = Atom *("." Atom)
 *   Quoted-string  = DQUOTE 1*( %d32-33 / %d35-91 / %d93-126 / "\" %d32-126 ) DQUOTE
 *   Domain         as in lib/domain.h
 *
 * The RFC allows an empty Quoted-string, a local part that begins with "-", and a domain of digits
 * and dots, too; Postfix takes each for a syntax error.
 * RFC 6531 3.3 adds UTF-8 characters above U+007F to atoms and quoted strings. */
#include "spool/address.h"
#include "lib/domain.h"
#include <arpa/inet.h>
#include <glib.h>
#include <stdio.h>
#include <string.h>

#define LOCAL_MAX 64

static bool is_alnum(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static bool is_atext(unsigned char c)
{
    return is_alnum(c) || c >= 0x80 || (c != '\0' && strchr("!#$%&'*+-/=?^_`{|}~", c) != NULL);
}

static bool dot_string_valid(const char *s, size_t len)
{
    bool after_dot = true; /* a dot may neither begin, nor follow a dot, nor end */
    for (size_t i = 0; i < len; i++) {
        if (s[i] == '.') {
            if (after_dot)
                return false;
            after_dot = true;
        } else if (is_atext((unsigned char)s[i])) {
            after_dot = false;
        } else {
            return false;
        }
    }
    return !after_dot;
}

static bool quoted_string_valid(const char *s, size_t len)
{
    if (len < 3 || s[0] != '"' || s[len - 1] != '"')
        return false;
    for (size_t i = 1; i < len - 1; i++) {
        unsigned char c = (unsigned char)s[i];
        if (c < 32 || c == 127 || c == '"')
            return false;
        if (c == '\\' && (++i == len - 1 || (unsigned char)s[i] < 32 || (unsigned char)s[i] > 126))
            return false;
    }
    return true;
}

static bool local_part_valid(const char *s, size_t len)
{
    if (len == 0 || len > LOCAL_MAX || s[0] == '-')
        return false;
    return s[0] == '"' ? quoted_string_valid(s, len) : dot_string_valid(s, len);
}

static bool literal_valid(const char *s, size_t len)
{
    char text[64];
    unsigned char bytes[16];
    if (len < 2 || s[len - 1] != ']' || len - 2 >= sizeof text)
        return false;
    memcpy(text, s + 1, len - 2);
    text[len - 2] = '\0';
    if (strncmp(text, "IPv6:", 5) == 0)
        return inet_pton(AF_INET6, text + 5, bytes) == 1;
    return inet_pton(AF_INET, text, bytes) == 1;
}

bool address_domain_valid(const char *domain)
{
    if (domain[0] == '[')
        return literal_valid(domain, strlen(domain));
    return domain[strspn(domain, "0123456789.")] != '\0' && domain_valid(domain);
}

/* C1 controls are UTF-8, and nobody's address. */
static bool has_c1(const char *s)
{
    for (; *s != '\0'; s++)
        if ((unsigned char)s[0] == 0xC2 && (unsigned char)s[1] >= 0x80 &&
            (unsigned char)s[1] < 0xA0)
            return true;
    return false;
}

bool address_valid(const char *address)
{
    size_t len = strlen(address);
    const char *at = strrchr(address, '@');
    if (len > ADDRESS_MAX || at == NULL || !g_utf8_validate(address, (gssize)len, NULL) ||
        has_c1(address))
        return false;
    return local_part_valid(address, (size_t)(at - address)) && address_domain_valid(at + 1);
}

bool address_complete(const char *text, const char *default_domain,
                      char out[static ADDRESS_MAX + 1])
{
    bool bare = strchr(text, '@') == NULL;
    int n =
        snprintf(out, ADDRESS_MAX + 1, "%s%s%s", text, bare ? "@" : "", bare ? default_domain : "");
    return n >= 0 && n <= ADDRESS_MAX && address_valid(out);
}

bool address_is_utf8(const char *address)
{
    for (; *address != '\0'; address++)
        if ((unsigned char)*address > 127)
            return true;
    return false;
}
