/* The hash that spool files bear: BLAKE2b of 32 octets (libsodium's generichash, without a key). */
#ifndef SPOOL_HASH_H
#define SPOOL_HASH_H

#define HASH_LEN       32
#define HASH_TEXT_SIZE (2 * HASH_LEN + 1)

/* In hexadecimal; returns text. */
const char *hash_text(const unsigned char hash[static HASH_LEN], char text[static HASH_TEXT_SIZE]);

#endif
