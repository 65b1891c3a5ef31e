/* Makes what is missing, in the order in which one needs the other: the configuration, the three
 * directories, the spool, and then each daemon's key and ledger, which the daemon itself makes.
 * Nothing that is there already is touched. */
#include "ctl/call.h"
#include "lib/bus.h"
#include "lib/error.h"
#include "spool/spool.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct init {
    struct ctl *ctl;
    uid_t uid; /* whom what is made is given to; our own unless --user says another */
    gid_t gid;
    json_t *made, *present; /* paths */
};

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static void note(const struct init *init, bool made, const char *path)
{
    json_array_append_new(made ? init->made : init->present, json_string(path));
}

static bool cannot_make(const char *path, struct problem *problem)
{
    int why = errno;
    const char *advice = "";
    if (why == EACCES || why == EPERM)
        advice = geteuid() == 0
                     ? ""
                     : "; run it as root, or name other directories in the configuration (-c FILE)";
    else if (why == EROFS)
        advice = "; name other directories in the configuration (-c FILE)";
    return problem_set(problem, CTL_FAILED, "cannot make %s: %s%s", path, strerror(why), advice);
}

/* The directories above the last part of path, as mkdir -p makes them. */
static bool make_parents(const char *path, struct problem *problem)
{
    char part[PATH_MAX];
    if ((size_t)snprintf(part, sizeof part, "%s", path) >= sizeof part)
        return problem_set(problem, CTL_FAILED, "%.200s...: path too long", path);
    for (char *slash = strchr(part + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        if (mkdir(part, 0755) < 0 && errno != EEXIST)
            return cannot_make(part, problem);
        *slash = '/';
    }
    return true;
}

static bool give_away(const struct init *init, const char *path)
{
    return init->uid == geteuid() || lchown(path, init->uid, init->gid) == 0;
}

static bool make_dir(const struct init *init, const char *path, mode_t mode,
                     struct problem *problem)
{
    struct stat st;
    if (stat(path, &st) == 0) {
        if (!S_ISDIR(st.st_mode))
            return problem_set(problem, CTL_FAILED, "%s is there, but no directory", path);
        if ((st.st_mode & 0002) != 0)
            return problem_set(problem, CTL_FAILED, "%s may be written by everybody: chmod %o %s",
                               path, (unsigned)mode, path);
        note(init, false, path);
        return true;
    }
    if (!make_parents(path, problem))
        return false;
    if (mkdir(path, mode) < 0 || chmod(path, mode) < 0 || !give_away(init, path))
        return cannot_make(path, problem);
    note(init, true, path);
    return true;
}

static bool make_conf(const struct init *init, struct problem *problem)
{
    const char *path = init->ctl->conf_file;
    size_t len = strlen(conf_default_text);
    if (exists(path)) {
        note(init, false, path);
        return true;
    }
    if (!make_parents(path, problem))
        return false;
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return cannot_make(path, problem);
    bool ok = write(fd, conf_default_text, len) == (ssize_t)len && fsync(fd) == 0 &&
              (init->uid == geteuid() || fchown(fd, geteuid(), init->gid) == 0);
    if (!ok) {
        ok = cannot_make(path, problem);
        (void)unlink(path);
    } else
        note(init, true, path);
    (void)close(fd);
    return ok;
}

static bool load_conf(struct init *init, struct problem *problem)
{
    struct error err = {0};
    init->ctl->conf = conf_load(init->ctl->conf_file, &err);
    if (init->ctl->conf == NULL)
        return problem_set(problem, CTL_FAILED, "%s", err.text);
    init->ctl->caller = bus_caller_new(init->ctl->conf->run_dir);
    return true;
}

static bool make_spool(const struct init *init, struct problem *problem)
{
    const char *root = init->ctl->conf->spool_dir;
    bool was[SPOOL_DIRS];
    char path[PATH_MAX];
    struct error err = {0};
    if (!make_dir(init, root, 0750, problem))
        return false;
    for (int i = 0; i < SPOOL_DIRS; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", root, spool_dir_name((enum spool_dir)i));
        was[i] = exists(path);
    }
    struct spool *spool = spool_open(root, true, &err);
    if (spool == NULL)
        return problem_set(problem, CTL_FAILED, "%s", err.text);
    int dir = 0;
    for (; dir < SPOOL_DIRS; dir++) {
        (void)snprintf(path, sizeof path, "%s/%s", root, spool_dir_name((enum spool_dir)dir));
        note(init, !was[dir], path);
        if (!was[dir] && !give_away(init, path))
            break;
    }
    spool_close(spool);
    return dir == SPOOL_DIRS || cannot_make(path, problem);
}

/* What daemons keep in the state directory. */
static const char *const state_files[] = {"fetcherd.key", "fetcherd.db", "hygiene.db", "relayd.key",
                                          "relayd.db"};
#define STATE_FILES (sizeof state_files / sizeof state_files[0])

static bool make_ledgers(const struct init *init, struct problem *problem)
{
    bool was[STATE_FILES], ok = true;
    char path[PATH_MAX];
    for (size_t i = 0; i < STATE_FILES; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", init->ctl->conf->state_dir, state_files[i]);
        was[i] = exists(path);
    }
    for (const char *const *daemon = call_daemons; ok && *daemon != NULL; daemon++) {
        json_t *reply = call_daemon(init->ctl, *daemon, call_request("init"), CALL_ANYHOW, problem);
        ok = reply != NULL;
        json_decref(reply);
    }
    for (size_t i = 0; i < STATE_FILES; i++) {
        (void)snprintf(path, sizeof path, "%s/%s", init->ctl->conf->state_dir, state_files[i]);
        if (exists(path))
            note(init, !was[i], path);
    }
    return ok;
}

static void print_list(const struct screen *screen, enum print_style style, const char *word,
                       const json_t *paths)
{
    size_t i;
    const json_t *path;
    json_array_foreach(paths, i, path)
    {
        print_styled(screen, style, word);
        fputs("  ", screen->out);
        print_styled(screen, PRINT_PLAIN, json_string_value(path));
        fputc('\n', screen->out);
    }
}

static void print_next(const struct ctl *ctl)
{
    char start[2 * PATH_MAX];
    fprintf(ctl->screen.out,
            "\nNext:\n"
            "  1. Look over %s, above all relay { host, port }: your SMTP server.\n"
            "  2. Start the three daemons under your supervisor, or each by hand:\n",
            ctl->conf_file);
    for (const char *const *daemon = call_daemons; *daemon != NULL; daemon++)
        fprintf(ctl->screen.out, "       %s\n",
                call_how_to_start(ctl, *daemon, start, sizeof start));
    fprintf(ctl->screen.out,
            "  3. %s account add NAME --server HOST --user USER --deliver-to ADDR\n"
            "  4. %s status\n",
            ctl->self, ctl->self);
}

static bool make_all(struct init *init, struct problem *problem)
{
    return make_conf(init, problem) && load_conf(init, problem) &&
           make_dir(init, init->ctl->conf->state_dir, 0700, problem) &&
           make_dir(init, init->ctl->conf->run_dir, 0750, problem) && make_spool(init, problem) &&
           make_ledgers(init, problem);
}

static bool find_owner(struct init *init, const char *user, struct problem *problem)
{
    if (user == NULL)
        return true;
    const struct passwd *entry = getpwnam(user);
    if (entry == NULL)
        return problem_set(problem, CTL_FAILED,
                           "there is no user %s; make one: useradd --system %s", user, user);
    if (geteuid() != 0 && entry->pw_uid != geteuid())
        return problem_set(problem, CTL_FAILED, "only root can give files to %s", user);
    init->uid = entry->pw_uid;
    init->gid = entry->pw_gid;
    return true;
}

int init_run(struct ctl *ctl, const struct args *args)
{
    struct init init = {.ctl = ctl, .uid = geteuid(), .gid = getegid()};
    struct problem problem;
    if (!find_owner(&init, args->value[OPTION_USER], &problem))
        return problem_report(&problem);
    init.made = json_array();
    init.present = json_array();
    bool ok = make_all(&init, &problem);
    if (ctl->json) {
        json_t *all =
            json_pack("{s:b, s:O, s:O}", "ok", ok, "made", init.made, "present", init.present);
        print_json(all);
        json_decref(all);
    } else {
        print_list(&ctl->screen, PRINT_DIM, "was there", init.present);
        print_list(&ctl->screen, PRINT_GOOD, "made     ", init.made);
    }
    if (ok && !ctl->json && json_array_size(init.made) > 0)
        print_next(ctl);
    json_decref(init.made);
    json_decref(init.present);
    return ok ? CTL_DONE : problem_report(&problem);
}
