/* Promises: no request names more ids than the daemon takes; what was done before a request failed
 * is in the sum all the same. */
#include "ctl/act.h"

/* Adds what one reply says to what the ones before said. */
static void merge(json_t *all, json_t *reply)
{
    const char *key;
    json_t *value;
    json_object_foreach(reply, key, value)
    {
        json_t *so_far = json_object_get(all, key);
        if (json_is_array(value) && json_is_array(so_far))
            json_array_extend(so_far, value);
        else if (json_is_object(value) && json_is_object(so_far))
            json_object_update(so_far, value);
        else if (json_is_integer(value) && json_is_integer(so_far))
            json_integer_set(so_far, json_integer_value(so_far) + json_integer_value(value));
        else
            json_object_set(all, key, value);
    }
}

static json_t *ask_for(const struct ctl *ctl, const struct act *act, const json_t *ids, size_t at,
                       size_t n, struct problem *problem)
{
    json_t *some = json_array(), *request = call_request(act->cmd);
    for (size_t i = at; i < at + n; i++)
        json_array_append(some, json_array_get(ids, i));
    json_object_set_new(request, "ids", some);
    json_object_update(request, (json_t *)act->more);
    return call_daemon(ctl, act->daemon, request, CALL_ANYHOW, problem);
}

bool act_on_ids(const struct ctl *ctl, const struct act *act, const json_t *ids, json_t *all,
                struct problem *problem)
{
    size_t count = json_array_size(ids);
    bool ok = true;
    for (size_t at = 0; ok && at < count;) {
        size_t n = count - at < act->most ? count - at : act->most;
        json_t *reply = ask_for(ctl, act, ids, at, n, problem);
        if (reply == NULL)
            return false;
        size_t left = json_array_size(json_object_get(reply, "left"));
        json_object_del(reply, "left");
        merge(all, reply);
        json_decref(reply);
        if (left >= n) /* we would ask for ever */
            ok = problem_set(problem, CTL_FAILED, "%s takes too long; try again", act->daemon);
        at += n - left;
    }
    return ok;
}

bool act_report_failed(const json_t *all)
{
    const char *id;
    json_t *why, *failed = json_object_get(all, "failed");
    json_object_foreach(failed, id, why)
    {
        const char *text = json_is_string(why) ? json_string_value(why) : "it failed";
        (void)command_fail(CTL_FAILED, "%s: %s", id, text);
    }
    return json_object_size(failed) > 0;
}
