/* What Rspamd's JSON means. Promises: nothing but an action that is known is a verdict; a NUL in a
 * text of it, which may be the message's, costs no verdict and gets nowhere. */
#include "hygiene/rspamd.h"
#include "lib/log.h"
#include <glib.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define SYMBOLS_MAX  200 /* kept for the report */
#define SYMBOLS_SAID 6   /* named in the reason */

static double number_of(const json_t *json, const char *key)
{
    double n = json_number_value(json_object_get(json, key));
    return isfinite(n) ? n : 0;
}

/* --- the report --- */

struct symbol {
    const char *name;
    double score;
};

/* The weightiest for or against it, these first. Returns how many. */
static size_t weightiest(const json_t *symbols, struct symbol best[static SYMBOLS_SAID])
{
    size_t n = 0;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)symbols, name, value)
    {
        double score = number_of(value, "score");
        size_t at = n;
        while (at > 0 && fabs(best[at - 1].score) < fabs(score))
            at--;
        if (at == SYMBOLS_SAID)
            continue;
        n += n < SYMBOLS_SAID;
        memmove(best + at + 1, best + at, (n - 1 - at) * sizeof best[0]);
        best[at] = (struct symbol){name, score};
    }
    return n;
}

static json_t *symbols_report(const json_t *symbols)
{
    json_t *list = json_array();
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)symbols, name, value)
    {
        if (json_array_size(list) == SYMBOLS_MAX)
            break;
        json_t *one = json_pack("{s:s, s:f}", "name", name, "score", number_of(value, "score"));
        json_t *text = json_object_get(value, "description");
        if (json_is_string(text))
            (void)json_object_set(one, "description", text);
        (void)json_array_append_new(list, one);
    }
    return list;
}

static json_t *report_of(const json_t *reply, const char *action)
{
    const json_t *symbols = json_object_get(reply, "symbols");
    return json_pack("{s:s, s:s, s:f, s:f, s:o}", "filter", "rspamd", "word", action, "score",
                     number_of(reply, "score"), "required", number_of(reply, "required_score"),
                     "symbols", symbols_report(symbols));
}

static void describe(const json_t *reply, enum filter_word word, const char *action,
                     struct filter_answer *answer)
{
    struct symbol best[SYMBOLS_SAID];
    const char *said =
        json_string_value(json_object_get(json_object_get(reply, "messages"), "smtp_message"));
    char names[200] = "", shown[160];
    size_t n = weightiest(json_object_get(reply, "symbols"), best), len = 0;
    for (size_t i = 0; i < n && len < sizeof names; i++)
        len += (size_t)snprintf(names + len, sizeof names - len, "%s%s", i > 0 ? ", " : "",
                                log_escape(shown, 60, best[i].name, strlen(best[i].name)));
    filter_answer_set(answer, word, "%s: %.1f points, where %.1f reject%s%s%s%s%s", action,
                      number_of(reply, "score"), number_of(reply, "required_score"),
                      said != NULL ? ": " : "",
                      said != NULL ? log_escape(shown, sizeof shown, said, strlen(said)) : "",
                      n > 0 ? " (" : "", names, n > 0 ? ")" : "");
}

/* --- headers --- */

static void add_header(struct edits *edits, const char *name, const json_t *value)
{
    const char *text = json_string_value(value);
    if (text == NULL)
        text = json_string_value(json_object_get(value, "value"));
    if (text != NULL)
        (void)!edits_add(edits, name, text);
}

static void add_headers(struct edits *edits, const json_t *headers)
{
    const char *name;
    json_t *value, *one;
    size_t i;
    json_object_foreach((json_t *)headers, name, value)
    {
        if (!json_is_array(value))
            add_header(edits, name, value);
        json_array_foreach(value, i, one) add_header(edits, name, one);
    }
}

static void remove_header(struct edits *edits, const char *name, const json_t *nth)
{
    json_int_t n = json_integer_value(nth);
    if (json_is_integer(nth) && n > -EDIT_MAX && n < EDIT_MAX)
        (void)!edits_remove(edits, name, (int)n);
}

static void remove_headers(struct edits *edits, const json_t *headers)
{
    const char *name;
    json_t *value, *one;
    size_t i;
    json_object_foreach((json_t *)headers, name, value)
    {
        remove_header(edits, name, value);
        json_array_foreach(value, i, one) remove_header(edits, name, one);
    }
}

static void take_headers(const json_t *reply, struct filter_answer *answer)
{
    const json_t *milter = json_object_get(reply, "milter");
    remove_headers(&answer->edits, json_object_get(milter, "remove_headers"));
    add_headers(&answer->edits, json_object_get(milter, "add_headers"));
}

static void mark_spam(const json_t *reply, struct edits *edits)
{
    (void)reply;
    (void)!edits_add(edits, "X-Spam", "Yes");
}

static void rewrite_subject(const json_t *reply, struct edits *edits)
{
    const char *subject = json_string_value(json_object_get(reply, "subject"));
    if (subject != NULL)
        (void)!edits_subject(edits, subject);
    else
        mark_spam(reply, edits);
}

/* --- the action --- */

static const struct {
    const char *action;
    enum filter_word word;
    void (*edit)(const json_t *reply, struct edits *edits);
} actions[] = {
    {"no action", FILTER_CLEAN, NULL},
    {"greylist", FILTER_CLEAN, NULL}, /* it has been accepted once: to delay it helps nobody */
    {"add header", FILTER_CLEAN, mark_spam},
    {"rewrite subject", FILTER_CLEAN, rewrite_subject},
    {"soft reject", FILTER_LATER, NULL},
    {"reject", FILTER_REJECT, NULL},
    {"discard", FILTER_REJECT, NULL},
    {"quarantine", FILTER_REJECT, NULL},
};

static bool take_action(const json_t *reply, struct filter_answer *answer)
{
    const char *action = json_string_value(json_object_get(reply, "action"));
    for (size_t i = 0; action != NULL && i < sizeof actions / sizeof actions[0]; i++) {
        if (strcmp(actions[i].action, action) != 0)
            continue;
        describe(reply, actions[i].word, action, answer);
        answer->report = report_of(reply, action);
        take_headers(reply, answer);
        if (actions[i].edit != NULL)
            actions[i].edit(reply, &answer->edits);
        return true;
    }
    return false;
}

/* Each \u0000 becomes \u001a (SUB): a C string ends at a NUL, and jansson takes none in a name, nor
 * what we keep of it when it is read again. */
static void replace_nul(char *body, size_t len)
{
    static const char nul[] = "\\u0000";
    for (size_t i = 0; i + 1 < len; i++) {
        if (body[i] != '\\')
            continue;
        if (len - i >= sizeof nul - 1 && memcmp(body + i, nul, sizeof nul - 1) == 0)
            memcpy(body + i + 4, "1a", 2);
        i++; /* past what is escaped, which may be a backslash */
    }
}

/* What a message brings into it is no reason to have no verdict: octets that are no UTF-8, a NUL.
 */
static json_t *load(const char *body, size_t len)
{
    char *copy = g_utf8_make_valid(body, (gssize)len);
    len = strlen(copy);
    replace_nul(copy, len);
    json_t *json = json_loadb(copy, len, 0, NULL);
    g_free(copy);
    return json;
}

void rspamd_read(int status, const char *body, size_t len, struct filter_answer *answer)
{
    char shown[200];
    json_t *reply = status == 200 ? load(body, len) : NULL;
    if (!json_is_object(reply) || !take_action(reply, answer))
        filter_answer_set(answer, FILTER_BROKEN, "an answer that is none: HTTP %d: %s", status,
                          log_escape(shown, sizeof shown, body, len));
    json_decref(reply);
}
