/* Verdicts, written in batches: new tops first, and synced; then the rows, in one commit; then the
 * files move. So no file moves before its verdict is durable, and none arrives without its top. */
#ifndef HYGIENE_VERDICTS_H
#define HYGIENE_VERDICTS_H

#include "hygiene/hygiene.h"
#include "hygiene/judgement.h"

struct verdicts_user {
    void (*written)(void *arg, struct judgement *j); /* it is the user's again */
    void (*settled)(void *arg);                      /* behind those of a batch */
};

struct verdicts;
struct verdicts *verdicts_new(struct hygiene *h, const struct verdicts_user *user, void *arg);
/* Behind syncpool_free. Judgements stay the user's. NULL is fine. */
void verdicts_free(struct verdicts *v);

/* Takes a judgement that is done, until it is written. */
void verdicts_add(struct verdicts *v, struct judgement *j);
/* Begins with those that have come, as far as none are being written. */
void verdicts_write(struct verdicts *v);
/* Lets go of all that are in no batch yet. */
void verdicts_give_up(struct verdicts *v);
/* Whether it is in a batch. */
bool verdicts_holds(const struct verdicts *v, const struct judgement *j);

/* One whose row says that it has passed: from incoming/ to outgoing/. */
void verdicts_pass_on(struct hygiene *h, const char *id);

#endif
