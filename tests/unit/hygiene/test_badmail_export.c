/* badmail.export: what is put together out of its pages is the message, octet by octet. */
#include "tests/unit/hygiene/quarantine.h"
#include <sodium.h>

#define MESSAGE_BYTES 100000 /* three pages */

static char message[MESSAGE_BYTES];

static void put_message(struct fixture *f, char id[static ID_SIZE])
{
    struct error err;
    struct message_head head = {.account = "sales", .origin = "pop3://test/sales uidl=1"};
    struct badmail b;
    unsigned long long seed = 7;
    for (size_t i = 0; i < sizeof message; i++)
        message[i] = (char)dice(&seed); /* any octet there is, NULs too */
    id_new(id);
    memcpy(head.id, id, ID_SIZE);
    assert_true(envelope_list_add(&head.recipients, "one@corp.example"));
    struct message_writer *w = message_create(f->h.spool, SPOOL_BADMAIL, "eml", &head, &err);
    assert_true(message_append(w, message, sizeof message, &err) && message_finish(w, &err));
    message_writer_free(w);
    message_head_free(&head);
    badmail_describe(f->h.spool, SPOOL_BADMAIL, id, "relay", "550 no", &b);
    add_row(f, &b, 0);
    ledger_badmail_free(&b);
}

static json_t *page_at(struct fixture *f, const char *id, json_int_t offset)
{
    return good_answer(f, badmail_answer_export,
                       json_pack("{s:s, s:I}", "id", id, "offset", offset));
}

/* Returns how many octets it has. */
static size_t decode(const json_t *page, char *to, size_t room)
{
    size_t n = 0;
    const char *text = text_of(page, "data");
    assert_int_equal(sodium_base642bin((unsigned char *)to, room, text, strlen(text), NULL, &n,
                                       NULL, sodium_base64_VARIANT_ORIGINAL),
                     0);
    return n;
}

static void pages_make_the_message(void **state)
{
    struct fixture *f = *state;
    static char copy[MESSAGE_BYTES + 1];
    unsigned char hash[HASH_LEN];
    char id[ID_SIZE], hex[HASH_TEXT_SIZE];
    size_t len = 0, n = 1;
    int pages = 0;
    put_message(f, id);
    (void)crypto_generichash(hash, sizeof hash, (unsigned char *)message, sizeof message, NULL, 0);
    for (; n > 0; len += n, pages++) {
        json_t *page = page_at(f, id, (json_int_t)len);
        assert_true(json_dumpb(page, NULL, 0, JSON_COMPACT) < BUS_MESSAGE_MAX);
        assert_int_equal(json_integer_value(json_object_get(page, "offset")), len);
        assert_int_equal(json_integer_value(json_object_get(page, "size")), MESSAGE_BYTES);
        assert_string_equal(text_of(page, "blake2b"), hash_text(hash, hex));
        n = decode(page, copy + len, sizeof copy - len);
        json_decref(page);
    }
    assert_int_equal(pages, 4); /* with the empty one behind it */
    assert_int_equal(len, MESSAGE_BYTES);
    assert_memory_equal(copy, message, MESSAGE_BYTES);
}

static void any_place_will_do(void **state)
{
    struct fixture *f = *state;
    char id[ID_SIZE], bytes[65536];
    static const struct {
        json_int_t offset;
        size_t n;
    } cases[] = {{1, 36864},           {99999, 1},         {100000, 0},
                 {100001, 0},          {INT32_MAX, 0},     {UINT32_MAX, 0},
                 {INT64_MAX - 100, 0}, {INT64_MAX - 1, 0}, {INT64_MAX, 0}};
    put_message(f, id);
    for (size_t i = 0; i < COUNT(cases); i++) {
        json_t *page = page_at(f, id, cases[i].offset);
        assert_int_equal(decode(page, bytes, sizeof bytes), cases[i].n);
        assert_memory_equal(bytes, message + (cases[i].n > 0 ? cases[i].offset : 0), cases[i].n);
        json_decref(page);
    }
}

static void what_is_not_there(void **state)
{
    struct fixture *f = *state;
    struct error err;
    char id[ID_SIZE];
    put_message(f, id);
    bad_answer(f, badmail_answer_export, json_object(), "usage", "expected an id");
    bad_answer(f, badmail_answer_export, json_pack("{s:s, s:i}", "id", id, "offset", -1), "usage",
               "offset");
    bad_answer(f, badmail_answer_export, json_pack("{s:s}", "id", "../../etc/passwd"), "notfound",
               "holds no message");
    assert_true(spool_remove(f->h.spool, SPOOL_BADMAIL, id, &err));
    bad_answer(f, badmail_answer_export, json_pack("{s:s}", "id", id), "notfound", id);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        quarantine_test(pages_make_the_message),
        quarantine_test(any_place_will_do),
        quarantine_test(what_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
