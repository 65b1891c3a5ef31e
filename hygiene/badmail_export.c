/* badmail.export: a quarantined message octet by octet, in pages, for popferryctl, which may not be
 * allowed to read the spool. With each page goes what its preface says of all of it, so that who
 * puts it together knows whether it is true. */
#include "hygiene/badmail.h"
#include <sodium.h>

#define PAGE_BYTES      36864  /* in base64 49152 */
#define PAGE_ONCE_BYTES 552960 /* not by the bus, and each page is a start of ours */

static json_t *page(const struct message_head *head, uint64_t offset, const unsigned char *bytes,
                    size_t n)
{
    static char text[sodium_base64_ENCODED_LEN(PAGE_ONCE_BYTES, sodium_base64_VARIANT_ORIGINAL)];
    char hash[HASH_TEXT_SIZE];
    (void)sodium_bin2base64(text, sizeof text, bytes, n, sodium_base64_VARIANT_ORIGINAL);
    return bus_ok(json_pack("{s:s, s:I, s:I, s:s}", "data", text, "offset", (json_int_t)offset,
                            "size", (json_int_t)head->size, "blake2b",
                            hash_text(head->hash, hash)));
}

json_t *badmail_answer_export(struct hygiene *h, const json_t *request)
{
    const char *id = json_string_value(json_object_get(request, "id"));
    json_int_t offset = json_integer_value(json_object_get(request, "offset"));
    if (id == NULL || offset < 0)
        return bus_error("usage", "expected an id, and an offset of at least 0");
    if (!ledger_is_badmail(h->d->db, id))
        return bus_error("notfound",
                         "badmail holds no message %.40s; see: popferryctl badmail list", id);
    struct error err;
    static unsigned char bytes[PAGE_ONCE_BYTES];
    size_t n, most = h->d->once ? PAGE_ONCE_BYTES : PAGE_BYTES;
    struct message_reader *r = message_open(h->spool, SPOOL_BADMAIL, id, &err);
    json_t *reply = r != NULL && message_read_at(r, (uint64_t)offset, bytes, most, &n, &err)
                        ? page(message_reader_head(r), (uint64_t)offset, bytes, n)
                        : bus_error_from(&err);
    message_close(r);
    return reply;
}
