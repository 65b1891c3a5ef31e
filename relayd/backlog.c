/* Counting and listing outgoing/. Promises: no call keeps more than a page; a list is read in one
 * pass, or, where it is short, in one for each page, so that its length never counts squared. */
#include "relayd/backlog.h"

#include "lib/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SHARE   20 /* counting may take one part in this of the time */
#define AGE_MAX CLOCK_MINUTE

/* ---- counting ---- */

static struct timespec dir_time(const struct spool *spool)
{
    struct stat st;
    if (fstat(spool_fd(spool, SPOOL_OUTGOING), &st) != 0)
        return (struct timespec){0};
    return st.st_mtim;
}

/* Two changes may bear the same time, which is why an unchanged one is not believed for ever, and
 * not at all where to look costs nothing. */
static bool is_good(const struct backlog *backlog, struct timespec changed, int64_t now)
{
    int64_t age = now - backlog->at;
    if (!backlog->counted)
        return false;
    if (age < backlog->cost * SHARE)
        return true;
    return backlog->cost > 0 && age < AGE_MAX && changed.tv_sec == backlog->changed.tv_sec &&
           changed.tv_nsec == backlog->changed.tv_nsec;
}

uint64_t backlog_count(struct backlog *backlog, const struct spool *spool, int64_t now)
{
    struct timespec changed = dir_time(spool);
    if (is_good(backlog, changed, now))
        return backlog->count;
    int64_t began = clock_monotonic();
    *backlog = (struct backlog){
        .count = spool_count(spool, SPOOL_OUTGOING), .changed = changed, .counted = true};
    backlog->cost = clock_monotonic() - began;
    backlog->at = now + backlog->cost;
    return backlog->count;
}

/* ---- listing ---- */

/* The BACKLOG_PAGE least ids behind a cursor: the directory itself has no order. */
static void add_least(struct backlog_page *page, const char *id)
{
    size_t at = page->count;
    if (at == BACKLOG_PAGE) {
        page->more = true;
        if (strcmp(id, page->ids[--at]) >= 0)
            return;
        page->count--;
    }
    for (; at > 0 && strcmp(id, page->ids[at - 1]) < 0; at--)
        memcpy(page->ids[at], page->ids[at - 1], ID_SIZE);
    memcpy(page->ids[at], id, ID_SIZE);
    page->count++;
}

/* False when there are more than `max`. */
static bool list_sorted(struct spool_scan *scan, const char *after, size_t max,
                        struct backlog_page *page)
{
    char id[ID_SIZE];
    for (size_t seen = 0; spool_scan_next(scan, id); seen++) {
        if (seen == max)
            return false;
        if (strcmp(id, after) > 0)
            add_least(page, id);
    }
    memcpy(page->cursors, page->ids, sizeof page->cursors);
    return true;
}

static void list_on(struct spool_scan *scan, long place, struct backlog_page *page)
{
    char id[ID_SIZE];
    *page = (struct backlog_page){.count = 0};
    spool_scan_seek(scan, place);
    while (page->count < BACKLOG_PAGE && spool_scan_next(scan, page->ids[page->count]))
        (void)snprintf(page->cursors[page->count++], ID_SIZE, "@%ld", spool_scan_tell(scan));
    page->more = page->count == BACKLOG_PAGE && spool_scan_next(scan, id);
}

static bool parse_place(const char *after, long *place)
{
    char *end;
    if (after[0] != '@')
        return false;
    errno = 0;
    *place = strtol(after + 1, &end, 10);
    return end > after + 1 && *end == '\0' && errno == 0;
}

bool backlog_list(const struct spool *spool, const char *after, struct backlog_page *page,
                  struct error *err)
{
    long place = 0;
    bool by_place = parse_place(after, &place);
    if (!by_place && after[0] != '\0' && !id_valid(after, strlen(after)))
        return error_set(err, ERROR_PERMANENT, "this is no cursor of the queue's list");
    struct spool_scan *scan = spool_scan_begin(spool, SPOOL_OUTGOING, err);
    if (!scan)
        return false;
    long start = spool_scan_tell(scan);
    *page = (struct backlog_page){.count = 0};
    if (by_place)
        list_on(scan, place, page);
    else if (!list_sorted(scan, after, after[0] == '\0' ? BACKLOG_SORTED : SIZE_MAX, page))
        list_on(scan, start, page);
    spool_scan_end(scan);
    return true;
}
