/* One drop: a file that came by pickup/, its envelope, and its copy with a preface. Three forms of
 * envelope:
 *
 * - a preface, of a message that is or was in badmail/: its envelope
 * - X-Sender: and X-Receiver: at the top, as of Exchange and IIS: that envelope; they are taken off
 * - neither: From, and To+Cc+Bcc; Bcc is taken off
 */
#ifndef HYGIENE_DROP_H
#define HYGIENE_DROP_H

#include "hygiene/form.h"
#include "spool/message.h"

struct drop {
    struct message_reader *reader;
    struct form_top top;
    size_t skip; /* bytes of the top that are envelope lines */
    bool strip_bcc;
    char picked_up[1024]; /* with a preface: the origin that says how it came here */
    struct message_head
        head; /* of the copy; replay_of, when there was a preface, is whom it names */
};

/* Reads outgoing/<id>.drop, which was pickup/NAME. ERROR_PERMANENT: it cannot be understood, err
 * says why in words for the one who dropped it. */
MUST_CHECK bool drop_open(const struct spool *spool, const char *id, const char *name,
                          const char *default_domain, struct drop *drop, struct error *err);
/* Of what its preface says only the envelope holds: it is a drop like others. */
void drop_disown(struct drop *drop);
/* Begins outgoing/<id>.new, in place of one left from before; the rest follows piece by piece, some
 * `most` bytes at a time. Once *whole, what was read is all that the drop had when it was opened,
 * and message_finish is the caller's. */
MUST_CHECK struct message_writer *drop_copy_begin(const struct spool *spool, struct drop *drop,
                                                  struct error *err);
MUST_CHECK bool drop_copy_some(struct drop *drop, struct message_writer *w, size_t most,
                               bool *whole, struct error *err);
void drop_close(struct drop *drop);

#endif
