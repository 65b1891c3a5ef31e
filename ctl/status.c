/* How all of it fares. Each daemon is asked, but none is needed: what can't be learned from one
 * that is down is counted here, and what goes on without it is said. This gathers; statusview.c
 * shows. */
#include "ctl/call.h"
#include "ctl/field.h"
#include "ctl/statusview.h"
#include "lib/bus.h"
#include "lib/clock.h"
#include "spool/spool.h"
#include <limits.h>
#include <string.h>

#define STATUS_TIMEOUT (3 * (int)CLOCK_SECOND)

/* {"up": true, ...}, or {"up": false, "error": ...}, with "start", the command, when nobody is
 * there at all. */
static json_t *ask(const struct ctl *ctl, const char *daemon)
{
    struct error err = {0};
    char start[2 * PATH_MAX];
    json_t *reply = bus_call(ctl->caller, daemon, call_request("status"), STATUS_TIMEOUT, &err);
    if (reply != NULL && field_true(reply, "ok")) {
        json_object_del(reply, "ok");
        json_object_set_new(reply, "up", json_true());
        return reply;
    }
    json_t *down = json_pack("{s:b, s:s}", "up", false, "error",
                             reply != NULL ? field_text(reply, "error") : err.text);
    if (err.kind == ERROR_MISSING)
        json_object_set_new(down, "start",
                            json_string(call_how_to_start(ctl, daemon, start, sizeof start)));
    json_decref(reply);
    return down;
}

/* A fetcherd that hangs has been waited for once. */
static json_t *list_accounts(const struct ctl *ctl, const json_t *fetcherd, json_t **why)
{
    struct problem problem = {0};
    if (!field_true(fetcherd, "up") && json_object_get(fetcherd, "start") == NULL) {
        *why = json_string(field_text(fetcherd, "error"));
        return NULL;
    }
    json_t *accounts = call_list(ctl, "fetcherd", call_request("account.list"), &problem);
    if (accounts == NULL)
        *why = json_string(problem.text);
    return accounts;
}

/* What the daemons count is taken from them; the rest is counted here, as far as the directories
 * can be read. */
static json_t *count_spool(const struct spool *spool, json_t *const replies[])
{
    json_t *counts = json_object();
    for (int dir = SPOOL_INCOMING; dir < SPOOL_DIRS; dir++) {
        const char *name = spool_dir_name((enum spool_dir)dir);
        json_t *count = NULL;
        for (int i = 0; call_daemons[i] != NULL && count == NULL; i++)
            count = json_object_get(json_object_get(replies[i], "spool"), name);
        if (json_is_integer(count))
            json_object_set(counts, name, count);
        else if (spool != NULL)
            json_object_set_new(counts, name,
                                json_integer((json_int_t)spool_count(spool, (enum spool_dir)dir)));
        else
            json_object_set_new(counts, name, json_null());
    }
    return counts;
}

int status_run(struct ctl *ctl, const struct args *args)
{
    (void)args;
    json_t *replies[3] = {NULL}, *all = json_object(), *why = NULL;
    for (int i = 0; call_daemons[i] != NULL; i++) {
        replies[i] = ask(ctl, call_daemons[i]);
        json_object_set(all, call_daemons[i], replies[i]);
    }
    struct spool *spool = spool_open(ctl->conf->spool_dir, false, NULL);
    json_object_set_new(all, "spool", count_spool(spool, replies));
    if (spool != NULL) {
        json_object_set_new(all, "spool_free", json_integer((json_int_t)spool_free_bytes(spool)));
        spool_close(spool);
    }
    json_t *accounts = list_accounts(ctl, replies[0], &why);
    json_object_set_new(all, "accounts", accounts != NULL ? accounts : json_array());
    if (why != NULL)
        json_object_set_new(all, "accounts_error", why);
    if (ctl->json)
        print_json(all);
    else
        statusview_print(ctl, all);
    for (int i = 0; call_daemons[i] != NULL; i++)
        json_decref(replies[i]);
    json_decref(all);
    return CTL_DONE;
}
