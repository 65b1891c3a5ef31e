/* Promises: what may be one message's fault is not held against the server for long; what is the
 * server's is held against no message. */
#include "relayd/judge.h"

#include "lib/clock.h"

#include <string.h>

/* By 421 or by hanging up between two messages; or by 452 to MAIL (OpenSMTPD, after a hundred).
 * Were it full itself, the first MAIL of the next session would be told so too. */
bool judge_has_had_enough(const struct session *session, const struct smtp_result *result)
{
    return session_messages(session) > 1 && strcmp(result->command, "MAIL") == 0 &&
           (result->outcome == SMTP_SESSION_FAILED || result->code == 452);
}

/* Of a message as a whole, or of each of its recipients. */
static bool was_put_off(const struct attempt *attempt, const struct smtp_result *result)
{
    return result->outcome == SMTP_MESSAGE_TEMPORARY ||
           (result->outcome == SMTP_NO_RECIPIENT && attempt_put_off_by_server(attempt));
}

void judge_result(struct relay *relay, const struct attempt *attempt,
                  const struct smtp_result *result)
{
    int64_t now = clock_monotonic();
    bool first = attempt->row.attempts == 0;
    if (was_put_off(attempt, result))
        route_put_off(&relay->route, now, first, result->text);
    else if (result->outcome != SMTP_SESSION_FAILED)
        route_well(&relay->route);
    else if (result->code == 0 || result->code == 421) /* behind a message, perhaps for its sake */
        route_lost(&relay->route, now, result->text);
    else
        route_failed(&relay->route, now, result->text);
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
