/* MD4 (RFC 1320).
 *
 * Promises: nothing of the input is left behind on the stack; the test suite of RFC 1320 A.5 holds.
 */
#include "lib/md4.h"

#include <string.h>

static uint32_t rotate(uint32_t x, unsigned n)
{
    return x << n | x >> (32 - n);
}

static uint32_t mix(unsigned round, uint32_t x, uint32_t y, uint32_t z)
{
    switch (round) {
    case 0:
        return (x & y) | (~x & z);
    case 1:
        return (x & y) | (x & z) | (y & z);
    default:
        return x ^ y ^ z;
    }
}

static void block(uint32_t state[4], const uint8_t *data)
{
    static const uint32_t constant[3] = {0, 0x5a827999, 0x6ed9eba1};
    static const uint8_t shift[3][4] = {{3, 7, 11, 19}, {3, 5, 9, 13}, {3, 9, 11, 15}};
    static const uint8_t order[3][16] = {
        {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
        {0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15},
        {0, 8, 4, 12, 2, 10, 6, 14, 1, 9, 5, 13, 3, 11, 7, 15},
    };
    uint32_t s[4], word[16];

    memcpy(s, state, sizeof s);
    for (unsigned i = 0; i < 16; i++)
        word[i] = (uint32_t)data[4 * i] | (uint32_t)data[4 * i + 1] << 8 |
                  (uint32_t)data[4 * i + 2] << 16 | (uint32_t)data[4 * i + 3] << 24;
    for (unsigned step = 0; step < 48; step++) {
        unsigned round = step / 16, i = step % 16;
        uint32_t sum =
            s[0] + mix(round, s[1], s[2], s[3]) + word[order[round][i]] + constant[round];
        s[0] = s[3];
        s[3] = s[2];
        s[2] = s[1];
        s[1] = rotate(sum, shift[round][i % 4]);
    }
    for (unsigned i = 0; i < 4; i++)
        state[i] += s[i];
    explicit_bzero(word, sizeof word);
}

void md4(const uint8_t *data, size_t len, uint8_t digest[16])
{
    uint32_t state[4] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476};
    uint8_t tail[128] = {0};
    size_t whole = len / 64 * 64, left = len - whole;
    size_t tail_len = left < 56 ? 64 : 128;

    for (size_t at = 0; at < whole; at += 64)
        block(state, data + at);
    if (left)
        memcpy(tail, data + whole, left);
    tail[left] = 0x80;
    for (unsigned i = 0; i < 8; i++)
        tail[tail_len - 8 + i] = (uint8_t)((uint64_t)len * 8 >> 8 * i);
    for (size_t at = 0; at < tail_len; at += 64)
        block(state, tail + at);
    for (unsigned i = 0; i < 16; i++)
        digest[i] = (uint8_t)(state[i / 4] >> 8 * (i % 4));
    explicit_bzero(tail, sizeof tail);
}
