/* What TLS came to, as JSON. Promises: the peer's texts are escaped. */
#include "lib/tls_report.h"
#include "lib/clock.h"
#include "lib/log.h"
#include <string.h>

static json_t *safe_string(const char *text)
{
    char safe[1024];
    return json_string(log_escape(safe, sizeof safe, text, strlen(text)));
}

static json_t *time_string(int64_t ms)
{
    char text[CLOCK_TEXT_SIZE];
    return json_string(clock_text(ms, text));
}

bool tls_report(json_t *reply, const struct tls_facts *facts)
{
    bool up = facts->version[0] != '\0';
    if (up) {
        (void)json_object_set_new(reply, "version", json_string(facts->version));
        (void)json_object_set_new(reply, "cipher", safe_string(facts->cipher));
        (void)json_object_set_new(reply, "resumed", json_boolean(facts->resumed));
    }
    (void)json_object_set_new(
        reply, "certificate",
        json_pack("{s:o, s:o, s:o, s:o, s:o, s:s}", "subject", safe_string(facts->subject),
                  "issuer", safe_string(facts->issuer), "names", safe_string(facts->names), "from",
                  time_string(facts->begins), "until", time_string(facts->ends), "pin",
                  facts->pin));
    return up && facts->ends - clock_now() < 14 * CLOCK_DAY;
}
