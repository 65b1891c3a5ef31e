/* See digest_mail.h. GMime writes the message: quoted-printable, so that no line is long. Its
 * envelope stands at its top, as of any drop (drop.h): the null sender, since nobody wants to hear
 * that a digest could not be delivered. */
#include "hygiene/digest_mail.h"
#include "lib/clock.h"
#include "lib/file.h"
#include "lib/log.h"
#include "spool/address.h"
#include "spool/id.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <gmime/gmime.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PREFIX "digest-"
#define DRAFT  ".part" /* behind the name, until it is whole */

bool digest_reviewer_valid(const struct conf *conf, struct error *err)
{
    const char *reviewer = conf->hygiene.reviewer;
    if (reviewer[0] == '\0' || address_valid(reviewer))
        return true;
    return error_set(err, ERROR_PERMANENT,
                     "%s: hygiene.reviewer = %.100s: expected an address such as "
                     "you@corp.example, or nothing",
                     conf->file, reviewer);
}

bool digest_mail_possible(const struct conf *conf, struct error *err)
{
    if (conf->hygiene.reviewer[0] == '\0')
        return error_set(err, ERROR_PERMANENT,
                         "there is nobody to mail it to: set hygiene { reviewer = "
                         "\"you@corp.example\" } in %s, and reload hygiene",
                         conf->file);
    return digest_reviewer_valid(conf, err);
}

/* --- the message --- */

static const char *own_domain(const struct conf *conf)
{
    const char *domain = conf->default_domain;
    return domain[0] != '\0' ? domain : strrchr(conf->hygiene.reviewer, '@') + 1;
}

static void set_body(GMimeMessage *message, const GString *text)
{
    GMimeStream *stream = g_mime_stream_mem_new_with_buffer(text->str, text->len);
    GMimeDataWrapper *content =
        g_mime_data_wrapper_new_with_stream(stream, GMIME_CONTENT_ENCODING_DEFAULT);
    GMimePart *part = g_mime_part_new_with_type("text", "plain");
    g_mime_object_set_content_type_parameter(GMIME_OBJECT(part), "charset", "utf-8");
    g_mime_part_set_content(part, content);
    g_mime_part_set_content_encoding(part, GMIME_CONTENT_ENCODING_QUOTEDPRINTABLE);
    g_mime_message_set_mime_part(message, GMIME_OBJECT(part));
    g_object_unref(part);
    g_object_unref(content);
    g_object_unref(stream);
}

static GMimeMessage *compose(const struct conf *conf, const struct digest *digest, const char *id)
{
    char text[400];
    GMimeMessage *message = g_mime_message_new(TRUE);
    GDateTime *now = g_date_time_new_now_utc();
    (void)snprintf(text, sizeof text, "postmaster@%s", own_domain(conf));
    g_mime_message_add_mailbox(message, GMIME_ADDRESS_TYPE_FROM, "popferry", text);
    g_mime_message_add_mailbox(message, GMIME_ADDRESS_TYPE_TO, NULL, conf->hygiene.reviewer);
    (void)snprintf(text, sizeof text, "Quarantine: %lld new, %lld to be removed soon",
                   (long long)digest->fresh, (long long)digest->expiring);
    g_mime_message_set_subject(message, text, NULL);
    g_mime_message_set_date(message, now);
    (void)snprintf(text, sizeof text, PREFIX "%s@%s", id, own_domain(conf));
    g_mime_message_set_message_id(message, text);
    g_mime_object_set_header(GMIME_OBJECT(message), "Auto-Submitted", "auto-generated", NULL);
    set_body(message, digest->text);
    g_date_time_unref(now);
    return message;
}

static GByteArray *with_envelope(const struct conf *conf, GMimeMessage *message)
{
    GByteArray *bytes = g_byte_array_new();
    char *envelope = g_strdup_printf("X-Sender: <>\nX-Receiver: <%s>\n", conf->hygiene.reviewer);
    g_byte_array_append(bytes, (const guint8 *)envelope, (guint)strlen(envelope));
    g_free(envelope);
    GMimeStream *out = g_mime_stream_mem_new();
    g_mime_stream_mem_set_byte_array(GMIME_STREAM_MEM(out), bytes);
    (void)g_mime_stream_seek(out, 0, GMIME_STREAM_SEEK_END);
    (void)g_mime_object_write_to_stream(GMIME_OBJECT(message), NULL, out);
    g_object_unref(out);
    return bytes;
}

/* --- the file --- */

/* Under a name that pickup/ leaves alone; whole and synced before it gets the other. */
static bool write_file(int dir, const char *draft, const GByteArray *bytes, struct error *err)
{
    int fd = openat(dir, draft, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0640);
    if (fd < 0)
        return error_errno(err, "cannot create pickup/%s", draft);
    bool ok = (file_write_all(fd, (const char *)bytes->data, bytes->len) && fsync(fd) == 0) ||
              error_errno(err, "cannot write pickup/%s", draft);
    if (close(fd) < 0 && ok)
        ok = error_errno(err, "cannot write pickup/%s", draft);
    return ok;
}

static bool hand_in(int dir, const char *name, const GByteArray *bytes, struct error *err)
{
    char draft[DIGEST_MAIL_NAME_SIZE + sizeof DRAFT];
    (void)snprintf(draft, sizeof draft, ".%s" DRAFT, name);
    if (write_file(dir, draft, bytes, err)) {
        if (renameat(dir, draft, dir, name) == 0 && fsync(dir) == 0)
            return true;
        (void)error_errno(err, "cannot hand in pickup/%s", name);
    }
    (void)unlinkat(dir, draft, 0);
    return false;
}

bool digest_mail(const struct hygiene *h, const struct digest *digest,
                 char name[static DIGEST_MAIL_NAME_SIZE], struct error *err)
{
    char id[ID_SIZE], file[DIGEST_MAIL_NAME_SIZE];
    id_new(id);
    (void)snprintf(file, sizeof file, PREFIX "%s.eml", id);
    GMimeMessage *message = compose(h->d->conf, digest, id);
    GByteArray *bytes = with_envelope(h->d->conf, message);
    bool ok = hand_in(spool_fd(h->spool, SPOOL_PICKUP), file, bytes, err);
    g_byte_array_unref(bytes);
    g_object_unref(message);
    if (ok) {
        memcpy(name, file, sizeof file);
        LOG(LOG_NOTE, "digest-mailed", KV("to", h->d->conf->hygiene.reviewer), KV("name", file));
    }
    return ok;
}

static bool is_draft(const char *name)
{
    char id[ID_SIZE];
    size_t head = strlen("." PREFIX);
    if (strncmp(name, "." PREFIX, head) != 0 || strlen(name) <= head + ID_LEN)
        return false;
    memcpy(id, name + head, ID_LEN);
    return id_valid(id, ID_LEN) && strcmp(name + head + ID_LEN, ".eml" DRAFT) == 0;
}

void digest_mail_clean(const struct hygiene *h)
{
    int pickup = spool_fd(h->spool, SPOOL_PICKUP);
    int fd = openat(pickup, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *walk = fd >= 0 ? fdopendir(fd) : NULL;
    if (walk == NULL)
        return; /* whoever watches pickup/ says so */
    for (struct dirent *entry; (entry = readdir(walk)) != NULL;)
        if (is_draft(entry->d_name))
            (void)unlinkat(pickup, entry->d_name, 0);
    (void)closedir(walk);
}
