/* The requests that fetcherd answers, for popferryctl and its peers. */
#ifndef POPFERRY_FETCHERD_CONTROL_H
#define POPFERRY_FETCHERD_CONTROL_H

#include "lib/daemon.h"

extern const struct daemon_request control_requests[];

#endif
