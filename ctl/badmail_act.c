/* Once more on its way, or away with it: messages that are named, or that options choose. What is
 * chosen is shown before anything is done, and it is those very ids that are acted on. */
#include "ctl/act.h"
#include "ctl/badmail.h"
#include "ctl/field.h"
#include "ctl/listing.h"
#include <string.h>
#include <unistd.h>

#define IDS_A_REQUEST 50 /* hygiene reads each file to its end; its answer must come in time */
#define IDS_A_LOOK    500
#define SHOWN_FIRST   10 /* when asking */

struct deed {
    const char *cmd;
    const char *done; /* "replayed": of the reply, and in words */
    const char *verb; /* "Replay" */
    bool has_fresh;   /* the reply's member is {old id: new id}, not [id] */
};

/* What is to be acted on. */
struct chosen {
    json_t *ids;
    json_t *items;  /* of badmail.list: the first LISTING_ROWS */
    json_t *failed; /* id to reason: named, and not held */
    json_t *to;     /* {"to": [...]} of --to, as hygiene completes it; NULL: not given */
};

static struct chosen chosen_new(void)
{
    return (struct chosen){json_array(), json_array(), json_object(), NULL};
}

static void chosen_free(struct chosen *chosen)
{
    json_decref(chosen->ids);
    json_decref(chosen->items);
    json_decref(chosen->failed);
    json_decref(chosen->to);
}

/* --- choosing --- */

static json_t *ask_hygiene(void *arg, json_t *request, struct problem *problem)
{
    return call_daemon(arg, "hygiene", request, CALL_ANYHOW, problem);
}

static bool choose_item(void *arg, json_t *item)
{
    struct chosen *chosen = arg;
    if (strcmp(field_text(item, "state"), "held") != 0)
        return true;
    json_array_append(chosen->ids, json_object_get(item, "id"));
    json_object_del(chosen->failed, field_text(item, "id"));
    if (json_array_size(chosen->items) < LISTING_ROWS)
        json_array_append(chosen->items, item);
    return true;
}

static bool choose_by_options(const struct ctl *ctl, const struct args *args, struct chosen *chosen,
                              struct problem *problem)
{
    json_t *request = badmail_request(args, problem);
    return request != NULL &&
           call_pages(ask_hygiene, (void *)ctl, request, choose_item, chosen, problem);
}

/* Which of them are held; only to show it: what is named is otherwise simply asked for. */
static bool look_up(const struct ctl *ctl, const json_t *ids, struct chosen *chosen,
                    struct problem *problem)
{
    size_t count = json_array_size(ids);
    bool ok = true;
    for (size_t at = 0; ok && at < count; at += IDS_A_LOOK) {
        json_t *some = json_array(), *request = call_request("badmail.list");
        for (size_t i = at; i < count && i < at + IDS_A_LOOK; i++) {
            json_t *id = json_array_get(ids, i);
            json_object_set_new(chosen->failed, json_string_value(id),
                                json_string("badmail holds no such message"));
            json_array_append(some, id);
        }
        json_object_set_new(request, "ids", some);
        ok = call_pages(ask_hygiene, (void *)ctl, request, choose_item, chosen, problem);
    }
    return ok;
}

/* Who is named by --to has to be somebody before anything is shown or asked. */
static bool complete_recipients(const struct ctl *ctl, const struct args *args,
                                struct chosen *chosen, struct problem *problem)
{
    if (json_array_size(args->to) == 0)
        return true;
    json_t *request = call_request("badmail.recipients");
    json_object_set(request, "to", args->to);
    chosen->to = call_daemon(ctl, "hygiene", request, CALL_ANYHOW, problem);
    return chosen->to != NULL;
}

/* --- showing --- */

static void print_chosen(const struct ctl *ctl, const struct chosen *chosen, size_t most)
{
    size_t count = json_array_size(chosen->ids);
    json_t *first = json_array();
    for (size_t i = 0; i < most && i < json_array_size(chosen->items); i++)
        json_array_append(first, json_array_get(chosen->items, i));
    if (count > 0)
        badmail_table(&ctl->screen, first);
    if (count > json_array_size(first))
        fprintf(ctl->screen.out, "... and %zu more\n", count - json_array_size(first));
    json_decref(first);
}

/* ", to a@x and b@x alone", as far as there is something to say. */
static const char *to_whom(const struct chosen *chosen, char *buf, size_t size)
{
    char list[400];
    (void)field_list(chosen->to, "to", false, list, sizeof list);
    buf[0] = '\0';
    if (list[0] != '\0')
        (void)snprintf(buf, size, ", to %s alone", list);
    return buf;
}

static int show_only(const struct ctl *ctl, const struct deed *deed, const struct chosen *chosen)
{
    size_t count = json_array_size(chosen->ids);
    char to[500];
    if (ctl->json) {
        json_t *reply = json_pack("{s:b, s:b, s:I, s:O, s:O}", "ok", true, "dry_run", true, "count",
                                  (json_int_t)count, "ids", chosen->ids, "failed", chosen->failed);
        json_object_update_missing(reply, chosen->to);
        print_json(reply);
        json_decref(reply);
    } else {
        print_chosen(ctl, chosen, LISTING_ROWS);
        print_line(&ctl->screen, PRINT_TITLE, "%zu message%s would be %s%s; nothing was changed",
                   count, count == 1 ? "" : "s", deed->done, to_whom(chosen, to, sizeof to));
    }
    json_t *all = json_pack("{s:O}", "failed", chosen->failed);
    bool failed = act_report_failed(all);
    json_decref(all);
    return failed ? CTL_FAILED : CTL_DONE;
}

static bool person_agrees(const struct ctl *ctl, const struct deed *deed,
                          const struct chosen *chosen)
{
    size_t count = json_array_size(chosen->ids);
    char to[500], line[700], answer[16];
    print_chosen(ctl, chosen, SHOWN_FIRST);
    (void)snprintf(line, sizeof line, "%s %s%zu message%s%s? [y/N] ", deed->verb,
                   count > 1 ? "these " : "", count, count == 1 ? "" : "s",
                   to_whom(chosen, to, sizeof to));
    print_styled(&ctl->screen, PRINT_TITLE, line);
    (void)fflush(ctl->screen.out);
    if (fgets(answer, sizeof answer, stdin) != NULL)
        return answer[0] == 'y' || answer[0] == 'Y';
    fputc('\n', ctl->screen.out);
    return false;
}

/* --- doing --- */

static void print_done(const struct screen *screen, const struct deed *deed, const json_t *reply)
{
    const char *old;
    size_t i;
    json_t *id, *done = json_object_get(reply, deed->done);
    json_object_foreach(done, old, id)
    {
        print_line(screen, PRINT_PLAIN, "%s is on its way again, as %s", old,
                   json_is_string(id) ? json_string_value(id) : "a new message");
    }
    json_array_foreach(done, i, id)
    {
        print_line(screen, PRINT_PLAIN, "%s %s", json_is_string(id) ? json_string_value(id) : "?",
                   deed->done);
    }
}

static int act_and_tell(const struct ctl *ctl, const struct args *args, const struct deed *deed,
                        const json_t *ids)
{
    struct problem problem;
    json_t *all = json_pack("{s:b, s:o, s:{}}", "ok", true, deed->done,
                            deed->has_fresh ? json_object() : json_array(), "failed");
    json_t *more = json_array_size(args->to) > 0 ? json_pack("{s:O}", "to", args->to) : NULL;
    const struct act act = {"hygiene", deed->cmd, more, IDS_A_REQUEST};
    bool ok = act_on_ids(ctl, &act, ids, all, &problem);
    if (ctl->json)
        print_json(all);
    else
        print_done(&ctl->screen, deed, all);
    bool failed = act_report_failed(all);
    json_decref(more);
    json_decref(all);
    if (!ok)
        return problem_report(&problem);
    return failed ? CTL_FAILED : CTL_DONE;
}

static int run_by_options(const struct ctl *ctl, const struct args *args, const struct deed *deed,
                          struct chosen *chosen)
{
    struct problem problem;
    bool asks = args->value[OPTION_YES] == NULL && args->value[OPTION_DRY_RUN] == NULL;
    bool can_ask = !ctl->json && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
    if (asks && !can_ask)
        return command_fail(CTL_USAGE,
                            "nobody is here to be asked: --dry-run shows what the options choose, "
                            "--yes acts on it");
    if (!choose_by_options(ctl, args, chosen, &problem))
        return problem_report(&problem);
    if (args->value[OPTION_DRY_RUN] != NULL)
        return show_only(ctl, deed, chosen);
    if (json_array_size(chosen->ids) == 0 && !ctl->json)
        fputs("No such message is in quarantine.\n", ctl->screen.out);
    else if (asks && !person_agrees(ctl, deed, chosen)) {
        fputs("Nothing was changed.\n", ctl->screen.out);
        return CTL_FAILED;
    }
    return act_and_tell(ctl, args, deed, chosen->ids);
}

static int run_by_ids(const struct ctl *ctl, const struct args *args, const struct deed *deed,
                      struct chosen *chosen)
{
    struct problem problem;
    int code;
    json_t *ids = listing_ids(args->words, args->count, &problem);
    if (ids == NULL)
        return problem_report(&problem);
    if (args->value[OPTION_DRY_RUN] == NULL)
        code = act_and_tell(ctl, args, deed, ids);
    else if (look_up(ctl, ids, chosen, &problem))
        code = show_only(ctl, deed, chosen);
    else
        code = problem_report(&problem);
    json_decref(ids);
    return code;
}

static int run(const struct ctl *ctl, const struct args *args, const struct deed *deed)
{
    bool by_options = (args->given & BADMAIL_FILTERS) != 0;
    if (by_options && args->count > 0)
        return command_fail(CTL_USAGE, "give ids, or options that choose messages, not both");
    if (!by_options && args->count == 0)
        return command_fail(CTL_USAGE, "of which messages? Give ids, or options that choose them");
    struct problem problem;
    struct chosen chosen = chosen_new();
    int code = !complete_recipients(ctl, args, &chosen, &problem) ? problem_report(&problem)
               : by_options ? run_by_options(ctl, args, deed, &chosen)
                            : run_by_ids(ctl, args, deed, &chosen);
    chosen_free(&chosen);
    return code;
}

int badmail_replay(struct ctl *ctl, const struct args *args)
{
    static const struct deed deed = {"badmail.replay", "replayed", "Replay", true};
    if (args->value[OPTION_TO] != NULL && json_array_size(args->to) == 0)
        return command_fail(CTL_USAGE, "--to: expected an address");
    return run(ctl, args, &deed);
}

int badmail_delete(struct ctl *ctl, const struct args *args)
{
    static const struct deed deed = {"badmail.delete", "deleted", "Delete", false};
    return run(ctl, args, &deed);
}
