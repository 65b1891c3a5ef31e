/* Entering quarantine, and keeping ledger and directory of one mind: the directory is the truth.
 * What people ask is in badmail_answer.c. */
#include "hygiene/badmail.h"
#include "hygiene/form.h"
#include "hygiene/move.h"
#include "hygiene/retention.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *const outcome_names[] = {
    [BADMAIL_UNKNOWN] = "unknown",
    [BADMAIL_PENDING] = "pending",
    [BADMAIL_CERTAIN] = "badmail",
    [BADMAIL_DAMAGED] = "damaged",
};
static_assert(sizeof outcome_names / sizeof outcome_names[0] == BADMAIL_OUTCOMES,
              "a name for each outcome");

const char *badmail_outcome_name(enum badmail_outcome outcome)
{
    return outcome_names[outcome];
}

static void describe_open(struct message_reader *r, struct badmail *b)
{
    const struct message_head *head = message_reader_head(r);
    memcpy(b->account, head->account, sizeof b->account);
    memcpy(b->sender, head->sender, sizeof b->sender);
    b->size = head->size;
    for (size_t i = 0; i < head->recipients.count; i++)
        if (!envelope_list_add(&b->recipients, head->recipients.items[i]))
            break;
    struct error err;
    struct form_top top;
    if (!form_read_top(r, &top, &err))
        return;
    envelope_field(top.bytes, top.header, "Subject", b->subject, sizeof b->subject);
    form_top_free(&top);
}

void badmail_describe(const struct spool *spool, enum spool_dir dir, const char *id,
                      const char *decided_by, const char *reason, struct badmail *b)
{
    struct error err;
    *b = (struct badmail){.at = clock_now()};
    (void)snprintf(b->id, sizeof b->id, "%s", id);
    (void)snprintf(b->decided_by, sizeof b->decided_by, "%s", decided_by);
    (void)snprintf(b->reason, sizeof b->reason, "%s", reason);
    struct message_reader *r = message_open(spool, dir, id, &err);
    if (r != NULL) {
        describe_open(r, b);
        message_close(r);
    }
    if ((r == NULL || !form_whole(spool, dir, id, &err)) && err.kind == ERROR_PERMANENT) {
        (void)snprintf(b->decided_by, sizeof b->decided_by, "%s", LEDGER_DAMAGED);
        (void)snprintf(b->reason, sizeof b->reason, "%s", err.text);
    }
}

void badmail_tell(struct hygiene *h, const char *id, const char *held_as)
{
    struct badmail b;
    bus_outcome(h->d->bus, id, badmail_outcome_name(ledger_badmail_outcome(h->d->db, held_as)));
    if (!ledger_badmail(h->d->db, held_as, &b))
        return;
    LOG(LOG_WARN, "quarantined", KV("id", held_as), KV("account", b.account),
        KV("sender", b.sender), KV("decided_by", b.decided_by), KV("reason", b.reason));
    ledger_badmail_free(&b);
}

static void tell_all(struct hygiene *h, char (*ids)[ID_SIZE], const bool *moved, size_t n)
{
    db_begin(h->d->db);
    for (size_t i = 0; i < n; i++)
        if (moved[i])
            ledger_badmail_entered(h->d->db, ids[i]);
    db_commit(h->d->db);
    for (size_t i = 0; i < n; i++)
        if (moved[i])
            badmail_tell(h, ids[i], ids[i]);
}

/* A person has put it back. Its row says whom it goes to; as it is new here, it is kept as long as
 * what is new. */
static void hold_anew(struct hygiene *h, const char *id, enum spool_dir from)
{
    struct badmail b;
    if (!spool_has(h->spool, from, id) || !ledger_badmail(h->d->db, id, &b))
        return;
    if (b.state != BADMAIL_HELD) {
        b.at = clock_now();
        db_begin(h->d->db);
        ledger_badmail_forget(h->d->db, id);
        ledger_hold(h->d->db, &b);
        db_commit(h->d->db);
        LOG(LOG_NOTE, "badmail-put-back", KV("id", id), KV("from", spool_dir_name(from)),
            KV("was", ledger_badmail_state_name(b.state)));
    }
    ledger_badmail_free(&b);
}

void badmail_enter(struct hygiene *h, char (*ids)[ID_SIZE], size_t n, enum spool_dir from)
{
    bool *moved = calloc(n + 1, sizeof *moved), any = false;
    if (moved == NULL)
        abort();
    for (size_t i = 0; i < n; i++) {
        hold_anew(h, ids[i], from); /* before the move: a start unlinks what was deleted */
        moved[i] = move_on(h, ids[i], from, SPOOL_BADMAIL);
        any = any || moved[i];
    }
    /* What is told leads to DELE, and then this name is the only one the message has. */
    if (any && fsync(spool_fd(h->spool, SPOOL_BADMAIL)) < 0) {
        LOG(LOG_ALARM, "sync-failed", KV("dir", "badmail"), KV("error", strerror(errno)));
        any = false;
    }
    if (any)
        tell_all(h, ids, moved, n);
    free(moved);
}

/* --- at start --- */

/* Whole, but of another id: the old one is filled in. */
static bool bears_another_id(const struct hygiene *h, const char *id, char old[static ID_SIZE])
{
    char name[SPOOL_NAME_SIZE], chunk[32768];
    struct error err;
    struct message_reader *r =
        message_open_any(h->spool, SPOOL_BADMAIL, spool_name(name, id, "eml"), &err);
    if (r == NULL)
        return false;
    const char *bears = message_reader_head(r)->id;
    bool ok = id_valid(bears, strlen(bears)) && strcmp(bears, id) != 0;
    for (size_t got = 1; ok && got > 0;)
        ok = message_read(r, chunk, sizeof chunk, &got, &err);
    if (ok)
        memcpy(old, bears, ID_SIZE);
    message_close(r);
    return ok;
}

/* The row of `old` for what lies here as b->id, if it can be about nothing else. */
static void take_row_of(struct hygiene *h, const char *old, struct badmail *b)
{
    struct badmail was;
    if (spool_find(h->spool, old) != SPOOL_DIRS || !ledger_badmail(h->d->db, old, &was))
        return;
    if (was.state != BADMAIL_HELD || was.size != b->size) {
        ledger_badmail_free(&was);
        return;
    }
    ledger_badmail_entered(h->d->db, old); /* as this: it is not lost */
    memcpy(was.id, b->id, sizeof was.id);
    was.entered = false;
    ledger_badmail_free(b);
    *b = was;
}

static void hold_found(struct hygiene *h, const char *id, const char *old, struct badmail *b)
{
    char reason[128];
    (void)snprintf(reason, sizeof reason, "%s%s%s", BADMAIL_FOUND,
                   old[0] != '\0' ? ", as a file of " : "", old);
    badmail_describe(h->spool, SPOOL_BADMAIL, id, "unknown", reason, b);
    if (old[0] != '\0')
        take_row_of(h, old, b);
    ledger_hold(h->d->db, b);
    LOG(LOG_WARN, "badmail-found", KV("id", id), KV("was", old));
}

/* The row was written for one that is still on its way here: what lies here is another. Both are
 * told apart when that one comes (move.h). */
static bool is_of_one_to_come(const struct hygiene *h, const struct badmail *b)
{
    return !b->entered && (spool_has(h->spool, SPOOL_INCOMING, b->id) ||
                           spool_has(h->spool, SPOOL_REJECTED, b->id));
}

/* False: nothing is to be done with it now. */
static bool find_row(struct hygiene *h, const char *id, struct badmail *b)
{
    char old[ID_SIZE] = "";
    bool known = ledger_badmail(h->d->db, id, b);
    if (known && is_of_one_to_come(h, b)) {
        ledger_badmail_free(b);
        return false;
    }
    /* set aside, and a crash before its preface was changed; or renamed by hand */
    if ((!known || !b->entered) && bears_another_id(h, id, old) &&
        !message_change_id(h->spool, SPOOL_BADMAIL, id, old))
        old[0] = '\0';
    if (!known)
        hold_found(h, id, old, b);
    return true;
}

static void reconcile_file(struct hygiene *h, const char *id)
{
    struct badmail b;
    struct error err;
    if (!find_row(h, id, &b))
        return;
    enum badmail_state state = b.state;
    bool entered = b.entered;
    if (state == BADMAIL_EXPIRED)
        retention_tell(&b);
    ledger_badmail_free(&b);
    if (!entered)
        ledger_badmail_entered(h->d->db, id);
    if (state == BADMAIL_DELETED || state == BADMAIL_EXPIRED) { /* a power cut brought it back */
        if (!spool_remove(h->spool, SPOOL_BADMAIL, id, &err))
            LOG(LOG_ALARM, "remove-failed", KV("id", id), KV("error", err.text),
                KV("meaning", "remove it by hand"));
        return;
    }
    if (state != BADMAIL_HELD) /* put back by hand */
        ledger_badmail_set(h->d->db, id, BADMAIL_HELD, NULL);
}

struct missing {
    struct hygiene *h;
    struct missing_one {
        char id[ID_SIZE];
        bool entered;
    } * items;
    size_t count;
};

static bool note_missing(void *arg, const struct badmail *b)
{
    struct missing *m = arg;
    if (spool_find(m->h->spool, b->id) != SPOOL_DIRS)
        return true; /* also while it is still on its way into badmail/ */
    m->items = realloc(m->items, (m->count + 1) * sizeof m->items[0]);
    if (m->items == NULL)
        abort();
    m->items[m->count].entered = b->entered;
    memcpy(m->items[m->count++].id, b->id, ID_SIZE);
    return true;
}

static void close_missing(struct hygiene *h)
{
    struct missing m = {.h = h};
    ledger_each_held(h->d->db, "", note_missing, &m);
    for (size_t i = 0; i < m.count; i++) {
        const char *id = m.items[i].id;
        if (m.items[i].entered) {
            ledger_badmail_set(h->d->db, id, BADMAIL_REMOVED, NULL);
            continue;
        }
        /* Lost on its way, and nobody was told: the server still has it. */
        LOG(LOG_WARN, "badmail-lost", KV("id", id));
        ledger_badmail_forget(h->d->db, id);
    }
    free(m.items);
}

bool badmail_reconcile(struct hygiene *h, struct error *err)
{
    /* A rename that was cut off from its sync: only behind this one has the file entered. */
    if (fsync(spool_fd(h->spool, SPOOL_BADMAIL)) < 0)
        return error_errno(err, "cannot sync %s", spool_dir_name(SPOOL_BADMAIL));
    struct spool_scan *scan = spool_scan_begin(h->spool, SPOOL_BADMAIL, err);
    if (scan == NULL)
        return false;
    db_begin(h->d->db);
    for (char id[ID_SIZE]; spool_scan_next(scan, id);)
        reconcile_file(h, id);
    close_missing(h);
    db_commit(h->d->db);
    bool told = false; /* there is one walk, at start */
    spool_scan_warn(scan, &told);
    spool_scan_end(scan);
    return true;
}
