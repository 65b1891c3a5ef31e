/* Files in pickup/, and a loop that takes them. Out: handed on, to incoming/. */
#ifndef TESTS_UNIT_HYGIENE_DROPPING_H
#define TESTS_UNIT_HYGIENE_DROPPING_H

#include "hygiene/pickup.h"
#include "tests/unit/hygiene/fixture.h"
#include <sys/inotify.h>

static const char mail[] = "From: a@x.example\r\nTo: b@corp.example\r\n\r\nhello\r\n";

static inline void drop_file(struct fixture *f, const char *name, const char *text)
{
    char path[400];
    (void)snprintf(path, sizeof path, "spool/pickup/%s", name);
    scratch_write(f->scratch, path, text, strlen(text), 0640);
}

static inline int files_out(struct fixture *f)
{
    return (int)spool_count(f->h.spool, SPOOL_INCOMING);
}

static inline bool one_out(struct fixture *f)
{
    return spool_count(f->h.spool, SPOOL_INCOMING) == 1;
}

static inline bool two_out(struct fixture *f)
{
    return spool_count(f->h.spool, SPOOL_INCOMING) == 2;
}

static inline void start(struct fixture *f)
{
    struct error err = {.text = ""};
    f->h.pickup = pickup_start(&f->h, &err);
    assert_non_null(f->h.pickup);
}

static inline void stop(struct fixture *f)
{
    syncpool_free(f->h.sync);
    f->h.sync = NULL;
    pickup_free(f->h.pickup);
}

static inline void run_for(struct fixture *f, int ms)
{
    int64_t end = clock_monotonic() + ms;
    while (clock_monotonic() < end) {
        struct timeval slice = {0, 20000};
        (void)event_base_loopexit(f->d.base, &slice);
        (void)event_base_dispatch(f->d.base);
    }
}

static inline int opened(int watch)
{
    char events[4096] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n = read(watch, events, sizeof events);
    return n > 0 ? (int)((size_t)n / sizeof(struct inotify_event)) : 0;
}

#endif
