/* The plan of a poll.
 *
 * Promises: nothing is planned for deletion that the policy does not allow or that is not certain
 * to be the message which the ledger has; a bad message goes to the end of the order. */
#include "fetcherd/maildrop.h"

#include <assert.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"

/* --- doubt -------------------------------------------------------------------------------- */

/* We had its content, and expect it to be listed. */
static bool is_expected(const struct ledger_message *row)
{
    return row->state == LEDGER_SPOOLED || row->state == LEDGER_DELIVERED ||
           row->state == LEDGER_QUARANTINED;
}

/* Another client deletes, and the server gives the UIDL to other mail: the size tells. */
static bool is_other_size(const struct maildrop_item *item, const struct ledger_message *row)
{
    return row->listed && row->listed != item->size;
}

/* Whether anything says that messages have other numbers than they had. */
static bool numbers_moved(const struct maildrop *m)
{
    for (size_t i = 0; i < m->loose_count; i++) {
        const char *uidl = maildrop_loose_uidl(m, &m->loose[i]);
        if (is_expected(&m->loose[i].row) && *uidl >= '0' && *uidl <= '9')
            return true;
    }
    for (size_t i = 0; i < m->count; i++) {
        const struct ledger_message *row = maildrop_row(m, &m->items[i]);
        if (row && (row->state == LEDGER_GONE || row->state == LEDGER_VANISHED ||
                    is_other_size(&m->items[i], row)))
            return true;
    }
    return false;
}

/* Where UIDLs are numbers, any message that is retrieved may be that of any row. */
static void find_doubtful(struct maildrop *m)
{
    bool moved = m->numbered && numbers_moved(m);

    for (size_t i = 0; i < m->count; i++) {
        struct maildrop_item *item = &m->items[i];
        const struct ledger_message *row = maildrop_row(m, item);
        if (!row)
            continue;
        if (is_expected(row))
            item->doubtful = moved || is_other_size(item, row);
        if (row->id[0] && (item->doubtful || m->numbered))
            maildrop_loosen(m, row, item->uidl_at, true);
    }
}

/* --- the baseline ------------------------------------------------------------------------- */

static int by_size(const void *a, const void *b)
{
    const struct maildrop_item *const *x = a, *const *y = b;

    return (*x)->size < (*y)->size ? -1 : (*x)->size > (*y)->size;
}

static int by_octets(const void *a, const void *b)
{
    const uint64_t *x = a, *y = b;

    return *x < *y ? -1 : *x > *y;
}

static void *array_of(size_t n, size_t size)
{
    void *array = calloc(n ? n : 1, size);
    if (!array)
        abort();
    return array;
}

/* Mail that counts as seen may lose its name (the server's UIDLs are gone, or a line of them is
 * broken; it had none, and its number has changed). Of the nameless ones, as many as are missing
 * of a size are taken for them, and stay where they are. */
static void find_seen(struct maildrop *m)
{
    if (m->nameless == 0)
        return;
    uint64_t *missing = array_of(m->loose_count, sizeof *missing);
    struct maildrop_item **nameless = array_of(m->nameless, sizeof *nameless);
    size_t missing_count = 0, count = 0;

    for (size_t i = 0; i < m->loose_count; i++)
        if (m->loose[i].row.state == LEDGER_SEEN)
            missing[missing_count++] = m->loose[i].row.size;
    for (size_t i = 0; i < m->count && missing_count > 0; i++)
        if (m->items[i].nameless && m->items[i].known < 0)
            nameless[count++] = &m->items[i];
    qsort(missing, missing_count, sizeof *missing, by_octets);
    qsort(nameless, count, sizeof(struct maildrop_item *), by_size);
    for (size_t i = 0, n = 0; i < count && n < missing_count;) {
        if (missing[n] == nameless[i]->size) {
            nameless[i++]->seen = true;
            n++;
        } else if (missing[n] < nameless[i]->size) {
            n++;
        } else {
            i++;
        }
    }
    free(nameless);
    free(missing);
}

/* --- what is done about each -------------------------------------------------------------- */

static bool is_day_old(const struct ledger_message *row, const struct maildrop_policy *policy)
{
    return policy->by_hand || row->changed + CLOCK_DAY <= policy->now;
}

/* A number is no name: which message has it now is looked at before it is deleted. */
static enum maildrop_action deletion(const struct maildrop *m)
{
    return m->numbered ? MAILDROP_VERIFY : MAILDROP_DELETE;
}

static enum maildrop_action act_on_settled(const struct maildrop *m,
                                           const struct ledger_message *row,
                                           const struct maildrop_policy *policy)
{
    if (policy->delete == CONF_DELETE_NEVER)
        return MAILDROP_KEEP;
    if (policy->delete == CONF_DELETE_AFTER && row->settled + policy->delete_after > policy->now)
        return MAILDROP_KEEP;
    if (row->attempts >= MAILDROP_ATTEMPTS && !is_day_old(row, policy))
        return MAILDROP_STEP_OVER; /* its DELE breaks sessions */
    return deletion(m);
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
 * on, unless it can't be the same. */
static enum maildrop_action act_on_returned(const struct maildrop *m,
                                            const struct maildrop_item *item,
                                            const struct ledger_message *row,
                                            const struct maildrop_policy *policy)
{
    bool other = row->listed != LEDGER_DOUBT && is_other_size(item, row);

    if (other || m->numbered)
        return attempt(MAILDROP_VERIFY, row, policy);
    return row->attempts == 0 || is_day_old(row, policy) ? MAILDROP_VERIFY : MAILDROP_KEEP;
}

static enum maildrop_action act_on_doubtful(const struct maildrop *m,
                                            const struct maildrop_item *item,
                                            const struct ledger_message *row,
                                            const struct maildrop_policy *policy)
{
    if (row->listed == LEDGER_DOUBT)
        return act_on_returned(m, item, row, policy);
    return attempt(MAILDROP_VERIFY, row, policy);
}

static enum maildrop_action act_on_known(const struct maildrop *m, const struct maildrop_item *item,
                                         const struct ledger_message *row,
                                         const struct maildrop_policy *policy)
{
    switch (row->state) {
    case LEDGER_DELIVERED:
    case LEDGER_QUARANTINED:
        return act_on_settled(m, row, policy);
    case LEDGER_SPOOLED:
        return policy->delete == CONF_DELETE_SPOOLED ? deletion(m) : MAILDROP_WAIT;
    case LEDGER_TOO_LARGE:
        return act_on_too_large(item, row, policy);
    case LEDGER_SEEN:
        return MAILDROP_KEEP;
    case LEDGER_GONE:
    case LEDGER_VANISHED:
        return act_on_returned(m, item, row, policy);
    default:
        return attempt(MAILDROP_FETCH, row, policy);
    }
}

static enum maildrop_action act_on(const struct maildrop *m, const struct maildrop_item *item,
                                   const struct maildrop_policy *policy)
{
    const struct ledger_message *row = maildrop_row(m, item);
    enum maildrop_action action = item->seen ? MAILDROP_KEEP : MAILDROP_FETCH;

    if (row && item->doubtful)
        action = act_on_doubtful(m, item, row, policy);
    else if (row)
        action = act_on_known(m, item, row, policy);
    bool fetches = action == MAILDROP_FETCH || action == MAILDROP_VERIFY;
    return fetches && item->size > policy->size_limit ? MAILDROP_TOO_LARGE : action;
}

/* --- in which order ----------------------------------------------------------------------- */

/* New mail first; then what only needs another look; then what failed before, so that it stops none
 * of the others; last what did so too often, and is tried once a day or by hand. */
enum turn { TURN_NEW, TURN_LOOK, TURN_RISK, TURN_POISON, TURNS, TURN_NEVER };

static enum turn turn_of(const struct maildrop *m, const struct maildrop_item *item)
{
    const struct ledger_message *row = maildrop_row(m, item);

    if (item->action != MAILDROP_FETCH && item->action != MAILDROP_VERIFY)
        return TURN_NEVER;
    if (row && row->attempts > 0)
        return row->attempts < MAILDROP_ATTEMPTS ? TURN_RISK : TURN_POISON;
    return item->action == MAILDROP_FETCH ? TURN_NEW : TURN_LOOK;
}

/* Where to begin. Of a mailbox without UIDLs the oldest messages are most likely those that we
 * have; what came behind them goes first, so that comparing them again holds up nothing new. */
static size_t first_to_fetch(const struct maildrop *m, uint32_t max)
{
    size_t ours = 0;

    if (m->nameless < m->count)
        return 0;
    for (size_t i = 0; i < m->loose_count; i++)
        ours +=
            is_expected(&m->loose[i].row) &&
            maildrop_is_own_name(maildrop_loose_uidl(m, &m->loose[i]), m->loose[i].row.uidl_len);
    if (ours < m->count)
        return ours;
    /* None need be new, but any may be: each has its chance, however many the session leaves. */
    return m->count > max ? randombytes_uniform((uint32_t)m->count) : 0;
}

static void order_fetches(struct maildrop *m, uint32_t max)
{
    size_t first = first_to_fetch(m, max);

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

void maildrop_plan(struct maildrop *m, const struct maildrop_policy *policy)
{
    assert(!m->fetches);
    m->fetches =
        array_of(m->count < policy->fetch_max ? m->count : policy->fetch_max, sizeof *m->fetches);
    m->deletes = array_of(m->count, sizeof *m->deletes);
    find_doubtful(m);
    find_seen(m);
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
