/* SPDX-License-Identifier: Apache-2.0
 *
 * What the two halves of verify share: verify.c lists and reports, verify_walk.c reads one generation. */
#ifndef WB_RESTORE_VERIFY_WALK_H
#define WB_RESTORE_VERIFY_WALK_H

#include "core/index.h"
#include "core/plan.h"
#include "restore/progress.h"
#include "restore/verify.h"

struct verify {
	struct restore_source *source;
	const struct verify_wish *wish;
	struct verify_result result;
	struct progress progress;
	int64_t now_us; /* wall clock at the beginning */
};

/* A finding about an object or a folder. Texts that do not fit are cut. */
__attribute__((format(printf, 8, 9))) void verify_find(struct verify *v, enum verify_severity s,
						       const char *kind, const struct generation *g,
						       const char *key, const char *cost, const char *todo,
						       const char *fmt, ...);

/* What one generation holds, as far as it is judged: sorted by number, each number once. */
struct holding {
	struct generation generation;
	struct plan_object *snapshots, *segments, *docs; /* docs: index objects */
	size_t snapshots_n, segments_n, docs_n;
	size_t snapshots_cap, segments_cap, docs_cap;
	/* Those of the newest WAL indexes, read between the two listings and without their commits: what they
	 * say was there by then. */
	struct wal_index_doc *early;
	size_t early_n, early_cap;
	uint64_t early_from;   /* WAL index; what lies below it has ended */
	uint64_t newest_index; /* of all segments, also those that came meanwhile */
	int64_t newest_us;     /* time of the newest object */
	bool fresh;	       /* something came within the last minute: it may be written right now */
};

/* 1: read, free it with index_doc_free; 0: there is none; -1: *e, ERR_DAMAGED (without the key) if it is there
 * and cannot be used. */
int verify_doc(struct verify *v, const struct generation *g, uint64_t index, struct wal_index_doc *ret,
	       struct err *e);

/* Reads everything from the first snapshot on (there is one) and hands over findings and windows. */
int verify_walk(struct verify *v, const struct holding *h, struct err *e);

#endif
