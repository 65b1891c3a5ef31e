/* Listings put together by message number, then looked up by UIDL.
 *
 * Promises: bounded memory whatever is listed; a UIDL that is listed twice is shown twice. */
#include "fetcherd/probe_list.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/bus.h"
#include "lib/log.h"

void probe_list_free(struct probe_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i].uidl);
    free(list->items);
    *list = (struct probe_list){0};
}

/* Listings come in ascending order, all but always: the end is looked at first. */
static struct probe_item *item_of(struct probe_list *list, uint32_t number)
{
    size_t at = list->count;

    if (list->count && list->items[list->count - 1].number >= number)
        for (at = 0; list->items[at].number < number;)
            at++;
    if (at < list->count && list->items[at].number == number)
        return &list->items[at];
    if (list->count >= PROBE_LIST_MAX)
        return NULL;
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 64;
        list->items = realloc(list->items, list->capacity * sizeof *list->items);
        if (!list->items)
            abort();
    }
    memmove(list->items + at + 1, list->items + at, (list->count - at) * sizeof *list->items);
    list->count++;
    list->items[at] = (struct probe_item){.number = number};
    return &list->items[at];
}

void probe_list_uidl(struct probe_list *list, uint32_t number, const char *uidl, size_t len)
{
    struct probe_item *item = item_of(list, number);

    if (!item || item->uidl)
        return;
    item->uidl = malloc(len + 1);
    if (!item->uidl)
        abort();
    memcpy(item->uidl, uidl, len);
    item->uidl[len] = '\0';
    item->uidl_len = len;
}

void probe_list_size(struct probe_list *list, uint32_t number, uint64_t size)
{
    struct probe_item *item = item_of(list, number);

    if (!item)
        return;
    item->size = size;
    item->sized = true;
}

/* --- what is known ------------------------------------------------------------------------ */

static int compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return order ? order : (a_len > b_len) - (a_len < b_len);
}

static int by_uidl(const void *left, const void *right)
{
    const struct probe_item *a = *(struct probe_item *const *)left;
    const struct probe_item *b = *(struct probe_item *const *)right;
    return compare(a->uidl, a->uidl_len, b->uidl, b->uidl_len);
}

struct lookup_table {
    struct probe_item **items;
    size_t count;
};

static void on_row(void *arg, const struct ledger_message *row)
{
    struct lookup_table *table = arg;
    size_t low = 0, high = table->count;

    while (low < high) { /* the first of those that are alike */
        size_t mid = low + (high - low) / 2;
        const struct probe_item *item = table->items[mid];
        if (compare(item->uidl, item->uidl_len, row->uidl, row->uidl_len) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    for (; low < table->count; low++) {
        struct probe_item *item = table->items[low];
        if (compare(item->uidl, item->uidl_len, row->uidl, row->uidl_len) != 0)
            break;
        item->known = true;
        item->state = row->state;
        item->attempts = row->attempts;
        memcpy(item->id, row->id, sizeof item->id);
    }
}

void probe_list_complete(struct probe_list *list, struct ledger *ledger, int64_t account)
{
    struct lookup_table table = {.items = calloc(list->count + 1, sizeof(struct probe_item *))};

    if (!table.items)
        abort();
    for (size_t i = 0; i < list->count; i++)
        if (list->items[i].uidl)
            table.items[table.count++] = &list->items[i];
    qsort(table.items, table.count, sizeof(struct probe_item *), by_uidl);
    ledger_messages(ledger, account, on_row, &table);
    free(table.items);
}

struct probe_totals probe_list_totals(const struct probe_list *list, uint64_t size_limit)
{
    struct probe_totals totals = {0};

    for (size_t i = 0; i < list->count; i++) {
        const struct probe_item *item = &list->items[i];
        totals.unknown += !item->known;
        totals.too_large += item->size > size_limit;
        if (item->size > totals.largest)
            totals.largest = item->size;
    }
    return totals;
}

/* --- showing ------------------------------------------------------------------------------ */

static json_t *item_json(const struct probe_item *item)
{
    char uidl[1100];

    log_escape(uidl, sizeof uidl, item->uidl ? item->uidl : "", item->uidl_len);
    return json_pack("{s:I, s:o, s:o, s:s, s:o, s:i}", "number", (json_int_t)item->number, "size",
                     item->sized ? json_integer((json_int_t)item->size) : json_null(), "uidl",
                     item->uidl ? json_string(uidl) : json_null(), "state",
                     item->known ? ledger_state_name(item->state) : "new", "id",
                     item->id[0] ? json_string(item->id) : json_null(), "attempts",
                     (int)item->attempts);
}

json_t *probe_list_page(const struct probe_list *list, size_t after)
{
    struct bus_page page;
    char cursor[24];

    bus_page_begin(&page);
    for (size_t i = after; i < list->count; i++) {
        if (!bus_page_add(&page, item_json(&list->items[i]))) {
            snprintf(cursor, sizeof cursor, "%zu", i);
            return bus_page_end(&page, cursor);
        }
    }
    return bus_page_end(&page, NULL);
}
