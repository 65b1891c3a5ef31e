/* See move.h. */
#include "hygiene/move.h"
#include "hygiene/badmail.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "spool/message.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void move_failed(struct hygiene *h, const char *id, enum spool_dir to,
                        const struct error *err)
{
    int64_t now = clock_monotonic();
    if (err->kind == ERROR_MISSING || (h->move_failed > 0 && now - h->move_failed < CLOCK_MINUTE))
        return;
    h->move_failed = now;
    LOG(LOG_ALARM, "move-failed", KV("id", id), KV("to", spool_dir_name(to)),
        KV("error", err->text), KV("meaning", "it and others like it are tried again and again"));
}

/* badmail/ is synced first: nobody is to hear of a name that may be lost. */
static void enter_aside(struct hygiene *h, const struct badmail *b)
{
    bool synced = fsync(spool_fd(h->spool, SPOOL_BADMAIL)) == 0;
    if (!synced)
        LOG(LOG_ALARM, "sync-failed", KV("dir", "badmail"), KV("error", strerror(errno)));
    db_begin(h->d->db);
    ledger_hold(h->d->db, b);
    if (synced)
        ledger_badmail_entered(h->d->db, b->id);
    db_commit(h->d->db);
}

/* Neither is lost, and the walk does not meet it again. A crash between rename and row leaves what
 * a start finds: a file in badmail/ without a record. */
static bool set_aside(struct hygiene *h, const char *id, enum spool_dir from, enum spool_dir to,
                      struct error *err)
{
    struct badmail b;
    char new_id[ID_SIZE], reason[128];
    id_new(new_id);
    (void)snprintf(reason, sizeof reason, "%s/%s.eml was there already, and is another message",
                   spool_dir_name(to), id);
    badmail_describe(h->spool, from, id, "name-taken", reason, &b);
    memcpy(b.id, new_id, sizeof b.id);
    bool ok = spool_move_as(h->spool, id, from, SPOOL_BADMAIL, new_id, err);
    if (ok) {
        bool renamed = message_change_id(h->spool, SPOOL_BADMAIL, new_id, id);
        enter_aside(h, &b);
        LOG(LOG_ALARM, "spool-name-taken", KV("id", id), KV("new_id", new_id),
            KV("from", spool_dir_name(from)), KV("to", spool_dir_name(to)),
            KV("meaning", "another message lay there under this id, and both are kept: this one is "
                          "in badmail/ under its new id"),
            KV("next", renamed
                           ? "look at it with popferryctl badmail show, then replay or delete it"
                           : "look at the file, then move it to pickup/ to have it sent, or "
                             "popferryctl badmail delete it"));
    }
    ledger_badmail_free(&b);
    return ok;
}

bool move_on(struct hygiene *h, const char *id, enum spool_dir from, enum spool_dir to)
{
    struct error err;
    if (spool_move(h->spool, id, from, to, &err))
        return true;
    if (err.kind == ERROR_TAKEN && set_aside(h, id, from, to, &err))
        return true;
    move_failed(h, id, to, &err);
    return false;
}
