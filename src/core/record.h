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

enum { RECORD_HEADER_BYTES = 40, RECORD_SEAL_BYTES = 8 };

enum record_type {
	RECORD_SNAPSHOT = 1, /* the database file; plain streams only */
	RECORD_SEGMENT = 2,  /* one LZ4 frame of WAL bytes from the offset on */
	/* Ours. */
	RECORD_COMMITS = 16,   /* ends and times of the commits in the segment record that follows */
	RECORD_HEARTBEAT = 17, /* all before the position was sent; payload: the primary's clock in
				  microseconds */
	RECORD_HASHES = 18,    /* one hash for each page of the database file */
	RECORD_PAGES = 19,     /* a part of the content */
	RECORD_LINEAGE = 20,   /* text: whose history this is */
	RECORD_CONTENT = 21,   /* content begins: page size, pages, whole or only what differs */
	RECORD_COMPLETE = 22,  /* it is all there, and good with the WAL through the position */
	RECORD_END = 23,       /* text: why the server closes */
};

enum { RECORD_LZ4 = 1 }; /* flag of PAGES: the payload is one LZ4 frame */

struct record {
	uint32_t type, flags;
	struct generation generation;
	struct position at;
	uint64_t size_bytes; /* of the payload */
};

/* Whether a record of this type ends with a seal: COMMITS, HEARTBEAT, LINEAGE, END, and every type that is not
 * known, so that one whose type was damaged is not taken for one of the future. */
bool record_is_sealed(uint32_t type);
/* The seal: a hash of everything before it, header included. n: bytes of the whole record, which has room for
 * it. */
void record_seal(uint8_t *record, size_t n);
/* payload: with the seal at its end. */
bool record_seal_good(const uint8_t head[RECORD_HEADER_BYTES], struct span payload);

/* The generation must be a valid one. */
void record_write(uint8_t out[RECORD_HEADER_BYTES], const struct record *r);
/* ERR_DAMAGED, and says which field is what it cannot be. A type that is not known is fine (skip its payload).
 */
int record_parse(struct span in, struct record *ret, struct err *e);

#endif
