/* Pins as text. Promises: what is not a whole SHA-256 is no pin; the output is untouched then. */
#include "lib/tls.h"
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

static int hex_value(char c)
{
    static const char digits[] = "0123456789abcdef";
    const char *at = c != '\0' ? strchr(digits, c | 0x20) : NULL;
    return at != NULL ? (int)(at - digits) : -1;
}

static bool from_hex(const char *text, unsigned char pin[static TLS_PIN_SIZE])
{
    size_t n = 0;
    for (; *text != '\0' && n < 2 * TLS_PIN_SIZE; text++) {
        int value = hex_value(*text);
        if (*text == ':' && n > 0 && n % 2 == 0)
            continue;
        if (value < 0)
            return false;
        pin[n / 2] = (unsigned char)(n % 2 == 0 ? value << 4 : pin[n / 2] | value);
        n++;
    }
    return n == 2 * TLS_PIN_SIZE && *text == '\0';
}

static bool from_base64(const char *text, unsigned char pin[static TLS_PIN_SIZE])
{
    enum { LENGTH = 44 }; /* of 32 octets, the last character being '=' */
    unsigned char octets[LENGTH];
    if (strlen(text) != LENGTH || text[LENGTH - 1] != '=' || text[LENGTH - 2] == '=' ||
        EVP_DecodeBlock(octets, (const unsigned char *)text, LENGTH) != TLS_PIN_SIZE + 1)
        return false;
    memcpy(pin, octets, TLS_PIN_SIZE);
    return true;
}

bool tls_pin_parse(const char *text, unsigned char pin[static TLS_PIN_SIZE])
{
    unsigned char found[TLS_PIN_SIZE] = {0};
    bool slashes = strncmp(text, "sha256//", 8) == 0;
    if (!slashes && strncmp(text, "sha256:", 7) != 0)
        return false;
    text += slashes ? 8 : 7;
    if ((slashes || !from_hex(text, found)) && !from_base64(text, found))
        return false;
    memcpy(pin, found, TLS_PIN_SIZE);
    return true;
}

char *tls_pin_text(const unsigned char pin[static TLS_PIN_SIZE], char buf[static TLS_PIN_TEXT])
{
    unsigned char base64[48];
    (void)EVP_EncodeBlock(base64, pin, TLS_PIN_SIZE);
    (void)snprintf(buf, TLS_PIN_TEXT, "sha256:%.44s", (const char *)base64);
    return buf;
}
