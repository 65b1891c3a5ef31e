/* What the settings ask for and will not get, in sentences that say what to do. */
#ifndef RELAYD_ADVICE_H
#define RELAYD_ADVICE_H

#include "lib/conf.h"
#include "relayd/extension.h"
#include "relayd/login.h"

/* Writes an event for each thing that is amiss with the login, as it is set. */
void advice_on_login(const struct conf *conf, const struct login *login);

/* What is to be said of a server that offers this; NULL when it has what relay.client asks for. */
const char *advice_on_client(const struct conf *conf, const struct smtp_extensions *offers);

#endif
