/* The plan of a poll.
 *
 * Promises: nothing is planned for deletion that the policy does not allow or whose UIDL is not
 * certain; a bad message goes to the end of the order; work is linear in the listing, with a keyed
 * hash so that a hostile server cannot make it otherwise. */
#include "fetcherd/maildrop.h"

#include <assert.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"

static_assert(crypto_shorthash_KEYBYTES == 16, "as hash_key");

void maildrop_init(struct maildrop *m)
{
    *m = (struct maildrop){0};
    randombytes_buf(m->hash_key, sizeof m->hash_key);
}

void maildrop_free(struct maildrop *m)
{
    free(m->table);
    free(m->uidls);
    free(m->deletes);
    free(m->fetches);
    free(m->lost);
    free(m->rows);
    free(m->items);
    *m = (struct maildrop){0};
}

/* Room for `more` elements behind count. */
static void *grow(void *array, size_t *capacity, size_t count, size_t more, size_t size)
{
    if (count + more <= *capacity)
        return array;
    size_t wanted = (count + more) * 2 < 64 ? 64 : (count + more) * 2;
    void *larger = realloc(array, wanted * size);
    if (!larger)
        abort();
    *capacity = wanted;
    return larger;
}

bool maildrop_is_own_name(const char *uidl, size_t len)
{
    return len > 0 && uidl[0] == ' ';
}

static uint32_t store_uidl(struct maildrop *m, const char *uidl, size_t len)
{
    size_t at = m->uidls_len;

    m->uidls = grow(m->uidls, &m->uidls_capacity, m->uidls_len, len, 1);
    memcpy(m->uidls + at, uidl, len);
    m->uidls_len += len;
    return (uint32_t)at;
}

void maildrop_rename(struct maildrop *m, uint32_t index, const char *uidl, size_t len)
{
    assert(len <= 255 && m->items[index].nameless);
    m->items[index].uidl_at = store_uidl(m, uidl, len);
    m->items[index].uidl_len = (uint8_t)len;
}

void maildrop_name_by_id(struct maildrop *m, uint32_t index, const char *id)
{
    char name[ID_SIZE + 1];

    snprintf(name, sizeof name, " %s", id);
    maildrop_rename(m, index, name, strlen(name));
}

void maildrop_nameless(struct maildrop *m, uint32_t number, uint64_t size)
{
    char name[48];

    snprintf(name, sizeof name, " %" PRIu32 " %" PRIu64, number, size);
    size_t len = strlen(name);
    m->items = grow(m->items, &m->capacity, m->count, 1, sizeof *m->items);
    m->items[m->count++] = (struct maildrop_item){.number = number,
                                                  .size = size,
                                                  .uidl_at = store_uidl(m, name, len),
                                                  .uidl_len = (uint8_t)len,
                                                  .known = -1,
                                                  .nameless = true};
    m->nameless++;
}

void maildrop_uidl(struct maildrop *m, uint32_t number, const char *uidl, size_t len)
{
    assert(len <= 255 && !m->table);
    m->items = grow(m->items, &m->capacity, m->count, 1, sizeof *m->items);
    m->items[m->count++] = (struct maildrop_item){.number = number,
                                                  .uidl_at = store_uidl(m, uidl, len),
                                                  .uidl_len = (uint8_t)len,
                                                  .known = -1};
}

const char *maildrop_item_uidl(const struct maildrop *m, const struct maildrop_item *item)
{
    return m->uidls + item->uidl_at;
}

struct ledger_message *maildrop_row(const struct maildrop *m, const struct maildrop_item *item)
{
    return item->known < 0 ? NULL : &m->rows[item->known];
}

/* --- the listing -------------------------------------------------------------------------- */

static int by_number(const void *a, const void *b)
{
    const struct maildrop_item *x = a, *y = b;
    if (x->number != y->number)
        return x->number < y->number ? -1 : 1;
    return x->uidl_at < y->uidl_at ? -1 : 1; /* as they came */
}

static bool is_ascending(const struct maildrop *m)
{
    for (size_t i = 1; i < m->count; i++)
        if (m->items[i - 1].number >= m->items[i].number)
            return false;
    return true;
}

static void sort_items(struct maildrop *m)
{
    if (is_ascending(m))
        return;
    qsort(m->items, m->count, sizeof *m->items, by_number);
    size_t kept = 1;
    for (size_t i = 1; i < m->count; i++)
        if (m->items[i].number != m->items[kept - 1].number)
            m->items[kept++] = m->items[i];
    m->count = kept;
}

/* The slot of the table where this UIDL is, or belongs. */
static size_t find_slot(const struct maildrop *m, const char *uidl, size_t len)
{
    uint64_t hash;
    crypto_shorthash((unsigned char *)&hash, (const unsigned char *)uidl, len, m->hash_key);
    size_t slot = (size_t)hash & m->table_mask;
    while (m->table[slot]) {
        const struct maildrop_item *item = &m->items[m->table[slot] - 1];
        if (item->uidl_len == len && !memcmp(maildrop_item_uidl(m, item), uidl, len))
            break;
        slot = (slot + 1) & m->table_mask;
    }
    return slot;
}

static void build_table(struct maildrop *m)
{
    size_t slots = 16;

    while (slots < 2 * m->count)
        slots *= 2;
    free(m->table);
    m->table = calloc(slots, sizeof *m->table);
    if (!m->table)
        abort();
    m->table_mask = slots - 1;
    for (size_t i = 0; i < m->count; i++) {
        struct maildrop_item *item = &m->items[i];
        size_t slot = find_slot(m, maildrop_item_uidl(m, item), item->uidl_len);
        if (m->table[slot]) {
            item->double_uidl = true;
            m->items[m->table[slot] - 1].shares_uidl = true;
        } else {
            m->table[slot] = (uint32_t)i + 1;
        }
    }
}

void maildrop_listed(struct maildrop *m)
{
    sort_items(m);
    m->sorted = m->count;
    build_table(m);
}

void maildrop_complete(struct maildrop *m)
{
    if (!m->table || m->sorted < m->count)
        maildrop_listed(m);
}

static struct maildrop_item *find_number(struct maildrop *m, uint32_t number)
{
    size_t low = 0, high = m->sorted;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (m->items[mid].number < number)
            low = mid + 1;
        else
            high = mid;
    }
    return low < m->sorted && m->items[low].number == number ? &m->items[low] : NULL;
}

bool maildrop_size(struct maildrop *m, uint32_t number, uint64_t size)
{
    struct maildrop_item *item = find_number(m, number);
    if (item)
        item->size = size;
    return item != NULL;
}

/* --- what is known ------------------------------------------------------------------------ */

static void add_lost(struct maildrop *m, const struct ledger_message *row)
{
    m->lost = grow(m->lost, &m->lost_capacity, m->lost_count, 1, sizeof *m->lost);
    struct maildrop_lost *lost = &m->lost[m->lost_count++];
    lost->row = *row;
    lost->row.uidl = NULL; /* the array moves: see uidl[] */
    memcpy(lost->uidl, row->uidl, row->uidl_len);
}

void maildrop_known(struct maildrop *m, const struct ledger_message *row)
{
    size_t slot = find_slot(m, row->uidl, row->uidl_len);

    if (!m->table[slot]) {
        if (row->state != LEDGER_GONE && row->uidl_len <= sizeof m->lost->uidl)
            add_lost(m, row);
        return;
    }
    m->rows = grow(m->rows, &m->row_capacity, m->row_count, 1, sizeof *m->rows);
    m->rows[m->row_count] = *row;
    m->rows[m->row_count].uidl = NULL;
    m->items[m->table[slot] - 1].known = (int32_t)m->row_count++;
}

struct maildrop_lost *maildrop_renamed(struct maildrop *m, uint64_t size,
                                       const unsigned char hash[static MESSAGE_HASH_LEN])
{
    for (size_t i = 0; i < m->lost_count; i++) {
        const struct ledger_message *row = &m->lost[i].row;
        if (row->id[0] && row->size == size && !memcmp(row->hash, hash, MESSAGE_HASH_LEN))
            return &m->lost[i];
    }
    return NULL;
}

/* --- the plan ----------------------------------------------------------------------------- */

static bool is_day_old(const struct ledger_message *row, const struct maildrop_policy *policy)
{
    return policy->by_hand || row->changed + CLOCK_DAY <= policy->now;
}

static enum maildrop_action act_on_settled(const struct maildrop_item *item,
                                           const struct ledger_message *row,
                                           const struct maildrop_policy *policy)
{
    if (policy->delete == CONF_DELETE_NEVER)
        return MAILDROP_KEEP;
    if (policy->delete == CONF_DELETE_AFTER && row->changed + policy->delete_after > policy->now)
        return MAILDROP_KEEP;
    if (row->attempts >= MAILDROP_ATTEMPTS && !is_day_old(row, policy))
        return MAILDROP_STEP_OVER; /* its DELE breaks sessions */
    /* Which of several with this UIDL is the one we have? Only its content can tell. */
    return item->shares_uidl ? MAILDROP_VERIFY : MAILDROP_DELETE;
}

/* Retrieve it, unless that has failed too often. */
static enum maildrop_action attempt(enum maildrop_action how, const struct ledger_message *row,
                                    const struct maildrop_policy *policy)
{
    if (row->attempts < MAILDROP_ATTEMPTS || is_day_old(row, policy))
        return how;
    return MAILDROP_STEP_OVER;
}

/* The row may know better than LIST, from counting; but then it counted only until it stopped. */
static enum maildrop_action act_on_too_large(const struct maildrop_item *item,
                                             const struct ledger_message *row,
                                             const struct maildrop_policy *policy)
{
    bool counted = item->size <= policy->size_limit;

    if (row->size <= policy->size_limit)
        return MAILDROP_FETCH;
    if (counted && ((policy->by_hand && row->attempts < MAILDROP_ATTEMPTS) ||
                    row->changed + CLOCK_DAY <= policy->now))
        return MAILDROP_FETCH;
    return MAILDROP_TOO_LARGE;
}

/* The server lists again what was deleted: the same message, or another under its UIDL. It is
 * looked at once, and when the server just keeps what it was told to delete, once a day from then
 * on. */
static enum maildrop_action act_on_returned(const struct ledger_message *row,
                                            const struct maildrop_policy *policy)
{
    bool seen = row->attempts > 0;
    return !seen || is_day_old(row, policy) ? MAILDROP_VERIFY : MAILDROP_KEEP;
}

static enum maildrop_action act_on_known(const struct maildrop_item *item,
                                         const struct ledger_message *row,
                                         const struct maildrop_policy *policy)
{
    switch (row->state) {
    case LEDGER_DELIVERED:
    case LEDGER_QUARANTINED:
        return act_on_settled(item, row, policy);
    case LEDGER_SPOOLED:
        if (policy->delete == CONF_DELETE_SPOOLED)
            return item->shares_uidl ? MAILDROP_VERIFY : MAILDROP_DELETE;
        return MAILDROP_WAIT;
    case LEDGER_TOO_LARGE:
        return act_on_too_large(item, row, policy);
    case LEDGER_SEEN:
        return MAILDROP_KEEP;
    case LEDGER_GONE:
    case LEDGER_VANISHED:
        return act_on_returned(row, policy);
    default:
        return attempt(MAILDROP_FETCH, row, policy);
    }
}

static enum maildrop_action act_on(const struct maildrop *m, const struct maildrop_item *item,
                                   const struct maildrop_policy *policy)
{
    const struct ledger_message *row = maildrop_row(m, item);
    enum maildrop_action action = item->double_uidl
                                      ? MAILDROP_KEEP
                                      : (row ? act_on_known(item, row, policy) : MAILDROP_FETCH);
    bool fetches = action == MAILDROP_FETCH || action == MAILDROP_VERIFY;

    return fetches && item->size > policy->size_limit ? MAILDROP_TOO_LARGE : action;
}

/* New mail first; then what only needs another look; last what failed before, so that it stops none
 * of the others. */
enum turn { TURN_NEW, TURN_LOOK, TURN_RISK, TURNS, TURN_NEVER };

static enum turn turn_of(const struct maildrop *m, const struct maildrop_item *item)
{
    const struct ledger_message *row = maildrop_row(m, item);

    if (item->action != MAILDROP_FETCH && item->action != MAILDROP_VERIFY)
        return TURN_NEVER;
    if (row && row->attempts > 0)
        return TURN_RISK;
    return item->action == MAILDROP_FETCH ? TURN_NEW : TURN_LOOK;
}

/* Where to begin. Of a mailbox without UIDLs the oldest messages are most likely those that we
 * have; what came behind them goes first, so that comparing them again holds up nothing new. */
static size_t first_to_fetch(const struct maildrop *m)
{
    size_t ours = 0;

    if (m->nameless < m->count)
        return 0;
    for (size_t i = 0; i < m->lost_count; i++)
        ours +=
            m->lost[i].row.id[0] && maildrop_is_own_name(m->lost[i].uidl, m->lost[i].row.uidl_len);
    return ours < m->count ? ours : 0;
}

static void order_fetches(struct maildrop *m, uint32_t max)
{
    size_t first = first_to_fetch(m);

    for (enum turn turn = TURN_NEW; turn < TURNS; turn++) {
        for (size_t n = 0; n < m->count; n++) {
            size_t i = (first + n) % m->count;
            if (turn_of(m, &m->items[i]) != turn)
                continue;
            if (m->fetch_count < max)
                m->fetches[m->fetch_count++] = (uint32_t)i;
            else
                m->left_over += turn == TURN_NEW;
        }
        if (turn < TURN_RISK)
            m->safe_count = m->fetch_count;
    }
}

static uint32_t *index_array(size_t n)
{
    uint32_t *array = calloc(n ? n : 1, sizeof *array);
    if (!array)
        abort();
    return array;
}

void maildrop_plan(struct maildrop *m, const struct maildrop_policy *policy)
{
    assert(!m->fetches);
    m->fetches = index_array(m->count < policy->fetch_max ? m->count : policy->fetch_max);
    m->deletes = index_array(m->count);
    for (size_t i = 0; i < m->count; i++) {
        struct maildrop_item *item = &m->items[i];
        enum maildrop_action action = act_on(m, item, policy);
        item->action = (uint8_t)action;
        m->totals[action]++;
        if (action == MAILDROP_DELETE)
            m->deletes[m->delete_count++] = (uint32_t)i;
    }
    order_fetches(m, policy->fetch_max);
}
