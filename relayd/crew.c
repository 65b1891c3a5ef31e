/* See crew.h. */
#include "relayd/crew.h"

#include "lib/clock.h"
#include "relayd/session.h"

/* To take what was lost before; the next probe waits no longer. */
#define SLOW (10 * CLOCK_SECOND)

/* Of those to the server that is configured now: others, from before a reload, come to their ends
 * beside them. */
static size_t count_by(const struct relay *relay, bool (*is)(const struct session *session))
{
    size_t count = 0;
    for (guint i = 0; i < relay->sessions->len; i++) {
        const struct session *session = g_ptr_array_index(relay->sessions, i);
        count += session_is_to(session, relay->d->conf) && is(session);
    }
    return count;
}

static bool is_up(const struct session *session)
{
    return !session_over(session);
}

static bool is_busy(const struct session *session)
{
    return is_up(session) && session_was_ready(session) && !session_idle(session);
}

static bool is_stuck(const struct session *session)
{
    return is_up(session) && session_hangs(session, clock_monotonic(), CREW_STUCK);
}

static bool has_a_lost_one(const struct session *session)
{
    return is_up(session) && session_attempt(session) && attempt_was_lost(session_attempt(session));
}

static bool is_stuck_or_lost(const struct session *session)
{
    return is_stuck(session) ||
           (has_a_lost_one(session) && session_hangs(session, clock_monotonic(), SLOW));
}

/* Other mail than what was lost with its session is ready. */
static bool has_others(const struct relay *relay)
{
    return queue_ready(relay->queue) > queue_lost(relay->queue);
}

size_t crew_aside(const struct relay *relay)
{
    return count_by(relay, has_others(relay) ? is_stuck_or_lost : is_stuck);
}

size_t crew_allowed(const struct relay *relay)
{
    size_t max = (size_t)relay->d->conf->relay.sessions, fewer = relay->route.fewer;
    return fewer > 0 && fewer < max ? fewer : max;
}

bool crew_may_have_a_lost_one(const struct relay *relay)
{
    size_t sessions = crew_allowed(relay);
    if (route_in_trouble(&relay->route) && has_others(relay))
        return false;
    return sessions == 1 || count_by(relay, has_a_lost_one) + 1 < sessions;
}

size_t crew_up(const struct relay *relay)
{
    return count_by(relay, is_up);
}

size_t crew_greeted(const struct relay *relay)
{
    return count_by(relay, session_greeted);
}

size_t crew_busy(const struct relay *relay)
{
    return count_by(relay, is_busy);
}

size_t crew_stuck(const struct relay *relay)
{
    return count_by(relay, is_stuck);
}
