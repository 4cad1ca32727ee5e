/* SPDX-License-Identifier: Apache-2.0
 *
 * Shared bytes: see bytes.h.
 *
 * Failure modes: no memory. */
#include "live/bytes.h"

#include <stdlib.h>
#include <string.h>

struct bytes *bytes_new(size_t n)
{
	struct bytes *b = malloc(sizeof *b + n);
	if (!b)
		return NULL;
	b->refs = 1;
	b->n = n;
	b->plain_at = 0;
	return b;
}

struct bytes *bytes_get(struct bytes *b)
{
	b->refs++;
	return b;
}

void bytes_put(struct bytes *b)
{
	if (b && --b->refs == 0)
		free(b);
}

struct bytes *bytes_record(const struct record *r)
{
	struct bytes *b = bytes_new(RECORD_HEADER_BYTES + (size_t)r->size_bytes);
	if (b)
		record_write(b->p, r);
	return b;
}

struct bytes *bytes_text_record(enum record_type type, const struct generation *g, struct position at,
				struct span text)
{
	struct record r = {
		.type = type, .generation = *g, .at = at, .size_bytes = text.n + RECORD_SEAL_BYTES
	};
	struct bytes *b = bytes_record(&r);
	if (!b)
		return NULL;
	memcpy(b->p + RECORD_HEADER_BYTES, text.p, text.n);
	record_seal(b->p, b->n);
	return b;
}
