/* The first lines of a message as a person would read them. */
#ifndef HYGIENE_PREVIEW_H
#define HYGIENE_PREVIEW_H

#include "hygiene/mimelook.h"
#include <jansson.h>

#define PREVIEW_LINES 20
#define PREVIEW_WIDTH 400 /* octets of a line, once it is escaped */

/* The part that is shown: the first text/plain that is no attachment, else text/html, else any
 * other text; NULL: there is none. */
const struct mimelook_part *preview_part(const struct mimelook *look);
/* Its first lines, decoded, in UTF-8, HTML reduced to text, each escaped for a terminal. */
json_t *preview_lines(const struct mimelook *look, const struct mimelook_part *part);
/* The same for text that stands in no part, as it is. */
json_t *preview_raw(const char *text, size_t len);

#endif
