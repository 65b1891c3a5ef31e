/* The relay's password on the disk: sealed, for one user name, and replaced as a whole or not. */
#include "lib/secret.h"
#include "relayd/login.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"

static char alice[] = "alice", bob[] = "bob", nobody[] = "";

struct fixture {
    struct scratch *scratch;
    struct conf conf;
    struct daemon d;
    struct login *login;
};

static struct login *open_in(struct fixture *p)
{
    struct error err = {0};
    struct login *login = login_open(&p->d, &err);
    if (login == NULL)
        fail_msg("%s", err.text);
    return login;
}

static int make(void **state)
{
    struct fixture *p = calloc(1, sizeof *p);
    void *scratch;
    if (scratch_make(&scratch) < 0)
        return -1;
    p->scratch = scratch;
    p->conf.state_dir = p->scratch->dir;
    p->conf.relay.user = alice;
    p->d.conf = &p->conf;
    p->login = open_in(p);
    *state = p;
    return 0;
}

static int drop(void **state)
{
    struct fixture *p = *state;
    void *scratch = p->scratch;
    login_free(p->login);
    free(p);
    return scratch_remove(&scratch);
}

static char *sealed_for(const struct fixture *p, const char *user, const char *secret)
{
    struct error err = {0};
    char *sealed = secret_seal(login_public_key(p->login), user, secret, &err);
    if (sealed == NULL)
        fail_msg("%s", err.text);
    return sealed;
}

static void put(const struct fixture *p, const char *secret)
{
    struct error err = {0};
    char *sealed = sealed_for(p, p->conf.relay.user, secret);
    if (!login_put(p->login, sealed, &err))
        fail_msg("%s", err.text);
    free(sealed);
}

static void keeps(const struct fixture *p, const char *expected)
{
    struct error err = {0};
    char *secret = login_secret(p->login, &err);
    if (secret == NULL)
        fail_msg("%s", err.text);
    assert_string_equal(secret, expected);
    secret_wipe(secret);
    assert_true(login_ready(p->login, &err));
}

static void keeps_none(const struct fixture *p, const char *words)
{
    struct error err = {0}, again = {0};
    assert_null(login_secret(p->login, &err));
    assert_int_equal(err.kind, ERROR_PERMANENT);
    if (strstr(err.text, words) == NULL)
        fail_msg("\"%s\" is not in \"%s\"", words, err.text);
    assert_non_null(strstr(err.text, "popferryctl relay password")); /* what to do */
    assert_false(login_ready(p->login, &again));
    assert_string_equal(again.text, err.text);
}

static bool exists(const struct fixture *p, const char *name)
{
    struct stat st;
    return lstat(scratch_path(p->scratch, name), &st) == 0;
}

static void test_put_and_read_back(void **state)
{
    struct fixture *p = *state;
    char longest[SECRET_MAX + 1];
    memset(longest, 'p', SECRET_MAX);
    longest[SECRET_MAX] = '\0';
    const char *const secrets[] = {"x", "correct horse", "p\xc3\xa4ss \"w\\ord\"\n", longest};
    for (size_t i = 0; i < COUNT(secrets); i++) {
        put(p, secrets[i]);
        keeps(p, secrets[i]);
        login_free(p->login); /* and when relayd comes up again */
        p->login = open_in(p);
        keeps(p, secrets[i]);
    }
}

static void test_lies_sealed_and_private(void **state)
{
    struct fixture *p = *state;
    struct stat st;
    mode_t before = umask(0);
    put(p, "correct horse");
    (void)umask(before);
    assert_int_equal(stat(scratch_path(p->scratch, "relayd.secret"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    char *text = scratch_read(p->scratch, "relayd.secret", NULL);
    assert_null(strstr(text, "horse"));
    assert_null(strstr(text, alice));
    free(text);
    assert_false(exists(p, "relayd.secret.new"));
}

/* The name is inside the seal, and the one that counts is the one of now. */
static void test_another_user(void **state)
{
    struct fixture *p = *state;
    struct error err = {0};
    put(p, "of alice");
    char *sealed = sealed_for(p, bob, "of bob");
    assert_false(login_put(p->login, sealed, &err));
    assert_int_equal(err.kind, ERROR_PERMANENT);
    assert_null(strstr(err.text, "of bob"));
    keeps(p, "of alice");
    p->conf.relay.user = bob;
    keeps_none(p, "is not for relay.user = bob");
    assert_true(login_put(p->login, sealed, &err));
    keeps(p, "of bob");
    p->conf.relay.user = alice;
    keeps_none(p, "is not for relay.user = alice");
    free(sealed);
}

static void test_another_key(void **state)
{
    struct fixture *p = *state;
    struct error err = {0};
    struct secret_key *other = secret_key_open(p->scratch->dir, "other", &err);
    char *sealed = secret_seal(secret_key_public(other), alice, "hidden", &err);
    assert_false(login_put(p->login, sealed, &err));
    assert_false(exists(p, "relayd.secret"));
    free(sealed);
    secret_key_free(other);
    put(p, "of the old key");
    login_free(p->login);
    assert_int_equal(unlink(scratch_path(p->scratch, "relayd.key")), 0);
    p->login = open_in(p);
    keeps_none(p, "is not for relay.user = alice");
}

static void test_nonsense_is_not_kept(void **state)
{
    static const char *const texts[] = {"", "AAAA", "not base64!", "correct horse"};
    struct fixture *p = *state;
    put(p, "as it was");
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct error err = {0};
        assert_false(login_put(p->login, texts[i], &err));
        assert_int_equal(err.kind, ERROR_PERMANENT);
        keeps(p, "as it was");
    }
}

static void test_without_a_user(void **state)
{
    struct fixture *p = *state;
    struct error err = {0};
    char *sealed = sealed_for(p, nobody, "hidden");
    p->conf.relay.user = nobody;
    assert_true(login_ready(p->login, &err)); /* nothing is asked for */
    assert_false(login_put(p->login, sealed, &err));
    assert_int_equal(err.kind, ERROR_USAGE);
    assert_non_null(strstr(err.text, "relay.user is empty"));
    assert_false(exists(p, "relayd.secret"));
    free(sealed);
}

static void test_missing(void **state)
{
    struct fixture *p = *state;
    keeps_none(p, "relay.user is alice, and there is no password");
}

static void test_damaged_file(void **state)
{
    struct fixture *p = *state;
    size_t len;
    put(p, "correct horse");
    char *text = scratch_read(p->scratch, "relayd.secret", &len);
    char *more = malloc(20000);
    memset(more, 'A', 20000);
    memcpy(more, text, len);
    for (size_t n = 0; n < len; n++) { /* cut anywhere */
        scratch_write(p->scratch, "relayd.secret", text, n, 0600);
        keeps_none(p, n == 0 ? "there is no password" : "is not for relay.user");
    }
    const size_t lengths[] = {len + 1, len + 4, 9215, 9216, 9217, 20000}; /* too much */
    for (size_t i = 0; i < COUNT(lengths); i++) {
        scratch_write(p->scratch, "relayd.secret", more, lengths[i], 0600);
        keeps_none(p, "is not for relay.user");
    }
    static const char garbage[] = "\0\xff\n not base64!";
    scratch_write(p->scratch, "relayd.secret", garbage, sizeof garbage, 0600);
    keeps_none(p, "is not for relay.user");
    scratch_write(p->scratch, "relayd.secret", text, len, 0600);
    keeps(p, "correct horse");
    free(more);
    free(text);
}

/* Whoever could lay a link there must not have it followed, neither to read nor to write. */
static void test_links_are_not_followed(void **state)
{
    struct fixture *p = *state;
    struct error err = {0};
    struct stat st;
    put(p, "of the target");
    assert_int_equal(
        rename(scratch_path(p->scratch, "relayd.secret"), scratch_path(p->scratch, "target")), 0);
    assert_int_equal(symlink("target", scratch_path(p->scratch, "relayd.secret")), 0);
    char *before = scratch_read(p->scratch, "target", NULL);
    keeps_none(p, "there is no password");
    put(p, "a new one"); /* the link itself gives way */
    keeps(p, "a new one");
    assert_int_equal(lstat(scratch_path(p->scratch, "relayd.secret"), &st), 0);
    assert_true(S_ISREG(st.st_mode));
    assert_int_equal(symlink("target", scratch_path(p->scratch, "relayd.secret.new")), 0);
    char *sealed = sealed_for(p, alice, "not this one");
    assert_false(login_put(p->login, sealed, &err));
    assert_non_null(strstr(err.text, "relayd.secret.new"));
    keeps(p, "a new one");
    char *after = scratch_read(p->scratch, "target", NULL);
    assert_string_equal(after, before);
    free(after);
    free(before);
    free(sealed);
}

/* Whoever has the old file open reads the old password to its end. */
static void test_replaced_as_a_whole(void **state)
{
    struct fixture *p = *state;
    char text[1000] = "";
    put(p, "the old one");
    char *before = scratch_read(p->scratch, "relayd.secret", NULL);
    int fd = open(scratch_path(p->scratch, "relayd.secret"), O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    put(p, "another");
    assert_true(read(fd, text, sizeof text - 1) > 0);
    assert_string_equal(text, before);
    (void)close(fd);
    free(before);
    keeps(p, "another");
}

/* What a crash has left beside it is written over, and one that can't be written leaves the old one
 * where it is. */
static void test_what_lies_beside_it(void **state)
{
    struct fixture *p = *state;
    struct error err = {0};
    char half[2000];
    memset(half, 'A', sizeof half);
    put(p, "the old one");
    scratch_write(p->scratch, "relayd.secret.new", half, sizeof half, 0600);
    keeps(p, "the old one");
    put(p, "another");
    keeps(p, "another");
    assert_false(exists(p, "relayd.secret.new"));
    assert_int_equal(mkdir(scratch_path(p->scratch, "relayd.secret.new"), 0700), 0);
    char *sealed = sealed_for(p, alice, "not this one");
    assert_false(login_put(p->login, sealed, &err));
    assert_non_null(strstr(err.text, "relayd.secret.new"));
    keeps(p, "another");
    assert_int_equal(rmdir(scratch_path(p->scratch, "relayd.secret.new")), 0);
    assert_int_equal(unlink(scratch_path(p->scratch, "relayd.secret")), 0);
    assert_int_equal(mkdir(scratch_path(p->scratch, "relayd.secret"), 0700), 0);
    assert_false(login_put(p->login, sealed, &err)); /* nor what can't be put in its place */
    keeps_none(p, "there is no password");
    free(sealed);
}

static void test_unused(void **state)
{
    struct fixture *p = *state;
    assert_false(login_unused(p->login));
    put(p, "hidden");
    assert_false(login_unused(p->login));
    p->conf.relay.user = nobody;
    assert_true(login_unused(p->login));
    assert_int_equal(unlink(scratch_path(p->scratch, "relayd.secret")), 0);
    assert_false(login_unused(p->login));
}

static void test_no_place_for_a_key(void **state)
{
    struct fixture *p = *state;
    struct error err = {0};
    char away[] = "/nonexistent/popferry";
    p->conf.state_dir = away;
    assert_null(login_open(&p->d, &err));
    assert_true(err.text[0] != '\0');
    login_free(NULL);
}

#define login_test(fn) cmocka_unit_test_setup_teardown(fn, make, drop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        login_test(test_put_and_read_back),
        login_test(test_lies_sealed_and_private),
        login_test(test_another_user),
        login_test(test_another_key),
        login_test(test_nonsense_is_not_kept),
        login_test(test_without_a_user),
        login_test(test_missing),
        login_test(test_damaged_file),
        login_test(test_links_are_not_followed),
        login_test(test_replaced_as_a_whole),
        login_test(test_what_lies_beside_it),
        login_test(test_unused),
        login_test(test_no_place_for_a_key),
    };
    return cmocka_run_group_tests_name("login", tests, NULL, NULL);
}
