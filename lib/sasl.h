/* SASL, the client's side (RFC 4422), without I/O: base64 in, base64 out. libgsasl does PLAIN,
 * LOGIN, CRAM-MD5, DIGEST-MD5 and SCRAM; NTLM is lib/ntlm (libgsasl's is NTLMv1 alone); the two
 * ways to show an OAuth 2 token are written here. */
#ifndef LIB_SASL_H
#define LIB_SASL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

enum {
    SASL_CHALLENGE_MAX = 8192, /* octets of a challenge, in base64 */
    /* Of SCRAM. They are counted in the loop, where all else waits meanwhile: about 45 ms for
     * SHA-256. Dovecot asks for 4096; RFC 7677 wants 4096 at least, and hopes for 15,000. */
    SASL_ITERATIONS_MAX = 40000,
    SASL_WORDS_MAX = 200,
    SASL_BINDING_MAX = 64,
};

enum sasl_mechanism {
    SASL_SCRAM_SHA_256_PLUS,
    SASL_SCRAM_SHA_1_PLUS,
    SASL_SCRAM_SHA_256,
    SASL_SCRAM_SHA_1,
    SASL_DIGEST_MD5,
    SASL_CRAM_MD5,
    SASL_NTLM,   /* NTLMv2 */
    SASL_NTLMV1, /* "NTLM" on the wire too */
    SASL_PLAIN,
    SASL_LOGIN,
    SASL_XOAUTH2,
    SASL_OAUTHBEARER,
    SASL_MECHANISMS,
};

/* The name on the wire. */
const char *sasl_name(enum sasl_mechanism mechanism);
/* Whether the client speaks first, so that an initial response can go with the command. */
bool sasl_client_first(enum sasl_mechanism mechanism);

/* What ties an exchange to the TLS connection it runs in (RFC 5929, 9266). */
struct sasl_binding {
    bool exporter; /* tls-exporter, as TLS 1.3 has it; else tls-unique */
    size_t len;
    unsigned char data[SASL_BINDING_MAX];
};

struct sasl_login {
    const char *user;
    const char *secret;  /* the password, or the token */
    const char *service; /* "pop" */
    const char *host;
    int port;
    /* Needed by the mechanisms in -PLUS, of no interest to the others; NULL: none. */
    const struct sasl_binding *binding;
};

struct sasl;

/* Copies what it is given; never NULL but on failure. */
MUST_CHECK struct sasl *sasl_new(enum sasl_mechanism mechanism, const struct sasl_login *login,
                                 struct error *err);
/* Wipes and frees; NULL is fine. */
void sasl_free(struct sasl *sasl);

/* Answers a challenge of len octets of base64 (NULL for the initial response of a mechanism in
 * which the client speaks first). *out is base64, "" when empty, and belongs to sasl until the next
 * step. False: the challenge makes no sense, or the server failed to prove itself; the exchange is
 * to be cancelled. */
MUST_CHECK bool sasl_step(struct sasl *sasl, const char *challenge, size_t len, const char **out,
                          struct error *err);

/* Whether the server's success may be believed: false while a mechanism in which the server proves
 * itself too (SCRAM, DIGEST-MD5) has not seen that proof, or while nothing was asked at all. */
bool sasl_complete(const struct sasl *sasl);

/* Whether anything that depends on the secret has been given out. */
bool sasl_secret_used(const struct sasl *sasl);

/* What the server said by a challenge instead of by an error (OAuth 2 does); "" for nothing. Bytes
 * are the server's. */
const char *sasl_words(const struct sasl *sasl);

#endif
