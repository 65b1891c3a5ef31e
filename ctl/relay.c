/* The SMTP server that all mail goes to: what is set, and the password that it is shown. */
#include "ctl/call.h"
#include "ctl/field.h"
#include "ctl/password.h"
#include "lib/secret.h"
#include <stdlib.h>
#include <string.h>

static void print_settings(const struct ctl *ctl, const json_t *relay)
{
    const struct screen *screen = &ctl->screen;
    char text[400];
    const char *host = field_text(relay, "host"), *user = field_text(relay, "user");
    if (host[0] == '/')
        (void)snprintf(text, sizeof text, "%s", host);
    else
        (void)snprintf(text, sizeof text, "%s, port %lld", host,
                       (long long)field_int(relay, "port"));
    print_field(screen, "server", text);
    print_field(screen, "protocol", field_text(relay, "protocol"));
    print_field(screen, "TLS", field_text(relay, "tls"));
    if (field_text(relay, "ca")[0] != '\0')
        print_field(screen, "CA", field_text(relay, "ca"));
    if (field_text(relay, "pin")[0] != '\0')
        print_field(screen, "pin", field_text(relay, "pin"));
    (void)snprintf(text, sizeof text, "as %s, by %s; %s", user, field_text(relay, "auth"),
                   field_true(relay, "password") ? "the password is kept" : "no password");
    print_field(screen, "login", user[0] != '\0' ? text : "none");
    if (field_text(relay, "problem")[0] == '\0')
        return;
    (void)snprintf(text, sizeof text, "! %s", field_text(relay, "problem"));
    print_styled(screen, PRINT_BAD, text);
    fputc('\n', screen->out);
}

int relay_show(struct ctl *ctl, const struct args *args)
{
    (void)args;
    struct problem problem;
    json_t *reply = call_daemon(ctl, "relayd", call_request("relay"), CALL_ANYHOW, &problem);
    if (reply == NULL)
        return problem_report(&problem);
    if (ctl->json)
        print_json(reply);
    else
        print_settings(ctl, reply);
    json_decref(reply);
    return CTL_DONE;
}

int relay_password(struct ctl *ctl, const struct args *args)
{
    struct problem problem;
    const char *user = ctl->conf->relay.user;
    if (user[0] == '\0')
        return command_fail(CTL_FAILED, "%s: relay.user is empty: set it first", ctl->conf_file);
    char *password = password_read(args->value[OPTION_PASSWORD_STDIN] != NULL, true, &problem);
    if (password == NULL)
        return problem_report(&problem);
    char *sealed = password_seal(ctl, "relayd", user, password, &problem);
    secret_wipe(password);
    if (sealed == NULL)
        return problem_report(&problem);
    json_t *request = json_pack("{s:s, s:s}", "cmd", "relay.secret", "secret", sealed);
    free(sealed);
    json_t *reply = call_daemon(ctl, "relayd", request, CALL_ANYHOW, &problem);
    if (reply == NULL)
        return problem_report(&problem);
    if (ctl->json)
        print_json(reply);
    else
        fprintf(ctl->screen.out, "The password of %s is kept; it is tried at once.\n", user);
    json_decref(reply);
    return CTL_DONE;
}
