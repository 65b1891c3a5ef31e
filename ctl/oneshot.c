/* One child, three pipes, one deadline, and no shell. A child that takes too long is killed;
 * whatever happens, it is waited for. */
#include "ctl/oneshot.h"
#include "lib/clock.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define REPLY_MAX (1024 * 1024)

bool oneshot_program(const char *name, char *path, size_t size)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    if (n <= 0)
        return false;
    self[n] = '\0';
    char *slash = strrchr(self, '/');
    if (slash == NULL)
        return false;
    *slash = '\0';
    return (size_t)snprintf(path, size, "%s/%s", self, name) < size;
}

/* What came out of one of the child's pipes. */
struct capture {
    char *bytes;
    size_t used, limit;
};

struct child {
    pid_t pid;
    int in, out, err; /* our ends; -1 when closed */
    struct capture reply, words;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static bool make_pipes(int pipes[3][2], struct error *err)
{
    for (int i = 0; i < 3; i++)
        if (pipe2(pipes[i], O_CLOEXEC) < 0) {
            (void)error_errno(err, "cannot make a pipe");
            while (i-- > 0) {
                (void)close(pipes[i][0]);
                (void)close(pipes[i][1]);
            }
            return false;
        }
    return true;
}

/* Root becomes whoever owns the state directory; all others stay what they are. */
static bool become_owner(const char *state_dir)
{
    struct stat st;
    if (geteuid() != 0 || stat(state_dir, &st) < 0 || st.st_uid == 0)
        return true;
    return setgroups(0, NULL) == 0 && setgid(st.st_gid) == 0 && setuid(st.st_uid) == 0;
}

/* The child's part. */
__attribute__((noreturn)) static void child_run(const struct oneshot *oneshot, int in, int out,
                                                int err)
{
    char *const argv[] = {(char *)oneshot->program, (char *)"-c", (char *)oneshot->conf_file,
                          (char *)"-1", NULL};
    (void)dup2(in, STDIN_FILENO);
    (void)dup2(out, STDOUT_FILENO);
    (void)dup2(err, STDERR_FILENO);
    (void)signal(SIGPIPE, SIG_DFL);
    if (become_owner(oneshot->state_dir))
        (void)execv(oneshot->program, argv);
    (void)dprintf(STDERR_FILENO, "cannot run %s: %s\n", oneshot->program, strerror(errno));
    _exit(127);
}

static bool child_start(struct child *child, const struct oneshot *oneshot, struct error *err)
{
    int pipes[3][2]; /* its standard input, output, error */
    if (!make_pipes(pipes, err))
        return false;
    child->pid = fork();
    if (child->pid == 0)
        child_run(oneshot, pipes[0][0], pipes[1][1], pipes[2][1]);
    if (child->pid < 0)
        (void)error_errno(err, "cannot start %s", oneshot->program);
    (void)close(pipes[0][0]);
    (void)close(pipes[1][1]);
    (void)close(pipes[2][1]);
    child->in = pipes[0][1];
    child->out = pipes[1][0];
    child->err = pipes[2][0];
    (void)fcntl(child->in, F_SETFL, O_NONBLOCK);
    return child->pid > 0;
}

/* Keeps up to the limit, and drops the rest: the pipe must not fill up. */
static void take(int *fd, struct capture *capture)
{
    char piece[4096];
    ssize_t n = read(*fd, piece, sizeof piece);
    if (n < 0 && errno == EINTR)
        return;
    if (n <= 0) {
        close_fd(fd);
        return;
    }
    size_t room = capture->limit - capture->used;
    size_t kept = (size_t)n < room ? (size_t)n : room;
    char *bytes = realloc(capture->bytes, capture->used + kept + 1);
    if (bytes == NULL)
        return;
    memcpy(bytes + capture->used, piece, kept);
    capture->bytes = bytes;
    capture->used += kept;
    bytes[capture->used] = '\0';
}

static void give(struct child *child, const char *text, size_t len, size_t *sent)
{
    ssize_t n = write(child->in, text + *sent, len - *sent);
    if (n > 0)
        *sent += (size_t)n;
    else if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n < 0 || *sent == len)
        close_fd(&child->in);
}

/* True when the child has closed both its outputs before the deadline. */
static bool converse(struct child *child, const char *text, size_t len, int64_t deadline)
{
    size_t sent = 0;
    while (child->out >= 0 || child->err >= 0) {
        int64_t left = deadline - clock_monotonic();
        if (left <= 0)
            return false;
        struct pollfd fds[] = {{.fd = child->in, .events = POLLOUT},
                               {.fd = child->out, .events = POLLIN},
                               {.fd = child->err, .events = POLLIN}};
        if (poll(fds, 3, (int)left) < 0 && errno != EINTR)
            return false;
        if (fds[0].revents != 0)
            give(child, text, len, &sent);
        if (fds[1].revents != 0)
            take(&child->out, &child->reply);
        if (fds[2].revents != 0)
            take(&child->err, &child->words);
    }
    return true;
}

/* What an event says in its error="..."; the whole line when it is no event. Works in place. */
static char *error_of(char *line)
{
    static const char key[] = " error=";
    char *value = strstr(line, key);
    if (value == NULL)
        return line;
    value += sizeof key - 1;
    bool quoted = *value == '"';
    char *to = value;
    for (char *from = value + quoted; *from != '\0' && *from != (quoted ? '"' : ' '); from++) {
        if (quoted && from[0] == '\\' && from[1] == '"')
            from++;
        *to++ = *from;
    }
    *to = '\0';
    return value;
}

/* The last line it wrote. */
static char *last_words(struct capture *words)
{
    char *text = words->bytes;
    if (text == NULL)
        return NULL;
    while (words->used > 0 && text[words->used - 1] == '\n')
        text[--words->used] = '\0';
    char *newline = strrchr(text, '\n');
    return text[0] != '\0' ? error_of(newline != NULL ? newline + 1 : text) : NULL;
}

static json_t *judge(struct child *child, const char *program, bool in_time, struct error *err)
{
    json_t *reply = NULL;
    if (in_time && child->reply.bytes != NULL)
        reply = json_loads(child->reply.bytes, JSON_DISABLE_EOF_CHECK, NULL);
    if (reply != NULL)
        return reply;
    char *words = last_words(&child->words);
    bool held = words != NULL && strstr(words, "is running already") != NULL;
    if (!in_time)
        (void)error_set(err, ERROR_PERMANENT, "%s took too long to answer", program);
    else
        (void)error_set(err, held ? ERROR_TEMPORARY : ERROR_PERMANENT, "%s",
                        words != NULL ? words : "it gave no answer");
    return NULL;
}

json_t *oneshot_ask(const struct oneshot *oneshot, const json_t *request, struct error *err)
{
    struct child child = {
        .in = -1, .out = -1, .err = -1, .reply.limit = REPLY_MAX, .words.limit = 65536};
    char *text = json_dumps(request, JSON_COMPACT);
    json_t *reply = NULL;
    if (text == NULL) {
        (void)error_set(err, ERROR_USAGE, "the request is not UTF-8");
        return NULL;
    }
    void (*before)(int) = signal(SIGPIPE, SIG_IGN);
    if (child_start(&child, oneshot, err)) {
        bool in_time =
            converse(&child, text, strlen(text), clock_monotonic() + oneshot->timeout_ms);
        if (!in_time)
            (void)kill(child.pid, SIGKILL);
        while (waitpid(child.pid, NULL, 0) < 0 && errno == EINTR)
            ;
        if (oneshot->verbose && child.words.bytes != NULL)
            fprintf(stderr, "%s", child.words.bytes);
        reply = judge(&child, oneshot->program, in_time, err);
    }
    close_fd(&child.in);
    close_fd(&child.out);
    close_fd(&child.err);
    (void)signal(SIGPIPE, before);
    free(child.reply.bytes);
    free(child.words.bytes);
    free(text);
    return reply;
}
