/* First lines: of which part, out of which charset and encoding, and how many. */
#include "hygiene/preview.h"
#include "tests/unit/hygiene/look.h"
#include <glib.h>

/* The lines, each with "|" behind it; the caller frees them. */
static char *lines_of(struct fixture *f, const char *message, size_t len)
{
    struct mimelook look;
    look_at_bytes(f, message, len, &look);
    const struct mimelook_part *part = preview_part(&look);
    GString *got = g_string_new(NULL);
    json_t *lines = part != NULL ? preview_lines(&look, part) : json_array();
    assert_true(json_array_size(lines) <= PREVIEW_LINES);
    for (size_t i = 0; i < json_array_size(lines); i++) {
        assert_true(json_string_length(json_array_get(lines, i)) < PREVIEW_WIDTH);
        g_string_append_printf(got, "%s|", json_string_value(json_array_get(lines, i)));
    }
    json_decref(lines);
    mimelook_free(&look);
    return g_string_free(got, FALSE);
}

static void assert_lines(struct fixture *f, const char *message, const char *want)
{
    char *got = lines_of(f, message, strlen(message));
    print_message("%s\n", message);
    assert_string_equal(got, want);
    g_free(got);
}

#define MULTIPART "Content-Type: multipart/mixed; boundary=b\n\n"
#define HTML      "--b\nContent-Type: text/html\n\n<p>html</p>\n"
#define PLAIN     "--b\nContent-Type: text/plain\n\nplain\n"
#define OTHER     "--b\nContent-Type: text/calendar\n\nother\n"
#define ATTACHED  "--b\nContent-Type: text/plain\nContent-Disposition: ATTACHMENT\n\nattached\n"
#define INNER     "--b\nContent-Type: message/rfc822\n\nSubject: inner\n\ninner\n"

static void which_part(void **state)
{
    assert_lines(*state, MULTIPART ATTACHED OTHER HTML PLAIN "--b--\n", "plain|");
    assert_lines(*state, MULTIPART ATTACHED OTHER HTML "--b--\n", "html|");
    assert_lines(*state, MULTIPART ATTACHED OTHER "--b--\n", "other|");
    assert_lines(*state, MULTIPART ATTACHED "--b--\n", "");
    assert_lines(*state, MULTIPART INNER ATTACHED "--b--\n", "inner|");
    assert_lines(*state, "content-type: TEXT/PLAIN\n\nloud\n", "loud|");
    assert_lines(*state, "Content-Type: text/HTML\n\n<b>loud</b>\n", "loud|");
    assert_lines(*state, "From a@x.example Mon May  2 16:07:05 2005\nSubject: x\n\nmbox\n",
                 "mbox|");
}

static void charsets(void **state)
{
    static const struct {
        const char *charset, *base64, *want;
    } cases[] = {
        {"iso-8859-1", "Z3L832U=",
         "gr\xC3\xBC\xC3\x9F"
         "e|"},
        {"ISO-8859-15", "pA==", "\xE2\x82\xAC|"},
        {"koi8-r", "8NLJ18XU", "\xD0\x9F\xD1\x80\xD0\xB8\xD0\xB2\xD0\xB5\xD1\x82|"},
        {"utf-16", "/v8AaABp", "hi|"},
        {"utf-16le", "aABpAAoAGwBbAA==", "hi|\\x1B[|"},
        {"iso-2022-jp", "GyRCJEYkORsoQg==", "\xE3\x81\xA6\xE3\x81\x99|"},
        {"utf-7", "K0FCcy1bMkorQUpzLQ==", "\\x1B[2J\\u{009B}|"},
        {"windows-1256", "YWL9/g==", "ab\\u{200E}\\u{200F}|"},
        {"utf-8", "Z3LDvMOfZQ==",
         "gr\xC3\xBC\xC3\x9F"
         "e|"},
        {"utf-8", "Z3L832U=",
         "gr\\xFC\\xDF"
         "e|"}, /* a lie */
        {"us-ascii", "Z3L8biBpcyD8", "gr\\xFCn is \\xFC|"},
        {"utf-16le", "aAAA3GkA", "h\\x00\\xDCi|"}, /* half a pair */
        {"utf-32be", "AAAAaP////8AAABpAA==", "h\\xFF\\xFF\\xFF\\xFFi\\x00|"},
        {"euc-jp", "YaRi/2M=",
         "a\\xA4"
         "b\\xFF"
         "c|"},
        {"no-such", "Z3L83w==", "gr\\xFC\\xDF|"},
        {"../../tmp/evil", "Z3L8", "gr\\xFC|"},
        {"utf-8//translit", "Z3L8", "gr\\xFC|"},
        {"\"\"", "Z3L8", "gr\\xFC|"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        char *message = g_strdup_printf("Content-Type: text/plain; charset=\"%s\"\n"
                                        "Content-Transfer-Encoding: base64\n\n%s\n",
                                        cases[i].charset, cases[i].base64);
        assert_lines(*state, message, cases[i].want);
        g_free(message);
    }
}

static void encodings(void **state)
{
    assert_lines(*state,
                 "Content-Type: text/plain; charset=utf-8\n"
                 "Content-Transfer-Encoding: quoted-printable\n\n"
                 "soft=\n line =C3=A4=20\n=1B[2J =zz =\n",
                 "soft line \xC3\xA4 |\\x1B[2J =zz |");
    assert_lines(*state,
                 "Content-Type: text/plain\nContent-Transfer-Encoding: base64\n\n"
                 "b25\nlCn*R3bw\n==\n",
                 "one|two|");
    assert_lines(
        *state, "Content-Type: text/plain\nContent-Transfer-Encoding: x-nobody-knows\n\nas it is\n",
        "as it is|");
}

static void lines(void **state)
{
    assert_lines(*state, "Subject: x\n\n\n \t\r\n\r\n  first\r\n\r\n\r\nlast", "  first|||last|");
    assert_lines(*state, "Subject: x\n\na\tb\n12345678\tc\n", "a       b|12345678        c|");
    assert_lines(*state, "Subject: x\n\nno\rend\r\r\n", "no\\x0Dend\\x0D|");
    assert_lines(*state, "Subject: x\n\n \n\n", "");
    assert_lines(*state, "Subject: x\n\n", "");
}

static void bounds(void **state)
{
    GString *text = g_string_new("Subject: x\n\n");
    for (int i = 0; i < 100; i++)
        g_string_append_printf(text, "%d\n", i);
    char *got = lines_of(*state, text->str, text->len);
    assert_string_equal(got, "0|1|2|3|4|5|6|7|8|9|10|11|12|13|14|15|16|17|18|19|");
    g_free(got);
    g_string_assign(text, "Subject: x\n\n");
    for (int i = 0; i < 1000000; i++)
        g_string_append_c(text, i % 2 ? '\t' : '\x1B');
    g_string_append(text, "\nsecond\n"); /* behind what is decoded */
    got = lines_of(*state, text->str, text->len);
    assert_true(strlen(got) < PREVIEW_WIDTH + 1);
    assert_string_equal(got + strlen(got) - 4, "...|");
    g_free(got);
    (void)g_string_free(text, TRUE);
}

static void nuls_do_not_end_it(void **state)
{
    static const char text[] = "Subject: x\n\n\0one\0two\nthree\n";
    char *got = lines_of(*state, text, sizeof text - 1);
    assert_string_equal(got, "\\x00one\\x00two|three|");
    g_free(got);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(which_part), fixture_test(charsets), fixture_test(encodings),
        fixture_test(lines),      fixture_test(bounds),   fixture_test(nuls_do_not_end_it),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
