/* A message that was received whole, and that the ledger may have already: under its UIDL, under
 * another that the server gave it before, or by its content alone.
 *
 * Promises: the same is what has the same size and hash; what we have is not spooled again, and
 * DELE follows only when the policy has it due. */
#include "fetcherd/session_inner.h"

#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"

/* Whether the policy lets it go that the server has a message which came into this state then. */
static bool is_due(const struct session *s, const struct ledger_message *row)
{
    const struct conf *conf = fetcherd_conf(s->f);

    if (row->state == LEDGER_SPOOLED)
        return conf->fetch.delete == CONF_DELETE_SPOOLED;
    if (conf->fetch.delete == CONF_DELETE_AFTER)
        return row->settled + conf->fetch.delete_after <= clock_now();
    return conf->fetch.delete != CONF_DELETE_NEVER;
}

/* Whether the ledger has it like this already. What has no UIDL is noted now and then, since the
 * ledger forgets what nobody has seen for long. */
static bool is_noted(const struct maildrop_item *item, const struct ledger_message *row,
                     bool same_uidl)
{
    bool settled = row->state == LEDGER_DELIVERED || row->state == LEDGER_QUARANTINED;
    bool recent = row->changed + CLOCK_DAY > clock_now();

    return same_uidl && (settled || row->state == LEDGER_SPOOLED) && row->listed == item->size &&
           (recent || !item->nameless);
}

/* The item is the message of this row. */
static void found(struct session *s, uint32_t index, const struct ledger_message *row,
                  bool same_uidl)
{
    const struct maildrop_item *item = &s->drop.items[index];
    struct ledger *ledger = s->f->ledger;

    if (!is_noted(item, row, same_uidl)) {
        ledger_begin(ledger);
        ledger_message_found(ledger, s->account->key, row->id, maildrop_item_uidl(&s->drop, item),
                             item->uidl_len, item->size, clock_now());
        ledger_commit(ledger);
    }
    if (row->state == LEDGER_SPOOLED) {
        spooled_add(s, row->id, index, true);
        spooled_sort(s);
    }
    if (is_due(s, row))
        delete_now(s, index);
    maildrop_taken(&s->drop, index, row->id);
}

/* A nameless message goes by the row's name from here on; any other row by the item's: the server
 * has renamed the message, or its UIDL was in doubt. */
static void found_loose(struct session *s, uint32_t index, const struct maildrop_loose *loose)
{
    bool nameless = s->drop.items[index].nameless;

    if (nameless)
        maildrop_name_by_row(&s->drop, index, loose);
    found(s, index, &loose->row, nameless);
}

static bool is_same(const struct ledger_message *row, const struct message_writer *w)
{
    return row && row->id[0] && row->size == message_writer_size(w) &&
           memcmp(row->hash, message_writer_hash(w), sizeof row->hash) == 0;
}

bool duplicate_settled(struct session *s, uint32_t index, const struct message_writer *w)
{
    const struct maildrop_item *item = &s->drop.items[index];
    const struct ledger_message *row = maildrop_row(&s->drop, item);
    char uidl[POP3_UIDL_MAX + 1];

    session_uidl(s, item, uidl);
    if (is_same(row, w)) {
        found(s, index, row, true);
    } else {
        struct maildrop_loose *loose =
            maildrop_same(&s->drop, item, message_writer_size(w), message_writer_hash(w));
        if (!loose)
            return false;
        found_loose(s, index, loose);
    }
    LOG(LOG_NOTE, "message-duplicate", KV("account", s->account->name), KVN("number", item->number),
        KV("uidl", uidl));
    return true;
}
