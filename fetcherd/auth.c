/* Logging in.
 *
 * Promises: no password goes in clear over a line without TLS unless the account does without TLS
 * and asks for USER and PASS, and a token never; a password that was refused is not tried in a
 * second way; a server's yes counts only when the mechanism is through. */
#include "fetcherd/auth.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/log.h"
#include "lib/secret.h"

static const char AUTO[] = "auto", APOP[] = "apop", BASIC[] = "basic";

bool auth_option_known(const char *option)
{
    return strcmp(option, AUTO) == 0 || strcmp(option, APOP) == 0 || strcmp(option, BASIC) == 0 ||
           mechanism_known(option);
}

const char *auth_options(char *out, size_t size)
{
    int at = snprintf(out, size, "%s, %s, %s, ", AUTO, BASIC, APOP);

    if (at >= 0 && (size_t)at < size)
        mechanism_names(out + at, size - (size_t)at);
    return out;
}

static bool asks_for(const struct auth *a, const char *option)
{
    return strcmp(a->login.option, option) == 0;
}

/* As messages name it. */
static const char *way_command(const struct auth *a)
{
    static const char *const commands[] = {[AUTH_BY_NONE] = "AUTH",
                                           [AUTH_BY_SASL] = "AUTH",
                                           [AUTH_BY_APOP] = "APOP",
                                           [AUTH_BY_USER] = "USER"};

    return a->way == AUTH_BY_SASL ? a->mechanism->command : commands[a->way];
}

const char *auth_method(const struct auth *a)
{
    if (a->way == AUTH_BY_NONE)
        return "";
    return a->way == AUTH_BY_SASL ? sasl_name(a->mechanism->sasl) : way_command(a);
}

bool auth_method_is_clear(const struct auth *a)
{
    return a->way == AUTH_BY_USER || (a->way == AUTH_BY_SASL && a->mechanism->clear);
}

const char *auth_warning(const struct auth *a)
{
    if (auth_method_is_clear(a))
        return "user name and password go over the line in clear text (TLS: none)";
    if (a->way == AUTH_BY_APOP)
        return "APOP without TLS: who tampers with the line can find out the password";
    return "without TLS, mail goes over the line in clear text";
}

void auth_init(struct auth *a)
{
    *a = (struct auth){.command = ""};
}

void auth_free(struct auth *a)
{
    if (a->core)
        redact_clear(&a->core->redact);
    sasl_free(a->sasl);
    auth_init(a);
}

/* --- what the server offers --------------------------------------------------------------- */

static size_t take_atoms(const char *text, size_t len)
{
    static const char special[] = "!#$%&'*+-/=?^_`{|}~.";
    size_t n = 0;

    while (n < len && (isalnum((unsigned char)text[n]) || (text[n] && strchr(special, text[n]))))
        n++;
    return n;
}

/* RFC 822 msg-id. What is used to attack MD5 (CVE-2007-1558) does not look like one. */
static bool is_message_id(const char *text, size_t len)
{
    size_t local = take_atoms(text + 1, len - 1);
    size_t at = 1 + local;

    if (!local || at + 2 >= len || text[at] != '@')
        return false;
    const char *domain = text + at + 1;
    size_t left = len - at - 1;
    bool literal = domain[0] == '[';
    size_t n = literal ? strcspn(domain, "]>") + 1 : take_atoms(domain, left);
    for (size_t i = 0; literal && i + 1 < n && i < left; i++)
        if (!isalnum((unsigned char)domain[i]) && !strchr("[.:", domain[i]))
            return false;
    return n >= 1 && n + 1 == left && domain[n] == '>';
}

void auth_greeting(struct auth *a, const struct reply *reply)
{
    const char *begin = memchr(reply->text, '<', reply->text_len);

    a->banner[0] = '\0';
    if (!begin)
        return;
    size_t left = reply->text_len - (size_t)(begin - reply->text);
    const char *end = memchr(begin, '>', left);
    size_t len = end ? (size_t)(end - begin) + 1 : 0;
    if (len < 5 || len >= sizeof a->banner || memchr(begin, '\0', len) ||
        !is_message_id(begin, len))
        return;
    memcpy(a->banner, begin, len);
    a->banner[len] = '\0';
}

void auth_capabilities_begin(struct auth *a)
{
    mechanism_offer_set(&a->offer, "", 0);
    a->unique_alone = false;
}

void auth_capability(struct auth *a, const char *line, size_t len)
{
    static const char cyrus[] = "IMPLEMENTATION Cyrus";

    if (len > 5 && strncasecmp(line, "SASL ", 5) == 0)
        mechanism_offer_set(&a->offer, line + 5, len - 5);
    if (len >= sizeof cyrus - 1 && strncasecmp(line, cyrus, sizeof cyrus - 1) == 0)
        a->unique_alone = true;
}

/* --- where there is no way ---------------------------------------------------------------- */

static enum auth_progress fail(struct auth *a, const char *command)
{
    a->command = command;
    return AUTH_FAILED;
}

static enum auth_progress not_in_clear(struct auth *a, const char *command, bool token)
{
    if (token)
        (void)error_set(&a->error, ERROR_PERMANENT,
                        "the line is not secure: a token is sent over TLS alone");
    else
        (void)error_set(&a->error, ERROR_PERMANENT,
                        "the line is not secure and the password is not sent in clear: use TLS, or "
                        "else `popferryctl account set %s --auth basic --tls none`",
                        a->login.account);
    return fail(a, command);
}

/* The words of what failed before are kept. */
static enum auth_progress not_offered(struct auth *a)
{
    char offer[MECHANISM_WORDS_MAX];

    if (a->tried)
        return fail(a, a->command);
    log_escape(offer, sizeof offer, a->offer.words, strlen(a->offer.words));
    (void)error_set(&a->error, ERROR_PERMANENT,
                    "the server does not offer what the account asks for (auth %s); it offers:%s",
                    a->login.option, offer);
    return fail(a, "AUTH");
}

/* --- going one way ------------------------------------------------------------------------ */

static enum auth_progress try_next(struct auth *a);

static enum auth_progress sent(struct auth *a, enum pop3_sent result)
{
    if (result == POP3_SENT)
        return AUTH_GOES_ON;
    (void)error_set(&a->error, ERROR_USAGE, "%s",
                    result == POP3_REFUSED_ARGUMENT
                        ? "the user name or password can't be sent: it is empty or holds a line end"
                        : "the command may not be sent now");
    return fail(a, way_command(a));
}

/* From here to the end of the login the server's words are shown without it. */
static char *open_secret(struct auth *a)
{
    char *secret = a->login.secret(a->login.arg, &a->error);

    if (secret)
        redact_secret(&a->core->redact, secret);
    return secret;
}

static enum auth_progress send_password(struct auth *a)
{
    char *secret = open_secret(a);

    if (!secret)
        return fail(a, "PASS");
    enum pop3_sent result = pop3_send(a->core, POP3_CMD_PASS, secret, strlen(secret));
    secret_wipe(secret);
    return sent(a, result);
}

/* RFC 1939: the MD5 digest of the timestamp and the secret, in small hexadecimal digits. */
static bool apop_digest(const char *banner, const char *secret, char hex[33])
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    bool ok = ctx && EVP_DigestInit_ex(ctx, EVP_md5(), NULL) == 1 &&
              EVP_DigestUpdate(ctx, banner, strlen(banner)) == 1 &&
              EVP_DigestUpdate(ctx, secret, strlen(secret)) == 1 &&
              EVP_DigestFinal_ex(ctx, digest, NULL) == 1;

    for (unsigned i = 0; i < 16 && ok; i++)
        snprintf(hex + 2 * i, 3, "%02x", digest[i]);
    EVP_MD_CTX_free(ctx);
    return ok;
}

static enum auth_progress send_apop(struct auth *a, const char *secret)
{
    char hex[33], argument[POP3_ARGUMENT_MAX];

    if (!apop_digest(a->banner, secret, hex)) {
        (void)error_set(&a->error, ERROR_PERMANENT, "OpenSSL refuses MD5, which APOP needs");
        return fail(a, "APOP");
    }
    redact_response(&a->core->redact, hex);
    snprintf(argument, sizeof argument, "%s %s", a->login.user, hex);
    return sent(a, pop3_send(a->core, POP3_CMD_APOP, argument, strlen(argument)));
}

static enum auth_progress begin_apop(struct auth *a)
{
    a->way = AUTH_BY_APOP;
    if (!a->banner[0]) {
        (void)error_set(&a->error, ERROR_PERMANENT,
                        "the server offers no APOP: its greeting has no valid timestamp");
        return fail(a, "APOP");
    }
    char *secret = open_secret(a);
    if (!secret)
        return fail(a, "APOP");
    enum auth_progress progress = send_apop(a, secret);
    secret_wipe(secret);
    return progress;
}

static enum auth_progress begin_basic(struct auth *a)
{
    a->way = AUTH_BY_USER;
    if (!a->login.secure && !(a->login.clear_is_ok && asks_for(a, BASIC)))
        return not_in_clear(a, "USER", false);
    return sent(a, pop3_send(a->core, POP3_CMD_USER, a->login.user, strlen(a->login.user)));
}

/* What is met before anything was given away leaves the other ways open. */
static enum auth_progress other_way(struct auth *a)
{
    a->command = way_command(a);
    return asks_for(a, AUTO) ? try_next(a) : AUTH_FAILED;
}

/* The initial response goes with the command where the line stays within its limit. */
static enum auth_progress begin_exchange(struct auth *a)
{
    const char *response, *name = auth_method(a);
    char argument[SASL_WORDS_MAX + POP3_LINE_MAX];

    snprintf(argument, sizeof argument, "%s", name);
    if (a->mechanism->initial) {
        if (!sasl_step(a->sasl, NULL, 0, &response, &a->error))
            return other_way(a);
        redact_response(&a->core->redact, response);
        bool fits = strlen("AUTH ") + strlen(name) + 1 + strlen(response) + 2 <= POP3_LINE_MAX;
        if (fits)
            snprintf(argument, sizeof argument, "%s %s", name, *response ? response : "=");
        a->held = fits ? NULL : response;
    }
    enum pop3_sent result = pop3_send(a->core, POP3_CMD_AUTH, argument, strlen(argument));
    explicit_bzero(argument, sizeof argument);
    return sent(a, result);
}

static enum auth_progress begin_sasl(struct auth *a, const struct mechanism *mechanism)
{
    const struct auth_login *login = &a->login;
    struct sasl_login with = {.user = login->user,
                              .service = "pop",
                              .host = login->host,
                              .port = login->port,
                              .binding = login->binding};

    a->way = AUTH_BY_SASL;
    a->mechanism = mechanism;
    a->held = NULL;
    a->cancelled = false;
    sasl_free(a->sasl);
    a->sasl = NULL;
    char *secret = open_secret(a);
    if (!secret)
        return fail(a, mechanism->command);
    with.secret = secret;
    a->sasl = sasl_new(mechanism->sasl, &with, &a->error);
    secret_wipe(secret);
    return a->sasl ? begin_exchange(a) : other_way(a);
}

/* Cyrus 3.6 offers -PLUS in TLS 1.3 as well, where there is no tls-unique, and says no only when it
 * has the proof: as if the password were wrong. */
static bool can_be_bound(const struct auth *a)
{
    const struct sasl_binding *binding = a->login.binding;

    return binding && !(binding->exporter && a->unique_alone);
}

/* A server that says nothing of SASL may know a mechanism all the same (RFC 1734 knew no CAPA): for
 * who asks by name it is tried. USER and PASS are the last resort of "auto". */
static enum auth_progress try_next(struct auth *a)
{
    struct mechanism_wish wish = {.option = a->login.option,
                                  .secure = a->login.secure,
                                  .bound = can_be_bound(a),
                                  .blind = true};
    const struct mechanism *unsafe, *next = mechanism_next(&wish, &a->offer, &a->tried, &unsafe);

    if (next)
        return begin_sasl(a, next);
    if (unsafe)
        return not_in_clear(a, unsafe->command, unsafe->token);
    return asks_for(a, AUTO) ? begin_basic(a) : not_offered(a);
}

enum auth_progress auth_begin(struct auth *a, struct pop3 *core, const struct auth_login *login)
{
    a->core = core;
    a->login = *login;
    if (asks_for(a, APOP))
        return begin_apop(a);
    return asks_for(a, BASIC) ? begin_basic(a) : try_next(a);
}

/* --- answers ------------------------------------------------------------------------------ */

/* RFC 2449, RFC 3206: these say that the password is not what is wrong. */
static bool is_temporary(const struct reply *reply)
{
    return reply_has_code(reply, "SYS") || reply_has_code(reply, "IN-USE") ||
           reply_has_code(reply, "LOGIN-DELAY");
}

/* What came within a challenge, for people. */
static void take_words(const struct auth *a, char *out, size_t size)
{
    char words[SASL_WORDS_MAX];
    int n = snprintf(words, sizeof words, "%s", sasl_words(a->sasl));
    size_t len = (size_t)n < sizeof words ? (size_t)n : sizeof words - 1;

    log_escape(out, size, words, redact_apply(&a->core->redact, words, len));
}

static void note_reply(struct auth *a, const struct pop3_event *event)
{
    char text[300], words[160] = "";
    const struct reply *reply = event->reply;

    log_escape(text, sizeof text, reply->text, reply->text_len);
    if (a->sasl)
        take_words(a, words, sizeof words);
    (void)error_set(&a->error, ERROR_PERMANENT, "the server said: -ERR %s%s%s", text,
                    words[0] ? ", and before: " : "", words);
    a->command = a->way == AUTH_BY_USER ? pop3_command_name(event->command) : way_command(a);
}

static enum auth_progress on_refused(struct auth *a, const struct pop3_event *event)
{
    bool sasl = a->way == AUTH_BY_SASL;
    bool used = !sasl || (!a->held && sasl_secret_used(a->sasl)); /* what is held is still here */

    if (!a->cancelled)
        note_reply(a, event);
    else
        a->command = way_command(a);
    if (is_temporary(event->reply))
        return AUTH_FAILED;
    if (reply_has_code(event->reply, "AUTH"))
        return AUTH_REFUSED;
    if (!used)
        return other_way(a);
    /* RFC 3206: a server that offers the code would have said [AUTH] of a bad password. */
    bool marks = a->core->capabilities & POP3_CAP_AUTH_RESP_CODE;
    return a->cancelled || marks ? AUTH_FAILED : AUTH_REFUSED;
}

static enum auth_progress on_accepted(struct auth *a, const struct pop3_event *event)
{
    if (event->command == POP3_CMD_USER)
        return send_password(a);
    if (event->command != POP3_CMD_AUTH || (sasl_complete(a->sasl) && !a->held && !a->cancelled))
        return AUTH_DONE;
    (void)error_set(&a->error, ERROR_PERMANENT,
                    "the server said +OK before the exchange was through: it did not prove itself");
    return fail(a, way_command(a));
}

static enum auth_progress on_challenge(struct auth *a, const struct pop3_event *event)
{
    const char *response = a->held;

    a->held = NULL;
    if (a->cancelled)
        return fail(a, way_command(a)); /* the server has to refuse it now (RFC 5034, 4) */
    if (!response && !sasl_step(a->sasl, event->data, event->len, &response, &a->error)) {
        a->cancelled = true;
        return sent(a, pop3_cancel(a->core));
    }
    redact_response(&a->core->redact, response);
    return sent(a, pop3_respond(a->core, response, strlen(response)));
}

enum auth_progress auth_event(struct auth *a, const struct pop3_event *event)
{
    if (event->type == POP3_EV_CHALLENGE)
        return on_challenge(a, event);
    if (!event->reply->ok)
        return on_refused(a, event);
    enum auth_progress progress = on_accepted(a, event);
    if (progress == AUTH_DONE)
        redact_clear(&a->core->redact);
    return progress;
}
