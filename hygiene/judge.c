/* See judge.h. A verdict once given holds: a message found again in incoming/ behind a power cut
 * goes where its row says. */
#include "hygiene/judge.h"
#include "hygiene/badmail.h"
#include "hygiene/form.h"
#include "hygiene/ledger.h"
#include "hygiene/sweep.h"
#include "lib/log.h"
#include <stdio.h>
#include <string.h>

enum verdict { VERDICT_NONE, VERDICT_PASS, VERDICT_BADMAIL };

static void hold(struct hygiene *h, const char *id, const struct form_finding *finding)
{
    char decided_by[32];
    struct badmail b;
    (void)snprintf(decided_by, sizeof decided_by, "form:%s", finding->rule);
    badmail_describe(h->spool, SPOOL_INCOMING, id, decided_by, finding->reason, &b);
    ledger_hold(h->d->db, &b);
    ledger_badmail_free(&b);
}

/* Gives the verdict and writes its row; the caller has a transaction open. */
static enum verdict judge(struct hygiene *h, const char *id)
{
    struct form_finding finding;
    if (ledger_is_badmail(h->d->db, id))
        return VERDICT_BADMAIL;
    switch (form_check(h->spool, SPOOL_INCOMING, id, h->d->conf, &finding)) {
    case FORM_PASS:
        ledger_passed(h->d->db, id);
        return VERDICT_PASS;
    case FORM_BAD:
        hold(h, id, &finding);
        return VERDICT_BADMAIL;
    case FORM_LATER:
        LOG(LOG_WARN, "judge-later", KV("id", id), KV("reason", finding.reason));
        return VERDICT_NONE;
    case FORM_GONE:
        break;
    }
    return VERDICT_NONE;
}

static void pass_on(struct hygiene *h, const char *id)
{
    struct error err;
    if (spool_move(h->spool, id, SPOOL_INCOMING, SPOOL_OUTGOING, &err))
        bus_ring(h->d->bus, "outgoing", id);
    else if (err.kind != ERROR_MISSING)
        LOG(LOG_ALARM, "move-failed", KV("id", id), KV("error", err.text));
}

void judge_turn(void *arg, char (*ids)[ID_SIZE], size_t n)
{
    struct hygiene *h = arg;
    enum verdict verdicts[SWEEP_TURN];
    if (h->d->stopping)
        return;
    db_begin(h->d->db);
    for (size_t i = 0; i < n; i++)
        verdicts[i] = judge(h, ids[i]);
    db_commit(h->d->db);
    char bad[SWEEP_TURN][ID_SIZE];
    size_t bad_count = 0;
    for (size_t i = 0; i < n; i++) {
        if (verdicts[i] == VERDICT_PASS)
            pass_on(h, ids[i]);
        else if (verdicts[i] == VERDICT_BADMAIL)
            memcpy(bad[bad_count++], ids[i], ID_SIZE);
    }
    badmail_enter(h, bad, bad_count, SPOOL_INCOMING);
}
