/* Promises: hygiene never runs without a filter that its configuration asks for. */
#include "hygiene/filters.h"
#include "lib/clock.h"
#include "lib/log.h"

#define KEEP_DEFAULT (90 * CLOCK_DAY)

bool filters_supported(const struct conf *conf, struct error *err)
{
    const struct {
        const char *key, *value;
    } filters[] = {
        {.key = "rspamd", .value = conf->hygiene.rspamd.server},
        {.key = "clamd", .value = conf->hygiene.clamd.server},
        {.key = "spamd", .value = conf->hygiene.spamd.server},
    };
    for (size_t i = 0; i < sizeof filters / sizeof filters[0]; i++)
        if (filters[i].value[0] != '\0')
            return error_set(err, ERROR_USAGE,
                             "%s: hygiene.%s: content filters are not there yet; leave it empty",
                             conf->file, filters[i].key);
    return true;
}

void filters_warn(const struct conf *conf)
{
    const struct {
        const char *key;
        bool set;
    } settings[] = {
        {.key = "hygiene.badmail-keep", .set = conf->hygiene.badmail_keep != KEEP_DEFAULT},
        {.key = "hygiene.on-filter-error",
         .set = conf->hygiene.on_filter_error != CONF_FILTER_DEFER},
    };
    for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
        if (settings[i].set)
            LOG(LOG_WARN, "setting-not-in-force", KV("file", conf->file),
                KV("key", settings[i].key), KV("meaning", "it is read, and changes nothing yet"));
}
