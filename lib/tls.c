/* Certificates and sessions.
 *
 * Promises: no connection passes tls_accept that would not have passed a full verification with
 * the settings of its own account; a session is offered only where host, port, CA file (with its
 * contents) and pin are those it was made with, and while the certificate is valid. */
#include "lib/tls.h"
#include "lib/clock.h"
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

enum { SESSIONS_MAX = 512 };
#define SESSION_AGE (12 * CLOCK_HOUR)

/* A session and what it was made with. */
struct kept {
    char *key;
    SSL_SESSION *session;
    int64_t made, used; /* monotonic */
};

struct tls_context {
    SSL_CTX *ssl;
    struct kept kept[SESSIONS_MAX];
    size_t count;
};

struct tls {
    struct tls_context *ctx;
    SSL *ssl;
    char *host, *key;
    bool pinned;
    unsigned char pin[TLS_PIN_SIZE];
    bool offered;  /* a session was */
    bool accepted; /* by tls_accept */
    X509 *refused; /* the certificate, when the verification failed */
};

/* --- pins --------------------------------------------------------------------------------- */

static bool key_hash(X509 *cert, unsigned char hash[static TLS_PIN_SIZE])
{
    unsigned char *der = NULL;
    int len = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(cert), &der);
    bool ok = len > 0 && EVP_Digest(der, (size_t)len, hash, NULL, EVP_sha256(), NULL) == 1;
    OPENSSL_free(der);
    return ok;
}

static bool pin_matches(const struct tls *tls, X509 *cert)
{
    unsigned char hash[EVP_MAX_MD_SIZE];
    if (cert == NULL)
        return false;
    if (key_hash(cert, hash) && memcmp(hash, tls->pin, TLS_PIN_SIZE) == 0)
        return true;
    return X509_digest(cert, EVP_sha256(), hash, NULL) == 1 &&
           memcmp(hash, tls->pin, TLS_PIN_SIZE) == 0;
}

/* --- sessions ----------------------------------------------------------------------------- */

static void drop_kept(struct tls_context *ctx, size_t at)
{
    free(ctx->kept[at].key);
    SSL_SESSION_free(ctx->kept[at].session);
    ctx->kept[at] = ctx->kept[--ctx->count];
}

static struct kept *find_kept(struct tls_context *ctx, const char *key)
{
    for (size_t i = 0; i < ctx->count; i++)
        if (strcmp(ctx->kept[i].key, key) == 0)
            return &ctx->kept[i];
    return NULL;
}

static void forget(struct tls *tls)
{
    struct kept *kept = find_kept(tls->ctx, tls->key);
    if (kept != NULL)
        drop_kept(tls->ctx, (size_t)(kept - tls->ctx->kept));
}

static size_t least_used(const struct tls_context *ctx)
{
    size_t least = 0;
    for (size_t i = 1; i < ctx->count; i++)
        if (ctx->kept[i].used < ctx->kept[least].used)
            least = i;
    return least;
}

/* OpenSSL has a session for us; returning 1 keeps its reference. */
static int on_session(SSL *ssl, SSL_SESSION *session)
{
    struct tls *tls = SSL_get_app_data(ssl);
    if (tls == NULL)
        return 0;
    forget(tls);
    if (tls->ctx->count == SESSIONS_MAX)
        drop_kept(tls->ctx, least_used(tls->ctx));
    int64_t now = clock_monotonic();
    char *key = strdup(tls->key);
    if (key == NULL)
        abort();
    tls->ctx->kept[tls->ctx->count++] =
        (struct kept){.key = key, .session = session, .made = now, .used = now};
    return 1;
}

static bool still_good(const struct kept *kept)
{
    const X509 *cert = SSL_SESSION_get0_peer((SSL_SESSION *)kept->session);
    return SSL_SESSION_is_resumable(kept->session) &&
           clock_monotonic() - kept->made < SESSION_AGE && cert != NULL &&
           X509_cmp_current_time(X509_get0_notAfter(cert)) > 0;
}

static void offer_session(struct tls *tls)
{
    struct kept *kept = find_kept(tls->ctx, tls->key);
    if (kept == NULL)
        return;
    if (!still_good(kept)) {
        forget(tls);
        return;
    }
    kept->used = clock_monotonic();
    tls->offered = SSL_set_session(tls->ssl, kept->session) == 1;
}

/* --- verification ------------------------------------------------------------------------- */

/* OpenSSL's verdict on one certificate of the chain; depth 0, the server's own, comes last. What is
 * written before the handshake is done must not go to another key than the pinned one, so the pin
 * is looked at here; tls_accept sees resumed sessions too. */
static int on_verdict(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls *tls = SSL_get_app_data(ssl);
    X509 *leaf = X509_STORE_CTX_get0_cert(store);
    if (tls == NULL)
        return 0;
    bool pinned_one = tls->pinned && pin_matches(tls, leaf);
    if (ok && tls->pinned && !pinned_one && X509_STORE_CTX_get_error_depth(store) == 0) {
        X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
        ok = 0;
    } else if (X509_STORE_CTX_get_error(store) == X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT &&
               pinned_one) {
        X509_STORE_CTX_set_error(store, X509_V_OK);
        ok = 1;
    }
    if (!ok && tls->refused == NULL && leaf != NULL && X509_up_ref(leaf) == 1)
        tls->refused = leaf;
    return ok;
}

static bool is_address(const char *host)
{
    unsigned char buf[sizeof(struct in6_addr)];
    return inet_pton(AF_INET, host, buf) == 1 || inet_pton(AF_INET6, host, buf) == 1;
}

static bool set_name(SSL *ssl, const char *host)
{
    if (is_address(host))
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), host) == 1;
    SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return SSL_set_tlsext_host_name(ssl, host) == 1 && SSL_set1_host(ssl, host) == 1;
}

static bool set_authorities(SSL *ssl, const char *file, struct error *err)
{
    X509_STORE *store = X509_STORE_new();
    if (store == NULL)
        abort();
    if (X509_STORE_load_file(store, file) != 1) {
        X509_STORE_free(store);
        ERR_clear_error();
        return error_set(err, ERROR_PERMANENT,
                         "TLS: no certificates can be read from the CA file %s", file);
    }
    return SSL_set0_verify_cert_store(ssl, store) == 1 ||
           error_set(err, ERROR_PERMANENT, "TLS: the CA file %s can't be used", file);
}

/* --- contexts and connections ------------------------------------------------------------- */

struct tls_context *tls_context_new(struct error *err)
{
    struct tls_context *ctx = calloc(1, sizeof *ctx);
    if (ctx == NULL)
        abort();
    ctx->ssl = SSL_CTX_new(TLS_client_method());
    if (ctx->ssl == NULL || SSL_CTX_set_min_proto_version(ctx->ssl, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_default_verify_paths(ctx->ssl) != 1) {
        (void)error_set(err, ERROR_PERMANENT, "cannot set up TLS");
        tls_context_free(ctx);
        return NULL;
    }
    SSL_CTX_set_verify(ctx->ssl, SSL_VERIFY_PEER, on_verdict);
    SSL_CTX_set_mode(ctx->ssl, SSL_MODE_RELEASE_BUFFERS);
    SSL_CTX_set_session_cache_mode(ctx->ssl, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
    SSL_CTX_sess_set_new_cb(ctx->ssl, on_session);
    return ctx;
}

void tls_context_free(struct tls_context *ctx)
{
    if (ctx == NULL)
        return;
    while (ctx->count > 0)
        drop_kept(ctx, ctx->count - 1);
    SSL_CTX_free(ctx->ssl);
    free(ctx);
}

/* All that a verification depends on. A CA file that was changed is another one. */
static char *session_key(const struct tls_wishes *wishes)
{
    struct stat st = {0};
    const char *ca = wishes->ca != NULL ? wishes->ca : "";
    char *key;
    if (ca[0] != '\0')
        (void)stat(ca, &st);
    if (asprintf(&key, "%s\n%d\n%s\n%s\n%llu %lld %lld.%09ld", wishes->host, wishes->port,
                 wishes->pin != NULL ? wishes->pin : "", ca, (unsigned long long)st.st_ino,
                 (long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec) < 0)
        abort();
    return key;
}

static bool set_up(struct tls *tls, const struct tls_wishes *wishes, struct error *err)
{
    tls->pinned = wishes->pin != NULL && wishes->pin[0] != '\0';
    if (tls->pinned && !tls_pin_parse(wishes->pin, tls->pin))
        return error_set(err, ERROR_PERMANENT, "TLS: the pin is not sha256:...");
    if (!set_name(tls->ssl, tls->host))
        return error_set(err, ERROR_PERMANENT, "TLS: %s can't be a host name", tls->host);
    if (wishes->ca != NULL && wishes->ca[0] != '\0' && !set_authorities(tls->ssl, wishes->ca, err))
        return false;
    offer_session(tls);
    return true;
}

struct tls *tls_new(struct tls_context *ctx, const struct tls_wishes *wishes, struct error *err)
{
    struct tls *tls = calloc(1, sizeof *tls);
    if (tls == NULL)
        abort();
    *tls = (struct tls){.ctx = ctx,
                        .ssl = SSL_new(ctx->ssl),
                        .host = strdup(wishes->host),
                        .key = session_key(wishes)};
    if (tls->ssl == NULL || tls->host == NULL)
        abort();
    SSL_set_app_data(tls->ssl, tls);
    if (set_up(tls, wishes, err))
        return tls;
    SSL *ssl = tls->ssl;
    tls_free(tls, false);
    SSL_free(ssl);
    return NULL;
}

void tls_free(struct tls *tls, bool orderly)
{
    if (tls == NULL)
        return;
    SSL_set_app_data(tls->ssl, NULL);
    /* Without a shutdown OpenSSL takes the session for broken, and would not resume it. */
    if (orderly && SSL_shutdown(tls->ssl) < 0)
        SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN);
    ERR_clear_error();
    X509_free(tls->refused);
    free(tls->host);
    free(tls->key);
    free(tls);
}

SSL *tls_ssl(const struct tls *tls)
{
    return tls->ssl;
}

bool tls_accept(struct tls *tls, struct error *err)
{
    X509 *cert = SSL_get0_peer_certificate(tls->ssl);
    if (cert == NULL || SSL_get_verify_result(tls->ssl) != X509_V_OK) {
        forget(tls);
        return error_set(err, ERROR_PERMANENT, "TLS: %s has no certificate that was verified",
                         tls->host);
    }
    tls->accepted = !tls->pinned || pin_matches(tls, cert);
    if (tls->accepted)
        return true;
    forget(tls);
    return error_set(err, ERROR_PERMANENT,
                     "TLS: the certificate of %s was refused: its key is not the pinned one",
                     tls->host);
}

bool tls_binding(const struct tls *tls, bool *exporter, unsigned char *data, size_t size,
                 size_t *len)
{
    static const char label[] = "EXPORTER-Channel-Binding";
    enum { EXPORTED = 32 };
    SSL *ssl = tls->ssl;
    *exporter = SSL_version(ssl) >= TLS1_3_VERSION;
    if (*exporter) {
        *len = EXPORTED;
        return size >= EXPORTED && SSL_export_keying_material(ssl, data, EXPORTED, label,
                                                              sizeof label - 1, NULL, 0, 0) == 1;
    }
    if (SSL_get_extms_support(ssl) != 1)
        return false;
    /* The first Finished message of the handshake: the server's when a session is resumed. */
    *len = SSL_session_reused(ssl) ? SSL_get_peer_finished(ssl, data, size)
                                   : SSL_get_finished(ssl, data, size);
    return *len > 0 && *len <= size;
}

/* --- words -------------------------------------------------------------------------------- */

static int64_t from_asn1(const ASN1_TIME *when)
{
    struct tm tm = {0};
    return ASN1_TIME_to_tm(when, &tm) == 1 ? (int64_t)timegm(&tm) * CLOCK_SECOND : 0;
}

static void name_words(const X509_NAME *name, char *buf, size_t size)
{
    BIO *bio = BIO_new(BIO_s_mem());
    char *text;
    if (bio == NULL)
        abort();
    X509_NAME_print_ex(bio, name, 0, XN_FLAG_ONELINE & ~ASN1_STRFLGS_ESC_MSB);
    long len = BIO_get_mem_data(bio, &text);
    (void)snprintf(buf, size, "%.*s", (int)(len > 0 ? len : 0), text);
    BIO_free(bio);
}

static int one_name(const GENERAL_NAME *name, char *buf, size_t size)
{
    if (name->type == GEN_DNS)
        return snprintf(buf, size, "%.*s", ASN1_STRING_length(name->d.dNSName),
                        (const char *)ASN1_STRING_get0_data(name->d.dNSName));
    int len = name->type == GEN_IPADD ? ASN1_STRING_length(name->d.iPAddress) : 0;
    char text[INET6_ADDRSTRLEN];
    if (len != 4 && len != 16)
        return 0;
    return snprintf(buf, size, "%s",
                    inet_ntop(len == 4 ? AF_INET : AF_INET6,
                              ASN1_STRING_get0_data(name->d.iPAddress), text, sizeof text));
}

/* Host names and addresses that the certificate is for, as many as there is room for. */
static void host_names(X509 *cert, char *buf, size_t size)
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    size_t at = 0;
    buf[0] = '\0';
    for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
        char text[256];
        int len = one_name(sk_GENERAL_NAME_value(names, i), text, sizeof text);
        if (len > 0 && len < (int)sizeof text && at + (size_t)len + 3 < size)
            at += (size_t)snprintf(buf + at, size - at, "%s%s", at > 0 ? ", " : "", text);
    }
    GENERAL_NAMES_free(names);
}

static void describe(X509 *cert, struct tls_facts *facts)
{
    unsigned char hash[TLS_PIN_SIZE];
    name_words(X509_get_subject_name(cert), facts->subject, sizeof facts->subject);
    name_words(X509_get_issuer_name(cert), facts->issuer, sizeof facts->issuer);
    host_names(cert, facts->names, sizeof facts->names);
    facts->begins = from_asn1(X509_get0_notBefore(cert));
    facts->ends = from_asn1(X509_get0_notAfter(cert));
    if (key_hash(cert, hash))
        (void)tls_pin_text(hash, facts->pin);
}

bool tls_describe(const struct tls *tls, struct tls_facts *facts)
{
    X509 *cert = tls->refused != NULL ? tls->refused : SSL_get0_peer_certificate(tls->ssl);
    if (cert == NULL)
        return false;
    *facts = (struct tls_facts){.resumed = SSL_session_reused(tls->ssl) == 1};
    describe(cert, facts);
    if (tls->refused == NULL) {
        const char *cipher = SSL_get_cipher_name(tls->ssl);
        (void)snprintf(facts->version, sizeof facts->version, "%s", SSL_get_version(tls->ssl));
        (void)snprintf(facts->cipher, sizeof facts->cipher, "%s", cipher != NULL ? cipher : "");
    }
    ERR_clear_error();
    return true;
}

/* What is wrong with the certificate, to stand behind "was refused: ". */
static void verdict_words(long verdict, const struct tls_facts *facts, char *buf, size_t size)
{
    char when[CLOCK_TEXT_SIZE];
    switch (verdict) {
    case X509_V_ERR_HOSTNAME_MISMATCH:
    case X509_V_ERR_IP_ADDRESS_MISMATCH:
        (void)snprintf(buf, size, "it is for another host: %s",
                       facts->names[0] != '\0' ? facts->names : facts->subject);
        break;
    case X509_V_ERR_CERT_HAS_EXPIRED:
        (void)snprintf(buf, size, "it has expired (valid until %s)", clock_text(facts->ends, when));
        break;
    case X509_V_ERR_CERT_NOT_YET_VALID:
        (void)snprintf(buf, size, "it is not yet valid (from %s on); is the clock right?",
                       clock_text(facts->begins, when));
        break;
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        (void)snprintf(buf, size, "it is self-signed, and not pinned");
        break;
    case X509_V_ERR_APPLICATION_VERIFICATION:
        (void)snprintf(buf, size, "its key is not the pinned one");
        break;
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
        (void)snprintf(buf, size, "its authority is not trusted here (%.120s)", facts->issuer);
        break;
    default:
        (void)snprintf(buf, size, "%s", X509_verify_cert_error_string(verdict));
    }
}

/* OpenSSL's reasons that say little to people. */
static const struct {
    int reason;
    const char *words;
} reasons[] = {
    {SSL_R_UNEXPECTED_EOF_WHILE_READING, "cut off without close_notify"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "the server offers no TLS 1.2 or later"},
    {SSL_R_TLSV1_ALERT_PROTOCOL_VERSION, "the server offers no TLS 1.2 or later"},
    {SSL_R_WRONG_VERSION_NUMBER, "what the server sent is not TLS; is this the right port, and "
                                 "the right kind of TLS for it?"},
};

char *tls_why(struct tls *tls, unsigned long code, char *buf, size_t size)
{
    long verdict = SSL_get_verify_result(tls->ssl);
    struct tls_facts facts;
    char words[400];
    buf[0] = '\0';
    if (verdict != X509_V_OK && tls->refused != NULL && tls_describe(tls, &facts)) {
        verdict_words(verdict, &facts, words, sizeof words);
        (void)snprintf(buf, size, "TLS: the certificate of %s was refused: %s", tls->host, words);
        return buf;
    }
    if (code == 0)
        return buf;
    if (tls->offered && !tls->accepted)
        forget(tls); /* next time without it */
    const char *text = ERR_reason_error_string(code);
    for (size_t i = 0; i < sizeof reasons / sizeof reasons[0]; i++)
        if (ERR_GET_REASON(code) == reasons[i].reason)
            text = reasons[i].words;
    if (ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING && !tls->accepted)
        text = "the server closed the connection during the handshake";
    (void)snprintf(buf, size, "TLS: %s", text != NULL ? text : "failed");
    return buf;
}
