/* bufferevents carry the bytes; this file turns their callbacks into the seven events, and keeps
 * the rules: verified TLS, one end only, nothing called from within stream_connect, and a stream
 * that may be freed in its own callback. The addresses of a host are tried one after the other:
 * many a server has an IPv6 address that cannot be reached from here. */
#include "lib/stream.h"
#include "lib/clock.h"
#include "lib/lookup.h"
#include <arpa/inet.h>
#include <assert.h>
#include <errno.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_ssl.h>
#include <event2/dns.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#define READ_LIMIT (256 * 1024) /* read ahead at most, while the owner does not take it */

struct stream_context {
    struct event_base *base;
    struct evdns_base *dns;
    struct tls_context *tls;
};

enum stream_state { STATE_CONNECTING, STATE_HANDSHAKE, STATE_UP, STATE_OVER };

enum { LAST_WORDS_MAX = 65536 }; /* octets */

struct stream {
    struct stream_context *ctx;
    struct bufferevent *bev;
    struct event *deadline; /* of connecting and handshake */
    stream_fn *fn;
    void *arg;
    char *host, *ca, *pin;
    int port;
    struct tls *tls; /* NULL before the handshake begins */
    char address[sizeof((struct sockaddr_un *)NULL)->sun_path];
    struct lookup *lookup;
    struct evutil_addrinfo *addresses, *next; /* next: the first that was not tried yet */
    int64_t give_up_at;                       /* when connect_timeout ends */
    size_t low_water;
    bool paused;
    bool tls_at_once;
    bool upgrading; /* the handshake was begun by stream_secure */
    bool secure;
    bool in_callback, freed;
    enum stream_state state;
    int64_t connect_timeout, timeout;
    char error[480];
};

static const char *const event_names[] = {
    [STREAM_CONNECTED] = "connected", [STREAM_SECURED] = "secured", [STREAM_DATA] = "data",
    [STREAM_DRAINED] = "drained",     [STREAM_CLOSED] = "closed",   [STREAM_FAILED] = "failed",
    [STREAM_TIMEOUT] = "timeout",
};
static_assert(sizeof event_names / sizeof event_names[0] == STREAM_EVENTS, "a name for each event");

const char *stream_event_name(enum stream_event event)
{
    return event_names[event];
}

/* --- the shared part --- */

struct stream_context *stream_context_new(struct event_base *base, struct error *err)
{
    struct stream_context *ctx = calloc(1, sizeof *ctx);
    if (ctx == NULL)
        abort();
    ctx->base = base;
    ctx->dns =
        evdns_base_new(base, EVDNS_BASE_INITIALIZE_NAMESERVERS | EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (ctx->dns == NULL) /* no resolv.conf: addresses and /etc/hosts still work */
        ctx->dns = evdns_base_new(base, EVDNS_BASE_DISABLE_WHEN_INACTIVE);
    if (ctx->dns != NULL)
        (void)evdns_base_load_hosts(ctx->dns, "/etc/hosts");
    bool ok = ctx->dns != NULL || error_set(err, ERROR_PERMANENT, "cannot set up DNS");
    if (ok && (ctx->tls = tls_context_new(err)) != NULL)
        return ctx;
    stream_context_free(ctx);
    return NULL;
}

void stream_context_free(struct stream_context *ctx)
{
    if (ctx == NULL)
        return;
    if (ctx->dns != NULL)
        evdns_base_free(ctx->dns, 0);
    tls_context_free(ctx->tls);
    free(ctx);
}

/* --- events to the owner --- */

static void forget_addresses(struct stream *s)
{
    if (s->addresses != NULL)
        evutil_freeaddrinfo(s->addresses);
    s->addresses = s->next = NULL;
}

static void really_free(struct stream *s)
{
    lookup_cancel(s->lookup);
    forget_addresses(s);
    tls_free(s->tls, s->secure);
    if (s->bev != NULL)
        bufferevent_free(s->bev);
    event_free(s->deadline);
    free(s->pin);
    free(s->ca);
    free(s->host);
    free(s);
}

static void tell(struct stream *s, enum stream_event event)
{
    if (s->state == STATE_OVER || s->freed)
        return;
    if (event >= STREAM_CLOSED) {
        s->state = STATE_OVER;
        (void)evtimer_del(s->deadline);
        if (s->bev != NULL)
            (void)bufferevent_disable(s->bev, EV_READ | EV_WRITE);
    }
    bool outer = !s->in_callback;
    s->in_callback = true;
    s->fn(s->arg, s, event);
    if (!outer)
        return;
    s->in_callback = false;
    if (s->freed)
        really_free(s);
}

void stream_free(struct stream *s)
{
    if (s == NULL || s->freed)
        return;
    s->freed = true;
    if (!s->in_callback)
        really_free(s);
}

static void fail(struct stream *s, const char *what)
{
    (void)snprintf(s->error, sizeof s->error, "%s", what);
    tell(s, STREAM_FAILED);
}

/* --- bufferevent callbacks --- */

static void on_read(struct bufferevent *bev, void *arg)
{
    (void)bev;
    struct stream *s = arg;
    if (s->state == STATE_UP)
        tell(s, STREAM_DATA);
}

static void on_write(struct bufferevent *bev, void *arg)
{
    (void)bev;
    struct stream *s = arg;
    if (s->state == STATE_UP)
        tell(s, STREAM_DRAINED);
}

static void apply_timeout(struct stream *s)
{
    struct timeval wait = {s->timeout / 1000, s->timeout % 1000 * 1000};
    (void)bufferevent_set_timeouts(s->bev, &wait, &wait);
}

static void come_up(struct stream *s, enum stream_event event)
{
    s->state = STATE_UP;
    (void)evtimer_del(s->deadline);
    apply_timeout(s);
    tell(s, event);
}

static void start_deadline(struct stream *s, int64_t ms)
{
    struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    (void)evtimer_add(s->deadline, &wait);
}

static int64_t time_left(const struct stream *s)
{
    int64_t left = s->give_up_at - clock_monotonic();
    return left > 0 ? left : 1;
}

static void on_event(struct bufferevent *bev, short what, void *arg);

/* Puts bev in the place of the old bufferevent, which gives it its settings and what was already
 * written. */
static void adopt(struct stream *s, struct bufferevent *bev, short enabled)
{
    if (s->bev != NULL) {
        struct evbuffer *written = bufferevent_get_output(s->bev);
        (void)evbuffer_unfreeze(written, 1);
        (void)evbuffer_add_buffer(bufferevent_get_output(bev), written);
        bufferevent_free(s->bev);
    }
    s->bev = bev;
    bufferevent_setcb(bev, on_read, on_write, on_event, s);
    bufferevent_setwatermark(bev, EV_READ, 0, READ_LIMIT);
    bufferevent_setwatermark(bev, EV_WRITE, s->low_water, 0);
    (void)bufferevent_enable(bev, enabled);
    if (s->paused)
        (void)bufferevent_disable(bev, EV_READ);
}

/* Of a stream that begins with TLS nothing must go out before it: only connecting is left on. */
static void adopt_clear(struct stream *s)
{
    struct bufferevent *bev =
        bufferevent_socket_new(s->ctx->base, -1, BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (bev == NULL)
        abort();
    adopt(s, bev, s->tls_at_once ? 0 : EV_READ | EV_WRITE);
    if (s->tls_at_once)
        (void)bufferevent_disable(bev, EV_WRITE); /* it is on by default */
}

/* Puts TLS on the connected socket. The socket moves to a new bufferevent, which has the SSL. */
static bool start_handshake(struct stream *s, struct error *err)
{
    struct tls_wishes wishes = {.host = s->host, .port = s->port, .ca = s->ca, .pin = s->pin};
    struct tls *tls = tls_new(s->ctx->tls, &wishes, err);
    evutil_socket_t fd = bufferevent_getfd(s->bev);
    if (tls == NULL)
        return false;
    (void)bufferevent_setfd(s->bev, -1);
    struct bufferevent *bev =
        bufferevent_openssl_socket_new(s->ctx->base, fd, tls_ssl(tls), BUFFEREVENT_SSL_CONNECTING,
                                       BEV_OPT_CLOSE_ON_FREE | BEV_OPT_DEFER_CALLBACKS);
    if (bev == NULL)
        abort(); /* it fails for want of memory only */
    s->tls = tls;
    s->state = STATE_HANDSHAKE;
    adopt(s, bev, EV_READ | EV_WRITE);
    start_deadline(s, time_left(s));
    return true;
}

/* --- connecting --- */

/* A failure at once is reported through the (deferred) event callback as well. */
static void try_next(struct stream *s)
{
    struct evutil_addrinfo *address = s->next;
    int64_t left = 0;
    for (struct evutil_addrinfo *a = address; a != NULL; a = a->ai_next)
        left++;
    start_deadline(s, time_left(s) / left + 1); /* an equal share for each address */
    s->next = address->ai_next;
    (void)getnameinfo(address->ai_addr, (socklen_t)address->ai_addrlen, s->address,
                      sizeof s->address, NULL, 0, NI_NUMERICHOST);
    if (address != s->addresses)
        adopt_clear(s);
    if (bufferevent_socket_connect(s->bev, address->ai_addr, (int)address->ai_addrlen) < 0)
        bufferevent_trigger_event(s->bev, BEV_EVENT_ERROR, 0);
}

static void on_addresses(void *arg, int result, struct evutil_addrinfo *list)
{
    struct stream *s = arg;
    s->lookup = NULL;
    s->addresses = s->next = list;
    if (list != NULL) {
        try_next(s);
        return;
    }
    (void)snprintf(s->error, sizeof s->error, "%s: %s", s->host, evutil_gai_strerror(result));
    bufferevent_trigger_event(s->bev, BEV_EVENT_ERROR, 0);
}

/* A path. As with an address, a failure at once comes by the event callback, which is deferred and
 * remembers errno. */
static void connect_local(struct stream *s)
{
    struct sockaddr_un local = {.sun_family = AF_UNIX};
    (void)snprintf(local.sun_path, sizeof local.sun_path, "%s", s->host);
    (void)snprintf(s->address, sizeof s->address, "%s", s->host);
    bool fits = strlen(s->host) < sizeof local.sun_path;
    if (!fits)
        errno = ENAMETOOLONG;
    if (!fits || bufferevent_socket_connect(s->bev, (struct sockaddr *)&local, sizeof local) < 0)
        bufferevent_trigger_event(s->bev, BEV_EVENT_ERROR, 0);
}

static void on_connected(struct stream *s)
{
    struct error err;
    if (s->state == STATE_HANDSHAKE) {
        if (!tls_accept(s->tls, &err)) {
            fail(s, err.text);
            return;
        }
        s->secure = true;
        come_up(s, s->upgrading ? STREAM_SECURED : STREAM_CONNECTED);
        return;
    }
    forget_addresses(s);
    int on = 1;
    (void)setsockopt(bufferevent_getfd(s->bev), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!s->tls_at_once)
        come_up(s, STREAM_CONNECTED);
    else if (!start_handshake(s, &err))
        fail(s, err.text);
}

/* What the peer said before it broke off may still lie in the socket: libevent gives up at the
 * first write that fails, and reads no more. */
static void read_last_words(struct stream *s)
{
    struct evbuffer *input = stream_input(s);
    if (s->tls != NULL || s->state != STATE_UP)
        return;
    (void)evbuffer_unfreeze(input, 0);
    for (size_t room = LAST_WORDS_MAX; room > 0;) {
        int got = evbuffer_read(input, bufferevent_getfd(s->bev), (int)room);
        if (got <= 0)
            break;
        room -= (size_t)got;
    }
    (void)evbuffer_freeze(input, 0);
}

static void on_broken(struct stream *s)
{
    int code = EVUTIL_SOCKET_ERROR();
    read_last_words(s);
    char words[sizeof s->error] = "";
    if (s->error[0] != '\0') /* the lookup has said it */
        memcpy(words, s->error, sizeof words);
    else if (s->tls != NULL)
        (void)tls_why(s->tls, bufferevent_get_openssl_error(s->bev), words, sizeof words);
    if (words[0] == '\0')
        (void)snprintf(words, sizeof words, "%s",
                       code != 0 ? evutil_socket_error_to_string(code) : "connection lost");
    fail(s, words);
}

static void on_event(struct bufferevent *bev, short what, void *arg)
{
    (void)bev;
    struct stream *s = arg;
    if (what & BEV_EVENT_CONNECTED) {
        on_connected(s);
    } else if (s->state == STATE_CONNECTING && s->next != NULL) {
        try_next(s);
    } else if ((what & BEV_EVENT_TIMEOUT) && (what & BEV_EVENT_READING) &&
               evbuffer_get_length(stream_output(s)) > 0) {
        /* Bytes are on their way out: that is progress, and the write time-out watches over it. */
        (void)bufferevent_enable(s->bev, EV_READ);
    } else if (what & BEV_EVENT_TIMEOUT) {
        (void)snprintf(s->error, sizeof s->error, "no progress for %lld s",
                       (long long)(s->timeout / 1000));
        tell(s, STREAM_TIMEOUT);
    } else if (what & BEV_EVENT_ERROR) {
        on_broken(s);
    } else if (what & BEV_EVENT_EOF) {
        bool during_handshake = s->state != STATE_UP;
        (void)snprintf(s->error, sizeof s->error, "the server closed the connection%s",
                       during_handshake ? " during the handshake" : "");
        tell(s, during_handshake ? STREAM_FAILED : STREAM_CLOSED);
    }
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct stream *s = arg;
    if (s->state == STATE_CONNECTING && s->next != NULL) {
        try_next(s);
        return;
    }
    (void)snprintf(s->error, sizeof s->error, "no %s within %lld s",
                   s->state == STATE_HANDSHAKE ? "TLS handshake" : "connection",
                   (long long)(s->connect_timeout / 1000));
    tell(s, STREAM_TIMEOUT);
}

/* --- what the owner calls --- */

struct evdns_base *stream_context_dns(const struct stream_context *ctx)
{
    return ctx->dns;
}

struct stream *stream_connect(struct stream_context *ctx, const struct stream_peer *peer,
                              stream_fn *fn, void *arg)
{
    struct stream *s = calloc(1, sizeof *s);
    if (s == NULL)
        abort();
    *s = (struct stream){.ctx = ctx,
                         .fn = fn,
                         .arg = arg,
                         .host = strdup(peer->host),
                         .port = peer->port,
                         .ca = strdup(peer->ca != NULL ? peer->ca : ""),
                         .pin = strdup(peer->pin != NULL ? peer->pin : ""),
                         .tls_at_once = peer->tls,
                         .connect_timeout = peer->connect_timeout,
                         .timeout = peer->timeout};
    s->deadline = evtimer_new(ctx->base, on_deadline, s);
    if (s->host == NULL || s->ca == NULL || s->pin == NULL || s->deadline == NULL)
        abort();
    adopt_clear(s);
    s->give_up_at = clock_monotonic() + s->connect_timeout;
    start_deadline(s, s->connect_timeout);
    if (s->host[0] == '/')
        connect_local(s);
    else
        s->lookup = lookup_start(ctx->dns, s->host, peer->port, on_addresses, s);
    return s;
}

bool stream_secure(struct stream *s, struct error *err)
{
    if (s->state != STATE_UP || s->secure)
        return error_set(err, ERROR_PERMANENT, "TLS cannot begin in this state");
    if (evbuffer_get_length(stream_input(s)) > 0)
        return error_set(
            err, ERROR_PERMANENT,
            "the server sent bytes in clear behind its consent to TLS: somebody may be in between");
    if (evbuffer_get_length(stream_output(s)) > 0)
        return error_set(err, ERROR_PERMANENT, "TLS asked for while output is waiting");
    s->upgrading = true;
    s->give_up_at = clock_monotonic() + s->connect_timeout;
    return start_handshake(s, err);
}

bool stream_is_secure(const struct stream *s)
{
    return s->secure;
}

bool stream_binding(const struct stream *s, bool *exporter, unsigned char *data, size_t size,
                    size_t *len)
{
    return s->secure && tls_binding(s->tls, exporter, data, size, len);
}

bool stream_tls_facts(const struct stream *s, struct tls_facts *facts)
{
    return s->tls != NULL && tls_describe(s->tls, facts);
}

const char *stream_address(const struct stream *s)
{
    return s->address;
}

struct evbuffer *stream_input(struct stream *s)
{
    return bufferevent_get_input(s->bev);
}

struct evbuffer *stream_output(struct stream *s)
{
    return bufferevent_get_output(s->bev);
}

void stream_write(struct stream *s, const void *bytes, size_t n)
{
    if (s->state != STATE_OVER)
        (void)bufferevent_write(s->bev, bytes, n);
}

void stream_set_low_water(struct stream *s, size_t bytes)
{
    s->low_water = bytes;
    bufferevent_setwatermark(s->bev, EV_WRITE, bytes, 0);
}

void stream_set_timeout(struct stream *s, int64_t ms)
{
    s->timeout = ms;
    if (s->state == STATE_UP)
        apply_timeout(s);
}

void stream_pause(struct stream *s, bool pause)
{
    if (s->state == STATE_OVER)
        return;
    s->paused = pause;
    if (pause)
        (void)bufferevent_disable(s->bev, EV_READ);
    else if (s->state != STATE_CONNECTING || !s->tls_at_once)
        (void)bufferevent_enable(s->bev, EV_READ);
}

const char *stream_error(const struct stream *s)
{
    return s->error;
}
