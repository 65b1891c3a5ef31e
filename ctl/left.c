/* See left.h. */
#include "ctl/left.h"
#include "ctl/field.h"
#include <stdio.h>
#include <string.h>
#include <sys/param.h>

/* "(a.txt, b.txt, ...)"; what hygiene shows is a few of them, escaped. */
static const char *examples_text(const json_t *left, char *buf, size_t size)
{
    size_t i, used = 0;
    const json_t *names = json_object_get(left, "examples"), *name;
    buf[0] = '\0';
    json_array_foreach(names, i, name)
    {
        int n = snprintf(buf + used, size - used, "%s%.200s", i == 0 ? " (" : ", ",
                         json_string_value(name) != NULL ? json_string_value(name) : "?");
        used += n > 0 ? MIN((size_t)n, size - used - 1) : 0;
    }
    bool more = field_int(left, "count") > (int64_t)json_array_size(names);
    if (used > 0)
        (void)snprintf(buf + used, size - used, "%s)", more ? ", ..." : "");
    return buf;
}

bool left_is_passing(const json_t *left)
{
    const char *reason = field_text(left, "reason");
    return strcmp(reason, "written") == 0 || strcmp(reason, "hidden") == 0;
}

void left_text(const json_t *left, char *buf, size_t size)
{
    char names[800];
    (void)snprintf(buf, size, "%lld left alone in pickup/: %s%s",
                   (long long)field_int(left, "count"), field_text(left, "meaning"),
                   examples_text(left, names, sizeof names));
}
