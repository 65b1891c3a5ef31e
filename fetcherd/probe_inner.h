/* The inside of a probe, shared by probe.c (tickets and reports) and probe_session.c (the session).
 * Nobody else includes it. */
#ifndef FETCHERD_PROBE_INNER_H
#define FETCHERD_PROBE_INNER_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "fetcherd/fetcherd.h"
#include "fetcherd/login.h"
#include "fetcherd/pop3.h"
#include "fetcherd/probe_list.h"
#include "lib/stream.h"

enum probe_step { PROBE_QUEUED, PROBE_CONNECTING, PROBE_LOGIN, PROBE_COUNTING, PROBE_QUITTING };

struct probe {
    struct fetcherd *f;
    struct account *account; /* NULL when it is over */
    int64_t ticket, ended;   /* monotonic */
    enum probe_step step;
    bool over;          /* result is complete */
    bool holds_account; /* which keeps polls away */
    struct stream *stream;
    struct event *timer; /* the look, then the deadline */
    struct login login;
    struct pop3 core;
    struct probe_list list;
    json_t *result, *capabilities, *warnings;
    unsigned listings;
};

/* Begins in the loop, as soon as the account is not being polled. */
struct probe *probe_new(struct fetcherd *f, struct account *account);
void probe_free(struct probe *probe);
/* Ends it early. */
void probe_fail(struct probe *probe, const char *step, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

#endif
