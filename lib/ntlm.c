/* NTLM, the client's side (MS-NLMP).
 *
 * Promises: no length or offset of a challenge is believed before it is checked against the
 * message; what is written stays within NTLM_AUTHENTICATE_MAX; hashes of the password are wiped
 * from the stack. MD4 is our own, DES is 3DES with one key: OpenSSL's default provider has neither.
 */
#include "lib/ntlm.h"

#include <glib.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <string.h>

#include "lib/md4.h"

enum {
    FLAG_UNICODE = 0x00000001,
    FLAG_OEM = 0x00000002,
    FLAG_REQUEST_TARGET = 0x00000004,
    FLAG_NTLM = 0x00000200,
    FLAG_ALWAYS_SIGN = 0x00008000,
    FLAG_TARGET_INFO = 0x00800000,

    AV_END = 0,
    AV_FLAGS = 6,
    AV_TIMESTAMP = 7,
    AV_FLAG_MIC = 2,

    CHALLENGE_SHORT = 32, /* as old servers end it */
    CHALLENGE_FULL = 48,
    AUTHENTICATE_HEAD = 64,
    AUTHENTICATE_MIC = AUTHENTICATE_HEAD + 8, /* behind a version, which stays zeros */
    BLOB_HEAD = 28,
    BLOB_MAX = BLOB_HEAD + NTLM_CHALLENGE_MAX + 8,
};

static const uint8_t signature[8] = "NTLMSSP";

/* --- little-endian ------------------------------------------------------------------------ */

static uint64_t get(const uint8_t *p, unsigned octets)
{
    uint64_t value = 0;
    for (unsigned i = octets; i-- > 0;)
        value = value << 8 | p[i];
    return value;
}

static void put(uint8_t *p, uint64_t value, unsigned octets)
{
    for (unsigned i = 0; i < octets; i++)
        p[i] = (uint8_t)(value >> 8 * i);
}

/* --- text --------------------------------------------------------------------------------- */

struct utf16 {
    uint8_t bytes[NTLM_NAME_MAX];
    size_t len;
};

static bool append_unit(struct utf16 *out, uint32_t unit)
{
    if (out->len + 2 > sizeof out->bytes)
        return false;
    put(out->bytes + out->len, unit, 2);
    out->len += 2;
    return true;
}

static bool append_character(struct utf16 *out, gunichar c)
{
    if (c < 0x10000)
        return append_unit(out, c);
    c -= 0x10000;
    return append_unit(out, 0xd800 + (c >> 10)) && append_unit(out, 0xdc00 + (c & 0x3ff));
}

static bool append_text(struct utf16 *out, const char *text, bool upper, struct error *err)
{
    if (!g_utf8_validate(text, -1, NULL))
        return error_set(err, ERROR_USAGE, "NTLM needs a user name and password in UTF-8");
    for (; *text; text = g_utf8_next_char(text)) {
        gunichar c = g_utf8_get_char(text);
        if (!append_character(out, upper ? g_unichar_toupper(c) : c))
            return error_set(err, ERROR_USAGE, "the user name or password is too long for NTLM");
    }
    return true;
}

/* --- hashes and responses (3.3) ----------------------------------------------------------- */

static bool crypto_failed(struct error *err)
{
    return error_set(err, ERROR_PERMANENT, "OpenSSL refuses what NTLM needs (MD5, 3DES)");
}

static bool hmac_md5(const uint8_t key[16], const uint8_t *data, size_t len, uint8_t out[16])
{
    unsigned out_len = 16;
    return HMAC(EVP_md5(), key, 16, data, len, out, &out_len) != NULL;
}

bool ntlm_hash_v1(const char *password, uint8_t hash[16], struct error *err)
{
    struct utf16 text = {.len = 0};
    bool ok = append_text(&text, password, false, err);

    if (ok)
        md4(text.bytes, text.len, hash);
    explicit_bzero(&text, sizeof text);
    return ok;
}

bool ntlm_hash_v2(const char *user, const char *domain, const char *password, uint8_t hash[16],
                  struct error *err)
{
    struct utf16 identity = {.len = 0};
    uint8_t v1[16], result[16];

    if (!append_text(&identity, user, true, err) || !append_text(&identity, domain, false, err) ||
        !ntlm_hash_v1(password, v1, err))
        return false;
    bool ok = hmac_md5(v1, identity.bytes, identity.len, result) || crypto_failed(err);
    if (ok)
        memcpy(hash, result, sizeof result);
    explicit_bzero(v1, sizeof v1);
    explicit_bzero(result, sizeof result);
    return ok;
}

/* 56 bits spread over eight octets; the parity bits don't matter. */
static void des_key(const uint8_t seven[7], uint8_t key[8])
{
    for (unsigned i = 0; i < 8; i++) {
        unsigned high = i ? (unsigned)seven[i - 1] << (8 - i) : 0;
        unsigned low = i < 7 ? (unsigned)seven[i] >> i : 0;
        key[i] = (uint8_t)((high | low) & 0xfe);
    }
}

static bool des(const uint8_t seven[7], const uint8_t in[8], uint8_t out[8])
{
    uint8_t key[24], result[16];
    int len = 0;
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();

    for (unsigned i = 0; i < 3; i++)
        des_key(seven, key + 8 * i);
    bool ok = ctx && EVP_EncryptInit_ex(ctx, EVP_des_ede3_ecb(), NULL, key, NULL) == 1 &&
              EVP_CIPHER_CTX_set_padding(ctx, 0) == 1 &&
              EVP_EncryptUpdate(ctx, result, &len, in, 8) == 1 && len == 8;
    if (ok)
        memcpy(out, result, 8);
    explicit_bzero(key, sizeof key);
    EVP_CIPHER_CTX_free(ctx);
    return ok;
}

bool ntlm_response_v1(const uint8_t hash[16], const uint8_t server_challenge[8],
                      uint8_t response[24], struct error *err)
{
    uint8_t keys[21] = {0}, result[24];
    bool ok = true;

    memcpy(keys, hash, 16);
    for (unsigned i = 0; i < 3 && ok; i++)
        ok = des(keys + 7 * i, server_challenge, result + 8 * i);
    if (ok)
        memcpy(response, result, sizeof result);
    explicit_bzero(keys, sizeof keys);
    return ok || crypto_failed(err);
}

bool ntlm_proof_v2(const uint8_t hash[16], const uint8_t server_challenge[8], const uint8_t *temp,
                   size_t temp_len, uint8_t proof[16], struct error *err)
{
    uint8_t text[8 + BLOB_MAX];

    if (temp_len > BLOB_MAX)
        return error_set(err, ERROR_PERMANENT, "the server's NTLM challenge is too long");
    memcpy(text, server_challenge, 8);
    memcpy(text + 8, temp, temp_len);
    return hmac_md5(hash, text, 8 + temp_len, proof) || crypto_failed(err);
}

/* --- messages (2.2.1) --------------------------------------------------------------------- */

void ntlm_negotiate(uint8_t out[NTLM_NEGOTIATE_SIZE])
{
    memset(out, 0, NTLM_NEGOTIATE_SIZE);
    memcpy(out, signature, 8);
    put(out + 8, 1, 4);
    put(out + 12, FLAG_UNICODE | FLAG_OEM | FLAG_REQUEST_TARGET | FLAG_NTLM | FLAG_ALWAYS_SIGN, 4);
    put(out + 20, NTLM_NEGOTIATE_SIZE, 4); /* offsets of the two names that are not given */
    put(out + 28, NTLM_NEGOTIATE_SIZE, 4);
}

/* A field is length, allocated length, offset. */
static bool read_field(const uint8_t *message, size_t len, size_t at, const uint8_t **data,
                       size_t *data_len)
{
    size_t field_len = (size_t)get(message + at, 2), offset = (size_t)get(message + at + 4, 4);

    if (field_len && (offset > len || field_len > len - offset))
        return false;
    *data = field_len ? message + offset : message;
    *data_len = field_len;
    return true;
}

/* AV pairs: id, length, value, up to the pair with id 0 and length 0. */
static bool read_target_info(struct ntlm_challenge *c)
{
    const uint8_t *p = c->target_info;
    size_t left = c->target_info_len;

    while (left >= 4) {
        unsigned id = (unsigned)get(p, 2);
        size_t len = (size_t)get(p + 2, 2);
        if (len > left - 4)
            return false;
        if (id == AV_END)
            return len == 0;
        if (id == AV_TIMESTAMP && len != 8)
            return false;
        if (id == AV_TIMESTAMP)
            c->timestamp = get(p + 4, 8);
        p += 4 + len;
        left -= 4 + len;
    }
    return c->target_info_len == 0;
}

bool ntlm_challenge_read(const uint8_t *message, size_t len, struct ntlm_challenge *out,
                         struct error *err)
{
    struct ntlm_challenge c = {.message = message, .message_len = len};

    if (len < CHALLENGE_SHORT || len > NTLM_CHALLENGE_MAX || memcmp(message, signature, 8) != 0 ||
        get(message + 8, 4) != 2)
        return error_set(err, ERROR_PERMANENT, "what the server sent is no NTLM challenge");
    c.flags = (uint32_t)get(message + 20, 4);
    memcpy(c.nonce, message + 24, 8);
    if (!read_field(message, len, 12, &c.target_name, &c.target_name_len))
        return error_set(err, ERROR_PERMANENT, "the NTLM challenge lies about its lengths");
    if (c.flags & FLAG_TARGET_INFO && len >= CHALLENGE_FULL &&
        (!read_field(message, len, 40, &c.target_info, &c.target_info_len) ||
         !read_target_info(&c)))
        return error_set(err, ERROR_PERMANENT, "the NTLM challenge lies about its lengths");
    *out = c;
    return true;
}

/* --- the third message -------------------------------------------------------------------- */

struct identity {
    char user[NTLM_NAME_MAX], domain[NTLM_NAME_MAX];
};

/* The server's own domain as UTF-8, for a user who names none. "" when it makes no sense. */
static void server_domain(const struct ntlm_challenge *c, char *out, size_t size)
{
    glong written = 0;
    gunichar2 units[NTLM_NAME_MAX / 2 + 1];
    size_t count = c->target_name_len / 2;
    char *text = NULL;

    out[0] = '\0';
    if (c->flags & FLAG_UNICODE && count < G_N_ELEMENTS(units)) {
        for (size_t i = 0; i < count; i++)
            units[i] = (gunichar2)get(c->target_name + 2 * i, 2);
        text = g_utf16_to_utf8(units, (glong)count, NULL, &written, NULL);
    } else if (!(c->flags & FLAG_UNICODE)) {
        text = g_strndup((const char *)c->target_name, c->target_name_len);
    }
    if (text && strlen(text) < size && g_utf8_validate(text, -1, NULL))
        g_strlcpy(out, text, size);
    g_free(text);
}

static bool split_user(const struct ntlm_client *client, const struct ntlm_challenge *c,
                       struct identity *id, struct error *err)
{
    const char *slash = strchr(client->user, '\\');
    const char *user = slash ? slash + 1 : client->user;
    size_t domain_len = slash ? (size_t)(slash - client->user) : 0;

    if (strlen(user) >= sizeof id->user || domain_len >= sizeof id->domain)
        return error_set(err, ERROR_USAGE, "the user name is too long for NTLM");
    g_strlcpy(id->user, user, sizeof id->user);
    memcpy(id->domain, client->user, domain_len);
    id->domain[domain_len] = '\0';
    if (!slash && !strchr(user, '@'))
        server_domain(c, id->domain, sizeof id->domain);
    return true;
}

struct responses {
    uint8_t lm[24];
    uint8_t nt[16 + BLOB_MAX];
    size_t nt_len;
    bool mic; /* to be added, with this key */
    uint8_t session_key[16];
};

/* The server's AV pairs; where they name the time, with the word that a MIC comes along. */
static size_t write_target_info(const struct ntlm_challenge *c, uint8_t *out)
{
    bool told = !c->timestamp;
    uint8_t *p = out;

    memcpy(out, c->target_info_len ? c->target_info : (const uint8_t *)"\0\0\0",
           c->target_info_len ? c->target_info_len : 4);
    for (; get(p, 2) != AV_END; p += 4 + get(p + 2, 2)) {
        if (told || get(p, 2) != AV_FLAGS || get(p + 2, 2) != 4)
            continue;
        p[4] |= AV_FLAG_MIC;
        told = true;
    }
    if (!told) {
        put(p, AV_FLAGS, 2);
        put(p + 2, 4, 2);
        put(p + 4, AV_FLAG_MIC, 4);
        p += 8;
    }
    put(p, AV_END, 4);
    return (size_t)(p - out) + 4;
}

static size_t write_blob(const struct ntlm_client *client, const struct ntlm_challenge *c,
                         uint8_t *out)
{
    memset(out, 0, BLOB_HEAD);
    out[0] = out[1] = 1;
    put(out + 8, c->timestamp ? c->timestamp : client->now, 8);
    memcpy(out + 16, client->nonce, 8);
    size_t len = BLOB_HEAD + write_target_info(c, out + BLOB_HEAD);
    memset(out + len, 0, 4);
    return len + 4;
}

/* With a server's timestamp the LM response is to be zeros (3.1.5.1.2). */
static bool respond_v2(const struct ntlm_client *client, const struct ntlm_challenge *c,
                       const struct identity *id, struct responses *r, struct error *err)
{
    uint8_t hash[16];
    size_t blob = write_blob(client, c, r->nt + 16);

    if (!ntlm_hash_v2(id->user, id->domain, client->password, hash, err))
        return false;
    bool ok = ntlm_proof_v2(hash, c->nonce, r->nt + 16, blob, r->nt, err);
    memset(r->lm, 0, sizeof r->lm);
    if (ok && !c->timestamp) {
        ok = ntlm_proof_v2(hash, c->nonce, client->nonce, 8, r->lm, err);
        memcpy(r->lm + 16, client->nonce, 8);
    }
    r->nt_len = 16 + blob;
    r->mic = c->timestamp;
    if (ok && !hmac_md5(hash, r->nt, 16, r->session_key))
        ok = crypto_failed(err);
    explicit_bzero(hash, sizeof hash);
    return ok;
}

/* No LM hash of the password leaves the house: the NT response stands in both places. */
static bool respond_v1(const struct ntlm_client *client, const struct ntlm_challenge *c,
                       struct responses *r, struct error *err)
{
    uint8_t hash[16];

    if (!ntlm_hash_v1(client->password, hash, err))
        return false;
    bool ok = ntlm_response_v1(hash, c->nonce, r->nt, err);
    if (ok)
        memcpy(r->lm, r->nt, sizeof r->lm);
    r->nt_len = 24;
    explicit_bzero(hash, sizeof hash);
    return ok;
}

static void add_field(uint8_t *out, size_t *end, size_t at, const void *data, size_t len)
{
    put(out + at, len, 2);
    put(out + at + 2, len, 2);
    put(out + at + 4, *end, 4);
    memcpy(out + *end, data, len);
    *end += len;
}

static bool add_name(uint8_t *out, size_t *end, size_t at, const char *name, bool unicode,
                     struct error *err)
{
    struct utf16 text = {.len = 0};

    if (!append_text(&text, name, false, err))
        return false;
    if (unicode)
        add_field(out, end, at, text.bytes, text.len);
    else
        add_field(out, end, at, name, strlen(name));
    return true;
}

/* Over the three messages, the MIC's own place being zeros. */
static bool add_mic(const struct ntlm_challenge *c, const struct responses *r, uint8_t *out,
                    size_t len, struct error *err)
{
    uint8_t all[NTLM_NEGOTIATE_SIZE + NTLM_CHALLENGE_MAX + NTLM_AUTHENTICATE_MAX];
    uint8_t *third = all + NTLM_NEGOTIATE_SIZE + c->message_len;

    ntlm_negotiate(all);
    memcpy(all + NTLM_NEGOTIATE_SIZE, c->message, c->message_len);
    memcpy(third, out, len);
    return hmac_md5(r->session_key, all, (size_t)(third - all) + len, out + AUTHENTICATE_MIC) ||
           crypto_failed(err);
}

static bool write_authenticate(const struct ntlm_challenge *c, const struct identity *id,
                               const struct responses *r, uint8_t *out, size_t *len,
                               struct error *err)
{
    bool unicode = c->flags & FLAG_UNICODE;
    uint32_t flags = (unicode ? FLAG_UNICODE : FLAG_OEM) | FLAG_NTLM |
                     (c->flags & (FLAG_ALWAYS_SIGN | FLAG_TARGET_INFO | FLAG_REQUEST_TARGET));
    size_t end = r->mic ? AUTHENTICATE_MIC + 16 : AUTHENTICATE_HEAD;

    memset(out, 0, end);
    memcpy(out, signature, 8);
    put(out + 8, 3, 4);
    put(out + 60, flags, 4);
    add_field(out, &end, 12, r->lm, sizeof r->lm);
    add_field(out, &end, 20, r->nt, r->nt_len);
    if (!add_name(out, &end, 28, id->domain, unicode, err) ||
        !add_name(out, &end, 36, id->user, unicode, err))
        return false;
    add_field(out, &end, 44, "", 0); /* our host's name is nobody's business */
    add_field(out, &end, 52, "", 0); /* no session key */
    if (r->mic && !add_mic(c, r, out, end, err))
        return false;
    *len = end;
    return true;
}

bool ntlm_authenticate(const struct ntlm_client *client, const struct ntlm_challenge *challenge,
                       uint8_t *out, size_t *len, struct error *err)
{
    struct identity id = {.user = ""};
    struct responses r = {.mic = false};

    if (!split_user(client, challenge, &id, err))
        return false;
    bool ok = client->v1 ? respond_v1(client, challenge, &r, err)
                         : respond_v2(client, challenge, &id, &r, err);
    ok = ok && write_authenticate(challenge, &id, &r, out, len, err);
    explicit_bzero(&r, sizeof r);
    return ok;
}
