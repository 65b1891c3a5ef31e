/* See match.h. */
#include "hygiene/match.h"
#include "lib/clock.h"
#include <glib.h>
#include <stddef.h>
#include <string.h>

static char *fold(const char *text)
{
    char *valid = g_utf8_make_valid(text, -1);
    char *composed = g_utf8_normalize(valid, -1, G_NORMALIZE_ALL);
    char *folded = g_utf8_casefold(composed, -1);
    g_free(composed);
    g_free(valid);
    return folded;
}

/* --- the request --- */

static bool read_text(const json_t *request, const char *key, char **to, struct error *err)
{
    const json_t *value = json_object_get(request, key);
    if (value == NULL)
        return true;
    const char *text = json_string_value(value);
    if (text == NULL || text[0] == '\0') /* which would take all: hardly what is meant */
        return error_set(err, ERROR_USAGE, "%s: expected some text", key);
    *to = fold(text);
    return true;
}

/* How long ago, as a time; *to stays what it is when nothing is said. */
static bool read_ago(const json_t *request, const char *key, int64_t *to, struct error *err)
{
    const json_t *value = json_object_get(request, key);
    json_int_t ms = json_integer_value(value);
    if (value == NULL)
        return true;
    if (!json_is_integer(value) || ms < 0)
        return error_set(err, ERROR_USAGE, "%s: expected a time such as 3d", key);
    *to = clock_now() - ms;
    return true;
}

static bool read_state(const json_t *request, enum badmail_state *to, struct error *err)
{
    const json_t *value = json_object_get(request, "state");
    const char *word = json_string_value(value);
    if (value == NULL)
        return true;
    for (int state = 0; word != NULL && state < BADMAIL_STATES; state++) {
        const char *name = ledger_badmail_state_name((enum badmail_state)state);
        if (strlen(word) == strcspn(name, " ") && strncmp(word, name, strlen(word)) == 0) {
            *to = (enum badmail_state)state;
            return true;
        }
    }
    return error_set(err, ERROR_USAGE,
                     "state: expected held, replayed, deleted, removed or expired");
}

bool match_read(const json_t *request, struct match *match, struct error *err)
{
    *match = (struct match){.to = INT64_MAX, .state = BADMAIL_HELD};
    if (read_text(request, "account", &match->account, err) &&
        read_text(request, "sender", &match->sender, err) &&
        read_text(request, "subject", &match->subject, err) &&
        read_text(request, "reason", &match->reason, err) &&
        read_text(request, "decided_by", &match->decided_by, err) &&
        read_ago(request, "older", &match->to, err) &&
        read_ago(request, "newer", &match->from, err) && read_state(request, &match->state, err))
        return true;
    match_free(match);
    return false;
}

void match_free(struct match *match)
{
    g_free(match->account);
    g_free(match->sender);
    g_free(match->subject);
    g_free(match->reason);
    g_free(match->decided_by);
    *match = (struct match){.to = INT64_MAX};
}

/* --- a message --- */

static bool equals(const char *folded, const char *wanted)
{
    return strcmp(folded, wanted) == 0;
}

static bool contains(const char *folded, const char *wanted)
{
    return strstr(folded, wanted) != NULL;
}

/* "form" means all of "form:...". */
static bool is_rule_of(const char *folded, const char *wanted)
{
    size_t n = strlen(wanted);
    return strncmp(folded, wanted, n) == 0 && strchr(":", folded[n]) != NULL;
}

static bool text_fits(const char *text, const char *wanted,
                      bool (*compare)(const char *folded, const char *wanted))
{
    if (wanted == NULL)
        return true;
    char *folded = fold(text);
    bool fits = compare(folded, wanted);
    g_free(folded);
    return fits;
}

bool match_fits(const struct match *match, const struct badmail *b)
{
    const char *sender = b->sender[0] != '\0' ? b->sender : "<>"; /* as it is shown */
    return b->at >= match->from && b->at <= match->to &&
           text_fits(b->account, match->account, equals) &&
           text_fits(b->decided_by, match->decided_by, is_rule_of) &&
           text_fits(sender, match->sender, contains) &&
           text_fits(b->subject, match->subject, contains) &&
           text_fits(b->reason, match->reason, contains);
}
