/* SPDX-License-Identifier: Apache-2.0
 *
 * Expansion happens on the whole text before YAML sees it, by the rules of Litestream 0.3 (those of Go's
 * os.Expand):
 *
 *   1. `$NAME` and `${NAME}` become the value of the variable, nothing if it is not set; NAME is letters,
 * digits, `_`
 *   2. `$` with one of `*#$@!?-` or a digit is a name of one character (so `$$` and `$1` become nothing)
 *   3. `$` before anything else, or at the end, stays
 *
 * and differs from it in three places: a comment that has a line of its own is left alone; `${…}` with anything
 * but a name inside is an error where Litestream quietly made it nothing (`${A:-b}` is the usual case); and a
 * value with a line break is an error, because it could add keys to the file.
 *
 * Each replacement is remembered with both columns, so that messages can point into the file as its author sees
 * it. */
#include "conf/expand.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct walk {
	const char *file;
	struct span in;
	size_t at;
	unsigned line, in_column, out_column;
	bool comment; /* a line that is nothing but a comment */
	expand_get *get;
	struct dyn *out;
	struct expansions *x;
};

static bool name_char(uint8_t c)
{
	return c == '_' || (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool one_char_name(uint8_t c)
{
	return c && (strchr("*#$@!?-", c) || (c >= '0' && c <= '9'));
}

static unsigned chars_in(const void *p, size_t n)
{
	unsigned chars = 0;
	for (size_t i = 0; i < n; i++)
		chars += (((const uint8_t *)p)[i] & 0xc0) != 0x80;
	return chars;
}

/* The name behind the `$` at the cursor. Returns the length of the whole reference, 0 if there is none; -1:
 * bad. */
static long name_at(const struct walk *w, struct span *ret, struct err *e)
{
	const uint8_t *p = w->in.p + w->at + 1;
	size_t left = w->in.n - w->at - 1, n = 0;
	if (left == 0)
		return 0;
	if (*p == '{') {
		while (n + 1 < left && p[n + 1] != '}' && p[n + 1] != '\n')
			n++;
		bool closed = n + 1 < left && p[n + 1] == '}', good = n > 0;
		for (size_t i = 1; i <= n; i++)
			good = good && (name_char(p[i]) || (n == 1 && one_char_name(p[1])));
		if (!closed || !good)
			return err_set(
				e, ERR_CONFIG,
				"%s:%u:%u: \"${%.*s%s\" is not an environment variable: only ${NAME} with "
				"letters, digits "
				"and _ is known. If the $ is meant as it stands, start with -no-expand-env",
				w->file, w->line, w->in_column, (int)(n < 40 ? n : 40), (const char *)p + 1,
				closed ? "}" : "");
		*ret = (struct span){ p + 1, n };
		return (long)n + 3;
	}
	if (one_char_name(*p))
		n = 1;
	while (n < left && name_char(p[n]) && !one_char_name(*p))
		n++;
	*ret = (struct span){ p, n };
	return n ? (long)n + 1 : 0;
}

static int note(struct walk *w, const char *name, size_t in_bytes, const char *value, struct err *e)
{
	struct expansions *x = w->x;
	if (x->n == x->cap) {
		size_t cap = x->cap ? 2 * x->cap : 16;
		struct expansion *v = x->n < EXPAND_MAX ? realloc(x->v, cap * sizeof *v) : NULL;
		if (!v)
			return err_set(e, ERR_CONFIG,
				       "%s:%u:%u: more than %d environment variables in one file", w->file,
				       w->line, w->in_column, EXPAND_MAX);
		x->v = v;
		x->cap = cap;
	}
	struct expansion *n = &x->v[x->n++];
	*n = (struct expansion){ .line = w->line, .in_column = w->in_column, .out_column = w->out_column };
	n->in_chars = (unsigned)in_bytes;
	n->out_chars = value ? chars_in(value, strlen(value)) : 0;
	n->unset = !value;
	snprintf(n->name, sizeof n->name, "%.*s", EXPAND_NAME_BYTES - 1, name);
	w->in_column += n->in_chars;
	w->out_column += n->out_chars;
	return 0;
}

/* At a `$`. Moves behind what it stands for. */
static int expand_one(struct walk *w, struct err *e)
{
	struct span s = { NULL, 0 };
	char name[256];
	long n = name_at(w, &s, e);
	if (n < 0)
		return -1;
	if (n == 0) {
		w->at++;
		w->in_column++;
		w->out_column++;
		return dyn_add(w->out, "$", 1);
	}
	if (s.n >= sizeof name)
		return err_set(e, ERR_CONFIG,
			       "%s:%u:%u: the name of an environment variable is longer than %zu characters",
			       w->file, w->line, w->in_column, sizeof name - 1);
	memcpy(name, s.p, s.n);
	name[s.n] = 0;
	const char *value = w->get(name);
	if (value && strpbrk(value, "\r\n"))
		return err_set(e, ERR_CONFIG,
			       "%s:%u:%u: the value of the environment variable %s contains a line break, "
			       "which cannot "
			       "be put into the file; write it there instead",
			       w->file, w->line, w->in_column, name);
	w->at += (size_t)n;
	if (note(w, name, (size_t)n, value, e) < 0)
		return -1;
	return value ? dyn_add(w->out, value, strlen(value)) : 0;
}

/* At the start of a line: whether only a comment stands on it. */
static bool comment_line(const struct walk *w)
{
	size_t i = w->at;
	while (i < w->in.n && (w->in.p[i] == ' ' || w->in.p[i] == '\t'))
		i++;
	return i < w->in.n && w->in.p[i] == '#';
}

int expand_text(const char *file, struct span in, expand_get *get, struct dyn *out, struct expansions *ret,
		struct err *e)
{
	struct walk w = { .file = file,
			  .in = in,
			  .line = 1,
			  .in_column = 1,
			  .out_column = 1,
			  .get = get,
			  .out = out,
			  .x = ret };
	w.comment = comment_line(&w);
	e->kind = ERR_NONE;
	while (w.at < in.n) {
		const uint8_t *p = in.p + w.at;
		int rc;
		if (*p == '$' && !w.comment) {
			rc = expand_one(&w, e);
		} else {
			const uint8_t *stop = w.comment ? NULL : memchr(p, '$', in.n - w.at);
			const uint8_t *line = memchr(p, '\n', (size_t)((stop ? stop : in.p + in.n) - p));
			const uint8_t *end = line ? line + 1 : stop ? stop : in.p + in.n;
			size_t n = (size_t)(end - p);
			rc = dyn_add(out, p, n);
			w.at += n;
			w.in_column = line ? 1 : w.in_column + chars_in(p, n);
			w.out_column = line ? 1 : w.out_column + chars_in(p, n);
			if (line) {
				w.line++;
				w.comment = comment_line(&w);
			}
		}
		if (rc < 0)
			return e->kind ? -1
				       : err_set(e, ERR_CONFIG,
						 "%s:%u: larger than %zu bytes with its environment variables",
						 file, w.line, out->max);
	}
	return 0;
}

/* The first replacement on this line or a later one; they are in order. */
static size_t line_start(const struct expansions *x, unsigned line)
{
	size_t low = 0, high = x->n;
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		if (x->v[middle].line < line)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

unsigned expand_column(const struct expansions *x, unsigned line, unsigned column)
{
	const struct expansion *last = NULL;
	for (size_t i = line_start(x, line); i < x->n && x->v[i].line == line; i++)
		if (x->v[i].out_column <= column)
			last = &x->v[i];
	if (!last)
		return column;
	if (column < last->out_column + last->out_chars)
		return last->in_column;
	return column - (last->out_column + last->out_chars) + last->in_column + last->in_chars;
}

const char *expand_within(const struct expansions *x, unsigned line, unsigned column, unsigned end_line,
			  unsigned end_column)
{
	for (size_t i = line_start(x, line); i < x->n; i++) {
		const struct expansion *v = &x->v[i];
		if (v->line > end_line || (v->line == end_line && v->out_column >= end_column))
			return NULL;
		if (v->line > line || v->out_column + v->out_chars > column || v->out_column >= column)
			return v->name;
	}
	return NULL;
}

const char *expand_unset(const struct expansions *x, unsigned line)
{
	for (size_t i = line_start(x, line); i < x->n && x->v[i].line == line; i++)
		if (x->v[i].unset)
			return x->v[i].name;
	return NULL;
}

void expansions_free(struct expansions *x)
{
	free(x->v);
	*x = (struct expansions){ 0 };
}
