/* The forms that a value of the configuration file may have. Only conf.c uses it. */
#ifndef LIB_CONF_FORM_H
#define LIB_CONF_FORM_H

#include <stddef.h>
#include <stdint.h>

#define SECONDS INT64_C(1000)
#define MINUTES (60 * SECONDS)
#define HOURS   (60 * MINUTES)
#define DAYS    (24 * HOURS)

enum conf_form {
    FORM_TEXT,
    FORM_PATH,
    FORM_PATH_OR_NONE,
    FORM_DOMAIN_OR_NONE,
    FORM_HOST,
    FORM_NAMES, /* of hosts, as servers call themselves, with blanks between; or none */
    FORM_PIN_OR_NONE,
    FORM_SERVER_OR_NONE, /* as conf_server takes it */
    FORM_PORT_OR_NONE,   /* the same, but no path */
    FORM_INT,            /* those before it are texts */
    FORM_DURATION,
    FORM_SIZE_AUTO,
    FORM_SIZE,
    FORM_DELETE,
    FORM_WORD
};

/* As conf_duration reads it, in the greatest unit that fits. */
void conf_duration_text(int64_t ms, char *buf, size_t size);
/* Where `text` stands among "a|b|c"; -1 when it does not. */
int conf_word_place(const char *words, const char *text);
/* Of a form before FORM_INT: NULL when the text is of it, else what was expected. */
const char *conf_text_expected(enum conf_form form, const char *text);

#endif
