/* See left.h. */
#include "hygiene/left.h"
#include "lib/log.h"
#include <assert.h>
#include <glib.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NEVER INT64_MAX /* another event has told of it */

/* What a writer passes through in the ordinary course of things is worth an event only when it
 * lasts. */
static const struct {
    const char *reason, *meaning;
    int64_t patience; /* ms */
} reasons[] = {
    [LEFT_NOT] = {NULL, NULL, NEVER},
    [LEFT_REFUSED] = {"refused", "it was not understood", NEVER},
    [LEFT_NAME] = {"name", "the name does not end in .eml", 10000},
    [LEFT_HIDDEN] = {"hidden", "the name begins with a dot", 60000},
    [LEFT_LINK] = {"link", "it is a symbolic link", 0},
    [LEFT_NO_FILE] = {"no-file", "it is a directory, a FIFO or another thing that is no file", 0},
    [LEFT_EMPTY] = {"empty", "there is nothing in it", 10000},
    [LEFT_UNREADABLE] = {"unreadable", "hygiene may not read it", 0},
    [LEFT_WRITTEN] = {"written", "it is still open for writing", 60000},
    [LEFT_STUCK] = {"stuck", "it cannot be moved", NEVER},
};
static_assert(sizeof reasons / sizeof reasons[0] == LEFT_REASONS, "words for each reason");

struct tally {
    uint64_t count[LEFT_REASONS];
    char names[LEFT_REASONS][LEFT_EXAMPLES][256];
};

struct seen {
    enum left_reason reason;
    int64_t since;
    bool told;
    unsigned walk;
};

struct left {
    GHashTable *seen; /* name -> struct seen */
    unsigned walk;
    bool full; /* and told so */
    struct tally now, last;
};

struct left *left_new(void)
{
    struct left *left = calloc(1, sizeof *left);
    if (left == NULL)
        abort();
    left->seen = g_hash_table_new_full(g_str_hash, g_str_equal, g_free, g_free);
    return left;
}

void left_free(struct left *left)
{
    if (left == NULL)
        return;
    g_hash_table_destroy(left->seen);
    free(left);
}

/* --- a walk --- */

void left_walk_begins(struct left *left)
{
    left->now = (struct tally){0};
    left->walk++;
}

static struct seen *remember(struct left *left, const char *name)
{
    struct seen *seen = g_hash_table_lookup(left->seen, name);
    if (seen != NULL)
        return seen;
    if (g_hash_table_size(left->seen) >= LEFT_REMEMBERED) {
        if (!left->full)
            LOG(LOG_WARN, "pickup-left-alone", KV("name", "..."),
                KV("reason", "more names than each can have an event of its own"));
        left->full = true;
        return NULL;
    }
    seen = g_new0(struct seen, 1);
    (void)g_hash_table_insert(left->seen, g_strdup(name), seen);
    return seen;
}

bool left_note(struct left *left, const char *name, enum left_reason reason, int64_t now)
{
    uint64_t nth = left->now.count[reason]++;
    if (nth < LEFT_EXAMPLES)
        (void)snprintf(left->now.names[reason][nth], 256, "%s", name);
    struct seen *seen = remember(left, name);
    if (seen == NULL)
        return false;
    bool fresh = seen->reason != reason;
    if (fresh)
        *seen = (struct seen){.reason = reason, .since = now};
    seen->walk = left->walk;
    if (!seen->told && now - seen->since >= reasons[reason].patience) {
        seen->told = true;
        LOG(LOG_WARN, "pickup-left-alone", KV("name", name), KV("reason", reasons[reason].meaning));
    }
    return fresh;
}

static gboolean not_noted(gpointer name, gpointer value, gpointer left)
{
    (void)name;
    return ((const struct seen *)value)->walk != ((const struct left *)left)->walk;
}

void left_walk_ends(struct left *left)
{
    (void)g_hash_table_foreach_remove(left->seen, not_noted, left);
    if (g_hash_table_size(left->seen) < LEFT_REMEMBERED)
        left->full = false;
    left->last = left->now;
}

/* --- what is told --- */

static json_t *examples(const struct tally *tally, enum left_reason reason)
{
    json_t *names = json_array();
    for (size_t i = 0; i < LEFT_EXAMPLES && i < tally->count[reason]; i++) {
        const char *name = tally->names[reason][i];
        char safe[4 * 256];
        (void)json_array_append_new(names,
                                    json_string(log_escape(safe, sizeof safe, name, strlen(name))));
    }
    return names;
}

json_t *left_json(const struct left *left)
{
    json_t *list = json_array();
    uint64_t all = 0;
    for (int r = 0; r < LEFT_REASONS; r++) {
        uint64_t count = left->last.count[r];
        all += count;
        if (count > 0)
            (void)json_array_append_new(
                list, json_pack("{s:s, s:s, s:I, s:o}", "reason", reasons[r].reason, "meaning",
                                reasons[r].meaning, "count", (json_int_t)count, "examples",
                                examples(&left->last, (enum left_reason)r)));
    }
    return json_pack("{s:I, s:o}", "left_alone", (json_int_t)all, "left", list);
}
