/* SPDX-License-Identifier: Apache-2.0
 *
 * Lineages from a peer or a file that somebody else has written: what parses is written and parses again to the
 * same; it is the same as itself, ahead of its own beginnings, and they are behind it. The second half of the
 * input, behind a zero byte, is another one: comparing is one relation seen from both sides. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "live/lineage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int parse(const uint8_t *p, size_t n, struct lineage *ret)
{
	struct err e = ERR_INIT;
	uint8_t *own = malloc(n ? n : 1); /* so that one byte too far is seen */
	assert(own);
	if (n)
		memcpy(own, p, n);
	int rc = lineage_parse((struct span){ own, n }, ret, &e);
	free(own);
	if (rc < 0) {
		assert(e.kind != ERR_NONE && e.text[0]);
		assert(ret->n == 0 && !ret->promotions);
	} else {
		assert(strlen(ret->line) == LINEAGE_ID_CHARS && ret->n <= LINEAGE_PROMOTIONS_MAX);
	}
	return rc;
}

static void check_again(const struct lineage *l)
{
	struct dyn text = DYN_INIT(LINEAGE_TEXT_BYTES_MAX);
	struct lineage again;
	assert(lineage_text(l, &text) == 0);
	assert(parse(text.p, text.len, &again) == 0);
	assert(strcmp(again.line, l->line) == 0 && again.n == l->n);
	for (size_t i = 0; i < l->n; i++) {
		const struct lineage_promotion *a = &l->promotions[i], *b = &again.promotions[i];
		assert(strcmp(a->id, b->id) == 0 && strcmp(a->generation.name, b->generation.name) == 0);
		assert(a->at.index == b->at.index && a->at.offset == b->at.offset && a->wall_us == b->wall_us);
	}
	assert(lineage_compare(l, &again) == LINEAGE_SAME);
	if (l->n > 0) {
		again.n--;
		assert(lineage_compare(&again, l) == LINEAGE_AHEAD &&
		       lineage_compare(l, &again) == LINEAGE_BEHIND);
	}
	lineage_free(&again);
	dyn_free(&text);
}

static void check_both(const struct lineage *a, const struct lineage *b)
{
	enum lineage_match ab = lineage_compare(a, b), ba = lineage_compare(b, a);
	switch (ab) {
	case LINEAGE_SAME:
	case LINEAGE_BRANCH:
	case LINEAGE_OTHER:
		assert(ba == ab);
		break;
	case LINEAGE_AHEAD:
		assert(ba == LINEAGE_BEHIND && a->n < b->n);
		break;
	case LINEAGE_BEHIND:
		assert(ba == LINEAGE_AHEAD && a->n > b->n);
		break;
	}
	assert((ab == LINEAGE_OTHER) == (strcmp(a->line, b->line) != 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct lineage a, b;
	const uint8_t *zero = size ? memchr(data, 0, size) : NULL;
	size_t n = zero ? (size_t)(zero - data) : size;
	if (parse(data, n, &a) == 0) {
		check_again(&a);
		if (zero && parse(zero + 1, size - n - 1, &b) == 0) {
			check_both(&a, &b);
			lineage_free(&b);
		}
	}
	lineage_free(&a);
	return 0;
}
