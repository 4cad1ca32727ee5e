/* SPDX-License-Identifier: Apache-2.0
 *
 * Environment expansion of a text from nowhere, with an environment that never changes. What comes out fits its
 * ceiling, has as many lines as what went in, and without a `$` is the same; every place in it leads back to
 * one in the text; a refusal begins with the name of the file and a line that there is. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "conf/expand.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { CEILING_BYTES = 1 << 16 };

static const char *environment(const char *name)
{
	return strcmp(name, "A") == 0	? "alpha"
	       : strcmp(name, "U") == 0 ? "\303\244$A"
	       : strcmp(name, "E") == 0 ? ""
	       : strcmp(name, "X") == 0 ? "a\nb"
	       : strcmp(name, "1") == 0 ? "one"
					: NULL;
}

static size_t lines_in(const uint8_t *p, size_t n)
{
	size_t lines = 1;
	for (size_t i = 0; i < n; i++)
		lines += p[i] == '\n';
	return lines;
}

static void check_places(const struct expansions *x, const struct dyn *out)
{
	unsigned line = 1, column = 1, last = 0;
	for (size_t i = 0; i < out->len; i++) {
		unsigned at = expand_column(x, line, column);
		assert(at >= 1 && at >= last);
		last = at;
		expand_unset(x, line);
		expand_within(x, line, column, line, column + 1);
		column += (out->p[i] & 0xc0) != 0x80;
		if (out->p[i] == '\n') {
			line++;
			column = 1;
			last = 0;
		}
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct err e = ERR_INIT;
	struct dyn out = DYN_INIT(CEILING_BYTES);
	struct expansions x = { 0 };
	struct span in = { data, size };
	size_t lines = lines_in(data, size);
	if (expand_text("fuzz.yml", in, environment, &out, &x, &e) < 0) {
		assert(e.kind == ERR_CONFIG && strncmp(e.text, "fuzz.yml:", 9) == 0);
		unsigned long line = strtoul(e.text + 9, NULL, 10);
		assert(line >= 1 && line <= lines);
	} else {
		assert(out.len <= CEILING_BYTES && lines_in(out.p, out.len) == lines);
		if (size == 0 || !memchr(data, '$', size))
			assert(x.n == 0 && out.len == size && (size == 0 || memcmp(out.p, data, size) == 0));
		check_places(&x, &out);
	}
	expansions_free(&x);
	dyn_free(&out);
	return 0;
}
