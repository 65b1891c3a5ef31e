/* badmail.list: the quarantined messages that a person asks for. */
#include "hygiene/badmail.h"
#include "hygiene/match.h"
#include "hygiene/shown.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NAMED_MAX     500
#define LOOKED_AT_MAX 2000 /* rows a page: to fold and compare them takes some 20 ms */

struct listing {
    struct hygiene *h;
    struct match match;
    struct bus_page page;
    char last[ID_SIZE];
    int looked_at;
    bool more;
};

static bool is_there(const struct listing *l, const struct badmail *b)
{
    /* removed by hand; reconciled at the next start */
    return b->state != BADMAIL_HELD || spool_find(l->h->spool, b->id) != SPOOL_DIRS;
}

static bool list_one(void *arg, const struct badmail *b)
{
    struct listing *l = arg;
    l->more = l->looked_at++ == LOOKED_AT_MAX;
    if (l->more)
        return false;
    if (match_fits(&l->match, b) && is_there(l, b) && !bus_page_add(&l->page, shown_badmail(b))) {
        l->more = true;
        return false;
    }
    memcpy(l->last, b->id, ID_SIZE);
    return true;
}

/* Whatever their state. The cursor is a place in ids, since one may be named twice. */
static json_t *list_named(struct listing *l, const json_t *ids, const char *after)
{
    char next[24];
    size_t at = strtoul(after, NULL, 10);
    bool more = true;
    for (; more && at < json_array_size(ids); at += more) {
        const char *id = json_string_value(json_array_get(ids, at));
        struct badmail b;
        if (id == NULL || !ledger_badmail(l->h->d->db, id, &b))
            continue;
        more = bus_page_add(&l->page, shown_badmail(&b));
        ledger_badmail_free(&b);
    }
    (void)snprintf(next, sizeof next, "%zu", at);
    return bus_page_end(&l->page, more ? NULL : next);
}

static json_t *list_matching(struct listing *l, const char *after)
{
    bus_page_begin(&l->page);
    if (l->match.state == BADMAIL_HELD)
        ledger_each_held(l->h->d->db, after, list_one, l);
    else
        ledger_each_in_state(l->h->d->db, l->match.state, after, list_one, l);
    match_free(&l->match);
    return bus_page_end(&l->page, l->more ? l->last : NULL);
}

json_t *badmail_answer_list(struct hygiene *h, const json_t *request)
{
    const json_t *ids = json_object_get(request, "ids");
    const char *after = json_string_value(json_object_get(request, "after"));
    struct listing l = {.h = h};
    struct error err;
    if (json_array_size(ids) > NAMED_MAX)
        return bus_error("usage", "at most %d ids", NAMED_MAX);
    if (!match_read(request, &l.match, &err))
        return bus_error_from(&err);
    if (ids == NULL)
        return list_matching(&l, after != NULL ? after : "");
    match_free(&l.match);
    bus_page_begin(&l.page);
    return list_named(&l, ids, after != NULL ? after : "");
}
