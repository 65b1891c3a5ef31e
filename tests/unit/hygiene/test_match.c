/* Which quarantined messages a request means. */
#include "hygiene/match.h"
#include "tests/unit/hygiene/quarantine.h"

static const struct badmail one = {
    .account = "Sales",
    .sender = "Bounce@Origin.example",
    .subject = "Gro\xC3\x9F"
               "e RECHNUNG f\xC3\xBCr \xC3\x84rzte",
    .decided_by = "form:no-header",
    .reason = "550 5.7.1 Rejected",
    .at = QUARANTINE_NOW - 3 * CLOCK_DAY,
};

static bool fits(const char *request, const struct badmail *b)
{
    struct error err = {.text = ""};
    struct match match;
    json_t *json = json_loads(request, 0, NULL);
    assert_non_null(json);
    if (!match_read(json, &match, &err))
        fail_msg("%s: %s", request, err.text);
    bool fit = match_fits(&match, b);
    match_free(&match);
    json_decref(json);
    return fit;
}

static void texts(void **state)
{
    static const struct {
        const char *request;
        bool fits;
    } cases[] = {
        {"{}", true},
        {"{\"account\": \"sales\"}", true},
        {"{\"account\": \"sale\"}", false},
        {"{\"sender\": \"origin.EXAMPLE\"}", true},
        {"{\"sender\": \"<>\"}", false},
        {"{\"subject\": \"rechnung\"}", true},
        {"{\"subject\": \"GROSSE\"}", true},     /* sharp s */
        {"{\"subject\": \"FU\\u0308R\"}", true}, /* composed in another way */
        {"{\"subject\": \"\\u00e4RZTE\"}", true},
        {"{\"subject\": \"\\uff52\\uff45\\uff43\\uff48nung\"}", true}, /* wide letters */
        {"{\"subject\": \"fur\"}", false},
        {"{\"reason\": \"5.7.1 rej\"}", true},
        {"{\"reason\": \"5.7.2\"}", false},
        {"{\"decided_by\": \"form\"}", true},
        {"{\"decided_by\": \"FORM:no-header\"}", true},
        {"{\"decided_by\": \"for\"}", false},
        {"{\"decided_by\": \"form:\"}", false},
        {"{\"decided_by\": \"form:no\"}", false},
        {"{\"decided_by\": \"relay\"}", false},
        {"{\"account\": \"sales\", \"reason\": \"no\"}", false}, /* all have to fit */
        {"{\"older\": 259200000}", true},
        {"{\"older\": 259200001}", false},
        {"{\"newer\": 259200000}", true},
        {"{\"newer\": 259199999}", false},
        {"{\"older\": 0, \"newer\": 9223372036854775807}", true},
        {"{\"older\": 9223372036854775807}", false},
    };
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        print_message("%s\n", cases[i].request);
        assert_int_equal(fits(cases[i].request, &one), cases[i].fits);
    }
}

static void the_null_sender_is_found_as_it_is_shown(void **state)
{
    (void)state;
    struct badmail b = one;
    b.sender[0] = '\0';
    assert_true(fits("{\"sender\": \"<>\"}", &b));
    assert_false(fits("{\"sender\": \"origin\"}", &b));
}

/* What is no UTF-8 is compared all the same. */
static void odd_octets(void **state)
{
    (void)state;
    struct badmail b = one;
    (void)snprintf(b.subject, sizeof b.subject, "caf\xE9 \xC3");
    assert_true(fits("{\"subject\": \"CAF\"}", &b));
    assert_true(fits("{\"subject\": \"\\ufffd\"}", &b));
}

static void states_are_read(void **state)
{
    static const struct {
        const char *word;
        enum badmail_state state;
    } cases[] = {{"held", BADMAIL_HELD},
                 {"replayed", BADMAIL_REPLAYED},
                 {"deleted", BADMAIL_DELETED},
                 {"removed", BADMAIL_REMOVED},
                 {"expired", BADMAIL_EXPIRED}};
    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct error err;
        struct match match;
        json_t *json = json_pack("{s:s}", "state", cases[i].word);
        assert_true(match_read(json, &match, &err));
        assert_int_equal(match.state, cases[i].state);
        match_free(&match);
        json_decref(json);
    }
}

static void what_takes_all_by_mistake_is_refused(void **state)
{
    static const char *const requests[] = {
        "{\"account\": \"\"}",
        "{\"sender\": \"\"}",
        "{\"subject\": \"\"}",
        "{\"reason\": \"\"}",
        "{\"reason\": 1}",
        "{\"decided_by\": \"\"}",
        "{\"decided_by\": null}",
        "{\"older\": \"3d\"}",
        "{\"older\": -1}",
        "{\"newer\": 1.5}",
        "{\"state\": \"\"}",
        "{\"state\": \"hel\"}",
        "{\"state\": \"removed by\"}",
        "{\"state\": 1}",
        "{\"account\": \"a\", \"subject\": \"b\", \"newer\": false}",
    };
    (void)state;
    for (size_t i = 0; i < COUNT(requests); i++) {
        struct error err = {.text = ""};
        struct match match;
        json_t *json = json_loads(requests[i], 0, NULL);
        print_message("%s\n", requests[i]);
        assert_false(match_read(json, &match, &err));
        assert_int_equal(err.kind, ERROR_USAGE);
        assert_non_null(strstr(err.text, "expected"));
        json_decref(json);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        quarantine_test(texts),
        quarantine_test(the_null_sender_is_found_as_it_is_shown),
        quarantine_test(odd_octets),
        quarantine_test(states_are_read),
        quarantine_test(what_takes_all_by_mistake_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
