/* See shown.h. */
#include "hygiene/shown.h"
#include "lib/bus.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <glib.h>
#include <string.h>

#define ENVELOPE_BYTES 256 /* what a reply has around its members */

json_t *shown_text(const char *text, size_t most)
{
    char safe[SHOWN_MAX + 1];
    if (text == NULL)
        text = "";
    return json_string(log_escape(safe, MIN(most, SHOWN_MAX) + 1, text, strlen(text)));
}

json_t *shown_lines(const char *text, size_t most)
{
    GString *all = g_string_new(NULL);
    char safe[SHOWN_MAX + 1];
    for (const char *at = text; all->len < most;) {
        size_t n = strcspn(at, "\n");
        size_t len = n > 0 && at[n - 1] == '\r' ? n - 1 : n;
        size_t room = MIN(most - all->len, SHOWN_MAX);
        g_string_append(all, log_escape(safe, room + 1, at, len));
        if (at[n] == '\0')
            break;
        g_string_append_c(all, '\n');
        at += n + 1;
    }
    json_t *json = json_string(all->str);
    (void)g_string_free(all, TRUE);
    return json;
}

json_t *shown_badmail(const struct badmail *b)
{
    char at[CLOCK_TEXT_SIZE];
    json_t *json = json_pack(
        "{s:o, s:o, s:o, s:o, s:I, s:s, s:o, s:o, s:s}", "id", shown_text(b->id, SHOWN_MAX),
        "account", shown_text(b->account, SHOWN_MAX), "sender", shown_text(b->sender, SHOWN_MAX),
        "subject", shown_text(b->subject, SHOWN_MAX), "size", (json_int_t)b->size, "at",
        clock_text(b->at, at), "decided_by", shown_text(b->decided_by, SHOWN_MAX), "reason",
        shown_text(b->reason, SHOWN_MAX), "state", ledger_badmail_state_name(b->state));
    bus_put_list(json, "recipients", b->recipients.items, b->recipients.count);
    return json;
}

void shown_fit(json_t *reply, const char *const *dispensable)
{
    json_t *left_out = json_array();
    for (; *dispensable != NULL; dispensable++) {
        if (json_dumpb(reply, NULL, 0, JSON_COMPACT) <= BUS_MESSAGE_MAX - ENVELOPE_BYTES)
            break;
        if (json_object_del(reply, *dispensable) == 0)
            (void)json_array_append_new(left_out, json_string(*dispensable));
    }
    if (json_array_size(left_out) > 0)
        (void)json_object_set(reply, "left_out", left_out);
    json_decref(left_out);
}
