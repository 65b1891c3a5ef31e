/* NTLM, the client's side (MS-NLMP), connectionless and without I/O: three messages, of which the
 * first and the third are written here and the second is read.
 *
 * NTLMv2 is the rule. NTLMv1 can be broken in hours by whoever hears it, and is computed only when
 * the caller asks for it. A server that names the time is given a MIC over all three messages
 * (3.1.5.1.2). No signing or sealing of what follows is negotiated. */
#ifndef LIB_NTLM_H
#define LIB_NTLM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/error.h"

enum {
    NTLM_CHALLENGE_MAX = 4096, /* octets of a challenge message; longer ones are refused */
    NTLM_NAME_MAX = 512,       /* octets of a user, domain or host name, in UTF-16 */
    NTLM_AUTHENTICATE_MAX = 88 + 24 + NTLM_CHALLENGE_MAX + 64 + 3 * NTLM_NAME_MAX,
    NTLM_NEGOTIATE_SIZE = 32,
};

/* The hashes and responses of MS-NLMP 3.3; here for the vectors of 4.2. Text is UTF-8. */
MUST_CHECK bool ntlm_hash_v1(const char *password, uint8_t hash[16], struct error *err);
MUST_CHECK bool ntlm_hash_v2(const char *user, const char *domain, const char *password,
                             uint8_t hash[16], struct error *err);
MUST_CHECK bool ntlm_response_v1(const uint8_t hash[16], const uint8_t server_challenge[8],
                                 uint8_t response[24], struct error *err);
/* temp is what follows the proof in the response (3.3.2). */
MUST_CHECK bool ntlm_proof_v2(const uint8_t hash[16], const uint8_t server_challenge[8],
                              const uint8_t *temp, size_t temp_len, uint8_t proof[16],
                              struct error *err);

/* A challenge, as read. The pointers go into the message. */
struct ntlm_challenge {
    const uint8_t *message;
    size_t message_len;
    uint32_t flags;
    uint8_t nonce[8];
    const uint8_t *target_name; /* UTF-16LE, or the server's code page: see flags */
    size_t target_name_len;
    const uint8_t *target_info; /* AV pairs, checked to be well formed and ended */
    size_t target_info_len;
    uint64_t timestamp; /* from the AV pairs; 0: none */
};

struct ntlm_client {
    const char *user; /* "user", "DOMAIN\user" or "user@domain"; UTF-8 */
    const char *password;
    bool v1;          /* NTLMv1 instead of NTLMv2 */
    uint8_t nonce[8]; /* random */
    uint64_t now;     /* 100 ns since 1601; used when the server names no time */
};

/* Writes the first message. */
void ntlm_negotiate(uint8_t out[NTLM_NEGOTIATE_SIZE]);

/* Reads the second. Every length and offset in it is checked against the message's own end. */
MUST_CHECK bool ntlm_challenge_read(const uint8_t *message, size_t len, struct ntlm_challenge *out,
                                    struct error *err);

/* Writes the third, at most NTLM_AUTHENTICATE_MAX octets, and sets *len. */
MUST_CHECK bool ntlm_authenticate(const struct ntlm_client *client,
                                  const struct ntlm_challenge *challenge, uint8_t *out, size_t *len,
                                  struct error *err);

#endif
