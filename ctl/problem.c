/* Problems, and saying them. */
#include "ctl/command.h"
#include "lib/log.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void problem_fill(struct problem *problem, int exit_code, const char *fmt, va_list ap)
{
    problem->exit_code = exit_code;
    problem->not_found = false;
    (void)vsnprintf(problem->text, sizeof problem->text, fmt, ap);
}

bool problem_set(struct problem *problem, int exit_code, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    problem_fill(problem, exit_code, fmt, ap);
    va_end(ap);
    return false;
}

int problem_report(const struct problem *problem)
{
    char safe[1024];
    (void)fflush(stdout);
    fprintf(stderr, "popferryctl: %s\n",
            log_escape(safe, sizeof safe, problem->text, strlen(problem->text)));
    return problem->exit_code;
}

int command_fail(int exit_code, const char *fmt, ...)
{
    struct problem problem;
    va_list ap;
    va_start(ap, fmt);
    problem_fill(&problem, exit_code, fmt, ap);
    va_end(ap);
    return problem_report(&problem);
}
