/* Streams to a Unix socket: bytes both ways, and what is said when nobody is there. */
#include "lib/clock.h"
#include "lib/stream.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"

#include <pthread.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

struct client {
    struct event_base *base;
    char order[16]; /* first letters of the events' names */
    char got[64];
    char error[256];
};

static void on_event(void *arg, struct stream *stream, enum stream_event event)
{
    struct client *c = arg;
    size_t n = strlen(c->order);
    if (n + 1 < sizeof c->order && event != STREAM_DRAINED)
        c->order[n] = stream_event_name(event)[0];
    size_t have = strlen(c->got);
    (void)evbuffer_remove(stream_input(stream), c->got + have, sizeof c->got - 1 - have);
    if (event == STREAM_CONNECTED)
        stream_write(stream, "ping\n", 5);
    if (event < STREAM_CLOSED)
        return;
    (void)snprintf(c->error, sizeof c->error, "%s", stream_error(stream));
    (void)event_base_loopbreak(c->base);
}

static void run(struct client *c, const char *path, char address[static 128])
{
    struct error err;
    c->base = event_base_new();
    struct stream_context *ctx = stream_context_new(c->base, &err);
    assert_non_null(ctx);
    const struct stream_peer peer = {.host = path, .connect_timeout = 5000, .timeout = 5000};
    struct stream *stream = stream_connect(ctx, &peer, on_event, c);
    assert_string_equal(c->order, "");
    (void)event_base_dispatch(c->base);
    (void)snprintf(address, 128, "%s", stream_address(stream));
    stream_free(stream);
    (void)event_base_loop(c->base, EVLOOP_NONBLOCK);
    stream_context_free(ctx);
    event_base_free(c->base);
}

static int listen_at(const char *path)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    (void)snprintf(local.sun_path, sizeof local.sun_path, "%s", path);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&local, sizeof local), 0);
    assert_int_equal(listen(fd, 1), 0);
    return fd;
}

static void *serve(void *arg)
{
    char line[16];
    int fd = accept(*(int *)arg, NULL, NULL);
    ssize_t n = read(fd, line, sizeof line);
    (void)!write(fd, "hello ", 6);
    (void)!write(fd, line, n > 0 ? (size_t)n : 0);
    (void)close(fd);
    return NULL;
}

static void test_both_ways(void **state)
{
    struct client c = {0};
    char address[128];
    const char *path = scratch_path(*state, "socket");
    int fd = listen_at(path);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, serve, &fd), 0);
    run(&c, path, address);
    assert_int_equal(pthread_join(thread, NULL), 0);
    (void)close(fd);
    assert_string_equal(c.got, "hello ping\n");
    assert_int_equal(c.order[0], 'c');
    assert_string_equal(address, path);
    assert_string_equal(c.error, "the server closed the connection");
}

static void assert_fails(const char *path, const char *words)
{
    struct client c = {0};
    char address[128];
    run(&c, path, address);
    assert_string_equal(c.order, "f");
    assert_string_equal(c.error, words);
}

static void test_nobody_there(void **state)
{
    char longer[300];
    assert_fails(scratch_path(*state, "missing"), "No such file or directory");
    (void)close(listen_at(scratch_path(*state, "left")));
    assert_fails(scratch_path(*state, "left"), "Connection refused");
    (void)snprintf(longer, sizeof longer, "/%0250d", 0);
    assert_fails(longer, "File name too long");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(test_both_ways),
        scratch_test(test_nobody_there),
    };
    return cmocka_run_group_tests_name("stream to a Unix socket", tests, NULL, NULL);
}
