/* A table is gathered first and laid out when it is printed: columns that may be cut give way
 * evenly, the widest first; when that isn't enough, whole columns are dropped in the order their
 * table says. */
#include "ctl/table.h"
#include "lib/log.h"
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define COLUMNS_MAX 16
#define CELL_MAX    512
#define GAP         2

struct row {
    char *cells[COLUMNS_MAX];
    enum print_style styles[COLUMNS_MAX];
};

struct table {
    const struct table_column *columns;
    int count;
    struct row *rows;
    size_t used, room;
};

static void *must(void *memory)
{
    if (memory != NULL)
        return memory;
    fputs("popferryctl: out of memory\n", stderr);
    exit(1);
}

struct table *table_new(const struct table_column *columns)
{
    struct table *table = must(calloc(1, sizeof *table));
    table->columns = columns;
    while (columns[table->count].title != NULL)
        table->count++;
    assert(table->count <= COLUMNS_MAX);
    return table;
}

void table_add(struct table *table, const char *const *cells)
{
    if (table->used == table->room) {
        table->room = table->room == 0 ? 16 : 2 * table->room;
        table->rows = must(realloc(table->rows, table->room * sizeof *table->rows));
    }
    struct row *row = &table->rows[table->used++];
    *row = (struct row){0};
    for (int i = 0; i < table->count; i++) {
        char safe[CELL_MAX];
        const char *text = cells[i] != NULL ? cells[i] : "";
        row->cells[i] = must(strdup(log_escape(safe, sizeof safe, text, strlen(text))));
    }
}

void table_style(struct table *table, int column, enum print_style style)
{
    table->rows[table->used - 1].styles[column] = style;
}

size_t table_rows(const struct table *table)
{
    return table->used;
}

void table_free(struct table *table)
{
    for (size_t r = 0; r < table->used; r++)
        for (int i = 0; i < table->count; i++)
            free(table->rows[r].cells[i]);
    free(table->rows);
    free(table);
}

/* Widths of the columns; a dropped one is -1. */
struct layout {
    int width[COLUMNS_MAX];
};

static int layout_total(const struct table *table, const struct layout *layout)
{
    int total = 0;
    for (int i = 0; i < table->count; i++)
        if (layout->width[i] >= 0)
            total += layout->width[i] + (total > 0 ? GAP : 0);
    return total;
}

/* Takes one column from the widest that may be cut; false when none may. */
static bool layout_shrink(const struct table *table, struct layout *layout)
{
    int widest = -1;
    for (int i = 0; i < table->count; i++) {
        bool may = table->columns[i].least > 0 && layout->width[i] > table->columns[i].least;
        if (may && (widest < 0 || layout->width[i] > layout->width[widest]))
            widest = i;
    }
    if (widest >= 0)
        layout->width[widest]--;
    return widest >= 0;
}

static bool layout_drop(const struct table *table, struct layout *layout)
{
    int first = -1;
    for (int i = 0; i < table->count; i++)
        if (layout->width[i] >= 0 && table->columns[i].drop > 0 &&
            (first < 0 || table->columns[i].drop > table->columns[first].drop))
            first = i;
    if (first >= 0)
        layout->width[first] = -1;
    return first >= 0;
}

static struct layout layout_natural(const struct table *table, const struct layout *dropped)
{
    struct layout layout = {.width = {0}};
    for (int i = 0; i < table->count; i++) {
        layout.width[i] = print_width(table->columns[i].title);
        for (size_t r = 0; r < table->used; r++) {
            int width = print_width(table->rows[r].cells[i]);
            if (width > layout.width[i])
                layout.width[i] = width;
        }
        if (dropped != NULL && dropped->width[i] < 0)
            layout.width[i] = -1;
    }
    return layout;
}

static struct layout layout_fit(const struct table *table, int width)
{
    struct layout layout = layout_natural(table, NULL);
    if (width <= 0)
        return layout;
    for (;;) {
        while (layout_total(table, &layout) > width && layout_shrink(table, &layout))
            ;
        if (layout_total(table, &layout) <= width || !layout_drop(table, &layout))
            return layout;
        layout = layout_natural(table, &layout);
    }
}

static void print_row(const struct table *table, const struct layout *layout,
                      const struct screen *screen, const struct row *row)
{
    int pending = 0; /* spaces owed: none are written at the end of a line */
    for (int i = 0; i < table->count; i++) {
        if (layout->width[i] < 0)
            continue;
        char cell[CELL_MAX + 4];
        const char *text = row != NULL ? row->cells[i] : table->columns[i].title;
        (void)snprintf(cell, sizeof cell, "%s", text);
        print_cut(cell, sizeof cell, layout->width[i]);
        int fill = layout->width[i] - print_width(cell);
        if (table->columns[i].right) {
            pending += fill;
            fill = 0;
        }
        if (cell[0] != '\0') {
            fprintf(screen->out, "%*s", pending, "");
            print_styled(screen, row != NULL ? row->styles[i] : PRINT_TITLE, cell);
            pending = 0;
        }
        pending += fill + GAP;
    }
    fputc('\n', screen->out);
}

void table_print(const struct table *table, const struct screen *screen)
{
    struct layout layout = layout_fit(table, screen->width);
    print_row(table, &layout, screen, NULL);
    for (size_t r = 0; r < table->used; r++)
        print_row(table, &layout, screen, &table->rows[r]);
}
