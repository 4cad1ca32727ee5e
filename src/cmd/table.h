/* SPDX-License-Identifier: Apache-2.0
 *
 * A table for people and scripts: columns left-aligned, each as wide as its widest cell and two spaces, the
 * last one not padded, the header always there. The layout is that of the original. */
#ifndef WB_CMD_TABLE_H
#define WB_CMD_TABLE_H

#include <stddef.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/err.h"

enum { TABLE_COLUMNS_MAX = 16 };

/* Cells are kept (about their length in bytes each) until they are printed. Free with table_free. */
struct table {
	size_t columns;
	size_t width[TABLE_COLUMNS_MAX]; /* characters */
	struct dyn cells;		 /* row after row, each cell ends with a NUL; the titles first */
	size_t cells_n;
	bool failed;
};

void table_init(struct table *t, const char *const *titles); /* NULL at the end */
/* The next cell, from left to right and row after row. Control characters become `?`. */
void table_cell(struct table *t, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* All rows must be complete. ERR_FAIL: a cell found no memory (nothing is printed then). Whether the stream
 * took it is for the caller to ask (ferror). */
int table_print(const struct table *t, FILE *to, struct err *e);
void table_free(struct table *t);

#endif
