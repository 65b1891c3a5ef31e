/* What is on the server, and what the ledger knows of it: STAT, UIDL, LIST, and the plan.
 *
 * Promises: bad lines are skipped and told, and no mailbox is given up for them; the ledger follows
 * the listing (what is not listed any more is gone from it or marked so) in one transaction. */
#include "fetcherd/session_inner.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"

#define BAD_LINES_LOGGED 5
#define KEEP_NAMELESS    (90 * CLOCK_DAY)
#define LISTING_SLACK    1000 /* lines beyond what STAT counted */

static const enum pop3_command questions[] = {POP3_CMD_STAT, POP3_CMD_UIDL, POP3_CMD_LIST};
enum { QUESTIONS = sizeof questions / sizeof *questions };

static void ask(struct session *s)
{
    while (s->survey_sent < QUESTIONS && pop3_room(&s->core) > 0 && s->step == SESSION_SURVEY)
        session_send(s, questions[s->survey_sent++], NULL);
}

void survey_begin(struct session *s)
{
    session_set_step(s, SESSION_SURVEY);
    ask(s);
}

/* --- the ledger follows the listing ------------------------------------------------------- */

static void on_row(void *arg, const struct ledger_message *row)
{
    maildrop_known(arg, row);
}

/* A name of our own is never listed: its message is known again by its content, for a while. */
static bool is_kept(const struct session *s, const struct maildrop_loose *loose, int64_t now)
{
    return maildrop_is_own_name(maildrop_loose_uidl(&s->drop, loose), loose->row.uidl_len) &&
           loose->row.changed + KEEP_NAMELESS >= now;
}

static void follow_unlisted(struct session *s, const struct maildrop_loose *loose, int64_t now)
{
    struct ledger *ledger = s->f->ledger;
    const char *uidl = maildrop_loose_uidl(&s->drop, loose);
    int64_t key = s->account->key;

    switch (loose->row.state) {
    case LEDGER_DELIVERED:
    case LEDGER_QUARANTINED:
        if (!is_kept(s, loose, now))
            ledger_message_vanished(ledger, key, uidl, loose->row.uidl_len, now);
        break;
    case LEDGER_PENDING:
    case LEDGER_TOO_LARGE:
        ledger_message_forget(ledger, key, uidl, loose->row.uidl_len);
        break;
    default: /* spooled: its outcome is still to come; seen: it may be listed again */
        break;
    }
}

static void log_message(struct session *s, const char *what, const struct maildrop_item *item)
{
    char uidl[POP3_UIDL_MAX + 1];

    snprintf(uidl, sizeof uidl, "%.*s", (int)item->uidl_len, maildrop_item_uidl(&s->drop, item));
    LOG(LOG_WARN, what, KV("account", s->account->name), KVN("number", item->number),
        KV("uidl", uidl), KVN("size", (long long)item->size),
        KVN("limit", (long long)s->size_limit));
}

static bool is_worth_more(const struct ledger_message *known)
{
    return known->state != LEDGER_PENDING && known->state != LEDGER_GONE &&
           known->state != LEDGER_VANISHED;
}

static void note_too_large(struct session *s, const struct maildrop_item *item, int64_t now)
{
    const struct ledger_message *known = maildrop_row(&s->drop, item);
    struct ledger_message row = {.uidl = maildrop_item_uidl(&s->drop, item),
                                 .uidl_len = item->uidl_len,
                                 .state = LEDGER_TOO_LARGE,
                                 .size = item->size,
                                 .changed = now};

    if (known && is_worth_more(known) && !item->doubtful)
        return; /* told already, or there is more to remember of it */
    ledger_message_put(s->f->ledger, s->account->key, &row);
    log_message(s, "message-too-large", item);
}

static void follow_listing(struct session *s)
{
    const struct maildrop *m = &s->drop;
    int64_t now = clock_now();

    ledger_begin(s->f->ledger);
    for (size_t i = 0; i < m->loose_count; i++)
        if (!m->loose[i].listed)
            follow_unlisted(s, &m->loose[i], now);
    for (size_t i = 0; m->totals[MAILDROP_TOO_LARGE] && i < m->count; i++)
        if (m->items[i].action == MAILDROP_TOO_LARGE)
            note_too_large(s, &m->items[i], now);
    for (size_t i = 0; m->nameless && i < m->count; i++)
        if (m->items[i].seen)
            log_message(s, "taken-for-baseline", &m->items[i]);
    ledger_commit(s->f->ledger);
}

/* Baseline: what is there now counts as seen, and is neither fetched nor deleted, ever. */
static void mark_seen(struct session *s)
{
    const struct maildrop *m = &s->drop;
    int64_t now = clock_now();

    ledger_begin(s->f->ledger);
    for (size_t i = 0; i < m->count; i++) {
        const struct maildrop_item *item = &m->items[i];
        struct ledger_message row = {.uidl = maildrop_item_uidl(m, item),
                                     .uidl_len = item->uidl_len,
                                     .state = LEDGER_SEEN,
                                     .size = item->size,
                                     .changed = now};
        ledger_message_put(s->f->ledger, s->account->key, &row);
    }
    s->account->baseline_pending = false;
    ledger_account_set(s->f->ledger, s->account, NULL);
    ledger_commit(s->f->ledger);
    LOG(LOG_NOTE, "baseline-taken", KV("account", s->account->name),
        KVN("messages", (long long)m->count));
}

/* STAT counted them, and UIDL lacks them; LIST told no more. */
static void name_by_count(struct session *s)
{
    for (uint32_t n = 1; n <= s->stat_count && n <= SESSION_LISTING_MAX; n++)
        if (!maildrop_size(&s->drop, n, 0))
            maildrop_nameless(&s->drop, n, 0);
}

/* Puts the listings in order; false when the session can't go on with them. */
static bool complete_listing(struct session *s)
{
    struct maildrop *m = &s->drop;

    if (s->no_list || (s->no_uidl && m->count == 0))
        name_by_count(s);
    maildrop_complete(m);
    if (m->nameless > 0)
        LOG(LOG_NOTE, "no-uidl", KV("account", s->account->name), KV("server", s->account->server),
            KVN("messages", (long long)m->nameless),
            KV("meaning", "they are known by their content alone, and fetched again while they "
                          "stay there"));
    if (s->account->baseline_pending && (s->no_uidl || m->numbered)) {
        session_fail(s, "UIDL",
                     "the server has no UIDL%s, so what is there now can't be told from what comes "
                     "later: add the account without --baseline",
                     m->numbered ? " but the messages' numbers" : "");
        return false;
    }
    bool whole = m->count >= s->stat_count && (m->nameless == 0 || !s->no_list);
    if (s->account->baseline_pending && !whole) {
        session_fail(s, "UIDL",
                     "STAT counts %u messages and UIDL lists %zu: the baseline is taken when they "
                     "agree",
                     (unsigned)s->stat_count, m->count - m->nameless);
        return false;
    }
    if (s->account->baseline_pending)
        mark_seen(s);
    return true;
}

static void make_plan(struct session *s)
{
    const struct conf *conf = fetcherd_conf(s->f);
    struct maildrop_policy policy = {.delete = conf->fetch.delete,
                                     .delete_after = conf->fetch.delete_after,
                                     .size_limit = s->size_limit,
                                     .fetch_max = (uint32_t)conf->fetch.messages_per_session,
                                     .by_hand = s->by_hand,
                                     .now = clock_now()};
    struct maildrop *m = &s->drop;

    if (!complete_listing(s))
        return;
    ledger_messages(s->f->ledger, s->account->key, on_row, m);
    maildrop_plan(m, &policy);
    follow_listing(s);
    s->result.surveyed = true;
    s->result.on_server = (uint32_t)m->count;
    s->result.too_large = m->totals[MAILDROP_TOO_LARGE];
    s->result.stepped_over = m->totals[MAILDROP_STEP_OVER];
    LOG(LOG_DETAIL, "surveyed", KV("account", s->account->name), KVN("listed", (long long)m->count),
        KVN("fetch", (long long)m->fetch_count), KVN("delete", (long long)m->delete_count),
        KVN("waiting", m->totals[MAILDROP_WAIT]));
    mail_begin(s);
}

/* --- answers ------------------------------------------------------------------------------ */

static void answered(struct session *s)
{
    s->survey_answered++;
    /* An empty mailbox needs no listings; some servers even answer them with -ERR. */
    if (s->survey_answered == 1 && s->survey_sent == 1 && s->stat_count == 0)
        s->survey_sent = s->survey_answered = QUESTIONS;
    ask(s);
    if (s->survey_answered == QUESTIONS && s->step == SESSION_SURVEY)
        make_plan(s);
}

/* Whether a refused UIDL means that there is none, rather than that it can't be had just now. */
static bool lacks_uidl(const struct session *s, const struct reply *reply)
{
    return !(s->core.capabilities & POP3_CAP_UIDL) && !reply->code;
}

static void on_reply(struct session *s, const struct pop3_event *event)
{
    if (event->command == POP3_CMD_STAT) {
        if (!event->reply->ok) {
            session_fail_reply(s, event->command, event->reply);
            return;
        }
        s->stat_count = event->number;
        if (event->number < SESSION_LISTING_MAX - LISTING_SLACK)
            s->core.listing_max = event->number + LISTING_SLACK;
        answered(s);
    } else if (!event->reply->ok) {
        if (event->command == POP3_CMD_UIDL && s->stat_count > 0 && !lacks_uidl(s, event->reply)) {
            session_fail_reply(s, event->command, event->reply);
            return;
        }
        s->no_uidl |= event->command == POP3_CMD_UIDL;
        s->no_list |= event->command == POP3_CMD_LIST;
        answered(s); /* without LIST, sizes are counted while fetching */
    }
}

static void on_listing_end(struct session *s, enum pop3_command command)
{
    if (command == POP3_CMD_UIDL) {
        maildrop_listed(&s->drop);
        s->listing_done = true;
    }
    answered(s);
}

static void on_size(struct session *s, const struct pop3_event *event)
{
    if (s->listing_done && maildrop_size(&s->drop, event->number, event->size))
        return;
    if (event->number <= s->stat_count)
        maildrop_nameless(&s->drop, event->number, event->size);
}

static void on_bad_line(struct session *s, const struct pop3_event *event)
{
    char line[200];

    if (s->bad_lines++ >= BAD_LINES_LOGGED)
        return;
    snprintf(line, sizeof line, "%.*s", (int)(event->len < 190 ? event->len : 190), event->data);
    LOG(LOG_WARN, "bad-line", KV("account", s->account->name),
        KV("command", pop3_command_name(event->command)), KV("line", line));
}

void survey_event(struct session *s, const struct pop3_event *event)
{
    switch (event->type) {
    case POP3_EV_REPLY:
        on_reply(s, event);
        break;
    case POP3_EV_UIDL_ITEM:
        maildrop_uidl(&s->drop, event->number, event->data, event->len);
        break;
    case POP3_EV_LIST_ITEM:
        on_size(s, event);
        break;
    case POP3_EV_BAD_LINE:
        on_bad_line(s, event);
        break;
    case POP3_EV_LISTING_END:
        on_listing_end(s, event->command);
        break;
    default:
        break;
    }
}
