/* Preloaded into Debian 12's OpenSMTPD 6.8, whose processes pass signatures about in a way that
 * OpenSSL 3 has no room for, so that every TLS handshake fails (OpenSMTPD#1171). The process which
 * speaks TLS gets the private key itself; all the rest is OpenSMTPD's. */
#include <dlfcn.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <stdlib.h>

static EVP_PKEY *key;

/* Before it gives up its rights. */
__attribute__((constructor)) static void load(void)
{
    const char *path = getenv("OPENSMTPD_KEY");
    FILE *file = path != NULL ? fopen(path, "r") : NULL;
    if (file == NULL)
        return;
    key = PEM_read_PrivateKey(file, NULL, NULL, NULL);
    fclose(file);
}

int SSL_CTX_use_PrivateKey(SSL_CTX *ctx, EVP_PKEY *pretended)
{
    int (*use)(SSL_CTX *, EVP_PKEY *) =
        (int (*)(SSL_CTX *, EVP_PKEY *))dlsym(RTLD_NEXT, "SSL_CTX_use_PrivateKey");
    return use(ctx, key != NULL ? key : pretended);
}
