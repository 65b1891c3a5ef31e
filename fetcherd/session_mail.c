/* A session at work: RETR and DELE, batches, outcomes, and the end.
 *
 * Promises: one message that can't be retrieved stops none of the others and is charged an attempt;
 * downloading goes on while batches are synced, bounded by SESSION_SYNCING_MAX; DELE is sent for
 * what the ledger holds as delivered or quarantined, or as the policy says, and for nothing else.
 */
#include "fetcherd/session_inner.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "lib/clock.h"
#include "lib/log.h"

#define BATCH_AGE 250 /* ms; a batch waits no longer for more */

static uint32_t current_item(const struct session *s)
{
    return s->drop.fetches[s->fetch_answered];
}

static bool is_receiving(const struct session *s)
{
    return (s->step == SESSION_WORKING || s->step == SESSION_WAITING) &&
           s->fetch_answered < s->fetch_sent;
}

/* --- messages that fail ------------------------------------------------------------------- */

/* What is remembered of the item, to be put again with changes. */
static struct ledger_message row_of(const struct session *s, const struct maildrop_item *item)
{
    const struct ledger_message *known = maildrop_row(&s->drop, item);
    struct ledger_message row = {.state = LEDGER_PENDING, .size = item->size};

    if (known)
        row = *known;
    if (row.state == LEDGER_TOO_LARGE)
        row.state = LEDGER_PENDING;
    row.uidl = maildrop_item_uidl(&s->drop, item);
    row.uidl_len = item->uidl_len;
    row.changed = clock_now();
    return row;
}

static void charge(struct session *s, const struct maildrop_item *item, const char *why)
{
    struct ledger_message row = row_of(s, item);
    char uidl[POP3_UIDL_MAX + 1];

    row.attempts++;
    ledger_begin(s->f->ledger);
    ledger_message_put(s->f->ledger, s->account->key, &row);
    ledger_commit(s->f->ledger);
    session_uidl(s, item, uidl);
    bool enough = row.attempts >= MAILDROP_ATTEMPTS;
    s->result.stepped_over += enough;
    LOG(LOG_WARN, enough ? "message-stepped-over" : "message-failed",
        KV("account", s->account->name), KVN("number", item->number), KV("uidl", uidl),
        KVN("attempts", row.attempts), KV("error", why));
}

void mail_charge_current(struct session *s, const char *why)
{
    const char *awaited = pop3_awaited(&s->core);

    if (is_receiving(s) && strcmp(awaited, pop3_command_name(POP3_CMD_RETR)) == 0)
        charge(s, &s->drop.items[current_item(s)], why);
    else if (s->delete_answered < s->delete_sent &&
             strcmp(awaited, pop3_command_name(POP3_CMD_DELE)) == 0)
        delete_charge(s, why);
}

void mail_out_of_step(struct session *s, const char *why)
{
    if (!s->held) {
        mail_charge_current(s, why);
        return;
    }
    charge(s, &s->drop.items[s->held_item], why);
    message_abandon(s->held);
    s->held = NULL;
}

static void on_retr_refused(struct session *s, const struct reply *reply)
{
    const struct maildrop_item *item = &s->drop.items[current_item(s)];
    char text[300];

    log_escape(text, sizeof text, reply->text, reply->text_len);
    s->fetch_answered++;
    if (!reply_has_code(reply, "SYS/TEMP") && !reply_has_code(reply, "IN-USE"))
        charge(s, item, text);
}

/* Counting found more than LIST had promised. It can't be skipped on this connection. */
static void on_too_large(struct session *s)
{
    const struct maildrop_item *item = &s->drop.items[current_item(s)];
    const struct ledger_message *known = maildrop_row(&s->drop, item);
    struct ledger_message row = row_of(s, item);
    char uidl[POP3_UIDL_MAX + 1];

    session_uidl(s, item, uidl);
    bool told = known && known->state == LEDGER_TOO_LARGE;
    row.state = LEDGER_TOO_LARGE;
    row.attempts = told ? row.attempts + 1 : 1;
    row.size = item->size > s->intake.size ? item->size : s->intake.size;
    row.id[0] = '\0';
    row.listed = 0;
    row.settled = 0;
    ledger_begin(s->f->ledger);
    ledger_message_put(s->f->ledger, s->account->key, &row);
    ledger_commit(s->f->ledger);
    LOG(told ? LOG_DETAIL : LOG_WARN, "message-too-large", KV("account", s->account->name),
        KVN("number", item->number), KV("uidl", uidl), KVN("listed", (long long)item->size),
        KVN("counted", (long long)s->intake.size), KVN("limit", (long long)s->size_limit));
    s->result.too_large++;
    s->result.more = !told; /* the others, in a fresh session */
    session_finish(s);
}

/* --- batches ------------------------------------------------------------------------------ */

static void on_committed(void *arg, const struct commit *commit, bool ok)
{
    struct session *s = arg;

    session_enter(s);
    for (size_t i = 0; i < s->syncing_count; i++)
        if (s->syncing[i] == commit)
            s->syncing[i] = s->syncing[--s->syncing_count];
    if (!ok) {
        mail_close(s, true);
        session_fail(s, "", "received mail could not be written to the disk");
    }
    for (size_t i = 0; ok && i < commit_count(commit); i++) {
        const struct commit_item *item = commit_item(commit, i);
        s->result.fetched++;
        spooled_add(s, item->id, item->tag, true);
        if (fetcherd_conf(s->f)->fetch.delete == CONF_DELETE_SPOOLED && s->step != SESSION_OVER)
            delete_settled(s, item->tag);
    }
    /* Two batches may come back out of order. */
    spooled_sort(s);
    if (s->step != SESSION_OVER)
        mail_advance(s);
    session_leave(s);
}

static void start_commit(struct session *s)
{
    struct commit *commit = s->commit;

    if (!commit)
        return;
    s->commit = NULL;
    (void)evtimer_del(s->batch_timer);
    s->syncing = realloc(s->syncing, (s->syncing_count + 1) * sizeof *s->syncing);
    if (!s->syncing)
        abort();
    s->syncing[s->syncing_count++] = commit;
    commit_start(commit);
}

static void put_in_batch(struct session *s, struct message_writer *writer, uint32_t index)
{
    static const struct timeval age = {.tv_usec = BATCH_AGE * 1000};
    const struct maildrop_item *item = &s->drop.items[index];

    if (item->nameless)
        maildrop_name_by_id(&s->drop, index, message_writer_id(writer));
    if (!s->commit) {
        s->commit = commit_new(s->f, s->account, on_committed, s);
        (void)evtimer_add(s->batch_timer, &age);
    }
    commit_add(s->commit, writer, maildrop_item_uidl(&s->drop, item), item->uidl_len, item->size,
               index);
    if (commit_is_full(s->commit))
        start_commit(s);
}

/* The last message is put in its batch when what follows it makes sense: a server that does not
 * stuff dots ends a message early, and the rest of it is then taken for answers. */
static void release_held(struct session *s)
{
    struct message_writer *writer = s->held;

    s->held = NULL;
    if (writer)
        put_in_batch(s, writer, s->held_item);
}

/* The server is slowed down while the disk does not keep up. */
static void pace(struct session *s)
{
    bool pause = s->syncing_count >= SESSION_SYNCING_MAX;

    if (pause != s->paused)
        stream_pause(s->stream, pause);
    s->paused = pause;
}

void mail_close(struct session *s, bool discard)
{
    intake_abandon(&s->intake);
    if (discard) {
        message_abandon(s->held);
        s->held = NULL;
        commit_discard(s->commit);
        s->commit = NULL;
    }
    release_held(s);
    start_commit(s);
    for (size_t i = 0; i < s->syncing_count; i++)
        commit_orphan(s->syncing[i]);
    s->syncing_count = 0;
}

/* --- messages that are whole -------------------------------------------------------------- */

static void hold(struct session *s, struct message_writer *writer, uint32_t index)
{
    release_held(s);
    s->held = writer;
    s->held_item = index;
}

static void on_message_end(struct session *s)
{
    uint32_t index = current_item(s);
    struct error err;
    struct message_writer *writer = intake_end(&s->intake, &err);

    if (!writer) {
        session_fail(s, "", "the spool: %s", err.text);
        return;
    }
    s->fetch_answered++;
    if (duplicate_settled(s, index, writer))
        message_abandon(writer);
    else
        hold(s, writer, index);
}

static void on_message_data(struct session *s, const struct pop3_event *event)
{
    struct error err;

    switch (intake_data(&s->intake, event->data, event->len, &err)) {
    case INTAKE_OK:
        break;
    case INTAKE_TOO_LARGE:
        on_too_large(s);
        break;
    case INTAKE_FAILED:
        session_fail(s, "", "the spool: %s", err.text);
    }
}

static void on_retr_reply(struct session *s, const struct reply *reply)
{
    const struct maildrop_item *item = &s->drop.items[current_item(s)];

    if (reply->ok)
        intake_begin(&s->intake, maildrop_item_uidl(&s->drop, item), item->uidl_len, s->size_limit);
    else
        on_retr_refused(s, reply);
}

void mail_event(struct session *s, const struct pop3_event *event)
{
    if (event->type == POP3_EV_REPLY)
        release_held(s);
    if (event->type == POP3_EV_MESSAGE_DATA)
        on_message_data(s, event);
    else if (event->type == POP3_EV_MESSAGE_END)
        on_message_end(s);
    else if (event->type == POP3_EV_REPLY && event->command == POP3_CMD_RETR)
        on_retr_reply(s, event->reply);
    else if (event->type == POP3_EV_REPLY && event->command == POP3_CMD_DELE)
        delete_reply(s, event);
}

/* --- progress ----------------------------------------------------------------------------- */

/* The next command: what is new first, so that not even a DELE that breaks each session keeps it
 * from us. A risky message goes alone, so that what it breaks is charged to it and not to the one
 * before. */
static bool next_command(struct session *s, enum pop3_command *command, uint32_t *item)
{
    bool risky = s->fetch_sent >= s->drop.safe_count;

    if (s->fetch_sent < s->fetch_limit) {
        if (risky && (!pop3_idle(&s->core) || s->held))
            return false;
        *item = s->drop.fetches[s->fetch_sent++];
        *command = POP3_CMD_RETR;
        return true;
    }
    bool receiving = s->fetch_answered < s->fetch_sent || s->held;
    if (!receiving && s->delete_sent < s->delete_count) {
        *item = s->deletes[s->delete_sent++];
        *command = POP3_CMD_DELE;
        return true;
    }
    return false;
}

static void send_more(struct session *s)
{
    enum pop3_command command;
    uint32_t item;

    while (pop3_room(&s->core) > 0 && next_command(s, &command, &item)) {
        if (pop3_send_number(&s->core, command, s->drop.items[item].number) != POP3_SENT) {
            session_fail(s, pop3_command_name(command), "the command may not be sent now");
            return;
        }
    }
}

/* Messages that failed before may break the session, and what was deleted in it would come back. So
 * they are tried only by a session that has nothing to lose; otherwise the next one does it. */
static bool take_risks(struct session *s)
{
    if (s->fetch_limit == s->drop.fetch_count || s->result.fetched > 0 || s->deleted_count > 0)
        return false;
    s->fetch_limit = s->drop.fetch_count;
    session_set_step(s, SESSION_WORKING);
    send_more(s);
    return true;
}

static void quit(struct session *s)
{
    bool left = s->drop.left_over > 0 || s->fetch_limit < s->drop.fetch_count;

    s->result.more = left && (s->result.fetched > 0 || s->deleted_count > 0); /* see on_quit */
    delete_doubtful(s);
    session_set_step(s, SESSION_QUITTING);
    session_send(s, POP3_CMD_QUIT, NULL);
}

void mail_advance(struct session *s)
{
    if (s->step != SESSION_WORKING && s->step != SESSION_WAITING)
        return;
    if (pop3_idle(&s->core))
        release_held(s);
    bool all_fetched = s->fetch_answered == s->fetch_limit;
    bool batch_is_old = s->commit && !evtimer_pending(s->batch_timer, NULL);

    if (all_fetched || batch_is_old)
        start_commit(s);
    pace(s);
    send_more(s);
    if (s->step == SESSION_WORKING && all_fetched && !s->held && !s->commit &&
        s->syncing_count == 0) {
        wait_begin(s);
    }
    if (s->step == SESSION_WAITING && pop3_idle(&s->core) && !wait_is_of_use(s) && !take_risks(s))
        quit(s);
}

void session_outcome(struct session *s, const char *id, enum ledger_state state)
{
    int64_t item = spooled_settle(s, id);

    (void)state; /* delivered and quarantined alike: it is ours for good */
    if (item < 0 || s->step == SESSION_OVER || s->step == SESSION_QUITTING)
        return;
    session_enter(s);
    delete_settled(s, (uint32_t)item);
    if (s->step == SESSION_WAITING)
        wait_renew(s);
    mail_advance(s);
    session_leave(s);
}

/* --- the beginning ------------------------------------------------------------------------ */

static uint32_t *item_array(size_t n)
{
    uint32_t *array = calloc(n ? n : 1, sizeof *array);

    if (!array)
        abort();
    return array;
}

/* Messages spooled by earlier sessions: an outcome that comes now lets us delete them now. */
static void note_waiting(struct session *s)
{
    const struct maildrop *m = &s->drop;

    for (size_t i = 0; m->totals[MAILDROP_WAIT] && i < m->count; i++) {
        const struct maildrop_item *item = &m->items[i];
        if (item->action == MAILDROP_WAIT && !m->numbered)
            spooled_add(s, maildrop_row(m, item)->id, (uint32_t)i, false);
    }
    spooled_sort(s);
}

void mail_begin(struct session *s)
{
    const struct maildrop *m = &s->drop;

    s->deletes = item_array(m->count);
    s->deleted = item_array(m->count);
    for (size_t i = 0; i < m->delete_count; i++)
        s->deletes[s->delete_count++] = m->deletes[i];
    s->fetch_limit = m->safe_count;
    note_waiting(s);
    session_set_step(s, SESSION_WORKING);
    mail_advance(s);
}
