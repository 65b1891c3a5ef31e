/* libFuzzer on the POP3 core: the input is what a server sends, cut into feeds by its own octets. The core must neither
 * crash nor hang. Where all commands are sent behind the greeting it must give the same events whatever the cuts; where a
 * command is sent whenever there is room, what comes before its command depends on them. Build:
 *   clang -g -O1 -fsanitize=fuzzer,address,undefined -D_GNU_SOURCE -I. -o build/fuzz/pop3 tests/fuzz/pop3_fuzz.c \
 *       fetcherd/pop3.c fetcherd/pop3_parse.c fetcherd/reply.c fetcherd/dotdecode.c lib/redact.c -lsodium
 *   build/fuzz/pop3 -max_total_time=60 CORPUS */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fetcherd/pop3.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct run {
    struct pop3 core;
    uint64_t digest; /* of all events, data taken octet by octet */
    uint32_t next;
    bool reactive; /* an answer brings about the next command */
};

static void mix(struct run *run, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        run->digest = (run->digest ^ ((const unsigned char *)bytes)[i]) * 0x100000001b3u;
}

static void send_next(struct run *run)
{
    static const enum pop3_command order[] = {POP3_CMD_CAPA, POP3_CMD_STAT, POP3_CMD_UIDL, POP3_CMD_LIST};

    if (pop3_room(&run->core) == 0)
        return;
    uint32_t n = run->next++;
    enum pop3_sent sent = n < 4 ? pop3_send(&run->core, order[n], NULL, 0)
                                : pop3_send_number(&run->core, n % 3 ? POP3_CMD_RETR : POP3_CMD_DELE, n);
    if (sent != POP3_SENT)
        abort();
}

static void on_event(void *arg, const struct pop3_event *event)
{
    struct run *run = arg;

    if (event->type != POP3_EV_MESSAGE_DATA) {
        mix(run, &event->type, sizeof event->type);
        mix(run, &event->number, sizeof event->number);
        mix(run, &event->size, sizeof event->size);
    }
    if (event->data)
        mix(run, event->data, event->len);
    if (run->reactive &&
        (event->type == POP3_EV_REPLY || event->type == POP3_EV_LISTING_END || event->type == POP3_EV_MESSAGE_END))
        send_next(run);
}

static void on_send(void *arg, const char *data, size_t len)
{
    (void)arg;
    if (len < 2 || memcmp(data + len - 2, "\r\n", 2) != 0 || memchr(data, '\n', len - 1))
        abort();
}

static const struct pop3_ops ops = {.send = on_send, .event = on_event};

static uint64_t play(const char *data, size_t size, size_t chunk, bool reactive)
{
    static struct run run;
    const char *lf = memchr(data, '\n', size);
    size_t greeting = lf ? (size_t)(lf - data) + 1 : size;

    run.digest = 0xcbf29ce484222325u;
    run.next = 0;
    run.reactive = reactive;
    pop3_init(&run.core, 50, &ops, &run);
    pop3_feed(&run.core, data, greeting);
    if (!reactive) {
        run.core.capabilities = POP3_CAP_PIPELINING;
        while (pop3_room(&run.core) > 0)
            send_next(&run);
    }
    for (size_t at = greeting; at < size; at += chunk)
        pop3_feed(&run.core, data + at, size - at < chunk ? size - at : chunk);
    return run.digest;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 1)
        return 0;
    const char *server = (const char *)data + 1;
    size_t chunk = data[0] % 31 + 2;
    uint64_t whole = play(server, size - 1, size, false);

    if (play(server, size - 1, 1, false) != whole || play(server, size - 1, chunk, false) != whole)
        abort();
    (void)play(server, size - 1, size, true);
    (void)play(server, size - 1, chunk, true);
    return 0;
}
