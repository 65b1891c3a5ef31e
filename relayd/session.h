/* One connection to the SMTP server: a stream, the protocol core on it, and the message that is
 * being sent. Used for message after message, ended by QUIT after a short time without work. */
#ifndef RELAYD_SESSION_H
#define RELAYD_SESSION_H

#include "lib/conf.h"
#include "lib/stream.h"
#include "relayd/attempt.h"
#include "relayd/auth.h"
#include "relayd/smtp.h"

struct session;

struct session_owner {
    /* The password of relay.user, for secret_wipe; NULL and a sentence that says what to do. */
    char *(*secret)(void *arg, struct error *err);
    /* Ready for a message: call session_begin now or later, or nothing. */
    void (*ready)(void *arg, struct session *session);
    /* The attempt is over; it belongs to the owner from here on. */
    void (*result)(void *arg, struct session *session, struct attempt *attempt,
                   const struct smtp_result *result);
    /* The spool file can't be read, or is not what its preface says. Nothing of it will be taken
     * for a message: the connection is dropped. The attempt goes to the owner. */
    void (*unreadable)(void *arg, struct session *session, struct attempt *attempt,
                       const struct error *err);
    /* May the message that is out be ended by its final dot? When not, call session_go_on later. */
    bool (*may_end)(void *arg, struct session *session);
    /* The last call; the owner frees the session, now or later. */
    void (*ended)(void *arg, struct session *session, enum smtp_close how, const char *text);
    void *arg;
};

/* Begins to connect. `helo` must be a name that smtp_new takes. */
struct session *session_open(struct event_base *base, struct stream_context *streams,
                             struct conf *conf, const char *helo,
                             const struct session_owner *owner);
/* Drops the connection. An attempt under way is freed without a result. Not from within a call to
 * the owner but `ended`. NULL is fine. */
void session_free(struct session *session);

/* Takes over the attempt when it says SMTP_STARTED; otherwise nothing happened. */
enum smtp_refusal session_begin(struct session *session, struct attempt *attempt)
    __attribute__((warn_unused_result));
void session_go_on(struct session *session);
/* Ends it in order as soon as no message is under way; one that was not ready yet, within seconds,
 * and then as SMTP_CLOSED_QUIT, whatever happens. */
void session_quit(struct session *session);

bool session_idle(const struct session *session); /* ready and without a message */
const struct attempt *session_attempt(const struct session *session); /* NULL: no message */
/* Its server, as the configuration names it now. */
bool session_is_to(const struct session *session, const struct conf *conf);
/* How long the message has been under way, ms, for `result`. */
int64_t session_took(const struct session *session);
/* Over or behind a message the server has been silent for so long, and has taken none of it: it may
 * be that nothing comes any more. */
bool session_hangs(const struct session *session, int64_t now, int64_t limit);
bool session_was_ready(const struct session *session); /* EHLO was answered well */
bool session_greeted(const struct session *session);   /* by 220, and it is not over */
bool session_over(const struct session *session);
size_t session_messages(const struct session *session); /* with a result so far */
/* Where it stands, or stood when it ended: "connect", or a state of the SMTP core. */
const char *session_stage(const struct session *session);
const char *session_address(const struct session *session); /* as stream_address */
const char *session_method(const struct session *session);  /* of the login; "" for none */
MUST_CHECK bool session_tls_facts(const struct session *session, struct tls_facts *facts);
const struct smtp_extensions *session_offers(const struct session *session);

/* The owner's mark: the ticket of its last verdict. */
void session_set_ticket(struct session *session, uint64_t ticket);
uint64_t session_ticket(const struct session *session);

#endif
