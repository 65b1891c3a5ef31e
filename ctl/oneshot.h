/* A daemon's own binary, run for one request. */
#ifndef CTL_ONESHOT_H
#define CTL_ONESHOT_H

#include "lib/error.h"
#include <jansson.h>
#include <stddef.h>

/* The path of a program in the folder of this one; false when that is not known. */
MUST_CHECK bool oneshot_program(const char *name, char *path, size_t size);

struct oneshot {
    const char *program, *conf_file;
    const char *state_dir; /* root runs it as the owner of this, so that ledgers stay theirs */
    int timeout_ms;
    bool verbose; /* what it writes on standard error goes on to ours */
};
/* Runs `program -c conf_file -1` with the request on its standard input, and returns the reply it
 * prints. Without one, err tells what it wrote last on standard error, or that it took too long.
 * ERROR_TEMPORARY: another process holds its ledger. */
MUST_CHECK json_t *oneshot_ask(const struct oneshot *oneshot, const json_t *request,
                               struct error *err);

#endif
