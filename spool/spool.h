/* The spool: six directories on one filesystem. A file is written once; from then on only its
 * directory changes, by a rename that replaces nothing, and every directory has one producer and
 * one consumer:
 *
 * - tmp       fetcherd -> fetcherd   being received, not yet in the ledger
 * - incoming  fetcherd -> hygiene    in the ledger, waiting for judgement
 * - outgoing  hygiene  -> relayd     to be relayed; *.drop and *.new are hygiene's own
 * - rejected  relayd   -> hygiene    refused by the SMTP server
 * - badmail   hygiene  -> a person   quarantine
 * - pickup    anybody  -> hygiene    dropped in by people and programs
 */
#ifndef SPOOL_SPOOL_H
#define SPOOL_SPOOL_H

#include "lib/error.h"
#include "spool/id.h"
#include <stdint.h>

enum spool_dir {
    SPOOL_TMP,
    SPOOL_INCOMING,
    SPOOL_OUTGOING,
    SPOOL_REJECTED,
    SPOOL_BADMAIL,
    SPOOL_PICKUP,
    SPOOL_DIRS
};

struct spool;

/* Opens the six directories under path; with `create`, makes those that are missing (mode 0750).
 * Refuses directories on different filesystems, ones that are open to others, and ones that their
 * group may write to. In pickup a group may drop (1730), and others too (1733). */
MUST_CHECK struct spool *spool_open(const char *path, bool create, struct error *err);
void spool_close(struct spool *spool);

const char *spool_dir_name(enum spool_dir dir); /* "incoming" */
const char *spool_path(const struct spool *spool);
int spool_fd(const struct spool *spool, enum spool_dir dir); /* the directory's descriptor; lent */

#define SPOOL_NAME_SIZE (ID_SIZE + 8)
/* "<id>.eml" (suffix "eml"); returns name. */
const char *spool_name(char name[static SPOOL_NAME_SIZE], const char *id, const char *suffix);
/* True, and id filled in, when the name is "<id>.<suffix>" in its one spelling. */
bool spool_parse_name(const char *name, const char *suffix, char id[static ID_SIZE]);

/* Hands a message on: renames <id>.eml, and replaces nothing. ERROR_MISSING when it is not there;
 * ERROR_TAKEN when another file has that name in `to`: both stay where they are then. Where that
 * one is the same, by inode or to the last byte, only the name in `from` is removed. */
MUST_CHECK bool spool_move(const struct spool *spool, const char *id, enum spool_dir from,
                           enum spool_dir to, struct error *err);
/* The same under the name <as>.eml in `to`. */
MUST_CHECK bool spool_move_as(const struct spool *spool, const char *id, enum spool_dir from,
                              enum spool_dir to, const char *as, struct error *err);
/* Removes <id>.eml, also an empty directory of that name; one that is not there is fine. */
MUST_CHECK bool spool_remove(const struct spool *spool, enum spool_dir dir, const char *id,
                             struct error *err);
/* Whether <id>.eml lies there, whatever it is. */
bool spool_has(const struct spool *spool, enum spool_dir dir, const char *id);
/* Which directory holds <id>.eml, looked for in the order of the flow; SPOOL_DIRS: none. A message
 * moving forward meanwhile is still found. */
enum spool_dir spool_find(const struct spool *spool, const char *id);

/* A walk through a directory's messages, in no order, that can stop and go on: memory stays the
 * same however many there are. Names that are not <id>.eml are passed over. */
struct spool_scan;
MUST_CHECK struct spool_scan *spool_scan_begin(const struct spool *spool, enum spool_dir dir,
                                               struct error *err);
/* The same for names of the form <id>.<suffix>; the suffix is lent. */
MUST_CHECK struct spool_scan *spool_scan_begin_of(const struct spool *spool, enum spool_dir dir,
                                                  const char *suffix, struct error *err);
bool spool_scan_next(struct spool_scan *scan, char id[static ID_SIZE]); /* false: at the end */
/* Where it stands, for spool_scan_seek in another walk through the same directory: what was there
 * all the time comes up once in the two. (Of a filesystem that counts places, as tmpfs did before
 * Linux 6.6, some may be missed when others were taken away.) */
long spool_scan_tell(const struct spool_scan *scan);
void spool_scan_seek(struct spool_scan *scan, long place);
/* Behind the last message: warns of names that don't belong there (the first of them, and their
 * number), unless *told; sets it then. */
void spool_scan_warn(const struct spool_scan *scan, bool *told);
void spool_scan_end(struct spool_scan *scan); /* NULL is fine */

/* How many messages lie there; in pickup, how many files that are not empty have a name
 * that ends in .eml and does not begin with a dot. */
uint64_t spool_count(const struct spool *spool, enum spool_dir dir);

/* Bytes that are free for us on the spool's filesystem. */
uint64_t spool_free_bytes(const struct spool *spool);

#endif
