/* ULIDs. Within one millisecond the random part is counted up, so that ids of one process sort in
 * the order they were made. */
#include "spool/id.h"
#include "lib/clock.h"
#include <sodium.h>
#include <string.h>

#define TIME_DIGITS  10
#define RANDOM_BYTES 10

static const char digits[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/* Adds one to the big-endian number; false when it ran over. */
static bool count_up(unsigned char *number, size_t n)
{
    while (n-- > 0)
        if (++number[n] != 0)
            return true;
    return false;
}

/* The 16 digits of 80 bits, five bits each. */
static void spell_random(const unsigned char random[static RANDOM_BYTES], char *out)
{
    for (unsigned i = 0; i < 16; i++) {
        unsigned bit = i * 5, byte = bit / 8, shift = bit % 8;
        unsigned window =
            (unsigned)random[byte] << 8 | (byte + 1 < RANDOM_BYTES ? random[byte + 1] : 0u);
        out[i] = digits[window >> (11 - shift) & 31];
    }
}

void id_new(char id[static ID_SIZE])
{
    static int64_t last_ms;
    static unsigned char random[RANDOM_BYTES];
    int64_t now = clock_now();
    if (now > last_ms) {
        last_ms = now;
        randombytes_buf(random, sizeof random);
    } else if (!count_up(random, sizeof random)) {
        last_ms++;
    }
    uint64_t ms = (uint64_t)last_ms;
    for (int i = TIME_DIGITS - 1; i >= 0; i--, ms >>= 5)
        id[i] = digits[ms & 31];
    spell_random(random, id + TIME_DIGITS);
    id[ID_LEN] = '\0';
}

bool id_valid(const char *text, size_t len)
{
    if (len != ID_LEN || text[0] > '7')
        return false;
    for (size_t i = 0; i < len; i++)
        if (text[i] == '\0' || memchr(digits, text[i], 32) == NULL)
            return false;
    return true;
}

int64_t id_time(const char id[static ID_SIZE])
{
    int64_t ms = 0;
    for (int i = 0; i < TIME_DIGITS; i++) {
        const char *digit = memchr(digits, id[i], 32);
        ms = ms << 5 | (digit != NULL ? digit - digits : 0);
    }
    return ms;
}
