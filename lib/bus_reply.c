/* What a request handler gives back: replies, errors, and pages of longer answers. */
#include "lib/bus.h"
#include "lib/log.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MEMBER_MAX 4096 /* of an item too long for a page, in bytes of JSON */

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

void bus_put_list(json_t *reply, const char *key, char *const *items, size_t count)
{
    char text[512], total[64];
    json_t *list = json_array();
    for (size_t i = 0; i < count && i < BUS_LIST_MAX; i++)
        (void)json_array_append_new(
            list, json_string(log_escape(text, sizeof text, items[i], strlen(items[i]))));
    (void)snprintf(total, sizeof total, "%s_total", key);
    (void)json_object_set_new(reply, key, list);
    (void)json_object_set_new(reply, total, json_integer((json_int_t)count));
}

/* --- pages --- */

static size_t json_length(const json_t *json)
{
    return json_dumpb(json, NULL, 0, JSON_COMPACT | JSON_ENCODE_ANY);
}

/* What stays of an item that no page can carry; takes its reference. One odd message must not keep
 * the others from being listed. */
static json_t *shortened(json_t *item)
{
    json_t *rest = json_object(), *left_out = json_array(), *value;
    const char *key;
    size_t room = BUS_PAGE_BYTES - MEMBER_MAX;
    json_object_foreach(item, key, value)
    {
        size_t len = strlen(key) + json_length(value) + 4;
        if (len <= MEMBER_MAX && len <= room) {
            (void)json_object_set(rest, key, value);
            room -= len;
        } else if (json_array_size(left_out) < 20) {
            (void)json_array_append_new(left_out, json_stringn(key, strnlen(key, 64)));
        }
    }
    (void)json_object_set_new(rest, "left_out", left_out);
    json_decref(item);
    return rest;
}

void bus_page_begin(struct bus_page *page)
{
    page->items = json_array();
    page->bytes = 0;
}

bool bus_page_add(struct bus_page *page, json_t *item)
{
    size_t len = json_length(item);
    bool first = json_array_size(page->items) == 0;
    if (!first && page->bytes + len > BUS_PAGE_BYTES) {
        json_decref(item);
        return false;
    }
    if (len > BUS_PAGE_BYTES) {
        item = shortened(item);
        len = json_length(item);
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
