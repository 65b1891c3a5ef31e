/* Content filters: what one is told of a message, what it answers, and who asks it when.
 *
 * Each filter is asked about a bounded number of messages at a time, and each question has a
 * deadline. One that fails is in trouble: after a growing pause questions are probes, and all
 * others are answered FILTER_DOWN at once, until one is answered well.
 *
 * Probes are asked one behind the other. Where there is no connection, each pause is followed by
 * one of them. Where there is, it may be the messages that it has no verdict on, and good ones lie
 * behind them: each pause is followed by several, the pauses stay short, and one that hangs for
 * some time does not keep the next one waiting. */
#ifndef HYGIENE_FILTER_H
#define HYGIENE_FILTER_H

#include "hygiene/edit.h"
#include "hygiene/hygiene.h"
#include "spool/client.h"
#include "spool/message.h"

enum filter_word {
    FILTER_CLEAN,
    FILTER_REJECT,    /* spam, a virus: not for delivery */
    FILTER_LATER,     /* it wants to be asked again later (Rspamd's "soft reject") */
    FILTER_TOO_LARGE, /* for it: asking again would not help */
    FILTER_BROKEN, /* no verdict: no answer in time, one that is none; it may be the message's fault
                    */
    FILTER_DOWN,   /* not reached, or in trouble since a question before, and not asked */
    FILTER_WORDS,
};
const char *filter_word_name(enum filter_word word); /* "clean", "reject", ... */

struct filter_answer {
    enum filter_word word;
    char reason[400]; /* in words for a person, on one line */
    bool reached;     /* of FILTER_BROKEN, between exchange and filter: it was connected to */
    /* What it said, for who reviews the message; NULL: nothing. An object {filter, word, score,
     * required, symbols [{name, score, description}], text}, all but the first two optional. */
    json_t *report;
    struct edits edits;
};
void filter_answer_free(struct filter_answer *answer); /* what it holds */
void filter_answer_set(struct filter_answer *answer, enum filter_word word, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* What a filter is told. All of it is lent until the answer, or filter_cancel. */
struct filter_subject {
    const struct spool *spool;
    enum spool_dir dir;
    const struct message_head *head;
    const struct client *client; /* NULL: not known */
};

/* Called from the loop, never from within filter_ask; takes the answer over. */
typedef void filter_done_fn(void *arg, struct filter_answer *answer);

/* How each protocol begins and gives up a question; what it returns is its own. */
struct filter_server {
    struct event_base *base;
    struct stream_context *streams;
    char host[CONF_HOST_SIZE]; /* or the path of a socket */
    int port;
    int64_t timeout; /* ms, for all of it */
    bool mark_spam;  /* spam is marked, and goes on */
};
struct filter_protocol {
    const char *name; /* "clamd": decides_by, and the configuration's key */
    int port;         /* where none is configured */
    void *(*ask)(const struct filter_server *server, const struct filter_subject *subject,
                 filter_done_fn *done, void *arg);
    void (*cancel)(void *call); /* done is not called any more */
};
extern const struct filter_protocol filter_clamd, filter_rspamd, filter_spamd;

/* --- asking --- */

struct filter;
struct filter *filter_new(struct hygiene *h, const struct filter_protocol *protocol,
                          const struct conf_filter *conf, void (*recovered)(void *arg), void *arg);
void filter_free(struct filter *filter); /* NULL is fine; no question may be under way */

struct filter_question;
struct filter_question *filter_ask(struct filter *filter, const struct filter_subject *subject,
                                   filter_done_fn *done, void *arg);
void filter_cancel(struct filter_question *question);

const char *filter_name(const struct filter *filter);
uint64_t filter_size_limit(const struct filter *filter);
/* A message passed that was too large for it. */
void filter_count_not_asked(struct filter *filter);
/* When a question may be a probe (monotonic, ms; INT64_MAX: behind an answer); 0: it is not in
 * trouble. */
int64_t filter_next_probe(const struct filter *filter);
int filter_under_way(const struct filter *filter);
/* A person says: try it now. */
void filter_retry(struct filter *filter);
/* {name, server, up, error, asked, not_asked, under_way, silent, timeout} */
json_t *filter_status(const struct filter *filter);

#endif
