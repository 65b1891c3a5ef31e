/* The client side of one SMTP or LMTP connection (RFC 5321, 2033), without I/O: the server's bytes
 * go in, the client's bytes and events come out. No descriptor, no clock, no global.
 *
 *   smtp_new -> greeting, EHLO -> ready -> smtp_start -> recipient... -> want_data -> smtp_body...
 *            -> smtp_body_end -> result -> ready -> smtp_start ... smtp_quit -> closed
 *
 * An address that needs an SMTPUTF8 which is not offered is refused here, for itself alone.
 *
 * Events are called from within the functions below; they may call smtp_start, smtp_quit and
 * smtp_body*, but not smtp_free.
 *
 * The budget: every 5xx that the server answers counts, and every 4xx since it last took a message
 * (Postfix: "errors without delivering mail"); and never more commands are in flight than errors
 * are still allowed; when they are used up, the session ends by QUIT after the transaction. So a
 * server which drops clients after N errors (Exchange: 5) sees at most `max_errors`, plus one when
 * it refuses a message after its DATA. Recipients that were not asked about for this reason, or
 * because the server wants no more of them in one transaction, get no `recipient` event; the first
 * is always asked about. */
#ifndef RELAYD_SMTP_H
#define RELAYD_SMTP_H

#include "relayd/extension.h"
#include "relayd/reply.h"
#include "spool/client.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum smtp_state {
    SMTP_GREETING,
    SMTP_EHLO,
    SMTP_HELO,
    SMTP_STARTTLS,
    SMTP_SECURING, /* 220 came; waits for smtp_secured */
    SMTP_LOGIN,    /* AUTH (RFC 4954): the caller speaks, by smtp_auth and its kin */
    SMTP_READY,
    SMTP_XCLIENT,  /* the server is told of the client; 220 and EHLO again follow */
    SMTP_XFORWARD, /* the same; MAIL follows */
    SMTP_ENVELOPE, /* MAIL, RCPT, DATA under way */
    SMTP_BODY,     /* 354 came, or it goes by BDAT; the caller feeds the message */
    SMTP_FINAL,    /* the terminator is out, or the last BDAT */
    SMTP_RSET,
    SMTP_QUIT,
    SMTP_CLOSED,
    SMTP_STATES,
};

enum smtp_outcome {
    SMTP_DELIVERED,         /* 2xx to the message; for the recipients that were accepted */
    SMTP_NO_RECIPIENT,      /* none was accepted: see the `recipient` events */
    SMTP_MESSAGE_TEMPORARY, /* 4xx to MAIL, DATA or the message */
    SMTP_MESSAGE_PERMANENT, /* 5xx to MAIL, DATA or the message */
    SMTP_SESSION_FAILED,    /* not the message's fault: 421, connection lost, not SMTP */
    SMTP_OUTCOMES,
};

struct smtp_result {
    enum smtp_outcome outcome;
    const char *command; /* that the reply was given to: "MAIL", "RCPT", "DATA", "BDAT", "." ... */
    const char *text;    /* the reply on one line, or what went wrong; lent */
    int code;            /* of the reply; 0 where there was none */
    bool in_doubt; /* the message was sent whole and no answer came: a duplicate is possible */
    bool of_each;  /* in LMTP, while the words behind the message were awaited, of one by one */
};

enum smtp_verdict {
    SMTP_ACCEPTED,
    SMTP_TEMPORARY,
    SMTP_PERMANENT,
    SMTP_TAKEN, /* LMTP's word behind the message: it has it, whatever becomes of the others */
};

enum smtp_close {
    SMTP_CLOSED_QUIT,   /* by our QUIT */
    SMTP_CLOSED_IDLE,   /* the server ended a session in which nothing was under way */
    SMTP_CLOSED_FAILED, /* anything else; `text` of the event says what */
    SMTP_CLOSED_LOGIN,  /* the password is not taken: to try again soon would do harm */
};

struct smtp_events {
    void (*send)(void *ctx, const char *bytes, size_t len);
    void (*secure)(void *ctx); /* start TLS, then call smtp_secured */
    /* What is next in logging in: smtp_auth at the beginning (reply is NULL); smtp_auth_answer or
     * smtp_auth_cancel for a challenge (334); for what else the server says, smtp_login_done,
     * smtp_login_failed, smtp_auth again, or smtp_quit. It may be called now or later. */
    void (*login)(void *ctx, const struct smtp_reply *reply);
    void (*ready)(void *ctx); /* smtp_start or smtp_quit may be called */
    /* With LMTP an accepted one gets a second word, behind the message. */
    void (*recipient)(void *ctx, size_t index, enum smtp_verdict verdict, const char *reply);
    void (*want_data)(void *ctx); /* and each time smtp_wants_body becomes true again */
    void (*result)(void *ctx, const struct smtp_result *result);
    void (*closed)(void *ctx, enum smtp_close how, const char *text);   /* the last event */
    void (*trace)(void *ctx, enum smtp_state from, enum smtp_state to); /* may be NULL */
};

struct smtp_config {
    const char *helo;    /* our name; copied */
    unsigned max_errors; /* at least 1 */
    bool starttls;       /* no mail without it */
    bool login;          /* nor without this */
    bool lmtp;
    bool xclient, xforward; /* where offered, the server is told of the envelope's client */
};

struct smtp;

/* NULL only when there is no memory or `helo` is no name to give. */
struct smtp *smtp_new(const struct smtp_config *config, const struct smtp_events *events,
                      void *ctx);
void smtp_free(struct smtp *smtp);

void smtp_receive(struct smtp *smtp, const char *bytes, size_t len);
/* The connection is gone (closed, failed, timed out), for the reason `why`. */
void smtp_lost(struct smtp *smtp, const char *why);
void smtp_secured(struct smtp *smtp);

/* AUTH with a mechanism, and its initial response in base64 ("" for an empty one, NULL for none).
 * False when it must not be sent so: not in SMTP_LOGIN, or (SMTP_AUTH_LINE_MAX) too long; nothing
 * was sent then. */
enum { SMTP_AUTH_LINE_MAX = 512, SMTP_AUTH_ANSWER_MAX = 12288 }; /* octets, with CRLF */
bool smtp_auth(struct smtp *smtp, const char *mechanism, const char *initial)
    __attribute__((warn_unused_result));
/* Answers a challenge, in base64; false as above. */
bool smtp_auth_answer(struct smtp *smtp, const char *answer) __attribute__((warn_unused_result));
/* Instead of an answer; the server will refuse the exchange. */
void smtp_auth_cancel(struct smtp *smtp);
/* The password or token that the login is about, and what is said in it, are stars wherever the
 * server repeats them, until it is done. */
void smtp_secret(struct smtp *smtp, const char *secret);
/* Logged in: on to `ready`. */
void smtp_login_done(struct smtp *smtp);
/* Ends the session, for the reason `why`. */
void smtp_login_failed(struct smtp *smtp, enum smtp_close how, const char *why);

struct smtp_envelope {
    const char *sender; /* "" is the null reverse-path */
    const char *const *recipients;
    size_t count;  /* at least 1 */
    uint64_t size; /* octets of the message */
    bool by_data;  /* not by BDAT: Postfix takes a first line "From " for what it is in
                    * DATA alone, else the header section ends before it has begun */
    const struct client *client; /* that it came from; NULL: not known */
};

enum smtp_refusal {
    SMTP_STARTED,
    SMTP_REFUSED_BUSY,    /* not in SMTP_READY */
    SMTP_REFUSED_ADDRESS, /* control character, too long: must not be sent */
    SMTP_REFUSED_SIZE,    /* greater than the server's SIZE */
    SMTP_REFUSED_UTF8, /* sender or all recipients outside ASCII, and the server has no SMTPUTF8 */
    SMTP_REFUSED_CLIENT, /* the session speaks for another client; a new one can take it */
    SMTP_REFUSALS,
};

/* Begins a transaction; the envelope is lent until its result. Refusals send nothing. */
enum smtp_refusal smtp_start(struct smtp *smtp, const struct smtp_envelope *envelope)
    __attribute__((warn_unused_result));
/* A sentence for a person. */
const char *smtp_refusal_text(enum smtp_refusal refusal);

/* The message, in pieces of any size, after want_data; it is encoded here (relayd/dotencode.h). It
 * goes by BDAT (RFC 3030) where CHUNKING and PIPELINING are offered: then up to SMTP_CHUNK octets
 * and a piece are kept here, and smtp_wants_body says when more would only pile up. */
enum { SMTP_CHUNK = 256 * 1024 };
void smtp_body(struct smtp *smtp, const char *bytes, size_t len);
bool smtp_wants_body(const struct smtp *smtp);
void smtp_body_end(struct smtp *smtp);

/* When ready, or in place of a login that has not begun; else nothing happens. */
void smtp_quit(struct smtp *smtp);
/* Gives up without a byte or an event more; the connection must be dropped. */
void smtp_abandon(struct smtp *smtp);

enum smtp_state smtp_state(const struct smtp *smtp);
const char *smtp_state_name(enum smtp_state state);
/* Seconds that the server may take for what it owes now (RFC 5321, 4.5.3.2). */
int smtp_patience(const struct smtp *smtp);
const struct smtp_extensions *smtp_offers(const struct smtp *smtp);
unsigned smtp_errors(const struct smtp *smtp);  /* that count in the budget, so far */
uint64_t smtp_replies(const struct smtp *smtp); /* whole ones so far */

#endif
