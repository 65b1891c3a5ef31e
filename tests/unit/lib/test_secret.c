/* Sealed secrets: who can open them, and how a key comes into being. */
#include "lib/secret.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"
#include <dirent.h>

static struct secret_key *key_of(void **state, const char *name)
{
    struct error err = {0};
    struct secret_key *key = secret_key_open(((struct scratch *)*state)->dir, name, &err);
    if (key == NULL)
        fail_msg("%s", err.text);
    return key;
}

static void test_round_trip(void **state)
{
    struct secret_key *key = key_of(state, "fetcherd");
    char longest[SECRET_MAX + 1], *all = malloc(256);
    memset(longest, 'p', SECRET_MAX);
    longest[SECRET_MAX] = '\0';
    for (int i = 0; i < 255; i++)
        all[i] = (char)(i + 1);
    all[255] = '\0';
    const char *const secrets[] = {"x", "correct horse", "p\xc3\xa4ss \"w\\ord\"", longest, all};
    for (size_t i = 0; i < COUNT(secrets); i++) {
        struct error err = {0};
        char *sealed = secret_seal(secret_key_public(key), "sales", secrets[i], &err);
        assert_non_null(sealed);
        if (strlen(secrets[i]) > 4)
            assert_null(strstr(sealed, secrets[i]));
        assert_int_equal(strspn(sealed, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                                        "0123456789+/="),
                         strlen(sealed));
        char *opened = secret_open(key, "sales", sealed, &err);
        assert_non_null(opened);
        assert_string_equal(opened, secrets[i]);
        secret_wipe(opened);
        free(sealed);
    }
    free(all);
    secret_key_free(key);
    secret_key_free(NULL);
    secret_wipe(NULL);
}

static void test_two_seals_differ(void **state)
{
    struct secret_key *key = key_of(state, "fetcherd");
    struct error err;
    char *a = secret_seal(secret_key_public(key), "sales", "same", &err);
    char *b = secret_seal(secret_key_public(key), "sales", "same", &err);
    assert_string_not_equal(a, b);
    free(a);
    free(b);
    secret_key_free(key);
}

static void test_another_account_does_not_open(void **state)
{
    struct secret_key *key = key_of(state, "fetcherd");
    struct error err = {0};
    char *sealed = secret_seal(secret_key_public(key), "sales", "hidden", &err);
    static const char *const others[] = {"", "sale", "sales2", "Sales", "salesh", "saleshid", "x"};
    for (size_t i = 0; i < COUNT(others); i++) {
        err = (struct error){0};
        assert_null(secret_open(key, others[i], sealed, &err));
        assert_int_equal(err.kind, ERROR_PERMANENT);
        assert_non_null(strstr(err.text, "set the password again"));
        assert_null(strstr(err.text, "hidden"));
    }
    char longer[1000];
    memset(longer, 'n', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    assert_null(secret_open(key, longer, sealed, &err));
    free(sealed);
    secret_key_free(key);
}

static void test_another_key_does_not_open(void **state)
{
    struct secret_key *key = key_of(state, "fetcherd"), *other = key_of(state, "relayd");
    struct error err = {0};
    assert_string_not_equal(secret_key_public(key), secret_key_public(other));
    char *sealed = secret_seal(secret_key_public(key), "sales", "hidden", &err);
    assert_null(secret_open(other, "sales", sealed, &err));
    assert_int_equal(err.kind, ERROR_PERMANENT);
    free(sealed);
    secret_key_free(key);
    secret_key_free(other);
}

static void test_damaged_seal(void **state)
{
    struct secret_key *key = key_of(state, "fetcherd");
    struct error err = {0};
    char *sealed = secret_seal(secret_key_public(key), "sales", "hidden", &err);
    size_t len = strlen(sealed);
    for (size_t i = 0; i < len; i++) { /* any one character changed */
        char kept = sealed[i];
        sealed[i] = kept == 'A' ? 'B' : 'A';
        char *opened = secret_open(key, "sales", sealed, &err);
        if (opened != NULL) /* only bits that base64 does not count may differ */
            fail_msg("opens with character %zu of %zu changed", i, len);
        sealed[i] = kept;
    }
    for (size_t n = 0; n < len; n++) { /* cut anywhere */
        char *cut = strndup(sealed, n);
        assert_null(secret_open(key, "sales", cut, &err));
        free(cut);
    }
    static const char *const junk[] = {"", "=", "A", "AAAA", "not base64!", "\xff\xfe"};
    for (size_t i = 0; i < COUNT(junk); i++)
        assert_null(secret_open(key, "sales", junk[i], &err));
    free(sealed);
    secret_key_free(key);
}

static void test_seal_refuses(void **state)
{
    struct secret_key *key = key_of(state, "fetcherd");
    struct error err = {0};
    assert_null(secret_seal(secret_key_public(key), "sales", "", &err));
    assert_int_equal(err.kind, ERROR_USAGE);
    char much[SECRET_MAX + 2];
    memset(much, 'p', sizeof much - 1);
    much[sizeof much - 1] = '\0';
    assert_null(secret_seal(secret_key_public(key), "sales", much, &err));
    assert_int_equal(err.kind, ERROR_USAGE);
    static const char *const keys[] = {"", "AAAA", "no key",
                                       "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", /* no "=" */
                                       "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"};
    for (size_t i = 0; i < COUNT(keys); i++) {
        assert_null(secret_seal(keys[i], "sales", "x", &err));
        assert_int_equal(err.kind, ERROR_PERMANENT);
    }
    secret_key_free(key);
}

static void test_key_stays(void **state)
{
    struct secret_key *first = key_of(state, "fetcherd");
    struct error err;
    char *sealed = secret_seal(secret_key_public(first), "sales", "hidden", &err);
    char *public_text = strdup(secret_key_public(first));
    secret_key_free(first);
    struct secret_key *second = key_of(state, "fetcherd");
    assert_string_equal(secret_key_public(second), public_text);
    char *opened = secret_open(second, "sales", sealed, &err);
    assert_string_equal(opened, "hidden");
    secret_wipe(opened);
    free(sealed);
    free(public_text);
    secret_key_free(second);
}

static void test_key_file_is_private(void **state)
{
    mode_t before = umask(0);
    secret_key_free(key_of(state, "fetcherd"));
    (void)umask(before);
    struct stat st;
    assert_int_equal(stat(scratch_path(*state, "fetcherd.key"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    DIR *dir = opendir(((struct scratch *)*state)->dir); /* and nothing lies beside it */
    int names = 0;
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        names += e->d_name[0] != '.';
    (void)closedir(dir);
    assert_int_equal(names, 1);
}

static void test_open_key_file_is_refused(void **state)
{
    secret_key_free(key_of(state, "fetcherd"));
    static const mode_t modes[] = {0644, 0640, 0604, 0601, 0660, 0606, 0610};
    for (size_t i = 0; i < COUNT(modes); i++) {
        struct error err = {0};
        assert_int_equal(chmod(scratch_path(*state, "fetcherd.key"), modes[i]), 0);
        assert_null(secret_key_open(((struct scratch *)*state)->dir, "fetcherd", &err));
        assert_int_equal(err.kind, ERROR_PERMANENT);
        assert_non_null(strstr(err.text, "chmod 600"));
    }
    assert_int_equal(chmod(scratch_path(*state, "fetcherd.key"), 0400), 0);
    secret_key_free(key_of(state, "fetcherd"));
}

static void test_no_key_in_the_file(void **state)
{
    static const char *const texts[] = {"", "\n", "AAAA\n", "hello, this is no key at all, is it??",
                                        "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA==\n"};
    for (size_t i = 0; i < COUNT(texts); i++) {
        struct error err = {0};
        scratch_write(*state, "fetcherd.key", texts[i], strlen(texts[i]), 0600);
        assert_null(secret_key_open(((struct scratch *)*state)->dir, "fetcherd", &err));
        assert_int_equal(err.kind, ERROR_PERMANENT);
        assert_non_null(strstr(err.text, "does not hold a key"));
        char *after = scratch_read(*state, "fetcherd.key", NULL); /* never overwritten */
        assert_string_equal(after, texts[i]);
        free(after);
    }
}

static void test_not_a_key_file(void **state)
{
    struct scratch *s = *state;
    struct error err = {0};
    assert_null(secret_key_open(scratch_path(s, "none"), "fetcherd", &err));
    assert_int_equal(err.kind, ERROR_MISSING);
    secret_key_free(key_of(state, "real"));
    assert_int_equal(symlink("real.key", scratch_path(s, "linked.key")), 0);
    assert_null(secret_key_open(s->dir, "linked", &err));
    assert_int_equal(mkdir(scratch_path(s, "dir.key"), 0700), 0);
    assert_null(secret_key_open(s->dir, "dir", &err));
}

/* Many makers at once: one key wins, and all have it. */
static void test_makers_at_once(void **state)
{
    enum { MAKERS = 8 };
    for (int round = 0; round < 10; round++) {
        char name[16];
        int gate[2], results[2];
        (void)snprintf(name, sizeof name, "key%d", round);
        assert_int_equal(pipe(gate), 0);
        assert_int_equal(pipe(results), 0);
        pid_t pids[MAKERS];
        for (int i = 0; i < MAKERS; i++) {
            pids[i] = fork();
            if (pids[i] != 0)
                continue;
            (void)close(gate[1]);
            char c;
            (void)!read(gate[0], &c, 1); /* all start when the parent closes it */
            struct error err;
            struct secret_key *key = secret_key_open(((struct scratch *)*state)->dir, name, &err);
            if (key == NULL)
                _exit(1);
            (void)!write(results[1], secret_key_public(key), 44);
            _exit(0);
        }
        (void)close(gate[0]);
        (void)close(gate[1]);
        (void)close(results[1]);
        struct secret_key *late = NULL;
        char text[45] = "", first[45] = "";
        for (int i = 0; i < MAKERS; i++) {
            assert_int_equal(read(results[0], text, 44), 44);
            if (i == 0)
                memcpy(first, text, sizeof first);
            assert_string_equal(text, first);
        }
        for (int i = 0; i < MAKERS; i++)
            assert_int_equal(exit_code(pids[i]), 0);
        late = key_of(state, name);
        assert_string_equal(secret_key_public(late), first);
        secret_key_free(late);
        (void)close(results[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        scratch_test(test_round_trip),
        scratch_test(test_two_seals_differ),
        scratch_test(test_another_account_does_not_open),
        scratch_test(test_another_key_does_not_open),
        scratch_test(test_damaged_seal),
        scratch_test(test_seal_refuses),
        scratch_test(test_key_stays),
        scratch_test(test_key_file_is_private),
        scratch_test(test_open_key_file_is_refused),
        scratch_test(test_no_key_in_the_file),
        scratch_test(test_not_a_key_file),
        scratch_test(test_makers_at_once),
    };
    return cmocka_run_group_tests_name("secret", tests, NULL, NULL);
}
