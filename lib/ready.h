/* Telling the supervisor: s6's notification descriptor, and systemd's sd_notify protocol (a
 * datagram to $NOTIFY_SOCKET; sd_notify(3), "Standalone Implementations"). */
#ifndef LIB_READY_H
#define LIB_READY_H

void ready_up(int s6_fd); /* -1: none; otherwise written to and closed */
void ready_stopping(void);

#endif
