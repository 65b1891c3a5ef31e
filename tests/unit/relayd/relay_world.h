/* The whole of relayd above the connection, on a real spool and a real ledger, with the clock and
 * the server of simulated.h: relay_world_open, put_bell, run_until, relay_world_close. Includes
 * simulated.h; one of these a program. */
#ifndef TESTS_RELAY_WORLD_H
#define TESTS_RELAY_WORLD_H

#include "lib/bus.h"
#include "lib/daemon.h"
#include "relayd/relay.h"
#include "tests/unit/relayd/place.h"
#include "tests/unit/relayd/simulated.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#define START INT64_C(1800000000000)

enum { SESSIONS = 10, EXPIRE_HOURS = 6 };

static struct place place;
static struct daemon process;
static struct relay *relay;
static struct conf *conf;
static char ids[SIM_MESSAGES][ID_SIZE];
static bool told[SIM_MESSAGES]; /* delivered, by an outcome */
static unsigned crowds;         /* more than one connection while the server was in trouble */
static bus_notice_fn *notice;
static void *notice_arg;

static inline int compare_ids(const void *a, const void *b)
{
    return strcmp(a, b);
}

/* ---- the bus and the daemon, as far as relayd calls them here ---- */

void bus_on_notice(struct bus *bus, bus_notice_fn *fn, void *arg)
{
    (void)bus;
    notice = fn;
    notice_arg = arg;
}

void bus_listen(struct bus *bus, const char *peer)
{
    (void)bus, (void)peer;
}

void bus_ring(struct bus *bus, const char *dir, const char *id)
{
    (void)bus, (void)dir, (void)id;
}

void bus_outcome(struct bus *bus, const char *id, const char *state)
{
    (void)bus;
    const char(*found)[ID_SIZE] = bsearch(id, ids, SIM_MESSAGES, ID_SIZE, compare_ids);
    if (found && strcmp(state, "delivered") == 0)
        told[found - ids] = true;
}

json_t *bus_ok(json_t *fields)
{
    return fields;
}

json_t *bus_error(const char *code, const char *fmt, ...)
{
    (void)code, (void)fmt;
    return NULL;
}

void daemon_stopped(struct daemon *d)
{
    (void)d;
}

/* ---- the queue ---- */

static inline void put_long_message(int number, size_t lines)
{
    struct error err = {.text = ""};
    struct message_head head = {.account = "sales", .origin = "test"};
    id_new(ids[number]);
    memcpy(head.id, ids[number], ID_SIZE);
    (void)snprintf(head.sender, sizeof head.sender, "n%d@origin.example", number);
    place_must(envelope_list_add(&head.recipients, "you@corp.example"), &err);
    struct message_writer *w = message_create(place.spool, SPOOL_TMP, "eml", &head, &err);
    place_must(w != NULL, &err);
    place_must(message_append(w, "Subject: x\r\n\r\n", 14, &err), &err);
    for (size_t i = 0; i < lines; i++)
        place_must(message_append(w, "hello\r\n", 7, &err), &err);
    place_must(message_finish(w, &err), &err);
    message_writer_free(w);
    place_must(spool_move(place.spool, ids[number], SPOOL_TMP, SPOOL_OUTGOING, &err), &err);
    message_head_free(&head);
}

static inline void put_message(int number)
{
    put_long_message(number, 1);
}

static inline void ring_bell(int number)
{
    json_t *body = json_pack("{s:s, s:s}", "dir", "outgoing", "id", ids[number]);
    notice(notice_arg, "hygiene", "bell", body);
    json_decref(body);
}

static inline void put_bell(int number)
{
    put_message(number);
    ring_bell(number);
}

/* ---- time ---- */

/* What is logged here is of no interest, and much. */
static inline void run_until(int64_t end, size_t taken)
{
    int kept = dup(STDERR_FILENO), nowhere = open("/dev/null", O_WRONLY | O_CLOEXEC);
    (void)dup2(nowhere, STDERR_FILENO);
    while (sim_step(end) && sim.taken < taken)
        crowds += route_in_trouble(&relay->route) && sim.live > 1;
    (void)dup2(kept, STDERR_FILENO);
    (void)close(kept);
    (void)close(nowhere);
}

/* ---- the set-up ---- */

static inline struct conf *load_conf(void)
{
    struct error err = {.text = ""};
    char path[128];
    (void)snprintf(path, sizeof path, "%s/popferry.conf", place.dir);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    (void)fprintf(f,
                  "spool-dir = \"%s\"\nstate-dir = \"%s\"\nrun-dir = \"%s\"\n"
                  "relay { host = \"sim.example\" sessions = %d retry-min = \"1m\""
                  " retry-max = \"4h\" expire = \"%dh\" }\n",
                  place.spool_dir, place.dir, place.dir, SESSIONS, EXPIRE_HOURS);
    assert_int_equal(fclose(f), 0);
    struct conf *loaded = conf_load(path, &err);
    place_must(loaded != NULL, &err);
    return loaded;
}

static inline int relay_world_open(void **state)
{
    struct error err = {.text = ""};
    (void)state;
    memset(&sim, 0, sizeof sim);
    memset(told, 0, sizeof told);
    crowds = 0;
    sim.now = START;
    for (int i = 0; i < SIM_MESSAGES; i++)
        ids[i][0] = '~'; /* so that they are sorted before all are there */
    sim.base = event_base_new();
    place_open_in(&place, access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    conf = load_conf();
    process = (struct daemon){.name = "relayd", .conf = conf, .db = place.db, .base = sim.base};
    relay = relay_new(&process, &err);
    place_must(relay != NULL, &err);
    return 0;
}

static inline int relay_world_close(void **state)
{
    (void)state;
    relay_free(relay);
    event_base_free(sim.base);
    conf_free(conf);
    place_close(&place);
    return 0;
}

#endif
