/* What the configuration says of content filters, and of what else hygiene can't do yet. */
#ifndef HYGIENE_FILTERS_H
#define HYGIENE_FILTERS_H

#include "lib/conf.h"

/* A filter that is configured and not asked would be a hole nobody sees: it is refused. Err names
 * file and key. */
MUST_CHECK bool filters_supported(const struct conf *conf, struct error *err);
/* An event for each setting, other than its default, that changes nothing yet. */
void filters_warn(const struct conf *conf);

#endif
