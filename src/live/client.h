/* SPDX-License-Identifier: Apache-2.0
 *
 * A live stream as its reader sees it: bytes in pieces of any size go in, what they mean goes to a table of
 * functions. Foreign bytes; memory is bounded by one page, one LZ4 block and the small records, whatever sizes
 * the stream claims. docs/live.md is the specification. Pure but for memory. */
#ifndef WB_LIVE_CLIENT_H
#define WB_LIVE_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/index.h"
#include "core/record.h"

/* All may be NULL. Spans are valid during the call. Non-zero ends the reading; *e is the function's. */
struct live_events {
	int (*lineage)(void *arg, struct span text, struct err *e);
	/* Content begins: whole, as bytes in order, or only pages that differ. A SNAPSHOT is content as well,
	 * with page_bytes and pages 0: not told. */
	int (*content)(void *arg, const struct record *r, uint32_t page_bytes, uint32_t pages, bool differing,
		       struct err *e);
	int (*bytes)(void *arg, struct span bytes, struct err *e);
	int (*page)(void *arg, uint32_t pgno, const uint8_t *page, struct err *e);
	/* It ended; good with the WAL through r->at (of a SNAPSHOT: its own position). */
	int (*complete)(void *arg, const struct record *r, struct err *e);
	/* A segment: its beginning; its bytes as they came; whole frames of it (at offset 0 the header before
	 * them) and where they begin; its end. */
	int (*segment)(void *arg, const struct record *r, struct err *e);
	int (*stored)(void *arg, struct span bytes, struct err *e);
	int (*plain)(void *arg, struct position from, struct span plain, bool proven, struct err *e);
	int (*segment_end)(void *arg, struct position end, struct err *e);
	int (*commits)(void *arg, const struct record *r, const struct index_commit *v, size_t n,
		       struct err *e);
	int (*heartbeat)(void *arg, const struct record *r, int64_t wall_us, struct err *e);
	int (*hashes)(void *arg, const struct record *r, uint32_t page_bytes, uint32_t pages, struct err *e);
	int (*hash)(void *arg, uint32_t pgno, uint64_t hash, struct err *e);
	int (*end)(void *arg, const struct record *r, const char *text, struct err *e);
};

struct live_reader {
	const struct live_events *events;
	void *arg;
	bool extended, begun, in_content, differing, failed;
	bool owed; /* COMMITS came: their segment must be next, at `owed_at` */
	struct position owed_at;
	uint32_t page_bytes; /* of segments and content; 0: not known */
	uint8_t head[RECORD_HEADER_BYTES];
	size_t head_n;
	bool in_record;
	uint64_t records; /* begun */
	struct record r;
	uint64_t left;	       /* of the payload */
	uint64_t content_next; /* offset of the next byte in the file */
	struct position at;    /* behind the last whole frame of the segment */
	struct dyn small;      /* payload of a small record, or the part of a unit that has not come whole */
	struct dyn held;       /* the last block of a segment, until its end was checked */
	bool proven;
	uint32_t hashed, hashes_n;
	struct segment_reader *lz4; /* NULL: not needed yet */
	void *check; /* XXH64 over content or hashes, as docs/live.md says; NULL: none is under way */
};

/* extended: as the header of the answer says; page_bytes as well (0: not said). */
void live_reader_init(struct live_reader *r, const struct live_events *events, void *arg, bool extended,
		      uint32_t page_bytes);
/* ERR_DAMAGED: bytes that are not a stream; the text tells the record. After an error nothing more is taken. */
int live_read(struct live_reader *r, struct span in, struct err *e);
bool live_between_records(const struct live_reader *r);
void live_reader_rest(struct live_reader *r); /* between records: gives memory back */
void live_reader_fini(struct live_reader *r);

#endif
