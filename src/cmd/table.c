/* SPDX-License-Identifier: Apache-2.0
 *
 * Tables, see table.h: cells are collected as one run of bytes, because the widest of each column is known only
 * at the end; then they are printed in the order in which they came. Widths count characters, not bytes.
 *
 * Failure modes: no memory is remembered and told by table_print. */
#include "cmd/table.h"

#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

enum { CELL_BYTES_MAX = 8192, CELLS_BYTES_MAX = 1 << 30 };

static size_t characters(const char *text)
{
	size_t n = 0;
	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void add(struct table *t, const char *text)
{
	size_t n = characters(text), *width = &t->width[t->cells_n % t->columns];
	if (n > *width)
		*width = n;
	t->failed = t->failed || dyn_add(&t->cells, text, strlen(text) + 1) < 0;
	t->cells_n++;
}

void table_init(struct table *t, const char *const *titles)
{
	*t = (struct table){ .cells = DYN_INIT(CELLS_BYTES_MAX) };
	while (titles[t->columns])
		t->columns++;
	assert(t->columns > 0 && t->columns <= TABLE_COLUMNS_MAX);
	for (size_t i = 0; i < t->columns; i++)
		add(t, titles[i]);
}

void table_cell(struct table *t, const char *fmt, ...)
{
	char text[CELL_BYTES_MAX];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	for (char *p = text; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = '?';
	add(t, text);
}

int table_print(const struct table *t, FILE *to, struct err *e)
{
	const char *cell = (const char *)t->cells.p;
	if (t->failed)
		return err_set(e, ERR_FAIL, "no memory for a table of %zu rows", t->cells_n / t->columns);
	assert(t->cells_n % t->columns == 0);
	for (size_t i = 0; i < t->cells_n; i++) {
		size_t column = i % t->columns;
		bool last = column + 1 == t->columns;
		fputs(cell, to);
		if (last)
			fputc('\n', to);
		else
			fprintf(to, "%*s", (int)(t->width[column] - characters(cell) + 2), "");
		cell += strlen(cell) + 1;
	}
	return 0;
}

void table_free(struct table *t)
{
	dyn_free(&t->cells);
}
