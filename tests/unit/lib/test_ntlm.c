/* NTLM against the vectors of MS-NLMP 4.2 and RFC 1320, and against challenges that lie. */
#include "lib/md4.h"
#include "lib/ntlm.h"
#include "tests/unit/cmocka_all.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* MS-NLMP 4.2.1 */
static const uint8_t server_challenge[8] = {0x01, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
static const uint8_t client_challenge[8] = {0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa, 0xaa};

/* The AV pairs of 4.2.4: Domain and Server. */
static const uint8_t target_info[] = {0x02, 0x00, 0x0c, 0x00, 0x44, 0x00, 0x6f, 0x00,
                                      0x6d, 0x00, 0x61, 0x00, 0x69, 0x00, 0x6e, 0x00, /* */
                                      0x01, 0x00, 0x0c, 0x00, 0x53, 0x00, 0x65, 0x00,
                                      0x72, 0x00, 0x76, 0x00, 0x65, 0x00, 0x72, 0x00, /* */
                                      0x00, 0x00, 0x00, 0x00};

/* The CHALLENGE_MESSAGE of 4.2.4.3. */
static const uint8_t challenge_message[] = {
    0x4e, 0x54, 0x4c, 0x4d, 0x53, 0x53, 0x50, 0x00, 0x02, 0x00, 0x00, 0x00, 0x0c, 0x00, 0x0c,
    0x00, 0x38, 0x00, 0x00, 0x00, 0x33, 0x82, 0x8a, 0xe2, 0x01, 0x23, 0x45, 0x67, 0x89, 0xab,
    0xcd, 0xef, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x24, 0x00, 0x24, 0x00, 0x44,
    0x00, 0x00, 0x00, 0x06, 0x00, 0x70, 0x17, 0x00, 0x00, 0x00, 0x0f, 0x53, 0x00, 0x65, 0x00,
    0x72, 0x00, 0x76, 0x00, 0x65, 0x00, 0x72, 0x00, 0x02, 0x00, 0x0c, 0x00, 0x44, 0x00, 0x6f,
    0x00, 0x6d, 0x00, 0x61, 0x00, 0x69, 0x00, 0x6e, 0x00, 0x01, 0x00, 0x0c, 0x00, 0x53, 0x00,
    0x65, 0x00, 0x72, 0x00, 0x76, 0x00, 0x65, 0x00, 0x72, 0x00, 0x00, 0x00, 0x00, 0x00};

static void assert_hex(const uint8_t *bytes, size_t len, const char *hex)
{
    char text[256];
    assert_int_equal(strlen(hex), 2 * len);
    for (size_t i = 0; i < len; i++)
        snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    assert_string_equal(text, hex);
}

static void test_md4(void **state)
{
    (void)state;
    static const struct {
        const char *text, *digest;
    } suite[] = {
        {"", "31d6cfe0d16ae931b73c59d7e0c089c0"},
        {"a", "bde52cb31de33e46245e05fbdbd6fb24"},
        {"abc", "a448017aaf21d8525fc10ae87aa6729d"},
        {"message digest", "d9130a8164549fe818874806e1c7014b"},
        {"abcdefghijklmnopqrstuvwxyz", "d79e1c308aa5bbcdeea8ed63df412da9"},
        {"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789",
         "043f8582f241db351ce627e153e7f0e4"},
        {"12345678901234567890123456789012345678901234567890123456789012345678901234567890",
         "e33b4ddc9c38f2199c3e7b164fcc0536"},
    };
    for (size_t i = 0; i < sizeof suite / sizeof *suite; i++) {
        uint8_t digest[16];
        md4((const uint8_t *)suite[i].text, strlen(suite[i].text), digest);
        assert_hex(digest, 16, suite[i].digest);
    }
}

/* 4.2.2.1.2, 4.2.2.2.1 */
static void test_v1(void **state)
{
    (void)state;
    uint8_t hash[16], response[24];
    struct error err;
    assert_true(ntlm_hash_v1("Password", hash, &err));
    assert_hex(hash, 16, "a4f49c406510bdcab6824ee7c30fd852");
    assert_true(ntlm_response_v1(hash, server_challenge, response, &err));
    assert_hex(response, 24, "67c43011f30298a2ad35ece64f16331c44bdbed927841f94");
}

/* 4.2.4.1.1, 4.2.4.2.1, 4.2.4.2.2 */
static void test_v2(void **state)
{
    (void)state;
    uint8_t hash[16], proof[16], temp[28 + sizeof target_info + 4] = {1, 1};
    struct error err;
    assert_true(ntlm_hash_v2("User", "Domain", "Password", hash, &err));
    assert_hex(hash, 16, "0c868a403bfd7a93a3001ef22ef02e3f");
    assert_true(ntlm_proof_v2(hash, server_challenge, client_challenge, 8, proof, &err));
    assert_hex(proof, 16, "86c35097ac9cec102554764a57cccc19");
    memcpy(temp + 16, client_challenge, 8);
    memcpy(temp + 28, target_info, sizeof target_info);
    assert_true(ntlm_proof_v2(hash, server_challenge, temp, sizeof temp, proof, &err));
    assert_hex(proof, 16, "68cd0ab851e51c96aabc927bebef6a1c");
}

static void test_names_in_capitals(void **state)
{
    (void)state;
    uint8_t small[16], capital[16];
    struct error err;
    assert_true(ntlm_hash_v2("j\xc3\xbcrgen", "D", "x", small, &err));
    assert_true(ntlm_hash_v2("J\xc3\x9cRGEN", "D", "x", capital, &err));
    assert_memory_equal(small, capital, 16);
    assert_false(ntlm_hash_v2("j\xfcrgen", "D", "x", small, &err));
}

static void test_challenge(void **state)
{
    (void)state;
    struct ntlm_challenge c;
    struct error err;
    assert_true(ntlm_challenge_read(challenge_message, sizeof challenge_message, &c, &err));
    assert_int_equal(c.flags, 0xe28a8233);
    assert_memory_equal(c.nonce, server_challenge, 8);
    assert_int_equal(c.target_name_len, 12);
    assert_int_equal(c.target_info_len, sizeof target_info);
    assert_memory_equal(c.target_info, target_info, sizeof target_info);
    assert_int_equal(c.timestamp, 0);
}

/* The whole third message, with the responses that 4.2.4.3 has. */
static void test_authenticate(void **state)
{
    (void)state;
    struct ntlm_challenge c;
    struct ntlm_client client = {.user = "Domain\\User", .password = "Password"};
    uint8_t out[NTLM_AUTHENTICATE_MAX];
    size_t len;
    struct error err;

    memcpy(client.nonce, client_challenge, 8);
    assert_true(ntlm_challenge_read(challenge_message, sizeof challenge_message, &c, &err));
    assert_true(ntlm_authenticate(&client, &c, out, &len, &err));
    assert_memory_equal(out, "NTLMSSP\0\3\0\0\0", 12);
    assert_hex(out + 64, 24, "86c35097ac9cec102554764a57cccc19aaaaaaaaaaaaaaaa");
    assert_hex(out + 88, 16, "68cd0ab851e51c96aabc927bebef6a1c");
    size_t blob = 28 + sizeof target_info + 4;
    assert_int_equal(out[20] | out[21] << 8, 16 + blob);
    assert_memory_equal(out + 64 + 24 + 16 + blob, "D\0o\0m\0a\0i\0n\0U\0s\0e\0r\0", 20);
    assert_int_equal(len, 64 + 24 + 16 + blob + 20);
}

/* The head of challenge_message with other AV pairs behind it. */
static size_t make_challenge(uint8_t *message, const uint8_t *pairs, size_t len)
{
    memcpy(message, challenge_message, 68);
    message[40] = message[42] = (uint8_t)len;
    memcpy(message + 68, pairs, len);
    return 68 + len;
}

/* Where the server names the time: computed from 3.1.5.1.2 and 3.3.2 by a program of its own, with
 * the second case's server saying MsvAvFlags (1) itself. */
static void test_mic(void **state)
{
    (void)state;
    static const struct {
        size_t more; /* octets of AV pairs, of those below, before their end */
        uint8_t flags;
        const char *proof, *mic;
    } cases[] = {
        {12, 2, "c919e098dae559e2b65acd25d78fd49c", "6db51a6867f69e8cd056990c425f44d0"},
        {20, 3, "a41c76ab3e9fc7a0e6e9d75bc6a31254", "250167c09e3f80fa7023030af478c48a"},
    };
    static const uint8_t more[] = {7,    0, 8, 0, 0x23, 1, 0, 0, 0, 0,
                                   0xd0, 1, 6, 0, 4,    0, 1, 0, 0, 0};
    enum { PAIRS = sizeof target_info - 4, HEAD = 88, PROOF = HEAD + 24, INFO = PROOF + 16 + 28 };

    for (size_t i = 0; i < 2; i++) {
        struct ntlm_client client = {.user = "Domain\\User", .password = "Password"};
        struct ntlm_challenge c;
        uint8_t pairs[64] = {0}, message[200], out[NTLM_AUTHENTICATE_MAX];
        struct error err;
        size_t len;

        memcpy(client.nonce, client_challenge, 8);
        memcpy(pairs, target_info, PAIRS);
        memcpy(pairs + PAIRS, more, cases[i].more);
        len = make_challenge(message, pairs, PAIRS + cases[i].more + 4);
        assert_true(ntlm_challenge_read(message, len, &c, &err));
        assert_true(ntlm_authenticate(&client, &c, out, &len, &err));
        assert_int_equal(len, 236);
        assert_hex(out + 64, 8, "0000000000000000"); /* no version */
        assert_hex(out + 72, 16, cases[i].mic);
        assert_hex(out + PROOF, 16, cases[i].proof);
        assert_int_equal(out[INFO + PAIRS + 16], cases[i].flags);
    }
}

static void test_authenticate_v1(void **state)
{
    (void)state;
    struct ntlm_challenge c;
    struct ntlm_client client = {.user = "User", .password = "Password", .v1 = true};
    uint8_t out[NTLM_AUTHENTICATE_MAX];
    size_t len;
    struct error err;

    assert_true(ntlm_challenge_read(challenge_message, sizeof challenge_message, &c, &err));
    assert_true(ntlm_authenticate(&client, &c, out, &len, &err));
    assert_hex(out + 64, 24, "67c43011f30298a2ad35ece64f16331c44bdbed927841f94");
    assert_memory_equal(out + 64 + 48, "S\0e\0r\0v\0e\0r\0U\0s\0e\0r\0", 20);
}

static void test_old_short_challenge(void **state)
{
    (void)state;
    uint8_t message[32];
    struct ntlm_challenge c;
    struct ntlm_client client = {.user = "u", .password = "p", .now = 1};
    uint8_t out[NTLM_AUTHENTICATE_MAX];
    size_t len;
    struct error err;

    memcpy(message, challenge_message, sizeof message);
    memset(message + 12, 0, 8); /* no target name */
    assert_true(ntlm_challenge_read(message, sizeof message, &c, &err));
    assert_int_equal(c.target_info_len, 0);
    assert_true(ntlm_authenticate(&client, &c, out, &len, &err));
}

/* Every length and offset, set to what it must not be (CVE-2012-3482). */
static void test_lying_lengths(void **state)
{
    (void)state;
    static const struct {
        size_t at;
        uint8_t value;
    } lies[] = {{13, 0xff}, {16, 0xff},  {17, 0x01}, {18, 0x01}, {19, 0xff}, {19, 0x80},
                {41, 0xff}, {44, 0x68},  {45, 0x01}, {47, 0xff}, {70, 0xff}, {71, 0xff},
                {86, 0x18}, {102, 0x01}, {0, 'n'},   {8, 3}};
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        uint8_t message[sizeof challenge_message];
        struct ntlm_challenge c = {.flags = 77};
        struct error err;
        memcpy(message, challenge_message, sizeof message);
        message[lies[i].at] = lies[i].value;
        print_message("octet %zu = %u\n", lies[i].at, lies[i].value);
        assert_false(ntlm_challenge_read(message, sizeof message, &c, &err));
        assert_int_equal(c.flags, 77);
    }
}

/* Cut anywhere: either refused, or read within its bounds (the sanitizers watch). */
static void test_cut(void **state)
{
    (void)state;
    for (size_t len = 0; len < sizeof challenge_message; len++) {
        uint8_t *message = malloc(len + 1), out[NTLM_AUTHENTICATE_MAX];
        struct ntlm_challenge c;
        struct ntlm_client client = {.user = "u", .password = "p"};
        size_t out_len;
        struct error err;
        assert_non_null(message);
        memcpy(message, challenge_message, len);
        if (ntlm_challenge_read(message, len, &c, &err))
            (void)!ntlm_authenticate(&client, &c, out, &out_len, &err);
        free(message);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_md4),
        cmocka_unit_test(test_v1),
        cmocka_unit_test(test_v2),
        cmocka_unit_test(test_names_in_capitals),
        cmocka_unit_test(test_challenge),
        cmocka_unit_test(test_authenticate),
        cmocka_unit_test(test_mic),
        cmocka_unit_test(test_authenticate_v1),
        cmocka_unit_test(test_old_short_challenge),
        cmocka_unit_test(test_lying_lengths),
        cmocka_unit_test(test_cut),
    };
    return cmocka_run_group_tests_name("ntlm", tests, NULL, NULL);
}
