/* SPDX-License-Identifier: Apache-2.0
 *
 * Restore plan.
 *
 *   1. Sort snapshots and segments by number; of two with the same number (two listings) keep the newer.
 *   2. Order the snapshots that may be used: not marked as damaged (`below`), not beyond the wished index, safe
 *      for the wished time. The best is the one with the highest index.
 *   3. Take the segments from the snapshot's index on, as far as the wish goes.
 *   4. Look for holes among them: each index from the snapshot's on must have segments, the first at offset 0.
 *   5. A fuzzy snapshot (a copy made while pages were written into the file) is used only if the segments reach
 *      the position from which it is whole; else the next best snapshot is tried.
 *
 * Objects below the snapshot are never looked at: retention removes them in pieces. A snapshot whose index lies
 * beyond all segments is restored alone. Whether segments join exactly is known only when they have been
 * decompressed.
 *
 * Time. Index documents tell when each commit was made. The newest commit not after the wished time is the
 * *floor*: all segments before it belong to the plan, whatever time their objects have. The oldest commit after
 * the wished time is the *ceiling*: no segment that reaches it belongs to the plan. Between the two (an index
 * without a document or with one that lost its beginning, segments newer than the document) the object's time
 * decides: a segment counts if it was created at the wished time or before, up to the first that was not.
 * Without documents that is all, and it is what 0.3.13 does.
 *
 * A snapshot is safe for a time if it was created by then, or if the floor lies in a later index (then all of
 * the WAL index that it may have bits of is replayed), or in its own index and behind the position from which
 * its document calls it whole; and if no document shows a commit after that time in an index before it. (A
 * document that marks no position belongs to a snapshot that is whole from the beginning of its index, or to
 * one of 0.3.13 that was there before the first commit that the document knows.) Without a floor the snapshot
 * with the latest creation wins, as in 0.3.13; ties go to the higher index.
 *
 * Failure: nothing that fits is ERR_NOTHING and says what there is; a hole is ERR_DAMAGED and says where. */
#include "core/plan.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

/* A snapshot appears right behind the document that tells from where on it is whole. */
enum { PUBLISH_US = 2000000 };

static int object_compare(const void *a, const void *b)
{
	const struct plan_object *x = a, *y = b;
	int c = position_compare(x->at, y->at);
	if (c != 0)
		return c;
	return x->created_us < y->created_us ? -1 : x->created_us > y->created_us;
}

/* Sorts; of several with the same position the one created last stays. Returns how many are left. */
static size_t objects_tidy(struct plan_object *v, size_t n)
{
	if (n == 0)
		return 0;
	qsort(v, n, sizeof *v, object_compare);
	size_t kept = 0;
	for (size_t i = 1; i < n; i++) {
		if (position_compare(v[kept].at, v[i].at) != 0)
			kept++;
		v[kept] = v[i];
	}
	return kept + 1;
}

static const struct wal_index_doc *doc_of(const struct plan_listing *l, uint64_t index)
{
	for (size_t i = 0; l->docs && i < l->docs_n; i++) {
		const struct wal_index_doc *d = l->docs[i];
		if (d->index == index && generation_equal(&d->generation, &l->generation))
			return d;
	}
	return NULL;
}

/* Commits of a document that were made at t or before. */
static size_t commits_until(const struct wal_index_doc *d, int64_t t_us)
{
	size_t lo = 0, hi = d->commits_n;
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		if (d->commits[mid].wall_us <= t_us)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* What the documents say about a moment: the positions of the last commit not after it and of the first after
 * it. */
struct moment {
	int64_t wall_us;
	bool has_floor, has_ceiling;
	struct position floor, ceiling;
	int64_t floor_us; /* when the commit at the floor was made */
};

static struct moment moment_of(const struct plan_listing *l, int64_t t_us)
{
	struct moment m = { .wall_us = t_us };
	for (size_t i = 0; l->docs && i < l->docs_n; i++) {
		const struct wal_index_doc *d = l->docs[i];
		if (!generation_equal(&d->generation, &l->generation))
			continue;
		size_t n = commits_until(d, t_us);
		if (n > 0) {
			struct position p = { d->index, d->commits[n - 1].offset };
			if (!m.has_floor || position_compare(p, m.floor) > 0) {
				m.floor = p;
				m.floor_us = d->commits[n - 1].wall_us;
			}
			m.has_floor = true;
		}
		if (n < d->commits_n) {
			struct position p = { d->index, d->commits[n].offset };
			if (!m.has_ceiling || position_compare(p, m.ceiling) < 0)
				m.ceiling = p;
			m.has_ceiling = true;
		}
	}
	return m;
}

/* ---- snapshots ---- */

/* From which position of its own index on the snapshot is whole, as the document of that index tells. false:
 * there is no document, or it becomes whole only in a later index, or the snapshot is newer than the document:
 * then another program may have put it there, of which the document knows nothing. */
static bool whole_from(const struct plan_listing *l, const struct plan_object *s, uint64_t *ret_offset)
{
	const struct wal_index_doc *d = doc_of(l, s->at.index);
	if (!d || s->created_us > d->stored_us + PUBLISH_US ||
	    (d->snapshot_fuzzy && d->usable_from.index > s->at.index))
		return false;
	*ret_offset = d->snapshot_fuzzy && d->usable_from.index == s->at.index ? d->usable_from.offset : 0;
	return true;
}

/* Is nothing in the snapshot newer than the floor, whatever the time of its object? */
static bool snapshot_proven(const struct plan_listing *l, const struct plan_object *s, const struct moment *m)
{
	uint64_t offset;
	if (!m->has_floor || m->floor.index != s->at.index)
		return m->has_floor && m->floor.index > s->at.index;
	return whole_from(l, s, &offset) && offset <= m->floor.offset;
}

static bool snapshot_fits(const struct plan_listing *l, const struct plan_object *s, const struct plan_wish *w,
			  const struct moment *m)
{
	if (w->below && s->at.index >= w->below_index)
		return false;
	if (w->by_index && s->at.index > w->index)
		return false;
	if (!w->by_time)
		return true;
	if (m->has_ceiling && m->ceiling.index < s->at.index)
		return false;
	return s->created_us <= w->wall_us || snapshot_proven(l, s, m);
}

/* Is a the better snapshot for the wish? */
static bool snapshot_better(const struct plan_object *a, const struct plan_object *b, const struct plan_wish *w,
			    const struct moment *m)
{
	if (w->by_time && !m->has_floor && a->created_us != b->created_us)
		return a->created_us > b->created_us;
	return a->at.index > b->at.index;
}

/* The best snapshot that fits and is not as good as `after` (NULL: the best of all). NULL: none is left. */
static const struct plan_object *snapshot_next(const struct plan_listing *l, const struct plan_wish *w,
					       const struct moment *m, const struct plan_object *after)
{
	const struct plan_object *best = NULL;
	for (size_t i = 0; i < l->snapshots_n; i++) {
		const struct plan_object *s = &l->snapshots[i];
		if (!snapshot_fits(l, s, w, m) || (after && !snapshot_better(after, s, w, m)))
			continue;
		if (!best || snapshot_better(s, best, w, m))
			best = s;
	}
	return best;
}

/* ---- segments ---- */

/* Does segment i end before the first commit that is too new? A segment ends where the next one begins. */
static bool before_ceiling(const struct plan_object *from, size_t n, size_t i, const struct moment *m)
{
	if (!m->has_ceiling || from[i].at.index != m->ceiling.index)
		return !m->has_ceiling || from[i].at.index < m->ceiling.index;
	return i + 1 < n && position_compare(from[i + 1].at, m->ceiling) < 0;
}

/* The segments from `from` on in the sorted listing: how many of them the wish takes. */
static size_t segments_wanted(const struct plan_object *from, size_t n, const struct plan_wish *w,
			      const struct moment *m)
{
	size_t i = 0;
	for (; i < n; i++) {
		const struct plan_object *s = &from[i];
		if (w->by_index && s->at.index > w->index)
			break;
		if (!w->by_time || (m->has_floor && position_compare(s->at, m->floor) < 0))
			continue;
		if (s->created_us > m->wall_us || !before_ceiling(from, n, i, m))
			break;
	}
	return i;
}

static int hole(const struct generation *g, uint64_t index, struct position found, struct err *e)
{
	if (found.index == index)
		return err_set(e, ERR_DAMAGED,
			       "missing first segment of index %08" PRIx64
			       " in generation %s: expected offset 0, found %" PRIu64,
			       index, g->name, found.offset);
	return err_set(e, ERR_DAMAGED,
		       "missing index %08" PRIx64 " in generation %s: expected offset 0 of index %08" PRIx64
		       ", found offset %" PRIu64 " of index %08" PRIx64,
		       index, g->name, index, found.offset, found.index);
}

/* n segments are taken of those that there are from `from` on; a hole before the first that is not taken counts
 * if the wish reaches it. */
static int holes_check(const struct plan_listing *l, const struct plan_wish *w, const struct moment *m,
		       uint64_t index, const struct plan_object *from, size_t n, size_t there, struct err *e)
{
	for (size_t i = 0; i < n; i++) {
		bool same = i > 0 && from[i].at.index == index;
		if (same)
			continue;
		if (i > 0)
			index++;
		if (from[i].at.index != index || from[i].at.offset != 0)
			return hole(&l->generation, index, from[i].at, e);
	}
	if (n == there || from[n].at.index == index)
		return 0;
	uint64_t next = n > 0 ? index + 1 : index;
	bool reached = from[n].at.index > next;
	if (w->by_index)
		reached = reached && w->index >= next;
	else if (m->has_floor && m->has_ceiling && m->floor.index == m->ceiling.index)
		reached = false; /* the stop is known exactly and lies before */
	return reached ? hole(&l->generation, next, from[n].at, e) : 0;
}

/* Decides about the stop inside the last segment of *p. `next`: the first segment not taken, or NULL. */
static void stop_set(struct plan *p, const struct moment *m, const struct plan_object *next)
{
	if (p->segments_n == 0) {
		p->exact_time = m->has_ceiling && m->ceiling.index == p->snapshot.at.index;
		return;
	}
	const struct plan_object *last = &p->segments[p->segments_n - 1];
	if (!m->has_floor || position_compare(last->at, m->floor) >= 0)
		return;
	p->exact_time = p->has_commit = true;
	p->commit_us = m->floor_us;
	bool ends_there = next && position_compare(next->at, m->floor) == 0;
	bool known_after = m->has_ceiling && m->ceiling.index <= m->floor.index;
	if (last->at.index == m->floor.index && !ends_there && (known_after || last->created_us > m->wall_us)) {
		p->stop_inside = true;
		p->stop = m->floor;
	}
}

/* Does the plan reach the position from which its snapshot is whole? */
static bool fuzzy_reached(const struct plan_listing *l, const struct plan *p, const struct plan_object *next)
{
	const struct wal_index_doc *d = doc_of(l, p->snapshot.at.index);
	if (!d || !d->snapshot_fuzzy)
		return true;
	struct position reach = { p->snapshot.at.index, 0 };
	if (p->stop_inside) {
		reach = p->stop;
	} else if (p->segments_n > 0) {
		/* The end of the last segment: where the next begins, or the end of its index. */
		reach = (struct position){ p->segments[p->segments_n - 1].at.index, UINT64_MAX };
		if (next && next->at.index == reach.index)
			reach.offset = next->at.offset;
	}
	return position_compare(d->usable_from, reach) <= 0;
}

/* The plan that begins with this snapshot. 1: made; 0: the snapshot is fuzzy and the wish ends too early; -1:
 * *e. */
static int plan_from(const struct plan_listing *l, const struct plan_wish *w, const struct moment *m,
		     const struct plan_object *snapshot, struct plan *ret, struct err *e)
{
	size_t first = 0;
	while (first < l->segments_n && l->segments[first].at.index < snapshot->at.index)
		first++;
	size_t there = l->segments_n - first;
	struct plan_object *from = there > 0 ? l->segments + first : NULL;
	struct plan p = { .snapshot = *snapshot, .segments = from };
	p.segments_n = segments_wanted(from, there, w, m);
	const struct plan_object *next = p.segments_n < there ? &from[p.segments_n] : NULL;
	if (w->by_time)
		stop_set(&p, m, next);
	if (!fuzzy_reached(l, &p, next))
		return 0;
	if (holes_check(l, w, m, snapshot->at.index, from, p.segments_n, there, e) < 0)
		return -1;
	*ret = p;
	return 1;
}

/* ---- what there is ---- */

/* The snapshot with the lowest index, NULL if there is none. The listing may be unsorted. */
static const struct plan_object *snapshot_lowest(const struct plan_listing *l)
{
	const struct plan_object *s = NULL;
	for (size_t i = 0; i < l->snapshots_n; i++)
		if (!s || l->snapshots[i].at.index < s->at.index)
			s = &l->snapshots[i];
	return s;
}

static int64_t created_max(const struct plan_object *v, size_t n, int64_t most)
{
	for (size_t i = 0; i < n; i++)
		if (v[i].created_us > most)
			most = v[i].created_us;
	return most;
}

/* The end of what can be restored: the last commit if a document tells that of the last segment, else by
 * objects. */
static int64_t window_end(const struct plan_listing *l)
{
	int64_t end = created_max(l->snapshots, l->snapshots_n, INT64_MIN);
	const struct plan_object *last = NULL;
	for (size_t i = 0; i < l->segments_n; i++)
		if (!last || position_compare(l->segments[i].at, last->at) > 0)
			last = &l->segments[i];
	if (!last)
		return end;
	const struct wal_index_doc *d = doc_of(l, last->at.index);
	if (!d || d->commits_n == 0 || d->end_offset <= last->at.offset)
		return created_max(l->segments, l->segments_n, end);
	int64_t commit = d->commits[d->commits_n - 1].wall_us;
	bool beyond = false; /* a snapshot of a later index: it may hold what no document tells of */
	for (size_t i = 0; i < l->snapshots_n; i++)
		beyond = beyond || l->snapshots[i].at.index > last->at.index;
	return beyond && end > commit ? end : commit;
}

/* The first commit of a document that can be reached from the lowest snapshot, whatever the time of its object.
 */
static bool first_reached(const struct plan_listing *l, const struct plan_object *lowest,
			  const struct wal_index_doc *d, int64_t *ret_us)
{
	uint64_t offset = 0;
	size_t i = 0;
	if (!generation_equal(&d->generation, &l->generation) || d->index < lowest->at.index)
		return false;
	if (d->index == lowest->at.index && !whole_from(l, lowest, &offset))
		return false;
	const struct wal_index_doc *own = doc_of(l, lowest->at.index);
	if (d->index > lowest->at.index && own && own->snapshot_fuzzy) {
		if (own->usable_from.index > d->index)
			return false;
		offset = own->usable_from.index == d->index ? own->usable_from.offset : 0;
	}
	while (i < d->commits_n && d->commits[i].offset < offset)
		i++;
	if (i < d->commits_n)
		*ret_us = d->commits[i].wall_us;
	return i < d->commits_n;
}

bool plan_window(const struct plan_listing *l, int64_t *ret_first_us, int64_t *ret_last_us)
{
	const struct plan_object *lowest = snapshot_lowest(l);
	if (!lowest)
		return false;
	int64_t first = INT64_MAX;
	for (size_t i = 0; i < l->snapshots_n; i++)
		if (l->snapshots[i].created_us < first)
			first = l->snapshots[i].created_us;
	for (size_t i = 0; l->docs && i < l->docs_n; i++) {
		int64_t us;
		if (first_reached(l, lowest, l->docs[i], &us) && us < first)
			first = us;
	}
	int64_t last = window_end(l);
	*ret_first_us = first;
	*ret_last_us = last > first ? last : first;
	return true;
}

/* Why no snapshot fits. `fuzzy`: one would, but is whole only later. */
static int nothing_fits(const struct plan_listing *l, const struct plan_wish *w,
			const struct plan_object *fuzzy, struct err *e)
{
	char want[TIME_TEXT_BYTES], have[TIME_TEXT_BYTES], until[TIME_TEXT_BYTES];
	const char *g = l->generation.name;
	int64_t first, last;
	if (!plan_window(l, &first, &last))
		return err_set(
			e, ERR_NOTHING,
			"generation %s has no snapshot, so nothing can be restored from its %zu segments", g,
			l->segments_n);
	if (fuzzy) {
		err_set(e, ERR_NOTHING,
			"snapshot %08" PRIx64
			" of generation %s is whole only at a later moment than the one asked "
			"for, and there is no other one before it",
			fuzzy->at.index, g);
		return !w->by_time ? -1
				   : err_hint(e, "The first moment that can be restored is %s, the last one %s",
					      time_format(have, first, 6), time_format(until, last, 6));
	}
	if (w->by_time)
		return err_set(e, ERR_NOTHING,
			       "generation %s cannot be restored to %s: the first moment that can be restored "
			       "is %s, the "
			       "last one %s",
			       g, time_format(want, w->wall_us, 6), time_format(have, first, 6),
			       time_format(until, last, 6));
	uint64_t lowest = snapshot_lowest(l)->at.index;
	if (w->by_index && lowest > w->index)
		return err_set(e, ERR_NOTHING,
			       "generation %s cannot be restored to index %08" PRIx64
			       ": its first snapshot has index %08" PRIx64,
			       g, w->index, lowest);
	return err_set(e, ERR_NOTHING,
		       "generation %s has no other snapshot below index %08" PRIx64
		       "; its first snapshot has index %08" PRIx64,
		       g, w->below_index, lowest);
}

int plan_make(struct plan_listing *l, const struct plan_wish *w, struct plan *ret, struct err *e)
{
	l->snapshots_n = objects_tidy(l->snapshots, l->snapshots_n);
	l->segments_n = objects_tidy(l->segments, l->segments_n);
	struct moment m = { 0 };
	if (w->by_time)
		m = moment_of(l, w->wall_us);
	const struct plan_object *s = NULL, *fuzzy = NULL;
	while ((s = snapshot_next(l, w, &m, s))) {
		int rc = plan_from(l, w, &m, s, ret, e);
		if (rc != 0)
			return rc < 0 ? -1 : 0;
		if (!fuzzy)
			fuzzy = s;
	}
	return nothing_fits(l, w, fuzzy, e);
}

/* ---- generations ---- */

/* Time of the newest object, or commit, not after `until`. */
static int64_t newest_until(const struct plan_listing *l, const struct moment *m, int64_t until)
{
	int64_t newest = INT64_MIN;
	for (size_t i = 0; i < l->snapshots_n; i++)
		if (l->snapshots[i].created_us <= until && l->snapshots[i].created_us > newest)
			newest = l->snapshots[i].created_us;
	for (size_t i = 0; i < l->segments_n; i++)
		if (l->segments[i].created_us <= until && l->segments[i].created_us > newest)
			newest = l->segments[i].created_us;
	return m->has_floor && m->floor_us > newest ? m->floor_us : newest;
}

/* From when to when a generation can be restored. */
struct window {
	struct generation generation;
	int64_t first_us, last_us;
};

static int window_compare(const void *a, const void *b)
{
	const struct window *x = a, *y = b;
	if (x->first_us != y->first_us)
		return x->first_us < y->first_us ? -1 : 1;
	return strcmp(x->generation.name, y->generation.name);
}

/* The windows of all listings, in order of their beginning. A generation that several replicas hold is one, as
 * long as any of them reaches. */
static size_t windows_of(const struct plan_listing *l, size_t n, struct window *ret)
{
	size_t found = 0;
	for (size_t i = 0; i < n; i++) {
		struct window w = { .generation = l[i].generation };
		size_t k = 0;
		if (!plan_window(&l[i], &w.first_us, &w.last_us))
			continue;
		while (k < found && !generation_equal(&ret[k].generation, &w.generation))
			k++;
		if (k == found)
			ret[found++] = w;
		if (w.first_us < ret[k].first_us)
			ret[k].first_us = w.first_us;
		if (w.last_us > ret[k].last_us)
			ret[k].last_us = w.last_us;
	}
	if (found > 0)
		qsort(ret, found, sizeof *ret, window_compare);
	return found;
}

/* Adds as many windows to the text as it has room for. */
static int tell_windows(const struct window *w, size_t n, struct err *e)
{
	enum { SHOWN_MAX = 6 };
	char text[ERR_TEXT_BYTES] = "", first[TIME_TEXT_BYTES], last[TIME_TEXT_BYTES];
	size_t len = 0, shown = n < SHOWN_MAX ? n : SHOWN_MAX;
	for (size_t i = 0; i < shown; i++)
		len += (size_t)snprintf(text + len, sizeof text - len, "%s%s to %s (generation %s)",
					i ? "; " : "", time_format(first, w[i].first_us, 6),
					time_format(last, w[i].last_us, 6), w[i].generation.name);
	if (n > shown)
		snprintf(text + len, sizeof text - len, "; and %zu more that walbrook generations -json shows",
			 n - shown);
	return err_hint(e, "What can be restored: %s", text);
}

int plan_too_early(const struct plan_listing *l, size_t n, int64_t t_us, struct err *e)
{
	char want[TIME_TEXT_BYTES], have[TIME_TEXT_BYTES];
	struct window *w = calloc(n ? n : 1, sizeof *w);
	if (!w)
		return err_set(e, ERR_FAIL, "no memory for the windows of %zu generations", n);
	size_t found = windows_of(l, n, w);
	if (found == 0)
		err_set(e, ERR_NOTHING, "no backup found: none of the %zu generations has a snapshot", n);
	else if (t_us >= w[0].first_us)
		err_set(e, ERR_NOTHING, "no backup found for %s", time_format(want, t_us, 6));
	else
		err_set(e, ERR_NOTHING, "no backup found for %s: the first moment that can be restored is %s",
			time_format(want, t_us, 6), time_format(have, w[0].first_us, 6));
	if (found > 0)
		tell_windows(w, found, e);
	free(w);
	return -1;
}

static int no_generation(const struct plan_listing *l, size_t n, const struct plan_wish *w, struct err *e)
{
	if (n == 0)
		return err_set(e, ERR_NOTHING, "no backup found: there is no generation");
	if (w->by_time)
		return plan_too_early(l, n, w->wall_us, e);
	return err_set(e, ERR_NOTHING, "no backup found: none of the %zu generations has a snapshot", n);
}

int plan_choose_generation(struct plan_listing *l, size_t n, const struct plan_wish *w, struct err *e)
{
	struct plan_wish time_only = { .by_time = w->by_time, .wall_us = w->wall_us };
	int best = -1;
	int64_t best_us = 0;
	for (size_t i = 0; i < n; i++) {
		struct moment m = { 0 };
		if (w->by_time)
			m = moment_of(&l[i], w->wall_us);
		if (!snapshot_next(&l[i], &time_only, &m, NULL))
			continue;
		int64_t us = newest_until(&l[i], &m, w->by_time ? w->wall_us : INT64_MAX);
		if (best < 0 || us >= best_us) {
			best = (int)i;
			best_us = us;
		}
	}
	return best >= 0 ? best : no_generation(l, n, w, e);
}
