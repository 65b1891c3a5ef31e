/* The POP3 core against transcripts: each file of tests/data/pop3 is played with the server's
 * octets in one piece and one at a time, and must give the same events. Its README has the format.
 */
#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fetcherd/pop3.h"

struct buffer {
    char bytes[65536];
    size_t len;
};

struct play {
    struct pop3 core;
    size_t chunk; /* octets a feed */
    struct buffer server, sent, data;
    uint32_t data_number;
    char events[256][1024];
    size_t event_count, event_next;
};

static void buffer_add(struct buffer *b, const char *bytes, size_t len)
{
    assert_true(b->len + len <= sizeof b->bytes);
    memcpy(b->bytes + b->len, bytes, len);
    b->len += len;
}

/* --- writing events as text --------------------------------------------------------------- */

static int quote(char *out, size_t size, const char *text, size_t len)
{
    size_t at = (size_t)snprintf(out, size, "\"");
    for (size_t i = 0; i < len && at < size; i++) {
        unsigned char c = (unsigned char)text[i];
        const char *plain = strchr("r\rn\nt\t0", c);
        if (c == '\r' || c == '\n' || c == '\t')
            at += (size_t)snprintf(out + at, size - at, "\\%c", plain[-1]);
        else if (c == '\0')
            at += (size_t)snprintf(out + at, size - at, "\\0");
        else if (isprint(c))
            at += (size_t)snprintf(out + at, size - at, "%c", c);
        else
            at += (size_t)snprintf(out + at, size - at, "\\x%02x", c);
    }
    at += (size_t)snprintf(out + at, size - at, "\"");
    assert_true(at < size);
    return (int)at;
}

static char *new_event(struct play *play)
{
    assert_true(play->event_count < sizeof play->events / sizeof *play->events);
    return play->events[play->event_count++];
}

static void flush_data(struct play *play)
{
    if (!play->data.len)
        return;
    char *out = new_event(play);
    int at = snprintf(out, 1024, "data %" PRIu32 " ", play->data_number);
    quote(out + at, 1024 - (size_t)at, play->data.bytes, play->data.len);
    play->data.len = 0;
}

static void write_reply(char *out, const struct pop3_event *ev)
{
    const struct reply *reply = ev->reply;
    int at = snprintf(out, 1024, "reply %s %s ", pop3_command_name(ev->command),
                      reply->ok ? "ok" : "err");
    at += quote(out + at, 1024 - (size_t)at, reply->text, reply->text_len);
    if (reply->code)
        at +=
            snprintf(out + at, 1024 - (size_t)at, " code=%.*s", (int)reply->code_len, reply->code);
    if (ev->number)
        at += snprintf(out + at, 1024 - (size_t)at, " number=%" PRIu32, ev->number);
    if (ev->size)
        snprintf(out + at, 1024 - (size_t)at, " size=%" PRIu64, ev->size);
}

static void write_broken(char *out, const struct pop3_event *ev)
{
    bool stls = strstr(ev->problem, "STLS") != NULL;
    int at = snprintf(out, 1024, "broken %s \"%s\"",
                      stls ? "STLS-or-none" : pop3_command_name(ev->command), ev->problem);
    if (ev->data) {
        out[at++] = ' ';
        quote(out + at, 1024 - (size_t)at, ev->data, ev->len);
    }
}

static void on_event(void *arg, const struct pop3_event *ev)
{
    struct play *play = arg;

    if (ev->type == POP3_EV_MESSAGE_DATA) {
        buffer_add(&play->data, ev->data, ev->len);
        play->data_number = ev->number;
        return;
    }
    flush_data(play);
    char *out = new_event(play);
    const char *command = pop3_command_name(ev->command);
    int at = 0;
    switch (ev->type) {
    case POP3_EV_REPLY:
        write_reply(out, ev);
        break;
    case POP3_EV_LIST_ITEM:
        snprintf(out, 1024, "list %" PRIu32 " %" PRIu64, ev->number, ev->size);
        break;
    case POP3_EV_UIDL_ITEM:
        at = snprintf(out, 1024, "uidl %" PRIu32 " ", ev->number);
        quote(out + at, 1024 - (size_t)at, ev->data, ev->len);
        break;
    case POP3_EV_CHALLENGE:
        at = snprintf(out, 1024, "challenge ");
        quote(out + at, 1024 - (size_t)at, ev->data, ev->len);
        break;
    case POP3_EV_CAPABILITY:
        at = snprintf(out, 1024, "capa ");
        quote(out + at, 1024 - (size_t)at, ev->data, ev->len);
        break;
    case POP3_EV_BAD_LINE:
        at = snprintf(out, 1024, "bad %s ", command);
        quote(out + at, 1024 - (size_t)at, ev->data, ev->len);
        break;
    case POP3_EV_LISTING_END:
        snprintf(out, 1024, "end %s", command);
        break;
    case POP3_EV_MESSAGE_END:
        snprintf(out, 1024, "message-end %" PRIu32, ev->number);
        break;
    default:
        write_broken(out, ev);
    }
}

static void on_send(void *arg, const char *data, size_t len)
{
    struct play *play = arg;
    buffer_add(&play->sent, data, len);
}

static const struct pop3_ops ops = {.send = on_send, .event = on_event};

/* --- playing a transcript ----------------------------------------------------------------- */

static size_t unescape(char *text, size_t len)
{
    size_t out = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] != '\\') {
            text[out++] = text[i];
            continue;
        }
        char c = text[++i];
        if (c == 'x') {
            char hex[3] = {text[i + 1], text[i + 2], 0};
            text[out++] = (char)strtol(hex, NULL, 16);
            i += 2;
        } else {
            text[out++] = (char)(c == 'r'   ? '\r'
                                 : c == 'n' ? '\n'
                                 : c == 't' ? '\t'
                                 : c == '0' ? '\0'
                                            : c);
        }
    }
    return out;
}

static void feed_server(struct play *play)
{
    for (size_t at = 0; at < play->server.len; at += play->chunk) {
        size_t left = play->server.len - at;
        pop3_feed(&play->core, play->server.bytes + at, left < play->chunk ? left : play->chunk);
    }
    play->server.len = 0;
    flush_data(play);
}

static enum pop3_sent try_command(struct play *play, const char *text, size_t len)
{
    static const enum pop3_command all[] = {
        POP3_CMD_CAPA, POP3_CMD_STLS, POP3_CMD_USER, POP3_CMD_PASS, POP3_CMD_APOP,
        POP3_CMD_AUTH, POP3_CMD_STAT, POP3_CMD_UIDL, POP3_CMD_LIST, POP3_CMD_RETR,
        POP3_CMD_DELE, POP3_CMD_NOOP, POP3_CMD_QUIT};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        const char *name = pop3_command_name(all[i]);
        size_t n = strlen(name);
        if (strncmp(text, name, n) != 0)
            continue;
        if (all[i] == POP3_CMD_RETR || all[i] == POP3_CMD_DELE)
            return pop3_send_number(&play->core, all[i], (uint32_t)atoi(text + n));
        bool has_argument = len > n;
        return pop3_send(&play->core, all[i], has_argument ? text + n + 1 : NULL,
                         has_argument ? len - n - 1 : 0);
    }
    fail_msg("no such command: %s", text);
    return POP3_SENT;
}

static void step_command(struct play *play, char *text, bool expected)
{
    size_t len = unescape(text, strlen(text));
    enum pop3_sent sent = play->core.state == POP3_CHALLENGE ? pop3_respond(&play->core, text, len)
                                                             : try_command(play, text, len);

    if (expected) {
        assert_int_equal(sent, POP3_SENT);
        assert_int_equal(play->sent.len, len + 2);
        assert_memory_equal(play->sent.bytes, text, len);
        assert_memory_equal(play->sent.bytes + len, "\r\n", 2);
    } else {
        assert_int_not_equal(sent, POP3_SENT);
        assert_int_equal(play->sent.len, 0);
    }
    play->sent.len = 0;
}

static void step_event(struct play *play, const char *expected, bool optional)
{
    if (play->event_next == play->event_count) {
        if (!optional)
            fail_msg("no event where \"%s\" was expected", expected);
        return;
    }
    if (optional && strcmp(play->events[play->event_next], expected) != 0)
        return;
    assert_string_equal(play->events[play->event_next], expected);
    play->event_next++;
}

static void step(struct play *play, char *line)
{
    line[strcspn(line, "\n")] = '\0';
    if (line[0] == '#' || line[0] == '\0')
        return;
    if (line[0] == 'S') {
        char *text = line[2] ? line + 3 : line + 2;
        bool crlf = line[1] == ':';
        buffer_add(&play->server, text, unescape(text, strlen(text)));
        buffer_add(&play->server, "\r\n", crlf ? 2 : 0);
        return;
    }
    feed_server(play);
    if (line[0] == 'T')
        pop3_tls_done(&play->core);
    else if (line[0] == 'C')
        step_command(play, line + 3, line[1] == ':');
    else if (!strncmp(line, "E?: ", 4))
        step_event(play, line + 4, true);
    else if (line[0] == 'E')
        step_event(play, line + 3, false);
    else
        fail_msg("unreadable line: %s", line);
}

static void play_file(const char *path, size_t chunk)
{
    struct play *play = calloc(1, sizeof *play);
    char line[4096];
    FILE *f = fopen(path, "r");

    assert_non_null(play);
    assert_non_null(f);
    print_message("%s, %zu\n", path, chunk);
    play->chunk = chunk;
    pop3_init(&play->core, 20, &ops, play);
    while (fgets(line, sizeof line, f))
        step(play, line);
    fclose(f);
    feed_server(play);
    assert_int_equal(play->event_next, play->event_count);
    free(play);
}

static void play_all(size_t chunk)
{
    const char *data = getenv("POPFERRY_DATA");
    char dir[400];
    struct dirent **names;
    int n, played = 0;

    snprintf(dir, sizeof dir, "%s/pop3", data ? data : "tests/data");
    n = scandir(dir, &names, NULL, alphasort);
    assert_true(n > 0);
    for (int i = 0; i < n; i++) {
        char path[512];
        size_t len = strlen(names[i]->d_name);
        snprintf(path, sizeof path, "%s/%.100s", dir, names[i]->d_name);
        if (len > 4 && !strcmp(names[i]->d_name + len - 4, ".txt")) {
            play_file(path, chunk);
            played++;
        }
        free(names[i]);
    }
    free(names);
    assert_true(played > 10);
}

static void test_transcripts_whole(void **state)
{
    (void)state;
    play_all(sizeof((struct buffer *)0)->bytes);
}

static void test_transcripts_by_octet(void **state)
{
    (void)state;
    play_all(1);
}

static void test_transcripts_by_seven(void **state)
{
    (void)state;
    play_all(7);
}

/* --- what needs no transcript ------------------------------------------------------------- */

static void test_window_has_an_end(void **state)
{
    (void)state;
    struct play *play = calloc(1, sizeof *play);
    static const char capa[] = "+OK\r\n+OK\r\nPIPELINING\r\n.\r\n";

    assert_non_null(play);
    pop3_init(&play->core, 20, &ops, play);
    pop3_feed(&play->core, capa, 5);
    assert_int_equal(pop3_send(&play->core, POP3_CMD_CAPA, NULL, 0), POP3_SENT);
    pop3_feed(&play->core, capa + 5, sizeof capa - 1 - 5);
    assert_int_equal(pop3_room(&play->core), POP3_WINDOW);
    for (uint32_t i = 1; i <= POP3_WINDOW; i++)
        assert_int_equal(pop3_send_number(&play->core, POP3_CMD_RETR, i), POP3_SENT);
    assert_int_equal(pop3_send_number(&play->core, POP3_CMD_RETR, 99), POP3_REFUSED_WINDOW);
    assert_false(pop3_idle(&play->core));
    assert_string_equal(pop3_awaited(&play->core), "RETR");
    free(play);
}

static void test_endless_line_breaks(void **state)
{
    (void)state;
    struct play *play = calloc(1, sizeof *play);

    assert_non_null(play);
    pop3_init(&play->core, 20, &ops, play);
    for (int i = 0; i < 2 * REPLY_LINE_MAX && play->core.state != POP3_BROKEN; i++)
        pop3_feed(&play->core, "x", 1);
    assert_int_equal(play->core.state, POP3_BROKEN);
    assert_string_equal(play->events[0], "broken greeting \"the line is too long\"");
    free(play);
}

static void test_long_uidl(void **state)
{
    (void)state;
    struct play *play = calloc(1, sizeof *play);
    char uidl[POP3_UIDL_MAX + 2];

    assert_non_null(play);
    memset(uidl, 'u', sizeof uidl);
    pop3_init(&play->core, 20, &ops, play);
    pop3_feed(&play->core, "+OK\r\n", 5);
    assert_int_equal(pop3_send(&play->core, POP3_CMD_UIDL, NULL, 0), POP3_SENT);
    pop3_feed(&play->core, "+OK\r\n1 ", 7);
    pop3_feed(&play->core, uidl, POP3_UIDL_MAX);
    pop3_feed(&play->core, "\r\n2 ", 4);
    pop3_feed(&play->core, uidl, POP3_UIDL_MAX + 1);
    pop3_feed(&play->core, "\r\n.\r\n", 5);
    assert_int_equal(play->event_count, 5);
    assert_int_equal(strncmp(play->events[2], "uidl 1 ", 7), 0);
    assert_int_equal(strncmp(play->events[3], "bad UIDL ", 9), 0);
    free(play);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transcripts_whole),    cmocka_unit_test(test_transcripts_by_octet),
        cmocka_unit_test(test_transcripts_by_seven), cmocka_unit_test(test_window_has_an_end),
        cmocka_unit_test(test_endless_line_breaks),  cmocka_unit_test(test_long_uidl),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
