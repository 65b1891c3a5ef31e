/* HTML as text: what is left out, what entities become, and that it never grows. */
#include "hygiene/htmltext.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"

static void assert_text(const char *html, const char *want)
{
    size_t n;
    char *text = htmltext_reduce(html, strlen(html), &n);
    print_message("%s\n", html);
    assert_string_equal(text, want);
    assert_int_equal(n, strlen(want));
    free(text);
}

static void what_nobody_sees(void **state)
{
    (void)state;
    assert_text("a<!-- <b>not this</b> -- > -->b", "ab");
    assert_text("a<SCRIPT type=x>if (1 < 2) document.write('<p>x</p>')</Script >b", "ab");
    assert_text("a<style>p { color: red }</style>b", "ab");
    assert_text("<head><meta x=y>z</head>a<title>t</title>b", "ab");
    assert_text("<!DOCTYPE html><html><body>a", "a");
    assert_text("a<![CDATA[x]]>b", "ab");
    assert_text("a<template>x</template>b", "ab");
}

static void what_has_no_end(void **state)
{
    static const char *const starts[] = {
        "<!--",     "<!-- a --", "<script",    "<script>", "<style", "<style></styl",
        "<title>x", "<b",        "<a href=\"", "</",       "<!",     "<"};
    (void)state;
    for (size_t i = 0; i < COUNT(starts); i++) {
        char html[64];
        size_t n;
        (void)snprintf(html, sizeof html, "a%s", starts[i]);
        char *text = htmltext_reduce(html, strlen(html), &n);
        print_message("%s\n", html);
        assert_true(n >= 1 && text[0] == 'a' && n <= strlen(html));
        assert_null(strstr(text, "script"));
        free(text);
    }
    assert_text("a<!-->b-->c", "ab-->c"); /* as HTML has it */
    assert_text("a<b>b<i>c<p>d</b>e", "abc\nde");
}

static void lines_and_blanks(void **state)
{
    (void)state;
    assert_text("  a \r\n\t b ", "a b");
    assert_text("a<br>b<BR/>c", "a\nb\nc");
    assert_text("<p>a</p><p></p><div></div><p>b</p>", "a\n\nb\n");
    assert_text("<table><tr><td>a</td><td>b</td></tr><tr><th>c</th></tr></table>", "a b\n\nc\n\n");
    assert_text("a < b, c <3 and 5<6", "a < b, c <3 and 5<6");
    assert_text("<pre>x</pre><prefix>y</prefix>", "x\ny");
}

static void entities(void **state)
{
    (void)state;
    assert_text("&lt;b&gt; &amp;amp; &quot;&apos;&nbsp;&euro;", "<b> &amp; \"' \xE2\x82\xAC");
    assert_text("&#65;&#x42;&#X43;&#8364;&#x1F600;", "ABC\xE2\x82\xAC\xF0\x9F\x98\x80");
    assert_text("&auml;&Auml;&AUML;", "\xC3\xA4\xC3\x84&AUML;");
    assert_text("&bogus; & &; &#; &#x; &lt &#65", "&bogus; & &; &#; &#x; &lt &#65");
    assert_text("&#xD800; &#1114112; &#99999999999; &#-1; &#0;",
                "&#xD800; &#1114112; &#99999999999; &#-1; &#0;");
    assert_text("&verylongname;", "&verylongname;");
}

/* They are for who shows the text to escape, as if they stood there by themselves. */
static void control_characters(void **state)
{
    (void)state;
    assert_text("&#27;[2J", "\x1B[2J");
    assert_text("&#x9b;", "\xC2\x9B");
    assert_text("&#155;", "\xC2\x9B");
    assert_text("&#x202e;", "\xE2\x80\xAE");
    assert_text("&#x7f;&#8;", "\x7F\b");
}

/* Random sequences of what matters. Memory is exact, so that a sanitizer sees a step too far. */
static void it_never_grows(void **state)
{
    static const char *const pieces[] = {
        "<",    ">",     "&",    "<p>",   "<br", "</td>", "<td>", "&lt;", "&#x9b;", "&#128;",
        "&",    ";",     "#",    "x",     "1",   " ",     "\n",   "<!--", "-->",    "<script>",
        "\xFF", "</scr", "ipt>", "&nbsp", "a",   "<!",    "</",   "'",    "&#9;",   "&euro;"};
    unsigned long long seed = 20261127;
    (void)state;
    for (int i = 0; i < 50000; i++) {
        char html[400];
        size_t len = 0, n;
        for (unsigned long long k = dice(&seed) % 40; k > 0; k--) {
            const char *piece = pieces[dice(&seed) % COUNT(pieces)];
            memcpy(html + len, piece, strlen(piece));
            len += strlen(piece);
        }
        char *exact = malloc(len > 0 ? len : 1);
        memcpy(exact, html, len);
        char *text = htmltext_reduce(exact, len, &n);
        if (n > len)
            fail_msg("%zu octets of %zu: %.*s", n, len, (int)len, html);
        assert_int_equal(text[n], '\0');
        free(text);
        free(exact);
    }
}

static void nuls(void **state)
{
    static const char html[] = "a\0<p>b\0&\0;<\0>";
    size_t n;
    (void)state;
    char *text = htmltext_reduce(html, sizeof html - 1, &n);
    assert_int_equal(n, 11);
    assert_memory_equal(text, "a\0\nb\0&\0;<\0>", 11);
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_nobody_sees),
        cmocka_unit_test(what_has_no_end),
        cmocka_unit_test(lines_and_blanks),
        cmocka_unit_test(entities),
        cmocka_unit_test(control_characters),
        cmocka_unit_test(it_never_grows),
        cmocka_unit_test(nuls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
