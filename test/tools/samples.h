/* SPDX-License-Identifier: Apache-2.0
 *
 * Samples of one quantity with a ceiling, and their quantiles, for the small programs of tests and benchmarks.
 */
#ifndef WB_TOOLS_SAMPLES_H
#define WB_TOOLS_SAMPLES_H

#include <stdint.h>
#include <stdlib.h>

enum { SAMPLES_MAX = 4 << 20 };

struct samples {
	int64_t *v;
	size_t n, cap;
	int64_t max;
};

/* Past the ceiling only the maximum is kept up to date. */
static inline void samples_add(struct samples *s, int64_t v)
{
	if (v > s->max)
		s->max = v;
	if (s->n == s->cap) {
		size_t cap = s->cap ? s->cap * 2 : 4096;
		int64_t *p = cap <= SAMPLES_MAX ? realloc(s->v, cap * sizeof *p) : NULL;
		if (!p)
			return;
		s->v = p;
		s->cap = cap;
	}
	s->v[s->n++] = v;
}

static int samples_order(const void *a, const void *b)
{
	int64_t x, y;
	__builtin_memcpy(&x, a, sizeof x);
	__builtin_memcpy(&y, b, sizeof y);
	return (x > y) - (x < y);
}

/* Sorts; the smallest value that `percent` of the samples do not exceed. 0 without samples. */
static inline int64_t samples_at(struct samples *s, unsigned percent)
{
	if (s->n == 0)
		return 0;
	qsort(s->v, s->n, sizeof *s->v, samples_order);
	size_t i = (s->n * percent + 99) / 100;
	return s->v[i ? i - 1 : 0];
}

static inline void samples_free(struct samples *s)
{
	free(s->v);
	*s = (struct samples){ .v = NULL };
}

#endif
