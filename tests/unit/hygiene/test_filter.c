/* When a filter is asked, by one that answers as it is told to. */
#include "hygiene/filter.h"
#include "tests/unit/hygiene/fixture.h"
#include <time.h>

/* What the filter says to each question, at once or never. */
static struct filter_answer script;
static bool hangs;
static int up, recovered, answers[FILTER_WORDS];

struct call {
    struct event *soon;
    filter_done_fn *done;
    void *arg;
};

static void on_soon(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct call call = *(struct call *)arg;
    struct filter_answer answer = script;
    event_free(call.soon);
    free(arg);
    up--;
    call.done(call.arg, &answer);
}

static void *ask(const struct filter_server *server, const struct filter_subject *subject,
                 filter_done_fn *done, void *arg)
{
    (void)subject;
    static const struct timeval now = {0, 0};
    struct call *call = calloc(1, sizeof *call);
    assert_non_null(call);
    *call = (struct call){.done = done, .arg = arg};
    call->soon = evtimer_new(server->base, on_soon, call);
    up++;
    if (!hangs)
        (void)evtimer_add(call->soon, &now);
    return call;
}

static void cancel(void *arg)
{
    struct call *call = arg;
    event_free(call->soon);
    free(call);
    up--;
}

static const struct filter_protocol protocol = {.name = "test", .ask = ask, .cancel = cancel};

static void on_recovered(void *arg)
{
    (void)arg;
    recovered++;
}

static void on_done(void *arg, struct filter_answer *answer)
{
    (void)arg;
    answers[answer->word]++;
    filter_answer_free(answer);
}

static struct filter *make(struct fixture *f)
{
    static char server[] = "127.0.0.1:1";
    static const struct conf_filter conf = {
        .server = server, .timeout = 1000, .sessions = 2, .size = 1000};
    up = recovered = 0;
    hangs = false;
    memset(answers, 0, sizeof answers);
    return filter_new(&f->h, &protocol, &conf, on_recovered, NULL);
}

/* n questions, one behind the other; what was asked of the filter itself. */
static int ask_in_turn(struct fixture *f, struct filter *filter, int n)
{
    static const struct filter_subject subject = {.dir = SPOOL_INCOMING};
    json_t *status = filter_status(filter);
    json_int_t before = json_integer_value(json_object_get(status, "asked"));
    json_decref(status);
    for (int i = 0; i < n; i++) {
        (void)filter_ask(filter, &subject, on_done, NULL);
        (void)event_base_loop(f->d.base, EVLOOP_NONBLOCK);
        (void)event_base_loop(f->d.base, EVLOOP_NONBLOCK);
        (void)event_base_loop(f->d.base, EVLOOP_NONBLOCK);
    }
    status = filter_status(filter);
    json_int_t after = json_integer_value(json_object_get(status, "asked"));
    json_decref(status);
    return (int)(after - before);
}

static void sleep_until(int64_t at)
{
    int64_t ms = at - clock_monotonic() + 1;
    assert_in_range(ms, 1, 5000);
    const struct timespec wait = {ms / 1000, ms % 1000 * 1000000};
    (void)nanosleep(&wait, NULL);
}

static void one_that_cannot_be_reached_sees_a_probe_a_pause(void **state)
{
    struct fixture *f = *state;
    struct filter *filter = make(f);
    filter_answer_set(&script, FILTER_BROKEN, "refused");
    script.reached = false;
    assert_int_equal(ask_in_turn(f, filter, 30), 1);
    assert_int_equal(answers[FILTER_DOWN], 30); /* the probe, too: no message is at fault */
    sleep_until(filter_next_probe(filter));
    assert_int_equal(ask_in_turn(f, filter, 30), 1);
    assert_true(filter_next_probe(filter) > clock_monotonic() + 1000); /* it grows */
    filter_retry(filter);
    assert_int_equal(ask_in_turn(f, filter, 30), 1);
    filter_free(filter);
}

static void one_that_is_reached_sees_several(void **state)
{
    struct fixture *f = *state;
    struct filter *filter = make(f);
    filter_answer_set(&script, FILTER_BROKEN, "rubbish");
    script.reached = true;
    assert_int_equal(ask_in_turn(f, filter, 30), 1);
    sleep_until(filter_next_probe(filter));
    assert_int_equal(ask_in_turn(f, filter, 30), 20);
    assert_int_equal(recovered, 0);
    for (int i = 0; i < 10; i++) { /* however long it lasts */
        filter_retry(filter);
        (void)ask_in_turn(f, filter, 20);
        assert_true(filter_next_probe(filter) <= clock_monotonic() + 20000);
    }
    filter_retry(filter);
    script.word = FILTER_CLEAN;
    assert_int_equal(ask_in_turn(f, filter, 30), 30);
    assert_int_equal(recovered, 1);
    assert_int_equal(filter_next_probe(filter), 0);
    filter_free(filter);
}

static void a_probe_that_hangs_keeps_the_next_one_waiting_for_a_while(void **state)
{
    static const struct filter_subject subject = {.dir = SPOOL_INCOMING};
    struct fixture *f = *state;
    struct filter *filter = make(f);
    filter_answer_set(&script, FILTER_BROKEN, "rubbish");
    script.reached = true;
    assert_int_equal(ask_in_turn(f, filter, 1), 1);
    filter_retry(filter);
    hangs = true;
    struct filter_question *q = filter_ask(filter, &subject, on_done, NULL);
    (void)event_base_loop(f->d.base, EVLOOP_NONBLOCK);
    assert_int_equal(up, 1);
    assert_int_equal(filter_under_way(filter), 1);
    assert_int_equal(ask_in_turn(f, filter, 5), 0);
    int64_t wait = filter_next_probe(filter) - clock_monotonic();
    assert_in_range(wait, 9000, 10000);
    filter_cancel(q);
    assert_int_equal(up, 0);
    assert_true(filter_next_probe(filter) <= clock_monotonic());
    (void)event_base_loop(f->d.base, EVLOOP_NONBLOCK);
    filter_free(filter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(one_that_cannot_be_reached_sees_a_probe_a_pause),
        fixture_test(one_that_is_reached_sees_several),
        fixture_test(a_probe_that_hangs_keeps_the_next_one_waiting_for_a_while),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
