/* What lies in pickup/ under whatever name: what is taken, what goes back, what is left alone and
 * shown; and how much is taken at once. */
#include "tests/unit/hygiene/dropping.h"
#include <dirent.h>

static bool four_out(struct fixture *f)
{
    return files_out(f) == 4;
}

static const char *long_name(char first)
{
    static char name[256];
    memset(name, first, 251);
    memcpy(name + 251, ".eml", 5);
    return name;
}

static void odd_names_are_names(void **state)
{
    struct fixture *f = *state;
    drop_file(f, "a\nb\r.eml", mail);
    drop_file(f, "\x1b[2J \x9b.eml", mail);
    drop_file(f, "\xff\xfe\xc3.eml", mail);
    drop_file(f, long_name('n'), mail);
    start(f);
    assert_true(fixture_run(f, four_out));
    assert_true(spool_count(f->h.spool, SPOOL_PICKUP) == 0);
    stop(f);
}

static const char *only_name(struct fixture *f, const char *but)
{
    static char name[256];
    int n = 0;
    DIR *dir = opendir(scratch_path(f->scratch, "spool/pickup"));
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        if (entry->d_name[0] != '.' && strcmp(entry->d_name, but) != 0)
            n += snprintf(name, sizeof name, "%s", entry->d_name) > 0;
    (void)closedir(dir);
    return n == 1 ? name : NULL;
}

static const char *earlier; /* the .bad that was there before */

static bool another_bad(struct fixture *f)
{
    const char *name = only_name(f, earlier);
    return name != NULL && strcmp(name + strlen(name) - 4, ".bad") == 0;
}

/* A second file of the same name that can't be understood takes nothing from the first. */
static void bad_beside_bad(void **state)
{
    struct fixture *f = *state;
    char names[2][256], bad[2][256], path[400];
    (void)snprintf(names[0], sizeof names[0], "bad.eml");
    (void)snprintf(bad[0], sizeof bad[0], "bad.eml.bad");
    (void)snprintf(names[1], sizeof names[1], "%s", long_name('l'));
    (void)snprintf(bad[1], sizeof bad[1], "%.251s.bad", names[1]);
    start(f);
    for (size_t i = 0; i < COUNT(names); i++) {
        earlier = bad[i];
        drop_file(f, bad[i], "the first");
        drop_file(f, names[i], "the second");
        assert_true(fixture_run(f, another_bad));
        (void)snprintf(path, sizeof path, "spool/pickup/%s", bad[i]);
        char *text = scratch_read(f->scratch, path, NULL);
        assert_string_equal(text, "the first");
        free(text);
        assert_int_equal(unlink(scratch_path(f->scratch, path)), 0);
        (void)snprintf(path, sizeof path, "spool/pickup/%s", only_name(f, ""));
        text = scratch_read(f->scratch, path, NULL);
        assert_string_equal(text, "the second");
        free(text);
        assert_int_equal(unlink(scratch_path(f->scratch, path)), 0);
    }
    stop(f);
}

/* The name as it was, when there is room for it and .bad. */
static void bad_keeps_the_name(void **state)
{
    struct fixture *f = *state;
    char name[252], want[256];
    (void)snprintf(name, sizeof name, "%.247s.eml", long_name('k'));
    (void)snprintf(want, sizeof want, "%s.bad", name);
    earlier = "";
    drop_file(f, name, "hopeless");
    start(f);
    assert_true(fixture_run(f, another_bad));
    assert_string_equal(only_name(f, ""), want);
    stop(f);
}

/* Two names are two drops, whatever they are names of. */
static void a_hard_link_is_another_drop(void **state)
{
    struct fixture *f = *state;
    const char *one = scratch_path(f->scratch, "spool/pickup/one.eml");
    drop_file(f, "one.eml", mail);
    assert_int_equal(link(one, scratch_path(f->scratch, "spool/pickup/two.eml")), 0);
    assert_int_equal(link(one, scratch_path(f->scratch, "kept")), 0);
    start(f);
    assert_true(fixture_run(f, two_out));
    char *text = scratch_read(f->scratch, "kept", NULL);
    assert_string_equal(text, mail);
    free(text);
    stop(f);
}

/* --- what is shown --- */

static json_t *left_by(struct fixture *f, const char *reason)
{
    size_t i;
    json_t *status = pickup_status(f->h.pickup), *each, *found = NULL;
    json_array_foreach(json_object_get(status, "left"), i,
                       each) if (strcmp(json_string_value(json_object_get(each, "reason")),
                                        reason) == 0) found = json_incref(each);
    json_decref(status);
    return found;
}

static bool links_are_shown(struct fixture *f)
{
    json_t *left = left_by(f, "link");
    json_decref(left);
    return left != NULL;
}

static void what_is_left_alone_is_shown(void **state)
{
    struct fixture *f = *state;
    drop_file(f, "notes.txt", mail);
    drop_file(f, "upper.EML", mail);
    drop_file(f, ".draft.eml", mail);
    drop_file(f, "old.eml.bad", mail);
    drop_file(f, "empty.eml", "");
    drop_file(f, "slow.eml", mail);
    int writer = open(scratch_path(f->scratch, "spool/pickup/slow.eml"), O_WRONLY | O_CLOEXEC);
    assert_int_equal(symlink("/etc/passwd", scratch_path(f->scratch, "spool/pickup/li\x1bnk.eml")),
                     0);
    assert_int_equal(mkfifo(scratch_path(f->scratch, "spool/pickup/fifo.eml"), 0600), 0);
    assert_int_equal(mkdir(scratch_path(f->scratch, "spool/pickup/dir.eml"), 0700), 0);
    start(f);
    assert_true(fixture_run(f, links_are_shown));
    static const struct {
        const char *reason;
        int count;
        const char *example; /* NULL: any */
    } cases[] = {
        {"name", 2, NULL},         {"hidden", 1, ".draft.eml"}, {"refused", 1, "old.eml.bad"},
        {"empty", 1, "empty.eml"}, {"written", 1, "slow.eml"},  {"link", 1, "li\\x1Bnk.eml"},
        {"no-file", 2, NULL}};
    for (size_t i = 0; i < COUNT(cases); i++) {
        json_t *left = left_by(f, cases[i].reason);
        assert_non_null(left);
        assert_int_equal(json_integer_value(json_object_get(left, "count")), cases[i].count);
        const json_t *names = json_object_get(left, "examples");
        assert_int_equal(json_array_size(names), cases[i].count);
        if (cases[i].example != NULL)
            assert_string_equal(json_string_value(json_array_get(names, 0)), cases[i].example);
        json_decref(left);
    }
    assert_int_equal(files_out(f), 0);
    (void)close(writer);
    stop(f);
}

/* Opening a FIFO would let its writer go on. */
static void a_fifo_is_not_opened(void **state)
{
    struct fixture *f = *state;
    const char *fifo = scratch_path(f->scratch, "spool/pickup/fifo.eml");
    assert_int_equal(mkfifo(fifo, 0600), 0);
    int watch = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
    assert_true(inotify_add_watch(watch, fifo, IN_OPEN) >= 0);
    start(f);
    run_for(f, 300);
    assert_int_equal(opened(watch), 0);
    (void)close(watch);
    stop(f);
}

/* --- how much at once --- */

static long long waiting(struct fixture *f)
{
    json_t *status = pickup_status(f->h.pickup);
    long long n = json_integer_value(json_object_get(status, "waiting"));
    json_decref(status);
    return n;
}

/* What is claimed is remembered by its id: no more than some at once, and the rest stays in
 * pickup/. */
static void claims_keep_to_a_number(void **state)
{
    struct fixture *f = *state;
    long long most = 0;
    char name[32];
    for (int i = 0; i < 2500; i++) {
        (void)snprintf(name, sizeof name, "n%d.eml", i);
        drop_file(f, name, mail);
    }
    start(f);
    int64_t end = clock_monotonic() + 60000;
    while (files_out(f) < 2500 && clock_monotonic() < end) {
        (void)event_base_loop(f->d.base, EVLOOP_ONCE | EVLOOP_NONBLOCK);
        most = waiting(f) > most ? waiting(f) : most;
    }
    assert_int_equal(files_out(f), 2500);
    assert_true(most >= 1024);
    assert_true(most <= 1024 + 256);
    stop(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(odd_names_are_names),         fixture_test(bad_beside_bad),
        fixture_test(bad_keeps_the_name),          fixture_test(a_hard_link_is_another_drop),
        fixture_test(what_is_left_alone_is_shown), fixture_test(a_fifo_is_not_opened),
        fixture_test(claims_keep_to_a_number),
    };
    return cmocka_run_group_tests_name("pickup_names", tests, NULL, NULL);
}
