/* Transcripts of sessions.
 *
 * Promises: no credential is written: of what is sent before the login succeeded, only words of a
 * known list are; no message content is; the file stays under SIZE_MAX_OCTETS, and nothing in it
 * can move a terminal's cursor. */
#include "fetcherd/transcript.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "lib/clock.h"
#include "lib/log.h"

#define SIZE_MAX_OCTETS (256 * 1024)
#define LISTING_SHOWN   50 /* lines of a listing */

struct transcript {
    FILE *file;
    size_t written;
    bool full;
    unsigned listed;           /* lines of this listing */
    unsigned long long octets; /* of this message */
};

static void line(struct transcript *t, const char *who, const char *text, size_t len)
{
    char safe[1200];

    if (t->full)
        return;
    if (t->written > SIZE_MAX_OCTETS) {
        t->full = true;
        fputs("-- (the rest is left out)\n", t->file);
        return;
    }
    log_escape(safe, sizeof safe, text, len);
    int n = fprintf(t->file, "%s %s\n", who, safe);
    t->written += n > 0 ? (size_t)n : 0;
}

static void note(struct transcript *t, const char *text)
{
    line(t, "--", text, strlen(text));
}

/* "PASS ****": the command, and of its arguments only what is no secret. */
static size_t open_part(const char *text, size_t len)
{
    static const struct {
        const char *command;
        bool all; /* its arguments may be read by anybody */
    } commands[] = {
        {.command = "CAPA", .all = true},
        {.command = "STLS", .all = true},
        {.command = "QUIT", .all = true},
        {.command = "USER"},
        {.command = "PASS"},
        {.command = "APOP"},
        {.command = "AUTH"},
    };
    const char *space = memchr(text, ' ', len);
    size_t word = space ? (size_t)(space - text) : len;

    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strlen(commands[i].command) != word ||
            strncasecmp(text, commands[i].command, word) != 0)
            continue;
        if (commands[i].all || word == len)
            return len;
        if (strcmp(commands[i].command, "AUTH") != 0)
            return word;
        const char *second = memchr(space + 1, ' ', len - word - 1);
        return second ? (size_t)(second - text) : len;
    }
    return 0; /* an answer within AUTH */
}

static void sent_line(struct transcript *t, const char *text, size_t len, bool secret)
{
    char shown[600];
    size_t part = secret ? open_part(text, len) : len;

    if (part == len) {
        line(t, "C:", text, len);
        return;
    }
    snprintf(shown, sizeof shown, "%.*s%s****", (int)(part < 500 ? part : 500), text,
             part ? " " : "");
    line(t, "C:", shown, strlen(shown));
}

void transcript_sent(struct transcript *t, const char *data, size_t len, bool secret)
{
    while (t && len > 0) {
        const char *lf = memchr(data, '\n', len);
        size_t used = lf ? (size_t)(lf - data) + 1 : len;
        size_t text = used;
        while (text > 0 && (data[text - 1] == '\n' || data[text - 1] == '\r'))
            text--;
        sent_line(t, data, text, secret);
        data += used;
        len -= used;
    }
}

static void reply_line(struct transcript *t, const struct reply *reply)
{
    char text[1000];

    snprintf(text, sizeof text, "%s %.*s", reply->ok ? "+OK" : "-ERR",
             (int)(reply->text_len < 900 ? reply->text_len : 900), reply->text);
    line(t, "S:", text, strlen(text));
    t->listed = 0;
    t->octets = 0;
}

static void listing_line(struct transcript *t, const struct pop3_event *event)
{
    char text[600];

    if (t->listed++ >= LISTING_SHOWN)
        return;
    int len = (int)(event->len < 400 ? event->len : 400);
    if (event->type == POP3_EV_LIST_ITEM)
        snprintf(text, sizeof text, "%u %llu", event->number, (unsigned long long)event->size);
    else if (event->type == POP3_EV_UIDL_ITEM)
        snprintf(text, sizeof text, "%u %.*s", event->number, len, event->data);
    else
        snprintf(text, sizeof text, "%.*s", len, event->data);
    line(t, "S:", text, strlen(text));
}

static void listing_end(struct transcript *t)
{
    char text[80];

    if (t->listed > LISTING_SHOWN) {
        snprintf(text, sizeof text, "(%u more lines)", t->listed - LISTING_SHOWN);
        note(t, text);
    }
    line(t, "S:", ".", 1);
}

static void message_end(struct transcript *t)
{
    char text[80];

    snprintf(text, sizeof text, "(the message, %llu octets, ends here)", t->octets);
    note(t, text);
}

static void broken(struct transcript *t, const struct pop3_event *event)
{
    if (event->data)
        line(t, "S:", event->data, event->len);
    note(t, event->problem);
}

void transcript_event(struct transcript *t, const struct pop3_event *event)
{
    if (!t)
        return;
    switch (event->type) {
    case POP3_EV_REPLY:
        reply_line(t, event->reply);
        break;
    case POP3_EV_CAPABILITY:
    case POP3_EV_LIST_ITEM:
    case POP3_EV_UIDL_ITEM:
    case POP3_EV_BAD_LINE:
        listing_line(t, event);
        break;
    case POP3_EV_LISTING_END:
        listing_end(t);
        break;
    case POP3_EV_MESSAGE_DATA:
        t->octets += event->len;
        break;
    case POP3_EV_MESSAGE_END:
        message_end(t);
        break;
    case POP3_EV_BROKEN:
        broken(t, event);
        break;
    default: /* challenges of a login */
        note(t, "(a challenge)");
    }
}

void transcript_note(struct transcript *t, const char *text)
{
    if (t)
        note(t, text);
}

/* --- the file ----------------------------------------------------------------------------- */

static void path_of(char *path, size_t size, const char *state_dir, const char *account)
{
    snprintf(path, size, "%s/sessions/%s.log", state_dir, account);
}

static FILE *open_file(const char *state_dir, const char *account, bool append)
{
    char path[4096];

    snprintf(path, sizeof path, "%s/sessions", state_dir);
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return NULL;
    path_of(path, sizeof path, state_dir, account);
    int how = O_WRONLY | O_CREAT | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK;
    int fd = open(path, how | (append ? O_APPEND : O_TRUNC), 0600);
    FILE *file = fd < 0 ? NULL : fdopen(fd, "a");
    if (!file && fd >= 0)
        close(fd);
    return file;
}

struct transcript *transcript_open(const char *state_dir, const struct account *account,
                                   bool append)
{
    struct transcript *t = calloc(1, sizeof *t);
    char text[400], at[CLOCK_TEXT_SIZE];

    if (!t)
        abort();
    t->file = open_file(state_dir, account->name, append);
    if (!t->file) {
        LOG(LOG_WARN, "transcript-failed", KV("account", account->name),
            KV("error", strerror(errno)));
        free(t);
        return NULL;
    }
    struct stat st;
    if (append && fstat(fileno(t->file), &st) == 0)
        t->written = (size_t)st.st_size;
    snprintf(text, sizeof text, "%s account %s, server %s port %d", clock_text(clock_now(), at),
             account->name, account->server, account->port);
    note(t, text);
    return t;
}

void transcript_close(struct transcript *t, const char *end)
{
    if (!t)
        return;
    fprintf(t->file, "-- %s\n", end);
    if (fclose(t->file) != 0)
        LOG(LOG_WARN, "transcript-failed", KV("error", strerror(errno)));
    free(t);
}

void transcript_remove(const char *state_dir, const char *account)
{
    char path[4096];

    path_of(path, sizeof path, state_dir, account);
    (void)unlink(path);
}
