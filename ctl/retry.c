/* Delivering at once what waits: for a filter, which hygiene knows of, or for the SMTP server,
 * which relayd does. Promises: both are asked, whatever the other does; what one can't do is said,
 * and what the other has done is told. */
#include "ctl/act.h"
#include "ctl/field.h"
#include "ctl/listing.h"

struct retry {
    const struct ctl *ctl;
    json_int_t count;
    json_t *failed; /* id to reason */
    bool answered;  /* by one at least */
    int code;       /* of what was reported */
};

static void report(struct retry *retry, const struct problem *problem)
{
    int code = problem_report(problem);
    if (retry->code == CTL_DONE)
        retry->code = code;
}

/* The ids of these that it does not know; NULL: it can't say, which is reported. */
static json_t *retry_ids(struct retry *retry, const char *daemon, const json_t *ids)
{
    const struct act act = {.daemon = daemon, .cmd = "retry", .most = ACT_IDS};
    struct problem problem;
    json_t *all = json_pack("{s:[], s:{}}", "others", "failed");
    json_t *others = json_incref(json_object_get(all, "others"));
    bool ok = act_on_ids(retry->ctl, &act, ids, all, &problem);
    retry->count += field_int(all, "count");
    retry->answered = retry->answered || ok || field_int(all, "count") > 0;
    json_object_update(retry->failed, json_object_get(all, "failed"));
    json_decref(all);
    if (ok)
        return others;
    report(retry, &problem);
    json_decref(others);
    return NULL;
}

/* What hygiene does not know is relayd's; when it can't say, any of them may be. */
static void retry_some(struct retry *retry, const json_t *ids)
{
    size_t i;
    const json_t *id;
    json_t *queued = retry_ids(retry, "hygiene", ids);
    const char *why = queued != NULL ? "it is not in the queue"
                                     : "it is not in outgoing/, and hygiene can't be asked";
    const json_t *rest = queued != NULL ? queued : ids;
    json_t *unknown = json_array_size(rest) > 0 ? retry_ids(retry, "relayd", rest) : NULL;
    json_array_foreach(unknown, i, id)
    {
        json_object_set_new(retry->failed, json_string_value(id), json_string(why));
    }
    json_decref(unknown);
    json_decref(queued);
}

static void retry_all(struct retry *retry, const char *daemon)
{
    struct problem problem;
    json_t *request = call_request("retry");
    json_object_set_new(request, "all", json_true());
    json_t *reply = call_daemon(retry->ctl, daemon, request, CALL_ANYHOW, &problem);
    retry->count += field_int(reply, "count");
    retry->answered = retry->answered || reply != NULL;
    if (reply == NULL)
        report(retry, &problem);
    json_decref(reply);
}

static int tell(const struct retry *retry)
{
    json_t *answer = json_pack("{s:I, s:O}", "count", retry->count, "failed", retry->failed);
    bool ok = retry->code == CTL_DONE && json_object_size(retry->failed) == 0;
    json_object_set_new(answer, "ok", json_boolean(ok));
    if (retry->answered && retry->ctl->json)
        print_json(answer);
    else if (retry->count > 0 || ok)
        fprintf(retry->ctl->screen.out, "%lld to be tried again now\n", (long long)retry->count);
    bool failed = act_report_failed(answer);
    json_decref(answer);
    return retry->code == CTL_DONE && failed ? CTL_FAILED : retry->code;
}

int queue_retry(struct ctl *ctl, const struct args *args)
{
    struct problem problem;
    struct retry retry = {.ctl = ctl};
    if (args->value[OPTION_ALL] != NULL && args->count > 0)
        return command_fail(CTL_USAGE, "give ids or --all, not both");
    json_t *ids = listing_ids(args->words, args->count, &problem);
    if (ids == NULL)
        return problem_report(&problem);
    retry.failed = json_object();
    if (args->count > 0) {
        retry_some(&retry, ids);
    } else {
        retry_all(&retry, "relayd");
        retry_all(&retry, "hygiene");
    }
    int code = tell(&retry);
    json_decref(retry.failed);
    json_decref(ids);
    return code;
}
