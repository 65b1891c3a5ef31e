/* See digest.h. */
#include "hygiene/digest.h"
#include "hygiene/digest_mail.h"
#include "hygiene/ledger.h"
#include "hygiene/shown.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <stdio.h>
#include <string.h>

#define ROWS_MAX      1000
#define SOON          (7 * CLOCK_DAY)
#define SINCE_DEFAULT CLOCK_DAY
#define TEXT_MAX      (24 * 1024) /* in an answer, where JSON may double it */
#define MAIL_MAX      (1024 * 1024)
#define WORD_MAX      74 /* octets of a sender, subject, reason, so that a line has 80 */

/* --- rows --- */

struct row {
    char *group;
    char *id, *sender, *subject, *reason; /* escaped */
    int64_t at;
};

static char *shown(const char *text)
{
    char safe[WORD_MAX];
    return g_strdup(log_escape(safe, sizeof safe, text, strlen(text)));
}

static void row_free(gpointer p)
{
    struct row *row = p;
    g_free(row->group);
    g_free(row->id);
    g_free(row->sender);
    g_free(row->subject);
    g_free(row->reason);
    g_free(row);
}

struct gather {
    enum digest_group by;
    GPtrArray *rows;
};

static bool gather_row(void *arg, const struct badmail *b)
{
    struct gather *gather = arg;
    struct row *row = g_new0(struct row, 1);
    const char *account = b->account[0] != '\0' ? b->account : "(none: it came by pickup/)";
    row->id = g_strdup(b->id);
    row->sender = shown(b->sender[0] != '\0' ? b->sender : "<>");
    row->subject = shown(b->subject);
    row->reason = shown(b->reason);
    row->group = shown(gather->by == DIGEST_BY_ACCOUNT ? account : b->decided_by);
    row->at = b->at;
    g_ptr_array_add(gather->rows, row);
    return true;
}

static gint by_group(gconstpointer a, gconstpointer b)
{
    const struct row *first = *(struct row *const *)a, *second = *(struct row *const *)b;
    int order = strcmp(first->group, second->group);
    return order != 0 ? order : strcmp(first->id, second->id);
}

/* The oldest first. */
static GPtrArray *rows_between(const struct hygiene *h, enum digest_group by, int64_t from,
                               int64_t to)
{
    struct gather gather = {by, g_ptr_array_new_with_free_func(row_free)};
    ledger_each_held_between(h->d->db, from, to, ROWS_MAX, gather_row, &gather);
    return gather.rows;
}

/* --- text --- */

static void span(int64_t ms, char *buf, size_t size)
{
    if (ms >= 2 * CLOCK_DAY)
        (void)snprintf(buf, size, "%lldd", (long long)(ms / CLOCK_DAY));
    else if (ms >= 2 * CLOCK_HOUR)
        (void)snprintf(buf, size, "%lldh", (long long)(ms / CLOCK_HOUR));
    else
        (void)snprintf(buf, size, "%lldm", (long long)(ms / CLOCK_MINUTE));
}

/* As it is typed: with the configuration where that is another than usual. */
static char *command(const struct hygiene *h, const char *rest)
{
    const char *file = h->d->conf->file;
    bool usual = strcmp(file, CONF_DEFAULT_FILE) == 0;
    char safe[512];
    return g_strdup_printf("popferryctl%s%s badmail %s", usual ? "" : " -c ",
                           usual ? "" : log_escape(safe, sizeof safe, file, strlen(file)), rest);
}

static size_t group_size(const GPtrArray *rows, guint from)
{
    guint i = from;
    const char *group = ((struct row *)rows->pdata[from])->group;
    while (i < rows->len && strcmp(((struct row *)rows->pdata[i])->group, group) == 0)
        i++;
    return i - from;
}

static void write_fresh(GString *text, const struct row *row, const char *replay)
{
    char age[32];
    span(clock_now() - row->at, age, sizeof age);
    g_string_append_printf(text, "%s  %s ago  %s\n    \"%s\"\n    %s\n    %s %s\n", row->id, age,
                           row->sender, row->subject, row->reason, replay, row->id);
}

/* How many of the rows it wrote. */
static guint write_all_fresh(const struct hygiene *h, struct digest *digest, const GPtrArray *rows)
{
    char *replay = command(h, "replay");
    const char *what = digest->by == DIGEST_BY_ACCOUNT ? "account" : "decided by";
    size_t most = digest->expiring > 0 ? digest->most / 2 : digest->most;
    guint i = 0, group_end = 0;
    for (; i < rows->len && digest->text->len < most; i++) {
        const struct row *row = rows->pdata[i];
        if (i == group_end) {
            size_t n = group_size(rows, i);
            g_string_append_printf(digest->text, "\n%s %s: %s%zu\n", what, row->group,
                                   digest->fresh > rows->len ? "at least " : "", n);
            group_end = i + (guint)n;
        }
        write_fresh(digest->text, row, replay);
    }
    g_free(replay);
    return i;
}

static void write_rest(GString *text, int64_t more, char *how)
{
    if (more > 0)
        g_string_append_printf(text, "\n... and %lld more: %s\n", (long long)more, how);
    g_free(how);
}

static void date_of(int64_t at, char *buf, size_t size)
{
    char text[CLOCK_TEXT_SIZE];
    (void)snprintf(buf, size, "%.10s %.5s UTC", clock_text(at, text), text + 11);
}

static void fresh_part(const struct hygiene *h, struct digest *digest, int64_t now)
{
    char date[40], hours[64];
    date_of(digest->since, date, sizeof date);
    if (digest->fresh == 0) {
        g_string_append_printf(digest->text,
                               "Nothing that came into quarantine since %s is there.\n", date);
        return;
    }
    g_string_append_printf(digest->text, "%lld message%s came into quarantine since %s.\n",
                           (long long)digest->fresh, digest->fresh == 1 ? "" : "s", date);
    GPtrArray *rows = rows_between(h, digest->by, digest->since, now + 1);
    g_ptr_array_sort(rows, by_group);
    guint written = write_all_fresh(h, digest, rows);
    g_ptr_array_unref(rows);
    (void)snprintf(hours, sizeof hours, "list --newer %lldh",
                   (long long)((now - digest->since) / CLOCK_HOUR + 1));
    write_rest(digest->text, digest->fresh - written, command(h, hours));
}

/* How long ahead of its removal a message is named. */
static int64_t soon(const struct hygiene *h)
{
    return MIN(SOON, h->d->conf->hygiene.badmail_keep / 2);
}

static void expiring_part(const struct hygiene *h, struct digest *digest, int64_t now)
{
    int64_t keep = h->d->conf->hygiene.badmail_keep, before = now - keep + soon(h);
    if (digest->expiring == 0)
        return;
    char in[32], older[64];
    span(soon(h), in, sizeof in);
    g_string_append_printf(digest->text, "\nWithin %s hygiene.badmail-keep will remove %lld:\n", in,
                           (long long)digest->expiring);
    GPtrArray *rows = rows_between(h, DIGEST_BY_REASON, 0, before);
    guint i = 0;
    for (; i < rows->len && digest->text->len < digest->most; i++) {
        const struct row *row = rows->pdata[i];
        int64_t left = row->at + keep - now;
        span(left > 0 ? left : 0, in, sizeof in);
        g_string_append_printf(digest->text, "%s  in %s  %s  \"%s\"\n", row->id, in, row->sender,
                               row->subject);
    }
    g_ptr_array_unref(rows);
    (void)snprintf(older, sizeof older, "list --older %lldh",
                   (long long)((keep - soon(h)) / CLOCK_HOUR));
    write_rest(digest->text, digest->expiring - i, command(h, older));
}

void digest_write(const struct hygiene *h, struct digest *digest)
{
    static const char *const hints[][2] = {
        {"To read one:", "show ID"},
        {"To send one on:", "replay ID"},
        {"To send it to others:", "replay ID --to ADDR"},
        {"To remove one:", "delete ID"},
    };
    int64_t now = clock_now();
    digest->text = g_string_new(NULL);
    digest->fresh = ledger_held_between(h->d->db, digest->since, now + 1);
    digest->expiring =
        ledger_held_between(h->d->db, 0, now - h->d->conf->hygiene.badmail_keep + soon(h));
    fresh_part(h, digest, now);
    expiring_part(h, digest, now);
    if (digest->fresh + digest->expiring == 0)
        return;
    g_string_append_c(digest->text, '\n');
    for (size_t i = 0; i < G_N_ELEMENTS(hints); i++) {
        char *how = command(h, hints[i][1]);
        g_string_append_printf(digest->text, "%-22s %s\n", hints[i][0], how);
        g_free(how);
    }
}

void digest_free(struct digest *digest)
{
    if (digest->text != NULL)
        (void)g_string_free(digest->text, TRUE);
    digest->text = NULL;
}

/* --- the answer --- */

static bool read_request(const json_t *request, struct digest *digest, struct error *err)
{
    const json_t *since = json_object_get(request, "since");
    const char *by = json_string_value(json_object_get(request, "by"));
    if (since != NULL && (!json_is_integer(since) || json_integer_value(since) <= 0))
        return error_set(err, ERROR_USAGE, "since: expected a time such as 1d");
    if (by != NULL && strcmp(by, "account") != 0 && strcmp(by, "reason") != 0)
        return error_set(err, ERROR_USAGE, "by: expected account or reason");
    digest->since = clock_now() - (since != NULL ? json_integer_value(since) : SINCE_DEFAULT);
    digest->since = MAX(digest->since, 0); /* no date would have room for what is before */
    digest->by = by != NULL && strcmp(by, "reason") == 0 ? DIGEST_BY_REASON : DIGEST_BY_ACCOUNT;
    return true;
}

json_t *digest_answer(struct hygiene *h, const json_t *request)
{
    bool mail = json_is_true(json_object_get(request, "mail"));
    struct digest digest = {.most = mail ? MAIL_MAX : TEXT_MAX};
    char since[CLOCK_TEXT_SIZE], name[DIGEST_MAIL_NAME_SIZE] = "";
    struct error err;
    if (!read_request(request, &digest, &err) || (mail && !digest_mail_possible(h->d->conf, &err)))
        return bus_error_from(&err);
    digest_write(h, &digest);
    bool empty = digest.fresh + digest.expiring == 0;
    json_t *reply =
        mail && !empty && !digest_mail(h, &digest, name, &err)
            ? bus_error_from(&err)
            : bus_ok(json_pack("{s:s, s:I, s:I}", "since", clock_text(digest.since, since), "fresh",
                               (json_int_t)digest.fresh, "expiring", (json_int_t)digest.expiring));
    if (!mail)
        (void)json_object_set_new(reply, "text", json_string(digest.text->str));
    if (name[0] != '\0') {
        (void)json_object_set_new(reply, "mailed_to",
                                  shown_text(h->d->conf->hygiene.reviewer, 600));
        (void)json_object_set_new(reply, "name", json_string(name));
    }
    digest_free(&digest);
    return reply;
}
