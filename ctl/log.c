/* How much the daemons say: all three are told, those that are down are named. */
#include "ctl/call.h"
#include <string.h>

int log_run(struct ctl *ctl, const struct args *args)
{
    bool verbose = strcmp(args->words[0], "verbose") == 0;
    if (!verbose && strcmp(args->words[0], "normal") != 0)
        return command_fail(CTL_USAGE, "log %s: expected verbose or normal", args->words[0]);
    int code = CTL_DONE;
    json_t *told = json_array();
    for (const char *const *daemon = call_daemons; *daemon != NULL; daemon++) {
        struct problem problem;
        json_t *request = json_pack("{s:s, s:b}", "cmd", "log", "verbose", verbose);
        json_t *reply = call_daemon(ctl, *daemon, request, CALL_RUNNING, &problem);
        if (reply == NULL)
            code = problem_report(&problem);
        else
            json_array_append_new(told, json_string(*daemon));
        if (reply != NULL && !ctl->json)
            fprintf(ctl->screen.out, "%s logs %s\n", *daemon, args->words[0]);
        json_decref(reply);
    }
    json_t *all = json_pack("{s:b, s:s, s:o}", "ok", code == CTL_DONE, "level", args->words[0],
                            "daemons", told);
    if (ctl->json)
        print_json(all);
    json_decref(all);
    return code;
}
