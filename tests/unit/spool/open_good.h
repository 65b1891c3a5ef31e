/* A spool below the scratch directory. */
#ifndef TESTS_OPEN_GOOD_H
#define TESTS_OPEN_GOOD_H

#include "spool/spool.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"

static inline struct spool *open_good(void **state)
{
    struct error err = {0};
    struct spool *spool = spool_open(scratch_path(*state, "spool"), true, &err);
    if (spool == NULL)
        fail_msg("%s", err.text);
    return spool;
}

#endif
