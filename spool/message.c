/* Spool files, written and read. The hash is computed as the bytes pass, in both directions. */
#include "spool/message.h"
#include "lib/file.h"
#include "spool/preface.h"
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define BUFFER_BYTES 65536

bool message_is_drop(const struct message_head *head)
{
    return head->account[0] == '\0';
}

void message_head_free(struct message_head *head)
{
    envelope_list_free(&head->recipients);
}

/* --- writing --- */

struct message_writer {
    int fd;
    int dir_fd;
    char name[SPOOL_NAME_SIZE];
    struct message_head head; /* id, size and hash only */
    crypto_generichash_state hash;
    size_t preface_len;
    size_t used;  /* bytes in buffer */
    bool flushed; /* the preface is in the file already */
    char *buffer; /* BUFFER_BYTES, or the preface's length where that is more */
    size_t room;
};

static bool flush(struct message_writer *w, struct error *err)
{
    if (!file_write_all(w->fd, w->buffer, w->used))
        return error_errno(err, "cannot write %s", w->name);
    w->flushed = w->flushed || w->used > 0;
    w->used = 0;
    return true;
}

struct message_writer *message_create(const struct spool *spool, enum spool_dir dir,
                                      const char *suffix, const struct message_head *head,
                                      struct error *err)
{
    size_t len;
    char *preface = preface_write(head, &len, err);
    if (preface == NULL)
        return NULL;
    struct message_writer *w = calloc(1, sizeof *w);
    if (w == NULL)
        abort();
    w->room = len > BUFFER_BYTES ? len : BUFFER_BYTES;
    w->buffer = realloc(preface, w->room);
    if (w->buffer == NULL)
        abort();
    w->used = w->preface_len = len;
    w->dir_fd = spool_fd(spool, dir);
    memcpy(w->head.id, head->id, ID_SIZE);
    spool_name(w->name, head->id, suffix);
    (void)crypto_generichash_init(&w->hash, NULL, 0, HASH_LEN);
    w->fd = openat(w->dir_fd, w->name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (w->fd >= 0)
        return w;
    (void)error_errno(err, "cannot create %s/%s", spool_dir_name(dir), w->name);
    message_writer_free(w);
    return NULL;
}

bool message_append(struct message_writer *w, const void *bytes, size_t n, struct error *err)
{
    if (n == 0)
        return true;
    (void)crypto_generichash_update(&w->hash, bytes, n);
    w->head.size += n;
    if (n > w->room - w->used && !flush(w, err))
        return false;
    if (n > w->room) {
        w->flushed = true;
        return file_write_all(w->fd, bytes, n) || error_errno(err, "cannot write %s", w->name);
    }
    memcpy(w->buffer + w->used, bytes, n);
    w->used += n;
    return true;
}

bool message_finish(struct message_writer *w, struct error *err)
{
    char line[PREFACE_BODY_WIDTH + 1];
    (void)crypto_generichash_final(&w->hash, w->head.hash, HASH_LEN);
    preface_body_line(&w->head, line);
    size_t at = w->preface_len - 2 - PREFACE_BODY_WIDTH;
    if (!w->flushed) {
        memcpy(w->buffer + at, line, PREFACE_BODY_WIDTH);
        if (!flush(w, err))
            return false;
    } else {
        if (!flush(w, err))
            return false;
        if (pwrite(w->fd, line, PREFACE_BODY_WIDTH, (off_t)at) != PREFACE_BODY_WIDTH)
            return error_errno(err, "cannot write %s", w->name);
    }
    free(w->buffer);
    w->buffer = NULL;
    return true;
}

int message_writer_fd(const struct message_writer *w)
{
    return w->fd;
}

const char *message_writer_id(const struct message_writer *w)
{
    return w->head.id;
}

uint64_t message_writer_size(const struct message_writer *w)
{
    return w->head.size;
}

const unsigned char *message_writer_hash(const struct message_writer *w)
{
    return w->head.hash;
}

void message_writer_free(struct message_writer *w)
{
    if (w == NULL)
        return;
    if (w->fd >= 0)
        (void)close(w->fd);
    free(w->buffer);
    free(w);
}

void message_abandon(struct message_writer *w)
{
    if (w != NULL && w->fd >= 0)
        (void)unlinkat(w->dir_fd, w->name, 0);
    message_writer_free(w);
}

/* Ids have one length, and the hash is of what is behind the preface. */
static bool write_id(int fd, const char *id, const char *old)
{
    char line[PREFACE_FIRST_BYTES + 64] = "", key[ID_SIZE + 8];
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_nlink != 1 ||
        pread(fd, line, sizeof line - 1, 0) < (ssize_t)sizeof key)
        return false;
    (void)snprintf(key, sizeof key, " id=%s ", old);
    line[strcspn(line, "\r\n")] = '\0';
    const char *at = strstr(line, key);
    return strncmp(line, PREFACE_FIRST, strlen(PREFACE_FIRST)) == 0 && at != NULL &&
           pwrite(fd, id, ID_LEN, at - line + 4) == ID_LEN && fsync(fd) == 0;
}

bool message_change_id(const struct spool *spool, enum spool_dir dir, const char *id,
                       const char *old)
{
    char name[SPOOL_NAME_SIZE];
    int fd = openat(spool_fd(spool, dir), spool_name(name, id, "eml"),
                    O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    bool ok = fd >= 0 && write_id(fd, id, old);
    if (fd >= 0)
        (void)close(fd);
    return ok;
}

/* --- reading --- */

struct message_reader {
    int fd;
    bool has_preface;
    struct message_head head;
    off_t body_at;
    uint64_t done; /* bytes of message read */
    crypto_generichash_state hash;
    struct top top; /* given out first; no bytes: there is none */
    size_t top_done;
    char name[256];
};

/* A FIFO would block at open and a link would lead away; O_NONBLOCK and O_NOFOLLOW keep both
 * harmless. */
static int open_regular(int dir_fd, const char *name, uint64_t *size, struct error *err)
{
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        (void)error_errno(err, "%s", name);
        return -1;
    }
    struct stat st;
    if (fstat(fd, &st) < 0)
        (void)error_errno(err, "%s", name);
    else if (!S_ISREG(st.st_mode))
        (void)error_set(err, ERROR_PERMANENT, "%s is not a regular file", name);
    else {
        *size = (uint64_t)st.st_size;
        return fd;
    }
    (void)close(fd);
    return -1;
}

static bool read_more(int fd, char *text, size_t room, size_t *n, struct error *err,
                      const char *name)
{
    while (*n < room) {
        ssize_t got = pread(fd, text + *n, room - *n, (off_t)*n);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return error_errno(err, "%s", name);
        if (got == 0)
            break;
        *n += (size_t)got;
    }
    return true;
}

/* Most prefaces fit into the first few KiB; one with a thousand recipients does not. */
static bool read_preface(struct message_reader *r, uint64_t file_size, struct error *err)
{
    size_t room = 4096, n = 0, len = 0;
    char *text = NULL;
    enum preface_result result;
    bool ok;
    do {
        char *larger = realloc(text, room);
        if (larger == NULL)
            abort();
        text = larger;
        message_head_free(&r->head);
        r->head = (struct message_head){0};
        ok = read_more(r->fd, text, room, &n, err, r->name);
        result = ok ? preface_read(text, n, &r->head, &len, err) : PREFACE_BAD;
        room *= 4;
    } while (result == PREFACE_SHORT && n < file_size && n < MESSAGE_PREFACE_MAX);
    free(text);
    if (result == PREFACE_SHORT && n < PREFACE_FIRST_BYTES) {
        result = PREFACE_NONE; /* a file too short to tell, and for a preface */
    } else if (result == PREFACE_SHORT) {
        result = PREFACE_BAD;
        (void)error_set(err, ERROR_PERMANENT, "damaged preface: the file ends within it");
    }
    r->has_preface = result == PREFACE_OK;
    r->body_at = r->has_preface ? (off_t)len : 0;
    if (result == PREFACE_NONE)
        r->head = (struct message_head){.size = file_size};
    return result == PREFACE_OK || result == PREFACE_NONE;
}

struct message_reader *message_open_any(const struct spool *spool, enum spool_dir dir,
                                        const char *name, struct error *err)
{
    uint64_t size = 0;
    int fd = open_regular(spool_fd(spool, dir), name, &size, err);
    if (fd < 0)
        return NULL;
    struct message_reader *r = calloc(1, sizeof *r);
    if (r == NULL)
        abort();
    r->fd = fd;
    (void)snprintf(r->name, sizeof r->name, "%s", name);
    (void)crypto_generichash_init(&r->hash, NULL, 0, HASH_LEN);
    bool ok = read_preface(r, size, err);
    if (ok && r->has_preface && size - (uint64_t)r->body_at != r->head.size)
        ok = error_set(
            err, ERROR_PERMANENT, "damaged: %llu bytes of message where the preface says %llu",
            (unsigned long long)(size - (uint64_t)r->body_at), (unsigned long long)r->head.size);
    if (ok && lseek(fd, r->body_at, SEEK_SET) < 0)
        ok = error_errno(err, "%s", name);
    if (ok)
        return r;
    message_close(r);
    return NULL;
}

struct message_reader *message_open(const struct spool *spool, enum spool_dir dir, const char *id,
                                    struct error *err)
{
    char name[SPOOL_NAME_SIZE];
    struct message_reader *r = message_open_any(spool, dir, spool_name(name, id, "eml"), err);
    if (r == NULL)
        return NULL;
    if (r->has_preface && strcmp(r->head.id, id) == 0)
        return r;
    (void)error_set(err, ERROR_PERMANENT,
                    r->has_preface ? "damaged: the preface bears another id"
                                   : "damaged: it has no preface");
    message_close(r);
    return NULL;
}

bool message_reader_has_preface(const struct message_reader *r)
{
    return r->has_preface;
}

const struct message_head *message_reader_head(const struct message_reader *r)
{
    return &r->head;
}

static bool check_end(struct message_reader *r, struct error *err)
{
    unsigned char hash[HASH_LEN];
    crypto_generichash_state state = r->hash;
    if (r->done != r->head.size)
        return error_set(err, ERROR_PERMANENT,
                         "damaged: it ends after %llu bytes where %llu were written",
                         (unsigned long long)r->done, (unsigned long long)r->head.size);
    (void)crypto_generichash_final(&state, hash, sizeof hash);
    if (r->has_preface && memcmp(hash, r->head.hash, sizeof hash) != 0)
        return error_set(err, ERROR_PERMANENT,
                         "damaged: its hash is not the one it was written with");
    return true;
}

static bool read_file(struct message_reader *r, void *buf, size_t n, size_t *got, struct error *err)
{
    uint64_t left = r->head.size - r->done;
    ssize_t done;
    do
        done = read(r->fd, buf, n < left ? n : (size_t)left);
    while (done < 0 && errno == EINTR);
    if (done < 0)
        return error_errno(err, "%s", r->name);
    if (r->has_preface) /* nothing else says what the hash should be */
        (void)crypto_generichash_update(&r->hash, buf, (unsigned long long)done);
    r->done += (uint64_t)done;
    if (done == 0 && !check_end(r, err))
        return false;
    *got = (size_t)done;
    return true;
}

static size_t read_top(struct message_reader *r, void *buf, size_t n)
{
    size_t left = r->top.len - r->top_done;
    n = n < left ? n : left;
    memcpy(buf, r->top.bytes + r->top_done, n);
    r->top_done += n;
    return n;
}

/* What the top stands for is read all the same: the hash is of the whole file. */
static bool pass_over(struct message_reader *r, struct error *err)
{
    char away[4096];
    while (r->done < r->top.skip) {
        uint64_t left = r->top.skip - r->done;
        size_t got = 0;
        if (!read_file(r, away, left < sizeof away ? (size_t)left : sizeof away, &got, err))
            return false;
        if (got == 0)
            return error_set(err, ERROR_PERMANENT,
                             "damaged: its top stands for more than there is");
    }
    return true;
}

static size_t without_nul(char *bytes, size_t n)
{
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (bytes[i] != '\0')
            bytes[kept++] = bytes[i];
    return kept;
}

bool message_read(struct message_reader *r, void *buf, size_t n, size_t *got, struct error *err)
{
    if (r->top_done < r->top.len) {
        *got = read_top(r, buf, n);
        return true;
    }
    if (!pass_over(r, err))
        return false;
    size_t raw = 0;
    do {
        if (!read_file(r, buf, n, &raw, err))
            return false;
        *got = r->top.drop_nul ? without_nul(buf, raw) : raw;
    } while (*got == 0 && raw > 0);
    return true;
}

int message_reader_fd(const struct message_reader *r, off_t *at)
{
    *at = r->body_at;
    return r->fd;
}

void message_put_top(struct message_reader *r, struct top *top)
{
    top_free(&r->top);
    r->top = *top;
    *top = (struct top){.bytes = NULL};
}

bool message_has_top(const struct message_reader *r)
{
    return r->top.bytes != NULL;
}

uint64_t message_reader_size(const struct message_reader *r)
{
    return r->head.size - r->top.skip + r->top.len;
}

bool message_read_at(struct message_reader *r, uint64_t offset, void *buf, size_t n, size_t *got,
                     struct error *err)
{
    uint64_t left = offset < r->head.size ? r->head.size - offset : 0;
    ssize_t done = 0;
    do
        if (left > 0) /* behind the end there is no place to name */
            done = pread(r->fd, buf, n < left ? n : (size_t)left, r->body_at + (off_t)offset);
    while (done < 0 && errno == EINTR);
    if (done < 0)
        return error_errno(err, "%s", r->name);
    *got = (size_t)done;
    return true;
}

bool message_rewind(struct message_reader *r, struct error *err)
{
    if (lseek(r->fd, r->body_at, SEEK_SET) < 0)
        return error_errno(err, "%s", r->name);
    r->done = 0;
    r->top_done = 0;
    (void)crypto_generichash_init(&r->hash, NULL, 0, HASH_LEN);
    return true;
}

void message_close(struct message_reader *r)
{
    if (r == NULL)
        return;
    (void)close(r->fd);
    top_free(&r->top);
    message_head_free(&r->head);
    free(r);
}
