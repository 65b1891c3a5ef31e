/* A TLS connection in a reply of the bus, for people who look into why it fails. */
#ifndef LIB_TLS_REPORT_H
#define LIB_TLS_REPORT_H

#include "lib/tls.h"
#include <jansson.h>
#include <stdbool.h>

/* Puts version, cipher and resumed (while there is a connection) and certificate into `reply`. True
 * when the certificate of a good connection ends within two weeks. */
bool tls_report(json_t *reply, const struct tls_facts *facts);

#endif
