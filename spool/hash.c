#include "spool/hash.h"
#include <sodium.h>

const char *hash_text(const unsigned char hash[static HASH_LEN], char text[static HASH_TEXT_SIZE])
{
    return sodium_bin2hex(text, HASH_TEXT_SIZE, hash, HASH_LEN);
}
