/* What waits for a verdict, as it is listed beside the queue for the SMTP server: items {id,
 * sender, recipients, recipients_total, size, account, origin, attempts, next_attempt, last_reply,
 * state ("waiting"), filter}. */
#ifndef HYGIENE_WAITING_H
#define HYGIENE_WAITING_H

#include "hygiene/hygiene.h"

json_t *waiting_answer_list(struct hygiene *h, const json_t *request);
json_t *waiting_answer_show(struct hygiene *h, const json_t *request);

#endif
