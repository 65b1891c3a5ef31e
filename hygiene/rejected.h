/* rejected/ -> badmail/, with the reason that relayd's ledger holds. While relayd is down the files
 * wait. */
#ifndef HYGIENE_REJECTED_H
#define HYGIENE_REJECTED_H

#include "hygiene/hygiene.h"

struct rejected *rejected_start(struct hygiene *h);
void rejected_ring(struct rejected *r);
void rejected_free(struct rejected *r); /* NULL is fine */

#endif
