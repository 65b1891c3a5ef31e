/* See advice.h. */
#include "relayd/advice.h"

#include "lib/log.h"
#include "relayd/auth.h"

void advice_on_login(const struct conf *conf, const struct login *login)
{
    struct error err;
    if (!login_ready(login, &err))
        LOG(LOG_ALARM, "relay-no-password", KV("error", err.text));
    if (login_unused(login))
        LOG(LOG_WARN, "relay-password-unused",
            KV("error", "a password is kept, but relay.user is empty: nobody logs in"));
    if (conf->relay.user[0] != '\0' && auth_named_clear(conf->relay.auth) &&
        conf->relay.tls == CONF_TLS_NONE && conf->relay.host[0] != '/')
        LOG(LOG_WARN, "password-in-clear", KV("server", conf->relay.host),
            KV("by", conf->relay.auth));
}

const char *advice_on_client(const struct conf *conf, const struct smtp_extensions *offers)
{
    switch (conf->relay.client) {
    case CONF_CLIENT_XCLIENT:
        return smtp_extensions_has(offers, SMTP_EXT_XCLIENT)
                   ? NULL
                   : "relay.client is xclient, but the server does not offer XCLIENT to us: it "
                     "takes us for the client (Postfix: smtpd_authorized_xclient_hosts)";
    case CONF_CLIENT_XFORWARD:
        return smtp_extensions_has(offers, SMTP_EXT_XFORWARD)
                   ? NULL
                   : "relay.client is xforward, but the server does not offer XFORWARD to us: it "
                     "takes us for the client (Postfix: smtpd_authorized_xforward_hosts)";
    default:
        return NULL;
    }
}
