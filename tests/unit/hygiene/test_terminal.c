/* No byte below 0x20 but LF and tab, no C1, no bidi control reaches the terminal from any field of
 * any message: random ones, hostile in all their parts, lie in quarantine, and every string of
 * every answer about them is looked at, and so is every event. */
#include "hygiene/badmail.h"
#include "hygiene/digest.h"
#include "hygiene/retention.h"
#include "tests/unit/hygiene/fixture.h"
#include <glib.h>
#include <iconv.h>

/* POPFERRY_MESSAGES=N tries more, and POPFERRY_SEED=N others. */
#define MESSAGES    5000
#define SEED        20261126
#define ONE_IN(n)   (dice(&seed) % (n) == 0)
#define PICK(array) ((array)[dice(&seed) % COUNT(array)])

static unsigned long long seed;
static GHashTable *escaped; /* key -> how many strings under it had something to escape */

/* --- what hostile people write --- */

#define PIECE(text)                                                                                \
    {                                                                                              \
        text, sizeof text - 1                                                                      \
    }

static const struct piece {
    const char *bytes;
    size_t len;
} pieces[] = {
    PIECE("\x1B[2J"),
    PIECE("\x1B]0;title\x07"),
    PIECE("\x1B]52;c;YQ==\x1B\\"),
    PIECE("\x1BP1$r\x1B\\"),
    PIECE("\x1B"),
    PIECE("\x9B"
          "2J"),
    PIECE("\x9D"
          "0;x\x9C"),
    PIECE("\xC2\x80"),
    PIECE("\xC2\x9B"
          "31m"),
    PIECE("\xC2\x9F"),
    PIECE("\xD8\x9C"),
    PIECE("\xE2\x80\x8E"),
    PIECE("\xE2\x80\x8F"),
    PIECE("\xE2\x80\xA8"),
    PIECE("\xE2\x80\xA9"),
    PIECE("\xE2\x80\xAA"),
    PIECE("\xE2\x80\xAE"
          "gpj.exe"),
    PIECE("\xE2\x81\xA6"),
    PIECE("\xE2\x81\xA9"),
    PIECE("\x7F"),
    PIECE("\b\b\b"),
    PIECE("\x0B\x0C\x0E\x0F"),
    PIECE("\r"),
    PIECE("\t"),
    PIECE("\x05"),
    PIECE("\xC0\x9B"), /* overlong */
    PIECE("\xC0\x80"),
    PIECE("\xE0\x80\x9B"),
    PIECE("\xF0\x80\x80\x9B"),
    PIECE("\xED\xA0\x80"),     /* a surrogate */
    PIECE("\xF4\x90\x80\x80"), /* behind the last character */
    PIECE("\xE2\x80"),         /* cut off */
    PIECE("\xFF\xFE"),
    PIECE("+ABs-[2J+AJs-+IC4-"), /* UTF-7 of ESC, CSI, U+202E */
    PIECE("+IGYgZyBoIGk-"),
    PIECE("\x1B$B$\"\x1B(B"), /* ISO-2022-JP */
    PIECE("\x1B(J\x1B[2J"),
    PIECE("\x1B\0[\0"), /* UTF-16 */
    PIECE(".  .f f"),
    PIECE("\xFD\xFE"), /* windows-1256: U+200E, U+200F */
    PIECE("\x27\x3F"), /* EBCDIC: ESC, SUB */
    PIECE("&#27;[2J&#x9b;&#x202e;&#155;&#8238;"),
    PIECE("&#x1b&#x0000000009b;&#7;&#0;&#13;&#10;"),
    PIECE("\"quoted\\\""),
    PIECE("<b>"),
    PIECE("\xC3\xA4\xE2\x82\xAC"),
    PIECE("word"),
};

static const char *const charsets[] = {
    "utf-8",    "us-ascii",     "iso-8859-1",   "utf-7",       "iso-2022-jp", "utf-16",
    "utf-16be", "windows-1256", "windows-1252", "cp037",       "koi8-r",      "utf-32",
    "gb18030",  "iso-8859-6",   "no-such",      "unicode-1-1", "big5",        "iso-ir-1"};
static const char *const types[] = {"text/plain", "text/html", "text/x-odd",
                                    "application/octet-stream", "message/rfc822"};
static const char *const encodings[] = {"7bit", "8bit", "base64", "quoted-printable", "x-uuencode"};

static void add_pieces(GString *to)
{
    for (unsigned n = 1 + (unsigned)(dice(&seed) % 3); n > 0; n--) {
        struct piece piece = PICK(pieces);
        g_string_append_len(to, piece.bytes, (gssize)piece.len);
        if (ONE_IN(3))
            g_string_append(to, " and ");
    }
}

static void add_hex(GString *to, const GString *bytes, char mark)
{
    for (gsize i = 0; i < bytes->len; i++)
        g_string_append_printf(to, "%c%02X", mark, (unsigned char)bytes->str[i]);
}

/* A value as it may stand in a header field, in one of the ways to write it. */
static void add_value(GString *to)
{
    GString *bytes = g_string_new(NULL);
    add_pieces(bytes);
    char *base64 = g_base64_encode((const guchar *)bytes->str, bytes->len);
    switch (dice(&seed) % 4) {
    case 0:
        g_string_append_printf(to, "=?%s?b?%s?=", PICK(charsets), base64);
        break;
    case 1:
        g_string_append_printf(to, "=?%s?q?", PICK(charsets));
        add_hex(to, bytes, '=');
        g_string_append(to, "?=");
        break;
    default:
        g_string_append_len(to, bytes->str, (gssize)bytes->len);
    }
    g_free(base64);
    (void)g_string_free(bytes, TRUE);
}

static void add_parameter(GString *to, const char *name)
{
    if (ONE_IN(2)) {
        GString *bytes = g_string_new(NULL);
        add_pieces(bytes);
        g_string_append_printf(to, "; %s*=%s''", name, PICK(charsets));
        add_hex(to, bytes, '%');
        (void)g_string_free(bytes, TRUE);
        return;
    }
    g_string_append_printf(to, "; %s=\"", name);
    add_value(to);
    g_string_append_c(to, '"');
}

static void add_body(GString *to, const char *encoding)
{
    GString *bytes = g_string_new(NULL);
    for (unsigned n = (unsigned)(dice(&seed) % 4); n > 0; n--) {
        add_pieces(bytes);
        g_string_append(bytes, ONE_IN(2) ? "\r\n" : "\n");
    }
    if (strcmp(encoding, "base64") == 0) {
        char *base64 = g_base64_encode((const guchar *)bytes->str, bytes->len);
        g_string_append(to, base64);
        g_free(base64);
    } else if (strcmp(encoding, "quoted-printable") == 0) {
        add_hex(to, bytes, '=');
    } else {
        g_string_append_len(to, bytes->str, (gssize)bytes->len);
    }
    (void)g_string_free(bytes, TRUE);
}

static void add_type(GString *to)
{
    g_string_append_printf(to, "Content-Type: %s", PICK(types));
    if (ONE_IN(5))
        add_pieces(to);
    if (ONE_IN(2))
        g_string_append_printf(to, "; charset=%s", PICK(charsets));
    else if (ONE_IN(3))
        add_parameter(to, "charset");
    if (ONE_IN(3))
        add_parameter(to, "name");
    g_string_append(to, "\n");
}

static void add_part(GString *to, bool last)
{
    const char *encoding = PICK(encodings);
    if (!ONE_IN(6))
        add_type(to);
    if (ONE_IN(2)) {
        g_string_append(to, ONE_IN(2) ? "Content-Disposition: attachment"
                                      : "Content-Disposition: inline");
        add_parameter(to, "filename");
        g_string_append(to, "\n");
    }
    g_string_append_printf(to, "Content-Transfer-Encoding: %s\n\n", encoding);
    add_body(to, encoding);
    g_string_append(to, last ? "\n" : "");
}

static void add_multipart(GString *to)
{
    GString *boundary = g_string_new("b");
    if (ONE_IN(2))
        add_pieces(boundary);
    g_string_append_len(to, "Content-Type: multipart/", 24);
    if (ONE_IN(4))
        add_pieces(to);
    g_string_append(to, "mixed; boundary=\"");
    g_string_append_len(to, boundary->str, (gssize)boundary->len);
    g_string_append(to, "\"\n\n");
    for (unsigned n = (unsigned)(dice(&seed) % 4); n > 0; n--) {
        g_string_append(to, "\n--");
        g_string_append_len(to, boundary->str, (gssize)boundary->len);
        g_string_append(to, "\n");
        add_part(to, false);
    }
    (void)g_string_free(boundary, TRUE);
}

static void make_message(GString *text)
{
    static const char *const fields[] = {"From", "Sender",  "Reply-To", "To",
                                         "Cc",   "Subject", "Date",     "Message-ID"};
    g_string_truncate(text, 0);
    for (size_t i = 0; i < COUNT(fields); i++) {
        g_string_append_printf(text, "%s: ", fields[i]);
        add_value(text);
        g_string_append(text, i < 5 ? " <a@x.example>\n" : "\n");
    }
    if (ONE_IN(2))
        add_multipart(text);
    else
        add_part(text, true);
}

/* --- putting it in quarantine --- */

/* To a C string with no end before its end. */
static void fill(char *to, size_t size)
{
    GString *bytes = g_string_new(NULL);
    add_pieces(bytes);
    for (gsize i = 0; i < bytes->len; i++)
        if (bytes->str[i] == '\0')
            bytes->str[i] = '\x1B';
    (void)snprintf(to, size, "%s", bytes->str);
    (void)g_string_free(bytes, TRUE);
}

static char *filter_report(void)
{
    char text[10][100];
    for (size_t i = 0; i < COUNT(text); i++) {
        char raw[100], *valid;
        fill(raw, sizeof raw);
        valid = g_utf8_make_valid(raw, -1); /* it came as JSON */
        (void)g_strlcpy(text[i], valid, sizeof text[i]);
        g_free(valid);
        for (gchar *end = text[i]; !g_utf8_validate(text[i], -1, (const gchar **)&end); *end = '\0')
            ;
    }
    json_t *report = json_pack("[{s:s, s:s, s:f, s:[{s:s, s:f, s:s}, {s:s}], s:s}, {s:s, s:s}]",
                               "filter", text[0], "word", text[1], "score", 7.5, "symbols", "name",
                               text[2], "score", 1.0, "description", text[3], "name", text[4],
                               "text", text[5], "filter", text[6], "text", text[7]);
    assert_non_null(report);
    char *bytes = json_dumps(report, JSON_COMPACT);
    json_decref(report);
    return bytes;
}

static const char mark[] = "MMMMMMMMMMMM"; /* in the origin, for something as long */

static void spoil_preface(struct fixture *f, const char *id)
{
    char name[SPOOL_NAME_SIZE], top[300], *place, bad[sizeof mark];
    int fd = openat(spool_fd(f->h.spool, SPOOL_BADMAIL), spool_name(name, id, "eml"),
                    O_RDWR | O_CLOEXEC);
    assert_true(fd >= 0);
    ssize_t n = pread(fd, top, sizeof top - 1, 0);
    top[n > 0 ? n : 0] = '\0';
    place = strstr(top, mark);
    assert_non_null(place);
    memset(bad, 'x', sizeof bad);
    fill(bad, sizeof bad);
    g_strdelimit(bad, "\r\n", '\x1B');
    assert_true(pwrite(fd, bad, strlen(bad), place - top) > 0);
    (void)close(fd);
}

static void write_file(struct fixture *f, const char *id, const GString *text)
{
    struct error err;
    struct message_head head = {.account = "sales",
                                .origin = "pop3://test/sales uidl=MMMMMMMMMMMM"};
    memcpy(head.id, id, ID_SIZE);
    assert_true(envelope_list_add(&head.recipients, "one@corp.example"));
    struct message_writer *w = message_create(f->h.spool, SPOOL_BADMAIL, "eml", &head, &err);
    assert_non_null(w);
    assert_true(message_append(w, text->str, text->len, &err) && message_finish(w, &err));
    message_writer_free(w);
    message_head_free(&head);
    if (ONE_IN(4))
        spoil_preface(f, id);
}

static void write_row(struct fixture *f, const char *id)
{
    struct badmail b;
    char address[100];
    badmail_describe(f->h.spool, SPOOL_BADMAIL, id, "rspamd", "spam", &b);
    fill(b.account, sizeof b.account);
    fill(b.sender, sizeof b.sender);
    fill(b.decided_by, sizeof b.decided_by);
    fill(b.reason, sizeof b.reason);
    if (ONE_IN(4))
        fill(b.subject, sizeof b.subject);
    for (int i = 0; i < 3; i++) {
        fill(address, sizeof address);
        assert_true(envelope_list_add(&b.recipients, address));
    }
    free(b.report);
    b.report = filter_report();
    b.at = clock_now() - 89 * CLOCK_DAY; /* to be removed soon, so that the digest names it twice */
    ledger_hold(f->d.db, &b);
    ledger_badmail_entered(f->d.db, id);
    retention_tell(&b);
    ledger_badmail_free(&b);
}

/* --- what comes out --- */

static bool steers(gunichar c)
{
    return (c < 0x20 && c != '\n' && c != '\t') || (c >= 0x7F && c <= 0x9F) || c == 0x061C ||
           c == 0x200E || c == 0x200F || c == 0x2028 || c == 0x2029 ||
           (c >= 0x202A && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

/* Lines are for texts of several lines, and tabs for nothing that we write. */
static void look_at(const char *key, const char *text, size_t len, bool lines)
{
    const gchar *end = text;
    if (!g_utf8_validate(text, (gssize)len, &end))
        fail_msg("%s: no UTF-8 at octet %td: %s", key, end - text, text);
    for (const char *at = text; at < text + len; at = g_utf8_next_char(at)) {
        gunichar c = g_utf8_get_char(at);
        if (steers(c) || (c == '\n' && !lines))
            fail_msg("%s: U+%04X at octet %td", key, c, at - text);
    }
    if (strstr(text, "\\x") != NULL || strstr(text, "\\u{") != NULL)
        (void)g_hash_table_insert(
            escaped, g_strdup(key),
            GINT_TO_POINTER(GPOINTER_TO_INT(g_hash_table_lookup(escaped, key)) + 1));
}

static void walk(const char *key, const json_t *value)
{
    size_t i;
    const char *name;
    json_t *member;
    if (json_is_string(value))
        look_at(key, json_string_value(value), json_string_length(value), strcmp(key, "text") == 0);
    json_array_foreach((json_t *)value, i, member) walk(key, member);
    json_object_foreach((json_t *)value, name, member)
    {
        look_at("a key", name, strlen(name), false);
        walk(name, member);
    }
}

static void walk_answer(json_t *answer(struct hygiene *h, const json_t *request), struct fixture *f,
                        json_t *request)
{
    json_t *reply = answer(&f->h, request);
    assert_non_null(reply);
    walk("answer", reply);
    assert_true(json_dumpb(reply, NULL, 0, JSON_COMPACT) < BUS_MESSAGE_MAX);
    json_decref(reply);
    json_decref(request);
}

static void break_file(struct fixture *f, const char *id)
{
    char name[SPOOL_NAME_SIZE];
    int fd = openat(spool_fd(f->h.spool, SPOOL_BADMAIL), spool_name(name, id, "eml"),
                    O_WRONLY | O_APPEND | O_CLOEXEC);
    assert_int_equal(write(fd, "x", 1), 1);
    (void)close(fd);
}

static void ask_all(struct fixture *f, const char *id)
{
    char odd[100];
    walk_answer(badmail_answer_list, f, json_object());
    walk_answer(badmail_answer_show, f, json_pack("{s:s}", "id", id));
    walk_answer(badmail_answer_parts, f, json_pack("{s:s}", "id", id));
    walk_answer(digest_answer, f,
                json_pack("{s:I, s:s}", "since", (json_int_t)(90 * CLOCK_DAY), "by",
                          ONE_IN(2) ? "reason" : "account"));
    if (!ONE_IN(20))
        return;
    fill(odd, sizeof odd);
    char *valid = g_utf8_make_valid(odd, -1);
    walk_answer(badmail_answer_show, f, json_pack("{s:s}", "id", valid));
    walk_answer(badmail_answer_export, f, json_pack("{s:s}", "id", valid));
    walk_answer(badmail_answer_list, f, json_pack("{s:s}", "state", valid));
    break_file(f, id); /* so that neither replay succeeds */
    walk_answer(badmail_answer_replay, f, json_pack("{s:[s], s:[s]}", "ids", id, "to", valid));
    g_free(valid);
    walk_answer(badmail_answer_replay, f, json_pack("{s:[s]}", "ids", id));
    walk_answer(badmail_answer_show, f, json_pack("{s:s}", "id", id));
    walk_answer(badmail_answer_parts, f, json_pack("{s:s}", "id", id));
}

static void look_at_events(struct fixture *f)
{
    size_t len;
    char *events = scratch_read(f->scratch, "stderr", &len);
    assert_true(len > 0);
    look_at("events", events, len, true);
    free(events);
}

/* Each of these did have something to escape: the test looks where it means to. */
static void assert_all_were_hostile(void)
{
    static const char *const keys[] = {
        "account",    "sender",      "recipients", "subject", "decided_by", "reason",
        "origin",     "From",        "Subject",    "To",      "Message-ID", "preview",
        "preview_of", "type",        "name",       "charset", "filter",     "word",
        "text",       "description", "events",     "error"};
    for (size_t i = 0; i < COUNT(keys); i++) {
        int n = GPOINTER_TO_INT(g_hash_table_lookup(escaped, keys[i]));
        print_message("%s: %d\n", keys[i], n);
        assert_true(n > 0);
    }
}

static unsigned long long number(const char *name, unsigned long long usual)
{
    const char *text = getenv(name);
    return text != NULL ? strtoull(text, NULL, 10) : usual;
}

/* Otherwise each use of a charset loads its module anew, which takes most of the time. */
static void keep_charsets_loaded(iconv_t kept[static COUNT(charsets)])
{
    for (size_t i = 0; i < COUNT(charsets); i++)
        kept[i] = iconv_open("utf-8", charsets[i]);
}

static void nothing_steers_a_terminal(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE];
    iconv_t kept[COUNT(charsets)];
    GString *text = g_string_new(NULL);
    keep_charsets_loaded(kept);
    seed = number("POPFERRY_SEED", SEED);
    print_message("seed %llu\n", seed);
    escaped = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    db_begin(f->d.db); /* one row at a time, and no sync for each */
    for (unsigned long long i = number("POPFERRY_MESSAGES", MESSAGES); i > 0; i--) {
        unsigned long long at = seed;
        id_new(id);
        make_message(text);
        write_file(f, id, text);
        write_row(f, id);
        if (i % 1000 == 0)
            print_message("%llu to go: seed %llu\n", i, at);
        ask_all(f, id);
        ledger_badmail_forget(f->d.db, id);
    }
    db_commit(f->d.db);
    look_at_events(f);
    assert_all_were_hostile();
    g_hash_table_destroy(escaped);
    for (size_t i = 0; i < COUNT(charsets); i++)
        if (kept[i] != (iconv_t)-1)
            (void)iconv_close(kept[i]);
    (void)g_string_free(text, TRUE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(nothing_steers_a_terminal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
