/* What the parts of fetcherd share. One of these, made by main. */
#ifndef FETCHERD_FETCHERD_H
#define FETCHERD_FETCHERD_H

#include <stddef.h>
#include <stdint.h>

#include "fetcherd/account.h"
#include "fetcherd/ledger.h"
#include "lib/daemon.h"
#include "lib/secret.h"
#include "lib/syncpool.h"
#include "spool/spool.h"

struct resolve;
struct poll;
struct probes;
struct relay_watch;

struct fetcherd {
    struct daemon *daemon;
    struct ledger *ledger;
    struct secret_key *key;
    struct account_set accounts;
    /* Only with the loop, not while one request is answered: */
    struct spool *spool;
    struct syncpool *syncs;
    struct resolve *resolve;   /* fetcherd/resolve.h */
    struct poll *poll;         /* fetcherd/poll.h */
    struct relay_watch *watch; /* fetcherd/watch.h */
    struct event *hourly;      /* forgets what has long been gone */
    struct probes *probes;     /* fetcherd/probe.h */
    size_t commits;            /* batches that are being synced */
};

static inline struct fetcherd *fetcherd_of(const struct daemon *d)
{
    return d->state;
}

static inline const struct conf *fetcherd_conf(const struct fetcherd *f)
{
    return f->daemon->conf;
}

#endif
