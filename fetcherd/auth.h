/* Logging in: which of the ways that a POP3 server offers is taken, and the exchange itself (USER
 * and PASS, APOP, AUTH by RFC 5034). No I/O: it writes through the POP3 core and is given the
 * core's events.
 *
 * With `auto` the strongest way on offer is taken. Another one follows only while nothing that
 * depends on the password has been given out: a refused password is never tried a second time in
 * another way, since servers count refusals and lock accounts. For the same reason a server that
 * fails to prove itself (SCRAM, DIGEST-MD5) gets no weaker answer.
 *
 * Over a line without TLS the password itself goes only where the account says so twice: by doing
 * without TLS and by asking for "basic" (USER and PASS). APOP is never taken unasked: its MD5 can
 * be attacked by who sends a timestamp of his own making (CVE-2007-1558). */
#ifndef POPFERRY_FETCHERD_AUTH_H
#define POPFERRY_FETCHERD_AUTH_H

#include <stdbool.h>
#include <stddef.h>

#include "fetcherd/pop3.h"
#include "lib/error.h"
#include "lib/mechanism.h"
#include "lib/sasl.h"

enum { AUTH_BANNER_MAX = 256 }; /* octets of an APOP timestamp */

struct auth_login {
    const char *option; /* one that auth_option_known knows */
    const char *account, *user, *host;
    int port;
    bool secure;      /* the line is TLS */
    bool clear_is_ok; /* the account does without TLS: "basic" may say the password in clear */
    const struct sasl_binding *binding; /* NULL: none to be had */
    /* The password or token, to be given to secret_wipe; NULL and *err set on failure. */
    char *(*secret)(void *arg, struct error *err);
    void *arg;
};

enum auth_progress {
    AUTH_GOES_ON,
    AUTH_DONE,
    AUTH_REFUSED, /* the server does not take this user name and password (or token) */
    AUTH_FAILED,  /* anything else: the password need not be wrong */
};

enum auth_way { AUTH_BY_NONE, AUTH_BY_SASL, AUTH_BY_APOP, AUTH_BY_USER };

struct auth {
    struct mechanism_offer offer;
    char banner[AUTH_BANNER_MAX]; /* the timestamp, "" for none that may be used */
    struct auth_login login;
    struct pop3 *core;
    unsigned tried; /* mechanisms, as mechanism_next notes them */
    enum auth_way way;
    const struct mechanism *mechanism; /* AUTH_BY_SASL */
    bool cancelled;
    struct sasl *sasl;
    const char *held;    /* an initial response too long for the command; sasl's */
    const char *command; /* at which it failed */
    struct error error;
};

/* Whether an account may ask for it, and all that it may ask for: "auto, basic, ...". */
bool auth_option_known(const char *option);
const char *auth_options(char *out, size_t size);

void auth_init(struct auth *auth);
void auth_free(struct auth *auth);

/* What the server says of itself. A later CAPA replaces what an earlier one said. */
void auth_greeting(struct auth *auth, const struct reply *reply);
void auth_capabilities_begin(struct auth *auth);
void auth_capability(struct auth *auth, const char *line, size_t len);

/* Begins. What login points to must last until the end. After REFUSED and FAILED, command and
 * error tell. */
enum auth_progress auth_begin(struct auth *auth, struct pop3 *core, const struct auth_login *login);
/* Takes an answer to USER, PASS, APOP or AUTH, or a challenge. */
enum auth_progress auth_event(struct auth *auth, const struct pop3_event *event);

/* The way taken, as on the wire: "SCRAM-SHA-256-PLUS", "APOP", "USER". */
const char *auth_method(const struct auth *auth);
/* Whether it gives the password itself to the server, and to whoever listens to a line in clear. */
bool auth_method_is_clear(const struct auth *auth);
/* What to say of it, in a sentence, when the line is without TLS. */
const char *auth_warning(const struct auth *auth);

#endif
