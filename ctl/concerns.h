/* What needs a person, behind `status`. */
#ifndef CTL_CONCERNS_H
#define CTL_CONCERNS_H

#include "ctl/command.h"
#include <jansson.h>

/* Prints them, each with the command to type next; returns how many there are. `status` is the
 * object that status --json prints. */
int concerns_print(const struct ctl *ctl, const json_t *status);

#endif
