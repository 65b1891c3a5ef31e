/* Lists of messages, page by page. */
#include "ctl/listing.h"
#include "lib/clock.h"
#include "spool/id.h"
#include <ctype.h>
#include <string.h>

struct walk {
    const struct ctl *ctl;
    const struct listing *listing;
    struct table *table;
    int64_t now;
    uint64_t seen;
};

static bool take_json(void *arg, json_t *item)
{
    struct walk *walk = arg;
    fputs(walk->seen++ == 0 ? "[\n" : ",\n", stdout);
    json_dumpf(item, stdout, JSON_COMPACT);
    return true;
}

static bool take_row(void *arg, json_t *item)
{
    struct walk *walk = arg;
    if (walk->seen++ == LISTING_ROWS)
        return false; /* enough to read; a queue may hold a million */
    walk->listing->add_row(walk->table, item, walk->now);
    return true;
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
    if (walk->seen > LISTING_ROWS)
        fprintf(out, "... and more: these are the oldest %d; --json lists them all\n",
                LISTING_ROWS);
}

int listing_run(const struct ctl *ctl, const struct listing *listing)
{
    struct problem problem;
    struct walk walk = {
        .ctl = ctl, .listing = listing, .table = table_new(listing->columns), .now = clock_now()};
    bool ok = call_items(ctl, listing->daemon, call_request(listing->cmd),
                         ctl->json ? take_json : take_row, &walk, &problem);
    if (ok)
        print_end(&walk);
    table_free(walk.table);
    return ok ? CTL_DONE : problem_report(&problem);
}

json_t *listing_ids(char *const *words, int count, struct problem *problem)
{
    json_t *ids = json_array();
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
            return NULL;
        }
        json_array_append_new(ids, json_string(id));
    }
    return ids;
}
