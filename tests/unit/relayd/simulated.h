/* A clock, and an SMTP server, that stand still until the test moves them. Both clocks of the
 * process, libevent's too, are read here, and the loop runs from one timer to the next without
 * waiting. The functions of lib/stream.h are those of the server: what is above them is the real
 * relayd. A message is known by its sender, nNUMBER@... */
#ifndef TESTS_SIMULATED_H
#define TESTS_SIMULATED_H

#include "lib/clock.h"
#include "lib/stream.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <time.h>

enum { SIM_MESSAGES = 10000, SIM_LATENCY = 5 /* ms, of each answer */ };

enum sim_mood {
    SIM_WELL,
    SIM_REFUSED,  /* nobody listens */
    SIM_SILENT,   /* packets are dropped */
    SIM_BUSY,     /* greets by 421 */
    SIM_HANGS_UP, /* on MAIL */
    SIM_DIES,     /* over the whole message, before it answers */
    SIM_HANGS,    /* the same, and does not even hang up */
    SIM_LATER,    /* 451 to the whole message */
    SIM_ENDS,     /* 421 to MAIL */
    SIM_ENDS_IT,  /* 421 to the whole message */
    SIM_LOG_IN,   /* 530 to MAIL and what follows */
};

static struct {
    int64_t now;   /* ms since the epoch, and of the monotonic clock */
    int64_t ahead; /* what the clock on the wall shows more */
    struct event_base *base;
    enum sim_mood mood;
    const char *mute;    /* the command that it leaves unanswered; "": connecting. NULL: none */
    size_t pace;         /* octets a second that it takes of a message; 0: as they come */
    size_t live, peak;   /* connections, or attempts at one */
    unsigned connects;   /* begun so far */
    size_t taken;        /* messages, in all */
    int64_t first_taken; /* since this was set to 0 */
    /* of each message: MAIL commands, 354 to DATA, 250 to all of it */
    unsigned short mails[SIM_MESSAGES], bodies[SIM_MESSAGES], copies[SIM_MESSAGES];
    int order[SIM_MESSAGES]; /* of the MAIL commands */
    size_t ordered;
    bool (*later)(int number);            /* 451 to this one, this time */
    enum sim_mood (*mood_of)(int number); /* over this one, while the mood is well */
    struct stream *streams;
} sim;

struct stream {
    stream_fn *fn;
    void *arg;
    size_t low_water;
    struct evbuffer *in, *out;
    struct event *answer;
    struct stream *next;
    int number; /* of the message */
    bool up, over, in_body, hangs_up, muted;
};

/* ---- the clock ---- */

/* These take the C library's place for all of the program, shared libraries included. */
int clock_gettime(clockid_t id, struct timespec *ts)
{
    int64_t now = sim.now + (id == CLOCK_REALTIME ? sim.ahead : 0);
    *ts = (struct timespec){.tv_sec = now / 1000, .tv_nsec = now % 1000 * 1000000};
    return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict zone)
{
    (void)zone;
    *tv = (struct timeval){.tv_sec = sim.now / 1000, .tv_usec = sim.now % 1000 * 1000};
    return 0;
}

static inline int sim_sooner(const struct event_base *base, const struct event *ev, void *arg)
{
    int64_t *first = arg;
    struct timeval at;
    (void)base;
    if (!event_pending(ev, EV_TIMEOUT, &at))
        return 0;
    int64_t ms = (int64_t)at.tv_sec * 1000 + (at.tv_usec + 999) / 1000;
    if (ms < *first)
        *first = ms;
    return 0;
}

/* Runs what is due, then moves the clock on to the next timer, but not beyond `end`. False: there
 * it is. */
static inline bool sim_step(int64_t end)
{
    int64_t first = end;
    (void)event_base_loop(sim.base, EVLOOP_NONBLOCK);
    (void)event_base_foreach_event(sim.base, sim_sooner, &first);
    if (first > sim.now)
        sim.now = first;
    return sim.now < end;
}

/* ---- the server ---- */

static inline void sim_answer_in(struct stream *stream, int64_t ms)
{
    const struct timeval wait = {.tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000};
    if (!evtimer_pending(stream->answer, NULL))
        (void)evtimer_add(stream->answer, &wait);
}

static inline void sim_say(struct stream *stream, const char *text)
{
    (void)evbuffer_add(stream->in, text, strlen(text));
}

static inline enum sim_mood sim_mood_over(const struct stream *stream)
{
    return sim.mood == SIM_WELL && sim.mood_of ? sim.mood_of(stream->number) : sim.mood;
}

static inline void sim_take(struct stream *stream)
{
    enum sim_mood mood = sim_mood_over(stream);
    stream->in_body = false;
    if (mood == SIM_DIES) {
        stream->hangs_up = true;
    } else if (mood == SIM_ENDS_IT) {
        sim_say(stream, "421 4.7.0 goodbye\r\n");
        stream->hangs_up = true;
    } else if (mood == SIM_LATER) {
        sim_say(stream, "451 4.3.0 later\r\n");
    } else if (mood == SIM_HANGS) {
        return;
    } else if (sim.later && sim.later(stream->number)) {
        sim_say(stream, "451 4.7.1 later\r\n");
    } else {
        sim_say(stream, "250 2.0.0 taken\r\n");
        sim.copies[stream->number]++;
        sim.taken++;
        if (sim.first_taken == 0)
            sim.first_taken = sim.now;
    }
}

/* From there on it says nothing more. */
static inline bool sim_mutes(struct stream *stream, const char *verb)
{
    if (sim.mute && strncmp(verb, sim.mute, 4) == 0)
        stream->muted = true;
    return stream->muted;
}

static inline void sim_command(struct stream *stream, const char *line)
{
    static const struct {
        const char *verb, *answer;
    } answers[] = {
        {"EHLO", "250-sim.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n"},
        {"MAIL", "250 2.1.0 ok\r\n"},
        {"RCPT", "250 2.1.5 ok\r\n"},
        {"DATA", "354 go on\r\n"},
        {"RSET", "250 2.0.0 ok\r\n"},
        {"QUIT", "221 2.0.0 bye\r\n"},
    };
    if (sim_mutes(stream, line))
        return;
    (void)sscanf(line, "MAIL FROM:<n%d@", &stream->number);
    enum sim_mood mood = sim_mood_over(stream);
    if ((mood == SIM_HANGS_UP || mood == SIM_ENDS) && strncmp(line, "MAIL", 4) == 0) {
        if (mood == SIM_ENDS)
            sim_say(stream, "421 4.7.0 goodbye\r\n");
        stream->hangs_up = true;
        return;
    }
    if (mood == SIM_LOG_IN && strchr("MRD", *line) && strcmp(line, "RSET") != 0) {
        sim_say(stream, "530 5.7.0 log in first\r\n");
        return;
    }
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++)
        if (strncmp(line, answers[i].verb, 4) == 0)
            sim_say(stream, answers[i].answer);
    stream->in_body = strcmp(line, "DATA") == 0;
    sim.bodies[stream->number] += stream->in_body;
    stream->hangs_up = strcmp(line, "QUIT") == 0;
}

/* The next second's octets of the message. True when it has all. */
static inline bool sim_take_slowly(struct stream *stream)
{
    static const char dot[] = "\r\n.\r\n";
    const size_t end = sizeof dot - 1;
    size_t left = evbuffer_get_length(stream->out);
    size_t now = left < sim.pace + end ? left - (left < end ? left : end) : sim.pace;
    if (left == end && evbuffer_search(stream->out, dot, end, NULL).pos == 0)
        return evbuffer_drain(stream->out, end) == 0;
    (void)evbuffer_drain(stream->out, now);
    if (left > stream->low_water && left - now <= stream->low_water)
        stream->fn(stream->arg, stream, STREAM_DRAINED);
    sim_answer_in(stream, CLOCK_SECOND);
    return false;
}

static inline void sim_read(struct stream *stream)
{
    while (!stream->hangs_up) {
        if (stream->in_body && sim.pace > 0) {
            if (!sim_take_slowly(stream))
                return;
            sim_take(stream);
            continue;
        }
        if (stream->in_body) {
            struct evbuffer_ptr end = evbuffer_search(stream->out, "\r\n.\r\n", 5, NULL);
            if (end.pos < 0)
                return;
            (void)evbuffer_drain(stream->out, (size_t)end.pos + 5);
            sim_take(stream);
            continue;
        }
        char *line = evbuffer_readln(stream->out, NULL, EVBUFFER_EOL_CRLF_STRICT);
        if (!line)
            return;
        sim_command(stream, line);
        free(line);
    }
}

static inline void sim_end(struct stream *stream, enum stream_event how)
{
    if (stream->over)
        return;
    stream->over = true;
    sim.live--;
    (void)evtimer_del(stream->answer);
    if (stream->fn && how != STREAM_EVENTS)
        stream->fn(stream->arg, stream, how);
}

static inline void sim_greet(struct stream *stream)
{
    stream->up = true;
    stream->fn(stream->arg, stream, STREAM_CONNECTED);
    stream->hangs_up = sim.mood == SIM_BUSY;
    if (!sim_mutes(stream, ""))
        sim_say(stream, stream->hangs_up ? "421 4.3.2 busy\r\n" : "220 sim.example ESMTP\r\n");
}

static inline void sim_on_answer(evutil_socket_t fd, short what, void *arg)
{
    struct stream *stream = arg;
    (void)fd;
    (void)what;
    if (!stream->up && (sim.mood == SIM_REFUSED || sim.mood == SIM_SILENT)) {
        sim_end(stream, sim.mood == SIM_SILENT ? STREAM_TIMEOUT : STREAM_FAILED);
        return;
    }
    if (!stream->up)
        sim_greet(stream);
    else
        sim_read(stream);
    if (evbuffer_get_length(stream->in) > 0)
        stream->fn(stream->arg, stream, STREAM_DATA);
    if (stream->hangs_up)
        sim_end(stream, STREAM_CLOSED);
}

/* From here on the server is in that mood; what is connected is cut off. */
static inline void sim_become(enum sim_mood mood)
{
    sim.mood = mood;
    for (struct stream *stream = sim.streams; stream; stream = stream->next)
        sim_end(stream, STREAM_CLOSED);
}

/* ---- lib/stream.h ---- */

struct stream *stream_connect(struct stream_context *ctx, const struct stream_peer *peer,
                              stream_fn *fn, void *arg)
{
    struct stream *stream = calloc(1, sizeof *stream);
    (void)ctx;
    stream->fn = fn;
    stream->arg = arg;
    stream->in = evbuffer_new();
    stream->out = evbuffer_new();
    stream->answer = evtimer_new(sim.base, sim_on_answer, stream);
    stream->next = sim.streams;
    sim.streams = stream;
    sim.connects++;
    if (++sim.live > sim.peak)
        sim.peak = sim.live;
    sim_answer_in(stream, sim.mood == SIM_SILENT ? peer->connect_timeout : SIM_LATENCY);
    return stream;
}

void stream_free(struct stream *stream)
{
    struct stream **at = &sim.streams;
    sim_end(stream, STREAM_EVENTS);
    while (*at != stream)
        at = &(*at)->next;
    *at = stream->next;
    evbuffer_free(stream->in);
    evbuffer_free(stream->out);
    event_free(stream->answer);
    free(stream);
}

void stream_write(struct stream *stream, const void *bytes, size_t n)
{
    char start[32];
    int number;
    (void)snprintf(start, sizeof start, "%.*s", (int)n, (const char *)bytes);
    if (!stream->in_body && sscanf(start, "MAIL FROM:<n%d@", &number) == 1 && number >= 0 &&
        number < SIM_MESSAGES && sim.mails[number]++ == 0)
        sim.order[sim.ordered++] = number;
    (void)evbuffer_add(stream->out, bytes, n);
    if (!stream->over)
        sim_answer_in(stream, SIM_LATENCY);
}

struct evbuffer *stream_input(struct stream *stream)
{
    return stream->in;
}

struct evbuffer *stream_output(struct stream *stream)
{
    return stream->out;
}

const char *stream_error(const struct stream *stream)
{
    return stream->up ? "the connection is gone" : "no connection";
}

const char *stream_address(const struct stream *stream)
{
    (void)stream;
    return "192.0.2.25";
}

bool stream_is_secure(const struct stream *stream)
{
    (void)stream;
    return false;
}

bool stream_secure(struct stream *stream, struct error *err)
{
    (void)stream;
    return error_set(err, ERROR_PERMANENT, "the simulated server has no TLS");
}

bool stream_binding(const struct stream *stream, bool *exporter, unsigned char *data, size_t size,
                    size_t *len)
{
    (void)stream, (void)exporter, (void)data, (void)size, (void)len;
    return false;
}

bool stream_tls_facts(const struct stream *stream, struct tls_facts *facts)
{
    (void)stream, (void)facts;
    return false;
}

void stream_set_low_water(struct stream *stream, size_t bytes)
{
    stream->low_water = bytes;
}

void stream_set_timeout(struct stream *stream, int64_t ms)
{
    (void)stream, (void)ms;
}

#endif
