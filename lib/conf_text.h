/* The configuration file as one text that libconfuse can count the lines of. Only conf.c uses it.
 */
#ifndef LIB_CONF_TEXT_H
#define LIB_CONF_TEXT_H

#include "lib/error.h"

/* Reads FILE (a regular one, at most 1 MiB) and returns it with every comment blanked out; the
 * caller frees it. A string, comment or section that is never closed, and a variable (${...}), are
 * refused with file and line, and so is a NUL. */
MUST_CHECK char *conf_text_read(const char *file, struct error *err);

#endif
