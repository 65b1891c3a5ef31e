/* Logging in.
 *
 * Promises: no password goes in clear over a line that others may hear unless PLAIN or LOGIN is
 * asked for by name, and a token never; a password that was refused is not tried in a second way; a
 * server's yes counts only when the mechanism is through. */
#include "relayd/auth.h"

#include "lib/log.h"
#include "lib/secret.h"

#include <stdio.h>
#include <string.h>

void auth_init(struct auth *a)
{
    *a = (struct auth){.held = NULL};
}

void auth_free(struct auth *a)
{
    sasl_free(a->sasl);
    auth_init(a);
}

const char *auth_method(const struct auth *a)
{
    return a->mechanism ? sasl_name(a->mechanism->sasl) : "";
}

/* What is held has been made, but is still here. */
static bool given_out(const struct auth *a)
{
    return !a->held && sasl_secret_used(a->sasl);
}

bool auth_in_the_balance(const struct auth *a)
{
    return a->sasl && given_out(a);
}

static bool is_auto(const struct auth *a)
{
    return strcmp(a->login.option, "auto") == 0;
}

/* --- where there is no way ---------------------------------------------------------------- */

/* The words of what failed before are kept. */
static enum auth_progress no_way(struct auth *a, const struct mechanism *unsafe)
{
    char offer[MECHANISM_WORDS_MAX];

    if (a->tried)
        return AUTH_FAILED;
    log_escape(offer, sizeof offer, a->offer.words, strlen(a->offer.words));
    if (unsafe && unsafe->token)
        (void)error_set(&a->error, ERROR_PERMANENT,
                        "the line is not secure: a token is sent over TLS alone (relay.tls)");
    else if (unsafe)
        (void)error_set(&a->error, ERROR_PERMANENT,
                        "the line is not secure and the password is not sent in clear: set "
                        "relay.tls to starttls or implicit, or else relay.auth to %s",
                        unsafe->option);
    else if (!offer[0])
        (void)error_set(&a->error, ERROR_PERMANENT,
                        "the server offers no AUTH%s: leave relay.user empty, or ask its "
                        "administrator",
                        a->login.secure ? "" : " on a line without TLS (relay.tls)");
    else
        (void)error_set(&a->error, ERROR_PERMANENT,
                        "the server does not offer what relay.auth asks for (%s); it offers:%s",
                        a->login.option, offer);
    return AUTH_FAILED;
}

/* --- going one way ------------------------------------------------------------------------ */

static enum auth_progress try_next(struct auth *a);

/* What is met before anything was given away leaves the other ways open. */
static enum auth_progress other_way(struct auth *a)
{
    return is_auto(a) ? try_next(a) : AUTH_FAILED;
}

static enum auth_progress sent(struct auth *a, bool done)
{
    if (done)
        return AUTH_GOES_ON;
    (void)error_set(&a->error, ERROR_USAGE, "%s: what is to be sent does not fit one line",
                    a->mechanism->command);
    return AUTH_FAILED;
}

/* The initial response goes with the command where the line stays within its limit. */
static enum auth_progress begin_exchange(struct auth *a)
{
    const char *response = NULL, *name = auth_method(a);

    if (a->mechanism->initial) {
        if (!sasl_step(a->sasl, NULL, 0, &response, &a->error))
            return other_way(a);
        if (smtp_auth(a->core, name, response))
            return AUTH_GOES_ON;
        a->held = response;
    }
    return sent(a, smtp_auth(a->core, name, NULL));
}

static enum auth_progress begin_sasl(struct auth *a, const struct mechanism *mechanism)
{
    const struct auth_login *login = &a->login;
    struct sasl_login with = {.user = login->user,
                              .service = "smtp",
                              .host = login->host,
                              .port = login->port,
                              .binding = login->binding};

    a->mechanism = mechanism;
    a->held = NULL;
    a->cancelled = false;
    sasl_free(a->sasl);
    a->sasl = NULL;
    char *secret = login->secret(login->arg, &a->error);
    if (!secret)
        return AUTH_FAILED;
    with.secret = secret;
    smtp_secret(a->core, secret);
    a->sasl = sasl_new(mechanism->sasl, &with, &a->error);
    secret_wipe(secret);
    return a->sasl ? begin_exchange(a) : other_way(a);
}

bool auth_named_clear(const char *option)
{
    return strcmp(option, "plain") == 0 || strcmp(option, "login") == 0;
}

static enum auth_progress try_next(struct auth *a)
{
    const struct mechanism *unsafe;
    const struct mechanism_wish wish = {
        .option = a->login.option,
        .secure = a->login.secure || (a->login.clear_is_ok && auth_named_clear(a->login.option)),
        .bound = a->login.binding != NULL,
    };
    const struct mechanism *next = mechanism_next(&wish, &a->offer, &a->tried, &unsafe);

    return next ? begin_sasl(a, next) : no_way(a, unsafe);
}

enum auth_progress auth_begin(struct auth *a, struct smtp *core, const struct auth_login *login)
{
    const char *words = smtp_offers(core)->auth;

    a->core = core;
    a->login = *login;
    a->tried = 0;
    mechanism_offer_set(&a->offer, words, strlen(words));
    return try_next(a);
}

/* --- answers ------------------------------------------------------------------------------ */

static enum auth_progress on_challenge(struct auth *a, const struct smtp_reply *reply)
{
    const char *response = a->held;

    a->held = NULL;
    if (a->cancelled)
        return AUTH_FAILED; /* the server has to refuse it now (RFC 4954, 4) */
    if (!response && !sasl_step(a->sasl, reply->text, reply->text_len, &response, &a->error)) {
        a->cancelled = true;
        smtp_auth_cancel(a->core);
        return AUTH_GOES_ON;
    }
    return sent(a, smtp_auth_answer(a->core, response));
}

static void note_reply(struct auth *a, const struct smtp_reply *reply)
{
    char text[300], words[160] = "";

    smtp_reply_format(reply, text, sizeof text);
    log_escape(words, sizeof words, sasl_words(a->sasl), strlen(sasl_words(a->sasl)));
    (void)error_set(&a->error, ERROR_PERMANENT, "%s: the server said: %s%s%s",
                    a->mechanism->command, text, words[0] ? ", and before: " : "", words);
}

/* RFC 4954, 4 and 6: these say that it is the mechanism, and not the password. */
static bool is_about_mechanism(int code)
{
    return code == 504 || code == 534 || code == 538;
}

static enum auth_progress on_refused(struct auth *a, const struct smtp_reply *reply)
{
    bool used = given_out(a);

    if (!a->cancelled)
        note_reply(a, reply);
    if (smtp_reply_class(reply) == 4)
        return AUTH_FAILED;
    if (!used)
        return other_way(a);
    return a->cancelled || is_about_mechanism(reply->code) ? AUTH_FAILED : AUTH_REFUSED;
}

enum auth_progress auth_reply(struct auth *a, const struct smtp_reply *reply)
{
    if (reply->code == SMTP_CHALLENGE)
        return on_challenge(a, reply);
    if (smtp_reply_class(reply) != 2)
        return on_refused(a, reply);
    if (sasl_complete(a->sasl) && !a->held && !a->cancelled)
        return AUTH_DONE;
    (void)error_set(&a->error, ERROR_PERMANENT,
                    "%s: the server said yes before the exchange was through: it did not prove "
                    "itself",
                    a->mechanism->command);
    return AUTH_FAILED;
}
