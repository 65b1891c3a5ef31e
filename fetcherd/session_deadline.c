/* How slow a server may be.
 *
 * The stream's own time-out ends a line on which nothing moves at all. A server that lets an octet
 * drip now and then is not caught by that: so, in each period of `fetch.timeout`, an answer has to
 * be completed or MIN_RATE be reached, and login and survey have to end after a number of periods.
 *
 * Promises: whatever a server does, its session ends; a slow line that goes on is left alone. */
#include "fetcherd/session_inner.h"

#include <stdlib.h>

#include "lib/clock.h"
#include "lib/log.h"

#define MIN_RATE       128 /* octets a second */
#define SURVEY_PERIODS 10  /* for login, and for the listings */

/* Whether it is the server's turn. */
static bool is_awaiting(const struct session *s)
{
    if (s->step == SESSION_CONNECTING || s->step == SESSION_OVER || s->paused)
        return false;
    return !pop3_idle(&s->core) || s->step == SESSION_LOGIN || s->step == SESSION_SECURING;
}

static void arm(struct session *s)
{
    int64_t period = fetcherd_conf(s->f)->fetch.timeout;
    struct timeval wait = {.tv_sec = period / 1000, .tv_usec = period % 1000 * 1000};

    (void)evtimer_add(s->deadline.timer, &wait);
}

static bool is_too_slow(const struct session *s)
{
    const struct deadline *d = &s->deadline;
    int64_t period = fetcherd_conf(s->f)->fetch.timeout;
    uint64_t least = (uint64_t)(period * MIN_RATE / 1000);

    return s->answers == d->answers && s->octets - d->octets < least && s->step == d->step;
}

static void fail(struct session *s, const char *what)
{
    const char *command = pop3_awaited(&s->core);

    mail_charge_current(s, what);
    session_fail(s, command[0] ? command : "STLS", "%s", what);
}

static void on_period(evutil_socket_t fd, short what, void *arg)
{
    struct session *s = arg;
    struct deadline *d = &s->deadline;
    bool surveying = s->step < SESSION_WORKING;

    (void)fd;
    (void)what;
    session_enter(s);
    if (surveying && clock_monotonic() > d->survey_until)
        fail(s, "the server takes too long to log in and list its messages");
    else if (is_awaiting(s) && d->step != SESSION_CONNECTING && is_too_slow(s))
        fail(s, "the server's answer comes in too slowly");
    /* A period in which it was not the server's turn all the time does not count. */
    d->step = is_awaiting(s) ? s->step : SESSION_CONNECTING;
    d->answers = s->answers;
    d->octets = s->octets;
    if (s->step != SESSION_OVER)
        arm(s);
    session_leave(s);
}

void deadline_begin(struct session *s)
{
    int64_t period = fetcherd_conf(s->f)->fetch.timeout;

    s->deadline.timer = evtimer_new(s->f->daemon->base, on_period, s);
    if (!s->deadline.timer)
        abort();
    s->deadline.step = s->step;
    s->deadline.survey_until = clock_monotonic() + SURVEY_PERIODS * period;
    arm(s);
}

void deadline_free(struct session *s)
{
    if (s->deadline.timer)
        event_free(s->deadline.timer);
}
