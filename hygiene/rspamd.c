/* The question to Rspamd, by libevent's HTTP client. Promises: ends within the time allowed, in one
 * call of `done`; the message is never in memory as a whole. */
#include "hygiene/rspamd.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/http.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

#define BODY_MAX    (4 * 1024 * 1024)
#define HEADERS_MAX (64 * 1024)

struct rspamd_call {
    const struct filter_server *server;
    struct evhttp_connection *connection;
    struct event *over; /* the deadline; once there is an answer, the way to tell it */
    const char *failed; /* by libevent's HTTP client */
    bool answered;
    bool connected; /* as far as it is known once it failed */
    filter_done_fn *done;
    void *arg;
    struct filter_answer answer;
};

static void release(struct rspamd_call *call)
{
    if (call->connection != NULL)
        evhttp_connection_free(call->connection);
    event_free(call->over);
    free(call);
}

/* The connection must not be freed within its callbacks: it is told behind them. */
static void tell_soon(struct rspamd_call *call)
{
    static const struct timeval now = {0, 0};
    call->answered = true;
    (void)evtimer_add(call->over, &now);
}

static bool is_connected(const struct rspamd_call *call)
{
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    struct bufferevent *bev = evhttp_connection_get_bufferevent(call->connection);
    return bev != NULL && getpeername(bufferevent_getfd(bev), (struct sockaddr *)&peer, &size) == 0;
}

static void on_over(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct rspamd_call *call = arg;
    filter_done_fn *done = call->done;
    void *done_arg = call->arg;
    if (!call->answered) {
        call->connected = is_connected(call);
        filter_answer_set(&call->answer, FILTER_BROKEN, "no answer within %lld s",
                          (long long)(call->server->timeout / CLOCK_SECOND));
    }
    struct filter_answer answer = call->answer;
    answer.reached = call->connected;
    release(call);
    done(done_arg, &answer);
}

static void on_error(enum evhttp_request_error error, void *arg)
{
    static const char *const texts[] = {
        [EVREQ_HTTP_TIMEOUT] = "the connection timed out",
        [EVREQ_HTTP_EOF] = "the connection ended before the answer did",
        [EVREQ_HTTP_INVALID_HEADER] = "an answer that is no HTTP",
        [EVREQ_HTTP_BUFFER_ERROR] = "the connection broke",
        [EVREQ_HTTP_REQUEST_CANCEL] = "given up",
        [EVREQ_HTTP_DATA_TOO_LONG] = "its answer does not end",
    };
    struct rspamd_call *call = arg;
    if ((size_t)error < sizeof texts / sizeof texts[0])
        call->failed = texts[error];
    call->connected = true; /* libevent has no word for a connection that was not made */
}

static void on_reply(struct evhttp_request *request, void *arg)
{
    struct rspamd_call *call = arg;
    int status = request != NULL ? evhttp_request_get_response_code(request) : 0;
    if (call->answered)
        return;
    if (status == 0) {
        filter_answer_set(&call->answer, FILTER_BROKEN, "%s",
                          call->failed != NULL ? call->failed : "no connection");
    } else {
        call->connected = true;
        struct evbuffer *body = evhttp_request_get_input_buffer(request);
        size_t len = evbuffer_get_length(body);
        const char *text = (const char *)evbuffer_pullup(body, -1);
        rspamd_read(status, text != NULL ? text : "", len, &call->answer);
    }
    tell_soon(call);
}

/* --- what it is told --- */

static void tell(struct evkeyvalq *headers, const char *name, const char *value)
{
    if (value[0] != '\0')
        (void)evhttp_add_header(headers, name, value);
}

static void tell_client(struct evkeyvalq *headers, const struct client *client)
{
    bool v6 = strncasecmp(client->address, "IPV6:", 5) == 0;
    tell(headers, "IP", client->address + (v6 ? 5 : 0));
    tell(headers, "Helo", client->helo);
    tell(headers, "Hostname", client->name);
}

static void tell_envelope(struct evkeyvalq *headers, const struct message_head *head)
{
    tell(headers, "Queue-Id", head->id);
    tell(headers, "From", head->sender[0] != '\0' ? head->sender : "<>");
    for (size_t i = 0; i < head->recipients.count; i++)
        tell(headers, "Rcpt", head->recipients.items[i]);
}

/* --- beginning --- */

/* The message straight from its file: it was read to its end, and found true, a moment ago. */
static bool add_message(struct evbuffer *body, const struct filter_subject *subject,
                        struct error *err)
{
    off_t at;
    struct message_reader *reader =
        message_open(subject->spool, subject->dir, subject->head->id, err);
    if (reader == NULL)
        return false;
    int fd = dup(message_reader_fd(reader, &at));
    message_close(reader);
    if (fd < 0)
        return error_errno(err, "%s", subject->head->id);
    (void)evbuffer_set_flags(body, EVBUFFER_FLAG_DRAINS_TO_FD); /* by sendfile(2) */
    if (subject->head->size == 0 ||
        evbuffer_add_file(body, fd, at, (ev_off_t)subject->head->size) != 0)
        (void)close(fd); /* an empty one has no body */
    return true;
}

static bool begin(struct rspamd_call *call, const struct filter_subject *subject, struct error *err)
{
    const struct filter_server *server = call->server;
    struct timeval wait = {server->timeout / 1000, server->timeout % 1000 * 1000};
    struct evhttp_request *request = evhttp_request_new(on_reply, call);
    call->connection = evhttp_connection_base_new(server->base, stream_context_dns(server->streams),
                                                  server->host, (uint16_t)server->port);
    if (request == NULL || call->connection == NULL)
        abort();
    if (!add_message(evhttp_request_get_output_buffer(request), subject, err)) {
        evhttp_request_free(request);
        return false;
    }
    evhttp_connection_set_timeout_tv(call->connection, &wait);
    evhttp_connection_set_max_body_size(call->connection, BODY_MAX);
    evhttp_connection_set_max_headers_size(call->connection, HEADERS_MAX);
    evhttp_request_set_error_cb(request, on_error);
    struct evkeyvalq *headers = evhttp_request_get_output_headers(request);
    tell(headers, "Host", "popferry");
    tell(headers, "Connection", "close");
    tell_envelope(headers, subject->head);
    if (subject->client != NULL)
        tell_client(headers, subject->client);
    /* It frees the request, also when it fails. */
    if (evhttp_make_request(call->connection, request, EVHTTP_REQ_POST, "/checkv2") != 0)
        return error_set(err, ERROR_TEMPORARY, "no connection");
    return true;
}

static void *ask(const struct filter_server *server, const struct filter_subject *subject,
                 filter_done_fn *done, void *arg)
{
    struct error err;
    struct rspamd_call *call = calloc(1, sizeof *call);
    if (call == NULL)
        abort();
    *call = (struct rspamd_call){.server = server, .done = done, .arg = arg};
    call->over = evtimer_new(server->base, on_over, call);
    if (call->over == NULL)
        abort();
    struct timeval wait = {server->timeout / 1000, server->timeout % 1000 * 1000};
    (void)evtimer_add(call->over, &wait);
    if (!begin(call, subject, &err) && !call->answered) {
        filter_answer_set(&call->answer, err.kind == ERROR_TEMPORARY ? FILTER_BROKEN : FILTER_LATER,
                          "%s", err.text);
        tell_soon(call);
    }
    return call;
}

static void cancel(void *arg)
{
    struct rspamd_call *call = arg;
    call->answered = true; /* evhttp tells once more when it is freed */
    filter_answer_free(&call->answer);
    release(call);
}

const struct filter_protocol filter_rspamd = {
    .name = "rspamd", .port = 11333, .ask = ask, .cancel = cancel};
