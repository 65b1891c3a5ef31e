/* Options by one table. getopt_long permutes argv, so words and options may be mixed; whether a
 * command takes an option that was given is the caller's to check, with args->given. */
#include "ctl/option.h"
#include <assert.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LONG_BASE 256 /* above every letter */

static const struct {
    const char *name;
    char letter;
    const char *value; /* NULL: takes none */
    const char *help;
} table[] = {
    [OPTION_CONFIG] = {"config", 'c', "FILE",
                       "the configuration file (/etc/popferry/popferry.conf)"},
    [OPTION_VERBOSE] = {"verbose", 'v', NULL, "show more, and what a daemon run for us writes"},
    [OPTION_VERSION] = {"version", 'V', NULL, "print the version"},
    [OPTION_HELP] = {"help", 'h', NULL, "print this help"},
    [OPTION_JSON] = {"json", 0, NULL, "answer in JSON, times in UTC"},
    [OPTION_SERVER] = {"server", 0, "HOST", "the POP3 server"},
    [OPTION_PORT] = {"port", 0, "N", "its port (995 with implicit TLS, otherwise 110)"},
    [OPTION_TLS] = {"tls", 0, "HOW", "implicit, starttls or none (implicit)"},
    [OPTION_CA] = {"ca", 0, "FILE", "trust these authorities, not the system's"},
    [OPTION_PIN] = {"pin", 0, "PIN", "demand this key, as `account test` shows it"},
    [OPTION_AUTH] = {"auth", 0, "HOW", "auto, basic, apop, ntlm, ...; see the manual (auto)"},
    [OPTION_USER] = {"user", 0, "USER", "who logs in (of init: a user of this host)"},
    [OPTION_DELIVER_TO] = {"deliver-to", 0, "ADDR", "who gets the mail here; may be repeated"},
    [OPTION_INTERVAL] = {"interval", 0, "TIME", "between polls, 5m to 24h, or \"default\""},
    [OPTION_BASELINE] = {"baseline", 0, NULL, "what is there now counts as seen"},
    [OPTION_PASSWORD] = {"password", 0, NULL, "ask for a new password"},
    [OPTION_PASSWORD_STDIN] = {"password-stdin", 0, NULL, "read the password from standard input"},
    [OPTION_ALL] = {"all", 0, NULL, "all of them"},
    [OPTION_WAIT] = {"wait", 0, NULL, "wait until it is done, and tell how it went"},
    [OPTION_TIMEOUT] = {"timeout", 0, "TIME", "how long to wait at most (10m)"},
    [OPTION_ACCOUNT] = {"account", 0, "NAME", "of this account"},
    [OPTION_SENDER] = {"sender", 0, "TEXT", "whose sender has this in it; \"<>\" is no sender"},
    [OPTION_SUBJECT] = {"subject", 0, "TEXT", "whose subject has this in it"},
    [OPTION_REASON] = {"reason", 0, "TEXT", "whose reason has this in it"},
    [OPTION_DECIDED_BY] = {"decided-by", 0, "WHO",
                           "rspamd, clamd, spamd, relay, form, form:nul, ..."},
    [OPTION_OLDER] = {"older", 0, "AGE", "in quarantine for longer than this, such as 7d"},
    [OPTION_NEWER] = {"newer", 0, "AGE", "in quarantine for less than this, such as 12h"},
    [OPTION_STATE] = {"state", 0, "STATE", "held, replayed, deleted, removed, expired (held)"},
    [OPTION_SORT] = {"sort", 0, "BY", "id, age, account, sender, subject, size or reason"},
    [OPTION_REVERSE] = {"reverse", 0, NULL, "the other way round"},
    [OPTION_TO] = {"to", 0, "ADDR", "to this recipient, not its own; may be repeated"},
    [OPTION_DRY_RUN] = {"dry-run", 0, NULL, "only show what would be done"},
    [OPTION_YES] = {"yes", 0, NULL, "don't ask"},
    [OPTION_OUTPUT] = {"output", 0, "FILE", "into a new file; \"-\" is standard output"},
    [OPTION_FORCE] = {"force", 0, NULL, "replace a file that is there"},
    [OPTION_SINCE] = {"since", 0, "AGE", "what came within this time (1d)"},
    [OPTION_BY] = {"by", 0, "WHAT", "in groups by account or reason (account)"},
    [OPTION_MAIL] = {"mail", 0, NULL, "as a mail to hygiene.reviewer"},
};
static_assert(sizeof table / sizeof table[0] == OPTIONS, "a row for each option");
static_assert(OPTIONS <= 64, "a bit for each option");

const char *option_name(enum ctl_option option)
{
    return table[option].name;
}

char *option_help(enum ctl_option option, char *buf, size_t size)
{
    char left[48], letter[8] = "    ";
    if (table[option].letter != 0)
        (void)snprintf(letter, sizeof letter, "-%c, ", table[option].letter);
    (void)snprintf(left, sizeof left, "%s--%s%s%s", letter, table[option].name,
                   table[option].value != NULL ? " " : "",
                   table[option].value != NULL ? table[option].value : "");
    (void)snprintf(buf, size, "  %-24s %s", left, table[option].help);
    return buf;
}

/* Optimal string alignment: insertions, deletions, exchanges, and two letters swapped. */
static size_t distance(const char *a, const char *b)
{
    enum { LONGEST = 32 };
    size_t n = strnlen(a, LONGEST), m = strnlen(b, LONGEST);
    size_t d[LONGEST + 1][LONGEST + 1];
    for (size_t i = 0; i <= n; i++)
        d[i][0] = i;
    for (size_t j = 0; j <= m; j++)
        d[0][j] = j;
    for (size_t i = 1; i <= n; i++)
        for (size_t j = 1; j <= m; j++) {
            size_t best = d[i - 1][j - 1] + (a[i - 1] != b[j - 1]);
            if (d[i - 1][j] + 1 < best)
                best = d[i - 1][j] + 1;
            if (d[i][j - 1] + 1 < best)
                best = d[i][j - 1] + 1;
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                d[i - 2][j - 2] + 1 < best)
                best = d[i - 2][j - 2] + 1;
            d[i][j] = best;
        }
    return d[n][m];
}

const char *option_nearest(const char *word, const char *const *names)
{
    const char *nearest = NULL;
    size_t best = SIZE_MAX, len = strlen(word);
    if (len == 0)
        return NULL;
    for (; *names != NULL; names++) {
        size_t d = len >= 2 && strncmp(word, *names, len) == 0 ? 1 : distance(word, *names);
        if (d < best) {
            best = d;
            nearest = *names;
        }
    }
    return best <= 1 + len / 4 ? nearest : NULL;
}

bool option_port(const char *text, int *port)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || n < 1 || n > 65535)
        return false;
    *port = (int)n;
    return true;
}

static void add_addresses(json_t *addresses, const char *list)
{
    while (*list != '\0') {
        size_t n = strcspn(list, ",");
        while (n > 0 && *list == ' ')
            list++, n--;
        size_t kept = n;
        while (kept > 0 && list[kept - 1] == ' ')
            kept--;
        if (kept > 0)
            json_array_append_new(addresses, json_stringn_nocheck(list, kept));
        list += n + (list[n] == ',');
    }
}

static bool refuse(int result, char **argv, struct error *err)
{
    /* For a long option, argv[optind - 1] is the word itself; for a letter, optopt is. */
    const char *word = argv[optind - 1];
    bool is_long = strncmp(word, "--", 2) == 0;
    char letter[3] = {'-', (char)optopt, '\0'};
    if (result == ':')
        return error_set(err, ERROR_USAGE, "%s needs a value", is_long ? word : letter);
    if (!is_long)
        return error_set(err, ERROR_USAGE, "unknown option %s", letter);
    char name[64];
    (void)snprintf(name, sizeof name, "%.*s", (int)strcspn(word + 2, "="), word + 2);
    const char *names[OPTIONS + 1] = {0};
    for (int i = 0; i < OPTIONS; i++) {
        names[i] = table[i].name;
        if (strcmp(name, table[i].name) == 0)
            return error_set(err, ERROR_USAGE, "--%s takes no value", name);
    }
    const char *nearest = option_nearest(name, names);
    return error_set(err, ERROR_USAGE, "unknown option --%s%s%s%s", name,
                     nearest ? "; did you mean --" : "", nearest ? nearest : "",
                     nearest ? "?" : "");
}

static void letters(char *text)
{
    *text++ = ':'; /* tell a missing value (':') from an unknown option ('?') */
    for (int i = 0; i < OPTIONS; i++) {
        if (table[i].letter == 0)
            continue;
        *text++ = table[i].letter;
        if (table[i].value != NULL)
            *text++ = ':';
    }
    *text = '\0';
}

static enum ctl_option option_of(int result)
{
    if (result >= LONG_BASE)
        return (enum ctl_option)(result - LONG_BASE);
    int i = 0;
    while (table[i].letter != result)
        i++;
    return (enum ctl_option)i;
}

bool option_parse(int argc, char **argv, struct args *args, struct error *err)
{
    char short_options[2 * OPTIONS + 2];
    struct option long_options[OPTIONS + 1] = {0};
    letters(short_options);
    for (int i = 0; i < OPTIONS; i++) {
        long_options[i].name = table[i].name;
        long_options[i].has_arg = table[i].value != NULL ? required_argument : no_argument;
        long_options[i].val = LONG_BASE + i;
    }
    struct args found = {.deliver_to = json_array(), .to = json_array()};
    opterr = 0;
    optind = 0; /* glibc: begin anew */
    int result;
    while ((result = getopt_long(argc, argv, short_options, long_options, NULL)) != -1) {
        if (result == '?' || result == ':') {
            option_free(&found);
            return refuse(result, argv, err);
        }
        enum ctl_option option = option_of(result);
        found.value[option] = optarg != NULL ? optarg : "";
        found.given |= OPTION_BIT(option);
        if (option == OPTION_DELIVER_TO)
            add_addresses(found.deliver_to, optarg);
        if (option == OPTION_TO)
            add_addresses(found.to, optarg);
    }
    found.words = argv + optind;
    found.count = argc - optind;
    *args = found;
    return true;
}

void option_free(struct args *args)
{
    json_decref(args->deliver_to);
    json_decref(args->to);
}
