/* The configuration: every default, every form of value at the ends of its range, and each refusal
 * with file, line and what was expected. */
#include "lib/conf.h"
#include "lib/mechanism.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"

#define PIN "sha256:RkMwNjE2NDU2Q0Y3RTA2OTdDNDA1QjU3MDVEMTk3MTg="

static struct conf *load(void **state, const char *text, struct error *err)
{
    *err = (struct error){.kind = ERROR_NONE};
    return conf_load(scratch_write(*state, "popferry.conf", text, strlen(text), 0600), err);
}

static struct conf *load_good(void **state, const char *text)
{
    struct error err;
    struct conf *conf = load(state, text, &err);
    if (conf == NULL)
        fail_msg("refused: %s\n%s", err.text, text);
    return conf;
}

/* Refused as a usage error with FILE:LINE: in front and `words` in the sentence. */
static void assert_refused(void **state, const char *text, int line, const char *words)
{
    struct error err;
    struct conf *conf = load(state, text, &err);
    if (conf != NULL)
        fail_msg("taken: %s", text);
    char place[128];
    (void)snprintf(place, sizeof place, "%s:%d: ", scratch_path(*state, "popferry.conf"), line);
    if (err.kind != ERROR_USAGE || strncmp(err.text, place, strlen(place)) != 0 ||
        strstr(err.text, words) == NULL)
        fail_msg("wanted \"%s\" at line %d, got %d \"%s\" for:\n%s", words, line, err.kind,
                 err.text, text);
}

static void assert_filter(const struct conf_filter *filter, int64_t timeout, int sessions,
                          uint64_t size)
{
    assert_string_equal(filter->server, "");
    assert_int_equal(filter->timeout, timeout);
    assert_int_equal(filter->sessions, sessions);
    assert_int_equal(filter->size, size);
}

static void assert_defaults(const struct conf *c)
{
    assert_string_equal(c->spool_dir, "/var/spool/popferry");
    assert_string_equal(c->state_dir, "/var/lib/popferry");
    assert_string_equal(c->run_dir, "/run/popferry");
    assert_string_equal(c->default_domain, "");
    assert_int_equal(c->fetch.interval, 15 * 60000);
    assert_int_equal(c->fetch.sessions, 64);
    assert_int_equal(c->fetch.messages_per_session, 500);
    assert_int_equal(c->fetch.message_size, 0);
    assert_int_equal(c->fetch.delete, CONF_DELETE_DELIVERED);
    assert_int_equal(c->fetch.connect_timeout, 30000);
    assert_int_equal(c->fetch.timeout, 300000);
    assert_int_equal(c->hygiene.bad_sender, CONF_SENDER_NULL);
    assert_int_equal(c->hygiene.no_header, CONF_RULE_PASS);
    assert_int_equal(c->hygiene.long_header, CONF_RULE_PASS);
    assert_int_equal(c->hygiene.too_large, CONF_RULE_PASS);
    assert_int_equal(c->hygiene.nul, CONF_RULE_PASS);
    assert_filter(&c->hygiene.rspamd, 30000, 10, 50 << 20);
    assert_filter(&c->hygiene.clamd, 120000, 4, 25 << 20);
    assert_filter(&c->hygiene.spamd, 120000, 4, 512 << 10);
    assert_int_equal(c->hygiene.spamd_spam, CONF_SPAM_BADMAIL);
    assert_int_equal(c->hygiene.filter_expire, INT64_C(5) * 86400000);
    assert_int_equal(c->hygiene.on_filter_error, CONF_FILTER_DEFER);
    assert_int_equal(c->hygiene.badmail_keep, INT64_C(90) * 86400000);
    assert_string_equal(c->relay.protocol, "smtp");
    assert_string_equal(c->relay.host, "127.0.0.1");
    assert_int_equal(c->relay.port, 25);
    assert_int_equal(c->relay.tls, CONF_TLS_NONE);
    assert_string_equal(c->relay.ca, "");
    assert_string_equal(c->relay.pin, "");
    assert_string_equal(c->relay.user, "");
    assert_string_equal(c->relay.auth, "auto");
    assert_int_equal(c->relay.client, CONF_CLIENT_NONE);
    assert_string_equal(c->fetch.received_by, "");
    assert_int_equal(c->relay.queue_limit, 0);
    assert_int_equal(c->relay.sessions, 10);
    assert_int_equal(c->relay.retry_min, 60000);
    assert_int_equal(c->relay.retry_max, 3600000);
    assert_int_equal(c->relay.expire, INT64_C(5) * 86400000);
    assert_int_equal(c->relay.session_errors, 3);
}

static void test_empty_file_is_all_defaults(void **state)
{
    static const char *const texts[] = {"", "\n\n", "# nothing\n", "fetch {}\nrelay {\n}\n"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct conf *conf = load_good(state, texts[i]);
        assert_defaults(conf);
        assert_string_equal(conf->file, scratch_path(*state, "popferry.conf"));
        conf_free(conf);
    }
}

static void test_default_text_is_all_defaults(void **state)
{
    struct conf *conf = load_good(state, conf_default_text);
    assert_defaults(conf);
    conf_free(conf);
}

/* Each "# key = value" of the text that init writes is one we take, and the default. */
static void test_default_text_uncommented(void **state)
{
    char *text = strdup(conf_default_text);
    char *last_line = text;
    for (char *c = text; *c != '\0'; c++) {
        if (*c == '\n')
            last_line = c + 1;
        if (*c != '#' || c[1] != ' ' || c[2] < 'a' || c[2] > 'z')
            continue;
        char *end = strchr(c, '\n'), *equals = strstr(c, "= ");
        if (equals != NULL && equals < end && strspn(last_line, " ") == (size_t)(c - last_line))
            c[0] = ' ';
    }
    char *domain = strstr(text, "corp.example");
    assert_non_null(domain);
    struct conf *conf = load_good(state, text);
    assert_string_equal(conf->default_domain, "corp.example");
    conf->default_domain[0] = '\0';
    assert_defaults(conf);
    conf_free(conf);
    free(text);
}

/* The part of a text that is about a section, from `begin` up to `end`; the caller frees it. */
static char *part_of(const char *text, const char *begin, const char *end)
{
    const char *from = begin[0] != '\0' ? strstr(text, begin) : text;
    assert_non_null(from);
    const char *to = strstr(from + strlen(begin), end);
    return strndup(from, to != NULL ? (size_t)(to - from) : strlen(from));
}

/* As a word of its own: "sessions" is no part of "rspamd-sessions". */
static bool has_word(const char *line, size_t len, const char *word)
{
    size_t n = strlen(word);
    for (size_t at = 0; at + n <= len; at++)
        if (strncmp(line + at, word, n) == 0 && (at == 0 || line[at - 1] == ' ') &&
            (at + n == len || line[at + n] == ' '))
            return true;
    return false;
}

/* Whether a line that begins with `mark` (behind blanks) has the word. */
static bool is_told(const char *text, const char *mark, const char *word)
{
    for (const char *line = text; *line != '\0';) {
        line += strspn(line, " ");
        size_t len = strcspn(line, "\n");
        if (strncmp(line, mark, strlen(mark)) == 0 && has_word(line, len, word))
            return true;
        line += len + (line[len] == '\n');
    }
    return false;
}

/* In what init writes, as a comment with its default, and in the manual; each in its section. */
static void test_every_key_is_told(void **state)
{
    (void)state;
    char name[80], begin[80], text[100];
    char *manual = data_read("../../docs/man/popferry.conf.5", NULL);
    size_t keys = 0, untold = 0;
    for (; conf_key(keys, name, sizeof name); keys++) {
        char *dot = strchr(name, '.'), *key = dot != NULL ? dot + 1 : name;
        int section = dot != NULL ? (int)(dot - name) : 0;
        (void)snprintf(begin, sizeof begin, section > 0 ? "\n%.*s {" : "%.*s", section, name);
        char *preset = part_of(conf_default_text, begin, section > 0 ? "\n}" : "\nfetch {");
        (void)snprintf(begin, sizeof begin, ".Ss %.*s\n", section > 0 ? section : 7,
                       section > 0 ? name : "General");
        char *page = part_of(manual, begin, "\n.S");
        (void)snprintf(text, sizeof text, "# %s ", key);
        bool in_preset = is_told(preset, text, key), in_page = is_told(page, ".It Ic ", key);
        if (!in_preset || !in_page)
            print_message("%s: %s%s\n", name, in_preset ? "" : "not in the default text ",
                          in_page ? "" : "not in popferry.conf(5)");
        untold += !in_preset || !in_page;
        free(page);
        free(preset);
    }
    free(manual);
    assert_true(keys > 40);
    assert_int_equal(untold, 0);
}

static void test_every_key(void **state)
{
    struct conf *c = load_good(
        state,
        "spool-dir = \"/s\"\nstate-dir = \"/t\"\nrun-dir = \"/r\"\ndefault-domain = \"d.example\"\n"
        "fetch {\n interval = \"24h\"\n sessions = 7\n messages-per-session = 8\n"
        " received-by = \"mx.isp.example [192.0.2.1]\" message-size = \"10M\"\n delete = \"30d\"\n "
        "connect-timeout = \"2s\"\n timeout = 3s\n}\n"
        "hygiene {\n bad-sender = \"badmail\"\n rspamd = \"http://127.0.0.1:11333\"\n"
        " clamd = \"/run/clamd\"\n spamd = \"localhost:783\"\n on-filter-error = \"pass\"\n"
        " badmail-keep = \"7d\" no-header = repair long-header = badmail too-large = badmail\n"
        " nul = repair rspamd-timeout = 1s rspamd-sessions = 2 rspamd-size = 3K clamd-timeout = "
        "4s\n"
        " clamd-sessions = 5 clamd-size = 6K spamd-timeout = 7s spamd-sessions = 8 spamd-size = "
        "9K\n"
        " spamd-spam = mark filter-expire = 1h reviewer = \"r@corp.example\"\n}\n"
        "relay { protocol = \"lmtp\" host = \"mx.example\" port = 465 tls = \"implicit\"\n"
        " user = \"u\" auth = \"ntlm\" ca = \"/ca.pem\" pin = \"" PIN "\"\n"
        " client = \"xforward\" queue-limit = 9000\n"
        " sessions = 2 retry-min = \"5s\" retry-max = \"6s\" expire = \"1h\"\n"
        " session-errors = 4 }\n");
    assert_string_equal(c->spool_dir, "/s");
    assert_string_equal(c->state_dir, "/t");
    assert_string_equal(c->run_dir, "/r");
    assert_string_equal(c->default_domain, "d.example");
    assert_int_equal(c->fetch.interval, 86400000);
    assert_int_equal(c->fetch.sessions, 7);
    assert_int_equal(c->fetch.messages_per_session, 8);
    assert_int_equal(c->fetch.message_size, 10 << 20);
    assert_int_equal(c->fetch.delete, CONF_DELETE_AFTER);
    assert_int_equal(c->fetch.delete_after, INT64_C(30) * 86400000);
    assert_int_equal(c->fetch.connect_timeout, 2000);
    assert_int_equal(c->fetch.timeout, 3000);
    assert_string_equal(c->fetch.received_by, "mx.isp.example [192.0.2.1]");
    assert_int_equal(c->hygiene.bad_sender, CONF_SENDER_BADMAIL);
    assert_string_equal(c->hygiene.rspamd.server, "http://127.0.0.1:11333");
    assert_string_equal(c->hygiene.clamd.server, "/run/clamd");
    assert_string_equal(c->hygiene.spamd.server, "localhost:783");
    assert_int_equal(c->hygiene.on_filter_error, CONF_FILTER_PASS);
    assert_int_equal(c->hygiene.badmail_keep, INT64_C(7) * 86400000);
    assert_int_equal(c->hygiene.no_header, CONF_RULE_REPAIR);
    assert_int_equal(c->hygiene.long_header, CONF_RULE_BADMAIL);
    assert_int_equal(c->hygiene.too_large, CONF_RULE_BADMAIL);
    assert_int_equal(c->hygiene.nul, CONF_RULE_REPAIR);
    assert_int_equal(c->hygiene.rspamd.timeout, 1000);
    assert_int_equal(c->hygiene.rspamd.sessions, 2);
    assert_int_equal(c->hygiene.rspamd.size, 3072);
    assert_int_equal(c->hygiene.clamd.timeout, 4000);
    assert_int_equal(c->hygiene.clamd.sessions, 5);
    assert_int_equal(c->hygiene.clamd.size, 6144);
    assert_int_equal(c->hygiene.spamd.timeout, 7000);
    assert_int_equal(c->hygiene.spamd.sessions, 8);
    assert_int_equal(c->hygiene.spamd.size, 9216);
    assert_int_equal(c->hygiene.spamd_spam, CONF_SPAM_MARK);
    assert_int_equal(c->hygiene.filter_expire, 3600000);
    assert_string_equal(c->hygiene.reviewer, "r@corp.example");
    assert_string_equal(c->relay.protocol, "lmtp");
    assert_string_equal(c->relay.host, "mx.example");
    assert_int_equal(c->relay.port, 465);
    assert_int_equal(c->relay.tls, CONF_TLS_IMPLICIT);
    assert_string_equal(c->relay.ca, "/ca.pem");
    assert_string_equal(c->relay.pin, PIN);
    assert_string_equal(c->relay.user, "u");
    assert_string_equal(c->relay.auth, "ntlm");
    assert_int_equal(c->relay.client, CONF_CLIENT_XFORWARD);
    assert_int_equal(c->relay.queue_limit, 9000);
    assert_int_equal(c->relay.sessions, 2);
    assert_int_equal(c->relay.retry_min, 5000);
    assert_int_equal(c->relay.retry_max, 6000);
    assert_int_equal(c->relay.expire, 3600000);
    assert_int_equal(c->relay.session_errors, 4);
    conf_free(c);
}

static void test_words(void **state)
{
    static const struct {
        const char *text;
        enum conf_delete delete;
        enum conf_tls tls;
    } good[] = {
        {"fetch { delete = delivered }\nrelay { tls = none }", CONF_DELETE_DELIVERED,
         CONF_TLS_NONE},
        {"fetch { delete = spooled }\nrelay { tls = starttls }", CONF_DELETE_SPOOLED,
         CONF_TLS_STARTTLS},
        {"fetch { delete = never }\nrelay { tls = implicit }", CONF_DELETE_NEVER,
         CONF_TLS_IMPLICIT},
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        struct conf *conf = load_good(state, good[i].text);
        assert_int_equal(conf->fetch.delete, good[i].delete);
        assert_int_equal(conf->relay.tls, good[i].tls);
        conf_free(conf);
    }
}

/* What can be asked for of a server is what lib/mechanism knows. */
static void test_every_mechanism(void **state)
{
    char names[300], text[300], *save = NULL;
    (void)mechanism_names(names, sizeof names);
    int seen = 0;
    for (char *name = strtok_r(names, ", ", &save); name; name = strtok_r(NULL, ", ", &save)) {
        (void)snprintf(text, sizeof text, "relay { auth = \"%s\" }\n", name);
        struct conf *conf = load_good(state, text);
        assert_string_equal(conf->relay.auth, name);
        conf_free(conf);
        seen++;
    }
    assert_true(seen >= 10);
}

static void test_refused_with_line(void **state)
{
    static const struct {
        const char *text;
        int line;
        const char *words;
    } bad[] = {
        /* keys */
        {"spol-dir = \"/x\"\n", 1, "no such option 'spol-dir'"},
        {"# one\n\nfetch {\n  intervall = \"15m\"\n}\n", 4, "no such option 'intervall'"},
        {"fetch {\n host = \"x\"\n}\n", 2, "no such option 'host'"},
        {"interval = \"15m\"\n", 1, "no such option 'interval'"},
        {"\nfetsch {\n}\n", 2, "no such option 'fetsch'"},
        /* paths */
        {"spool-dir = \"spool\"\n", 1, "spool-dir = spool: expected an absolute path"},
        {"\nstate-dir = \"\"\n", 2, "state-dir = : expected an absolute path"},
        {"\n\nrun-dir = \"./run\"\n", 3, "expected an absolute path"},
        /* durations */
        {"fetch {\n interval = \"15\"\n}\n", 2, "fetch.interval = 15: expected a time such as"},
        {"fetch {\n interval = \"fifteen\"\n}\n", 2, "expected a time such as \"15m\""},
        {"fetch {\n interval = \"-15m\"\n}\n", 2, "expected a time"},
        {"fetch {\n interval = \"15m \"\n}\n", 2, "expected a time"},
        {"fetch {\n interval = \"1.5h\"\n}\n", 2, "expected a time"},
        {"fetch {\n interval = \"\"\n}\n", 2, "expected a time"},
        {"fetch {\n interval = \"299s\"\n}\n", 2, "from 5m to 1d"},
        {"fetch {\n interval = \"86401s\"\n}\n", 2, "from 5m to 1d"},
        {"fetch {\n\n connect-timeout = \"999ms\"\n}\n", 3, "from 1s to 1h"},
        {"fetch {\n\n timeout = \"3601s\"\n}\n", 3, "from 1s to 1h"},
        {"fetch {\n\n timeout = \"99999999999999999999d\"\n}\n", 3, "from 1s to 1h"},
        {"fetch {\n\n timeout = \"9223372036854775807d\"\n}\n", 3, "from 1s to 1h"},
        {"hygiene {\n badmail-keep = \"23h\"\n}\n", 2, "from 1d to 3650d"},
        {"hygiene {\n badmail-keep = \"3651d\"\n}\n", 2, "from 1d to 3650d"},
        {"relay {\n retry-min = \"0s\"\n}\n", 2, "from 1s to 1d"},
        {"relay {\n retry-max = \"8d\"\n}\n", 2, "from 1s to 7d"},
        {"relay {\n expire = \"61d\"\n}\n", 2, "from 1s to 60d"},
        /* numbers */
        {"fetch {\n sessions = 0\n}\n", 2, "fetch.sessions = 0: expected a number from 1 to 1000"},
        {"fetch {\n sessions = 1001\n}\n", 2, "from 1 to 1000"},
        {"fetch {\n sessions = many\n}\n", 2, "invalid integer value for option 'sessions'"},
        {"fetch {\n sessions = \"\"\n}\n", 2, "sessions"},
        {"fetch {\n sessions = 3.5\n}\n", 2, "sessions"},
        {"fetch {\n messages-per-session = 100001\n}\n", 2, "from 1 to 100000"},
        {"relay {\n port = 0\n}\n", 2, "from 1 to 65535"},
        {"relay {\n port = 65536\n}\n", 2, "from 1 to 65535"},
        {"relay {\n port = -1\n}\n", 2, "from 1 to 65535"},
        {"relay {\n port = 4294967321\n}\n", 2, "from 1 to 65535"},
        {"relay {\n port = 99999999999999999999999\n}\n", 2, "port"},
        {"relay {\n sessions = 201\n}\n", 2, "from 1 to 200"},
        {"relay {\n session-errors = 101\n}\n", 2, "from 1 to 100"},
        /* sizes */
        {"fetch {\n message-size = \"1023\"\n}\n", 2, "at least 1K"},
        {"fetch {\n message-size = \"0\"\n}\n", 2, "at least 1K"},
        {"fetch {\n message-size = \"10MB\"\n}\n", 2, "\"auto\", or a size such as \"10M\""},
        {"fetch {\n message-size = \"big\"\n}\n", 2, "\"auto\", or a size"},
        {"fetch {\n message-size = \"-1M\"\n}\n", 2, "\"auto\", or a size"},
        {"fetch {\n message-size = \"9223372036854775807G\"\n}\n", 2, "\"auto\", or a size"},
        /* words */
        {"fetch {\n delete = \"soon\"\n}\n", 2, "delivered, spooled, never, or a time"},
        {"fetch {\n delete = \"\"\n}\n", 2, "delivered, spooled, never, or a time"},
        {"fetch {\n delete = \"Never\"\n}\n", 2, "delivered, spooled, never, or a time"},
        {"hygiene {\n bad-sender = \"drop\"\n}\n", 2, "one of null|badmail"},
        {"hygiene {\n bad-sender = \"null|badmail\"\n}\n", 2, "one of null|badmail"},
        {"hygiene {\n bad-sender = \"nul\"\n}\n", 2, "one of null|badmail"},
        {"hygiene {\n bad-sender = \"\"\n}\n", 2, "one of null|badmail"},
        {"hygiene {\n on-filter-error = \"ignore\"\n}\n", 2, "one of defer|pass|badmail"},
        {"relay {\n protocol = \"uucp\"\n}\n", 2, "one of smtp|lmtp"},
        {"relay {\n tls = \"yes\"\n}\n", 2, "one of none|starttls|implicit"},
        {"\n\n\nrelay {\n\n tls = \"yes\"\n}\nport = 3\n", 6, "relay.tls = yes"},
        {"relay {\n auth = \"apop\"\n}\n", 2, "one of auto|scram-sha-256|"},
        {"relay {\n client = \"yes\"\n}\n", 2, "one of none|xclient|xforward"},
        /* texts */
        {"relay {\n host = \"\"\n}\n", 2, "expected a host's name or address"},
        {"relay {\n host = \"a b\"\n}\n", 2, "expected a host's name or address"},
        {"relay {\n user = \"a\\nb\"\n}\n", 2, "expected a text without control characters"},
        {"relay {\n ca = \"ca.pem\"\n}\n", 2, "expected an absolute path, or \"\""},
        {"relay {\n pin = \"sha256:00\"\n}\n", 2, "expected \"sha256:\" and 64 hexadecimal"},
        {"hygiene {\n rspamd = \"/run/rspamd\"\n}\n", 2, "expected a host, host:port"},
        {"hygiene {\n clamd = \"h:x\"\n}\n", 2, "expected a host, host:port, [address]:port, the"},
        {"hygiene {\n spamd-size = \"auto\"\n}\n", 2, "expected a size such as \"10M\""},
        {"hygiene {\n nul = \"null\"\n}\n", 2, "one of pass|badmail|repair"},
        {"hygiene {\n too-large = \"repair\"\n}\n", 2, "one of pass|badmail"},
        {"fetch {\n received-by = \"a,b\"\n}\n", 2, "expected names of hosts with blanks"},
        {"relay {\n queue-limit = -1\n}\n", 2, "from 0 to 100000000"},
        /* what does not go together */
        {"relay {\n\n ca = \"/ca.pem\"\n}\n", 3, "relay.ca: expected relay.tls to be"},
        {"relay {\n tls = none\n pin = \"" PIN "\"\n}\n", 3, "relay.pin: expected relay.tls"},
        {"relay {\n client = xclient\n}\n", 2, "relay.client: expected fetch.received-by"},
        {"relay {\n host = \"/run/lmtp\"\n}\n", 2, "goes with relay.protocol = \"lmtp\""},
        {"relay {\n protocol = lmtp\n host = \"/run/lmtp\"\n tls = starttls\n}\n", 4,
         "expected none with a socket's path"},
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_refused(state, bad[i].text, bad[i].line, bad[i].words);
}

static void test_broken_syntax(void **state)
{
    static const char *const bad[] = {
        "fetch {\n",          "fetch\n",        "= 3\n",           "}\n",
        "spool-dir\n",        "spool-dir = \n", "spool-dir = \"x", "fetch = \"x\"\n",
        "relay { port = }\n", "\xff\xfe\n",     "spool-dir /x\n",  "fetch x { }\n"};
    char place[128];
    (void)snprintf(place, sizeof place, "%s:", scratch_path(*state, "popferry.conf"));
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct error err;
        struct conf *conf = load(state, bad[i], &err);
        if (conf != NULL)
            fail_msg("taken: %s", bad[i]);
        assert_int_equal(err.kind, ERROR_USAGE);
        assert_int_equal(strncmp(err.text, place, strlen(place)), 0);
        assert_true(err.text[strlen(place)] >= '1' && err.text[strlen(place)] <= '9');
    }
}

/* Lines are counted truly behind every kind of comment and string. */
static void test_lines_behind_comments(void **state)
{
    static const struct {
        const char *before;
        int line;
    } cases[] = {
        {"", 1},
        {"\n", 2},
        {"# one\n", 2},
        {"# one\n## two\n#\n", 4},
        {"// one\n", 2},
        {"/* one\n two */\n", 3},
        {"/* one */\n", 2},
        {"/*/ one */\n", 2},
        {"/**/\n", 2},
        {"/* # \" ' { */\n", 2},
        {"# it's \"quoted { \n", 2},
        {"fetch { # {\n}\n", 3},
        {"relay { user = \"a#b\" }\n", 2},
        {"relay { user = \"a\\\"#b\" }\n", 2},
        {"relay { user = 'a\"#b' }\n", 2},
        {"relay { user = \"a//b/*\" }\n", 2},
        {"relay { user = \"a\\\nb\" }\n", 3},
        {"default-domain = x # y\n", 2},
        {"spool-dir = /a/b\n", 2},
        {"# a\r\n\r\n", 3},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char text[200];
        (void)snprintf(text, sizeof text, "%swrong = 1\n", cases[i].before);
        assert_refused(state, text, cases[i].line, "no such option 'wrong'");
        (void)snprintf(text, sizeof text, "%srelay {\n port = 0\n}\n", cases[i].before);
        assert_refused(state, text, cases[i].line + 1, "relay.port = 0");
    }
}

static void test_values_that_look_like_comments(void **state)
{
    struct conf *conf = load_good(state, "hygiene { clamd = \"a#b\" # c\n"
                                         " reviewer = \"http://h/*x*/\" }\n"
                                         "spool-dir = /a/b // c\nrelay { user = 'it\\'s' }\n");
    assert_string_equal(conf->hygiene.clamd.server, "a#b");
    assert_string_equal(conf->hygiene.reviewer, "http://h/*x*/");
    assert_string_equal(conf->spool_dir, "/a/b");
    assert_string_equal(conf->relay.user, "it's");
    conf_free(conf);
}

static void test_default_domain(void **state)
{
    static const char *const good[] = {"", "corp.example", "b\u00fccher.example", "localhost",
                                       "xn--bcher-kva.example"};
    static const char *const bad[] = {"corp..example", ".example",     "a b",
                                      "@corp.example", "corp_example", "[127.0.0.1]",
                                      "-a.example",    "a\xff",        "a\xc2\x85"};
    char text[100];
    for (size_t i = 0; i < COUNT(good); i++) {
        (void)snprintf(text, sizeof text, "default-domain = \"%s\"\n", good[i]);
        struct conf *conf = load_good(state, text);
        assert_string_equal(conf->default_domain, good[i]);
        conf_free(conf);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        (void)snprintf(text, sizeof text, "\ndefault-domain = \"%s\"\n", bad[i]);
        assert_refused(state, text, 2, "expected a domain such as \"corp.example\"");
    }
}

/* libconfuse would put in the environment's value, or nothing where there is none. */
static void test_variables(void **state)
{
    static const char refusal[] = "variables are not replaced";
    assert_refused(state, "\nrelay { user = \"${HOME}\" }\n", 2, refusal);
    assert_refused(state, "\n\nspool-dir = \"/a/${NO_SUCH}/b\"\n", 3, refusal);
    assert_refused(state, "spool-dir = ${HOME}\n", 1, refusal);
    assert_refused(state, "# ${A}\nrelay {\n user = \"a\\${B} ${C}\"\n}\n", 3, refusal);
    struct conf *conf = load_good(state, "# \"${HOME}\"\nrelay { user = '${HOME}' }\n"
                                         "hygiene { rspamd = \"$HOME\" clamd = \"\\${HOME}\" }\n");
    assert_string_equal(conf->relay.user, "${HOME}");
    assert_string_equal(conf->hygiene.rspamd.server, "$HOME");
    assert_string_equal(conf->hygiene.clamd.server, "${HOME}");
    conf_free(conf);
}

static void test_servers(void **state)
{
    (void)state;
    static const struct {
        const char *text, *host;
        int port;
    } good[] = {
        {"localhost", "localhost", 0},
        {"localhost:783", "localhost", 783},
        {"127.0.0.1:65535", "127.0.0.1", 65535},
        {"[::1]:3310", "::1", 3310},
        {"[::1]", "::1", 0},
        {"/run/clamav/clamd.ctl", "/run/clamav/clamd.ctl", 0},
        {"http://127.0.0.1:11333", "127.0.0.1", 11333},
        {"http://[::1]:11333/", "::1", 11333},
    };
    static const char *const bad[] = {
        "",     ":783",  "h:",    "h:0",  "h:65536",  "h:783x", "::1",     "[::1",
        "[]:1", "h:1:2", "h 783", "h:-1", "[::1]783", "h: 1",   "http://", "http://h/checkv2"};
    char host[CONF_HOST_SIZE];
    int port;
    for (size_t i = 0; i < COUNT(good); i++) {
        assert_true(conf_server(good[i].text, host, &port));
        assert_string_equal(host, good[i].host);
        assert_int_equal(port, good[i].port);
    }
    for (size_t i = 0; i < COUNT(bad); i++) {
        print_message("%s\n", bad[i]);
        assert_false(conf_server(bad[i], host, &port));
    }
}

static void test_left_open(void **state)
{
    assert_refused(state, "\nfetch {\n sessions = 3\n", 2, "this section has no end");
    assert_refused(state, "\n\nspool-dir = \"/x\n\n", 3, "this text has no end");
    assert_refused(state, "\n\nspool-dir = '/x\n\n", 3, "this text has no end");
    assert_refused(state, "\n/* x\n\n", 2, "this comment has no end");
    assert_refused(state, "relay { port = 0\n", 1, "this section has no end");
}

static void test_no_text(void **state)
{
    struct error err = {0};
    const char *path = scratch_write(*state, "nul.conf", "# a\0b\n", 7, 0600);
    assert_null(conf_load(path, &err));
    assert_non_null(strstr(err.text, "NUL"));
    size_t n = 1024 * 1024;
    char *much = malloc(n + 1);
    memset(much, '\n', n + 1);
    conf_free(conf_load(scratch_write(*state, "much.conf", much, n, 0600), &err));
    assert_null(conf_load(scratch_write(*state, "much.conf", much, n + 1, 0600), &err));
    assert_non_null(strstr(err.text, "at most 1 MiB"));
    free(much);
}

static void test_range_ends(void **state)
{
    static const struct {
        const char *text;
        size_t at;
        int64_t want;
    } good[] = {
        {"fetch { interval = 5m }", offsetof(struct conf, fetch.interval), 300000},
        {"fetch { interval = 300000ms }", offsetof(struct conf, fetch.interval), 300000},
        {"fetch { interval = 1d }", offsetof(struct conf, fetch.interval), 86400000},
        {"fetch { timeout = 1s }", offsetof(struct conf, fetch.timeout), 1000},
        {"fetch { timeout = 1h }", offsetof(struct conf, fetch.timeout), 3600000},
        {"hygiene { badmail-keep = 24h }", offsetof(struct conf, hygiene.badmail_keep), 86400000},
        {"hygiene { badmail-keep = 3650d }", offsetof(struct conf, hygiene.badmail_keep),
         INT64_C(3650) * 86400000},
        {"fetch { message-size = 1K }", offsetof(struct conf, fetch.message_size), 1024},
        {"fetch { message-size = 1024 }", offsetof(struct conf, fetch.message_size), 1024},
        {"fetch { message-size = 8g }", offsetof(struct conf, fetch.message_size),
         INT64_C(8) << 30},
        {"fetch { message-size = auto }", offsetof(struct conf, fetch.message_size), 0},
        {"relay { retry-max = 7d }", offsetof(struct conf, relay.retry_max), 7 * 86400000},
        {"relay { expire = 60d }", offsetof(struct conf, relay.expire), INT64_C(60) * 86400000},
    };
    for (size_t i = 0; i < COUNT(good); i++) {
        struct conf *conf = load_good(state, good[i].text);
        int64_t value;
        memcpy(&value, (char *)conf + good[i].at, sizeof value);
        assert_int_equal(value, good[i].want);
        conf_free(conf);
    }
    static const char *const numbers[] = {"fetch { sessions = 1 }",
                                          "fetch { sessions = 1000 }",
                                          "relay { port = 1 }",
                                          "relay { port = 65535 }",
                                          "relay { session-errors = 100 }",
                                          "relay { sessions = 200 }",
                                          "relay { port = \"2525\" }",
                                          "fetch { messages-per-session = 100000 }"};
    for (size_t i = 0; i < COUNT(numbers); i++)
        conf_free(load_good(state, numbers[i]));
}

/* A key given twice is a slip that would otherwise pass unseen. */
static void test_duplicates(void **state)
{
    assert_refused(state, "run-dir = \"/a\"\nrun-dir = \"/b\"\n", 2, "run-dir");
    assert_refused(state, "fetch {\n sessions = 3\n sessions = 4\n}\n", 3, "sessions");
    assert_refused(state, "fetch {\n sessions = 3\n}\nfetch {\n sessions = 3\n}\n", 5,
                   "fetch.sessions stands here a second time");
    /* a section may be given in two parts, and two sections may have the same key */
    struct conf *conf = load_good(state, "fetch { sessions = 3 }\nfetch { timeout = \"1m\" }\n");
    assert_int_equal(conf->fetch.sessions, 3);
    assert_int_equal(conf->fetch.timeout, 60000);
    conf_free(conf);
    conf_free(load_good(state, "fetch { sessions = 3 }\nrelay { sessions = 4 }\n"));
}

static void test_checked_together(void **state)
{
    static const struct {
        const char *text, *words;
    } bad[] = {
        {"relay { retry-min = 2h }", "retry-min is longer than relay.retry-max"},
        {"relay { retry-max = 2s retry-min = 3s }", "retry-min is longer than relay.retry-max"},
        {"spool-dir = \"/x\"\nstate-dir = \"/x\"", "spool-dir must be a directory of its own"},
        {"spool-dir = \"/x\"\nrun-dir = \"/x\"", "spool-dir must be a directory of its own"},
        {"run-dir = \"/run/"
         "123456789012345678901234567890123456789012345678901234567890123456789012345678901\"",
         "at most 80 bytes"},
    };
    for (size_t i = 0; i < COUNT(bad); i++) {
        struct error err;
        assert_null(load(state, bad[i].text, &err));
        assert_int_equal(err.kind, ERROR_USAGE);
        assert_non_null(strstr(err.text, bad[i].words));
        assert_non_null(strstr(err.text, "popferry.conf: "));
    }
    /* the order in which they stand does not matter */
    conf_free(load_good(state, "relay { retry-min = 2h retry-max = 3h }"));
}

static void test_no_such_file(void **state)
{
    struct error err = {0};
    assert_null(conf_load(scratch_path(*state, "none.conf"), &err));
    assert_int_equal(err.kind, ERROR_MISSING);
    assert_non_null(strstr(err.text, "none.conf: No such file"));
}

static void test_not_a_file(void **state)
{
    struct scratch *s = *state;
    struct error err = {0};
    assert_null(conf_load(s->dir, &err));
    assert_int_equal(err.kind, ERROR_USAGE);
    assert_non_null(strstr(err.text, "expected a configuration file"));
    assert_null(conf_load("/dev/null", &err));
    assert_int_equal(mkfifo(scratch_path(s, "fifo"), 0600), 0);
    assert_null(conf_load(scratch_path(s, "fifo"), &err)); /* and does not wait for a writer */
    assert_int_equal(err.kind, ERROR_USAGE);
}

static void test_unreadable(void **state)
{
    if (geteuid() == 0)
        skip(); /* root reads everything */
    struct error err = {0};
    const char *path = scratch_write(*state, "popferry.conf", "", 0, 0);
    assert_null(conf_load(path, &err));
    assert_non_null(strstr(err.text, "Permission denied"));
}

/* A failure leaves nothing behind that would disturb the next file. */
static void test_again_after_failure(void **state)
{
    for (int i = 0; i < 3; i++) {
        struct error err;
        assert_null(load(state, "relay { tls = maybe }", &err));
        struct conf *conf = load_good(state, "relay { tls = starttls }");
        assert_int_equal(conf->relay.tls, CONF_TLS_STARTTLS);
        conf_free(conf);
    }
}

static void test_error_may_be_null(void **state)
{
    assert_null(conf_load(scratch_path(*state, "none.conf"), NULL));
    const char *path = scratch_write(*state, "popferry.conf", "x = 1\n", 6, 0600);
    assert_null(conf_load(path, NULL));
    conf_free(NULL);
}

static void test_duration(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms; /* -1: refused */
    } cases[] = {
        {"0s", 0},
        {"1ms", 1},
        {"500ms", 500},
        {"90s", 90000},
        {"15m", 900000},
        {"24h", 86400000},
        {"30d", INT64_C(2592000000)},
        {"0007s", 7000},
        {"9223372036854775807ms", INT64_MAX},
        {"9223372036854775s", INT64_C(9223372036854775000)},
        {"9223372036854776s", -1},
        {"9223372036854775808ms", -1},
        {"", -1},
        {"s", -1},
        {"15", -1},
        {"15 m", -1},
        {" 15m", -1},
        {"+15m", -1},
        {"-15m", -1},
        {"15M", -1},
        {"15min", -1},
        {"1h30m", -1},
        {"0x10s", -1},
        {"1e3s", -1},
        {"15m\n", -1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        int64_t ms = -77;
        bool ok = conf_duration(cases[i].text, &ms);
        if (ok != (cases[i].ms >= 0) || ms != (ok ? cases[i].ms : -77))
            fail_msg("\"%s\": %d %lld", cases[i].text, ok, (long long)ms);
    }
}

static void test_size(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t bytes; /* -1: refused */
    } cases[] = {
        {"0", 0},
        {"1", 1},
        {"512K", 512 << 10},
        {"512k", 512 << 10},
        {"10M", 10 << 20},
        {"2G", INT64_C(2) << 30},
        {"3g", INT64_C(3) << 30},
        {"9223372036854775807", INT64_MAX},
        {"8589934591G", INT64_C(8589934591) << 30},
        {"8589934592G", -1},
        {"9223372036854775808", -1},
        {"", -1},
        {"M", -1},
        {"10MB", -1},
        {"10 M", -1},
        {"-1", -1},
        {"+1", -1},
        {"1.5M", -1},
        {"0x10", -1},
        {"auto", -1},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        uint64_t bytes = 77;
        bool ok = conf_size(cases[i].text, &bytes);
        if (ok != (cases[i].bytes >= 0) || bytes != (ok ? (uint64_t)cases[i].bytes : 77))
            fail_msg("\"%s\": %d %llu", cases[i].text, ok, (unsigned long long)bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(test_empty_file_is_all_defaults),
        scratch_test(test_default_text_is_all_defaults),
        scratch_test(test_default_text_uncommented),
        cmocka_unit_test(test_every_key_is_told),
        scratch_test(test_every_key),
        scratch_test(test_words),
        scratch_test(test_every_mechanism),
        scratch_test(test_refused_with_line),
        scratch_test(test_broken_syntax),
        scratch_test(test_lines_behind_comments),
        scratch_test(test_values_that_look_like_comments),
        scratch_test(test_default_domain),
        scratch_test(test_variables),
        scratch_test(test_servers),
        scratch_test(test_left_open),
        scratch_test(test_no_text),
        scratch_test(test_range_ends),
        scratch_test(test_duplicates),
        scratch_test(test_checked_together),
        scratch_test(test_no_such_file),
        scratch_test(test_not_a_file),
        scratch_test(test_unreadable),
        scratch_test(test_again_after_failure),
        scratch_test(test_error_may_be_null),
        cmocka_unit_test(test_duration),
        cmocka_unit_test(test_size),
    };
    return cmocka_run_group_tests_name("conf", tests, NULL, NULL);
}
