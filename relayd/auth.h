/* Logging in to the SMTP server (RFC 4954): which mechanism is taken, and the exchange. No I/O: it
 * speaks through the SMTP core, and is given the core's `login` events.
 *
 * With `auto` the strongest mechanism on offer is taken. Another one follows only while nothing
 * that depends on the password has been given out: a refused password is never tried a second time
 * in another way, since servers count refusals and lock accounts. */
#ifndef RELAYD_AUTH_H
#define RELAYD_AUTH_H

#include "lib/mechanism.h"
#include "relayd/smtp.h"

struct auth_login {
    const char *option; /* "auto", or one that mechanism_known knows */
    const char *user, *host;
    int port;
    bool secure;      /* nobody overhears the line */
    bool clear_is_ok; /* it may be none: PLAIN and LOGIN are taken then, when asked for by name */
    const struct sasl_binding *binding; /* NULL: none to be had */
    /* The password or token, to be given to secret_wipe; NULL and *err set on failure. */
    char *(*secret)(void *arg, struct error *err);
    void *arg;
};

enum auth_progress {
    AUTH_GOES_ON,
    AUTH_DONE,
    AUTH_REFUSED, /* the server does not take this user name and password */
    AUTH_FAILED,  /* anything else: the password need not be wrong */
};

struct auth {
    struct auth_login login;
    struct mechanism_offer offer;
    const struct mechanism *mechanism; /* the one taken; NULL: none yet */
    unsigned tried;
    bool cancelled;
    struct sasl *sasl;
    const char *held; /* an initial response too long for the command; sasl's */
    struct smtp *core;
    struct error error;
};

void auth_init(struct auth *auth);
void auth_free(struct auth *auth);

/* Begins. What login points to must last until the end. After REFUSED and FAILED, error tells. */
enum auth_progress auth_begin(struct auth *auth, struct smtp *core, const struct auth_login *login);
enum auth_progress auth_reply(struct auth *auth, const struct smtp_reply *reply);

/* The mechanism taken: "SCRAM-SHA-256-PLUS"; "" for none. */
const char *auth_method(const struct auth *auth);
/* Something that depends on the password has been given out, and no answer came to it yet. */
bool auth_in_the_balance(const struct auth *auth);

/* Whether relay.auth asks by this name for what gives the password itself to the server: only then
 * may it go over a line without TLS. */
bool auth_named_clear(const char *option);

#endif
