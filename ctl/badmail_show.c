/* One quarantined message, as far as a person needs to see it to decide what to do with it. */
#include "ctl/badmail.h"
#include "ctl/field.h"
#include "ctl/listing.h"
#include "lib/clock.h"
#include <limits.h>
#include <string.h>

#define SYMBOLS_SHOWN 8
#define PARTS_SHOWN   40
#define INDENT_MAX    20 /* levels */

static void print_heading(const struct screen *screen, const char *text)
{
    fputc('\n', screen->out);
    print_line(screen, PRINT_TITLE, "%s", text);
}

/* --- what is known of it --- */

static void print_record(const struct screen *screen, const json_t *item)
{
    char text[16384], small[PRINT_SHORT];
    const char *sender = field_text(item, "sender");
    print_field(screen, "id", field_text(item, "id"));
    print_field(screen, "state", field_text(item, "state"));
    print_field(screen, "replayed as", field_text(item, "replayed_as"));
    print_field(screen, "replay of", field_text(item, "replay_of"));
    print_field(screen, "reason", field_text(item, "reason"));
    print_field(screen, "decided by", field_text(item, "decided_by"));
    (void)snprintf(text, sizeof text, "%s (%s)", field_text(item, "at"),
                   print_when(field_time(item, "at"), clock_now(), small));
    print_field(screen, "since", text);
    print_field(screen, "account", field_text(item, "account"));
    print_field(screen, "origin", field_text(item, "origin"));
    print_field(screen, "sender", sender[0] != '\0' ? sender : "<>");
    print_field(screen, "recipients", field_list(item, "recipients", false, text, sizeof text));
    print_field(screen, "size", print_size((uint64_t)field_int(item, "size"), small));
    print_field(screen, "file", field_text(item, "path"));
    print_field(screen, "unreadable", field_text(item, "unreadable"));
}

/* --- what the filters said --- */

static char *score_text(const json_t *verdict, char buf[static PRINT_SHORT])
{
    const json_t *score = json_object_get(verdict, "score");
    const json_t *required = json_object_get(verdict, "required");
    buf[0] = '\0';
    if (json_is_number(score) && json_is_number(required))
        (void)snprintf(buf, PRINT_SHORT, "%.1f of %.1f", json_number_value(score),
                       json_number_value(required));
    else if (json_is_number(score))
        (void)snprintf(buf, PRINT_SHORT, "%.1f", json_number_value(score));
    return buf;
}

static void add_symbols(struct table *table, const json_t *verdict, bool all)
{
    size_t i;
    const json_t *symbol, *symbols = json_object_get(verdict, "symbols");
    char score[PRINT_SHORT], rest[64];
    json_array_foreach(symbols, i, symbol)
    {
        if (i == SYMBOLS_SHOWN && !all)
            break;
        table_add(table, (const char *[]){"", field_text(symbol, "name"), score_text(symbol, score),
                                          field_text(symbol, "description")});
    }
    int64_t more = field_int(verdict, "symbols_total") - (int64_t)i;
    if (more > 0) {
        (void)snprintf(rest, sizeof rest, "and %lld more%s", (long long)more,
                       i < json_array_size(symbols) ? " (-v)" : "");
        table_add(table, (const char *[]){"", rest, "", ""});
    }
}

/* Some lines; each is escaped by itself, so that their ends stay. */
static void print_lines(const struct screen *screen, const char *text)
{
    while (*text != '\0') {
        size_t n = strcspn(text, "\n");
        print_line(screen, PRINT_DIM, "  %.*s", (int)n, text);
        text += n + (text[n] == '\n');
    }
}

static void print_filters(const struct ctl *ctl, const json_t *item)
{
    static const struct table_column columns[] = {
        {.title = "  FILTER"},
        {.title = "SAID", .least = 12},
        {.title = "SCORE", .right = true},
        {.title = "WHAT IT IS", .least = 10, .drop = 1},
        {.title = NULL},
    };
    size_t i;
    char heading[120];
    const json_t *verdict, *report = json_object_get(item, "report");
    const char *of = field_text(item, "report_of");
    if (json_array_size(report) == 0)
        return;
    (void)snprintf(heading, sizeof heading, "What the filters said%s%.80s",
                   of[0] != '\0' ? " of " : "", of);
    print_heading(&ctl->screen, heading);
    struct table *table = table_new(columns);
    json_array_foreach(report, i, verdict)
    {
        char name[120], score[PRINT_SHORT];
        (void)snprintf(name, sizeof name, "  %s", field_text(verdict, "filter"));
        table_add(table, (const char *[]){name, field_text(verdict, "word"),
                                          score_text(verdict, score), ""});
        table_style(table, 1, PRINT_WARN);
        add_symbols(table, verdict, ctl->verbose);
    }
    table_print(table, &ctl->screen);
    table_free(table);
    json_array_foreach(report, i, verdict)
    {
        if (ctl->verbose)
            print_lines(&ctl->screen, field_text(verdict, "text"));
    }
}

/* --- what is in it --- */

static void print_headers(const struct screen *screen, const json_t *headers)
{
    static const char *const names[] = {"From", "Sender",  "Reply-To", "To",
                                        "Cc",   "Subject", "Date",     "Message-ID"};
    if (json_object_size(headers) == 0)
        return;
    print_heading(screen, "Header");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = field_text(headers, names[i]);
        if (value[0] != '\0')
            print_line(screen, PRINT_PLAIN, "  %-11s %s", names[i], value);
    }
}

static void add_part(struct table *table, const json_t *part)
{
    char type[700], note[400], size[PRINT_SHORT];
    int64_t depth = field_int(part, "depth");
    int indent = 2 + 2 * (int)(depth < INDENT_MAX ? depth : INDENT_MAX);
    const char *charset = field_text(part, "charset");
    bool attachment = field_true(part, "attachment");
    (void)snprintf(type, sizeof type, "%*s%s", indent, "", field_text(part, "type"));
    (void)snprintf(note, sizeof note, "%s%s%s", attachment ? "attachment" : "",
                   attachment && charset[0] != '\0' ? ", " : "", charset);
    table_add(table, (const char *[]){type, field_text(part, "name"),
                                      print_size((uint64_t)field_int(part, "size"), size), note});
    if (attachment)
        table_style(table, 1, PRINT_WARN);
}

static void print_parts(const struct ctl *ctl, const json_t *parts)
{
    static const struct table_column columns[] = {
        {.title = "  PART", .least = 24},
        {.title = "NAME", .least = 16},
        {.title = "SIZE", .right = true},
        {.title = "", .least = 10, .drop = 1},
        {.title = NULL},
    };
    size_t i;
    const json_t *part;
    if (json_array_size(parts) == 0)
        return;
    fputc('\n', ctl->screen.out);
    struct table *table = table_new(columns);
    json_array_foreach(parts, i, part)
    {
        if (i == PARTS_SHOWN && !ctl->verbose)
            break;
        add_part(table, part);
    }
    table_print(table, &ctl->screen);
    table_free(table);
    if (i < json_array_size(parts))
        fprintf(ctl->screen.out, "  ... and %zu more (-v)\n", json_array_size(parts) - i);
}

static void print_preview(const struct screen *screen, const json_t *item)
{
    size_t i;
    char heading[400];
    const json_t *line, *lines = json_object_get(item, "preview");
    const char *type = field_text(item, "preview_of");
    if (json_array_size(lines) == 0)
        return;
    (void)snprintf(heading, sizeof heading, "First lines%s%s", type[0] != '\0' ? " of " : "", type);
    print_heading(screen, heading);
    json_array_foreach(lines, i, line)
    {
        const char *text = json_is_string(line) ? json_string_value(line) : "";
        print_line(screen, PRINT_DIM, "%s%s", text[0] != '\0' ? "  " : "", text);
    }
}

static void print_what_is_missing(const struct screen *screen, const json_t *item)
{
    char text[600], names[300];
    const char *cut = field_text(item, "cut");
    (void)snprintf(text, sizeof text, "too long to be shown: %s",
                   field_list(item, "left_out", false, names, sizeof names));
    if (cut[0] == '\0' && names[0] == '\0')
        return;
    fputc('\n', screen->out);
    print_field(screen, "cut", cut);
    print_field(screen, "left out", names[0] != '\0' ? text : "");
}

/* --- what to do --- */

/* What was found damaged on its way here, whoever it was for, is not deleted at the POP3 server. */
static const char *what_of_damaged(const json_t *item)
{
    bool is_fetched_again = strcmp(field_text(item, "decided_by"), "form:damaged") == 0;
    return is_fetched_again ? "it can't be sent on or copied; if it was fetched, the POP3 server "
                              "still has it, and it is fetched again"
                            : "it can't be sent on or copied";
}

static void print_advice(const struct ctl *ctl, const json_t *item)
{
    static const struct {
        const char *what, *command, *more;
        bool of_damaged;
    } ways[] = {
        {"send it on", "replay", "", false},
        {"elsewhere", "replay", " --to ADDR", false},
        {"keep a copy", "export", " --output FILE", false},
        {"remove it", "delete", "", true},
    };
    char text[PATH_MAX + 200];
    const char *id = field_text(item, "id");
    bool damaged = field_true(item, "damaged");
    if (strcmp(field_text(item, "state"), "held") != 0 ||
        (!damaged && field_text(item, "unreadable")[0] != '\0')) /* for now: it may yet be read */
        return;
    fputc('\n', ctl->screen.out);
    print_field(&ctl->screen, "damaged", damaged ? what_of_damaged(item) : "");
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (damaged && !ways[i].of_damaged)
            continue;
        (void)snprintf(text, sizeof text, "%s badmail %s %s%s", ctl->self, ways[i].command, id,
                       ways[i].more);
        print_field(&ctl->screen, ways[i].what, text);
    }
}

/* --- asking --- */

static json_t *ask_item(const struct ctl *ctl, const char *word, struct problem *problem)
{
    char *const words[] = {(char *)word};
    json_t *ids = listing_ids(words, 1, problem);
    if (ids == NULL)
        return NULL;
    json_t *request = call_request("badmail.show");
    json_object_set(request, "id", json_array_get(ids, 0));
    json_decref(ids);
    json_t *item = call_daemon(ctl, "hygiene", request, CALL_ANYHOW, problem);
    if (item != NULL)
        json_object_del(item, "ok");
    return item;
}

/* Its parts go with it, where there is a file to have some. */
static bool add_parts(const struct ctl *ctl, json_t *item, struct problem *problem)
{
    if (json_object_get(item, "headers") == NULL && json_object_get(item, "left_out") == NULL)
        return true;
    json_t *request = call_request("badmail.parts");
    json_object_set(request, "id", json_object_get(item, "id"));
    json_t *parts = call_list(ctl, "hygiene", request, problem);
    if (parts != NULL)
        json_object_set_new(item, "parts", parts);
    return parts != NULL;
}

static void print_item(const struct ctl *ctl, const json_t *item)
{
    print_record(&ctl->screen, item);
    print_filters(ctl, item);
    print_headers(&ctl->screen, json_object_get(item, "headers"));
    print_parts(ctl, json_object_get(item, "parts"));
    print_preview(&ctl->screen, item);
    print_what_is_missing(&ctl->screen, item);
    print_advice(ctl, item);
}

int badmail_show(struct ctl *ctl, const struct args *args)
{
    struct problem problem;
    json_t *item = ask_item(ctl, args->words[0], &problem);
    if (item == NULL)
        return problem_report(&problem);
    bool whole = add_parts(ctl, item, &problem);
    if (ctl->json)
        print_json(item);
    else
        print_item(ctl, item);
    json_decref(item);
    return whole ? CTL_DONE : problem_report(&problem);
}
