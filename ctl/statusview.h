/* `status` for people: the three daemons, the spool, the accounts, and then what needs a person,
 * each with the command to type next. */
#ifndef CTL_STATUSVIEW_H
#define CTL_STATUSVIEW_H

#include "ctl/command.h"
#include <jansson.h>

/* `status` is the object that status --json prints. */
void statusview_print(const struct ctl *ctl, const json_t *status);

#endif
