/* What waits for the SMTP server, which relayd keeps, or for a filter's verdict, which hygiene
 * does; and why. */
#include "ctl/act.h"
#include "ctl/field.h"
#include "ctl/listing.h"
#include "lib/clock.h"
#include <string.h>

static const char *next_attempt(const json_t *item, int64_t now, char buf[static PRINT_SHORT])
{
    if (strcmp(field_text(item, "state"), "held") == 0)
        return "held";
    int64_t at = field_time(item, "next_attempt");
    return at > now ? print_when(at, now, buf) : "now";
}

/* A filter is named before what it said. */
static const char *last_reply(const json_t *item, char *buf, size_t size)
{
    const char *filter = field_text(item, "filter"), *said = field_text(item, "last_reply");
    if (filter[0] == '\0')
        return said;
    (void)snprintf(buf, size, "%s: %s", filter, said);
    return buf;
}

static void add_row(struct table *table, const json_t *item, int64_t now)
{
    char reply[800], recipients[400], size[PRINT_SHORT], attempts[PRINT_SHORT], next[PRINT_SHORT];
    const char *sender = field_text(item, "sender");
    table_add(table, (const char *[]){
                         field_text(item, "id"),
                         sender[0] != '\0' ? sender : "<>",
                         field_list(item, "recipients", true, recipients, sizeof recipients),
                         print_size((uint64_t)field_int(item, "size"), size),
                         print_number(field_int(item, "attempts"), attempts),
                         next_attempt(item, now, next),
                         last_reply(item, reply, sizeof reply),
                     });
    table_style(table, 6, PRINT_WARN);
}

int queue_list(struct ctl *ctl, const struct args *args)
{
    static const struct table_column columns[] = {
        {.title = "ID"},
        {.title = "SENDER", .least = 10, .drop = 2},
        {.title = "RECIPIENT", .least = 10},
        {.title = "SIZE", .right = true, .drop = 3},
        {.title = "TRIES", .right = true},
        {.title = "NEXT"},
        {.title = "LAST REPLY", .least = 12},
        {.title = NULL},
    };
    static const struct listing listing = {
        .daemon = "relayd",
        .columns = columns,
        .add_row = add_row,
        .none = "The queue is empty.",
        .then_daemon = "hygiene",
        .then_cmd = "waiting.list",
    };
    return listing_run(ctl, &listing, call_request("queue.list"), NULL, args);
}

static void print_details(const struct screen *screen, const json_t *item)
{
    char text[16384], small[PRINT_SHORT], when[PRINT_SHORT];
    int64_t now = clock_now(), next = field_time(item, "next_attempt");
    const char *sender = field_text(item, "sender");
    print_field(screen, "id", field_text(item, "id"));
    print_field(screen, "account", field_text(item, "account"));
    print_field(screen, "sender", sender[0] != '\0' ? sender : "<>");
    print_field(screen, "recipients", field_list(item, "recipients", false, text, sizeof text));
    print_field(screen, "size", print_size((uint64_t)field_int(item, "size"), small));
    print_field(screen, "origin", field_text(item, "origin"));
    print_field(screen, "state", field_text(item, "state"));
    print_field(screen, "attempts", print_number(field_int(item, "attempts"), small));
    (void)snprintf(text, sizeof text, "%s (%s)", field_text(item, "next_attempt"),
                   next > now ? print_when(next, now, small) : "now");
    print_field(screen, "next", next > 0 ? text : next_attempt(item, now, when));
    print_field(screen, "last reply", last_reply(item, text, sizeof text));
    size_t i;
    const json_t *settled;
    json_array_foreach(json_object_get(item, "settled"), i, settled)
    {
        (void)snprintf(text, sizeof text, "%s (%s)", field_text(settled, "address"),
                       field_text(settled, "reply"));
        print_field(screen, field_text(settled, "state"), text);
    }
    int64_t more = field_int(item, "settled_total") - (int64_t)i;
    if (more > 0) {
        (void)snprintf(text, sizeof text, "%lld more", (long long)more);
        print_field(screen, "and", text);
    }
}

static json_t *show(const struct ctl *ctl, const char *daemon, const char *cmd, json_t *id,
                    struct problem *problem)
{
    json_t *request = call_request(cmd);
    json_object_set(request, "id", id);
    return call_daemon(ctl, daemon, request, CALL_ANYHOW, problem);
}

/* That it is nowhere is known only when both have said so. */
static int report_not_shown(const struct problem *relayd, const struct problem *hygiene)
{
    int code = hygiene->not_found ? CTL_DONE : problem_report(hygiene);
    return relayd->not_found && code != CTL_DONE ? code : problem_report(relayd);
}

int queue_show(struct ctl *ctl, const struct args *args)
{
    struct problem relayd, hygiene;
    json_t *ids = listing_ids(args->words, 1, &relayd);
    if (ids == NULL)
        return problem_report(&relayd);
    json_t *reply = show(ctl, "relayd", "queue.show", json_array_get(ids, 0), &relayd);
    if (reply == NULL)
        reply = show(ctl, "hygiene", "waiting.show", json_array_get(ids, 0), &hygiene);
    json_decref(ids);
    if (reply == NULL)
        return report_not_shown(&relayd, &hygiene);
    const json_t *item = json_object_get(reply, "item");
    if (ctl->json)
        print_json(item);
    else
        print_details(&ctl->screen, item);
    json_decref(reply);
    return CTL_DONE;
}

static void print_acted(FILE *out, const char *done, const json_t *all)
{
    size_t i;
    const json_t *id;
    json_array_foreach(json_object_get(all, done), i, id)
    {
        fprintf(out, "%s %s\n", json_string_value(id), done);
    }
}

/* What relayd does not know may wait at hygiene: then that is why. Each is looked for, until
 * hygiene fails. */
static void explain_failed(const struct ctl *ctl, json_t *all)
{
    const char *id;
    json_t *why, *failed = json_object_get(all, "failed");
    struct problem problem = {.not_found = true};
    void *next;
    json_object_foreach_safe(failed, next, id, why)
    {
        json_t *name = json_string(id);
        json_t *found = show(ctl, "hygiene", "waiting.show", name, &problem);
        if (found != NULL)
            json_object_set_new(failed, id,
                                json_string("it waits for a filter's verdict; only what is in "
                                            "outgoing/ can be held"));
        json_decref(name);
        json_decref(found);
        if (found == NULL && !problem.not_found) {
            (void)problem_report(&problem);
            break;
        }
    }
}

static int act_and_tell(const struct ctl *ctl, const struct args *args, const char *cmd,
                        const char *done)
{
    struct problem problem;
    json_t *ids = listing_ids(args->words, args->count, &problem);
    if (ids == NULL)
        return problem_report(&problem);
    json_t *all = json_pack("{s:[], s:{}}", done, "failed");
    const struct act act = {.daemon = "relayd", .cmd = cmd, .most = ACT_IDS};
    bool ok = act_on_ids(ctl, &act, ids, all, &problem);
    explain_failed(ctl, all);
    json_object_del(all, "ok"); /* of each reply: the exit code says it */
    if (ctl->json)
        print_json(all);
    else
        print_acted(ctl->screen.out, done, all);
    bool failed = act_report_failed(all);
    json_decref(ids);
    json_decref(all);
    if (!ok)
        return problem_report(&problem);
    return failed ? CTL_FAILED : CTL_DONE;
}

int queue_hold(struct ctl *ctl, const struct args *args)
{
    return act_and_tell(ctl, args, "queue.hold", "held");
}

int queue_release(struct ctl *ctl, const struct args *args)
{
    return act_and_tell(ctl, args, "queue.release", "released");
}
