/* Pins as text: the forms that are taken, and what is none. Certificates are tried in test_stream.c
 * and, against servers of every kind, in tests/e2e/test_tls.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "lib/tls.h"

#define HEX  "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
#define BASE "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="

static void test_forms(void **state)
{
    static const char *const same[] = {
        "sha256:" HEX,
        "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
        "sha256:e3:b0:c4:42:98:fc:1c:14:9a:fb:f4:c8:99:6f:b9:24:27:ae:41:e4:64:9b:93:4c:a4:95:99:"
        "1b:78:52:b8:55",
        "sha256:" BASE,
        "sha256//" BASE,
    };
    (void)state;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        unsigned char pin[TLS_PIN_SIZE];
        char text[TLS_PIN_TEXT];
        assert_true(tls_pin_parse(same[i], pin));
        assert_int_equal(pin[0], 0xe3);
        assert_int_equal(pin[31], 0x55);
        assert_string_equal(tls_pin_text(pin, text), "sha256:" BASE);
    }
}

static void test_none(void **state)
{
    static const char *const none[] = {
        "",
        "sha256:",
        HEX,
        "sha1:" HEX,
        "sha256//" HEX,
        "sha256:" HEX "0",
        "sha256:" HEX ":",
        "sha256::" HEX,
        "sha256: " HEX,
        "sha256:g3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
        "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8",
        "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF==",
        "sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFUA",
        "sha256:47DEQpj8HBSa+_TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
    };
    (void)state;
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        unsigned char pin[TLS_PIN_SIZE], before[TLS_PIN_SIZE];
        memset(pin, 7, sizeof pin);
        memcpy(before, pin, sizeof pin);
        if (tls_pin_parse(none[i], pin))
            fail_msg("\"%s\" is taken for a pin", none[i]);
        assert_memory_equal(pin, before, sizeof pin);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
