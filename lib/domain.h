/* Domain names as they stand behind the "@" of an address: Domain of RFC 5321 4.1.2, with the
 * UTF-8 labels of RFC 6531. An address literal ("[192.0.2.1]") is none. */
#ifndef LIB_DOMAIN_H
#define LIB_DOMAIN_H

#include <stdbool.h>

bool domain_valid(const char *name);

#endif
