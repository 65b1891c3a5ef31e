/* The listings of a poll, joined with the ledger's rows.
 *
 * Promises: work is linear in the listing, with a keyed hash so that a hostile server cannot make
 * it otherwise; a UIDL that stands for several messages stands for none. */
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
    free(m->loose);
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

void maildrop_name_by_row(struct maildrop *m, uint32_t index, const struct maildrop_loose *loose)
{
    assert(m->items[index].nameless);
    m->items[index].uidl_at = loose->uidl_at;
    m->items[index].uidl_len = (uint8_t)loose->row.uidl_len;
}

void maildrop_name_by_id(struct maildrop *m, uint32_t index, const char *id)
{
    char name[ID_SIZE + 1];
    int len = snprintf(name, sizeof name, " %s", id);

    assert(m->items[index].nameless);
    m->items[index].uidl_at = store_uidl(m, name, (size_t)len);
    m->items[index].uidl_len = (uint8_t)len;
}

static void name_by_number(struct maildrop *m, struct maildrop_item *item)
{
    char name[48];

    snprintf(name, sizeof name, " %" PRIu32 " %" PRIu64, item->number, item->size);
    item->uidl_len = (uint8_t)strlen(name);
    item->uidl_at = store_uidl(m, name, item->uidl_len);
    item->nameless = true;
    m->nameless++;
}

void maildrop_nameless(struct maildrop *m, uint32_t number, uint64_t size)
{
    m->items = grow(m->items, &m->capacity, m->count, 1, sizeof *m->items);
    m->items[m->count] = (struct maildrop_item){.number = number, .size = size, .known = -1};
    name_by_number(m, &m->items[m->count++]);
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
            item->shared = true;
            m->items[m->table[slot] - 1].shared = true;
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

/* A UIDL that is listed for several messages tells none of them from the others. */
static bool part_sharers(struct maildrop *m)
{
    bool any = false;

    for (size_t i = 0; i < m->sorted; i++) {
        struct maildrop_item *item = &m->items[i];
        if (item->shared && !item->nameless)
            name_by_number(m, item);
        any |= item->shared;
        item->shared = false;
    }
    return any;
}

/* Perhaps with zeros before it. */
static bool is_number(const struct maildrop *m, const struct maildrop_item *item)
{
    const char *uidl = maildrop_item_uidl(m, item);
    uint64_t value = 0;

    if (item->uidl_len > 10)
        return false;
    for (size_t i = 0; i < item->uidl_len; i++) {
        if (uidl[i] < '0' || uidl[i] > '9')
            return false;
        value = 10 * value + (uint64_t)(uidl[i] - '0');
    }
    return value == item->number;
}

void maildrop_complete(struct maildrop *m)
{
    bool parted = part_sharers(m);

    if (!m->table || parted || m->sorted < m->count)
        maildrop_listed(m);
    m->numbered = m->count > m->nameless;
    for (size_t i = 0; i < m->count && m->numbered; i++)
        m->numbered = m->items[i].nameless || is_number(m, &m->items[i]);
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

void maildrop_loosen(struct maildrop *m, const struct ledger_message *row, uint32_t uidl_at,
                     bool listed)
{
    m->loose = grow(m->loose, &m->loose_capacity, m->loose_count, 1, sizeof *m->loose);
    struct maildrop_loose *loose = &m->loose[m->loose_count++];
    *loose = (struct maildrop_loose){.row = *row, .uidl_at = uidl_at, .listed = listed};
    loose->row.uidl = NULL;
}

const char *maildrop_loose_uidl(const struct maildrop *m, const struct maildrop_loose *loose)
{
    return m->uidls + loose->uidl_at;
}

/* What we deleted is of interest only where the server can't say that it is listed again. */
static bool may_be_elsewhere(const struct maildrop *m, const struct ledger_message *row)
{
    return row->state != LEDGER_GONE || m->nameless > 0 ||
           maildrop_is_own_name(row->uidl, row->uidl_len);
}

void maildrop_known(struct maildrop *m, const struct ledger_message *row)
{
    size_t slot = find_slot(m, row->uidl, row->uidl_len);

    if (!m->table[slot]) {
        if (may_be_elsewhere(m, row) && row->uidl_len <= UINT8_MAX)
            maildrop_loosen(m, row, store_uidl(m, row->uidl, row->uidl_len), false);
        return;
    }
    m->rows = grow(m->rows, &m->row_capacity, m->row_count, 1, sizeof *m->rows);
    m->rows[m->row_count] = *row;
    m->rows[m->row_count].uidl = NULL;
    m->items[m->table[slot] - 1].known = (int32_t)m->row_count++;
}

struct maildrop_loose *maildrop_same(struct maildrop *m, const struct maildrop_item *item,
                                     uint64_t size, const unsigned char hash[static HASH_LEN])
{
    for (size_t i = 0; i < m->loose_count; i++) {
        const struct ledger_message *row = &m->loose[i].row;
        bool ours = row->id[0] &&
                    (row->state != LEDGER_GONE || item->nameless ||
                     maildrop_is_own_name(maildrop_loose_uidl(m, &m->loose[i]), row->uidl_len));
        if (ours && row->size == size && !memcmp(row->hash, hash, HASH_LEN))
            return &m->loose[i];
    }
    return NULL;
}

/* Another item under whose UIDL the row was has none any more. */
static void detach(struct maildrop *m, uint32_t finder, const char *id)
{
    for (size_t i = 0; i < m->count; i++)
        if (i != finder && m->items[i].known >= 0 && !strcmp(m->rows[m->items[i].known].id, id))
            m->items[i].known = -1;
}

void maildrop_taken(struct maildrop *m, uint32_t index, const char *id)
{
    char taken[ID_SIZE];

    memcpy(taken, id, sizeof taken); /* it may be one of those that are cleared here */
    for (size_t i = 0; i < m->loose_count; i++) {
        struct maildrop_loose *loose = &m->loose[i];
        if (strcmp(loose->row.id, taken) != 0)
            continue;
        loose->row.id[0] = '\0';
        if (loose->listed)
            detach(m, index, taken);
    }
}
