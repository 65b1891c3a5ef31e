/* Accounts: what they are, and how they fare. fetcherd keeps them; here their fields are checked as
 * far as a person can be told at once, and passwords are sealed. */
#include "ctl/accounts.h"
#include "ctl/call.h"
#include "ctl/field.h"
#include "ctl/password.h"
#include "lib/clock.h"
#include "lib/secret.h"
#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define INTERVAL_MIN (5 * CLOCK_MINUTE)
#define INTERVAL_MAX (24 * CLOCK_HOUR)

static bool one_of(const char *text, const char *const *words)
{
    while (*words != NULL && strcmp(*words, text) != 0)
        words++;
    return *words != NULL;
}

static bool put_tls(const struct args *args, json_t *request, struct problem *problem)
{
    static const char *const hows[] = {"implicit", "starttls", "none", NULL};
    const char *tls = args->value[OPTION_TLS];
    if (tls != NULL && !one_of(tls, hows))
        return problem_set(problem, CTL_USAGE, "--tls %s: expected implicit, starttls or none",
                           tls);
    if (tls != NULL)
        json_object_set_new(request, "tls", json_string(tls));
    return true;
}

static bool put_port(const struct args *args, json_t *request, struct problem *problem)
{
    const char *text = args->value[OPTION_PORT];
    int port;
    if (text == NULL)
        return true;
    if (!option_port(text, &port))
        return problem_set(problem, CTL_USAGE, "--port %s: expected a number from 1 to 65535",
                           text);
    json_object_set_new(request, "port", json_integer(port));
    return true;
}

static bool put_interval(const struct args *args, json_t *request, struct problem *problem)
{
    const char *text = args->value[OPTION_INTERVAL];
    int64_t ms;
    if (text == NULL)
        return true;
    bool preset = strcmp(text, "default") == 0;
    if (!preset && (!conf_duration(text, &ms) || ms < INTERVAL_MIN || ms > INTERVAL_MAX))
        return problem_set(problem, CTL_USAGE,
                           "--interval %s: expected a time from 5m to 24h, or \"default\"", text);
    json_object_set_new(request, "interval", preset ? json_null() : json_integer(ms));
    return true;
}

static bool put_text(const struct args *args, enum ctl_option option, const char *key,
                     json_t *request, struct problem *problem)
{
    const char *text = args->value[option];
    if (text == NULL)
        return true;
    if (text[0] == '\0')
        return problem_set(problem, CTL_USAGE, "--%s is empty", option_name(option));
    json_object_set_new(request, key, json_string(text));
    return true;
}

/* The daemon has another working directory: a relative path is made a full one. */
static bool put_ca(const struct args *args, json_t *request, struct problem *problem)
{
    const char *text = args->value[OPTION_CA];
    if (text == NULL)
        return true;
    if (strcmp(text, "default") == 0) {
        json_object_set_new(request, "ca", json_null());
        return true;
    }
    char *path = realpath(text, NULL);
    if (path == NULL)
        return problem_set(problem, CTL_USAGE, "--ca %s: %s", text, strerror(errno));
    json_object_set_new(request, "ca", json_string(path));
    free(path);
    return true;
}

/* Whatever was given on the command line, into the request; what was not is left out. */
static bool put_options(const struct args *args, json_t *request, struct problem *problem)
{
    bool ok = put_text(args, OPTION_SERVER, "server", request, problem) &&
              put_text(args, OPTION_USER, "user", request, problem) &&
              put_text(args, OPTION_AUTH, "auth", request, problem) &&
              put_text(args, OPTION_PIN, "pin", request, problem) &&
              put_ca(args, request, problem) && put_tls(args, request, problem) &&
              put_port(args, request, problem) && put_interval(args, request, problem);
    if (ok && args->value[OPTION_DELIVER_TO] != NULL) {
        if (json_array_size(args->deliver_to) == 0)
            return problem_set(problem, CTL_USAGE, "--deliver-to is empty");
        json_object_set(request, "deliver_to", args->deliver_to);
    }
    if (ok && args->value[OPTION_BASELINE] != NULL)
        json_object_set_new(request, "baseline", json_true());
    return ok;
}

static bool put_password(const struct ctl *ctl, const struct args *args, bool twice,
                         json_t *request, struct problem *problem)
{
    char *password = password_read(args->value[OPTION_PASSWORD_STDIN] != NULL, twice, problem);
    if (password == NULL)
        return false;
    char *sealed = password_seal(ctl, "fetcherd", args->words[0], password, problem);
    secret_wipe(password);
    if (sealed == NULL)
        return false;
    json_object_set_new(request, "secret", json_string(sealed));
    free(sealed);
    return true;
}

/* Sends the request, and prints the reply or one line; the exit code. */
static int carry_out(const struct ctl *ctl, json_t *request, const char *done)
{
    struct problem problem;
    char *name = strdup(field_text(request, "name"));
    json_t *reply = call_daemon(ctl, "fetcherd", request, CALL_ANYHOW, &problem);
    if (reply == NULL) {
        free(name);
        return problem_report(&problem);
    }
    if (ctl->json)
        print_json(reply);
    else {
        print_styled(&ctl->screen, PRINT_TITLE, name != NULL ? name : "");
        fputs(": ", ctl->screen.out);
        print_styled(&ctl->screen, PRINT_PLAIN, done);
        fputc('\n', ctl->screen.out);
    }
    json_decref(reply);
    free(name);
    return CTL_DONE;
}

static json_t *named_request(const char *cmd, const struct args *args)
{
    return json_pack("{s:s, s:s}", "cmd", cmd, "name", args->words[0]);
}

int account_add(struct ctl *ctl, const struct args *args)
{
    static const enum ctl_option needed[] = {OPTION_SERVER, OPTION_USER, OPTION_DELIVER_TO};
    struct problem problem;
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++)
        if (args->value[needed[i]] == NULL)
            return command_fail(CTL_USAGE, "--%s is needed", option_name(needed[i]));
    json_t *request = named_request("account.add", args);
    char done[2 * PATH_MAX];
    (void)snprintf(done, sizeof done, "added; to poll it now: %s fetch %s --wait", ctl->self,
                   args->words[0]);
    if (put_options(args, request, &problem) && put_password(ctl, args, true, request, &problem))
        return carry_out(ctl, request, done);
    json_decref(request);
    return problem_report(&problem);
}

int account_set(struct ctl *ctl, const struct args *args)
{
    struct problem problem;
    bool password = args->value[OPTION_PASSWORD] != NULL;
    bool from_stdin = args->value[OPTION_PASSWORD_STDIN] != NULL;
    json_t *request = named_request("account.set", args);
    bool ok = put_options(args, request, &problem);
    if (ok && json_object_size(request) == 2 && !password && !from_stdin)
        ok = problem_set(&problem, CTL_USAGE, "nothing to set: give at least one option");
    if (ok && (password || from_stdin))
        ok = put_password(ctl, args, true, request, &problem);
    if (ok)
        return carry_out(ctl, request, "changed");
    json_decref(request);
    return problem_report(&problem);
}

int account_enable(struct ctl *ctl, const struct args *args)
{
    return carry_out(ctl, named_request("account.enable", args), "enabled");
}

int account_disable(struct ctl *ctl, const struct args *args)
{
    return carry_out(ctl, named_request("account.disable", args),
                     "disabled; it is not polled any more");
}

int account_remove(struct ctl *ctl, const struct args *args)
{
    return carry_out(ctl, named_request("account.remove", args),
                     "removed; what is on its server stays there");
}

int account_list(struct ctl *ctl, const struct args *args)
{
    (void)args;
    struct problem problem;
    json_t *list = call_list(ctl, "fetcherd", call_request("account.list"), &problem);
    if (list == NULL)
        return problem_report(&problem);
    if (ctl->json)
        print_json(list);
    else if (json_array_size(list) == 0)
        fprintf(ctl->screen.out,
                "No accounts yet. Add one:\n"
                "  %s account add NAME --server HOST --user USER --deliver-to ADDR\n",
                ctl->self);
    else
        accounts_table(&ctl->screen, list);
    json_decref(list);
    return CTL_DONE;
}

int account_show(struct ctl *ctl, const struct args *args)
{
    struct problem problem;
    json_t *reply =
        call_daemon(ctl, "fetcherd", named_request("account.show", args), CALL_ANYHOW, &problem);
    if (reply == NULL)
        return problem_report(&problem);
    const json_t *account = json_object_get(reply, "account");
    if (ctl->json)
        print_json(account);
    else
        accounts_details(&ctl->screen, account);
    json_decref(reply);
    return CTL_DONE;
}
