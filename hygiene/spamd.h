/* SpamAssassin's daemon (SPAMC 1.5, its PROTOCOL file): REPORT gives the verdict, the score, and
 * what it found in a text for people. */
#ifndef HYGIENE_SPAMD_H
#define HYGIENE_SPAMD_H

#include "hygiene/filter.h"

/* What its answer means: text[0..len), to the close. */
void spamd_read(const struct filter_server *server, const char *text, size_t len,
                struct filter_answer *answer);

#endif
