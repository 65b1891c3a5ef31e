/* How the one SMTP server fares, and how hard it may be tried. No I/O, no clock: times are handed
 * in (monotonic, ms).
 *
 * - well: connections up to the limit; to fewer when the server refuses some of them while others
 *   are well, until it is tried with one more, after a growing time
 * - failing: the last session or connection failed; one at a time, after a growing pause. As long
 *   as EHLO is answered and only messages fail, each pause is followed by several of them, and the
 *   pauses stay short: it may be these messages, and good ones lie behind
 * - circuit open, by ROUTE_CIRCUIT_FAILURES of these in a row: the same, and it is said
 *   ("relay-down"); probes go on, with or without mail, until one is answered well ("relay-up")
 * - circuit probing: the same, but EHLO was answered before the last failure; or opened by
 *   ROUTE_CIRCUIT_PUT_OFF messages in a row that the server put off by 4xx at their first attempt,
 *   without one taken. The server is there, and only a message can show that it takes mail again,
 *   so that new ones are welcome: it may be these messages
 */
#ifndef RELAYD_ROUTE_H
#define RELAYD_ROUTE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    ROUTE_CIRCUIT_FAILURES = 5,
    ROUTE_CIRCUIT_PUT_OFF = 20,
    ROUTE_PROBES = 20, /* messages, one behind the other, before the next pause */
};

struct route {
    int64_t pause_max; /* ms */
    unsigned failures; /* sessions in a row that failed */
    unsigned put_off;  /* messages in a row that were answered 4xx at their first attempt */
    bool answered;     /* EHLO, before the last of these */
    bool open;         /* the circuit; route_circuit says by what */
    int64_t opened_at; /* monotonic */
    bool refused;      /* the login: pauses are longer */
    int64_t next_at;   /* no connection, and no message on a circuit that is open, before */
    int64_t pauses;    /* of growing length so far */
    unsigned probes;   /* messages that failed since the last of them */
    size_t fewer;      /* connections that the server allows; 0: as many as we like */
    unsigned crowded;  /* in a row that it refused since */
    int64_t more_at;   /* one more than `fewer` is tried */
    char error[240];   /* the last failure, "" when all is well */
};

/* All is well. */
void route_init(struct route *route, int64_t retry_max);
/* Pauses grow from 1 s to a minute, or to retry_max where that is shorter. */
void route_set_retry_max(struct route *route, int64_t retry_max);

enum route_circuit { ROUTE_CLOSED, ROUTE_PROBING, ROUTE_OPEN, ROUTE_CIRCUITS };
enum route_circuit route_circuit(const struct route *route);
const char *route_circuit_name(enum route_circuit circuit); /* "closed", "probing", "open" */

bool route_in_trouble(const struct route *route);
/* The circuit is open since session after session failed, and has not been for `longest` yet. */
bool route_fails(const struct route *route, int64_t now, int64_t longest);
/* How many connections may be up at `now`, of `max`. */
size_t route_limit(const struct route *route, int64_t now, size_t max);
/* May a message be begun? Also paces the probes on an open circuit. */
bool route_may_send(const struct route *route, int64_t now);

/* A connection or session failed, and not over a message. Several that fail at once count as one.
 */
void route_failed(struct route *route, int64_t now, const char *why);
/* A session was lost over a message: counts as a failure, though it may be the message's. */
void route_lost(struct route *route, int64_t now, const char *why);
/* A connection was refused, or ended before it was ready, while `up` (not 0) others were well: the
 * server allows no more than these. Several that are refused together count as one. */
void route_crowded(struct route *route, int64_t now, size_t up, const char *why);
/* A connection got ready; now `up` are, of `max` that we would like. */
void route_admitted(struct route *route, int64_t now, size_t up, size_t max);
/* The server did not take our password. The circuit opens at once, and pauses grow from a minute to
 * an hour: servers lock accounts for what is tried again and again. */
void route_refused(struct route *route, int64_t now, const char *why);
/* A message was put off by 4xx to MAIL, DATA or its end. First: it was its first attempt. Others
 * don't count, or one message that is never taken would open the circuit by itself; but on an open
 * circuit each is a probe that failed. */
void route_put_off(struct route *route, int64_t now, bool first, const char *reply);
/* The server took a message, or refused one for its own sake; or, on a circuit opened by failures,
 * it answered EHLO and there was nothing to send. */
void route_well(struct route *route);
/* A person says: try now. */
void route_retry(struct route *route);

#endif
