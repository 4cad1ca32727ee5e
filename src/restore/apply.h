/* SPDX-License-Identifier: Apache-2.0
 *
 * The WAL of a generation, segment after segment, verified and applied to a database file as SQLite's own
 * checkpoint would leave it. */
#ifndef WB_RESTORE_APPLY_H
#define WB_RESTORE_APPLY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/layout.h"
#include "core/wal.h"
#include "restore/pages.h"
#include "restore/pending.h"

struct apply_config {
	int fd;			    /* the output, holding the snapshot */
	struct page_hashes *hashes; /* not NULL: they hold the snapshot, and there is no output */
	const char *path;	    /* borrowed */
	const char *spill_path;	    /* for transactions that do not fit in memory */
	struct generation generation;
	uint64_t snapshot_bytes;
	uint32_t snapshot_page_bytes; /* 0: the snapshot is empty */
	size_t memory_bytes;
	bool stop_inside;
	struct position stop;
};

struct apply_ref {
	uint32_t pgno;
	const uint8_t *page;
};

struct apply {
	struct apply_config c;
	bool begun;		 /* the first WAL header has been seen, buffers are there */
	struct position segment; /* the current one */
	uint64_t index, offset;	 /* of the WAL: bytes so far */
	uint64_t segment_bytes;	 /* of the current segment, so far */
	bool header_seen;	 /* of this index */
	struct wal_chain chain;
	uint8_t *carry; /* the part of a frame that has not come whole */
	size_t carry_n;
	struct pages pages;
	struct pending pending;
	struct apply_ref *refs; /* uncommitted pages in the piece at hand */
	size_t refs_n, refs_cap;
	uint64_t open_frames; /* of the transaction whose commit has not come */
	bool open_behind;     /* some of them are behind base_bytes and went to the table at once */
	uint64_t open_bytes;  /* end of the last of those */
	uint64_t base_bytes;  /* what a discard cuts the file back to */
	bool committed, index_committed;
	uint64_t size_bytes; /* of the database after the last commit */
	struct position reached;
	uint64_t wal_bytes, segments;
	bool done;	       /* the stop has been reached */
	struct err *frame_err; /* used while frames are walked */
};

void apply_init(struct apply *a, const struct apply_config *c);
void apply_free(struct apply *a);
/* A segment in three calls; bytes in pieces of any size. ERR_DAMAGED names the object. Once a->done is set the
 * rest of the segments does not matter. */
int apply_begin(struct apply *a, struct position at, struct err *e);
int apply_bytes(struct apply *a, struct span in, struct err *e);
/* index_end: where the index document says that this WAL index ends for ever, if the segment is its last; else
 * 0. */
int apply_end(struct apply *a, uint64_t index_end, struct err *e);
/* Everything has come: writes what is left and sets the size of the file. */
int apply_finish(struct apply *a, struct err *e);

#endif
