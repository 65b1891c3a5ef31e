/* What lies in pickup/ and is left alone there, for people. `left` is one of hygiene's list: a
 * reason, how many, and a few of their names. */
#ifndef CTL_LEFT_H
#define CTL_LEFT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* What a writer passes through in the ordinary course of things: no cause to do anything. */
bool left_is_passing(const json_t *left);
/* "3 left alone in pickup/: what it means (a.txt, b.txt, ...)" */
void left_text(const json_t *left, char *buf, size_t size);

#endif
