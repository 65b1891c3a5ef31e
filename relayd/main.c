/* relayd: takes what lies in outgoing/ to the SMTP server. What it promises stands in
 * docs/INTERNALS.md; its life is lib/daemon's, and what is its own is in this table. */
#include "lib/daemon.h"
#include "relayd/control.h"
#include "relayd/ledger.h"
#include "relayd/relay.h"

static bool open_relay(struct daemon *d, struct error *err)
{
    d->state = relay_new(d, err);
    return d->state != NULL;
}

static bool start_relay(struct daemon *d, struct error *err)
{
    (void)err;
    relay_start(d->state);
    return true;
}

static void reload_relay(struct daemon *d)
{
    relay_reload(d->state);
}

static void stop_relay(struct daemon *d)
{
    relay_stop(d->state);
}

static void close_relay(struct daemon *d)
{
    relay_free(d->state);
}

int main(int argc, char **argv)
{
    static const struct daemon_program program = {
        .name = "relayd",
        .summary = "relays mail of the spool to one SMTP server",
        .migrations = ledger_migrations,
        .lost = "what was held, which is sent; who of several recipients has a message that "
                "waits, and deliveries that fetcherd has not heard of: these come twice",
        .requests = control_requests,
        .open = open_relay,
        .start = start_relay,
        .reload = reload_relay,
        .stop = stop_relay,
        .close = close_relay,
    };
    return daemon_main(argc, argv, &program);
}
