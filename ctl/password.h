/* Passwords: from standard input or a prompt without echo, never from the command line; and sealed
 * at once, so that only the daemon can open them. */
#ifndef CTL_PASSWORD_H
#define CTL_PASSWORD_H

#include "ctl/command.h"

/* The first line of standard input when from_stdin, otherwise asked for on the terminal, twice when
 * `twice`. The caller gives it back to secret_wipe. NULL with problem filled in. */
MUST_CHECK char *password_read(bool from_stdin, bool twice, struct problem *problem);

/* Seals it to the public key of a daemon, under the name of what it is for: an account, or the
 * relay's user. The caller frees the result. */
MUST_CHECK char *password_seal(const struct ctl *ctl, const char *daemon, const char *name,
                               const char *password, struct problem *problem);

#endif
