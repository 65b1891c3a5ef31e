/* One attempt to relay one message: whom it is for, what was answered about each of them, and what
 * follows from it all. The deciding is arithmetic, without I/O and clock. */
#ifndef RELAYD_ATTEMPT_H
#define RELAYD_ATTEMPT_H

#include "relayd/ledger.h"
#include "relayd/smtp.h"
#include "spool/message.h"

struct attempt_recipient {
    const char *address; /* belongs to the reader's head */
    bool answered;
    enum smtp_verdict verdict; /* of the answer */
    char *reply;
};

struct attempt {
    char id[ID_SIZE];
    struct message_reader *reader;
    struct ledger_row row; /* as it was before; state LEDGER_FRESH where there was none */
    /* Those that are still to get it, in the order they are asked. */
    struct attempt_recipient *recipients;
    const char **addresses;
    size_t count;
    /* Put off earlier in this round, behind those: addresses[count..count + put_off). */
    size_t put_off;
    char put_off_reply[LEDGER_REASON_MAX];
    size_t sent_before;   /* settled by earlier attempts: they have it */
    struct client client; /* that it came from; address "": not known */
    bool by_data;         /* and not by BDAT: it begins by "From ", or the server takes no chunks */
    size_t refused_before;                  /* settled by earlier attempts, against them */
    char refusal_before[LEDGER_REASON_MAX]; /* a reply that did it */
    bool body_begun;                        /* the server has bytes of the message */
    bool was_slow;   /* to be answered: put off, it counts as lost, since it may hang again */
    unsigned losses; /* sessions lost over it in a row, without a word about it */
    unsigned backs;  /* sessions that had had enough when it was to be sent */
};

/* Opens the message and leaves out the recipients that the ledger has as settled; those that were
 * put off wait until all others have been asked about. Errors are message_open's. The caller gives
 * it to attempt_free. */
MUST_CHECK struct attempt *attempt_open(const struct spool *spool, struct db *db, const char *id,
                                        struct error *err);
void attempt_free(struct attempt *attempt); /* NULL is fine */
/* Looks into the message for what the envelope does not say: whether it begins like an mbox and,
 * with `by`, the client that it came from (see client_find). False when it can't be read; errors
 * are message_read's. */
MUST_CHECK bool attempt_look(struct attempt *attempt, const char *by, struct error *err);

void attempt_answer(struct attempt *attempt, size_t index, enum smtp_verdict verdict,
                    const char *reply);

struct attempt_policy {
    int64_t retry_min, retry_max, expire; /* ms */
    bool down;       /* the server fails session after session: a loss is not the message's */
    int64_t well_at; /* when it last took a message, or refused one for its own sake */
};

enum attempt_end {
    ATTEMPT_DELIVERED,
    ATTEMPT_REJECTED, /* for good, for at least one recipient; nobody is left to be asked */
    ATTEMPT_DEFERRED,
    ATTEMPT_AGAIN, /* nothing was learnt of the message: back into the queue, no row changes */
    ATTEMPT_ENDS,
};

struct attempt_verdict {
    enum attempt_end end;
    struct ledger_row row;          /* to be written, but for ATTEMPT_AGAIN */
    enum ledger_recipient accepted; /* what those are whose RCPT was accepted; 0: nothing yet */
    const char *put_off;            /* a recipient over whom the session was lost, or NULL */
    bool refused_rest;              /* all others are refused with the row's reason */
    bool goes_on;                   /* the round: some have not been asked about yet */
};

/* How long the message had been waiting by plan, when it is tried at `now`. Time in which it could
 * not be tried when it was due (server or relayd down, message held) does not count, nor does a
 * clock that jumps. */
int64_t attempt_waited(const struct ledger_row *row, int64_t now);
/* When a message that has failed `failures` times (at least 1) and has `waited` is due again:
 * retry_min doubled each time up to retry_max, jittered, but no longer than is left until expire.
 * 0: it has expired. */
int64_t attempt_next(const struct attempt_policy *policy, unsigned failures, int64_t waited,
                     int64_t now);

/* Sums up. The recipients' answers say whom it went to:
 *   delivered   who was accepted has it; 4xx and not asked: they stay; 5xx: refused
 *   5xx to it   refused for all that are left
 *   4xx to it   who was not refused stays
 *   either, and some were not asked about: it is said of those who were, and the round goes on
 *   session     the same; it counts as an attempt only when a recipient was refused or put off,
 *               when the server had begun to read it, or when three sessions in a row were lost,
 *               since it may be the message that kills them. Over a RCPT, or a
 *               word behind the message in LMTP, it may be the recipient: the others are asked
 *               about without him, and he at the end
 * While some have not been asked about the round goes on at once, as the same attempt. */
void attempt_decide(const struct attempt *attempt, const struct smtp_result *result,
                    const struct attempt_policy *policy, int64_t now,
                    struct attempt_verdict *verdict);
/* Its last attempt ended without a reply. */
bool attempt_was_lost(const struct attempt *attempt);
/* The verdict on a message of which nobody is left to be asked about (count is 0). */
void attempt_close(const struct attempt *attempt, int64_t now, struct attempt_verdict *verdict);
/* Everybody that was asked about was put off, and not for the sake of his own mailbox (x.2.z of RFC
 * 3463). */
bool attempt_put_off_by_server(const struct attempt *attempt);
/* The verdict when relayd refuses the message by itself. */
void attempt_refuse(const struct attempt *attempt, const char *reason, int64_t now,
                    struct attempt_verdict *verdict);

#endif
