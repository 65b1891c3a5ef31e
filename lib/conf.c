/* libconfuse reads the file; this file says what each key may hold. Every option of the file is one
 * row of a table: its key, its form, its range, its default, and where it goes in struct conf. */
#include "lib/conf.h"
#include "lib/conf_form.h"
#include "lib/conf_text.h"
#include <confuse.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct option_rule {
    const char *section; /* NULL: top level */
    const char *key;
    enum conf_form form;
    const char *preset; /* the default as it would be written */
    size_t offset;      /* in struct conf */
    int64_t min, max;   /* FORM_INT, FORM_DURATION */
    const char *words;  /* FORM_WORD: "a|b|c", in the order of the enum */
    bool keep_word;     /* FORM_WORD: keep the text, not its place */
};

#define AT(member) .offset = offsetof(struct conf, member)

/* in the order of enum conf_rule */
#define RULE            "pass|badmail"
#define RULE_REPAIRABLE "pass|badmail|repair"

static const struct option_rule rules[] = {
    {NULL, "spool-dir", FORM_PATH, "/var/spool/popferry", AT(spool_dir)},
    {NULL, "state-dir", FORM_PATH, "/var/lib/popferry", AT(state_dir)},
    {NULL, "run-dir", FORM_PATH, "/run/popferry", AT(run_dir)},
    {NULL, "default-domain", FORM_DOMAIN_OR_NONE, "", AT(default_domain)},
    {"fetch", "interval", FORM_DURATION, "15m", AT(fetch.interval), 5 * MINUTES, 24 * HOURS},
    {"fetch", "sessions", FORM_INT, "64", AT(fetch.sessions), 1, 1000},
    {"fetch", "messages-per-session", FORM_INT, "500", AT(fetch.messages_per_session), 1, 100000},
    {"fetch", "message-size", FORM_SIZE_AUTO, "auto", AT(fetch.message_size)},
    {"fetch", "delete", FORM_DELETE, "delivered", AT(fetch.delete)},
    {"fetch", "received-by", FORM_NAMES, "", AT(fetch.received_by)},
    {"fetch", "connect-timeout", FORM_DURATION, "30s", AT(fetch.connect_timeout), SECONDS, HOURS},
    {"fetch", "timeout", FORM_DURATION, "5m", AT(fetch.timeout), SECONDS, HOURS},
    {"hygiene", "bad-sender", FORM_WORD, "null", AT(hygiene.bad_sender), .words = "null|badmail"},
    {"hygiene", "no-header", FORM_WORD, "pass", AT(hygiene.no_header), .words = RULE_REPAIRABLE},
    {"hygiene", "long-header", FORM_WORD, "pass", AT(hygiene.long_header), .words = RULE},
    {"hygiene", "too-large", FORM_WORD, "pass", AT(hygiene.too_large), .words = RULE},
    {"hygiene", "nul", FORM_WORD, "pass", AT(hygiene.nul), .words = RULE_REPAIRABLE},
    {"hygiene", "rspamd", FORM_PORT_OR_NONE, "", AT(hygiene.rspamd.server)},
    {"hygiene", "rspamd-timeout", FORM_DURATION, "30s", AT(hygiene.rspamd.timeout), SECONDS, HOURS},
    {"hygiene", "rspamd-sessions", FORM_INT, "10", AT(hygiene.rspamd.sessions), 1, 100},
    {"hygiene", "rspamd-size", FORM_SIZE, "50M", AT(hygiene.rspamd.size)},
    {"hygiene", "clamd", FORM_SERVER_OR_NONE, "", AT(hygiene.clamd.server)},
    {"hygiene", "clamd-timeout", FORM_DURATION, "2m", AT(hygiene.clamd.timeout), SECONDS, HOURS},
    {"hygiene", "clamd-sessions", FORM_INT, "4", AT(hygiene.clamd.sessions), 1, 100},
    {"hygiene", "clamd-size", FORM_SIZE, "25M", AT(hygiene.clamd.size)},
    {"hygiene", "spamd", FORM_SERVER_OR_NONE, "", AT(hygiene.spamd.server)},
    {"hygiene", "spamd-timeout", FORM_DURATION, "2m", AT(hygiene.spamd.timeout), SECONDS, HOURS},
    {"hygiene", "spamd-sessions", FORM_INT, "4", AT(hygiene.spamd.sessions), 1, 100},
    {"hygiene", "spamd-size", FORM_SIZE, "512K", AT(hygiene.spamd.size)},
    {"hygiene", "spamd-spam", FORM_WORD, "badmail", AT(hygiene.spamd_spam),
     .words = "badmail|mark"},
    {"hygiene", "on-filter-error", FORM_WORD, "defer", AT(hygiene.on_filter_error),
     .words = "defer|pass|badmail"},
    {"hygiene", "filter-expire", FORM_DURATION, "5d", AT(hygiene.filter_expire), SECONDS,
     60 * DAYS},
    {"hygiene", "reviewer", FORM_TEXT, "", AT(hygiene.reviewer)},
    {"hygiene", "badmail-keep", FORM_DURATION, "90d", AT(hygiene.badmail_keep), DAYS, 3650 * DAYS},
    {"relay", "protocol", FORM_WORD, "smtp", AT(relay.protocol), .words = "smtp|lmtp",
     .keep_word = true},
    {"relay", "host", FORM_HOST, "127.0.0.1", AT(relay.host)},
    {"relay", "port", FORM_INT, "25", AT(relay.port), 1, 65535},
    {"relay", "tls", FORM_WORD, "none", AT(relay.tls), .words = "none|starttls|implicit"},
    {"relay", "ca", FORM_PATH_OR_NONE, "", AT(relay.ca)},
    {"relay", "pin", FORM_PIN_OR_NONE, "", AT(relay.pin)},
    {"relay", "user", FORM_TEXT, "", AT(relay.user)},
    {"relay", "auth", FORM_WORD, "auto", AT(relay.auth), .keep_word = true,
     .words = "auto|scram-sha-256|scram-sha-1|digest-md5|cram-md5|ntlm|ntlmv1|plain|login|"
              "oauthbearer|xoauth2"},
    {"relay", "client", FORM_WORD, "none", AT(relay.client), .words = "none|xclient|xforward"},
    {"relay", "sessions", FORM_INT, "10", AT(relay.sessions), 1, 200},
    {"relay", "queue-limit", FORM_INT, "0", AT(relay.queue_limit), 0, 100000000},
    {"relay", "retry-min", FORM_DURATION, "1m", AT(relay.retry_min), SECONDS, DAYS},
    {"relay", "retry-max", FORM_DURATION, "1h", AT(relay.retry_max), SECONDS, 7 * DAYS},
    {"relay", "expire", FORM_DURATION, "5d", AT(relay.expire), SECONDS, 60 * DAYS},
    {"relay", "session-errors", FORM_INT, "3", AT(relay.session_errors), 1, 100},
};
#define RULES (sizeof rules / sizeof rules[0])

static const char *const sections[] = {"fetch", "hygiene", "relay"};
#define SECTIONS (sizeof sections / sizeof sections[0])

/* --- one value into struct conf, or what was expected --- */

static bool store_int(const struct option_rule *rule, long n, void *to, char *expected, size_t size)
{
    if (n < rule->min || n > rule->max) {
        (void)snprintf(expected, size, "a number from %lld to %lld", (long long)rule->min,
                       (long long)rule->max);
        return false;
    }
    *(int *)to = (int)n;
    return true;
}

static bool store_duration(const struct option_rule *rule, const char *text, void *to,
                           char *expected, size_t size)
{
    int64_t ms;
    if (!conf_duration(text, &ms) || ms < rule->min || ms > rule->max) {
        char min[24], max[24];
        conf_duration_text(rule->min, min, sizeof min);
        conf_duration_text(rule->max, max, sizeof max);
        (void)snprintf(expected, size, "a time such as \"%s\", from %s to %s", rule->preset, min,
                       max);
        return false;
    }
    *(int64_t *)to = ms;
    return true;
}

static bool store_delete(const char *text, struct conf *conf, char *expected, size_t size)
{
    int place = conf_word_place("delivered|spooled|never", text);
    int64_t after;
    if (place >= 0) {
        conf->fetch.delete = (enum conf_delete)place;
    } else if (conf_duration(text, &after)) {
        conf->fetch.delete = CONF_DELETE_AFTER;
        conf->fetch.delete_after = after;
    } else {
        (void)snprintf(expected, size,
                       "delivered, spooled, never, or a time after delivery such as \"30d\"");
        return false;
    }
    return true;
}

static void store_text(const char *text, char **to)
{
    free(*to);
    *to = strdup(text);
}

static bool store_word(const struct option_rule *rule, const char *text, void *to, char *expected,
                       size_t size)
{
    int place = conf_word_place(rule->words, text);
    if (place < 0) {
        (void)snprintf(expected, size, "one of %s", rule->words);
        return false;
    }
    if (rule->keep_word)
        store_text(text, to);
    else
        *(int *)to = place;
    return true;
}

static bool store_size(bool with_auto, const char *text, uint64_t *to, char *expected, size_t size)
{
    if (with_auto && strcmp(text, "auto") == 0) {
        *to = 0;
        return true;
    }
    uint64_t bytes;
    if (conf_size(text, &bytes) && bytes >= 1024) {
        *to = bytes;
        return true;
    }
    (void)snprintf(expected, size, "%sa size such as \"10M\", at least 1K",
                   with_auto ? "\"auto\", or " : "");
    return false;
}

static bool store_checked(enum conf_form form, const char *text, char **to, char *expected,
                          size_t size)
{
    const char *wanted = conf_text_expected(form, text);
    if (wanted != NULL) {
        (void)snprintf(expected, size, "%s", wanted);
        return false;
    }
    store_text(text, to);
    return true;
}

static bool store(const struct option_rule *rule, const char *text, long number, struct conf *conf,
                  char *expected, size_t size)
{
    void *to = (char *)conf + rule->offset;
    switch (rule->form) {
    case FORM_INT:
        return store_int(rule, number, to, expected, size);
    case FORM_DURATION:
        return store_duration(rule, text, to, expected, size);
    case FORM_SIZE_AUTO:
    case FORM_SIZE:
        return store_size(rule->form == FORM_SIZE_AUTO, text, to, expected, size);
    case FORM_DELETE:
        return store_delete(text, conf, expected, size);
    case FORM_WORD:
        return store_word(rule, text, to, expected, size);
    case FORM_TEXT:
    case FORM_PATH:
    case FORM_PATH_OR_NONE:
    case FORM_HOST:
    case FORM_NAMES:
    case FORM_PIN_OR_NONE:
    case FORM_DOMAIN_OR_NONE:
    case FORM_SERVER_OR_NONE:
    case FORM_PORT_OR_NONE:
        return store_checked(rule->form, text, to, expected, size);
    }
    return false;
}

/* --- libconfuse --- */

/* libconfuse hands its callbacks no argument; a file is read by one thread, start to end. */
static struct {
    struct conf *conf;
    struct error *err;
    bool failed;
    int line[RULES]; /* where each key stands; 0: it doesn't */
} reading;

static void on_error(cfg_t *cfg, const char *fmt, va_list ap)
{
    if (reading.failed)
        return; /* the first one says it best */
    reading.failed = true;
    char what[300];
    (void)vsnprintf(what, sizeof what, fmt, ap);
    (void)error_set(reading.err, ERROR_USAGE, "%s:%d: %s", reading.conf->file, cfg->line, what);
}

static const struct option_rule *rule_of(const char *section, const char *key)
{
    for (size_t i = 0; i < RULES; i++) {
        bool same = (rules[i].section == NULL) == (section == NULL) &&
                    (section == NULL || strcmp(rules[i].section, section) == 0);
        if (same && strcmp(rules[i].key, key) == 0)
            return &rules[i];
    }
    return NULL;
}

/* Called behind each value, with the line it stands on. */
static int on_value(cfg_t *cfg, cfg_opt_t *opt)
{
    const char *section = strcmp(cfg_name(cfg), "root") == 0 ? NULL : cfg_name(cfg);
    const struct option_rule *rule = rule_of(section, opt->name);
    if (reading.line[rule - rules] != 0) {
        cfg_error(cfg, "%s%s%s stands here a second time: expected it once",
                  section != NULL ? section : "", section != NULL ? "." : "", opt->name);
        return -1;
    }
    reading.line[rule - rules] = cfg->line;
    unsigned last = cfg_opt_size(opt) - 1;
    const char *text = rule->form == FORM_INT ? "" : cfg_opt_getnstr(opt, last);
    long number = rule->form == FORM_INT ? cfg_opt_getnint(opt, last) : 0;
    char expected[128];
    if (store(rule, text, number, reading.conf, expected, sizeof expected))
        return 0;
    char shown[32];
    (void)snprintf(shown, sizeof shown, "%ld", number);
    cfg_error(cfg, "%s%s%s = %.64s: expected %s", section != NULL ? section : "",
              section != NULL ? "." : "", opt->name, rule->form == FORM_INT ? shown : text,
              expected);
    return -1;
}

static cfg_opt_t option_of(const struct option_rule *rule)
{
    if (rule->form == FORM_INT)
        return (cfg_opt_t)CFG_INT(rule->key, strtol(rule->preset, NULL, 10), CFGF_NONE);
    return (cfg_opt_t)CFG_STR(rule->key, rule->preset, CFGF_NONE);
}

static size_t options_of(const char *section, cfg_opt_t *options)
{
    size_t n = 0;
    for (size_t i = 0; i < RULES; i++)
        if ((rules[i].section == NULL) == (section == NULL) &&
            (section == NULL || strcmp(rules[i].section, section) == 0))
            options[n++] = option_of(&rules[i]);
    options[n] = (cfg_opt_t)CFG_END();
    return n;
}

static cfg_t *make_parser(void)
{
    cfg_opt_t in_section[SECTIONS][RULES + 1];
    cfg_opt_t top[RULES + SECTIONS + 1];
    size_t n = options_of(NULL, top);
    for (size_t i = 0; i < SECTIONS; i++) {
        (void)options_of(sections[i], in_section[i]);
        top[n++] = (cfg_opt_t)CFG_SEC(sections[i], in_section[i], CFGF_NONE);
    }
    top[n] = (cfg_opt_t)CFG_END();
    cfg_t *cfg = cfg_init(top, CFGF_NONE);
    if (cfg == NULL)
        return NULL;
    cfg_set_error_function(cfg, on_error);
    for (size_t i = 0; i < RULES; i++) {
        char name[80];
        (void)snprintf(name, sizeof name, "%s%s%s",
                       rules[i].section != NULL ? rules[i].section : "",
                       rules[i].section != NULL ? "|" : "", rules[i].key);
        cfg_set_validate_func(cfg, name, on_value);
    }
    return cfg;
}

/* What does not go with another key is said of the line of `key`. */
static bool conflict(const char *section, const char *key, const char *why, struct error *err)
{
    int line = reading.line[rule_of(section, key) - rules];
    return error_set(err, ERROR_USAGE, "%s:%d: %s.%s: %s", reading.conf->file, line, section, key,
                     why);
}

static bool check_relay(const struct conf *conf, struct error *err)
{
    bool socket = conf->relay.host[0] == '/';
    if (conf->relay.tls == CONF_TLS_NONE && conf->relay.ca[0] != '\0')
        return conflict("relay", "ca", "expected relay.tls to be starttls or implicit with it",
                        err);
    if (conf->relay.tls == CONF_TLS_NONE && conf->relay.pin[0] != '\0')
        return conflict("relay", "pin", "expected relay.tls to be starttls or implicit with it",
                        err);
    if (socket && strcmp(conf->relay.protocol, "lmtp") != 0)
        return conflict("relay", "host", "a socket's path goes with relay.protocol = \"lmtp\" only",
                        err);
    if (conf->relay.client != CONF_CLIENT_NONE && conf->fetch.received_by[0] == '\0')
        return conflict("relay", "client",
                        "expected fetch.received-by to name your provider's "
                        "servers with it",
                        err);
    if (socket && conf->relay.tls != CONF_TLS_NONE)
        return conflict("relay", "tls", "expected none with a socket's path in relay.host", err);
    return true;
}

static bool check_together(const struct conf *conf, struct error *err)
{
    if (conf->relay.retry_min > conf->relay.retry_max)
        return error_set(err, ERROR_USAGE, "%s: relay.retry-min is longer than relay.retry-max",
                         conf->file);
    if (strcmp(conf->spool_dir, conf->state_dir) == 0 ||
        strcmp(conf->spool_dir, conf->run_dir) == 0)
        return error_set(err, ERROR_USAGE, "%s: spool-dir must be a directory of its own",
                         conf->file);
    /* a Unix socket's path has 108 bytes (unix(7)) */
    if (strlen(conf->run_dir) > 80)
        return error_set(err, ERROR_USAGE, "%s: run-dir = %s: expected a path of at most 80 bytes",
                         conf->file, conf->run_dir);
    return check_relay(conf, err);
}

static struct conf *conf_with_defaults(const char *file)
{
    struct conf *conf = calloc(1, sizeof *conf);
    if (conf == NULL)
        return NULL;
    conf->file = strdup(file);
    char expected[128];
    for (size_t i = 0; i < RULES; i++)
        (void)store(&rules[i], rules[i].preset, strtol(rules[i].preset, NULL, 10), conf, expected,
                    sizeof expected);
    return conf;
}

struct conf *conf_load(const char *file, struct error *err)
{
    char *text = conf_text_read(file, err);
    if (text == NULL)
        return NULL;
    struct conf *conf = conf_with_defaults(file);
    cfg_t *cfg = make_parser();
    if (conf == NULL || cfg == NULL)
        abort(); /* a few hundred bytes: the machine is beyond help */
    memset(&reading, 0, sizeof reading);
    reading.conf = conf;
    reading.err = err;
    bool ok = cfg_parse_buf(cfg, text) == CFG_SUCCESS && !reading.failed;
    if (!ok && !reading.failed)
        (void)error_set(err, ERROR_USAGE, "%s:%d: expected key = value", file, cfg->line);
    ok = ok && check_together(conf, err);
    (void)cfg_free(cfg);
    free(text);
    if (ok)
        return conf;
    conf_free(conf);
    return NULL;
}

bool conf_key(size_t i, char *buf, size_t size)
{
    if (i >= RULES)
        return false;
    const char *section = rules[i].section;
    (void)snprintf(buf, size, "%s%s%s", section != NULL ? section : "", section != NULL ? "." : "",
                   rules[i].key);
    return true;
}

struct conf *conf_share(struct conf *conf)
{
    conf->owners++;
    return conf;
}

void conf_free(struct conf *conf)
{
    if (conf == NULL || conf->owners-- > 0)
        return;
    for (size_t i = 0; i < RULES; i++)
        if (rules[i].form < FORM_INT || rules[i].keep_word)
            free(*(char **)((char *)conf + rules[i].offset));
    free(conf->file);
    free(conf);
}
