/* See clamd.h. Only the two answers that it has for a message that was scanned are a verdict. */
#include "hygiene/clamd.h"
#include "hygiene/exchange.h"
#include "lib/log.h"
#include <stdio.h>
#include <string.h>

#define PREFIX "stream: "
#define FOUND  " FOUND"

static void found(const char *name, size_t len, struct filter_answer *answer)
{
    char shown[200];
    log_escape(shown, sizeof shown, name, len);
    filter_answer_set(answer, FILTER_REJECT, "virus: %s", shown);
    answer->report = json_pack("{s:s, s:s, s:[{s:s}]}", "filter", "clamd", "word", "found",
                               "symbols", "name", shown);
}

void clamd_read(const struct filter_server *server, const char *text, size_t len,
                struct filter_answer *answer)
{
    (void)server;
    char shown[200];
    size_t n = strlen(text);
    bool whole = len == n + 1 && n > strlen(PREFIX) && strncmp(text, PREFIX, strlen(PREFIX)) == 0;
    const char *said = whole ? text + strlen(PREFIX) : text;
    size_t name = whole && strlen(said) > strlen(FOUND) ? strlen(said) - strlen(FOUND) : 0;
    if (whole && strcmp(said, "OK") == 0)
        filter_answer_set(answer, FILTER_CLEAN, "no virus found");
    else if (name > 0 && strcmp(said + name, FOUND) == 0)
        found(said, name, answer);
    else if (strstr(text, "size limit exceeded") != NULL)
        filter_answer_set(answer, FILTER_TOO_LARGE,
                          "larger than clamd's StreamMaxLength: raise that, or lower "
                          "hygiene.clamd-size");
    else
        filter_answer_set(answer, FILTER_BROKEN, "an answer that is none: %s",
                          log_escape(shown, sizeof shown, text, n));
}

static void *ask(const struct filter_server *server, const struct filter_subject *subject,
                 filter_done_fn *done, void *arg)
{
    static const struct exchange_plan plan = {
        .head = "zINSTREAM",
        .head_len = sizeof "zINSTREAM", /* with its NUL */
        .tail = "\0\0\0",
        .tail_len = 4, /* a piece of no length */
        .chunks = true,
        .end = '\0',
        .read = clamd_read,
    };
    return exchange_begin(server, subject, &plan, done, arg);
}

const struct filter_protocol filter_clamd = {
    .name = "clamd", .port = 3310, .ask = ask, .cancel = exchange_cancel};
