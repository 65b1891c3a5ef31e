/* A message on its way in: from the octets that RETR gives to a finished file in tmp/.
 *
 * The header section is gathered first, since the envelope in the file's preface comes out of it;
 * then the file is made and all else goes straight through. */
#ifndef FETCHERD_INTAKE_H
#define FETCHERD_INTAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fetcherd/account.h"
#include "lib/error.h"
#include "spool/message.h"
#include "spool/spool.h"

struct intake {
    const struct spool *spool;
    const struct account *account;
    char default_domain[256];
    uint64_t limit; /* octets; counted, whatever LIST said */
    bool active;
    uint64_t size; /* octets so far */
    char *header;
    size_t header_len, header_capacity;
    char uidl[256];
    size_t uidl_len;
    struct message_writer *writer;
};

enum intake_result {
    INTAKE_OK,
    INTAKE_TOO_LARGE, /* the limit is exceeded; call intake_abandon */
    INTAKE_FAILED,    /* the spool could not take it; call intake_abandon */
};

/* spool and account must outlive the intake; it can be used for message after message. */
void intake_init(struct intake *in, const struct spool *spool, const struct account *account,
                 const char *default_domain);

void intake_begin(struct intake *in, const char *uidl, size_t uidl_len, uint64_t limit);
MUST_CHECK enum intake_result intake_data(struct intake *in, const char *data, size_t len,
                                          struct error *err);
/* Finishes the file and gives it over; NULL on failure, and the file is then gone. */
MUST_CHECK struct message_writer *intake_end(struct intake *in, struct error *err);
/* Removes whatever there is of the message. */
void intake_abandon(struct intake *in);
void intake_free(struct intake *in);

#endif
