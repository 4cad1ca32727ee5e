/* SPDX-License-Identifier: Apache-2.0
 *
 * Environment variables in the text of a configuration file, and where things stood before they were put in. */
#ifndef WB_CONF_EXPAND_H
#define WB_CONF_EXPAND_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buf.h"
#include "base/err.h"

enum { EXPAND_NAME_BYTES = 64, EXPAND_MAX = 100000 };

/* One variable that was put in. Lines and columns count from 1, columns in characters. */
struct expansion {
	unsigned line;
	unsigned in_column, in_chars;	/* `$NAME` in the file */
	unsigned out_column, out_chars; /* its value in the text that is parsed */
	bool unset;
	char name[EXPAND_NAME_BYTES]; /* cut when longer */
};

struct expansions {
	struct expansion *v;
	size_t n, cap;
};

typedef const char *expand_get(const char *name); /* NULL: not set; getenv, or a test's */

/* Appends `in` to *out with the variables put in. ERR_CONFIG: the text begins with "FILE:LINE:COLUMN: ". */
int expand_text(const char *file, struct span in, expand_get *get, struct dyn *out, struct expansions *ret,
		struct err *e);
/* Column in the file of what stands at a column of the expanded text. */
unsigned expand_column(const struct expansions *x, unsigned line, unsigned column);
/* Name of the first variable between two places of the expanded text (the second one is the first behind), NULL
 * if there is none. */
const char *expand_within(const struct expansions *x, unsigned line, unsigned column, unsigned end_line,
			  unsigned end_column);
/* Name of the first variable on this line that is not set, NULL if there is none. */
const char *expand_unset(const struct expansions *x, unsigned line);
void expansions_free(struct expansions *x);

#endif
