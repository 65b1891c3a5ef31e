/* Plays every transcript of tests/data/smtp against the client core, whole and a byte at a time. */
#include "relayd/smtp.h"
#include "tests/unit/relayd/transcript.h"

#include <ctype.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum { ROOM = 65536, RECIPIENTS = 64 };

/* One that comes again and again stands there once, with how often. */
struct lines {
    char text[ROOM];
    char last[ROOM]; /* is not in `text` yet */
    long times;      /* of it; 0: there is none */
};

struct play {
    struct smtp *smtp;
    bool bytewise;
    struct lines log;      /* what happened and was not asked for yet: "C: ...", "E: ..." */
    struct lines expected; /* what the transcript says of it */
    char wire[ROOM];       /* an unfinished line of the client */
    size_t wire_len;
    char server[ROOM]; /* what the server is about to say */
    size_t server_len;
    char *recipients[RECIPIENTS];
    struct smtp_envelope envelope;
    struct client client;
    char *sender;
};

static void lines_end(struct lines *lines)
{
    size_t at = strlen(lines->text), room = sizeof lines->text - at;
    if (lines->times == 1)
        snprintf(lines->text + at, room, "%s\n", lines->last);
    else if (lines->times > 1)
        snprintf(lines->text + at, room, "%s (%ld times)\n", lines->last, lines->times);
    lines->times = 0;
}

static void lines_add(struct lines *lines, const char *line, long times)
{
    if (lines->times == 0 || strcmp(lines->last, line) != 0) {
        lines_end(lines);
        snprintf(lines->last, sizeof lines->last, "%s", line);
    }
    lines->times += times;
}

__attribute__((format(printf, 2, 3))) static void note(struct play *p, const char *fmt, ...)
{
    char line[ROOM];
    va_list args;
    va_start(args, fmt);
    vsnprintf(line, sizeof line, fmt, args);
    va_end(args);
    lines_add(&p->log, line, 1);
}

static void on_send(void *ctx, const char *bytes, size_t len)
{
    struct play *p = ctx;
    for (size_t i = 0; i < len; i++) {
        if (bytes[i] != '\n') {
            p->wire[p->wire_len++] = bytes[i];
            continue;
        }
        assert_true(p->wire_len > 0 && p->wire[p->wire_len - 1] == '\r');
        note(p, "C: %.*s", (int)p->wire_len - 1, p->wire);
        p->wire_len = 0;
    }
}

static void on_secure(void *ctx)
{
    note(ctx, "E: secure");
}

static void on_login(void *ctx, const struct smtp_reply *reply)
{
    if (reply)
        note(ctx, "E: login %d %s", reply->code, reply->text);
    else
        note(ctx, "E: login");
}

static void on_ready(void *ctx)
{
    note(ctx, "E: ready");
}

static void on_recipient(void *ctx, size_t index, enum smtp_verdict verdict, const char *reply)
{
    static const char *const names[] = {"accepted", "temporary", "permanent", "taken"};
    note(ctx, "E: recipient %zu %s %s", index, names[verdict], reply);
}

static void on_want_data(void *ctx)
{
    note(ctx, "E: want-data");
}

static void on_result(void *ctx, const struct smtp_result *r)
{
    static const char *const names[] = {
        [SMTP_DELIVERED] = "delivered",
        [SMTP_NO_RECIPIENT] = "no-recipient",
        [SMTP_MESSAGE_TEMPORARY] = "message-temporary",
        [SMTP_MESSAGE_PERMANENT] = "message-permanent",
        [SMTP_SESSION_FAILED] = "session-failed",
    };
    note(ctx, "E: result %s %s %s%s", names[r->outcome], r->command, r->in_doubt ? "in-doubt " : "",
         r->text);
}

static void on_closed(void *ctx, enum smtp_close how, const char *text)
{
    static const char *const names[] = {"quit", "idle", "failed", "login"};
    note(ctx, "E: closed %s %s", names[how], text);
}

static const struct smtp_events events = {
    .send = on_send,
    .secure = on_secure,
    .login = on_login,
    .ready = on_ready,
    .recipient = on_recipient,
    .want_data = on_want_data,
    .result = on_result,
    .closed = on_closed,
};

static void free_envelope(struct play *p)
{
    for (size_t i = 0; i < RECIPIENTS; i++) {
        free(p->recipients[i]);
        p->recipients[i] = NULL;
    }
    free(p->sender);
    p->sender = NULL;
}

static char *unescaped(const char *word)
{
    char buf[2048];
    snprintf(buf, sizeof buf, "%s", word);
    transcript_unescape(buf, sizeof buf);
    return strdup(buf);
}

/* "ADDRESS,NAME,HELO" */
static const struct client *read_client(struct play *p, char *text)
{
    char *name = strchr(text, ',');
    char *helo = strchr(name + 1, ',');
    p->client = (struct client){.protocol = "ESMTP"};
    snprintf(p->client.address, sizeof p->client.address, "%.*s", (int)(name - text), text);
    snprintf(p->client.name, sizeof p->client.name, "%.*s", (int)(helo - name - 1), name + 1);
    snprintf(p->client.helo, sizeof p->client.helo, "%s", helo + 1);
    return &p->client;
}

static void act_start(struct play *p, char *args)
{
    struct play next = {.envelope = {.size = 0}};
    char *save = NULL;
    char *word = strtok_r(args, " ", &save);
    if (strncmp(word, "client=", 7) == 0) {
        next.envelope.client = read_client(p, word + 7);
        word = strtok_r(NULL, " ", &save);
    }
    next.sender = unescaped(word);
    if (strcmp(next.sender, "<>") == 0)
        next.sender[0] = '\0';
    while ((word = strtok_r(NULL, " ", &save))) {
        if (strncmp(word, "size=", 5) == 0)
            next.envelope.size = strtoull(word + 5, NULL, 10);
        else
            next.recipients[next.envelope.count++] = unescaped(word);
    }
    next.envelope.sender = next.sender;
    next.envelope.recipients = (const char *const *)next.recipients;
    if (smtp_state(p->smtp) != SMTP_READY) {
        enum smtp_refusal busy = smtp_start(p->smtp, &next.envelope);
        note(p, "E: refused %s", smtp_refusal_text(busy));
        free_envelope(&next);
        return;
    }
    free_envelope(p);
    p->sender = next.sender;
    memcpy(p->recipients, next.recipients, sizeof p->recipients);
    p->envelope = next.envelope;
    p->envelope.sender = p->sender;
    p->envelope.recipients = (const char *const *)p->recipients;
    enum smtp_refusal refusal = smtp_start(p->smtp, &p->envelope);
    if (refusal != SMTP_STARTED)
        note(p, "E: refused %s", smtp_refusal_text(refusal));
}

static void act_body(struct play *p, char *text)
{
    char buf[ROOM];
    snprintf(buf, sizeof buf, "%s", text);
    size_t len = transcript_unescape(buf, sizeof buf);
    size_t piece = p->bytewise ? 1 : len;
    for (size_t i = 0; i < len; i += piece)
        smtp_body(p->smtp, buf + i, piece);
}

/* "N TEXT": so many times, all in one piece or in one each. */
static void act_bodies(struct play *p, char *args)
{
    char *text = NULL;
    size_t times = strtoul(args, &text, 10);
    size_t len = transcript_unescape(++text, ROOM / 2);
    size_t piece = p->bytewise ? len : times * len;
    char *all = malloc(times * len);
    assert_non_null(all);
    for (size_t i = 0; i < times; i++)
        memcpy(all + i * len, text, len);
    for (size_t i = 0; i < times * len; i += piece)
        smtp_body(p->smtp, all + i, piece);
    free(all);
}

/* "MECHANISM" or "MECHANISM INITIAL-RESPONSE"; "=" stands for an empty one here too. */
static void act_auth(struct play *p, char *line)
{
    char *initial = strchr(line, ' ');
    if (initial)
        *initial++ = '\0';
    if (initial)
        transcript_unescape(initial, ROOM / 2);
    if (!smtp_auth(p->smtp, line, initial && strcmp(initial, "=") == 0 ? "" : initial))
        note(p, "E: not-sent");
}

static void act_answer(struct play *p, char *line)
{
    transcript_unescape(line, ROOM / 2);
    if (!smtp_auth_answer(p->smtp, line))
        note(p, "E: not-sent");
}

static void act(struct play *p, char *line)
{
    if (strncmp(line, "start ", 6) == 0)
        act_start(p, line + 6);
    else if (strncmp(line, "body ", 5) == 0)
        act_body(p, line + 5);
    else if (strncmp(line, "body*", 5) == 0)
        act_bodies(p, line + 5);
    else if (strcmp(line, "end") == 0)
        smtp_body_end(p->smtp);
    else if (strcmp(line, "quit") == 0)
        smtp_quit(p->smtp);
    else if (strcmp(line, "secured") == 0)
        smtp_secured(p->smtp);
    else if (strncmp(line, "auth ", 5) == 0)
        act_auth(p, line + 5);
    else if (strncmp(line, "answer ", 7) == 0)
        act_answer(p, line + 7);
    else if (strcmp(line, "cancel") == 0)
        smtp_auth_cancel(p->smtp);
    else if (strcmp(line, "login-done") == 0)
        smtp_login_done(p->smtp);
    else if (strncmp(line, "login-failed ", 13) == 0)
        smtp_login_failed(p->smtp, SMTP_CLOSED_LOGIN, line + 13);
    else if (strncmp(line, "lost ", 5) == 0)
        smtp_lost(p->smtp, line + 5);
    else
        fail_msg("unknown action %s", line);
}

static void begin(struct play *p, const char *options)
{
    struct smtp_config config = {.helo = "relay.test", .max_errors = 3};
    const char *errors = strstr(options, "errors=");
    if (errors)
        config.max_errors = (unsigned)strtoul(errors + 7, NULL, 10);
    config.lmtp = strstr(options, "lmtp") != NULL;
    config.xclient = strstr(options, "xclient") != NULL;
    config.xforward = strstr(options, "xforward") != NULL;
    config.starttls = strstr(options, "starttls") != NULL;
    config.login = strstr(options, "login") != NULL;
    p->smtp = smtp_new(&config, &events, p);
    assert_non_null(p->smtp);
}

static void server_says(struct play *p)
{
    size_t piece = p->bytewise ? 1 : p->server_len;
    for (size_t i = 0; i < p->server_len; i += piece)
        smtp_receive(p->smtp, p->server + i, piece);
    p->server_len = 0;
}

static void gather_server(struct play *p, const char *line)
{
    long times = 1;
    if (line[1] == '*')
        times = strtol(line + 2, NULL, 10);
    const char *text = strchr(line, line[1] == '=' ? '=' : ':');
    char buf[ROOM / 2];
    text++;
    snprintf(buf, sizeof buf, "%s", *text == ' ' ? text + 1 : text);
    size_t len = transcript_unescape(buf, sizeof buf - 2);
    if (line[1] != '=') {
        memcpy(buf + len, "\r\n", 3);
        len += 2;
    }
    for (; times > 0; times--, p->server_len += len)
        memcpy(p->server + p->server_len, buf, len);
}

/* What it shows begins with the first line that differs. */
static void compare(struct play *p)
{
    lines_end(&p->log);
    lines_end(&p->expected);
    const char *log = p->log.text, *expected = p->expected.text;
    for (const char *a = log, *b = expected; *a && *a == *b; a++, b++)
        if (*a == '\n') {
            log = a + 1;
            expected = b + 1;
        }
    assert_string_equal(log, expected);
    p->log.text[0] = p->expected.text[0] = '\0';
}

static void expect(struct play *p, char *line)
{
    if (strncmp(line, "E: errors ", 10) == 0) {
        assert_int_equal(smtp_errors(p->smtp), strtol(line + 10, NULL, 10));
        return;
    }
    long times = 1;
    if (line[1] == '*') {
        char *rest = NULL;
        times = strtol(line + 2, &rest, 10);
        memmove(line + 1, rest, strlen(rest) + 1);
    }
    transcript_unescape(line, ROOM);
    lines_add(&p->expected, line, times);
}

static void play_line(struct play *p, char *line)
{
    if (line[0] == 'O' || !p->smtp)
        begin(p, line[0] == 'O' ? line : "");
    if (line[0] == 'S') {
        if (p->server_len == 0)
            compare(p);
        gather_server(p, line);
        return;
    }
    if (p->server_len > 0)
        server_says(p);
    if (line[0] == 'A') {
        compare(p);
        act(p, line + 3);
    } else if (line[0] == 'C' || line[0] == 'E') {
        expect(p, line);
    }
}

static void play_file(const char *path, bool bytewise)
{
    struct play *p = calloc(1, sizeof *p);
    FILE *f = fopen(path, "r");
    char line[ROOM];
    assert_non_null(f);
    print_message("%s %s\n", path, bytewise ? "a byte at a time" : "whole");
    p->bytewise = bytewise;
    while (fgets(line, sizeof line, f)) {
        line[strcspn(line, "\n")] = '\0';
        if (line[0] != '#' && line[0] != '\0')
            play_line(p, line);
    }
    fclose(f);
    if (p->server_len > 0)
        server_says(p);
    compare(p);
    free_envelope(p);
    smtp_free(p->smtp);
    free(p);
}

static void test_transcripts(void **state)
{
    (void)state;
    const char *data = getenv("POPFERRY_DATA");
    char folder[256];
    snprintf(folder, sizeof folder, "%s/smtp", data ? data : "tests/data");
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    int played = 0;
    for (struct dirent *entry; (entry = readdir(dir));) {
        char path[512];
        size_t len = strlen(entry->d_name);
        if (len < 5 || strcmp(entry->d_name + len - 4, ".txt") != 0)
            continue;
        snprintf(path, sizeof path, "%s/%.200s", folder, entry->d_name);
        play_file(path, false);
        play_file(path, true);
        played++;
    }
    closedir(dir);
    assert_true(played >= 30);
}

static void test_state_names(void **state)
{
    (void)state;
    for (int i = 0; i < SMTP_STATES; i++)
        assert_non_null(smtp_state_name((enum smtp_state)i));
}

static void test_new_refuses_bad_names(void **state)
{
    (void)state;
    assert_null(smtp_new(&(struct smtp_config){.helo = "a\r\nb", .max_errors = 3}, &events, NULL));
    assert_null(smtp_new(&(struct smtp_config){.helo = "", .max_errors = 3}, &events, NULL));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_transcripts),
        cmocka_unit_test(test_state_names),
        cmocka_unit_test(test_new_refuses_bad_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
