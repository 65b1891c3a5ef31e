/* How an account's server is reached and logged in to: the same for a poll and for a probe. */
#ifndef FETCHERD_LOGIN_H
#define FETCHERD_LOGIN_H

#include "fetcherd/auth.h"
#include "fetcherd/fetcherd.h"
#include "lib/stream.h"

struct login {
    struct fetcherd *f;
    const struct account *account;
    struct auth auth;
    struct sasl_binding binding; /* of the line's TLS */
};

void login_init(struct login *login, struct fetcherd *f, const struct account *account);
/* Wipes what it knows of the password. */
void login_free(struct login *login);

/* Begins to connect. */
struct stream *login_connect(const struct login *login, stream_fn *fn, void *arg);

enum login_next {
    LOGIN_AUTHENTICATE, /* the line is as secure as the account demands */
    LOGIN_STLS,         /* to be sent first */
    LOGIN_NO_STLS,      /* which the server does not offer: login_no_stls */
};
extern const char login_no_stls[];
/* CAPA was answered, by a listing (then what it lacks isn't there) or by -ERR. */
enum login_next login_capabilities(const struct login *login, const struct stream *stream,
                                   const struct pop3 *core, bool answered);

/* Begins to log in over this line; see auth_begin. */
enum auth_progress login_begin(struct login *login, const struct stream *stream, struct pop3 *core);

#endif
