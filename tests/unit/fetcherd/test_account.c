/* Accounts: each field's limits, defaults, all or nothing; and what is shown. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fetcherd/account.h"
#include "lib/clock.h"

static json_t *base(void)
{
    return json_pack("{s:s, s:s, s:s, s:[s]}", "name", "sales", "server", "pop.isp.example", "user",
                     "sales@isp.example", "deliver_to", "sales@corp.example");
}

static bool add_with(const char *field, json_t *value, struct account *a, struct error *err)
{
    json_t *request = base();
    json_object_set_new(request, field, value);
    bool ok = account_from_request(a, request, true, "corp.example", err);
    json_decref(request);
    return ok;
}

static void refused(const char *field, json_t *value, const char *word)
{
    struct account *a = calloc(1, sizeof *a);
    struct error err = {.text = ""};

    assert_false(add_with(field, value, a, &err));
    assert_int_equal(err.kind, ERROR_USAGE);
    if (!strstr(err.text, word))
        fail_msg("\"%s\" does not say \"%s\"", err.text, word);
    assert_int_equal(a->name[0], '\0'); /* untouched */
    assert_int_equal(a->deliver_to.count, 0);
    account_free(a);
}

static void test_defaults(void **state)
{
    (void)state;
    struct account *a = calloc(1, sizeof *a);
    struct error err;
    json_t *request = base();

    assert_true(account_from_request(a, request, true, "corp.example", &err));
    assert_string_equal(a->name, "sales");
    assert_int_equal(a->tls, CONF_TLS_IMPLICIT);
    assert_int_equal(a->port, 995);
    assert_string_equal(a->auth, "auto");
    assert_int_equal(a->interval, 0);
    assert_true(a->enabled);
    json_decref(request);
    account_free(a);
}

static void test_refusals(void **state)
{
    (void)state;
    refused("name", json_string(""), "name");
    refused("name", json_string("-x"), "letter");
    refused("name", json_string("a b"), "letters");
    refused("name", json_string("../x"), "name");
    refused("name", json_integer(3), "text");
    refused("name", json_stringn("a\0b", 3), "text");
    refused("server", json_string(""), "server");
    refused("server", json_string("pop example"), "host name");
    refused("server", json_string("pop\r\nx"), "host name");
    refused("port", json_integer(0), "65535");
    refused("port", json_integer(65536), "65535");
    refused("port", json_string("995"), "number");
    refused("tls", json_string("ssl"), "implicit");
    refused("auth", json_string("spa"), "auto");
    refused("ca", json_string("ca.pem"), "path");
    refused("pin", json_string("sha256:00"), "64");
    refused("pin", json_string("md5:00"), "sha256");
    refused("baseline", json_integer(1), "true");
    refused("user", json_string(""), "user");
    refused("user", json_string("a\nb"), "line");
    refused("deliver_to", json_array(), "deliver-to");
    refused("deliver_to", json_string("a b@corp.example"), "address");
    refused("deliver_to", json_string("x@corp.example\r\nRSET"), "address");
    refused("deliver_to", json_pack("[s, i]", "x@corp.example", 3), "text");
    refused("interval", json_integer(CLOCK_MINUTE), "5m");
    refused("interval", json_integer(25 * CLOCK_HOUR), "24h");
    refused("interval", json_string("often"), "5m");
    refused("enabled", json_string("yes"), "true");
    refused("server", json_null(), "needed");
}

static void test_choices(void **state)
{
    (void)state;
    static const struct {
        const char *tls;
        int port;
    } ports[] = {{"implicit", 995}, {"starttls", 110}, {"none", 110}};
    struct error err;

    for (size_t i = 0; i < 3; i++) {
        struct account *a = calloc(1, sizeof *a);
        assert_true(add_with("tls", json_string(ports[i].tls), a, &err));
        assert_int_equal(a->port, ports[i].port);
        assert_string_equal(conf_tls_name(a->tls), ports[i].tls);
        account_free(a);
    }
}

static void test_address_without_domain(void **state)
{
    (void)state;
    struct account *a = calloc(1, sizeof *a);
    struct error err;

    assert_true(add_with("deliver_to", json_pack("[s, s]", "office", "b@c.example"), a, &err));
    assert_int_equal(a->deliver_to.count, 2);
    assert_string_equal(a->deliver_to.items[0], "office@corp.example");
    account_free(a);
}

static bool set(struct account *a, const char *field, json_t *value)
{
    struct error err;
    json_t *request = json_pack("{s:s, s:o}", "name", "sales", field, value);
    bool ok = account_from_request(a, request, false, "corp.example", &err);
    json_decref(request);
    return ok;
}

static void test_set_changes_what_is_named(void **state)
{
    (void)state;
    struct account *a = calloc(1, sizeof *a);
    struct error err;

    assert_true(add_with("interval", json_integer(CLOCK_HOUR), a, &err));
    a->failures = 7;
    assert_true(set(a, "tls", json_string("starttls")));
    assert_int_equal(a->port, 110); /* it was the default for implicit */
    assert_int_equal(a->interval, CLOCK_HOUR);
    assert_int_equal(a->deliver_to.count, 1);
    assert_int_equal(a->failures, 7);
    assert_true(set(a, "interval", json_null()));
    assert_int_equal(a->interval, 0);
    assert_true(set(a, "port", json_integer(1110)));
    assert_true(set(a, "tls", json_string("none")));
    assert_int_equal(a->port, 1110); /* somebody chose it */
    assert_false(set(a, "port", json_integer(-1)));
    assert_int_equal(a->port, 1110);
    account_free(a);
}

static void test_shown(void **state)
{
    (void)state;
    struct account *a = calloc(1, sizeof *a);
    struct error err;

    assert_true(add_with("interval", json_string("1h"), a, &err));
    a->last_ok = 1763805600000;
    strcpy(a->error, "PASS: refused");
    json_t *json = account_to_json(a);
    assert_non_null(json);
    assert_string_equal(json_string_value(json_object_get(json, "last_ok")),
                        "2025-11-22T10:00:00Z");
    assert_true(json_is_null(json_object_get(json, "last_try")));
    assert_int_equal(json_integer_value(json_object_get(json, "interval")), CLOCK_HOUR);
    assert_string_equal(json_string_value(json_object_get(json, "error")), "PASS: refused");
    assert_null(json_object_get(json, "secret"));
    json_decref(json);
    account_free(a);
}

static void test_sets(void **state)
{
    (void)state;
    static const char *const names[] = {"m", "b", "z", "a"};
    struct account_set set = {0};

    for (size_t i = 0; i < 4; i++) {
        struct account *a = calloc(1, sizeof *a);
        strcpy(a->name, names[i]);
        a->key = (int64_t)i + 1;
        account_set_add(&set, a);
    }
    for (size_t i = 1; i < set.count; i++)
        assert_true(strcmp(set.items[i - 1]->name, set.items[i]->name) < 0);
    assert_string_equal(account_set_by_key(&set, 2)->name, "b");
    assert_null(account_set_find(&set, "c"));
    struct account *b = account_set_find(&set, "b");
    account_set_take(&set, b);
    account_free(b);
    assert_int_equal(set.count, 3);
    assert_null(account_set_find(&set, "b"));
    assert_non_null(account_set_find(&set, "z"));
    account_set_free(&set);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_choices),
        cmocka_unit_test(test_address_without_domain),
        cmocka_unit_test(test_set_changes_what_is_named),
        cmocka_unit_test(test_shown),
        cmocka_unit_test(test_sets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
