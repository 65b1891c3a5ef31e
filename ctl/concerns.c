/* Made to be read at three in the morning: what is wrong is marked and comes with the command that
 * helps. */
#include "ctl/concerns.h"
#include "ctl/field.h"
#include "ctl/left.h"
#include <limits.h>
#include <stdarg.h>
#include <string.h>

struct concerns {
    const struct ctl *ctl;
    int count;
};

/* "! what is the matter". The command that helps is printed below it by advice. */
static void concern(struct concerns *concerns, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));
static void advice(const struct concerns *concerns, const char *fmt, ...)
    __attribute__((format(printf, 2, 3)));

static void concern(struct concerns *concerns, const char *fmt, ...)
{
    char text[900];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const struct screen *screen = &concerns->ctl->screen;
    fputs(concerns->count++ == 0 ? "\n" : "", screen->out);
    print_styled(screen, PRINT_BAD, "! ");
    print_styled(screen, PRINT_PLAIN, text);
    fputc('\n', screen->out);
}

static void advice(const struct concerns *concerns, const char *fmt, ...)
{
    char text[2 * PATH_MAX];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    const struct screen *screen = &concerns->ctl->screen;
    fputs("    ", screen->out);
    print_styled(screen, PRINT_TITLE, text);
    fputc('\n', screen->out);
}

static void daemon_concerns(struct concerns *concerns, const json_t *status)
{
    static const char *const daemons[] = {"fetcherd", "hygiene", "relayd"};
    for (size_t i = 0; i < sizeof daemons / sizeof daemons[0]; i++) {
        const json_t *reply = json_object_get(status, daemons[i]);
        if (field_true(reply, "up"))
            continue;
        const char *start = field_text(reply, "start"), *error = field_text(reply, "error");
        if (start[0] == '\0') {
            concern(concerns, "%s; see its log, and restart it", error);
            continue;
        }
        concern(concerns, "%s: start it by its supervisor, or with", error);
        advice(concerns, "%s      # if it ends again, its log says why", start);
    }
}

static bool relay_concerns(struct concerns *concerns, const json_t *relayd)
{
    const char *circuit = field_text(relayd, "circuit");
    const char *error = field_text(relayd, "error");
    const char *what = strcmp(circuit, "open") == 0      ? "does not take mail"
                       : strcmp(circuit, "probing") == 0 ? "takes none of what it is sent"
                       : error[0] != '\0'                ? "failed, and is tried again"
                                                         : NULL;
    if (!field_true(relayd, "up") || what == NULL)
        return false;
    concern(concerns, "the SMTP server %s %s: %s", field_text(relayd, "relay"), what, error);
    advice(concerns, "%s queue", concerns->ctl->self);
    advice(concerns, "%s retry --all      # once it is mended", concerns->ctl->self);
    return true;
}

/* Told: why mail is put off is said already. */
static void queue_concerns(struct concerns *concerns, const json_t *relayd, bool told)
{
    const json_t *queue = json_object_get(relayd, "queue");
    long long deferred = (long long)field_int(queue, "deferred");
    long long held = (long long)field_int(queue, "held");
    if (deferred > 0 && !told) {
        concern(concerns, "%lld message%s put off by the SMTP server, and tried again", deferred,
                deferred == 1 ? " is" : "s are");
        advice(concerns, "%s queue      # what it said", concerns->ctl->self);
        advice(concerns, "%s retry --all", concerns->ctl->self);
    }
    if (held > 0) {
        concern(concerns, "%lld message%s held back by hand", held, held == 1 ? " is" : "s are");
        advice(concerns, "%s queue release ID      # of each that \"queue\" shows as held",
               concerns->ctl->self);
    }
}

/* It has not answered for a minute what takes it seconds; after ten it is tried again. */
static void hanging_concerns(struct concerns *concerns, const json_t *relayd)
{
    long long hanging = (long long)field_int(relayd, "hanging");
    if (hanging == 0)
        return;
    concern(concerns,
            "the SMTP server %s has not answered for a minute on %lld of %lld connection%s",
            field_text(relayd, "relay"), hanging, (long long)field_int(relayd, "connections"),
            field_int(relayd, "connections") == 1 ? "" : "s");
    advice(concerns, "look at its log and its filters; relay { sessions } allows more at a time");
}

static void room_concerns(struct concerns *concerns, const json_t *daemon, const char *what)
{
    const char *held = field_text(daemon, "holding_off");
    if (held[0] == '\0')
        return;
    concern(concerns, "nothing is %s: %s", what, held);
    advice(concerns, "df %s      # once there is room, it goes on by itself",
           concerns->ctl->conf->state_dir);
}

/* Its words say what it waits for; where that is not a disk, it is the queue that grows. Told: that
 * the SMTP server takes nothing, and why, is said already. */
static void fetch_concerns(struct concerns *concerns, const json_t *fetcherd, bool told)
{
    const struct conf *conf = concerns->ctl->conf;
    const char *held = field_text(fetcherd, "holding_off");
    const char *dir = strstr(held, "state-dir") != NULL      ? conf->state_dir
                      : strstr(held, "spool's disk") != NULL ? conf->spool_dir
                                                             : NULL;
    if (held[0] == '\0' || (told && dir == NULL))
        return;
    concern(concerns, "nothing is fetched: %s", held);
    if (dir != NULL)
        advice(concerns, "df %s      # once there is room, it goes on by itself", dir);
    else
        advice(concerns, "%s queue      # once less of it waits, fetching goes on by itself",
               concerns->ctl->self);
}

/* Half of its time is over; most messages take it a small part of that. */
static bool is_silent(const json_t *filter)
{
    int64_t timeout = field_int(filter, "timeout");
    return timeout > 0 && field_int(filter, "silent") >= (timeout + 1) / 2;
}

static void wait_concerns(struct concerns *concerns, const json_t *hygiene)
{
    long long waiting = (long long)field_int(hygiene, "waiting");
    if (waiting == 0)
        return;
    concern(concerns, "%lld message%s for a filter's verdict", waiting,
            waiting == 1 ? " waits" : "s wait");
    advice(concerns, "%s queue      # why", concerns->ctl->self);
    advice(concerns, "%s retry --all", concerns->ctl->self);
}

static void filter_concerns(struct concerns *concerns, const json_t *hygiene)
{
    size_t i;
    const json_t *filter;
    bool any = false;
    json_array_foreach(json_object_get(hygiene, "filters"), i, filter)
    {
        const char *name = field_text(filter, "name"), *server = field_text(filter, "server");
        if (!field_true(filter, "up")) {
            concern(concerns, "%s (%s) gives no verdict: %s", name, server,
                    field_text(filter, "error"));
            any = true;
        } else if (is_silent(filter)) {
            concern(concerns, "%s (%s) has not answered for %lld s; messages at it: %lld", name,
                    server, (long long)field_int(filter, "silent"),
                    (long long)field_int(filter, "under_way"));
            advice(concerns, "restart %s; or raise hygiene { %s-timeout }, where it is only slow",
                   name, name);
        }
    }
    if (any)
        advice(concerns, "%s retry --all      # once it is mended", concerns->ctl->self);
    else
        wait_concerns(concerns, hygiene);
}

static void badmail_concerns(struct concerns *concerns, const json_t *spool)
{
    long long count = (long long)field_int(spool, "badmail");
    if (count == 0)
        return;
    concern(concerns, "%lld message%s in quarantine", count, count == 1 ? " is" : "s are");
    advice(concerns, "%s badmail list", concerns->ctl->self);
}

static void pickup_concerns(struct concerns *concerns, const json_t *hygiene)
{
    size_t i;
    const json_t *left, *pickup = json_object_get(hygiene, "pickup");
    char text[1000];
    bool any = false, refused = false;
    json_array_foreach(json_object_get(pickup, "left"), i, left)
    {
        if (left_is_passing(left))
            continue;
        left_text(left, text, sizeof text);
        concern(concerns, "%s", text);
        any = true;
        refused = refused || strcmp(field_text(left, "reason"), "refused") == 0;
    }
    if (refused)
        advice(concerns, "journalctl -u popferry-hygiene | grep pickup-refused      # why, by "
                         "hygiene's log; mend it, and rename it back to NAME.eml");
    if (any)
        advice(concerns, "ls -lAb %s/pickup", concerns->ctl->conf->spool_dir);
    const char *why = field_text(pickup, "put_off_why");
    if (why[0] != '\0')
        concern(concerns, "%lld put off that came by pickup/: %s",
                (long long)field_int(pickup, "put_off"), why);
}

static void failure_concerns(struct concerns *concerns, const json_t *account)
{
    const char *name = field_text(account, "name"), *state = field_text(account, "state");
    const char *error = field_text(account, "error"), *self = concerns->ctl->self;
    if (strcmp(state, "paused") == 0) {
        concern(concerns, "account %s is paused: %s", name, error);
        advice(concerns, "%s account set %s --password", self, name);
    } else if (strcmp(state, "failing") == 0) {
        long long failures = (long long)field_int(account, "failures");
        concern(concerns, "account %s: %lld poll%s failed: %s", name, failures,
                failures == 1 ? "" : "s in a row", error);
        advice(concerns, "%s fetch %s --wait", self, name);
    }
}

static void size_concerns(struct concerns *concerns, const json_t *account, int64_t limit)
{
    const char *name = field_text(account, "name");
    long long large = (long long)field_int(account, "too_large");
    char size[PRINT_SHORT], over[PRINT_SHORT + 8] = "";
    if (large == 0)
        return;
    if (limit > 0)
        (void)snprintf(over, sizeof over, " (over %s)", print_size((uint64_t)limit, size));
    concern(concerns, "account %s: %lld message%s on the server, too large to fetch%s", name, large,
            large == 1 ? " stays" : "s stay", over);
    advice(concerns, "%s fetch %s      # once fetch { message-size } is raised",
           concerns->ctl->self, name);
}

int concerns_print(const struct ctl *ctl, const json_t *status)
{
    size_t i;
    const json_t *account;
    struct concerns concerns = {.ctl = ctl};
    const json_t *hygiene = json_object_get(status, "hygiene");
    const json_t *relayd = json_object_get(status, "relayd");
    int64_t limit = field_int(json_object_get(status, "fetcherd"), "size_limit");
    daemon_concerns(&concerns, status);
    bool told = relay_concerns(&concerns, relayd);
    queue_concerns(&concerns, relayd, told);
    hanging_concerns(&concerns, relayd);
    bool open = told && strcmp(field_text(relayd, "circuit"), "open") == 0;
    fetch_concerns(&concerns, json_object_get(status, "fetcherd"), open);
    room_concerns(&concerns, relayd, "sent");
    room_concerns(&concerns, hygiene, "judged or taken from pickup/");
    filter_concerns(&concerns, hygiene);
    badmail_concerns(&concerns, json_object_get(status, "spool"));
    pickup_concerns(&concerns, hygiene);
    json_array_foreach(json_object_get(status, "accounts"), i, account)
    {
        failure_concerns(&concerns, account);
        size_concerns(&concerns, account, limit);
    }
    return concerns.count;
}
