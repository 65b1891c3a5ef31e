/* What sessions and their results say of the server: for the route. */
#ifndef RELAYD_JUDGE_H
#define RELAYD_JUDGE_H

#include "relayd/attempt.h"
#include "relayd/relay.h"
#include "relayd/session.h"

/* The server wants no more on this connection; nothing was said of the message, which goes on the
 * next one at once. All of `connections` may have had enough at the same time; a message that meets
 * this more often is its cause. */
bool judge_has_had_enough(const struct session *session, const struct attempt *attempt,
                          const struct smtp_result *result, unsigned connections);

void judge_result(struct relay *relay, const struct attempt *attempt,
                  const struct smtp_result *result);

/* A session ended that had got no message through; `well` others have been greeted and are up. */
void judge_connection(struct relay *relay, const struct session *session, size_t well,
                      const char *why);

#endif
