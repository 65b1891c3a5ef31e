/* A look into messages: what is found in good ones, and that no message, however made, takes long
 * or much. */
#include "hygiene/mimelook.h"
#include "hygiene/preview.h"
#include "tests/unit/hygiene/fixture.h"
#include <dirent.h>
#include <glib.h>
#include <sys/resource.h>

#define TIME_MAX_MS  3000 /* 500 are promised; machines are busy, and sanitizers slow */
#define MEMORY_MAX_K (256 * 1024)

static void look_at_bytes(struct fixture *f, const char *text, size_t len, struct mimelook *look)
{
    struct error err = {.text = ""};
    struct message_head head = {.account = "sales", .origin = "pop3://test/sales uidl=1"};
    id_new(head.id);
    assert_true(envelope_list_add(&head.recipients, "one@corp.example"));
    struct message_writer *w = message_create(f->h.spool, SPOOL_BADMAIL, "eml", &head, &err);
    assert_non_null(w);
    assert_true(message_append(w, text, len, &err));
    assert_true(message_finish(w, &err));
    message_writer_free(w);
    message_head_free(&head);
    struct message_reader *r = message_open(f->h.spool, SPOOL_BADMAIL, head.id, &err);
    assert_non_null(r);
    assert_true(mimelook_read(r, look, &err));
    message_close(r);
}

static void look_at(struct fixture *f, const char *text, struct mimelook *look)
{
    look_at_bytes(f, text, strlen(text), look);
}

/* --- good messages --- */

static const char nested[] =
    "From: a@x.example\r\nContent-Type: multipart/mixed; boundary=\"b\"\r\n\r\n"
    "preamble\r\n--b\r\nContent-Type: text/plain; charset=iso-8859-1\r\n"
    "Content-Transfer-Encoding: quoted-printable\r\n\r\n\r\ngr=FC=DFe\r\nzwei\tspalten\r\n"
    "--b\r\nContent-Type: message/rfc822\r\n\r\n"
    "From: c@y.example\r\nContent-Type: multipart/alternative; boundary=i\r\n\r\n"
    "--i\r\nContent-Type: text/html\r\n\r\n<p>in<b>ner</b></p>\r\n--i--\r\n\r\n"
    "--b\r\nContent-Type: application/pdf; name=\"=?utf-8?q?Rechnung_=C3=A4?=.pdf\"\r\n"
    "Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment\r\n\r\naGVsbG8=\r\n"
    "--b\r\nContent-Type: text/plain\r\n"
    "Content-Disposition: attachment; filename*=utf-8''%e2%82%ac.txt\r\n\r\nabc\r\n--b--\r\n";

static void assert_part(const struct mimelook_part *part, int depth, const char *type,
                        const char *name, uint64_t size)
{
    assert_int_equal(part->depth, depth);
    assert_string_equal(part->type, type);
    assert_int_equal(part->size, size);
    if (name == NULL)
        assert_null(part->name);
    else
        assert_string_equal(part->name, name);
}

static void a_tree_with_names_and_sizes(void **state)
{
    struct mimelook look;
    look_at(*state, nested, &look);
    assert_null(look.cut);
    assert_int_equal(look.count, 7);
    assert_string_equal(look.parts[0].type, "multipart/mixed");
    assert_part(&look.parts[1], 1, "text/plain", NULL,
                strlen("\r\ngr\xFC\xDF"
                       "e\r\nzwei\tspalten"));
    assert_string_equal(look.parts[2].type, "message/rfc822");
    assert_true(look.parts[2].container);
    assert_int_equal(look.parts[3].depth, 2);
    assert_part(&look.parts[4], 3, "text/html", NULL, strlen("<p>in<b>ner</b></p>"));
    assert_part(&look.parts[5], 1, "application/pdf", "Rechnung \xC3\xA4.pdf", strlen("hello"));
    assert_part(&look.parts[6], 1, "text/plain", "\xE2\x82\xAC.txt", strlen("abc"));
    assert_true(look.parts[6].attachment);
    mimelook_free(&look);
}

static void assert_preview(struct fixture *f, const char *message, const char *want)
{
    struct mimelook look;
    look_at(f, message, &look);
    const struct mimelook_part *part = preview_part(&look);
    GString *got = g_string_new(NULL);
    json_t *lines = part != NULL ? preview_lines(&look, part) : json_array();
    for (size_t i = 0; i < json_array_size(lines); i++)
        g_string_append_printf(got, "%s|", json_string_value(json_array_get(lines, i)));
    assert_string_equal(got->str, want);
    (void)g_string_free(got, TRUE);
    json_decref(lines);
    mimelook_free(&look);
}

static void first_lines_are_decoded(void **state)
{
    assert_preview(*state, nested,
                   "gr\xC3\xBC\xC3\x9F"
                   "e|zwei    spalten|");
    assert_preview(*state,
                   "Content-Type: text/plain; charset=utf-16le\n"
                   "Content-Transfer-Encoding: base64\n\naABpAAoAGwBbAAoA\n",
                   "hi|\\x1B[|");
    assert_preview(*state, "Content-Type: text/plain; charset=no-such\n\na\xFF\x07z\n",
                   "a\\xFF\\x07z|");
    assert_preview(*state, "Subject: no type\n\nfirst\n\nthird", "first||third|");
    assert_preview(*state, "Content-Type: image/png\n\nfirst\n", "");
}

static void html_is_reduced(void **state)
{
    assert_preview(*state,
                   "Content-Type: text/html; charset=utf-8\n\n"
                   "<html><head><title>no</title><style>p{}</style></head><body>\n"
                   "<!-- not this --><p>Sehr  geehrte&nbsp;<b>Da</b>men</p>\n"
                   "<table><tr><td>a</td><td>b</td></tr></table><br>5 &lt; 6 &#8364; &#x1b;[2J"
                   "<script>alert('x')</script> &bogus; a < b<a href=\"x\">link</a>\n",
                   "Sehr geehrte Damen||a b||5 < 6 \xE2\x82\xAC \\x1B[2J &bogus; a < blink |");
}

/* --- hostile ones --- */

static void fill(GString *text, size_t room, const char *piece)
{
    while (text->len < room)
        g_string_append(text, piece);
}

static void endless_multipart(GString *text)
{
    for (int i = 0; i < 100000; i++)
        g_string_append_printf(text, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i,
                               i);
}

static void endless_messages(GString *text)
{
    for (int i = 0; i < 100000; i++)
        g_string_append(text, "Content-Type: message/rfc822\n\n");
}

/* Each level of these lies in a parser of its own. */
static void endless_both(GString *text)
{
    for (int i = 0; i < 50000; i++)
        g_string_append_printf(text,
                               "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n"
                               "Content-Type: message/rfc822\n\n",
                               i, i);
}

static void endless_parts(GString *text)
{
    g_string_append(text, "Content-Type: multipart/mixed; boundary=b\n\n");
    fill(text, MIMELOOK_BYTES, "--b\n\nx\n");
}

static void endless_fields(GString *text)
{
    fill(text, MIMELOOK_BYTES, "a:\n");
}

static void endless_types(GString *text)
{
    fill(text, MIMELOOK_BYTES, "Content-Type: text/plain; a=b; c=\"d\"\n");
}

static void endless_parameters(GString *text)
{
    g_string_append(text, "Content-Type: text/plain");
    for (int i = 0; text->len < MIMELOOK_BYTES; i++)
        g_string_append_printf(text, ";\n a%d=b", i);
}

static void endless_continuations(GString *text)
{
    g_string_append(text, "Content-Type: text/plain");
    for (int i = 0; text->len < MIMELOOK_BYTES; i++)
        g_string_append_printf(text, "; name*%d*=%%41", 500000 - i);
}

/* GMime's own way to take these apart overruns the stack. */
static void groups_in_groups(GString *text)
{
    g_string_append(text, "Content-Type: message/rfc822\n\nTo: ");
    fill(text, MIMELOOK_BYTES, "a:");
}

static void addresses_in_a_message(GString *text)
{
    g_string_append(text, "Content-Type: message/rfc822\n\nTo: ");
    fill(text, MIMELOOK_BYTES, "a@b,\n ");
}

static void lines_like_boundaries(GString *text)
{
    for (int i = 0; i < 1000; i++)
        g_string_append_printf(text, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i,
                               i);
    g_string_append(text, "\n");
    fill(text, MIMELOOK_BYTES, "--\n");
}

static void long_boundaries(GString *text)
{
    char *name = g_strnfill(4000, 'x');
    for (int i = 0; i < 1000; i++)
        g_string_append_printf(text, "Content-Type: multipart/mixed; boundary=\"%s%d\"\n\n--%s%d\n",
                               name, i, name, i);
    while (text->len < MIMELOOK_BYTES)
        g_string_append_printf(text, "--%s\n", name);
    g_free(name);
}

static void one_line(GString *text)
{
    fill(text, MIMELOOK_BYTES, "x");
}

static void one_field_name(GString *text)
{
    g_string_append(text, "Subject: x\n");
    fill(text, MIMELOOK_BYTES, "y");
}

static void only_line_ends(GString *text)
{
    fill(text, MIMELOOK_BYTES, "\n");
}

static void encoded_words(GString *text)
{
    g_string_append(text, "Content-Type: text/plain; name=\"");
    fill(text, MIMELOOK_BYTES, "=?utf-8?b?QQ==?= ");
}

static void html_without_end(GString *text)
{
    g_string_append(text, "Content-Type: text/html\n\n");
    fill(text, MIMELOOK_BYTES, "<script><!--<");
}

static const struct {
    const char *name;
    void (*make)(GString *text);
    bool cut;
} hostile[] = {
    {"endless multipart", endless_multipart, true},
    {"endless messages", endless_messages, true},
    {"endless both", endless_both, true},
    {"endless parts", endless_parts, true},
    {"endless fields", endless_fields, true},
    {"endless types", endless_types, true},
    {"endless parameters", endless_parameters, true},
    {"endless continuations", endless_continuations, true},
    {"groups in groups", groups_in_groups, true},
    {"addresses in a message", addresses_in_a_message, true},
    {"lines like boundaries", lines_like_boundaries, true},
    {"long boundaries", long_boundaries, true},
    {"one line", one_line, false},
    {"one field name", one_field_name, false},
    {"only line ends", only_line_ends, false},
    {"encoded words", encoded_words, true},
    {"HTML without end", html_without_end, true},
};

static void hostile_messages_take_no_time(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < COUNT(hostile); i++) {
        struct mimelook look;
        GString *text = g_string_new(NULL);
        hostile[i].make(text);
        int64_t begun = clock_monotonic();
        look_at_bytes(f, text->str, text->len, &look);
        const struct mimelook_part *part = preview_part(&look);
        json_decref(part != NULL ? preview_lines(&look, part) : json_array());
        int64_t took = clock_monotonic() - begun;
        printf("%-24s %zu octets, %zu parts, %lld ms: %s\n", hostile[i].name, text->len, look.count,
               (long long)took, look.cut != NULL ? look.cut : "all of it");
        (void)g_string_free(text, TRUE);
        assert_true(took < TIME_MAX_MS);
        assert_true(look.count <= MIMELOOK_PARTS);
        for (size_t p = 0; p < look.count; p++)
            assert_true(look.parts[p].depth <= MIMELOOK_DEPTH);
        if (hostile[i].cut)
            assert_non_null(look.cut);
        mimelook_free(&look);
    }
}

static void hostile_messages_take_no_memory(void **state)
{
    (void)state;
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage); /* of all the tests before this one */
    printf("peak %ld KiB\n", usage.ru_maxrss);
#if !defined(__SANITIZE_ADDRESS__) /* which keeps what was freed for a while */
    assert_true(usage.ru_maxrss < MEMORY_MAX_K);
#endif
}

static void levels_and_parts_are_counted(void **state)
{
    struct mimelook look;
    GString *text = g_string_new(NULL);
    endless_multipart(text);
    look_at(*state, text->str, &look);
    assert_int_equal(look.count, MIMELOOK_DEPTH + 1);
    assert_int_equal(look.parts[look.count - 1].depth, MIMELOOK_DEPTH);
    mimelook_free(&look);
    g_string_truncate(text, 0);
    for (int i = 0; i < 150; i++)
        g_string_append(text, "Content-Type: message/rfc822\n\n");
    look_at(*state, text->str, &look);
    assert_int_equal(look.count, MIMELOOK_DEPTH + 1);
    assert_non_null(strstr(look.cut, "100 levels"));
    mimelook_free(&look);
    g_string_truncate(text, 0);
    g_string_append(text, "Content-Type: multipart/mixed; boundary=b\n\n");
    for (int i = 0; i < 1500; i++)
        g_string_append(text, "--b\n\nx\n");
    look_at(*state, text->str, &look);
    assert_int_equal(look.count, MIMELOOK_PARTS);
    assert_non_null(strstr(look.cut, "1000 parts"));
    mimelook_free(&look);
    (void)g_string_free(text, TRUE);
}

/* base64 of a whole attachment in one line, and an end that is missing. */
static void endless_lines_keep_their_size(void **state)
{
    struct mimelook look;
    GString *text =
        g_string_new("Content-Type: application/pdf\nContent-Transfer-Encoding: base64\n\n");
    fill(text, text->len + 400000, "QUJD");
    look_at(*state, text->str, &look);
    assert_null(look.cut);
    assert_int_equal(look.parts[0].size, 300000);
    mimelook_free(&look);
    g_string_append(text, "Q");
    look_at(*state, text->str, &look);
    assert_int_equal(look.count, 1);
    assert_true(look.parts[0].size >= 300000 && look.parts[0].size <= 300001);
    mimelook_free(&look);
    (void)g_string_free(text, TRUE);
}

static void the_first_8_mib(void **state)
{
    struct mimelook look;
    GString *text = g_string_new("Subject: large\n\nfirst line\n");
    fill(text, MIMELOOK_BYTES + 100, "line\n");
    look_at(*state, text->str, &look);
    assert_non_null(strstr(look.cut, "8 MiB"));
    assert_int_equal(look.len, MIMELOOK_BYTES);
    mimelook_free(&look);
    g_string_truncate(text, MIMELOOK_BYTES);
    look_at(*state, text->str, &look);
    assert_null(look.cut);
    mimelook_free(&look);
    (void)g_string_free(text, TRUE);
}

static void the_corpus(void **state)
{
    const char *data = getenv("POPFERRY_DATA");
    char dir[300], name[280];
    (void)snprintf(dir, sizeof dir, "%s/corpus", data != NULL ? data : "tests/data");
    DIR *walk = opendir(dir);
    assert_non_null(walk);
    int seen = 0;
    for (struct dirent *entry; (entry = readdir(walk)) != NULL;) {
        if (strstr(entry->d_name, ".eml") == NULL)
            continue;
        size_t len;
        struct mimelook look;
        (void)snprintf(name, sizeof name, "corpus/%.250s", entry->d_name);
        char *text = data_read(name, &len);
        look_at_bytes(*state, text, len, &look);
        const struct mimelook_part *part = preview_part(&look);
        json_decref(part != NULL ? preview_lines(&look, part) : json_array());
        mimelook_free(&look);
        free(text);
        seen++;
    }
    (void)closedir(walk);
    assert_true(seen > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(a_tree_with_names_and_sizes),
        fixture_test(first_lines_are_decoded),
        fixture_test(html_is_reduced),
        fixture_test(hostile_messages_take_no_time),
        fixture_test(levels_and_parts_are_counted),
        fixture_test(endless_lines_keep_their_size),
        fixture_test(the_first_8_mib),
        fixture_test(the_corpus),
        cmocka_unit_test(hostile_messages_take_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
