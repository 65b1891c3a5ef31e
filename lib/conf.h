/* The configuration file, read by libconfuse and checked: an unknown key, a value of the wrong form
 * or out of its range is refused with file, line, and what was expected. One file serves all
 * programs. */
#ifndef LIB_CONF_H
#define LIB_CONF_H

#include "lib/error.h"
#include <stddef.h>
#include <stdint.h>

#define CONF_DEFAULT_FILE "/etc/popferry/popferry.conf"

enum conf_delete {
    CONF_DELETE_DELIVERED,
    CONF_DELETE_SPOOLED,
    CONF_DELETE_NEVER,
    CONF_DELETE_AFTER
};
enum conf_sender { CONF_SENDER_NULL, CONF_SENDER_BADMAIL };
enum conf_tls { CONF_TLS_NONE, CONF_TLS_STARTTLS, CONF_TLS_IMPLICIT };
/* By which extension the SMTP server is told of the client that a message came from. */
enum conf_client { CONF_CLIENT_NONE, CONF_CLIENT_XCLIENT, CONF_CLIENT_XFORWARD };
enum conf_filter_error { CONF_FILTER_DEFER, CONF_FILTER_PASS, CONF_FILTER_BADMAIL };
enum conf_spam { CONF_SPAM_BADMAIL, CONF_SPAM_MARK };
/* What becomes of a message that breaks a rule of form. */
enum conf_rule { CONF_RULE_PASS, CONF_RULE_BADMAIL, CONF_RULE_REPAIR };

/* A content filter. */
struct conf_filter {
    char *server; /* see conf_server; "": none */
    int64_t timeout;
    int sessions;
    uint64_t size; /* larger messages are not shown to it */
};

#define CONF_HOST_SIZE 256

/* Durations are milliseconds, sizes bytes; strings belong to the struct and are never NULL. */
struct conf {
    unsigned owners; /* of conf_share, beside the first */
    char *file;
    char *spool_dir;
    char *state_dir;
    char *run_dir;
    char *default_domain;
    struct {
        int64_t interval;
        int sessions;
        int messages_per_session;
        uint64_t message_size; /* 0: auto */
        enum conf_delete delete;
        int64_t delete_after; /* with CONF_DELETE_AFTER */
        char *received_by;    /* see client_find; names with blanks between, or "" */
        int64_t connect_timeout;
        int64_t timeout;
    } fetch;
    struct {
        enum conf_sender bad_sender;
        enum conf_rule no_header, long_header, too_large, nul;
        struct conf_filter rspamd, clamd, spamd;
        enum conf_spam spamd_spam;
        enum conf_filter_error on_filter_error;
        int64_t filter_expire;
        int64_t badmail_keep;
        char *reviewer; /* who gets the digest by mail; "": nobody */
    } hygiene;
    struct {
        char *protocol; /* "smtp" or "lmtp" */
        char *host;     /* one that begins with "/" is a Unix socket, for LMTP */
        int port;
        enum conf_tls tls;
        char *ca;   /* file; "": the system's authorities */
        char *pin;  /* "": none; else one that tls_pin_parse takes */
        char *user; /* "": no login */
        char *auth; /* "auto", or a way's name */
        enum conf_client client;
        int sessions;
        int queue_limit; /* files in outgoing/ above which nothing is fetched; 0: none */
        int64_t retry_min;
        int64_t retry_max;
        int64_t expire;
        int session_errors;
    } relay;
};

/* Reads and checks FILE. The caller owns the result. */
MUST_CHECK struct conf *conf_load(const char *file, struct error *err);
/* For who needs it as it is now, also behind a reload; to be given to conf_free. */
struct conf *conf_share(struct conf *conf);
/* It goes with its last owner. NULL is fine. */
void conf_free(struct conf *conf);

/* The keys there are, each as "section.key", or "key" at the top level; false: there is no i-th. */
MUST_CHECK bool conf_key(size_t i, char *buf, size_t size);
/* The text of a commented file with every default, for `popferryctl init`. */
extern const char conf_default_text[];

/* "none", "starttls", "implicit". */
const char *conf_tls_name(enum conf_tls tls);
/* The other way round; false, and *tls untouched, of any other text. */
MUST_CHECK bool conf_tls_parse(const char *text, enum conf_tls *tls);

/* Host and port of "host", "host:port" or "[address]:port", also behind "http://"; port 0: none is
 * named. A path ("/...") is a Unix socket's. False of any other text. */
MUST_CHECK bool conf_server(const char *text, char host[static CONF_HOST_SIZE], int *port);

/* "90s", "15m", "24h", "30d", "500ms": a whole number and one unit. For options as well as for the
 * file. */
MUST_CHECK bool conf_duration(const char *text, int64_t *ms);
/* "10M", "512K", "2G", or a plain number of bytes. */
MUST_CHECK bool conf_size(const char *text, uint64_t *bytes);

#endif
