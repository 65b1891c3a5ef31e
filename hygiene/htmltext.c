/* See htmltext.h. It is no parser of HTML, which has rules for every mistake: what is odd comes out
 * as odd text, which is harmless. */
#include "hygiene/htmltext.h"
#include <glib.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

struct reduce {
    const char *at, *end;
    char *out;
    size_t n;
};

static bool starts(const struct reduce *r, const char *word)
{
    size_t len = strlen(word);
    return (size_t)(r->end - r->at) >= len && g_ascii_strncasecmp(r->at, word, len) == 0;
}

static void skip_past(struct reduce *r, const char *word)
{
    while (r->at < r->end && !starts(r, word)) {
        const char *next = memchr(r->at + 1, word[0], (size_t)(r->end - r->at - 1));
        r->at = next != NULL ? next : r->end;
    }
    r->at = (size_t)(r->end - r->at) > strlen(word) ? r->at + strlen(word) : r->end;
}

static void put(struct reduce *r, char c)
{
    bool blank = c == ' ';
    bool at_start = r->n == 0 || r->out[r->n - 1] == '\n';
    if (blank && (at_start || r->out[r->n - 1] == ' '))
        return;
    r->out[r->n++] = c;
}

/* At most one empty line between two that are not. */
static void put_line_end(struct reduce *r)
{
    while (r->n > 0 && r->out[r->n - 1] == ' ')
        r->n--;
    bool empty = r->n == 0 || (r->n >= 2 && r->out[r->n - 1] == '\n' && r->out[r->n - 2] == '\n');
    if (!empty)
        r->out[r->n++] = '\n';
}

/* Elements whose text nobody sees. */
static const char *unseen_end(const struct reduce *r)
{
    static const struct {
        const char *start, *end;
    } unseen[] = {
        {"<!--", "-->"},
        {"<script", "</script"},
        {"<style", "</style"},
        {"<title", "</title"},
        {"<head>", "</head"},
        {"<!", ">"},
        {"<template", "</template"},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(unseen); i++)
        if (starts(r, unseen[i].start))
            return unseen[i].end;
    return NULL;
}

static bool begins_line(const char *name, size_t len)
{
    static const char *const blocks[] = {"br", "p",  "div", "tr",  "li",        "table",
                                         "h1", "h2", "h3",  "h4",  "hr",        "ul",
                                         "ol", "dt", "dd",  "pre", "blockquote"};
    for (size_t i = 0; i < G_N_ELEMENTS(blocks); i++)
        if (strlen(blocks[i]) == len && g_ascii_strncasecmp(name, blocks[i], len) == 0)
            return true;
    return false;
}

static void take_tag(struct reduce *r)
{
    const char *unseen = unseen_end(r);
    if (unseen != NULL) {
        skip_past(r, unseen);
        if (unseen[0] == '<') /* the rest of the closing tag */
            skip_past(r, ">");
        return;
    }
    const char *name = r->at + 1;
    if (name < r->end && *name == '/')
        name++;
    size_t len = 0;
    while (name + len < r->end && g_ascii_isalnum(name[len]))
        len++;
    if (len == 0 || g_ascii_isdigit(*name)) { /* "a < b", "<3" */
        put(r, *r->at++);
        return;
    }
    if (begins_line(name, len))
        put_line_end(r);
    else if (len == 2 &&
             (g_ascii_strncasecmp(name, "td", 2) == 0 || g_ascii_strncasecmp(name, "th", 2) == 0))
        put(r, ' ');
    skip_past(r, ">");
}

/* "&#8222;" and "&#x201E;"; the character, 0 when it is none. */
static gunichar numeric(const char *digits, const char *end)
{
    char text[10];
    bool hex = digits < end && (*digits == 'x' || *digits == 'X');
    size_t n = (size_t)(end - digits - hex);
    if (n == 0 || n >= sizeof text)
        return 0;
    memcpy(text, digits + hex, n);
    text[n] = '\0';
    char *rest;
    unsigned long c = strtoul(text, &rest, hex ? 16 : 10);
    return *rest == '\0' && c < 0x110000 && g_unichar_validate((gunichar)c) ? (gunichar)c : 0;
}

static gunichar named(const char *name, size_t len)
{
    static const struct {
        const char *name;
        gunichar c;
    } entities[] = {
        {"amp", '&'},      {"lt", '<'},       {"gt", '>'},        {"quot", '"'},   {"apos", '\''},
        {"nbsp", ' '},     {"euro", 0x20AC},  {"auml", 0xE4},     {"ouml", 0xF6},  {"uuml", 0xFC},
        {"Auml", 0xC4},    {"Ouml", 0xD6},    {"Uuml", 0xDC},     {"szlig", 0xDF}, {"eacute", 0xE9},
        {"ndash", 0x2013}, {"mdash", 0x2014}, {"hellip", 0x2026}, {"copy", 0xA9},
    };
    for (size_t i = 0; i < G_N_ELEMENTS(entities); i++)
        if (strlen(entities[i].name) == len && memcmp(name, entities[i].name, len) == 0)
            return entities[i].c;
    return 0;
}

static void take_entity(struct reduce *r)
{
    size_t room = (size_t)(r->end - r->at) < 12 ? (size_t)(r->end - r->at) : 12;
    const char *semicolon = memchr(r->at, ';', room), *name = r->at + 1;
    gunichar c = 0;
    if (semicolon != NULL && *name == '#')
        c = numeric(name + 1, semicolon);
    else if (semicolon != NULL)
        c = named(name, (size_t)(semicolon - name));
    if (c == 0) {
        put(r, *r->at++);
        return;
    }
    char utf8[6];
    gint n = g_unichar_to_utf8(c, utf8); /* shorter than any way to write it as an entity */
    for (gint i = 0; i < n; i++)
        put(r, utf8[i]);
    r->at = semicolon + 1;
}

static void put_as_it_is(struct reduce *r, char c)
{
    bool blank = c == ' ' || c == '\t' || c == '\r' || c == '\n';
    if (blank)
        c = ' ';
    put(r, c);
}

char *htmltext_reduce(const char *html, size_t len, size_t *n)
{
    struct reduce r = {.at = html, .end = html + len, .out = malloc(len + 1)};
    if (r.out == NULL)
        abort();
    while (r.at < r.end) {
        if (*r.at == '<')
            take_tag(&r);
        else if (*r.at == '&')
            take_entity(&r);
        else
            put_as_it_is(&r, *r.at++);
    }
    while (r.n > 0 && r.out[r.n - 1] == ' ')
        r.n--;
    r.out[r.n] = '\0';
    *n = r.n;
    return r.out;
}
