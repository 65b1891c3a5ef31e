/* Lists of messages, page by page. */
#include "ctl/listing.h"
#include "ctl/field.h"
#include "lib/clock.h"
#include "spool/id.h"
#include <ctype.h>
#include <string.h>

struct walk {
    const struct ctl *ctl;
    const struct listing *listing;
    const char *daemon; /* who is asked just now */
    bool all;
    struct table *table;
    int64_t now;
    int64_t seen, total; /* total: as a daemon says with its first page, 0 when it does not */
};

static bool take_json(void *arg, json_t *item)
{
    struct walk *walk = arg;
    fputs(walk->seen++ == 0 ? "[\n" : ",\n", stdout);
    json_dumpf(item, stdout, JSON_COMPACT | PRINT_JSON_REALS);
    return true;
}

/* Of a list without end each LISTING_ROWS are a table of their own: widths can't wait for all. */
static void print_full_table(struct walk *walk)
{
    table_print(walk->table, &walk->ctl->screen);
    table_free(walk->table);
    walk->table = table_new(walk->listing->columns);
}

static bool take_row(void *arg, json_t *item)
{
    struct walk *walk = arg;
    if (table_rows(walk->table) == LISTING_ROWS) {
        if (!walk->all) {
            walk->seen++;
            return false; /* enough to read; a queue may hold a million */
        }
        print_full_table(walk);
    }
    walk->listing->add_row(walk->table, item, walk->now);
    walk->seen++;
    return true;
}

static void print_rest(const struct walk *walk)
{
    int64_t more = walk->total - LISTING_ROWS;
    FILE *out = walk->ctl->screen.out;
    if (walk->all || walk->seen <= LISTING_ROWS)
        return;
    if (more > 0)
        fprintf(out, "... and %lld more; --all shows them\n", (long long)more);
    else
        fprintf(out, "... and more; --all shows them\n");
}

static void print_end(const struct walk *walk)
{
    FILE *out = walk->ctl->screen.out;
    if (walk->ctl->json) {
        fputs(walk->seen == 0 ? "[]\n" : "\n]\n", out);
        return;
    }
    if (walk->seen == 0)
        fprintf(out, "%s\n", walk->listing->none);
    else
        table_print(walk->table, &walk->ctl->screen);
    print_rest(walk);
}

static json_t *ask_page(void *arg, json_t *request, struct problem *problem)
{
    struct walk *walk = arg;
    json_t *reply = call_daemon(walk->ctl, walk->daemon, request, CALL_ANYHOW, problem);
    if (reply != NULL)
        walk->total += field_int(reply, "total");
    return reply;
}

int listing_run(const struct ctl *ctl, const struct listing *listing, json_t *request,
                const struct order *order, const struct args *args)
{
    struct problem problem, then_problem;
    struct walk walk = {.ctl = ctl,
                        .listing = listing,
                        .daemon = listing->daemon,
                        .all = args->value[OPTION_ALL] != NULL,
                        .table = table_new(listing->columns),
                        .now = clock_now()};
    call_item_fn *take = ctl->json ? take_json : take_row;
    bool ok = order == NULL
                  ? call_pages(ask_page, &walk, request, take, &walk, &problem)
                  : order_pages(ask_page, &walk, request, order, ORDER_MOST, take, &walk, &problem);
    bool then_ok = true;
    if (listing->then_daemon != NULL) { /* what one can't tell does not hide what the other can */
        walk.daemon = listing->then_daemon;
        then_ok = call_pages(ask_page, &walk, call_request(listing->then_cmd), take, &walk,
                             &then_problem);
    }
    if (walk.seen > 0 || (ok && then_ok)) /* that there is nothing is known only from both */
        print_end(&walk);
    table_free(walk.table);
    int then_code = then_ok ? CTL_DONE : problem_report(&then_problem);
    return ok ? then_code : problem_report(&problem);
}

json_t *listing_ids(char *const *words, int count, struct problem *problem)
{
    json_t *ids = json_array(), *seen = json_object();
    for (int i = 0; i < count; i++) {
        char id[ID_SIZE] = "";
        if (strlen(words[i]) == ID_LEN)
            for (int c = 0; c < ID_LEN; c++)
                id[c] = (char)toupper((unsigned char)words[i][c]);
        if (!id_valid(id, strlen(id))) {
            (void)problem_set(problem, CTL_USAGE,
                              "\"%s\" is no id; an id looks like 01JD0VSM7N4C2T8RZ5K3W9XQHB",
                              words[i]);
            json_decref(ids);
            json_decref(seen);
            return NULL;
        }
        if (json_object_get(seen, id) == NULL) /* the second time it would be gone */
            json_array_append_new(ids, json_string(id));
        json_object_set_new(seen, id, json_true());
    }
    json_decref(seen);
    return ids;
}
