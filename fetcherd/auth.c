/* Logging in.
 *
 * Promises: no password or token goes in clear over a line without TLS unless the account does
 * without TLS, and a token never; a password that was refused is not tried in a second way; a
 * server's yes counts only when the mechanism is through. */
#include "fetcherd/auth.h"

#include <ctype.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "lib/log.h"
#include "lib/secret.h"

enum kind { BY_SASL, BY_APOP, BY_USER };

/* The strongest first: bound to TLS, then with the server's proof, then with a challenge, then the
 * password itself. */
static const struct row {
    const char *option;
    const char *command; /* for messages */
    enum sasl_mechanism mechanism;
    enum kind kind;
    bool plus;    /* has to be bound to TLS */
    bool clear;   /* gives the secret itself to the server */
    bool token;   /* the secret is an OAuth 2 token */
    bool in_auto; /* taken without being asked for by name */
    bool initial; /* an initial response goes with the command (RFC 5034 section 4) */
} rows[] = {
    {.option = "scram-sha-256",
     .mechanism = SASL_SCRAM_SHA_256_PLUS,
     .plus = true,
     .in_auto = true,
     .initial = true,
     .command = "AUTH SCRAM-SHA-256-PLUS"},
    {.option = "scram-sha-1",
     .mechanism = SASL_SCRAM_SHA_1_PLUS,
     .plus = true,
     .in_auto = true,
     .initial = true,
     .command = "AUTH SCRAM-SHA-1-PLUS"},
    {.option = "scram-sha-256",
     .mechanism = SASL_SCRAM_SHA_256,
     .in_auto = true,
     .initial = true,
     .command = "AUTH SCRAM-SHA-256"},
    {.option = "scram-sha-1",
     .mechanism = SASL_SCRAM_SHA_1,
     .in_auto = true,
     .initial = true,
     .command = "AUTH SCRAM-SHA-1"},
    {.option = "digest-md5",
     .mechanism = SASL_DIGEST_MD5,
     .in_auto = true,
     .command = "AUTH DIGEST-MD5"},
    {.option = "cram-md5", .mechanism = SASL_CRAM_MD5, .in_auto = true, .command = "AUTH CRAM-MD5"},
    /* Exchange wants the two steps of SPA, and so does Microsoft 365 for XOAUTH2. */
    {.option = "ntlm", .mechanism = SASL_NTLM, .in_auto = true, .command = "AUTH NTLM"},
    {.option = "ntlmv1", .mechanism = SASL_NTLMV1, .command = "AUTH NTLM"},
    {.option = "apop", .kind = BY_APOP, .in_auto = true, .command = "APOP"},
    {.option = "plain",
     .mechanism = SASL_PLAIN,
     .clear = true,
     .in_auto = true,
     .initial = true,
     .command = "AUTH PLAIN"},
    {.option = "login",
     .mechanism = SASL_LOGIN,
     .clear = true,
     .in_auto = true,
     .command = "AUTH LOGIN"},
    {.option = "basic", .kind = BY_USER, .clear = true, .in_auto = true, .command = "USER"},
    {.option = "oauthbearer",
     .mechanism = SASL_OAUTHBEARER,
     .clear = true,
     .token = true,
     .initial = true,
     .command = "AUTH OAUTHBEARER"},
    {.option = "xoauth2",
     .mechanism = SASL_XOAUTH2,
     .clear = true,
     .token = true,
     .command = "AUTH XOAUTH2"},
};
enum { ROWS = sizeof rows / sizeof *rows };

static bool is_auto(const struct auth *a)
{
    return strcmp(a->login.option, "auto") == 0;
}

static const struct row *current(const struct auth *a)
{
    return &rows[a->row];
}

const char *auth_method(const struct auth *a)
{
    if (a->row < 0)
        return "";
    return current(a)->kind == BY_SASL ? sasl_name(current(a)->mechanism) : current(a)->command;
}

bool auth_method_is_clear(const struct auth *a)
{
    return a->row >= 0 && current(a)->clear;
}

void auth_init(struct auth *a)
{
    *a = (struct auth){.row = -1, .command = ""};
}

void auth_free(struct auth *a)
{
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
    a->words[0] = '\0';
}

/* "SASL word word": kept in capitals as " WORD WORD ". What doesn't fit is not offered. */
void auth_capability(struct auth *a, const char *line, size_t len)
{
    if (len < 5 || strncasecmp(line, "SASL ", 5) != 0 || len - 5 + 3 > sizeof a->words)
        return;
    char *to = a->words;
    *to++ = ' ';
    for (size_t i = 5; i < len; i++) {
        unsigned char c = (unsigned char)line[i];
        *to++ = (char)(isgraph(c) ? toupper(c) : ' ');
    }
    *to++ = ' ';
    *to = '\0';
}

static bool offers(const struct auth *a, const char *mechanism)
{
    char word[64];

    snprintf(word, sizeof word, " %s ", mechanism);
    return strstr(a->words, word) != NULL;
}

/* --- choosing ----------------------------------------------------------------------------- */

static bool wanted(const struct auth *a, const struct row *row)
{
    return is_auto(a) ? row->in_auto : strcmp(a->login.option, row->option) == 0;
}

/* A server that says nothing of SASL may know a mechanism all the same (RFC 1734 knew no CAPA):
 * for who asks by name it is tried. */
static bool on_offer(const struct auth *a, const struct row *row)
{
    switch (row->kind) {
    case BY_APOP:
        return a->banner[0] && (a->login.secure || !is_auto(a));
    case BY_USER:
        return true;
    default:
        if (row->plus && !a->login.binding)
            return false;
        return offers(a, sasl_name(row->mechanism)) || (!is_auto(a) && !row->plus && !a->words[0]);
    }
}

static bool safe(const struct auth *a, const struct row *row)
{
    return a->login.secure || !row->clear || (a->login.clear_is_ok && !row->token);
}

static enum auth_progress fail(struct auth *a, const char *command)
{
    a->command = command;
    return AUTH_FAILED;
}

/* Why there is no way left; the words of what failed before are kept. */
static enum auth_progress no_way(struct auth *a, const char *unsafe)
{
    char offer[AUTH_WORDS_MAX];

    if (a->tried)
        return fail(a, a->command);
    log_escape(offer, sizeof offer, a->words, strlen(a->words));
    if (unsafe)
        (void)error_set(&a->error, ERROR_PERMANENT,
                        "the line is not secure: the user name and password are not sent");
    else if (strcmp(a->login.option, "apop") == 0)
        (void)error_set(&a->error, ERROR_PERMANENT,
                        "the server offers no APOP: its greeting has no valid timestamp");
    else
        (void)error_set(&a->error, ERROR_PERMANENT,
                        "the server does not offer what the account asks for (auth %s); "
                        "it offers:%s",
                        a->login.option, offer);
    return fail(a, unsafe ? unsafe : "AUTH");
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
    return fail(a, current(a)->command);
}

static enum auth_progress send_password(struct auth *a)
{
    char *secret = a->login.secret(a->login.arg, &a->error);

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

static enum auth_progress begin_apop(struct auth *a, const char *secret)
{
    char hex[33], argument[POP3_ARGUMENT_MAX];

    if (!apop_digest(a->banner, secret, hex)) {
        (void)error_set(&a->error, ERROR_PERMANENT, "OpenSSL refuses MD5, which APOP needs");
        return fail(a, "APOP");
    }
    snprintf(argument, sizeof argument, "%s %s", a->login.user, hex);
    return sent(a, pop3_send(a->core, POP3_CMD_APOP, argument, strlen(argument)));
}

/* The initial response goes with the command where the line stays within its limit. */
static enum auth_progress begin_exchange(struct auth *a)
{
    const char *response, *name = sasl_name(current(a)->mechanism);
    char argument[SASL_WORDS_MAX + POP3_LINE_MAX];

    snprintf(argument, sizeof argument, "%s", name);
    if (current(a)->initial) {
        if (!sasl_step(a->sasl, NULL, 0, &response, &a->error)) {
            a->command = current(a)->command;
            return is_auto(a) ? try_next(a) : AUTH_FAILED;
        }
        bool fits = strlen("AUTH ") + strlen(name) + 1 + strlen(response) + 2 <= POP3_LINE_MAX;
        if (fits)
            snprintf(argument, sizeof argument, "%s %s", name, *response ? response : "=");
        a->held = fits ? NULL : response;
    }
    enum pop3_sent result = pop3_send(a->core, POP3_CMD_AUTH, argument, strlen(argument));
    explicit_bzero(argument, sizeof argument);
    return sent(a, result);
}

static enum auth_progress begin_sasl(struct auth *a, const char *secret)
{
    const struct auth_login *login = &a->login;
    const struct row *row = current(a);
    struct sasl_login with = {.user = login->user,
                              .secret = secret,
                              .service = "pop",
                              .host = login->host,
                              .port = login->port,
                              .binding = login->binding};

    sasl_free(a->sasl);
    a->held = NULL;
    a->cancelled = false;
    a->sasl = sasl_new(row->mechanism, &with, &a->error);
    if (a->sasl)
        return begin_exchange(a);
    a->command = row->command;
    return is_auto(a) ? try_next(a) : AUTH_FAILED;
}

static enum auth_progress begin_row(struct auth *a, int row)
{
    a->row = row;
    a->tried |= 1u << row;
    if (current(a)->kind == BY_USER)
        return sent(a, pop3_send(a->core, POP3_CMD_USER, a->login.user, strlen(a->login.user)));

    char *secret = a->login.secret(a->login.arg, &a->error);
    if (!secret)
        return fail(a, current(a)->command);
    enum auth_progress progress =
        current(a)->kind == BY_APOP ? begin_apop(a, secret) : begin_sasl(a, secret);
    secret_wipe(secret);
    return progress;
}

static enum auth_progress try_next(struct auth *a)
{
    const char *unsafe = NULL;

    for (int i = 0; i < ROWS; i++) {
        const struct row *row = &rows[i];
        if (a->tried & 1u << i || !wanted(a, row) || !on_offer(a, row))
            continue;
        if (safe(a, row))
            return begin_row(a, i);
        unsafe = row->command;
    }
    return no_way(a, unsafe);
}

enum auth_progress auth_begin(struct auth *a, struct pop3 *core, const struct auth_login *login)
{
    a->core = core;
    a->login = *login;
    return try_next(a);
}

/* --- answers ------------------------------------------------------------------------------ */

/* RFC 2449, RFC 3206: these say that the password is not what is wrong. */
static bool is_temporary(const struct reply *reply)
{
    return reply_has_code(reply, "SYS") || reply_has_code(reply, "IN-USE") ||
           reply_has_code(reply, "LOGIN-DELAY");
}

static void note_reply(struct auth *a, const struct pop3_event *event)
{
    char text[300], words[160] = "";
    const struct reply *reply = event->reply;

    log_escape(text, sizeof text, reply->text, reply->text_len);
    if (a->sasl)
        log_escape(words, sizeof words, sasl_words(a->sasl), strlen(sasl_words(a->sasl)));
    (void)error_set(&a->error, ERROR_PERMANENT, "the server said: -ERR %s%s%s", text,
                    words[0] ? ", and before: " : "", words);
    bool basic = current(a)->kind == BY_USER;
    a->command = basic ? pop3_command_name(event->command) : current(a)->command;
}

static enum auth_progress on_refused(struct auth *a, const struct pop3_event *event)
{
    bool sasl = current(a)->kind == BY_SASL;
    bool used = !sasl || sasl_secret_used(a->sasl);

    if (!a->cancelled)
        note_reply(a, event);
    else
        a->command = current(a)->command;
    if (is_temporary(event->reply))
        return AUTH_FAILED;
    if (reply_has_code(event->reply, "AUTH"))
        return AUTH_REFUSED;
    if (!used)
        return is_auto(a) ? try_next(a) : AUTH_FAILED;
    /* RFC 3206: a server that offers the code would have said [AUTH] of a bad password. */
    bool marks = a->core->capabilities & POP3_CAP_AUTH_RESP_CODE;
    return a->cancelled || marks ? AUTH_FAILED : AUTH_REFUSED;
}

static enum auth_progress on_accepted(struct auth *a, const struct pop3_event *event)
{
    if (event->command == POP3_CMD_USER)
        return send_password(a);
    if (event->command != POP3_CMD_AUTH || (sasl_complete(a->sasl) && !a->cancelled))
        return AUTH_DONE;
    (void)error_set(&a->error, ERROR_PERMANENT,
                    "the server said +OK before the exchange was through: it did not prove itself");
    return fail(a, current(a)->command);
}

static enum auth_progress on_challenge(struct auth *a, const struct pop3_event *event)
{
    const char *response = a->held;

    a->held = NULL;
    if (!response && !sasl_step(a->sasl, event->data, event->len, &response, &a->error)) {
        a->cancelled = true;
        return sent(a, pop3_cancel(a->core));
    }
    return sent(a, pop3_respond(a->core, response, strlen(response)));
}

enum auth_progress auth_event(struct auth *a, const struct pop3_event *event)
{
    if (event->type == POP3_EV_CHALLENGE)
        return on_challenge(a, event);
    return event->reply->ok ? on_accepted(a, event) : on_refused(a, event);
}
