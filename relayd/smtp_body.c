/* The message: by DATA or BDAT (RFC 3030), and what the server says of it, with LMTP, by DATA
 * alone, for each recipient (RFC 2033, 4.2). Promises: no byte of it goes out but encoded; no more
 * chunks are under way than errors are still allowed; a recipient's last word is matched to its
 * RCPT. */
#include "relayd/smtp_core.h"

#include <stdio.h>
#include <stdlib.h>

enum {
    SLICE = 16384,      /* of a message, encoded at once */
    CHUNKS_AT_ONCE = 4, /* without a reply */
};

void smtp_begin_body(struct smtp *smtp)
{
    dot_encode_init(&smtp->encoder, !smtp->chunking);
    smtp_set_state(smtp, SMTP_BODY);
    smtp->events->want_data(smtp->ctx);
}

/* ---- chunks ---- */

static bool may_send_chunk(const struct smtp *smtp)
{
    size_t window = CHUNKS_AT_ONCE;
    size_t budget = smtp_budget(smtp);
    if (budget < window)
        window = budget > 0 ? budget : 1;
    return smtp->chunks_sent - smtp->chunks_answered < window;
}

bool smtp_wants_body(const struct smtp *smtp)
{
    if (smtp->state != SMTP_BODY || smtp->ended || smtp->refused)
        return false;
    return !smtp->chunking || smtp->chunk_len < SMTP_CHUNK || may_send_chunk(smtp);
}

static void send_chunk(struct smtp *smtp, bool last)
{
    char command[48];
    int n =
        snprintf(command, sizeof command, "BDAT %zu%s\r\n", smtp->chunk_len, last ? " LAST" : "");
    size_t len = smtp->chunk_len;
    smtp->chunk_len = 0;
    smtp->chunks_sent++;
    if (last)
        smtp_set_state(smtp, SMTP_FINAL);
    smtp->events->send(smtp->ctx, command, (size_t)n);
    if (len > 0)
        smtp->events->send(smtp->ctx, smtp->chunk, len);
}

static void try_last(struct smtp *smtp)
{
    if (smtp->ended && !smtp->refused && may_send_chunk(smtp))
        send_chunk(smtp, true);
}

static void make_room(struct smtp *smtp, size_t more)
{
    size_t want = smtp->chunk_len + more;
    if (want <= smtp->chunk_room)
        return;
    char *chunk = realloc(smtp->chunk, want);
    if (!chunk)
        abort();
    smtp->chunk = chunk;
    smtp->chunk_room = want;
}

static void chunk_slice(struct smtp *smtp, const char *bytes, size_t len)
{
    if (smtp->chunk_len >= SMTP_CHUNK && may_send_chunk(smtp))
        send_chunk(smtp, false);
    make_room(smtp, len * DOT_ENCODE_GROWTH + DOT_ENCODE_END_MAX);
    smtp->chunk_len += dot_encode(&smtp->encoder, bytes, len, smtp->chunk + smtp->chunk_len);
}

/* To a server that does not know the command, whatever it offered, it is not the message's fault.
 */
static bool knows_chunks(struct smtp *smtp, const struct smtp_reply *reply)
{
    bool knows = smtp->refused || reply->code < 500 || reply->code > 504 || reply->code == 501;
    if (!knows)
        smtp_fail_session(smtp, reply->code, smtp->text);
    return knows;
}

/* The reply to one that was not the last. */
static void on_chunk(struct smtp *smtp, const struct smtp_reply *reply)
{
    bool wanted = smtp_wants_body(smtp);
    if (!knows_chunks(smtp, reply))
        return;
    smtp->chunks_answered++;
    if (smtp_reply_class(reply) == 3) {
        smtp_fail_session(smtp, reply->code, smtp->text);
        return;
    }
    if (smtp_reply_class(reply) != 2 && !smtp->refused) {
        struct smtp_result result = smtp_result_of(smtp, reply, "BDAT");
        smtp->refused = true;
        smtp_keep(smtp, &result);
    }
    if (smtp->refused) {
        struct smtp_result result = smtp->result;
        if (smtp->chunks_answered == smtp->chunks_sent)
            smtp_end_transaction(smtp, &result, true);
        return;
    }
    if (smtp->state != SMTP_BODY)
        return;
    try_last(smtp);
    if (!wanted && smtp_wants_body(smtp))
        smtp->events->want_data(smtp->ctx);
}

/* ---- the message ---- */

void smtp_body(struct smtp *smtp, const char *bytes, size_t len)
{
    char out[SLICE * DOT_ENCODE_GROWTH + DOT_ENCODE_HELD_MAX];
    while (len > 0 && smtp->state == SMTP_BODY && !smtp->refused && !smtp->ended) {
        size_t slice = len < SLICE ? len : SLICE;
        if (smtp->chunking) {
            chunk_slice(smtp, bytes, slice);
        } else {
            size_t n = dot_encode(&smtp->encoder, bytes, slice, out);
            if (n > 0)
                smtp->events->send(smtp->ctx, out, n);
        }
        bytes += slice;
        len -= slice;
    }
}

void smtp_send_terminator(struct smtp *smtp)
{
    char end[DOT_ENCODE_END_MAX];
    if (smtp->state != SMTP_BODY)
        dot_encode_init(&smtp->encoder, true);
    size_t len = dot_encode_end(&smtp->encoder, end);
    smtp_set_state(smtp, SMTP_FINAL);
    smtp->events->send(smtp->ctx, end, len);
}

void smtp_body_end(struct smtp *smtp)
{
    if (smtp->state != SMTP_BODY || smtp->ended)
        return;
    smtp->ended = true;
    if (!smtp->chunking) {
        smtp_send_terminator(smtp);
        return;
    }
    make_room(smtp, DOT_ENCODE_END_MAX);
    smtp->chunk_len += dot_encode_end(&smtp->encoder, smtp->chunk + smtp->chunk_len);
    try_last(smtp);
}

bool smtp_in_doubt(const struct smtp *smtp)
{
    return smtp->state == SMTP_FINAL && smtp->accepted > 0 && !smtp->refused;
}

/* ---- what is said of it ---- */

/* A verdict before the end of the message: the server will read no more (or drop us). Its word
 * counts, but the connection is out of step. */
static void on_early_verdict(struct smtp *smtp, const struct smtp_reply *reply)
{
    if (smtp_reply_class(reply) < 4) {
        smtp_fail_session(smtp, reply->code, smtp->text);
        return;
    }
    struct smtp_result result = smtp_result_of(smtp, reply, ".");
    smtp_finish(smtp, &result);
    smtp_close_session(smtp, SMTP_CLOSED_FAILED,
                       "the server answered before the end of the message");
}

void smtp_on_body(struct smtp *smtp, const struct smtp_reply *reply)
{
    if (!smtp->chunking)
        on_early_verdict(smtp, reply);
    else if (smtp->chunks_answered < smtp->chunks_sent)
        on_chunk(smtp, reply);
    else
        smtp_fail_session(smtp, reply->code, "reply without a command");
}

void smtp_add_taker(struct smtp *smtp, size_t index)
{
    if (!smtp->lmtp)
        return;
    if (smtp->takers_room < smtp->envelope.count) {
        size_t *takers = realloc(smtp->takers, smtp->envelope.count * sizeof *takers);
        if (!takers)
            abort();
        smtp->takers = takers;
        smtp->takers_room = smtp->envelope.count;
    }
    smtp->takers[smtp->accepted - 1] = index;
}

/* The best that any recipient was told is what is told of the message. */
static void keep_best(struct smtp *smtp, enum smtp_verdict verdict, int code)
{
    static const struct {
        int rank;
        enum smtp_outcome outcome;
    } of[] = {
        [SMTP_TAKEN] = {3, SMTP_DELIVERED},
        [SMTP_TEMPORARY] = {2, SMTP_MESSAGE_TEMPORARY},
        [SMTP_PERMANENT] = {1, SMTP_NO_RECIPIENT},
    };
    if (smtp->finals > 1 && of[verdict].rank <= of[smtp->best].rank)
        return;
    smtp->best = verdict;
    const char *command = smtp_pending_command(smtp);
    const struct smtp_result result = {
        .outcome = of[verdict].outcome, .command = command, .code = code};
    smtp_keep(smtp, &result);
}

static void on_taker(struct smtp *smtp, const struct smtp_reply *reply)
{
    enum smtp_verdict verdict = smtp_verdict_of(reply);
    size_t index = smtp->takers[smtp->finals++];
    if (verdict == SMTP_ACCEPTED)
        verdict = SMTP_TAKEN;
    keep_best(smtp, verdict, reply->code);
    smtp->events->recipient(smtp->ctx, index, verdict, smtp->text);
    if (smtp->finals < smtp->accepted)
        return;
    struct smtp_result result = smtp->result;
    smtp_end_transaction(smtp, &result, smtp->best != SMTP_TAKEN);
}

static void on_verdict(struct smtp *smtp, const struct smtp_reply *reply)
{
    bool good = smtp_reply_class(reply) == 2;
    if (smtp->chunking && !knows_chunks(smtp, reply))
        return;
    if (smtp->chunking && smtp_is_about_address(reply)) {
        smtp_fail_session(smtp, 0, "out of step: a reply to RCPT in the place of BDAT's");
        return;
    }
    struct smtp_result result = smtp_result_of(smtp, reply, smtp_pending_command(smtp));
    if (smtp->refused)
        result = smtp->result;
    else if (smtp->accepted == 0)
        result = smtp_no_recipient(smtp);
    else if (good)
        result.outcome = SMTP_DELIVERED;
    /* A refusal should end the transaction (RFC 5321, 4.1.1.4), but Postfix keeps it open when a
     * policy refuses at the end of the message. */
    smtp_end_transaction(smtp, &result, !good);
}

void smtp_on_final(struct smtp *smtp, const struct smtp_reply *reply)
{
    if (smtp_reply_class(reply) == 3)
        smtp_fail_session(smtp, reply->code, smtp->text);
    else if (smtp->chunking && smtp->chunks_answered + 1 < smtp->chunks_sent)
        on_chunk(smtp, reply);
    else if (smtp->lmtp)
        on_taker(smtp, reply);
    else
        on_verdict(smtp, reply);
}
