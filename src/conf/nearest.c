/* SPDX-License-Identifier: Apache-2.0
 *
 * Edit distance in which a wrong, a missing, an additional letter and two letters in the wrong order each count
 * one.
 *
 *   1. the table of distances between beginnings is filled row by row; three rows are enough
 *   2. a known word is near enough when one letter differs, two of six and more, three of nine and more;
 *      the first of several equally near words wins
 *
 * Words longer than NEAREST_WORD_BYTES are never near: what people mistype is short. */
#include "conf/nearest.h"

#include <string.h>

enum { NEAREST_WORD_BYTES = 200 };

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static size_t distance(const char *a, size_t an, const char *b, size_t bn)
{
	size_t rows[3][NEAREST_WORD_BYTES + 1];
	size_t *before = rows[0], *last = rows[1], *row = rows[2];
	for (size_t j = 0; j <= bn; j++)
		last[j] = j;
	for (size_t i = 1; i <= an; i++) {
		row[0] = i;
		for (size_t j = 1; j <= bn; j++) {
			row[j] = least(last[j - 1] + (a[i - 1] != b[j - 1]), least(last[j], row[j - 1]) + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				row[j] = least(row[j], before[j - 2] + 1);
		}
		size_t *oldest = before;
		before = last;
		last = row;
		row = oldest;
	}
	return last[bn];
}

void nearest_offer(struct nearest *n, const char *known)
{
	size_t an = strlen(n->word), bn = strlen(known);
	if (an == 0 || an > NEAREST_WORD_BYTES || bn > NEAREST_WORD_BYTES)
		return;
	size_t limit = bn < 6 ? 1 : bn < 9 ? 2 : 3;
	if (an > bn + limit || bn > an + limit)
		return;
	size_t d = distance(n->word, an, known, bn);
	if (d <= limit && (!n->best || d < n->distance)) {
		n->best = known;
		n->distance = d;
	}
}
