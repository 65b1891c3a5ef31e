/* Accounts: their fields checked, and shown.
 *
 * Promises: what passes here can be sent to a POP3 server and written in a preface as it is; an
 * account is changed as a whole or not at all; the secret never comes this way. */
#include "fetcherd/account.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fetcherd/auth.h"
#include "lib/clock.h"
#include "lib/tls.h"
#include "spool/address.h"

bool account_name_valid(const char *name)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
    static const char rest[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t len = strlen(name);

    return len >= 1 && len <= ACCOUNT_NAME_MAX && strchr(first, name[0]) &&
           strspn(name, rest) == len;
}

/* --- fields of a request ------------------------------------------------------------------ */

struct reading {
    struct account *account; /* a copy; deliver_to is its own */
    const char *default_domain;
    struct error *err;
};

/* The text of a field; NULL, with the error set, when it is none or holds a NUL. */
static const char *text_of(struct reading *r, const char *field, const json_t *value)
{
    const char *text = json_string_value(value);

    if (!text || strlen(text) != json_string_length(value)) {
        (void)error_set(r->err, ERROR_USAGE, "%s: expected a text", field);
        return NULL;
    }
    return text;
}

static bool read_name(struct reading *r, const json_t *value)
{
    const char *text = text_of(r, "name", value);
    if (!text)
        return false;
    if (!account_name_valid(text))
        return error_set(r->err, ERROR_USAGE,
                         "name: expected 1 to %d letters, digits, \".\", \"_\" or \"-\", beginning "
                         "with a letter or digit",
                         ACCOUNT_NAME_MAX);
    snprintf(r->account->name, sizeof r->account->name, "%s", text);
    return true;
}

static bool read_server(struct reading *r, const json_t *value)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:_";
    const char *text = text_of(r, "server", value);
    if (!text)
        return false;
    size_t len = strlen(text);
    if (len < 1 || len > ACCOUNT_SERVER_MAX || strspn(text, allowed) != len)
        return error_set(r->err, ERROR_USAGE,
                         "server: expected a host name or an address, got \"%s\"", text);
    snprintf(r->account->server, sizeof r->account->server, "%s", text);
    return true;
}

static bool read_port(struct reading *r, const json_t *value)
{
    json_int_t port = json_integer_value(value);
    if (!json_is_integer(value) || port < 1 || port > 65535)
        return error_set(r->err, ERROR_USAGE, "port: expected a number from 1 to 65535");
    r->account->port = (int)port;
    return true;
}

static bool read_tls(struct reading *r, const json_t *value)
{
    const char *text = text_of(r, "tls", value);
    if (!text)
        return false;
    if (conf_tls_parse(text, &r->account->tls))
        return true;
    return error_set(r->err, ERROR_USAGE, "tls: expected implicit, starttls or none, got \"%s\"",
                     text);
}

static bool read_auth(struct reading *r, const json_t *value)
{
    const char *text = text_of(r, "auth", value);
    if (!text)
        return false;
    if (!auth_option_known(text)) {
        char known[200];
        return error_set(r->err, ERROR_USAGE, "auth: expected one of %s; got \"%s\"",
                         auth_options(known, sizeof known), text);
    }
    snprintf(r->account->auth, sizeof r->account->auth, "%s", text);
    return true;
}

/* Whether the file is there is seen when it is used: it may be mended while we run. */
static bool read_ca(struct reading *r, const json_t *value)
{
    const char *text = json_is_null(value) ? "" : text_of(r, "ca", value);
    if (!text)
        return false;
    if (strcmp(text, "default") == 0)
        text = "";
    if (strlen(text) > ACCOUNT_CA_MAX || (text[0] && text[0] != '/') || strpbrk(text, "\r\n"))
        return error_set(r->err, ERROR_USAGE,
                         "ca: expected the full path of a file, or \"default\", got \"%s\"", text);
    snprintf(r->account->ca, sizeof r->account->ca, "%s", text);
    return true;
}

static bool read_pin(struct reading *r, const json_t *value)
{
    unsigned char pin[TLS_PIN_SIZE];
    const char *text = json_is_null(value) ? "" : text_of(r, "pin", value);
    if (!text)
        return false;
    if (text[0] == '\0' || strcmp(text, "none") == 0) {
        r->account->pin[0] = '\0';
        return true;
    }
    if (!tls_pin_parse(text, pin))
        return error_set(
            r->err, ERROR_USAGE,
            "pin: expected sha256: and 64 hexadecimal digits (or base64), or \"none\", "
            "got \"%s\"",
            text);
    (void)tls_pin_text(pin, r->account->pin);
    return true;
}

static bool read_baseline(struct reading *r, const json_t *value)
{
    if (!json_is_boolean(value))
        return error_set(r->err, ERROR_USAGE, "baseline: expected true or false");
    r->account->baseline_pending = json_is_true(value);
    return true;
}

static bool read_user(struct reading *r, const json_t *value)
{
    const char *text = text_of(r, "user", value);
    if (!text)
        return false;
    size_t len = strlen(text);
    if (len < 1 || len > ACCOUNT_USER_MAX || strpbrk(text, "\r\n"))
        return error_set(r->err, ERROR_USAGE, "user: expected 1 to %d octets on one line",
                         ACCOUNT_USER_MAX);
    snprintf(r->account->user, sizeof r->account->user, "%s", text);
    return true;
}

static bool read_address(struct reading *r, const json_t *value)
{
    char address[2 * ADDRESS_MAX];
    const char *text = text_of(r, "deliver-to", value);
    if (!text)
        return false;
    bool bare = !strchr(text, '@') && r->default_domain[0];
    snprintf(address, sizeof address, bare ? "%s@%s" : "%s", text, r->default_domain);
    if (!address_valid(address))
        return error_set(r->err, ERROR_USAGE,
                         "deliver-to: expected an address such as sales@corp.example, got \"%s\"",
                         text);
    if (!envelope_list_add(&r->account->deliver_to, address))
        return error_set(r->err, ERROR_USAGE, "deliver-to: at most %d addresses",
                         ENVELOPE_RECIPIENTS_MAX);
    return true;
}

/* One address, or a list of them; what was there before is replaced. */
static bool read_deliver_to(struct reading *r, const json_t *value)
{
    const json_t *item;
    size_t i;

    envelope_list_free(&r->account->deliver_to);
    r->account->deliver_to = (struct envelope_list){0};
    if (!json_is_array(value))
        return read_address(r, value);
    json_array_foreach(value, i, item)
    {
        if (!read_address(r, item))
            return false;
    }
    return true;
}

/* Milliseconds, or a text such as "15m"; null and "default" are the configuration's. */
static bool read_interval(struct reading *r, const json_t *value)
{
    int64_t ms = json_integer_value(value);
    const char *text = json_string_value(value);

    if (json_is_null(value) || (text && strcmp(text, "default") == 0)) {
        r->account->interval = 0;
        return true;
    }
    bool ok = text ? conf_duration(text, &ms) : json_is_integer(value);
    if (!ok || ms < 5 * CLOCK_MINUTE || ms > 24 * CLOCK_HOUR)
        return error_set(r->err, ERROR_USAGE, "interval: expected 5m to 24h, or \"default\"");
    r->account->interval = ms;
    return true;
}

static bool read_enabled(struct reading *r, const json_t *value)
{
    if (!json_is_boolean(value))
        return error_set(r->err, ERROR_USAGE, "enabled: expected true or false");
    r->account->enabled = json_is_true(value);
    return true;
}

static const struct {
    const char *field;
    bool needed; /* for a new account */
    bool may_be_null;
    bool (*read)(struct reading *r, const json_t *value);
} fields[] = {
    {.field = "name", .needed = true, .read = read_name},
    {.field = "server", .needed = true, .read = read_server},
    {.field = "port", .read = read_port},
    {.field = "tls", .read = read_tls},
    {.field = "ca", .may_be_null = true, .read = read_ca},
    {.field = "pin", .may_be_null = true, .read = read_pin},
    {.field = "auth", .read = read_auth},
    {.field = "user", .needed = true, .read = read_user},
    {.field = "deliver_to", .needed = true, .read = read_deliver_to},
    {.field = "interval", .may_be_null = true, .read = read_interval},
    {.field = "enabled", .read = read_enabled},
    {.field = "baseline", .read = read_baseline},
};

static bool read_fields(struct reading *r, const json_t *request, bool add)
{
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        const json_t *value = json_object_get(request, fields[i].field);
        bool absent = !value || (json_is_null(value) && !fields[i].may_be_null);
        if (absent && add && fields[i].needed)
            return error_set(r->err, ERROR_USAGE, "%s is needed for a new account",
                             fields[i].field);
        if (!absent && !fields[i].read(r, value))
            return false;
    }
    if (r->account->deliver_to.count == 0)
        return error_set(r->err, ERROR_USAGE, "deliver-to: at least one address is needed");
    return true;
}

static int default_port(enum conf_tls tls)
{
    return tls == CONF_TLS_IMPLICIT ? 995 : 110;
}

static bool copy_list(struct envelope_list *to, const struct envelope_list *from)
{
    for (size_t i = 0; i < from->count; i++)
        if (!envelope_list_add(to, from->items[i]))
            return false;
    return true;
}

bool account_from_request(struct account *account, const json_t *request, bool add,
                          const char *default_domain, struct error *err)
{
    struct account copy = *account;
    struct reading r = {.account = &copy, .default_domain = default_domain, .err = err};

    copy.deliver_to = (struct envelope_list){0};
    if (add) {
        copy.tls = CONF_TLS_IMPLICIT;
        copy.port = 0;
        copy.enabled = true;
        snprintf(copy.auth, sizeof copy.auth, "auto");
    }
    if (!copy_list(&copy.deliver_to, &account->deliver_to) || !read_fields(&r, request, add)) {
        envelope_list_free(&copy.deliver_to);
        return false;
    }
    /* A port that nobody chose goes along with the kind of TLS. */
    if (copy.port == 0 || (copy.tls != account->tls && copy.port == account->port &&
                           account->port == default_port(account->tls)))
        copy.port = default_port(copy.tls);
    envelope_list_free(&account->deliver_to);
    *account = copy;
    return true;
}

/* --- showing ------------------------------------------------------------------------------ */

const char *account_condition(const struct account *a)
{
    if (!a->enabled)
        return "disabled";
    if (a->session || a->preparing)
        return "polling";
    if (a->paused)
        return "paused";
    if (a->failures)
        return "failing";
    return a->last_ok ? "ok" : "new";
}

static json_t *time_or_null(int64_t ms)
{
    char text[CLOCK_TEXT_SIZE];
    return ms ? json_string(clock_text(ms, text)) : json_null();
}

static json_t *string_or_lossy(const char *text)
{
    json_t *string = json_string(text);
    return string ? string : json_string("(not UTF-8)");
}

json_t *account_to_json(const struct account *a)
{
    json_t *to = json_array();
    bool will_poll = a->enabled && !a->paused;

    for (size_t i = 0; i < a->deliver_to.count; i++)
        json_array_append_new(to, string_or_lossy(a->deliver_to.items[i]));
    return json_pack(
        "{s:s, s:s, s:i, s:s, s:o, s:o, s:s, s:b, s:o, s:o, s:o, s:b, s:s, s:o, s:o, s:o, s:I, "
        "s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
        "name", a->name, "server", a->server, "port", a->port, "tls", conf_tls_name(a->tls), "ca",
        a->ca[0] ? string_or_lossy(a->ca) : json_null(), "pin",
        a->pin[0] ? json_string(a->pin) : json_null(), "auth", a->auth, "baseline",
        (int)a->baseline_pending, "user", string_or_lossy(a->user), "deliver_to", to, "interval",
        a->interval ? json_integer(a->interval) : json_null(), "enabled", (int)a->enabled, "state",
        account_condition(a), "last_ok", time_or_null(a->last_ok), "last_try",
        time_or_null(a->last_try), "next_poll", time_or_null(will_poll ? a->next_poll : 0),
        "failures", (json_int_t)a->failures, "error", a->error, "on_server",
        (json_int_t)a->on_server, "too_large", (json_int_t)a->too_large, "stepped_over",
        (json_int_t)a->stepped_over, "fetched", (json_int_t)a->fetched, "deleted",
        (json_int_t)a->deleted, "round", (json_int_t)a->round, "round_done",
        (json_int_t)a->round_done);
}

/* --- sets --------------------------------------------------------------------------------- */

/* Where the name is, or would be. */
static size_t position(const struct account_set *set, const char *name)
{
    size_t low = 0, high = set->count;

    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (strcmp(set->items[mid]->name, name) < 0)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

struct account *account_set_find(const struct account_set *set, const char *name)
{
    size_t at = position(set, name);
    return at < set->count && !strcmp(set->items[at]->name, name) ? set->items[at] : NULL;
}

struct account *account_set_by_key(const struct account_set *set, int64_t key)
{
    for (size_t i = 0; i < set->count; i++)
        if (set->items[i]->key == key)
            return set->items[i];
    return NULL;
}

void account_set_add(struct account_set *set, struct account *account)
{
    size_t at = position(set, account->name);
    struct account **items = realloc(set->items, (set->count + 1) * sizeof *items);

    if (!items)
        abort();
    memmove(items + at + 1, items + at, (set->count - at) * sizeof *items);
    items[at] = account;
    set->items = items;
    set->count++;
}

void account_set_take(struct account_set *set, struct account *account)
{
    size_t at = position(set, account->name);

    memmove(set->items + at, set->items + at + 1, (set->count - at - 1) * sizeof *set->items);
    set->count--;
}

void account_set_free(struct account_set *set)
{
    for (size_t i = 0; i < set->count; i++)
        account_free(set->items[i]);
    free(set->items);
    *set = (struct account_set){0};
}

void account_free(struct account *account)
{
    if (!account)
        return;
    envelope_list_free(&account->deliver_to);
    free(account);
}
