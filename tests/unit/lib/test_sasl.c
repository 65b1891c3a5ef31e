/* SASL against public vectors, against libgsasl's own server side, and against challenges that make
 * no sense. */
#include "lib/sasl.h"
#include "tests/unit/cmocka_all.h"
#include <gsasl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct sasl_login tim = {.user = "tim",
                                      .secret = "tanstaaftanstaaf",
                                      .service = "pop",
                                      .host = "pop.example",
                                      .port = 995};

static struct sasl *begin(enum sasl_mechanism mechanism, const struct sasl_login *login)
{
    struct error err = {0};
    struct sasl *s = sasl_new(mechanism, login, &err);
    if (s == NULL)
        fail_msg("%s", err.text);
    return s;
}

static const char *step(struct sasl *s, const char *challenge)
{
    const char *out;
    struct error err = {0};
    if (!sasl_step(s, challenge, challenge ? strlen(challenge) : 0, &out, &err))
        fail_msg("%s", err.text);
    return out;
}

/* RFC 4616 section 4 */
static void test_plain(void **state)
{
    (void)state;
    struct sasl *s = begin(SASL_PLAIN, &tim);
    assert_true(sasl_client_first(SASL_PLAIN));
    assert_string_equal(step(s, NULL), "AHRpbQB0YW5zdGFhZnRhbnN0YWFm");
    assert_true(sasl_complete(s));
    assert_true(sasl_secret_used(s));
    sasl_free(s);
}

/* RFC 2195 section 2 */
static void test_cram_md5(void **state)
{
    (void)state;
    struct sasl *s = begin(SASL_CRAM_MD5, &tim);
    const char *out = step(s, "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+");
    assert_string_equal(out, "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw");
    assert_true(sasl_complete(s));
    sasl_free(s);
}

static void test_login(void **state)
{
    (void)state;
    struct sasl *s = begin(SASL_LOGIN, &tim);
    assert_false(sasl_client_first(SASL_LOGIN));
    assert_string_equal(step(s, "VXNlcm5hbWU6"), "dGlt");
    assert_false(sasl_complete(s));
    assert_false(sasl_secret_used(s));
    assert_string_equal(step(s, "UGFzc3dvcmQ6"), "dGFuc3RhYWZ0YW5zdGFhZg==");
    assert_true(sasl_complete(s));
    sasl_free(s);
}

/* The example of Google's and Microsoft's documents. */
static void test_xoauth2(void **state)
{
    (void)state;
    struct sasl_login login = tim;
    login.user = "someuser@example.com";
    login.secret = "ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg";
    struct sasl *s = begin(SASL_XOAUTH2, &login);
    assert_string_equal(
        step(s, NULL),
        "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52"
        "YjNSbGNrQmhkSFJoZG1semRHRXVZMjl0Q2cBAQ==");
    assert_true(sasl_complete(s));
    assert_string_equal(step(s, "eyJzdGF0dXMiOiI0MDEifQ=="), "");
    assert_string_equal(sasl_words(s), "{\"status\":\"401\"}");
    assert_false(sasl_complete(s));
    sasl_free(s);
}

/* RFC 7628 section 4.1, with its dummy answer of 4.3 */
static void test_oauthbearer(void **state)
{
    (void)state;
    struct sasl_login login = tim;
    char text[256];
    size_t len;
    login.user = "u,=@example.com";
    login.secret = "vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==";
    struct sasl *s = begin(SASL_OAUTHBEARER, &login);
    const char *out = step(s, NULL);
    assert_int_equal(sodium_base642bin((unsigned char *)text, sizeof text - 1, out, strlen(out),
                                       NULL, &len, NULL, sodium_base64_VARIANT_ORIGINAL),
                     0);
    text[len] = '\0';
    assert_string_equal(text, "n,a=u=2C=3D@example.com,\1host=pop.example\1port=995\1"
                              "auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\1\1");
    assert_string_equal(step(s, "e30="), "AQ==");
    sasl_free(s);
}

/* --- both sides --------------------------------------------------------------------------- */

static int server_callback(Gsasl *ctx, Gsasl_session *session, Gsasl_property property)
{
    (void)ctx;
    (void)session;
    (void)property;
    return GSASL_NO_CALLBACK;
}

/* Runs client against server until one of them says no. Returns whether both said yes. */
static bool both_sides(enum sasl_mechanism mechanism, const char *known,
                       const struct sasl_binding *ours, const char *theirs)
{
    Gsasl *library;
    Gsasl_session *server;
    struct sasl_login login = tim;
    char *challenge = NULL;
    const char *answer = "";
    bool first = sasl_client_first(mechanism), good = true;
    int code = GSASL_NEEDS_MORE;

    login.binding = ours;
    struct sasl *s = begin(mechanism, &login);
    assert_int_equal(gsasl_init(&library), GSASL_OK);
    gsasl_callback_set(library, server_callback);
    assert_int_equal(gsasl_server_start(library, sasl_name(mechanism), &server), GSASL_OK);
    (void)gsasl_property_set(server, GSASL_PASSWORD, known);
    (void)gsasl_property_set(server, GSASL_SERVICE, "pop");
    (void)gsasl_property_set(server, GSASL_HOSTNAME, "pop.example");
    if (theirs)
        (void)gsasl_property_set(server, GSASL_CB_TLS_EXPORTER, theirs);
    if (first)
        answer = step(s, NULL);
    for (int i = 0; i < 6 && good; i++) {
        struct error err;
        gsasl_free(challenge);
        challenge = NULL;
        code = gsasl_step64(server, answer, &challenge);
        good = code == GSASL_OK || code == GSASL_NEEDS_MORE;
        if (good && (!sasl_complete(s) || code == GSASL_NEEDS_MORE) && challenge)
            good = sasl_step(s, challenge, strlen(challenge), &answer, &err);
        if (code == GSASL_OK)
            break;
    }
    good = good && code == GSASL_OK && sasl_complete(s);
    gsasl_free(challenge);
    gsasl_finish(server);
    gsasl_done(library);
    sasl_free(s);
    return good;
}

static void test_scram(void **state)
{
    (void)state;
    assert_true(both_sides(SASL_SCRAM_SHA_256, tim.secret, NULL, NULL));
    assert_true(both_sides(SASL_SCRAM_SHA_1, tim.secret, NULL, NULL));
    assert_false(both_sides(SASL_SCRAM_SHA_256, "another", NULL, NULL));
}

static void test_scram_plus(void **state)
{
    (void)state;
    struct sasl_binding binding = {
        .exporter = true, .len = 32, .data = "0123456789abcdef0123456789abcdef"};
    char same[64];
    struct error err;

    sodium_bin2base64(same, sizeof same, binding.data, 32, sodium_base64_VARIANT_ORIGINAL);
    assert_true(both_sides(SASL_SCRAM_SHA_256_PLUS, tim.secret, &binding, same));
    assert_true(both_sides(SASL_SCRAM_SHA_1_PLUS, tim.secret, &binding, same));
    same[0] = 'Z'; /* somebody in between */
    assert_false(both_sides(SASL_SCRAM_SHA_256_PLUS, tim.secret, &binding, same));
    assert_null(sasl_new(SASL_SCRAM_SHA_256_PLUS, &tim, &err));
}

static void test_digest_md5(void **state)
{
    (void)state;
    assert_true(both_sides(SASL_DIGEST_MD5, tim.secret, NULL, NULL));
    assert_false(both_sides(SASL_DIGEST_MD5, "another", NULL, NULL));
}

/* --- challenges that make no sense -------------------------------------------------------- */

static void refuses(enum sasl_mechanism mechanism, const char *challenge, size_t len)
{
    struct sasl *s = begin(mechanism, &tim);
    const char *out = "untouched";
    struct error err = {0};
    if (sasl_client_first(mechanism))
        (void)step(s, NULL);
    assert_false(sasl_step(s, challenge, len, &out, &err));
    assert_true(err.text[0] != '\0');
    assert_false(sasl_secret_used(s) && !sasl_client_first(mechanism));
    sasl_free(s);
}

static void test_nonsense(void **state)
{
    (void)state;
    char *endless = malloc(SASL_CHALLENGE_MAX + 4);
    assert_non_null(endless);
    memset(endless, 'A', SASL_CHALLENGE_MAX + 4);
    static const enum sasl_mechanism all[] = {SASL_SCRAM_SHA_256, SASL_SCRAM_SHA_1, SASL_DIGEST_MD5,
                                              SASL_CRAM_MD5,      SASL_NTLM,        SASL_NTLMV1};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        refuses(all[i], "not base64!", 11);
        refuses(all[i], "QUJD=", 5);
        refuses(all[i], endless, SASL_CHALLENGE_MAX + 4);
        if (all[i] != SASL_CRAM_MD5)
            refuses(all[i], "QUJD", 4);
    }
    free(endless);
}

/* Whether a server's first message with so many iterations is answered. */
static bool bears(unsigned iterations, struct error *err)
{
    struct sasl *s = begin(SASL_SCRAM_SHA_256, &tim);
    const char *first = step(s, NULL), *out;
    char text[256], reply[256], challenge[512];
    size_t len;

    assert_int_equal(sodium_base642bin((unsigned char *)text, sizeof text - 1, first, strlen(first),
                                       NULL, &len, NULL, sodium_base64_VARIANT_ORIGINAL),
                     0);
    text[len] = '\0';
    const char *nonce = strstr(text, ",r=");
    assert_non_null(nonce);
    snprintf(reply, sizeof reply, "%sX,s=QSXCR+Q6sek8bf92,i=%u", nonce + 1, iterations);
    sodium_bin2base64(challenge, sizeof challenge, (unsigned char *)reply, strlen(reply),
                      sodium_base64_VARIANT_ORIGINAL);
    bool answered = sasl_step(s, challenge, strlen(challenge), &out, err);
    assert_int_equal(sasl_secret_used(s), answered);
    sasl_free(s);
    return answered;
}

/* A server that would keep us busy. */
static void test_too_many_iterations(void **state)
{
    (void)state;
    struct error err;

    assert_true(bears(SASL_ITERATIONS_MAX, &err));
    assert_false(bears(SASL_ITERATIONS_MAX + 1, &err));
    assert_non_null(strstr(err.text, "iterations"));
    assert_false(bears(2000000000, &err));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),       cmocka_unit_test(test_cram_md5),
        cmocka_unit_test(test_login),       cmocka_unit_test(test_xoauth2),
        cmocka_unit_test(test_oauthbearer), cmocka_unit_test(test_scram),
        cmocka_unit_test(test_scram_plus),  cmocka_unit_test(test_digest_md5),
        cmocka_unit_test(test_nonsense),    cmocka_unit_test(test_too_many_iterations),
    };
    return cmocka_run_group_tests_name("sasl", tests, NULL, NULL);
}
