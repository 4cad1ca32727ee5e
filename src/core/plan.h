/* SPDX-License-Identifier: Apache-2.0
 *
 * Restore plan: from what a replica lists to what has to be fetched, in order, or why it cannot be done. Pure:
 * the listing, the index documents and the wish go in; snapshot, segments and the stop position come out.
 *
 * Rules (plan.c tells them in full): objects below the chosen snapshot do not matter; indexes from the snapshot
 * on must be consecutive and each must begin at offset 0; segment starts must ascend (whether each begins
 * exactly where the one before ended is known only after decompression and is checked by restore/); a snapshot
 * that lies beyond the last segment is restored alone; a fuzzy snapshot is used only when the plan reaches its
 * usable position. */
#ifndef WB_CORE_PLAN_H
#define WB_CORE_PLAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "core/index.h"
#include "core/layout.h"

struct plan_object {
	struct position at;    /* offset 0 for snapshots */
	uint64_t stored_bytes; /* size of the object */
	int64_t created_us;    /* time that the store reports */
};

/* What one generation of one replica holds. Arrays in any order; the plan sorts them in place (by number). */
struct plan_listing {
	struct generation generation;
	struct plan_object *snapshots;
	size_t snapshots_n;
	struct plan_object *segments;
	size_t segments_n;
	const struct wal_index_doc *const *docs; /* those that could be read; may be NULL */
	size_t docs_n;
};

struct plan_wish {
	bool by_index;
	uint64_t index; /* with by_index: restore all of this index and stop; beyond the last: the last */
	bool by_time;
	int64_t wall_us; /* with by_time: the newest state not after it */
	bool below;	 /* do not use snapshots with an index >= below_index (they were found damaged) */
	uint64_t below_index;
};

struct plan {
	struct plan_object snapshot;
	struct plan_object *segments; /* borrowed from the listing: those to fetch, in order */
	size_t segments_n;
	bool stop_inside; /* stop at `stop` although the last segment may reach further (or end before, if the
			     index document is newer than the listing) */
	struct position stop;
	bool exact_time; /* by_time was answered from the index, not from object times */
	bool has_commit; /* with exact_time: the last commit that belongs to the plan was made at commit_us */
	int64_t commit_us;
};

/* Which generation answers the wish: the one with the newest object (not after the time, if by_time) among
 * those with a snapshot; ties: the later name in the listing order. Returns its place or -1 and *e
 * (ERR_NOTHING, text ends with what there is). */
int plan_choose_generation(struct plan_listing *l, size_t n, const struct plan_wish *w, struct err *e);

/* ERR_NOTHING: no snapshot, or the time lies before the first moment (the text names the first moment);
 * ERR_DAMAGED: a hole that the listing shows (the text names generation, index, offset expected and found). */
int plan_make(struct plan_listing *l, const struct plan_wish *w, struct plan *ret, struct err *e);

/* The error for a time that no generation reaches back to: it tells from when to when each can be restored, as
 * far as the documents in the listings go. ERR_NOTHING; returns -1. */
int plan_too_early(const struct plan_listing *l, size_t n, int64_t t_us, struct err *e);

/* First and last restorable moment of a generation (object times, or commit times where docs are there). false:
 * none. */
bool plan_window(const struct plan_listing *l, int64_t *ret_first_us, int64_t *ret_last_us);

#endif
