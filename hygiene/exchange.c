/* Promises: ends within the time allowed, in one call of `done`; memory is bounded however large
 * the message is and whatever is answered; what the filter said before it hung up is read. */
#include "hygiene/exchange.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#define PIECE       (32 * 1024)  /* of the message, read at once */
#define OUTPUT_HIGH (256 * 1024) /* waiting to go out: no more is read */
#define OUTPUT_LOW  (64 * 1024)
#define ANSWER_MAX  (64 * 1024)
#define CONNECT_MAX (10 * CLOCK_SECOND)

struct exchange {
    const struct filter_server *server;
    struct exchange_plan plan;
    char *head, *tail;
    struct message_reader *reader;
    struct stream *stream;
    struct event *deadline;
    bool connected;
    bool sent; /* all of it is in the stream's output */
    filter_done_fn *done;
    void *arg;
    struct filter_answer answer;
};

static void release(struct exchange *x)
{
    stream_free(x->stream);
    message_close(x->reader);
    event_free(x->deadline);
    free(x->head);
    free(x->tail);
    free(x);
}

static void end(struct exchange *x)
{
    filter_done_fn *done = x->done;
    void *arg = x->arg;
    struct filter_answer answer = x->answer;
    answer.reached = x->connected;
    release(x);
    done(arg, &answer);
}

static void end_broken(struct exchange *x, const char *why)
{
    filter_answer_set(&x->answer, FILTER_BROKEN, "%s", why);
    end(x);
}

/* --- out --- */

static void write_piece(struct exchange *x, const char *piece, size_t n)
{
    uint32_t length = htonl((uint32_t)n);
    if (x->plan.chunks)
        stream_write(x->stream, &length, sizeof length);
    stream_write(x->stream, piece, n);
}

/* False: the message can't be read; x is gone. */
static bool pump(struct exchange *x)
{
    char piece[PIECE];
    struct error err;
    while (!x->sent && evbuffer_get_length(stream_output(x->stream)) < OUTPUT_HIGH) {
        size_t got;
        if (!message_read(x->reader, piece, sizeof piece, &got, &err)) {
            filter_answer_set(&x->answer, FILTER_LATER, "the message cannot be read: %s", err.text);
            end(x);
            return false;
        }
        if (got > 0) {
            write_piece(x, piece, got);
            continue;
        }
        stream_write(x->stream, x->tail, x->plan.tail_len);
        x->sent = true;
    }
    return true;
}

/* --- in --- */

/* As far as can be told here: the kernel has taken the last octet of the message. */
static bool is_all_out(const struct exchange *x)
{
    return x->sent && evbuffer_get_length(stream_output(x->stream)) == 0;
}

static void read_answer(struct exchange *x, size_t len)
{
    char *text = malloc(len + 1);
    if (text == NULL)
        abort();
    (void)evbuffer_copyout(stream_input(x->stream), text, len);
    text[len] = '\0';
    x->plan.read(x->server, text, len, &x->answer);
    free(text);
    if (x->answer.word == FILTER_CLEAN && !is_all_out(x)) {
        filter_answer_free(&x->answer);
        filter_answer_set(&x->answer, FILTER_BROKEN, "it answered before it had the message");
    }
    end(x);
}

/* True: the answer is whole, and x is gone. */
static bool take_answer(struct exchange *x, bool over)
{
    struct evbuffer *input = stream_input(x->stream);
    size_t len = evbuffer_get_length(input);
    char mark = (char)x->plan.end;
    struct evbuffer_ptr at = {.pos = -1};
    if (x->plan.end >= 0)
        at = evbuffer_search(input, &mark, 1, NULL);
    if (at.pos >= 0)
        read_answer(x, (size_t)at.pos + 1);
    else if (len > ANSWER_MAX)
        end_broken(x, "its answer does not end");
    else if (over && len > 0)
        read_answer(x, len);
    else
        return false;
    return true;
}

static void on_stream(void *arg, struct stream *stream, enum stream_event event)
{
    struct exchange *x = arg;
    switch (event) {
    case STREAM_CONNECTED:
        x->connected = true;
        stream_set_low_water(stream, OUTPUT_LOW);
        stream_write(stream, x->head, x->plan.head_len);
        (void)pump(x);
        break;
    case STREAM_DRAINED:
        (void)pump(x);
        break;
    case STREAM_DATA:
        (void)take_answer(x, false);
        break;
    case STREAM_CLOSED:
    case STREAM_FAILED:
    case STREAM_TIMEOUT:
        if (!take_answer(x, true))
            end_broken(x, stream_error(stream));
        break;
    default:
        break;
    }
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct exchange *x = arg;
    char why[100];
    if (x->stream == NULL) { /* the message could not be opened */
        end(x);
        return;
    }
    (void)snprintf(why, sizeof why, "no answer within %lld s",
                   (long long)(x->server->timeout / CLOCK_SECOND));
    end_broken(x, why);
}

/* --- beginning --- */

static char *copy_of(const char *bytes, size_t n)
{
    char *copy = malloc(n + 1);
    if (copy == NULL)
        abort();
    if (n > 0)
        memcpy(copy, bytes, n);
    return copy;
}

static void connect_to(struct exchange *x)
{
    const struct filter_server *server = x->server;
    const struct stream_peer peer = {
        .host = server->host,
        .port = server->port,
        .connect_timeout = server->timeout < CONNECT_MAX ? server->timeout : CONNECT_MAX,
        .timeout = server->timeout,
    };
    x->stream = stream_connect(server->streams, &peer, on_stream, x);
}

struct exchange *exchange_begin(const struct filter_server *server,
                                const struct filter_subject *subject,
                                const struct exchange_plan *plan, filter_done_fn *done, void *arg)
{
    struct error err;
    struct exchange *x = calloc(1, sizeof *x);
    if (x == NULL)
        abort();
    *x = (struct exchange){.server = server,
                           .plan = *plan,
                           .head = copy_of(plan->head, plan->head_len),
                           .tail = copy_of(plan->tail, plan->tail_len),
                           .done = done,
                           .arg = arg};
    x->deadline = evtimer_new(server->base, on_deadline, x);
    if (x->deadline == NULL)
        abort();
    struct timeval wait = {server->timeout / 1000, server->timeout % 1000 * 1000};
    x->reader = message_open(subject->spool, subject->dir, subject->head->id, &err);
    if (x->reader != NULL) {
        connect_to(x);
    } else {
        filter_answer_set(&x->answer, FILTER_LATER, "the message cannot be read: %s", err.text);
        wait = (struct timeval){0, 0};
    }
    (void)evtimer_add(x->deadline, &wait);
    return x;
}

void exchange_cancel(void *exchange)
{
    struct exchange *x = exchange;
    filter_answer_free(&x->answer);
    release(x);
}
