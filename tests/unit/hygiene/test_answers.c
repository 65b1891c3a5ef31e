/* What filters answer, and what is taken for a verdict. */
#include "hygiene/clamd.h"
#include "hygiene/exchange.h"
#include "hygiene/rspamd.h"
#include "hygiene/spamd.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"

static const struct filter_server server = {.mark_spam = false}, marking = {.mark_spam = true};

struct answer_case {
    const char *text;
    enum filter_word word;
    const char *reason; /* is in it */
};

/* `with_nul`: its own NUL counts. */
static void expect(exchange_read_fn *read, const struct answer_case *c, bool with_nul)
{
    struct filter_answer answer = {0};
    size_t len = strlen(c->text) + with_nul;
    print_message("%s\n", c->text);
    read(&server, c->text, len, &answer);
    assert_string_equal(filter_word_name(answer.word), filter_word_name(c->word));
    if (!strstr(answer.reason, c->reason))
        fail_msg("\"%s\" in \"%s\"", c->reason, answer.reason);
    filter_answer_free(&answer);
}

static void clamd_answers(void **state)
{
    static const struct answer_case whole[] = {
        {"stream: OK", FILTER_CLEAN, "no virus"},
        {"stream: Eicar-Test FOUND", FILTER_REJECT, "virus: Eicar-Test"},
        {"stream: a \x1b[2J FOUND", FILTER_REJECT, "virus: a \\x1B[2J"},
        {"INSTREAM size limit exceeded. ERROR", FILTER_TOO_LARGE, "StreamMaxLength"},
        {"stream: no memory ERROR", FILTER_BROKEN, "no memory ERROR"},
        {"stream:  FOUND", FILTER_BROKEN, "FOUND"},
        {"stream: FOUND", FILTER_BROKEN, "FOUND"},
        {"stream: MAYBE", FILTER_BROKEN, "MAYBE"},
        {"OK", FILTER_BROKEN, "OK"},
        {"UNKNOWN COMMAND", FILTER_BROKEN, "UNKNOWN COMMAND"},
        {"", FILTER_BROKEN, "none"},
    };
    static const struct answer_case cut = {"stream: OK", FILTER_BROKEN, "stream: OK"};
    (void)state;
    for (size_t i = 0; i < sizeof whole / sizeof whole[0]; i++)
        expect(clamd_read, &whole[i], true);
    expect(clamd_read, &cut, false);
}

#define OK  "SPAMD/1.1 0 EX_OK\r\n"
#define HAM "Spam: False ; 0.1 / 5.0\r\n\r\n"

static void spamd_answers(void **state)
{
    static const struct answer_case cases[] = {
        {OK HAM, FILTER_CLEAN, "0.1 points, where 5.0"},
        {OK "Content-length: 4\r\n" HAM "text", FILTER_CLEAN, "no spam"},
        {OK "Spam: True ; 1000.0 / 5.0\r\n\r\n", FILTER_REJECT, "spam: 1000.0 points"},
        {OK "Spam: Yes ; 5 / 5\r\n\r\n", FILTER_REJECT, "spam: 5.0"},
        {OK "spam: no ; -0.0 / 5.0\r\n\r\n", FILTER_CLEAN, "no spam"},
        {"SPAMD/1.0 76 Bad header line: x\r\n", FILTER_BROKEN, "Bad header line"},
        {"SPAMD/1.1 74 EX_IOERR\r\n" HAM, FILTER_BROKEN, "EX_IOERR"},
        {OK "Content-length: 5\r\n" HAM "text", FILTER_BROKEN, ""},
        {OK "Content-length: 3\r\n" HAM "text", FILTER_BROKEN, ""},
        {OK "Content-length: -1\r\n" HAM, FILTER_BROKEN, ""},
        {OK "Content-length: 99999999999999999999\r\n" HAM, FILTER_BROKEN, ""},
        {OK "\r\n", FILTER_BROKEN, ""},
        {OK "Spam: Maybe ; 0 / 5\r\n\r\n", FILTER_BROKEN, ""},
        {OK "Spam: False ; x / 5\r\n\r\n", FILTER_BROKEN, ""},
        {OK "Spam: False ; nan / 5\r\n\r\n", FILTER_BROKEN, ""},
        {OK "Spam: False ; 1 / 5 / 6\r\n\r\n", FILTER_BROKEN, ""},
        {OK "Spam: False ; 0.1 / 5.0\r\n", FILTER_BROKEN, ""},
        {"220 mail.example ESMTP\r\n", FILTER_BROKEN, "220 mail.example"},
        {"", FILTER_BROKEN, "none"},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        expect(spamd_read, &cases[i], false);
}

static void spam_is_marked_when_that_is_asked_for(void **state)
{
    struct filter_answer answer = {0};
    static const char spam[] = OK "Spam: True ; 7.5 / 5.0\r\n\r\nreport\n";
    size_t len;
    (void)state;
    spamd_read(&marking, spam, sizeof spam - 1, &answer);
    assert_int_equal(answer.word, FILTER_CLEAN);
    char *got = edits_apply(&answer.edits, "", 0, &len);
    static const char want[] = "X-Spam-Flag: YES\r\nX-Spam-Level: *******\r\n"
                               "X-Spam-Status: Yes, score=7.5 required=5.0\r\n";
    assert_int_equal(len, sizeof want - 1);
    assert_memory_equal(got, want, len);
    assert_string_equal(json_string_value(json_object_get(answer.report, "text")), "report\n");
    free(got);
    filter_answer_free(&answer);
}

static void rspamd_says(const char *body, enum filter_word word, const char *reason)
{
    struct filter_answer answer = {0};
    print_message("%s\n", body);
    rspamd_read(200, body, strlen(body), &answer);
    assert_string_equal(filter_word_name(answer.word), filter_word_name(word));
    if (!strstr(answer.reason, reason))
        fail_msg("\"%s\" in \"%s\"", reason, answer.reason);
    filter_answer_free(&answer);
}

static void rspamd_answers(void **state)
{
    (void)state;
    rspamd_says("{\"action\":\"no action\"}", FILTER_CLEAN, "no action");
    rspamd_says("{\"action\":\"greylist\",\"score\":5}", FILTER_CLEAN, "greylist: 5.0");
    rspamd_says("{\"action\":\"soft reject\",\"messages\":{\"smtp_message\":\"later\"}}",
                FILTER_LATER, "later");
    rspamd_says("{\"action\":\"reject\",\"is_skipped\":true,\"score\":16,\"required_score\":15,"
                "\"symbols\":{\"A\":{\"score\":-1},\"B\":{\"score\":9},\"C\":{\"score\":2}}}",
                FILTER_REJECT, "reject: 16.0 points, where 15.0 reject (B, C, A)");
    rspamd_says("{\"action\":\"discard\"}", FILTER_REJECT, "discard");
    rspamd_says("{\"action\":\"explode\"}", FILTER_BROKEN, "explode");
    rspamd_says("{\"action\":1}", FILTER_BROKEN, "HTTP 200");
    rspamd_says("{\"error\":\"oops\"}", FILTER_BROKEN, "oops");
    rspamd_says("[]", FILTER_BROKEN, "[]");
    rspamd_says("{\"action\":\"no action\"", FILTER_BROKEN, "none");
    rspamd_says("", FILTER_BROKEN, "none");
    struct filter_answer answer = {0};
    rspamd_read(500, "{\"action\":\"no action\"}", 22, &answer);
    assert_int_equal(answer.word, FILTER_BROKEN);
    filter_answer_free(&answer);
}

static void rspamds_headers_are_taken(void **state)
{
    static const char body[] =
        "{\"action\":\"rewrite subject\",\"subject\":\"*** s\",\"milter\":{\"add_headers\":{\"A\":"
        "\"1\",\"B\":{\"value\":\"2\",\"order\":0},\"C\":[{\"value\":\"3\"},\"4\",5,null],\"D\":7,"
        "\"bad name\":\"x\"},\"remove_headers\":{\"X\":0,\"Y\":[1,\"2\"],\"Z\":99999999999}}}";
    static const char header[] = "X: 1\r\nY: 1\r\nY: 2\r\nZ: 1\r\nSubject: s\r\n\r\n";
    static const char want[] =
        "A: 1\r\nB: 2\r\nC: 3\r\nC: 4\r\nSubject: *** s\r\nY: 2\r\nZ: 1\r\n\r\n";
    struct filter_answer answer = {0};
    size_t len;
    (void)state;
    rspamd_read(200, body, sizeof body - 1, &answer);
    assert_int_equal(answer.word, FILTER_CLEAN);
    char *got = edits_apply(&answer.edits, header, sizeof header - 1, &len);
    assert_int_equal(len, sizeof want - 1);
    assert_memory_equal(got, want, len);
    free(got);
    filter_answer_free(&answer);
}

/* Wherever it stands, in a name too; a backslash that is escaped begins no \u0000. */
static void a_nul_in_rspamds_answer_costs_no_verdict(void **state)
{
    static const char body[] =
        "{\"action\":\"add header\",\"symbols\":{\"A\\u0000B\":{\"score\":1,\"description\":"
        "\"c\\u0000d\"}},\"messages\":{\"smtp_message\":\"e\\u0000f\"},\"milter\":{\"add_headers\":"
        "{\"X-A\":\"1\\u0000\\r\\n2\",\"X-B\":\"\\\\u0000\",\"X\\u0000C\":\"3\"},"
        "\"remove_headers\":{\"S\\u0000\":1}}}";
    static const char want[] = "X-A: 1  2\r\nX-B: \\u0000\r\nX-Spam: Yes\r\n";
    struct filter_answer answer = {0};
    size_t len;
    (void)state;
    rspamd_read(200, body, sizeof body - 1, &answer);
    assert_string_equal(filter_word_name(answer.word), "clean");
    char *got = edits_apply(&answer.edits, "", 0, &len);
    assert_int_equal(len, sizeof want - 1);
    assert_memory_equal(got, want, len);
    free(got);
    char *report = json_dumps(answer.report, 0);
    json_t *again = json_loads(report, 0, NULL); /* as the ledger keeps it */
    assert_true(json_equal(again, answer.report));
    json_decref(again);
    free(report);
    filter_answer_free(&answer);
    rspamd_says("{\"action\":\"no action\\u0000\"}", FILTER_BROKEN, "none");
    rspamd_says("{\"action\":\"no action\",\"messages\":{\"smtp_message\":\"\xff\"}}", FILTER_CLEAN,
                "");
    rspamd_says("{\"action\":\"no\\u0000action\"}", FILTER_BROKEN, "none");
    rspamd_says("{\"action\":\"no action\",\"x\":\"\\u0000", FILTER_BROKEN, "none");
    rspamd_says("{\"action\":\"no action\",\"x\":\"\\u000", FILTER_BROKEN, "none");
}

/* Good answers with some bytes changed: no crash; and a clean bill only where it still stands. */
static void damaged_answers(void **state)
{
    static const char *const good[] = {
        OK "Content-length: 4\r\n" HAM "text",
        "stream: Eicar FOUND",
        "{\"action\":\"reject\",\"score\":1.5,\"symbols\":{\"A\":{\"score\":1}},\"milter\":{}}",
    };
    unsigned long long seed = 7;
    (void)state;
    for (int round = 0; round < 30000; round++) {
        char text[200];
        size_t kind = round % 3, len = strlen(good[kind]);
        memcpy(text, good[kind], len + 1);
        for (unsigned long long n = dice(&seed) % 4 + 1; n > 0; n--)
            text[dice(&seed) % len] = (char)dice(&seed);
        struct filter_answer answer = {0};
        if (kind == 0)
            spamd_read(&server, text, len, &answer);
        else if (kind == 1)
            clamd_read(&server, text, len + 1, &answer);
        else
            rspamd_read(200, text, len, &answer);
        assert_true(answer.reason[0] != '\0' && answer.word < FILTER_WORDS);
        if (kind == 1)
            assert_int_not_equal(answer.word, FILTER_CLEAN);
        filter_answer_free(&answer);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clamd_answers),
        cmocka_unit_test(spamd_answers),
        cmocka_unit_test(spam_is_marked_when_that_is_asked_for),
        cmocka_unit_test(rspamd_answers),
        cmocka_unit_test(rspamds_headers_are_taken),
        cmocka_unit_test(a_nul_in_rspamds_answer_costs_no_verdict),
        cmocka_unit_test(damaged_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
