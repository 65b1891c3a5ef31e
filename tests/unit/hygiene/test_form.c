/* Rules of form, and what is made of a message that may be repaired; the corpus, all of it. */
#include "hygiene/form.h"
#include "hygiene/judgement.h"
#include "tests/unit/hygiene/fixture.h"
#include <dirent.h>

static struct form_finding finding;

static enum form_result check(struct fixture *f, const char *id)
{
    struct form form;
    enum form_result result = form_open(&form, f->h.spool, SPOOL_INCOMING, id, f->d.conf, &finding);
    for (size_t budget = 1; result == FORM_MORE; budget = 40000)
        result = form_read(&form, budget, &finding);
    form_close(&form);
    return result;
}

static enum form_result check_text(struct fixture *f, const char *text)
{
    char id[ID_SIZE] = "";
    fixture_message(f, SPOOL_INCOMING, "eml", id, "a@x.example", text);
    return check(f, id);
}

static void header_sections(void **state)
{
    static const struct {
        const char *text;
        enum form_result result;
    } cases[] = {
        {"A: 1\r\n\r\nbody", FORM_PASS},
        {"A: 1", FORM_PASS},
        {"From me Mon\nA: 1\n\n", FORM_PASS},
        {"A : 1\r\n", FORM_PASS},
        {"\r\nbody", FORM_BAD},
        {"", FORM_BAD},
        {"body\r\nA: 1\r\n\r\n", FORM_BAD},
        {" A: 1\r\n\r\n", FORM_BAD},
        {":\r\n\r\n", FORM_BAD},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        print_message("%s\n", cases[i].text);
        f->d.conf->hygiene.no_header = CONF_RULE_BADMAIL;
        assert_int_equal(check_text(f, cases[i].text), cases[i].result);
        if (cases[i].result == FORM_BAD)
            assert_string_equal(finding.rule, "no-header");
        f->d.conf->hygiene.no_header = CONF_RULE_PASS;
        assert_int_equal(check_text(f, cases[i].text), FORM_PASS);
    }
}

static void bounds(void **state)
{
    struct fixture *f = *state;
    char *text = malloc(ENVELOPE_HEADER_MAX + 100);
    memset(text, 'x', ENVELOPE_HEADER_MAX + 99);
    memcpy(text, "A: ", 3);
    text[ENVELOPE_HEADER_MAX + 99] = '\0';
    f->d.conf->hygiene.long_header = CONF_RULE_BADMAIL;
    assert_int_equal(check_text(f, text), FORM_BAD);
    assert_string_equal(finding.rule, "long-header");
    memcpy(text + ENVELOPE_HEADER_MAX - 4, "\r\n\r\n", 4);
    assert_int_equal(check_text(f, text), FORM_PASS);
    f->d.conf->hygiene.too_large = CONF_RULE_BADMAIL;
    assert_int_equal(check_text(f, text), FORM_PASS); /* no limit is set */
    f->d.conf->fetch.message_size = 50000;
    assert_int_equal(check_text(f, text), FORM_BAD);
    assert_string_equal(finding.rule, "too-large");
    assert_int_equal(check_text(f, "A: 1\r\n\r\n"), FORM_PASS);
    free(text);
}

/* old: whose replay it is; "" for none. */
static void put_nul(struct fixture *f, char id[static ID_SIZE], const char *old, size_t at,
                    size_t len)
{
    struct error err;
    struct message_head head = {.account = "a", .origin = "test", .sender = "a@x.example"};
    char *text = malloc(len);
    memset(text, 'x', len);
    memcpy(text, "A: 1\r\n\r\n", 8);
    text[at] = '\0';
    id_new(id);
    memcpy(head.id, id, ID_SIZE);
    (void)snprintf(head.replay_of, ID_SIZE, "%s", old);
    assert_true(envelope_list_add(&head.recipients, "b@corp.example"));
    struct message_writer *w = message_create(f->h.spool, SPOOL_INCOMING, "eml", &head, &err);
    assert_true(message_append(w, text, len, &err) && message_finish(w, &err));
    message_writer_free(w);
    message_head_free(&head);
    free(text);
}

static void nuls(void **state)
{
    static const size_t places[] = {3, 9, 8191, 8192, 150000, 299999};
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        char id[ID_SIZE];
        put_nul(f, id, "", places[i], 300000);
        f->d.conf->hygiene.nul = CONF_RULE_BADMAIL;
        assert_int_equal(check(f, id), FORM_BAD);
        assert_string_equal(finding.rule, "nul");
        f->d.conf->hygiene.nul = CONF_RULE_PASS;
        assert_int_equal(check(f, id), FORM_PASS);
    }
    f->d.conf->hygiene.nul = CONF_RULE_BADMAIL;
    assert_int_equal(check_text(f, "A: 1\r\n\r\nbody"), FORM_PASS);
}

/* The NUL is found at the end, the size at the beginning. */
static void a_replay_is_not_held_again(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE], old[ID_SIZE];
    id_new(old);
    f->d.conf->hygiene.nul = f->d.conf->hygiene.too_large = CONF_RULE_BADMAIL;
    f->d.conf->fetch.message_size = 50;
    put_nul(f, id, old, 90, 100);
    assert_int_equal(check(f, id), FORM_PASS);
    put_nul(f, id, "", 90, 100);
    assert_int_equal(check(f, id), FORM_BAD);
    f->d.conf->fetch.message_size = 0;
    assert_int_equal(check(f, id), FORM_BAD);
}

static void damage_is_never_passed(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE] = "", path[64];
    size_t len;
    fixture_message(f, SPOOL_INCOMING, "eml", id, "a@x.example", "A: 1\r\n\r\nbody");
    (void)snprintf(path, sizeof path, "spool/incoming/%s.eml", id);
    char *bytes = scratch_read(f->scratch, path, &len);
    bytes[len - 1] ^= 1;
    scratch_write(f->scratch, path, bytes, len, 0600);
    free(bytes);
    assert_int_equal(check(f, id), FORM_BAD);
    assert_string_equal(finding.rule, "damaged");
    id_new(id);
    assert_int_equal(check(f, id), FORM_GONE);
}

/* --- the whole way, without filters --- */

static struct judgement *judged;

static void on_done(void *arg, struct judgement *j)
{
    (void)arg;
    judged = j;
}

static void judge(struct fixture *f, const char *id)
{
    static struct filter *const none[] = {NULL};
    judged = NULL;
    struct judgement *j = judgement_new(id, f->h.spool, f->d.conf, none, on_done, NULL);
    while (judgement_read(j, 100))
        assert_null(judged);
    assert_ptr_equal(judged, j);
}

static void repairs(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE] = "";
    struct top top;
    f->d.conf->hygiene.no_header = f->d.conf->hygiene.nul = CONF_RULE_REPAIR;
    fixture_message(f, SPOOL_INCOMING, "eml", id, "a@x.example", "just text\r\n");
    judge(f, id);
    assert_int_equal(judged->verdict, VERDICT_PASS);
    assert_true(judgement_top(judged, &top));
    assert_int_equal(top.skip, 0);
    assert_memory_equal(top.bytes, "Subject: (a message that came", 29);
    assert_int_equal(envelope_header_end(top.bytes, top.len), top.len);
    top_free(&top);
    judgement_free(judged);

    put_nul(f, id, "", 3, 100); /* within the header section */
    judge(f, id);
    assert_true(judgement_top(judged, &top));
    assert_true(top.drop_nul);
    assert_int_equal(top.skip, 8);
    assert_int_equal(top.len, 7);
    top_free(&top);
    judgement_free(judged);

    id[0] = '\0';
    fixture_message(f, SPOOL_INCOMING, "eml", id, "a@x.example", "A: 1\r\n\r\nbody\r\n");
    judge(f, id);
    assert_false(judgement_top(judged, &top));
    judgement_free(judged);
}

static void put_file(struct fixture *f, const char *path, char id[static ID_SIZE])
{
    struct error err = {.text = ""};
    struct message_head head = {.account = "a", .origin = "test"};
    size_t len;
    char *text = slurp(path, &len);
    size_t header = envelope_header_end(text, len);
    id_new(id);
    memcpy(head.id, id, ID_SIZE);
    assert_true(envelope_list_add(&head.recipients, "b@corp.example"));
    (void)envelope_reverse_path(text, header > 0 ? header : len, "corp.example", head.sender);
    struct message_writer *w = message_create(f->h.spool, SPOOL_INCOMING, "eml", &head, &err);
    assert_true(message_append(w, text, len, &err) && message_finish(w, &err));
    message_writer_free(w);
    message_head_free(&head);
    free(text);
}

/* With edits that touch each of its fields once. */
static void edit_all(struct judgement *j)
{
    static const char *const names[] = {"Received", "From", "To", "Subject", "Content-Type"};
    struct top top;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        assert_true(edits_remove(&j->edits, names[i], i % 2 ? 0 : -1));
        assert_true(edits_add(&j->edits, names[i], "new"));
    }
    assert_true(judgement_top(j, &top));
    assert_true(top.len <= TOP_MAX);
    assert_memory_equal(top.bytes, strncmp(top.bytes, "From ", 5) ? "Received: new\r\n" : "From ",
                        strncmp(top.bytes, "From ", 5) ? 15 : 5);
    top_free(&top);
}

static void the_corpus(void **state)
{
    struct fixture *f = *state;
    char dir[512], path[1024], id[ID_SIZE];
    const char *data = getenv("POPFERRY_DATA");
    int passed = 0, held = 0;
    (void)snprintf(dir, sizeof dir, "%s/corpus", data ? data : "tests/data");
    for (int strict = 0; strict < 2; strict++) {
        enum conf_rule rule = strict ? CONF_RULE_BADMAIL : CONF_RULE_REPAIR;
        f->d.conf->hygiene.no_header = f->d.conf->hygiene.nul = rule;
        f->d.conf->hygiene.long_header = strict ? CONF_RULE_BADMAIL : CONF_RULE_PASS;
        DIR *walk = opendir(dir);
        assert_non_null(walk);
        for (struct dirent *entry; (entry = readdir(walk)) != NULL;) {
            size_t len = strlen(entry->d_name);
            if (len < 4 || strcmp(entry->d_name + len - 4, ".eml") != 0)
                continue;
            (void)snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
            put_file(f, path, id);
            judge(f, id);
            passed += judged->verdict == VERDICT_PASS;
            held += judged->verdict == VERDICT_BADMAIL;
            if (!strict)
                assert_int_equal(judged->verdict, VERDICT_PASS);
            if (judged->verdict == VERDICT_PASS)
                edit_all(judged);
            judgement_free(judged);
        }
        (void)closedir(walk);
    }
    print_message("%d passed, %d held\n", passed, held);
    assert_true(passed + held >= 2 * 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        fixture_test(header_sections),
        fixture_test(bounds),
        fixture_test(nuls),
        fixture_test(a_replay_is_not_held_again),
        fixture_test(damage_is_never_passed),
        fixture_test(repairs),
        fixture_test(the_corpus),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
