/* What a probe saw in a mailbox, and what the ledger knows of it. */
#ifndef FETCHERD_PROBE_LIST_H
#define FETCHERD_PROBE_LIST_H

#include <jansson.h>
#include <stddef.h>
#include <stdint.h>

#include "fetcherd/ledger.h"

enum { PROBE_LIST_MAX = 200000 }; /* messages that are listed; more are counted only */

struct probe_item {
    uint32_t number;
    uint64_t size;
    bool sized;
    char *uidl; /* NULL: none; uidl_len octets */
    size_t uidl_len;
    bool known;
    enum ledger_state state;
    char id[ID_SIZE];
    unsigned attempts;
};

struct probe_list {
    uint32_t expected; /* by STAT */
    struct probe_item *items;
    size_t count, capacity;
};

struct probe_totals {
    uint64_t unknown, too_large, largest;
};

void probe_list_free(struct probe_list *list);
void probe_list_uidl(struct probe_list *list, uint32_t number, const char *uidl, size_t len);
void probe_list_size(struct probe_list *list, uint32_t number, uint64_t size);
/* Both listings are in: looks up what is known of each. */
void probe_list_complete(struct probe_list *list, struct ledger *ledger, int64_t account);
struct probe_totals probe_list_totals(const struct probe_list *list, uint64_t size_limit);
/* {"number","size","uidl","state","id","attempts"} from the after-th on; by bus_page_end. */
json_t *probe_list_page(const struct probe_list *list, size_t after);

#endif
