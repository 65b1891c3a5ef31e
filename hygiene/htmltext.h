/* What a person would read of an HTML text, roughly: tags, comments, scripts and styles are left
 * out, blanks run together, blocks begin a line. It takes one pass, and what it gives is never
 * longer than what it got. */
#ifndef HYGIENE_HTMLTEXT_H
#define HYGIENE_HTMLTEXT_H

#include <stddef.h>

/* html[0..len) into malloc'd text with a NUL behind it; its length goes to *n. */
char *htmltext_reduce(const char *html, size_t len, size_t *n);

#endif
