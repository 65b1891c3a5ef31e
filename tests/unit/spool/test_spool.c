/* The six directories: opening, moving, finding, walking, counting. */
#include "tests/unit/spool/open_good.h"
#include <glib.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/mount.h>

#define ID "01ARZ3NDEKTSV4RRFFQ69G5FAV"

static void put(void **state, const char *dir, const char *name)
{
    char path[200];
    (void)snprintf(path, sizeof path, "spool/%s/%s", dir, name);
    (void)scratch_write(*state, path, "x", 1, 0640);
}

static void assert_not_opened(void **state, bool create, enum error_kind kind, const char *words)
{
    struct error err = {0};
    struct spool *spool = spool_open(scratch_path(*state, "spool"), create, &err);
    assert_null(spool);
    if (err.kind != kind || strstr(err.text, words) == NULL)
        fail_msg("%d %s", err.kind, err.text);
}

/* --- opening --- */

static void test_create(void **state)
{
    mode_t before = umask(0);
    struct spool *spool = open_good(state);
    (void)umask(before);
    static const char *const names[] = {"tmp",      "incoming", "outgoing",
                                        "rejected", "badmail",  "pickup"};
    for (int d = 0; d < SPOOL_DIRS; d++) {
        char path[64];
        struct stat by_name, by_fd;
        assert_string_equal(spool_dir_name((enum spool_dir)d), names[d]);
        (void)snprintf(path, sizeof path, "spool/%s", names[d]);
        assert_int_equal(stat(scratch_path(*state, path), &by_name), 0);
        assert_int_equal(by_name.st_mode & 07777, 0750);
        assert_int_equal(fstat(spool_fd(spool, (enum spool_dir)d), &by_fd), 0);
        assert_int_equal(by_name.st_ino, by_fd.st_ino);
        assert_true(fcntl(spool_fd(spool, (enum spool_dir)d), F_GETFD) & FD_CLOEXEC);
    }
    assert_string_equal(spool_path(spool), scratch_path(*state, "spool"));
    assert_true(spool_free_bytes(spool) > 0);
    spool_close(spool);
    spool_close(open_good(state)); /* again, on what is there */
    struct error err;
    spool = spool_open(scratch_path(*state, "spool"), false, &err);
    assert_non_null(spool);
    spool_close(spool);
    spool_close(NULL);
}

static void test_not_there(void **state)
{
    assert_not_opened(state, false, ERROR_MISSING, "popferryctl init");
    spool_close(open_good(state));
    assert_int_equal(rmdir(scratch_path(*state, "spool/rejected")), 0);
    assert_not_opened(state, false, ERROR_MISSING, "spool/rejected");
    spool_close(open_good(state)); /* create mends it */
    struct error err;
    assert_null(spool_open(scratch_path(*state, "a/b/c"), true, &err));
    (void)scratch_write(*state, "file", "x", 1, 0600);
    assert_null(spool_open(scratch_path(*state, "file"), true, &err));
}

static void test_no_directory(void **state)
{
    spool_close(open_good(state));
    assert_int_equal(rmdir(scratch_path(*state, "spool/badmail")), 0);
    (void)scratch_write(*state, "spool/badmail", "x", 1, 0600);
    assert_not_opened(state, true, ERROR_PERMANENT, "spool/badmail");
}

static void test_links_are_not_followed(void **state)
{
    spool_close(open_good(state));
    assert_int_equal(mkdir(scratch_path(*state, "elsewhere"), 0700), 0);
    assert_int_equal(rmdir(scratch_path(*state, "spool/outgoing")), 0);
    assert_int_equal(
        symlink(scratch_path(*state, "elsewhere"), scratch_path(*state, "spool/outgoing")), 0);
    assert_not_opened(state, true, ERROR_PERMANENT, "spool/outgoing");
    assert_not_opened(state, false, ERROR_PERMANENT, "spool/outgoing");
}

static void test_modes(void **state)
{
    static const struct {
        const char *dir;
        mode_t mode;
        const char *words; /* NULL: it is fine */
    } cases[] = {
        {"incoming", 0700, NULL},
        {"incoming", 02750, NULL},
        {"incoming", 0770, "its group"},
        {"incoming", 01730, "its group"},
        {"badmail", 01730, "its group"},
        {"tmp", 0720, "its group"},
        {"outgoing", 01720, "its group"},
        {"rejected", 03730, "its group"},
        {"incoming", 0755, "open to others"},
        {"incoming", 0751, "open to others"},
        {"incoming", 0752, "open to others"},
        {"badmail", 0754, "open to others"},
        {"tmp", 01777, "open to others"},
        {"outgoing", 0757, "open to others"},
        {"incoming", 01773, "open to others"},
        {"pickup", 0750, NULL},
        {"pickup", 0770, NULL},
        {"pickup", 01730, NULL},
        {"pickup", 03730, NULL},
        {"pickup", 01733, NULL},
        {"pickup", 01773, NULL},
        {"pickup", 0773, "open to others"},
        {"pickup", 0733, "open to others"},
        {"pickup", 01777, "open to others"},
    };
    spool_close(open_good(state));
    for (size_t i = 0; i < COUNT(cases); i++) {
        char path[64];
        (void)snprintf(path, sizeof path, "spool/%s", cases[i].dir);
        assert_int_equal(chmod(scratch_path(*state, path), cases[i].mode), 0);
        if (cases[i].words == NULL)
            spool_close(open_good(state));
        else
            assert_not_opened(state, i % 2 == 0, ERROR_PERMANENT, cases[i].words);
        assert_int_equal(chmod(scratch_path(*state, path), 0750), 0);
    }
}

/* In a child with a mount of its own; exit code 77 where that is not allowed. */
static void test_another_filesystem(void **state)
{
    spool_close(open_good(state));
    pid_t pid = fork();
    if (pid == 0) {
        if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
            mount("tmpfs", scratch_path(*state, "spool/badmail"), "tmpfs", 0, "mode=0750") < 0)
            _exit(77);
        struct error err;
        struct spool *spool = spool_open(scratch_path(*state, "spool"), false, &err);
        _exit(spool != NULL ? 1 : strstr(err.text, "spool/badmail is on another") != NULL ? 0 : 2);
    }
    int code = exit_code(pid);
    if (code == 77)
        skip();
    assert_int_equal(code, 0);
}

/* --- names --- */

static void test_names(void **state)
{
    (void)state;
    char name[SPOOL_NAME_SIZE], id[ID_SIZE] = "untouched";
    assert_ptr_equal(spool_name(name, ID, "eml"), name);
    assert_string_equal(name, ID ".eml");
    assert_string_equal(spool_name(name, ID, "drop"), ID ".drop");
    assert_true(spool_parse_name(ID ".eml", "eml", id));
    assert_string_equal(id, ID);
    static const char *const bad[] = {"",
                                      ".",
                                      "..",
                                      ID,
                                      ID ".",
                                      ID ".em",
                                      ID ".emlx",
                                      ID ".EML",
                                      ID ".drop",
                                      ID ".new",
                                      ID ".eml.bad",
                                      "x" ID ".eml",
                                      ".eml",
                                      "." ID ".eml",
                                      "81ARZ3NDEKTSV4RRFFQ69G5FAV.eml",
                                      "01arz3ndektsv4rrffq69g5fav.eml",
                                      ID "/.eml",
                                      "message.eml"};
    (void)strcpy(id, "untouched");
    for (size_t i = 0; i < COUNT(bad); i++)
        assert_false(spool_parse_name(bad[i], "eml", id));
    assert_string_equal(id, "untouched");
}

/* --- moving --- */

static void test_move(void **state)
{
    struct spool *spool = open_good(state);
    struct error err = {0};
    put(state, "tmp", ID ".eml");
    static const enum spool_dir way[] = {SPOOL_TMP,      SPOOL_INCOMING, SPOOL_OUTGOING,
                                         SPOOL_REJECTED, SPOOL_BADMAIL,  SPOOL_PICKUP};
    assert_int_equal(spool_find(spool, ID), SPOOL_TMP);
    for (size_t i = 0; i + 1 < COUNT(way); i++) {
        assert_true(spool_move(spool, ID, way[i], way[i + 1], &err));
        assert_int_equal(spool_find(spool, ID), way[i + 1]);
        assert_int_equal(spool_count(spool, way[i]), 0);
        assert_int_equal(spool_count(spool, way[i + 1]), 1);
    }
    assert_false(spool_move(spool, ID, SPOOL_INCOMING, SPOOL_OUTGOING, &err));
    assert_int_equal(err.kind, ERROR_MISSING);
    assert_non_null(strstr(err.text, "from incoming to outgoing"));
    spool_close(spool);
}

static void test_remove(void **state)
{
    struct spool *spool = open_good(state);
    struct error err = {0};
    put(state, "outgoing", ID ".eml");
    assert_true(spool_remove(spool, SPOOL_INCOMING, ID, &err)); /* not there: fine */
    assert_int_equal(spool_find(spool, ID), SPOOL_OUTGOING);
    assert_true(spool_remove(spool, SPOOL_OUTGOING, ID, &err));
    assert_int_equal(spool_find(spool, ID), SPOOL_DIRS);
    assert_true(spool_remove(spool, SPOOL_OUTGOING, ID, &err));
    assert_int_equal(mkdir(scratch_path(*state, "spool/outgoing/" ID ".eml"), 0700), 0);
    assert_int_equal(mkdir(scratch_path(*state, "spool/outgoing/" ID ".eml/x"), 0700), 0);
    assert_false(spool_remove(spool, SPOOL_OUTGOING, ID, &err));
    assert_non_null(strstr(err.text, "rm -r /"));
    assert_non_null(strstr(err.text, "spool/outgoing/" ID ".eml"));
    assert_int_equal(rmdir(scratch_path(*state, "spool/outgoing/" ID ".eml/x")), 0);
    assert_true(spool_remove(spool, SPOOL_OUTGOING, ID, &err));
    assert_int_equal(spool_find(spool, ID), SPOOL_DIRS);
    spool_close(spool);
}

/* The directories are held open: a path that changes under us leads nowhere else. */
static void test_path_changes(void **state)
{
    struct spool *spool = open_good(state);
    struct error err;
    put(state, "incoming", ID ".eml");
    assert_int_equal(rename(scratch_path(*state, "spool"), scratch_path(*state, "moved")), 0);
    assert_int_equal(mkdir(scratch_path(*state, "spool"), 0700), 0);
    assert_true(spool_move(spool, ID, SPOOL_INCOMING, SPOOL_OUTGOING, &err));
    assert_int_equal(access(scratch_path(*state, "moved/outgoing/" ID ".eml"), F_OK), 0);
    spool_close(spool);
}

/* In a child: forward through all directories, over and over; *lap is odd while the file goes back
 * to the start. */
static void move_in_laps(const struct spool *spool, volatile int *lap)
{
    struct error err;
    for (int round = 0; round < 4000; round++) {
        for (int d = SPOOL_TMP; d < SPOOL_BADMAIL; d++)
            if (!spool_move(spool, ID, (enum spool_dir)d, (enum spool_dir)(d + 1), &err))
                _exit(1);
        ++*lap;
        if (!spool_move(spool, ID, SPOOL_BADMAIL, SPOOL_TMP, &err))
            _exit(2);
        ++*lap;
    }
    _exit(0);
}

/* A message that moves forward all the time is always found. */
static void test_find_while_moving(void **state)
{
    struct spool *spool = open_good(state);
    volatile int *lap =
        mmap(NULL, sizeof *lap, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    put(state, "tmp", ID ".eml");
    pid_t pid = fork();
    if (pid == 0)
        move_in_laps(spool, lap);
    int looked = 0, missed = 0, status;
    while (waitpid(pid, &status, WNOHANG) == 0) {
        int before = *lap;
        bool found = spool_find(spool, ID) != SPOOL_DIRS;
        if (before % 2 == 0 && before == *lap) {
            looked++;
            missed += !found;
        }
    }
    assert_int_equal(status, 0);
    assert_true(looked > 100);
    assert_int_equal(missed, 0);
    (void)munmap((void *)lap, sizeof *lap);
    spool_close(spool);
}

/* --- walking --- */

static void test_scan(void **state)
{
    enum { MANY = 1000 };
    struct spool *spool = open_good(state);
    struct error err;
    char id[ID_SIZE], name[SPOOL_NAME_SIZE];
    GHashTable *want = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, NULL);
    for (int i = 0; i < MANY; i++) {
        id_new(id);
        put(state, "outgoing", spool_name(name, id, "eml"));
        (void)g_hash_table_add(want, g_strdup(id));
    }
    static const char *const others[] = {"x", "x.eml", ID ".drop", ID ".new", ".hidden"};
    for (size_t i = 0; i < COUNT(others); i++)
        put(state, "outgoing", others[i]);
    assert_int_equal(spool_count(spool, SPOOL_OUTGOING), MANY);
    struct spool_scan *scan = spool_scan_begin(spool, SPOOL_OUTGOING, &err);
    assert_non_null(scan);
    int n = 0;
    for (; spool_scan_next(scan, id); n++)
        assert_true(g_hash_table_remove(want, id)); /* each once */
    assert_int_equal(n, MANY);
    assert_int_equal(g_hash_table_size(want), 0);
    assert_false(spool_scan_next(scan, id));
    spool_scan_end(scan);
    spool_scan_end(NULL);
    g_hash_table_destroy(want);

    /* two walks side by side, one left early, and files removed meanwhile */
    struct spool_scan *a = spool_scan_begin(spool, SPOOL_OUTGOING, &err);
    struct spool_scan *b = spool_scan_begin(spool, SPOOL_OUTGOING, &err);
    assert_true(spool_scan_next(a, id));
    spool_scan_end(a);
    for (n = 0; spool_scan_next(b, id); n++)
        assert_true(spool_remove(spool, SPOOL_OUTGOING, id, &err));
    assert_int_equal(n, MANY);
    spool_scan_end(b);
    assert_int_equal(spool_count(spool, SPOOL_OUTGOING), 0);
    spool_close(spool);
}

static int count_words(const char *text, const char *words)
{
    int n = 0;
    for (const char *at = text; (at = strstr(at, words)) != NULL; at++)
        n++;
    return n;
}

/* Once, with the first name in a form that no terminal obeys, and their number. */
static void test_foreign_names(void **state)
{
    struct spool *spool = open_good(state);
    struct error err;
    char id[ID_SIZE];
    bool told = false;
    static const char *const ours[] = {ID ".eml", ID ".drop", ID ".new", ID ".top"};
    for (size_t i = 0; i < COUNT(ours); i++)
        put(state, "outgoing", ours[i]);
    scratch_catch(*state);
    for (int round = 0; round < 4; round++) {
        struct spool_scan *scan = spool_scan_begin(spool, SPOOL_OUTGOING, &err);
        while (spool_scan_next(scan, id))
            ;
        spool_scan_warn(scan, &told);
        spool_scan_end(scan);
        assert_int_equal(told, round > 0);
        if (round == 0)
            put(state, "outgoing", "a\033[2Jb\nc");
        if (round == 1)
            put(state, "outgoing", "letter.eml");
    }
    scratch_release(*state);
    char *events = scratch_read(*state, "stderr", NULL);
    assert_int_equal(count_words(events, "warning spool-foreign-name dir=outgoing name="), 1);
    assert_int_equal(count_words(events, "names=1"), 1);
    assert_int_equal(count_words(events, "\033"), 0);
    assert_int_equal(count_words(events, "\n"), 1);
    free(events);
    put(state, "incoming", ID ".top"); /* it has nothing to do there */
    struct spool_scan *scan = spool_scan_begin(spool, SPOOL_INCOMING, &err);
    assert_false(spool_scan_next(scan, id));
    told = false;
    scratch_catch(*state);
    spool_scan_warn(scan, &told);
    scratch_release(*state);
    assert_true(told);
    spool_scan_end(scan);
    spool_close(spool);
}

static void test_count(void **state)
{
    struct spool *spool = open_good(state);
    for (int d = 0; d < SPOOL_DIRS; d++)
        assert_int_equal(spool_count(spool, (enum spool_dir)d), 0);
    static const char *const names[] = {ID ".eml", "letter.eml", ".hidden.eml", "letter.eml.bad",
                                        ".eml",    "x",          "letter.EML"};
    for (size_t i = 0; i < COUNT(names); i++) {
        put(state, "pickup", names[i]);
        put(state, "incoming", names[i]);
    }
    assert_int_equal(mkdir(scratch_path(*state, "spool/pickup/folder.eml"), 0750), 0);
    assert_int_equal(mkfifo(scratch_path(*state, "spool/pickup/fifo.eml"), 0640), 0);
    assert_int_equal(symlink("letter.eml", scratch_path(*state, "spool/pickup/link.eml")), 0);
    (void)scratch_write(*state, "spool/pickup/empty.eml", "", 0, 0640);
    assert_int_equal(spool_count(spool, SPOOL_PICKUP), 2); /* ID.eml, letter.eml */
    assert_int_equal(spool_count(spool, SPOOL_INCOMING), 1);
    spool_close(spool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(test_create),
        scratch_test(test_not_there),
        scratch_test(test_no_directory),
        scratch_test(test_links_are_not_followed),
        scratch_test(test_modes),
        scratch_test(test_another_filesystem),
        scratch_test(test_names),
        scratch_test(test_move),
        scratch_test(test_remove),
        scratch_test(test_path_changes),
        scratch_test(test_find_while_moving),
        scratch_test(test_scan),
        scratch_test(test_foreign_names),
        scratch_test(test_count),
    };
    return cmocka_run_group_tests_name("spool", tests, NULL, NULL);
}
