/* A move replaces nothing: with rename(2)'s help, and where the filesystem has none. */
#include "tests/unit/spool/open_good.h"
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#define ID    "01ARZ3NDEKTSV4RRFFQ69G5FAV"
#define OTHER "01ARZ3NDEKTSV4RRFFQ69G5FAW"
#define LONG  200000 /* several chunks of the comparison */

static void put(void **state, const char *dir, const char *bytes, size_t n)
{
    char path[200];
    (void)snprintf(path, sizeof path, "spool/%s/" ID ".eml", dir);
    (void)scratch_write(*state, path, bytes, n, 0640);
}

static void assert_holds(void **state, const char *dir, const char *bytes, size_t n)
{
    char path[200];
    size_t len;
    (void)snprintf(path, sizeof path, "spool/%s/" ID ".eml", dir);
    char *text = scratch_read(*state, path, &len);
    assert_int_equal(len, n);
    assert_memory_equal(text, bytes, n);
    free(text);
}

static bool move_to_badmail(const struct spool *spool, struct error *err)
{
    *err = (struct error){0};
    return spool_move(spool, ID, SPOOL_INCOMING, SPOOL_BADMAIL, err);
}

static void assert_taken(const struct spool *spool)
{
    struct error err;
    assert_false(move_to_badmail(spool, &err));
    assert_int_equal(err.kind, ERROR_TAKEN);
    assert_non_null(strstr(err.text, "from incoming to badmail/" ID));
    assert_true(spool_has(spool, SPOOL_INCOMING, ID));
    assert_true(spool_has(spool, SPOOL_BADMAIL, ID));
}

static void test_differing(void **state)
{
    struct spool *spool = open_good(state);
    char a[LONG], b[LONG];
    static const size_t places[] = {0, 32767, 32768, LONG - 1};
    for (size_t i = 0; i < COUNT(places); i++) { /* of one length */
        memset(a, 'a', sizeof a);
        memset(b, 'a', sizeof b);
        b[places[i]] = 'b';
        put(state, "incoming", a, sizeof a);
        put(state, "badmail", b, sizeof b);
        assert_taken(spool);
        assert_holds(state, "incoming", a, sizeof a);
        assert_holds(state, "badmail", b, sizeof b);
    }
    put(state, "incoming", b, sizeof b - 1); /* the beginning of the other */
    assert_taken(spool);
    assert_holds(state, "badmail", b, sizeof b);
    put(state, "incoming", "", 0);
    assert_taken(spool);
    spool_close(spool);
}

static void test_identical(void **state)
{
    struct spool *spool = open_good(state);
    struct error err;
    char a[LONG];
    memset(a, 'a', sizeof a);
    static const size_t sizes[] = {0, 1, 32767, 32768, 65536, LONG};
    for (size_t i = 0; i < COUNT(sizes); i++) {
        put(state, "incoming", a, sizes[i]);
        put(state, "badmail", a, sizes[i]);
        assert_true(move_to_badmail(spool, &err));
        assert_false(spool_has(spool, SPOOL_INCOMING, ID));
        assert_holds(state, "badmail", a, sizes[i]);
    }
    spool_close(spool);
}

/* What a crash between linkat and unlinkat leaves; rename(2) alone would do nothing here. */
static void test_same_inode(void **state)
{
    struct spool *spool = open_good(state);
    struct error err;
    put(state, "incoming", "x", 1);
    assert_int_equal(linkat(spool_fd(spool, SPOOL_INCOMING), ID ".eml",
                            spool_fd(spool, SPOOL_BADMAIL), ID ".eml", 0),
                     0);
    assert_int_equal(chmod(scratch_path(*state, "spool/badmail/" ID ".eml"), 0), 0); /* not read */
    assert_true(move_to_badmail(spool, &err));
    assert_false(spool_has(spool, SPOOL_INCOMING, ID));
    assert_true(spool_has(spool, SPOOL_BADMAIL, ID));
    spool_close(spool);
}

/* Nothing but a regular file is opened: a FIFO would wait, a link lead away. */
static void test_no_files(void **state)
{
    struct spool *spool = open_good(state);
    const char *there = scratch_path(*state, "spool/badmail/" ID ".eml");
    put(state, "incoming", "x", 1);
    assert_int_equal(mkdir(there, 0700), 0);
    assert_taken(spool);
    assert_int_equal(rmdir(there), 0);
    assert_int_equal(mkfifo(there, 0600), 0);
    assert_taken(spool);
    assert_int_equal(unlink(there), 0);
    assert_int_equal(symlink("../incoming/" ID ".eml", there), 0);
    assert_taken(spool);
    assert_int_equal(unlink(scratch_path(*state, "spool/incoming/" ID ".eml")), 0);
    assert_int_equal(mkdir(scratch_path(*state, "spool/incoming/" ID ".eml"), 0700), 0);
    assert_taken(spool);
    spool_close(spool);
}

static void test_another_name(void **state)
{
    struct spool *spool = open_good(state);
    struct error err = {0};
    put(state, "incoming", "x", 1);
    put(state, "badmail", "y", 1);
    assert_true(spool_move_as(spool, ID, SPOOL_INCOMING, SPOOL_BADMAIL, OTHER, &err));
    assert_false(spool_has(spool, SPOOL_INCOMING, ID));
    assert_true(spool_has(spool, SPOOL_BADMAIL, OTHER));
    assert_holds(state, "badmail", "y", 1);
    assert_false(spool_move_as(spool, ID, SPOOL_INCOMING, SPOOL_BADMAIL, OTHER, &err));
    assert_int_equal(err.kind, ERROR_MISSING);
    spool_close(spool);
}

/* --- a filesystem that can't rename without replacing --- */

/* From here on renameat2(2) says `number` in this process. */
static bool refuse_renameat2(int number)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_renameat2, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)number),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = COUNT(rules), .filter = rules};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) == 0;
}

/* In a child; 0 when all is as it should be. */
static int without_renameat2(void **state, int number)
{
    struct spool *spool = open_good(state);
    struct error err;
    if (!refuse_renameat2(number))
        return 77;
    put(state, "incoming", "x", 1);
    if (!move_to_badmail(spool, &err) || spool_has(spool, SPOOL_INCOMING, ID) ||
        !spool_has(spool, SPOOL_BADMAIL, ID))
        return 1;
    if (move_to_badmail(spool, &err) || err.kind != ERROR_MISSING)
        return 2;
    put(state, "incoming", "y", 1);
    if (move_to_badmail(spool, &err) || err.kind != ERROR_TAKEN)
        return 3;
    put(state, "incoming", "x", 1);
    return move_to_badmail(spool, &err) && !spool_has(spool, SPOOL_INCOMING, ID) ? 0 : 4;
}

static void test_without_renameat2(void **state)
{
    static const int numbers[] = {EINVAL, ENOSYS};
    spool_close(open_good(state));
    for (size_t i = 0; i < COUNT(numbers); i++) {
        pid_t pid = fork();
        if (pid == 0)
            _exit(without_renameat2(state, numbers[i]));
        int code = exit_code(pid);
        if (code == 77)
            skip();
        assert_int_equal(code, 0);
        assert_holds(state, "badmail", "x", 1);
        assert_int_equal(unlink(scratch_path(*state, "spool/badmail/" ID ".eml")), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(test_differing),    scratch_test(test_identical),
        scratch_test(test_same_inode),   scratch_test(test_no_files),
        scratch_test(test_another_name), scratch_test(test_without_renameat2),
    };
    return cmocka_run_group_tests_name("move", tests, NULL, NULL);
}
