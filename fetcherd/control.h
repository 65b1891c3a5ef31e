/* The requests that fetcherd answers, for popferryctl and its peers. */
#ifndef FETCHERD_CONTROL_H
#define FETCHERD_CONTROL_H

#include "lib/daemon.h"

extern const struct daemon_request control_requests[];

#endif
