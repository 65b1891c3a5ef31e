/* Retrieve now. The reply names a round for each account; with --wait, account.list is looked at
 * until each of those rounds is done. */
#include "ctl/call.h"
#include "ctl/field.h"
#include "lib/clock.h"
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_EVERY      300 /* ms */
#define DEFAULT_TIMEOUT (10 * CLOCK_MINUTE)

static json_t *fetch_request(const struct args *args)
{
    json_t *request = call_request("fetch");
    if (args->count == 0) {
        json_object_set_new(request, "all", json_true());
        return request;
    }
    json_t *names = json_array();
    for (int i = 0; i < args->count; i++)
        json_array_append_new(names, json_string(args->words[i]));
    json_object_set_new(request, "names", names);
    return request;
}

static const json_t *find_account(const json_t *accounts, const char *name)
{
    size_t i;
    const json_t *account;
    json_array_foreach(accounts, i, account)
    {
        if (strcmp(field_text(account, "name"), name) == 0)
            return account;
    }
    return NULL;
}

static bool round_done(const json_t *account, const json_t *round)
{
    return account == NULL || field_int(account, "round_done") >= json_integer_value(round);
}

/* One line that is overwritten, on a terminal only. */
static void show_progress(const struct ctl *ctl, size_t done, size_t all, bool end)
{
    static bool shown;
    if (ctl->json || !isatty(STDERR_FILENO))
        return;
    if (end && shown)
        fputs("\r\033[K", stderr);
    else if (!end)
        fprintf(stderr, "\r%zu of %zu done", done, all);
    shown = !end;
    fflush(stderr);
}

/* The accounts as they are when all rounds are done or the time is up; NULL with problem filled in.
 */
static json_t *wait_for(const struct ctl *ctl, const json_t *rounds, int64_t timeout,
                        struct problem *problem)
{
    int64_t deadline = clock_monotonic() + timeout;
    for (;;) {
        json_t *accounts = call_list(ctl, "fetcherd", call_request("account.list"), problem);
        if (accounts == NULL)
            return NULL;
        size_t done = 0, all = json_object_size(rounds);
        const char *name;
        json_t *round;
        json_object_foreach((json_t *)rounds, name, round)
        {
            done += round_done(find_account(accounts, name), round);
        }
        bool end = done == all || clock_monotonic() >= deadline;
        show_progress(ctl, done, all, end);
        if (end)
            return accounts;
        json_decref(accounts);
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY * 1000000L}, NULL);
    }
}

/* {"name","ok","fetched","deleted","left","error"} */
static json_t *outcome_of(const char *name, const json_t *account, const json_t *round)
{
    const char *error = field_text(account, "error");
    if (account == NULL)
        error = "the account was removed meanwhile";
    else if (json_is_false(json_object_get(account, "enabled")))
        error = "the account was disabled meanwhile";
    else if (!round_done(account, round))
        error = "not done yet: the time to wait is up";
    return json_pack("{s:s, s:b, s:I, s:I, s:I, s:I, s:o}", "name", name, "ok", error[0] == '\0',
                     "fetched", (json_int_t)field_int(account, "fetched"), "deleted",
                     (json_int_t)field_int(account, "deleted"), "left",
                     (json_int_t)field_int(account, "on_server"), "too_large",
                     (json_int_t)field_int(account, "too_large"), "error",
                     error[0] == '\0' ? json_null() : json_string(error));
}

static void print_outcome(const struct ctl *ctl, const json_t *outcome)
{
    const struct screen *screen = &ctl->screen;
    print_styled(screen, PRINT_TITLE, field_text(outcome, "name"));
    fprintf(screen->out, ": %lld fetched, %lld deleted, %lld left",
            (long long)field_int(outcome, "fetched"), (long long)field_int(outcome, "deleted"),
            (long long)field_int(outcome, "left"));
    if (field_int(outcome, "too_large") > 0)
        fprintf(screen->out, " (%lld too large)", (long long)field_int(outcome, "too_large"));
    if (!field_true(outcome, "ok")) {
        fputs("; ", screen->out);
        print_styled(screen, PRINT_BAD, field_text(outcome, "error"));
        fprintf(screen->out, "; what was said: %s/sessions/%s.log", ctl->conf->state_dir,
                field_text(outcome, "name"));
    }
    fputc('\n', screen->out);
}

static int report(const struct ctl *ctl, json_t *rounds, const json_t *accounts)
{
    bool all_ok = true;
    json_t *outcomes = json_array(), *round;
    const char *name;
    json_object_foreach(rounds, name, round)
    {
        json_t *outcome = outcome_of(name, find_account(accounts, name), round);
        all_ok = all_ok && field_true(outcome, "ok");
        json_array_append_new(outcomes, outcome);
        if (!ctl->json)
            print_outcome(ctl, outcome);
    }
    if (ctl->json) {
        json_t *all =
            json_pack("{s:b, s:O, s:O}", "ok", all_ok, "rounds", rounds, "accounts", outcomes);
        print_json(all);
        json_decref(all);
    }
    json_decref(outcomes);
    return all_ok ? CTL_DONE : CTL_FAILED;
}

static void print_begun(const struct ctl *ctl, json_t *reply)
{
    if (ctl->json) {
        print_json(reply);
        return;
    }
    const char *name;
    json_t *round;
    json_object_foreach(json_object_get(reply, "rounds"), name, round)
    {
        print_styled(&ctl->screen, PRINT_TITLE, name);
        fputs(": being fetched\n", ctl->screen.out);
    }
}

int fetch_run(struct ctl *ctl, const struct args *args)
{
    struct problem problem;
    int64_t timeout = DEFAULT_TIMEOUT;
    const char *text = args->value[OPTION_TIMEOUT];
    if (text != NULL && !conf_duration(text, &timeout))
        return command_fail(CTL_USAGE, "--timeout %s: expected a time such as 10m", text);
    if (args->value[OPTION_ALL] != NULL && args->count > 0)
        return command_fail(CTL_USAGE, "give names or --all, not both");
    json_t *reply = call_daemon(ctl, "fetcherd", fetch_request(args), CALL_ANYHOW, &problem);
    if (reply == NULL)
        return problem_report(&problem);
    int code = CTL_DONE;
    json_t *rounds = json_object_get(reply, "rounds");
    if (json_object_size(rounds) == 0 && !ctl->json)
        fputs("There is no account to fetch from; see: popferryctl account list\n",
              ctl->screen.out);
    else if (args->value[OPTION_WAIT] == NULL)
        print_begun(ctl, reply);
    else {
        json_t *accounts = wait_for(ctl, rounds, timeout, &problem);
        code = accounts != NULL ? report(ctl, rounds, accounts) : problem_report(&problem);
        json_decref(accounts);
    }
    json_decref(reply);
    return code;
}
