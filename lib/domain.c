/* Domain     = sub-domain *("." sub-domain)        at most 255 octets (RFC 5321 4.5.3.1.2)
 * sub-domain = Let-dig [Ldh-str]                   at most 63 octets (RFC 1035 2.3.4)
 *
 * RFC 6531 3.3 adds UTF-8 characters above U+007F; controls among them (C1) are nobody's name. */
#include "lib/domain.h"
#include <glib.h>
#include <string.h>

#define DOMAIN_MAX 255
#define LABEL_MAX  63

static bool label_valid(const char *label, size_t len)
{
    if (len == 0 || len > LABEL_MAX || label[0] == '-' || label[len - 1] == '-')
        return false;
    for (const char *c = label; c < label + len; c = g_utf8_next_char(c)) {
        gunichar point = g_utf8_get_char(c);
        bool good = point < 0x80 ? g_ascii_isalnum(*c) || *c == '-' : !g_unichar_iscntrl(point);
        if (!good)
            return false;
    }
    return true;
}

bool domain_valid(const char *name)
{
    size_t len = strlen(name);
    if (len > DOMAIN_MAX || !g_utf8_validate(name, (gssize)len, NULL))
        return false;
    for (const char *label = name;;) {
        size_t n = strcspn(label, ".");
        if (!label_valid(label, n))
            return false;
        if (label[n] == '\0')
            return true;
        label += n + 1;
    }
}
