/* See move.h. */
#include "hygiene/move.h"
#include "hygiene/badmail.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "spool/message.h"
#include "spool/same.h"
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

static bool is_damaged(const struct badmail *b)
{
    return strcmp(b->decided_by, LEDGER_DAMAGED) == 0;
}

/* The row is of what lies in badmail/ from now on. What is told to fetcherd of this id is about the
 * message that is set aside, and so it is damaged where that is. */
static void describe_other(struct hygiene *h, const char *id, bool damaged)
{
    struct badmail b;
    bool known = ledger_badmail(h->d->db, id, &b), own = known && b.entered;
    if (known && !own)
        ledger_badmail_free(&b);
    if (!own)
        badmail_describe(h->spool, SPOOL_BADMAIL, id, "unknown", BADMAIL_FOUND, &b);
    else if (b.state != BADMAIL_HELD)
        b.at = clock_now();
    if (is_damaged(&b) && !damaged)
        (void)snprintf(b.decided_by, sizeof b.decided_by, "unknown");
    else if (!own && damaged)
        (void)snprintf(b.decided_by, sizeof b.decided_by, LEDGER_DAMAGED);
    ledger_badmail_forget(h->d->db, id);
    ledger_hold(h->d->db, &b);
    ledger_badmail_entered(h->d->db, id);
    ledger_badmail_free(&b);
}

static void hold_rows(struct hygiene *h, const struct badmail *b, const char *id, enum spool_dir to)
{
    db_begin(h->d->db);
    if (to == SPOOL_BADMAIL)
        describe_other(h, id, is_damaged(b));
    ledger_hold(h->d->db, b);
    db_commit(h->d->db);
}

static void tell_aside(const char *id, const char *new_id, enum spool_dir from, enum spool_dir to,
                       bool renamed)
{
    LOG(LOG_ALARM, "spool-name-taken", KV("id", id), KV("new_id", new_id),
        KV("from", spool_dir_name(from)), KV("to", spool_dir_name(to)),
        KV("meaning", "another message lay there under this id, and both are kept: this one is "
                      "in badmail/ under its new id"),
        KV("next", renamed ? "look at it with popferryctl badmail show, then replay or delete it"
                           : "look at the file, then move it to pickup/ to have it sent, or "
                             "popferryctl badmail delete it"));
}

/* Neither is lost, and the walk does not meet it again. The row comes first: whom a replay goes to
 * may be known from nowhere else. A start forgets it where the rename is missing, and puts the
 * preface right where only that is. */
static bool set_aside(struct hygiene *h, struct badmail *b, enum spool_dir from, enum spool_dir to,
                      struct error *err)
{
    char id[ID_SIZE];
    memcpy(id, b->id, sizeof id);
    id_new(b->id);
    hold_rows(h, b, id, to);
    if (!spool_move_as(h->spool, id, from, SPOOL_BADMAIL, b->id, err)) {
        ledger_badmail_forget(h->d->db, b->id);
        return false;
    }
    bool renamed = message_change_id(h->spool, SPOOL_BADMAIL, b->id, id);
    /* Nobody is to hear of a name that may be lost. */
    if (fsync(spool_fd(h->spool, SPOOL_BADMAIL)) == 0)
        ledger_badmail_entered(h->d->db, b->id);
    else
        LOG(LOG_ALARM, "sync-failed", KV("dir", "badmail"), KV("error", strerror(errno)));
    tell_aside(id, b->id, from, to, renamed);
    return true;
}

/* A row whose file has never been in badmail/ was written for this message, and what it says can't
 * be found out again: not what lies there is meant. */
static void describe_newcomer(struct hygiene *h, const char *id, enum spool_dir from,
                              enum spool_dir to, struct badmail *b)
{
    char reason[128];
    if (to == SPOOL_BADMAIL && ledger_badmail(h->d->db, id, b)) {
        if (!b->entered)
            return;
        ledger_badmail_free(b);
    }
    (void)snprintf(reason, sizeof reason, "%s/%s.eml was there already, and is another message",
                   spool_dir_name(to), id);
    badmail_describe(h->spool, from, id, "name-taken", reason, b);
}

bool move_is_taken(const struct hygiene *h, const char *id, enum spool_dir from, enum spool_dir to)
{
    char name[SPOOL_NAME_SIZE];
    spool_name(name, id, "eml");
    return spool_has(h->spool, to, id) &&
           !same_file(spool_fd(h->spool, from), name, spool_fd(h->spool, to), name) &&
           errno == EEXIST;
}

bool move_aside(struct hygiene *h, struct badmail *b, enum spool_dir from)
{
    struct error err;
    char id[ID_SIZE];
    memcpy(id, b->id, sizeof id);
    bool ok = set_aside(h, b, from, SPOOL_BADMAIL, &err);
    if (!ok)
        move_failed(h, id, SPOOL_BADMAIL, &err);
    return ok;
}

bool move_on(struct hygiene *h, const char *id, enum spool_dir from, enum spool_dir to)
{
    struct error err;
    if (spool_move(h->spool, id, from, to, &err))
        return true;
    bool ok = false;
    if (err.kind == ERROR_TAKEN) {
        struct badmail b;
        describe_newcomer(h, id, from, to, &b);
        ok = set_aside(h, &b, from, to, &err);
        ledger_badmail_free(&b);
    }
    if (!ok)
        move_failed(h, id, to, &err);
    return ok;
}
