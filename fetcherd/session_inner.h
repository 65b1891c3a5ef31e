/* The inside of a session, shared by session.c (life, connection, survey), session_login.c
 * (greeting to PASS) and session_mail.c (DELE, RETR, batches, outcomes). Nobody else includes it.
 */
#ifndef FETCHERD_SESSION_INNER_H
#define FETCHERD_SESSION_INNER_H

#include "fetcherd/commit.h"
#include "fetcherd/fetcherd.h"
#include "fetcherd/intake.h"
#include "fetcherd/login.h"
#include "fetcherd/maildrop.h"
#include "fetcherd/pop3.h"
#include "fetcherd/session.h"

enum session_step {
    SESSION_CONNECTING,
    SESSION_LOGIN,    /* greeting, CAPA, STLS, USER, PASS */
    SESSION_SECURING, /* TLS after STLS */
    SESSION_SURVEY,   /* STAT, UIDL, LIST */
    SESSION_WORKING,  /* DELE, RETR */
    SESSION_WAITING,  /* all is fetched; outcomes may come in, DELE goes on */
    SESSION_QUITTING,
    SESSION_OVER, /* to be freed as soon as nobody is within it */
    SESSION_STEPS,
};

enum {
    SESSION_SYNCING_MAX = 2,       /* batches being synced, until reading pauses */
    SESSION_LISTING_MAX = 1000000, /* lines of UIDL or LIST, whatever STAT said */
};

/* A message that was spooled and whose outcome a session can act on. */
struct session_spooled {
    char id[ID_SIZE];
    uint32_t item;
    bool settled;
    bool ours; /* spooled by the session itself: its outcome is waited for */
};

struct session {
    struct fetcherd *f;
    struct account *account;
    struct stream *stream;
    enum session_step step;
    unsigned depth; /* how many of our callbacks are on the stack */
    bool by_hand;
    struct transcript *transcript; /* NULL: none */
    struct deadline {
        struct event *timer;
        enum session_step step; /* when the timer was last looked at */
        uint64_t answers, octets;
        int64_t survey_until; /* monotonic */
    } deadline;
    uint64_t answers, octets; /* that came in */
    struct login login;
    bool authenticated;
    struct session_result result;

    unsigned survey_sent, survey_answered;
    bool listing_done;
    bool no_uidl; /* the server has none at all */
    bool no_list;
    uint32_t stat_count;
    uint32_t bad_lines;

    struct maildrop drop;
    uint64_t size_limit;
    size_t fetch_sent, fetch_answered;
    size_t fetch_limit; /* how far of the plan's fetches it goes; see take_risks */
    struct intake intake;
    uint32_t *deletes; /* items, in the order of DELE; room for every one */
    size_t delete_count, delete_sent, delete_answered;
    uint32_t *deleted; /* those whose DELE was accepted */
    size_t deleted_count;

    struct message_writer *held; /* received whole, but see release_held */
    uint32_t held_item;
    struct commit *commit; /* being filled; NULL: none */
    struct commit **syncing;
    size_t syncing_count;
    struct event *batch_timer;
    bool paused;

    struct session_spooled *spooled; /* ascending by id */
    size_t spooled_count, spooled_capacity;
    size_t unsettled; /* of ours */
    struct event *wait_timer;
    int64_t wait_until, quiet_until; /* monotonic */

    struct pop3 core;
};

/* --- session.c --- */

/* Ends the session as failed. `command` is what it failed at. Only the first reason counts. */
void session_fail(struct session *s, const char *command, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* The same, with the server's reply as the reason. */
void session_fail_reply(struct session *s, enum pop3_command command, const struct reply *reply);
/* Takes what the reply's code says of when to come again. */
void session_note_code(struct session *s, const struct reply *reply);
/* Ends the session in good order, or early but without anybody's fault. */
void session_finish(struct session *s);
void session_set_step(struct session *s, enum session_step step);
/* Sends, or fails the session. */
void session_send(struct session *s, enum pop3_command command, const char *argument);
/* The item's UIDL as text, for events. */
void session_uidl(const struct session *s, const struct maildrop_item *item,
                  char text[static POP3_UIDL_MAX + 1]);
/* To go round whatever may call back: the session is freed by the last leave. */
void session_enter(struct session *s);
void session_leave(struct session *s);

/* --- session_login.c --- */

void login_reply(struct session *s, const struct pop3_event *event);
/* CAPA was answered, by a listing or by -ERR. */
void login_capabilities_known(struct session *s, bool answered);
void login_secured(struct session *s);
/* A line of CAPA, a challenge. */
void login_event(struct session *s, const struct pop3_event *event);

/* --- session_survey.c --- */

void survey_begin(struct session *s);
void survey_event(struct session *s, const struct pop3_event *event);

/* --- session_mail.c --- */

void mail_begin(struct session *s);
void mail_event(struct session *s, const struct pop3_event *event);
/* Sends what may be sent, and sees whether a step is complete. */
void mail_advance(struct session *s);
/* The connection broke: the message that was awaited is charged an attempt. */
void mail_charge_current(struct session *s, const char *why);
/* What the server said makes no sense: the message just received is doubtful, if there is one. */
void mail_out_of_step(struct session *s, const char *why);
/* Ends what is open of messages; what was received whole is committed, unless `discard`. */
void mail_close(struct session *s, bool discard);

/* --- session_duplicate.c --- */

/* Whether the ledger has this very message, received whole as the item; it is then dealt with. */
bool duplicate_settled(struct session *s, uint32_t index, const struct message_writer *w);

/* --- session_wait.c --- */

/* All is fetched: SESSION_WAITING begins. */
void wait_begin(struct session *s);
/* An outcome has come in. */
void wait_renew(struct session *s);
/* Whether outcomes that would let us delete more are worth waiting for. */
bool wait_is_of_use(const struct session *s);
/* No outcome for a while. */
void wait_ask(struct session *s);

/* --- session_deadline.c --- */

/* From here on answers and messages have to come in with a minimum of speed. */
void deadline_begin(struct session *s);
void deadline_free(struct session *s);

/* --- session_delete.c --- */

/* The item is ours for good: DELE, if the policy lets that follow at once. */
void delete_settled(struct session *s, uint32_t item);
/* DELE without asking the policy; once for each item. */
void delete_now(struct session *s, uint32_t item);
void delete_reply(struct session *s, const struct pop3_event *event);
/* The connection broke at the DELE that is awaited: after three times it is left for a day. */
void delete_charge(struct session *s, const char *why);
/* Whether the server will carry out the deletions is open: QUIT goes out now, or the session is
 * over without it. */
void delete_doubtful(struct session *s);
/* QUIT was confirmed: what was deleted is gone. */
void delete_confirmed(struct session *s);

/* --- session_spooled.c --- */

/* Notes a message whose outcome is to be acted on; ids come in ascending. */
void spooled_add(struct session *s, const char *id, uint32_t item, bool ours);
void spooled_sort(struct session *s);
/* Returns the item, or -1 when the id is not one of them or is settled. */
int64_t spooled_settle(struct session *s, const char *id);

#endif
