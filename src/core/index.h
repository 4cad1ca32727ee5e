/* SPDX-License-Identifier: Apache-2.0
 *
 * The index beside the segments: one small object for each WAL index of a generation. It tells when each commit
 * was first seen by capture and where it ends, how far the WAL index reached when the object was written (and
 * whether that is its end for ever), and from which position on a fuzzy snapshot of that number is usable.
 * Restore does not need it; with it restore by time is exact and a missing end is visible. index.c tells the
 * bytes. Pure. */
#ifndef WB_CORE_INDEX_H
#define WB_CORE_INDEX_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/layout.h"

struct index_commit {
	uint64_t offset; /* end of the commit frame in the WAL, bytes */
	int64_t wall_us; /* never decreasing within a generation */
};

struct wal_index_doc {
	struct generation generation;
	uint64_t index;
	uint32_t page_bytes; /* 0: not known yet; then there are no commits and end_offset is 0 */
	uint8_t salt[8];
	uint64_t end_offset; /* shipped so far */
	bool ended;	     /* end_offset is the end of this WAL index for ever: the next index has begun */
	bool snapshot_fuzzy; /* the snapshot of this number is fuzzy, usable from `usable_from` on only */
	struct position usable_from;
	struct index_commit *commits; /* ascending by offset; owned, free with index_doc_free */
	size_t commits_n, commits_cap;
	int64_t stored_us; /* when its object was made, as the store tells; not in the bytes, set by who lists
			    */
};

enum { INDEX_DOC_MAX_BYTES = 64 << 20 };

/* A time before that of the last commit is raised to it (clocks are set back). -1: no memory, or the offset is
 * not behind the last commit. */
int index_doc_add(struct wal_index_doc *d, struct index_commit c);
/* Appends the bytes. -1: no memory, or d holds what the format cannot say (an offset that is no frame boundary,
 * an invalid page size or generation, more than INDEX_DOC_MAX_BYTES); *to is then as before. */
int index_doc_write(const struct wal_index_doc *d, struct dyn *to);
/* ERR_DAMAGED, or ERR_FAIL for want of memory; then there is nothing to free. */
int index_doc_parse(struct span in, struct wal_index_doc *ret, struct err *e);
void index_doc_free(struct wal_index_doc *d);

#endif
