/* What smtp.c (the session) and smtp_mail.c (the transaction) share; for these two only. */
#ifndef RELAYD_SMTP_CORE_H
#define RELAYD_SMTP_CORE_H

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
    unsigned errors;
    bool starttls;
    bool secured;
    bool login;
    bool logged_in;
    bool login_owed; /* the server owes an answer within the login */
    enum smtp_state state;
    struct smtp_reply_parser parser;
    struct smtp_extensions offers;
    struct dot_encoder encoder;

    /* The transaction. Its commands are numbered: 0 is MAIL, 1..count RCPT, count + 1 DATA. */
    struct smtp_envelope envelope;
    bool active;       /* started, and no result yet */
    bool utf8;         /* an address needs SMTPUTF8 */
    bool mail_refused; /* what follows is only read to keep in step */
    size_t asked;      /* RCPTs written; fewer than count when the budget ran out */
    size_t sent;       /* commands written */
    size_t answered;
    size_t accepted;
    bool data_sent;
    struct smtp_result result; /* of a refused MAIL, kept until the replies behind it are in */
    char refusal[512];         /* its text */

    char text[SMTP_REPLY_TEXT_MAX + 8];
    char out[SMTP_OUT_MAX];
    size_t out_len;
};

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

/* smtp_mail.c: the replies in the states of a transaction. */
void smtp_on_envelope(struct smtp *smtp, const struct smtp_reply *reply);
void smtp_on_body(struct smtp *smtp, const struct smtp_reply *reply);
void smtp_on_final(struct smtp *smtp, const struct smtp_reply *reply);
/* Gives the running transaction, if there is one, its result. */
void smtp_finish(struct smtp *smtp, const struct smtp_result *result);
const char *smtp_pending_command(const struct smtp *smtp);

#endif
