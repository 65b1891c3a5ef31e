/* Telling the server of the client that a message came from, by XCLIENT or XFORWARD. Promises: what
 * was said of one message's client is never in force for another's; a server that will not hear of
 * it gets the message all the same. */
#include "relayd/client_arguments.h"
#include "relayd/smtp_core.h"

static bool xclient_offered(const struct smtp *smtp)
{
    char arguments[CLIENT_ARGUMENTS_SIZE];
    const struct client none = {.address = ""};
    return smtp->xclient && client_arguments(&none, smtp->offers.xclient, arguments);
}

/* There is no way back to our own address: who is not known needs a session of his own. */
bool smtp_client_fits(const struct smtp *smtp, const struct client *client)
{
    if (smtp->speaks_for.address[0] == '\0')
        return true;
    return client && (client_same(client, &smtp->speaks_for) || xclient_offered(smtp));
}

static bool put_client(struct smtp *smtp, const char *verb, const char *offered,
                       enum smtp_state next)
{
    char arguments[CLIENT_ARGUMENTS_SIZE];
    if (!client_arguments(smtp->envelope.client, offered, arguments) ||
        !smtp_put_command(smtp, verb, arguments, ""))
        return false;
    smtp_set_state(smtp, next);
    smtp_flush(smtp);
    return true;
}

void smtp_tell_client(struct smtp *smtp)
{
    const struct client *client = smtp->envelope.client;
    smtp->forwarded = false;
    if (client && xclient_offered(smtp) && !client_same(client, &smtp->speaks_for)) {
        smtp->speaks_for = *client;
        if (put_client(smtp, "XCLIENT", smtp->offers.xclient, SMTP_XCLIENT))
            return;
    } else if (client && smtp->xforward) {
        smtp->forwarded = true;
        if (put_client(smtp, "XFORWARD", smtp->offers.xforward, SMTP_XFORWARD))
            return;
        smtp->forwarded = false;
    }
    if (smtp->state != SMTP_CLOSED)
        smtp_begin_envelope(smtp);
}

/* The server says that XCLIENT is not for us, or not so; other refusals are of the client. */
static bool is_about_command(int code)
{
    return (code >= 500 && code <= 504) || code == 550;
}

void smtp_on_xclient(struct smtp *smtp, const struct smtp_reply *reply)
{
    if (reply->code == 220) {
        smtp->offers = (struct smtp_extensions){0};
        smtp->logged_in = false;
        smtp_hello(smtp);
    } else if (is_about_command(reply->code)) {
        /* Some of it may be in force: of this message's own client, so for this message only. */
        smtp->leave = true;
        smtp_begin_envelope(smtp);
    } else if (smtp_reply_class(reply) < 4) {
        smtp_fail_session(smtp, reply->code, smtp->text);
    } else {
        smtp_client_refused(smtp, reply);
    }
}

void smtp_client_refused(struct smtp *smtp, const struct smtp_reply *reply)
{
    struct smtp_result result = smtp_result_of(smtp, reply, "XCLIENT");
    smtp->leave = true;
    smtp_end_transaction(smtp, &result, false);
}

void smtp_on_xforward(struct smtp *smtp, const struct smtp_reply *reply)
{
    if (smtp_reply_class(reply) == 3)
        smtp_fail_session(smtp, reply->code, smtp->text);
    else
        smtp_begin_envelope(smtp);
}
