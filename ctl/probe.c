/* Looking at a mailbox without touching it, or at the SMTP server: `account test`, `mailbox` and
 * `relay test`. The daemon does it and gives a ticket; here it is asked until it is done. */
#include "ctl/call.h"
#include "ctl/field.h"
#include "ctl/table.h"
#include "lib/clock.h"
#include <string.h>
#include <time.h>
#include <unistd.h>

#define LOOK_EVERY 150                 /* ms */
#define PATIENCE   (10 * CLOCK_MINUTE) /* fetcherd itself gives up long before */

static void say_waiting(const struct ctl *ctl, const char *text)
{
    static bool shown;
    if (ctl->json || !isatty(STDERR_FILENO) || (text == NULL && !shown))
        return;
    shown = text != NULL;
    fputs("\r\033[K", stderr);
    fputs(text != NULL ? text : "", stderr);
    fflush(stderr);
}

/* {"done":true,"result":{...}}; NULL with problem filled in. */
static json_t *wait_for(const struct ctl *ctl, const char *daemon, int64_t ticket,
                        struct problem *problem)
{
    int64_t give_up = clock_monotonic() + PATIENCE;
    for (;;) {
        json_t *request =
            json_pack("{s:s, s:I}", "cmd", "probe.report", "ticket", (json_int_t)ticket);
        json_t *report = call_daemon(ctl, daemon, request, CALL_RUNNING, problem);
        if (report == NULL || field_true(report, "done")) {
            say_waiting(ctl, NULL);
            return report;
        }
        say_waiting(ctl, field_true(report, "waits") ? "waiting for the poll in progress to end"
                                                     : "asking the server");
        json_decref(report);
        if (clock_monotonic() > give_up) {
            (void)problem_set(problem, CTL_FAILED, "%s does not come to an end with it", daemon);
            return NULL;
        }
        (void)nanosleep(&(struct timespec){.tv_nsec = LOOK_EVERY * 1000000L}, NULL);
    }
}

/* The result, and the ticket; NULL with problem filled in. */
static json_t *probe(const struct ctl *ctl, const char *daemon, const char *name, int64_t *ticket,
                     struct problem *problem)
{
    json_t *request = json_pack("{s:s, s:s}", "cmd", "probe", "name", name);
    json_t *reply = call_daemon(ctl, daemon, request, CALL_RUNNING, problem);
    if (reply == NULL)
        return NULL;
    *ticket = field_int(reply, "ticket");
    json_decref(reply);
    json_t *report = wait_for(ctl, daemon, *ticket, problem);
    json_t *result = json_incref(json_object_get(report, "result"));
    json_decref(report);
    return result;
}

/* --- account test ------------------------------------------------------------------------- */

static void print_certificate(const struct screen *screen, const json_t *result)
{
    const json_t *cert = json_object_get(result, "certificate");
    char text[700], from[PRINT_SHORT], until[PRINT_SHORT];
    if (cert == NULL)
        return;
    print_field(screen, "certificate", field_text(cert, "subject"));
    print_field(screen, "for", field_text(cert, "names"));
    print_field(screen, "issued by", field_text(cert, "issuer"));
    (void)snprintf(from, sizeof from, "%.10s", field_text(cert, "from"));
    (void)snprintf(until, sizeof until, "%.10s", field_text(cert, "until"));
    int64_t left = (field_time(cert, "until") - clock_now()) / CLOCK_DAY;
    (void)snprintf(text, sizeof text, left >= 0 ? "%s to %s (%lld days left)" : "%s to %s", from,
                   until, (long long)left);
    print_field(screen, "valid", text);
    print_field(screen, "pin", field_text(cert, "pin"));
}

static void print_connection(const struct screen *screen, const json_t *result)
{
    char text[700];
    const char *address = field_text(result, "address"), *server = field_text(result, "server");
    bool named = address[0] != '\0' && strcmp(address, server) != 0;
    (void)snprintf(text, sizeof text, "%s%s%s%s, port %lld", server, named ? " (" : "",
                   named ? address : "", named ? ")" : "", (long long)field_int(result, "port"));
    print_field(screen, "server", text);
    if (field_text(result, "version")[0] != '\0')
        (void)snprintf(text, sizeof text, "%s, %s (%s%s)", field_text(result, "version"),
                       field_text(result, "cipher"), field_text(result, "tls"),
                       field_true(result, "resumed") ? ", resumed" : "");
    else
        (void)snprintf(text, sizeof text, "%s", field_text(result, "tls"));
    print_field(screen, "TLS", text);
    print_certificate(screen, result);
}

/* A sentence, broken at blanks where the screen ends. */
static void print_sentence(const struct screen *screen, enum print_style style, const char *text)
{
    size_t room = screen->width > 1 ? (size_t)screen->width - 1 : strlen(text);
    char line[1200];
    while (*text != '\0') {
        size_t n = strlen(text);
        if (n > room) {
            for (n = room; n > 0 && text[n] != ' ';)
                n--;
            n = n > 0 ? n : strcspn(text, " ");
        }
        (void)snprintf(line, sizeof line, "%.*s", (int)n, text);
        print_styled(screen, style, line);
        fputc('\n', screen->out);
        text += n + (text[n] == ' ');
    }
}

/* What the server can do, as a field of as many lines as it takes. */
static void print_words(const struct screen *screen, const char *label, const json_t *words)
{
    enum { LABEL = 13 };
    int room = (screen->width > 0 ? screen->width : 80) - LABEL;
    int used = 0;
    const json_t *word;
    size_t i;
    if (json_array_size(words) == 0)
        return;
    fprintf(screen->out, "%s:%*s", label, LABEL - 1 - (int)strlen(label), "");
    json_array_foreach(words, i, word)
    {
        const char *text = json_string_value(word);
        int width = print_width(text) + 2;
        if (used > 0 && used + width > room) {
            fprintf(screen->out, ",\n%*s", LABEL, "");
            used = 0;
        } else if (used > 0) {
            fputs(", ", screen->out);
        }
        print_styled(screen, PRINT_PLAIN, text);
        used += width;
    }
    fputc('\n', screen->out);
}

static void print_mailbox(const struct screen *screen, const json_t *result)
{
    char text[300], all[PRINT_SHORT], largest[PRINT_SHORT], number[PRINT_SHORT], large[64] = "";
    int64_t count = field_int(result, "messages"), too_large = field_int(result, "too_large");
    if (json_object_get(result, "messages") == NULL)
        return;
    if (too_large > 0)
        (void)snprintf(large, sizeof large, ", %lld too large", (long long)too_large);
    (void)snprintf(text, sizeof text, "%s message%s, %s", print_number(count, number),
                   count == 1 ? "" : "s", print_size((uint64_t)field_int(result, "octets"), all));
    if (count > 0) {
        size_t used = strlen(text);
        (void)snprintf(text + used, sizeof text - used, " (%lld new%s; the largest %s)",
                       (long long)field_int(result, "new"), large,
                       print_size((uint64_t)field_int(result, "largest"), largest));
    }
    print_field(screen, "mailbox", text);
}

static void print_verdict(const struct ctl *ctl, const json_t *result)
{
    char text[1200];
    const json_t *warning;
    size_t i;
    json_array_foreach(json_object_get(result, "warnings"), i, warning)
    {
        (void)snprintf(text, sizeof text, "! %s", json_string_value(warning));
        print_sentence(&ctl->screen, PRINT_WARN, text);
    }
    if (field_true(result, "ok")) {
        print_sentence(&ctl->screen, PRINT_GOOD, "All is well.");
        return;
    }
    (void)snprintf(text, sizeof text, "It failed at %s: %s", field_text(result, "step"),
                   field_text(result, "error"));
    print_sentence(&ctl->screen, PRINT_BAD, text);
}

static void print_test(const struct ctl *ctl, const json_t *result)
{
    char text[700];
    print_connection(&ctl->screen, result);
    print_words(&ctl->screen, "offers", json_object_get(result, "capabilities"));
    if (field_text(result, "method")[0] != '\0') {
        (void)snprintf(text, sizeof text, "as %s, by %s", field_text(result, "user"),
                       field_text(result, "method"));
        print_field(&ctl->screen, "logged in", text);
    }
    print_mailbox(&ctl->screen, result);
    print_verdict(ctl, result);
}

static int test(struct ctl *ctl, const char *daemon, const char *name)
{
    struct problem problem;
    int64_t ticket;
    json_t *result = probe(ctl, daemon, name, &ticket, &problem);
    if (result == NULL)
        return problem_report(&problem);
    bool ok = field_true(result, "ok");
    if (ctl->json)
        print_json(result);
    else
        print_test(ctl, result);
    json_decref(result);
    return ok ? CTL_DONE : CTL_FAILED;
}

int account_test(struct ctl *ctl, const struct args *args)
{
    return test(ctl, "fetcherd", args->words[0]);
}

int relay_test(struct ctl *ctl, const struct args *args)
{
    (void)args;
    return test(ctl, "relayd", "");
}

/* --- mailbox ------------------------------------------------------------------------------ */

static enum print_style state_style(const char *state, const json_t *item)
{
    if (strcmp(state, "new") == 0)
        return PRINT_GOOD;
    if (strcmp(state, "too-large") == 0 || field_int(item, "attempts") > 0)
        return PRINT_WARN;
    return PRINT_PLAIN;
}

static void print_items(const struct screen *screen, const json_t *items)
{
    static const struct table_column columns[] = {
        {.title = "NUMBER", .right = true}, {.title = "SIZE", .right = true}, {.title = "STATE"},
        {.title = "UIDL", .least = 12},     {.title = "ID", .drop = 1},       {.title = NULL},
    };
    struct table *table = table_new(columns);
    size_t i;
    json_t *item;
    json_array_foreach(items, i, item)
    {
        char number[PRINT_SHORT], size[PRINT_SHORT];
        const json_t *octets = json_object_get(item, "size");
        const char *state = field_text(item, "state");
        (void)snprintf(number, sizeof number, "%lld", (long long)field_int(item, "number"));
        table_add(table, (const char *[]){
                             number,
                             json_is_integer(octets)
                                 ? print_size((uint64_t)json_integer_value(octets), size)
                                 : "?",
                             state,
                             field_text(item, "uidl"),
                             field_text(item, "id"),
                         });
        table_style(table, 2, state_style(state, item));
    }
    table_print(table, screen);
    table_free(table);
}

static void print_listing(const struct ctl *ctl, const json_t *result, const json_t *items)
{
    long long listed = (long long)json_array_size(items), all = field_int(result, "messages");
    if (listed > 0)
        print_items(&ctl->screen, items);
    else
        fputs("The mailbox is empty.\n", ctl->screen.out);
    if (listed > 0 && listed < all)
        fprintf(ctl->screen.out, "%lld of %lld messages; the server listed no more\n", listed, all);
}

int mailbox_run(struct ctl *ctl, const struct args *args)
{
    struct problem problem;
    int64_t ticket;
    json_t *result = probe(ctl, "fetcherd", args->words[0], &ticket, &problem);
    if (result == NULL)
        return problem_report(&problem);
    if (!field_true(result, "ok")) {
        int code =
            command_fail(CTL_FAILED, "%s: %s (popferryctl account test %s tells more)",
                         field_text(result, "step"), field_text(result, "error"), args->words[0]);
        json_decref(result);
        return code;
    }
    json_t *request = json_pack("{s:s, s:I}", "cmd", "probe.items", "ticket", (json_int_t)ticket);
    json_t *items = call_list(ctl, "fetcherd", request, &problem);
    if (items == NULL) {
        json_decref(result);
        return problem_report(&problem);
    }
    if (ctl->json)
        print_json(items);
    else
        print_listing(ctl, result, items);
    json_decref(items);
    json_decref(result);
    return CTL_DONE;
}
