/* What is left alone is counted at each walk, and told once. */
#include "hygiene/left.h"
#include "lib/log.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"

static int events;
static char last_name[2000], last_reason[200];

static void count_events(void *arg, enum log_level level, const char *what,
                         const struct log_field *fields)
{
    (void)arg;
    assert_int_equal(level, LOG_WARN);
    assert_string_equal(what, "pickup-left-alone");
    events++;
    for (const struct log_field *f = fields; f->key != NULL; f++)
        (void)snprintf(strcmp(f->key, "name") == 0 ? last_name : last_reason,
                       strcmp(f->key, "name") == 0 ? sizeof last_name : sizeof last_reason, "%s",
                       f->text);
}

static int set_up(void **state)
{
    if (scratch_make(state) < 0)
        return -1;
    scratch_catch(*state);
    events = 0;
    log_set_sink(count_events, NULL);
    return 0;
}

static int tear_down(void **state)
{
    log_set_sink(NULL, NULL);
    return scratch_remove(state);
}

static void walk(struct left *left, const char *name, enum left_reason reason, int64_t now)
{
    left_walk_begins(left);
    if (name != NULL)
        (void)left_note(left, name, reason, now);
    left_walk_ends(left);
}

static void expect_json(const struct left *left, const char *want)
{
    json_t *json = left_json(left);
    char *text = json_dumps(json, JSON_COMPACT | JSON_SORT_KEYS);
    assert_string_equal(text, want);
    free(text);
    json_decref(json);
}

static void nothing_at_all(void **state)
{
    (void)state;
    struct left *left = left_new();
    expect_json(left, "{\"left\":[],\"left_alone\":0}");
    walk(left, NULL, LEFT_NOT, 0);
    expect_json(left, "{\"left\":[],\"left_alone\":0}");
    left_free(left);
    left_free(NULL);
}

/* A count and three names for each reason; what the last whole walk saw, and nothing else. */
static void counts_and_examples(void **state)
{
    (void)state;
    struct left *left = left_new();
    left_walk_begins(left);
    assert_true(left_note(left, "a.txt", LEFT_NAME, 0));
    assert_true(left_note(left, "\x1b[31m\n\xff.txt", LEFT_NAME, 0));
    assert_true(left_note(left, "c", LEFT_NAME, 0));
    assert_true(left_note(left, "d", LEFT_NAME, 0));
    assert_true(left_note(left, "p.eml", LEFT_NO_FILE, 0));
    expect_json(left, "{\"left\":[],\"left_alone\":0}"); /* not before the walk is over */
    left_walk_ends(left);
    expect_json(
        left,
        "{\"left\":[{\"count\":4,\"examples\":[\"a.txt\",\"\\\\x1B[31m\\\\x0A\\\\xFF.txt\",\"c\"],"
        "\"meaning\":\"the name does not end in .eml\",\"reason\":\"name\"},"
        "{\"count\":1,\"examples\":[\"p.eml\"],\"meaning\":\"it is a directory, a FIFO or another "
        "thing that is no file\",\"reason\":\"no-file\"}],\"left_alone\":5}");
    left_walk_begins(left);
    expect_json(
        left,
        "{\"left\":[{\"count\":4,\"examples\":[\"a.txt\",\"\\\\x1B[31m\\\\x0A\\\\xFF.txt\",\"c\"],"
        "\"meaning\":\"the name does not end in .eml\",\"reason\":\"name\"},"
        "{\"count\":1,\"examples\":[\"p.eml\"],\"meaning\":\"it is a directory, a FIFO or another "
        "thing that is no file\",\"reason\":\"no-file\"}],\"left_alone\":5}");
    left_walk_ends(left);
    expect_json(left, "{\"left\":[],\"left_alone\":0}");
    left_free(left);
}

static void one_event_for_a_name_and_a_reason(void **state)
{
    (void)state;
    struct left *left = left_new();
    for (int64_t now = 0; now < 100000; now += 5000)
        walk(left, "link.eml", LEFT_LINK, now);
    assert_int_equal(events, 1);
    assert_string_equal(last_name, "link.eml");
    assert_string_equal(last_reason, "it is a symbolic link");
    walk(left, "link.eml", LEFT_UNREADABLE, 100000); /* another reason is news */
    walk(left, "link.eml", LEFT_UNREADABLE, 105000);
    assert_int_equal(events, 2);
    walk(left, NULL, LEFT_NOT, 110000); /* gone, and there again: so is that */
    walk(left, "link.eml", LEFT_UNREADABLE, 115000);
    assert_int_equal(events, 3);
    left_free(left);
}

/* Drafts and slow writers come and go; and what other events tell of is not told twice. */
static void patience(void **state)
{
    (void)state;
    static const struct {
        enum left_reason reason;
        int64_t at; /* the first walk, every 5 s, that tells; -1: none */
    } cases[] = {{LEFT_NAME, 10000},    {LEFT_EMPTY, 10000}, {LEFT_HIDDEN, 60000},
                 {LEFT_WRITTEN, 60000}, {LEFT_LINK, 0},      {LEFT_NO_FILE, 0},
                 {LEFT_UNREADABLE, 0},  {LEFT_REFUSED, -1},  {LEFT_STUCK, -1}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct left *left = left_new();
        int64_t told = -1;
        events = 0;
        for (int64_t now = 0; now < 3600000; now += 5000) {
            walk(left, "x", cases[i].reason, 1000000 + now);
            if (told < 0 && events > 0)
                told = now;
        }
        assert_int_equal(told, cases[i].at);
        assert_int_equal(events, cases[i].at < 0 ? 0 : 1);
        left_free(left);
    }
}

/* A hundred thousand names: all are counted, a thousand have an event each, and one says that there
 * are more. */
static void memory_is_bounded(void **state)
{
    (void)state;
    struct left *left = left_new();
    char name[32];
    for (int round = 0; round < 2; round++) {
        left_walk_begins(left);
        for (int i = 0; i < 100000; i++) {
            (void)snprintf(name, sizeof name, "n%d.eml", i);
            bool fresh = left_note(left, name, LEFT_LINK, round);
            assert_true(fresh == (round == 0 && i < LEFT_REMEMBERED));
        }
        left_walk_ends(left);
        assert_int_equal(events, LEFT_REMEMBERED + 1);
    }
    json_t *json = left_json(left);
    assert_int_equal(json_integer_value(json_object_get(json, "left_alone")), 100000);
    json_decref(json);
    left_free(left);
}

/* The longest of names, each byte of them to be escaped, for every reason, fit into a reply. */
static void the_reply_stays_small(void **state)
{
    (void)state;
    struct left *left = left_new();
    char name[256];
    left_walk_begins(left);
    for (int r = LEFT_NOT + 1; r < LEFT_REASONS; r++)
        for (int i = 0; i < 10; i++) {
            memset(name, 0xff - i, 255);
            name[255] = '\0';
            (void)left_note(left, name, (enum left_reason)r, 0);
        }
    left_walk_ends(left);
    json_t *json = left_json(left);
    assert_true(json_dumpb(json, NULL, 0, JSON_COMPACT) < 48 * 1024);
    const json_t *names =
        json_object_get(json_array_get(json_object_get(json, "left"), 0), "examples");
    assert_int_equal(json_string_length(json_array_get(names, 0)), 4 * 255); /* none is cut */
    json_decref(json);
    left_free(left);
}

#define left_test(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        left_test(nothing_at_all),
        left_test(counts_and_examples),
        left_test(one_event_for_a_name_and_a_reason),
        left_test(patience),
        left_test(memory_is_bounded),
        left_test(the_reply_stays_small),
    };
    return cmocka_run_group_tests_name("left", tests, NULL, NULL);
}
