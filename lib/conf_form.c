/* The forms of values. Promises: what is not wholly of a form is not of it, and the output is
 * untouched then; a text that is taken fits one line. */
#include "lib/conf_form.h"
#include "lib/conf.h"
#include "lib/domain.h"
#include "lib/tls.h"
#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct unit {
    const char *name;
    int64_t factor;
};

static bool with_unit(const char *text, const struct unit *units, int64_t *value)
{
    if (text[0] < '0' || text[0] > '9')
        return false;
    char *end;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    if (errno != 0)
        return false;
    for (; units->name != NULL; units++) {
        if (strcmp(end, units->name) != 0)
            continue;
        if (n > INT64_MAX / units->factor)
            return false;
        *value = n * units->factor;
        return true;
    }
    return false;
}

bool conf_duration(const char *text, int64_t *ms)
{
    static const struct unit units[] = {{"ms", 1},    {"s", SECONDS}, {"m", MINUTES},
                                        {"h", HOURS}, {"d", DAYS},    {NULL, 0}};
    return with_unit(text, units, ms);
}

void conf_duration_text(int64_t ms, char *buf, size_t size)
{
    static const struct unit units[] = {
        {"d", DAYS}, {"h", HOURS}, {"m", MINUTES}, {"s", SECONDS}, {"ms", 1}};
    const struct unit *u = units;
    while (ms % u->factor != 0)
        u++;
    (void)snprintf(buf, size, "%lld%s", (long long)(ms / u->factor), u->name);
}

bool conf_size(const char *text, uint64_t *bytes)
{
    static const struct unit units[] = {{"", 1},        {"K", 1 << 10}, {"k", 1 << 10},
                                        {"M", 1 << 20}, {"m", 1 << 20}, {"G", 1 << 30},
                                        {"g", 1 << 30}, {NULL, 0}};
    int64_t n;
    if (!with_unit(text, units, &n))
        return false;
    *bytes = (uint64_t)n;
    return true;
}

int conf_word_place(const char *words, const char *text)
{
    size_t len = strlen(text);
    int place = 0;
    for (const char *w = words; *w != '\0'; place++) {
        size_t n = strcspn(w, "|");
        if (n == len && memcmp(w, text, n) == 0)
            return place;
        w += n + (w[n] == '|' ? 1 : 0);
    }
    return -1;
}

static bool is_line(const char *text)
{
    for (; *text != '\0'; text++)
        if (iscntrl((unsigned char)*text))
            return false;
    return true;
}

static bool is_path(const char *text)
{
    return text[0] == '/' && strlen(text) < PATH_MAX - 64 && is_line(text);
}

/* A name, an address, or the path of a socket, which has 108 bytes (unix(7)). */
static bool is_host(const char *text)
{
    if (text[0] == '/')
        return strlen(text) < 108 && is_line(text);
    return text[0] != '\0' && strlen(text) <= 255 && is_line(text) && strchr(text, ' ') == NULL;
}

static bool are_names(const char *text)
{
    for (const char *c = text; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("-._:[] ", *c) == NULL)
            return false;
    return strlen(text) <= 1000;
}

static bool is_pin_or_none(const char *text)
{
    unsigned char pin[TLS_PIN_SIZE];
    return text[0] == '\0' || tls_pin_parse(text, pin);
}

/* "8025", to its end. */
static bool parse_port(const char *digits, int *port)
{
    size_t n = strspn(digits, "0123456789");
    long number = n > 0 && n < 6 && digits[n] == '\0' ? strtol(digits, NULL, 10) : 0;
    *port = (int)number;
    return number >= 1 && number <= 65535;
}

/* "http://...[/]" without what is not of the server. */
static void strip_url(const char *url, char out[static CONF_HOST_SIZE])
{
    static const char scheme[] = "http://";
    bool is_url = strncmp(url, scheme, sizeof scheme - 1) == 0;
    size_t n = strlen(is_url ? url += sizeof scheme - 1 : url);
    if (is_url && n > 0 && url[n - 1] == '/')
        n--;
    (void)snprintf(out, CONF_HOST_SIZE, "%.*s", n < CONF_HOST_SIZE ? (int)n : 0, url);
}

bool conf_server(const char *text, char host[static CONF_HOST_SIZE], int *port)
{
    char server[CONF_HOST_SIZE];
    int number = 0;
    strip_url(text, server);
    if (!is_host(server))
        return false;
    bool bracketed = server[0] == '[';
    const char *begin = server + bracketed;
    size_t n = server[0] == '/' ? strlen(server) : strcspn(begin, bracketed ? "]" : ":/");
    if (n == 0 || (bracketed && begin[n] != ']'))
        return false;
    const char *rest = begin + n + bracketed;
    if (rest[0] != '\0' && (rest[0] != ':' || !parse_port(rest + 1, &number)))
        return false;
    (void)snprintf(host, CONF_HOST_SIZE, "%.*s", (int)n, begin);
    *port = number;
    return true;
}

static bool is_server_or_none(const char *text)
{
    char host[CONF_HOST_SIZE];
    int port;
    return text[0] == '\0' || conf_server(text, host, &port);
}

static bool is_port_or_none(const char *text)
{
    return text[0] != '/' && is_server_or_none(text);
}

static bool is_path_or_none(const char *text)
{
    return text[0] == '\0' || is_path(text);
}

static bool is_domain_or_none(const char *text)
{
    return text[0] == '\0' || domain_valid(text);
}

/* Texts that are kept as they stand, when they are of the right form. */
static const struct {
    bool (*good)(const char *text);
    const char *expected;
} texts[FORM_INT] = {
    [FORM_TEXT] = {is_line, "a text without control characters"},
    [FORM_PATH] = {is_path, "an absolute path"},
    [FORM_PATH_OR_NONE] = {is_path_or_none, "an absolute path, or \"\""},
    [FORM_DOMAIN_OR_NONE] = {is_domain_or_none, "a domain such as \"corp.example\", or \"\""},
    [FORM_HOST] = {is_host, "a host's name or address, or the path of a socket (under 108 bytes)"},
    [FORM_NAMES] = {are_names, "names of hosts with blanks between, or \"\""},
    [FORM_SERVER_OR_NONE] = {is_server_or_none,
                             "a host, host:port, [address]:port, the path of a socket, or \"\""},
    [FORM_PORT_OR_NONE] = {is_port_or_none, "a host, host:port, [address]:port, or \"\""},
    [FORM_PIN_OR_NONE] = {is_pin_or_none, "\"sha256:\" and 64 hexadecimal digits, or \"\""},
};

const char *conf_text_expected(enum conf_form form, const char *text)
{
    return texts[form].good(text) ? NULL : texts[form].expected;
}

static const char *const tls_names[] = {
    [CONF_TLS_NONE] = "none",
    [CONF_TLS_STARTTLS] = "starttls",
    [CONF_TLS_IMPLICIT] = "implicit",
};

const char *conf_tls_name(enum conf_tls tls)
{
    return tls_names[tls];
}

bool conf_tls_parse(const char *text, enum conf_tls *tls)
{
    for (size_t i = 0; i < sizeof tls_names / sizeof tls_names[0]; i++) {
        if (strcmp(text, tls_names[i]) == 0) {
            *tls = (enum conf_tls)i;
            return true;
        }
    }
    return false;
}
