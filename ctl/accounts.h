/* How accounts are shown; each is an object as fetcherd's account.list gives it. */
#ifndef CTL_ACCOUNTS_H
#define CTL_ACCOUNTS_H

#include "ctl/print.h"
#include <jansson.h>

void accounts_table(const struct screen *screen, const json_t *accounts);
void accounts_details(const struct screen *screen, const json_t *account);

#endif
