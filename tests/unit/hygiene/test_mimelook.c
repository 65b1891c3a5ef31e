/* A look into messages: what is found in good ones, and that no message, however made, takes long
 * or much. */
#include "hygiene/preview.h"
#include "tests/unit/hygiene/look.h"
#include <dirent.h>
#include <glib.h>
#include <sys/resource.h>

#define PARSED_MAX   (3 * MIMELOOK_BYTES + 4096)
#define MEMORY_MAX_K (256 * 1024)
#define NO_LIMIT     (1000 * CLOCK_HOUR) /* for machines that are busy: counts decide, not time */
#if defined(__SANITIZE_ADDRESS__)
#define HOSTILE_LIMIT (-1) /* its realloc always copies: a field of 8 MiB would take minutes */
#else
#define HOSTILE_LIMIT NO_LIMIT
#endif

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

/* The same whatever the line of mbox before it is; a field is none. */
static void a_line_of_mbox(void **state)
{
    static const char *const tops[] = {
        "From a@x.example Mon May  2 16:07:05 2005\r\n", "from a@x.example\r\n",
        ">From a@x.example Mon May  2 16:07:05 2005\n",  "From \n",
        "From : a@x.example,\r\n b@x.example\r\n",       "From:a@x.example\r\n",
    };
    for (size_t i = 0; i < COUNT(tops); i++) {
        struct mimelook look;
        char *text = g_strconcat(tops[i], nested, NULL);
        print_message("%s", tops[i]);
        look_at(*state, text, &look);
        assert_int_equal(look.count, 7);
        assert_part(&look.parts[5], 1, "application/pdf", "Rechnung \xC3\xA4.pdf", strlen("hello"));
        mimelook_free(&look);
        g_free(text);
    }
    struct mimelook look;
    look_at(*state,
            "Content-Type: message/rfc822\n\nFrom a@x.example Mon May  2 16:07:05 2005\n"
            "Content-Type: image/png; name=a.png\n\nxyz",
            &look);
    assert_int_equal(look.count, 2);
    assert_part(&look.parts[1], 1, "image/png", "a.png", 3);
    mimelook_free(&look);
    look_at(*state, "From here on", &look); /* and no line end */
    assert_true(look.count <= 1);
    mimelook_free(&look);
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

/* Each boundary begins like all those outside of it. */
static void boundaries_of_boundaries(GString *text)
{
    GString *name = g_string_new("b");
    for (int i = 0; i < 1000; i++, g_string_append_c(name, 'b'))
        g_string_append_printf(text, "Content-Type: multipart/mixed; boundary=%s\n\n--%s\n",
                               name->str, name->str);
    fill(text, MIMELOOK_BYTES, "--bbbbb\n");
    (void)g_string_free(name, TRUE);
}

static void base64_garbage(GString *text)
{
    g_string_append(text, "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n");
    fill(text, MIMELOOK_BYTES, "=\xFF!*\n=A==B\n");
}

static void quoted_printable_garbage(GString *text)
{
    g_string_append(text,
                    "Content-Type: text/plain\nContent-Transfer-Encoding: quoted-printable\n\n");
    fill(text, MIMELOOK_BYTES, "=\n==G=4");
}

static void uuencode_garbage(GString *text)
{
    g_string_append(text, "Content-Type: text/plain\nContent-Transfer-Encoding: x-uuencode\n\n");
    fill(text, MIMELOOK_BYTES, "begin 644 x\n~~~~~~\nend\n");
}

static void messages_in_base64(GString *text)
{
    for (int i = 0; i < 1000; i++)
        g_string_append(text,
                        "Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n");
    fill(text, MIMELOOK_BYTES, "QUJD");
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
    {"boundaries of boundaries", boundaries_of_boundaries, true},
    {"base64 garbage", base64_garbage, true},
    {"quoted-printable garbage", quoted_printable_garbage, true},
    {"uuencode garbage", uuencode_garbage, true},
    {"messages in base64", messages_in_base64, false},
};

static void hostile_messages_are_bounded(void **state)
{
    struct fixture *f = *state;
    mimelook_patience_for_test(HOSTILE_LIMIT);
    for (size_t i = 0; i < COUNT(hostile); i++) {
        struct mimelook look;
        GString *text = g_string_new(NULL);
        hostile[i].make(text);
        int64_t begun = clock_monotonic();
        look_at_bytes(f, text->str, text->len, &look);
        const struct mimelook_part *part = preview_part(&look);
        json_decref(part != NULL ? preview_lines(&look, part) : json_array());
        int64_t took = clock_monotonic() - begun;
        printf("%-24s %zu octets, %zu parsed, %zu parts, %lld ms: %s\n", hostile[i].name, text->len,
               look.parsed, look.count, (long long)took, look.cut != NULL ? look.cut : "all of it");
        (void)g_string_free(text, TRUE);
        assert_true(look.parsed <= PARSED_MAX);
        assert_true(look.count <= MIMELOOK_PARTS);
        for (size_t p = 0; p < look.count; p++)
            assert_true(look.parts[p].depth <= MIMELOOK_DEPTH);
        if (hostile[i].cut)
            assert_non_null(look.cut);
        mimelook_free(&look);
    }
    mimelook_patience_for_test(NO_LIMIT);
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

static void a_boundary_that_begins_like_another(void **state)
{
    struct mimelook look;
    look_at(*state,
            "Content-Type: multipart/mixed; boundary=b\n\n"
            "--bb\n--b-\n--b\nContent-Type: multipart/mixed; boundary=bb\n\n"
            "--bb\n\none\n--bbb\n--bb--\n--b \n\ntwo\n--b--x\n--b--\n--b\n\nthree\n",
            &look);
    assert_null(look.cut);
    assert_int_equal(look.count, 4);
    assert_string_equal(look.parts[1].type, "multipart/mixed");
    assert_part(&look.parts[2], 2, "text/plain", NULL, strlen("one\n--bbb"));
    assert_part(&look.parts[3], 1, "text/plain", NULL, strlen("two\n--b--x"));
    mimelook_free(&look);
}

static void an_end_that_is_missing(void **state)
{
    struct mimelook look;
    look_at(*state,
            "Content-Type: multipart/mixed; boundary=b\n\n"
            "--b\nContent-Type: multipart/mixed; boundary=c\n\n--c\n\none\n"
            "--b\nContent-Type: application/pdf\nContent-Transfer-Encoding: base64\n\nQUJDR",
            &look);
    assert_null(look.cut);
    assert_int_equal(look.count, 4);
    assert_part(&look.parts[2], 2, "text/plain", NULL, 3);
    assert_part(&look.parts[3], 1, "application/pdf", NULL, 3);
    mimelook_free(&look);
}

static void nuls(void **state)
{
    static const char text[] = "Subject: a\0b\nContent-Type: text/plain; charset=u\0tf-8\n"
                               "\0\nX: y\n\nfirst\0line\n\0\0\n";
    struct mimelook look;
    look_at_bytes(*state, text, sizeof text - 1, &look);
    assert_null(look.cut);
    assert_true(look.count <= 1);
    mimelook_free(&look);
    GString *many = g_string_new("Content-Type: text/plain\n\n");
    gsize top = many->len;
    g_string_set_size(many, top + 300000);
    memset(many->str + top, 0, 300000);
    look_at_bytes(*state, many->str, many->len, &look);
    assert_int_equal(look.parts[0].size, 300000);
    mimelook_free(&look);
    (void)g_string_free(many, TRUE);
}

static void damage_is_said(void **state)
{
    struct fixture *f = *state;
    struct error err = {.text = ""};
    struct mimelook look;
    char id[ID_SIZE] = "", name[SPOOL_NAME_SIZE];
    struct stat st;
    fixture_message(f, SPOOL_BADMAIL, "eml", id, "a@x.example", nested);
    int fd = openat(spool_fd(f->h.spool, SPOOL_BADMAIL), spool_name(name, id, "eml"),
                    O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0 && fstat(fd, &st) == 0 && pwrite(fd, "X", 1, st.st_size - 1) == 1);
    struct message_reader *r = message_open(f->h.spool, SPOOL_BADMAIL, id, &err);
    assert_non_null(r);
    assert_true(mimelook_read(r, &look, &err));
    message_close(r);
    assert_int_equal(look.count, 7); /* as far as it goes */
    assert_non_null(strstr(look.cut, "damaged"));
    mimelook_free(&look);
    r = message_open(f->h.spool, SPOOL_BADMAIL, id, &err);
    assert_int_equal(ftruncate(fd, st.st_size - 300), 0); /* while it is open */
    (void)close(fd);
    assert_true(mimelook_read(r, &look, &err));
    message_close(r);
    assert_true(look.count > 0 && look.count < 7);
    assert_non_null(strstr(look.cut, "damaged"));
    mimelook_free(&look);
    assert_null(message_open(f->h.spool, SPOOL_BADMAIL, id, &err)); /* and so not seen at all */
    assert_int_equal(err.kind, ERROR_PERMANENT);
}

static void time_is_up(void **state)
{
    struct mimelook look;
    GString *text = g_string_new("Content-Type: text/plain\n\n");
    fill(text, 100000, "line\n");
    mimelook_patience_for_test(0);
    look_at(*state, text->str, &look);
    mimelook_patience_for_test(NO_LIMIT);
    assert_non_null(strstr(look.cut, "too long"));
    assert_int_equal(look.parsed, 0);
    assert_int_equal(look.count, 0);
    mimelook_free(&look);
    (void)g_string_free(text, TRUE);
}

/* A line for each part: depth, type, size, name. */
static char *tree(const struct mimelook *look)
{
    GString *text = g_string_new(NULL);
    for (size_t i = 0; i < look->count; i++) {
        const struct mimelook_part *part = &look->parts[i];
        g_string_append_printf(text, "%d %s", part->depth, part->type);
        if (!part->container)
            g_string_append_printf(text, " %llu", (unsigned long long)part->size);
        if (part->name != NULL)
            g_string_append_printf(text, " %s", part->name);
        g_string_append_c(text, '\n');
    }
    return g_string_free(text, FALSE);
}

static void assert_tree(struct fixture *f, const char *file, const char *want)
{
    char name[300];
    size_t len;
    struct mimelook look;
    (void)snprintf(name, sizeof name, "corpus/%.250s", file);
    char *text = data_read(name, &len);
    look_at_bytes(f, text, len, &look);
    char *got = tree(&look);
    print_message("%s\n", file);
    assert_string_equal(got, want);
    assert_null(look.cut);
    g_free(got);
    free(text);
    mimelook_free(&look);
}

static void real_messages(void **state)
{
    char *all = data_read("mimelook/trees.txt", NULL), *rest = all, *line;
    GString *want = g_string_new(NULL);
    const char *file = NULL;
    int seen = 0;
    while ((line = strsep(&rest, "\n")) != NULL) {
        if (line[0] == ' ') {
            g_string_append_printf(want, "%s\n", line + 2);
        } else if (line[0] != '#') {
            if (file != NULL)
                assert_tree(*state, file, want->str);
            g_string_truncate(want, 0);
            file = line;
            seen++;
        }
    }
    assert_int_equal(seen, 11 + 1); /* and nothing, behind the last line end */
    (void)g_string_free(want, TRUE);
    free(all);
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
        if (getenv("DUMP"))
            printf("@%s\n%s", entry->d_name, tree(&look));
        mimelook_free(&look);
        free(text);
        seen++;
    }
    (void)closedir(walk);
    assert_true(seen > 100);
}

int main(void)
{
    mimelook_patience_for_test(NO_LIMIT);
    const struct CMUnitTest tests[] = {
        fixture_test(a_tree_with_names_and_sizes),
        fixture_test(a_line_of_mbox),
        fixture_test(real_messages),
        fixture_test(hostile_messages_are_bounded),
        fixture_test(levels_and_parts_are_counted),
        fixture_test(endless_lines_keep_their_size),
        fixture_test(the_first_8_mib),
        fixture_test(a_boundary_that_begins_like_another),
        fixture_test(an_end_that_is_missing),
        fixture_test(nuls),
        fixture_test(damage_is_said),
        fixture_test(time_is_up),
        fixture_test(the_corpus),
        cmocka_unit_test(hostile_messages_take_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
