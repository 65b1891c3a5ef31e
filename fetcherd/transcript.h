/* What client and server said to each other in a session that was asked for by hand, for the
 * administrator who wants to know why it fails: STATE-DIR/sessions/NAME.log, mode 0600. Credentials
 * stand there as stars, messages as their size. Each such session writes the file anew; it is
 * bounded. A transcript that can't be written is an event and no more. */
#ifndef FETCHERD_TRANSCRIPT_H
#define FETCHERD_TRANSCRIPT_H

#include <stdbool.h>
#include <stddef.h>

#include "fetcherd/account.h"
#include "fetcherd/pop3.h"

struct transcript;

/* append: the session goes on with the work of the one before. NULL when it can't be written. All
 * below take NULL, and do nothing then. */
struct transcript *transcript_open(const char *state_dir, const struct account *account,
                                   bool append);
/* Octets for the server, whole lines. secret: they may hold credentials. */
void transcript_sent(struct transcript *t, const char *data, size_t len, bool secret);
void transcript_event(struct transcript *t, const struct pop3_event *event);
void transcript_note(struct transcript *t, const char *text);
void transcript_close(struct transcript *t, const char *end);

/* The account is removed. */
void transcript_remove(const char *state_dir, const char *account);

#endif
