/* A message that was received whole, and that the ledger may have already: under its UIDL, under
 * another that the server gave it before, or by its content alone.
 *
 * Promises: the same is what has the same size and hash; what we have is not spooled again, and
 * DELE follows only when the policy has it due. */
#include "fetcherd/session_inner.h"

#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"

/* It is what we have already: the server brought a deleted message back, or has another with this
 * UIDL, which we took for it. */
static void on_same(struct session *s, uint32_t index, const struct ledger_message *row)
{
    const struct maildrop_item *item = &s->drop.items[index];

    if (row->state == LEDGER_GONE || row->state == LEDGER_VANISHED) {
        int64_t now = clock_now();
        const char *uidl = maildrop_item_uidl(&s->drop, item);
        ledger_begin(s->f->ledger);
        (void)ledger_message_charge(s->f->ledger, s->account->key, uidl, item->uidl_len, now);
        ledger_message_state(s->f->ledger, s->account->key, uidl, item->uidl_len, LEDGER_DELIVERED,
                             now);
        ledger_commit(s->f->ledger);
    }
    if (row->state == LEDGER_DELIVERED || row->state == LEDGER_QUARANTINED)
        delete_now(s, index); /* the plan had it that it is due */
    else
        delete_settled(s, index);
}

/* Whether the policy lets a message go that came into this state then. */
static bool is_due(const struct session *s, const struct ledger_message *row)
{
    const struct conf *conf = fetcherd_conf(s->f);

    if (row->state == LEDGER_SPOOLED)
        return conf->fetch.delete == CONF_DELETE_SPOOLED;
    if (conf->fetch.delete == CONF_DELETE_AFTER)
        return row->changed + conf->fetch.delete_after <= clock_now();
    return conf->fetch.delete != CONF_DELETE_NEVER;
}

/* A nameless message that we have already. */
static void on_recognised(struct session *s, uint32_t index, struct maildrop_lost *old)
{
    maildrop_rename(&s->drop, index, old->uidl, old->row.uidl_len);
    if (old->row.state == LEDGER_VANISHED) {
        ledger_begin(s->f->ledger);
        ledger_message_state(s->f->ledger, s->account->key, old->uidl, old->row.uidl_len,
                             LEDGER_DELIVERED, clock_now());
        ledger_commit(s->f->ledger);
    }
    if (old->row.state == LEDGER_SPOOLED) {
        spooled_add(s, old->row.id, index, true);
        spooled_sort(s);
    }
    if (is_due(s, &old->row))
        delete_now(s, index);
    old->row.id[0] = '\0'; /* stands for one message only */
}

static void on_renamed(struct session *s, uint32_t index, struct maildrop_lost *old)
{
    const struct maildrop_item *item = &s->drop.items[index];
    const char *uidl = maildrop_item_uidl(&s->drop, item);
    int64_t key = s->account->key;

    ledger_begin(s->f->ledger);
    ledger_message_rename(s->f->ledger, key, old->uidl, old->row.uidl_len, uidl, item->uidl_len);
    if (old->row.state != LEDGER_SPOOLED)
        ledger_message_state(s->f->ledger, key, uidl, item->uidl_len, LEDGER_DELIVERED,
                             clock_now());
    ledger_commit(s->f->ledger);
    if (old->row.state != LEDGER_SPOOLED)
        delete_settled(s, index);
    old->row.id[0] = '\0'; /* stands for one message only */
}

bool duplicate_settled(struct session *s, uint32_t index, const struct message_writer *w)
{
    const struct maildrop_item *item = &s->drop.items[index];
    const struct ledger_message *row = maildrop_row(&s->drop, item);
    const unsigned char *hash = message_writer_hash(w);
    struct maildrop_lost *old;

    if (row && row->id[0]) {
        if (row->size != message_writer_size(w) || memcmp(row->hash, hash, sizeof row->hash) != 0)
            return false;
        on_same(s, index, row);
    } else {
        old = maildrop_renamed(&s->drop, message_writer_size(w), hash);
        if (!old)
            return false;
        if (item->nameless)
            on_recognised(s, index, old);
        else
            on_renamed(s, index, old);
    }
    char uidl[POP3_UIDL_MAX + 1];
    session_uidl(s, item, uidl);
    LOG(LOG_NOTE, "message-duplicate", KV("account", s->account->name), KVN("number", item->number),
        KV("uidl", uidl));
    return true;
}
