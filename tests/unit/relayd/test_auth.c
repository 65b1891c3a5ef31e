/* Which mechanism a login takes, and what is said in it. */
#include "tests/unit/relayd/talk.h"
#include "tests/unit/scratch.h"

/* --- which mechanism ---------------------------------------------------------------------- */

/* Strength decides, whatever the order and the case of the list. */
static void test_strongest(void **state)
{
    static const struct {
        const char *offer, *method;
    } cases[] = {
        {"AUTH PLAIN LOGIN NTLM CRAM-MD5 DIGEST-MD5 SCRAM-SHA-1 SCRAM-SHA-256", "SCRAM-SHA-256"},
        {"auth plain scram-sha-1 digest-md5", "SCRAM-SHA-1"},
        {"AUTH CRAM-MD5 DIGEST-MD5 NTLM PLAIN", "DIGEST-MD5"},
        {"AUTH NTLM CRAM-MD5", "CRAM-MD5"},
        {"AUTH GSSAPI LOGIN PLAIN NTLM", "NTLM"},
        {"AUTH LOGIN PLAIN", "PLAIN"},
        {"AUTH=LOGIN", "LOGIN"},
        {"AUTH SCRAM-SHA-256-PLUS PLAIN XSCRAM-SHA-256", "PLAIN"}, /* nothing to bind to */
        {"AUTH XOAUTH2 OAUTHBEARER LOGIN", "LOGIN"},
    };
    struct talk *t = *state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        char command[64];
        talk_begin(t, cases[i].offer);
        assert_int_equal(t->progress, AUTH_GOES_ON);
        assert_string_equal(auth_method(&t->auth), cases[i].method);
        (void)snprintf(command, sizeof command, "AUTH %s", cases[i].method);
        assert_memory_equal(t->sent, command, strlen(command));
    }
}

static void test_binding_makes_it_stronger(void **state)
{
    static const char offer[] = "AUTH SCRAM-SHA-256 SCRAM-SHA-256-PLUS";
    struct sasl_binding binding = {.exporter = true, .len = 32};
    struct talk *t = *state;
    t->login.binding = &binding;
    talk_begin(t, offer);
    assert_memory_equal(t->sent, "AUTH SCRAM-SHA-256-PLUS cD10bHMtZXhwb3J0ZXI", 43); /* p=tls- */
    talk_skip(t);
    talk_hears(t, "504 5.5.4 not after all");
    assert_memory_equal(t->sent, "AUTH SCRAM-SHA-256 biws", 23); /* n,, */
    talk_begin_as(t, "scram-sha-256", offer);
    assert_string_equal(auth_method(&t->auth), "SCRAM-SHA-256-PLUS");
    talk_skip(t);
    talk_hears(t, "504 5.5.4 not after all");
    talk_over(t, AUTH_FAILED, "AUTH SCRAM-SHA-256-PLUS: the server said: 504 5.5.4 not after all");
    t->login.binding = NULL;
    talk_begin(t, offer);
    assert_string_equal(auth_method(&t->auth), "SCRAM-SHA-256");
}

static void test_not_on_offer(void **state)
{
    struct talk *t = *state;
    talk_begin_as(t, "cram-md5", "AUTH PLAIN login X\033[31m");
    talk_over(t, AUTH_FAILED, "(cram-md5); it offers: PLAIN LOGIN X?[31M");
    assert_string_equal(auth_method(&t->auth), "");
    talk_begin_as(t, "auto", "AUTH GSSAPI XOAUTH2 OAUTHBEARER"); /* a token goes by name alone */
    talk_over(t, AUTH_FAILED, "(auto); it offers: GSSAPI XOAUTH2 OAUTHBEARER");
    talk_begin(t, "AUTH");
    talk_over(t, AUTH_FAILED, "offers no AUTH: leave relay.user empty");
    talk_begin(t, "PIPELINING");
    talk_over(t, AUTH_FAILED, "offers no AUTH: leave relay.user empty");
    t->login.secure = false;
    talk_begin(t, "PIPELINING");
    talk_over(t, AUTH_FAILED, "offers no AUTH on a line without TLS");
}

static void test_password_that_can_not_be_had(void **state)
{
    struct talk *t = *state;
    t->password = NULL;
    talk_begin(t, "AUTH PLAIN LOGIN");
    talk_over(t, AUTH_FAILED, "there is no password");
    assert_false(auth_in_the_balance(&t->auth));
    t->password = "tanstaaf"; /* and in the midst of it */
    talk_begin(t, "AUTH CRAM-MD5 PLAIN");
    talk_says(t, "AUTH CRAM-MD5\r\n");
    t->password = NULL;
    talk_hears(t, "504 5.5.4 unknown");
    talk_over(t, AUTH_FAILED, "there is no password");
}

/* --- lines that others may hear ----------------------------------------------------------- */

static void test_what_may_go_in_clear(void **state)
{
    static const struct {
        const char *option;
        bool clear_is_ok;
        const char *offer, *sent, *words;
    } cases[] = {
        {"auto", false, "AUTH PLAIN LOGIN", "", "set relay.tls to starttls or implicit"},
        {"auto", true, "AUTH PLAIN LOGIN", "", "or else relay.auth to"},
        {"auto", true, "AUTH PLAIN CRAM-MD5", "AUTH CRAM-MD5\r\n", ""},
        {"plain", true, "AUTH PLAIN LOGIN", PLAIN_LINE, ""},
        {"plain", false, "AUTH PLAIN LOGIN", "", "the password is not sent in clear"},
        {"plain", true, "AUTH LOGIN", "", "does not offer what relay.auth asks for (plain)"},
        {"login", true, "AUTH PLAIN LOGIN", "AUTH LOGIN\r\n", ""},
        {"login", false, "AUTH PLAIN LOGIN", "", "the password is not sent in clear"},
        {"digest-md5", false, "AUTH DIGEST-MD5", "AUTH DIGEST-MD5\r\n", ""},
        {"ntlm", false, "AUTH NTLM", "AUTH NTLM\r\n", ""},
        {"oauthbearer", true, "AUTH OAUTHBEARER", "", "a token is sent over TLS alone"},
        {"xoauth2", true, "AUTH XOAUTH2", "", "a token is sent over TLS alone"},
    };
    struct talk *t = *state;
    t->login.secure = false;
    for (size_t i = 0; i < COUNT(cases); i++) {
        t->login.clear_is_ok = cases[i].clear_is_ok;
        talk_begin_as(t, cases[i].option, cases[i].offer);
        assert_int_equal(t->progress, *cases[i].sent ? AUTH_GOES_ON : AUTH_FAILED);
        talk_says(t, cases[i].sent);
        talk_error_has(t, cases[i].words);
    }
}

/* A challenge that comes to nothing is followed by nothing weaker, not even where it could be asked
 * for; the server's words are what is shown. */
static void test_nothing_weaker_in_clear(void **state)
{
    struct talk *t = *state;
    t->login.secure = false;
    t->login.clear_is_ok = true;
    talk_begin(t, "AUTH CRAM-MD5 PLAIN LOGIN");
    talk_says(t, "AUTH CRAM-MD5\r\n");
    talk_hears(t, "504 5.5.4 unknown");
    talk_over(t, AUTH_FAILED, "AUTH CRAM-MD5: the server said: 504 5.5.4 unknown");
}

static void test_named_clear(void **state)
{
    (void)state;
    char names[200];
    assert_false(auth_named_clear("auto"));
    (void)mechanism_names(names, sizeof names);
    for (char *at, *name = strtok_r(names, ", ", &at); name; name = strtok_r(NULL, ", ", &at))
        assert_int_equal(auth_named_clear(name), !strcmp(name, "plain") || !strcmp(name, "login"));
}

/* --- the exchange ------------------------------------------------------------------------- */

static void test_initial_response(void **state)
{
    struct talk *t = *state;
    talk_begin(t, "AUTH PLAIN");
    talk_says(t, PLAIN_LINE);
    assert_false(t->ready);
    talk_hears(t, "235 2.7.0 welcome");
    talk_done(t);
}

/* RFC 4954, 4: 512 octets are all that a command may have. A user name of 362 makes it 509, one of
 * 363 would make it 513. */
static void test_long_initial_response(void **state)
{
    struct talk *t = *state;
    char user[364];
    memset(user, 'u', sizeof user);
    user[362] = '\0';
    t->login.user = user;
    talk_begin(t, "AUTH PLAIN");
    assert_int_equal(strlen(t->sent), 509);
    assert_memory_equal(t->sent, "AUTH PLAIN AHV1dXV1", 19);
    talk_hears(t, "235 welcome");
    talk_done(t);
    user[362] = 'u';
    user[363] = '\0';
    talk_begin(t, "AUTH PLAIN");
    talk_says(t, "AUTH PLAIN\r\n");
    talk_hears(t, "334 go ahead");
    assert_int_equal(strlen(t->sent), 500 + 2);
    assert_memory_equal(t->sent, "AHV1dXV1", 8);
    talk_hears(t, "235 welcome");
    talk_done(t);
}

static void test_challenge(void **state)
{
    struct talk *t = *state;
    talk_begin(t, "AUTH CRAM-MD5");
    talk_says(t, "AUTH CRAM-MD5\r\n");
    talk_hears(t, CRAM_CHALLENGE);
    talk_says(t, CRAM_ANSWER);
    assert_int_equal(t->progress, AUTH_GOES_ON);
    talk_hears(t, "235 welcome");
    talk_done(t);
}

static void test_name_and_password_by_turns(void **state)
{
    struct talk *t = *state;
    talk_begin(t, "AUTH LOGIN");
    talk_says(t, "AUTH LOGIN\r\n");
    talk_hears(t, "334 VXNlcm5hbWU6");
    talk_says(t, "dGlt\r\n");
    talk_hears(t, "334 UGFzc3dvcmQ6");
    talk_says(t, "dGFuc3RhYWY=\r\n");
    talk_hears(t, "235 welcome");
    talk_done(t);
}

/* A refusal by OAuth 2 comes in a challenge, which wants an answer: an empty line by XOAUTH2, ^A by
 * OAUTHBEARER. A long token waits for the server to ask, and has more room than a command. */
static void test_tokens(void **state)
{
    struct talk *t = *state;
    char token[4097];
    talk_begin_as(t, "xoauth2", "AUTH XOAUTH2");
    talk_says(t, "AUTH XOAUTH2\r\n");
    talk_hears(t, "334 ");
    talk_says(t, "dXNlcj10aW0BYXV0aD1CZWFyZXIgdGFuc3RhYWYBAQ==\r\n");
    talk_hears(t, "334 eyJzdGF0dXMiOiI0MDAifQ==");
    talk_says(t, "\r\n");
    talk_hears(t, "535 5.7.8 no");
    talk_over(t, AUTH_REFUSED, "535 5.7.8 no, and before: {\"status\":\"400\"}");
    memset(token, 'x', sizeof token - 1);
    token[sizeof token - 1] = '\0';
    t->password = token;
    talk_begin_as(t, "oauthbearer", "AUTH OAUTHBEARER");
    talk_says(t, "AUTH OAUTHBEARER\r\n");
    talk_hears(t, "334");
    assert_true(strlen(t->sent) > 4097 / 3 * 4);
    assert_memory_equal(t->sent, "bixhPXRpbSwB", 12);
    talk_skip(t);
    talk_hears(t, "334 eyJzdGF0dXMiOiI0MDAifQ==");
    talk_says(t, "AQ==\r\n");
    talk_hears(t, "535 5.7.8 no");
    talk_over(t, AUTH_REFUSED, "{\"status\":\"400\"}");
}

static void test_answer_too_long(void **state)
{
    struct talk *t = *state;
    char token[9300];
    memset(token, 'x', sizeof token - 1);
    token[sizeof token - 1] = '\0';
    t->password = token;
    talk_begin_as(t, "xoauth2", "AUTH XOAUTH2");
    talk_says(t, "AUTH XOAUTH2\r\n");
    talk_hears(t, "334 ");
    talk_over(t, AUTH_FAILED, "AUTH XOAUTH2: what is to be sent does not fit one line");
}

int main(void)
{
    if (sodium_init() < 0)
        return 1;
    const struct CMUnitTest tests[] = {
        talk_tests(test_strongest),
        talk_tests(test_binding_makes_it_stronger),
        talk_tests(test_not_on_offer),
        talk_tests(test_password_that_can_not_be_had),
        talk_tests(test_what_may_go_in_clear),
        talk_tests(test_nothing_weaker_in_clear),
        talk_tests(test_named_clear),
        talk_tests(test_initial_response),
        talk_tests(test_long_initial_response),
        talk_tests(test_challenge),
        talk_tests(test_name_and_password_by_turns),
        talk_tests(test_tokens),
        talk_tests(test_answer_too_long),
    };
    return cmocka_run_group_tests_name("auth", tests, NULL, NULL);
}
