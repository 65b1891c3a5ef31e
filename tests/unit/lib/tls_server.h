/* A server in a thread of its own that takes one connection after the other and does what a script
 * function says, and certificates made on the spot. */
#ifndef TESTS_UNIT_TLS_SERVER_H
#define TESTS_UNIT_TLS_SERVER_H

#include "tests/unit/scratch.h"
#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>

/* --- certificates --- */

struct cert {
    X509 *x509;
    EVP_PKEY *key;
};

static inline void cert_extend(X509 *x509, X509 *issuer, int nid, const char *value)
{
    X509V3_CTX ctx;
    X509V3_set_ctx(&ctx, issuer, x509, NULL, NULL, 0);
    X509_EXTENSION *ext = X509V3_EXT_conf_nid(NULL, &ctx, nid, value);
    (void)X509_add_ext(x509, ext, -1);
    X509_EXTENSION_free(ext);
}

/* Signed by ca, or by itself where that is NULL; names: "DNS:localhost,IP:127.0.0.1" or NULL for a
 * CA; good until `days` from now. */
static inline struct cert cert_make(const struct cert *ca, const char *names, long days)
{
    static long serial;
    struct cert c = {.x509 = X509_new(), .key = EVP_EC_gen("P-256")};
    (void)X509_set_version(c.x509, 2);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(c.x509), ++serial);
    (void)X509_gmtime_adj(X509_getm_notBefore(c.x509), -2 * 86400L);
    (void)X509_gmtime_adj(X509_getm_notAfter(c.x509), days * 86400L);
    (void)X509_set_pubkey(c.x509, c.key);
    char subject[32];
    (void)snprintf(subject, sizeof subject, "unit test %ld", serial);
    (void)X509_NAME_add_entry_by_txt(X509_get_subject_name(c.x509), "CN", MBSTRING_ASC,
                                     (const unsigned char *)subject, -1, -1, 0);
    X509 *issuer = ca != NULL ? ca->x509 : c.x509;
    (void)X509_set_issuer_name(c.x509, X509_get_subject_name(issuer));
    cert_extend(c.x509, issuer, NID_basic_constraints,
                names == NULL ? "critical,CA:TRUE" : "CA:FALSE");
    if (names != NULL)
        cert_extend(c.x509, issuer, NID_subject_alt_name, names);
    if (X509_sign(c.x509, ca != NULL ? ca->key : c.key, EVP_sha256()) == 0)
        abort();
    return c;
}

static inline void cert_free(struct cert *c)
{
    X509_free(c->x509);
    EVP_PKEY_free(c->key);
}

static inline void cert_write(const struct cert *c, const char *path)
{
    FILE *out = fopen(path, "w");
    if (out == NULL || PEM_write_X509(out, c->x509) != 1 || fclose(out) != 0)
        abort();
}

/* --- server --- */

struct server {
    int listener, port;
    pthread_t thread;
    void (*script)(struct server *, int fd);
    const struct cert *cert; /* for server_tls */
    int max_version;         /* 0: as OpenSSL likes */
    size_t amount;           /* for scripts */
    volatile bool stop;
};

static inline SSL *server_tls(struct server *s, int fd)
{
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_security_level(ctx, 0);
    (void)SSL_CTX_use_certificate(ctx, s->cert->x509);
    (void)SSL_CTX_use_PrivateKey(ctx, s->cert->key);
    if (s->max_version != 0) {
        (void)SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
        (void)SSL_CTX_set_max_proto_version(ctx, s->max_version);
    }
    SSL *ssl = SSL_new(ctx);
    SSL_CTX_free(ctx);
    (void)SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1)
        return ssl;
    SSL_free(ssl);
    return NULL;
}

static inline void *server_run(void *arg)
{
    struct server *s = arg;
    for (int fd; (fd = accept(s->listener, NULL, NULL)) >= 0;) {
        struct timeval limit = {10, 0}; /* no test hangs for ever */
        (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
        (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
        s->script(s, fd);
        (void)close(fd);
    }
    return NULL;
}

static inline int server_listen(int *port, int backlog)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, len) < 0 || listen(fd, backlog) < 0 ||
        getsockname(fd, (struct sockaddr *)&address, &len) < 0)
        abort();
    *port = ntohs(address.sin_port);
    return fd;
}

static inline void server_start(struct server *s)
{
    s->listener = server_listen(&s->port, 16);
    if (pthread_create(&s->thread, NULL, server_run, s) != 0)
        abort();
}

static inline void server_stop(struct server *s)
{
    s->stop = true;
    (void)shutdown(s->listener, SHUT_RDWR);
    (void)pthread_join(s->thread, NULL);
    (void)close(s->listener);
}

static inline void send_all(int fd, const char *bytes, size_t n)
{
    for (ssize_t done; n > 0; bytes += done, n -= (size_t)done)
        if ((done = send(fd, bytes, n, MSG_NOSIGNAL)) <= 0)
            return;
}

static inline void say(int fd, const char *text)
{
    send_all(fd, text, strlen(text));
}

/* Waits until the other side closes. */
static inline void wait_for_end(int fd)
{
    char buf[4096];
    while (recv(fd, buf, sizeof buf, 0) > 0)
        ;
}

/* Closes with a reset. */
static inline void reset(int fd)
{
    struct linger now = {1, 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

#endif
