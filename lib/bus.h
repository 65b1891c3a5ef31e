/* The bus between the processes: ZeroMQ over ipc:// in the run directory, JSON in UTF-8, 64 KiB a
 * message.
 *
 * RUN-DIR/NAME.ctl is a ROUTER: requests of popferryctl and of the other daemons, one reply each.
 * RUN-DIR/NAME.events is a PUB, with three topics:
 *
 * - "bell": a directory has new files
 * - "outcome": what became of a message
 * - "event": every log event of level note and above
 *
 * Everything here is a hint or a question: any message may be lost, and a scan finds the same work.
 */
#ifndef LIB_BUS_H
#define LIB_BUS_H

#include "lib/error.h"
#include <event2/event.h>
#include <jansson.h>

#define BUS_MESSAGE_MAX 65536
#define BUS_PAGE_BYTES  49152 /* a page of a longer answer keeps its items' JSON under this */

struct bus;

/* Answers one request; returns a new reference, never NULL. The request is only lent. */
typedef json_t *bus_request_fn(void *arg, const json_t *request);
/* A notice that a peer published. The body is only lent. */
typedef void bus_notice_fn(void *arg, const char *peer, const char *topic, const json_t *body);
/* The answer to bus_ask: NULL when none came in time. Only lent. */
typedef void bus_answer_fn(void *arg, const json_t *reply);

/* Binds both sockets of NAME in run_dir and serves requests in base's loop. */
MUST_CHECK struct bus *bus_open(struct event_base *base, const char *run_dir, const char *name,
                                bus_request_fn *fn, void *arg, struct error *err);
void bus_free(struct bus *bus); /* open questions are dropped without a call */

/* Hears all that PEER publishes; PEER need not be up yet. One handler a bus. */
void bus_listen(struct bus *bus, const char *peer);
void bus_on_notice(struct bus *bus, bus_notice_fn *fn, void *arg);

/* Publishes; takes over the reference of body. */
void bus_publish(struct bus *bus, const char *topic, json_t *body);
/* Topic "bell": `dir` ("incoming", "outgoing", "rejected", "pickup") has ids; NULL id means "scan".
 */
void bus_ring(struct bus *bus, const char *dir, const char *id);
/* Topic "outcome": {"id":..., "state": "delivered" | "badmail" | "damaged"}. */
void bus_outcome(struct bus *bus, const char *id, const char *state);

/* Asks PEER; takes over the reference of request. fn is called exactly once, from the loop, unless
 * the bus is freed. While PEER is down some questions wait for it; when enough of them do, the
 * answer is NULL at once. */
void bus_ask(struct bus *bus, const char *peer, json_t *request, int timeout_ms, bus_answer_fn *fn,
             void *arg);

/* Replies, for request handlers. bus_ok takes over `fields` (an object, or NULL) and adds "ok":
 * true. */
json_t *bus_ok(json_t *fields);
json_t *bus_error(const char *code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* code "usage", "notfound" or "failed", as err->kind says. */
json_t *bus_error_from(const struct error *err);

/* Into `reply`: "key", the first of `items` (at most BUS_LIST_MAX, each cut and escaped for a
 * terminal where it needs to be), and "key_total", how many there are. */
#define BUS_LIST_MAX 50
void bus_put_list(json_t *reply, const char *key, char *const *items, size_t count);

/* One page of a longer answer. Call bus_page_add for item after item (it takes the reference) until
 * it says false: the page is full, and `cursor` (of the last item taken) is where the next one goes
 * on. The first item is always taken; of one too long for any page the long members are left out,
 * and named in its "left_out". */
struct bus_page {
    json_t *items;
    size_t bytes;
};
void bus_page_begin(struct bus_page *page);
MUST_CHECK bool bus_page_add(struct bus_page *page, json_t *item);
/* The reply {"ok":true,"items":[...],"next":cursor}; "next" is left out when cursor is NULL. */
json_t *bus_page_end(struct bus_page *page, const char *cursor);

/* For popferryctl: one who asks, and keeps the connection for his next question. */
struct bus_caller;
struct bus_caller *bus_caller_new(const char *run_dir);
void bus_caller_free(struct bus_caller *caller); /* NULL is fine */
/* One question, waiting for the answer. Takes over request. Fails with ERROR_MISSING at once when
 * nobody listens, and with ERROR_TEMPORARY when no answer comes in time, or the peer ends without.
 */
MUST_CHECK json_t *bus_call(struct bus_caller *caller, const char *peer, json_t *request,
                            int timeout_ms, struct error *err);

#endif
