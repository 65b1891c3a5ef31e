/* What a server's answer to a login means: whom it lets in, what it refuses, and what may follow.
 */
#include "tests/unit/relayd/talk.h"
#include "tests/unit/scratch.h"

#include <gsasl.h>

/* --- both sides prove themselves ---------------------------------------------------------- */

struct prover {
    Gsasl *library;
    Gsasl_session *session;
};

static int no_callback(Gsasl *ctx, Gsasl_session *session, Gsasl_property property)
{
    (void)ctx;
    (void)session;
    (void)property;
    return GSASL_NO_CALLBACK;
}

/* The server's challenge to what was sent last. */
static void challenges(struct talk *t, struct prover *p)
{
    char line[2048], *challenge = NULL;
    t->sent[strcspn(t->sent, "\r")] = '\0';
    const char *word = strrchr(t->sent, ' ');
    int code = gsasl_step64(p->session, word ? word + 1 : t->sent, &challenge);
    assert_true(code == GSASL_OK || code == GSASL_NEEDS_MORE);
    (void)snprintf(line, sizeof line, "334 %s", challenge);
    gsasl_free(challenge);
    talk_skip(t);
    talk_hears(t, line);
}

/* Up to our proof. */
static void prove(struct talk *t, struct prover *p)
{
    assert_int_equal(gsasl_init(&p->library), GSASL_OK);
    gsasl_callback_set(p->library, no_callback);
    assert_int_equal(gsasl_server_start(p->library, "SCRAM-SHA-256", &p->session), GSASL_OK);
    (void)gsasl_property_set(p->session, GSASL_PASSWORD, "tanstaaf");
    talk_begin(t, "AUTH PLAIN SCRAM-SHA-256");
    assert_memory_equal(t->sent, "AUTH SCRAM-SHA-256 ", 19);
    challenges(t, p);
    assert_memory_equal(t->sent, "Yz1iaXdzLH", 10); /* c=biws, */
}

static void prover_free(struct prover *p)
{
    gsasl_finish(p->session);
    gsasl_done(p->library);
}

/* The server's proof comes in a challenge, to which the answer is an empty line. */
static void test_scram(void **state)
{
    struct talk *t = *state;
    struct prover p;
    prove(t, &p);
    challenges(t, &p);
    talk_says(t, "\r\n");
    assert_false(t->ready);
    talk_hears(t, "235 welcome");
    talk_done(t);
    prover_free(&p);
}

/* A yes before the server has proved itself, or has asked for anything, lets nobody in. */
static void test_yes_too_early(void **state)
{
    struct talk *t = *state;
    struct prover p;
    prove(t, &p);
    talk_skip(t);
    talk_hears(t, "235 welcome");
    talk_over(t, AUTH_FAILED,
              "AUTH SCRAM-SHA-256: the server said yes before the exchange was through");
    prover_free(&p);
    static const char *const offers[] = {"AUTH SCRAM-SHA-256", "AUTH CRAM-MD5", "AUTH DIGEST-MD5",
                                         "AUTH NTLM", "AUTH LOGIN"};
    for (size_t i = 0; i < COUNT(offers); i++) {
        talk_begin(t, offers[i]);
        talk_skip(t);
        talk_hears(t, "235 welcome");
        talk_over(t, AUTH_FAILED, "the server said yes before the exchange was through");
    }
    talk_begin_as(t, "plain", "AUTH PLAIN"); /* behind an exchange that was cancelled */
    talk_hears(t, "334 QUJD");
    talk_skip(t);
    talk_hears(t, "235 welcome");
    talk_over(t, AUTH_FAILED, "the server said yes before the exchange was through");
    talk_begin_as(t, "xoauth2", "AUTH XOAUTH2"); /* a refusal, and then a yes */
    talk_hears(t, "334 ");
    talk_hears(t, "334 eyJzdGF0dXMiOiI0MDAifQ==");
    talk_skip(t);
    talk_hears(t, "235 welcome");
    talk_over(t, AUTH_FAILED, "the server said yes before the exchange was through");
}

/* It has our proof, and nothing weaker is tried; but the password need not be wrong. */
static void test_server_that_can_not_prove_itself(void **state)
{
    static const char *const answers[] = {"501 5.7.0 cancelled", "535 5.7.8 no", "454 4.7.0 later",
                                          "235 welcome"};
    struct talk *t = *state;
    for (size_t i = 0; i < COUNT(answers); i++) {
        struct prover p;
        prove(t, &p);
        talk_skip(t);
        talk_hears(t, "334 dj1mb3JnZWQ="); /* v=forged */
        talk_says(t, "*\r\n");
        assert_int_equal(t->progress, AUTH_GOES_ON);
        talk_hears(t, answers[i]);
        talk_over(t, AUTH_FAILED, "SCRAM-SHA-256");
        assert_null(strstr(t->auth.error.text, "the server said: "));
        prover_free(&p);
    }
}

/* --- refusals ----------------------------------------------------------------------------- */

/* Behind the password a 5xx is its refusal, but for those that are about the mechanism. In no case
 * another one follows. */
static void test_refused_password(void **state)
{
    static const struct {
        const char *reply;
        enum auth_progress progress;
    } cases[] = {
        {"535 5.7.8 no", AUTH_REFUSED},
        {"550 no", AUTH_REFUSED},
        {"530 5.7.0 no", AUTH_REFUSED},
        {"501 no", AUTH_REFUSED},
        {"500 no", AUTH_REFUSED},
        {"504 5.5.4 unknown", AUTH_FAILED},
        {"534 5.7.9 too weak", AUTH_FAILED},
        {"538 5.7.11 needs TLS", AUTH_FAILED},
        {"454 4.7.0 later", AUTH_FAILED},
        {"432 4.7.12 change it", AUTH_FAILED},
        {"451 4.3.0 no database", AUTH_FAILED},
    };
    struct talk *t = *state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        talk_begin(t, "AUTH PLAIN LOGIN");
        talk_says(t, PLAIN_LINE);
        talk_hears(t, cases[i].reply);
        talk_over(t, cases[i].progress, cases[i].reply);
        talk_begin(t, "AUTH CRAM-MD5 PLAIN");
        talk_hears(t, CRAM_CHALLENGE);
        talk_skip(t);
        talk_hears(t, cases[i].reply);
        talk_over(t, cases[i].progress, cases[i].reply);
        assert_false(t->closed);
    }
}

/* Nothing of the password has been given out: 5xx leaves the other ways open, 4xx stands for all of
 * them. By name there is no other. */
static void test_refused_mechanism(void **state)
{
    static const char *const permanent[] = {"504 5.5.4 unknown", "534 5.7.9 too weak",
                                            "538 5.7.11 needs TLS", "535 5.7.8 no", "500 what"};
    struct talk *t = *state;
    for (size_t i = 0; i < COUNT(permanent); i++) {
        talk_begin_as(t, "auto", "AUTH CRAM-MD5 PLAIN");
        talk_says(t, "AUTH CRAM-MD5\r\n");
        talk_hears(t, permanent[i]);
        talk_says(t, PLAIN_LINE);
        assert_int_equal(t->progress, AUTH_GOES_ON);
        talk_hears(t, "235 welcome");
        talk_done(t);
        talk_begin_as(t, "cram-md5", "AUTH CRAM-MD5 PLAIN");
        talk_says(t, "AUTH CRAM-MD5\r\n");
        talk_hears(t, permanent[i]);
        talk_over(t, AUTH_FAILED, permanent[i]);
    }
    talk_begin_as(t, "auto", "AUTH CRAM-MD5 PLAIN");
    talk_says(t, "AUTH CRAM-MD5\r\n");
    talk_hears(t, "454 4.7.0 later");
    talk_over(t, AUTH_FAILED, "AUTH CRAM-MD5: the server said: 454 4.7.0 later");
}

/* Each once, however often it is offered; then the last one's words are left. */
static void test_no_way_left(void **state)
{
    struct talk *t = *state;
    talk_begin(t, "AUTH LOGIN CRAM-MD5 LOGIN CRAM-MD5");
    talk_says(t, "AUTH CRAM-MD5\r\n");
    talk_hears(t, "504 5.5.4 unknown");
    talk_says(t, "AUTH LOGIN\r\n");
    talk_hears(t, "334 VXNlcm5hbWU6");
    talk_says(t, "dGlt\r\n");
    talk_hears(t, "535 5.7.8 no such user"); /* the password was not asked for */
    talk_over(t, AUTH_FAILED, "AUTH LOGIN: the server said: 535 5.7.8 no such user");
}

/* A challenge without sense is not answered; what was wrong with it is told, not the reply to that.
 */
static void test_cancelled(void **state)
{
    static const struct {
        const char *option, *challenge, *words;
    } cases[] = {
        {"cram-md5", "334 not base64!", "not base64"},
        {"ntlm", "334 bm90IE5UTE0=", "NTLM"},
        {"digest-md5", "334 QUJD", "DIGEST-MD5"},
        {"plain", "334 QUJD", "PLAIN: a challenge too many"},
    };
    struct talk *t = *state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        talk_begin_as(t, cases[i].option, "AUTH CRAM-MD5 NTLM DIGEST-MD5 PLAIN");
        if (strcmp(cases[i].option, "ntlm") == 0)
            talk_hears(t, "334 ");
        talk_skip(t);
        talk_hears(t, cases[i].challenge);
        talk_says(t, "*\r\n");
        assert_int_equal(t->progress, AUTH_GOES_ON);
        talk_hears(t, "501 5.7.0 cancelled");
        talk_over(t, AUTH_FAILED, cases[i].words);
        assert_null(strstr(t->auth.error.text, "501"));
    }
}

static void test_next_way_behind_a_cancelled_one(void **state)
{
    struct talk *t = *state;
    talk_begin(t, "AUTH NTLM PLAIN");
    talk_says(t, "AUTH NTLM\r\n");
    talk_hears(t, "334 ");
    talk_skip(t);
    talk_hears(t, "334 bm90IE5UTE0=");
    talk_says(t, "*\r\n");
    talk_hears(t, "501 5.7.0 cancelled");
    talk_says(t, PLAIN_LINE);
    talk_hears(t, "235 welcome"); /* not of the one that was cancelled */
    talk_done(t);
}

/* A server that goes on all the same is told nothing more, not even by an answer that would make
 * sense. */
static void test_challenge_behind_a_cancelled_one(void **state)
{
    struct talk *t = *state;
    talk_begin(t, "AUTH CRAM-MD5 PLAIN");
    talk_says(t, "AUTH CRAM-MD5\r\n");
    talk_hears(t, "334 not base64!");
    talk_says(t, "*\r\n");
    talk_hears(t, CRAM_CHALLENGE);
    talk_over(t, AUTH_FAILED, "not base64");
    assert_false(auth_in_the_balance(&t->auth));
}

/* Longer than any mechanism's, though the line is within its limit (RFC 4954, 4). */
static void test_long_challenge(void **state)
{
    struct talk *t = *state;
    char line[9004];
    memset(line, 'A', sizeof line - 1);
    memcpy(line, "334 ", 4);
    line[sizeof line - 1] = '\0';
    talk_begin(t, "AUTH DIGEST-MD5");
    talk_says(t, "AUTH DIGEST-MD5\r\n");
    talk_hears(t, line);
    talk_says(t, "*\r\n");
    talk_hears(t, "501 5.7.0 cancelled");
    talk_over(t, AUTH_FAILED, "challenge is too long");
}

/* An initial response that is too long for the command is made, but not given out before the server
 * asks for it. */
static void test_response_that_is_held(void **state)
{
    struct talk *t = *state;
    char user[400];
    memset(user, 'u', sizeof user - 1);
    user[sizeof user - 1] = '\0';
    t->login.user = user;
    talk_begin(t, "AUTH PLAIN LOGIN");
    talk_says(t, "AUTH PLAIN\r\n");
    assert_false(auth_in_the_balance(&t->auth));
    talk_hears(t, "535 5.7.8 not by this one");
    talk_says(t, "AUTH LOGIN\r\n");
    talk_hears(t, "334 VXNlcm5hbWU6");
    assert_memory_equal(t->sent, "dXV1dXV1", 8); /* the name, and nothing of what was held */
    talk_begin(t, "AUTH PLAIN");
    talk_skip(t);
    talk_hears(t, "535 5.7.8 not by this one");
    talk_over(t, AUTH_FAILED, "AUTH PLAIN: the server said: 535 5.7.8 not by this one");
    talk_begin(t, "AUTH PLAIN");
    talk_skip(t);
    talk_hears(t, "235 welcome");
    talk_over(t, AUTH_FAILED, "the server said yes before the exchange was through");
    talk_begin(t, "AUTH PLAIN LOGIN");
    talk_hears(t, "334 ");
    assert_true(auth_in_the_balance(&t->auth));
    talk_skip(t);
    talk_hears(t, "535 5.7.8 no");
    talk_over(t, AUTH_REFUSED, "535 5.7.8 no");
}

/* What the owner asks when a connection ends: over the password, perhaps? */
static void test_in_the_balance(void **state)
{
    struct talk *t = *state;
    auth_init(&t->auth);
    assert_false(auth_in_the_balance(&t->auth));
    talk_begin(t, "AUTH CRAM-MD5 LOGIN");
    assert_false(auth_in_the_balance(&t->auth));
    talk_hears(t, CRAM_CHALLENGE);
    assert_true(auth_in_the_balance(&t->auth));
    talk_begin(t, "AUTH CRAM-MD5 PLAIN");
    talk_hears(t, "504 5.5.4 unknown");
    assert_true(auth_in_the_balance(&t->auth));
    auth_free(&t->auth);
    assert_false(auth_in_the_balance(&t->auth));
    talk_begin(t, "AUTH LOGIN");
    talk_hears(t, "334 VXNlcm5hbWU6");
    assert_false(auth_in_the_balance(&t->auth));
    talk_hears(t, "334 UGFzc3dvcmQ6");
    assert_true(auth_in_the_balance(&t->auth));
    talk_hears(t, "421 4.7.0 bye"); /* the core ends it, without a word to the login */
    assert_true(t->closed);
    assert_true(auth_in_the_balance(&t->auth));
}

int main(void)
{
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        talk_tests(test_scram),
        talk_tests(test_yes_too_early),
        talk_tests(test_server_that_can_not_prove_itself),
        talk_tests(test_refused_password),
        talk_tests(test_refused_mechanism),
        talk_tests(test_no_way_left),
        talk_tests(test_cancelled),
        talk_tests(test_next_way_behind_a_cancelled_one),
        talk_tests(test_challenge_behind_a_cancelled_one),
        talk_tests(test_long_challenge),
        talk_tests(test_response_that_is_held),
        talk_tests(test_in_the_balance),
    };
    return cmocka_run_group_tests_name("auth-answer", tests, NULL, NULL);
}
