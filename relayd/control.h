/* The requests that relayd answers; the table for lib/daemon.h. */
#ifndef RELAYD_CONTROL_H
#define RELAYD_CONTROL_H

#include "lib/daemon.h"

extern const struct daemon_request control_requests[];

#endif
