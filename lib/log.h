/* Events. One line an event on standard error, `NAME: LEVEL what key=value ...`, with a stable name
 * that tests and scripts may rely on; values are escaped so that no byte of a message or of a
 * server's reply can steer a terminal. A sink (lib/bus) may take each event too. */
#ifndef LIB_LOG_H
#define LIB_LOG_H

#include <stdbool.h>
#include <stddef.h>

enum log_level {
    LOG_DETAIL, /* shown with -v or `popferryctl log verbose` only; never goes to the sink */
    LOG_NOTE,   /* the normal course of things */
    LOG_WARN,   /* something was refused, deferred, stepped over */
    LOG_ALARM,  /* a person must look */
    LOG_LEVELS
};

struct log_field {
    const char *key; /* NULL ends the list */
    const char *text;
    long long number;
    bool is_number;
};
#define KV(k, v)  ((struct log_field){.key = (k), .text = (v)})
#define KVN(k, n) ((struct log_field){.key = (k), .number = (n), .is_number = true})

/* LOG(LOG_WARN, "poll-failed", KV("account", name), KVN("failures", 3)); a KV whose text is NULL is
 * left out. */
#define LOG(level, what, ...)                                                                      \
    log_event(level, what,                                                                         \
              &(const struct log_field[]){{.key = ""}, ##__VA_ARGS__, {.key = NULL}}[1])

void log_open(const char *program);
void log_verbose(bool on);
bool log_is_verbose(void);
void log_event(enum log_level level, const char *what, const struct log_field *fields);
const char *log_level_name(enum log_level level);

typedef void log_sink_fn(void *arg, enum log_level level, const char *what,
                         const struct log_field *fields);
void log_set_sink(log_sink_fn *fn, void *arg);

/* Writes src[0..len) into dst (size >= 1) so that it is safe on a terminal and stays on one line:
 * valid UTF-8 passes, while control bytes, C1, bidi controls and bytes that are not UTF-8 become
 * \xNN or \u{NNNN}. Cut with "..." when dst is too short. Returns dst. */
char *log_escape(char *dst, size_t size, const char *src, size_t len);

#endif
