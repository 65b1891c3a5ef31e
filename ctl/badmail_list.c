/* What lies in quarantine, and why. hygiene keeps it. */
#include "ctl/badmail.h"
#include "ctl/field.h"
#include "ctl/listing.h"
#include "lib/clock.h"
#include "lib/conf.h"
#include <string.h>
#include <strings.h>

/* --- which --- */

static bool put_age(const struct args *args, enum ctl_option option, json_t *request,
                    struct problem *problem)
{
    const char *text = args->value[option], *name = option_name(option);
    int64_t ms;
    if (text == NULL)
        return true;
    if (!conf_duration(text, &ms))
        return problem_set(problem, CTL_USAGE, "--%s %.80s: expected a time such as 12h or 7d",
                           name, text);
    json_object_set_new(request, name, json_integer(ms));
    return true;
}

/* Words that hygiene writes there. */
static bool check_decider(const struct args *args, struct problem *problem)
{
    static const char *const known[] = {
        "rspamd",          "clamd",          "spamd",
        "relay",           "form",           "form:nul",
        "form:no-header",  "form:too-large", "form:long-header",
        "form:bad-sender", "form:damaged",   "name-taken",
        "unknown",
    };
    const char *who = args->value[OPTION_DECIDED_BY];
    char list[300] = "";
    for (size_t i = 0, used = 0; who != NULL && i < sizeof known / sizeof known[0]; i++) {
        if (strcasecmp(known[i], who) == 0)
            return true;
        used +=
            (size_t)snprintf(list + used, sizeof list - used, "%s%s", i > 0 ? ", " : "", known[i]);
    }
    return who == NULL ||
           problem_set(problem, CTL_USAGE, "--decided-by %.80s: expected one of %s", who, list);
}

static void put_text(const struct args *args, enum ctl_option option, const char *key,
                     json_t *request)
{
    if (args->value[option] != NULL)
        json_object_set_new(request, key, json_string(args->value[option]));
}

json_t *badmail_request(const struct args *args, struct problem *problem)
{
    if (!check_decider(args, problem))
        return NULL;
    json_t *request = call_request("badmail.list");
    put_text(args, OPTION_ACCOUNT, "account", request);
    put_text(args, OPTION_SENDER, "sender", request);
    put_text(args, OPTION_SUBJECT, "subject", request);
    put_text(args, OPTION_REASON, "reason", request);
    put_text(args, OPTION_DECIDED_BY, "decided_by", request);
    put_text(args, OPTION_STATE, "state", request);
    if (put_age(args, OPTION_OLDER, request, problem) &&
        put_age(args, OPTION_NEWER, request, problem))
        return request;
    json_decref(request);
    return NULL;
}

/* --- in which order --- */

static const struct {
    const char *name;
    struct order order;
} orders[] = {
    {"id", {"id", false}},         {"age", {"at", true}},           {"account", {"account", false}},
    {"sender", {"sender", false}}, {"subject", {"subject", false}}, {"size", {"size", false}},
    {"reason", {"reason", false}},
};
#define ORDERS (sizeof orders / sizeof orders[0])

/* *sorted stays false where it is the order in which hygiene has them. */
static bool read_order(const struct args *args, struct order *order, bool *sorted,
                       struct problem *problem)
{
    const char *name = args->value[OPTION_SORT] != NULL ? args->value[OPTION_SORT] : "id";
    size_t i = 0;
    while (i < ORDERS && strcmp(orders[i].name, name) != 0)
        i++;
    if (i == ORDERS)
        return problem_set(
            problem, CTL_USAGE,
            "--sort %.80s: expected id, age, account, sender, subject, size or reason", name);
    *order = orders[i].order;
    order->reverse ^= args->value[OPTION_REVERSE] != NULL;
    *sorted = i > 0 || order->reverse;
    return true;
}

/* --- the table --- */

static const struct table_column columns[] = {
    {.title = "ID"},
    {.title = "SINCE"},
    {.title = "ACCOUNT", .least = 8, .drop = 2},
    {.title = "SENDER", .least = 12, .drop = 1},
    {.title = "RECIPIENT", .least = 10, .drop = 4},
    {.title = "SUBJECT", .least = 12},
    {.title = "SIZE", .right = true, .drop = 3},
    {.title = "REASON", .least = 14},
    {.title = NULL},
};

/* Who, and why; the server's own words speak for themselves. */
static const char *who_and_why(const json_t *item, char *buf, size_t size)
{
    const char *who = field_text(item, "decided_by"), *why = field_text(item, "reason");
    bool said = who[0] == '\0' || strcmp(who, "relay") == 0 || strncmp(why, who, strlen(who)) == 0;
    (void)snprintf(buf, size, "%s%s%s", said ? "" : who, said ? "" : ": ", why);
    return buf;
}

static void add_row(struct table *table, const json_t *item, int64_t now)
{
    char why[2400], at[PRINT_SHORT], size[PRINT_SHORT], recipients[400];
    const char *sender = field_text(item, "sender");
    table_add(table, (const char *[]){
                         field_text(item, "id"),
                         print_when(field_time(item, "at"), now, at),
                         field_text(item, "account"),
                         sender[0] != '\0' ? sender : "<>",
                         field_list(item, "recipients", true, recipients, sizeof recipients),
                         field_text(item, "subject"),
                         print_size((uint64_t)field_int(item, "size"), size),
                         who_and_why(item, why, sizeof why),
                     });
    table_style(table, 7, PRINT_WARN);
}

void badmail_table(const struct screen *screen, const json_t *items)
{
    size_t i;
    const json_t *item;
    int64_t now = clock_now();
    struct table *table = table_new(columns);
    json_array_foreach(items, i, item)
    {
        add_row(table, item, now);
    }
    table_print(table, screen);
    table_free(table);
}

int badmail_list(struct ctl *ctl, const struct args *args)
{
    bool narrowed = (args->given & (BADMAIL_FILTERS | OPTION_BIT(OPTION_STATE))) != 0;
    const struct listing listing = {
        .daemon = "hygiene",
        .columns = columns,
        .add_row = add_row,
        .none = narrowed ? "No such message is in quarantine." : "No message is in quarantine.",
    };
    struct problem problem;
    struct order order;
    bool sorted = false;
    if (!read_order(args, &order, &sorted, &problem))
        return problem_report(&problem);
    json_t *request = badmail_request(args, &problem);
    if (request == NULL)
        return problem_report(&problem);
    return listing_run(ctl, &listing, request, sorted ? &order : NULL, args);
}
