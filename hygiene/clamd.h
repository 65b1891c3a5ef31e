/* ClamAV's daemon (clamd(8), INSTREAM): it is sent the message, and says OK or what it found. */
#ifndef HYGIENE_CLAMD_H
#define HYGIENE_CLAMD_H

#include "hygiene/filter.h"

/* What its answer means: text[0..len), to its NUL. */
void clamd_read(const struct filter_server *server, const char *text, size_t len,
                struct filter_answer *answer);

#endif
