/* What smtp.c (the session), smtp_mail.c (the envelope), smtp_client.c (XCLIENT, XFORWARD) and
 * smtp_body.c (the message) share; for these only. */
#ifndef RELAYD_SMTP_CORE_H
#define RELAYD_SMTP_CORE_H

#include "lib/redact.h"
#include "relayd/dotencode.h"
#include "relayd/smtp.h"

enum {
    SMTP_HELO_MAX = 255,
    SMTP_ADDRESS_MAX = 500, /* with "RCPT TO:<>" and CRLF, the 512 octets of RFC 5321, 4.5.3.1.4 */
    SMTP_OUT_MAX = 4096,    /* commands that go out in one piece */
};

struct smtp {
    const struct smtp_events *events;
    void *ctx;
    char helo[SMTP_HELO_MAX + 1];
    unsigned max_errors;
    unsigned refusals; /* 5xx */
    unsigned put_offs; /* 4xx since a message was taken */
    uint64_t replies;
    bool lmtp;
    bool xclient, xforward;
    bool starttls;
    bool secured;
    bool login;
    bool logged_in;
    bool login_owed;      /* the server owes an answer within the login */
    struct redact redact; /* what was said in it */
    enum smtp_state state;
    struct smtp_reply_parser parser;
    struct smtp_extensions offers;

    /* XCLIENT holds until the next one; XFORWARD for a transaction. */
    struct client speaks_for; /* address "": for nobody */
    bool leave;               /* end the session after this transaction */
    bool forwarded;           /* XFORWARD was sent, and no RSET or end of message came since */

    /* The transaction. Its commands are numbered: 0 is MAIL, 1..asked RCPT, asked + 1 DATA. */
    struct smtp_envelope envelope;
    bool active;    /* started, and no result yet */
    bool utf8;      /* an address needs SMTPUTF8 */
    bool utf8_left; /* recipients that need it are left out: it is not offered */
    bool refused;   /* by MAIL or BDAT; what follows is only read to keep in step */
    bool chunking;  /* by BDAT */
    bool used;      /* for a message, on this connection */
    bool coded;     /* the last recipient was accepted with 2.1.z (RFC 3463) */
    size_t next;    /* recipient to ask about */
    size_t due;     /* recipient whose answer is next */
    size_t asked;   /* RCPTs written; fewer than count when the budget ran out */
    size_t sent;    /* commands written */
    size_t answered;
    size_t accepted;
    bool data_sent;
    struct smtp_result result; /* kept until the replies behind it are in */
    char kept[512];            /* its text */

    /* The message. */
    struct dot_encoder encoder;
    char *chunk; /* what waits for its BDAT */
    size_t chunk_len, chunk_room;
    size_t chunks_sent, chunks_answered;
    bool ended; /* all of it is in `chunk`, or out */

    /* LMTP: the accepted recipients, in order, and how many of them have the server's last word. */
    size_t *takers;
    size_t takers_room;
    size_t finals;
    enum smtp_verdict best;

    char text[SMTP_REPLY_TEXT_MAX + 8];
    char out[SMTP_OUT_MAX];
    size_t out_len;
};

/* Errors that the server may still see in this session. */
static inline unsigned smtp_budget(const struct smtp *smtp)
{
    unsigned used = smtp->refusals + smtp->put_offs;
    return used < smtp->max_errors ? smtp->max_errors - used : 0;
}

/* smtp.c */
void smtp_set_state(struct smtp *smtp, enum smtp_state to);
void smtp_close_session(struct smtp *smtp, enum smtp_close how, const char *text);
/* `code` is 0 when the server said nothing: a message that is out whole may have been taken then.
 */
void smtp_fail_session(struct smtp *smtp, int code, const char *text);
bool smtp_argument_ok(const char *text, size_t max);
/* Writes `verb`, `argument`, `rest` and CRLF; false when the session had to be failed instead. */
bool smtp_put_command(struct smtp *smtp, const char *verb, const char *argument, const char *rest);
void smtp_put_simple(struct smtp *smtp, const char *verb, enum smtp_state next);
void smtp_flush(struct smtp *smtp);

/* Sends EHLO (LHLO) again, after XCLIENT. */
void smtp_hello(struct smtp *smtp);

/* smtp_client.c */
void smtp_on_xclient(struct smtp *smtp, const struct smtp_reply *reply);
void smtp_on_xforward(struct smtp *smtp, const struct smtp_reply *reply);
/* May the message of `client` (NULL: not known) go out on this session? */
bool smtp_client_fits(const struct smtp *smtp, const struct client *client);
/* Begins the transaction, by XCLIENT or XFORWARD where that is to be said first. */
void smtp_tell_client(struct smtp *smtp);
/* The server took XCLIENT, and then refused the client for which we speak. */
void smtp_client_refused(struct smtp *smtp, const struct smtp_reply *reply);

/* smtp_mail.c */
void smtp_begin_envelope(struct smtp *smtp);
void smtp_on_envelope(struct smtp *smtp, const struct smtp_reply *reply);
/* The outcome by the reply's class, of 4 and 5. */
struct smtp_result smtp_result_of(const struct smtp *smtp, const struct smtp_reply *reply,
                                  const char *command);
struct smtp_result smtp_no_recipient(const struct smtp *smtp);
enum smtp_verdict smtp_verdict_of(const struct smtp_reply *reply);
/* By its enhanced code: what is said to RCPT, and to nothing behind it. */
bool smtp_is_about_address(const struct smtp_reply *reply);
/* Keeps the result, and its text, until the replies behind it are in. */
void smtp_keep(struct smtp *smtp, const struct smtp_result *result);
/* Gives the running transaction, if there is one, its result: what is kept of a refusal goes before
 * the session's end. */
void smtp_finish(struct smtp *smtp, const struct smtp_result *result);
void smtp_end_transaction(struct smtp *smtp, const struct smtp_result *result, bool reset);
const char *smtp_pending_command(const struct smtp *smtp);
/* How many replies the server owes. It may always send one unasked, to take its leave (421). */
size_t smtp_owed(const struct smtp *smtp);

/* smtp_body.c */
void smtp_begin_body(struct smtp *smtp);
void smtp_send_terminator(struct smtp *smtp);
void smtp_on_body(struct smtp *smtp, const struct smtp_reply *reply);
void smtp_on_final(struct smtp *smtp, const struct smtp_reply *reply);
/* LMTP: the recipient is accepted. */
void smtp_add_taker(struct smtp *smtp, size_t index);
/* Nobody can tell whether the message was taken, if the session ends now without a word. */
bool smtp_in_doubt(const struct smtp *smtp);

#endif
