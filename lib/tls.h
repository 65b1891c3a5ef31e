/* What lib/stream.h knows of certificates: which one is accepted, who it is from, and sessions that
 * are resumed.
 *
 * TLS is 1.2 or later. The chain must lead to an authority of the system's store, or of the
 * peer's CA file and then of no other, and the certificate must be for the peer's name. A pin is
 * demanded in addition: the SHA-256 of the certificate's public key (SubjectPublicKeyInfo, as in
 * RFC 7469 section 2.4) or of the certificate itself. One thing it makes up for: with a pin
 * that matches, a certificate signed by itself needs no authority; its name and dates still count.
 * Whatever can't be checked is refused. */
#ifndef LIB_TLS_H
#define LIB_TLS_H

#include "lib/error.h"
#include <openssl/ssl.h>
#include <stddef.h>
#include <stdint.h>

enum { TLS_PIN_SIZE = 32, TLS_PIN_TEXT = sizeof "sha256:" + 44 };

/* "sha256:" and 64 hexadecimal digits (colons between them are passed over), or "sha256:" or
 * "sha256//" and base64. pin is untouched on failure. */
MUST_CHECK bool tls_pin_parse(const char *text, unsigned char pin[static TLS_PIN_SIZE]);
/* "sha256:" and base64, which fits a line; returns buf. */
char *tls_pin_text(const unsigned char pin[static TLS_PIN_SIZE], char buf[static TLS_PIN_TEXT]);

/* A connection, or a certificate that was refused, for people. Texts are the peer's: escape them.
 */
struct tls_facts {
    char version[16]; /* "TLSv1.3"; "" while there is no connection */
    char cipher[64];
    bool resumed;
    char subject[256], issuer[256];
    char names[256];        /* host names that it is for, ", " between */
    int64_t begins, ends;   /* ms since the epoch */
    char pin[TLS_PIN_TEXT]; /* of its public key: what a pin would be */
};

struct tls_context; /* what all connections share: settings, and sessions to be resumed */
MUST_CHECK struct tls_context *tls_context_new(struct error *err);
void tls_context_free(struct tls_context *ctx);

struct tls_wishes {
    const char *host;
    int port;
    const char *ca;  /* file; NULL or "": the system's store */
    const char *pin; /* NULL or "": none */
};

/* One connection's checks. It refers to the SSL, which belongs to whoever carries the bytes. */
struct tls;
MUST_CHECK struct tls *tls_new(struct tls_context *ctx, const struct tls_wishes *wishes,
                               struct error *err);
/* Call it before the SSL is freed. `orderly`: the handshake was completed; the peer is told of the
 * end, and the session stays good for being resumed. */
void tls_free(struct tls *tls, bool orderly);

/* The SSL of the connection; to be freed by the caller, once. */
SSL *tls_ssl(const struct tls *tls);

/* To be called when the handshake is done, before a byte is sent: checks what the handshake itself
 * does not, the pin. */
MUST_CHECK bool tls_accept(struct tls *tls, struct error *err);

/* Why a handshake or a connection failed, from OpenSSL's error code (0: unknown); "" if TLS is not
 * to blame. Returns buf. */
char *tls_why(struct tls *tls, unsigned long code, char *buf, size_t size);

/* What ties an authentication to this connection (channel binding): tls-exporter (RFC 9266), or
 * tls-unique before TLS 1.3 (RFC 5929), and then only with the extended master secret (RFC 7627).
 * Sets *len, at most `size`; false when there is none to be had. */
MUST_CHECK bool tls_binding(const struct tls *tls, bool *exporter, unsigned char *data, size_t size,
                            size_t *len);

/* False when no certificate was seen. */
MUST_CHECK bool tls_describe(const struct tls *tls, struct tls_facts *facts);

#endif
