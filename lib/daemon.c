/* A daemon's life: options, configuration, lock and ledger, loop, bus, signals, readiness; and back
 * in reverse order. */
#include "lib/daemon.h"
#include "lib/clock.h"
#include "lib/log.h"
#include "lib/ready.h"
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { SIGNAL_TERM, SIGNAL_INT, SIGNAL_HUP, SIGNALS };

struct run {
    struct daemon d;
    const struct daemon_program *program;
    const char *file;
    int ready_fd;
    bool verbose;
    struct event *signals[SIGNALS];
    struct event *stop_deadline;
};

/* --- requests --- */

static json_t *answer_log(const json_t *request)
{
    const json_t *on = json_object_get(request, "verbose");
    if (!json_is_boolean(on))
        return bus_error("usage", "log needs \"verbose\": true or false");
    log_verbose(json_is_true(on));
    return bus_ok(NULL);
}

static json_t *refuse(const struct daemon *d, const struct daemon_request *request)
{
    if (request->needs_loop && d->once)
        return bus_error("down", "%s is not running", d->name);
    uint64_t wanted = request->writes ? DB_ROOM : request->frees ? DB_ROOM / 16 : 0;
    if (wanted > 0 && db_free_bytes(d->db) < wanted)
        return bus_error("failed",
                         "nothing was changed, because the disk of state-dir is full: make room "
                         "there (df %s), then do it again",
                         d->conf->state_dir);
    return NULL;
}

static json_t *answer(void *arg, const json_t *request)
{
    struct run *run = arg;
    const char *cmd = json_string_value(json_object_get(request, "cmd"));
    if (cmd == NULL)
        return bus_error("usage", "a request needs \"cmd\"");
    if (strcmp(cmd, "ping") == 0)
        return bus_ok(daemon_status(&run->d));
    if (strcmp(cmd, "log") == 0 && !run->d.once)
        return answer_log(request);
    for (const struct daemon_request *r = run->program->requests; r->cmd != NULL; r++) {
        if (strcmp(r->cmd, cmd) != 0)
            continue;
        json_t *refusal = refuse(&run->d, r);
        return refusal ? refusal : r->answer(&run->d, request);
    }
    return bus_error("usage", "%s does not know the request \"%.40s\"", run->d.name, cmd);
}

static int answer_once(struct run *run)
{
    static char text[BUS_MESSAGE_MAX + 1];
    size_t len = fread(text, 1, sizeof text, stdin);
    json_t *request = len <= BUS_MESSAGE_MAX ? json_loadb(text, len, 0, NULL) : NULL;
    json_t *reply =
        json_is_object(request)
            ? answer(run, request)
            : bus_error("usage", "expected one JSON object of at most %d bytes", BUS_MESSAGE_MAX);
    bool ok =
        json_dumpf(reply, stdout, JSON_COMPACT) == 0 && putchar('\n') != EOF && fflush(stdout) == 0;
    json_decref(reply);
    json_decref(request);
    return ok ? 0 : 1;
}

json_t *daemon_status(const struct daemon *d)
{
    char since[CLOCK_TEXT_SIZE];
    return json_pack("{s:b, s:i, s:s, s:s}", "up", !d->once, "pid", (int)getpid(), "version",
                     POPFERRY_VERSION, "since", clock_text(d->since, since));
}

/* --- signals and the end --- */

void daemon_stopped(struct daemon *d)
{
    (void)event_base_loopexit(d->base, NULL);
}

static void on_stop_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct run *run = arg;
    LOG(LOG_WARN, "stop-overdue",
        KV("meaning", "work in flight was abandoned; it is done again after the start"));
    daemon_stopped(&run->d);
}

static void on_stop(evutil_socket_t number, short what, void *arg)
{
    (void)what;
    struct run *run = arg;
    if (run->d.stopping) { /* asked twice */
        daemon_stopped(&run->d);
        return;
    }
    run->d.stopping = true;
    ready_stopping();
    LOG(LOG_NOTE, "stopping", KVN("signal", number));
    struct timeval wait = {DAEMON_STOP_DEADLINE / 1000, 0};
    (void)evtimer_add(run->stop_deadline, &wait);
    if (run->program->stop != NULL)
        run->program->stop(&run->d);
    else
        daemon_stopped(&run->d);
}

static void on_reload(evutil_socket_t number, short what, void *arg)
{
    (void)number;
    (void)what;
    struct run *run = arg;
    struct error err;
    struct conf *fresh = conf_load(run->file, &err);
    if (fresh == NULL) {
        LOG(LOG_ALARM, "reload-refused", KV("error", err.text),
            KV("meaning", "the old configuration stays in force"));
        return;
    }
    struct conf *old = run->d.conf;
    if (strcmp(old->spool_dir, fresh->spool_dir) != 0 ||
        strcmp(old->state_dir, fresh->state_dir) != 0 ||
        strcmp(old->run_dir, fresh->run_dir) != 0) {
        LOG(LOG_ALARM, "reload-refused",
            KV("error", "spool-dir, state-dir and run-dir change with a restart only"),
            KV("meaning", "the old configuration stays in force"));
        conf_free(fresh);
        return;
    }
    run->d.conf = fresh;
    if (run->program->reload != NULL)
        run->program->reload(&run->d);
    conf_free(old);
    LOG(LOG_NOTE, "reloaded", KV("file", run->file));
}

static void catch_signals(struct run *run)
{
    static const struct {
        int number;
        event_callback_fn fn;
    } caught[SIGNALS] = {
        [SIGNAL_TERM] = {SIGTERM, on_stop},
        [SIGNAL_INT] = {SIGINT, on_stop},
        [SIGNAL_HUP] = {SIGHUP, on_reload},
    };
    (void)signal(SIGPIPE, SIG_IGN);
    for (int i = 0; i < SIGNALS; i++) {
        /* libevent puts back what was there before: a second signal must not cut the end short. */
        (void)signal(caught[i].number, SIG_IGN);
        run->signals[i] = evsignal_new(run->d.base, caught[i].number, caught[i].fn, run);
        (void)event_add(run->signals[i], NULL);
    }
    run->stop_deadline = evtimer_new(run->d.base, on_stop_deadline, run);
}

/* --- start and end --- */

static bool open_ledger(struct run *run, struct error *err)
{
    struct daemon *d = &run->d;
    d->db = db_open(d->conf->state_dir, d->name, run->program->migrations, err);
    return d->db != NULL && run->program->open(d, err);
}

static bool go_up(struct run *run, struct error *err)
{
    struct daemon *d = &run->d;
    d->base = event_base_new();
    if (d->base == NULL)
        return error_set(err, ERROR_TEMPORARY, "cannot make an event loop");
    catch_signals(run);
    d->streams = stream_context_new(d->base, err);
    if (d->streams == NULL)
        return false;
    d->bus = bus_open(d->base, d->conf->run_dir, d->name, answer, run, err);
    return d->bus != NULL && run->program->start(d, err);
}

static void go_down(struct run *run)
{
    struct daemon *d = &run->d;
    if (d->state != NULL)
        run->program->close(d);
    bus_free(d->bus);
    stream_context_free(d->streams);
    for (int i = 0; i < SIGNALS; i++)
        if (run->signals[i] != NULL)
            event_free(run->signals[i]);
    if (run->stop_deadline != NULL)
        event_free(run->stop_deadline);
    if (d->base != NULL)
        event_base_free(d->base);
    db_close(d->db);
    conf_free(d->conf);
}

/* In one field, since popferryctl shows a person that one alone. */
static int cannot_start(const struct run *run, const struct error *err)
{
    char text[1024];
    bool damaged = err->kind == ERROR_DAMAGED;
    (void)snprintf(text, sizeof text, "%s%s%s", err->text,
                   damaged ? "; what is lost by that: " : "", damaged ? run->program->lost : "");
    LOG(LOG_ALARM, "cannot-start", KV("error", text));
    return damaged || err->kind == ERROR_TEMPORARY ? DB_EXIT_FAILED : 1;
}

static int live(struct run *run)
{
    struct error err = {.text = ""};
    struct daemon *d = &run->d;
    bool ok = open_ledger(run, &err);
    int code = 0;
    if (ok && d->once) {
        code = answer_once(run);
    } else if (ok && go_up(run, &err)) {
        ready_up(run->ready_fd);
        LOG(LOG_NOTE, "started", KV("version", POPFERRY_VERSION), KV("conf", run->file),
            KVN("pid", getpid()));
        (void)event_base_dispatch(d->base);
        LOG(LOG_NOTE, "stopped");
    } else {
        code = cannot_start(run, &err);
    }
    go_down(run);
    return code;
}

static void help(const struct daemon_program *program)
{
    printf("%s: %s\n\n"
           "usage: %s [-c FILE] [-v] [-d FD] | -1 | -V | -h\n\n"
           "  -c FILE  configuration (default %s)\n"
           "  -v       log details too\n"
           "  -d FD    write a newline to descriptor FD once ready (s6); sd_notify is done\n"
           "           where systemd asks for it\n"
           "  -1       answer one JSON request from standard input, without running\n"
           "           (popferryctl uses it)\n"
           "  -V       version\n"
           "  -h       this help\n\n"
           "It stays in the foreground, logs to standard error, stops in order on SIGTERM\n"
           "and reads its configuration again on SIGHUP. Run it under systemd, s6, runit or\n"
           "supervisord. See %s(8).\n",
           program->name, program->summary, program->name, CONF_DEFAULT_FILE, program->name);
}

static bool parse_fd(const char *text, int *fd)
{
    char *end;
    long n = strtol(text, &end, 10);
    if (end == text || *end != '\0' || n < 0 || n > 1023)
        return false;
    *fd = (int)n;
    return true;
}

/* True: go on. False: *code is the exit code. */
static bool parse_options(struct run *run, int argc, char **argv, int *code)
{
    static const struct option names[] = {
        {"help", no_argument, NULL, 'h'}, {"version", no_argument, NULL, 'V'}, {0}};
    *code = 0;
    for (int option; (option = getopt_long(argc, argv, "+c:vVhd:1", names, NULL)) != -1;) {
        switch (option) {
        case 'c':
            run->file = optarg;
            break;
        case 'v':
            run->verbose = true;
            break;
        case '1':
            run->d.once = true;
            break;
        case 'd':
            if (parse_fd(optarg, &run->ready_fd))
                break;
            fprintf(stderr, "%s: -d %s: expected the number of an open descriptor\n", run->d.name,
                    optarg);
            *code = 2;
            return false;
        case 'V':
            printf("%s (popferry) %s\n", run->d.name, POPFERRY_VERSION);
            return false;
        case 'h':
            help(run->program);
            return false;
        default:
            fprintf(stderr, "try: %s -h\n", run->d.name);
            *code = 2;
            return false;
        }
    }
    if (optind == argc)
        return true;
    fprintf(stderr, "%s: unexpected \"%s\"; try: %s -h\n", run->d.name, argv[optind], run->d.name);
    *code = 2;
    return false;
}

int daemon_main(int argc, char **argv, const struct daemon_program *program)
{
    struct run run = {.program = program,
                      .file = CONF_DEFAULT_FILE,
                      .ready_fd = -1,
                      .d = {.name = program->name, .since = clock_now()}};
    int code;
    if (!parse_options(&run, argc, argv, &code))
        return code;
    log_open(program->name);
    log_verbose(run.verbose);
    (void)umask(0027);
    struct error err;
    run.d.conf = conf_load(run.file, &err);
    if (run.d.conf == NULL) {
        LOG(LOG_ALARM, "cannot-start", KV("error", err.text));
        return 1;
    }
    return live(&run);
}
