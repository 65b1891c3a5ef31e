/* Whether there is room on the ledger's disk for what is decided. A decision that can't be written
 * down ends the process, and after the next start the same message would end it again: so none is
 * begun. */
#ifndef HYGIENE_SPACE_H
#define HYGIENE_SPACE_H

#include "hygiene/hygiene.h"

/* Looks. Going low is an alarm, and being over it (by a quarter more) a note, once each. What is
 * not begun for it lies where it is, and is found again by the sweeps. */
bool space_is_low(struct hygiene *h);
/* Why nothing is judged and taken, or NULL; as last found. */
const char *space_problem(const struct hygiene *h);

#endif
