/* DELE, and what of it is certain.
 *
 * Promises: nothing is deleted twice in a session; a row becomes `gone` only when DELE was accepted
 * and QUIT was confirmed, since a server may forget its deletions otherwise (RFC 1939 section 6).
 * Until then it is in doubt which message its UIDL stands for: what the server lists under it next
 * is compared before it is deleted.
 */
#include "fetcherd/session_inner.h"

#include "lib/clock.h"
#include "lib/log.h"

void delete_settled(struct session *s, uint32_t item)
{
    enum conf_delete policy = fetcherd_conf(s->f)->fetch.delete;

    if (policy == CONF_DELETE_DELIVERED || policy == CONF_DELETE_SPOOLED)
        delete_now(s, item);
}

void delete_now(struct session *s, uint32_t item)
{
    if (s->drop.items[item].action == MAILDROP_DELETE)
        return; /* is on the list already */
    s->drop.items[item].action = MAILDROP_DELETE;
    s->deletes[s->delete_count++] = item;
}

void delete_charge(struct session *s, const char *why)
{
    const struct maildrop_item *item = &s->drop.items[s->deletes[s->delete_answered]];
    unsigned attempts;

    ledger_begin(s->f->ledger);
    attempts =
        ledger_message_charge(s->f->ledger, s->account->key, maildrop_item_uidl(&s->drop, item),
                              item->uidl_len, clock_now());
    ledger_commit(s->f->ledger);
    LOG(LOG_WARN, "delete-failed", KV("account", s->account->name), KVN("number", item->number),
        KVN("attempts", attempts), KV("error", why));
}

void delete_reply(struct session *s, const struct pop3_event *event)
{
    uint32_t item = s->deletes[s->delete_answered++];
    char text[300];

    if (event->reply->ok) {
        s->deleted[s->deleted_count++] = item;
        return;
    }
    log_escape(text, sizeof text, event->reply->text, event->reply->text_len);
    LOG(LOG_WARN, "delete-refused", KV("account", s->account->name), KVN("number", event->number),
        KV("reply", text));
}

typedef void mark_fn(struct ledger *ledger, int64_t account, const char *uidl, size_t uidl_len,
                     int64_t now);

static void mark_deleted(struct session *s, mark_fn *mark)
{
    int64_t now = clock_now();

    ledger_begin(s->f->ledger);
    for (size_t i = 0; i < s->deleted_count; i++) {
        const struct maildrop_item *item = &s->drop.items[s->deleted[i]];
        mark(s->f->ledger, s->account->key, maildrop_item_uidl(&s->drop, item), item->uidl_len,
             now);
    }
    ledger_commit(s->f->ledger);
}

void delete_doubtful(struct session *s)
{
    if (s->deleted_count > 0)
        mark_deleted(s, ledger_message_doubt);
}

void delete_confirmed(struct session *s)
{
    if (s->deleted_count == 0)
        return;
    mark_deleted(s, ledger_message_gone);
    s->result.deleted = (uint32_t)s->deleted_count;
    s->result.on_server -= (uint32_t)s->deleted_count;
    s->deleted_count = 0;
}
