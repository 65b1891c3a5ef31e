/* Back-off and circuit breaker. Promises: a server in trouble sees one connection at a time, at
 * growing distances; one word of its being well ends that; going down and coming up are each said
 * once. */
#include "relayd/route.h"

#include "lib/clock.h"
#include "lib/log.h"

#include <assert.h>
#include <stdio.h>

#define PAUSE_MIN       CLOCK_SECOND
#define PAUSE_MAX       CLOCK_MINUTE
#define PROBE_PAUSE_MAX (15 * CLOCK_SECOND)
#define REFUSED_MIN     CLOCK_MINUTE
#define REFUSED_MAX     CLOCK_HOUR
#define CROWDED_MIN     (10 * CLOCK_SECOND)
#define CROWDED_MAX     (10 * CLOCK_MINUTE)

static const char *const circuit_names[] = {
    [ROUTE_CLOSED] = "closed",
    [ROUTE_PROBING] = "probing",
    [ROUTE_OPEN] = "open",
};
static_assert(sizeof circuit_names / sizeof *circuit_names == ROUTE_CIRCUITS, "a name a circuit");

void route_init(struct route *route, int64_t retry_max)
{
    *route = (struct route){0};
    route_set_retry_max(route, retry_max);
}

void route_set_retry_max(struct route *route, int64_t retry_max)
{
    route->pause_max = retry_max < PAUSE_MAX ? retry_max : PAUSE_MAX;
}

enum route_circuit route_circuit(const struct route *route)
{
    if (!route->open)
        return ROUTE_CLOSED;
    bool there = route->answered || route->failures < ROUTE_CIRCUIT_FAILURES;
    return there ? ROUTE_PROBING : ROUTE_OPEN;
}

const char *route_circuit_name(enum route_circuit circuit)
{
    return circuit_names[circuit];
}

bool route_in_trouble(const struct route *route)
{
    return route->open || route->failures > 0;
}

bool route_fails(const struct route *route, int64_t now, int64_t longest)
{
    return route->open && route->failures > 0 && now - route->opened_at < longest;
}

size_t route_limit(const struct route *route, int64_t now, size_t max)
{
    if (route_in_trouble(route))
        return now >= route->next_at ? 1 : 0;
    size_t allowed = route->fewer > 0 ? route->fewer + (now >= route->more_at) : max;
    return allowed < max ? allowed : max;
}

bool route_may_send(const struct route *route, int64_t now)
{
    return !route_in_trouble(route) || now >= route->next_at;
}

/* The server is reached: it is no burden to it to be asked soon again. */
static void pause_at_most(struct route *route, int64_t now, int64_t max, const char *why)
{
    unsigned length = route->pauses > 16 ? 16 : (unsigned)route->pauses;
    int64_t min = route->refused ? REFUSED_MIN : PAUSE_MIN;
    route->next_at = now + clock_backoff(min, max, length);
    route->pauses++;
    route->probes = 0;
    (void)snprintf(route->error, sizeof route->error, "%s", why);
}

static void pause_route(struct route *route, int64_t now, const char *why)
{
    pause_at_most(route, now, route->refused ? REFUSED_MAX : route->pause_max, why);
}

/* Behind a message that failed. */
static void pause_between_probes(struct route *route, int64_t now, bool probe, const char *why)
{
    int64_t max = route->pause_max < PROBE_PAUSE_MAX ? route->pause_max : PROBE_PAUSE_MAX;
    if (!probe || ++route->probes >= ROUTE_PROBES)
        pause_at_most(route, now, max, why);
}

static void open_circuit(struct route *route, int64_t now)
{
    if (route->open)
        return;
    route->open = true;
    route->opened_at = now;
    LOG(LOG_ALARM, "relay-down", KV("error", route->error), KVN("failures", route->failures),
        KVN("put_off", route->put_off));
}

static void allow_all(struct route *route)
{
    route->fewer = 0;
    route->crowded = 0;
    route->more_at = 0;
}

void route_crowded(struct route *route, int64_t now, size_t up, const char *why)
{
    bool together = route->fewer > 0 && now < route->more_at;
    if (!together) {
        route->more_at = now + clock_backoff(CROWDED_MIN, CROWDED_MAX, route->crowded++);
        route->fewer = up;
        LOG(LOG_WARN, "relay-allows-fewer", KVN("connections", (long long)up), KV("error", why),
            KVN("again_in_ms", route->more_at - now));
    }
    if (up < route->fewer)
        route->fewer = up;
}

void route_admitted(struct route *route, int64_t now, size_t up, size_t max)
{
    if (route->fewer == 0 || up <= route->fewer)
        return;
    allow_all(route);
    if (up < max) { /* and one more at once */
        route->fewer = up;
        route->more_at = now;
    }
}

/* False of one of several that broke together. */
static bool count_failure(struct route *route, int64_t now, bool answered)
{
    if (route_in_trouble(route) && now < route->next_at)
        return false;
    route->failures++;
    route->answered = answered;
    route->refused = false;
    allow_all(route); /* what looked like a crowd may have been this */
    return true;
}

static void tell_failure(struct route *route, int64_t now)
{
    if (route->next_at > now)
        LOG(LOG_WARN, "relay-failed", KV("error", route->error), KVN("failures", route->failures),
            KVN("again_in_ms", route->next_at - now));
    if (route->failures >= ROUTE_CIRCUIT_FAILURES)
        open_circuit(route, now);
}

void route_failed(struct route *route, int64_t now, const char *why)
{
    if (!count_failure(route, now, false))
        return;
    pause_route(route, now, why);
    tell_failure(route, now);
}

void route_lost(struct route *route, int64_t now, const char *why)
{
    bool probe = route_in_trouble(route);
    if (!count_failure(route, now, true))
        return;
    pause_between_probes(route, now, probe, why);
    tell_failure(route, now);
}

void route_refused(struct route *route, int64_t now, const char *why)
{
    if (route->refused && now < route->next_at)
        return; /* of several that gave the same password */
    route->pauses = route->refused ? route->pauses : 0;
    route->refused = true;
    route->answered = false;
    route->failures =
        route->failures < ROUTE_CIRCUIT_FAILURES ? ROUTE_CIRCUIT_FAILURES : route->failures + 1;
    pause_route(route, now, why);
    LOG(LOG_ALARM, "relay-login-refused", KV("error", route->error),
        KV("do", "popferryctl relay password"), KVN("again_in_ms", route->next_at - now));
    open_circuit(route, now);
}

void route_put_off(struct route *route, int64_t now, bool first, const char *reply)
{
    if (route->open && now < route->next_at)
        return;
    route->failures = 0;
    route->put_off += first;
    if (!route->open && route->put_off < ROUTE_CIRCUIT_PUT_OFF)
        return;
    pause_between_probes(route, now, route->open, reply);
    open_circuit(route, now);
}

void route_well(struct route *route)
{
    bool was_open = route->open;
    *route = (struct route){
        .pause_max = route->pause_max,
        .fewer = route->fewer,
        .crowded = route->crowded,
        .more_at = route->more_at,
    };
    if (was_open)
        LOG(LOG_NOTE, "relay-up");
}

void route_retry(struct route *route)
{
    route->next_at = 0;
    route->pauses = 0;
    allow_all(route);
}
