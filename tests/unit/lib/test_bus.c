/* The bus: questions, notices, events, pages, and whatever a stranger sends. Two buses live in one
 * loop; strangers are raw ZeroMQ sockets. */
#include "lib/bus.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"
#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <zmq.h>

struct fixture {
    struct scratch *scratch;
    struct event_base *base;
    struct bus *left, *right;
    int requests;                 /* that reached a handler */
    int answers, silences;        /* bus_ask's two ends */
    int notices, events, strange; /* heard */
    long long sum;
    char peer[32], topic[32];
    json_t *last; /* the last body or reply */
};

/* --- what the loop calls --- */

static json_t *answer(void *arg, const json_t *request)
{
    struct fixture *f = arg;
    f->requests++;
    const char *cmd = json_string_value(json_object_get(request, "cmd"));
    if (cmd != NULL && strcmp(cmd, "much") == 0) {
        char *much = malloc(BUS_MESSAGE_MAX + 1);
        memset(much, 'm', BUS_MESSAGE_MAX);
        much[BUS_MESSAGE_MAX] = '\0';
        json_t *reply = bus_ok(json_pack("{s:s}", "much", much));
        free(much);
        return reply;
    }
    if (cmd != NULL && strcmp(cmd, "refuse") == 0)
        return bus_error("notfound", "no account \"%s\"", "\x1b[2Jx");
    return bus_ok(json_pack("{s:O?}", "n", json_object_get(request, "n")));
}

static void on_answer(void *arg, const json_t *reply)
{
    struct fixture *f = arg;
    json_decref(f->last);
    f->last = reply != NULL ? json_deep_copy(reply) : NULL;
    if (reply == NULL)
        f->silences++;
    else
        f->answers++;
    f->sum += json_integer_value(json_object_get(reply, "n"));
}

static void on_notice(void *arg, const char *peer, const char *topic, const json_t *body)
{
    struct fixture *f = arg;
    if (strcmp(topic, "event") == 0)
        f->events++;
    else
        f->notices++;
    f->sum += json_integer_value(json_object_get(body, "n"));
    (void)snprintf(f->peer, sizeof f->peer, "%s", peer);
    (void)snprintf(f->topic, sizeof f->topic, "%s", topic);
    json_decref(f->last);
    f->last = json_deep_copy(body);
}

/* --- fixture --- */

static struct bus *open_bus(struct fixture *f, const char *name)
{
    struct error err = {0};
    struct bus *bus = bus_open(f->base, f->scratch->dir, name, answer, f, &err);
    if (bus == NULL)
        fail_msg("%s", err.text);
    return bus;
}

static int begin(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    void *scratch;
    if (scratch_make(&scratch) != 0)
        return -1;
    f->scratch = scratch;
    scratch_catch(f->scratch);
    f->base = event_base_new();
    f->right = open_bus(f, "right");
    f->left = open_bus(f, "left");
    bus_on_notice(f->left, on_notice, f);
    *state = f;
    return 0;
}

static int end(void **state)
{
    struct fixture *f = *state;
    void *scratch = f->scratch;
    bus_free(f->left);
    bus_free(f->right);
    event_base_free(f->base);
    json_decref(f->last);
    free(f);
    return scratch_remove(&scratch);
}

/* Turns the loop until *count reaches `want`, or for `ms` at most. */
static void turn(struct fixture *f, const int *count, int want, int ms)
{
    int64_t end_at = clock_monotonic() + ms;
    while ((count == NULL || *count < want) && clock_monotonic() < end_at) {
        struct timeval slice = {0, 5000};
        (void)event_base_loopexit(f->base, &slice);
        (void)event_base_dispatch(f->base);
    }
}

static void assert_turned(struct fixture *f, const int *count, int want)
{
    turn(f, count, want, 5000);
    assert_int_equal(*count, want);
}

static json_t *ping(int n)
{
    return json_pack("{s:s, s:i}", "cmd", "ping", "n", n);
}

static void assert_alive(struct fixture *f)
{
    int before = f->answers;
    bus_ask(f->left, "right", ping(1), 5000, on_answer, f);
    turn(f, &f->answers, before + 1, 5000);
    assert_int_equal(f->answers, before + 1);
}

/* --- questions --- */

static void test_question_and_answer(void **state)
{
    struct fixture *f = *state;
    bus_ask(f->left, "right", ping(42), 5000, on_answer, f);
    assert_int_equal(f->answers, 0); /* never from within */
    assert_turned(f, &f->answers, 1);
    assert_true(json_is_true(json_object_get(f->last, "ok")));
    assert_int_equal(json_integer_value(json_object_get(f->last, "n")), 42);
    bus_ask(f->right, "left", ping(43), 5000, on_answer, f);
    assert_turned(f, &f->answers, 2);
    assert_int_equal(json_integer_value(json_object_get(f->last, "n")), 43);
    bus_ask(f->left, "left", ping(44), 5000, on_answer, f); /* oneself */
    assert_turned(f, &f->answers, 3);
    turn(f, NULL, 0, 50);
    assert_int_equal(f->answers, 3);
    assert_int_equal(f->silences, 0);
}

static void test_refusal_is_an_answer(void **state)
{
    struct fixture *f = *state;
    bus_ask(f->left, "right", json_pack("{s:s}", "cmd", "refuse"), 5000, on_answer, f);
    assert_turned(f, &f->answers, 1);
    assert_true(json_is_false(json_object_get(f->last, "ok")));
    assert_string_equal(json_string_value(json_object_get(f->last, "code")), "notfound");
    assert_string_equal(json_string_value(json_object_get(f->last, "error")),
                        "no account \"\\x1B[2Jx\"");
}

static void test_many_questions(void **state)
{
    enum { MANY = 3000 };
    struct fixture *f = *state;
    long long sum = 0;
    for (int n = 0; n < MANY; n++, sum += n) {
        bus_ask(f->left, "right", ping(n + 1), 20000, on_answer, f);
        if (n % 100 == 99)
            turn(f, &f->answers, n + 1, 20000);
    }
    assert_int_equal(f->answers, MANY);
    assert_int_equal(f->sum, sum);
    assert_int_equal(f->silences, 0);
}

static void ask_on(void *arg, const json_t *reply)
{
    struct fixture *f = arg;
    on_answer(f, reply);
    if (f->answers < 200)
        bus_ask(f->left, f->answers % 2 == 0 ? "right" : "left", ping(1), 5000, ask_on, f);
}

static void test_asking_from_within_an_answer(void **state)
{
    struct fixture *f = *state;
    bus_ask(f->left, "right", ping(1), 5000, ask_on, f);
    turn(f, &f->answers, 200, 10000);
    assert_int_equal(f->answers, 200);
}

static void test_nobody_there(void **state)
{
    struct fixture *f = *state;
    int64_t from = clock_monotonic();
    bus_ask(f->left, "nobody", ping(1), 150, on_answer, f);
    assert_turned(f, &f->silences, 1);
    assert_in_range(clock_monotonic() - from, 140, 1500);
    turn(f, NULL, 0, 100);
    assert_int_equal(f->silences, 1);
    assert_int_equal(f->answers, 0);
}

static void test_peer_comes_up_in_time(void **state)
{
    struct fixture *f = *state;
    bus_free(f->right);
    f->right = NULL;
    bus_ask(f->left, "right", ping(5), 5000, on_answer, f);
    turn(f, NULL, 0, 300);
    assert_int_equal(f->answers, 0);
    f->right = open_bus(f, "right");
    assert_turned(f, &f->answers, 1);
    assert_int_equal(f->silences, 0);
}

static void test_peer_comes_up_too_late(void **state)
{
    struct fixture *f = *state;
    bus_free(f->right);
    f->right = NULL;
    bus_ask(f->left, "right", ping(5), 100, on_answer, f);
    assert_turned(f, &f->silences, 1);
    f->right = open_bus(f, "right");
    turn(f, &f->requests, 1, 3000); /* the question still gets there: its answer finds nobody */
    turn(f, NULL, 0, 100);
    assert_int_equal(f->answers, 0);
    assert_int_equal(f->silences, 1);
    assert_alive(f);
}

/* Of the questions of a long night only some are left for the morning. */
static void test_questions_do_not_pile_up(void **state)
{
    enum { MANY = 1000 };
    struct fixture *f = *state;
    bus_free(f->right);
    f->right = NULL;
    for (int n = 0; n < MANY; n++)
        bus_ask(f->left, "right", ping(1), 400, on_answer, f);
    turn(f, &f->silences, MANY / 2, 200);
    assert_true(f->silences >= MANY / 2); /* no room: told at once, but not from within */
    assert_turned(f, &f->silences, MANY);
    f->right = open_bus(f, "right");
    turn(f, &f->requests, 1, 5000);
    turn(f, NULL, 0, 200);
    assert_alive(f);
    assert_in_range(f->requests, 1, 300);
    assert_int_equal(f->answers, 1);
}

static void test_peer_restarts(void **state)
{
    struct fixture *f = *state;
    for (int round = 0; round < 3; round++) {
        assert_alive(f);
        bus_free(f->right);
        f->right = open_bus(f, "right");
    }
    assert_alive(f);
}

static void test_free_with_open_questions(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 10; i++)
        bus_ask(f->left, i % 2 != 0 ? "right" : "nobody", ping(1), 100, on_answer, f);
    bus_free(f->left);
    f->left = NULL;
    turn(f, NULL, 0, 250);
    assert_int_equal(f->answers + f->silences, 0);
}

/* One message carries 64 KiB: a longer answer becomes a refusal, a longer question has no answer,
 * and neither stops what follows. */
static void test_too_long(void **state)
{
    struct fixture *f = *state;
    bus_ask(f->left, "right", json_pack("{s:s}", "cmd", "much"), 5000, on_answer, f);
    assert_turned(f, &f->answers, 1);
    assert_true(json_is_false(json_object_get(f->last, "ok")));
    assert_non_null(strstr(json_string_value(json_object_get(f->last, "error")), "65"));
    char *much = malloc(BUS_MESSAGE_MAX + 1);
    memset(much, 'm', BUS_MESSAGE_MAX);
    much[BUS_MESSAGE_MAX] = '\0';
    int requests = f->requests;
    bus_ask(f->left, "right", json_pack("{s:s}", "much", much), 300, on_answer, f);
    assert_turned(f, &f->silences, 1);
    assert_int_equal(f->requests, requests);
    assert_alive(f);
    much[BUS_MESSAGE_MAX - 11] = '\0'; /* {"much":"..."} of 64 KiB sharp */
    bus_ask(f->left, "right", json_pack("{s:s}", "much", much), 5000, on_answer, f);
    assert_turned(f, &f->answers, 3);
    free(much);
}

/* --- strangers --- */

static void *stranger(struct fixture *f, void **context, int type, const char *socket_name,
                      bool bind)
{
    char where[160];
    int linger = 0;
    (void)snprintf(where, sizeof where, "ipc://%s/%s", f->scratch->dir, socket_name);
    *context = zmq_ctx_new();
    void *socket = zmq_socket(*context, type);
    (void)zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
    assert_int_equal(bind ? zmq_bind(socket, where) : zmq_connect(socket, where), 0);
    return socket;
}

static void send_parts(void *socket, int count, const char *const parts[], const size_t lens[])
{
    for (int i = 0; i < count; i++)
        (void)zmq_send(socket, parts[i], lens != NULL ? lens[i] : strlen(parts[i]),
                       ZMQ_DONTWAIT | (i < count - 1 ? ZMQ_SNDMORE : 0));
}

static void leave(void *context, void *socket)
{
    (void)zmq_close(socket);
    (void)zmq_ctx_term(context);
}

static void test_garbage_at_the_router(void **state)
{
    struct fixture *f = *state;
    void *context, *dealer = stranger(f, &context, ZMQ_DEALER, "right.ctl", false);
    static const char *const one[] = {"{\"cmd\":\"ping\"}"};
    static const char *const three[] = {"1", "{}", "{}"};
    static const char *const many[] = {"1", "2", "3", "4", "{}", "", "", "7"};
    for (int i = 0; i < 5; i++) {
        send_parts(dealer, 1, one, NULL);
        send_parts(dealer, 3, three, NULL);
        send_parts(dealer, 5, many, NULL);
        send_parts(dealer, 8, many, NULL);
    }
    turn(f, NULL, 0, 100);
    assert_int_equal(f->requests, 0); /* none of these is a question, and none is answered */
    static const char *const bodies[] = {"",
                                         "null",
                                         "[]",
                                         "[1,2]",
                                         "\"cmd\"",
                                         "{",
                                         "nope",
                                         "{}x",
                                         "\xff\xfe",
                                         "1e999",
                                         "{\"a\":\"\\u0000\"}"};
    for (size_t i = 0; i < COUNT(bodies); i++) {
        const char *const parts[] = {"7", bodies[i]};
        send_parts(dealer, 2, parts, NULL);
        char text[1000];
        int more = 0, n = -1;
        size_t size = sizeof more;
        for (int wait = 0; n < 0 && wait < 500; wait++) {
            turn(f, NULL, 0, 6);
            n = zmq_recv(dealer, text, sizeof text, ZMQ_DONTWAIT);
        }
        assert_int_equal(n, 1);
        assert_memory_equal(text, "7", 1);
        assert_int_equal(zmq_getsockopt(dealer, ZMQ_RCVMORE, &more, &size), 0);
        assert_int_equal(more, 1);
        n = zmq_recv(dealer, text, sizeof text - 1, ZMQ_DONTWAIT);
        assert_true(n > 0);
        text[n] = '\0';
        assert_non_null(strstr(text, "\"usage\""));
    }
    char deep[20000];
    memset(deep, '[', sizeof deep); /* a parser's stack has an end */
    const char *const parts[] = {"8", deep};
    const size_t lens[] = {1, sizeof deep};
    send_parts(dealer, 2, parts, lens);
    turn(f, NULL, 0, 50);
    assert_int_equal(f->requests, 0);
    assert_alive(f);
    leave(context, dealer);
}

static void test_oversize_at_the_router(void **state)
{
    struct fixture *f = *state;
    char *much = calloc(1, 70 * 1024);
    for (int i = 0; i < 3; i++) {
        void *context, *dealer = stranger(f, &context, ZMQ_DEALER, "right.ctl", false);
        const char *const parts[] = {"1", much, much, much};
        const size_t lens[] = {1, 70 * 1024, 70 * 1024, 10};
        send_parts(dealer, 2 + i, parts, lens);
        turn(f, NULL, 0, 60);
        leave(context, dealer);
    }
    free(much);
    assert_int_equal(f->requests, 0);
    assert_alive(f);
}

static void test_no_zeromq_at_the_router(void **state)
{
    struct fixture *f = *state;
    static const char *const greetings[] = {"", "\n", "GET / HTTP/1.0\r\n\r\n", "\xff\0\0\0"};
    for (size_t i = 0; i < COUNT(greetings); i++) {
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/right.ctl", f->scratch->dir);
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
        (void)send(fd, greetings[i], strlen(greetings[i]), MSG_NOSIGNAL);
        turn(f, NULL, 0, 20);
        (void)close(fd);
    }
    assert_alive(f);
}

/* A peer that answers wrongly, twice, or to what was never asked. */
static void test_garbage_as_an_answer(void **state)
{
    struct fixture *f = *state;
    void *context, *router = stranger(f, &context, ZMQ_ROUTER, "liar.ctl", true);
    bus_ask(f->left, "liar", ping(1), 3000, on_answer, f);
    char id[64], number[64], body[200];
    int id_len = -1;
    for (int wait = 0; id_len < 0 && wait < 500; wait++) {
        turn(f, NULL, 0, 6);
        id_len = zmq_recv(router, id, sizeof id, ZMQ_DONTWAIT);
    }
    assert_true(id_len > 0);
    int number_len = zmq_recv(router, number, sizeof number, 0);
    assert_true(number_len > 0);
    assert_true(zmq_recv(router, body, sizeof body, 0) > 0);
    number[number_len] = '\0';
    const char *const one[] = {id, "{}"}, *const three[] = {id, number, "{}", "{}"},
                      *const other[] = {id, "999", "{}"}, *const none[] = {id, "", "{}"},
                      *const endless[] = {id, "1111111111111111111111111111111111", "{}"},
                      *const good[] = {id, number, "{\"ok\":true,\"n\":3}"};
    const size_t lens[] = {(size_t)id_len, 2, 2, 2}, lens3[] = {(size_t)id_len, 1, 2, 2},
                 lens_other[] = {(size_t)id_len, 3, 2}, lens_none[] = {(size_t)id_len, 0, 2},
                 lens_endless[] = {(size_t)id_len, 34, 2},
                 lens_good[] = {(size_t)id_len, (size_t)number_len, 17};
    send_parts(router, 2, one, lens);
    send_parts(router, 4, three, lens3);
    send_parts(router, 3, other, lens_other);
    send_parts(router, 3, none, lens_none);
    send_parts(router, 3, endless, lens_endless);
    turn(f, NULL, 0, 100);
    assert_int_equal(f->answers, 0);
    send_parts(router, 3, good, lens_good);
    send_parts(router, 3, good, lens_good);
    assert_turned(f, &f->answers, 1);
    turn(f, NULL, 0, 100);
    assert_int_equal(f->answers, 1);
    assert_int_equal(f->silences, 0);
    assert_int_equal(f->sum, 3);
    leave(context, router);
}

static void test_garbage_as_a_notice(void **state)
{
    struct fixture *f = *state;
    void *context, *pub = stranger(f, &context, ZMQ_PUB, "liar.events", true);
    bus_listen(f->left, "liar");
    static const char *const good[] = {"bell", "liar", "{\"n\":9}"};
    for (int i = 0; i < 500 && f->notices == 0; i++) { /* the subscription needs a moment */
        send_parts(pub, 3, good, NULL);
        turn(f, NULL, 0, 10);
    }
    turn(f, NULL, 0, 50);
    assert_true(f->notices > 0);
    f->notices = 0;
    f->sum = 0;
    static const char long_name[] = "a-topic-that-is-far-too-long-for-anything-we-know";
    static const char *const messages[][6] = {{"bell"},
                                              {"bell", "liar"},
                                              {"bell", "liar", "[]"},
                                              {"bell", "liar", "nope"},
                                              {"bell", "liar", ""},
                                              {"bell", "liar", "{}", "{}"},
                                              {"bell", "liar", "{}", "4", "5", "6"},
                                              {long_name, "liar", "{}"},
                                              {"bell", long_name, "{}"},
                                              {"bell", "liar", "{\"n\":1"}};
    for (size_t i = 0; i < COUNT(messages); i++) {
        int count = 0;
        while (count < 6 && messages[i][count] != NULL)
            count++;
        send_parts(pub, count, messages[i], NULL);
    }
    turn(f, NULL, 0, 100);
    assert_int_equal(f->notices, 0);
    send_parts(pub, 3, good, NULL);
    assert_turned(f, &f->notices, 1);
    assert_int_equal(f->sum, 9);
    leave(context, pub);
}

/* --- notices --- */

/* Rings until it is heard: a subscription takes a moment to get through. */
static void listen_and_wait(struct fixture *f)
{
    int before = f->notices;
    for (int i = 0; i < 400 && f->notices == before; i++) {
        bus_ring(f->right, "outgoing", NULL);
        turn(f, NULL, 0, 10);
    }
    assert_true(f->notices > before);
    turn(f, NULL, 0, 30);
    f->notices = 0;
    f->sum = 0;
}

static void test_bell_and_outcome(void **state)
{
    struct fixture *f = *state;
    bus_listen(f->left, "right");
    listen_and_wait(f);
    assert_string_equal(f->peer, "right");
    assert_string_equal(f->topic, "bell");
    assert_string_equal(json_string_value(json_object_get(f->last, "dir")), "outgoing");
    assert_true(json_is_null(json_object_get(f->last, "id")));
    bus_ring(f->right, "incoming", "01JD");
    assert_turned(f, &f->notices, 1);
    assert_string_equal(json_string_value(json_object_get(f->last, "id")), "01JD");
    bus_outcome(f->right, "01JE", "delivered");
    assert_turned(f, &f->notices, 2);
    assert_string_equal(f->topic, "outcome");
    assert_string_equal(json_string_value(json_object_get(f->last, "id")), "01JE");
    assert_string_equal(json_string_value(json_object_get(f->last, "state")), "delivered");
}

static void test_many_notices(void **state)
{
    enum { MANY = 5000 };
    struct fixture *f = *state;
    bus_listen(f->left, "right");
    listen_and_wait(f);
    for (int n = 0; n < MANY; n++)
        bus_publish(f->right, "outcome", json_pack("{s:i}", "n", 1));
    turn(f, &f->notices, MANY, 20000);
    assert_int_equal(f->notices, MANY);
    assert_int_equal(f->sum, MANY);
}

static void test_listen_before_the_peer_is_up(void **state)
{
    struct fixture *f = *state;
    bus_free(f->right);
    f->right = NULL;
    bus_listen(f->left, "right");
    turn(f, NULL, 0, 150);
    f->right = open_bus(f, "right");
    listen_and_wait(f);
}

static void test_publisher_restarts(void **state)
{
    struct fixture *f = *state;
    bus_listen(f->left, "right");
    listen_and_wait(f);
    for (int round = 0; round < 3; round++) {
        bus_free(f->right);
        f->right = NULL;
        turn(f, NULL, 0, 60);
        f->right = open_bus(f, "right");
        listen_and_wait(f);
    }
}

static void test_oversize_notice_is_dropped(void **state)
{
    struct fixture *f = *state;
    bus_listen(f->left, "right");
    listen_and_wait(f);
    char *much = malloc(BUS_MESSAGE_MAX + 1);
    memset(much, 'm', BUS_MESSAGE_MAX);
    much[BUS_MESSAGE_MAX] = '\0';
    bus_publish(f->right, "outcome", json_pack("{s:s}", "much", much));
    bus_publish(f->right, "outcome", json_pack("{s:i}", "n", 7));
    assert_turned(f, &f->notices, 1);
    assert_int_equal(f->sum, 7);
    free(much);
}

static void test_nobody_listens_to_notices(void **state)
{
    struct fixture *f = *state;
    for (int n = 0; n < 20000; n++) /* more than any queue holds */
        bus_publish(f->right, "outcome", json_pack("{s:i}", "n", 1));
    bus_on_notice(f->left, NULL, NULL);
    bus_listen(f->left, "right");
    turn(f, NULL, 0, 100);
    assert_alive(f);
}

/* --- events --- */

static void test_log_goes_out(void **state)
{
    struct fixture *f = *state;
    bus_listen(f->left, "right");
    listen_and_wait(f);
    bus_free(f->right); /* the bus opened last takes the log: make it the right one */
    f->right = open_bus(f, "right");
    listen_and_wait(f);
    clock_set_for_test(INT64_C(1795341600000));
    LOG(LOG_WARN, "poll-failed", KV("account", "sales"), KVN("failures", 3), KV("none", NULL),
        KV("error", "bad \x1b\xff bytes"));
    clock_set_for_test(0);
    assert_turned(f, &f->events, 1);
    assert_string_equal(f->topic, "event");
    json_t *want = json_pack("{s:s, s:s, s:s, s:s, s:i, s:s}", "at", "2026-11-22T10:00:00Z",
                             "level", "warning", "event", "poll-failed", "account", "sales",
                             "failures", 3, "error", "bad \\x1B\\xFF bytes");
    if (!json_equal(f->last, want))
        fail_msg("%s", json_dumps(f->last, 0));
    json_decref(want);
    log_verbose(true);
    LOG(LOG_DETAIL, "unheard");
    log_verbose(false);
    turn(f, NULL, 0, 100);
    assert_int_equal(f->events, 1);
}

static void test_log_after_the_bus(void **state)
{
    struct fixture *f = *state;
    bus_free(f->left);
    f->left = NULL;
    LOG(LOG_NOTE, "after"); /* reaches no freed bus */
}

/* --- opening --- */

static void test_no_run_dir(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    assert_null(bus_open(f->base, scratch_path(f->scratch, "none"), "x", answer, f, &err));
    assert_int_equal(err.kind, ERROR_PERMANENT);
    assert_non_null(strstr(err.text, "none/x.ctl"));
    assert_non_null(strstr(err.text, "popferryctl init"));
    char too_long[200];
    memset(too_long, 'd', sizeof too_long - 1);
    too_long[0] = '/';
    too_long[sizeof too_long - 1] = '\0';
    assert_null(bus_open(f->base, too_long, "x", answer, f, &err));
    assert_alive(f);
    bus_free(NULL);
}

/* Who may enter the directory may steer: the sockets themselves are open to the group, whatever the
 * umask. */
static void test_socket_modes(void **state)
{
    struct fixture *f = *state;
    mode_t before = umask(0077);
    bus_free(f->right);
    f->right = open_bus(f, "right");
    (void)umask(before);
    static const char *const names[] = {"right.ctl", "right.events"};
    for (size_t i = 0; i < COUNT(names); i++) {
        struct stat st;
        assert_int_equal(stat(scratch_path(f->scratch, names[i]), &st), 0);
        assert_int_equal(st.st_mode & 0777, 0770);
    }
    assert_alive(f);
}

/* --- bus_call --- */

struct call {
    const char *dir, *peer;
    json_t *request;
    int times, timeout;
    json_t *reply; /* the last one */
    struct error err;
    int done;
};

static void *calling(void *arg)
{
    struct call *call = arg;
    struct bus_caller *caller = bus_caller_new(call->dir);
    for (int i = 0; i < call->times; i++) {
        json_decref(call->reply);
        call->reply =
            bus_call(caller, call->peer, json_incref(call->request), call->timeout, &call->err);
    }
    json_decref(call->request);
    bus_caller_free(caller);
    __atomic_store_n(&call->done, 1, __ATOMIC_SEQ_CST);
    return NULL;
}

/* Calls in a thread while the loop turns. */
static void call_in_thread(struct fixture *f, struct call *call)
{
    pthread_t thread;
    call->dir = f->scratch->dir;
    assert_int_equal(pthread_create(&thread, NULL, calling, call), 0);
    for (int i = 0; i < 1000 && !__atomic_load_n(&call->done, __ATOMIC_SEQ_CST); i++)
        turn(f, NULL, 0, 6);
    assert_int_equal(pthread_join(thread, NULL), 0);
}

static void test_call(void **state)
{
    struct fixture *f = *state;
    struct call call = {.peer = "right", .request = ping(77), .times = 3, .timeout = 5000};
    call_in_thread(f, &call);
    assert_non_null(call.reply);
    assert_int_equal(json_integer_value(json_object_get(call.reply, "n")), 77);
    json_decref(call.reply);
}

static json_t *call_once(const char *dir, const char *peer, json_t *request, int timeout,
                         struct error *err)
{
    struct bus_caller *caller = bus_caller_new(dir);
    json_t *reply = bus_call(caller, peer, request, timeout, err);
    bus_caller_free(caller);
    return reply;
}

static void test_call_when_nobody_listens(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    int64_t from = clock_monotonic();
    assert_null(call_once(f->scratch->dir, "nobody", ping(1), 60000, &err));
    assert_int_equal(err.kind, ERROR_MISSING);
    assert_string_equal(err.text, "nobody is not running");
    /* a socket that a killed daemon left behind */
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    (void)snprintf(address.sun_path, sizeof address.sun_path, "%s/dead.ctl", f->scratch->dir);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
    (void)close(fd);
    assert_null(call_once(f->scratch->dir, "dead", ping(1), 60000, &err));
    assert_int_equal(err.kind, ERROR_MISSING);
    assert_true(clock_monotonic() - from < 1000);
}

static void test_call_without_answer(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    /* it listens, and says nothing: a daemon that hangs */
    int64_t from = clock_monotonic();
    assert_null(call_once(f->scratch->dir, "right", ping(1), 200, &err));
    assert_int_equal(err.kind, ERROR_TEMPORARY);
    assert_non_null(strstr(err.text, "right stopped answering"));
    assert_in_range(clock_monotonic() - from, 190, 2000);
}

/* It had the question, and is gone, or another process is there in its place. */
static void test_call_of_one_that_ends(void **state)
{
    struct fixture *f = *state;
    for (int again = 0; again < 2; again++) {
        struct call call = {.peer = "right", .request = ping(1), .times = 1, .timeout = 60000};
        call.dir = f->scratch->dir;
        pthread_t thread;
        int64_t from = clock_monotonic();
        assert_int_equal(pthread_create(&thread, NULL, calling, &call), 0);
        usleep(300000); /* until it has asked: nobody turns the loop */
        bus_free(f->right);
        f->right = again ? open_bus(f, "right") : NULL;
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_null(call.reply);
        assert_int_equal(call.err.kind, ERROR_TEMPORARY);
        assert_string_equal(call.err.text, "right ended before it answered");
        assert_true(clock_monotonic() - from < call.timeout / 2);
        if (f->right == NULL)
            f->right = open_bus(f, "right");
    }
}

static void test_call_too_long(void **state)
{
    struct fixture *f = *state;
    struct error err = {0};
    char *much = malloc(BUS_MESSAGE_MAX + 1);
    memset(much, 'm', BUS_MESSAGE_MAX);
    much[BUS_MESSAGE_MAX] = '\0';
    assert_null(call_once(f->scratch->dir, "right", json_pack("{s:s}", "x", much), 5000, &err));
    assert_int_equal(err.kind, ERROR_USAGE);
    free(much);
    char too_long[200];
    memset(too_long, 'd', sizeof too_long - 1);
    too_long[sizeof too_long - 1] = '\0';
    assert_null(call_once(too_long, "right", ping(1), 5000, &err));
    assert_int_equal(err.kind, ERROR_USAGE);
}

/* --- replies and pages --- */

static void test_replies(void **state)
{
    (void)state;
    json_t *reply = bus_ok(NULL);
    assert_true(json_is_true(json_object_get(reply, "ok")));
    assert_int_equal(json_object_size(reply), 1);
    json_decref(reply);
    static const struct {
        enum error_kind kind;
        const char *code;
    } cases[] = {{ERROR_USAGE, "usage"},
                 {ERROR_MISSING, "notfound"},
                 {ERROR_TEMPORARY, "failed"},
                 {ERROR_PERMANENT, "failed"}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct error err;
        (void)error_set(&err, cases[i].kind, "what %s", "\xff%s\n");
        reply = bus_error_from(&err);
        assert_true(json_is_false(json_object_get(reply, "ok")));
        assert_string_equal(json_string_value(json_object_get(reply, "code")), cases[i].code);
        assert_string_equal(json_string_value(json_object_get(reply, "error")),
                            "what \\xFF%s\\x0A");
        json_decref(reply);
    }
    char much[5000];
    memset(much, '\x1b', sizeof much - 1);
    much[sizeof much - 1] = '\0';
    reply = bus_error("failed", "%s", much); /* cut, and still an answer */
    assert_non_null(json_string_value(json_object_get(reply, "error")));
    json_decref(reply);
}

/* 2000 items, each once, over as many pages as it takes, none over the limit. */
static void test_pages(void **state)
{
    (void)state;
    enum { ITEMS = 2000 };
    char text[301];
    memset(text, '"', sizeof text - 1); /* twice as long in JSON */
    text[sizeof text - 1] = '\0';
    int next = 0, pages = 0;
    while (next < ITEMS) {
        struct bus_page page;
        char cursor[16];
        bus_page_begin(&page);
        int n = next;
        while (n < ITEMS && bus_page_add(&page, json_pack("{s:i, s:s}", "n", n, "text", text)))
            n++;
        assert_true(n > next);
        (void)snprintf(cursor, sizeof cursor, "%d", n - 1);
        json_t *reply = bus_page_end(&page, n < ITEMS ? cursor : NULL);
        char *wire = json_dumps(reply, JSON_COMPACT);
        assert_true(strlen(wire) < BUS_MESSAGE_MAX);
        free(wire);
        json_t *items = json_object_get(reply, "items"), *item;
        size_t i;
        json_array_foreach(items, i, item)
            assert_int_equal(json_integer_value(json_object_get(item, "n")), next + (int)i);
        assert_int_equal(json_array_size(items), n - next);
        const char *after = json_string_value(json_object_get(reply, "next"));
        if (n < ITEMS)
            assert_string_equal(after, cursor);
        else
            assert_null(after);
        assert_true(json_is_true(json_object_get(reply, "ok")));
        json_decref(reply);
        next = n;
        pages++;
    }
    assert_true(pages > 20);
}

static void test_page_edges(void **state)
{
    (void)state;
    struct bus_page page;
    bus_page_begin(&page);
    json_t *reply = bus_page_end(&page, NULL);
    assert_int_equal(json_array_size(json_object_get(reply, "items")), 0);
    json_decref(reply);
    bus_page_begin(&page);
    char *much = malloc(BUS_PAGE_BYTES + 1);
    memset(much, 'm', BUS_PAGE_BYTES);
    much[BUS_PAGE_BYTES - 2] = '\0';
    assert_true(bus_page_add(&page, json_string(much)));
    assert_false(bus_page_add(&page, json_string("x")));
    reply = bus_page_end(&page, "c");
    assert_int_equal(json_array_size(json_object_get(reply, "items")), 1);
    json_decref(reply);
    free(much);
}

static size_t wire_length(const json_t *json)
{
    return json_dumpb(json, NULL, 0, JSON_COMPACT);
}

/* A first item is always taken, or nothing would ever go on; one too long is shortened. */
static void test_page_item_too_long(void **state)
{
    (void)state;
    struct bus_page page;
    char *much = malloc(2 * BUS_MESSAGE_MAX + 1);
    memset(much, 'm', 2 * BUS_MESSAGE_MAX);
    much[2 * BUS_MESSAGE_MAX] = '\0';
    json_t *crowd = json_object(); /* long by many short members */
    for (int i = 0; i < 100; i++) {
        char key[16];
        (void)snprintf(key, sizeof key, "k%d", i);
        (void)json_object_set_new(crowd, key, json_stringn(much, 2000));
    }
    json_t *odd[] = {json_pack("{s:s, s:s, s:i}", "id", "7", "much", much, "n", 7), crowd,
                     json_string(much), json_pack("{s:i}", much, 1)};
    for (size_t i = 0; i < COUNT(odd); i++) {
        bus_page_begin(&page);
        assert_true(bus_page_add(&page, odd[i]));
        json_t *reply = bus_page_end(&page, "c");
        assert_true(wire_length(reply) < BUS_MESSAGE_MAX);
        json_t *item = json_array_get(json_object_get(reply, "items"), 0);
        assert_true(json_is_array(json_object_get(item, "left_out")));
        if (i == 0) {
            assert_string_equal(json_string_value(json_object_get(item, "id")), "7");
            assert_int_equal(json_integer_value(json_object_get(item, "n")), 7);
            assert_string_equal(
                json_string_value(json_array_get(json_object_get(item, "left_out"), 0)), "much");
        }
        json_decref(reply);
    }
    free(much);
}

static void test_put_list(void **state)
{
    (void)state;
    char text[] = "a\x1b@x";
    char *items[1000];
    for (size_t i = 0; i < COUNT(items); i++)
        items[i] = text;
    json_t *reply = json_object();
    bus_put_list(reply, "few", items, 2);
    bus_put_list(reply, "many", items, COUNT(items));
    bus_put_list(reply, "none", NULL, 0);
    assert_int_equal(json_array_size(json_object_get(reply, "few")), 2);
    assert_int_equal(json_integer_value(json_object_get(reply, "few_total")), 2);
    assert_string_equal(json_string_value(json_array_get(json_object_get(reply, "few"), 0)),
                        "a\\x1B@x");
    assert_int_equal(json_array_size(json_object_get(reply, "many")), BUS_LIST_MAX);
    assert_int_equal(json_integer_value(json_object_get(reply, "many_total")), 1000);
    assert_true(json_is_array(json_object_get(reply, "none")));
    json_decref(reply);
}

#define bus_test(fn) cmocka_unit_test_setup_teardown(fn, begin, end)

int main(void)
{
    const struct CMUnitTest tests[] = {
        bus_test(test_question_and_answer),
        bus_test(test_refusal_is_an_answer),
        bus_test(test_many_questions),
        bus_test(test_asking_from_within_an_answer),
        bus_test(test_nobody_there),
        bus_test(test_peer_comes_up_in_time),
        bus_test(test_peer_comes_up_too_late),
        bus_test(test_questions_do_not_pile_up),
        bus_test(test_peer_restarts),
        bus_test(test_free_with_open_questions),
        bus_test(test_too_long),
        bus_test(test_garbage_at_the_router),
        bus_test(test_oversize_at_the_router),
        bus_test(test_no_zeromq_at_the_router),
        bus_test(test_garbage_as_an_answer),
        bus_test(test_garbage_as_a_notice),
        bus_test(test_bell_and_outcome),
        bus_test(test_many_notices),
        bus_test(test_listen_before_the_peer_is_up),
        bus_test(test_publisher_restarts),
        bus_test(test_oversize_notice_is_dropped),
        bus_test(test_nobody_listens_to_notices),
        bus_test(test_log_goes_out),
        bus_test(test_log_after_the_bus),
        bus_test(test_no_run_dir),
        bus_test(test_socket_modes),
        bus_test(test_call),
        bus_test(test_call_when_nobody_listens),
        bus_test(test_call_without_answer),
        bus_test(test_call_of_one_that_ends),
        bus_test(test_call_too_long),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_pages),
        cmocka_unit_test(test_page_edges),
        cmocka_unit_test(test_page_item_too_long),
        cmocka_unit_test(test_put_list),
    };
    return cmocka_run_group_tests_name("bus", tests, NULL, NULL);
}
