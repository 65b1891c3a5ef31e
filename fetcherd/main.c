/* fetcherd: mail from POP3 servers into the spool. What is its own in a table, the rest is
 * lib/daemon's. The ledger and the key are opened first; the spool, the recovery of what a crash
 * left in tmp/, and polling begin only with the loop. */
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "fetcherd/control.h"
#include "fetcherd/fetcherd.h"
#include "fetcherd/poll.h"
#include "fetcherd/probe.h"
#include "fetcherd/resolve.h"
#include "fetcherd/watch.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "spool/batch.h"
#include "spool/envelope.h"

#define GONE_KEEP (90 * CLOCK_DAY) /* how long deleted mail is remembered */

static void take_account(void *arg, struct account *account)
{
    account_set_add(arg, account);
}

static bool fetcherd_open(struct daemon *d, struct error *err)
{
    struct secret_key *key = secret_key_open(d->conf->state_dir, d->name, err);
    if (!key)
        return false;
    struct fetcherd *f = calloc(1, sizeof *f);
    if (!f)
        abort();
    f->daemon = d;
    f->key = key;
    f->ledger = ledger_new(d->db);
    ledger_accounts(f->ledger, take_account, &f->accounts);
    d->state = f;
    return true;
}

/* Each message of a batch holds a descriptor until it is synced, each session one more. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static bool is_known(void *arg, const char *id)
{
    return ledger_knows_id(arg, id);
}

static void on_notice(void *arg, const char *peer, const char *topic, const json_t *body)
{
    struct fetcherd *f = arg;
    const char *id = json_string_value(json_object_get(body, "id"));
    const char *state = json_string_value(json_object_get(body, "state"));

    (void)peer;
    if (strcmp(topic, "outcome") == 0 && id && state)
        resolve_heard(f->resolve, id, state);
}

/* relayd has told its size limit, or has not: nothing else is to be waited for. */
static void on_ready(struct fetcherd *f)
{
    poll_start(f->poll);
}

static void resolved_at_start(void *arg)
{
    (void)arg;
}

static void on_hour(evutil_socket_t fd, short what, void *arg)
{
    struct fetcherd *f = arg;

    (void)fd;
    (void)what;
    ledger_prune(f->ledger, clock_now() - GONE_KEEP);
}

static void start_parts(struct fetcherd *f)
{
    struct daemon *d = f->daemon;

    f->resolve = resolve_new(f);
    f->poll = poll_new(f);
    f->probes = probes_new(f);
    bus_on_notice(d->bus, on_notice, f);
    bus_listen(d->bus, "relayd");
    bus_listen(d->bus, "hygiene");
    for (size_t i = 0; i < f->accounts.count; i++)
        resolve_account(f->resolve, f->accounts.items[i]->key, resolved_at_start, NULL);
    f->watch = watch_new(f, on_ready);
    f->hourly = event_new(d->base, -1, EV_PERSIST, on_hour, f);
    (void)event_add(f->hourly, &(struct timeval){.tv_sec = 3600});
}

static bool fetcherd_start(struct daemon *d, struct error *err)
{
    struct fetcherd *f = fetcherd_of(d);

    raise_descriptors();
    envelope_init();
    f->spool = spool_open(d->conf->spool_dir, false, err);
    if (!f->spool || !batch_recover(f->spool, is_known, f->ledger, err))
        return false;
    f->syncs = syncpool_new(d->base, err);
    if (!f->syncs)
        return false;
    on_hour(-1, 0, f);
    start_parts(f);
    return true;
}

static void fetcherd_reload(struct daemon *d)
{
    poll_wake(fetcherd_of(d)->poll);
}

static void fetcherd_stop(struct daemon *d)
{
    poll_stop(fetcherd_of(d)->poll);
}

static void fetcherd_close(struct daemon *d)
{
    struct fetcherd *f = fetcherd_of(d);

    if (f->hourly)
        event_free(f->hourly);
    probes_free(f->probes);
    watch_free(f->watch);
    poll_free(f->poll);
    resolve_free(f->resolve);
    syncpool_free(f->syncs);
    spool_close(f->spool);
    account_set_free(&f->accounts);
    ledger_free(f->ledger);
    secret_key_free(f->key);
    free(f);
    d->state = NULL;
}

int main(int argc, char **argv)
{
    static const struct daemon_program program = {
        .name = "fetcherd",
        .summary = "fetches mail from POP3 servers into the spool",
        .migrations = ledger_migrations,
        .lost = "the accounts, to be added again with their passwords; and what became of the "
                "mail that is still on their servers, which is fetched and sent again",
        .requests = control_requests,
        .open = fetcherd_open,
        .start = fetcherd_start,
        .reload = fetcherd_reload,
        .stop = fetcherd_stop,
        .close = fetcherd_close,
    };
    return daemon_main(argc, argv, &program);
}
