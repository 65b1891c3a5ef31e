/* relayd's secret: the password (or token) of relay.user, sealed to STATE-DIR/relayd.key and kept
 * in STATE-DIR/relayd.secret. The user's name is inside the seal, so that a password does not go
 * with another name. And what popferryctl asks about it. */
#ifndef RELAYD_LOGIN_H
#define RELAYD_LOGIN_H

#include "lib/daemon.h"

struct login;

/* Makes the key where there is none. The conf is looked up in the daemon each time. */
MUST_CHECK struct login *login_open(const struct daemon *d, struct error *err);
void login_free(struct login *login); /* NULL is fine */

const char *login_public_key(const struct login *login);
/* Keeps what was sealed; refused when it does not open for relay.user. */
MUST_CHECK bool login_put(struct login *login, const char *sealed, struct error *err);
/* The secret, for secret_wipe; NULL and a sentence that says what to do. */
MUST_CHECK char *login_secret(const struct login *login, struct error *err);
/* Is there all that relay.user asks for? No user asks for nothing. */
MUST_CHECK bool login_ready(const struct login *login, struct error *err);
/* A secret is kept, and no user is set. */
bool login_unused(const struct login *login);

#endif
