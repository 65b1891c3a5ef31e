/* See top.h. Reading is strict, as with the preface: what we did not write ourselves is not sent.
 */
#include "spool/top.h"
#include "lib/file.h"
#include "spool/hash.h"
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FIRST_MAX 256

void top_free(struct top *top)
{
    free(top->bytes);
    *top = (struct top){.bytes = NULL};
}

/* The hash is of what the line says before it, and of the bytes. */
static void first_line(const struct top *top, const char *id, char line[static FIRST_MAX])
{
    unsigned char hash[HASH_LEN];
    char text[HASH_TEXT_SIZE];
    crypto_generichash_state state;
    int n = snprintf(line, FIRST_MAX, "X-Popferry-Top: 1 id=%s skip=%llu nul=%s size=%zu", id,
                     (unsigned long long)top->skip, top->drop_nul ? "drop" : "keep", top->len);
    (void)crypto_generichash_init(&state, NULL, 0, sizeof hash);
    (void)crypto_generichash_update(&state, (const unsigned char *)line, (size_t)n);
    (void)crypto_generichash_update(&state, (const unsigned char *)top->bytes, top->len);
    (void)crypto_generichash_final(&state, hash, sizeof hash);
    (void)snprintf(line + n, FIRST_MAX - (size_t)n, " blake2b=%s\r\n", hash_text(hash, text));
}

/* --- writing --- */

bool top_write(const struct spool *spool, const char *id, const struct top *top, int *fd,
               struct error *err)
{
    char name[SPOOL_NAME_SIZE], line[FIRST_MAX];
    int dir = spool_fd(spool, SPOOL_OUTGOING);
    if (top->len > TOP_MAX)
        return error_set(err, ERROR_PERMANENT, "its header section would have %zu octets",
                         top->len);
    (void)unlinkat(dir, spool_name(name, id, TOP_SUFFIX), 0);
    int file = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (file < 0)
        return error_errno(err, "cannot create outgoing/%s", name);
    first_line(top, id, line);
    if (file_write_all(file, line, strlen(line)) && file_write_all(file, top->bytes, top->len)) {
        *fd = file;
        return true;
    }
    (void)error_errno(err, "cannot write outgoing/%s", name);
    (void)close(file);
    (void)unlinkat(dir, name, 0);
    return false;
}

/* --- reading --- */

static bool damaged(const char *name, struct error *err)
{
    return error_set(err, ERROR_PERMANENT, "damaged: %s is not as it was written", name);
}

/* The whole file in malloc'd memory, with a NUL behind it; NULL on failure. */
static char *read_file(int fd, const char *name, size_t *n, struct error *err)
{
    struct stat st;
    if (fstat(fd, &st) < 0) {
        (void)error_errno(err, "%s", name);
        return NULL;
    }
    size_t size = (size_t)st.st_size;
    if (!S_ISREG(st.st_mode) || size > TOP_MAX + FIRST_MAX) {
        (void)damaged(name, err);
        return NULL;
    }
    char *text = malloc(size + 1);
    if (text == NULL)
        abort();
    ssize_t got = pread(fd, text, size, 0);
    if (got == (ssize_t)size) {
        text[size] = '\0';
        *n = size;
        return text;
    }
    if (got < 0)
        (void)error_errno(err, "%s", name);
    else
        (void)damaged(name, err);
    free(text);
    return NULL;
}

/* The line that we would write of what it claims to be has to stand there. */
static bool parse(const char *text, size_t n, const char *id, struct top *top)
{
    char line[FIRST_MAX], its_id[ID_SIZE], nul[8];
    unsigned long long skip;
    const char *end = memchr(text, '\n', n < FIRST_MAX ? n : FIRST_MAX);
    if (end == NULL ||
        sscanf(text, "X-Popferry-Top: 1 id=%26s skip=%llu nul=%7s", its_id, &skip, nul) != 3)
        return false;
    *top = (struct top){
        .len = n - (size_t)(end + 1 - text), .skip = skip, .drop_nul = strcmp(nul, "drop") == 0};
    top->bytes = malloc(top->len + 1);
    if (top->bytes == NULL)
        abort();
    memcpy(top->bytes, end + 1, top->len);
    first_line(top, id, line);
    if (strlen(line) == (size_t)(end + 1 - text) && memcmp(text, line, strlen(line)) == 0)
        return true;
    top_free(top);
    return false;
}

bool top_read(const struct spool *spool, const char *id, struct top *top, struct error *err)
{
    char name[SPOOL_NAME_SIZE];
    size_t n = 0;
    int fd = openat(spool_fd(spool, SPOOL_OUTGOING), spool_name(name, id, TOP_SUFFIX),
                    O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return error_errno(err, "%s", name);
    char *text = read_file(fd, name, &n, err);
    (void)close(fd);
    if (text == NULL)
        return false;
    bool ok = parse(text, n, id, top) || damaged(name, err);
    free(text);
    return ok;
}

/* --- removing --- */

bool top_remove(const struct spool *spool, const char *id, struct error *err)
{
    char name[SPOOL_NAME_SIZE];
    if (unlinkat(spool_fd(spool, SPOOL_OUTGOING), spool_name(name, id, TOP_SUFFIX), 0) == 0 ||
        errno == ENOENT)
        return true;
    return error_errno(err, "cannot remove outgoing/%s", name);
}
