/* A TCP connection (or one to a Unix socket), in clear or in TLS, on libevent. Seven events hide
 * sockets, DNS and OpenSSL from the protocol on top. A stream is non-blocking; its callback runs in
 * the loop, never from within stream_connect.
 *
 * TLS is version 1.2 or later, with SNI, and verifies chain and host name against the system's CA
 * store (SSL_CERT_FILE and SSL_CERT_DIR are honoured) or the peer's own CA file, and the peer's
 * pin; see lib/tls.h. A later connection with the same settings resumes the session. A stream cut
 * off without close_notify ends in STREAM_FAILED, so that a truncated message never passes for a
 * whole one. */
#ifndef LIB_STREAM_H
#define LIB_STREAM_H

#include "lib/error.h"
#include "lib/tls.h"
#include <event2/buffer.h>
#include <event2/event.h>
#include <stddef.h>
#include <stdint.h>

struct stream;
struct stream_context; /* what all streams of a process share: DNS, TLS settings */

enum stream_event {
    STREAM_CONNECTED, /* TCP is up; with stream_peer.tls also the handshake is done */
    STREAM_SECURED,   /* the handshake begun by stream_secure is done */
    STREAM_DATA,      /* stream_input has more */
    STREAM_DRAINED,   /* the output has fallen under its low-water mark */
    STREAM_CLOSED,    /* the peer closed in order; stream_input may still hold the last bytes */
    STREAM_FAILED,    /* reset, refused, no such host, TLS: stream_error tells; what the peer said
                       * before is in stream_input, as far as it could be read */
    STREAM_TIMEOUT,   /* connect took too long, or no byte moved for the progress time-out */
    STREAM_EVENTS
};
/* After CLOSED, FAILED and TIMEOUT no further event comes; the owner calls stream_free. */
typedef void stream_fn(void *arg, struct stream *stream, enum stream_event event);

struct stream_peer {
    const char *host;        /* name, address, or a Unix socket's path ("/..."); copied */
    int port;                /* of no meaning with a path */
    bool tls;                /* handshake at once (implicit TLS) */
    const char *ca, *pin;    /* as in struct tls_wishes; copied */
    int64_t connect_timeout; /* ms; TCP and handshake together */
    int64_t timeout;         /* ms without progress, once connected */
};

MUST_CHECK struct stream_context *stream_context_new(struct event_base *base, struct error *err);
void stream_context_free(struct stream_context *ctx); /* after its last stream */
/* The resolver, lent: for libevent's HTTP client, which brings its own connections. */
struct evdns_base *stream_context_dns(const struct stream_context *ctx);

struct stream *stream_connect(struct stream_context *ctx, const struct stream_peer *peer,
                              stream_fn *fn, void *arg);
/* Closes. Safe within the callback; no event follows. Unwritten output is lost. */
void stream_free(struct stream *stream);

/* Begins TLS on a clear stream (STLS, STARTTLS). Fails when bytes are waiting in stream_input: they
 * came in clear and could be an attacker's (CVE-2021-22946 and its kin). SECURED or FAILED follows.
 */
MUST_CHECK bool stream_secure(struct stream *stream, struct error *err);
bool stream_is_secure(const struct stream *stream);
/* As tls_binding; false of a stream that isn't secure. */
MUST_CHECK bool stream_binding(const struct stream *stream, bool *exporter, unsigned char *data,
                               size_t size, size_t *len);
/* The TLS connection, or the certificate because of which there is none. False: no certificate was
 * seen. */
MUST_CHECK bool stream_tls_facts(const struct stream *stream, struct tls_facts *facts);
/* The address (or the path) that the connection goes to, or is being tried: "127.0.0.1"; "" when
 * none is known. */
const char *stream_address(const struct stream *stream);

struct evbuffer *stream_input(struct stream *stream);
struct evbuffer *stream_output(struct stream *stream);
void stream_write(struct stream *stream, const void *bytes, size_t n);
/* DRAINED comes when the output falls to `bytes` or below (0 by default). */
void stream_set_low_water(struct stream *stream, size_t bytes);
/* A new progress time-out in ms, for instance for the wait behind the final dot. */
void stream_set_timeout(struct stream *stream, int64_t ms);
/* Stops or resumes reading; while stopped, no DATA comes and the peer is slowed down by TCP. */
void stream_pause(struct stream *stream, bool pause);

/* What went wrong, for a person; valid until stream_free. */
const char *stream_error(const struct stream *stream);
const char *stream_event_name(enum stream_event event);

#endif
