/* The requests that fetcherd answers.
 *
 *   init pubkey status            fetch {names|all}
 *   account.add account.set       fields as in account.h, "secret" sealed to our public key
 *   probe {name}, probe.report {ticket}, probe.items {ticket, after}: fetcherd/probe.h
 *   account.list {after}          account.show account.enable account.disable account.remove {name}
 *
 * Promises: what was answered with ok is in the ledger; a secret comes in sealed and never goes
 * out; a request that makes no sense changes nothing. */
#include "fetcherd/control.h"

#include <stdlib.h>
#include <string.h>

#include "fetcherd/fetcherd.h"
#include "fetcherd/poll.h"
#include "fetcherd/probe.h"
#include "fetcherd/schedule.h"
#include "fetcherd/watch.h"
#include "lib/clock.h"
#include "lib/log.h"

/* A new account is first polled by itself after this; a person may set right what is wrong. */
#define FIRST_POLL (30 * CLOCK_SECOND)

static void wake(struct fetcherd *f)
{
    if (f->poll)
        poll_wake(f->poll);
}

/* The account that the request names; NULL, and *refusal made, when there is none. */
static struct account *named(struct fetcherd *f, const json_t *request, json_t **refusal)
{
    const char *name = json_string_value(json_object_get(request, "name"));
    struct account *a = name ? account_set_find(&f->accounts, name) : NULL;

    if (!name)
        *refusal = bus_error("usage", "the request needs the \"name\" of an account");
    else if (!a)
        *refusal = bus_error("notfound", "there is no account \"%s\"", name);
    return a;
}

static json_t *shown(struct fetcherd *f, const struct account *a)
{
    json_t *json = account_to_json(a);

    json_object_set_new(json, "waiting",
                        json_integer((json_int_t)ledger_spooled_count(f->ledger, a->key)));
    return json;
}

static json_t *reply_account(struct fetcherd *f, const struct account *a)
{
    return bus_ok(json_pack("{s:o}", "account", shown(f, a)));
}

/* --- the daemon --------------------------------------------------------------------------- */

static json_t *answer_pubkey(struct daemon *d, const json_t *request)
{
    (void)request;
    return bus_ok(json_pack("{s:s}", "public_key", secret_key_public(fetcherd_of(d)->key)));
}

static json_t *answer_status(struct daemon *d, const json_t *request)
{
    struct fetcherd *f = fetcherd_of(d);
    json_t *status = daemon_status(d);
    const char *held = f->watch ? watch_holding_off(f->watch) : NULL;
    json_int_t running = f->poll ? (json_int_t)poll_running(f->poll) : 0;

    (void)request;
    json_object_set_new(status, "accounts", json_integer((json_int_t)f->accounts.count));
    json_object_set_new(status, "sessions", json_integer(running));
    json_object_set_new(status, "polling", json_integer(running));
    json_object_set_new(status, "waiting",
                        json_integer((json_int_t)ledger_spooled_count(f->ledger, 0)));
    json_object_set_new(status, "holding_off", held ? json_string(held) : json_null());
    if (f->watch)
        json_object_set_new(status, "size_limit",
                            json_integer((json_int_t)watch_size_limit(f->watch)));
    return bus_ok(status);
}

/* --- accounts ----------------------------------------------------------------------------- */

/* The sealed secret of the request, found to open for this account. NULL with *refusal: refused. */
static const char *sealed_secret(struct fetcherd *f, const json_t *request, const char *name,
                                 json_t **refusal)
{
    const char *sealed = json_string_value(json_object_get(request, "secret"));
    struct error err;
    char *secret;

    if (!sealed) {
        *refusal = bus_error("usage", "secret: expected the password, sealed to our public key");
        return NULL;
    }
    secret = secret_open(f->key, name, sealed, &err);
    if (!secret) {
        *refusal = bus_error("usage", "secret: %s", err.text);
        return NULL;
    }
    bool sendable = secret[0] && !strpbrk(secret, "\r\n");
    secret_wipe(secret);
    if (sendable)
        return sealed;
    *refusal = bus_error("usage", "secret: a password is one line, and not empty");
    return NULL;
}

static json_t *answer_add(struct daemon *d, const json_t *request)
{
    struct fetcherd *f = fetcherd_of(d);
    struct account *a = calloc(1, sizeof *a);
    struct error err;
    json_t *refusal = NULL;
    const char *sealed = NULL;

    if (!a)
        abort();
    if (!account_from_request(a, request, true, d->conf->default_domain, &err))
        refusal = bus_error_from(&err);
    else if (account_set_find(&f->accounts, a->name))
        refusal = bus_error("usage", "there is an account \"%s\" already", a->name);
    else
        sealed = sealed_secret(f, request, a->name, &refusal);
    if (!sealed) {
        account_free(a);
        return refusal;
    }
    a->next_poll = clock_now() + FIRST_POLL;
    ledger_account_add(f->ledger, a, sealed);
    ledger_account_progress(f->ledger, a);
    account_set_add(&f->accounts, a);
    LOG(LOG_NOTE, "account-added", KV("account", a->name), KV("server", a->server));
    wake(f);
    return reply_account(f, a);
}

/* Which mailbox an account is: UIDLs mean something within one only. */
struct maildrop_place {
    char server[ACCOUNT_SERVER_MAX + 1];
    char user[ACCOUNT_USER_MAX + 1];
    int port;
};

static struct maildrop_place place_of(const struct account *a)
{
    struct maildrop_place place = {.port = a->port};

    memcpy(place.server, a->server, sizeof place.server);
    memcpy(place.user, a->user, sizeof place.user);
    return place;
}

static bool is_at(const struct account *a, const struct maildrop_place *place)
{
    return a->port == place->port && !strcmp(a->server, place->server) &&
           !strcmp(a->user, place->user);
}

static void maildrop_moved(struct fetcherd *f, struct account *a)
{
    a->moves++; /* for batches that are still being synced */
    if (a->session)
        session_abort(a->session);
    ledger_maildrop_moved(f->ledger, a->key);
    LOG(LOG_NOTE, "maildrop-moved", KV("account", a->name), KV("server", a->server),
        KV("meaning", "what lies there is fetched and compared with what is known already"));
}

static json_t *answer_set(struct daemon *d, const json_t *request)
{
    struct fetcherd *f = fetcherd_of(d);
    json_t *refusal = NULL;
    struct account *a = named(f, request, &refusal);
    const json_t *secret = json_object_get(request, "secret");
    const char *sealed = NULL;
    struct error err;

    if (!a)
        return refusal;
    if (secret && !json_is_null(secret) && !(sealed = sealed_secret(f, request, a->name, &refusal)))
        return refusal;
    struct maildrop_place place = place_of(a);
    if (!account_from_request(a, request, false, d->conf->default_domain, &err))
        return bus_error_from(&err);
    schedule_reset(a, clock_now());
    ledger_account_set(f->ledger, a, sealed);
    if (!is_at(a, &place))
        maildrop_moved(f, a);
    ledger_account_progress(f->ledger, a);
    LOG(LOG_NOTE, "account-changed", KV("account", a->name));
    wake(f);
    return reply_account(f, a);
}

static json_t *answer_show(struct daemon *d, const json_t *request)
{
    json_t *refusal = NULL;
    struct account *a = named(fetcherd_of(d), request, &refusal);
    return a ? reply_account(fetcherd_of(d), a) : refusal;
}

static json_t *answer_list(struct daemon *d, const json_t *request)
{
    struct fetcherd *f = fetcherd_of(d);
    const char *after = json_string_value(json_object_get(request, "after"));
    const char *cursor = NULL;
    struct bus_page page;
    size_t i = 0;

    bus_page_begin(&page);
    while (after && i < f->accounts.count && strcmp(f->accounts.items[i]->name, after) <= 0)
        i++;
    for (; i < f->accounts.count; i++) {
        if (!bus_page_add(&page, shown(f, f->accounts.items[i])))
            return bus_page_end(&page, cursor);
        cursor = f->accounts.items[i]->name;
    }
    return bus_page_end(&page, NULL);
}

static json_t *set_enabled(struct daemon *d, const json_t *request, bool on)
{
    struct fetcherd *f = fetcherd_of(d);
    json_t *refusal = NULL;
    struct account *a = named(f, request, &refusal);

    if (!a)
        return refusal;
    a->enabled = on;
    if (on)
        schedule_reset(a, clock_now());
    else
        a->round_done = a->round; /* nobody is to wait for it */
    if (!on && a->session)
        session_abort(a->session);
    ledger_account_set(f->ledger, a, NULL);
    ledger_account_progress(f->ledger, a);
    LOG(LOG_NOTE, on ? "account-enabled" : "account-disabled", KV("account", a->name));
    wake(f);
    return reply_account(f, a);
}

static json_t *answer_enable(struct daemon *d, const json_t *request)
{
    return set_enabled(d, request, true);
}

static json_t *answer_disable(struct daemon *d, const json_t *request)
{
    return set_enabled(d, request, false);
}

static json_t *answer_remove(struct daemon *d, const json_t *request)
{
    struct fetcherd *f = fetcherd_of(d);
    json_t *refusal = NULL;
    struct account *a = named(f, request, &refusal);

    if (!a)
        return refusal;
    if (f->probes)
        probes_forget(f->probes, a);
    ledger_account_remove(f->ledger, a->key);
    LOG(LOG_NOTE, "account-removed", KV("account", a->name));
    if (f->poll) {
        poll_remove_account(f->poll, a);
    } else {
        account_set_take(&f->accounts, a);
        account_free(a);
    }
    return bus_ok(NULL);
}

/* --- fetch -------------------------------------------------------------------------------- */

static void ask_round(struct fetcherd *f, struct account *a, json_t *rounds)
{
    a->round++;
    ledger_account_progress(f->ledger, a);
    json_object_set_new(rounds, a->name, json_integer((json_int_t)a->round));
}

/* Every name must be one that can be fetched, or none is. */
static json_t *refuse_names(struct fetcherd *f, const json_t *names)
{
    const json_t *name;
    size_t i;

    json_array_foreach(names, i, name)
    {
        const char *text = json_string_value(name);
        const struct account *a = text ? account_set_find(&f->accounts, text) : NULL;
        if (!a)
            return bus_error("notfound", "there is no account \"%s\"", text ? text : "");
        if (!a->enabled)
            return bus_error("failed", "account %s is disabled: popferryctl account enable %s",
                             a->name, a->name);
    }
    return NULL;
}

static json_t *answer_fetch(struct daemon *d, const json_t *request)
{
    struct fetcherd *f = fetcherd_of(d);
    const json_t *names = json_object_get(request, "names"), *name;
    bool all = json_is_true(json_object_get(request, "all"));
    json_t *rounds, *refusal;
    size_t i;

    if (!all && !json_is_array(names))
        return bus_error("usage", "fetch needs \"names\": [...], or \"all\": true");
    if (!all && (refusal = refuse_names(f, names)))
        return refusal;
    rounds = json_object();
    ledger_begin(f->ledger);
    for (i = 0; all && i < f->accounts.count; i++)
        if (f->accounts.items[i]->enabled)
            ask_round(f, f->accounts.items[i], rounds);
    if (!all) {
        json_array_foreach(names, i, name)
        {
            ask_round(f, account_set_find(&f->accounts, json_string_value(name)), rounds);
        }
    }
    ledger_commit(f->ledger);
    wake(f);
    return bus_ok(json_pack("{s:o}", "rounds", rounds));
}

/* --- probes ------------------------------------------------------------------------------- */

static json_t *answer_probe(struct daemon *d, const json_t *request)
{
    struct fetcherd *f = fetcherd_of(d);
    json_t *refusal = NULL;
    struct account *a = named(f, request, &refusal);
    int64_t ticket = a ? probe_start(f->probes, a) : 0;

    if (!a)
        return refusal;
    if (!ticket)
        return bus_error("failed", "too many tests are in progress; try again in a minute");
    return bus_ok(json_pack("{s:I}", "ticket", (json_int_t)ticket));
}

static json_t *unknown_ticket(void)
{
    return bus_error("notfound", "nothing is known of that ticket any more; ask again");
}

static int64_t ticket_of(const json_t *request)
{
    return json_integer_value(json_object_get(request, "ticket"));
}

static json_t *answer_probe_report(struct daemon *d, const json_t *request)
{
    json_t *report = probe_report(fetcherd_of(d)->probes, ticket_of(request));
    return report ? bus_ok(report) : unknown_ticket();
}

static json_t *answer_probe_items(struct daemon *d, const json_t *request)
{
    const char *after = json_string_value(json_object_get(request, "after"));
    size_t from = after ? strtoul(after, NULL, 10) : 0;
    json_t *page = probe_items(fetcherd_of(d)->probes, ticket_of(request), from);
    return page ? page : unknown_ticket();
}

const struct daemon_request control_requests[] = {
    {.cmd = "init", .answer = answer_pubkey},
    {.cmd = "pubkey", .answer = answer_pubkey},
    {.cmd = "status", .answer = answer_status},
    {.cmd = "account.add", .answer = answer_add, .writes = true},
    {.cmd = "account.set", .answer = answer_set, .writes = true},
    {.cmd = "account.list", .answer = answer_list},
    {.cmd = "account.show", .answer = answer_show},
    {.cmd = "account.enable", .answer = answer_enable, .writes = true},
    {.cmd = "account.disable", .answer = answer_disable, .writes = true},
    {.cmd = "account.remove", .answer = answer_remove, .writes = true},
    {.cmd = "fetch", .answer = answer_fetch, .needs_loop = true, .writes = true},
    {.cmd = "probe", .answer = answer_probe, .needs_loop = true},
    {.cmd = "probe.report", .answer = answer_probe_report, .needs_loop = true},
    {.cmd = "probe.items", .answer = answer_probe_items, .needs_loop = true},
    {.cmd = NULL},
};
