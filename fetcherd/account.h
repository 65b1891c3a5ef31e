/* An account: one mailbox at one POP3 server, who gets its mail, and how its polling goes.
 *
 * The password is not here: it lies sealed in the ledger and is opened for the moment it is sent.
 */
#ifndef FETCHERD_ACCOUNT_H
#define FETCHERD_ACCOUNT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/conf.h"
#include "lib/error.h"
#include "lib/tls.h"
#include "spool/envelope.h"

enum {
    ACCOUNT_NAME_MAX = 64,
    ACCOUNT_SERVER_MAX = 253,
    ACCOUNT_USER_MAX = 255,
    ACCOUNT_CA_MAX = 1023,
    ACCOUNT_ERROR_MAX = 480,
    ACCOUNT_BAD_PASSWORDS = 3, /* in a row, until the account is paused */
};

struct session;

struct account {
    int64_t key; /* the ledger's number for it; 0 before it is there */

    char name[ACCOUNT_NAME_MAX + 1];
    char server[ACCOUNT_SERVER_MAX + 1];
    int port;
    enum conf_tls tls;
    char ca[ACCOUNT_CA_MAX + 1]; /* file of the authorities to trust; "": the system's */
    char pin[TLS_PIN_TEXT];      /* as in lib/tls.h; "": none */
    char auth[16];               /* one that auth_option_known knows */
    char user[ACCOUNT_USER_MAX + 1];
    struct envelope_list deliver_to;
    int64_t interval; /* ms; 0: the configuration's */
    bool enabled;
    bool baseline_pending; /* the next survey marks all that is there as seen */

    /* How polling goes; kept in the ledger too. Times are ms since the epoch, 0 for never. */
    int64_t last_try, last_ok, next_poll;
    unsigned failures;      /* polls that failed in a row */
    unsigned bad_passwords; /* refusals of the password in a row */
    bool paused;            /* because of them */
    char error[ACCOUNT_ERROR_MAX];
    uint32_t on_server, too_large, stepped_over; /* as the last poll left it */
    uint32_t fetched, deleted;                   /* by the last poll */
    uint64_t round, round_done; /* polls asked for by hand, and those that are done */

    /* Of this process only. */
    struct session *session; /* the poll in progress */
    bool preparing;          /* a poll is about to begin */
    bool removed;            /* free it when the poll has ended */
    bool continued;          /* the last poll left more to fetch: its figures go on */
    uint64_t covers;         /* the round that the poll in progress answers */
    unsigned commits;        /* batches of it that are being synced */
    unsigned moves;          /* how often it came to stand for another mailbox */
    int64_t login_delay;     /* ms that the server wants between logins; 0: none known */
};

/* Takes the fields of a request into *account: those that are named, and with `add` also the
 * defaults of the rest. Each is checked; the error says what was expected. An address without a
 * domain gets default_domain. *account is untouched on failure. */
MUST_CHECK bool account_from_request(struct account *account, const json_t *request, bool add,
                                     const char *default_domain, struct error *err);

/* What a request says of the account, never the secret; a new reference. */
json_t *account_to_json(const struct account *account);

MUST_CHECK bool account_name_valid(const char *name);
/* "disabled", "paused", "polling", "failing", "ok" or "new". */
const char *account_condition(const struct account *account);

/* The accounts of a process, by name. */
struct account_set {
    struct account **items;
    size_t count;
};
struct account *account_set_find(const struct account_set *set, const char *name);
struct account *account_set_by_key(const struct account_set *set, int64_t key);
void account_set_add(struct account_set *set, struct account *account);  /* takes it over */
void account_set_take(struct account_set *set, struct account *account); /* gives it back */
void account_set_free(struct account_set *set);

void account_free(struct account *account);

#endif
