/* relayd as a whole: gives messages of the queue to sessions, opens and ends these as the route
 * allows, and turns results into verdicts. */
#ifndef RELAYD_RELAY_H
#define RELAYD_RELAY_H

#include "lib/daemon.h"
#include "lib/room.h"
#include "relayd/backlog.h"
#include "relayd/login.h"
#include "relayd/peer.h"
#include "relayd/queue.h"
#include "relayd/route.h"
#include "relayd/settle.h"
#include "spool/spool.h"

#include <glib.h>

struct session;

struct relay {
    struct daemon *d;
    struct spool *spool;
    struct login *login;
    struct queue *queue; /* NULL while d->once, as all below */
    struct settle *settle;
    struct route route;
    struct room room;
    struct backlog backlog;
    GPtrArray *sessions;  /* struct session */
    struct event *work;   /* there may be something to do */
    struct event *wake;   /* something is due */
    struct event *tick;   /* scans, pruning */
    struct event *reaper; /* frees sessions that are over */
    int64_t scan_began;   /* monotonic; 0: no scan under way */
    int64_t scan_next;    /* none before */
    int64_t swept;        /* monotonic: when it was last looked for files that could not be moved */
    int64_t pruned;       /* monotonic, when last */
    bool probe;           /* connect although there is no mail: to learn SIZE, to try the circuit */
    struct probe *look;   /* the last one begun, or NULL */
    bool proven;          /* the server has let us in since the settings are what they are */
    bool advised;         /* of what the server does not offer */
    int64_t well_at; /* wall clock: the server took a message, or refused it for its own sake */
    bool no_chunks;  /* the server offers CHUNKING, and does not know BDAT */
    bool hangs;      /* each connection; it has been said */
    char helo[PEER_HELO_SIZE];
};

/* For -1: only spool and ledger. */
MUST_CHECK struct relay *relay_new(struct daemon *d, struct error *err);
/* Begins to work. */
void relay_start(struct relay *relay);
/* Something may be possible now that was not: a new id, a settled one, a person's "retry". */
void relay_work(struct relay *relay);
/* The configuration is new: sessions that are up end in order, new ones go by it. */
void relay_reload(struct relay *relay);
/* There is another password: try it now. */
void relay_new_password(struct relay *relay);
/* Ends sessions as their messages end; then daemon_stopped. */
void relay_stop(struct relay *relay);
void relay_free(struct relay *relay);

/* Why none is begun, or NULL, by a look at the disk just now; when there is room again, it goes on.
 */
const char *relay_holding_off(struct relay *relay);

#endif
