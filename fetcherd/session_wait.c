/* A session that has fetched all waits a little for outcomes, so that DELE follows in the same
 * session.
 *
 * Promises: the wait is bounded as a whole and without news; after a second without news it asks,
 * because an outcome may have been lost on the bus. */
#include "fetcherd/session_inner.h"

#include "fetcherd/resolve.h"
#include "fetcherd/watch.h"
#include "lib/clock.h"

#define WAIT_TOTAL (10 * CLOCK_SECOND)
#define WAIT_QUIET (4 * CLOCK_SECOND)
#define WAIT_ASK   1 /* s */
/* Without UIDLs the next session would have to fetch it all again to know it. */
#define WAIT_TOTAL_NAMELESS (60 * CLOCK_SECOND)
#define WAIT_QUIET_NAMELESS (20 * CLOCK_SECOND)

bool wait_is_of_use(const struct session *s)
{
    bool policy = fetcherd_conf(s->f)->fetch.delete == CONF_DELETE_DELIVERED;

    return policy && s->unsettled > 0 && clock_monotonic() < s->quiet_until;
}

static void arm(struct session *s)
{
    static const struct timeval ask = {.tv_sec = WAIT_ASK};

    (void)evtimer_add(s->wait_timer, &ask);
}

static bool is_patient(const struct session *s)
{
    return s->drop.nameless > 0 && !watch_holding_off(s->f->watch);
}

void wait_renew(struct session *s)
{
    int64_t quiet = clock_monotonic() + (is_patient(s) ? WAIT_QUIET_NAMELESS : WAIT_QUIET);

    s->quiet_until = quiet < s->wait_until ? quiet : s->wait_until;
    arm(s);
}

void wait_begin(struct session *s)
{
    session_set_step(s, SESSION_WAITING);
    s->wait_until = clock_monotonic() + (is_patient(s) ? WAIT_TOTAL_NAMELESS : WAIT_TOTAL);
    wait_renew(s);
}

static void on_asked(void *arg)
{
    (void)arg; /* what is known now came by session_outcome */
}

void wait_ask(struct session *s)
{
    if (s->step == SESSION_WAITING && wait_is_of_use(s)) {
        resolve_account(s->f->resolve, s->account->key, on_asked, NULL);
        arm(s);
    }
    mail_advance(s);
}
