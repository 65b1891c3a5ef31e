/* See client_arguments.h. */
#include "relayd/client_arguments.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static bool offers(const char *offered, const char *word)
{
    size_t len = strlen(word);
    while (*offered) {
        size_t n = strcspn(offered, " ");
        if (n == len && strncasecmp(offered, word, n) == 0)
            return true;
        offered = offered + n + strspn(offered + n, " ");
    }
    return false;
}

static size_t put_xtext(char *out, size_t room, const char *text)
{
    size_t len = 0;
    for (; *text && len + 4 < room; text++) {
        unsigned char c = (unsigned char)*text;
        if (c < '!' || c > '~' || c == '+' || c == '=')
            len += (size_t)snprintf(out + len, room - len, "+%02X", c);
        else
            out[len++] = (char)c;
    }
    out[len] = '\0';
    return len;
}

bool client_arguments(const struct client *client, const char *offered,
                      char out[static CLIENT_ARGUMENTS_SIZE])
{
    static const char unknown[] = "[UNAVAILABLE]";
    const struct {
        const char *attribute, *value;
    } all[] = {
        {"ADDR", client->address},
        {"PROTO", client->protocol ? client->protocol : ""},
        {"NAME", client->name},
        {"HELO", client->helo},
    };
    size_t len = 0;
    if (!offers(offered, "ADDR"))
        return false;
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const char *attribute = all[i].attribute, *value = all[i].value;
        /* There is no word for a protocol that is not known; left out, it starts anew. */
        if (!offers(offered, attribute) || (i == 1 && *value == '\0'))
            continue;
        len += (size_t)snprintf(out + len, CLIENT_ARGUMENTS_SIZE - len, " %s=", attribute);
        len += put_xtext(out + len, CLIENT_ARGUMENTS_SIZE - len, *value ? value : unknown);
    }
    return true;
}
