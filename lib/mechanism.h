/* Which SASL mechanism is taken, of those that a server offers: by POP3's capability SASL (RFC
 * 5034) or by SMTP's keyword AUTH (RFC 4954). No I/O; lib/sasl does the exchange. */
#ifndef LIB_MECHANISM_H
#define LIB_MECHANISM_H

#include <stdbool.h>
#include <stddef.h>

#include "lib/sasl.h"

enum { MECHANISM_WORDS_MAX = 512 }; /* octets of an offer that are looked at */

struct mechanism {
    const char *option;  /* what people ask for it by; the form in -PLUS goes with the other */
    const char *command; /* "AUTH NTLM": the same in POP3 and SMTP */
    enum sasl_mechanism sasl;
    bool plus;    /* has to be bound to TLS */
    bool clear;   /* gives the secret itself to the server */
    bool token;   /* the secret is an OAuth 2 token */
    bool in_auto; /* taken without being asked for by name */
    bool initial; /* an initial response goes with the command */
};

/* What a server offers; {""} for nothing. */
struct mechanism_offer {
    char words[MECHANISM_WORDS_MAX]; /* in capitals, each with a space around it */
};

/* Takes "PLAIN CRAM-MD5", in any case and with any bytes, in place of what was there. What is too
 * long is no offer. */
void mechanism_offer_set(struct mechanism_offer *offer, const char *words, size_t len);

struct mechanism_wish {
    const char *option; /* "auto", or one that mechanism_known knows */
    bool secure;        /* nobody overhears the line */
    bool bound;         /* and there is something to bind to */
    bool blind;         /* what is asked for by name is tried on a server that names nothing */
};

/* The strongest that may be taken and is not in *tried, where it is noted; NULL for none. Then
 * *unsafe is the one that was left out for want of a secure line, or NULL. */
const struct mechanism *mechanism_next(const struct mechanism_wish *wish,
                                       const struct mechanism_offer *offer, unsigned *tried,
                                       const struct mechanism **unsafe);

/* Whether people may ask for it by this name; "auto" is the caller's. */
bool mechanism_known(const char *option);
/* All names, for a message: "scram-sha-256, scram-sha-1, ...". */
const char *mechanism_names(char *out, size_t size);

#endif
