/* Promises: every message comes to a verdict, if only that it has to wait; what a filter could not
 * say is nobody's verdict but the one that hygiene.on-filter-error asks for. */
#include "hygiene/judgement.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_MIN CLOCK_MINUTE
#define RETRY_MAX CLOCK_HOUR

static void finish(struct judgement *j, enum verdict verdict)
{
    j->verdict = verdict;
    j->done(j->arg, j);
}

static void finish_badmail(struct judgement *j, const char *decided_by, const char *reason)
{
    (void)snprintf(j->decided_by, sizeof j->decided_by, "%s", decided_by);
    (void)snprintf(j->reason, sizeof j->reason, "%s", reason);
    finish(j, VERDICT_BADMAIL);
}

/* --- waiting --- */

static void set_waiting(struct judgement *j, const char *filter, const char *reason)
{
    (void)snprintf(j->waiting.filter, sizeof j->waiting.filter, "%s", filter);
    (void)snprintf(j->waiting.reason, sizeof j->waiting.reason, "%s", reason);
}

/* The filter is in trouble, which is not the message's fault: it is due as soon as that is over. */
static void wait_for_filter(struct judgement *j, const char *filter, const char *reason)
{
    set_waiting(j, filter, reason);
    j->waiting.next_at = clock_now();
    finish(j, VERDICT_WAIT);
}

static void wait_longer(struct judgement *j, const char *filter, const char *reason)
{
    struct waiting *w = &j->waiting;
    char over[600];
    int64_t delay = clock_backoff(RETRY_MIN, RETRY_MAX, w->attempts);
    if (w->waited >= j->conf->hygiene.filter_expire) {
        (void)snprintf(over, sizeof over, "no verdict within hygiene.filter-expire; last: %s",
                       reason);
        finish_badmail(j, filter, over);
        return;
    }
    set_waiting(j, filter, reason);
    w->attempts++;
    w->waited += delay;
    w->next_at = clock_now() + delay;
    LOG(LOG_WARN, "filter-deferred", KV("id", j->id), KV("filter", filter), KV("reason", reason),
        KVN("attempts", w->attempts), KVN("again_in_ms", delay));
    finish(j, VERDICT_WAIT);
}

/* --- filters --- */

static void ask_next(struct judgement *j);

static void add_report(struct judgement *j, json_t *report)
{
    if (report != NULL)
        (void)json_array_append(j->reports, report);
}

static void without_verdict(struct judgement *j, const char *filter, enum filter_word word,
                            const char *reason)
{
    char why[500];
    (void)snprintf(why, sizeof why, "%s has no verdict: %s", filter, reason);
    switch (j->conf->hygiene.on_filter_error) {
    case CONF_FILTER_PASS:
        LOG(LOG_WARN, "filter-passed-over", KV("id", j->id), KV("filter", filter),
            KV("reason", reason));
        ask_next(j);
        return;
    case CONF_FILTER_DEFER:
        if (word == FILTER_DOWN)
            wait_for_filter(j, filter, reason);
        else if (word == FILTER_BROKEN)
            wait_longer(j, filter, reason);
        else
            finish_badmail(j, filter, why);
        return;
    case CONF_FILTER_BADMAIL:
        finish_badmail(j, filter, why);
        return;
    }
}

static void on_answer(void *arg, struct filter_answer *answer)
{
    struct judgement *j = arg;
    const char *filter = filter_name(*j->filters++);
    char reason[sizeof answer->reason];
    enum filter_word word = answer->word;
    memcpy(reason, answer->reason, sizeof reason);
    j->question = NULL;
    add_report(j, answer->report);
    if (word == FILTER_CLEAN)
        edits_move(&j->edits, &answer->edits);
    filter_answer_free(answer);
    if (word == FILTER_CLEAN)
        ask_next(j);
    else if (word == FILTER_REJECT)
        finish_badmail(j, filter, reason);
    else if (word == FILTER_LATER)
        wait_longer(j, filter, reason);
    else
        without_verdict(j, filter, word, reason);
}

static bool is_too_large(const struct judgement *j, const struct filter *filter)
{
    return j->subject.head->size > filter_size_limit(filter);
}

static void pass_by(struct judgement *j, const struct filter *filter)
{
    json_t *report =
        json_pack("{s:s, s:s, s:s}", "filter", filter_name(filter), "word", "not asked", "text",
                  "the message is larger than the filter's size limit");
    add_report(j, report);
    json_decref(report);
}

/* It goes on its way unseen by these: once to a message, however often it had to wait. */
static void tell_not_asked(const struct judgement *j)
{
    for (struct filter *const *at = j->all; *at != NULL; at++) {
        if (!is_too_large(j, *at))
            continue;
        filter_count_not_asked(*at);
        LOG(LOG_NOTE, "filter-not-asked", KV("id", j->id), KV("filter", filter_name(*at)),
            KVN("size", (long long)j->subject.head->size),
            KVN("limit", (long long)filter_size_limit(*at)));
    }
}

static void ask_next(struct judgement *j)
{
    while (*j->filters != NULL && is_too_large(j, *j->filters))
        pass_by(j, *j->filters++);
    if (*j->filters != NULL) {
        j->question = filter_ask(*j->filters, &j->subject, on_answer, j);
        return;
    }
    tell_not_asked(j);
    finish(j, VERDICT_PASS);
}

/* --- form --- */

static void prepare_subject(struct judgement *j)
{
    const struct form_top *top = &j->form.top;
    const char *by = j->conf->fetch.received_by;
    bool known = by[0] != '\0' && client_find(top->bytes, top->header, by, &j->client);
    j->subject.head = message_reader_head(j->form.reader);
    j->subject.client = known ? &j->client : NULL;
}

/* pickup/ is trusted, and what is replayed has been filtered. */
static bool is_filtered(const struct message_head *head)
{
    return head->replay_of[0] == '\0' && !message_is_drop(head);
}

static void on_form(struct judgement *j, enum form_result result,
                    const struct form_finding *finding)
{
    char decided_by[sizeof j->decided_by];
    switch (result) {
    case FORM_PASS:
        prepare_subject(j);
        if (is_filtered(j->subject.head))
            ask_next(j);
        else
            finish(j, VERDICT_PASS);
        return;
    case FORM_BAD:
        (void)snprintf(decided_by, sizeof decided_by, "form:%s", finding->rule);
        finish_badmail(j, decided_by, finding->reason);
        return;
    case FORM_LATER:
        wait_longer(j, "form", finding->reason);
        return;
    case FORM_GONE:
    case FORM_MORE:
        finish(j, VERDICT_GONE);
        return;
    }
}

bool judgement_read(struct judgement *j, size_t budget)
{
    struct form_finding finding = {.rule = ""};
    enum form_result result = FORM_MORE;
    if (j->form.reader == NULL)
        result = form_open(&j->form, j->subject.spool, j->subject.dir, j->id, j->conf, &finding);
    if (result == FORM_MORE)
        result = form_read(&j->form, budget, &finding);
    if (result == FORM_MORE)
        return true;
    on_form(j, result, &finding);
    return false;
}

/* --- life --- */

struct judgement *judgement_new(const char *id, const struct spool *spool, const struct conf *conf,
                                struct filter *const *filters, judgement_done_fn *done, void *arg)
{
    struct judgement *j = calloc(1, sizeof *j);
    if (j == NULL)
        abort();
    *j = (struct judgement){.conf = conf,
                            .all = filters,
                            .filters = filters,
                            .done = done,
                            .arg = arg,
                            .subject = {.spool = spool, .dir = SPOOL_INCOMING},
                            .reports = json_array()};
    (void)snprintf(j->id, sizeof j->id, "%s", id);
    return j;
}

void judgement_free(struct judgement *j)
{
    if (j->question != NULL)
        filter_cancel(j->question);
    form_close(&j->form);
    json_decref(j->reports);
    edits_free(&j->edits);
    free(j);
}

/* --- what it changes --- */

static void add_date(struct edits *edits)
{
    char date[64];
    time_t now = (time_t)(clock_now() / CLOCK_SECOND);
    struct tm tm;
    if (gmtime_r(&now, &tm) != NULL &&
        strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", &tm) > 0)
        (void)!edits_add(edits, "Date", date);
}

static char *without_nul(char *bytes, size_t *len)
{
    size_t kept = 0;
    for (size_t i = 0; i < *len; i++)
        if (bytes[i] != '\0')
            bytes[kept++] = bytes[i];
    *len = kept;
    return bytes;
}

/* Before a message without a header section goes one of our own. */
static void make_header(const struct judgement *j, struct top *top)
{
    struct edits edits = {0};
    static const char end[] = "\r\n";
    (void)!edits_add(&edits, "Subject", "(a message that came without a header section)");
    add_date(&edits);
    char *asked_for = edits_apply(&j->edits, end, sizeof end - 1, &top->len);
    top->bytes = edits_apply(&edits, asked_for, top->len, &top->len);
    free(asked_for);
    edits_free(&edits);
}

bool judgement_top(const struct judgement *j, struct top *top)
{
    const struct form_top *was = &j->form.top;
    if (j->edits.count == 0 && !j->form.add_header && !j->form.drop_nul)
        return false;
    *top = (struct top){.drop_nul = j->form.drop_nul};
    if (j->form.add_header) {
        make_header(j, top);
    } else if (was->whole) {
        top->bytes = edits_apply(&j->edits, was->bytes, was->header, &top->len);
        top->skip = was->header;
    } else { /* of a section that is not known to its end nothing is taken away */
        top->bytes = edits_apply(&j->edits, "", 0, &top->len);
    }
    if (top->drop_nul)
        top->bytes = without_nul(top->bytes, &top->len);
    return true;
}
