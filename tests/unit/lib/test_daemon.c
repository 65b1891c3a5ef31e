/* A daemon's life, in children: options, start and refusal, readiness, requests over the bus and
 * with -1, signals, and an end in order. */
#include "lib/clock.h"
#include "lib/daemon.h"
#include "lib/log.h"
#include "tests/unit/cmocka_all.h"
#include "tests/unit/scratch.h"
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/un.h>

/* --- a daemon that does hardly anything --- */

static struct {
    bool refuse_open, refuse_start, never_stops;
} wish;

static bool unit_open(struct daemon *d, struct error *err)
{
    if (wish.refuse_open)
        return error_set(err, ERROR_PERMANENT, "open refused on demand");
    d->state = d;
    db_run(d->db, "INSERT INTO starts (once) VALUES (?1)", DB_INT(d->once));
    return true;
}

static bool unit_start(struct daemon *d, struct error *err)
{
    bool ready = d->bus != NULL && d->streams != NULL && d->base != NULL && !d->once;
    return (ready && !wish.refuse_start) ||
           error_set(err, ERROR_PERMANENT, "start refused on demand");
}

static void unit_reload(struct daemon *d)
{
    LOG(LOG_NOTE, "unit-reload", KV("domain", d->conf->default_domain));
}

static void unit_stop(struct daemon *d)
{
    LOG(LOG_NOTE, "unit-stop");
    if (!wish.never_stops)
        daemon_stopped(d);
}

static void unit_close(struct daemon *d)
{
    (void)d;
    LOG(LOG_NOTE, "unit-close");
}

static json_t *starts(struct daemon *d, const json_t *request)
{
    (void)request;
    sqlite3_stmt *st = db_query(d->db, "SELECT count(*) FROM starts");
    (void)db_row(d->db, st);
    int n = (int)db_column_int(st, 0);
    db_done(st);
    return bus_ok(json_pack("{s:i, s:b}", "n", n, "once", d->once));
}

static json_t *domain(struct daemon *d, const json_t *request)
{
    (void)request;
    return bus_ok(json_pack("{s:s}", "domain", d->conf->default_domain));
}

static const char *const migrations[] = {"CREATE TABLE starts (once INTEGER)", NULL};
static const struct daemon_request requests[] = {
    {.cmd = "starts", .answer = starts},
    {.cmd = "domain", .answer = domain, .needs_loop = true},
    {.cmd = NULL},
};
static const struct daemon_program program = {.name = "unit",
                                              .summary = "a daemon for tests",
                                              .migrations = migrations,
                                              .requests = requests,
                                              .open = unit_open,
                                              .start = unit_start,
                                              .reload = unit_reload,
                                              .stop = unit_stop,
                                              .close = unit_close};

/* --- running it --- */

static void write_conf(struct scratch *s, const char *more)
{
    char text[1000];
    int n =
        snprintf(text, sizeof text,
                 "spool-dir = \"%s/spool\"\nstate-dir = \"%s/state\"\nrun-dir = \"%s/run\"\n%s\n",
                 s->dir, s->dir, s->dir, more);
    (void)scratch_write(s, "unit.conf", text, (size_t)n, 0600);
}

static int begin(void **state)
{
    memset(&wish, 0, sizeof wish);
    if (scratch_make(state) != 0)
        return -1;
    struct scratch *s = *state;
    write_conf(s, "default-domain = \"one.example\"");
    return mkdir(scratch_path(s, "state"), 0700) + mkdir(scratch_path(s, "run"), 0700);
}

/* Starts it with these options; standard input, output and error are the files "in", "out" and
 * "stderr". */
static pid_t start(struct scratch *s, const char *const options[])
{
    char *argv[12] = {strdup("unit")};
    int argc = 1;
    for (; options[argc - 1] != NULL; argc++)
        argv[argc] = strdup(strcmp(options[argc - 1], "CONF") == 0 ? scratch_path(s, "unit.conf")
                                                                   : options[argc - 1]);
    if (access(scratch_path(s, "in"), F_OK) < 0)
        (void)scratch_write(s, "in", "", 0, 0600);
    (void)fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) {
        scratch_catch(s);
        (void)!freopen(scratch_path(s, "in"), "r", stdin);
        (void)!freopen(scratch_path(s, "out"), "w", stdout);
        int code = daemon_main(argc, argv, &program);
        (void)fflush(NULL);
        _exit(code);
    }
    for (int i = 0; i < argc; i++)
        free(argv[i]);
    return pid;
}

#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, NULL})

static int run(struct scratch *s, const char *const options[])
{
    return exit_code(start(s, options));
}

static bool logged(struct scratch *s, const char *words)
{
    if (access(scratch_path(s, "stderr"), F_OK) < 0)
        return false;
    char *log = scratch_read(s, "stderr", NULL);
    bool found = strstr(log, words) != NULL;
    free(log);
    return found;
}

static void wait_logged(struct scratch *s, const char *words)
{
    for (int i = 0; i < 1000; i++) {
        if (logged(s, words))
            return;
        (void)usleep(10000);
    }
    fail_msg("\"%s\" was never logged", words);
}

static void assert_output(struct scratch *s, const char *words)
{
    char *out = scratch_read(s, "out", NULL);
    if (strstr(out, words) == NULL)
        fail_msg("wanted %s in: %s", words, out);
    free(out);
}

static json_t *ask(struct scratch *s, json_t *request)
{
    struct error err = {0};
    struct bus_caller *caller = bus_caller_new(scratch_path(s, "run"));
    json_t *reply = bus_call(caller, "unit", request, 5000, &err);
    bus_caller_free(caller);
    if (reply == NULL)
        fail_msg("%s", err.text);
    return reply;
}

static pid_t start_up(struct scratch *s)
{
    pid_t pid = start(s, OPTIONS("-c", "CONF"));
    wait_logged(s, "note started version=");
    return pid;
}

static void stop(pid_t pid)
{
    assert_int_equal(kill(pid, SIGTERM), 0);
    assert_int_equal(exit_code(pid), 0);
}

/* --- options --- */

static void test_options(void **state)
{
    struct scratch *s = *state;
    assert_int_equal(run(s, OPTIONS("-V")), 0);
    assert_output(s, "unit (popferry) ");
    assert_int_equal(run(s, OPTIONS("--version")), 0);
    assert_int_equal(run(s, OPTIONS("-h")), 0);
    assert_output(s, "a daemon for tests");
    assert_output(s, CONF_DEFAULT_FILE);
    assert_int_equal(run(s, OPTIONS("--help")), 0);
    assert_int_equal(run(s, OPTIONS("-x")), 2);
    assert_int_equal(run(s, OPTIONS("-c")), 2);
    assert_int_equal(run(s, OPTIONS("extra")), 2);
    assert_int_equal(run(s, OPTIONS("-c", "CONF", "extra")), 2);
    static const char *const fds[] = {"", "x", "-1", "1024", "3x", "99999999999999999999"};
    for (size_t i = 0; i < COUNT(fds); i++)
        assert_int_equal(run(s, OPTIONS("-d", fds[i])), 2);
}

static void test_bad_configuration(void **state)
{
    struct scratch *s = *state;
    assert_int_equal(run(s, OPTIONS("-c", "/nonexistent/popferry.conf")), 1);
    assert_true(logged(s, "alarm cannot-start error="));
    write_conf(s, "nonsense = 1");
    assert_int_equal(run(s, OPTIONS("-c", "CONF")), 1);
    assert_true(logged(s, "unit.conf:4: no such option"));
}

static void test_cannot_start(void **state)
{
    struct scratch *s = *state;
    wish.refuse_open = true;
    assert_int_equal(run(s, OPTIONS("-c", "CONF")), 1);
    assert_true(logged(s, "open refused on demand"));
    assert_false(logged(s, "unit-close"));
    wish.refuse_open = false;
    wish.refuse_start = true;
    assert_int_equal(run(s, OPTIONS("-c", "CONF")), 1);
    assert_true(logged(s, "start refused on demand"));
    assert_true(logged(s, "unit-close"));
    wish.refuse_start = false;
    assert_int_equal(rename(scratch_path(s, "state"), scratch_path(s, "away")), 0);
    assert_int_equal(run(s, OPTIONS("-c", "CONF")), 1);
    assert_true(logged(s, "unit.lock"));
    assert_int_equal(rename(scratch_path(s, "away"), scratch_path(s, "state")), 0);
    assert_int_equal(rename(scratch_path(s, "run"), scratch_path(s, "away")), 0);
    assert_int_equal(run(s, OPTIONS("-c", "CONF")), 1);
    assert_true(logged(s, "does the run directory exist"));
    assert_int_equal(rename(scratch_path(s, "away"), scratch_path(s, "run")), 0);
    stop(start_up(s));
}

/* --- readiness --- */

static void test_readiness_descriptor(void **state)
{
    struct scratch *s = *state;
    int fds[2];
    char text[8] = "", number[12];
    assert_int_equal(pipe(fds), 0);
    (void)snprintf(number, sizeof number, "%d", fds[1]);
    pid_t pid = start(s, OPTIONS("-c", "CONF", "-d", number));
    (void)close(fds[1]);
    assert_int_equal(read(fds[0], text, sizeof text), 1);
    assert_int_equal(text[0], '\n');
    json_decref(ask(s, json_pack("{s:s}", "cmd", "ping"))); /* by now it answers */
    assert_int_equal(read(fds[0], text, sizeof text), 0);   /* and the descriptor is closed */
    (void)close(fds[0]);
    stop(pid);
}

static void test_no_readiness_without_start(void **state)
{
    struct scratch *s = *state;
    int fds[2];
    char text[8], number[12];
    wish.refuse_start = true;
    assert_int_equal(pipe(fds), 0);
    (void)snprintf(number, sizeof number, "%d", fds[1]);
    assert_int_equal(run(s, OPTIONS("-c", "CONF", "-d", number)), 1);
    (void)close(fds[1]);
    assert_int_equal(read(fds[0], text, sizeof text), 0);
    (void)close(fds[0]);
}

static void notify(struct scratch *s, const char *path, bool abstract)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char text[64] = "", where[120];
    (void)snprintf(address.sun_path + abstract, sizeof address.sun_path - 1, "%s", path);
    socklen_t len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + abstract + strlen(path));
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    struct timeval limit = {10, 0};
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, len), 0);
    (void)snprintf(where, sizeof where, "%s%s", abstract ? "@" : "", path);
    (void)setenv("NOTIFY_SOCKET", where, 1);
    pid_t pid = start(s, OPTIONS("-c", "CONF"));
    (void)unsetenv("NOTIFY_SOCKET");
    assert_true(recv(fd, text, sizeof text - 1, 0) > 0);
    assert_string_equal(text, "READY=1");
    memset(text, 0, sizeof text);
    stop(pid);
    assert_true(recv(fd, text, sizeof text - 1, 0) > 0);
    assert_string_equal(text, "STOPPING=1");
    (void)close(fd);
}

static void test_sd_notify(void **state)
{
    struct scratch *s = *state;
    notify(s, scratch_path(s, "notify"), false);
    char name[64];
    (void)snprintf(name, sizeof name, "popferry-unit-%ld", (long)getpid());
    notify(s, name, true);
    static const char *const nonsense[] = {"", "relative", "/nonexistent/socket"};
    for (size_t i = 0; i < COUNT(nonsense); i++) {
        (void)setenv("NOTIFY_SOCKET", nonsense[i], 1);
        assert_int_equal(truncate(scratch_path(s, "stderr"), 0), 0);
        pid_t pid = start_up(s);
        (void)unsetenv("NOTIFY_SOCKET");
        stop(pid);
    }
}

/* --- requests --- */

static void assert_refused(struct scratch *s, json_t *request, const char *code)
{
    json_t *reply = ask(s, request);
    assert_true(json_is_false(json_object_get(reply, "ok")));
    assert_string_equal(json_string_value(json_object_get(reply, "code")), code);
    json_decref(reply);
}

static void test_requests(void **state)
{
    struct scratch *s = *state;
    pid_t pid = start_up(s);
    json_t *reply = ask(s, json_pack("{s:s}", "cmd", "ping"));
    assert_true(json_is_true(json_object_get(reply, "ok")));
    assert_true(json_is_true(json_object_get(reply, "up")));
    assert_int_equal(json_integer_value(json_object_get(reply, "pid")), pid);
    assert_string_equal(json_string_value(json_object_get(reply, "version")), POPFERRY_VERSION);
    assert_int_equal(strlen(json_string_value(json_object_get(reply, "since"))), 20);
    json_decref(reply);
    reply = ask(s, json_pack("{s:s}", "cmd", "starts"));
    assert_int_equal(json_integer_value(json_object_get(reply, "n")), 1);
    assert_true(json_is_false(json_object_get(reply, "once")));
    json_decref(reply);
    assert_refused(s, json_pack("{s:s}", "cmd", "nonsense"), "usage");
    assert_refused(s, json_pack("{s:i}", "cmd", 3), "usage");
    assert_refused(s, json_object(), "usage");
    assert_refused(s, json_pack("{s:s}", "cmd", "log"), "usage");
    assert_refused(s, json_pack("{s:s, s:s}", "cmd", "log", "verbose", "yes"), "usage");
    json_decref(ask(s, json_pack("{s:s, s:b}", "cmd", "log", "verbose", 1)));
    json_decref(ask(s, json_pack("{s:s, s:b}", "cmd", "log", "verbose", 0)));
    stop(pid);
    assert_true(logged(s, "note stopping signal=15"));
    assert_true(logged(s, "note unit-stop"));
    assert_true(logged(s, "note stopped"));
    assert_true(logged(s, "note unit-close"));
}

static void test_once(void **state)
{
    struct scratch *s = *state;
    static const struct {
        const char *request, *reply;
    } cases[] = {
        {"{\"cmd\":\"starts\"}", "\"once\":true"},
        {"{\"cmd\":\"starts\"}\n", "\"ok\":true"},
        {"{\"cmd\":\"domain\"}", "\"code\":\"down\""},
        {"{\"cmd\":\"ping\"}", "\"up\":false"},
        {"{\"cmd\":\"nonsense\"}", "\"code\":\"usage\""},
        {"", "\"code\":\"usage\""},
        {"[]", "\"code\":\"usage\""},
        {"{", "\"code\":\"usage\""},
        {"\"starts\"", "\"code\":\"usage\""},
    };
    for (size_t i = 0; i < COUNT(cases); i++) {
        (void)scratch_write(s, "in", cases[i].request, strlen(cases[i].request), 0600);
        assert_int_equal(run(s, OPTIONS("-c", "CONF", "-1")), 0);
        assert_output(s, cases[i].reply);
        size_t len;
        char *out = scratch_read(s, "out", &len); /* one line of JSON */
        assert_ptr_equal(strchr(out, '\n'), out + len - 1);
        free(out);
    }
    size_t much = BUS_MESSAGE_MAX + 100;
    char *text = malloc(much);
    memset(text, ' ', much);
    memcpy(text, "{\"cmd\":\"starts\"}", 16);
    (void)scratch_write(s, "in", text, much, 0600);
    free(text);
    assert_int_equal(run(s, OPTIONS("-c", "CONF", "-1")), 0);
    assert_output(s, "\"code\":\"usage\"");
    assert_false(logged(s, "started"));
}

static void test_owner_lock(void **state)
{
    struct scratch *s = *state;
    pid_t pid = start_up(s);
    (void)scratch_write(s, "in", "{\"cmd\":\"starts\"}", 16, 0600);
    assert_int_equal(run(s, OPTIONS("-c", "CONF", "-1")), DB_EXIT_FAILED);
    assert_true(logged(s, "unit is running already"));
    json_decref(ask(s, json_pack("{s:s}", "cmd", "ping"))); /* its sockets were left alone */
    stop(pid);
    assert_int_equal(run(s, OPTIONS("-c", "CONF", "-1")), 0);
    assert_output(s, "\"n\":2"); /* the daemon, and this one */
}

/* --- signals --- */

static void assert_domain(struct scratch *s, const char *want)
{
    json_t *reply = ask(s, json_pack("{s:s}", "cmd", "domain"));
    assert_string_equal(json_string_value(json_object_get(reply, "domain")), want);
    json_decref(reply);
}

static void test_reload(void **state)
{
    struct scratch *s = *state;
    pid_t pid = start_up(s);
    assert_domain(s, "one.example");
    write_conf(s, "default-domain = \"two.example\"");
    assert_int_equal(kill(pid, SIGHUP), 0);
    wait_logged(s, "note reloaded file=");
    assert_true(logged(s, "unit-reload domain=two.example"));
    assert_domain(s, "two.example");
    write_conf(s, "default-domain = 3\nnonsense = 4");
    assert_int_equal(kill(pid, SIGHUP), 0);
    wait_logged(s, "alarm reload-refused");
    assert_true(logged(s, "no such option"));
    assert_domain(s, "two.example"); /* the old one stays in force */
    stop(pid);
}

static void test_signals_that_end_it(void **state)
{
    struct scratch *s = *state;
    static const int numbers[] = {SIGTERM, SIGINT};
    for (size_t i = 0; i < COUNT(numbers); i++) {
        if (i > 0)
            assert_int_equal(truncate(scratch_path(s, "stderr"), 0), 0);
        pid_t pid = start_up(s);
        assert_int_equal(kill(pid, SIGPIPE), 0); /* means nothing */
        json_decref(ask(s, json_pack("{s:s}", "cmd", "ping")));
        assert_int_equal(kill(pid, numbers[i]), 0);
        assert_int_equal(exit_code(pid), 0);
    }
}

static void test_second_signal_hastens(void **state)
{
    struct scratch *s = *state;
    wish.never_stops = true;
    pid_t pid = start_up(s);
    assert_int_equal(kill(pid, SIGTERM), 0);
    wait_logged(s, "unit-stop");
    json_decref(ask(s, json_pack("{s:s}", "cmd", "ping"))); /* it is still at it */
    int64_t from = clock_monotonic();
    stop(pid);
    assert_true(clock_monotonic() - from < 3000);
    assert_true(logged(s, "unit-close"));
    char *log = scratch_read(s, "stderr", NULL);
    char *first = strstr(log, "unit-stop");
    assert_null(strstr(first + 1, "unit-stop")); /* `stop` is called once */
    free(log);
}

static void test_killed_and_started_again(void **state)
{
    struct scratch *s = *state;
    for (int round = 0; round < 3; round++) {
        if (round > 0)
            assert_int_equal(truncate(scratch_path(s, "stderr"), 0), 0);
        pid_t pid = start_up(s);
        json_t *reply = ask(s, json_pack("{s:s}", "cmd", "starts"));
        assert_int_equal(json_integer_value(json_object_get(reply, "n")), round + 1);
        json_decref(reply);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(exit_code(pid), -1);
    }
}

#define daemon_test(fn) cmocka_unit_test_setup_teardown(fn, begin, scratch_remove)

int main(void)
{
    const struct CMUnitTest tests[] = {
        daemon_test(test_options),
        daemon_test(test_bad_configuration),
        daemon_test(test_cannot_start),
        daemon_test(test_readiness_descriptor),
        daemon_test(test_no_readiness_without_start),
        daemon_test(test_sd_notify),
        daemon_test(test_requests),
        daemon_test(test_once),
        daemon_test(test_owner_lock),
        daemon_test(test_reload),
        daemon_test(test_signals_that_end_it),
        daemon_test(test_second_signal_hastens),
        daemon_test(test_killed_and_started_again),
    };
    return cmocka_run_group_tests_name("daemon", tests, NULL, NULL);
}
