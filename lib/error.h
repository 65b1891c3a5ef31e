/* How a function says that it failed: it returns false (or NULL), and fills in a struct error that
 * tells whether trying again later can help, and one sentence for a person. Outputs are untouched
 * on failure. */
#ifndef LIB_ERROR_H
#define LIB_ERROR_H

#include <stdbool.h>

#define MUST_CHECK __attribute__((warn_unused_result))

enum error_kind {
    ERROR_NONE,
    ERROR_TEMPORARY, /* the same call may succeed later: no space, a peer that is down */
    ERROR_PERMANENT, /* it will fail in the same way again: damaged data, a refused password */
    ERROR_DAMAGED,   /* the same, of a ledger, which only a person can mend */
    ERROR_USAGE,     /* the caller (a person, mostly) asked for what cannot be */
    ERROR_MISSING,   /* what was named is not there */
    ERROR_TAKEN,     /* its name is taken by something else, which stays as it is */
};

struct error {
    enum error_kind kind;
    char text[480];
};

/* Fills in err (which may be NULL) and returns false, so that a caller can `return error_set(...)`.
 */
bool error_set(struct error *err, enum error_kind kind, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* The same, with ": " and the words for errno behind. The kind follows from errno: ENOENT is
 * missing; EEXIST is taken; EIO, ENOSPC, EDQUOT, EMFILE, ENFILE, ENOMEM, EAGAIN and EINTR are
 * temporary; all else is permanent. */
bool error_errno(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
