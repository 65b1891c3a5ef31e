/* How things stand: a line to a daemon, to the spool, to each account. What needs a person comes
 * behind it (concerns.h); when nothing does, one line says so. */
#include "ctl/statusview.h"
#include "ctl/accounts.h"
#include "ctl/concerns.h"
#include "ctl/field.h"
#include "ctl/left.h"
#include "lib/clock.h"
#include <limits.h>
#include <stdarg.h>
#include <string.h>

/* One to a daemon: what it says of itself when it is up, and what goes on without it when it is
 * down. */
static void fetcherd_line(const json_t *reply, char *buf, size_t size);
static void hygiene_line(const json_t *reply, char *buf, size_t size);
static void relayd_line(const json_t *reply, char *buf, size_t size);

static const struct {
    const char *name;
    void (*line)(const json_t *reply, char *buf, size_t size);
    const char *without;
} daemons[] = {
    {"fetcherd", fetcherd_line, "nothing is fetched; what is in the spool goes on"},
    {"hygiene", hygiene_line, "new and refused mail waits; fetching and delivery go on"},
    {"relayd", relayd_line, "mail waits in outgoing/; fetching and judging go on"},
};
#define DAEMONS (sizeof daemons / sizeof daemons[0])

static void fetcherd_line(const json_t *reply, char *buf, size_t size)
{
    const char *held = field_text(reply, "holding_off");
    (void)snprintf(buf, size, "%lld accounts, %lld polling%s%s",
                   (long long)field_int(reply, "accounts"), (long long)field_int(reply, "polling"),
                   held[0] != '\0' ? "; holds off: " : "", held);
}

static void hygiene_line(const json_t *reply, char *buf, size_t size)
{
    long long waiting = (long long)field_int(reply, "waiting");
    char wait[40] = "";
    if (waiting > 0)
        (void)snprintf(wait, sizeof wait, ", %lld wait for a filter", waiting);
    (void)snprintf(buf, size, "%lld in quarantine%s",
                   (long long)field_int(json_object_get(reply, "spool"), "badmail"), wait);
}

static void relayd_line(const json_t *reply, char *buf, size_t size)
{
    const json_t *queue = json_object_get(reply, "queue");
    long long held = (long long)field_int(queue, "held");
    char kept[32] = "";
    if (held > 0)
        (void)snprintf(kept, sizeof kept, ", %lld held", held);
    (void)snprintf(buf, size, "to %s; %lld connections, %lld put off%s", field_text(reply, "relay"),
                   (long long)field_int(reply, "connections"),
                   (long long)field_int(queue, "deferred"), kept);
}

static void print_daemon(const struct screen *screen, const char *name, const json_t *reply,
                         size_t which)
{
    char line[512], when[PRINT_SHORT], head[24];
    (void)snprintf(head, sizeof head, "%-10s", name);
    print_styled(screen, PRINT_TITLE, head);
    if (!field_true(reply, "up")) {
        print_styled(screen, PRINT_BAD, "DOWN");
        fprintf(screen->out, "      %s\n", daemons[which].without);
        return;
    }
    int64_t since = field_time(reply, "since");
    int64_t up = since > 0 ? clock_now() - since : 0;
    (void)snprintf(head, sizeof head, "up %-5.12s", print_duration(up, when));
    print_styled(screen, PRINT_GOOD, head);
    daemons[which].line(reply, line, sizeof line);
    fputs("  ", screen->out);
    print_styled(screen, PRINT_PLAIN, line);
    fputc('\n', screen->out);
}

static void print_spool(const struct screen *screen, const json_t *status)
{
    const json_t *spool = json_object_get(status, "spool");
    static const char *const dirs[] = {"incoming", "outgoing", "rejected", "badmail", "pickup"};
    char text[PRINT_SHORT];
    print_styled(screen, PRINT_TITLE, "spool     ");
    for (size_t i = 0; i < sizeof dirs / sizeof dirs[0]; i++) {
        const json_t *count = json_object_get(spool, dirs[i]);
        bool waits = strcmp(dirs[i], "badmail") == 0 && json_integer_value(count) > 0;
        fprintf(screen->out, "%s%s ", i > 0 ? "  " : "", dirs[i]);
        print_styled(screen, waits ? PRINT_WARN : PRINT_PLAIN,
                     json_is_integer(count) ? print_number(json_integer_value(count), text) : "?");
    }
    const json_t *free_bytes = json_object_get(status, "spool_free");
    if (free_bytes != NULL)
        fprintf(screen->out, "  (%s free)",
                print_size((uint64_t)json_integer_value(free_bytes), text));
    fputc('\n', screen->out);
}

static void print_dim(const struct screen *screen, const char *text)
{
    fputs("          ", screen->out);
    print_styled(screen, PRINT_DIM, text);
    fputc('\n', screen->out);
}

/* What goes out unseen by a filter, since somebody has set it a limit. */
static void print_not_asked(const struct screen *screen, const json_t *hygiene)
{
    size_t i;
    const json_t *filter;
    char text[200];
    json_array_foreach(json_object_get(hygiene, "filters"), i, filter)
    {
        const char *name = field_text(filter, "name");
        long long count = (long long)field_int(filter, "not_asked");
        (void)snprintf(text, sizeof text,
                       "%lld message%s passed without %s, larger than hygiene { %s-size }", count,
                       count == 1 ? "" : "s", name, name);
        if (count > 0)
            print_dim(screen, text);
    }
}

static void print_passing(const struct screen *screen, const json_t *hygiene)
{
    size_t i;
    const json_t *left;
    char text[1000];
    json_array_foreach(json_object_get(json_object_get(hygiene, "pickup"), "left"), i, left)
    {
        if (!left_is_passing(left))
            continue;
        left_text(left, text, sizeof text);
        print_dim(screen, text);
    }
}

static void print_accounts(const struct ctl *ctl, const json_t *status)
{
    const json_t *accounts = json_object_get(status, "accounts");
    if (json_object_get(status, "accounts_error") != NULL)
        print_field(&ctl->screen, "accounts", field_text(status, "accounts_error"));
    else if (json_array_size(accounts) == 0)
        fprintf(
            ctl->screen.out,
            "No accounts yet: %s account add NAME --server HOST --user USER --deliver-to ADDR\n",
            ctl->self);
    else
        accounts_table(&ctl->screen, accounts);
}

void statusview_print(const struct ctl *ctl, const json_t *status)
{
    for (size_t i = 0; i < DAEMONS; i++)
        print_daemon(&ctl->screen, daemons[i].name, json_object_get(status, daemons[i].name), i);
    print_spool(&ctl->screen, status);
    print_passing(&ctl->screen, json_object_get(status, "hygiene"));
    print_not_asked(&ctl->screen, json_object_get(status, "hygiene"));
    fputc('\n', ctl->screen.out);
    print_accounts(ctl, status);
    if (concerns_print(ctl, status) == 0)
        fputs("\nAll is well.\n", ctl->screen.out);
}
