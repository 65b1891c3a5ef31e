/* A hygiene with a spool, a ledger, a loop and a bus of its own, in a scratch directory. */
#ifndef TESTS_UNIT_HYGIENE_FIXTURE_H
#define TESTS_UNIT_HYGIENE_FIXTURE_H

#include "hygiene/hygiene.h"
#include "hygiene/judge.h"
#include "hygiene/ledger.h"
#include "lib/clock.h"
#include "spool/message.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/lsan_interface.h>
#else
#define __lsan_disable()
#define __lsan_enable()
#endif

struct fixture {
    struct scratch *scratch;
    struct daemon d;
    struct hygiene h;
};

static inline json_t *fixture_request(void *arg, const json_t *request)
{
    (void)arg;
    (void)request;
    return bus_ok(NULL);
}

static inline int fixture_make(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct error err = {.text = ""};
    void *scratch;
    if (scratch_make(&scratch) < 0)
        return -1;
    f->scratch = scratch;
    scratch_catch(f->scratch);
    __lsan_disable(); /* GMime forgets 64 bytes of its own when mimelook.c shuts messages */
    envelope_init();
    __lsan_enable();
    static const char conf[] = "default-domain = \"corp.example\"\n";
    scratch_write(f->scratch, "conf", conf, sizeof conf - 1, 0600);
    f->d.conf = conf_load(scratch_path(f->scratch, "conf"), &err);
    f->d.db = db_open(f->scratch->dir, "hygiene", ledger_migrations, &err);
    f->d.base = event_base_new();
    f->d.bus = bus_open(f->d.base, f->scratch->dir, "hygiene", fixture_request, NULL, &err);
    f->h.d = &f->d;
    f->h.room = (struct room){.db = f->d.db, .min = DB_ROOM, .again = "judging-again"};
    f->h.spool = spool_open(scratch_path(f->scratch, "spool"), true, &err);
    f->h.sync = syncpool_new(f->d.base, &err);
    f->d.state = &f->h;
    *state = f;
    if (f->h.sync != NULL && f->h.spool != NULL && f->d.bus != NULL && f->d.db != NULL &&
        f->d.conf != NULL)
        return 0;
    scratch_release(f->scratch);
    fprintf(stderr, "fixture: %s\n", err.text);
    return -1;
}

static inline int fixture_free(void **state)
{
    struct fixture *f = *state;
    void *scratch = f->scratch;
    syncpool_free(f->h.sync);
    judge_free(f->h.judge);
    spool_close(f->h.spool);
    bus_free(f->d.bus);
    event_base_free(f->d.base);
    db_close(f->d.db);
    conf_free(f->d.conf);
    free(f);
    return scratch_remove(&scratch);
}

/* A whole message <id>.<suffix> in dir, with a new id when *id is empty. */
static inline void fixture_message(struct fixture *f, enum spool_dir dir, const char *suffix,
                                   char id[static ID_SIZE], const char *sender, const char *text)
{
    struct error err = {.text = ""};
    struct message_head head = {.account = "sales",
                                .origin = "pop3://test/sales uidl=1 at=2026-11-22T10:00:00Z"};
    if (id[0] == '\0')
        id_new(id);
    memcpy(head.id, id, ID_SIZE);
    (void)snprintf(head.sender, sizeof head.sender, "%s", sender);
    assert_true(envelope_list_add(&head.recipients, "one@corp.example"));
    assert_true(envelope_list_add(&head.recipients, "two@corp.example"));
    struct message_writer *w = message_create(f->h.spool, dir, suffix, &head, &err);
    assert_non_null(w);
    assert_true(message_append(w, text, strlen(text), &err));
    assert_true(message_finish(w, &err));
    message_writer_free(w);
    message_head_free(&head);
}

/* Runs the loop until done(f) or some seconds have passed. */
static inline bool fixture_run(struct fixture *f, bool (*done)(struct fixture *f))
{
    int64_t end = clock_monotonic() + 10000;
    while (!done(f) && clock_monotonic() < end) {
        struct timeval slice = {0, 5000};
        (void)event_base_loopexit(f->d.base, &slice);
        (void)event_base_dispatch(f->d.base);
    }
    return done(f);
}

static inline bool fixture_exists(struct fixture *f, enum spool_dir dir, const char *name)
{
    return faccessat(spool_fd(f->h.spool, dir), name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

#define fixture_test(fn) cmocka_unit_test_setup_teardown(fn, fixture_make, fixture_free)

#endif
