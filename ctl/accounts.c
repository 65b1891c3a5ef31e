/* One account as a row, and as a page. */
#include "ctl/accounts.h"
#include "ctl/field.h"
#include "ctl/table.h"
#include "lib/clock.h"
#include <string.h>

/* Of a state: ok, polling, failing, paused, disabled, new. */
static enum print_style style_of(const char *state)
{
    static const struct {
        const char *state;
        enum print_style style;
    } styles[] = {
        {"failing", PRINT_BAD},
        {"paused", PRINT_BAD},
        {"disabled", PRINT_DIM},
        {"new", PRINT_DIM},
    };
    for (size_t i = 0; i < sizeof styles / sizeof styles[0]; i++)
        if (strcmp(styles[i].state, state) == 0)
            return styles[i].style;
    return PRINT_GOOD;
}

static const char *number_or_dash(const json_t *object, const char *key,
                                  char buf[static PRINT_SHORT])
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) ? print_number(json_integer_value(value), buf) : "-";
}

static void add_row(struct table *table, const json_t *account)
{
    char last[PRINT_SHORT], next[PRINT_SHORT], on_server[PRINT_SHORT], large[PRINT_SHORT];
    int64_t now = clock_now(), last_ok = field_time(account, "last_ok");
    const char *state = field_text(account, "state");
    int64_t next_poll = field_time(account, "next_poll");
    if (next_poll > 0 && next_poll < now)
        next_poll = now;
    bool too_large = field_int(account, "too_large") > 0;
    table_add(table, (const char *[]){
                         field_text(account, "name"),
                         state,
                         last_ok > 0 ? print_when(last_ok, now, last) : "never",
                         next_poll == 0 ? "-" : print_when(next_poll, now, next),
                         number_or_dash(account, "on_server", on_server),
                         number_or_dash(account, "too_large", large),
                         field_text(account, "error"),
                     });
    table_style(table, 1, style_of(state));
    table_style(table, 5, too_large ? PRINT_WARN : PRINT_PLAIN);
    table_style(table, 6, PRINT_BAD);
}

void accounts_table(const struct screen *screen, const json_t *accounts)
{
    static const struct table_column columns[] = {
        {.title = "ACCOUNT", .least = 10},
        {.title = "STATE"},
        {.title = "LAST OK"},
        {.title = "NEXT"},
        {.title = "ON SERVER", .right = true},
        {.title = "TOO LARGE", .right = true},
        {.title = "ERROR", .least = 12},
        {.title = NULL},
    };
    struct table *table = table_new(columns);
    size_t i;
    json_t *account;
    json_array_foreach(accounts, i, account)
    {
        add_row(table, account);
    }
    table_print(table, screen);
    table_free(table);
}

/* "2026-11-22T10:00:00Z (3m ago)" */
static const char *time_field(const json_t *object, const char *key, char *buf, size_t size)
{
    char when[PRINT_SHORT];
    int64_t at = field_time(object, key);
    if (at <= 0)
        return "";
    (void)snprintf(buf, size, "%s (%s)", field_text(object, key),
                   print_when(at, clock_now(), when));
    return buf;
}

void accounts_details(const struct screen *screen, const json_t *account)
{
    char text[1200], number[PRINT_SHORT];
    print_field(screen, "account", field_text(account, "name"));
    print_field(screen, "state", field_text(account, "state"));
    (void)snprintf(text, sizeof text, "%s, port %lld, TLS %s", field_text(account, "server"),
                   (long long)field_int(account, "port"), field_text(account, "tls"));
    print_field(screen, "server", text);
    print_field(screen, "trusts", field_text(account, "ca"));
    print_field(screen, "pin", field_text(account, "pin"));
    (void)snprintf(text, sizeof text, "%s (auth %s)", field_text(account, "user"),
                   field_text(account, "auth"));
    print_field(screen, "user", text);
    print_field(screen, "deliver to", field_list(account, "deliver_to", false, text, sizeof text));
    int64_t interval = field_int(account, "interval");
    print_field(screen, "interval", interval > 0 ? print_duration(interval, number) : "default");
    if (field_true(account, "baseline"))
        print_field(screen, "baseline", "the next poll counts what is there as seen");
    print_field(screen, "last ok", time_field(account, "last_ok", text, sizeof text));
    print_field(screen, "last try", time_field(account, "last_try", text, sizeof text));
    print_field(screen, "next poll", time_field(account, "next_poll", text, sizeof text));
    print_field(screen, "on server", number_or_dash(account, "on_server", number));
    print_field(screen, "too large", number_or_dash(account, "too_large", number));
    print_field(screen, "waiting", number_or_dash(account, "waiting", number));
    (void)snprintf(text, sizeof text, "%lld fetched, %lld deleted",
                   (long long)field_int(account, "fetched"),
                   (long long)field_int(account, "deleted"));
    print_field(screen, "last round", text);
    if (field_int(account, "failures") > 0)
        print_field(screen, "failures", number_or_dash(account, "failures", number));
    print_field(screen, "error", field_text(account, "error"));
}
