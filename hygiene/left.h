/* What in pickup/ is left alone, and why: counted at each walk, with a few names to show, and told
 * by one event a name and reason. Memory is bounded: behind LEFT_REMEMBERED names, more are counted
 * only. Knows no clock and no directory. */
#ifndef HYGIENE_LEFT_H
#define HYGIENE_LEFT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define LEFT_REMEMBERED 1000
#define LEFT_EXAMPLES   3

enum left_reason {
    LEFT_NOT, /* it is to be taken */
    LEFT_REFUSED,
    LEFT_NAME,
    LEFT_HIDDEN,
    LEFT_LINK,
    LEFT_NO_FILE,
    LEFT_EMPTY,
    LEFT_UNREADABLE,
    LEFT_WRITTEN,
    LEFT_STUCK,
    LEFT_REASONS
};

struct left;
struct left *left_new(void);
void left_free(struct left *left); /* NULL is fine */

void left_walk_begins(struct left *left);
/* NAME was found and left alone. True when that is new of it, as far as is remembered. now: ms of
 * any clock that does not go back. */
bool left_note(struct left *left, const char *name, enum left_reason reason, int64_t now);
/* What was not noted is forgotten, and left_json tells of this walk from now on. */
void left_walk_ends(struct left *left);

/* {"left_alone": n, "left": [{"reason", "meaning", "count", "examples": [names, escaped]}]} of the
 * last walk that ended. A new reference. */
json_t *left_json(const struct left *left);

#endif
