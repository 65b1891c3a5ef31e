/* Envelopes out of headers: the table of tests/data/reverse-path.txt, recipients, and headers made
 * to hurt a parser. Nothing may come out that address_valid refuses. */
#include "lib/clock.h"
#include "spool/envelope.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"
#include <dirent.h>
#include <glib.h>

static int init(void **state)
{
    (void)state;
    envelope_init();
    return 0;
}

/* In memory that ends where the header does. */
static enum envelope_source reverse_path(const char *header, size_t len, const char *domain,
                                         char path[static ADDRESS_MAX + 1])
{
    char *tight = malloc(len > 0 ? len : 1);
    memcpy(tight, header, len);
    memset(path, 'X', ADDRESS_MAX + 1);
    enum envelope_source source = envelope_reverse_path(tight, len, domain, path);
    free(tight);
    assert_true(strnlen(path, ADDRESS_MAX + 1) <= ADDRESS_MAX);
    assert_true(path[0] == '\0' || address_valid(path));
    if (path[0] == '\0')
        assert_true(source == ENVELOPE_NOTHING || source == ENVELOPE_RETURN_PATH);
    return source;
}

struct entry {
    char header[20000], domain[300];
    size_t len;
    int line; /* where it ends */
};

static void add_line(struct entry *e, const char *text)
{
    char line[10000];
    (void)snprintf(line, sizeof line, "%s", text);
    size_t n = unescape(line, sizeof line);
    assert_true(e->len + n + 2 <= sizeof e->header);
    memcpy(e->header + e->len, line, n);
    memcpy(e->header + e->len + n, "\r\n", 2);
    e->len += n + 2;
}

static bool check(struct entry *e, const char *expected)
{
    char want[600], got[600], path[ADDRESS_MAX + 1];
    (void)snprintf(want, sizeof want, "%s", expected);
    (void)unescape(want, sizeof want);
    enum envelope_source source = reverse_path(e->header, e->len, e->domain, path);
    (void)snprintf(got, sizeof got, "%s %s", envelope_source_name(source),
                   path[0] != '\0' ? path : "<>");
    bool same = strcmp(want, got) == 0;
    if (!same)
        print_error("reverse-path.txt:%d: wanted \"%s\", got \"%s\"\n", e->line, want, got);
    e->len = 0;
    e->domain[0] = '\0';
    return same;
}

static void test_table(void **state)
{
    (void)state;
    char *text = data_read("reverse-path.txt", NULL), *rest = text;
    struct entry *e = calloc(1, sizeof *e);
    int cases = 0, failures = 0;
    for (char *line; (line = strsep(&rest, "\n")) != NULL;) {
        e->line++;
        if (line[0] == '>')
            add_line(e, line[1] == ' ' ? line + 2 : "");
        else if (line[0] == '@')
            (void)snprintf(e->domain, sizeof e->domain, "%s", line + 2);
        else if (line[0] == '=') {
            failures += !check(e, line + 2);
            cases++;
        } else
            assert_true(line[0] == '#' || line[0] == '\0');
    }
    free(e);
    free(text);
    assert_int_equal(failures, 0);
    assert_true(cases >= 200);
}

/* --- hostile headers --- */

static void test_random_headers(void **state)
{
    (void)state;
    static const char *const pieces[] = {"From: ",
                                         "Return-Path: ",
                                         "Sender:",
                                         "\r\n",
                                         "\r\n ",
                                         "<",
                                         ">",
                                         "@",
                                         "a",
                                         "b.example",
                                         "user@x.example",
                                         "\"",
                                         "\\",
                                         "(",
                                         ")",
                                         ",",
                                         ";",
                                         ":",
                                         ".",
                                         " ",
                                         "\t",
                                         "\r",
                                         "\n",
                                         "=?utf-8?q?",
                                         "?=",
                                         "=0D=0A",
                                         "\xff",
                                         "\xc3\xbc",
                                         "[",
                                         "]",
                                         "127.0.0.1",
                                         "\x1b",
                                         "Group:",
                                         "@a,@b:",
                                         "=?",
                                         "=?utf-8?b?",
                                         "DQpEQVRB"};
    unsigned long long seed = 2822;
    for (int round = 0; round < 30000; round++) {
        char header[400], path[ADDRESS_MAX + 1];
        size_t len = 0;
        for (size_t n = 1 + dice(&seed) % 20; n > 0; n--) {
            const char *piece = pieces[dice(&seed) % COUNT(pieces)];
            memcpy(header + len, piece, strlen(piece));
            len += strlen(piece);
        }
        (void)reverse_path(header, len, round % 2 != 0 ? "corp.example" : "", path);
    }
}

static char *repeated(const char *front, const char *piece, size_t size, size_t *len)
{
    char *text = malloc(size + 1);
    size_t n = strlen(front), m = strlen(piece);
    memcpy(text, front, n);
    for (size_t at = n; at < size; at++)
        text[at] = piece[(at - n) % m];
    text[size] = '\0';
    *len = size;
    return text;
}

#define TIMES_PLAIN 30

static int64_t processor_time(void)
{
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now), 0);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Everything that is asked of a header section; the processor's time that it took, in ns. */
static int64_t work_on(const char *header, size_t len)
{
    char path[ADDRESS_MAX + 1], text[100];
    struct envelope_list list = {0};
    size_t invalid = 0;
    int64_t from = processor_time();
    (void)reverse_path(header, len, "corp.example", path);
    envelope_recipients(header, len, "corp.example", &list, &invalid);
    (void)envelope_field(header, len, "From", text, sizeof text);
    (void)envelope_field(header, len, "To", text, sizeof text);
    envelope_list_free(&list);
    return processor_time() - from;
}

static int64_t work_on_repeated(const char *front, const char *piece)
{
    size_t len;
    char *header = repeated(front, piece, ENVELOPE_HEADER_MAX, &len);
    int64_t took = work_on(header, len);
    free(header);
    return took;
}

/* As much as is looked at of one header section, of one thing over and over: parsed without deep
 * recursion, in a time that is bearable where that of a plain list is. */
static void test_parser_bombs(void **state)
{
    (void)state;
    static const char *const pieces[] = {"a@b.example, ",
                                         "a:",
                                         "(",
                                         ")",
                                         "<",
                                         "\"",
                                         "\\",
                                         ",",
                                         ";",
                                         "=?utf-8?q?a?= ",
                                         "=?",
                                         "[",
                                         "@",
                                         "a.",
                                         "a@b,a:",
                                         "<a@b>,",
                                         "\r\n ",
                                         "((a)",
                                         "Group:a@b;,",
                                         "\xc3\xbc",
                                         "\xff",
                                         ":;",
                                         "=?utf-8?b?YQ==?=",
                                         "<@a,",
                                         "a b ",
                                         "\"a\" ",
                                         "a@",
                                         "(\\",
                                         "[a]",
                                         "\t"};
    static const char *const fronts[] = {"From: ", "To: "};
    int64_t plain = work_on_repeated("To: ", "a@b.example, ");
    for (size_t i = 0; i < COUNT(pieces) * COUNT(fronts); i++) {
        int64_t took = work_on_repeated(fronts[i % 2], pieces[i / 2]);
        if (took > TIMES_PLAIN * plain)
            fail_msg("%s%s takes %d times as long as a plain list", fronts[i % 2], pieces[i / 2],
                     (int)(took / plain));
    }
    /* many short fields, each of which must be parsed */
    assert_true(work_on_repeated("", "From: @@\r\nReturn-Path: a b\r\n") < TIMES_PLAIN * plain);
}

/* Each message of the corpus, and each of its truncations at a line: no crash, nothing invalid. */
static void test_corpus(void **state)
{
    (void)state;
    const char *data = getenv("POPFERRY_DATA");
    char dir_name[512], name[800];
    (void)snprintf(dir_name, sizeof dir_name, "%s/corpus", data != NULL ? data : "tests/data");
    DIR *dir = opendir(dir_name);
    if (dir == NULL)
        skip();
    int found = 0, messages = 0;
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;) {
        size_t len, invalid;
        char path[ADDRESS_MAX + 1], subject[200];
        if (strstr(entry->d_name, ".eml") == NULL)
            continue;
        (void)snprintf(name, sizeof name, "%s/%s", dir_name, entry->d_name);
        char *text = slurp(name, &len);
        size_t end = envelope_header_end(text, len);
        end = end > 0 ? end : len;
        found += reverse_path(text, end, "corp.example", path) != ENVELOPE_NOTHING;
        messages++;
        struct envelope_list list = {0};
        envelope_recipients(text, end, "corp.example", &list, &invalid);
        for (size_t i = 0; i < list.count; i++)
            assert_true(address_valid(list.items[i]));
        envelope_list_free(&list);
        (void)envelope_field(text, end, "Subject", subject, sizeof subject);
        for (size_t n = 0; n < end; n += 7)
            (void)reverse_path(text, n, "", path);
        free(text);
    }
    (void)closedir(dir);
    assert_true(messages > 50);
    assert_true(found * 10 > messages * 8); /* real mail has a sender, mostly */
}

/* --- recipients --- */

static void assert_recipients(const char *header, const char *domain, const char *want,
                              size_t want_invalid)
{
    struct envelope_list list = {0};
    size_t invalid = 77;
    char got[2000] = "";
    envelope_recipients(header, strlen(header), domain, &list, &invalid);
    for (size_t i = 0; i < list.count; i++) {
        assert_true(address_valid(list.items[i]));
        (void)strcat(strcat(got, i > 0 ? " " : ""), list.items[i]);
    }
    if (strcmp(got, want) != 0 || invalid != want_invalid)
        fail_msg("got \"%s\", %zu invalid, for %s", got, invalid, header);
    envelope_list_free(&list);
}

static void test_recipients(void **state)
{
    (void)state;
    assert_recipients("To: a@x.example\r\nCc: B <b@x.example>, c@x.example\r\nBcc: d@x.example\r\n",
                      "", "a@x.example b@x.example c@x.example d@x.example", 0);
    assert_recipients("to: a@x.example\r\nTO: a@x.example, b@x.example\r\n", "",
                      "a@x.example b@x.example", 0);
    assert_recipients("From: a@x.example\r\nReply-To: b@x.example\r\nX-To: c@x.example\r\n", "", "",
                      0);
    assert_recipients("To: undisclosed-recipients:;\r\n", "", "", 0);
    assert_recipients("To: Team: a@x.example, b@x.example;, c@x.example\r\n", "",
                      "a@x.example b@x.example c@x.example", 0);
    assert_recipients("To: a, b\r\n", "corp.example", "a@corp.example b@corp.example", 0);
    assert_recipients("To: a, b@x.example\r\n", "", "b@x.example", 1);
    /* none of those that were meant is lost in silence */
    assert_recipients("To: a@@x.example, b@x.example\r\nCc: c@x..example\r\n", "", "b@x.example",
                      2);
    assert_recipients("To: a@x.example@y.example, b@x.example\r\n", "", "", 2);
    assert_recipients("To: nobody here, b@x.example, @, (none), c@x.example\r\n", "",
                      "b@x.example c@x.example", 2);
    assert_recipients("To: a@x.example b@y.example, c@x.example\r\n", "", "", 2);
    assert_recipients("To: a@x.exa mple\r\nCc: b@x.example.\r\n", "", "b@x.example", 1);
    assert_recipients("To: Sales [EU] <a@x.example>, b@x.example\r\n", "", "b@x.example", 1);
    assert_recipients("To: \"a, b; c: d\" <a@x.example> (e, f), b@[IPv6:::1]\r\n", "",
                      "a@x.example b@[IPv6:::1]", 0);
    assert_recipients("To: <@r.example,@s.example:a@x.example>,, ,b@x.example,\r\n", "",
                      "a@x.example b@x.example", 0);
    assert_recipients("To: Team: a@x.example, b@@x.example; c@x.example\r\n", "",
                      "a@x.example c@x.example", 1);
    assert_recipients("To:\r\nCc: \r\nSubject: x\r\n", "", "", 0);
    assert_recipients("", "", "", 0);
    assert_recipients("Subject: x\r\n\r\nTo: body@x.example\r\n", "", "", 0);
}

static void test_more_recipients_than_allowed(void **state)
{
    (void)state;
    char *header = malloc(100000);
    size_t n = (size_t)sprintf(header, "To: ");
    for (int i = 0; i < ENVELOPE_RECIPIENTS_MAX + 100; i++)
        n += (size_t)sprintf(header + n, "u%d@x.example,\r\n ", i);
    struct envelope_list list = {0};
    size_t invalid = 0;
    envelope_recipients(header, n, "", &list, &invalid);
    assert_int_equal(list.count, ENVELOPE_RECIPIENTS_MAX);
    assert_true(invalid > 0); /* so that the caller does not take it for all */
    assert_string_equal(list.items[ENVELOPE_RECIPIENTS_MAX - 1], "u999@x.example");
    envelope_list_free(&list);
    assert_int_equal(list.count, 0);
    free(header);
}

/* One field with almost all that a header section may hold: the last one counts, too. */
static void test_long_field(void **state)
{
    (void)state;
    char *header = malloc(ENVELOPE_HEADER_MAX);
    size_t n = (size_t)sprintf(header, "To: ");
    for (int i = 0; i < 900; i++)
        n += (size_t)sprintf(header + n, "\"%0*d\" <u%d@x.example>,\r\n ", 80, i, i);
    assert_true(n > 90000 && n < ENVELOPE_HEADER_MAX);
    struct envelope_list list = {0};
    size_t invalid = 0;
    envelope_recipients(header, n, "", &list, &invalid);
    assert_int_equal(list.count, 900);
    assert_int_equal(invalid, 0);
    envelope_list_free(&list);
    free(header);
}

static void test_list(void **state)
{
    (void)state;
    struct envelope_list list = {0};
    char name[40];
    for (int i = 0; i < ENVELOPE_RECIPIENTS_MAX; i++) {
        (void)snprintf(name, sizeof name, "u%d@x.example", i);
        assert_true(envelope_list_add(&list, name));
    }
    assert_true(envelope_list_add(&list, "u5@x.example")); /* a double needs no room */
    assert_int_equal(list.count, ENVELOPE_RECIPIENTS_MAX);
    assert_false(envelope_list_add(&list, "new@x.example"));
    assert_int_equal(list.count, ENVELOPE_RECIPIENTS_MAX);
    envelope_list_free(&list);
    envelope_list_free(&list);
}

/* --- fields, and the end of the section --- */

static void assert_field(const char *header, const char *name, const char *want)
{
    char buf[100];
    assert_ptr_equal(envelope_field(header, strlen(header), name, buf, sizeof buf), buf);
    assert_string_equal(buf, want);
}

static void test_field(void **state)
{
    (void)state;
    assert_field("Subject: Hello\r\n", "Subject", "Hello");
    assert_field("SUBJECT:Hello\r\n  World\r\n", "Subject", "Hello  World");
    assert_field("A: b\r\nSubject: one\r\nSubject: two\r\n", "Subject", "one");
    assert_field("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n", "Subject",
                 "Gr\xc3\xbc\xc3\x9f"
                 "e");
    assert_field("Subject: =?iso-8859-1?b?R3L832U=?= x\r\n", "Subject",
                 "Gr\xc3\xbc\xc3\x9f"
                 "e x");
    assert_field("Subject: =?utf-8?q?a?=\r\n =?utf-8?q?b?=\r\n", "Subject", "ab");
    assert_field("Subject:\r\n", "Subject", "");
    assert_field("X: y\r\n", "Subject", "");
    assert_field("", "Subject", "");
    assert_field("X: y\r\n\r\nSubject: body\r\n", "Subject", "");
}

static void test_field_is_cut(void **state)
{
    (void)state;
    static const char header[] = "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= and more of it\r\n";
    for (size_t size = 1; size < 40; size++) {
        char *buf = malloc(size);
        (void)envelope_field(header, sizeof header - 1, "Subject", buf, size);
        assert_true(strlen(buf) < size);
        free(buf);
    }
    size_t len;
    char *much = repeated("Subject: ", "=?utf-8?q?=E2=82=AC?= ", 100000, &len), buf[50];
    (void)envelope_field(much, len, "Subject", buf, sizeof buf);
    assert_true(g_utf8_validate(buf, -1, NULL) || strlen(buf) == sizeof buf - 1);
    free(much);
}

static void test_header_end(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        size_t end;
    } cases[] = {
        {"", 0},
        {"\n", 1},
        {"\r\n", 2},
        {"\r", 0},
        {"a", 0},
        {"a\r\n", 0},
        {"a\r\n\r", 0},
        {"a\r\n\r\n", 5},
        {"a\n\n", 3},
        {"a\r\n\nb", 4},
        {"a\n\r\nb\n\n", 4},
        {"a\r\r\n\r\n", 6},
        {"a\r\n \r\n", 0},
        {"a: b\r\n\r\nc\r\n\r\n", 8},
        {"\r\na", 2},
        {"\r\r\n", 0},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        size_t n = strlen(cases[i].text);
        char *tight = malloc(n > 0 ? n : 1);
        memcpy(tight, cases[i].text, n);
        if (envelope_header_end(tight, n) != cases[i].end)
            fail_msg("case %zu: %zu", i, envelope_header_end(tight, n));
        free(tight);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),        cmocka_unit_test(test_random_headers),
        cmocka_unit_test(test_parser_bombs), cmocka_unit_test(test_corpus),
        cmocka_unit_test(test_recipients),   cmocka_unit_test(test_more_recipients_than_allowed),
        cmocka_unit_test(test_long_field),   cmocka_unit_test(test_list),
        cmocka_unit_test(test_field),        cmocka_unit_test(test_field_is_cut),
        cmocka_unit_test(test_header_end),
    };
    return cmocka_run_group_tests_name("envelope", tests, init, NULL);
}
