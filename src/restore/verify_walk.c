/* SPDX-License-Identifier: Apache-2.0
 *
 * Verify: reading one generation from its first snapshot on.
 *
 *   1. Segments come in order from fetch.c. Each must begin where the one before ended; a new index begins at
 *      offset 0 with a WAL header that is newer than the one before and has the salt that the index object
 * says.
 *   2. Every frame continues the checksum chain. Commits that the index object tells must be there.
 *   3. When an index begins of which there is a snapshot, that is read and compared (verify_snapshot.c).
 *   4. At the end of an index: has all come that the index object tells of? Does it end at a commit?
 *
 * Behind a fault reading goes on: the first frame of the next segment is taken on trust (its salt must fit),
 * and from there the chain is checked again, so that a second damage in the same index is found too.
 *
 * Failure: damage is a finding and ends the window (verify_window.c); a store that fails ends the run. */
#include "restore/verify_state.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "restore/fetch.h"
#include "restore/stop.h"

enum {
	FETCH_BYTES = 24 << 20,
	CARRY_BYTES = WAL_FRAME_HEADER_BYTES + PAGE_BYTES_MAX,
	LINEAGE = 1 << 20, /* restarts that two WALs of one lineage may lie apart */
};

/* ---- a WAL index ---- */

static int hole(struct walk *w, uint64_t until, struct err *e)
{
	char prefix[OBJECT_KEY_BYTES], what[TEXT_BYTES];
	uint64_t from = w->next_index;
	if (from >= w->gone_below) {
		if (until - from == 1)
			snprintf(what, sizeof what, "WAL index %08" PRIx64 " is missing", from);
		else
			snprintf(what, sizeof what, "WAL indexes %08" PRIx64 " to %08" PRIx64 " are missing",
				 from, until - 1);
		walk_damage(w, "index-hole", object_prefix(prefix, OBJECT_SEGMENT, &w->h->generation), from,
			    what);
	}
	walk_break(w, (struct position){ from, 0 });
	/* Without its WAL index a snapshot is of no use, but it should be sound. */
	while (w->snapshot_next < w->h->snapshots_n && w->h->snapshots[w->snapshot_next].at.index < until) {
		if (walk_snapshot_alone(w, &w->h->snapshots[w->snapshot_next++], e) < 0)
			return -1;
	}
	return 0;
}

/* Everything that belongs to the beginning of an index, whether it has segments or not. */
static int index_enter(struct walk *w, uint64_t index, struct err *e)
{
	if (index > w->next_index && hole(w, index, e) < 0)
		return -1;
	w->at_entry = w->window;
	w->entered = true;
	w->index = index;
	w->offset = w->commit = w->open_frames = 0;
	w->offset_known = true;
	w->mode = AT_HEADER;
	w->header_seen = false;
	w->carry_n = 0;
	w->to_commit = 0;
	if (walk_doc(w, index, e) < 0)
		return -1;
	if (w->snapshot_next == w->h->snapshots_n || w->h->snapshots[w->snapshot_next].at.index != index)
		return 0;
	return walk_snapshot(w, &w->h->snapshots[w->snapshot_next++], e);
}

static void transaction_open(struct walk *w, bool last)
{
	char key[OBJECT_KEY_BYTES];
	struct position at = { w->index, w->offset };
	history_drop(&w->pages);
	if (w->open_frames == 0 || !w->sound)
		return;
	if (last && !w->h->fresh)
		verify_find(w->v, VERIFY_REMARK, "open-transaction", &w->h->generation,
			    walk_key(w, OBJECT_SEGMENT, w->segment->at, key),
			    "the transaction, which was perhaps never committed", TODO_NONE,
			    "the WAL ends inside a transaction of %" PRIu64
			    " frames; a restore leaves them out",
			    w->open_frames);
	if (last)
		return;
	walk_damage(w, "end-missing", walk_key(w, OBJECT_SEGMENT, at, key), w->index,
		    "a segment is missing: the WAL index ends inside a transaction, and a next one has begun");
	walk_break(w, (struct position){ w->index + 1, 0 });
}

/* last: there are no segments behind it. */
static void index_close(struct walk *w, bool last)
{
	if (!w->entered)
		return;
	w->entered = false;
	w->next_index = w->index + 1;
	transaction_open(w, last);
	walk_doc_end(w, last);
	if (w->cmp.on && w->cmp.to_end && w->cmp.index == w->index)
		walk_compare(w);
	if (w->base.on && w->index >= w->base.until.index)
		walk_base_end(w);
}

/* ---- frames ---- */

static void commit_seen(struct walk *w, uint64_t end, uint32_t pages)
{
	w->open_frames = 0;
	w->commit = end;
	w->commit_exact = false;
	w->v->result.commits++;
	history_commit(&w->pages, pages);
	while (w->doc_there && w->doc_commit < w->doc.commits_n && w->doc.commits[w->doc_commit].offset < end) {
		w->doc_wrong = true;
		w->doc_commit++;
	}
	if (w->doc_there && w->doc_commit < w->doc.commits_n && w->doc.commits[w->doc_commit].offset == end) {
		w->commit_us = w->doc.commits[w->doc_commit++].wall_us;
		w->commit_exact = true;
		if (w->sound && !w->from_known && w->index > w->base_index) {
			w->from_known = true;
			if (w->commit_us < w->window.from_us)
				w->window.from_us = w->commit_us;
		}
	}
	struct position at = { w->index, end };
	if (w->base.on && w->sound)
		walk_base_commit(w, at, pages);
	if (w->cmp.on && !w->cmp.to_end && position_compare(at, w->cmp.at) >= 0)
		walk_compare(w);
}

static int frame_seen(void *arg, const struct wal_frame *f, uint64_t offset)
{
	struct walk *w = arg;
	w->open_frames++;
	if (w->base.on && w->sound)
		walk_base_frame(w, f);
	if (w->pages_on && history_frame(&w->pages, f->pgno, f->page, w->chain.page_bytes) < 0) {
		err_set(w->frame_err, ERR_FAIL, "no memory for the frames of a transaction");
		return -1;
	}
	if (f->commit_pages != 0)
		commit_seen(w, offset + wal_frame_bytes(w->chain.page_bytes), f->commit_pages);
	return 0;
}

__attribute__((format(printf, 3, 4))) static void bad(struct walk *w, const char *kind, const char *fmt, ...)
{
	va_list ap;
	if (w->bad)
		return;
	w->bad = kind;
	va_start(ap, fmt);
	vsnprintf(w->bad_err.text, sizeof w->bad_err.text, fmt, ap);
	va_end(ap);
}

/* The header of this index and that of the one seen before. */
static bool lineage_back(const struct wal_header *before, const struct wal_header *now)
{
	int32_t salt = (int32_t)(get_be32(now->salt) - get_be32(before->salt));
	int32_t seq = (int32_t)(now->checkpoint_seq - before->checkpoint_seq);
	return salt <= 0 && salt > -LINEAGE && salt == seq;
}

static void header_seen(struct walk *w)
{
	struct wal_header h;
	enum wal_check check = wal_header_parse((struct span){ w->carry, w->carry_n }, &h);
	w->carry_n = 0;
	if (check != WAL_OK) {
		bad(w, "wal-header", "it should begin with a WAL header, but: %s", wal_check_text(check));
		return;
	}
	if (w->page_bytes && w->page_bytes != h.page_bytes)
		bad(w, "wal-header",
		    "the page size of the WAL is %" PRIu32 ", that of the database before it %" PRIu32,
		    h.page_bytes, w->page_bytes);
	else if (w->doc_there && w->doc.page_bytes != 0 &&
		 (memcmp(w->doc.salt, h.salt, sizeof h.salt) != 0 || w->doc.page_bytes != h.page_bytes))
		bad(w, "wal-header",
		    "this is not the WAL that its index object tells of (salt or page size differ)");
	else if (w->newest_header_seen && lineage_back(&w->header, &h))
		bad(w, "wal-header",
		    "it belongs to another WAL index: its WAL is not newer than the one before");
	if (w->bad)
		return;
	w->header = h;
	w->header_seen = w->newest_header_seen = true;
	w->chain = wal_chain_start(&h);
	w->mode = IN_ORDER;
	if (!w->page_bytes)
		w->page_bytes = h.page_bytes;
}

/* Moves bytes from *in to the carry until it holds n. false: the input was used up before. */
static bool carry_fill(struct walk *w, struct span *in, size_t n)
{
	size_t some = n - w->carry_n < in->n ? n - w->carry_n : in->n;
	if (some > 0)
		memcpy(w->carry + w->carry_n, in->p, some);
	w->carry_n += some;
	in->p += some;
	in->n -= some;
	return w->carry_n == n;
}

/* Whole frames. *ret_used: bytes that are done. */
static int frames_check(struct walk *w, struct span in, size_t *ret_used, struct err *e)
{
	struct err inner = ERR_INIT;
	w->frame_err = &inner;
	enum wal_check check = wal_chain_run(&w->chain, in, frame_seen, w, ret_used);
	w->frame_err = NULL;
	if (check == WAL_OK) {
		*e = inner;
		return -1;
	}
	if (check != WAL_SHORT)
		bad(w, "wal-chain", "the frame at WAL offset %" PRIu64 " is damaged or of another place: %s",
		    w->chain.offset, wal_check_text(check));
	return 0;
}

/* The first frame behind a fault: where the chain begins again. */
static void resync(struct walk *w)
{
	const uint8_t *p = w->carry;
	uint64_t begin = w->segment->at.offset;
	if (memcmp(p + 8, w->header.salt, sizeof w->header.salt) != 0) {
		bad(w, "wal-chain", "the frame at WAL offset %" PRIu64 " is of another place: %s", begin,
		    wal_check_text(WAL_BAD_SALT));
		return;
	}
	w->chain = wal_chain_start(&w->header);
	w->chain.sum = (struct wal_sum){ get_be32(p + 16), get_be32(p + 20) };
	w->chain.offset = begin + wal_frame_bytes(w->chain.page_bytes);
	w->open_frames = get_be32(p + 4) == 0;
	w->mode = IN_ORDER;
	walk_doc_skip(w, w->chain.offset);
}

static int segment_data(struct walk *w, struct span in, struct err *e)
{
	size_t used;
	w->segment_bytes += in.n;
	w->v->result.wal_bytes += in.n;
	if (w->bad || w->skip)
		return 0;
	w->offset += in.n;
	if (w->mode == BLIND)
		return 0;
	if (w->mode == AT_HEADER) {
		if (!carry_fill(w, &in, WAL_HEADER_BYTES))
			return 0;
		header_seen(w);
		if (w->bad)
			return 0;
	}
	size_t frame_bytes = (size_t)wal_frame_bytes(w->header.page_bytes);
	if (w->carry_n > 0 || w->mode == RESYNC) {
		if (!carry_fill(w, &in, frame_bytes))
			return 0;
		w->carry_n = 0;
		if (w->mode == RESYNC)
			resync(w);
		else if (frames_check(w, (struct span){ w->carry, frame_bytes }, &used, e) < 0)
			return -1;
		if (w->bad)
			return 0;
	}
	if (frames_check(w, in, &used, e) < 0)
		return -1;
	in.p += used;
	in.n -= used;
	if (!w->bad)
		carry_fill(w, &in, frame_bytes);
	return 0;
}

/* ---- segments ---- */

static void gap(struct walk *w, struct position at)
{
	char key[OBJECT_KEY_BYTES], what[TEXT_BYTES];
	bool before = at.offset < w->offset;
	snprintf(what, sizeof what,
		 "%s: expected offset %" PRIu64 " of WAL index %08" PRIx64 ", found %" PRIu64,
		 before		  ? "it overlaps the segment before it"
		 : w->offset == 0 ? "the first segment is missing"
				  : "a segment is missing",
		 w->offset, at.index, at.offset);
	struct position named = before ? at : (struct position){ at.index, w->offset };
	walk_damage(w, before ? "overlap" : "gap", walk_key(w, OBJECT_SEGMENT, named, key), at.index, what);
	w->skip = before;
	if (before) {
		/* A restore to any time behind its beginning would meet it. */
		w->window.exact = true;
		w->to_commit = 0;
	}
	walk_break(w, named);
	if (before)
		return;
	w->offset = at.offset;
	w->mode = w->header_seen ? RESYNC : BLIND;
	w->open_frames = 0;
	walk_doc_skip(w, at.offset);
}

static int segment_begin(struct walk *w, const struct plan_object *o, struct err *e)
{
	if (w->entered && w->index != o->at.index)
		index_close(w, false);
	if (!w->entered && index_enter(w, o->at.index, e) < 0)
		return -1;
	w->segment = o;
	w->segment_bytes = 0;
	w->skip = false;
	w->bad = NULL;
	w->carry_n = 0;
	w->v->result.segments++;
	w->v->result.stored_bytes += o->stored_bytes;
	if (!w->offset_known) {
		w->offset = o->at.offset;
		w->offset_known = true;
	}
	if (o->at.offset != w->offset)
		gap(w, o->at);
	return 0;
}

/* Nothing of it can be used, and where it ends is not known. */
static void segment_lost(struct walk *w)
{
	walk_break(w, w->segment->at);
	w->offset_known = false;
	w->mode = w->header_seen ? RESYNC : BLIND;
	w->open_frames = 0;
}

static void segment_end(struct walk *w)
{
	char key[OBJECT_KEY_BYTES];
	if (w->skip)
		return;
	if (w->segment_bytes == 0)
		bad(w, "segment", "it holds no data");
	if (w->carry_n > 0)
		bad(w, "segment", "its data ends inside a %s after %" PRIu64 " bytes",
		    w->header_seen ? "frame" : "WAL header", w->segment_bytes);
	if (w->bad) {
		walk_damage(w, w->bad, walk_key(w, OBJECT_SEGMENT, w->segment->at, key), w->segment->at.index,
			    w->bad_err.text);
		segment_lost(w);
		return;
	}
	if (!w->sound)
		return;
	if (w->segment->created_us > w->newest_us)
		w->newest_us = w->segment->created_us;
	if (w->commit <= w->segment->at.offset)
		return;
	w->window.to = (struct position){ w->index, w->commit };
	w->window.to_us = w->commit_exact ? w->commit_us : w->segment->created_us;
	w->window.exact = w->commit_exact;
	w->to_commit = w->commit_exact ? w->doc_commit : 0;
}

/* A segment that could not be read or decompressed. 0: told, go on behind it; -1: *e ends the run. */
static int segment_failed(struct walk *w, const struct plan_object *o, struct err *e)
{
	char key[OBJECT_KEY_BYTES];
	struct err why = *e;
	bool taken = false;
	walk_key(w, OBJECT_SEGMENT, o->at, key);
	if (why.kind != ERR_DAMAGED && why.kind != ERR_NOTHING)
		return -1;
	if (w->segment != o && segment_begin(w, o, e) < 0)
		return -1;
	if (why.kind == ERR_NOTHING && walk_retention(w, o->at.index, &taken, e) < 0)
		return -1;
	if (!taken && why.kind == ERR_NOTHING)
		walk_damage(w, "gone", key, o->at.index,
			    "it is listed, but it cannot be read: it is not there");
	else if (!taken)
		walk_damage(w, "segment", key, o->at.index, walk_without_key(why.text, key));
	segment_lost(w);
	return 0;
}

/* ---- the whole ---- */

static int chunk_walk(struct walk *w, const struct plan_object *segments, const struct fetch_chunk *c,
		      struct err *e)
{
	for (size_t i = 0; i < c->parts_n; i++) {
		const struct fetch_part *part = &c->parts[i];
		if (stop_check(e) < 0 || (part->first && segment_begin(w, &segments[part->segment], e) < 0) ||
		    segment_data(w, part->data, e) < 0)
			return -1;
		if (part->last)
			segment_end(w);
	}
	return 0;
}

/* Reads segments until one fails. 0: that was all; 1: *ret_failed is the place of the one that *e is about. */
static int segments_some(struct walk *w, const struct plan_object *segments, size_t n, size_t *ret_failed,
			 struct err *e)
{
	struct fetch_config c = {
		.source = w->v->source,
		.generation = w->h->generation,
		.segments = segments,
		.segments_n = n,
		.workers = w->v->wish->parallelism < 1 ? 1 : w->v->wish->parallelism,
		.memory_bytes = FETCH_BYTES,
		.progress = &w->v->progress,
	};
	struct fetch *f = fetch_start(&c, e);
	if (!f)
		return -1;
	int rc;
	for (;;) {
		struct fetch_chunk *chunk;
		rc = fetch_next(f, &chunk, ret_failed, e);
		if (rc <= 0)
			break;
		rc = chunk_walk(w, segments, chunk, e);
		fetch_release(f, chunk);
		if (rc < 0) {
			*ret_failed = n;
			break;
		}
	}
	fetch_stop(f);
	return rc < 0 && *ret_failed < n ? 1 : rc;
}

static int segments_all(struct walk *w, const struct plan_object *segments, size_t n, struct err *e)
{
	while (n > 0) {
		size_t failed;
		int rc = segments_some(w, segments, n, &failed, e);
		if (rc <= 0)
			return rc;
		if (segment_failed(w, &segments[failed], e) < 0)
			return -1;
		segments += failed + 1;
		n -= failed + 1;
	}
	return 0;
}

/* Snapshots behind all segments. The newest is restored alone. */
static int snapshots_alone(struct walk *w, struct err *e)
{
	char key[OBJECT_KEY_BYTES];
	while (w->snapshot_next < w->h->snapshots_n) {
		const struct plan_object *o = &w->h->snapshots[w->snapshot_next];
		if (index_enter(w, o->at.index, e) < 0)
			return -1;
		w->entered = false;
		w->next_index = o->at.index; /* its WAL may still come */
		bool fuzzy = w->doc_there && w->doc.snapshot_fuzzy && w->doc.usable_from.offset > 0;
		if (w->cmp.on && w->cmp.index == o->at.index && !fuzzy) {
			if (w->h->fresh)
				w->cmp.on = false;
			walk_compare_end(w);
		}
		if (fuzzy && w->sound && w->base_index == o->at.index && !w->cmp.on && !w->h->fresh)
			walk_damage(w, "snapshot-unusable", walk_key(w, OBJECT_SNAPSHOT, o->at, key),
				    o->at.index, "it can be used only together with WAL that is not there");
		if (w->sound && w->base_index < o->at.index) {
			w->window.to = o->at;
			w->window.to_us = o->created_us;
			w->window.exact = false;
		}
	}
	return 0;
}

static int walk_all(struct walk *w, struct err *e)
{
	const struct holding *h = w->h;
	size_t skip = 0;
	w->next_index = h->snapshots[0].at.index;
	while (skip < h->segments_n && h->segments[skip].at.index < w->next_index)
		skip++;
	if (segments_all(w, h->segments + skip, h->segments_n - skip, e) < 0)
		return -1;
	index_close(w, true);
	if (snapshots_alone(w, e) < 0)
		return -1;
	walk_compare_end(w);
	if (walk_docs_alone(w, UINT64_MAX, e) < 0)
		return -1;
	walk_bare_tell(w);
	walk_window_doubt(w);
	if (w->sound) {
		w->window.by = VERIFY_BY_NEWEST;
		walk_window_tell(w);
	}
	return 0;
}

int verify_walk(struct verify *v, const struct holding *h, struct err *e)
{
	struct walk w = { .v = v, .h = h, .pages_on = h->snapshots_n > 1 };
	int rc = 0;
	w.carry = malloc(CARRY_BYTES);
	if (!w.carry)
		rc = err_set(e, ERR_FAIL, "no memory to verify frames");
	if (rc == 0 && w.pages_on)
		rc = history_init(&w.pages, e);
	if (rc == 0)
		rc = walk_all(&w, e);
	history_free(&w.pages);
	index_doc_free(&w.doc);
	walk_base_free(&w);
	free(w.carry);
	return rc;
}
