/* What came into quarantine lately and what will soon be removed, to be read here or by mail. */
#include "ctl/call.h"
#include "ctl/field.h"
#include "lib/conf.h"
#include <string.h>

/* Lines that hygiene has escaped, and that are escaped here once more. */
static void print_text(const struct screen *screen, const char *text)
{
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");
        print_line(screen, PRINT_PLAIN, "%.*s", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

static void print_mailed(const struct screen *screen, const json_t *reply)
{
    const char *to = field_text(reply, "mailed_to");
    if (to[0] == '\0')
        print_line(screen, PRINT_PLAIN, "There is nothing to tell, and no mail was sent.");
    else
        print_line(screen, PRINT_PLAIN, "Handed in for %s, as pickup/%s", to,
                   field_text(reply, "name"));
}

int badmail_digest(struct ctl *ctl, const struct args *args)
{
    struct problem problem;
    const char *since = args->value[OPTION_SINCE], *by = args->value[OPTION_BY];
    bool mail = args->value[OPTION_MAIL] != NULL;
    int64_t ms;
    json_t *request =
        json_pack("{s:s, s:b, s:s*}", "cmd", "badmail.digest", "mail", mail, "by", by);
    if (since != NULL && !conf_duration(since, &ms)) {
        json_decref(request);
        return command_fail(CTL_USAGE, "--since %.80s: expected a time such as 1d", since);
    }
    if (since != NULL)
        json_object_set_new(request, "since", json_integer(ms));
    json_t *reply = call_daemon(ctl, "hygiene", request, CALL_ANYHOW, &problem);
    if (reply == NULL)
        return problem_report(&problem);
    if (ctl->json)
        print_json(reply);
    else if (mail)
        print_mailed(&ctl->screen, reply);
    else
        print_text(&ctl->screen, field_text(reply, "text"));
    json_decref(reply);
    return CTL_DONE;
}
