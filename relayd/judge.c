/* Promises: what may be one message's fault is not held against the server for long; what is the
 * server's is held against no message. */
#include "relayd/judge.h"

#include "lib/clock.h"

#include <stdio.h>
#include <string.h>

/* By 421 or by hanging up between two messages; or by 452 to MAIL (OpenSMTPD, after a hundred).
 * Were it full itself, the first MAIL of the next session would be told so too. */
bool judge_has_had_enough(const struct session *session, const struct attempt *attempt,
                          const struct smtp_result *result, unsigned connections)
{
    return session_messages(session) > 1 && strcmp(result->command, "MAIL") == 0 &&
           (result->outcome == SMTP_SESSION_FAILED || result->code == 452) &&
           attempt->backs < connections;
}

/* Of a message as a whole, or of each of its recipients. */
static bool was_put_off(const struct attempt *attempt, const struct smtp_result *result)
{
    return result->outcome == SMTP_MESSAGE_TEMPORARY ||
           (result->outcome == SMTP_NO_RECIPIENT && attempt_put_off_by_server(attempt));
}

static void well(struct relay *relay)
{
    relay->well_at = clock_now();
    route_well(&relay->route);
}

/* Behind a message, perhaps for its sake. */
static void lost_over(struct relay *relay, const struct attempt *attempt, int64_t now,
                      const struct smtp_result *result)
{
    char why[sizeof relay->route.error];
    (void)snprintf(why, sizeof why, "over message %s: %s", attempt->id, result->text);
    route_lost(&relay->route, now, why);
}

void judge_result(struct relay *relay, const struct attempt *attempt,
                  const struct smtp_result *result)
{
    int64_t now = clock_monotonic();
    bool first = attempt->row.state == LEDGER_FRESH; /* also of those that go on at once */
    if (was_put_off(attempt, result))
        route_put_off(&relay->route, now, first, result->text);
    else if (result->outcome == SMTP_SESSION_FAILED)
        lost_over(relay, attempt, now, result);
    else
        well(relay);
}

/* What never got ready while others are well says that there are enough of them. */
void judge_connection(struct relay *relay, const struct session *session, size_t well,
                      const char *why)
{
    int64_t now = clock_monotonic();
    if (well > 0 && !session_was_ready(session) && !route_in_trouble(&relay->route))
        route_crowded(&relay->route, now, well, why);
    else
        route_failed(&relay->route, now, why);
}
