/* What write(2) alone does not promise. */
#ifndef LIB_FILE_H
#define LIB_FILE_H

#include "lib/error.h"
#include <stddef.h>

/* Writes all of it, however many calls that takes; false with errno set. */
MUST_CHECK bool file_write_all(int fd, const void *bytes, size_t n);

#endif
