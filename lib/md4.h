/* MD4 (RFC 1320). Broken as a hash for long; NTLM is made of it, and OpenSSL 3 has it only in a
 * provider that need not be there. For nothing else. */
#ifndef LIB_MD4_H
#define LIB_MD4_H

#include <stddef.h>
#include <stdint.h>

void md4(const uint8_t *data, size_t len, uint8_t digest[16]);

#endif
