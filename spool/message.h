/* A spool file: the preface, and then the message byte for byte as the server sent it
 * (dot-unstuffed).
 *
 *   X-Popferry: 1 lines=5 id=01JD... account=sales [replay=01JC...]
 *   X-Popferry-Origin: pop3s://pop.isp.example:995/sales uidl=0000a1 at=2026-11-22T10:00:00Z
 *   X-Sender: <bounce@origin.example>
 *   X-Receiver: <sales@corp.example>                          (one line for each)
 *   X-Popferry-Body: 20480 blake2b=...                        (padded with spaces to a fixed width)
 *
 * lines=N says where the preface ends, whatever the message begins with. Size and BLAKE2b-256 are
 * of the message behind it; a reader learns at the end whether they are true. */
#ifndef SPOOL_MESSAGE_H
#define SPOOL_MESSAGE_H

#include "lib/error.h"
#include "spool/envelope.h"
#include "spool/hash.h"
#include "spool/spool.h"
#include "spool/top.h"
#include <stdint.h>
#include <sys/types.h>

#define MESSAGE_PREFACE_MAX (512 * 1024)

struct message_head {
    char id[ID_SIZE];
    char replay_of[ID_SIZE];      /* "" unless it is a replay */
    char account[65];             /* "" for a pickup drop */
    char origin[1024];            /* one line, escaped; URI, uidl=, at= */
    char sender[ADDRESS_MAX + 1]; /* without brackets; "" is the null reverse-path */
    struct envelope_list recipients;
    uint64_t size;
    unsigned char hash[HASH_LEN];
};
/* It came by pickup/: no account fetched it. */
bool message_is_drop(const struct message_head *head);
void message_head_free(struct message_head *head); /* what it holds, not itself */

/* Writing. The file <head->id>.<suffix> is created in dir with O_EXCL; size and hash of the head
 * are ignored here and found out while writing. Writes are gathered, so a small message costs one
 * write(2). */
struct message_writer;
MUST_CHECK struct message_writer *message_create(const struct spool *spool, enum spool_dir dir,
                                                 const char *suffix,
                                                 const struct message_head *head,
                                                 struct error *err);
MUST_CHECK bool message_append(struct message_writer *w, const void *bytes, size_t n,
                               struct error *err);
/* All is written and the preface is true; not yet synced: see message_writer_fd and spool/batch.h.
 */
MUST_CHECK bool message_finish(struct message_writer *w, struct error *err);
int message_writer_fd(const struct message_writer *w);
const char *message_writer_id(const struct message_writer *w);
uint64_t message_writer_size(const struct message_writer *w); /* bytes of message so far */
const unsigned char *message_writer_hash(const struct message_writer *w); /* after message_finish */
/* Closes and keeps the file. */
void message_writer_free(struct message_writer *w);
/* Closes and unlinks it. NULL is fine. */
void message_abandon(struct message_writer *w);

/* Of a file that lies in dir as <id>.eml and has the preface of `old`: its preface names id from
 * now on, on the disk. False when it can't be: no such preface, no permission to write, another
 * name for the same file somewhere. */
MUST_CHECK bool message_change_id(const struct spool *spool, enum spool_dir dir, const char *id,
                                  const char *old);

/* Reading. Opens without following links; anything but a regular file is refused. ERROR_MISSING: no
 * such file; ERROR_PERMANENT: it is damaged (the text says how), and never to be sent;
 * ERROR_TEMPORARY: it could not be read now. */
struct message_reader;
MUST_CHECK struct message_reader *message_open(const struct spool *spool, enum spool_dir dir,
                                               const char *id, struct error *err);
/* The same for a name of any form in dir (pickup, *.drop); with no preface at its top, head has
 * only defaults and message_reader_has_preface says false: size is then the whole file's. */
MUST_CHECK struct message_reader *message_open_any(const struct spool *spool, enum spool_dir dir,
                                                   const char *name, struct error *err);
bool message_reader_has_preface(const struct message_reader *r);
const struct message_head *message_reader_head(const struct message_reader *r);
/* Up to n bytes of message into buf; *got is 0 at the end, when size and hash have been found true.
 */
MUST_CHECK bool message_read(struct message_reader *r, void *buf, size_t n, size_t *got,
                             struct error *err);
/* The file, and where the message begins in it; lent. */
int message_reader_fd(const struct message_reader *r, off_t *at);
/* What is read begins with `top` from now on, in place of what that stands for; its bytes are the
 * reader's then. Size and hash are checked as ever. To be called before the first message_read. */
void message_put_top(struct message_reader *r, struct top *top);
bool message_has_top(const struct message_reader *r);
/* Bytes that message_read will give, NULs that are dropped included. */
uint64_t message_reader_size(const struct message_reader *r);
/* Up to n bytes from `offset` of the message on, as it was written, whatever was read until then;
 * nothing is checked. *got is 0 at the end. */
MUST_CHECK bool message_read_at(struct message_reader *r, uint64_t offset, void *buf, size_t n,
                                size_t *got, struct error *err);
/* Back to the message's first byte. */
MUST_CHECK bool message_rewind(struct message_reader *r, struct error *err);
void message_close(struct message_reader *r); /* NULL is fine */

#endif
