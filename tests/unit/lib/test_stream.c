/* Streams against a little server in a thread: every event, TLS that is verified and TLS that must
 * fail, and freeing at any moment. */
#include "lib/clock.h"
#include "lib/stream.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/lib/tls_server.h"
#include <errno.h>
#include <event2/buffer.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>

#define BIG (4u * 1024 * 1024)

/* --- certificates and the shared context, made once --- */

static struct {
    void *scratch;
    struct event_base *base;
    struct stream_context *ctx;
    struct cert ca, good, wrong_host, expired, untrusted;
} shared;

static int make_shared(void **state)
{
    (void)state;
    struct error err;
    if (scratch_make(&shared.scratch) != 0)
        return -1;
    (void)signal(SIGPIPE, SIG_IGN);
    shared.ca = cert_make(NULL, NULL, 30);
    shared.good = cert_make(&shared.ca, "DNS:localhost,IP:127.0.0.1", 30);
    shared.wrong_host = cert_make(&shared.ca, "DNS:other.example,IP:127.0.0.9", 30);
    shared.expired = cert_make(&shared.ca, "DNS:localhost,IP:127.0.0.1", -1);
    shared.untrusted = cert_make(NULL, "DNS:localhost,IP:127.0.0.1", 30);
    const char *path = scratch_path(shared.scratch, "ca.pem");
    cert_write(&shared.ca, path);
    (void)setenv("SSL_CERT_FILE", path, 1);
    (void)setenv("SSL_CERT_DIR", "/nonexistent", 1);
    shared.base = event_base_new();
    shared.ctx = stream_context_new(shared.base, &err);
    return shared.ctx != NULL ? 0 : -1;
}

static int free_shared(void **state)
{
    (void)state;
    stream_context_free(shared.ctx);
    stream_context_free(NULL);
    event_base_free(shared.base);
    struct cert *certs[] = {&shared.ca, &shared.good, &shared.wrong_host, &shared.expired,
                            &shared.untrusted};
    for (size_t i = 0; i < COUNT(certs); i++)
        cert_free(certs[i]);
    return scratch_remove(&shared.scratch);
}

/* --- one client --- */

struct client {
    struct stream *stream;
    int count[STREAM_EVENTS];
    char order[64]; /* first letters of the events; "T" for timeout */
    struct evbuffer *got;
    bool keep_input; /* leave the bytes in stream_input */
    void (*hook)(struct client *c, enum stream_event event);
    int free_on; /* an event, or -1 */
    bool within_connect;
    size_t to_send, sent, most_seen;
    struct error err;
    char error[256];
};

static void on_event(void *arg, struct stream *stream, enum stream_event event)
{
    struct client *c = arg;
    assert_false(c->within_connect);
    c->count[event]++;
    size_t n = strlen(c->order);
    static const char letters[] = {'C', 'S', 'd', 'w', 'E', 'F', 'T'};
    if (n + 1 < sizeof c->order && (n == 0 || c->order[n - 1] != letters[event]))
        c->order[n] = letters[event];
    size_t waiting = evbuffer_get_length(stream_input(stream));
    c->most_seen = waiting > c->most_seen ? waiting : c->most_seen;
    if (!c->keep_input)
        (void)evbuffer_add_buffer(c->got, stream_input(stream));
    if (event >= STREAM_CLOSED)
        (void)snprintf(c->error, sizeof c->error, "%s", stream_error(stream));
    if (c->hook != NULL)
        c->hook(c, event);
    if ((int)event == c->free_on) {
        stream_free(c->stream);
        c->stream = NULL;
    }
}

static struct client *connect_to(const char *host, int port, bool tls)
{
    struct client *c = calloc(1, sizeof *c);
    c->got = evbuffer_new();
    c->free_on = -1;
    c->within_connect = true;
    struct stream_peer peer = {
        .host = host, .port = port, .tls = tls, .connect_timeout = 5000, .timeout = 5000};
    c->stream = stream_connect(shared.ctx, &peer, on_event, c);
    c->within_connect = false;
    return c;
}

static void client_free(struct client *c)
{
    stream_free(c->stream);
    (void)event_base_loop(shared.base, EVLOOP_NONBLOCK); /* libevent closes in its next turn */
    evbuffer_free(c->got);
    free(c);
}

static bool over(const struct client *c)
{
    return c->count[STREAM_CLOSED] + c->count[STREAM_FAILED] + c->count[STREAM_TIMEOUT] > 0;
}

static void turn(int ms)
{
    struct timeval slice = {ms / 1000, ms % 1000 * 1000};
    (void)event_base_loopexit(shared.base, &slice);
    (void)event_base_dispatch(shared.base);
}

/* Turns the loop until the event has come, or the stream is over, or ten seconds have gone. */
static bool wait_event(struct client *c, enum stream_event event)
{
    int64_t end_at = clock_monotonic() + 10000;
    while (c->count[event] == 0 && !over(c) && clock_monotonic() < end_at)
        turn(3);
    return c->count[event] > 0;
}

static void wait_bytes(struct client *c, size_t n)
{
    int64_t end_at = clock_monotonic() + 10000;
    while (evbuffer_get_length(c->got) < n && !over(c) && clock_monotonic() < end_at)
        turn(3);
    assert_int_equal(evbuffer_get_length(c->got), n);
}

/* The end came once, as `event`, and nothing follows. */
static void assert_end(struct client *c, enum stream_event event, const char *words)
{
    if (!wait_event(c, event) || strstr(c->error, words) == NULL)
        fail_msg("events %s, error \"%s\"; wanted %s, \"%s\"", c->order, c->error,
                 stream_event_name(event), words);
    turn(30);
    assert_int_equal(c->count[STREAM_CLOSED] + c->count[STREAM_FAILED] + c->count[STREAM_TIMEOUT],
                     1);
}

static void assert_got(struct client *c, const char *text)
{
    size_t n = strlen(text);
    assert_int_equal(evbuffer_get_length(c->got), n);
    assert_memory_equal(evbuffer_pullup(c->got, -1), text, n);
}

static char pattern(size_t i)
{
    return (char)(i * 31 + i / 251 + i / 65536);
}

static void assert_pattern(struct client *c, size_t n)
{
    assert_int_equal(evbuffer_get_length(c->got), n);
    const char *bytes = (const char *)evbuffer_pullup(c->got, -1);
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != pattern(i))
            fail_msg("byte %zu of %zu differs", i, n);
}

/* --- scripts of the server --- */

static void script_silent(struct server *s, int fd)
{
    (void)s;
    wait_for_end(fd);
}

static void script_bye(struct server *s, int fd)
{
    (void)s;
    say(fd, "bye");
}

static void script_reset(struct server *s, int fd)
{
    (void)s;
    reset(fd);
}

static void script_pattern(struct server *s, int fd)
{
    char *bytes = malloc(s->amount);
    for (size_t i = 0; i < s->amount; i++)
        bytes[i] = pattern(i);
    send_all(fd, bytes, s->amount);
    free(bytes);
    wait_for_end(fd);
}

static void script_echo(struct server *s, int fd)
{
    (void)s;
    char buf[20000];
    for (ssize_t n; (n = recv(fd, buf, sizeof buf, 0)) > 0;)
        send_all(fd, buf, (size_t)n);
}

static void script_trickle(struct server *s, int fd)
{
    for (size_t i = 0; i < s->amount; i++) {
        say(fd, "x");
        (void)usleep(60000);
    }
    wait_for_end(fd);
}

static void tls_end(SSL *ssl)
{
    (void)SSL_shutdown(ssl);
    SSL_free(ssl);
}

static void script_tls_bye(struct server *s, int fd)
{
    SSL *ssl = server_tls(s, fd);
    if (ssl == NULL)
        return;
    (void)SSL_write(ssl, "bye", 3);
    tls_end(ssl);
    wait_for_end(fd);
}

static void script_tls_cut(struct server *s, int fd)
{
    SSL *ssl = server_tls(s, fd);
    if (ssl == NULL)
        return;
    (void)SSL_write(ssl, "half a mess", 11);
    SSL_set_quiet_shutdown(ssl, 1); /* no close_notify */
    SSL_free(ssl);
}

static void script_tls_silent(struct server *s, int fd)
{
    SSL *ssl = server_tls(s, fd);
    char c;
    if (ssl == NULL)
        return;
    (void)SSL_read(ssl, &c, 1);
    SSL_free(ssl);
}

static void script_tls_echo(struct server *s, int fd)
{
    SSL *ssl = server_tls(s, fd);
    char buf[20000];
    if (ssl == NULL)
        return;
    for (int n; (n = SSL_read(ssl, buf, sizeof buf)) > 0;)
        (void)SSL_write(ssl, buf, n);
    tls_end(ssl);
}

/* The pattern in records of odd sizes, then silence. */
static void script_tls_pattern(struct server *s, int fd)
{
    static const size_t sizes[] = {10, 16384, 16384, 1, 7000, 16384, 16384, 16383};
    SSL *ssl = server_tls(s, fd);
    char *bytes = malloc(s->amount), c;
    for (size_t i = 0; i < s->amount; i++)
        bytes[i] = pattern(i);
    if (ssl == NULL) {
        free(bytes);
        return;
    }
    for (size_t at = 0, turn_no = 0; at < s->amount; turn_no++) {
        size_t n = sizes[turn_no % COUNT(sizes)];
        n = s->amount - at < n ? s->amount - at : n;
        if (SSL_write(ssl, bytes + at, (int)n) <= 0)
            break;
        at += n;
    }
    (void)SSL_read(ssl, &c, 1);
    SSL_free(ssl);
    free(bytes);
}

static void recv_line(int fd)
{
    char c = '\0';
    while (c != '\n' && recv(fd, &c, 1, 0) == 1)
        ;
}

/* A greeting, a line from the client, consent, and then TLS with an echo. */
static void script_starttls(struct server *s, int fd)
{
    say(fd, "+OK hello\r\n");
    recv_line(fd);
    say(fd, "+OK begin\r\n");
    script_tls_echo(s, fd);
}

static void script_starttls_injected(struct server *s, int fd)
{
    say(fd, "+OK hello\r\n");
    recv_line(fd);
    say(fd, "+OK begin\r\n+OK injected\r\n");
    script_tls_echo(s, fd);
}

static struct server serve(void (*script)(struct server *, int))
{
    return (struct server){.script = script, .cert = &shared.good};
}

/* --- TCP --- */

static void test_refused(void **state)
{
    (void)state;
    int port, fd = server_listen(&port, 1);
    (void)close(fd);
    struct client *c = connect_to("127.0.0.1", port, false);
    assert_int_equal(c->count[STREAM_FAILED], 0);
    assert_end(c, STREAM_FAILED, "Connection refused");
    assert_string_equal(c->order, "F");
    /* what comes behind the end has no effect and does no harm */
    stream_write(c->stream, "x", 1);
    stream_pause(c->stream, true);
    stream_pause(c->stream, false);
    stream_set_timeout(c->stream, 10);
    assert_false(stream_secure(c->stream, &c->err));
    turn(50);
    assert_string_equal(c->order, "F");
    client_free(c);
}

static void test_connect_by_name(void **state)
{
    (void)state;
    struct server s = serve(script_bye);
    server_start(&s);
    struct client *c = connect_to("localhost", s.port, false);
    assert_end(c, STREAM_CLOSED, "closed");
    assert_got(c, "bye");
    client_free(c);
    server_stop(&s);
}

static void test_no_such_host(void **state)
{
    (void)state;
    char label[300];
    memset(label, 'a', sizeof label - 1);
    label[sizeof label - 1] = '\0';
    const char *const hosts[] = {"", label, "no such host", "..", "127.0.0.1:25", "[::1]"};
    for (size_t i = 0; i < COUNT(hosts); i++) {
        struct stream_peer peer = {
            .host = hosts[i], .port = 9, .connect_timeout = 300, .timeout = 300};
        struct client *c = calloc(1, sizeof *c);
        c->got = evbuffer_new();
        c->free_on = -1;
        c->within_connect = true;
        c->stream = stream_connect(shared.ctx, &peer, on_event, c);
        c->within_connect = false;
        int64_t from = clock_monotonic();
        while (!over(c) && clock_monotonic() - from < 3000)
            turn(3);
        assert_int_equal(c->count[STREAM_FAILED] + c->count[STREAM_TIMEOUT], 1);
        assert_true(c->error[0] != '\0');
        client_free(c);
    }
}

static void test_data_and_end(void **state)
{
    (void)state;
    struct server s = serve(script_bye);
    server_start(&s);
    struct client *c = connect_to("127.0.0.1", s.port, false);
    assert_true(wait_event(c, STREAM_CONNECTED));
    assert_false(stream_is_secure(c->stream));
    assert_end(c, STREAM_CLOSED, "the server closed the connection");
    assert_got(c, "bye");
    assert_int_equal(c->count[STREAM_CONNECTED], 1);
    assert_int_equal(c->order[0], 'C');
    client_free(c);
    server_stop(&s);
}

static void test_last_bytes_stay_readable(void **state)
{
    (void)state;
    struct server s = serve(script_bye);
    server_start(&s);
    struct client *c = connect_to("127.0.0.1", s.port, false);
    c->keep_input = true;
    assert_end(c, STREAM_CLOSED, "");
    assert_int_equal(evbuffer_get_length(stream_input(c->stream)), 3);
    client_free(c);
    server_stop(&s);
}

static void test_reset(void **state)
{
    (void)state;
    struct server s = serve(script_reset);
    server_start(&s);
    struct client *c = connect_to("127.0.0.1", s.port, false);
    assert_end(c, STREAM_FAILED, "reset");
    client_free(c);
    server_stop(&s);
}

/* Keeps at most 64 KiB in the output and sends the pattern in pieces of all sizes. */
static void send_pattern(struct client *c, enum stream_event event)
{
    if (event == STREAM_CLOSED || event == STREAM_FAILED || event == STREAM_TIMEOUT)
        return;
    char piece[5000];
    while (c->sent < c->to_send && evbuffer_get_length(stream_output(c->stream)) < 65536) {
        size_t n = 1 + c->sent % sizeof piece;
        n = c->to_send - c->sent < n ? c->to_send - c->sent : n;
        for (size_t i = 0; i < n; i++)
            piece[i] = pattern(c->sent + i);
        stream_write(c->stream, piece, n);
        c->sent += n;
    }
}

static void both_ways(void (*script)(struct server *, int), bool tls, size_t low_water)
{
    struct server s = serve(script);
    server_start(&s);
    struct client *c = connect_to("127.0.0.1", s.port, tls);
    stream_set_low_water(c->stream, low_water);
    c->to_send = BIG;
    c->hook = send_pattern;
    wait_bytes(c, BIG);
    assert_pattern(c, BIG);
    assert_true(c->count[STREAM_DRAINED] > 0);
    client_free(c);
    server_stop(&s);
}

static void test_megabytes_both_ways(void **state)
{
    (void)state;
    both_ways(script_echo, false, 0);
    both_ways(script_echo, false, 30000);
}

static void check_low_water(struct client *c, enum stream_event event)
{
    size_t waiting = evbuffer_get_length(stream_output(c->stream));
    if (event == STREAM_DRAINED)
        c->most_seen = waiting > c->sent ? waiting : c->sent;
    c->sent = c->most_seen;
}

static void low_water(void (*script)(struct server *, int), bool tls)
{
    struct server s = serve(script);
    server_start(&s);
    struct client *c = connect_to("127.0.0.1", s.port, tls);
    stream_set_low_water(c->stream, 50000); /* kept though TLS puts another layer on */
    assert_true(wait_event(c, STREAM_CONNECTED));
    turn(20);
    c->count[STREAM_DRAINED] = 0;
    c->most_seen = 0;
    c->hook = check_low_water;
    char *much = calloc(1, BIG);
    stream_write(c->stream, much, BIG);
    free(much);
    assert_true(wait_event(c, STREAM_DRAINED));
    assert_in_range(c->sent, 1, 50000); /* it came while some was still waiting */
    wait_bytes(c, BIG);
    client_free(c);
    server_stop(&s);
}

static void test_low_water(void **state)
{
    (void)state;
    low_water(script_echo, false);
    low_water(script_tls_echo, true);
}

/* Paused, it reads no more than a little; resumed, nothing is missing. */
static void pausing(void (*script)(struct server *, int), bool tls)
{
    struct server s = serve(script);
    s.amount = BIG;
    server_start(&s);
    struct client *c = connect_to("127.0.0.1", s.port, tls);
    assert_true(wait_event(c, STREAM_DATA));
    for (int i = 0; i < 5; i++) {
        stream_pause(c->stream, true);
        size_t before = evbuffer_get_length(c->got);
        int data = c->count[STREAM_DATA];
        turn(60);
        assert_true(c->count[STREAM_DATA] <= data + 1); /* one may have been on its way */
        assert_true(evbuffer_get_length(c->got) - before <= 600000);
        stream_pause(c->stream, false);
        turn(5);
    }
    wait_bytes(c, BIG);
    assert_pattern(c, BIG);
    client_free(c);
    server_stop(&s);
}

static void test_pause(void **state)
{
    (void)state;
    pausing(script_pattern, false);
    pausing(script_tls_pattern, true);
}

/* Bytes that the owner leaves lying are not read without end, and all come once it takes them:
 * whatever record of TLS the limit falls into, and though the server waits for us by then. */
static void lying(void (*script)(struct server *, int), bool tls, size_t amount)
{
    struct server s = serve(script);
    s.amount = amount;
    server_start(&s);
    struct client *c = connect_to("127.0.0.1", s.port, tls);
    c->keep_input = true;
    assert_true(wait_event(c, STREAM_DATA));
    turn(150);
    size_t waiting = evbuffer_get_length(stream_input(c->stream));
    assert_true(waiting <= 600000);
    if (amount <= 200000)
        assert_int_equal(waiting, amount);
    c->keep_input = false;
    (void)evbuffer_add_buffer(c->got, stream_input(c->stream));
    wait_bytes(c, amount);
    assert_pattern(c, amount);
    client_free(c);
    server_stop(&s);
}

static void test_bytes_left_lying(void **state)
{
    (void)state;
    static const size_t amounts[] = {200000, 262145, 275000, BIG};
    for (size_t i = 0; i < COUNT(amounts); i++) {
        lying(script_pattern, false, amounts[i]);
        lying(script_tls_pattern, true, amounts[i]);
    }
}

/* --- time --- */

static void test_progress_timeout(void **state)
{
    (void)state;
    static const bool kinds[] = {false, true};
    for (size_t i = 0; i < COUNT(kinds); i++) {
        struct server s = serve(kinds[i] ? script_tls_silent : script_silent);
        server_start(&s);
        struct client *c = connect_to("127.0.0.1", s.port, kinds[i]);
        assert_true(wait_event(c, STREAM_CONNECTED));
        stream_set_timeout(c->stream, 200);
        int64_t from = clock_monotonic();
        assert_end(c, STREAM_TIMEOUT, "no progress");
        assert_in_range(clock_monotonic() - from, 150, 2000);
        client_free(c);
        server_stop(&s);
    }
}

static void test_progress_keeps_it_alive(void **state)
{
    (void)state;
    struct server s = serve(script_trickle);
    s.amount = 10;
    server_start(&s);
    struct client *c = connect_to("127.0.0.1", s.port, false);
    assert_true(wait_event(c, STREAM_CONNECTED));
    stream_set_timeout(c->stream, 500);
    wait_bytes(c, 10);
    assert_false(over(c));
    assert_end(c, STREAM_TIMEOUT, "no progress");
    client_free(c);
    server_stop(&s);
}

static void script_reads_nothing(struct server *s, int fd)
{
    (void)fd;
    for (int i = 0; i < 500 && !s->stop; i++)
        (void)usleep(20000);
}

static void test_timeout_of_a_stuck_write(void **state)
{
    (void)state;
    struct server s = serve(script_reads_nothing);
    server_start(&s);
    struct client *c = connect_to("127.0.0.1", s.port, false);
    assert_true(wait_event(c, STREAM_CONNECTED));
    stream_set_timeout(c->stream, 300);
    char *much = calloc(1, 4 * BIG);
    stream_write(c->stream, much, 4 * BIG);
    free(much);
    int64_t from = clock_monotonic();
    assert_end(c, STREAM_TIMEOUT, "no progress");
    assert_true(clock_monotonic() - from < 5000);
    client_free(c);
    server_stop(&s);
}

static void test_handshake_timeout(void **state)
{
    (void)state;
    struct server s = serve(script_silent);
    server_start(&s);
    struct stream_peer peer = {
        .host = "127.0.0.1", .port = s.port, .tls = true, .connect_timeout = 250, .timeout = 5000};
    struct client *c = calloc(1, sizeof *c);
    c->got = evbuffer_new();
    c->free_on = -1;
    c->stream = stream_connect(shared.ctx, &peer, on_event, c);
    int64_t from = clock_monotonic();
    assert_end(c, STREAM_TIMEOUT, "no TLS handshake");
    assert_in_range(clock_monotonic() - from, 200, 2000);
    assert_string_equal(c->order, "T");
    client_free(c);
    server_stop(&s);
}

/* --- freeing --- */

static void test_free_in_each_event(void **state)
{
    (void)state;
    static const struct {
        void (*script)(struct server *, int);
        bool tls;
        enum stream_event event;
    } cases[] = {
        {script_bye, false, STREAM_CONNECTED},    {script_bye, false, STREAM_DATA},
        {script_bye, false, STREAM_CLOSED},       {script_reset, false, STREAM_FAILED},
        {script_echo, false, STREAM_DRAINED},     {script_silent, false, STREAM_TIMEOUT},
        {script_tls_bye, true, STREAM_CONNECTED}, {script_tls_bye, true, STREAM_DATA},
        {script_tls_bye, true, STREAM_CLOSED},    {script_tls_cut, true, STREAM_FAILED},
        {script_tls_echo, true, STREAM_DRAINED},  {script_tls_silent, true, STREAM_TIMEOUT},
        {script_silent, true, STREAM_TIMEOUT},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct server s = serve(cases[i].script);
        server_start(&s);
        struct stream_peer peer = {.host = "127.0.0.1",
                                   .port = s.port,
                                   .tls = cases[i].tls,
                                   .connect_timeout = 600,
                                   .timeout = 600};
        struct client *c = calloc(1, sizeof *c);
        c->got = evbuffer_new();
        c->free_on = (int)cases[i].event;
        if (cases[i].event == STREAM_DRAINED) {
            c->to_send = 1000000;
            c->hook = send_pattern;
        }
        c->stream = stream_connect(shared.ctx, &peer, on_event, c);
        if (!wait_event(c, cases[i].event))
            fail_msg("case %zu: %s, %s", i, c->order, c->error);
        size_t n = strlen(c->order);
        turn(40);
        assert_null(c->stream);
        assert_int_equal(strlen(c->order), n); /* nothing behind it */
        client_free(c);
        server_stop(&s);
    }
}

static void test_free_at_any_time(void **state)
{
    (void)state;
    static void (*const scripts[])(struct server *, int) = {script_bye, script_tls_echo};
    for (int round = 0; round < 40; round++) {
        struct server s = serve(scripts[round % 2]);
        server_start(&s);
        struct client *c =
            connect_to(round % 3 == 0 ? "localhost" : "127.0.0.1", s.port, round % 2 == 1);
        stream_write(c->stream, "hello", 5);
        for (int i = 0; i < round / 4; i++)
            (void)event_base_loop(shared.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        char before[64];
        memcpy(before, c->order, sizeof before);
        stream_free(c->stream);
        c->stream = NULL;
        turn(3);
        assert_string_equal(c->order, before);
        client_free(c);
        server_stop(&s);
    }
    stream_free(NULL);
}

/* --- TLS --- */

static void test_tls_good(void **state)
{
    (void)state;
    static const char *const hosts[] = {"localhost", "127.0.0.1"};
    for (size_t i = 0; i < COUNT(hosts); i++) {
        struct server s = serve(script_tls_bye);
        server_start(&s);
        struct client *c = connect_to(hosts[i], s.port, true);
        assert_true(wait_event(c, STREAM_CONNECTED));
        assert_true(stream_is_secure(c->stream));
        assert_end(c, STREAM_CLOSED, "closed");
        assert_got(c, "bye");
        assert_int_equal(c->count[STREAM_CONNECTED], 1);
        assert_int_equal(c->count[STREAM_SECURED], 0);
        client_free(c);
        server_stop(&s);
    }
}

static void test_tls_1_2(void **state)
{
    (void)state;
    struct server s = serve(script_tls_bye);
    s.max_version = TLS1_2_VERSION;
    server_start(&s);
    struct client *c = connect_to("localhost", s.port, true);
    assert_end(c, STREAM_CLOSED, "closed");
    assert_got(c, "bye");
    client_free(c);
    server_stop(&s);
}

static void test_tls_refused(void **state)
{
    (void)state;
    const struct {
        const struct cert *cert;
        const char *host;
        int max_version;
        const char *words;
    } cases[] = {
        {&shared.untrusted, "localhost", 0, "certificate of localhost was refused: it is self"},
        {&shared.wrong_host, "localhost", 0, "it is for another host: other.example, 127.0.0.9"},
        {&shared.wrong_host, "127.0.0.1", 0, "for another host"},
        {&shared.expired, "localhost", 0, "expired"},
        {&shared.good, "localhost", TLS1_1_VERSION, "TLS: the server offers no TLS 1.2"},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct server s = serve(script_tls_echo);
        s.cert = cases[i].cert;
        s.max_version = cases[i].max_version;
        server_start(&s);
        struct client *c = connect_to(cases[i].host, s.port, true);
        stream_write(c->stream, "secret", 6); /* must not be sent */
        assert_end(c, STREAM_FAILED, cases[i].words);
        assert_string_equal(c->order, "F");
        assert_false(stream_is_secure(c->stream));
        assert_got(c, "");
        client_free(c);
        server_stop(&s);
    }
}

static void test_no_tls_there(void **state)
{
    (void)state;
    static void (*const scripts[])(struct server *, int) = {script_bye, script_reset};
    for (size_t i = 0; i < COUNT(scripts); i++) {
        struct server s = serve(scripts[i]);
        server_start(&s);
        struct client *c = connect_to("localhost", s.port, true);
        assert_end(c, STREAM_FAILED, "");
        assert_true(c->error[0] != '\0');
        assert_string_equal(c->order, "F");
        client_free(c);
        server_stop(&s);
    }
}

static void test_tls_cut_is_a_failure(void **state)
{
    (void)state;
    static const int versions[] = {0, TLS1_2_VERSION};
    for (size_t i = 0; i < COUNT(versions); i++) {
        struct server s = serve(script_tls_cut);
        s.max_version = versions[i];
        server_start(&s);
        struct client *c = connect_to("localhost", s.port, true);
        assert_end(c, STREAM_FAILED, "cut off without close_notify");
        assert_got(c, "half a mess");
        assert_int_equal(c->count[STREAM_CLOSED], 0);
        client_free(c);
        server_stop(&s);
    }
}

/* What is written before the handshake waits for it: not a byte goes out in clear, and none is
 * lost. */
static void test_tls_written_early(void **state)
{
    (void)state;
    struct server s = serve(script_tls_echo);
    server_start(&s);
    struct client *c = connect_to("localhost", s.port, true);
    stream_write(c->stream, "ear", 3);
    stream_pause(c->stream, true);
    (void)evbuffer_add(stream_output(c->stream), "ly", 2);
    assert_true(wait_event(c, STREAM_CONNECTED));
    turn(50);
    assert_got(c, ""); /* still paused */
    stream_pause(c->stream, false);
    wait_bytes(c, 5);
    assert_got(c, "early");
    client_free(c);
    server_stop(&s);
}

static void test_written_and_paused_early(void **state)
{
    (void)state;
    struct server s = serve(script_echo);
    server_start(&s);
    for (int resume_early = 0; resume_early < 2; resume_early++) {
        struct client *c = connect_to("localhost", s.port, false);
        stream_pause(c->stream, true);
        stream_write(c->stream, "early", 5);
        if (resume_early)
            stream_pause(c->stream, false);
        assert_true(wait_event(c, STREAM_CONNECTED));
        if (!resume_early) {
            turn(50);
            assert_got(c, "");
            stream_pause(c->stream, false);
        }
        wait_bytes(c, 5);
        assert_got(c, "early");
        client_free(c);
    }
    server_stop(&s);
}

static void test_tls_megabytes_both_ways(void **state)
{
    (void)state;
    both_ways(script_tls_echo, true, 0);
    both_ways(script_tls_echo, true, 30000);
}

/* --- STLS, STARTTLS --- */

/* What a protocol does: greeting, command, consent, TLS. */
static void upgrade(struct client *c, enum stream_event event)
{
    if (event != STREAM_DATA || stream_is_secure(c->stream))
        return;
    struct evbuffer *in = stream_input(c->stream);
    char *line = evbuffer_readln(in, NULL, EVBUFFER_EOL_CRLF_STRICT);
    if (line != NULL && strcmp(line, "+OK hello") == 0)
        stream_write(c->stream, "STLS\r\n", 6);
    else if (line != NULL && !stream_secure(c->stream, &c->err))
        c->sent = 1;
    free(line);
}

static void secured_echo(struct client *c, enum stream_event event)
{
    if (event == STREAM_SECURED) {
        c->keep_input = false;
        stream_write(c->stream, "in secret", 9);
    } else {
        upgrade(c, event);
    }
}

static void test_secure(void **state)
{
    (void)state;
    static const int versions[] = {0, TLS1_2_VERSION};
    for (size_t i = 0; i < COUNT(versions); i++) {
        struct server s = serve(script_starttls);
        s.max_version = versions[i];
        server_start(&s);
        struct client *c = connect_to("localhost", s.port, false);
        assert_false(stream_secure(c->stream, &c->err)); /* not up yet */
        c->keep_input = true;
        c->hook = secured_echo;
        assert_true(wait_event(c, STREAM_SECURED));
        assert_true(stream_is_secure(c->stream));
        assert_false(stream_secure(c->stream, &c->err)); /* not twice */
        wait_bytes(c, 9);
        assert_got(c, "in secret");
        assert_int_equal(c->count[STREAM_CONNECTED], 1);
        assert_int_equal(c->count[STREAM_SECURED], 1);
        stream_set_timeout(c->stream, 150); /* and watched over as before */
        assert_end(c, STREAM_TIMEOUT, "no progress");
        client_free(c);
        server_stop(&s);
    }
}

static void test_secure_with_bytes_waiting(void **state)
{
    (void)state;
    struct server s = serve(script_starttls_injected);
    server_start(&s);
    struct client *c = connect_to("localhost", s.port, false);
    c->keep_input = true;
    c->hook = upgrade;
    int64_t end_at = clock_monotonic() + 5000;
    while (c->sent == 0 && !over(c) && clock_monotonic() < end_at)
        turn(5);
    assert_int_equal(c->sent, 1);
    assert_int_equal(c->err.kind, ERROR_PERMANENT);
    assert_non_null(strstr(c->err.text, "in clear"));
    assert_false(stream_is_secure(c->stream));
    client_free(c);
    server_stop(&s);
}

static void test_secure_with_output_waiting(void **state)
{
    (void)state;
    struct server s = serve(script_silent);
    server_start(&s);
    struct client *c = connect_to("localhost", s.port, false);
    assert_true(wait_event(c, STREAM_CONNECTED));
    stream_write(c->stream, "x", 1);
    assert_false(stream_secure(c->stream, &c->err));
    assert_non_null(strstr(c->err.text, "output is waiting"));
    client_free(c);
    server_stop(&s);
}

static void test_secure_refuses_the_wrong_server(void **state)
{
    (void)state;
    const struct cert *const certs[] = {&shared.untrusted, &shared.wrong_host, &shared.expired};
    for (size_t i = 0; i < COUNT(certs); i++) {
        struct server s = serve(script_starttls);
        s.cert = certs[i];
        server_start(&s);
        struct client *c = connect_to("localhost", s.port, false);
        c->keep_input = true;
        c->hook = secured_echo;
        assert_end(c, STREAM_FAILED, "certificate of localhost was refused");
        assert_int_equal(c->count[STREAM_SECURED], 0);
        client_free(c);
        server_stop(&s);
    }
}

/* --- a name with several addresses --- */

/* In a child that sees an /etc/hosts of its own; exit code 77 where that cannot be had. */
static void try_second_address(void)
{
    struct server s = serve(script_bye);
    struct error err;
    static const char hosts[] = "::1 two.example\n127.0.0.1 two.example\n"
                                "127.0.0.1 one.example\n";
    const char *path = scratch_write(shared.scratch, "hosts", hosts, sizeof hosts - 1, 0644);
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(path, "/etc/hosts", NULL, MS_BIND, NULL) < 0)
        _exit(77);
    shared.base = event_base_new();
    shared.ctx = stream_context_new(shared.base, &err);
    server_start(&s);
    static const char *const names[] = {"one.example", "two.example"};
    for (size_t i = 0; i < COUNT(names); i++) {
        struct client *c = connect_to(names[i], s.port, false);
        if (!wait_event(c, STREAM_CLOSED)) {
            fprintf(stderr, "%s: %s\n", names[i], c->error);
            _exit(1);
        }
        client_free(c);
    }
    _exit(0);
}

static void test_second_address(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0)
        try_second_address();
    int code = exit_code(pid);
    if (code == 77)
        skip();
    assert_int_equal(code, 0);
}

static void test_event_names(void **state)
{
    (void)state;
    for (int event = 0; event < STREAM_EVENTS; event++)
        assert_true(strlen(stream_event_name((enum stream_event)event)) > 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_connect_by_name),
        cmocka_unit_test(test_no_such_host),
        cmocka_unit_test(test_data_and_end),
        cmocka_unit_test(test_last_bytes_stay_readable),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_megabytes_both_ways),
        cmocka_unit_test(test_low_water),
        cmocka_unit_test(test_pause),
        cmocka_unit_test(test_bytes_left_lying),
        cmocka_unit_test(test_progress_timeout),
        cmocka_unit_test(test_progress_keeps_it_alive),
        cmocka_unit_test(test_timeout_of_a_stuck_write),
        cmocka_unit_test(test_handshake_timeout),
        cmocka_unit_test(test_free_in_each_event),
        cmocka_unit_test(test_free_at_any_time),
        cmocka_unit_test(test_tls_good),
        cmocka_unit_test(test_tls_1_2),
        cmocka_unit_test(test_tls_refused),
        cmocka_unit_test(test_no_tls_there),
        cmocka_unit_test(test_tls_cut_is_a_failure),
        cmocka_unit_test(test_tls_written_early),
        cmocka_unit_test(test_written_and_paused_early),
        cmocka_unit_test(test_tls_megabytes_both_ways),
        cmocka_unit_test(test_secure),
        cmocka_unit_test(test_secure_with_bytes_waiting),
        cmocka_unit_test(test_secure_with_output_waiting),
        cmocka_unit_test(test_secure_refuses_the_wrong_server),
        cmocka_unit_test(test_second_address),
        cmocka_unit_test(test_event_names),
    };
    return cmocka_run_group_tests_name("stream", tests, make_shared, free_shared);
}
