/* A spool and a ledger in a temporary directory, for the tests here. */
#ifndef TESTS_PLACE_H
#define TESTS_PLACE_H

#include "lib/db.h"
#include "relayd/ledger.h"
#include "spool/message.h"
#include "spool/spool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct place {
    char dir[64];
    char spool_dir[80];
    struct spool *spool;
    struct db *db;
};

static inline void place_must(bool ok, const struct error *err)
{
    if (!ok) {
        fprintf(stderr, "%s\n", err->text);
        abort();
    }
}

static inline void place_open_in(struct place *place, const char *root)
{
    struct error err = {.text = ""};
    snprintf(place->dir, sizeof place->dir, "%s/popferry-unit-XXXXXX", root);
    if (!mkdtemp(place->dir))
        abort();
    snprintf(place->spool_dir, sizeof place->spool_dir, "%s/spool", place->dir);
    (void)mkdir(place->spool_dir, 0750);
    place->spool = spool_open(place->spool_dir, true, &err);
    place_must(place->spool != NULL, &err);
    place->db = db_open(place->dir, "relayd", ledger_migrations, &err);
    place_must(place->db != NULL, &err);
}

static inline void place_open(struct place *place)
{
    place_open_in(place, "/tmp");
}

static inline void place_close(struct place *place)
{
    char command[128];
    db_close(place->db);
    spool_close(place->spool);
    snprintf(command, sizeof command, "rm -rf '%s'", place->dir);
    if (system(command) != 0)
        abort();
}

/* Puts a message into outgoing/, for recipients r0@corp.example, r1@... */
static inline void place_message(const struct place *place, char id[static ID_SIZE], int recipients)
{
    struct error err;
    struct message_head head = {.account = "sales", .origin = "test", .sender = "a@origin.example"};
    id_new(id);
    memcpy(head.id, id, ID_SIZE);
    for (int i = 0; i < recipients; i++) {
        char address[64];
        snprintf(address, sizeof address, "r%d@corp.example", i);
        if (!envelope_list_add(&head.recipients, address))
            abort();
    }
    struct message_writer *w = message_create(place->spool, SPOOL_TMP, "eml", &head, &err);
    place_must(w != NULL, &err);
    place_must(message_append(w, "Subject: x\r\n\r\nhello\r\n", 21, &err), &err);
    place_must(message_finish(w, &err), &err);
    message_writer_free(w);
    place_must(spool_move(place->spool, id, SPOOL_TMP, SPOOL_OUTGOING, &err), &err);
    message_head_free(&head);
}

/* An empty file of that name: enough where nobody opens it. */
static inline void place_file(const struct place *place, char id[static ID_SIZE])
{
    char path[160];
    id_new(id);
    snprintf(path, sizeof path, "%s/outgoing/%.26s.eml", place->spool_dir, id);
    FILE *f = fopen(path, "w");
    if (!f || fclose(f) != 0)
        abort();
}

static inline void place_row(const struct place *place, const char *id, enum ledger_state state,
                             int64_t next_attempt)
{
    struct ledger_row row = {.state = state, .attempts = 1, .next_attempt = next_attempt};
    ledger_begin(place->db);
    ledger_put(place->db, id, &row);
    ledger_commit(place->db);
}

#endif
