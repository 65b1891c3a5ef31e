/* Tables that fit the terminal. */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include "ctl/print.h"

struct table_column {
    const char *title;
    bool right; /* numbers */
    int least;  /* may be cut down to so many columns; 0: is never cut */
    int drop;   /* > 0: left out where the screen is too narrow, the highest first */
};
struct table;
/* columns ends with a NULL title and must outlive the table. */
struct table *table_new(const struct table_column *columns);
/* One row; cells are copied and escaped, NULL is empty. */
void table_add(struct table *table, const char *const *cells);
/* A style for one cell of the row added last. */
void table_style(struct table *table, int column, enum print_style style);
size_t table_rows(const struct table *table);
void table_print(const struct table *table, const struct screen *screen);
void table_free(struct table *table);

#endif
