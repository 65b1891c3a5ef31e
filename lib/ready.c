/* See ready.h. Failure to notify is not worth failing for: the supervisor has its own time-out. */
#include "lib/ready.h"
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static void systemd_notify(const char *text)
{
    const char *path = getenv("NOTIFY_SOCKET");
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (path == NULL || (path[0] != '/' && path[0] != '@') ||
        strlen(path) >= sizeof address.sun_path)
        return;
    memcpy(address.sun_path, path, strlen(path));
    if (path[0] == '@') /* the abstract namespace */
        address.sun_path[0] = '\0';
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + strlen(path));
    (void)sendto(fd, text, strlen(text), MSG_NOSIGNAL, (struct sockaddr *)&address, len);
    (void)close(fd);
}

void ready_up(int s6_fd)
{
    systemd_notify("READY=1");
    if (s6_fd < 0)
        return;
    if (write(s6_fd, "\n", 1) == 1)
        (void)close(s6_fd);
}

void ready_stopping(void)
{
    systemd_notify("STOPPING=1");
}
