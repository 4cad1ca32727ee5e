/* SPDX-License-Identifier: Apache-2.0
 *
 * Segments of a plan, fetched and decompressed by several workers, handed over in order to one thread. */
#ifndef WB_RESTORE_FETCH_H
#define WB_RESTORE_FETCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "core/layout.h"
#include "core/plan.h"
#include "restore/progress.h"
#include "restore/restore.h"

struct fetch_config {
	struct restore_source *source;
	struct generation generation;
	const struct plan_object *segments; /* borrowed, as is the next */
	size_t segments_n;
	const uint64_t *doc_indexes; /* WAL indexes that have an index document, ascending */
	size_t doc_indexes_n;
	int workers;
	size_t memory_bytes; /* for buffers; what one worker needs is taken in any case */
	struct progress *progress;
};

enum { FETCH_PARTS = 32 };

/* A piece of the data of one segment. */
struct fetch_part {
	size_t segment; /* its place in the plan */
	struct span data;
	bool first, last;   /* of the segment */
	uint64_t index_end; /* with last: where its WAL index ends for ever, 0: not known */
};

/* Some pieces, in order, in one buffer. */
struct fetch_chunk {
	struct fetch_chunk *next;
	uint8_t *p;
	size_t n;
	struct fetch_part parts[FETCH_PARTS];
	size_t parts_n;
};

struct fetch;
struct fetch *fetch_start(const struct fetch_config *c, struct err *e); /* NULL and *e */
/* 1: *ret, to be given back with fetch_release; 0: that was all; -1: *e and *ret_segment, the segment that
 * failed. */
int fetch_next(struct fetch *f, struct fetch_chunk **ret, size_t *ret_segment, struct err *e);
void fetch_release(struct fetch *f, struct fetch_chunk *c);
void fetch_stop(struct fetch *f); /* also before the end */

#endif
