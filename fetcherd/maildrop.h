/* What lies on the server, joined with what the ledger knows of it, and what is to be done about
 * each message. Pure computation: the listings and the rows come in, a plan comes out.
 *
 *   UIDL listing  -> maildrop_uidl, then maildrop_listed
 *   LIST listing  -> maildrop_size (after maildrop_listed), maildrop_nameless for those it lacks
 *                    maildrop_complete, when LIST is done too
 *   ledger rows   -> maildrop_known (after maildrop_complete)
 *   maildrop_plan -> an action for each message, and the orders in which to act
 *
 * Whether the listed message is the one that the ledger has under its UIDL is decided here: LIST
 * has to name the size that it named when we had the message. Otherwise the row is in doubt, and
 * the message is retrieved and compared with all rows whose messages are not certain to be
 * elsewhere
 * (`loose` ones). The same goes for a server whose UIDLs are message numbers, once anything says
 * that these have moved, and before any DELE.
 *
 * A message may be nameless: the server has no UIDL, or none for it that can be used (blank,
 * overlong, listed twice). Its content alone tells whether we have it. Until that is known it goes
 * by a name of our own, made of number and size, and then by one made of the id in the spool; such
 * names begin with a space, as no UIDL on the wire can. */
#ifndef FETCHERD_MAILDROP_H
#define FETCHERD_MAILDROP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "fetcherd/ledger.h"
#include "lib/conf.h"

enum {
    MAILDROP_ATTEMPTS = 3, /* failures until a message is stepped over */
};

enum maildrop_action {
    MAILDROP_KEEP,      /* nothing to do: it is to stay */
    MAILDROP_FETCH,     /* it is new to us */
    MAILDROP_VERIFY,    /* fetch it and compare the hash: the UIDL alone does not tell what it is */
    MAILDROP_DELETE,    /* ours for good: DELE */
    MAILDROP_WAIT,      /* spooled, outcome unknown */
    MAILDROP_TOO_LARGE, /* over the limit */
    MAILDROP_STEP_OVER, /* failed too often; tried once a day */
    MAILDROP_ACTIONS,
};

struct maildrop_item {
    uint64_t size; /* as LIST says; 0: unknown */
    uint32_t number;
    uint32_t uidl_at;
    int32_t known; /* index of the ledger's row; -1: none */
    uint8_t uidl_len;
    uint8_t action;
    bool shared;   /* others are listed with this UIDL; until maildrop_complete */
    bool nameless; /* its UIDL is a name of our own */
    bool doubtful; /* the row may be another message's */
    bool seen;     /* nameless, and one that the baseline knew */
};

struct maildrop_policy {
    enum conf_delete delete;
    int64_t delete_after; /* with CONF_DELETE_AFTER */
    uint64_t size_limit;
    uint32_t fetch_max;
    bool by_hand; /* tries what would be stepped over */
    int64_t now;
};

struct maildrop {
    struct maildrop_item *items; /* ascending by number after maildrop_listed */
    size_t count;
    struct ledger_message *rows; /* of listed UIDLs; uidl is NULL */
    size_t row_count;
    struct maildrop_loose *loose;
    size_t loose_count;
    bool numbered;               /* the UIDLs are the messages' numbers */
    uint32_t *fetches, *deletes; /* indexes of items, in the order to act */
    size_t fetch_count, delete_count;
    size_t safe_count; /* of the fetches: the first ones; the rest failed before and may again */
    uint32_t totals[MAILDROP_ACTIONS];
    uint32_t left_over; /* new, but beyond fetch_max */
    /* inner */
    size_t sorted; /* items in order; nameless ones may follow */
    size_t nameless;
    size_t capacity, row_capacity, loose_capacity;
    char *uidls;
    size_t uidls_len, uidls_capacity;
    uint32_t *table; /* of item index + 1, by UIDL */
    size_t table_mask;
    unsigned char hash_key[16];
};

/* A row whose message may lie under another name than the row's: it is not listed, or in doubt. */
struct maildrop_loose {
    struct ledger_message row; /* uidl is NULL: see maildrop_loose_uidl */
    uint32_t uidl_at;
    bool listed; /* the row's UIDL is: the row is in doubt */
};

void maildrop_init(struct maildrop *m);
void maildrop_free(struct maildrop *m);

/* A UIDL of at most 255 octets; copied. */
void maildrop_uidl(struct maildrop *m, uint32_t number, const char *uidl, size_t len);
/* The UIDL listing is complete. Of several lines with one number, the first counts. */
void maildrop_listed(struct maildrop *m);
/* False when the number was not listed; nothing is done then. */
bool maildrop_size(struct maildrop *m, uint32_t number, uint64_t size);
/* A message without a UIDL. */
void maildrop_nameless(struct maildrop *m, uint32_t number, uint64_t size);
/* All is listed. Those that share a UIDL become nameless. */
void maildrop_complete(struct maildrop *m);
/* A nameless message was recognised as a row's, or spooled under this id: it goes by that name. */
void maildrop_name_by_row(struct maildrop *m, uint32_t index, const struct maildrop_loose *loose);
void maildrop_name_by_id(struct maildrop *m, uint32_t index, const char *id);
bool maildrop_is_own_name(const char *uidl, size_t len);
void maildrop_known(struct maildrop *m, const struct ledger_message *row);

void maildrop_plan(struct maildrop *m, const struct maildrop_policy *policy);

const char *maildrop_item_uidl(const struct maildrop *m, const struct maildrop_item *item);
/* NULL when the ledger has none. */
struct ledger_message *maildrop_row(const struct maildrop *m, const struct maildrop_item *item);

/* The loose row of a message of this size and hash, if there is one: the listed message is that.
 * What we deleted ourselves is found for a nameless message only; under a UIDL it is new mail. */
struct maildrop_loose *maildrop_same(struct maildrop *m, const struct maildrop_item *item,
                                     uint64_t size, const unsigned char hash[static HASH_LEN]);
const char *maildrop_loose_uidl(const struct maildrop *m, const struct maildrop_loose *loose);
/* The row of this id stands for the item from here on, and for no other. */
void maildrop_taken(struct maildrop *m, uint32_t index, const char *id);

/* For maildrop_plan.c. */
void maildrop_loosen(struct maildrop *m, const struct ledger_message *row, uint32_t uidl_at,
                     bool listed);

#endif
