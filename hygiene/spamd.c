/* See spamd.h. */
#include "hygiene/spamd.h"
#include "hygiene/exchange.h"
#include "lib/log.h"
#include "spool/header.h"
#include <glib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define REPORT_MAX 8192 /* octets of its text that are kept */

struct verdict {
    bool spam;
    double score, required;
    const char *report;
    size_t report_len;
};

/* --- reading --- */

/* "SPAMD/1.1 0 EX_OK" */
static bool first_line_ok(const char *text)
{
    int major, minor, code;
    return sscanf(text, "SPAMD/%d.%d %d ", &major, &minor, &code) == 3 && code == 0;
}

/* "True ; 15.0 / 5.0" */
static bool read_spam(const char *value, struct verdict *v)
{
    char word[8];
    int at = 0;
    if (sscanf(value, "%7[A-Za-z] ; %lf / %lf%n", word, &v->score, &v->required, &at) != 3 ||
        value[at] != '\0' || !isfinite(v->score) || !isfinite(v->required))
        return false;
    v->spam = strcasecmp(word, "True") == 0 || strcasecmp(word, "Yes") == 0;
    return v->spam || strcasecmp(word, "False") == 0 || strcasecmp(word, "No") == 0;
}

static bool read_length(const char *value, size_t *length)
{
    size_t digits = strspn(value, "0123456789");
    if (digits == 0 || digits > 9 || value[digits] != '\0')
        return false;
    *length = strtoul(value, NULL, 10);
    return true;
}

static bool read_fields(const char *text, size_t len, struct verdict *v)
{
    struct header_walk walk = header_begin(text, len);
    bool judged = false, good = true;
    size_t length = SIZE_MAX;
    for (struct header_field field; good && header_next(&walk, &field);) {
        char value[100];
        header_unfold(&field, value, sizeof value);
        if (header_is(&field, "Spam"))
            good = judged = read_spam(value, v);
        else if (header_is(&field, "Content-length"))
            good = read_length(value, &length);
    }
    size_t end = envelope_header_end(text, len);
    v->report = text + end;
    v->report_len = len - end;
    return good && judged && end > 0 && (length == SIZE_MAX || length == v->report_len);
}

static bool read_verdict(const char *text, size_t len, struct verdict *v)
{
    const char *lf = memchr(text, '\n', len);
    return lf != NULL && first_line_ok(text) &&
           read_fields(lf + 1, len - (size_t)(lf + 1 - text), v);
}

/* --- what follows --- */

static json_t *report_of(const struct verdict *v)
{
    size_t n = v->report_len < REPORT_MAX ? v->report_len : REPORT_MAX;
    char *valid = g_utf8_make_valid(v->report, (gssize)n);
    json_t *report = json_pack("{s:s, s:s, s:f, s:f, s:s}", "filter", "spamd", "word",
                               v->spam ? "spam" : "no spam", "score", v->score, "required",
                               v->required, "text", valid);
    g_free(valid);
    return report;
}

static void mark(const struct verdict *v, struct filter_answer *answer)
{
    char status[100], level[51] = "";
    for (size_t i = 0; i < sizeof level - 1 && i + 1 <= (size_t)(v->score > 0 ? v->score : 0); i++)
        level[i] = '*';
    (void)snprintf(status, sizeof status, "Yes, score=%.1f required=%.1f", v->score, v->required);
    (void)(edits_add(&answer->edits, "X-Spam-Flag", "YES") &&
           edits_add(&answer->edits, "X-Spam-Level", level) &&
           edits_add(&answer->edits, "X-Spam-Status", status));
}

void spamd_read(const struct filter_server *server, const char *text, size_t len,
                struct filter_answer *answer)
{
    struct verdict v = {.spam = false};
    char shown[200];
    if (strlen(text) != len || !read_verdict(text, len, &v)) {
        size_t line = strcspn(text, "\r\n");
        filter_answer_set(answer, FILTER_BROKEN, "an answer that is none: %s",
                          log_escape(shown, sizeof shown, text, line));
        return;
    }
    bool reject = v.spam && !server->mark_spam;
    filter_answer_set(answer, reject ? FILTER_REJECT : FILTER_CLEAN,
                      "%s: %.1f points, where %.1f are spam", v.spam ? "spam" : "no spam", v.score,
                      v.required);
    answer->report = report_of(&v);
    if (v.spam && !reject)
        mark(&v, answer);
}

/* Behind a message whose last line has no end spamd waits for more, whatever Content-length says:
 * so one more line end goes with each. */
static void *ask(const struct filter_server *server, const struct filter_subject *subject,
                 filter_done_fn *done, void *arg)
{
    char head[100];
    int n = snprintf(head, sizeof head, "REPORT SPAMC/1.5\r\nContent-length: %llu\r\n\r\n",
                     (unsigned long long)subject->head->size + 2);
    const struct exchange_plan plan = {
        .head = head,
        .head_len = (size_t)n,
        .tail = "\r\n",
        .tail_len = 2,
        .end = -1,
        .read = spamd_read,
    };
    return exchange_begin(server, subject, &plan, done, arg);
}

const struct filter_protocol filter_spamd = {
    .name = "spamd", .port = 783, .ask = ask, .cancel = exchange_cancel};
