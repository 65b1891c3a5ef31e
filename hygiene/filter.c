/* Who asks when. Promises: no more questions at a time than are allowed, and one behind the other
 * while the filter is in trouble; one that can't be connected to sees a probe a pause; every
 * question is answered; going down and coming up are each said once. */
#include "hygiene/filter.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <assert.h>
#include <glib.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PAUSE_MIN         CLOCK_SECOND
#define PAUSE_MAX         CLOCK_MINUTE
#define REACHED_PAUSE_MAX (15 * CLOCK_SECOND)
#define PROBES            20 /* one behind the other, before the next pause: while it is reached */
#define PATIENCE          (10 * CLOCK_SECOND) /* a probe that hangs is not waited for any longer */
#define DOWN              3                   /* failures in a row: a person should know */

static const char *const word_names[] = {
    [FILTER_CLEAN] = "clean",         [FILTER_REJECT] = "reject", [FILTER_LATER] = "later",
    [FILTER_TOO_LARGE] = "too large", [FILTER_BROKEN] = "broken", [FILTER_DOWN] = "down",
};
static_assert(sizeof word_names / sizeof word_names[0] == FILTER_WORDS, "a name for each word");

const char *filter_word_name(enum filter_word word)
{
    return word_names[word];
}

struct filter_question {
    struct filter *filter;
    const struct filter_subject *subject;
    void *call; /* NULL: it waits */
    filter_done_fn *done;
    void *arg;
};

struct filter {
    const struct filter_protocol *protocol;
    struct filter_server server;
    int sessions;
    uint64_t size;
    GQueue waiting; /* struct filter_question */
    int under_way;
    int64_t heard;     /* monotonic: its last answer, or the first question since it was idle */
    int64_t began;     /* monotonic: its last question */
    unsigned failures; /* in a row */
    unsigned pauses;   /* of growing length so far */
    unsigned probes;   /* that failed since the last of them */
    int64_t next_at;   /* monotonic; no question before, while in trouble */
    uint64_t asked, not_asked;
    char error[400]; /* of the last failure; "" when all is well */
    struct event *turn;
    void (*recovered)(void *arg);
    void *arg;
};

void filter_answer_free(struct filter_answer *answer)
{
    json_decref(answer->report);
    edits_free(&answer->edits);
    *answer = (struct filter_answer){.word = FILTER_BROKEN};
}

void filter_answer_set(struct filter_answer *answer, enum filter_word word, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    answer->word = word;
    (void)vsnprintf(answer->reason, sizeof answer->reason, fmt, ap);
    va_end(ap);
    const char *end;
    if (!g_utf8_validate(answer->reason, -1, &end)) /* a character was cut */
        answer->reason[end - answer->reason] = '\0';
}

/* --- trouble --- */

static void pause_filter(struct filter *f, int64_t now, bool reached)
{
    int64_t max = reached ? REACHED_PAUSE_MAX : PAUSE_MAX;
    f->next_at = now + clock_backoff(PAUSE_MIN, max, f->pauses++);
    f->probes = 0;
}

static void note_failure(struct filter *f, const char *why, bool reached)
{
    int64_t now = clock_monotonic();
    bool probe = f->failures > 0;
    (void)snprintf(f->error, sizeof f->error, "%s", why);
    if (probe && now < f->next_at)
        return; /* of several that were under way */
    f->failures++;
    if (!probe || !reached || ++f->probes >= PROBES)
        pause_filter(f, now, reached);
    if (f->failures == DOWN || f->next_at > now)
        LOG(f->failures == DOWN ? LOG_ALARM : LOG_WARN,
            f->failures == DOWN ? "filter-down" : "filter-failed", KV("filter", f->protocol->name),
            KV("error", why), KVN("failures", f->failures),
            KVN("again_in_ms", f->next_at > now ? f->next_at - now : 0));
}

static void note_success(struct filter *f)
{
    bool was_in_trouble = f->failures > 0;
    if (f->failures >= DOWN)
        LOG(LOG_NOTE, "filter-up", KV("filter", f->protocol->name));
    f->failures = 0;
    f->pauses = 0;
    f->probes = 0;
    f->error[0] = '\0';
    if (was_in_trouble)
        f->recovered(f->arg);
}

/* --- questions --- */

static void want_turn(struct filter *f)
{
    event_active(f->turn, EV_TIMEOUT, 0);
}

static void on_answer(void *arg, struct filter_answer *answer)
{
    struct filter_question *q = arg;
    struct filter *f = q->filter;
    struct filter_question was = *q;
    f->under_way--;
    f->heard = clock_monotonic();
    free(q);
    want_turn(f);
    if (answer->word == FILTER_BROKEN)
        note_failure(f, answer->reason, answer->reached);
    if (answer->word == FILTER_BROKEN && !answer->reached)
        answer->word = FILTER_DOWN; /* whichever message had come */
    else if (answer->word != FILTER_BROKEN)
        note_success(f);
    was.done(was.arg, answer);
}

static void begin(struct filter *f, struct filter_question *q)
{
    if (f->under_way++ == 0)
        f->heard = clock_monotonic();
    f->asked++;
    f->began = clock_monotonic();
    q->call = f->protocol->ask(&f->server, q->subject, on_answer, q);
}

static void answer_down(struct filter *f, struct filter_question *q)
{
    struct filter_answer answer = {0};
    struct filter_question was = *q;
    filter_answer_set(&answer, FILTER_DOWN, "%s", f->error);
    free(q);
    was.done(was.arg, &answer);
}

static bool may_ask(const struct filter *f)
{
    if (f->failures > 0)
        return clock_monotonic() >= filter_next_probe(f);
    return f->under_way < f->sessions;
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct filter *f = arg;
    for (guint n = g_queue_get_length(&f->waiting); n > 0; n--) {
        bool trouble = f->failures > 0;
        if (!trouble && !may_ask(f))
            return;
        struct filter_question *q = g_queue_pop_head(&f->waiting);
        if (may_ask(f))
            begin(f, q);
        else
            answer_down(f, q);
    }
}

struct filter_question *filter_ask(struct filter *f, const struct filter_subject *subject,
                                   filter_done_fn *done, void *arg)
{
    struct filter_question *q = calloc(1, sizeof *q);
    if (q == NULL)
        abort();
    *q = (struct filter_question){.filter = f, .subject = subject, .done = done, .arg = arg};
    g_queue_push_tail(&f->waiting, q);
    want_turn(f);
    return q;
}

void filter_cancel(struct filter_question *q)
{
    struct filter *f = q->filter;
    if (q->call != NULL) {
        f->protocol->cancel(q->call);
        f->under_way--;
        want_turn(f);
    } else {
        (void)g_queue_remove(&f->waiting, q);
    }
    free(q);
}

/* --- life --- */

struct filter *filter_new(struct hygiene *h, const struct filter_protocol *protocol,
                          const struct conf_filter *conf, void (*recovered)(void *arg), void *arg)
{
    struct filter *f = calloc(1, sizeof *f);
    if (f == NULL)
        abort();
    *f = (struct filter){.protocol = protocol,
                         .server = {.base = h->d->base,
                                    .streams = h->d->streams,
                                    .timeout = conf->timeout,
                                    .mark_spam = h->d->conf->hygiene.spamd_spam == CONF_SPAM_MARK},
                         .sessions = conf->sessions,
                         .size = conf->size,
                         .recovered = recovered,
                         .arg = arg};
    (void)!conf_server(conf->server, f->server.host, &f->server.port); /* conf.c has seen to it */
    if (f->server.port == 0)
        f->server.port = protocol->port;
    g_queue_init(&f->waiting);
    f->turn = event_new(h->d->base, -1, 0, on_turn, f);
    if (f->turn == NULL)
        abort();
    return f;
}

void filter_free(struct filter *f)
{
    if (f == NULL)
        return;
    assert(f->under_way == 0 && g_queue_is_empty(&f->waiting));
    event_free(f->turn);
    free(f);
}

const char *filter_name(const struct filter *f)
{
    return f->protocol->name;
}

uint64_t filter_size_limit(const struct filter *f)
{
    return f->size;
}

void filter_count_not_asked(struct filter *f)
{
    f->not_asked++;
}

int64_t filter_next_probe(const struct filter *f)
{
    if (f->failures == 0)
        return 0;
    if (f->under_way >= f->sessions)
        return INT64_MAX;
    int64_t at = f->next_at > 0 ? f->next_at : 1;
    bool hangs_later = f->under_way > 0 && f->began + PATIENCE > at;
    return hangs_later ? f->began + PATIENCE : at;
}

int filter_under_way(const struct filter *f)
{
    return f->under_way;
}

void filter_retry(struct filter *f)
{
    f->next_at = 0;
    f->pauses = 0;
    f->probes = 0;
}

json_t *filter_status(const struct filter *f)
{
    char server[CONF_HOST_SIZE + 8];
    (void)snprintf(server, sizeof server, f->server.host[0] == '/' ? "%s" : "%s:%d", f->server.host,
                   f->server.port);
    int64_t silent = f->under_way > 0 ? clock_monotonic() - f->heard : 0;
    return json_pack("{s:s, s:s, s:b, s:o, s:I, s:I, s:i, s:I, s:I}", "name", f->protocol->name,
                     "server", server, "up", f->failures == 0, "error",
                     f->failures > 0 ? json_string(f->error) : json_null(), "asked",
                     (json_int_t)f->asked, "not_asked", (json_int_t)f->not_asked, "under_way",
                     f->under_way, "silent", (json_int_t)(silent / CLOCK_SECOND), "timeout",
                     (json_int_t)(f->server.timeout / CLOCK_SECOND));
}
