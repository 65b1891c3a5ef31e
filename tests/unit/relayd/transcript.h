/* Reading of tests/data/smtp/<name>.txt for the tests here. */
#ifndef TESTS_TRANSCRIPT_H
#define TESTS_TRANSCRIPT_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Undoes \r \n \0 \s \xNN \\ in place, and \*N: N times the byte before. Returns the length; room
 * is the size of the buffer. */
static inline size_t transcript_unescape(char *text, size_t room)
{
    char *copy = strdup(text);
    size_t len = 0;
    for (char *p = copy; *p && len + 1 < room; p++) {
        if (*p != '\\') {
            text[len++] = *p;
            continue;
        }
        switch (*++p) {
        case 'r':
            text[len++] = '\r';
            break;
        case 'n':
            text[len++] = '\n';
            break;
        case '0':
            text[len++] = '\0';
            break;
        case 's':
            text[len++] = ' ';
            break;
        case 'x': {
            char hex[3] = {p[1], p[2], 0};
            text[len++] = (char)strtol(hex, NULL, 16);
            p += 2;
            break;
        }
        case '*': {
            long times = strtol(p + 1, &p, 10);
            for (char last = text[len - 1]; times > 1 && len + 1 < room; times--)
                text[len++] = last;
            p--;
            break;
        }
        default:
            text[len++] = *p;
        }
    }
    text[len] = '\0';
    free(copy);
    return len;
}

#endif
