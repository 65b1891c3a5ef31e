/* hygiene: judges what fetcherd downloaded, keeps the quarantine, and takes what is dropped into
 * pickup/. */
#include "hygiene/badmail.h"
#include "hygiene/digest_mail.h"
#include "hygiene/hygiene.h"
#include "hygiene/judge.h"
#include "hygiene/ledger.h"
#include "hygiene/pickup.h"
#include "hygiene/rejected.h"
#include "hygiene/retention.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <stdlib.h>
#include <string.h>

#define PRUNE_EVERY  3600 /* s */
#define PRUNE_GO_ON  2    /* s, while there is more to drop, or no room to write that down */
#define KEEP_SETTLED (90 * CLOCK_DAY)

static void on_prune(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct hygiene *h = arg;
    bool more = hygiene_lacks_room(h);
    if (!more && steady_clock(&h->steady, h->d->db)) {
        more = ledger_prune(h->d->db, clock_now() - KEEP_SETTLED) > 0;
        more = retention_turn(h) || more;
    }
    struct timeval wait = {more ? PRUNE_GO_ON : PRUNE_EVERY, 0};
    (void)evtimer_add(h->prune, &wait);
}

static void on_notice(void *arg, const char *peer, const char *topic, const json_t *body)
{
    (void)peer;
    struct hygiene *h = arg;
    const char *dir = json_string_value(json_object_get(body, "dir"));
    if (strcmp(topic, "bell") != 0 || dir == NULL)
        return;
    if (strcmp(dir, spool_dir_name(SPOOL_INCOMING)) == 0)
        judge_ring(h->judge, json_string_value(json_object_get(body, "id")));
    else if (strcmp(dir, spool_dir_name(SPOOL_REJECTED)) == 0)
        rejected_ring(h->rejected);
}

static bool open_state(struct daemon *d, struct error *err)
{
    struct spool *spool = spool_open(d->conf->spool_dir, false, err);
    if (spool == NULL)
        return false;
    struct hygiene *h = calloc(1, sizeof *h);
    if (h == NULL)
        abort();
    envelope_init();
    h->d = d;
    h->spool = spool;
    h->room = (struct room){.db = d->db, .min = DB_ROOM, .again = "judging-again"};
    d->state = h;
    return true;
}

static bool start(struct daemon *d, struct error *err)
{
    struct hygiene *h = d->state;
    if (!digest_reviewer_valid(d->conf, err) || !badmail_reconcile(h, err))
        return false;
    digest_mail_clean(h);
    h->sync = syncpool_new(d->base, err);
    if (h->sync == NULL)
        return false;
    h->pickup = pickup_start(h, err);
    if (h->pickup == NULL)
        return false;
    h->judge = judge_start(h, err);
    if (h->judge == NULL)
        return false;
    h->rejected = rejected_start(h);
    bus_on_notice(d->bus, on_notice, h);
    bus_listen(d->bus, "fetcherd");
    bus_listen(d->bus, "relayd");
    h->prune = evtimer_new(d->base, on_prune, h);
    struct timeval soon = {PRUNE_GO_ON, 0};
    (void)evtimer_add(h->prune, &soon);
    return true;
}

static void reload(struct daemon *d)
{
    struct hygiene *h = d->state;
    struct error err;
    if (!digest_reviewer_valid(d->conf, &err))
        LOG(LOG_ALARM, "reviewer-invalid", KV("error", err.text),
            KV("meaning", "no digest can be mailed until this is mended"));
    judge_reload(h->judge);
}

static void on_idle(void *arg)
{
    daemon_stopped(arg);
}

static void stop(struct daemon *d)
{
    struct hygiene *h = d->state;
    judge_stop(h->judge);
    pickup_stop(h->pickup);
    syncpool_when_idle(h->sync, on_idle, d);
}

static void close_state(struct daemon *d)
{
    struct hygiene *h = d->state;
    if (h->prune != NULL)
        event_free(h->prune);
    rejected_free(h->rejected);
    syncpool_free(h->sync); /* before those whose files it syncs */
    judge_free(h->judge);
    pickup_free(h->pickup);
    spool_close(h->spool);
    free(h);
}

int main(int argc, char **argv)
{
    static const struct daemon_program program = {
        .name = "hygiene",
        .summary = "judges fetched mail, keeps the quarantine, takes drops",
        .migrations = ledger_migrations,
        .lost = "why mail lies in badmail/, and which of its recipients had it already; what "
                "waits is judged anew",
        .requests = control_requests,
        .open = open_state,
        .start = start,
        .reload = reload,
        .stop = stop,
        .close = close_state,
    };
    return daemon_main(argc, argv, &program);
}
