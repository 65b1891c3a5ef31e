/* Sealed boxes. The key file holds one line of base64, the secret key; the public one follows from
 * it. */
#include "lib/secret.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BASE64      sodium_base64_VARIANT_ORIGINAL
#define KEY_TEXT    sodium_base64_ENCODED_LEN(crypto_box_SECRETKEYBYTES, BASE64)
#define PUBLIC_TEXT sodium_base64_ENCODED_LEN(crypto_box_PUBLICKEYBYTES, BASE64)

struct secret_key {
    unsigned char secret[crypto_box_SECRETKEYBYTES];
    unsigned char public[crypto_box_PUBLICKEYBYTES];
    char public_text[PUBLIC_TEXT];
};

static bool write_whole(int fd, const char *text, size_t n)
{
    return write(fd, text, n) == (ssize_t)n && fsync(fd) == 0;
}

/* Written beside its place, synced, and linked into it: a crash leaves no half key, and of two
 * makers one wins. */
static bool make_key_file(const char *state_dir, const char *path, struct error *err)
{
    unsigned char public[crypto_box_PUBLICKEYBYTES], secret[crypto_box_SECRETKEYBYTES];
    char text[KEY_TEXT + 1], fresh[PATH_MAX];
    if ((size_t)snprintf(fresh, sizeof fresh, "%s.%ld", path, (long)getpid()) >= sizeof fresh)
        return error_set(err, ERROR_USAGE, "%s: path too long", path);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        return error_errno(err, "cannot make the key %s", path);
    (void)crypto_box_keypair(public, secret);
    (void)sodium_bin2base64(text, sizeof text, secret, sizeof secret, BASE64);
    size_t len = strlen(text);
    text[len++] = '\n';
    bool ok = write_whole(fd, text, len) && (link(fresh, path) == 0 || errno == EEXIST);
    if (!ok)
        (void)error_errno(err, "cannot make the key %s", path);
    sodium_memzero(text, sizeof text);
    sodium_memzero(secret, sizeof secret);
    (void)close(fd);
    (void)unlink(fresh);
    int dir = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir >= 0) {
        (void)fsync(dir);
        (void)close(dir);
    }
    return ok;
}

static bool read_key(int fd, const char *path, struct secret_key *key, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_errno(err, "%s", path);
    if (!S_ISREG(st.st_mode) || (st.st_mode & 0077) != 0)
        return error_set(err, ERROR_PERMANENT,
                         "%s must be a file that only its owner may read: chmod 600 %s", path,
                         path);
    char text[KEY_TEXT + 1];
    ssize_t n = read(fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = '\0';
    size_t len = 0;
    bool ok = sodium_base642bin(key->secret, sizeof key->secret, text, strlen(text), "\n", &len,
                                NULL, BASE64) == 0 &&
              len == sizeof key->secret;
    sodium_memzero(text, sizeof text);
    return ok || error_set(err, ERROR_PERMANENT, "%s does not hold a key", path);
}

struct secret_key *secret_key_open(const char *state_dir, const char *name, struct error *err)
{
    char path[PATH_MAX - 16];
    if (sodium_init() < 0 ||
        (size_t)snprintf(path, sizeof path, "%s/%s.key", state_dir, name) >= sizeof path) {
        (void)error_set(err, ERROR_PERMANENT, "cannot use %s", state_dir);
        return NULL;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 && errno == ENOENT) {
        if (!make_key_file(state_dir, path, err))
            return NULL;
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    }
    if (fd < 0) {
        (void)error_errno(err, "%s", path);
        return NULL;
    }
    struct secret_key *key = sodium_malloc(sizeof *key);
    if (key == NULL || !read_key(fd, path, key, err)) {
        sodium_free(key);
        key = NULL;
    } else {
        (void)crypto_scalarmult_base(key->public, key->secret);
        (void)sodium_bin2base64(key->public_text, sizeof key->public_text, key->public,
                                sizeof key->public, BASE64);
    }
    (void)close(fd);
    return key;
}

void secret_key_free(struct secret_key *key)
{
    sodium_free(key);
}

const char *secret_key_public(const struct secret_key *key)
{
    return key->public_text;
}

/* Inside the seal: the account's name, a NUL, the secret. */
static unsigned char *pack(const char *account, const char *secret, size_t *len)
{
    size_t a = strlen(account) + 1, s = strlen(secret);
    unsigned char *plain = sodium_malloc(a + s);
    if (plain == NULL)
        return NULL;
    memcpy(plain, account, a);
    memcpy(plain + a, secret, s);
    *len = a + s;
    return plain;
}

char *secret_seal(const char *public_key, const char *account, const char *secret,
                  struct error *err)
{
    unsigned char public[crypto_box_PUBLICKEYBYTES];
    size_t key_len = 0, len = 0;
    if (sodium_init() < 0 ||
        sodium_base642bin(public, sizeof public, public_key, strlen(public_key), NULL, &key_len,
                          NULL, BASE64) != 0 ||
        key_len != sizeof public) {
        (void)error_set(err, ERROR_PERMANENT, "that is not a public key");
        return NULL;
    }
    if (secret[0] == '\0' || strlen(secret) > SECRET_MAX) {
        (void)error_set(err, ERROR_USAGE, "a password has 1 to %d bytes", SECRET_MAX);
        return NULL;
    }
    unsigned char *plain = pack(account, secret, &len);
    unsigned char *box = malloc(len + crypto_box_SEALBYTES);
    size_t text_size = sodium_base64_encoded_len(len + crypto_box_SEALBYTES, BASE64);
    char *text = malloc(text_size);
    if (plain == NULL || box == NULL || text == NULL) {
        (void)error_set(err, ERROR_TEMPORARY, "out of memory");
        free(text);
        text = NULL;
    } else {
        (void)crypto_box_seal(box, plain, len, public);
        (void)sodium_bin2base64(text, text_size, box, len + crypto_box_SEALBYTES, BASE64);
    }
    free(box);
    sodium_free(plain);
    return text;
}

char *secret_open(const struct secret_key *key, const char *account, const char *sealed,
                  struct error *err)
{
    size_t room = strlen(sealed), len = 0;
    size_t prefix = strlen(account) + 1;
    unsigned char *box = malloc(room + 1);
    unsigned char *plain = NULL;
    char *secret = NULL;
    bool ok = box != NULL &&
              sodium_base642bin(box, room, sealed, room, NULL, &len, NULL, BASE64) == 0 &&
              len >= crypto_box_SEALBYTES + prefix;
    if (ok) {
        plain = sodium_malloc(len - crypto_box_SEALBYTES);
        ok = plain != NULL &&
             crypto_box_seal_open(plain, box, len, key->public, key->secret) == 0 &&
             memcmp(plain, account, prefix) == 0;
    }
    if (ok) {
        size_t n = len - crypto_box_SEALBYTES - prefix;
        secret = sodium_malloc(n + 1);
        if (secret != NULL) {
            memcpy(secret, plain + prefix, n);
            secret[n] = '\0';
        }
    }
    if (secret == NULL)
        (void)error_set(
            err, ERROR_PERMANENT,
            "the sealed secret of %s does not open with this key: set the password again", account);
    sodium_free(plain);
    free(box);
    return secret;
}

void secret_wipe(char *secret)
{
    sodium_free(secret);
}
