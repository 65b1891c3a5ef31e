/* Quarantined messages, with and without their files, and questions about them. */
#ifndef TESTS_UNIT_HYGIENE_QUARANTINE_H
#define TESTS_UNIT_HYGIENE_QUARANTINE_H

#include "hygiene/badmail.h"
#include "tests/unit/hygiene/fixture.h"

#define QUARANTINE_NOW (INT64_C(1795000000) * 1000) /* where the clock stands */

typedef json_t *answer_fn(struct hygiene *h, const json_t *request);

/* The answer; takes over the request. */
static inline json_t *answer_to(struct fixture *f, answer_fn *answer, json_t *request)
{
    assert_non_null(request);
    json_t *reply = answer(&f->h, request);
    json_decref(request);
    assert_non_null(reply);
    return reply;
}

/* The same, where it has to be "ok". */
static inline json_t *good_answer(struct fixture *f, answer_fn *answer, json_t *request)
{
    json_t *reply = answer_to(f, answer, request);
    if (!json_is_true(json_object_get(reply, "ok")))
        fail_msg("%s", json_string_value(json_object_get(reply, "error")));
    return reply;
}

/* It has to fail with this code, and a text with these words. */
static inline void bad_answer(struct fixture *f, answer_fn *answer, json_t *request,
                              const char *code, const char *words)
{
    json_t *reply = answer_to(f, answer, request);
    assert_true(json_is_false(json_object_get(reply, "ok")));
    assert_string_equal(json_string_value(json_object_get(reply, "code")), code);
    assert_non_null(strstr(json_string_value(json_object_get(reply, "error")), words));
    json_decref(reply);
}

static inline const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

/* A row `age` ms old that has entered, with a new id unless b has one; it keeps what b holds. */
static inline void add_row(struct fixture *f, struct badmail *b, int64_t age)
{
    if (b->id[0] == '\0')
        id_new(b->id);
    b->at = clock_now() - age;
    ledger_hold(f->d.db, b);
    ledger_badmail_entered(f->d.db, b->id);
}

/* With its file; account "sales", sent by a@x.example. */
static inline void add_message(struct fixture *f, char id[static ID_SIZE], int64_t age,
                               const char *text)
{
    struct badmail b;
    id[0] = '\0';
    fixture_message(f, SPOOL_BADMAIL, "eml", id, "a@x.example", text);
    badmail_describe(f->h.spool, SPOOL_BADMAIL, id, "relay", "550 no", &b);
    add_row(f, &b, age);
    ledger_badmail_free(&b);
}

static inline enum badmail_state state_of(struct fixture *f, const char *id)
{
    struct badmail b;
    assert_true(ledger_badmail(f->d.db, id, &b));
    ledger_badmail_free(&b);
    return b.state;
}

static inline bool has_file(struct fixture *f, const char *id)
{
    char name[SPOOL_NAME_SIZE];
    return fixture_exists(f, SPOOL_BADMAIL, spool_name(name, id, "eml"));
}

static inline int stop_clock(void **state)
{
    if (fixture_make(state) < 0)
        return -1;
    clock_set_for_test(QUARANTINE_NOW);
    return 0;
}

static inline int let_clock_go(void **state)
{
    clock_set_for_test(0);
    return fixture_free(state);
}

#define quarantine_test(fn) cmocka_unit_test_setup_teardown(fn, stop_clock, let_clock_go)

#endif
