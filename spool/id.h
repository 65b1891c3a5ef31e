/* Message ids: ULIDs (48 bits of milliseconds, 80 of chance, Crockford's base 32), which sort by
 * age. */
#ifndef SPOOL_ID_H
#define SPOOL_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ID_LEN  26
#define ID_SIZE (ID_LEN + 1)

/* A new id, greater than every one this process made before. */
void id_new(char id[static ID_SIZE]);
/* True when text[0..len) is an id in its one spelling (upper case, first digit at most 7). */
bool id_valid(const char *text, size_t len);
/* When it was made, ms since the epoch. */
int64_t id_time(const char id[static ID_SIZE]);

#endif
