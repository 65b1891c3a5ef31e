/* What a request handler gives back: replies, errors, and pages of longer answers. */
#include "lib/bus.h"
#include "lib/log.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

json_t *bus_ok(json_t *fields)
{
    json_t *reply = fields != NULL ? fields : json_object();
    (void)json_object_set_new(reply, "ok", json_true());
    return reply;
}

json_t *bus_error(const char *code, const char *fmt, ...)
{
    char text[512], safe[1024];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    log_escape(safe, sizeof safe, text, strlen(text));
    return json_pack("{s:b, s:s, s:s}", "ok", 0, "code", code, "error", safe);
}

json_t *bus_error_from(const struct error *err)
{
    const char *code = err->kind == ERROR_USAGE     ? "usage"
                       : err->kind == ERROR_MISSING ? "notfound"
                                                    : "failed";
    return bus_error(code, "%s", err->text);
}

void bus_page_begin(struct bus_page *page)
{
    page->items = json_array();
    page->bytes = 0;
}

bool bus_page_add(struct bus_page *page, json_t *item)
{
    char *text = json_dumps(item, JSON_COMPACT | JSON_ENCODE_ANY);
    size_t len = text != NULL ? strlen(text) : 0;
    free(text);
    bool first = json_array_size(page->items) == 0;
    if (!first && page->bytes + len > BUS_PAGE_BYTES) {
        json_decref(item);
        return false;
    }
    page->bytes += len + 1;
    (void)json_array_append_new(page->items, item);
    return true;
}

json_t *bus_page_end(struct bus_page *page, const char *cursor)
{
    json_t *reply = json_pack("{s:o}", "items", page->items);
    if (cursor != NULL)
        (void)json_object_set_new(reply, "next", json_string(cursor));
    return bus_ok(reply);
}
