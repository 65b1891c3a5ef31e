/* The command line: one table of options for all commands, so that they may stand anywhere in it,
 * before and behind the words; each command says which it takes. */
#ifndef CTL_OPTION_H
#define CTL_OPTION_H

#include "lib/error.h"
#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

enum ctl_option {
    OPTION_CONFIG,
    OPTION_VERBOSE,
    OPTION_VERSION,
    OPTION_HELP,
    OPTION_JSON,
    OPTION_GLOBALS, /* those above are taken by every command */
    OPTION_SERVER = OPTION_GLOBALS,
    OPTION_PORT,
    OPTION_TLS,
    OPTION_CA,
    OPTION_PIN,
    OPTION_AUTH,
    OPTION_USER,
    OPTION_DELIVER_TO,
    OPTION_INTERVAL,
    OPTION_BASELINE,
    OPTION_PASSWORD,
    OPTION_PASSWORD_STDIN,
    OPTION_ALL,
    OPTION_WAIT,
    OPTION_TIMEOUT,
    OPTION_ACCOUNT,
    OPTION_SENDER,
    OPTION_SUBJECT,
    OPTION_REASON,
    OPTION_DECIDED_BY,
    OPTION_OLDER,
    OPTION_NEWER,
    OPTION_STATE,
    OPTION_SORT,
    OPTION_REVERSE,
    OPTION_TO,
    OPTION_DRY_RUN,
    OPTION_YES,
    OPTION_OUTPUT,
    OPTION_FORCE,
    OPTION_SINCE,
    OPTION_BY,
    OPTION_MAIL,
    OPTIONS
};
#define OPTION_BIT(option) ((uint64_t)1 << (option))

struct args {
    const char *value[OPTIONS]; /* NULL: not given; "" for an option without a value. The last one
                                   given counts */
    json_t *deliver_to, *to;    /* every --deliver-to, every --to, each taken apart at its commas */
    uint64_t given;             /* OPTION_BITs */
    char **words;               /* what is no option, in order */
    int count;
};

/* Fills in args, whose texts stay argv's; argv is reordered. ERROR_USAGE says what is wrong, and
 * the nearest option where the name is unknown. */
MUST_CHECK bool option_parse(int argc, char **argv, struct args *args, struct error *err);
void option_free(struct args *args);

const char *option_name(enum ctl_option option); /* "deliver-to" */
/* The line of help, "--deliver-to ADDR   ..."; returns buf. */
char *option_help(enum ctl_option option, char *buf, size_t size);

/* Of several names the one that is most like `word`: a beginning of it, or a few slips of the
 * finger away; NULL when none is. names ends with NULL. */
const char *option_nearest(const char *word, const char *const *names);

/* A port number, 1 to 65535. */
MUST_CHECK bool option_port(const char *text, int *port);

#endif
