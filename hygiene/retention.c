/* See retention.h. In the order of a deletion: rows, one commit, then events and files. A file that
 * a crash leaves behind its row goes at the next start (badmail_reconcile). */
#include "hygiene/retention.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct due {
    char ids[RETENTION_TURN][ID_SIZE];
    int count;
};

static bool note_due(void *arg, const struct badmail *b)
{
    struct due *due = arg;
    memcpy(due->ids[due->count++], b->id, ID_SIZE);
    return due->count < RETENTION_TURN;
}

/* One that somebody removed, or that is on its way out just now, was not ours to remove: the row
 * gets the state that a start would give it, and a replay under way puts it right. */
static void close_rows(struct hygiene *h, const struct due *due)
{
    db_begin(h->d->db);
    for (int i = 0; i < due->count; i++)
        ledger_badmail_set(h->d->db, due->ids[i],
                           spool_has(h->spool, SPOOL_BADMAIL, due->ids[i]) ? BADMAIL_EXPIRED
                                                                           : BADMAIL_REMOVED,
                           NULL);
    db_commit(h->d->db);
}

void retention_tell(const struct badmail *b)
{
    char age[32];
    (void)snprintf(age, sizeof age, "%lldd", (long long)((clock_now() - b->at) / CLOCK_DAY));
    LOG(LOG_NOTE, "badmail-expired", KV("id", b->id), KV("account", b->account),
        KV("sender", b->sender), KV("subject", b->subject), KV("age", age));
}

static void remove_file(struct hygiene *h, const char *id)
{
    struct error err;
    struct badmail b;
    if (!ledger_badmail(h->d->db, id, &b))
        return;
    if (b.state == BADMAIL_EXPIRED) {
        retention_tell(&b);
        if (!spool_remove(h->spool, SPOOL_BADMAIL, id, &err))
            LOG(LOG_ALARM, "remove-failed", KV("id", id), KV("error", err.text),
                KV("meaning", "it is tried again at the next start"));
    }
    ledger_badmail_free(&b);
}

bool retention_turn(struct hygiene *h)
{
    struct due due = {.count = 0};
    ledger_each_held_between(h->d->db, 0, clock_now() - h->d->conf->hygiene.badmail_keep,
                             RETENTION_TURN, note_due, &due);
    if (due.count == 0)
        return false;
    close_rows(h, &due);
    for (int i = 0; i < due.count; i++)
        remove_file(h, due.ids[i]);
    return due.count == RETENTION_TURN;
}
