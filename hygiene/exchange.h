/* One question over a connection of its own: something before the message, the message, something
 * behind it; then the answer, to its end. As clamd and spamd want it. */
#ifndef HYGIENE_EXCHANGE_H
#define HYGIENE_EXCHANGE_H

#include "hygiene/filter.h"

/* Reads the answer; `text` ends in a NUL that does not count. */
typedef void exchange_read_fn(const struct filter_server *server, const char *text, size_t len,
                              struct filter_answer *answer);

struct exchange_plan {
    const char *head; /* head and tail are copied */
    size_t head_len;
    const char *tail;
    size_t tail_len;
    bool chunks; /* each piece of the message goes behind its length, 32 bits in network order */
    int end;     /* the octet that ends the answer; -1: the close does */
    exchange_read_fn *read;
};

/* As filter_protocol.ask. */
struct exchange *exchange_begin(const struct filter_server *server,
                                const struct filter_subject *subject,
                                const struct exchange_plan *plan, filter_done_fn *done, void *arg);
void exchange_cancel(void *exchange);

#endif
