/* Fields of a daemon's reply, as they are shown. A field that is missing or of another type is
 * empty or 0: a daemon of another version must not take popferryctl down. */
#ifndef CTL_FIELD_H
#define CTL_FIELD_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

const char *field_text(const json_t *object, const char *key); /* "" when missing; the object's */
int64_t field_int(const json_t *object, const char *key);
bool field_true(const json_t *object, const char *key);
/* An RFC 3339 UTC time, as ms since the epoch; 0 when missing or not understood. */
int64_t field_time(const json_t *object, const char *key);
/* An array of strings: "a@x, b@x", or "a@x +2" when `brief`; "+N" also where the field "KEY_total"
 * tells of more than the array holds. Returns buf. */
char *field_list(const json_t *object, const char *key, bool brief, char *buf, size_t size);

#endif
