/* The preface: what is written is read back as it was, and whatever else is read does no harm. */
#include "spool/preface.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"

#define ID  "01ARZ3NDEKTSV4RRFFQ69G5FAV"
#define ID2 "01BX5ZZKBKACTAV9WEVGEMMVRZ"

static struct message_head example(void)
{
    struct message_head head = {.id = ID,
                                .account = "sales",
                                .origin = "pop3s://pop.isp.example:995/sales uidl=0000a1 "
                                          "at=2026-11-22T10:00:00Z",
                                .sender = "bounce@origin.example",
                                .size = 20480};
    for (size_t i = 0; i < sizeof head.hash; i++)
        head.hash[i] = (unsigned char)(i * 7);
    assert_true(envelope_list_add(&head.recipients, "sales@corp.example"));
    return head;
}

static void assert_same(const struct message_head *a, const struct message_head *b)
{
    assert_string_equal(a->id, b->id);
    assert_string_equal(a->replay_of, b->replay_of);
    assert_string_equal(a->account, b->account);
    assert_string_equal(a->origin, b->origin);
    assert_string_equal(a->sender, b->sender);
    assert_int_equal(a->recipients.count, b->recipients.count);
    for (size_t i = 0; i < a->recipients.count; i++)
        assert_string_equal(a->recipients.items[i], b->recipients.items[i]);
    assert_int_equal(a->size, b->size);
    assert_memory_equal(a->hash, b->hash, sizeof a->hash);
}

static char *write_good(const struct message_head *head, size_t *len)
{
    struct error err = {0};
    char *text = preface_write(head, len, &err);
    if (text == NULL)
        fail_msg("%s", err.text);
    return text;
}

/* In memory that ends behind n bytes. */
static enum preface_result read_tight(const char *text, size_t n, struct message_head *head,
                                      size_t *len, struct error *err)
{
    char *tight = malloc(n > 0 ? n : 1);
    memcpy(tight, text, n);
    enum preface_result result = preface_read(tight, n, head, len, err);
    free(tight);
    return result;
}

static void assert_round_trip(const struct message_head *head)
{
    size_t len, read_len = 0;
    struct message_head got = {0};
    struct error err = {0};
    char *text = write_good(head, &len);
    if (read_tight(text, len, &got, &read_len, &err) != PREFACE_OK)
        fail_msg("%s:\n%s", err.text, text);
    assert_int_equal(read_len, len);
    assert_same(&got, head);
    message_head_free(&got);
    free(text);
}

static void test_text(void **state)
{
    (void)state;
    struct message_head head = example();
    size_t len;
    char *text = write_good(&head, &len), body[PREFACE_BODY_WIDTH + 1];
    static const char want[] = "X-Popferry: 1 lines=5 id=" ID " account=sales\r\n"
                               "X-Popferry-Origin: pop3s://pop.isp.example:995/sales uidl=0000a1 "
                               "at=2026-11-22T10:00:00Z\r\n"
                               "X-Sender: <bounce@origin.example>\r\n"
                               "X-Receiver: <sales@corp.example>\r\n"
                               "X-Popferry-Body: 20480 blake2b="
                               "00070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9";
    assert_memory_equal(text, want, sizeof want - 1);
    preface_body_line(&head, body);
    assert_int_equal(strlen(body), PREFACE_BODY_WIDTH);
    assert_memory_equal(text + len - 2 - PREFACE_BODY_WIDTH, body, PREFACE_BODY_WIDTH);
    assert_memory_equal(text + len - 2, "\r\n", 2);
    assert_int_equal(memcmp(text + sizeof want - 1, "   ", 3), 0); /* padded with blanks */
    free(text);
    message_head_free(&head);
}

static void test_round_trips(void **state)
{
    (void)state;
    struct message_head head = example();
    assert_round_trip(&head);
    (void)strcpy(head.replay_of, ID2);
    assert_round_trip(&head);
    head.account[0] = '\0'; /* a pickup drop, replayed or not */
    assert_round_trip(&head);
    head.replay_of[0] = '\0';
    assert_round_trip(&head);
    head.sender[0] = '\0';
    head.origin[0] = '\0';
    assert_round_trip(&head);
    memset(head.origin, 'o', sizeof head.origin - 1);
    memset(head.account, 'a', sizeof head.account - 1);
    assert_round_trip(&head);
    (void)strcpy(head.sender, "\"a b>\\\"c\"@[IPv6:::1]");
    assert_round_trip(&head);
    (void)strcpy(head.account, "lines=7");
    (void)strcpy(head.origin, " two  blanks ");
    assert_round_trip(&head);
    (void)strcpy(head.account, "replay=" ID2);
    assert_round_trip(&head);
    (void)strcpy(head.account, "gr\xc3\xbc\xc3\x9f"
                               "e");
    (void)strcpy(head.sender, "j\xc3\xbc"
                              "rgen@origin.example");
    assert_round_trip(&head);
    head.size = 0;
    assert_round_trip(&head);
    head.size = UINT64_MAX;
    assert_round_trip(&head);
    memset(head.hash, 0xff, sizeof head.hash);
    assert_round_trip(&head);
    message_head_free(&head);
}

static void test_a_thousand_recipients(void **state)
{
    (void)state;
    struct message_head head = example();
    char address[300];
    for (int i = 1; i < ENVELOPE_RECIPIENTS_MAX; i++) { /* each as long as can be */
        int n = snprintf(address, sizeof address, "%060d@", i);
        while (n < ADDRESS_MAX - 40)
            n += snprintf(address + n, sizeof address - (size_t)n, "%040d.", i);
        (void)snprintf(address + n, sizeof address - (size_t)n, "example");
        assert_true(envelope_list_add(&head.recipients, address));
    }
    assert_round_trip(&head);
    size_t len;
    char *text = write_good(&head, &len);
    assert_true(len < MESSAGE_PREFACE_MAX);
    free(text);
    message_head_free(&head);
}

/* --- what is not written --- */

static void assert_not_written(const struct message_head *head)
{
    size_t len = 77;
    struct error err = {0};
    assert_null(preface_write(head, &len, &err));
    assert_int_equal(err.kind, ERROR_PERMANENT);
}

static void test_not_written(void **state)
{
    (void)state;
    static const char *const senders[] = {"a",    "a@",    "<a@b>", "a@b\r\nX-Receiver: <evil@b>",
                                          "a@b>", "a b@c", "a@b\n", "\xff@b"};
    static const char *const accounts[] = {"a b", "a\nb", "a\rb", " "};
    static const char *const origins[] = {"a\r\nX-Sender: <x@y>", "a\nb", "\r"};
    static const char *const ids[] = {"", "x", "01arz3ndektsv4rrffq69g5fav",
                                      "../../../../../etc/passwd"};
    struct message_head head = example();
    for (size_t i = 0; i < COUNT(senders); i++) {
        (void)strcpy(head.sender, senders[i]);
        assert_not_written(&head);
    }
    (void)strcpy(head.sender, "a@b.example");
    for (size_t i = 0; i < COUNT(accounts); i++) {
        (void)strcpy(head.account, accounts[i]);
        assert_not_written(&head);
    }
    (void)strcpy(head.account, "sales");
    for (size_t i = 0; i < COUNT(origins); i++) {
        (void)strcpy(head.origin, origins[i]);
        assert_not_written(&head);
    }
    (void)strcpy(head.origin, "pickup");
    for (size_t i = 0; i < COUNT(ids); i++) {
        (void)strcpy(head.id, ids[i]);
        assert_not_written(&head);
        (void)strcpy(head.id, ID);
        (void)strcpy(head.replay_of, ids[i]);
        if (ids[i][0] != '\0')
            assert_not_written(&head);
        head.replay_of[0] = '\0';
    }
    assert_round_trip(&head);
    for (size_t i = 0; i < COUNT(senders); i++) { /* as recipients, and the null path too */
        assert_true(envelope_list_add(&head.recipients, senders[i]));
        assert_not_written(&head);
        free(head.recipients.items[--head.recipients.count]);
    }
    assert_true(envelope_list_add(&head.recipients, ""));
    assert_not_written(&head);
    message_head_free(&head);
    assert_not_written(&head); /* nobody */
}

/* --- reading --- */

static void test_every_truncation(void **state)
{
    (void)state;
    struct message_head head = example();
    size_t len, got_len;
    char *text = write_good(&head, &len);
    for (size_t n = 0; n < len; n++) {
        struct message_head got = {0};
        struct error err = {0};
        if (read_tight(text, n, &got, &got_len, &err) != PREFACE_SHORT)
            fail_msg("%zu bytes: %s", n, err.text);
        message_head_free(&got);
    }
    free(text);
    message_head_free(&head);
}

static void assert_read(const char *text, enum preface_result want)
{
    struct message_head got = {0};
    struct error err = {0};
    size_t len = 0;
    enum preface_result result = read_tight(text, strlen(text), &got, &len, &err);
    if (result != want)
        fail_msg("%d instead of %d, %s:\n%s", result, want, err.text, text);
    if (want == PREFACE_BAD)
        assert_non_null(strstr(err.text, "damaged preface"));
    message_head_free(&got);
}

#define HASH   "00070e151c232a31383f464d545b626970777e858c939aa1a8afb6bdc4cbd2d9"
#define FIRST5 "X-Popferry: 1 lines=5 id=" ID " account=sales\r\n"
#define ORIGIN "X-Popferry-Origin: pickup\r\n"
#define SENDER "X-Sender: <a@b.example>\r\n"
#define RCPT   "X-Receiver: <c@d.example>\r\n"
#define BODY   "X-Popferry-Body: 5 blake2b=" HASH "\r\n"

static void test_read_table(void **state)
{
    (void)state;
    /* by hand: other line ends and no padding are fine */
    assert_read(FIRST5 ORIGIN SENDER RCPT BODY, PREFACE_OK);
    assert_read("X-Popferry: 1 lines=5 id=" ID " account=sales\n"
                "X-Popferry-Origin: pickup\nX-Sender: <>\nX-Receiver: <c@d.example>\n"
                "X-Popferry-Body: 5 blake2b=" HASH "\n",
                PREFACE_OK);
    assert_read("X-Popferry: 1 lines=6 id=" ID " account=s replay=" ID2 "\r\n" ORIGIN SENDER RCPT
                "X-Receiver: <e@d.example>\r\n" BODY,
                PREFACE_OK);
    /* no preface */
    static const char *const none[] = {"Y",
                                       "x-popferry: 1 lines=5",
                                       "Return-Path: <>\r\n",
                                       "X-Popferries: 1\r\n",
                                       "X-Popferry-Origin: x\r\n",
                                       "X-Popferry:1 lines=5\r\n",
                                       "\r\nX-Popferry: 1",
                                       " X-Popferry: 1",
                                       "X-Receiver: <evil@x.example>\r\n"};
    for (size_t i = 0; i < COUNT(none); i++)
        assert_read(none[i], PREFACE_NONE);
    static const char *const bad[] = {
        /* the first line */
        "X-Popferry: \r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 2 lines=5 id=" ID " account=s\r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 1 lines=4 id=" ID " account=s\r\n" ORIGIN SENDER BODY,
        "X-Popferry: 1 lines=0 id=" ID " account=s\r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 1 lines=-1 id=" ID " account=s\r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 1 lines=1005 id=" ID " account=s\r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 1 lines=99999999999999999999999 id=" ID
        " account=s\r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 1 lines=x id=" ID " account=s\r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 1 lines=5 id=01ARZ3NDEKTSV4RRFFQ69G5FA account=s\r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 1 lines=5 id=" ID "X account=s\r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 1 lines=5 id=../../../../etc/passwd00000 account=s\r\n" ORIGIN SENDER RCPT
            BODY,
        "X-Popferry: 1 lines=5 id=" ID "\r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 1 lines=5 id=" ID " account=s junk\r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 1 lines=5 id=" ID " account=s replay=\r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 1 lines=5 id=" ID " account=s replay=01X\r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 1 lines=5 id=" ID " account=s replay=" ID2 "Z\r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 1 lines=5 id=" ID " account=s replay=" ID2 " x\r\n" ORIGIN SENDER RCPT BODY,
        "X-Popferry: 1 lines=5 id=" ID " account="
        "12345678901234567890123456789012345678901234567890123456789012345\r\n" ORIGIN SENDER RCPT
            BODY,
        /* order and names */
        FIRST5 SENDER ORIGIN RCPT BODY,
        FIRST5 ORIGIN RCPT SENDER BODY,
        FIRST5 ORIGIN SENDER BODY RCPT,
        FIRST5 ORIGIN SENDER SENDER BODY,
        FIRST5 ORIGIN SENDER RCPT RCPT BODY, /* one more than lines= says */
        FIRST5 "\r\n" SENDER RCPT BODY,
        FIRST5 "x-popferry-origin: pickup\r\n" SENDER RCPT BODY,
        /* addresses */
        FIRST5 ORIGIN "X-Sender: a@b.example\r\n" RCPT BODY,
        FIRST5 ORIGIN "X-Sender: <a@b.example\r\n" RCPT BODY,
        FIRST5 ORIGIN "X-Sender: <a@@b>\r\n" RCPT BODY,
        FIRST5 ORIGIN "X-Sender: <a@b> \r\n" RCPT BODY,
        FIRST5 ORIGIN "X-Sender: \r\n" RCPT BODY,
        FIRST5 ORIGIN "X-Sender: <a@b>, <c@d>\r\n" RCPT BODY,
        FIRST5 ORIGIN SENDER "X-Receiver: <>\r\n" BODY,
        FIRST5 ORIGIN SENDER "X-Receiver: <c>\r\n" BODY,
        FIRST5 ORIGIN SENDER "X-Receiver: <c@d\x01>\r\n" BODY,
        /* the body line */
        FIRST5 ORIGIN SENDER RCPT "X-Popferry-Body: 5\r\n",
        FIRST5 ORIGIN SENDER RCPT "X-Popferry-Body: x blake2b=" HASH "\r\n",
        FIRST5 ORIGIN SENDER RCPT "X-Popferry-Body: -5 blake2b=" HASH "\r\n",
        FIRST5 ORIGIN SENDER RCPT "X-Popferry-Body: 99999999999999999999999 blake2b=" HASH "\r\n",
        FIRST5 ORIGIN SENDER RCPT "X-Popferry-Body: 5 blake2b=00ff\r\n",
        FIRST5 ORIGIN SENDER RCPT "X-Popferry-Body: 5 blake2b=" HASH "00\r\n",
        FIRST5 ORIGIN SENDER RCPT "X-Popferry-Body: 5 blake2b=" HASH " more\r\n",
        FIRST5 ORIGIN SENDER RCPT "X-Popferry-Body: 5 md5=" HASH "\r\n",
        FIRST5 ORIGIN SENDER RCPT "\r\n",
    };
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_read(bad[i], PREFACE_BAD);
}

static void test_nul_and_long_lines(void **state)
{
    (void)state;
    struct message_head head = example();
    size_t len, got_len;
    char *text = write_good(&head, &len);
    for (size_t i = 12; i < len; i++) { /* a NUL anywhere behind "X-Popferry: " */
        struct message_head got = {0};
        struct error err = {0};
        char kept = text[i];
        text[i] = '\0';
        enum preface_result result = read_tight(text, len, &got, &got_len, &err);
        assert_true(result == PREFACE_BAD || (kept == '\n' && result == PREFACE_SHORT));
        text[i] = kept;
        message_head_free(&got);
    }
    free(text);
    message_head_free(&head);
    char *much = malloc(MESSAGE_PREFACE_MAX + 100);
    static const char *const fronts[] = {"X-Popferry: ", FIRST5, FIRST5 ORIGIN,
                                         FIRST5 ORIGIN SENDER, FIRST5 ORIGIN SENDER RCPT};
    for (size_t i = 0; i < COUNT(fronts); i++) {
        struct message_head got = {0};
        struct error err = {0};
        memset(much, 'x', MESSAGE_PREFACE_MAX + 100);
        memcpy(much, fronts[i], strlen(fronts[i]));
        assert_int_equal(read_tight(much, MESSAGE_PREFACE_MAX + 100, &got, &got_len, &err),
                         PREFACE_BAD);
        message_head_free(&got);
    }
    free(much);
}

/* Changes at random: never a crash; and what is still taken is an envelope that could have been
 * written, with lines= receivers as the first line says. */
static void test_mutations(void **state)
{
    (void)state;
    struct message_head head = example();
    assert_true(envelope_list_add(&head.recipients, "second@corp.example"));
    (void)strcpy(head.replay_of, ID2);
    size_t len;
    char *text = write_good(&head, &len), *mutant = malloc(len + 64);
    static const char *const pieces[] = {"\r\n",
                                         "\n",
                                         "lines=6",
                                         "lines=5",
                                         "lines=7",
                                         " ",
                                         "<",
                                         ">",
                                         "X-Receiver: <x@y.example>\r\n",
                                         "\0",
                                         "@",
                                         "-",
                                         "+",
                                         "0",
                                         "999999999999999999999",
                                         "X-Popferry: ",
                                         "id=",
                                         ID,
                                         "\xff"};
    unsigned long long seed = 42;
    int taken = 0;
    for (int round = 0; round < 100000; round++) {
        size_t n = len;
        memcpy(mutant, text, len);
        for (unsigned i = 0; i <= dice(&seed) % 3; i++) {
            size_t at = dice(&seed) % n;
            const char *piece = pieces[dice(&seed) % COUNT(pieces)];
            size_t m = strlen(piece) > 0 ? strlen(piece) : 1;
            switch (dice(&seed) % 4) {
            case 0: /* one bit */
                mutant[at] = (char)(mutant[at] ^ (1 << dice(&seed) % 8));
                break;
            case 1: /* over what is there */
                if (at + m <= n)
                    memcpy(mutant + at, piece, m);
                break;
            case 2: /* in between */
                if (n + m <= len + 64) {
                    memmove(mutant + at + m, mutant + at, n - at);
                    memcpy(mutant + at, piece, m);
                    n += m;
                }
                break;
            default: /* some taken out */
                m = 1 + dice(&seed) % 20;
                m = m < n - at ? m : n - at;
                m = n - m < 20 ? 0 : m;
                memmove(mutant + at, mutant + at + m, n - at - m);
                n -= m;
            }
        }
        struct message_head got = {0}, again = {0};
        struct error err = {0};
        size_t got_len = 0, again_len, text_len;
        if (read_tight(mutant, n, &got, &got_len, &err) == PREFACE_OK) {
            taken++;
            assert_true(got_len <= n);
            assert_true(got.sender[0] == '\0' || address_valid(got.sender));
            char *rewritten = write_good(&got, &text_len);
            assert_int_equal(read_tight(rewritten, text_len, &again, &again_len, &err), PREFACE_OK);
            assert_same(&got, &again);
            free(rewritten);
        }
        message_head_free(&got);
        message_head_free(&again);
    }
    assert_true(taken > 100);
    free(mutant);
    free(text);
    message_head_free(&head);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text),
        cmocka_unit_test(test_round_trips),
        cmocka_unit_test(test_a_thousand_recipients),
        cmocka_unit_test(test_not_written),
        cmocka_unit_test(test_every_truncation),
        cmocka_unit_test(test_read_table),
        cmocka_unit_test(test_nul_and_long_lines),
        cmocka_unit_test(test_mutations),
    };
    return cmocka_run_group_tests_name("preface", tests, NULL, NULL);
}
