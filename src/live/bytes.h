/* SPDX-License-Identifier: Apache-2.0
 *
 * Bytes that several followers are sent: made once, freed by the last who has them. All of it on the loop's
 * thread, but a worker may fill what nobody else has yet. */
#ifndef WB_LIVE_BYTES_H
#define WB_LIVE_BYTES_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "core/record.h"

struct bytes {
	unsigned refs;
	size_t n;
	size_t plain_at; /* a plain stream begins here: what is before is a record of ours */
	uint8_t p[];
};

struct bytes *bytes_new(size_t n); /* one reference; NULL: no memory */
struct bytes *bytes_get(struct bytes *b);
void bytes_put(struct bytes *b); /* NULL is fine */

/* A whole record with a payload of that many bytes at b->p + RECORD_HEADER_BYTES, which the caller fills. */
struct bytes *bytes_record(const struct record *r);
/* Sealed. */
struct bytes *bytes_text_record(enum record_type type, const struct generation *g, struct position at,
				struct span text);

#endif
