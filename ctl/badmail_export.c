/* A quarantined message, octet for octet, to standard output or into a file. The file appears only
 * when it is whole, true and on the disk: until then it has another name. */
#include "ctl/badmail.h"
#include "ctl/field.h"
#include "ctl/listing.h"
#include "lib/file.h"
#include "spool/hash.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_MAX (1024 * 1024) /* octets */

struct export
{
    const struct ctl *ctl;
    const json_t *id;
    int fd;
    crypto_generichash_state hash;
    int64_t done, size;        /* octets; size: of all of it, as the first page says */
    char said[HASH_TEXT_SIZE]; /* its BLAKE2b, as the first page says */
};

/* --- the octets --- */

static json_t *ask_page(const struct export *export, struct problem *problem)
{
    json_t *request = call_request("badmail.export");
    json_object_set(request, "id", (json_t *)export->id);
    json_object_set_new(request, "offset", json_integer(export->done));
    return call_daemon(export->ctl, "hygiene", request, CALL_ANYHOW, problem);
}

static bool take_page(struct export *export, const json_t *page, struct problem *problem)
{
    static unsigned char bytes[PAGE_MAX];
    const char *data = field_text(page, "data");
    size_t n = 0;
    if (sodium_base642bin(bytes, sizeof bytes, data, strlen(data), NULL, &n, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0)
        return problem_set(problem, CTL_FAILED, "hygiene's answer is not understood");
    if (export->done == 0) {
        export->size = field_int(page, "size");
        (void)snprintf(export->said, sizeof export->said, "%s", field_text(page, "blake2b"));
    }
    if (n == 0 && export->done < export->size)
        return problem_set(problem, CTL_FAILED, "the message ends too early: it is damaged");
    (void)crypto_generichash_update(&export->hash, bytes, n);
    export->done += (int64_t)n;
    return file_write_all(export->fd, bytes, n) ||
           problem_set(problem, CTL_FAILED, "it can't be written: %s", strerror(errno));
}

static bool is_true(struct export *export, struct problem *problem)
{
    unsigned char hash[HASH_LEN];
    char text[HASH_TEXT_SIZE];
    (void)crypto_generichash_final(&export->hash, hash, sizeof hash);
    (void)hash_text(hash, text);
    return (export->done == export->size && strcmp(text, export->said) == 0) ||
           problem_set(problem, CTL_FAILED,
                       "the message is damaged: its content is not what its preface says");
}

static bool copy_all(struct export *export, struct problem *problem)
{
    (void)crypto_generichash_init(&export->hash, NULL, 0, HASH_LEN);
    do {
        json_t *page = ask_page(export, problem);
        bool ok = page != NULL && take_page(export, page, problem);
        json_decref(page);
        if (!ok)
            return false;
    } while (export->done < export->size);
    return is_true(export, problem);
}

/* --- the file --- */

static bool sync_folder(const char *file)
{
    char folder[PATH_MAX];
    const char *slash = strrchr(file, '/');
    (void)snprintf(folder, sizeof folder, "%.*s", slash == NULL ? 1 : (int)(slash - file) + 1,
                   slash == NULL ? "." : file);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool ok = fd >= 0 && fsync(fd) == 0;
    if (fd >= 0)
        (void)close(fd);
    return ok;
}

/* Gives the draft its name; what is there already stays, unless it may be replaced. */
static bool put_in_place(const char *draft, const char *file, bool replace, struct problem *problem)
{
    bool ok = replace ? rename(draft, file) == 0
                      : renameat2(AT_FDCWD, draft, AT_FDCWD, file, RENAME_NOREPLACE) == 0;
    if (!ok && errno == EINVAL && !replace) /* a filesystem that knows no such rename */
        ok = link(draft, file) == 0 && unlink(draft) == 0;
    if (ok && sync_folder(file))
        return true;
    return problem_set(problem, CTL_FAILED, "%s: %s%s", file, strerror(errno),
                       errno == EEXIST ? "; --force replaces it" : "");
}

static bool fill(struct export *export, const char *draft, const char *file, bool replace,
                 struct problem *problem)
{
    if (!copy_all(export, problem))
        return false;
    if (fsync(export->fd) < 0)
        return problem_set(problem, CTL_FAILED, "%s: %s", draft, strerror(errno));
    return put_in_place(draft, file, replace, problem);
}

static bool into_file(struct export *export, const char *file, bool replace,
                      struct problem *problem)
{
    char draft[PATH_MAX];
    int n = snprintf(draft, sizeof draft, "%s.XXXXXX", file);
    struct stat is;
    bool exists = lstat(file, &is) == 0;
    bool replaceable = exists && (S_ISREG(is.st_mode) || S_ISLNK(is.st_mode)); /* no device */
    if (exists && !(replace && replaceable)) /* said before it takes long */
        return problem_set(problem, CTL_FAILED, "%s is there already%s", file,
                           replaceable ? "; --force replaces it" : ", and is no regular file");
    if (n < 0 || (size_t)n >= sizeof draft)
        return problem_set(problem, CTL_FAILED, "%.300s: the name is too long", file);
    export->fd = mkostemp(draft, O_CLOEXEC); /* mode 0600 */
    if (export->fd < 0)
        return problem_set(problem, CTL_FAILED, "%s can't be created: %s", file, strerror(errno));
    bool ok = fill(export, draft, file, replace, problem);
    if (!ok)
        (void)unlink(draft);
    (void)close(export->fd);
    return ok;
}

static void tell(const struct export *export, const char *file)
{
    const struct ctl *ctl = export->ctl;
    char size[PRINT_SHORT];
    json_t *reply = json_pack("{s:b, s:O, s:s, s:I, s:s}", "ok", true, "id", export->id, "file",
                              file, "size", (json_int_t) export->size, "blake2b", export->said);
    if (ctl->json)
        print_json(reply);
    else
        print_line(&ctl->screen, PRINT_PLAIN, "%s (%s) is in %s", json_string_value(export->id),
                   print_size((uint64_t) export->size, size), file);
    json_decref(reply);
}

static int export_to(struct export *export, const char *file, bool replace)
{
    struct problem problem;
    bool to_file = file != NULL && strcmp(file, "-") != 0;
    bool ok = to_file ? into_file(export, file, replace, &problem) : copy_all(export, &problem);
    if (ok && to_file)
        tell(export, file);
    return ok ? CTL_DONE : problem_report(&problem);
}

int badmail_export(struct ctl *ctl, const struct args *args)
{
    struct problem problem;
    const char *file = args->value[OPTION_OUTPUT];
    bool replace = args->value[OPTION_FORCE] != NULL;
    bool to_file = file != NULL && strcmp(file, "-") != 0;
    if (file != NULL && file[0] == '\0')
        return command_fail(CTL_USAGE, "--output: expected the name of a file, or -");
    if (!to_file && (ctl->json || replace))
        return command_fail(CTL_USAGE, "%s needs --output FILE", replace ? "--force" : "--json");
    if (file == NULL && isatty(STDOUT_FILENO))
        return command_fail(CTL_USAGE, "a message may steer this terminal: give --output FILE, or "
                                       "--output - if you must");
    json_t *ids = listing_ids(args->words, 1, &problem);
    if (ids == NULL)
        return problem_report(&problem);
    struct export export = {.ctl = ctl, .id = json_array_get(ids, 0), .fd = STDOUT_FILENO};
    int code = export_to(&export, file, replace);
    json_decref(ids);
    return code;
}
