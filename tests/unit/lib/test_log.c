/* Events: what may reach a terminal, where a long text is cut, and the form of a line. */
#include "lib/clock.h"
#include "lib/log.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"
#include <errno.h>
#include <glib.h>

static void test_escape_table(void **state)
{
    (void)state;
#define CASE(in, out)                                                                              \
    {                                                                                              \
        in, sizeof(in) - 1, out                                                                    \
    }
    static const struct {
        const char *text;
        size_t len;
        const char *want;
    } cases[] = {
        CASE("", ""),
        CASE("plain text 123 !\"\\", "plain text 123 !\"\\"),
        CASE("Gr\xc3\xbc\xc3\x9f"
             "e \xe2\x82\xac \xf0\x9f\x93\xa8",
             "Gr\xc3\xbc\xc3\x9f"
             "e \xe2\x82\xac \xf0\x9f\x93\xa8"),
        /* controls */
        CASE("\x1b[2J\x1b]0;title\x07", "\\x1B[2J\\x1B]0;title\\x07"),
        CASE("a\r\nb\tc\0d", "a\\x0D\\x0Ab\\x09c\\x00d"),
        CASE("\x7f\x1f", "\\x7F\\x1F"),
        /* C1, as UTF-8 and as bytes */
        CASE("\xc2\x80\xc2\x9b\xc2\x9f\xc2\xa0", "\\u{0080}\\u{009B}\\u{009F}\xc2\xa0"),
        CASE("\x9b"
             "31m",
             "\\x9B31m"),
        /* bidi and the invisible */
        CASE("\xe2\x80\xae"
             "cod.exe",
             "\\u{202E}cod.exe"),
        CASE("\xe2\x80\x8b\xe2\x80\x8f\xe2\x80\xaa\xe2\x81\xa6\xe2\x81\xa9\xd8\x9c\xef\xbb\xbf",
             "\\u{200B}\\u{200F}\\u{202A}\\u{2066}\\u{2069}\\u{061C}\\u{FEFF}"),
        CASE("\xe2\x80\xa8\xe2\x80\xa9", "\\u{2028}\\u{2029}"),
        CASE("\xf3\xa0\x80\x81", "\\u{E0001}"),
        CASE("\xe2\x80\x8a\xe2\x80\x90", "\xe2\x80\x8a\xe2\x80\x90"),
        /* what is not UTF-8 */
        CASE("\xff\xfe", "\\xFF\\xFE"),
        CASE("caf\xe9", "caf\\xE9"),
        CASE("\xc3", "\\xC3"),
        CASE("\xe2\x82", "\\xE2\\x82"),
        CASE("\xf0\x9f\x93", "\\xF0\\x9F\\x93"),
        CASE("\xe2\x82zz", "\\xE2\\x82zz"),
        CASE("\xc0\xaf", "\\xC0\\xAF"),          /* too long a form */
        CASE("\xe0\x80\x8a", "\\xE0\\x80\\x8A"), /* LF in three bytes */
        CASE("\xf0\x80\x80\x8a", "\\xF0\\x80\\x80\\x8A"),
        CASE("\xed\xa0\x80", "\\xED\\xA0\\x80"),          /* a surrogate */
        CASE("\xf4\x90\x80\x80", "\\xF4\\x90\\x80\\x80"), /* over U+10FFFF */
        CASE("\xf8\x88\x80\x80\x80", "\\xF8\\x88\\x80\\x80\\x80"),
        CASE("\x80\xbf", "\\x80\\xBF"),
        CASE("\xf4\x8f\xbf\xbf", "\xf4\x8f\xbf\xbf"),
    };
#undef CASE
    for (size_t i = 0; i < COUNT(cases); i++) {
        char out[256];
        assert_ptr_equal(log_escape(out, sizeof out, cases[i].text, cases[i].len), out);
        assert_string_equal(out, cases[i].want);
    }
}

/* At each size: never over the end, whole where it fits, cut at a whole piece with dots where it
 * doesn't. The buffers come from malloc, so that ASan sees a byte too much. */
static void test_cut_at_each_size(void **state)
{
    (void)state;
    static const char *const texts[] = {"",
                                        "a",
                                        "abc",
                                        "abcdefghijklmnopqrstuvwxyz0123456789",
                                        "\x1b\x1b\x1b\x1b\x1b\x1b\x1b\x1b",
                                        "\xe2\x80\xae\xe2\x80\xae\xe2\x80\xae",
                                        "\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82\xac\xe2\x82"
                                        "\xac\xe2\x82\xac\xe2\x82\xac",
                                        "a\x1b\xe2\x82\xac\xff\xf0\x9f\x93\xa8z\n"};
    for (size_t t = 0; t < COUNT(texts); t++) {
        char whole[256];
        size_t need = strlen(log_escape(whole, sizeof whole, texts[t], strlen(texts[t]))) + 1;
        for (size_t size = 1; size <= 60; size++) {
            char *out = malloc(size);
            memset(out, 'X', size);
            log_escape(out, size, texts[t], strlen(texts[t]));
            size_t n = strnlen(out, size);
            assert_true(n < size);
            assert_true(g_utf8_validate(out, (gssize)n, NULL));
            if (size >= need) {
                assert_string_equal(out, whole);
            } else {
                size_t dots = size - 1 < 3 ? size - 1 : 3;
                assert_true(n >= dots);
                assert_memory_equal(out + n - dots, "...", dots);
                assert_memory_equal(out, whole, n - dots);
                assert_true(n + 9 >= size); /* no more is lost than one piece */
            }
            free(out);
        }
    }
}

/* Whatever comes in: valid UTF-8 goes out, on one line, that steers nothing. */
static void test_random_bytes(void **state)
{
    (void)state;
    static const char *const spice[] = {"\xc2\x9b", "\xe2\x80\xae", "\xe2\x82", "\xf0\x9f\x93\xa8",
                                        "\xed\xa0", "\xef\xbb\xbf", "\x1b",     "\xf3\xa0\x80\xa0"};
    unsigned long long seed = 20261122;
    for (int round = 0; round < 20000; round++) {
        char in[64], out[200];
        size_t len = dice(&seed) % sizeof in;
        for (size_t i = 0; i < len; i++)
            in[i] = (char)dice(&seed);
        for (int i = 0; i < 3 && len > 8; i++) {
            const char *piece = spice[dice(&seed) % COUNT(spice)];
            memcpy(in + dice(&seed) % (len - 4), piece, strlen(piece));
        }
        size_t size = 1 + dice(&seed) % sizeof out;
        char *tight = malloc(len > 0 ? len : 1); /* ASan sees a byte read too much */
        memcpy(tight, in, len);
        log_escape(out, size, tight, len);
        free(tight);
        size_t n = strnlen(out, size);
        assert_true(n < size);
        assert_true(g_utf8_validate(out, (gssize)n, NULL));
        for (const char *c = out; *c != '\0'; c = g_utf8_next_char(c)) {
            gunichar u = g_utf8_get_char(c);
            assert_false(u < 0x20 || (u >= 0x7f && u < 0xa0));
            assert_false((u >= 0x202a && u <= 0x202e) || (u >= 0x2066 && u <= 0x2069) ||
                         u == 0x200e || u == 0x200f || u == 0x061c || u == 0x2028 || u == 0x2029);
        }
    }
}

/* --- lines --- */

static char *logged(void **state)
{
    scratch_release(*state);
    char *text = scratch_read(*state, "stderr", NULL);
    assert_int_equal(truncate(scratch_path(*state, "stderr"), 0), 0);
    scratch_catch(*state);
    return text;
}

static void assert_logged(void **state, const char *want)
{
    char *text = logged(state);
    assert_string_equal(text, want);
    free(text);
}

static int begin(void **state)
{
    (void)unsetenv("JOURNAL_STREAM");
    clock_set_for_test(INT64_C(1795341600000));
    log_open("unit");
    if (scratch_make(state) != 0)
        return -1;
    scratch_catch(*state);
    return 0;
}

static int end(void **state)
{
    clock_set_for_test(0);
    log_verbose(false);
    log_set_sink(NULL, NULL);
    return scratch_remove(state);
}

#define AT "2026-11-22T10:00:00Z "

static void test_line(void **state)
{
    LOG(LOG_NOTE, "started");
    assert_logged(state, AT "unit: note started\n");
    LOG(LOG_WARN, "poll-failed", KV("account", "sales"), KVN("failures", -3), KV("none", NULL),
        KV("error", "no such host"));
    assert_logged(state, AT
                  "unit: warning poll-failed account=sales failures=-3 error=\"no such host\"\n");
    LOG(LOG_ALARM, "x", KV("empty", ""), KV("equals", "a=b"), KV("esc", "\x1b[0m"),
        KVN("least", INT64_MIN));
    assert_logged(state, AT "unit: alarm x empty=\"\" equals=\"a=b\" esc=\\x1B[0m "
                            "least=-9223372036854775808\n");
}

static void test_journal_has_its_own_time(void **state)
{
    (void)setenv("JOURNAL_STREAM", "8:1", 1);
    log_open("unit");
    LOG(LOG_NOTE, "started");
    assert_logged(state, "unit: note started\n");
    (void)unsetenv("JOURNAL_STREAM");
}

/* A quoted value ends at the next quote: no subject can add a field of its own. */
static void test_quotes_cannot_be_forged(void **state)
{
    static const char *const hostile[] = {
        "a\" account=\"evil", "a\\\" account=\"evil", "\\ ", "a \\", "\"", "\\\"", "x\\\\\" y=\"z"};
    for (size_t i = 0; i < COUNT(hostile); i++) {
        LOG(LOG_NOTE, "e", KV("subject", hostile[i]), KVN("size", 1));
        char *text = logged(state);
        static const char front[] = AT "unit: note e subject=\"";
        assert_int_equal(strncmp(text, front, sizeof front - 1), 0);
        char *close_quote = strchr(text + sizeof front - 1, '"');
        assert_non_null(close_quote);
        assert_string_equal(close_quote, "\" size=1\n");
        free(text);
    }
}

static void test_detail_only_when_verbose(void **state)
{
    assert_false(log_is_verbose());
    LOG(LOG_DETAIL, "unseen");
    assert_logged(state, "");
    log_verbose(true);
    assert_true(log_is_verbose());
    LOG(LOG_DETAIL, "seen");
    assert_logged(state, AT "unit: detail seen\n");
    log_verbose(false);
    LOG(LOG_DETAIL, "unseen");
    assert_logged(state, "");
}

static void test_long_values(void **state)
{
    char *much = malloc(100001);
    memset(much, 'm', 100000);
    much[100000] = '\0';
    LOG(LOG_NOTE, "long", KV("a", much), KV("b", much), KV("c", much), KV("d", much), KV("e", much),
        KV("f", much));
    char *text = logged(state);
    assert_true(strlen(text) <= 4096);
    assert_int_equal(text[strlen(text) - 1], '\n');
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    assert_non_null(strstr(text, "mmm... b=mmm"));
    free(text);
    memset(much, '"', 100000);
    LOG(LOG_NOTE, "long", KV("a", much), KV("b", much), KV("c", much), KV("d", much));
    text = logged(state);
    assert_true(strlen(text) <= 4096);
    assert_ptr_equal(strchr(text, '\n'), text + strlen(text) - 1);
    free(text);
    free(much);
}

/* However a line is cut, no character is. */
static void test_long_line_stays_utf8(void **state)
{
    char euros[3001];
    for (size_t i = 0; i < 3000; i++)
        euros[i] = "\xe2\x82\xac"[i % 3];
    euros[3000] = '\0';
    for (size_t pad = 0; pad < 4; pad++) {
        LOG(LOG_NOTE, "long" + pad, KV("a", euros), KV("b", euros), KV("c", euros), KV("d", euros),
            KV("e", euros));
        char *text = logged(state);
        assert_true(g_utf8_validate(text, -1, NULL));
        assert_int_equal(text[strlen(text) - 1], '\n');
        free(text);
    }
}

struct heard {
    int events;
    enum log_level level;
    char what[40], text[40];
};

static void hear(void *arg, enum log_level level, const char *what, const struct log_field *fields)
{
    struct heard *heard = arg;
    heard->events++;
    heard->level = level;
    (void)snprintf(heard->what, sizeof heard->what, "%s", what);
    (void)snprintf(heard->text, sizeof heard->text, "%s",
                   fields->key != NULL ? fields->text : "no field");
}

static void test_sink(void **state)
{
    struct heard heard = {0};
    log_set_sink(hear, &heard);
    LOG(LOG_WARN, "e", KV("k", "\x1braw"));
    assert_int_equal(heard.events, 1);
    assert_int_equal(heard.level, LOG_WARN);
    assert_string_equal(heard.what, "e");
    assert_string_equal(heard.text, "\x1braw"); /* the sink has its own way to escape */
    log_verbose(true);
    LOG(LOG_DETAIL, "d");
    assert_int_equal(heard.events, 1);
    log_set_sink(NULL, NULL);
    LOG(LOG_WARN, "e");
    assert_int_equal(heard.events, 1);
    free(logged(state));
}

/* With standard error gone the event still goes out on the bus. */
static void test_sink_without_stderr(void **state)
{
    (void)state;
    struct heard heard = {0};
    log_set_sink(hear, &heard);
    (void)close(STDERR_FILENO);
    LOG(LOG_ALARM, "e");
    assert_int_equal(heard.events, 1);
}

static void test_level_names(void **state)
{
    (void)state;
    static const char *const names[] = {"detail", "note", "warning", "alarm"};
    for (int level = 0; level < LOG_LEVELS; level++)
        assert_string_equal(log_level_name((enum log_level)level), names[level]);
}

#define line_test(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_escape_table),      cmocka_unit_test(test_cut_at_each_size),
        cmocka_unit_test(test_random_bytes),      line_test(test_line),
        line_test(test_journal_has_its_own_time), line_test(test_quotes_cannot_be_forged),
        line_test(test_detail_only_when_verbose), line_test(test_long_values),
        line_test(test_long_line_stays_utf8),     line_test(test_sink),
        line_test(test_sink_without_stderr),      cmocka_unit_test(test_level_names),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
