/* Whether two names stand for one content. */
#ifndef SPOOL_SAME_H
#define SPOOL_SAME_H

#include <stdbool.h>

/* True when both are names of one inode, or regular files that are the same to the last byte; of
 * two files the second is on the disk then, so that the first may be removed. False with errno set:
 * EEXIST when they differ; what else went wrong otherwise. Links are not followed. */
bool same_file(int first_dir, const char *first, int second_dir, const char *second);

#endif
