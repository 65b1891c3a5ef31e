/* Tickets of probes, and what is told of them. Promises: a bounded number of probes; what one has
 * found stays until its place is needed, or for some minutes. */
#include "fetcherd/probe.h"

#include <stdlib.h>

#include "fetcherd/probe_inner.h"
#include "lib/clock.h"

#define KEEP (5 * CLOCK_MINUTE)

enum { PROBES_MAX = 8 };

struct probes {
    struct fetcherd *f;
    struct probe *items[PROBES_MAX];
    int64_t last_ticket;
};

/* A free place: one never used, or of the one that was done first. */
static struct probe **free_place(struct probes *probes)
{
    struct probe **place = NULL;

    for (int i = 0; i < PROBES_MAX; i++) {
        struct probe **at = &probes->items[i];
        if (!*at)
            return at;
        if ((*at)->over && (!place || (*at)->ended < (*place)->ended))
            place = at;
    }
    return place;
}

static void drop_old(struct probes *probes)
{
    for (int i = 0; i < PROBES_MAX; i++) {
        struct probe *p = probes->items[i];
        if (p && p->over && clock_monotonic() - p->ended > KEEP) {
            probe_free(p);
            probes->items[i] = NULL;
        }
    }
}

int64_t probe_start(struct probes *probes, struct account *account)
{
    struct probe **place;

    drop_old(probes);
    place = free_place(probes);
    if (!place)
        return 0;
    probe_free(*place);
    *place = probe_new(probes->f, account);
    (*place)->ticket = ++probes->last_ticket;
    return (*place)->ticket;
}

void probes_forget(struct probes *probes, const struct account *account)
{
    for (int i = 0; i < PROBES_MAX; i++)
        if (probes->items[i] && probes->items[i]->account == account)
            probe_fail(probes->items[i], "account", "the account was removed");
}

struct probes *probes_new(struct fetcherd *f)
{
    struct probes *probes = calloc(1, sizeof *probes);

    if (!probes)
        abort();
    probes->f = f;
    probes->last_ticket = clock_now(); /* none of an earlier process is taken for ours */
    return probes;
}

void probes_free(struct probes *probes)
{
    if (!probes)
        return;
    for (int i = 0; i < PROBES_MAX; i++)
        probe_free(probes->items[i]);
    free(probes);
}

/* --- reports ------------------------------------------------------------------------------ */

static const struct probe *find(const struct probes *probes, int64_t ticket)
{
    for (int i = 0; i < PROBES_MAX; i++)
        if (probes->items[i] && probes->items[i]->ticket == ticket)
            return probes->items[i];
    return NULL;
}

json_t *probe_report(const struct probes *probes, int64_t ticket)
{
    const struct probe *p = find(probes, ticket);

    if (!p)
        return NULL;
    if (!p->over)
        return json_pack("{s:b, s:b}", "done", 0, "waits", p->step == PROBE_QUEUED);
    return json_pack("{s:b, s:O}", "done", 1, "result", p->result);
}

json_t *probe_items(const struct probes *probes, int64_t ticket, size_t after)
{
    const struct probe *p = find(probes, ticket);
    return p ? probe_list_page(&p->list, after) : NULL;
}
