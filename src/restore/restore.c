/* SPDX-License-Identifier: Apache-2.0
 *
 * Restore.
 *
 *   1. Look at the place of the output (output.c).
 *   2. List all sources (list.c) and choose the generation that answers the wish best. List that one again and
 * keep what the first listing vouches for.
 *   3. Plan (core/plan). Fetch the snapshot (snapshot.c) into the temporary file.
 *   4. Fetch the segments (fetch.c) and apply them in order (apply.c).
 *   5. Publish (output.c).
 *
 * Memory: the budget is divided between the table of pages (apply) and the chunks and input buffers (fetch);
 * while the snapshot comes all of it belongs to its threads. Whatever the budget, one worker gets what it needs
 * (16 MiB in all).
 *
 * Failure:
 *   a damaged snapshot     a warning; the next older one and all WAL since then are used, if that is possible
 *   a damaged segment      an error that names it and the command that restores what is before it: the last
 * commit whose time is known, else the last whole WAL index
 *   a damaged source       another one that reaches as far in the generation is used, with a warning
 *   an object is gone      retention ran meanwhile: list again and begin anew, twice at most
 *   a source has no answer another one is used, with a warning; if none is left its error is the result, for a
 * backup that cannot be reached is not a backup that does not exist */
#include "restore/restore.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "restore/apply.h"
#include "restore/fetch.h"
#include "restore/list.h"
#include "restore/output.h"
#include "restore/progress.h"
#include "restore/snapshot.h"
#include "restore/stop.h"

enum {
	MEMORY_DEFAULT_BYTES = 48 << 20,
	APPLY_MIN_BYTES = 4 << 20,
	APPLY_MAX_BYTES = 16 << 20,
	ANEW_MAX = 2,
};

struct run {
	struct restore_source *sources;
	size_t sources_n;
	const struct restore_wish *wish;
	struct output out;
	struct progress progress;
	struct restore_result result;
	int anew;    /* times begun again */
	bool listed; /* once: what is wrong with names and sources has been said */
};

/* What failed, for the decision what to do about it. */
struct failure {
	enum { FAILED_OTHER, FAILED_SNAPSHOT, FAILED_SEGMENT } what;
	struct position at;
	size_t segment; /* its place in the plan */
};

static struct plan_wish plan_wish_of(const struct restore_wish *w)
{
	return (struct plan_wish){ .by_index = w->by_index || w->by_position,
				   .index = w->by_position ? w->position.index : w->index,
				   .by_time = w->by_time,
				   .wall_us = w->wall_us };
}

/* ---- choosing ---- */

/* The candidates of all sources. */
struct candidates {
	struct listing *v;
	size_t n, cap;
};

static void candidates_free(struct candidates *c)
{
	for (size_t i = 0; i < c->n; i++)
		listing_free(&c->v[i]);
	free(c->v);
	*c = (struct candidates){ 0 };
}

static int candidate_add(struct candidates *c, struct restore_source *source, const struct generation *g,
			 const struct plan_wish *pw, bool warn, struct err *e)
{
	struct listing l;
	if (listing_read(&l, source, g, warn, e) < 0)
		return -1;
	if (pw->by_time && listing_docs(&l, pw, e) < 0) {
		listing_free(&l);
		return -1;
	}
	if (c->n == c->cap) {
		size_t cap = c->cap ? c->cap * 2 : 8;
		struct listing *v = realloc(c->v, cap * sizeof *v);
		if (!v) {
			listing_free(&l);
			return err_set(e, ERR_FAIL, "no memory for a listing");
		}
		c->v = v;
		c->cap = cap;
	}
	c->v[c->n++] = l;
	return 0;
}

/* Adds what one source has. */
static int source_list(struct run *r, struct restore_source *source, struct candidates *c, struct err *e)
{
	struct plan_wish pw = plan_wish_of(r->wish);
	struct generations g = { 0 };
	bool warn = !r->listed;
	size_t before = c->n;
	int rc = list_generations(source->store, &g, warn, e);
	for (size_t i = 0; rc == 0 && i < g.n; i++)
		if (generation_none(&r->wish->generation) || generation_equal(&g.v[i], &r->wish->generation))
			rc = candidate_add(c, source, &g.v[i], &pw, warn, e);
	generations_free(&g);
	while (rc < 0 && c->n > before)
		listing_free(&c->v[--c->n]);
	return rc;
}

static int nothing_found(struct run *r, struct err *e)
{
	char where[512] = "";
	size_t n = 0;
	for (size_t i = 0; i < r->sources_n && n < sizeof where; i++) {
		int len = snprintf(where + n, sizeof where - n, "%s%.200s", i > 0 ? ", " : "",
				   r->sources[i].store->label);
		n += len > 0 ? (size_t)len : 0;
	}
	if (generation_none(&r->wish->generation))
		return err_set(e, ERR_NOTHING, "no backup found in %s", where);
	return err_set(e, ERR_NOTHING, "no backup found: there is no generation %s in %s",
		       r->wish->generation.name, where);
}

/* No generation reaches back to the time: which windows are there, exactly? For that other documents are needed
 * than for the choice; where they cannot be read the times of the objects stand for them. */
static int too_early(struct run *r, struct candidates *c, struct plan_listing *l, struct err *e)
{
	for (size_t i = 0; i < c->n; i++) {
		struct err unread = ERR_INIT;
		if (listing_docs_window(&c->v[i], &unread) < 0)
			log_debug("restore: index documents cannot be read", L_S("error", unread.text));
		l[i] = c->v[i].plan;
	}
	return plan_too_early(l, c->n, r->wish->wall_us, e);
}

/* The place of the best candidate, or -1. Of equally good ones that of the first source wins, and
 * plan_choose_generation takes the last. */
static int candidate_best(struct run *r, struct candidates *c, struct err *e)
{
	struct plan_wish pw = plan_wish_of(r->wish);
	struct plan_listing *l = calloc(c->n ? c->n : 1, sizeof *l);
	size_t *place = calloc(c->n ? c->n : 1, sizeof *place);
	int best = -1;
	if (!l || !place) {
		err_set(e, ERR_FAIL, "no memory for a listing");
	} else if (c->n == 0) {
		nothing_found(r, e);
	} else {
		size_t n = 0;
		bool readable = false;
		for (size_t i = 0; i < c->n; i++)
			readable = readable || !c->v[i].source->sealed;
		for (size_t s = r->sources_n; s-- > 0;)
			for (size_t i = 0; i < c->n; i++)
				if (c->v[i].source == &r->sources[s] && !(readable && r->sources[s].sealed)) {
					place[n] = i;
					l[n++] = c->v[i].plan;
				}
		best = plan_choose_generation(l, n, &pw, e);
		if (best >= 0)
			best = (int)place[best];
		else if (pw.by_time && e->kind == ERR_NOTHING)
			too_early(r, c, l, e);
	}
	free(l);
	free(place);
	return best;
}

/* Lists all sources and moves the best generation into *ret. */
static int choose(struct run *r, struct listing *ret, struct err *e)
{
	struct candidates c = { 0 };
	struct err unknown = ERR_INIT; /* of the first source that could not be listed */
	size_t failed = r->sources_n;
	for (size_t i = 0; i < r->sources_n; i++) {
		struct err one = ERR_INIT;
		if (r->sources[i].damaged || source_list(r, &r->sources[i], &c, &one) == 0)
			continue;
		if (stop_check(e) < 0) {
			candidates_free(&c);
			return -1;
		}
		/* A root that is not there is an answer: nothing. */
		if (failed == r->sources_n || (unknown.kind == ERR_NOTHING && one.kind != ERR_NOTHING)) {
			failed = i;
			unknown = one;
		}
		if (r->sources_n > 1 && !r->listed)
			log_warn("restore: a replica cannot be listed", L_S("replica", r->sources[i].name),
				 L_S("error", one.text));
	}
	r->listed = true;
	int best = candidate_best(r, &c, e);
	if (best < 0 && failed < r->sources_n && (unknown.kind != ERR_NOTHING || r->sources_n == 1))
		*e = unknown;
	if (best >= 0) {
		*ret = c.v[best];
		c.v[best] = (struct listing){ 0 };
	}
	candidates_free(&c);
	return best < 0 ? -1 : 0;
}

/* Up to where the newest index document says that segments are there. Zero: it does not say. */
static int documented_end(const struct listing *l, struct position *ret, struct err *e)
{
	struct wal_index_doc d;
	*ret = (struct position){ 0, 0 };
	if (l->doc_indexes_n == 0)
		return 0;
	int rc = list_doc_read(l->source->store, &l->plan.generation, l->doc_indexes[l->doc_indexes_n - 1], &d,
			       e);
	if (rc <= 0)
		return rc;
	*ret = (struct position){ d.index, d.end_offset };
	index_doc_free(&d);
	return 0;
}

/* Chooses, and lists the chosen generation a second time. */
static int choose_twice(struct run *r, struct listing *ret, struct position *ret_end, struct err *e)
{
	struct listing first;
	struct plan_wish pw = plan_wish_of(r->wish);
	if (choose(r, &first, e) < 0)
		return -1;
	int rc = documented_end(&first, ret_end, e);
	if (rc == 0)
		rc = listing_read(ret, first.source, &first.plan.generation, false, e);
	if (rc == 0) {
		listing_keep(ret, &first, *ret_end);
		rc = listing_docs(ret, &pw, e);
		if (rc < 0)
			listing_free(ret);
	}
	listing_free(&first);
	return rc;
}

/* ---- what still works ---- */

static bool index_works(struct listing *l, uint64_t index)
{
	struct plan_wish pw = { .by_index = true, .index = index };
	struct plan p;
	struct err e;
	return plan_make(&l->plan, &pw, &p, &e) == 0;
}

static const char *how_to_name(const struct listing *l)
{
	return l->source->how_to_name ? l->source->how_to_name : l->source->store->label;
}

static int hint_command(const struct run *r, const struct listing *l, const char *state, const char *flag,
			struct err *e)
{
	char output[2 * PATH_BYTES];
	return err_hint(
		e, "The last state that can be restored is %s: walbrook restore -generation %s %s -o %s %s",
		state, l->plan.generation.name, flag, shell_word(output, sizeof output, r->wish->output),
		how_to_name(l));
}

/* The last commit before the damaged segment that a time names, because the one after it was later. 0: none is
 * known. */
static int64_t time_before(const struct run *r, const struct listing *l, struct position bad)
{
	struct wal_index_doc d;
	struct err unread = ERR_INIT;
	struct position last = r->result.reached;
	int64_t us = 0;
	if (last.index != bad.index ||
	    list_doc_read(l->source->store, &l->plan.generation, bad.index, &d, &unread) <= 0)
		return 0;
	if (last.offset > bad.offset)
		last.offset = bad.offset;
	for (size_t i = 0; i + 1 < d.commits_n && d.commits[i].offset <= last.offset; i++)
		if (d.commits[i + 1].wall_us > d.commits[i].wall_us)
			us = d.commits[i].wall_us;
	index_doc_free(&d);
	return us;
}

/* The hint for damage inside an index: the last commit before it, by its time. */
static bool hint_time(struct run *r, struct listing *l, struct position bad, struct err *e)
{
	char when[TIME_TEXT_BYTES], flag[TIME_TEXT_BYTES + 16];
	struct plan_wish pw = { .by_time = true, .wall_us = time_before(r, l, bad) };
	struct plan p;
	struct err why = ERR_INIT;
	if (pw.wall_us == 0 || listing_docs(l, &pw, &why) < 0 || plan_make(&l->plan, &pw, &p, &why) < 0 ||
	    (p.segments_n > 0 && position_compare(p.segments[p.segments_n - 1].at, bad) >= 0))
		return false;
	snprintf(flag, sizeof flag, "-timestamp %s", time_format(when, pw.wall_us, 6));
	hint_command(r, l, when, flag, e);
	return true;
}

/* The hint for damage at index `bad`: what comes before it can be had. */
static int hint_before(struct run *r, struct listing *l, uint64_t bad, struct err *e)
{
	char state[32], flag[32];
	if (bad == 0 || !index_works(l, bad - 1))
		return err_hint(
			e,
			"No whole WAL index before it can be restored from generation %s; walbrook verify %s "
			"tells what can be restored",
			l->plan.generation.name, how_to_name(l));
	snprintf(state, sizeof state, "index %08" PRIx64, bad - 1);
	snprintf(flag, sizeof flag, "-index %" PRIx64, bad - 1);
	return hint_command(r, l, state, flag, e);
}

/* The plan cannot be made because of a hole. It lies behind the newest snapshot that fits, in the lowest index
 * whose restore the plan refuses. */
static int hint_hole(struct run *r, struct listing *l, struct err *e)
{
	struct position newest = { 0, 0 };
	uint64_t lo = UINT64_MAX, hi;
	for (size_t i = 0; i < l->plan.snapshots_n; i++) {
		uint64_t index = l->plan.snapshots[i].at.index;
		if ((!r->wish->by_index || index <= r->wish->index) && (lo == UINT64_MAX || index > lo))
			lo = index;
	}
	if (lo == UINT64_MAX || !listing_newest(l, &newest) || newest.index < lo)
		return -1;
	hi = r->wish->by_index && r->wish->index < newest.index ? r->wish->index : newest.index;
	while (lo < hi) {
		uint64_t mid = lo + (hi - lo) / 2;
		if (index_works(l, mid))
			lo = mid + 1;
		else
			hi = mid;
	}
	return hint_before(r, l, lo, e);
}

/* ---- doing it ---- */

static uint64_t memory_of(const struct restore_wish *w)
{
	return w->memory_bytes ? w->memory_bytes : MEMORY_DEFAULT_BYTES;
}

static int workers_of(const struct restore_wish *w)
{
	return w->parallelism < 1 ? 1 : w->parallelism;
}

static int get_snapshot(struct run *r, struct listing *l, const struct plan *p, struct snapshot_result *ret,
			struct err *e)
{
	char key[OBJECT_KEY_BYTES];
	struct object o = { .kind = OBJECT_SNAPSHOT,
			    .generation = l->plan.generation,
			    .at = { p->snapshot.at.index, 0 } };
	long cores = sysconf(_SC_NPROCESSORS_ONLN);
	uint64_t threads = (uint64_t)workers_of(r->wish), fit = memory_of(r->wish) / SNAPSHOT_THREAD_BYTES;
	/* Blocks come in one stream and need nothing but computing, so more threads than cores are no use. */
	if (cores > 0 && threads > (uint64_t)cores + 1)
		threads = (uint64_t)cores + 1;
	if (threads > fit)
		threads = fit > 0 ? fit : 1;
	/* A block of 4 MiB takes at least 16 KiB: never a thread for nothing. */
	if (threads > 1 + p->snapshot.stored_bytes / (16 << 10))
		threads = 1 + p->snapshot.stored_bytes / (16 << 10);
	if (r->wish->hashes)
		return snapshot_hash(l->source->store, object_key(key, &o), r->wish->hashes, &r->progress, ret,
				     e);
	return snapshot_fetch(l->source->store, object_key(key, &o), r->out.fd, r->out.temp, (int)threads,
			      &r->progress, ret, e);
}

static int chunk_apply(struct apply *a, const struct plan *p, const struct fetch_chunk *c, struct failure *ret,
		       struct err *e)
{
	for (size_t i = 0; i < c->parts_n && !a->done; i++) {
		const struct fetch_part *part = &c->parts[i];
		*ret = (struct failure){ FAILED_SEGMENT, p->segments[part->segment].at, part->segment };
		if (stop_check(e) < 0 || (part->first && apply_begin(a, ret->at, e) < 0))
			return -1;
		if (apply_bytes(a, part->data, e) < 0)
			return -1;
		if (part->last && !a->done && apply_end(a, part->index_end, e) < 0)
			return -1;
	}
	return 0;
}

static bool ends_in(const struct fetch_chunk *c, size_t segment)
{
	for (size_t i = 0; i < c->parts_n; i++)
		if (c->parts[i].segment > segment || (c->parts[i].segment == segment && c->parts[i].last))
			return true;
	return false;
}

/* What has come of a large segment does not fit, and its end has not come yet. When it turns out that the
 * object is damaged, that is the cause and becomes the error. Takes back the chunk. */
static void cause_find(struct fetch *f, struct fetch_chunk *chunk, size_t segment, struct err *e)
{
	struct err cause;
	size_t failed;
	while (!ends_in(chunk, segment)) {
		fetch_release(f, chunk);
		int rc = fetch_next(f, &chunk, &failed, &cause);
		if (rc < 0 && failed == segment && cause.kind == ERR_DAMAGED)
			*e = cause;
		if (rc <= 0)
			return;
	}
	fetch_release(f, chunk);
}

static int get_segments(struct run *r, struct listing *l, const struct plan *p, struct apply *a,
			struct failure *ret, struct err *e)
{
	struct fetch_config c = {
		.source = l->source,
		.generation = l->plan.generation,
		.segments = p->segments,
		.segments_n = p->segments_n,
		.doc_indexes = l->doc_indexes,
		.doc_indexes_n = l->doc_indexes_n,
		.workers = workers_of(r->wish),
		.progress = &r->progress,
	};
	uint64_t memory = memory_of(r->wish);
	c.memory_bytes = memory > a->c.memory_bytes ? memory - a->c.memory_bytes : 0;
	struct fetch *f = fetch_start(&c, e);
	if (!f)
		return -1;
	int rc = 0;
	while (rc == 0 && !a->done) {
		struct fetch_chunk *chunk;
		size_t failed;
		rc = fetch_next(f, &chunk, &failed, e);
		if (rc < 0 && failed < p->segments_n)
			*ret = (struct failure){ FAILED_SEGMENT, p->segments[failed].at, failed };
		if (rc <= 0)
			break;
		rc = chunk_apply(a, p, chunk, ret, e);
		if (rc < 0 && e->kind == ERR_DAMAGED)
			cause_find(f, chunk, ret->segment, e);
		else
			fetch_release(f, chunk);
	}
	fetch_stop(f);
	return rc;
}

static int apply_plan(struct run *r, struct listing *l, const struct plan *p, const struct snapshot_result *s,
		      struct failure *ret, struct err *e)
{
	char spill[PATH_BYTES + 16];
	struct apply a;
	uint64_t table = memory_of(r->wish) / 4;
	if (table > APPLY_MAX_BYTES)
		table = APPLY_MAX_BYTES;
	if (table < APPLY_MIN_BYTES)
		table = APPLY_MIN_BYTES;
	snprintf(spill, sizeof spill, "%s-spill", r->wish->hashes ? r->wish->output : r->out.temp);
	struct apply_config c = {
		.fd = r->out.fd,
		.hashes = r->wish->hashes,
		.path = r->out.temp,
		.spill_path = spill,
		.generation = l->plan.generation,
		.snapshot_bytes = s->plain_bytes,
		.snapshot_page_bytes = s->page_bytes,
		.memory_bytes = (size_t)table,
		.stop_inside = p->stop_inside,
		.stop = p->stop,
	};
	apply_init(&a, &c);
	int rc = p->segments_n > 0 ? get_segments(r, l, p, &a, ret, e) : 0;
	if (rc == 0) {
		*ret = (struct failure){ .what = FAILED_OTHER };
		rc = apply_finish(&a, e);
	}
	r->result.reached = a.committed ? a.reached : (struct position){ p->snapshot.at.index, 0 };
	r->result.database_bytes = a.size_bytes;
	r->result.wal_bytes = a.wal_bytes;
	r->result.segments = a.segments;
	apply_free(&a);
	return rc;
}

/* The plan, from the snapshot to the complete temporary file. */
static int execute(struct run *r, struct listing *l, const struct plan *p, struct failure *ret, struct err *e)
{
	struct snapshot_result snapshot;
	uint64_t total = p->snapshot.stored_bytes;
	*ret = (struct failure){ .what = FAILED_OTHER };
	if (r->wish->hashes)
		page_hashes_free(r->wish->hashes);
	else if (output_empty(&r->out, e) < 0)
		return -1;
	for (size_t i = 0; i < p->segments_n; i++)
		total += p->segments[i].stored_bytes;
	progress_begin(&r->progress, total);
	log_debug("restore: begins", L_S("replica", l->source->name),
		  L_S("generation", l->plan.generation.name), L_I("snapshot", p->snapshot.at.index),
		  L_I("segments", p->segments_n), L_I("bytes", total));
	*ret = (struct failure){ .what = FAILED_SNAPSHOT, .at = p->snapshot.at };
	if (get_snapshot(r, l, p, &snapshot, e) < 0)
		return -1;
	*ret = (struct failure){ .what = FAILED_OTHER };
	r->result.source = l->source->name;
	r->result.generation = l->plan.generation;
	r->result.exact_time = p->exact_time;
	r->result.has_commit = p->has_commit;
	r->result.commit_us = p->commit_us;
	return apply_plan(r, l, p, &snapshot, ret, e);
}

/* A missing end is visible only in the index document. */
static void end_check(const struct run *r, const struct listing *l, const struct plan *p, struct position end)
{
	const struct restore_wish *w = r->wish;
	struct position have = p->snapshot.at;
	if (w->by_time || w->by_position || (w->by_index && w->index < end.index))
		return;
	if (p->segments_n > 0)
		have = p->segments[p->segments_n - 1].at;
	if (r->result.reached.index == have.index && r->result.reached.offset > have.offset)
		have.offset = r->result.reached.offset;
	if (position_compare(have, end) >= 0)
		return;
	char reached[POSITION_TEXT_BYTES], expected[POSITION_TEXT_BYTES];
	log_warn("restore: the end is missing: the replica once held more than it holds now",
		 L_S("restored", position_format(reached, &l->plan.generation, have)),
		 L_S("held", position_format(expected, &l->plan.generation, end)));
}

/* After a damaged snapshot: is there an older one to use? Then the wish is narrowed, else *e gets a hint. */
static int older_snapshot(struct run *r, struct listing *l, struct plan_wish *pw, uint64_t bad, struct err *e)
{
	struct plan_wish older = *pw;
	struct plan p;
	struct err why = ERR_INIT;
	older.below = true;
	older.below_index = bad;
	if (plan_make(&l->plan, &older, &p, &why) < 0) {
		err_hint(e, "An older snapshot cannot be used instead: %s", why.text);
		return why.kind == ERR_DAMAGED ? hint_before(r, l, bad, e) : -1;
	}
	log_warn("restore: the newest snapshot is damaged, an older one is used", L_S("error", e->text),
		 L_I("damaged", bad), L_I("used", p.snapshot.at.index));
	*pw = older;
	return 0;
}

/* Nothing behind the position is wanted. */
static void stop_at(struct plan *p, struct position at)
{
	while (p->segments_n > 0 && position_compare(p->segments[p->segments_n - 1].at, at) >= 0)
		p->segments_n--;
	p->stop_inside = true;
	p->stop = at;
}

/* From the listing to the complete temporary file. 0: done; 1: an object has gone, list again; -1: *e. */
static int from_listing(struct run *r, struct listing *l, struct position end, struct err *e)
{
	struct plan_wish pw = plan_wish_of(r->wish);
	for (;;) {
		struct plan p;
		struct failure failed;
		if (plan_make(&l->plan, &pw, &p, e) < 0) {
			if (e->kind == ERR_DAMAGED)
				hint_hole(r, l, e);
			return -1;
		}
		if (r->wish->by_position)
			stop_at(&p, r->wish->position);
		if (execute(r, l, &p, &failed, e) == 0) {
			end_check(r, l, &p, end);
			return 0;
		}
		if (stop_asked() || failed.what == FAILED_OTHER)
			return -1;
		if (e->kind == ERR_NOTHING)
			return 1;
		if (e->kind != ERR_DAMAGED)
			return -1;
		if (failed.what == FAILED_SEGMENT)
			return hint_time(r, l, failed.at, e) ? -1 : hint_before(r, l, failed.at.index, e);
		if (older_snapshot(r, l, &pw, failed.at.index, e) < 0)
			return -1;
	}
}

/* Where what a listing holds ends, as far as it can be seen: at least where its last segment begins. */
static struct position end_of(const struct listing *l, struct position documented)
{
	struct position at = { 0, 0 };
	return listing_newest(l, &at) && position_compare(at, documented) > 0 ? at : documented;
}

/* What the best source holds is damaged (*e): does another one reach as far in the same generation? Then it is
 * the best. Else it is named, if it is of the generation at all. */
static bool other_source(struct run *r, struct listing *bad, struct position bad_end, struct err *e)
{
	struct listing l;
	struct err why = ERR_INIT;
	struct position end = { 0, 0 };
	char at[POSITION_TEXT_BYTES];
	bad->source->damaged = true;
	if (r->sources_n < 2 || choose(r, &l, &why) < 0)
		return false;
	bool same = generation_equal(&l.plan.generation, &bad->plan.generation) &&
		    documented_end(&l, &end, &why) == 0;
	bool as_far = same && position_compare(end_of(&l, end), end_of(bad, bad_end)) >= 0;
	if (as_far)
		log_warn("restore: a replica is damaged, another one that reaches as far is used",
			 L_S("damaged", bad->source->name), L_S("used", l.source->name), L_S("error", e->text));
	else if (same)
		err_hint(e, "Another replica reaches to %s at least; to restore from it say -replica %s",
			 position_format(at, &l.plan.generation, end_of(&l, end)), l.source->name);
	listing_free(&l);
	return as_far;
}

static int run(struct run *r, struct err *e)
{
	const struct restore_wish *w = r->wish;
	for (;;) {
		struct listing l;
		struct position end;
		if (choose_twice(r, &l, &end, e) < 0)
			return -1;
		bool file = !w->hashes;
		int rc = file && r->out.fd < 0 ? output_open(&r->out, w->output, &w->owner, e) : 0;
		if (rc == 0)
			rc = from_listing(r, &l, end, e);
		bool other = rc < 0 && e->kind == ERR_DAMAGED && other_source(r, &l, end, e);
		listing_free(&l);
		if (other)
			continue;
		if (rc == 0)
			return file ? output_publish(&r->out, e) : 0;
		if (rc < 0 || r->anew == ANEW_MAX)
			return -1;
		r->anew++;
		log_info("restore: an object has gone meanwhile, listing again", L_S("error", e->text));
	}
}

int restore_run(struct restore_source *sources, size_t n, const struct restore_wish *w,
		struct restore_result *ret, struct err *e)
{
	struct run r = { .sources = sources, .sources_n = n, .wish = w, .out = OUTPUT_INIT };
	int64_t start_ms = mono_ms();
	if (!w->hashes && restore_check_output(w->output, e) < 0)
		return -1;
	if (w->by_index && w->by_time)
		return err_set(e, ERR_USAGE,
			       "cannot restore to an index and to a time at once; give one of them");
	if (n == 0)
		return err_set(e, ERR_NOTHING, "no backup found: there is no replica to restore from");
	progress_init(&r.progress, w->progress, STDERR_FILENO);
	int rc = run(&r, e);
	if (rc < 0 && stop_asked())
		stop_check(e);
	if (rc < 0)
		output_abort(&r.out);
	r.result.fetched_bytes = r.progress.done_bytes;
	r.result.elapsed_ms = mono_ms() - start_ms;
	progress_end(&r.progress);
	if (stop_asked())
		stop_clear();
	if (rc == 0)
		*ret = r.result;
	return rc;
}
