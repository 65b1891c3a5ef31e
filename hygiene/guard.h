/* Does somebody write to this file, and does it stay as it is while it is read?
 *
 * The kernel knows: it refuses a read lease on a file that is open for writing, and takes it back
 * before somebody opens or truncates it (fcntl(2), F_SETLEASE). A lease is for the owner of the
 * file, and for who has CAP_LEASE. Where none can be had, a file counts as still when it has not
 * changed for GUARD_SETTLED ms, and until its size or ctime is another. */
#ifndef HYGIENE_GUARD_H
#define HYGIENE_GUARD_H

#include "lib/error.h"
#include <sys/types.h>
#include <time.h>

#define GUARD_SETTLED 2000

enum guard_answer {
    GUARD_STILL,   /* nobody has it open for writing, or nothing moves */
    GUARD_WRITTEN, /* somebody has, or something moved a moment ago */
    GUARD_UNKNOWN, /* no lease can be had */
    GUARD_FAILED,  /* it can't be read, or is no regular file */
};

/* Once a process: who comes to write while we hold a lease must not end it (SIGIO). */
void guard_init(void);

/* One look at an open file, without keeping anything: STILL, WRITTEN or UNKNOWN. */
enum guard_answer guard_ask(int fd);

struct guard {
    int fd; /* -1: none */
    bool leased;
    off_t size;
    struct timespec changed;
};
#define GUARD_NONE ((struct guard){.fd = -1})

/* Watches dir/NAME from here on. Begin before the first byte is read: STILL, or g is untouched, and
 * err says why; it is ERROR_TEMPORARY for WRITTEN. */
MUST_CHECK enum guard_answer guard_begin(struct guard *g, int dir, const char *name,
                                         struct error *err);
/* False: somebody has written to it since, or waits to. Who waits is kept until guard_end. */
bool guard_holds(const struct guard *g);
void guard_end(struct guard *g); /* GUARD_NONE is fine */

#endif
