/* SCRAM in -PLUS over a real TLS connection, with libgsasl's server side and the server's own view
 * of the binding at the other end: tls-unique in TLS 1.2, tls-exporter in TLS 1.3. */
#include "lib/clock.h"
#include "lib/sasl.h"
#include "lib/stream.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/lib/tls_server.h"
#include <event2/buffer.h>
#include <event2/event.h>
#include <gsasl.h>
#include <signal.h>
#include <sodium.h>

enum { LINE_SIZE = 1024 };

static struct {
    void *scratch;
    struct event_base *base;
    struct stream_context *ctx;
    struct cert ca, good;
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
    const char *path = scratch_path(shared.scratch, "ca.pem");
    cert_write(&shared.ca, path);
    (void)setenv("SSL_CERT_FILE", path, 1);
    shared.base = event_base_new();
    shared.ctx = stream_context_new(shared.base, &err);
    return shared.ctx != NULL ? 0 : -1;
}

static int free_shared(void **state)
{
    (void)state;
    stream_context_free(shared.ctx);
    event_base_free(shared.base);
    cert_free(&shared.good);
    cert_free(&shared.ca);
    return scratch_remove(&shared.scratch);
}

/* --- the server: one message of base64 a line, "!" for no ---------------------------------- */

/* As the server sees it. With s->amount it is another connection's. */
static void bind_server(struct server *s, SSL *ssl, Gsasl_session *session)
{
    static const char label[] = "EXPORTER-Channel-Binding";
    bool exporter = SSL_version(ssl) >= TLS1_3_VERSION;
    unsigned char data[64];
    char text[128];
    size_t len = 32;

    if (!exporter)
        len = SSL_get_peer_finished(ssl, data, sizeof data);
    else if (SSL_export_keying_material(ssl, data, len, label, sizeof label - 1, NULL, 0, 0) != 1)
        abort();
    if (s->amount)
        data[0] ^= 1;
    sodium_bin2base64(text, sizeof text, data, len, sodium_base64_VARIANT_ORIGINAL);
    (void)gsasl_property_set(session, exporter ? GSASL_CB_TLS_EXPORTER : GSASL_CB_TLS_UNIQUE, text);
}

static bool read_line(SSL *ssl, char *line)
{
    size_t n = 0;

    while (n < LINE_SIZE - 1 && SSL_read(ssl, line + n, 1) == 1 && line[n] != '\n')
        n++;
    bool whole = line[n] == '\n';
    line[n] = '\0';
    return whole;
}

static void converse(SSL *ssl, Gsasl_session *session)
{
    char line[LINE_SIZE] = "";
    int code = GSASL_NEEDS_MORE;

    while (code == GSASL_NEEDS_MORE && read_line(ssl, line)) {
        char *out = NULL;
        code = gsasl_step64(session, line, &out);
        bool good = code == GSASL_OK || code == GSASL_NEEDS_MORE;
        (void)SSL_write(ssl, good ? out : "!", good ? (int)strlen(out) : 1);
        (void)SSL_write(ssl, "\n", 1);
        gsasl_free(out);
    }
}

static void script_scram(struct server *s, int fd)
{
    SSL *ssl = server_tls(s, fd);
    Gsasl *library;
    Gsasl_session *session;

    if (ssl == NULL)
        return;
    if (gsasl_init(&library) != GSASL_OK ||
        gsasl_server_start(library, "SCRAM-SHA-256-PLUS", &session) != GSASL_OK)
        abort();
    (void)gsasl_property_set(session, GSASL_PASSWORD, "secret");
    bind_server(s, ssl, session);
    converse(ssl, session);
    gsasl_finish(session);
    gsasl_done(library);
    wait_for_end(fd);
    SSL_free(ssl);
}

/* --- the client --------------------------------------------------------------------------- */

static void on_event(void *arg, struct stream *stream, enum stream_event event)
{
    (void)stream;
    ((bool *)arg)[event] = true;
}

static void turn_until(struct stream *stream, const bool *seen, bool line)
{
    int64_t end_at = clock_monotonic() + 10000;

    while (!seen[STREAM_FAILED] && !seen[STREAM_TIMEOUT] && clock_monotonic() < end_at) {
        if (line ? evbuffer_search(stream_input(stream), "\n", 1, NULL).pos >= 0
                 : seen[STREAM_CONNECTED])
            return;
        (void)event_base_loop(shared.base, EVLOOP_ONCE);
    }
    fail_msg("the line is dead");
}

/* Whether both sides are content. */
static bool talk(struct stream *stream, const bool *seen, struct sasl *sasl)
{
    char *line = NULL;
    const char *out;
    struct error err;
    bool good = sasl_step(sasl, NULL, 0, &out, &err);

    while (good && !sasl_complete(sasl)) {
        evbuffer_add_printf(stream_output(stream), "%s\n", out);
        turn_until(stream, seen, true);
        line = evbuffer_readln(stream_input(stream), NULL, EVBUFFER_EOL_LF);
        good = line[0] != '!' && sasl_step(sasl, line, strlen(line), &out, &err);
        free(line);
    }
    return good;
}

static bool logs_in(int version, bool stranger)
{
    struct server s = {.script = script_scram,
                       .cert = &shared.good,
                       .max_version = version,
                       .amount = stranger ? 1 : 0};
    bool seen[STREAM_EVENTS] = {false};
    struct sasl_binding binding;
    struct error err = {0};
    struct sasl_login login = {.user = "tim",
                               .secret = "secret",
                               .service = "pop",
                               .host = "localhost",
                               .binding = &binding};

    server_start(&s);
    struct stream_peer peer = {
        .host = "localhost", .port = s.port, .tls = true, .connect_timeout = 5000, .timeout = 5000};
    struct stream *stream = stream_connect(shared.ctx, &peer, on_event, seen);
    turn_until(stream, seen, false);
    assert_true(
        stream_binding(stream, &binding.exporter, binding.data, sizeof binding.data, &binding.len));
    assert_int_equal(binding.exporter, version == TLS1_3_VERSION);
    struct sasl *sasl = sasl_new(SASL_SCRAM_SHA_256_PLUS, &login, &err);
    assert_non_null(sasl);
    bool good = talk(stream, seen, sasl);
    sasl_free(sasl);
    stream_free(stream);
    (void)event_base_loop(shared.base, EVLOOP_NONBLOCK); /* libevent closes in its next turn */
    server_stop(&s);
    return good;
}

static void test_bound(void **state)
{
    (void)state;
    assert_true(logs_in(TLS1_2_VERSION, false));
    assert_true(logs_in(TLS1_3_VERSION, false));
}

static void test_somebody_in_between(void **state)
{
    (void)state;
    assert_false(logs_in(TLS1_2_VERSION, true));
    assert_false(logs_in(TLS1_3_VERSION, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bound),
        cmocka_unit_test(test_somebody_in_between),
    };
    return cmocka_run_group_tests_name("binding", tests, make_shared, free_shared);
}
