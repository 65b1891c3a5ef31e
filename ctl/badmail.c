/* Quarantine: what lies there and why, once more on its way, or away with it. hygiene keeps it. */
#include "ctl/act.h"
#include "ctl/field.h"
#include "ctl/listing.h"
#include "lib/clock.h"
#include <string.h>

#define IDS_A_REQUEST 50 /* hygiene reads each file to its end; its answer must come in time */

static void add_row(struct table *table, const json_t *item, int64_t now)
{
    char at[PRINT_SHORT], size[PRINT_SHORT], recipients[400];
    const char *sender = field_text(item, "sender");
    table_add(table, (const char *[]){
                         field_text(item, "id"),
                         print_when(field_time(item, "at"), now, at),
                         field_text(item, "account"),
                         sender[0] != '\0' ? sender : "<>",
                         field_list(item, "recipients", true, recipients, sizeof recipients),
                         field_text(item, "subject"),
                         print_size((uint64_t)field_int(item, "size"), size),
                         field_text(item, "reason"),
                     });
    table_style(table, 7, PRINT_WARN);
}

int badmail_list(struct ctl *ctl, const struct args *args)
{
    static const struct table_column columns[] = {
        {.title = "ID"},
        {.title = "SINCE"},
        {.title = "ACCOUNT", .least = 8, .drop = 2},
        {.title = "SENDER", .least = 12, .drop = 1},
        {.title = "RECIPIENT", .least = 10, .drop = 4},
        {.title = "SUBJECT", .least = 12},
        {.title = "SIZE", .right = true, .drop = 3},
        {.title = "REASON", .least = 16},
        {.title = NULL},
    };
    static const struct listing listing = {
        .daemon = "hygiene",
        .cmd = "badmail.list",
        .columns = columns,
        .add_row = add_row,
        .none = "No message is in quarantine.",
    };
    return listing_run(ctl, &listing, args);
}

static void print_preview(const struct screen *screen, const json_t *lines)
{
    size_t i;
    const json_t *line;
    json_array_foreach(lines, i, line)
    {
        fputs(i == 0 ? "\n  " : "  ", screen->out);
        print_styled(screen, PRINT_DIM, json_is_string(line) ? json_string_value(line) : "");
        fputc('\n', screen->out);
    }
}

static void print_headers(const struct screen *screen, const json_t *headers)
{
    static const char *const names[] = {"From", "To", "Date", "Subject"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        print_field(screen, names[i], field_text(headers, names[i]));
}

static void print_details(const struct ctl *ctl, const json_t *item)
{
    const struct screen *screen = &ctl->screen;
    char text[16384], small[PRINT_SHORT];
    const char *sender = field_text(item, "sender");
    print_field(screen, "id", field_text(item, "id"));
    (void)snprintf(text, sizeof text, "%s (%s)", field_text(item, "at"),
                   print_when(field_time(item, "at"), clock_now(), small));
    print_field(screen, "since", text);
    print_field(screen, "decided by", field_text(item, "decided_by"));
    print_field(screen, "reason", field_text(item, "reason"));
    print_field(screen, "account", field_text(item, "account"));
    print_field(screen, "origin", field_text(item, "origin"));
    print_field(screen, "sender", sender[0] != '\0' ? sender : "<>");
    print_field(screen, "recipients", field_list(item, "recipients", false, text, sizeof text));
    print_field(screen, "size", print_size((uint64_t)field_int(item, "size"), small));
    print_field(screen, "file", field_text(item, "path"));
    print_field(screen, "unreadable", field_text(item, "unreadable"));
    print_field(screen, "replayed as", field_text(item, "replayed_as"));
    print_headers(screen, json_object_get(item, "headers"));
    print_preview(screen, json_object_get(item, "preview"));
    const char *state = field_text(item, "state");
    if (strcmp(state, "held") == 0)
        fprintf(screen->out,
                "\nSend it after all:  %s badmail replay %s\n"
                "Away with it:       %s badmail delete %s\n",
                ctl->self, field_text(item, "id"), ctl->self, field_text(item, "id"));
}

int badmail_show(struct ctl *ctl, const struct args *args)
{
    struct problem problem;
    json_t *ids = listing_ids(args->words, 1, &problem);
    if (ids == NULL)
        return problem_report(&problem);
    json_t *request = call_request("badmail.show");
    json_object_set(request, "id", json_array_get(ids, 0));
    json_decref(ids);
    json_t *reply = call_daemon(ctl, "hygiene", request, CALL_ANYHOW, &problem);
    if (reply == NULL)
        return problem_report(&problem);
    json_object_del(reply, "ok");
    if (ctl->json)
        print_json(reply);
    else
        print_details(ctl, reply);
    json_decref(reply);
    return CTL_DONE;
}

static int act_and_tell(const struct ctl *ctl, const struct args *args, const char *cmd,
                        void (*print_done)(const struct screen *screen, const json_t *reply))
{
    struct problem problem;
    json_t *ids = listing_ids(args->words, args->count, &problem);
    if (ids == NULL)
        return problem_report(&problem);
    json_t *done = json_object();
    const struct act act = {.daemon = "hygiene", .cmd = cmd, .most = IDS_A_REQUEST};
    bool ok = act_on_ids(ctl, &act, ids, done, &problem);
    json_decref(ids);
    if (ctl->json && json_object_size(done) > 0)
        print_json(done);
    else if (!ctl->json)
        print_done(&ctl->screen, done);
    bool failed = act_report_failed(done);
    json_decref(done);
    if (!ok)
        return problem_report(&problem);
    return failed ? CTL_FAILED : CTL_DONE;
}

static void print_replayed(const struct screen *screen, const json_t *reply)
{
    const char *old;
    json_t *fresh;
    json_object_foreach(json_object_get(reply, "replayed"), old, fresh)
    {
        fprintf(screen->out, "%s is on its way again, as %s\n", old,
                json_is_string(fresh) ? json_string_value(fresh) : "a new message");
    }
}

static void print_deleted(const struct screen *screen, const json_t *reply)
{
    size_t i;
    const json_t *id;
    json_array_foreach(json_object_get(reply, "deleted"), i, id)
    {
        fprintf(screen->out, "%s deleted\n", json_is_string(id) ? json_string_value(id) : "?");
    }
}

int badmail_replay(struct ctl *ctl, const struct args *args)
{
    return act_and_tell(ctl, args, "badmail.replay", print_replayed);
}

int badmail_delete(struct ctl *ctl, const struct args *args)
{
    return act_and_tell(ctl, args, "badmail.delete", print_deleted);
}
