/* The relay's secret. Promises: it lies on the disk sealed, and in clear nowhere; a new one takes
 * the old one's place as a whole, and is durable before that is said. */
#include "relayd/login.h"

#include "lib/secret.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SEALED_MAX = 2 * SECRET_MAX + 1024 }; /* base64 of it, with name and seal */

struct login {
    const struct daemon *d;
    struct secret_key *key;
};

static const char *user_of(const struct login *login)
{
    return login->d->conf->relay.user;
}

static char *path_of(const struct login *login, const char *suffix, char path[static PATH_MAX])
{
    (void)snprintf(path, PATH_MAX, "%s/relayd.secret%s", login->d->conf->state_dir, suffix);
    return path;
}

struct login *login_open(const struct daemon *d, struct error *err)
{
    struct secret_key *key = secret_key_open(d->conf->state_dir, "relayd", err);
    if (!key)
        return NULL;
    struct login *login = calloc(1, sizeof *login);
    if (!login)
        abort();
    *login = (struct login){.d = d, .key = key};
    return login;
}

void login_free(struct login *login)
{
    if (!login)
        return;
    secret_key_free(login->key);
    free(login);
}

const char *login_public_key(const struct login *login)
{
    return secret_key_public(login->key);
}

/* Writes the file, and syncs it. */
static bool write_file(const char *path, const char *text, struct error *err)
{
    size_t len = strlen(text);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    bool ok = fd >= 0 && write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;
    if (!ok)
        (void)error_errno(err, "%s", path);
    if (fd >= 0)
        (void)close(fd);
    return ok;
}

static bool sync_directory(const char *path, struct error *err)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (!ok)
        (void)error_errno(err, "%s", path);
    if (fd >= 0)
        (void)close(fd);
    return ok;
}

bool login_put(struct login *login, const char *sealed, struct error *err)
{
    char path[PATH_MAX], next[PATH_MAX];
    if (user_of(login)[0] == '\0')
        return error_set(err, ERROR_USAGE, "relay.user is empty: set it first, then the password");
    char *secret = secret_open(login->key, user_of(login), sealed, err);
    if (!secret)
        return false;
    secret_wipe(secret);
    if (!write_file(path_of(login, ".new", next), sealed, err))
        return false;
    if (rename(next, path_of(login, "", path)) < 0)
        return error_errno(err, "%s", path);
    return sync_directory(login->d->conf->state_dir, err);
}

/* The file's text, to be freed; NULL when there is none. */
static char *read_sealed(const struct login *login)
{
    char path[PATH_MAX];
    char *text = NULL;
    int fd = open(path_of(login, "", path), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return NULL;
    text = calloc(1, SEALED_MAX + 1);
    if (!text)
        abort();
    ssize_t got = read(fd, text, SEALED_MAX);
    (void)close(fd);
    if (got > 0)
        return text;
    free(text);
    return NULL;
}

char *login_secret(const struct login *login, struct error *err)
{
    struct error why;
    char *sealed = read_sealed(login);
    char *secret = sealed ? secret_open(login->key, user_of(login), sealed, &why) : NULL;
    if (!sealed)
        (void)error_set(err, ERROR_PERMANENT,
                        "relay.user is %s, and there is no password: popferryctl relay password",
                        user_of(login));
    else if (!secret)
        (void)error_set(err, ERROR_PERMANENT,
                        "the password that is kept is not for relay.user = %s: popferryctl relay "
                        "password",
                        user_of(login));
    free(sealed);
    return secret;
}

bool login_ready(const struct login *login, struct error *err)
{
    if (user_of(login)[0] == '\0')
        return true;
    char *secret = login_secret(login, err);
    secret_wipe(secret);
    return secret != NULL;
}

bool login_unused(const struct login *login)
{
    char path[PATH_MAX];
    return user_of(login)[0] == '\0' && access(path_of(login, "", path), F_OK) == 0;
}
