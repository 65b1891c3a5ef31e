/* A look into a message that is written for it. */
#ifndef TESTS_UNIT_HYGIENE_LOOK_H
#define TESTS_UNIT_HYGIENE_LOOK_H

#include "hygiene/mimelook.h"
#include "tests/unit/hygiene/fixture.h"

static inline void look_at_bytes(struct fixture *f, const char *text, size_t len,
                                 struct mimelook *look)
{
    struct error err = {.text = ""};
    struct message_head head = {.account = "sales", .origin = "pop3://test/sales uidl=1"};
    id_new(head.id);
    assert_true(envelope_list_add(&head.recipients, "one@corp.example"));
    struct message_writer *w = message_create(f->h.spool, SPOOL_BADMAIL, "eml", &head, &err);
    assert_non_null(w);
    assert_true(message_append(w, text, len, &err));
    assert_true(message_finish(w, &err));
    message_writer_free(w);
    message_head_free(&head);
    struct message_reader *r = message_open(f->h.spool, SPOOL_BADMAIL, head.id, &err);
    assert_non_null(r);
    assert_true(mimelook_read(r, look, &err));
    message_close(r);
}

static inline void look_at(struct fixture *f, const char *text, struct mimelook *look)
{
    look_at_bytes(f, text, strlen(text), look);
}

#endif
