/* Sums up what a server said about a message and its recipients. Promises: a recipient who has it
 * is not asked again, one who was refused is not asked again, and a message leaves the queue only
 * when nobody is left who could still get it. */
#include "relayd/attempt.h"

#include "lib/clock.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    LOSSES_MAX = 3,
    FIRST_WORDS = 64, /* octets */
};

/* ---- opening ---- */

static bool take_out(struct attempt *attempt, const char *address, const char **taken)
{
    const char **at = attempt->addresses, **end = at + attempt->count;
    while (at < end && strcmp(*at, address) != 0)
        at++;
    if (at == end)
        return false;
    *taken = *at;
    memmove(at, at + 1, (size_t)(end - at - 1) * sizeof *at);
    attempt->count--;
    return true;
}

static void recall(void *arg, const char *address, enum ledger_recipient state, const char *reply)
{
    struct attempt *attempt = arg;
    const char *taken;
    bool known = take_out(attempt, address, &taken);
    attempt->sent_before += state == LEDGER_SENT;
    if (state == LEDGER_REFUSED) {
        attempt->refused_before++;
        (void)snprintf(attempt->refusal_before, sizeof attempt->refusal_before, "%s", reply);
    } else if (state == LEDGER_PUT_OFF && known) {
        attempt->addresses[attempt->count++] = taken;
        attempt->put_off++;
        (void)snprintf(attempt->put_off_reply, sizeof attempt->put_off_reply, "%s", reply);
    }
}

/* Those that were put off stand last. */
static void leave_for_later(struct attempt *attempt)
{
    if (attempt->put_off == attempt->count)
        attempt->put_off = 0;
    attempt->count -= attempt->put_off;
}

static bool take_recipients(struct attempt *attempt, struct db *db)
{
    const struct envelope_list *list = &message_reader_head(attempt->reader)->recipients;
    attempt->count = list->count;
    attempt->addresses = calloc(list->count + 1, sizeof *attempt->addresses);
    attempt->recipients = calloc(list->count + 1, sizeof *attempt->recipients);
    if (!attempt->addresses || !attempt->recipients)
        return false;
    for (size_t i = 0; i < list->count; i++)
        attempt->addresses[i] = list->items[i];
    if (ledger_find(db, attempt->id, &attempt->row))
        ledger_each_recipient(db, attempt->id, recall, attempt);
    leave_for_later(attempt);
    for (size_t i = 0; i < attempt->count; i++)
        attempt->recipients[i].address = attempt->addresses[i];
    return true;
}

/* With the top that hygiene may have put beside it. */
static struct message_reader *open_with_top(const struct spool *spool, const char *id,
                                            struct error *err)
{
    struct top top;
    struct error why;
    struct message_reader *reader = message_open(spool, SPOOL_OUTGOING, id, err);
    if (!reader)
        return NULL;
    if (top_read(spool, id, &top, &why)) {
        message_put_top(reader, &top);
    } else if (why.kind != ERROR_MISSING) {
        *err = why;
        message_close(reader);
        return NULL;
    }
    return reader;
}

struct attempt *attempt_open(const struct spool *spool, struct db *db, const char *id,
                             struct error *err)
{
    struct attempt *attempt = calloc(1, sizeof *attempt);
    if (!attempt) {
        (void)error_set(err, ERROR_TEMPORARY, "out of memory");
        return NULL;
    }
    (void)snprintf(attempt->id, sizeof attempt->id, "%s", id);
    attempt->reader = open_with_top(spool, id, err);
    if (attempt->reader && take_recipients(attempt, db))
        return attempt;
    if (attempt->reader)
        (void)error_set(err, ERROR_TEMPORARY, "out of memory");
    attempt_free(attempt);
    return NULL;
}

static bool begins_as_mbox(const char *text, size_t len)
{
    size_t at = 0;
    while (at < len && text[at] == '>')
        at++;
    return len - at >= 5 && strncasecmp(text + at, "From ", 5) == 0;
}

bool attempt_look(struct attempt *attempt, const char *by, struct error *err)
{
    size_t size = by ? ENVELOPE_HEADER_MAX : FIRST_WORDS;
    char *header = malloc(size);
    size_t len = 0, got = 1;
    bool ok = true;
    if (!header)
        return error_set(err, ERROR_TEMPORARY, "out of memory");
    while (ok && got > 0 && len < size && (len == 0 || envelope_header_end(header, len) == 0)) {
        ok = message_read(attempt->reader, header + len, size - len, &got, err);
        len += ok ? got : 0;
    }
    if (ok) {
        attempt->by_data = begins_as_mbox(header, len);
        if (by)
            (void)client_find(header, len, by, &attempt->client);
    }
    free(header);
    return ok && message_rewind(attempt->reader, err);
}

void attempt_free(struct attempt *attempt)
{
    if (!attempt)
        return;
    for (size_t i = 0; attempt->recipients && i < attempt->count; i++)
        free(attempt->recipients[i].reply);
    free(attempt->recipients);
    free(attempt->addresses);
    message_close(attempt->reader);
    free(attempt);
}

void attempt_answer(struct attempt *attempt, size_t index, enum smtp_verdict verdict,
                    const char *reply)
{
    struct attempt_recipient *recipient = &attempt->recipients[index];
    recipient->answered = true;
    recipient->verdict = verdict;
    free(recipient->reply);
    recipient->reply = strndup(reply, LEDGER_REASON_MAX - 1);
}

/* ---- deciding ---- */

int64_t attempt_waited(const struct ledger_row *row, int64_t now)
{
    int64_t until = now < row->next_attempt ? now : row->next_attempt;
    return row->waited + (until > row->at ? until - row->at : 0);
}

int64_t attempt_next(const struct attempt_policy *policy, unsigned failures, int64_t waited,
                     int64_t now)
{
    int64_t left = policy->expire - waited;
    if (left <= 0)
        return 0;
    int64_t delay = clock_backoff(policy->retry_min, policy->retry_max, failures - 1);
    return now + (delay < left ? delay : left);
}

struct tally {
    size_t sent, refused, waiting, unasked;
    const char *refusal; /* a reply that refused one */
    const char *excuse;  /* a reply that put one off */
};

/* Over whom the session was lost: he was asked about, or was one of those whom the message was for
 * in LMTP, and no answer came. NULL: nobody, or nobody is left in this round who could get it
 * without him. */
static const char *owed(const struct attempt *attempt, const struct smtp_result *result)
{
    const char *first = NULL;
    size_t others = 0;
    bool over_rcpt = result->command && strcmp(result->command, "RCPT") == 0;
    if (result->outcome != SMTP_SESSION_FAILED || (!over_rcpt && !result->of_each))
        return NULL;
    for (size_t i = 0; i < attempt->count; i++) {
        const struct attempt_recipient *r = &attempt->recipients[i];
        bool accepted = r->answered && r->verdict == SMTP_ACCEPTED;
        if (!first && (result->of_each ? accepted : !r->answered))
            first = r->address;
        else
            others += !r->answered || accepted;
    }
    return others > 0 ? first : NULL;
}

static struct tally count_up(const struct attempt *attempt, bool accepted_have_it)
{
    struct tally tally = {.refused = attempt->refused_before,
                          .refusal = attempt->refusal_before,
                          .waiting = attempt->put_off,
                          .excuse = attempt->put_off > 0 ? attempt->put_off_reply : NULL};
    for (size_t i = 0; i < attempt->count; i++) {
        const struct attempt_recipient *r = &attempt->recipients[i];
        if (!r->answered) {
            tally.unasked++;
        } else if (r->verdict == SMTP_PERMANENT) {
            tally.refused++;
            tally.refusal = r->reply;
        } else if (r->verdict == SMTP_TEMPORARY) {
            tally.waiting++;
            tally.excuse = r->reply;
        } else if (r->verdict == SMTP_TAKEN || accepted_have_it) {
            tally.sent++;
        } else {
            tally.waiting++;
        }
    }
    return tally;
}

static void set_reason(struct ledger_row *row, const char *prefix, const char *text)
{
    (void)snprintf(row->reason, sizeof row->reason, "%s%s", prefix, text ? text : "");
    char *end;
    long code = strtol(text ? text : "", &end, 10);
    row->code = code >= 200 && code <= 599 ? (int)code : 0;
}

static void begin_row(const struct attempt *attempt, int64_t now, struct ledger_row *row)
{
    *row = attempt->row;
    row->waited = attempt_waited(row, now);
    row->at = now;
    row->next_attempt = 0;
    if (row->first_at == 0)
        row->first_at = now;
    if (attempt->reader) {
        const struct message_head *head = message_reader_head(attempt->reader);
        row->size = head->size;
        (void)hash_text(head->hash, row->hash);
        (void)snprintf(row->sender, sizeof row->sender, "%s", head->sender);
    }
}

static void reject(struct attempt_verdict *verdict, const char *prefix, const char *text, bool rest)
{
    verdict->end = ATTEMPT_REJECTED;
    verdict->row.state = LEDGER_REJECTED;
    verdict->refused_rest = rest;
    set_reason(&verdict->row, prefix, text);
}

/* Until the message may be tried again; false when the time allowed is over. */
static bool set_next(const struct attempt_policy *policy, int64_t now, struct ledger_row *row)
{
    row->next_attempt = attempt_next(policy, row->attempts, row->waited, now);
    return row->next_attempt != 0;
}

/* It is not the message that keeps the server down; unless it was lost before, and others have been
 * taken since. */
static bool is_blameless(const struct attempt *attempt, const struct attempt_policy *policy)
{
    const struct ledger_row *row = &attempt->row;
    bool was_blameless = row->at != 0 && row->next_attempt == row->at;
    return policy->down && !(was_blameless && policy->well_at > row->at - policy->retry_min);
}

/* It waits for the server: the circuit paces that, and it does not count towards expire. */
static bool set_next_blameless(const struct attempt_policy *policy, int64_t now,
                               struct ledger_row *row)
{
    row->next_attempt = now + policy->retry_min;
    row->at = row->next_attempt;
    return true;
}

static void defer(const struct attempt_policy *policy, bool blameless, const char *text,
                  int64_t now, struct attempt_verdict *verdict)
{
    struct ledger_row *row = &verdict->row;
    if (!(blameless ? set_next_blameless : set_next)(policy, now, row)) {
        reject(verdict, "not delivered within the time allowed; last reply: ", text, true);
        return;
    }
    verdict->end = ATTEMPT_DEFERRED;
    row->state = LEDGER_DEFERRED;
    set_reason(row, "", text);
}

/* Only the error budget kept some from being asked, or the server wants no more of them in one
 * transaction: they are due at once. */
static void go_on(const char *text, int64_t now, struct attempt_verdict *verdict)
{
    verdict->end = ATTEMPT_DEFERRED;
    verdict->goes_on = true;
    verdict->row.attempts--;
    verdict->row.state = LEDGER_DEFERRED;
    verdict->row.next_attempt = now;
    set_reason(&verdict->row, "", text);
}

static void all_answered(const struct tally *tally, const char *text,
                         struct attempt_verdict *verdict)
{
    if (tally->refused > 0) {
        reject(verdict, "", tally->refusal, false);
        return;
    }
    verdict->end = ATTEMPT_DELIVERED;
    verdict->row.state = LEDGER_DELIVERED;
    set_reason(&verdict->row, "", text);
}

/* Of any recipient: what was answered of him stays true whatever became of the session. */
static bool has_learnt(const struct attempt *attempt)
{
    for (size_t i = 0; i < attempt->count; i++)
        if (attempt->recipients[i].answered && attempt->recipients[i].verdict != SMTP_ACCEPTED)
            return true;
    return false;
}

/* Of the message, but others have not been asked about yet. */
static bool is_said_of_some(const struct attempt *attempt, const struct smtp_result *result,
                            const struct tally *tally)
{
    return (result->outcome == SMTP_MESSAGE_PERMANENT ||
            result->outcome == SMTP_MESSAGE_TEMPORARY) &&
           tally->unasked > 0 && tally->unasked < attempt->count;
}

void attempt_decide(const struct attempt *attempt, const struct smtp_result *result,
                    const struct attempt_policy *policy, int64_t now,
                    struct attempt_verdict *verdict)
{
    bool lost = result->outcome == SMTP_SESSION_FAILED;
    struct tally tally = count_up(attempt, result->outcome == SMTP_DELIVERED);
    bool rest = tally.waiting > 0 || tally.unasked > 0;
    *verdict = (struct attempt_verdict){.end = ATTEMPT_AGAIN};
    begin_row(attempt, now, &verdict->row);
    if (lost && !attempt->body_begun && !has_learnt(attempt) && attempt->losses + 1 < LOSSES_MAX)
        return;
    bool blameless = lost && is_blameless(attempt, policy);
    verdict->row.attempts += !blameless;
    if (result->outcome == SMTP_DELIVERED)
        verdict->accepted = LEDGER_SENT;
    if (!blameless)
        verdict->put_off = owed(attempt, result);
    if (verdict->put_off) {
        go_on(result->text, now, verdict);
    } else if (is_said_of_some(attempt, result, &tally)) {
        bool for_good = result->outcome == SMTP_MESSAGE_PERMANENT;
        verdict->accepted = for_good ? LEDGER_REFUSED : LEDGER_PUT_OFF;
        go_on(result->text, now, verdict);
    } else if (result->outcome == SMTP_MESSAGE_PERMANENT)
        reject(verdict, "", result->text, true);
    else if (result->outcome == SMTP_MESSAGE_TEMPORARY || (lost && rest))
        defer(policy, blameless, result->text, now, verdict);
    else if (tally.unasked > 0)
        go_on(tally.excuse    ? tally.excuse
              : tally.refusal ? tally.refusal
                              : result->text,
              now, verdict);
    else if (tally.waiting > 0)
        defer(policy, false, tally.excuse ? tally.excuse : result->text, now, verdict);
    else
        all_answered(&tally, result->text, verdict);
    if (attempt->was_slow && verdict->end == ATTEMPT_DEFERRED)
        verdict->row.code = 0;
}

bool attempt_was_lost(const struct attempt *attempt)
{
    return attempt->losses > 0 || (attempt->row.state == LEDGER_DEFERRED && attempt->row.code == 0);
}

void attempt_close(const struct attempt *attempt, int64_t now, struct attempt_verdict *verdict)
{
    struct tally tally = count_up(attempt, false);
    *verdict = (struct attempt_verdict){.end = ATTEMPT_AGAIN};
    begin_row(attempt, now, &verdict->row);
    if (tally.refused + attempt->sent_before > 0)
        all_answered(&tally, attempt->row.reason, verdict);
    else
        reject(verdict, "", "the envelope names no recipient", true);
}

bool attempt_put_off_by_server(const struct attempt *attempt)
{
    for (size_t i = 0; i < attempt->count; i++) {
        const struct attempt_recipient *r = &attempt->recipients[i];
        if (r->answered && r->verdict != SMTP_TEMPORARY)
            return false;
        if (r->answered && strncmp(r->reply, "4", 1) == 0 && strncmp(r->reply + 3, " 4.2.", 5) == 0)
            return false;
    }
    return true;
}

void attempt_refuse(const struct attempt *attempt, const char *reason, int64_t now,
                    struct attempt_verdict *verdict)
{
    *verdict = (struct attempt_verdict){.end = ATTEMPT_AGAIN};
    begin_row(attempt, now, &verdict->row);
    verdict->row.attempts++;
    reject(verdict, "", reason, true);
}
