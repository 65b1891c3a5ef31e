/* The POP3 client's protocol core (RFC 1939, 2449, 2595, 3206, 5034): octets in, octets and events
 * out.
 *
 * It knows no descriptor, no clock and no log. Commands are written by pop3_send(), answers are
 * matched to them in order, so that several may be outstanding where the server offers PIPELINING.
 * Everything that happens is told by events; pointers in an event are good during the call only.
 * From within an event it is allowed to send commands and to call pop3_stop(); not to feed. */
#ifndef FETCHERD_POP3_H
#define FETCHERD_POP3_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fetcherd/dotdecode.h"
#include "fetcherd/reply.h"
#include "lib/redact.h"

enum pop3_state {
    POP3_GREETING,  /* connected, nothing heard yet */
    POP3_READY,     /* between answers: the next octets are a status line */
    POP3_LISTING,   /* in the lines of CAPA, LIST or UIDL */
    POP3_MESSAGE,   /* in the data of RETR */
    POP3_CHALLENGE, /* AUTH: the server waits for an answer of ours */
    POP3_TLS,       /* STLS accepted: no clear octet may come any more */
    POP3_CLOSED,    /* QUIT answered */
    POP3_STOPPED,   /* by pop3_stop() */
    POP3_BROKEN,    /* out of step with the server; the session is to be dropped without QUIT */
    POP3_STATES,
};

enum pop3_command {
    POP3_CMD_GREETING, /* not sent, but answered */
    POP3_CMD_CAPA,
    POP3_CMD_STLS,
    POP3_CMD_USER,
    POP3_CMD_PASS,
    POP3_CMD_APOP,
    POP3_CMD_AUTH,
    POP3_CMD_STAT,
    POP3_CMD_UIDL,
    POP3_CMD_LIST,
    POP3_CMD_RETR,
    POP3_CMD_DELE,
    POP3_CMD_NOOP,
    POP3_CMD_QUIT,
    POP3_COMMANDS,
};

enum pop3_capability {
    POP3_CAP_PIPELINING = 1 << 0,
    POP3_CAP_STLS = 1 << 1,
    POP3_CAP_UIDL = 1 << 2,
    POP3_CAP_USER = 1 << 3,
    POP3_CAP_RESP_CODES = 1 << 4,
    POP3_CAP_AUTH_RESP_CODE = 1 << 5,
    POP3_CAP_SASL = 1 << 6,
    POP3_CAP_TOP = 1 << 7,
};

enum {
    POP3_UIDL_MAX = 255,         /* RFC 1939 says 70; servers exceed it */
    POP3_WINDOW = 32,            /* outstanding commands with PIPELINING */
    POP3_ARGUMENT_MAX = 4096,    /* octets in a command's argument */
    POP3_RESPONSE_MAX = 12288,   /* octets in an answer to a challenge (RFC 5034 section 4) */
    POP3_LINE_MAX = 255,         /* octets of a command with its CRLF (RFC 2449 section 4) */
    POP3_CAPABILITY_LINES = 256, /* more is a protocol error */
};

enum pop3_event_type {
    POP3_EV_REPLY,        /* command, number, reply; counts for STAT */
    POP3_EV_CHALLENGE,    /* AUTH: data, base64; pop3_respond() or pop3_cancel() is to follow */
    POP3_EV_CAPABILITY,   /* data: one line */
    POP3_EV_LIST_ITEM,    /* number, size */
    POP3_EV_UIDL_ITEM,    /* number, data: the UIDL, opaque octets */
    POP3_EV_BAD_LINE,     /* command, data: a line that makes no sense; it was skipped */
    POP3_EV_LISTING_END,  /* command */
    POP3_EV_MESSAGE_DATA, /* number, data */
    POP3_EV_MESSAGE_END,  /* number */
    POP3_EV_BROKEN,       /* command: the one whose answer was awaited; problem, data: the line */
};

struct pop3_event {
    enum pop3_event_type type;
    enum pop3_command command;
    uint32_t number;           /* of the message, as sent or listed; STAT: how many there are */
    uint64_t size;             /* octets; STAT: of the maildrop */
    const struct reply *reply; /* POP3_EV_REPLY only */
    const char *data;
    size_t len;
    const char *problem; /* POP3_EV_BROKEN only: what was wrong, static text */
};

struct pop3_ops {
    /* Octets for the server, in order. They are the caller's to copy. */
    void (*send)(void *arg, const char *data, size_t len);
    void (*event)(void *arg, const struct pop3_event *event);
    /* Each change of state; may be NULL. */
    void (*trace)(void *arg, enum pop3_state from, enum pop3_state to);
};

enum pop3_sent {
    POP3_SENT,
    POP3_REFUSED_STATE,    /* no command may be sent now */
    POP3_REFUSED_WINDOW,   /* too many are outstanding; see pop3_room() */
    POP3_REFUSED_ARGUMENT, /* CR, LF, NUL, empty, or too long */
};

struct pop3_pending {
    enum pop3_command command;
    uint32_t number;
};

struct pop3 {
    enum pop3_state state;
    unsigned capabilities; /* enum pop3_capability; empty until CAPA was answered */
    uint32_t listing_max;  /* lines of LIST or UIDL that are taken; more is a protocol error */
    uint32_t listing_lines;
    const struct pop3_ops *ops;
    void *arg;
    /* Secrets that status lines are told without. Who sends them notes them, and clears this when
     * the login is over. A reply's code is told as it is: it is for programs. */
    struct redact redact;
    unsigned head, pending_count; /* FIFO of what awaits an answer */
    unsigned owed; /* of those, how many were sent before the octets that are being fed came */
    bool early;    /* the line began when nothing was owed */
    struct pop3_pending pending[POP3_WINDOW];
    struct dotdecode dots;
    struct reply_line line;
};

/* ops must outlive p. listing_max bounds what LIST and UIDL may say. */
void pop3_init(struct pop3 *p, uint32_t listing_max, const struct pop3_ops *ops, void *arg);

/* Sends a command without argument, or one with a text argument (USER, PASS, APOP, AUTH). It
 * is the only writer but for pop3_respond;
 * nothing is written when it refuses. */
enum pop3_sent pop3_send(struct pop3 *p, enum pop3_command command, const char *argument,
                         size_t argument_len) __attribute__((warn_unused_result));

/* Sends a command whose argument is a message number (RETR, DELE). */
enum pop3_sent pop3_send_number(struct pop3 *p, enum pop3_command command, uint32_t number)
    __attribute__((warn_unused_result));

/* Answers a challenge; len may be 0. Allowed in POP3_CHALLENGE only. */
enum pop3_sent pop3_respond(struct pop3 *p, const char *text, size_t len)
    __attribute__((warn_unused_result));
/* Gives the exchange up: "*", which the server answers with -ERR. */
enum pop3_sent pop3_cancel(struct pop3 *p) __attribute__((warn_unused_result));

/* How many commands may be sent now. 1 or 0 without PIPELINING. */
unsigned pop3_room(const struct pop3 *p);

/* Takes what the server sent, all of it, unless the core stops or breaks on the way. To be given
 * all that is there in one piece: what stands behind the answers to what was sent until now can't
 * be the answer to a command that only these events bring about. It is taken for an attack, or a
 * server out of step, and breaks the session. */
void pop3_feed(struct pop3 *p, const char *data, size_t len);

/* To be called when TLS stands after STLS: what was learnt in clear is forgotten. */
void pop3_tls_done(struct pop3 *p);

/* Lets go: no more events, no more commands. */
void pop3_stop(struct pop3 *p);

/* Whether nothing is awaited and nothing half received. At this point, and no other, TLS may start
 * or the line be dropped with nothing lost. */
bool pop3_idle(const struct pop3 *p);

/* The command whose answer is awaited or being received, for messages; "" when none. */
const char *pop3_awaited(const struct pop3 *p);

const char *pop3_state_name(enum pop3_state state);
const char *pop3_command_name(enum pop3_command command);

#endif
