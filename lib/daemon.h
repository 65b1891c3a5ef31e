/* The skeleton that the three daemons share: options, configuration, lock and ledger, loop, bus,
 * signals, readiness, and an ordered stop. A daemon's main file is a table of what is its own.
 *
 * Options:    -c FILE, -v verbose, -V version, -h help, -d FD readiness (s6),
 *             -1 answer one request and end.
 * Exit codes: 0 stopped in order, 1 could not start, 2 usage, 75 the ledger failed, or was found
 * damaged at the start.
 *
 * -1 is for popferryctl when the daemon is down: under the owner's lock, one JSON request is read
 * from standard input and the reply is printed. `open` and the request's answer are called then,
 * `start` is not, and d->once is true. */
#ifndef LIB_DAEMON_H
#define LIB_DAEMON_H

#include "lib/bus.h"
#include "lib/conf.h"
#include "lib/db.h"
#include "lib/error.h"
#include "lib/stream.h"
#include <event2/event.h>
#include <jansson.h>

#define DAEMON_STOP_DEADLINE 8000 /* ms that a stop in order may take */

struct daemon {
    const char *name;
    struct conf *conf; /* replaced on SIGHUP, before `reload` */
    struct db *db;
    struct event_base *base;
    struct bus *bus;                /* NULL while d->once */
    struct stream_context *streams; /* NULL while d->once */
    int64_t since;
    bool once;
    bool stopping;
    void *state; /* the program's own */
};

struct daemon_request {
    const char *cmd;
    json_t *(*answer)(struct daemon *d, const json_t *request); /* a new reference */
    bool needs_loop; /* while d->once: answered with code "down" */
    bool frees;      /* makes room, and writes little: refused when hardly any is left */
    bool writes;     /* to the ledger: refused while its disk is full, which would end the daemon */
};

struct daemon_program {
    const char *name;
    const char *summary;           /* one line for --help */
    const char *const *migrations; /* of the ledger; see lib/db.h */
    const char *lost;              /* with the ledger: what a new one does not know */
    /* Ends with a NULL cmd; "ping" and "log" are answered by the skeleton. */
    const struct daemon_request *requests;
    /* The ledger is open: makes d->state, recovers. */
    bool (*open)(struct daemon *d, struct error *err);
    /* Loop and bus are there: timers, listening, the first scan. */
    bool (*start)(struct daemon *d, struct error *err);
    /* d->conf is new. NULL: there is nothing to do. */
    void (*reload)(struct daemon *d);
    /* Begins to end; calls daemon_stopped when nothing is in flight any more. NULL: at once. */
    void (*stop)(struct daemon *d);
    /* Frees d->state; always called when open succeeded. */
    void (*close)(struct daemon *d);
};

int daemon_main(int argc, char **argv, const struct daemon_program *program);
/* Ends the loop; called by the program once its `stop` is done, or for it after
 * DAEMON_STOP_DEADLINE. */
void daemon_stopped(struct daemon *d);

/* {"up":true,"pid","version","since"}: what every daemon's status begins with. */
json_t *daemon_status(const struct daemon *d);

#endif
