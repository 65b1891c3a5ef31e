/* Questions of popferryctl, each waiting for its answer. ZeroMQ would wait for a peer that is down,
 * so that a plain connect(2) finds out first whether anybody listens. */
#include "lib/bus.h"
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <zmq.h>

#define LAST_WORDS 100 /* ms, for an answer that came just before the end */

static bool somebody_listens(const char *path, const char *peer, struct error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof address.sun_path)
        return error_set(err, ERROR_USAGE, "%s: path too long for a socket", path);
    memcpy(address.sun_path, path, strlen(path));
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return error_errno(err, "socket");
    int rc = connect(fd, (struct sockaddr *)&address, sizeof address);
    int why = errno;
    (void)close(fd);
    if (rc == 0 || why == EAGAIN) /* EAGAIN: its backlog is full, so it is there */
        return true;
    if (why == ENOENT || why == ECONNREFUSED)
        return error_set(err, ERROR_MISSING, "%s is not running", peer);
    errno = why;
    return error_errno(err, "%s", path);
}

struct bus_caller {
    char run_dir[PATH_MAX];
    char peer[64];  /* whom the socket is connected to */
    void *context;  /* of ZeroMQ; NULL until it is needed */
    void *socket;   /* NULL: none */
    void *watch;    /* tells when the socket's connection ends */
    unsigned asked; /* questions so far; the number of the last one */
};

struct bus_caller *bus_caller_new(const char *run_dir)
{
    struct bus_caller *caller = calloc(1, sizeof *caller);
    if (caller == NULL)
        abort();
    (void)snprintf(caller->run_dir, sizeof caller->run_dir, "%s", run_dir);
    return caller;
}

static void hang_up(struct bus_caller *caller)
{
    if (caller->socket != NULL) {
        (void)zmq_close(caller->socket);
        (void)zmq_close(caller->watch);
    }
    caller->socket = caller->watch = NULL;
}

void bus_caller_free(struct bus_caller *caller)
{
    if (caller == NULL)
        return;
    hang_up(caller);
    if (caller->context != NULL)
        (void)zmq_ctx_term(caller->context);
    free(caller);
}

static void begin_watch(struct bus_caller *caller)
{
    char name[40];
    int linger = 0;
    (void)snprintf(name, sizeof name, "inproc://watch-%u", caller->asked);
    (void)zmq_socket_monitor(caller->socket, name, ZMQ_EVENT_DISCONNECTED);
    caller->watch = zmq_socket(caller->context, ZMQ_PAIR);
    (void)zmq_setsockopt(caller->watch, ZMQ_LINGER, &linger, sizeof linger);
    (void)zmq_connect(caller->watch, name);
}

/* A connection that ended between two questions is none of the next one's. */
static void forget_endings(const struct bus_caller *caller)
{
    char frame[PATH_MAX];
    while (zmq_recv(caller->watch, frame, sizeof frame, ZMQ_DONTWAIT) >= 0)
        ;
}

static bool dial(struct bus_caller *caller, const char *path, const char *peer)
{
    char where[PATH_MAX + 96];
    int linger = 0, only_when_connected = 1;
    if (caller->socket != NULL && strcmp(caller->peer, peer) == 0)
        return true;
    hang_up(caller);
    (void)snprintf(caller->peer, sizeof caller->peer, "%s", peer);
    (void)snprintf(where, sizeof where, "ipc://%s", path);
    if (caller->context == NULL)
        caller->context = zmq_ctx_new();
    caller->socket = zmq_socket(caller->context, ZMQ_DEALER);
    (void)zmq_setsockopt(caller->socket, ZMQ_LINGER, &linger, sizeof linger);
    (void)zmq_setsockopt(caller->socket, ZMQ_IMMEDIATE, &only_when_connected,
                         sizeof only_when_connected); /* it may have been restarted */
    begin_watch(caller);
    return zmq_connect(caller->socket, where) == 0;
}

/* Until the socket is ready to be written to, or read. False: not in time, or the peer ended. */
static bool await(const struct bus_caller *caller, short what, int timeout_ms, bool *ended)
{
    zmq_pollitem_t items[] = {{.socket = caller->socket, .events = what},
                              {.socket = caller->watch, .events = ZMQ_POLLIN}};
    (void)zmq_poll(items, 2, timeout_ms);
    if (items[0].revents == 0 && items[1].revents != 0) {
        *ended = true;
        (void)zmq_poll(items, 1, LAST_WORDS);
    }
    return items[0].revents != 0;
}

static json_t *receive(void *socket, const char *number)
{
    zmq_msg_t which, body;
    (void)zmq_msg_init(&which);
    (void)zmq_msg_init(&body);
    json_t *reply = NULL;
    if (zmq_msg_recv(&which, socket, 0) >= 0 && zmq_msg_more(&which) &&
        zmq_msg_recv(&body, socket, 0) >= 0 && zmq_msg_size(&which) == strlen(number) &&
        memcmp(zmq_msg_data(&which), number, strlen(number)) == 0)
        reply = json_loadb(zmq_msg_data(&body), zmq_msg_size(&body), 0, NULL);
    (void)zmq_msg_close(&body);
    (void)zmq_msg_close(&which);
    return reply;
}

/* NULL: it gave none; then nothing that comes late can be taken for the answer to another. */
static json_t *ask(struct bus_caller *caller, const char *text, int timeout_ms, bool *sent,
                   bool *ended)
{
    char number[16];
    (void)snprintf(number, sizeof number, "%u", caller->asked);
    forget_endings(caller);
    if (!await(caller, ZMQ_POLLOUT, timeout_ms, ended) ||
        zmq_send(caller->socket, number, strlen(number), ZMQ_SNDMORE | ZMQ_DONTWAIT) < 0 ||
        zmq_send(caller->socket, text, strlen(text), ZMQ_DONTWAIT) < 0)
        return NULL;
    *sent = true;
    if (!await(caller, ZMQ_POLLIN, timeout_ms, ended))
        return NULL;
    return receive(caller->socket, number);
}

/* One that ended before it was asked may be asked again. */
static void tell_silence(const char *path, const char *peer, int timeout_ms, bool sent, bool ended,
                         struct error *err)
{
    ended = ended || !somebody_listens(path, peer, NULL);
    if (ended && !sent)
        (void)error_set(err, ERROR_MISSING, "%s is not running", peer);
    else if (ended)
        (void)error_set(err, ERROR_TEMPORARY, "%s ended before it answered", peer);
    else
        (void)error_set(err, ERROR_TEMPORARY,
                        "%s stopped answering: it listens, but said nothing within %d s", peer,
                        timeout_ms / 1000);
}

json_t *bus_call(struct bus_caller *caller, const char *peer, json_t *request, int timeout_ms,
                 struct error *err)
{
    char path[PATH_MAX + 80];
    (void)snprintf(path, sizeof path, "%s/%s.ctl", caller->run_dir, peer);
    char *text = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    json_t *reply = NULL;
    if (text == NULL || strlen(text) > BUS_MESSAGE_MAX) {
        (void)error_set(err, ERROR_USAGE, "the request is longer than %d bytes", BUS_MESSAGE_MAX);
    } else if (somebody_listens(path, peer, err)) {
        bool sent = false, ended = false;
        caller->asked++;
        if (dial(caller, path, peer))
            reply = ask(caller, text, timeout_ms, &sent, &ended);
        if (reply == NULL) {
            hang_up(caller);
            tell_silence(path, peer, timeout_ms, sent, ended, err);
        }
    }
    free(text);
    return reply;
}
