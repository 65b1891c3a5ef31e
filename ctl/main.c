/* popferryctl: one command to steer the three daemons. What it can do is the table in commands.c;
 * this file finds the command in it, and gives the help that follows from it. */
#include "ctl/command.h"
#include "lib/bus.h"
#include "lib/log.h"
#include <limits.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

/* --- help --- */

static void print_option_lines(FILE *out, uint64_t options)
{
    char line[200];
    for (int i = 0; i < OPTIONS; i++)
        if ((options & OPTION_BIT(i)) != 0)
            fprintf(out, "%s\n", option_help((enum ctl_option)i, line, sizeof line));
}

static void print_commands(FILE *out, const char *family)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (family == NULL || (strncmp(commands[i].name, family, strlen(family)) == 0 &&
                               strchr(" ", commands[i].name[strlen(family)]) != NULL))
            fprintf(out, "  %-16s %s\n", commands[i].name, commands[i].help);
}

static void help_all(FILE *out)
{
    fputs("popferryctl: steers popferry, which carries mail from POP3 mailboxes to your\n"
          "SMTP server.\n\nusage: popferryctl [-c FILE] [--json] COMMAND ...\n\ncommands:\n",
          out);
    print_commands(out, NULL);
    fputs("\noptions, anywhere in the line:\n", out);
    print_option_lines(out, OPTION_BIT(OPTION_GLOBALS) - 1);
    fputs("\n`popferryctl help COMMAND` tells more; see also popferryctl(8).\n"
          "Exit code: 0 done, 1 it failed, 2 usage, 69 the daemon that is needed is down.\n",
          out);
}

static void help_usage(FILE *out, const struct command *command)
{
    fprintf(out, "usage: popferryctl %s%s%s\n", command->name, command->words[0] != '\0' ? " " : "",
            command->words);
}

static void help_command(FILE *out, const struct command *command)
{
    help_usage(out, command);
    fprintf(out, "\n%s: %s.\n", command->name, command->help);
    if (command->more != NULL)
        fprintf(out, "%s\n", command->more);
    if (command->options != 0) {
        fputs("\noptions:\n", out);
        print_option_lines(out, command->options);
    }
    fputs("\noptions of every command:\n", out);
    print_option_lines(out, OPTION_BIT(OPTION_GLOBALS) - 1);
}

/* --- which command --- */

static const struct command *find_exact(const char *name)
{
    for (size_t i = 0; i < COMMANDS; i++)
        if (strcmp(commands[i].name, name) == 0)
            return &commands[i];
    return NULL;
}

static bool is_family(const char *word)
{
    size_t n = strlen(word);
    for (size_t i = 0; i < COMMANDS; i++)
        if (strncmp(commands[i].name, word, n) == 0 && commands[i].name[n] == ' ')
            return true;
    return false;
}

/* By the first two words, or by the first; takes those words away. */
static const struct command *find_command(struct args *args)
{
    char two[80];
    const struct command *found = NULL;
    int taken = 0;
    if (args->count >= 2) {
        (void)snprintf(two, sizeof two, "%s %s", args->words[0], args->words[1]);
        found = find_exact(two);
        taken = 2;
    }
    /* "queue" is a command and a family: "queue shwo" is a slip, not a word too many */
    if (found == NULL && (args->count == 1 || (args->count > 1 && !is_family(args->words[0])))) {
        found = find_exact(args->words[0]);
        taken = 1;
    }
    if (found != NULL) {
        args->words += taken;
        args->count -= taken;
    }
    return found;
}

static int unknown_command(const struct args *args)
{
    const char *names[COMMANDS + 1] = {0};
    char typed[80];
    bool family = is_family(args->words[0]);
    for (size_t i = 0; i < COMMANDS; i++)
        names[i] = commands[i].name;
    (void)snprintf(typed, sizeof typed, "%s%s%s", args->words[0], args->count > 1 ? " " : "",
                   args->count > 1 ? args->words[1] : "");
    const char *nearest = args->count > 1 || !family ? option_nearest(typed, names) : NULL;
    if (nearest == NULL && !family)
        nearest = option_nearest(args->words[0], names);
    if (nearest != NULL)
        return command_fail(CTL_USAGE, "there is no command \"%s\"; did you mean \"%s\"?", typed,
                            nearest);
    if (!family)
        return command_fail(CTL_USAGE, "there is no command \"%s\"; see: popferryctl help", typed);
    (void)command_fail(CTL_USAGE, "%s what?", args->words[0]);
    print_commands(stderr, args->words[0]);
    return CTL_USAGE;
}

static int wrong_use(const struct command *command, const char *what)
{
    (void)command_fail(CTL_USAGE, "%s: %s", command->name, what);
    help_usage(stderr, command);
    return CTL_USAGE;
}

static bool is_utf8(const char *text)
{
    json_t *string = json_string(text);
    json_decref(string);
    return string != NULL;
}

/* All of it goes into JSON, but for the file's name. */
static bool all_utf8(const struct args *args)
{
    bool ok = true;
    for (int i = 0; ok && i < args->count; i++)
        ok = is_utf8(args->words[i]);
    for (int i = OPTION_CONFIG + 1; ok && i < OPTIONS; i++)
        ok = args->value[i] == NULL || is_utf8(args->value[i]);
    return ok;
}

/* CTL_DONE when the words and options fit the command. */
static int check_use(const struct command *command, const struct args *args)
{
    char what[120];
    uint64_t globals = OPTION_BIT(OPTION_GLOBALS) - 1;
    for (int i = 0; i < OPTIONS; i++)
        if ((args->given & ~(globals | command->options) & OPTION_BIT(i)) != 0) {
            (void)snprintf(what, sizeof what, "it takes no --%s", option_name((enum ctl_option)i));
            return wrong_use(command, what);
        }
    if (!all_utf8(args))
        return wrong_use(command, "an argument is not UTF-8");
    if (args->count < command->min)
        return wrong_use(command, "something is missing");
    if (command->max >= 0 && args->count > command->max) {
        (void)snprintf(what, sizeof what, "\"%.60s\" is too much", args->words[command->max]);
        return wrong_use(command, what);
    }
    return CTL_DONE;
}

/* --- running it --- */

static int run(const struct command *command, struct args *args)
{
    char self[PATH_MAX + 32] = "popferryctl";
    if (args->value[OPTION_CONFIG] != NULL)
        (void)snprintf(self, sizeof self, "popferryctl -c %s", args->value[OPTION_CONFIG]);
    struct ctl ctl = {
        .self = self,
        .conf_file =
            args->value[OPTION_CONFIG] != NULL ? args->value[OPTION_CONFIG] : CONF_DEFAULT_FILE,
        .json = args->value[OPTION_JSON] != NULL,
        .verbose = args->value[OPTION_VERBOSE] != NULL,
        .screen = screen_open(stdout),
    };
    if (!command->needs_no_conf) {
        struct error err = {0};
        ctl.conf = conf_load(ctl.conf_file, &err);
        if (ctl.conf == NULL)
            return command_fail(CTL_FAILED, "%s%s", err.text,
                                err.kind == ERROR_MISSING
                                    ? "; popferryctl init makes it, -c FILE names another"
                                    : "");
        ctl.caller = bus_caller_new(ctl.conf->run_dir);
    }
    int code = command->run(&ctl, args);
    if (code == CTL_USAGE)
        help_usage(stderr, command);
    if (fflush(stdout) != 0 && code == CTL_DONE)
        code = command_fail(CTL_FAILED, "the answer could not be written");
    bus_caller_free(ctl.caller);
    conf_free(ctl.conf);
    return code;
}

static int dispatch(struct args *args)
{
    bool help = args->value[OPTION_HELP] != NULL;
    if (args->value[OPTION_VERSION] != NULL) {
        puts("popferryctl (popferry) " POPFERRY_VERSION);
        return CTL_DONE;
    }
    if (args->count > 0 && strcmp(args->words[0], "help") == 0) {
        help = true;
        args->words++;
        args->count--;
    }
    if (args->count == 0) {
        help_all(help ? stdout : stderr);
        return help ? CTL_DONE : CTL_USAGE;
    }
    if (help && args->count == 1 && is_family(args->words[0])) {
        print_commands(stdout, args->words[0]);
        return CTL_DONE;
    }
    const struct command *command = find_command(args);
    if (command == NULL)
        return unknown_command(args);
    if (help) {
        help_command(stdout, command);
        return CTL_DONE;
    }
    int code = check_use(command, args);
    return code == CTL_DONE ? run(command, args) : code;
}

int main(int argc, char **argv)
{
    struct args args;
    struct error err = {0};
    (void)setlocale(LC_CTYPE, "");
    log_open("popferryctl");
    if (!option_parse(argc, argv, &args, &err))
        return command_fail(CTL_USAGE, "%s", err.text);
    int code = dispatch(&args);
    option_free(&args);
    return code;
}
