/* Asking relayd why, with a relayd that answers as it is told. */
#include "hygiene/rejected.h"
#include "tests/unit/hygiene/fixture.h"

static struct relayd {
    int refusals; /* answers to come that are "longer than one message" */
    size_t asked[64];
    size_t requests;
} relayd;

static json_t *answer(void *arg, const json_t *request)
{
    (void)arg;
    const json_t *ids = json_object_get(request, "ids");
    size_t n = json_array_size(ids);
    if (relayd.requests < COUNT(relayd.asked))
        relayd.asked[relayd.requests++] = n;
    if (n > 1 && relayd.refusals-- > 0)
        return bus_error("failed", "the answer has 99999 bytes, more than one message carries");
    json_t *why = json_object();
    for (size_t i = 0; i < n; i++)
        (void)json_object_set_new(why, json_string_value(json_array_get(ids, i)),
                                  json_pack("{s:s}", "reason", "550 no"));
    return bus_ok(json_pack("{s:o}", "why", why));
}

static bool all_in(struct fixture *f)
{
    return spool_count(f->h.spool, SPOOL_BADMAIL) == 12;
}

/* One answer that was too long does not make it ask one by one for ever. */
static void asks_for_more_again(void **state)
{
    struct fixture *f = *state;
    struct error err = {.text = ""};
    relayd = (struct relayd){.refusals = 1};
    struct bus *bus = bus_open(f->d.base, f->scratch->dir, "relayd", answer, NULL, &err);
    assert_non_null(bus);
    for (int i = 0; i < 12; i++) {
        char id[ID_SIZE] = "";
        fixture_message(f, SPOOL_REJECTED, "eml", id, "a@x.example", "Subject: x\r\n\r\nx\r\n");
    }
    f->h.rejected = rejected_start(&f->h);
    assert_true(fixture_run(f, all_in));
    assert_int_equal(relayd.asked[0], 10);
    assert_int_equal(relayd.asked[1], 1);
    assert_true(relayd.asked[2] > 1);
    assert_true(relayd.requests < 8);
    rejected_free(f->h.rejected);
    bus_free(bus);
}

int main(void)
{
    const struct CMUnitTest tests[] = {fixture_test(asks_for_more_again)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
