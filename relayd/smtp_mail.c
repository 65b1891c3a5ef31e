/* The transaction's envelope: MAIL, RCPT, DATA, and its result. Promises: commands go out in order,
 * and only as far as RFC 2920 and the error budget allow; each reply is matched to its command;
 * every transaction that was started ends in exactly one result. */
#include "relayd/smtp_core.h"
#include "spool/address.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

static const char *const refusal_texts[] = {
    [SMTP_STARTED] = "started",
    [SMTP_REFUSED_BUSY] = "the connection is not ready for a message",
    [SMTP_REFUSED_ADDRESS] = "an address of the envelope is not fit to be sent",
    [SMTP_REFUSED_SIZE] = "message larger than the SMTP server's limit (SIZE)",
    [SMTP_REFUSED_UTF8] = "address outside ASCII, and the SMTP server does not offer SMTPUTF8",
    [SMTP_REFUSED_CLIENT] = "the session speaks for another client",
};
static_assert(sizeof refusal_texts / sizeof *refusal_texts == SMTP_REFUSALS, "a text a refusal");

void smtp_finish(struct smtp *smtp, const struct smtp_result *result)
{
    if (!smtp->active)
        return;
    smtp->active = false;
    if (result->outcome == SMTP_DELIVERED)
        smtp->put_offs = 0;
    if (smtp->refused && result->outcome == SMTP_SESSION_FAILED)
        result = &smtp->result; /* a server that refuses it and hangs up has said what it thinks */
    smtp->events->result(smtp->ctx, result);
}

void smtp_keep(struct smtp *smtp, const struct smtp_result *result)
{
    smtp->result = *result;
    size_t len = strnlen(smtp->text, sizeof smtp->kept - 1);
    memcpy(smtp->kept, smtp->text, len);
    smtp->kept[len] = '\0';
    smtp->result.text = smtp->kept;
}

size_t smtp_owed(const struct smtp *smtp)
{
    size_t owed = 1;
    if (smtp->state == SMTP_ENVELOPE)
        owed = smtp->sent - smtp->answered;
    else if (smtp->state == SMTP_BODY || smtp->state == SMTP_FINAL)
        owed = smtp->chunks_sent - smtp->chunks_answered;
    if (smtp->state == SMTP_FINAL && smtp->lmtp)
        owed = smtp->accepted - smtp->finals;
    return owed > 0 ? owed : 1;
}

const char *smtp_pending_command(const struct smtp *smtp)
{
    if (smtp->state == SMTP_FINAL || smtp->state == SMTP_BODY)
        return smtp->chunking ? "BDAT" : ".";
    if (smtp->state == SMTP_ENVELOPE && smtp->answered > smtp->asked)
        return "DATA";
    if (smtp->answered == 0)
        return "MAIL";
    return "RCPT";
}

static bool put_mail(struct smtp *smtp)
{
    char rest[96] = ">";
    size_t len = 1;
    if (smtp_extensions_has(&smtp->offers, SMTP_EXT_SIZE))
        len += (size_t)snprintf(rest + len, sizeof rest - len, " SIZE=%llu",
                                (unsigned long long)smtp->envelope.size);
    /* It says that the message may hold 8-bit text, so it is true of every message. */
    if (smtp_extensions_has(&smtp->offers, SMTP_EXT_8BITMIME))
        len += (size_t)snprintf(rest + len, sizeof rest - len, " BODY=8BITMIME");
    if (smtp->utf8)
        snprintf(rest + len, sizeof rest - len, " SMTPUTF8");
    return smtp_put_command(smtp, "MAIL FROM:<", smtp->envelope.sender, rest);
}

static bool may_send(const struct smtp *smtp)
{
    size_t window = 1;
    if (smtp_extensions_has(&smtp->offers, SMTP_EXT_PIPELINING) && smtp_budget(smtp) > 0)
        window = smtp_budget(smtp);
    return smtp->sent - smtp->answered < window;
}

/* True when RCPTs are still to be written. With the budget used up, no refusal more is risked, but
 * that of the first: else nobody would ever be asked about. */
static bool more_recipients(const struct smtp *smtp)
{
    return smtp->next < smtp->envelope.count && (smtp_budget(smtp) > 0 || smtp->asked == 0);
}

/* The recipient at or behind `from` that can be asked about. */
static size_t skip_left_out(const struct smtp *smtp, size_t from)
{
    while (smtp->utf8_left && from < smtp->envelope.count &&
           address_is_utf8(smtp->envelope.recipients[from]))
        from++;
    return from;
}

static bool put_recipient(struct smtp *smtp)
{
    if (!smtp_put_command(smtp, "RCPT TO:<", smtp->envelope.recipients[smtp->next], ">"))
        return false;
    smtp->next = skip_left_out(smtp, smtp->next + 1);
    smtp->asked++;
    return true;
}

/* DATA may go out beside unanswered RCPTs, but not when all are answered and none was accepted. */
static bool data_worthwhile(const struct smtp *smtp)
{
    return !smtp->chunking && (smtp->accepted > 0 || smtp->answered < smtp->sent);
}

static void pump(struct smtp *smtp)
{
    while (!smtp->refused && !smtp->data_sent && may_send(smtp)) {
        if (smtp->sent == 0) {
            if (!put_mail(smtp))
                return;
        } else if (more_recipients(smtp)) {
            if (!put_recipient(smtp))
                return;
        } else if (data_worthwhile(smtp)) {
            if (!smtp_put_command(smtp, "DATA", "", ""))
                return;
            smtp->data_sent = true;
        } else {
            break;
        }
        smtp->sent++;
    }
    smtp_flush(smtp);
}

void smtp_end_transaction(struct smtp *smtp, const struct smtp_result *result, bool reset)
{
    smtp_finish(smtp, result);
    if (smtp->state == SMTP_CLOSED)
        return;
    if (smtp_budget(smtp) == 0 || smtp->leave) {
        smtp_put_simple(smtp, "QUIT", SMTP_QUIT);
    } else if (reset) {
        smtp_put_simple(smtp, "RSET", SMTP_RSET);
    } else {
        smtp_set_state(smtp, SMTP_READY);
        smtp->events->ready(smtp->ctx);
    }
}

/* To log in, or to use TLS, is asked of us and not of the message, whoever its sender is: it waits
 * until somebody has set that right. */
static bool is_permanent(const struct smtp_reply *reply)
{
    int code = reply->code;
    return smtp_reply_class(reply) == 5 && code != 530 && code != 535 && code != 538;
}

struct smtp_result smtp_result_of(const struct smtp *smtp, const struct smtp_reply *reply,
                                  const char *command)
{
    return (struct smtp_result){
        .outcome = is_permanent(reply) ? SMTP_MESSAGE_PERMANENT : SMTP_MESSAGE_TEMPORARY,
        .command = command,
        .text = smtp->text,
        .code = reply->code,
    };
}

struct smtp_result smtp_no_recipient(const struct smtp *smtp)
{
    return (struct smtp_result){
        .outcome = SMTP_NO_RECIPIENT, .command = "RCPT", .text = smtp->text};
}

/* Behind a recipient that was accepted also a lone 552 means "too many recipients" (RFC 5321,
 * 4.5.3.1.10); with another enhanced code it means what it says. */
static bool means_too_many(const struct smtp *smtp, const struct smtp_reply *reply)
{
    const int *enhanced = reply->enhanced;
    return smtp->accepted > 0 && (reply->code == 452 || reply->code == 552) &&
           (enhanced[0] == 0 || (enhanced[1] == 5 && enhanced[2] == 3));
}

enum smtp_verdict smtp_verdict_of(const struct smtp_reply *reply)
{
    if (smtp_reply_class(reply) == 2)
        return SMTP_ACCEPTED;
    return is_permanent(reply) ? SMTP_PERMANENT : SMTP_TEMPORARY;
}

bool smtp_is_about_address(const struct smtp_reply *reply)
{
    return reply->enhanced[0] == 2 && reply->enhanced[1] == 1;
}

static void on_mail_reply(struct smtp *smtp, const struct smtp_reply *reply)
{
    if (smtp_reply_class(reply) == 2)
        return;
    struct smtp_result result = smtp_result_of(smtp, reply, "MAIL");
    smtp->refused = true;
    smtp_keep(smtp, &result);
}

static void on_rcpt_reply(struct smtp *smtp, const struct smtp_reply *reply)
{
    size_t index = smtp->due;
    smtp->due = skip_left_out(smtp, index + 1);
    if (smtp->refused)
        return;
    enum smtp_verdict verdict = smtp_verdict_of(reply);
    if (means_too_many(smtp, reply))
        return; /* it was not asked for itself: the next transaction is for it */
    if (verdict == SMTP_ACCEPTED) {
        smtp->accepted++;
        smtp->coded = smtp_is_about_address(reply);
        smtp_add_taker(smtp, index);
    }
    smtp->events->recipient(smtp->ctx, index, verdict, smtp->text);
}

/* 354 and nobody to receive it. */
static void on_idle_data(struct smtp *smtp)
{
    if (!smtp->refused && !smtp->lmtp) {
        /* Pipelined behind recipients that were all refused: RFC 2920, 3.1 asks for a lone dot. */
        smtp_send_terminator(smtp);
        return;
    }
    /* It could take a terminator for an empty message, or (LMTP) would not answer it. */
    struct smtp_result result = smtp->refused ? smtp->result : smtp_no_recipient(smtp);
    smtp_finish(smtp, &result);
    smtp_close_session(smtp, SMTP_CLOSED_QUIT,
                       smtp->refused ? "dropped: 354 behind a refused MAIL"
                                     : "dropped: 354 behind refused recipients");
}

static void on_data_reply(struct smtp *smtp, const struct smtp_reply *reply)
{
    struct smtp_result result;
    if (reply->code == 354) {
        if (smtp->accepted > 0)
            smtp_begin_body(smtp);
        else
            on_idle_data(smtp);
        return;
    }
    if (smtp_reply_class(reply) < 4) {
        smtp_fail_session(smtp, reply->code, "DATA was not answered with 354 or an error");
        return;
    }
    if (smtp->refused)
        result = smtp->result;
    else if (smtp->accepted == 0)
        result = smtp_no_recipient(smtp);
    else
        result = smtp_result_of(smtp, reply, "DATA");
    smtp_end_transaction(smtp, &result, !smtp->refused || smtp->forwarded);
}

/* A command in the wrong place is not the message's fault. Behind a MAIL that was refused 503 is as
 * it should be, and to DATA behind recipients that all were. */
static bool is_out_of_step(const struct smtp *smtp, int code, size_t command)
{
    return code == 503 && !smtp->refused && (command <= smtp->asked || smtp->accepted > 0);
}

void smtp_on_envelope(struct smtp *smtp, const struct smtp_reply *reply)
{
    size_t command = smtp->answered;
    if (smtp_reply_class(reply) == 3 && !(smtp->data_sent && command == smtp->sent - 1)) {
        smtp_fail_session(smtp, reply->code, "unexpected 3xx reply");
        return;
    }
    if (is_out_of_step(smtp, reply->code, command)) {
        smtp_fail_session(smtp, reply->code, smtp->text);
        return;
    }
    smtp->answered++;
    if (command == 0) {
        on_mail_reply(smtp, reply);
    } else if (command <= smtp->asked) {
        on_rcpt_reply(smtp, reply);
    } else {
        on_data_reply(smtp, reply);
        return;
    }
    pump(smtp);
    if (smtp->state != SMTP_ENVELOPE || smtp->answered < smtp->sent)
        return;
    if (smtp->chunking && !smtp->refused && smtp->accepted > 0) {
        smtp_begin_body(smtp);
        return;
    }
    struct smtp_result result = smtp->refused ? smtp->result : smtp_no_recipient(smtp);
    smtp_end_transaction(smtp, &result, !smtp->refused || smtp->forwarded);
}

/* ---- its beginning ---- */

static bool addresses_ok(const struct smtp_envelope *envelope)
{
    bool ok = envelope->count > 0 && smtp_argument_ok(envelope->sender, SMTP_ADDRESS_MAX);
    for (size_t i = 0; ok && i < envelope->count; i++)
        ok = envelope->recipients[i][0] != '\0' &&
             smtp_argument_ok(envelope->recipients[i], SMTP_ADDRESS_MAX);
    return ok;
}

static size_t count_utf8(const struct smtp_envelope *envelope)
{
    size_t n = 0;
    for (size_t i = 0; i < envelope->count; i++)
        n += address_is_utf8(envelope->recipients[i]);
    return n;
}

static enum smtp_refusal refusal_of(const struct smtp *smtp, const struct smtp_envelope *envelope)
{
    uint64_t limit = smtp->offers.size_limit;
    if (smtp->state != SMTP_READY)
        return SMTP_REFUSED_BUSY;
    if (!addresses_ok(envelope))
        return SMTP_REFUSED_ADDRESS;
    if (limit > 0 && envelope->size > limit)
        return SMTP_REFUSED_SIZE;
    if ((address_is_utf8(envelope->sender) || count_utf8(envelope) == envelope->count) &&
        !smtp_extensions_has(&smtp->offers, SMTP_EXT_SMTPUTF8))
        return SMTP_REFUSED_UTF8;
    return smtp_client_fits(smtp, envelope->client) ? SMTP_STARTED : SMTP_REFUSED_CLIENT;
}

static void refuse_left_out(struct smtp *smtp)
{
    for (size_t i = 0; smtp->utf8_left && i < smtp->envelope.count; i++)
        if (address_is_utf8(smtp->envelope.recipients[i]))
            smtp->events->recipient(smtp->ctx, i, SMTP_PERMANENT, refusal_texts[SMTP_REFUSED_UTF8]);
}

void smtp_begin_envelope(struct smtp *smtp)
{
    const struct smtp_extensions *offers = &smtp->offers;
    bool needs_utf8 = address_is_utf8(smtp->envelope.sender) || count_utf8(&smtp->envelope) > 0;
    bool offered = smtp_extensions_has(offers, SMTP_EXT_SMTPUTF8);
    smtp->utf8 = needs_utf8 && offered;
    smtp->utf8_left = needs_utf8 && !offered;
    /* Chunks go out without waiting, so the server has to be one that allows that. Behind another
     * message, and in LMTP, a reply too many could be taken for the word on this one: there 354 is
     * wanted, or a server whose replies to RCPT can be told from those. */
    smtp->chunking = !smtp->envelope.by_data && !smtp->lmtp && (!smtp->used || smtp->coded) &&
                     smtp_extensions_has(offers, SMTP_EXT_CHUNKING) &&
                     smtp_extensions_has(offers, SMTP_EXT_PIPELINING);
    smtp->next = smtp->due = skip_left_out(smtp, 0);
    smtp->used = true;
    smtp_set_state(smtp, SMTP_ENVELOPE);
    refuse_left_out(smtp);
    pump(smtp);
}

enum smtp_refusal smtp_start(struct smtp *smtp, const struct smtp_envelope *envelope)
{
    enum smtp_refusal refusal = refusal_of(smtp, envelope);
    if (refusal != SMTP_STARTED)
        return refusal;
    smtp->envelope = *envelope;
    smtp->active = true;
    smtp->refused = smtp->data_sent = smtp->ended = false;
    smtp->asked = smtp->sent = smtp->answered = smtp->accepted = 0;
    smtp->chunk_len = smtp->chunks_sent = smtp->chunks_answered = smtp->finals = 0;
    smtp_tell_client(smtp);
    return SMTP_STARTED;
}

const char *smtp_refusal_text(enum smtp_refusal refusal)
{
    return refusal_texts[refusal];
}

void smtp_quit(struct smtp *smtp)
{
    if (smtp->state == SMTP_READY || (smtp->state == SMTP_LOGIN && !smtp->login_owed))
        smtp_put_simple(smtp, "QUIT", SMTP_QUIT);
}

void smtp_abandon(struct smtp *smtp)
{
    smtp->active = false;
    smtp_set_state(smtp, SMTP_CLOSED);
}
