/* One question from popferryctl, waiting for its answer. ZeroMQ would wait for a peer that is down,
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

static json_t *receive(void *socket, int timeout_ms)
{
    (void)zmq_setsockopt(socket, ZMQ_RCVTIMEO, &timeout_ms, sizeof timeout_ms);
    zmq_msg_t number, body;
    (void)zmq_msg_init(&number);
    (void)zmq_msg_init(&body);
    json_t *reply = NULL;
    if (zmq_msg_recv(&number, socket, 0) >= 0 && zmq_msg_more(&number) &&
        zmq_msg_recv(&body, socket, 0) >= 0)
        reply = json_loadb(zmq_msg_data(&body), zmq_msg_size(&body), 0, NULL);
    (void)zmq_msg_close(&body);
    (void)zmq_msg_close(&number);
    return reply;
}

json_t *bus_call(const char *run_dir, const char *peer, json_t *request, int timeout_ms,
                 struct error *err)
{
    char path[PATH_MAX], where[PATH_MAX + 8];
    (void)snprintf(path, sizeof path, "%s/%s.ctl", run_dir, peer);
    (void)snprintf(where, sizeof where, "ipc://%s", path);
    char *text = json_dumps(request, JSON_COMPACT);
    json_decref(request);
    json_t *reply = NULL;
    if (text == NULL || strlen(text) > BUS_MESSAGE_MAX) {
        (void)error_set(err, ERROR_USAGE, "the request is longer than %d bytes", BUS_MESSAGE_MAX);
    } else if (somebody_listens(path, peer, err)) {
        int linger = 0;
        void *context = zmq_ctx_new();
        void *socket = zmq_socket(context, ZMQ_DEALER);
        (void)zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
        if (zmq_connect(socket, where) == 0 && zmq_send(socket, "1", 1, ZMQ_SNDMORE) >= 0 &&
            zmq_send(socket, text, strlen(text), 0) >= 0)
            reply = receive(socket, timeout_ms);
        if (reply == NULL)
            (void)error_set(err, ERROR_TEMPORARY,
                            "%s stopped answering: it listens, but said nothing within %d s", peer,
                            timeout_ms / 1000);
        (void)zmq_close(socket);
        (void)zmq_ctx_term(context);
    }
    free(text);
    return reply;
}
