/* SASL, the client's side.
 *
 * Promises: a challenge is bounded and decoded strictly before a mechanism sees it; no server can
 * make us compute for long; success counts only when the mechanism is through; copies of the secret
 * are wiped. */
#include "lib/sasl.h"

#include <assert.h>
#include <gsasl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/ntlm.h"

struct sasl {
    enum sasl_mechanism mechanism;
    unsigned steps;
    bool complete;
    bool secret_used;
    char *user, *secret, *host;
    int port;
    char *out; /* base64 */
    char words[SASL_WORDS_MAX];
    Gsasl *library;
    Gsasl_session *session;
};

/* What a mechanism makes of a decoded challenge: malloc'd octets to answer with. */
struct answer {
    char *data;
    size_t len;
};
typedef bool step_fn(struct sasl *s, const char *in, size_t len, struct answer *out,
                     struct error *err);
static step_fn step_gsasl, step_ntlm, step_xoauth2, step_oauthbearer;

static const struct {
    const char *name;
    step_fn *step;
    bool client_first;
    bool scram, plus;
    unsigned secret_at; /* the step, from 1, whose answer depends on the secret */
} mechanisms[] = {
    [SASL_SCRAM_SHA_256_PLUS] = {.name = "SCRAM-SHA-256-PLUS",
                                 .step = step_gsasl,
                                 .client_first = true,
                                 .scram = true,
                                 .plus = true,
                                 .secret_at = 2},
    [SASL_SCRAM_SHA_1_PLUS] = {.name = "SCRAM-SHA-1-PLUS",
                               .step = step_gsasl,
                               .client_first = true,
                               .scram = true,
                               .plus = true,
                               .secret_at = 2},
    [SASL_SCRAM_SHA_256] = {.name = "SCRAM-SHA-256",
                            .step = step_gsasl,
                            .client_first = true,
                            .scram = true,
                            .secret_at = 2},
    [SASL_SCRAM_SHA_1] = {.name = "SCRAM-SHA-1",
                          .step = step_gsasl,
                          .client_first = true,
                          .scram = true,
                          .secret_at = 2},
    [SASL_DIGEST_MD5] = {.name = "DIGEST-MD5", .step = step_gsasl, .secret_at = 1},
    [SASL_CRAM_MD5] = {.name = "CRAM-MD5", .step = step_gsasl, .secret_at = 1},
    [SASL_NTLM] = {.name = "NTLM", .step = step_ntlm, .client_first = true, .secret_at = 2},
    [SASL_NTLMV1] = {.name = "NTLM", .step = step_ntlm, .client_first = true, .secret_at = 2},
    [SASL_PLAIN] = {.name = "PLAIN", .step = step_gsasl, .client_first = true, .secret_at = 1},
    [SASL_LOGIN] = {.name = "LOGIN", .step = step_gsasl, .secret_at = 2},
    [SASL_XOAUTH2] = {.name = "XOAUTH2",
                      .step = step_xoauth2,
                      .client_first = true,
                      .secret_at = 1},
    [SASL_OAUTHBEARER] = {.name = "OAUTHBEARER",
                          .step = step_oauthbearer,
                          .client_first = true,
                          .secret_at = 1},
};
static_assert(sizeof mechanisms / sizeof *mechanisms == SASL_MECHANISMS, "a row for each");

const char *sasl_name(enum sasl_mechanism mechanism)
{
    return mechanisms[mechanism].name;
}

bool sasl_client_first(enum sasl_mechanism mechanism)
{
    return mechanisms[mechanism].client_first;
}

static char *copy(const char *text)
{
    char *out = strdup(text);
    if (!out)
        abort();
    return out;
}

static void wipe(char *text, size_t len)
{
    if (text)
        explicit_bzero(text, len);
    free(text);
}

static void wipe_text(char *text)
{
    wipe(text, text ? strlen(text) : 0);
}

/* --- libgsasl ----------------------------------------------------------------------------- */

static bool gsasl_failed(enum sasl_mechanism mechanism, int code, struct error *err)
{
    return error_set(err, ERROR_PERMANENT, "%s: %s", sasl_name(mechanism), gsasl_strerror(code));
}

static void set_binding(struct sasl *s, const struct sasl_binding *binding)
{
    char text[sodium_base64_ENCODED_LEN(SASL_BINDING_MAX, sodium_base64_VARIANT_ORIGINAL)];

    sodium_bin2base64(text, sizeof text, binding->data, binding->len,
                      sodium_base64_VARIANT_ORIGINAL);
    (void)gsasl_property_set(s->session,
                             binding->exporter ? GSASL_CB_TLS_EXPORTER : GSASL_CB_TLS_UNIQUE, text);
}

static bool begin_gsasl(struct sasl *s, const struct sasl_login *login, struct error *err)
{
    int code = gsasl_init(&s->library);

    if (code == GSASL_OK)
        code = gsasl_client_start(s->library, sasl_name(s->mechanism), &s->session);
    if (code != GSASL_OK)
        return gsasl_failed(s->mechanism, code, err);
    (void)gsasl_property_set(s->session, GSASL_AUTHID, login->user);
    (void)gsasl_property_set(s->session, GSASL_PASSWORD, login->secret);
    (void)gsasl_property_set(s->session, GSASL_SERVICE, login->service);
    (void)gsasl_property_set(s->session, GSASL_HOSTNAME, login->host);
    if (!mechanisms[s->mechanism].plus)
        return true;
    /* Without -PLUS it is "n" and never "y" (RFC 5802 section 6): given a binding, libgsasl 2.2
     * fails by itself before it has said anything. */
    if (!login->binding)
        return error_set(err, ERROR_PERMANENT, "%s needs TLS to be bound to",
                         sasl_name(s->mechanism));
    set_binding(s, login->binding);
    return true;
}

/* server-first-message: r=...,s=...,i=COUNT (RFC 5802 section 7). */
static bool iterations_bearable(const char *in, size_t len)
{
    const char *count = len ? memmem(in, len, ",i=", 3) : NULL;
    char digits[12] = "";

    if (!count)
        return true;
    size_t left = (size_t)(in + len - (count + 3));
    memcpy(digits, count + 3, left < sizeof digits - 1 ? left : sizeof digits - 1);
    return strtoll(digits, NULL, 10) <= SASL_ITERATIONS_MAX;
}

static bool step_gsasl(struct sasl *s, const char *in, size_t len, struct answer *out,
                       struct error *err)
{
    if (mechanisms[s->mechanism].scram && !iterations_bearable(in, len))
        return error_set(err, ERROR_PERMANENT, "%s: the server asks for more than %d iterations",
                         sasl_name(s->mechanism), SASL_ITERATIONS_MAX);
    int code = gsasl_step(s->session, in, len, &out->data, &out->len);
    if (code != GSASL_OK && code != GSASL_NEEDS_MORE)
        return gsasl_failed(s->mechanism, code, err);
    s->complete = code == GSASL_OK;
    return true;
}

/* --- NTLM --------------------------------------------------------------------------------- */

/* 100 ns since 1601-01-01. */
static uint64_t ntlm_now(void)
{
    return ((uint64_t)clock_now() + 11644473600000u) * 10000u;
}

static bool answer_challenge(struct sasl *s, const char *in, size_t len, struct answer *out,
                             struct error *err)
{
    struct ntlm_challenge challenge;
    struct ntlm_client client = {.user = s->user,
                                 .password = s->secret,
                                 .v1 = s->mechanism == SASL_NTLMV1,
                                 .now = ntlm_now()};
    uint8_t message[NTLM_AUTHENTICATE_MAX];

    randombytes_buf(client.nonce, sizeof client.nonce);
    if (!ntlm_challenge_read((const uint8_t *)in, len, &challenge, err) ||
        !ntlm_authenticate(&client, &challenge, message, &out->len, err))
        return false;
    out->data = malloc(out->len);
    if (!out->data)
        abort();
    memcpy(out->data, message, out->len);
    s->complete = true;
    return true;
}

static bool step_ntlm(struct sasl *s, const char *in, size_t len, struct answer *out,
                      struct error *err)
{
    if (s->steps == 2)
        return answer_challenge(s, in, len, out, err);
    if (s->steps > 2)
        return error_set(err, ERROR_PERMANENT, "NTLM: a challenge too many");
    out->data = malloc(NTLM_NEGOTIATE_SIZE);
    if (!out->data)
        abort();
    ntlm_negotiate((uint8_t *)out->data);
    out->len = NTLM_NEGOTIATE_SIZE;
    return true;
}

/* --- OAuth 2 ------------------------------------------------------------------------------ */

/* A challenge behind the token is the refusal, as JSON; it wants an answer before the -ERR. */
static void note_refusal(struct sasl *s, const char *in, size_t len)
{
    size_t take = len < sizeof s->words - 1 ? len : sizeof s->words - 1;

    memcpy(s->words, in, take);
    s->words[take] = '\0';
    s->complete = false;
}

static bool give_text(struct answer *out, int len, char *text)
{
    if (len < 0)
        abort();
    out->data = text;
    out->len = (size_t)len;
    return true;
}

/* "user=" USER ^A "auth=Bearer " TOKEN ^A ^A, as Google and Microsoft describe it. */
static bool step_xoauth2(struct sasl *s, const char *in, size_t len, struct answer *out,
                         struct error *err)
{
    char *text = NULL;

    (void)err;
    if (s->steps > 1) {
        note_refusal(s, in, len);
        return true;
    }
    s->complete = true;
    int n = asprintf(&text, "user=%s\1auth=Bearer %s\1\1", s->user, s->secret);
    return give_text(out, n, text);
}

/* RFC 5801: "," and "=" of the user name are written as =2C and =3D. */
static char *gs2_name(const char *user)
{
    char *out = malloc(3 * strlen(user) + 1), *to = out;

    if (!out)
        abort();
    for (; *user; user++) {
        if (*user == ',' || *user == '=')
            to += sprintf(to, *user == ',' ? "=2C" : "=3D");
        else
            *to++ = *user;
    }
    *to = '\0';
    return out;
}

/* RFC 7628 section 3.1. */
static bool step_oauthbearer(struct sasl *s, const char *in, size_t len, struct answer *out,
                             struct error *err)
{
    char *text = NULL;

    (void)err;
    if (s->steps > 1) {
        note_refusal(s, in, len);
        return give_text(out, 1, copy("\1"));
    }
    s->complete = true;
    char *user = gs2_name(s->user);
    int n = asprintf(&text, "n,a=%s,\1host=%s\1port=%d\1auth=Bearer %s\1\1", user, s->host, s->port,
                     s->secret);
    free(user);
    return give_text(out, n, text);
}

/* --- what the caller sees ----------------------------------------------------------------- */

struct sasl *sasl_new(enum sasl_mechanism mechanism, const struct sasl_login *login,
                      struct error *err)
{
    struct sasl *s = calloc(1, sizeof *s);

    if (!s)
        abort();
    *s = (struct sasl){.mechanism = mechanism,
                       .user = copy(login->user),
                       .secret = copy(login->secret),
                       .host = copy(login->host),
                       .port = login->port};
    if (mechanisms[mechanism].step == step_gsasl && !begin_gsasl(s, login, err)) {
        sasl_free(s);
        return NULL;
    }
    return s;
}

void sasl_free(struct sasl *s)
{
    if (!s)
        return;
    if (s->session)
        gsasl_finish(s->session);
    if (s->library)
        gsasl_done(s->library);
    wipe_text(s->out);
    wipe_text(s->secret);
    free(s->host);
    free(s->user);
    free(s);
}

static bool decode(const char *text, size_t len, char *out, size_t *out_len, struct error *err)
{
    if (len > SASL_CHALLENGE_MAX)
        return error_set(err, ERROR_PERMANENT, "the server's challenge is too long");
    if (sodium_base642bin((unsigned char *)out, SASL_CHALLENGE_MAX, text, len, NULL, out_len, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0)
        return error_set(err, ERROR_PERMANENT, "the server's challenge is not base64");
    return true;
}

static void encode(struct sasl *s, const struct answer *answer)
{
    size_t size = sodium_base64_encoded_len(answer->len, sodium_base64_VARIANT_ORIGINAL);

    wipe_text(s->out);
    s->out = malloc(size);
    if (!s->out)
        abort();
    sodium_bin2base64(s->out, size, (const unsigned char *)answer->data, answer->len,
                      sodium_base64_VARIANT_ORIGINAL);
}

bool sasl_step(struct sasl *s, const char *challenge, size_t len, const char **out,
               struct error *err)
{
    char in[SASL_CHALLENGE_MAX];
    size_t in_len = 0;
    struct answer answer = {.data = NULL};
    bool first = s->steps == 0 && mechanisms[s->mechanism].client_first;

    /* What invites us to speak first says nothing; some servers put words there. */
    if (!first && !decode(challenge, len, in, &in_len, err))
        return false;
    if (s->complete && mechanisms[s->mechanism].step == step_gsasl)
        return error_set(err, ERROR_PERMANENT, "%s: a challenge too many", sasl_name(s->mechanism));
    s->steps++;
    if (!mechanisms[s->mechanism].step(s, in, in_len, &answer, err))
        return false;
    s->secret_used = s->secret_used || s->steps >= mechanisms[s->mechanism].secret_at;
    encode(s, &answer);
    wipe(answer.data, answer.len);
    *out = s->out;
    return true;
}

bool sasl_complete(const struct sasl *s)
{
    return s->complete;
}

bool sasl_secret_used(const struct sasl *s)
{
    return s->secret_used;
}

const char *sasl_words(const struct sasl *s)
{
    return s->words;
}
