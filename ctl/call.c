/* Socket first. Only when nobody listens there is the daemon's binary run; when that finds the
 * ledger locked, a daemon is just starting or stopping (or another popferryctl is asking), so both
 * are tried again for a while. */
#include "ctl/call.h"
#include "ctl/field.h"
#include "ctl/oneshot.h"
#include "lib/bus.h"
#include "lib/clock.h"
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define ANSWER_TIMEOUT (15 * (int)CLOCK_SECOND)
#define ONCE_TIMEOUT   (60 * (int)CLOCK_SECOND)
#define LOCK_PATIENCE  (5 * CLOCK_SECOND)

const char *const call_daemons[] = {"fetcherd", "hygiene", "relayd", NULL};

json_t *call_request(const char *cmd)
{
    return json_pack("{s:s}", "cmd", cmd);
}

const char *call_how_to_start(const struct ctl *ctl, const char *daemon, char *buf, size_t size)
{
    char program[PATH_MAX], conf[PATH_MAX];
    if (!oneshot_program(daemon, program, sizeof program))
        (void)snprintf(program, sizeof program, "%s", daemon);
    bool absolute = realpath(ctl->conf_file, conf) != NULL;
    (void)snprintf(buf, size, "%s -c %s", program, absolute ? conf : ctl->conf_file);
    return buf;
}

/* A refusal by the daemon, in its own words. */
static bool judge(const struct ctl *ctl, const char *daemon, const json_t *reply,
                  struct problem *problem)
{
    if (field_true(reply, "ok"))
        return true;
    const char *code = field_text(reply, "code");
    const char *text = field_text(reply, "error");
    char start[2 * PATH_MAX];
    if (strcmp(code, "down") == 0)
        return problem_set(problem, CTL_DOWN,
                           "%s is not running; start it by its supervisor, or with: %s", daemon,
                           call_how_to_start(ctl, daemon, start, sizeof start));
    if (text[0] == '\0')
        text = "it failed, and did not say why";
    (void)problem_set(problem, strcmp(code, "usage") == 0 ? CTL_USAGE : CTL_FAILED, "%s", text);
    problem->not_found = strcmp(code, "notfound") == 0;
    return false;
}

static json_t *ask_once(const struct ctl *ctl, const char *daemon, const json_t *request,
                        struct error *err)
{
    char program[PATH_MAX];
    struct oneshot oneshot = {
        .program = program,
        .conf_file = ctl->conf_file,
        .state_dir = ctl->conf->state_dir,
        .timeout_ms = ONCE_TIMEOUT,
        .verbose = ctl->verbose,
    };
    if (oneshot_program(daemon, program, sizeof program))
        return oneshot_ask(&oneshot, request, err);
    (void)error_set(err, ERROR_PERMANENT, "its program is not beside popferryctl");
    return NULL;
}

/* A file or directory of the daemon's is missing, though not its program. */
static bool is_uninitialised(const struct error *err)
{
    return strstr(err->text, "No such file") != NULL && strstr(err->text, "cannot run") == NULL;
}

/* A daemon that should have answered and did not, or could not be run. */
static void blame(const char *daemon, const struct error *err, struct problem *problem)
{
    if (err->kind == ERROR_TEMPORARY) /* the text begins with the daemon's name */
        (void)problem_set(problem, CTL_DOWN, "%s; see its log, and restart it", err->text);
    else if (err->kind == ERROR_USAGE)
        (void)problem_set(problem, CTL_USAGE, "%s", err->text);
    else
        (void)problem_set(problem, CTL_FAILED, "%s: %s%s", daemon, err->text,
                          is_uninitialised(err) ? "; popferryctl init makes what is missing" : "");
}

static json_t *ask_anyhow(const struct ctl *ctl, const char *daemon, const json_t *request,
                          struct problem *problem)
{
    int64_t patience = clock_monotonic() + LOCK_PATIENCE;
    struct error err = {0};
    for (;;) {
        json_t *reply =
            bus_call(ctl->caller, daemon, json_deep_copy(request), ANSWER_TIMEOUT, &err);
        if (reply != NULL)
            return reply;
        if (err.kind != ERROR_MISSING)
            break;
        reply = ask_once(ctl, daemon, request, &err);
        if (reply != NULL)
            return reply;
        if (err.kind != ERROR_TEMPORARY || clock_monotonic() > patience)
            break;
        (void)nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    }
    blame(daemon, &err, problem);
    return NULL;
}

static json_t *ask_running(const struct ctl *ctl, const char *daemon, const json_t *request,
                           struct problem *problem)
{
    struct error err = {0};
    json_t *reply = bus_call(ctl->caller, daemon, json_deep_copy(request), ANSWER_TIMEOUT, &err);
    char start[2 * PATH_MAX];
    if (reply == NULL && err.kind == ERROR_MISSING)
        (void)problem_set(problem, CTL_DOWN,
                          "%s is not running; start it by its supervisor, or with: %s", daemon,
                          call_how_to_start(ctl, daemon, start, sizeof start));
    else if (reply == NULL)
        blame(daemon, &err, problem);
    return reply;
}

json_t *call_daemon(const struct ctl *ctl, const char *daemon, json_t *request, enum call_way way,
                    struct problem *problem)
{
    json_t *reply = way == CALL_ANYHOW ? ask_anyhow(ctl, daemon, request, problem)
                                       : ask_running(ctl, daemon, request, problem);
    json_decref(request);
    if (reply == NULL || judge(ctl, daemon, reply, problem))
        return reply;
    json_decref(reply);
    return NULL;
}

bool call_pages(call_ask_fn *ask, void *ask_arg, json_t *request, call_item_fn *fn, void *arg,
                struct problem *problem)
{
    bool more = true, ok = true;
    while (ok && more) {
        json_t *reply = ask(ask_arg, json_copy(request), problem);
        if (reply == NULL) {
            ok = false;
            break;
        }
        size_t i;
        json_t *item, *next = json_object_get(reply, "next");
        more = next != NULL && !json_is_null(next);
        json_array_foreach(json_object_get(reply, "items"), i, item)
        {
            if (!fn(arg, item)) {
                more = false;
                break;
            }
        }
        /* A cursor that stands still would have us ask for ever. */
        if (more && json_equal(next, json_object_get(request, "after")))
            ok = problem_set(problem, CTL_FAILED, "the daemon gives the same page over and over");
        if (more)
            json_object_set(request, "after", next);
        json_decref(reply);
    }
    json_decref(request);
    return ok;
}

struct target {
    const struct ctl *ctl;
    const char *daemon;
};

static json_t *ask_target(void *arg, json_t *request, struct problem *problem)
{
    const struct target *target = arg;
    return call_daemon(target->ctl, target->daemon, request, CALL_ANYHOW, problem);
}

static bool append(void *arg, json_t *item)
{
    json_array_append(arg, item);
    return true;
}

json_t *call_list(const struct ctl *ctl, const char *daemon, json_t *request,
                  struct problem *problem)
{
    struct target target = {ctl, daemon};
    json_t *list = json_array();
    if (call_pages(ask_target, &target, request, append, list, problem))
        return list;
    json_decref(list);
    return NULL;
}
