/* Lenient readers of reply fields. */
#include "ctl/field.h"
#include <stdio.h>
#include <string.h>
#include <time.h>

const char *field_text(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text != NULL ? text : "";
}

int64_t field_int(const json_t *object, const char *key)
{
    return json_integer_value(json_object_get(object, key));
}

bool field_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

int64_t field_time(const json_t *object, const char *key)
{
    struct tm tm = {0};
    const char *end = strptime(field_text(object, key), "%Y-%m-%dT%H:%M:%S", &tm);
    if (end == NULL || strcmp(end, "Z") != 0)
        return 0;
    return (int64_t)timegm(&tm) * 1000;
}

char *field_list(const json_t *object, const char *key, bool brief, char *buf, size_t size)
{
    char total_key[64];
    (void)snprintf(total_key, sizeof total_key, "%s_total", key);
    const json_t *list = json_object_get(object, key);
    size_t count = json_array_size(list), used = 0, shown = brief && count > 0 ? 1 : count;
    int64_t named = field_int(object, total_key);
    size_t total = named > (int64_t)count ? (size_t)named : count;
    buf[0] = '\0';
    for (size_t i = 0; i < shown && used < size; i++) {
        const char *text = json_string_value(json_array_get(list, i));
        used +=
            (size_t)snprintf(buf + used, size - used, "%s%s", i > 0 ? ", " : "", text ? text : "?");
    }
    if (total > shown && used < size)
        (void)snprintf(buf + used, size - used, " +%zu", total - shown);
    return buf;
}
