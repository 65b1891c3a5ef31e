/* Errors as sentences. See error.h. */
#include "lib/error.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(struct error *err, enum error_kind kind, const char *fmt, va_list ap)
{
    err->kind = kind;
    (void)vsnprintf(err->text, sizeof err->text, fmt, ap);
}

bool error_set(struct error *err, enum error_kind kind, const char *fmt, ...)
{
    if (err == NULL)
        return false;
    va_list ap;
    va_start(ap, fmt);
    fill(err, kind, fmt, ap);
    va_end(ap);
    return false;
}

static enum error_kind kind_of(int number)
{
    switch (number) {
    case ENOENT:
        return ERROR_MISSING;
    case EEXIST:
        return ERROR_TAKEN;
    case EIO:
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case EAGAIN:
    case EINTR:
        return ERROR_TEMPORARY;
    default:
        return ERROR_PERMANENT;
    }
}

bool error_errno(struct error *err, const char *fmt, ...)
{
    int number = errno;
    if (err == NULL)
        return false;
    va_list ap;
    va_start(ap, fmt);
    fill(err, kind_of(number), fmt, ap);
    va_end(ap);
    size_t used = strlen(err->text);
    (void)snprintf(err->text + used, sizeof err->text - used, ": %s", strerror(number));
    return false;
}
