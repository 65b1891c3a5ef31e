/* The transaction: MAIL, RCPT, DATA, the message. Promises: commands go out in order, and only as
 * far as RFC 2920 and the error budget allow; each reply is matched to its command; every
 * transaction that was started ends in exactly one result. */
#include "relayd/smtp_core.h"
#include "spool/address.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

enum { SLICE = 16384 }; /* of a message, encoded at once */

static const char *const refusal_texts[] = {
    [SMTP_STARTED] = "started",
    [SMTP_REFUSED_BUSY] = "the connection is not ready for a message",
    [SMTP_REFUSED_ADDRESS] = "an address of the envelope is not fit to be sent",
    [SMTP_REFUSED_SIZE] = "message larger than the SMTP server's limit (SIZE)",
    [SMTP_REFUSED_UTF8] = "address outside ASCII, and the SMTP server does not offer SMTPUTF8",
};
static_assert(sizeof refusal_texts / sizeof *refusal_texts == SMTP_REFUSALS, "a text a refusal");

void smtp_finish(struct smtp *smtp, const struct smtp_result *result)
{
    if (!smtp->active)
        return;
    smtp->active = false;
    smtp->events->result(smtp->ctx, result);
}

const char *smtp_pending_command(const struct smtp *smtp)
{
    if (smtp->state == SMTP_FINAL || smtp->state == SMTP_BODY)
        return ".";
    if (smtp->answered == 0)
        return "MAIL";
    return smtp->answered <= smtp->asked ? "RCPT" : "DATA";
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
    if (smtp_extensions_has(&smtp->offers, SMTP_EXT_PIPELINING) && smtp->errors < smtp->max_errors)
        window = smtp->max_errors - smtp->errors;
    return smtp->sent - smtp->answered < window;
}

/* True when RCPTs are still to be written. With the budget used up, no refusal more is risked. */
static bool more_recipients(const struct smtp *smtp)
{
    return smtp->asked < smtp->envelope.count && smtp->errors < smtp->max_errors;
}

/* DATA may go out beside unanswered RCPTs, but not when all are answered and none was accepted. */
static bool data_worthwhile(const struct smtp *smtp)
{
    return smtp->accepted > 0 || smtp->answered < smtp->sent;
}

static void pump(struct smtp *smtp)
{
    while (!smtp->mail_refused && !smtp->data_sent && may_send(smtp)) {
        if (smtp->sent == 0) {
            if (!put_mail(smtp))
                return;
        } else if (more_recipients(smtp)) {
            if (!smtp_put_command(smtp, "RCPT TO:<", smtp->envelope.recipients[smtp->asked], ">"))
                return;
            smtp->asked++;
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

static void end_transaction(struct smtp *smtp, const struct smtp_result *result, bool reset)
{
    smtp_finish(smtp, result);
    if (smtp->state == SMTP_CLOSED)
        return;
    if (smtp->errors >= smtp->max_errors) {
        smtp_put_simple(smtp, "QUIT", SMTP_QUIT);
    } else if (reset) {
        smtp_put_simple(smtp, "RSET", SMTP_RSET);
    } else {
        smtp_set_state(smtp, SMTP_READY);
        smtp->events->ready(smtp->ctx);
    }
}

static struct smtp_result result_of(const struct smtp *smtp, const struct smtp_reply *reply,
                                    const char *command)
{
    return (struct smtp_result){
        .outcome = smtp_reply_class(reply) == 5 ? SMTP_MESSAGE_PERMANENT : SMTP_MESSAGE_TEMPORARY,
        .command = command,
        .text = smtp->text,
        .code = reply->code,
    };
}

static struct smtp_result no_recipient(const struct smtp *smtp)
{
    return (struct smtp_result){
        .outcome = SMTP_NO_RECIPIENT, .command = "RCPT", .text = smtp->text};
}

/* A lone 552 to RCPT means "too many recipients" (RFC 5321, 4.5.3.1.10); with an enhanced code of
 * the mailbox class it means what it says. */
static enum smtp_verdict verdict_of(const struct smtp_reply *reply)
{
    if (smtp_reply_class(reply) == 2)
        return SMTP_ACCEPTED;
    if (smtp_reply_class(reply) != 5)
        return SMTP_TEMPORARY;
    return reply->code == 552 && reply->enhanced[1] != 2 ? SMTP_TEMPORARY : SMTP_PERMANENT;
}

static void on_mail_reply(struct smtp *smtp, const struct smtp_reply *reply)
{
    if (smtp_reply_class(reply) == 2)
        return;
    smtp->mail_refused = true;
    smtp->result = result_of(smtp, reply, "MAIL");
    /* The text must outlive the replies that are still to be read. */
    size_t len = strnlen(smtp->text, sizeof smtp->refusal - 1);
    memcpy(smtp->refusal, smtp->text, len);
    smtp->refusal[len] = '\0';
    smtp->result.text = smtp->refusal;
}

static void on_rcpt_reply(struct smtp *smtp, size_t index, const struct smtp_reply *reply)
{
    if (smtp->mail_refused)
        return;
    enum smtp_verdict verdict = verdict_of(reply);
    if (verdict == SMTP_ACCEPTED)
        smtp->accepted++;
    smtp->events->recipient(smtp->ctx, index, verdict, smtp->text);
}

static void send_terminator(struct smtp *smtp)
{
    char end[DOT_ENCODE_END_MAX];
    size_t len = dot_encode_end(&smtp->encoder, end);
    smtp_set_state(smtp, SMTP_FINAL);
    smtp->events->send(smtp->ctx, end, len);
}

static void on_data_reply(struct smtp *smtp, const struct smtp_reply *reply)
{
    struct smtp_result result;
    dot_encode_init(&smtp->encoder);
    if (reply->code == 354 && smtp->accepted > 0) {
        smtp_set_state(smtp, SMTP_BODY);
        smtp->events->want_data(smtp->ctx);
        return;
    }
    if (reply->code == 354) {
        if (smtp->mail_refused) {
            /* It refused the sender and goes on all the same: it could take a terminator for an
             * empty message. */
            smtp_finish(smtp, &smtp->result);
            smtp_close_session(smtp, SMTP_CLOSED_QUIT, "dropped: 354 behind a refused MAIL");
            return;
        }
        /* Pipelined behind recipients that were all refused: RFC 2920, 3.1 asks for a lone dot. */
        send_terminator(smtp);
        return;
    }
    if (smtp_reply_class(reply) < 4) {
        smtp_fail_session(smtp, reply->code, "DATA was not answered with 354 or an error");
        return;
    }
    if (smtp->mail_refused)
        result = smtp->result;
    else if (smtp->accepted == 0)
        result = no_recipient(smtp);
    else
        result = result_of(smtp, reply, "DATA");
    end_transaction(smtp, &result, !smtp->mail_refused);
}

/* Answers to MAIL that are about the session: out of step, or something is to be done before. */
static bool is_about_session(int code)
{
    return code == 503 || code == 530 || code == 535 || code == 538;
}

void smtp_on_envelope(struct smtp *smtp, const struct smtp_reply *reply)
{
    size_t command = smtp->answered;
    if (smtp_reply_class(reply) == 3 && !(smtp->data_sent && command == smtp->sent - 1)) {
        smtp_fail_session(smtp, reply->code, "unexpected 3xx reply");
        return;
    }
    if (command == 0 && is_about_session(reply->code)) {
        smtp_fail_session(smtp, reply->code, smtp->text);
        return;
    }
    smtp->answered++;
    if (command == 0) {
        on_mail_reply(smtp, reply);
    } else if (command <= smtp->asked) {
        on_rcpt_reply(smtp, command - 1, reply);
    } else {
        on_data_reply(smtp, reply);
        return;
    }
    pump(smtp);
    if (smtp->state != SMTP_ENVELOPE || smtp->answered < smtp->sent)
        return;
    struct smtp_result result = smtp->mail_refused ? smtp->result : no_recipient(smtp);
    end_transaction(smtp, &result, !smtp->mail_refused);
}

/* ---- the message ---- */

/* A verdict before the end of the message: the server will read no more (or drop us). Its word
 * counts, but the connection is out of step. */
void smtp_on_body(struct smtp *smtp, const struct smtp_reply *reply)
{
    if (smtp_reply_class(reply) < 4) {
        smtp_fail_session(smtp, reply->code, smtp->text);
        return;
    }
    struct smtp_result result = result_of(smtp, reply, ".");
    smtp_finish(smtp, &result);
    smtp_close_session(smtp, SMTP_CLOSED_FAILED,
                       "the server answered before the end of the message");
}

void smtp_on_final(struct smtp *smtp, const struct smtp_reply *reply)
{
    struct smtp_result result = result_of(smtp, reply, ".");
    if (smtp_reply_class(reply) == 3) {
        smtp_fail_session(smtp, reply->code, smtp->text);
        return;
    }
    if (smtp->accepted == 0)
        result = no_recipient(smtp);
    else if (smtp_reply_class(reply) == 2)
        result.outcome = SMTP_DELIVERED;
    /* A refusal should end the transaction (RFC 5321, 4.1.1.4), but Postfix keeps it open when a
     * policy refuses at the end of the message. */
    end_transaction(smtp, &result, smtp_reply_class(reply) != 2);
}

void smtp_body(struct smtp *smtp, const char *bytes, size_t len)
{
    char out[SLICE * DOT_ENCODE_GROWTH];
    while (len > 0 && smtp->state == SMTP_BODY) {
        size_t slice = len < SLICE ? len : SLICE;
        size_t n = dot_encode(&smtp->encoder, bytes, slice, out);
        if (n > 0)
            smtp->events->send(smtp->ctx, out, n);
        bytes += slice;
        len -= slice;
    }
}

void smtp_body_end(struct smtp *smtp)
{
    if (smtp->state == SMTP_BODY)
        send_terminator(smtp);
}

static bool addresses_ok(const struct smtp_envelope *envelope, bool *utf8)
{
    bool ok = envelope->count > 0 && smtp_argument_ok(envelope->sender, SMTP_ADDRESS_MAX);
    *utf8 = address_is_utf8(envelope->sender);
    for (size_t i = 0; ok && i < envelope->count; i++) {
        const char *address = envelope->recipients[i];
        ok = *address != '\0' && smtp_argument_ok(address, SMTP_ADDRESS_MAX);
        *utf8 = *utf8 || address_is_utf8(address);
    }
    return ok;
}

enum smtp_refusal smtp_start(struct smtp *smtp, const struct smtp_envelope *envelope)
{
    bool utf8 = false;
    uint64_t limit = smtp->offers.size_limit;
    if (smtp->state != SMTP_READY)
        return SMTP_REFUSED_BUSY;
    if (!addresses_ok(envelope, &utf8))
        return SMTP_REFUSED_ADDRESS;
    if (limit > 0 && envelope->size > limit)
        return SMTP_REFUSED_SIZE;
    if (utf8 && !smtp_extensions_has(&smtp->offers, SMTP_EXT_SMTPUTF8))
        return SMTP_REFUSED_UTF8;
    smtp->envelope = *envelope;
    smtp->utf8 = utf8;
    smtp->active = true;
    smtp->mail_refused = smtp->data_sent = false;
    smtp->asked = smtp->sent = smtp->answered = smtp->accepted = 0;
    smtp_set_state(smtp, SMTP_ENVELOPE);
    pump(smtp);
    return SMTP_STARTED;
}

const char *smtp_refusal_text(enum smtp_refusal refusal)
{
    return refusal_texts[refusal];
}

void smtp_quit(struct smtp *smtp)
{
    if (smtp->state == SMTP_READY)
        smtp_put_simple(smtp, "QUIT", SMTP_QUIT);
}

void smtp_abandon(struct smtp *smtp)
{
    smtp->active = false;
    smtp_set_state(smtp, SMTP_CLOSED);
}
