/* The look at the server. Promises: it ends, within two minutes; nothing of it counts for the
 * route, but that a server which lets us in is tried at once. */
#include "relayd/probe.h"

#include "lib/clock.h"
#include "lib/log.h"
#include "lib/tls_report.h"
#include "relayd/advice.h"
#include "relayd/session.h"

#include <stdlib.h>
#include <string.h>

#define DEADLINE (2 * CLOCK_MINUTE)

struct probe {
    struct relay *relay;
    struct session *session;
    struct event *timer; /* the deadline; once it is over, to free the session */
    json_t *result;      /* grows as it goes */
    json_t *warnings;
    bool ready, over;
};

static json_t *safe_string(const char *text)
{
    char safe[1024];
    return json_string(log_escape(safe, sizeof safe, text, strlen(text)));
}

static void arm(struct probe *probe, int64_t ms)
{
    struct timeval wait = {ms / 1000, ms % 1000 * 1000};
    (void)evtimer_add(probe->timer, &wait);
}

static json_t *offers_json(const struct smtp_extensions *offers)
{
    json_t *list = json_array();
    for (unsigned i = 0; i < SMTP_EXTENSIONS; i++) {
        enum smtp_extension extension = (enum smtp_extension)i;
        const char *name = smtp_extension_name(extension);
        if (!smtp_extensions_has(offers, extension))
            continue;
        if (extension == SMTP_EXT_SIZE && offers->size_limit > 0)
            (void)json_array_append_new(
                list, json_sprintf("%s %llu", name, (unsigned long long)offers->size_limit));
        else if (extension == SMTP_EXT_AUTH)
            (void)json_array_append_new(list, json_sprintf("%s %s", name, offers->auth));
        else
            (void)json_array_append_new(list, json_string(name));
    }
    return list;
}

static void warn(struct probe *probe, const char *text)
{
    (void)json_array_append_new(probe->warnings, json_string(text));
}

static void report_connection(struct probe *probe)
{
    struct session *session = probe->session;
    const struct conf *conf = probe->relay->d->conf;
    struct tls_facts facts;
    (void)json_object_set_new(probe->result, "address", json_string(session_address(session)));
    (void)json_object_set_new(probe->result, "capabilities", offers_json(session_offers(session)));
    (void)json_object_set_new(probe->result, "method", json_string(session_method(session)));
    if (session_tls_facts(session, &facts) && tls_report(probe->result, &facts))
        warn(probe, "the certificate will expire within two weeks");
    const char *advice = probe->ready ? advice_on_client(conf, session_offers(session)) : NULL;
    if (advice)
        warn(probe, advice);
    if (conf->relay.tls == CONF_TLS_NONE && conf->relay.host[0] != '/')
        warn(probe, "without TLS, mail goes over the line in clear text");
}

/* Only the first end counts. */
static void end(struct probe *probe, const char *step, const char *error)
{
    if (probe->over)
        return;
    probe->over = true;
    if (probe->session)
        report_connection(probe);
    (void)json_object_set_new(probe->result, "ok", json_boolean(!error));
    (void)json_object_set_new(probe->result, "step", error ? json_string(step) : json_null());
    (void)json_object_set_new(probe->result, "error", error ? safe_string(error) : json_null());
    arm(probe, 0);
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct probe *probe = arg;
    (void)fd;
    (void)what;
    if (!probe->over)
        end(probe, session_stage(probe->session), "it does not come to an end within 2 minutes");
    session_free(probe->session);
    probe->session = NULL;
    (void)evtimer_del(probe->timer);
}

static void on_ready(void *arg, struct session *session)
{
    struct probe *probe = arg;
    if (probe->ready)
        return;
    probe->ready = true;
    route_retry(&probe->relay->route);
    relay_work(probe->relay);
    session_quit(session);
}

static void on_ended(void *arg, struct session *session, enum smtp_close how, const char *text)
{
    struct probe *probe = arg;
    (void)how;
    end(probe, session_stage(session), probe->ready ? NULL : text);
}

static char *on_secret(void *arg, struct error *err)
{
    const struct probe *probe = arg;
    return login_secret(probe->relay->login, err);
}

void probe_free(struct probe *probe)
{
    if (!probe)
        return;
    session_free(probe->session);
    event_free(probe->timer);
    json_decref(probe->warnings);
    json_decref(probe->result);
    free(probe);
}

static void connect_now(struct probe *probe)
{
    struct relay *relay = probe->relay;
    const struct session_owner owner = {
        .secret = on_secret, .ready = on_ready, .ended = on_ended, .arg = probe};
    struct error err;
    if (!login_ready(relay->login, &err)) {
        end(probe, "login", err.text);
        return;
    }
    probe->session =
        session_open(relay->d->base, relay->d->streams, relay->d->conf, relay->helo, &owner);
    arm(probe, DEADLINE);
}

void probe_begin(struct relay *relay)
{
    const struct conf *conf = relay->d->conf;
    struct probe *probe = relay->look;
    if (probe && !probe->over)
        return;
    probe_free(probe);
    relay->look = probe = calloc(1, sizeof *probe);
    if (!probe)
        abort();
    probe->relay = relay;
    probe->timer = evtimer_new(relay->d->base, on_timer, probe);
    if (!probe->timer)
        abort();
    probe->warnings = json_array();
    probe->result = json_pack("{s:s, s:i, s:s, s:o, s:O}", "server", conf->relay.host, "port",
                              conf->relay.port, "tls", conf_tls_name(conf->relay.tls), "user",
                              safe_string(conf->relay.user), "warnings", probe->warnings);
    connect_now(probe);
}

void probe_give_up(struct probe *probe, const char *why)
{
    if (!probe || probe->over)
        return;
    end(probe, session_stage(probe->session), why);
    session_free(probe->session);
    probe->session = NULL;
}

json_t *probe_report(const struct relay *relay)
{
    const struct probe *probe = relay->look;
    if (!probe)
        return bus_error("notfound", "no test of the relay has begun");
    if (!probe->over)
        return bus_ok(json_pack("{s:b}", "done", 0));
    return bus_ok(json_pack("{s:b, s:O}", "done", 1, "result", probe->result));
}
