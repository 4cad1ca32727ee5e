/* SPDX-License-Identifier: Apache-2.0
 *
 * Records of the live stream: what a primary sends to its followers, one after another (docs/live.md). The
 * 40-byte header, big-endian throughout, is that of Litestream's stream of 2022; types 1 and 2 are its own, the
 * others are sent only to a client that asked for them. Pure. */
#ifndef WB_CORE_RECORD_H
#define WB_CORE_RECORD_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/layout.h"

enum { RECORD_HEADER_BYTES = 40 };

enum record_type {
	RECORD_SNAPSHOT =
		1,	    /* the database file; size is its length (or, with RECORD_LZ4, that of the frame) */
	RECORD_SEGMENT = 2, /* one LZ4 frame of WAL bytes from the offset on */
	/* Ours. */
	RECORD_COMMITS = 16,   /* ends and times of the commits in the segment record that follows */
	RECORD_HEARTBEAT = 17, /* position and time of the primary; payload: its wall clock in microseconds */
	RECORD_HASHES = 18,    /* one hash a page of the state at the position */
	RECORD_PAGES = 19,     /* pages that were asked for; complete with the WAL through the position */
	RECORD_LINEAGE = 20,   /* where the generation comes from: text, docs/live.md */
};

enum { RECORD_LZ4 = 1 }; /* flag of a snapshot: the payload is one LZ4 frame */

struct record {
	uint32_t type, flags;
	struct generation generation;
	struct position at;
	uint64_t size_bytes; /* of the payload */
};

/* The generation must be a valid one. */
void record_write(uint8_t out[RECORD_HEADER_BYTES], const struct record *r);
/* ERR_DAMAGED, and says which field is what it cannot be. A type that is not known is fine (skip its payload).
 */
int record_parse(struct span in, struct record *ret, struct err *e);

#endif
