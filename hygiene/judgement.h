/* One message on its way from incoming/ to a verdict: its form is checked, then each filter is
 * asked, one behind the other, until one is against it; none of them of what was handed in by
 * pickup/ or is replayed. Nothing is written here. */
#ifndef HYGIENE_JUDGEMENT_H
#define HYGIENE_JUDGEMENT_H

#include "hygiene/filter.h"
#include "hygiene/form.h"
#include "hygiene/ledger.h"

enum verdict {
    VERDICT_PASS,    /* with the edits and repairs that go with it */
    VERDICT_BADMAIL, /* decided_by and reason say why */
    VERDICT_WAIT,    /* none for now: `waiting` says when it is tried again */
    VERDICT_GONE,    /* its file is no longer there */
};

struct judgement;
typedef void judgement_done_fn(void *arg, struct judgement *j);

struct judgement {
    char id[ID_SIZE];
    struct form form;
    const struct conf *conf;
    struct filter *const *all;     /* NULL behind the last */
    struct filter *const *filters; /* of these, who has not been asked yet */
    struct filter_question *question;
    struct filter_subject subject;
    struct client client;
    judgement_done_fn *done;
    void *arg;

    /* What comes of it. */
    enum verdict verdict;
    char decided_by[32];
    char reason[600];
    struct waiting waiting; /* as it was before, until there is a verdict */
    bool was_waiting;
    bool is_probe;   /* begun to see whether a filter is well again */
    json_t *reports; /* an array; see struct badmail */
    struct edits edits;
};

/* Opens the message. `done` is called once, from the loop or from judgement_read; then the caller
 * frees it. `filters` and `conf` are lent. */
struct judgement *judgement_new(const char *id, const struct spool *spool, const struct conf *conf,
                                struct filter *const *filters, judgement_done_fn *done, void *arg);
/* Goes on with the check of form, for `budget` bytes; true while there is more of it. Not to be
 * called again behind false. */
MUST_CHECK bool judgement_read(struct judgement *j, size_t budget);
/* Also while a filter is being asked: the question is given up. */
void judgement_free(struct judgement *j);

/* The top that its edits and repairs make; false when there is none to be made. */
MUST_CHECK bool judgement_top(const struct judgement *j, struct top *top);

#endif
