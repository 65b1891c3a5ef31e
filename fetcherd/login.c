/* Promises: no octet of a user name or password goes out before the line is as secure as the
 * account demands; the password is opened when it is needed, and wiped (fetcherd/auth.h). */
#include "fetcherd/login.h"

#include <stdlib.h>

const char login_no_stls[] = "the server does not offer STLS (TLS after connecting)";

void login_init(struct login *login, struct fetcherd *f, const struct account *account)
{
    login->f = f;
    login->account = account;
    auth_init(&login->auth);
}

void login_free(struct login *login)
{
    auth_free(&login->auth);
}

struct stream *login_connect(const struct login *login, stream_fn *fn, void *arg)
{
    const struct conf *conf = fetcherd_conf(login->f);
    const struct account *a = login->account;
    struct stream_peer peer = {.host = a->server,
                               .port = a->port,
                               .tls = a->tls == CONF_TLS_IMPLICIT,
                               .ca = a->ca,
                               .pin = a->pin,
                               .connect_timeout = conf->fetch.connect_timeout,
                               .timeout = conf->fetch.timeout};

    return stream_connect(login->f->daemon->streams, &peer, fn, arg);
}

enum login_next login_capabilities(const struct login *login, const struct stream *stream,
                                   const struct pop3 *core, bool answered)
{
    if (login->account->tls != CONF_TLS_STARTTLS || stream_is_secure(stream))
        return LOGIN_AUTHENTICATE;
    return answered && !(core->capabilities & POP3_CAP_STLS) ? LOGIN_NO_STLS : LOGIN_STLS;
}

static char *open_secret(void *arg, struct error *err)
{
    const struct login *login = arg;
    char *sealed = ledger_account_secret(login->f->ledger, login->account->key);
    char *secret = secret_open(login->f->key, login->account->name, sealed, err);

    free(sealed);
    return secret;
}

enum auth_progress login_begin(struct login *login, const struct stream *stream, struct pop3 *core)
{
    const struct account *a = login->account;
    struct sasl_binding *binding = &login->binding;
    bool bound = stream_binding(stream, &binding->exporter, binding->data, sizeof binding->data,
                                &binding->len);
    struct auth_login with = {.option = a->auth,
                              .account = a->name,
                              .user = a->user,
                              .host = a->server,
                              .port = a->port,
                              .secure = stream_is_secure(stream),
                              .clear_is_ok = a->tls == CONF_TLS_NONE,
                              .binding = bound ? binding : NULL,
                              .secret = open_secret,
                              .arg = login};

    return auth_begin(&login->auth, core, &with);
}
