/* Sealed secrets (libsodium crypto_box_seal). A daemon owns a key pair, STATE-DIR/NAME.key (mode
 * 0600); whoever has the public key can seal a password for it, and only the daemon can open it.
 * The account's name goes inside the seal, so that a sealed text moved to another account does not
 * open. */
#ifndef LIB_SECRET_H
#define LIB_SECRET_H

#include "lib/error.h"

struct secret_key;

/* Loads NAME.key, and makes it first where it is missing. A key that others may read is refused. */
MUST_CHECK struct secret_key *secret_key_open(const char *state_dir, const char *name,
                                              struct error *err);
void secret_key_free(struct secret_key *key);
/* Base64; belongs to the key. */
const char *secret_key_public(const struct secret_key *key);

#define SECRET_MAX 4096 /* bytes of a password or token */

/* Returns the sealed secret in base64; the caller frees it. */
MUST_CHECK char *secret_seal(const char *public_key, const char *account, const char *secret,
                             struct error *err);
/* Returns the secret; the caller gives it back to secret_wipe. */
MUST_CHECK char *secret_open(const struct secret_key *key, const char *account, const char *sealed,
                             struct error *err);
/* Zeroes and frees; NULL is fine. */
void secret_wipe(char *secret);

#endif
