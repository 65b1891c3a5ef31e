/* See order.h. */
#include "ctl/order.h"
#include "ctl/field.h"
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct gather {
    json_t *items;
    size_t most;
    bool more;
};

static bool take(void *arg, json_t *item)
{
    struct gather *gather = arg;
    gather->more = json_array_size(gather->items) == gather->most;
    if (!gather->more)
        json_array_append(gather->items, item);
    return !gather->more;
}

static int compare_by(const json_t *a, const json_t *b, const char *key)
{
    int64_t first = field_int(a, key), second = field_int(b, key);
    if (first != second)
        return first < second ? -1 : 1;
    return strcasecmp(field_text(a, key), field_text(b, key));
}

static int compare(const void *a, const void *b, void *arg)
{
    const struct order *order = arg;
    const json_t *first = *(json_t *const *)a, *second = *(json_t *const *)b;
    int result = compare_by(first, second, order->key);
    if (result == 0)
        result = compare_by(first, second, "id");
    return order->reverse ? -result : result;
}

static void give(const json_t *items, const struct order *order, call_item_fn *fn, void *arg)
{
    size_t count = json_array_size(items);
    json_t **sorted = calloc(count + 1, sizeof(json_t *));
    if (sorted == NULL)
        abort();
    for (size_t i = 0; i < count; i++)
        sorted[i] = json_array_get(items, i);
    qsort_r(sorted, count, sizeof(json_t *), compare, (void *)order);
    for (size_t i = 0; i < count && fn(arg, sorted[i]); i++)
        ;
    free(sorted);
}

bool order_pages(call_ask_fn *ask, void *ask_arg, json_t *request, const struct order *order,
                 size_t most, call_item_fn *fn, void *arg, struct problem *problem)
{
    struct gather gather = {.items = json_array(), .most = most};
    bool ok = call_pages(ask, ask_arg, request, take, &gather, problem);
    if (ok && gather.more)
        ok = problem_set(problem, CTL_FAILED,
                         "more than %zu messages fit, too many to sort; narrow them down, or list "
                         "them as they come",
                         most);
    if (ok)
        give(gather.items, order, fn, arg);
    json_decref(gather.items);
    return ok;
}
