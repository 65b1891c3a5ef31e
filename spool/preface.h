/* The text of a preface, written and read. Only message.c uses it; the format is in message.h. */
#ifndef SPOOL_PREFACE_H
#define SPOOL_PREFACE_H

#include "spool/message.h"

/* Width of the X-Popferry-Body line without its CRLF: 20 digits, 64 of hash, and the words. */
#define PREFACE_BODY_WIDTH 112

/* How a preface begins, and how many bytes tell it from none. */
#define PREFACE_FIRST       "X-Popferry: "
#define PREFACE_FIRST_BYTES 12

/* The whole preface in malloc'd memory; *len its bytes, of which the last PREFACE_BODY_WIDTH + 2
 * are the body line. */
MUST_CHECK char *preface_write(const struct message_head *head, size_t *len, struct error *err);
/* The body line alone, PREFACE_BODY_WIDTH bytes and a NUL. */
void preface_body_line(const struct message_head *head, char line[static PREFACE_BODY_WIDTH + 1]);

enum preface_result { PREFACE_OK, PREFACE_NONE, PREFACE_SHORT, PREFACE_BAD };
/* Reads the preface at the top of text[0..n): OK with *len its bytes; NONE: it begins otherwise;
 * SHORT: its end is not among these bytes; BAD: err says how. Whatever it took into head,
 * message_head_free gives back. */
enum preface_result preface_read(const char *text, size_t n, struct message_head *head, size_t *len,
                                 struct error *err);

#endif
