/* A daemon's own binary, run for one request. */
#ifndef CTL_ONESHOT_H
#define CTL_ONESHOT_H

#include "lib/error.h"
#include <jansson.h>
#include <stddef.h>

/* The path of a program in the folder of this one; false when that is not known. */
MUST_CHECK bool oneshot_program(const char *name, char *path, size_t size);

/* Runs `program -c conf_file -1` with the request on its standard input, and returns the reply it
 * prints. Without one, err tells what it wrote last on standard error, or that it took longer than
 * timeout_ms. With `verbose` all that it writes there goes on to ours. ERROR_TEMPORARY: another
 * process holds its ledger. */
MUST_CHECK json_t *oneshot_ask(const char *program, const char *conf_file, const json_t *request,
                               int timeout_ms, bool verbose, struct error *err);

#endif
