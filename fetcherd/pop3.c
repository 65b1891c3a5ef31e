/* The POP3 client's protocol core.
 *
 * Promises: an answer is matched to the oldest unanswered command, and an answer that was there
 * before its command, a line that is neither +OK nor -ERR, or clear octets after STLS break the
 * session rather than be guessed at; no CR, LF or NUL gets into a command; every line, listing and
 * window has a ceiling. */
#include "fetcherd/pop3.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "fetcherd/pop3_parse.h"

static const char *const state_names[] = {
    [POP3_GREETING] = "greeting", [POP3_READY] = "ready",         [POP3_LISTING] = "listing",
    [POP3_MESSAGE] = "message",   [POP3_CHALLENGE] = "challenge", [POP3_TLS] = "tls",
    [POP3_CLOSED] = "closed",     [POP3_STOPPED] = "stopped",     [POP3_BROKEN] = "broken",
};
static_assert(sizeof state_names / sizeof *state_names == POP3_STATES, "a name for every state");

enum { CODE_MAX = 64 }; /* octets of a response code; the known ones are shorter */

enum argument { ARGUMENT_NONE, ARGUMENT_TEXT, ARGUMENT_NUMBER };

static const struct {
    const char *name;
    enum argument argument;
    enum pop3_state answer; /* what +OK is followed by */
    bool alone;             /* nothing may be outstanding beside it */
} commands[] = {
    [POP3_CMD_GREETING] = {.name = "greeting", .answer = POP3_READY, .alone = true},
    [POP3_CMD_CAPA] = {.name = "CAPA", .answer = POP3_LISTING},
    [POP3_CMD_STLS] = {.name = "STLS", .answer = POP3_TLS, .alone = true},
    [POP3_CMD_USER] = {.name = "USER", .argument = ARGUMENT_TEXT, .answer = POP3_READY},
    [POP3_CMD_PASS] = {.name = "PASS", .argument = ARGUMENT_TEXT, .answer = POP3_READY},
    [POP3_CMD_APOP] = {.name = "APOP", .argument = ARGUMENT_TEXT, .answer = POP3_READY},
    [POP3_CMD_AUTH] = {.name = "AUTH",
                       .argument = ARGUMENT_TEXT,
                       .answer = POP3_READY,
                       .alone = true},
    [POP3_CMD_STAT] = {.name = "STAT", .answer = POP3_READY},
    [POP3_CMD_UIDL] = {.name = "UIDL", .answer = POP3_LISTING},
    [POP3_CMD_LIST] = {.name = "LIST", .answer = POP3_LISTING},
    [POP3_CMD_RETR] = {.name = "RETR", .argument = ARGUMENT_NUMBER, .answer = POP3_MESSAGE},
    [POP3_CMD_DELE] = {.name = "DELE", .argument = ARGUMENT_NUMBER, .answer = POP3_READY},
    [POP3_CMD_NOOP] = {.name = "NOOP", .answer = POP3_READY},
    [POP3_CMD_QUIT] = {.name = "QUIT", .answer = POP3_CLOSED, .alone = true},
};
static_assert(sizeof commands / sizeof *commands == POP3_COMMANDS, "a row for every command");

const char *pop3_state_name(enum pop3_state state)
{
    return state_names[state];
}

const char *pop3_command_name(enum pop3_command command)
{
    return commands[command].name;
}

static void set_state(struct pop3 *p, enum pop3_state state)
{
    if (p->ops->trace && state != p->state)
        p->ops->trace(p->arg, p->state, state);
    p->state = state;
}

static void emit(struct pop3 *p, struct pop3_event event)
{
    p->ops->event(p->arg, &event);
}

static void pending_push(struct pop3 *p, enum pop3_command command, uint32_t number)
{
    p->pending[(p->head + p->pending_count++) % POP3_WINDOW] =
        (struct pop3_pending){.command = command, .number = number};
}

static const struct pop3_pending *pending_first(const struct pop3 *p)
{
    return p->pending_count ? &p->pending[p->head] : NULL;
}

static void pending_pop(struct pop3 *p)
{
    p->head = (p->head + 1) % POP3_WINDOW;
    p->pending_count--;
    p->owed--;
}

void pop3_init(struct pop3 *p, uint32_t listing_max, const struct pop3_ops *ops, void *arg)
{
    memset(p, 0, offsetof(struct pop3, line));
    p->ops = ops;
    p->arg = arg;
    p->listing_max = listing_max;
    p->state = POP3_GREETING;
    reply_line_init(&p->line);
    pending_push(p, POP3_CMD_GREETING, 0);
}

/* --- commands out ------------------------------------------------------------------------- */

static bool accepts_commands(const struct pop3 *p)
{
    return p->state == POP3_READY || p->state == POP3_LISTING || p->state == POP3_MESSAGE;
}

unsigned pop3_room(const struct pop3 *p)
{
    if (!accepts_commands(p))
        return 0;
    if (!(p->capabilities & POP3_CAP_PIPELINING))
        return p->pending_count ? 0 : 1;
    /* Whatever is last in the window may change what the following octets are. */
    if (p->pending_count) {
        unsigned last = (p->head + p->pending_count - 1) % POP3_WINDOW;
        if (commands[p->pending[last].command].alone)
            return 0;
    }
    return POP3_WINDOW - p->pending_count;
}

static bool no_line_end(const char *argument, size_t len)
{
    return !memchr(argument, '\r', len) && !memchr(argument, '\n', len) &&
           !memchr(argument, '\0', len);
}

static bool argument_is_clean(const char *argument, size_t len)
{
    return len && len <= POP3_ARGUMENT_MAX && no_line_end(argument, len);
}

static void write_line(struct pop3 *p, const char *name, const char *argument, size_t len)
{
    char line[POP3_ARGUMENT_MAX + 16];
    size_t at = strlen(name);

    memcpy(line, name, at);
    if (len) {
        line[at++] = ' ';
        memcpy(line + at, argument, len);
        at += len;
    }
    memcpy(line + at, "\r\n", 2);
    p->ops->send(p->arg, line, at + 2);
    explicit_bzero(line, at + 2); /* it may have been a password */
}

static enum pop3_sent submit(struct pop3 *p, enum pop3_command command, uint32_t number,
                             const char *argument, size_t len)
{
    if (!accepts_commands(p))
        return POP3_REFUSED_STATE;
    if (!pop3_room(p) || (commands[command].alone && p->pending_count))
        return POP3_REFUSED_WINDOW;
    if (commands[command].argument != ARGUMENT_NONE && !argument_is_clean(argument, len))
        return POP3_REFUSED_ARGUMENT;
    pending_push(p, command, number);
    write_line(p, commands[command].name, argument, len);
    return POP3_SENT;
}

enum pop3_sent pop3_send(struct pop3 *p, enum pop3_command command, const char *argument,
                         size_t argument_len)
{
    assert(command != POP3_CMD_GREETING && commands[command].argument != ARGUMENT_NUMBER);
    assert(commands[command].argument == ARGUMENT_TEXT || argument_len == 0);
    return submit(p, command, 0, argument, argument_len);
}

enum pop3_sent pop3_send_number(struct pop3 *p, enum pop3_command command, uint32_t number)
{
    char digits[16];

    assert(commands[command].argument == ARGUMENT_NUMBER);
    int len = snprintf(digits, sizeof digits, "%" PRIu32, number);
    return submit(p, command, number, digits, (size_t)len);
}

enum pop3_sent pop3_respond(struct pop3 *p, const char *text, size_t len)
{
    char line[POP3_RESPONSE_MAX + 2];

    if (p->state != POP3_CHALLENGE)
        return POP3_REFUSED_STATE;
    if (len > POP3_RESPONSE_MAX || (len && !no_line_end(text, len)))
        return POP3_REFUSED_ARGUMENT;
    set_state(p, POP3_READY);
    if (len)
        memcpy(line, text, len);
    memcpy(line + len, "\r\n", 2);
    p->ops->send(p->arg, line, len + 2);
    explicit_bzero(line, len + 2);
    return POP3_SENT;
}

enum pop3_sent pop3_cancel(struct pop3 *p)
{
    return pop3_respond(p, "*", 1);
}

/* --- answers in --------------------------------------------------------------------------- */

static void break_session(struct pop3 *p, const char *problem, const char *data, size_t len)
{
    const struct pop3_pending *first = pending_first(p);
    struct pop3_event event = {
        .type = POP3_EV_BROKEN,
        .command = first ? first->command : POP3_CMD_NOOP,
        .number = first ? first->number : 0,
        .problem = problem,
        .data = data,
        .len = len,
    };
    set_state(p, POP3_BROKEN);
    emit(p, event);
}

/* The same, and the status line is what is wrong. */
static void break_at_line(struct pop3 *p, const char *problem)
{
    p->line.len = redact_apply(&p->redact, p->line.text, p->line.len);
    break_session(p, problem, p->line.text, p->line.len);
}

/* What +OK to this command puts us in. */
static void enter_answer(struct pop3 *p, enum pop3_command command)
{
    switch (commands[command].answer) {
    case POP3_LISTING:
        p->listing_lines = 0;
        if (command == POP3_CMD_CAPA)
            p->capabilities = 0;
        set_state(p, POP3_LISTING);
        break;
    case POP3_MESSAGE:
        dotdecode_init(&p->dots);
        set_state(p, POP3_MESSAGE);
        break;
    default:
        pending_pop(p);
        set_state(p, commands[command].answer);
    }
}

static bool read_stat(struct pop3 *p, const struct reply *reply, struct pop3_event *event)
{
    if (pop3_parse_stat(reply->text, reply->text_len, &event->number, &event->size))
        return true;
    break_at_line(p, "unreadable answer to STAT");
    return false;
}

/* RFC 5034 section 4: "+ " and base64; a lone "+" by some for an empty one. */
static bool is_challenge(const struct pop3 *p)
{
    return pending_first(p)->command == POP3_CMD_AUTH && p->line.len && p->line.text[0] == '+' &&
           (p->line.len == 1 || p->line.text[1] == ' ');
}

static void on_challenge(struct pop3 *p)
{
    size_t head = p->line.len > 1 ? 2 : 1;

    p->owed--; /* the next answer is to our response */
    set_state(p, POP3_CHALLENGE);
    emit(p, (struct pop3_event){.type = POP3_EV_CHALLENGE,
                                .command = POP3_CMD_AUTH,
                                .data = p->line.text + head,
                                .len = p->line.len - head});
}

/* A code goes by what the server wrote, be it the user's password. */
static void redact_reply(struct pop3 *p, struct reply *reply, char code[static CODE_MAX])
{
    if (reply->code) {
        reply->code_len = reply->code_len < CODE_MAX ? reply->code_len : CODE_MAX;
        reply->code = memcpy(code, reply->code, reply->code_len);
    }
    size_t head = (size_t)(reply->text - p->line.text);
    reply->text_len = redact_apply(&p->redact, p->line.text + head, reply->text_len);
    p->line.len = head + reply->text_len;
}

static void on_status_line(struct pop3 *p, bool more_follows)
{
    const struct pop3_pending *first = pending_first(p);
    struct reply reply;
    char code[CODE_MAX];

    if (p->early || !first) {
        break_at_line(p, first ? "an answer before its command" : "an answer to no command");
        return;
    }
    if (is_challenge(p)) {
        on_challenge(p);
        return;
    }
    if (!reply_parse(p->line.text, p->line.len, &reply)) {
        break_at_line(p, "neither +OK nor -ERR");
        return;
    }
    redact_reply(p, &reply, code);
    struct pop3_event event = {
        .type = POP3_EV_REPLY, .command = first->command, .number = first->number, .reply = &reply};
    if (event.command == POP3_CMD_STAT && reply.ok && !read_stat(p, &reply, &event))
        return;
    if (event.command == POP3_CMD_STLS && reply.ok && more_follows) {
        break_session(p, "octets in clear after the answer to STLS", NULL, 0);
        return;
    }
    if (reply.ok) {
        enter_answer(p, event.command);
    } else {
        pending_pop(p);
        set_state(p, event.command == POP3_CMD_QUIT ? POP3_CLOSED : POP3_READY);
    }
    emit(p, event);
}

static void on_listing_item(struct pop3 *p, enum pop3_command command, const char *line, size_t len)
{
    struct pop3_event event = {.command = command, .data = line, .len = len};

    if (command == POP3_CMD_CAPA) {
        event.type = POP3_EV_CAPABILITY;
        p->capabilities |= pop3_parse_capability(line, len);
    } else if (command == POP3_CMD_LIST) {
        event.type = pop3_parse_list(line, len, &event.number, &event.size) ? POP3_EV_LIST_ITEM
                                                                            : POP3_EV_BAD_LINE;
    } else {
        event.type = pop3_parse_uidl(line, len, &event.number, &event.data, &event.len)
                         ? POP3_EV_UIDL_ITEM
                         : POP3_EV_BAD_LINE;
    }
    emit(p, event);
}

static void on_listing_line(struct pop3 *p)
{
    enum pop3_command command = pending_first(p)->command;
    const char *line = p->line.text;
    size_t len = p->line.len;

    if (len == 1 && line[0] == '.') {
        pending_pop(p);
        set_state(p, POP3_READY);
        emit(p, (struct pop3_event){.type = POP3_EV_LISTING_END, .command = command});
        return;
    }
    uint32_t max = command == POP3_CMD_CAPA ? POP3_CAPABILITY_LINES : p->listing_max;
    if (p->listing_lines++ >= max) {
        break_session(p, "the listing is too long", NULL, 0);
        return;
    }
    size_t stuffed = len && line[0] == '.' ? 1 : 0;
    on_listing_item(p, command, line + stuffed, len - stuffed);
}

static size_t feed_line(struct pop3 *p, const char *data, size_t len)
{
    size_t used;

    if (p->line.complete || !p->line.len)
        p->early = !p->owed;
    switch (reply_line_feed(&p->line, data, len, &used)) {
    case REPLY_MORE:
        break;
    case REPLY_TOO_LONG:
        break_session(p, "the line is too long", NULL, 0);
        break;
    case REPLY_LINE:
        if (p->state == POP3_LISTING)
            on_listing_line(p);
        else
            on_status_line(p, used < len);
    }
    return used;
}

static bool on_message_data(void *arg, const char *data, size_t len)
{
    struct pop3 *p = arg;

    emit(p, (struct pop3_event){.type = POP3_EV_MESSAGE_DATA,
                                .command = POP3_CMD_RETR,
                                .number = pending_first(p)->number,
                                .data = data,
                                .len = len});
    return p->state == POP3_MESSAGE;
}

static size_t feed_message(struct pop3 *p, const char *data, size_t len)
{
    size_t used = dotdecode_feed(&p->dots, data, len, on_message_data, p);

    if (p->state == POP3_MESSAGE && dotdecode_ended(&p->dots)) {
        uint32_t number = pending_first(p)->number;
        pending_pop(p);
        set_state(p, POP3_READY);
        emit(p, (struct pop3_event){
                    .type = POP3_EV_MESSAGE_END, .command = POP3_CMD_RETR, .number = number});
    }
    return used;
}

void pop3_feed(struct pop3 *p, const char *data, size_t len)
{
    size_t at = 0;

    p->owed = p->pending_count;
    while (at < len) {
        switch (p->state) {
        case POP3_GREETING:
        case POP3_READY:
        case POP3_LISTING:
            at += feed_line(p, data + at, len - at);
            break;
        case POP3_MESSAGE:
            at += feed_message(p, data + at, len - at);
            break;
        case POP3_CHALLENGE:
            break_session(p, "the server goes on before its challenge was answered", NULL, 0);
            return;
        case POP3_TLS:
            break_session(p, "octets in clear after the answer to STLS", NULL, 0);
            return;
        default: /* closed, stopped, broken: whatever comes is of no interest */
            return;
        }
    }
}

void pop3_tls_done(struct pop3 *p)
{
    assert(p->state == POP3_TLS);
    p->capabilities = 0;
    reply_line_init(&p->line);
    set_state(p, POP3_READY);
}

void pop3_stop(struct pop3 *p)
{
    set_state(p, POP3_STOPPED);
}

bool pop3_idle(const struct pop3 *p)
{
    bool between = p->state == POP3_READY || p->state == POP3_TLS || p->state == POP3_CLOSED;
    return between && !p->pending_count && (p->line.complete || !p->line.len);
}

const char *pop3_awaited(const struct pop3 *p)
{
    const struct pop3_pending *first = pending_first(p);
    return first ? commands[first->command].name : "";
}
