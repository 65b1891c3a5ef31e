/* Envelopes out of headers. GMime reads addresses the forgiving way; address.h then lets through
 * only what an SMTP server must accept. */
#include "spool/envelope.h"
#include "spool/header.h"
#include <assert.h>
#include <gmime/gmime.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define VALUE_MAX     (ENVELOPE_HEADER_MAX + 1) /* bytes of one field that are parsed, and a NUL */
#define MAILBOXES_MAX ENVELOPE_RECIPIENTS_MAX   /* of one field that are looked at */
#define GROUP_DEPTH   20

static const char *const source_names[] = {
    [ENVELOPE_NOTHING] = "nothing",   [ENVELOPE_RETURN_PATH] = "Return-Path",
    [ENVELOPE_SENDER] = "Sender",     [ENVELOPE_FROM] = "From",
    [ENVELOPE_REPLY_TO] = "Reply-To",
};
static_assert(sizeof source_names / sizeof source_names[0] == ENVELOPE_SOURCES,
              "a name for each source");

void envelope_init(void)
{
    g_mime_init();
}

const char *envelope_source_name(enum envelope_source source)
{
    return source_names[source];
}

size_t envelope_header_end(const char *bytes, size_t n)
{
    for (size_t at = 0; at < n;) {
        if (bytes[at] == '\n')
            return at + 1;
        if (bytes[at] == '\r' && at + 1 < n && bytes[at + 1] == '\n')
            return at + 2;
        const char *lf = memchr(bytes + at, '\n', n - at);
        if (lf == NULL)
            return 0;
        at = (size_t)(lf - bytes) + 1;
    }
    return 0;
}

/* --- addresses --- */

typedef bool use_address_fn(void *arg, const char *address); /* false: enough */

/* What GMime read, completed by the default domain, in its best form: an international domain goes
 * as punycode, so that SMTPUTF8 is needed for local parts only. False when no valid address comes
 * of it. */
static bool complete(InternetAddressMailbox *mailbox, const char *default_domain,
                     char out[static ADDRESS_MAX + 1])
{
    const char *text = internet_address_mailbox_get_addr(mailbox);
    if (text == NULL || text[0] == '\0')
        return false;
    const char *idn = strchr(text, '@') != NULL && g_utf8_validate(text, -1, NULL)
                          ? internet_address_mailbox_get_idn_addr(mailbox)
                          : NULL;
    return address_complete(idn != NULL ? idn : text, default_domain, out);
}

struct pick {
    const char *default_domain;
    use_address_fn *use;
    void *arg;
    size_t invalid;
    bool enough, unclear; /* the rest of the field is not looked at */
    const char *value;    /* of the field, unfolded */
    size_t found;         /* mailboxes that GMime saw in it, valid or not */
};

/* Whether an address may end here: what GMime goes past in silence behind it is no part of it. */
static bool is_end(const char *at)
{
    at += at[0] == '.'; /* of a domain name in its absolute form */
    at += strspn(at, " ");
    return strchr(",;>(", at[0]) != NULL; /* or at the NUL */
}

/* GMime reads "user@one@two" as user@one, "user@exam ple" as user@exam, and of "a@one b@two" only
 * the first: what was meant can't be told. */
static bool is_cut_from_more(InternetAddressMailbox *mailbox, const char *value)
{
    const char *text = internet_address_mailbox_get_addr(mailbox);
    const char *at = text != NULL && text[0] != '\0' ? strstr(value, text) : NULL;
    if (at == NULL)
        return false; /* it stands there in another form, with comments for one */
    for (; at != NULL; at = strstr(at + 1, text))
        if (is_end(at + strlen(text)))
            return false;
    return true;
}

static void pick_mailbox(struct pick *pick, InternetAddressMailbox *mailbox)
{
    char address[ADDRESS_MAX + 1];
    pick->unclear = pick->found++ == MAILBOXES_MAX || is_cut_from_more(mailbox, pick->value);
    if (!pick->unclear && complete(mailbox, pick->default_domain, address))
        pick->enough = !pick->use(pick->arg, address);
    else
        pick->invalid++;
}

static void pick_from_list(struct pick *pick, InternetAddressList *list, int depth)
{
    for (int i = 0; !pick->enough && !pick->unclear && i < internet_address_list_length(list);
         i++) {
        InternetAddress *one = internet_address_list_get_address(list, i);
        if (!INTERNET_ADDRESS_IS_GROUP(one))
            pick_mailbox(pick, INTERNET_ADDRESS_MAILBOX(one));
        else if (depth < GROUP_DEPTH)
            pick_from_list(pick, internet_address_group_get_members(INTERNET_ADDRESS_GROUP(one)),
                           depth + 1);
    }
}

/* Behind what opens at `at`: a quoted string, a comment, a literal, an angle-addr; or one
 * character. */
static const char *skip_item(const char *at)
{
    static const char opening[] = "\"([<", closing[] = "\")]>";
    const char *kind = strchr(opening, at[0]);
    if (kind == NULL)
        return at + 1;
    char open = at[0], close = closing[kind - opening];
    for (int depth = 1; depth > 0 && *++at != '\0';) {
        if (*at == '\\' && at[1] != '\0')
            at++;
        else if (*at == close)
            depth--;
        else if (*at == open && open == '(')
            depth++;
    }
    return *at != '\0' ? at + 1 : at;
}

/* GMime reads a group within a group by calling itself; RFC 5322 knows no such thing. */
static bool is_too_deep(const char *text)
{
    int depth = 0;
    for (const char *at = text; *at != '\0' && depth <= GROUP_DEPTH; at = skip_item(at)) {
        if (*at == ':')
            depth++;
        else if (*at == ';' && depth > 0)
            depth--;
    }
    return depth > GROUP_DEPTH;
}

static void pick_from_text(struct pick *pick, const char *text)
{
    if (is_too_deep(text))
        return;
    InternetAddressList *list =
        internet_address_list_parse(g_mime_parser_options_get_default(), text);
    if (list == NULL)
        return;
    pick_from_list(pick, list, 0);
    g_object_unref(list);
}

/* How many addresses a field means to name: GMime passes over those it can't read. */
static size_t count_members(const char *value)
{
    size_t members = 0;
    bool within = false;
    for (const char *at = value; *at != '\0'; at = skip_item(at)) {
        if (*at == ',' || *at == ';') {
            members += within;
            within = false;
        } else if (*at == ':') {
            within = false; /* it was a group's name */
        } else if (*at != ' ' && *at != '(') {
            within = true;
        }
    }
    return members + within;
}

static void pick_from_field(struct pick *pick, const struct header_field *field)
{
    char *value = malloc(VALUE_MAX);
    if (value == NULL)
        return;
    pick->value = header_unfold(field, value, VALUE_MAX);
    pick->found = 0;
    pick->unclear = false;
    pick_from_text(pick, value);
    size_t members = pick->enough ? 0 : count_members(value);
    if (members > pick->found)
        pick->invalid += members - pick->found;
    free(value);
}

/* --- reverse-path --- */

static bool take_first(void *arg, const char *address)
{
    memcpy(arg, address, strlen(address) + 1);
    return false;
}

/* "<>", with blanks and comments where RFC 5322 3.6.7 allows them. */
static bool is_null_path(const struct header_field *field)
{
    char value[1000];
    header_unfold(field, value, sizeof value);
    size_t brackets = 0;
    for (const char *at = value; *at != '\0';) {
        if (*at == '(') {
            at = skip_item(at);
            continue;
        }
        if (*at != ' ' && (brackets == 2 || *at != "<>"[brackets++]))
            return false;
        at++;
    }
    return brackets == 2;
}

/* A field that GMime can't read, such as one with brackets in the name: "User [EU] <user@x>". */
static void pick_last_angle(struct pick *pick, const struct header_field *field)
{
    char value[2000];
    header_unfold(field, value, sizeof value);
    char *open = strrchr(value, '<'), *close = open != NULL ? strchr(open, '>') : NULL;
    if (close == NULL || strpbrk(close, "@") != NULL)
        return;
    *close = '\0';
    pick->value = open + 1;
    pick_from_text(pick, open + 1);
}

enum envelope_source envelope_reverse_path(const char *header, size_t len,
                                           const char *default_domain,
                                           char path[static ADDRESS_MAX + 1])
{
    path[0] = '\0';
    for (int source = ENVELOPE_RETURN_PATH; source < ENVELOPE_SOURCES; source++) {
        struct header_walk walk = header_begin(header, len);
        for (struct header_field field; header_next(&walk, &field);) {
            if (!header_is(&field, source_names[source]))
                continue;
            if (source == ENVELOPE_RETURN_PATH && is_null_path(&field))
                return ENVELOPE_RETURN_PATH;
            struct pick pick = {.default_domain = default_domain, .use = take_first, .arg = path};
            pick_from_field(&pick, &field);
            if (pick.found == 0)
                pick_last_angle(&pick, &field);
            if (pick.enough)
                return (enum envelope_source)source;
        }
    }
    return ENVELOPE_NOTHING;
}

/* --- recipients --- */

bool envelope_list_has(const struct envelope_list *list, const char *address)
{
    for (size_t i = 0; i < list->count; i++)
        if (strcmp(list->items[i], address) == 0)
            return true;
    return false;
}

bool envelope_list_add(struct envelope_list *list, const char *address)
{
    if (envelope_list_has(list, address))
        return true;
    if (list->count == ENVELOPE_RECIPIENTS_MAX)
        return false;
    char **items = realloc(list->items, (list->count + 1) * sizeof items[0]);
    char *copy = strdup(address);
    if (items == NULL || copy == NULL)
        abort();
    items[list->count++] = copy;
    list->items = items;
    return true;
}

void envelope_list_free(struct envelope_list *list)
{
    for (size_t i = 0; i < list->count; i++)
        free(list->items[i]);
    free(list->items);
    *list = (struct envelope_list){0};
}

static bool take_recipient(void *arg, const char *address)
{
    return envelope_list_add(arg, address);
}

void envelope_recipients(const char *header, size_t len, const char *default_domain,
                         struct envelope_list *list, size_t *invalid)
{
    struct pick pick = {.default_domain = default_domain, .use = take_recipient, .arg = list};
    struct header_walk walk = header_begin(header, len);
    for (struct header_field field; !pick.enough && header_next(&walk, &field);)
        if (header_is(&field, "To") || header_is(&field, "Cc") || header_is(&field, "Bcc"))
            pick_from_field(&pick, &field);
    *invalid = pick.invalid + (pick.enough ? 1 : 0);
}

/* --- fields for people --- */

char *envelope_field(const char *header, size_t len, const char *name, char *buf, size_t size)
{
    buf[0] = '\0';
    struct header_walk walk = header_begin(header, len);
    for (struct header_field field; header_next(&walk, &field);) {
        if (!header_is(&field, name))
            continue;
        char value[4096];
        header_unfold(&field, value, sizeof value);
        char *decoded = g_mime_utils_header_decode_text(g_mime_parser_options_get_default(), value);
        (void)snprintf(buf, size, "%s", decoded != NULL ? decoded : value);
        g_free(decoded);
        break;
    }
    return buf;
}
