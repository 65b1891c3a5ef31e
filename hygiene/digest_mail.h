/* The digest as a message, handed in like any other drop. */
#ifndef HYGIENE_DIGEST_MAIL_H
#define HYGIENE_DIGEST_MAIL_H

#include "hygiene/digest.h"

#define DIGEST_MAIL_NAME_SIZE 64

/* hygiene.reviewer is an address, or empty; err names file and key. */
MUST_CHECK bool digest_reviewer_valid(const struct conf *conf, struct error *err);
/* There is one to send it to. */
MUST_CHECK bool digest_mail_possible(const struct conf *conf, struct error *err);
/* Writes it to pickup/NAME, synced; from there it goes as all drops do. */
MUST_CHECK bool digest_mail(const struct hygiene *h, const struct digest *digest,
                            char name[static DIGEST_MAIL_NAME_SIZE], struct error *err);
/* Removes what a crash left half written in pickup/. */
void digest_mail_clean(const struct hygiene *h);

#endif
