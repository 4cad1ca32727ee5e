/* SPDX-License-Identifier: Apache-2.0
 *
 * Restore plans for made listings, with and without index documents, and for the listing of a replica that
 * 0.3.13 wrote, where each wish must stop where the original's restore did. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/plan.h"

#define GEN "c75ebb1cab593860"
#define SECOND 1000000
enum { MAX = 64 };

/* A listing under construction. Objects are made in scrambled order on purpose by the tests that care. */
struct world {
	struct plan_listing l;
	struct plan_object snapshots[MAX], segments[MAX];
	struct wal_index_doc docs[8];
	const struct wal_index_doc *doc_list[8];
	struct plan p;
	struct err e;
};

static void world_init(struct world *w)
{
	memset(w, 0, sizeof *w);
	w->l.generation = (struct generation){ GEN };
	w->l.snapshots = w->snapshots;
	w->l.segments = w->segments;
	w->l.docs = w->doc_list;
}

/* Times are in seconds. */
static void snapshot(struct world *w, uint64_t index, int64_t at)
{
	w->snapshots[w->l.snapshots_n++] = (struct plan_object){ { index, 0 }, 1000, at * SECOND };
}

static void segment(struct world *w, uint64_t index, uint64_t offset, int64_t at)
{
	w->segments[w->l.segments_n++] = (struct plan_object){ { index, offset }, 100, at * SECOND };
}

static struct wal_index_doc *doc(struct world *w, uint64_t index, uint64_t end_offset, bool ended)
{
	struct wal_index_doc *d = &w->docs[w->l.docs_n];
	*d = (struct wal_index_doc){ .generation = w->l.generation,
				     .index = index,
				     .page_bytes = 4096,
				     .end_offset = end_offset,
				     .ended = ended,
				     .stored_us = INT64_MAX / 2 };
	w->doc_list[w->l.docs_n++] = d;
	return d;
}

static void commit(struct wal_index_doc *d, uint64_t offset, int64_t at)
{
	assert_int_equal(index_doc_add(d, (struct index_commit){ offset, at * SECOND }), 0);
}

static void world_free(struct world *w)
{
	for (size_t i = 0; i < w->l.docs_n; i++)
		index_doc_free(&w->docs[i]);
}

static const struct plan_wish latest = { 0 };
static struct plan_wish by_index(uint64_t index)
{
	return (struct plan_wish){ .by_index = true, .index = index };
}
static struct plan_wish by_time(int64_t at)
{
	return (struct plan_wish){ .by_time = true, .wall_us = at * SECOND };
}

static void expect_plan(struct world *w, struct plan_wish wish, uint64_t snapshot_index, size_t segments,
			struct position last)
{
	w->e = ERR_INIT;
	if (plan_make(&w->l, &wish, &w->p, &w->e) < 0)
		fail_msg("%s", w->e.text);
	assert_int_equal(w->p.snapshot.at.index, snapshot_index);
	assert_int_equal(w->p.segments_n, segments);
	if (segments == 0)
		return;
	assert_int_equal(w->p.segments[0].at.index, snapshot_index);
	assert_int_equal(w->p.segments[0].at.offset, 0);
	assert_int_equal(position_compare(w->p.segments[segments - 1].at, last), 0);
	for (size_t i = 1; i < segments; i++)
		assert_true(position_compare(w->p.segments[i - 1].at, w->p.segments[i].at) < 0);
}

static void expect_stop(const struct world *w, bool inside, struct position stop, bool exact)
{
	assert_int_equal(w->p.stop_inside, inside);
	assert_int_equal(position_compare(w->p.stop, stop), 0);
	assert_int_equal(w->p.exact_time, exact);
}

static void expect_error(struct world *w, struct plan_wish wish, enum err_kind kind, const char *text)
{
	struct plan untouched = w->p;
	w->e = ERR_INIT;
	assert_int_equal(plan_make(&w->l, &wish, &w->p, &w->e), -1);
	assert_int_equal(w->e.kind, kind);
	if (!strstr(w->e.text, text))
		fail_msg("\"%s\" does not contain \"%s\"", w->e.text, text);
	assert_memory_equal(&w->p, &untouched, sizeof untouched);
}

static struct position pos(uint64_t index, uint64_t offset)
{
	return (struct position){ index, offset };
}

/* Snapshots 0, 3, 5; indexes 0 to 6 with segments at 0, 32 and 4152, one a second from 100 on. */
static void ordinary(struct world *w)
{
	world_init(w);
	snapshot(w, 5, 115);
	for (int i = 6; i >= 0; i--) { /* newest first: the plan sorts */
		segment(w, (uint64_t)i, 4152, 102 + 3 * i);
		segment(w, (uint64_t)i, 0, 100 + 3 * i);
		segment(w, (uint64_t)i, 32, 101 + 3 * i);
	}
	snapshot(w, 0, 100);
	snapshot(w, 3, 109);
}

static void remove_segments(struct world *w, uint64_t first, uint64_t last)
{
	size_t kept = 0;
	for (size_t i = 0; i < w->l.segments_n; i++)
		if (w->segments[i].at.index < first || w->segments[i].at.index > last)
			w->segments[kept++] = w->segments[i];
	w->l.segments_n = kept;
}

static void remove_segment(struct world *w, uint64_t index, uint64_t offset)
{
	size_t kept = 0;
	for (size_t i = 0; i < w->l.segments_n; i++)
		if (position_compare(w->segments[i].at, pos(index, offset)) != 0)
			w->segments[kept++] = w->segments[i];
	w->l.segments_n = kept;
}

/* ---- latest and by index ---- */

static void test_latest(void **state)
{
	(void)state;
	struct world w;
	ordinary(&w);
	expect_plan(&w, latest, 5, 6, pos(6, 4152));
	expect_stop(&w, false, pos(0, 0), false);
	struct plan_wish below = { .below = true, .below_index = 5 };
	expect_plan(&w, below, 3, 12, pos(6, 4152));
	below.below_index = 3;
	expect_plan(&w, below, 0, 21, pos(6, 4152));
	below.below_index = 0;
	expect_error(&w, below, ERR_NOTHING, "no other snapshot below index 00000000");
}

static void test_by_index(void **state)
{
	(void)state;
	struct world w;
	ordinary(&w);
	expect_plan(&w, by_index(0), 0, 3, pos(0, 4152));
	expect_plan(&w, by_index(2), 0, 9, pos(2, 4152));
	expect_plan(&w, by_index(3), 3, 3, pos(3, 4152));
	expect_plan(&w, by_index(4), 3, 6, pos(4, 4152));
	expect_plan(&w, by_index(6), 5, 6, pos(6, 4152));
	expect_plan(&w, by_index(7), 5, 6, pos(6, 4152)); /* beyond the last: the last */
	expect_plan(&w, by_index(UINT64_MAX), 5, 6, pos(6, 4152));
	struct plan_wish w4 = by_index(6);
	w4.below = true;
	w4.below_index = 4;
	expect_plan(&w, w4, 3, 12, pos(6, 4152));
	memmove(w.snapshots, w.snapshots + 1, 2 * sizeof *w.snapshots); /* sorted by now: 0 goes */
	w.l.snapshots_n = 2;
	expect_error(&w, by_index(2), ERR_NOTHING,
		     "generation " GEN
		     " cannot be restored to index 00000002: its first snapshot has index 00000003");
}

static void test_no_snapshot(void **state)
{
	(void)state;
	struct world w;
	ordinary(&w);
	w.l.snapshots_n = 0;
	expect_error(&w, latest, ERR_NOTHING, "generation " GEN " has no snapshot");
	expect_error(&w, by_time(1000), ERR_NOTHING, "has no snapshot");
	world_init(&w);
	w.l.segments = w.l.snapshots = NULL;
	w.l.docs = NULL;
	expect_error(&w, latest, ERR_NOTHING, "has no snapshot");
}

static void test_holes(void **state)
{
	(void)state;
	struct world w;
	ordinary(&w);
	remove_segment(&w, 6, 0);
	expect_error(&w, latest, ERR_DAMAGED,
		     "missing first segment of index 00000006 in generation " GEN
		     ": expected offset 0, found 32");
	expect_plan(&w, by_index(5), 5, 3, pos(5, 4152)); /* the hole lies behind */
	expect_plan(&w, by_time(117), 5, 3, pos(5, 4152));
	ordinary(&w);
	remove_segment(&w, 5, 0);
	remove_segment(&w, 5, 32);
	expect_error(&w, latest, ERR_DAMAGED,
		     "missing first segment of index 00000005 in generation " GEN
		     ": expected offset 0, found 4152");
	ordinary(&w);
	remove_segments(&w, 4, 4);
	struct plan_wish below = { .below = true, .below_index = 5 };
	expect_plan(&w, latest, 5, 6, pos(6, 4152)); /* the hole lies before the snapshot */
	expect_error(&w, below, ERR_DAMAGED,
		     "missing index 00000004 in generation " GEN
		     ": expected offset 0 of index 00000004, found offset 0 of index 00000005");
	expect_error(&w, by_index(4), ERR_DAMAGED, "missing index 00000004");
	expect_plan(&w, by_index(3), 3, 3, pos(3, 4152));
	expect_error(&w, by_time(113), ERR_DAMAGED, "missing index 00000004"); /* nobody knows what was there */
	expect_plan(&w, by_time(110), 3, 2, pos(3, 32));
	ordinary(&w);
	remove_segments(&w, 5, 5);
	expect_error(&w, latest, ERR_DAMAGED, "missing index 00000005");
	expect_error(&w, by_index(5), ERR_DAMAGED, "missing index 00000005");
}

/* A segment in the middle cannot be missed: only its neighbours' plain sizes show it. */
static void test_middle_is_not_known(void **state)
{
	(void)state;
	struct world w;
	ordinary(&w);
	remove_segment(&w, 5, 32);
	expect_plan(&w, latest, 5, 5, pos(6, 4152));
}

static void test_snapshot_alone(void **state)
{
	(void)state;
	struct world w;
	ordinary(&w);
	remove_segments(&w, 5, 6); /* the newest snapshot is newer than the WAL */
	expect_plan(&w, latest, 5, 0, pos(0, 0));
	expect_plan(&w, by_index(5), 5, 0, pos(0, 0));
	expect_plan(&w, by_time(1000), 5, 0, pos(0, 0));
	remove_segments(&w, 1, 6); /* much newer */
	expect_plan(&w, latest, 5, 0, pos(0, 0));
	remove_segments(&w, 0, 6);
	expect_plan(&w, latest, 5, 0, pos(0, 0));
	expect_plan(&w, by_index(4), 3, 0, pos(0, 0));
	w.l.segments = NULL;
	expect_plan(&w, latest, 5, 0, pos(0, 0));
}

/* Retention was killed: rests of what lies before the kept snapshot do not matter. */
static void test_rests_of_retention(void **state)
{
	(void)state;
	struct world w;
	ordinary(&w);
	remove_segment(&w, 0, 0);
	remove_segments(&w, 2, 3);
	expect_plan(&w, latest, 5, 6, pos(6, 4152));
}

/* Two listings put together name objects twice; of those the later one is meant. */
static void test_twice_listed(void **state)
{
	(void)state;
	struct world w;
	ordinary(&w);
	snapshot(&w, 5, 117);
	segment(&w, 6, 4152, 500);
	segment(&w, 6, 4152, 50);
	expect_plan(&w, latest, 5, 6, pos(6, 4152));
	assert_int_equal(w.p.segments[5].created_us, 500 * SECOND);
	assert_int_equal(w.p.snapshot.created_us, 117 * SECOND);
	assert_int_equal(w.l.snapshots_n, 3);
	assert_int_equal(w.l.segments_n, 21);
}

static void test_offsets_are_numbers(void **state)
{
	(void)state;
	struct world w;
	world_init(&w);
	snapshot(&w, 0, 1);
	segment(&w, 0, 0x100000000, 4);
	segment(&w, 0, 0xfffffff8, 3);
	segment(&w, 0, 0, 2);
	expect_plan(&w, latest, 0, 3, pos(0, 0x100000000));
}

/* ---- by time, object times only ---- */

static void test_by_object_time(void **state)
{
	(void)state;
	struct world w;
	ordinary(&w);
	expect_error(&w, by_time(99), ERR_NOTHING,
		     "the first moment that can be restored is 1970-01-01T00:01:40");
	expect_plan(&w, by_time(100), 0, 1, pos(0, 0));
	expect_plan(&w, by_time(101), 0, 2, pos(0, 32));
	expect_plan(&w, by_time(108), 0, 9, pos(2, 4152));
	expect_plan(&w, by_time(109), 3, 1, pos(3, 0));
	expect_plan(&w, by_time(114), 3, 6, pos(4, 4152));
	expect_plan(&w, by_time(119), 5, 5, pos(6, 32));
	expect_plan(&w, by_time(120), 5, 6, pos(6, 4152));
	expect_plan(&w, by_time(99999), 5, 6, pos(6, 4152)); /* after the last: the latest state */
	expect_stop(&w, false, pos(0, 0), false);
	w.l.docs = NULL;
	expect_plan(&w, by_time(114), 3, 6, pos(4, 4152));
	struct plan_wish below = by_time(119);
	below.below = true;
	below.below_index = 5;
	expect_plan(&w, below, 3, 11, pos(6, 32));
}

/* The first segment that is too new ends the plan, whatever times those behind it have. */
static void test_times_out_of_order(void **state)
{
	(void)state;
	struct world w;
	world_init(&w);
	snapshot(&w, 0, 100);
	snapshot(&w, 1, 90); /* the later snapshot has the earlier time: as 0.3.13, by time */
	segment(&w, 0, 0, 100);
	segment(&w, 0, 32, 110);
	segment(&w, 0, 4152, 105);
	segment(&w, 1, 0, 106);
	expect_plan(&w, by_time(107), 0, 1, pos(0, 0));
	expect_plan(&w, by_time(99), 1, 0, pos(0, 0));
	expect_plan(&w, latest, 1, 1, pos(1, 0));
	w.snapshots[0].created_us = w.snapshots[1].created_us; /* the same time: the higher index */
	expect_plan(&w, by_time(107), 1, 1, pos(1, 0));
}

/* ---- by time, with index documents ---- */

/* Documents of indexes 3 to 6: commits end at 4152, 8272 and 12392, seen long before the objects came. */
static void documented(struct world *w)
{
	ordinary(w);
	for (uint64_t i = 3; i <= 6; i++) {
		struct wal_index_doc *d = doc(w, i, 12392, i < 6);
		for (uint64_t k = 1; k <= 3; k++)
			commit(d, 32 + k * 4120, (int64_t)(69 + 3 * i + k));
	}
}

static void test_by_commit_time(void **state)
{
	(void)state;
	struct world w;
	documented(&w); /* index 3: 79, 80, 81 ... index 6: 88, 89, 90; snapshots at 100, 109, 115 */
	expect_error(&w, by_time(70), ERR_NOTHING, "cannot be restored to");
	for (size_t i = 0; i < w.l.snapshots_n; i++)
		w.snapshots[i].created_us = (int64_t)(70 + 3 * w.snapshots[i].at.index) * SECOND;
	/* now snapshots at 70 (0), 79 (3), 85 (5); segments are still at 100 and later */
	expect_plan(&w, by_time(79), 3, 2, pos(3, 32));
	expect_stop(&w, false, pos(0, 0), true); /* the next segment begins at the stop */
	expect_plan(&w, by_time(80), 3, 3, pos(3, 4152));
	expect_stop(&w, true, pos(3, 8272), true);
	expect_plan(&w, by_time(81), 3, 3, pos(3, 4152));
	expect_plan(&w, by_time(83), 3, 6, pos(4, 4152));
	expect_stop(&w, true, pos(4, 8272), true);
	expect_plan(&w, by_time(89), 5, 6, pos(6, 4152));
	expect_stop(&w, true, pos(6, 8272), true);
	expect_plan(&w, by_time(90), 5, 6, pos(6, 4152));
	expect_stop(&w, true, pos(6, 12392), true);
	expect_plan(&w, by_time(119), 5, 6,
		    pos(6, 4152)); /* the object is newer than that: stop at the last commit */
	expect_stop(&w, true, pos(6, 12392), true);
	expect_plan(&w, by_time(120), 5, 6, pos(6, 4152));
	expect_stop(&w, false, pos(0, 0), true);
	expect_plan(&w, by_time(78), 0, 0, pos(0, 0)); /* before the first commit that is known */
	world_free(&w);
}

/* Snapshots made later (or copied: times lost) serve if the stop lies in a later index than theirs, or where
 * their document calls them whole. */
static void test_snapshot_proven_by_documents(void **state)
{
	(void)state;
	struct world w;
	int64_t first, last;
	documented(&w);
	for (size_t i = 0; i < w.l.snapshots_n; i++)
		w.snapshots[i].created_us = 5000 * (int64_t)SECOND;
	expect_error(&w, by_time(78), ERR_NOTHING, "first moment that can be restored is 1970-01-01T00:01:19");
	expect_plan(&w, by_time(79), 3, 2, pos(3, 32));
	expect_plan(&w, by_time(80), 3, 3, pos(3, 4152));
	expect_stop(&w, true, pos(3, 8272), true);
	expect_plan(&w, by_time(83), 3, 6, pos(4, 4152));
	expect_plan(&w, by_time(86), 5, 3, pos(5, 4152));
	expect_plan(&w, by_time(88), 5, 5, pos(6, 32));
	w.docs[2].snapshot_fuzzy = true; /* index 5 */
	w.docs[2].usable_from = pos(5, 8272);
	expect_plan(&w, by_time(85), 3, 8, pos(5, 32));
	expect_plan(&w, by_time(86), 5, 3, pos(5, 4152));
	w.docs[2].usable_from = pos(5, 12392);
	expect_plan(&w, by_time(86), 3, 9, pos(5, 4152)); /* not 5: it may hold what came after */
	expect_plan(&w, by_time(87), 5, 3, pos(5, 4152));
	w.docs[2].usable_from = pos(6, 4152);
	expect_plan(&w, by_time(87), 3, 9, pos(5, 4152));
	expect_plan(&w, by_time(88), 5, 5, pos(6, 32));
	w.docs[2].usable_from = pos(5, 8272);
	w.docs[2].stored_us = 4997 * (int64_t)SECOND; /* Litestream has put another snapshot there since */
	expect_plan(&w, by_time(86), 3, 9, pos(5, 4152));
	w.docs[2].stored_us = 4998 * (int64_t)SECOND;
	expect_plan(&w, by_time(86), 5, 3, pos(5, 4152));
	w.docs[2].usable_from = pos(6, 4152);
	w.docs[0].snapshot_fuzzy = true; /* index 3; the snapshot of 0 has no document */
	w.docs[0].usable_from = pos(4, 8272);
	expect_plan(&w, by_time(80), 0, 12, pos(3, 4152));
	expect_plan(&w, by_time(82), 0, 14, pos(4, 32));
	expect_plan(&w, by_time(83), 3, 6, pos(4, 4152));
	w.snapshots[0] = w.snapshots[1]; /* and now there is none of 0; the plan has sorted them */
	assert_int_equal(w.snapshots[0].at.index, 3);
	assert_true(plan_window(&w.l, &first, &last));
	assert_int_equal(first, 83 * SECOND);
	expect_error(&w, by_time(82), ERR_NOTHING,
		     "The first moment that can be restored is 1970-01-01T00:01:23");
	world_free(&w);
}

/* A snapshot whose object looks old enough, while a document shows that the index before it went on after the
 * time. */
static void test_snapshot_disproven_by_documents(void **state)
{
	(void)state;
	struct world w;
	documented(&w);
	for (size_t i = 0; i < w.l.snapshots_n; i++)
		w.snapshots[i].created_us = 1 * SECOND;
	expect_plan(&w, by_time(83), 3, 6, pos(4, 4152)); /* not 5 */
	expect_plan(&w, by_time(84), 5, 0, pos(0, 0));
	expect_stop(&w, false, pos(0, 0), true);
	world_free(&w);
}

/* An index without a document between two that have one, and segments newer than the document. */
static void test_documents_with_holes(void **state)
{
	(void)state;
	struct world w;
	ordinary(&w); /* index 3: 109 to 111, 4: 112 to 114, 5: 115 to 117 */
	w.l.snapshots_n = 0;
	snapshot(&w, 3, 108);
	struct wal_index_doc *d = doc(&w, 3, 12392, true);
	commit(d, 4152, 108);
	commit(d, 12392, 110);
	d = doc(&w, 5, 4152, false);
	commit(d, 4152, 114);
	expect_plan(&w, by_time(109), 3, 2, pos(3, 32));
	expect_stop(&w, false, pos(0, 0), true);
	expect_plan(&w, by_time(110), 3, 3, pos(3, 4152)); /* the object came at 111 */
	expect_stop(&w, true, pos(3, 12392), true);
	expect_plan(&w, by_time(111), 3, 3, pos(3, 4152));
	expect_stop(&w, false, pos(0, 0), true);
	expect_plan(&w, by_time(113), 3, 5, pos(4, 32)); /* index 4: object times */
	expect_stop(&w, false, pos(0, 0), false);
	expect_plan(&w, by_time(114), 3, 8, pos(5, 32)); /* all of 4, and 5 up to its first commit */
	expect_stop(&w, false, pos(0, 0), true);
	expect_plan(&w, by_time(117), 3, 9, pos(5, 4152)); /* beyond the document: object times again */
	expect_stop(&w, false, pos(0, 0), false);
	expect_plan(&w, by_time(119), 3, 11, pos(6, 32));
	world_free(&w);
}

/* A document that lost its beginning: what lies before its first commit goes by object times. */
static void test_document_without_beginning(void **state)
{
	(void)state;
	struct world w;
	world_init(&w);
	snapshot(&w, 0, 100);
	for (int i = 0; i < 6; i++)
		segment(&w, 0, i == 0 ? 0 : (uint64_t)(32 + 4120 * i), 100 + 10 * i);
	struct wal_index_doc *d = doc(&w, 0, 32 + 4120 * 6, false);
	commit(d, 32 + 4120 * 5, 139);
	commit(d, 32 + 4120 * 6, 149);
	expect_plan(&w, by_time(105), 0, 1, pos(0, 0));
	expect_plan(&w, by_time(125), 0, 3, pos(0, 32 + 4120 * 2));
	expect_stop(&w, false, pos(0, 0), false);
	expect_plan(&w, by_time(138), 0, 4, pos(0, 32 + 4120 * 3));
	expect_plan(&w, by_time(139), 0, 5, pos(0, 32 + 4120 * 4));
	expect_stop(&w, false, pos(0, 0), true);
	w.segments[4].created_us = 130 * SECOND; /* another clock: the segment holds what is too new */
	expect_plan(&w, by_time(138), 0, 4, pos(0, 32 + 4120 * 3));
	world_free(&w);
}

/* The document knows of more than the listing has: everything that is there, no stop in what is not. */
static void test_document_ahead_of_listing(void **state)
{
	(void)state;
	struct world w;
	documented(&w);
	for (size_t i = 0; i < w.l.snapshots_n; i++)
		w.snapshots[i].created_us = 1;
	remove_segments(&w, 6, 6);
	expect_plan(&w, by_time(89), 5, 3, pos(5, 4152));
	expect_stop(&w, false, pos(0, 0), true);
	world_free(&w);
}

/* Documents of another generation are not ours. */
static void test_foreign_documents(void **state)
{
	(void)state;
	struct world w;
	documented(&w);
	for (size_t i = 0; i < w.l.docs_n; i++)
		w.docs[i].generation.name[0] = '0';
	expect_plan(&w, by_time(114), 3, 6, pos(4, 4152));
	expect_stop(&w, false, pos(0, 0), false);
	world_free(&w);
}

/* ---- fuzzy snapshots ---- */

static void test_fuzzy(void **state)
{
	(void)state;
	struct world w;
	ordinary(&w);
	struct wal_index_doc *d = doc(&w, 5, 12392, true);
	d->snapshot_fuzzy = true;
	d->usable_from = pos(6, 4152); /* whole when the first two segments of index 6 are applied */
	expect_plan(&w, latest, 5, 6, pos(6, 4152));
	expect_plan(&w, by_index(6), 5, 6, pos(6, 4152));
	expect_plan(&w, by_index(5), 3, 9, pos(5, 4152)); /* too early: the one before */
	expect_plan(&w, by_time(118), 3, 10, pos(6, 0));
	expect_plan(&w, by_time(119), 5, 5, pos(6, 32));
	d->usable_from = pos(5, 12392);
	expect_plan(&w, by_index(5), 5, 3, pos(5, 4152));
	expect_plan(&w, by_time(116), 3, 8, pos(5, 32));
	d->usable_from = pos(7, 32); /* never reached */
	expect_plan(&w, latest, 3, 12, pos(6, 4152));
	struct plan_object only = w.snapshots[2];
	assert_int_equal(only.at.index, 5);
	w.snapshots[0] = only;
	w.l.snapshots_n = 1;
	expect_error(&w, latest, ERR_NOTHING,
		     "snapshot 00000005 of generation " GEN " is whole only at a later moment");
	remove_segments(&w, 0, 6);
	d->usable_from = pos(5, 32);
	expect_error(&w, latest, ERR_NOTHING, "is whole only at a later moment");
	d->usable_from = pos(5, 0);
	expect_plan(&w, latest, 5, 0, pos(0, 0));
	world_free(&w);
}

static void test_fuzzy_stop_inside(void **state)
{
	(void)state;
	struct world w;
	documented(&w);
	for (size_t i = 0; i < w.l.snapshots_n; i++)
		w.snapshots[i].created_us = 1;
	w.docs[2].snapshot_fuzzy = true; /* index 5 */
	w.docs[2].usable_from = pos(6, 8272);
	expect_plan(&w, by_time(88), 3, 11, pos(6, 32));
	expect_plan(&w, by_time(89), 5, 6, pos(6, 4152));
	expect_stop(&w, true, pos(6, 8272), true);
	w.docs[2].usable_from = pos(6, 8273);
	expect_plan(&w, by_time(89), 3, 12, pos(6, 4152));
	world_free(&w);
}

/* ---- generations ---- */

static void test_choose_generation(void **state)
{
	(void)state;
	struct world w[4];
	struct plan_listing l[4];
	struct err e = ERR_INIT;
	struct plan_wish wish = latest;
	world_init(&w[0]); /* 100 to 200 */
	snapshot(&w[0], 0, 100);
	segment(&w[0], 0, 0, 200);
	world_init(&w[1]); /* 300 to 400 */
	snapshot(&w[1], 0, 300);
	segment(&w[1], 0, 0, 400);
	world_init(&w[2]); /* newer, but without a snapshot */
	segment(&w[2], 0, 0, 900);
	world_init(&w[3]); /* the same times as the second */
	snapshot(&w[3], 7, 300);
	segment(&w[3], 7, 0, 400);
	for (int i = 0; i < 4; i++) {
		l[i] = w[i].l;
		l[i].generation = generation_from((uint64_t)i);
	}
	assert_int_equal(plan_choose_generation(l, 3, &wish, &e), 1);
	assert_int_equal(plan_choose_generation(l, 4, &wish, &e), 3); /* a tie: the later one */
	wish = by_time(1000);
	assert_int_equal(plan_choose_generation(l, 3, &wish, &e), 1);
	wish = by_time(300);
	assert_int_equal(plan_choose_generation(l, 3, &wish, &e), 1);
	wish = by_time(299);
	assert_int_equal(plan_choose_generation(l, 3, &wish, &e), 0);
	wish = by_time(100);
	assert_int_equal(plan_choose_generation(l, 3, &wish, &e), 0);
	wish = by_time(99);
	assert_int_equal(plan_choose_generation(l, 3, &wish, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	assert_non_null(strstr(e.text, "the first moment that can be restored is 1970-01-01T00:01:40"));
	assert_non_null(strstr(e.text, "generation 0000000000000000"));
	assert_int_equal(plan_choose_generation(l + 2, 1, &wish, &e), -1);
	assert_non_null(strstr(e.text, "none of the 1 generations has a snapshot"));
	assert_int_equal(plan_choose_generation(l, 0, &latest, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	assert_non_null(strstr(e.text, "there is no generation"));

	/* the objects came late, the commits did not */
	struct wal_index_doc d = { .generation = l[0].generation, .index = 0 };
	const struct wal_index_doc *docs[] = { &d };
	commit(&d, 4152, 350);
	l[0].docs = docs;
	l[0].docs_n = 1;
	wish = by_time(360);
	assert_int_equal(plan_choose_generation(l, 2, &wish, &e), 0);
	wish = by_time(349);
	assert_int_equal(plan_choose_generation(l, 2, &wish, &e), 1);
	index_doc_free(&d);
}

static void test_window(void **state)
{
	(void)state;
	struct world w;
	int64_t first, last;
	ordinary(&w);
	assert_true(plan_window(&w.l, &first, &last));
	assert_int_equal(first, 100 * SECOND);
	assert_int_equal(last, 120 * SECOND);
	documented(&w);
	for (size_t i = 0; i < w.l.snapshots_n; i++)
		w.snapshots[i].created_us = (int64_t)(70 + 3 * w.snapshots[i].at.index) * SECOND;
	assert_true(plan_window(&w.l, &first, &last));
	assert_int_equal(first, 70 * SECOND);
	assert_int_equal(last, 90 * SECOND);	 /* of the last commit */
	w.snapshots[2].created_us = 95 * SECOND; /* written after it, holds nothing more */
	assert_true(plan_window(&w.l, &first, &last));
	assert_int_equal(last, 90 * SECOND);
	snapshot(&w, 7, 96); /* of a later index: it may hold more */
	assert_true(plan_window(&w.l, &first, &last));
	assert_int_equal(last, 96 * SECOND);
	w.l.snapshots_n--;
	w.snapshots[2].created_us = 85 * SECOND;
	w.docs[3].end_offset = 4152; /* the document is older than the last segment */
	assert_true(plan_window(&w.l, &first, &last));
	assert_int_equal(last, 120 * SECOND);
	world_free(&w);
	w.l.docs_n = 0;
	w.l.segments_n = 0;
	assert_true(plan_window(&w.l, &first, &last));
	assert_int_equal(last, 85 * SECOND);
	w.l.snapshots_n = 0;
	assert_false(plan_window(&w.l, &first, &last));
}

/* The first moment of the window can be restored, the one before it cannot. */
static void test_window_is_true(void **state)
{
	(void)state;
	struct world w;
	int64_t first, last;
	documented(&w);
	for (int round = 0; round < 2; round++) {
		assert_true(plan_window(&w.l, &first, &last));
		struct plan_wish wish = { .by_time = true, .wall_us = first };
		w.e = ERR_INIT;
		assert_int_equal(plan_make(&w.l, &wish, &w.p, &w.e), 0);
		wish.wall_us--;
		expect_error(&w, wish, ERR_NOTHING, "first moment");
		w.snapshots[0].created_us = w.snapshots[1].created_us = w.snapshots[2].created_us =
			INT64_MAX / 2;
	}
	world_free(&w);
}

/* A time before everything: the error tells all windows, each generation once, in order. */
static void test_windows_are_told(void **state)
{
	(void)state;
	struct plan_object snapshots[9];
	struct plan_listing l[9];
	struct plan_wish wish = by_time(5);
	struct err e = ERR_INIT;
	for (unsigned i = 0; i < 9; i++) {
		snapshots[i] = (struct plan_object){ { i, 0 }, 1, (100 - 10 * (int64_t)i) * SECOND };
		l[i] = (struct plan_listing){ .snapshots = &snapshots[i], .snapshots_n = 1 };
		snprintf(l[i].generation.name, sizeof l[i].generation.name, "%016x", i);
	}
	l[1].generation = l[0].generation; /* in a second replica */
	assert_int_equal(plan_choose_generation(l, 2, &wish, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	assert_string_equal(
		e.text,
		"no backup found for 1970-01-01T00:00:05.000000Z: the first moment that can be restored "
		"is 1970-01-01T00:01:30.000000Z. What can be restored: 1970-01-01T00:01:30.000000Z to "
		"1970-01-01T00:01:40.000000Z (generation 0000000000000000)");
	assert_int_equal(plan_choose_generation(l, 9, &wish, &e), -1);
	assert_non_null(strstr(e.text, "restored: 1970-01-01T00:00:20.000000Z to 1970-01-01T00:00:20.000000Z "
				       "(generation 0000000000000008); 1970-01-01T00:00:30.000000Z to "));
	assert_non_null(strstr(e.text, "(generation 0000000000000003); and 2 more"));
	l[0].snapshots_n = 0;
	assert_int_equal(plan_choose_generation(l, 1, &wish, &e), -1);
	assert_non_null(strstr(e.text, "none of the 1 generations has a snapshot"));
}

/* ---- what 0.3.13 did: times and positions of fixtures v03/point-in-time ---- */

/* Microseconds after 2026-11-21T01:51:00Z. */
static const struct {
	uint64_t index, offset;
	int64_t created_us;
} original_segments[] = {
	{ 0, 0x0000, 15373851 }, { 0, 0xa110, 15831460 }, { 0, 0xc140, 16392028 }, { 1, 0x0000, 16395979 },
	{ 1, 0x1038, 16835460 }, { 1, 0x3068, 17331460 }, { 1, 0x5098, 17831460 }, { 1, 0x70c8, 18367460 },
	{ 1, 0x90f8, 18831460 }, { 1, 0xb128, 19331460 }, { 1, 0xd158, 19835482 }, { 2, 0x0000, 19838196 },
	{ 2, 0x1038, 20331460 }, { 2, 0x60b0, 20833491 }, { 2, 0x80e0, 21372840 }, { 2, 0xa110, 21831768 },
	{ 2, 0xc140, 22531460 }, { 3, 0x0000, 22536598 }, { 3, 0x1038, 22833688 }, { 3, 0x3068, 23419460 },
	{ 3, 0x5098, 23871460 }, { 3, 0x70c8, 24332694 }, { 3, 0x90f8, 24932554 }, { 3, 0xb128, 25676999 },
	{ 4, 0x0000, 25678194 }, { 4, 0x1038, 25891460 }, { 4, 0x3068, 26439460 }, { 4, 0x5098, 26931882 },
	{ 4, 0x70c8, 27439998 }, { 4, 0x90f8, 27945342 }, { 4, 0xb128, 28433168 }, { 4, 0xd158, 29031460 },
	{ 5, 0x0000, 29036385 }, { 5, 0x1038, 29535797 }, { 5, 0x3068, 30031989 }, { 5, 0x5098, 30555460 },
	{ 5, 0x90f8, 31031460 }, { 5, 0xb128, 31531460 }, { 5, 0xd158, 32031460 }, { 6, 0x0000, 32035863 },
	{ 6, 0x1038, 32531460 }, { 6, 0x3068, 33031460 }, { 6, 0x5098, 33531460 }, { 6, 0x70c8, 34031460 },
	{ 6, 0x90f8, 34531460 }, { 6, 0xb128, 35031460 }, { 6, 0xd158, 35531460 }, { 7, 0x0000, 35536601 },
};

static void test_as_the_original(void **state)
{
	(void)state;
	/* restored by 0.3.13 with this -timestamp: the snapshot and the last segment that it must have used,
	 * for the highest id in the table was that of the last commit in that segment */
	static const struct {
		int64_t at_us;
		uint64_t snapshot;
		struct position last;
	} wishes[] = {
		{ 17074752, 0, { 1, 0x1038 } }, { 20574638, 0, { 2, 0x1038 } }, { 24590704, 3, { 3, 0x70c8 } },
		{ 28682707, 3, { 4, 0xb128 } }, { 32735241, 5, { 6, 0x1038 } }, { 25676999, 3, { 3, 0xb128 } },
		{ 40536601, 5, { 7, 0x0000 } }, /* refused by the original; here the latest */
	};
	struct world w;
	world_init(&w);
	static const int64_t snapshots_us[] = { 15371460, 23333117, 31331460 };
	static const uint64_t snapshots_index[] = { 0, 3, 5 };
	for (int i = 0; i < 3; i++) {
		snapshot(&w, snapshots_index[i], 0);
		w.snapshots[i].created_us = snapshots_us[i];
	}
	for (size_t i = 0; i < sizeof original_segments / sizeof *original_segments; i++) {
		segment(&w, original_segments[i].index, original_segments[i].offset, 0);
		w.segments[i].created_us = original_segments[i].created_us;
	}
	for (size_t i = 0; i < sizeof wishes / sizeof *wishes; i++) {
		struct plan_wish wish = { .by_time = true, .wall_us = wishes[i].at_us };
		w.e = ERR_INIT;
		assert_int_equal(plan_make(&w.l, &wish, &w.p, &w.e), 0);
		assert_int_equal(w.p.snapshot.at.index, wishes[i].snapshot);
		assert_true(w.p.segments_n > 0);
		assert_int_equal(position_compare(w.p.segments[w.p.segments_n - 1].at, wishes[i].last), 0);
		assert_false(w.p.stop_inside);
	}
	struct plan_wish early = { .by_time = true, .wall_us = 10371460 };
	expect_error(&w, early, ERR_NOTHING, "00:00:15.371460Z");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_latest),
		cmocka_unit_test(test_by_index),
		cmocka_unit_test(test_no_snapshot),
		cmocka_unit_test(test_holes),
		cmocka_unit_test(test_middle_is_not_known),
		cmocka_unit_test(test_snapshot_alone),
		cmocka_unit_test(test_rests_of_retention),
		cmocka_unit_test(test_twice_listed),
		cmocka_unit_test(test_offsets_are_numbers),
		cmocka_unit_test(test_by_object_time),
		cmocka_unit_test(test_times_out_of_order),
		cmocka_unit_test(test_by_commit_time),
		cmocka_unit_test(test_snapshot_proven_by_documents),
		cmocka_unit_test(test_snapshot_disproven_by_documents),
		cmocka_unit_test(test_documents_with_holes),
		cmocka_unit_test(test_document_without_beginning),
		cmocka_unit_test(test_document_ahead_of_listing),
		cmocka_unit_test(test_foreign_documents),
		cmocka_unit_test(test_fuzzy),
		cmocka_unit_test(test_fuzzy_stop_inside),
		cmocka_unit_test(test_choose_generation),
		cmocka_unit_test(test_window),
		cmocka_unit_test(test_window_is_true),
		cmocka_unit_test(test_windows_are_told),
		cmocka_unit_test(test_as_the_original),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("plan", tests, NULL, NULL);
}
