/* What every command of popferryctl is given, and what it gives back: an exit code. */
#ifndef CTL_COMMAND_H
#define CTL_COMMAND_H

#include "ctl/option.h"
#include "ctl/print.h"
#include "lib/conf.h"

/* Exit codes are part of the contract with scripts. */
enum { CTL_DONE = 0, CTL_FAILED = 1, CTL_USAGE = 2, CTL_DOWN = 69 };

struct ctl {
    const char *conf_file;
    const char *self; /* how to type this program: "popferryctl", with -c FILE where it was given */
    struct conf *conf;         /* NULL for a command with needs_no_conf */
    struct bus_caller *caller; /* so is this */
    bool json;
    bool verbose;
    struct screen screen; /* standard output */
};

struct command {
    const char *name;  /* one word, or two: "account add" */
    const char *words; /* what stands behind the name in the usage line */
    const char *help;  /* one line */
    const char *more;  /* further lines for `help CMD`, or NULL */
    uint64_t options;  /* OPTION_BIT of each that it takes, beyond the global ones */
    int min, max;      /* how many words it takes; max -1: any number */
    bool needs_no_conf;
    int (*run)(struct ctl *ctl, const struct args *args);
};

#define COMMANDS 27
extern const struct command commands[]; /* commands.c */

/* Why a command cannot go on. */
struct problem {
    int exit_code;
    bool not_found; /* the daemon that was asked has answered: it has no such thing */
    char text[640];
};
/* Fills in problem and returns false. */
bool problem_set(struct problem *problem, int exit_code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Says it on standard error, fit for a terminal; returns the exit code. */
int problem_report(const struct problem *problem);
/* Both at once, for a command that ends here. */
int command_fail(int exit_code, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* The commands, by family. */
int init_run(struct ctl *ctl, const struct args *args);
int account_add(struct ctl *ctl, const struct args *args);
int account_list(struct ctl *ctl, const struct args *args);
int account_show(struct ctl *ctl, const struct args *args);
int account_set(struct ctl *ctl, const struct args *args);
int account_enable(struct ctl *ctl, const struct args *args);
int account_disable(struct ctl *ctl, const struct args *args);
int account_remove(struct ctl *ctl, const struct args *args);
int account_test(struct ctl *ctl, const struct args *args);
int mailbox_run(struct ctl *ctl, const struct args *args);
int status_run(struct ctl *ctl, const struct args *args);
int fetch_run(struct ctl *ctl, const struct args *args);
int queue_list(struct ctl *ctl, const struct args *args);
int queue_show(struct ctl *ctl, const struct args *args);
int queue_hold(struct ctl *ctl, const struct args *args);
int queue_release(struct ctl *ctl, const struct args *args);
int queue_retry(struct ctl *ctl, const struct args *args);
int relay_show(struct ctl *ctl, const struct args *args);
int relay_test(struct ctl *ctl, const struct args *args);
int relay_password(struct ctl *ctl, const struct args *args);
int badmail_list(struct ctl *ctl, const struct args *args);
int badmail_show(struct ctl *ctl, const struct args *args);
int badmail_replay(struct ctl *ctl, const struct args *args);
int badmail_delete(struct ctl *ctl, const struct args *args);
int badmail_export(struct ctl *ctl, const struct args *args);
int badmail_digest(struct ctl *ctl, const struct args *args);
int log_run(struct ctl *ctl, const struct args *args);

#endif
