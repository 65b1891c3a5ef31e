/* Reads with read(2), not stdio, so that no copy of a password stays behind in a buffer. */
#include "ctl/password.h"
#include "ctl/call.h"
#include "ctl/field.h"
#include "lib/secret.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

static volatile sig_atomic_t interrupted;

static void on_interrupt(int number)
{
    interrupted = number;
}

/* One line, without its end. */
static char *read_line(int fd, struct problem *problem)
{
    char *line = sodium_init() < 0 ? NULL : sodium_malloc(SECRET_MAX + 1);
    size_t n = 0;
    ssize_t got = 0;
    if (line == NULL) {
        (void)problem_set(problem, CTL_FAILED, "no memory for the password");
        return NULL;
    }
    bool nul = false;
    while (n < SECRET_MAX && (got = read(fd, line + n, 1)) == 1 && line[n] != '\n')
        nul = line[n++] == '\0' || nul;
    bool whole = got == 0 || (got == 1 && n < SECRET_MAX);
    if (n > 0 && line[n - 1] == '\r')
        n--;
    line[n] = '\0';
    if (whole && n > 0 && !nul)
        return line;
    secret_wipe(line);
    if (interrupted)
        (void)problem_set(problem, CTL_FAILED, "interrupted");
    else if (nul)
        (void)problem_set(problem, CTL_FAILED, "the password holds a NUL byte");
    else
        (void)problem_set(problem, CTL_FAILED,
                          whole ? "the password is empty" : "the password could not be read");
    return NULL;
}

/* With echo off, which is given back even on Ctrl-C. */
static char *ask(int tty, const char *prompt, struct problem *problem)
{
    struct termios before, quiet;
    if (tcgetattr(tty, &before) < 0) {
        (void)problem_set(problem, CTL_FAILED, "the terminal can't be set: %s", strerror(errno));
        return NULL;
    }
    struct sigaction action = {.sa_handler = on_interrupt}, old_action;
    (void)sigaction(SIGINT, &action, &old_action); /* no SA_RESTART: read(2) ends */
    quiet = before;
    quiet.c_lflag &= ~(tcflag_t)ECHO;
    (void)dprintf(tty, "%s: ", prompt);
    (void)tcsetattr(tty, TCSAFLUSH, &quiet);
    char *line = read_line(tty, problem);
    (void)tcsetattr(tty, TCSAFLUSH, &before);
    (void)dprintf(tty, "\n");
    (void)sigaction(SIGINT, &old_action, NULL);
    return line;
}

static char *ask_twice(int tty, struct problem *problem)
{
    char *first = ask(tty, "Password", problem);
    if (first == NULL)
        return NULL;
    char *second = ask(tty, "Password again", problem);
    bool same = second != NULL && strcmp(first, second) == 0;
    if (second != NULL && !same)
        (void)problem_set(problem, CTL_FAILED, "the two passwords are not the same");
    secret_wipe(second);
    if (same)
        return first;
    secret_wipe(first);
    return NULL;
}

char *password_read(bool from_stdin, bool twice, struct problem *problem)
{
    if (from_stdin)
        return read_line(STDIN_FILENO, problem);
    int tty = open("/dev/tty", O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (tty < 0) {
        (void)problem_set(
            problem, CTL_USAGE,
            "there is no terminal to ask for the password: give it on standard input, "
            "with --password-stdin");
        return NULL;
    }
    char *password = twice ? ask_twice(tty, problem) : ask(tty, "Password", problem);
    (void)close(tty);
    return password;
}

char *password_seal(const struct ctl *ctl, const char *daemon, const char *name,
                    const char *password, struct problem *problem)
{
    json_t *reply = call_daemon(ctl, daemon, call_request("pubkey"), CALL_ANYHOW, problem);
    if (reply == NULL)
        return NULL;
    struct error err = {0};
    char *sealed = secret_seal(field_text(reply, "public_key"), name, password, &err);
    if (sealed == NULL)
        (void)problem_set(problem, CTL_FAILED, "%s", err.text);
    json_decref(reply);
    return sealed;
}
