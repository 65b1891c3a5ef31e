/* ZeroMQ in libevent's loop. ZMQ_FD is edge-triggered: readiness is to be read from ZMQ_EVENTS
 * behind every use of the socket, so that one pump drains all sockets, and everything that uses a
 * socket asks for another turn of it. */
#include "lib/bus.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <errno.h>
#include <glib.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zmq.h>

#define QUEUE_LIMIT  10000 /* notices that a slow subscriber may leave waiting */
#define ASK_LIMIT    256   /* questions that may wait for a peer: that is down, or in one burst */
#define REQUESTS_MAX 64    /* answered in one turn, then the rest of the loop has its chance */

struct question {
    struct bus *bus;
    uint64_t number;
    bus_answer_fn *fn;
    void *arg;
    struct event *deadline;
};

struct bus {
    struct event_base *base;
    void *context;
    void *ctl, *events, *notices;
    GHashTable *dealers;   /* peer -> socket */
    GHashTable *questions; /* number -> struct question */
    GPtrArray *watches;    /* struct event, one for each socket's descriptor */
    struct event *again;
    uint64_t last_number;
    char run_dir[PATH_MAX];
    char name[32];
    bus_request_fn *on_request;
    void *request_arg;
    bus_notice_fn *on_notice;
    void *notice_arg;
};

static void pump(evutil_socket_t fd, short what, void *arg);

/* --- sockets --- */

static void endpoint(char *buf, size_t size, const char *run_dir, const char *name,
                     const char *kind)
{
    (void)snprintf(buf, size, "ipc://%.*s/%s.%s", PATH_MAX - 48, run_dir, name, kind);
}

static void *new_socket(void *context, int type)
{
    void *socket = zmq_socket(context, type);
    if (socket == NULL)
        return NULL;
    int linger = 0, limit = QUEUE_LIMIT, again = 100;
    int64_t largest = BUS_MESSAGE_MAX;
    (void)zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    (void)zmq_setsockopt(socket, ZMQ_SNDHWM, &limit, sizeof limit);
    (void)zmq_setsockopt(socket, ZMQ_RCVHWM, &limit, sizeof limit);
    (void)zmq_setsockopt(socket, ZMQ_MAXMSGSIZE, &largest, sizeof largest);
    (void)zmq_setsockopt(socket, ZMQ_RECONNECT_IVL, &again, sizeof again);
    return socket;
}

static void watch(struct bus *bus, void *socket)
{
    int fd = -1;
    size_t size = sizeof fd;
    if (zmq_getsockopt(socket, ZMQ_FD, &fd, &size) < 0)
        return;
    struct event *ev = event_new(bus->base, fd, EV_READ | EV_PERSIST, pump, bus);
    (void)event_add(ev, NULL);
    g_ptr_array_add(bus->watches, ev);
}

static void turn_again(struct bus *bus)
{
    event_active(bus->again, EV_TIMEOUT, 0);
}

static bool readable(void *socket)
{
    int events = 0;
    size_t size = sizeof events;
    return zmq_getsockopt(socket, ZMQ_EVENTS, &events, &size) == 0 && (events & ZMQ_POLLIN) != 0;
}

/* --- messages of several parts --- */

#define PARTS_MAX 4
struct parts {
    zmq_msg_t part[PARTS_MAX];
    int count;
};

static void parts_free(struct parts *parts)
{
    while (parts->count > 0)
        (void)zmq_msg_close(&parts->part[--parts->count]);
}

/* False when nothing waits; a message of too many parts is taken off and comes back with count 0.
 */
static bool parts_receive(void *socket, struct parts *parts)
{
    parts->count = 0;
    bool too_many = false;
    for (int more = 1; more;) {
        zmq_msg_t part;
        (void)zmq_msg_init(&part);
        if (zmq_msg_recv(&part, socket, ZMQ_DONTWAIT) < 0) {
            (void)zmq_msg_close(&part);
            parts_free(parts);
            return false;
        }
        more = zmq_msg_more(&part);
        if (parts->count == PARTS_MAX) {
            too_many = true;
            (void)zmq_msg_close(&part);
        } else {
            parts->part[parts->count++] = part;
        }
    }
    if (too_many)
        parts_free(parts);
    return true;
}

static bool part_text(struct parts *parts, int i, char *buf, size_t size)
{
    size_t n = zmq_msg_size(&parts->part[i]);
    if (n >= size)
        return false;
    memcpy(buf, zmq_msg_data(&parts->part[i]), n);
    buf[n] = '\0';
    return true;
}

static json_t *part_json(struct parts *parts, int i)
{
    return json_loadb(zmq_msg_data(&parts->part[i]), zmq_msg_size(&parts->part[i]), 0, NULL);
}

static char *json_text(const json_t *json, size_t *len)
{
    char *text = json_dumps(json, JSON_COMPACT | JSON_ENCODE_ANY);
    *len = text != NULL ? strlen(text) : 0;
    return text;
}

/* --- requests from others --- */

static void send_reply(struct bus *bus, struct parts *parts, const json_t *reply)
{
    size_t len;
    char *text = json_text(reply, &len);
    if (text == NULL || len > BUS_MESSAGE_MAX) {
        json_t *sorry =
            bus_error("failed", "the answer has %zu bytes, more than one message carries", len);
        free(text);
        text = json_text(sorry, &len);
        json_decref(sorry);
    }
    for (int i = 0; i < parts->count - 1; i++)
        (void)zmq_msg_send(&parts->part[i], bus->ctl, ZMQ_SNDMORE | ZMQ_DONTWAIT);
    (void)zmq_send(bus->ctl, text, len, ZMQ_DONTWAIT);
    free(text);
}

/* Parts: the asker's address, the question's number, the request. Anything else is dropped, not
 * answered. */
static void answer(struct bus *bus, struct parts *parts)
{
    if (parts->count != 3)
        return;
    json_t *request = part_json(parts, 2);
    json_t *reply =
        json_is_object(request)
            ? bus->on_request(bus->request_arg, request)
            : bus_error("usage", "a request is a JSON object of at most %d bytes", BUS_MESSAGE_MAX);
    send_reply(bus, parts, reply);
    json_decref(reply);
    json_decref(request);
}

/* --- questions to others --- */

static void question_free(gpointer p)
{
    struct question *q = p;
    event_free(q->deadline);
    free(q);
}

static void settle(struct bus *bus, uint64_t number, const json_t *reply)
{
    struct question *q = g_hash_table_lookup(bus->questions, &number);
    if (q == NULL)
        return; /* it came too late */
    bus_answer_fn *fn = q->fn;
    void *arg = q->arg;
    (void)g_hash_table_remove(bus->questions, &number);
    fn(arg, reply);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct question *q = arg;
    settle(q->bus, q->number, NULL);
}

static void on_answer(struct bus *bus, struct parts *parts)
{
    char number[24];
    if (parts->count != 2 || !part_text(parts, 0, number, sizeof number))
        return;
    json_t *reply = part_json(parts, 1);
    settle(bus, strtoull(number, NULL, 10), reply);
    json_decref(reply);
}

/* A peer that comes back must not find an hour's questions, which nobody waits for any more. */
static void limit_questions(void *socket)
{
    int limit = ASK_LIMIT;
    (void)zmq_setsockopt(socket, ZMQ_SNDHWM, &limit, sizeof limit);
}

static void *dealer_for(struct bus *bus, const char *peer)
{
    void *socket = g_hash_table_lookup(bus->dealers, peer);
    if (socket != NULL)
        return socket;
    char where[PATH_MAX + 32];
    endpoint(where, sizeof where, bus->run_dir, peer, "ctl");
    socket = new_socket(bus->context, ZMQ_DEALER);
    if (socket != NULL)
        limit_questions(socket);
    if (socket == NULL || zmq_connect(socket, where) < 0) {
        LOG(LOG_WARN, "bus-failed", KV("peer", peer), KV("error", zmq_strerror(zmq_errno())));
        if (socket != NULL)
            (void)zmq_close(socket);
        return NULL;
    }
    g_hash_table_insert(bus->dealers, g_strdup(peer), socket);
    watch(bus, socket);
    return socket;
}

/* False: there is no room for one more. */
static bool send_question(struct bus *bus, const char *peer, uint64_t number, const json_t *request)
{
    void *socket = dealer_for(bus, peer);
    size_t len;
    char head[24], *text = json_text(request, &len);
    int n = snprintf(head, sizeof head, "%llu", (unsigned long long)number);
    bool sent = socket != NULL && text != NULL &&
                zmq_send(socket, head, (size_t)n, ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
                zmq_send(socket, text, len, ZMQ_DONTWAIT) >= 0;
    free(text);
    return sent;
}

void bus_ask(struct bus *bus, const char *peer, json_t *request, int timeout_ms, bus_answer_fn *fn,
             void *arg)
{
    struct question *q = calloc(1, sizeof *q);
    if (q == NULL)
        abort();
    *q = (struct question){.bus = bus, .number = ++bus->last_number, .fn = fn, .arg = arg};
    q->deadline = evtimer_new(bus->base, on_deadline, q);
    (void)g_hash_table_insert(bus->questions, &q->number, q);
    struct timeval wait = {timeout_ms / 1000, timeout_ms % 1000 * 1000};
    if (!send_question(bus, peer, q->number, request))
        wait = (struct timeval){0};
    (void)evtimer_add(q->deadline, &wait);
    json_decref(request);
    turn_again(bus);
}

/* --- notices --- */

void bus_publish(struct bus *bus, const char *topic, json_t *body)
{
    size_t len;
    char *text = json_text(body, &len);
    if (text != NULL && len <= BUS_MESSAGE_MAX &&
        zmq_send(bus->events, topic, strlen(topic), ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0 &&
        zmq_send(bus->events, bus->name, strlen(bus->name), ZMQ_SNDMORE | ZMQ_DONTWAIT) >= 0)
        (void)zmq_send(bus->events, text, len, ZMQ_DONTWAIT);
    free(text);
    json_decref(body);
    turn_again(bus);
}

void bus_ring(struct bus *bus, const char *dir, const char *id)
{
    bus_publish(bus, "bell", json_pack("{s:s, s:s?}", "dir", dir, "id", id));
}

void bus_outcome(struct bus *bus, const char *id, const char *state)
{
    bus_publish(bus, "outcome", json_pack("{s:s, s:s}", "id", id, "state", state));
}

void bus_listen(struct bus *bus, const char *peer)
{
    char where[PATH_MAX + 32];
    endpoint(where, sizeof where, bus->run_dir, peer, "events");
    if (zmq_connect(bus->notices, where) < 0)
        LOG(LOG_WARN, "bus-failed", KV("peer", peer), KV("error", zmq_strerror(zmq_errno())));
    turn_again(bus);
}

void bus_on_notice(struct bus *bus, bus_notice_fn *fn, void *arg)
{
    bus->on_notice = fn;
    bus->notice_arg = arg;
}

static void notice(struct bus *bus, struct parts *parts)
{
    char topic[32], peer[32];
    if (parts->count != 3 || bus->on_notice == NULL || !part_text(parts, 0, topic, sizeof topic) ||
        !part_text(parts, 1, peer, sizeof peer))
        return;
    json_t *body = part_json(parts, 2);
    if (json_is_object(body))
        bus->on_notice(bus->notice_arg, peer, topic, body);
    json_decref(body);
}

static json_t *safe_string(const char *text)
{
    json_t *json = json_string(text);
    if (json != NULL)
        return json;
    char safe[1024];
    return json_string(log_escape(safe, sizeof safe, text, strlen(text)));
}

static void publish_event(void *arg, enum log_level level, const char *what,
                          const struct log_field *fields)
{
    char now[CLOCK_TEXT_SIZE];
    json_t *body = json_pack("{s:s, s:s, s:s}", "at", clock_text(clock_now(), now), "level",
                             log_level_name(level), "event", what);
    for (const struct log_field *f = fields; f->key != NULL; f++) {
        if (f->is_number)
            (void)json_object_set_new(body, f->key, json_integer(f->number));
        else if (f->text != NULL)
            (void)json_object_set_new(body, f->key, safe_string(f->text));
    }
    bus_publish(arg, "event", body);
}

/* --- the loop --- */

static bool drain(struct bus *bus, void *socket, void (*take)(struct bus *, struct parts *))
{
    for (int n = 0; readable(socket); n++) {
        if (n == REQUESTS_MAX)
            return false;
        struct parts parts;
        if (!parts_receive(socket, &parts))
            return true;
        take(bus, &parts);
        parts_free(&parts);
    }
    return true;
}

static void pump(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct bus *bus = arg;
    bool dry = drain(bus, bus->ctl, answer);
    dry = drain(bus, bus->notices, notice) && dry;
    GList *sockets = g_hash_table_get_values(bus->dealers);
    for (GList *s = sockets; s != NULL; s = s->next)
        dry = drain(bus, s->data, on_answer) && dry;
    g_list_free(sockets);
    (void)readable(bus->events); /* lets a PUB socket see new subscriptions */
    if (!dry)
        turn_again(bus);
}

/* Who may enter the run directory may steer (connect(2) needs write permission): the umask must not
 * take that from its group. */
static bool bind_one(struct bus *bus, void *socket, const char *kind, struct error *err)
{
    char where[PATH_MAX + 32];
    endpoint(where, sizeof where, bus->run_dir, bus->name, kind);
    if (zmq_bind(socket, where) < 0)
        return error_set(
            err, ERROR_PERMANENT,
            "cannot open %s: %s (does the run directory exist? popferryctl init makes it)", where,
            zmq_strerror(zmq_errno()));
    const char *path = where + strlen("ipc://");
    return chmod(path, 0770) == 0 || error_errno(err, "%s", path);
}

static void close_socket(gpointer socket)
{
    (void)zmq_close(socket);
}

struct bus *bus_open(struct event_base *base, const char *run_dir, const char *name,
                     bus_request_fn *fn, void *arg, struct error *err)
{
    struct bus *bus = calloc(1, sizeof *bus);
    if (bus == NULL)
        abort();
    bus->base = base;
    bus->on_request = fn;
    bus->request_arg = arg;
    (void)snprintf(bus->run_dir, sizeof bus->run_dir, "%s", run_dir);
    (void)snprintf(bus->name, sizeof bus->name, "%s", name);
    bus->dealers = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, close_socket);
    bus->questions = g_hash_table_new_full(g_int64_hash, g_int64_equal, NULL, question_free);
    bus->watches = g_ptr_array_new();
    bus->again = event_new(base, -1, 0, pump, bus);
    bus->context = zmq_ctx_new();
    bus->ctl = new_socket(bus->context, ZMQ_ROUTER);
    bus->events = new_socket(bus->context, ZMQ_PUB);
    bus->notices = new_socket(bus->context, ZMQ_SUB);
    if (bus->ctl == NULL || bus->events == NULL || bus->notices == NULL ||
        !bind_one(bus, bus->ctl, "ctl", err) || !bind_one(bus, bus->events, "events", err)) {
        bus_free(bus);
        return NULL;
    }
    (void)zmq_setsockopt(bus->notices, ZMQ_SUBSCRIBE, "", 0);
    watch(bus, bus->ctl);
    watch(bus, bus->events);
    watch(bus, bus->notices);
    log_set_sink(publish_event, bus);
    turn_again(bus);
    return bus;
}

void bus_free(struct bus *bus)
{
    if (bus == NULL)
        return;
    log_set_sink(NULL, NULL);
    for (guint i = 0; i < bus->watches->len; i++)
        event_free(bus->watches->pdata[i]);
    g_ptr_array_free(bus->watches, TRUE);
    event_free(bus->again);
    g_hash_table_destroy(bus->questions);
    g_hash_table_destroy(bus->dealers);
    void *sockets[] = {bus->notices, bus->events, bus->ctl};
    for (size_t i = 0; i < sizeof sockets / sizeof sockets[0]; i++)
        if (sockets[i] != NULL)
            (void)zmq_close(sockets[i]);
    (void)zmq_ctx_term(bus->context);
    free(bus);
}
