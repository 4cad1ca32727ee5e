/* SPDX-License-Identifier: Apache-2.0
 *
 * Applying the WAL.
 *
 *   1. Segments come in order. Each must begin where the one before ended, counted in plain bytes; a new index
 * begins at offset 0 with the 32 bytes of a WAL header, whose page size must be that of the snapshot.
 *   2. Each frame is verified against the salts and the running checksum. The chain goes on over the ends of
 * segments; a segment may end inside a transaction, but not inside a frame.
 *   3. The pages of a transaction wait for its commit: as references into the piece at hand, or, when the piece
 * ends first, in `pending`. Pages behind everything that the database has had so far need not wait: cutting the
 * file removes them again. So a bulk load, however large, goes to its place at once.
 *   4. At the end of each index: frames behind the last commit are dropped, and the database gets the size of
 * the last commit. This is what SQLite's checkpoint of the whole WAL does: only the last committed version of
 * each page counts, pages behind the final size do not, and what the file held behind it is cut off (it would
 * show again as garbage if a later index made the database grow over pages that it never writes). The size of
 * earlier commits in the same index does not matter, for the same reason.
 *
 * Failure: everything that does not fit is ERR_DAMAGED with the key of the object; a missing piece also names
 * generation, index, offset expected and found. The file is then worthless. */
#include "restore/apply.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "restore/memory.h"

enum { CARRY_BYTES = WAL_FRAME_HEADER_BYTES + PAGE_BYTES_MAX };

static char *segment_key(const struct apply *a, char buf[OBJECT_KEY_BYTES])
{
	struct object o = { .kind = OBJECT_SEGMENT, .generation = a->c.generation, .at = a->segment };
	return object_key(buf, &o);
}

/* *e, which says what, gets the key of the object in front. */
static int damaged(const struct apply *a, struct err *e)
{
	char key[OBJECT_KEY_BYTES];
	return err_wrap(e, "%s", segment_key(a, key));
}

void apply_init(struct apply *a, const struct apply_config *c)
{
	*a = (struct apply){ .c = *c, .base_bytes = c->snapshot_bytes, .size_bytes = c->snapshot_bytes };
	a->pending.fd = -1;
}

void apply_free(struct apply *a)
{
	if (a->begun) {
		pages_free(&a->pages);
		pending_free(&a->pending);
	}
	free(a->carry);
	free(a->refs);
	a->begun = false;
	a->carry = NULL;
	a->refs = NULL;
}

/* ---- transactions ---- */

static int page_wait(struct apply *a, uint32_t pgno, const uint8_t *page, struct err *e)
{
	uint64_t end = page_end(a->chain.page_bytes, pgno);
	if (end - a->chain.page_bytes < a->base_bytes)
		return pending_add(&a->pending, pgno, page, e);
	a->open_behind = true;
	if (end > a->open_bytes)
		a->open_bytes = end;
	return pages_put(&a->pages, pgno, page, e);
}

/* The piece that the references point into is about to go. */
static int refs_wait(struct apply *a, struct err *e)
{
	for (size_t i = 0; i < a->refs_n; i++)
		if (page_wait(a, a->refs[i].pgno, a->refs[i].page, e) < 0)
			return -1;
	a->refs_n = 0;
	return 0;
}

static int ref_add(struct apply *a, const struct wal_frame *f, struct err *e)
{
	if (a->refs_n == a->refs_cap) {
		size_t cap = a->refs_cap ? a->refs_cap * 2 : 256;
		struct apply_ref *refs = realloc(a->refs, cap * sizeof *refs);
		if (!refs)
			return err_set(e, ERR_FAIL, "no memory for the frames of a transaction");
		a->refs = refs;
		a->refs_cap = cap;
	}
	a->refs[a->refs_n++] = (struct apply_ref){ f->pgno, f->page };
	return 0;
}

static int page_commit(struct apply *a, uint32_t pgno, const uint8_t *page, struct err *e)
{
	uint64_t end = page_end(a->chain.page_bytes, pgno);
	if (end > a->base_bytes)
		a->base_bytes = end;
	return pages_put(&a->pages, pgno, page, e);
}

static int commit(struct apply *a, const struct wal_frame *f, uint64_t end, struct err *e)
{
	if (a->pending.n > 0 || a->pending.spilled_bytes > 0)
		if (pending_commit(&a->pending, &a->pages, e) < 0)
			return -1;
	if (a->open_behind && a->open_bytes > a->base_bytes)
		a->base_bytes = a->open_bytes;
	for (size_t i = 0; i < a->refs_n; i++)
		if (page_commit(a, a->refs[i].pgno, a->refs[i].page, e) < 0)
			return -1;
	if (page_commit(a, f->pgno, f->page, e) < 0)
		return -1;
	a->refs_n = 0;
	a->open_frames = 0;
	a->open_behind = false;
	a->open_bytes = 0;
	a->committed = a->index_committed = true;
	a->size_bytes = page_end(a->chain.page_bytes, f->commit_pages);
	a->reached = (struct position){ a->index, end };
	return 0;
}

/* Each verified frame. 1: stop. */
static int frame_apply(void *arg, const struct wal_frame *f, uint64_t offset)
{
	struct apply *a = arg;
	uint64_t end = offset + wal_frame_bytes(a->chain.page_bytes);
	if (a->c.stop_inside && a->index == a->c.stop.index && end > a->c.stop.offset) {
		a->done = true;
		return 1;
	}
	a->open_frames++;
	return (f->commit_pages != 0 ? commit(a, f, end, a->frame_err) : ref_add(a, f, a->frame_err)) < 0;
}

/* What follows the last commit of an index is not part of the database. */
static int uncommitted_drop(struct apply *a, struct err *e)
{
	if (a->open_frames == 0)
		return 0;
	if (!a->done)
		log_warn("restore: the WAL ends inside a transaction; its frames are left out",
			 L_S("generation", a->c.generation.name), L_I("index", a->index),
			 L_I("frames", a->open_frames));
	pending_drop(&a->pending);
	if (a->open_behind && pages_cut(&a->pages, a->base_bytes, e) < 0)
		return -1;
	a->refs_n = 0;
	a->open_frames = 0;
	a->open_behind = false;
	a->open_bytes = 0;
	return 0;
}

static int index_finish(struct apply *a, struct err *e)
{
	if (!a->header_seen)
		return 0;
	if (uncommitted_drop(a, e) < 0)
		return -1;
	if (!a->index_committed)
		return 0;
	if (a->base_bytes > a->size_bytes)
		a->base_bytes = a->size_bytes;
	return pages_cut(&a->pages, a->size_bytes, e);
}

/* ---- segments ---- */

int apply_begin(struct apply *a, struct position at, struct err *e)
{
	bool first = a->segments == 0;
	struct position expected = { a->index, a->offset };
	if (first || at.index != a->index)
		expected = (struct position){ first ? at.index : a->index + 1, 0 };
	a->segment = at;
	if (position_compare(at, expected) != 0) {
		err_set(e, ERR_DAMAGED,
			"%s in generation %s: expected index %08" PRIx64 " offset %" PRIu64 " (0x%08" PRIx64
			"), found index %08" PRIx64 " offset %" PRIu64 " (0x%08" PRIx64 ")",
			position_compare(at, expected) > 0 ? "a segment before it is missing"
							   : "it overlaps the segment before it",
			a->c.generation.name, expected.index, expected.offset, expected.offset, at.index,
			at.offset, at.offset);
		return damaged(a, e);
	}
	if (expected.offset == 0) {
		if (index_finish(a, e) < 0)
			return -1;
		a->index = at.index;
		a->offset = 0;
		a->header_seen = a->index_committed = false;
	}
	a->segments++;
	a->segment_bytes = 0;
	return 0;
}

/* The buffers, once the page size is known. */
static int buffers_make(struct apply *a, uint32_t page_bytes, struct err *e)
{
	size_t pending_bytes = a->c.memory_bytes / 5;
	if (pages_init(&a->pages, a->c.fd, a->c.path, a->c.hashes, page_bytes, a->c.snapshot_bytes,
		       a->c.memory_bytes - pending_bytes, e) < 0)
		return -1;
	if (pending_init(&a->pending, a->c.spill_path, page_bytes, pending_bytes, e) < 0) {
		pages_free(&a->pages);
		return -1;
	}
	a->begun = true;
	/* A copy of a growing file may end inside a page; what counts is which pages it has touched. */
	a->base_bytes = (a->c.snapshot_bytes + page_bytes - 1) / page_bytes * page_bytes;
	return 0;
}

static int header_apply(struct apply *a, struct err *e)
{
	struct wal_header h;
	enum wal_check check = wal_header_parse((struct span){ a->carry, a->carry_n }, &h);
	if (check != WAL_OK) {
		err_set(e, ERR_DAMAGED, "it should begin with a WAL header, but: %s", wal_check_text(check));
		return damaged(a, e);
	}
	uint32_t expected = a->begun ? a->pages.page_bytes : a->c.snapshot_page_bytes;
	if (expected != 0 && expected != h.page_bytes) {
		err_set(e, ERR_DAMAGED,
			"the page size of the WAL is %" PRIu32 ", that of the database before it %" PRIu32,
			h.page_bytes, expected);
		return damaged(a, e);
	}
	if (!a->begun && buffers_make(a, h.page_bytes, e) < 0)
		return -1;
	a->chain = wal_chain_start(&h);
	a->header_seen = true;
	a->carry_n = 0;
	return 0;
}

/* Moves bytes from *in to the carry until it holds n. false: the input was used up before. */
static bool carry_fill(struct apply *a, struct span *in, size_t n)
{
	size_t some = n - a->carry_n < in->n ? n - a->carry_n : in->n;
	if (some > 0)
		memcpy(a->carry + a->carry_n, in->p, some);
	a->carry_n += some;
	in->p += some;
	in->n -= some;
	return a->carry_n == n;
}

/* at: where the run over frames began, in the data of the segment. */
static int chain_broken(const struct apply *a, enum wal_check check, uint64_t at, struct err *e)
{
	err_set(e, ERR_DAMAGED,
		"frame at byte %" PRIu64 " of its data (index %08" PRIx64 ", WAL offset %" PRIu64 "): %s", at,
		a->index, a->chain.offset, wal_check_text(check));
	return damaged(a, e);
}

/* Whole frames at in.p, which lies at byte `at` of the segment; *ret_used bytes of them are done. */
static int frames_apply(struct apply *a, struct span in, uint64_t at, size_t *ret_used, struct err *e)
{
	struct err inner = ERR_INIT;
	a->frame_err = &inner;
	enum wal_check check = wal_chain_run(&a->chain, in, frame_apply, a, ret_used);
	a->frame_err = NULL;
	if (check == WAL_SHORT || a->done)
		return 0;
	if (check != WAL_OK)
		return chain_broken(a, check, at + *ret_used, e);
	*e = inner;
	return -1;
}

int apply_bytes(struct apply *a, struct span in, struct err *e)
{
	if (!a->carry && !(a->carry = malloc(CARRY_BYTES)))
		return err_set(e, ERR_FAIL, "no memory to verify frames");
	const uint8_t *from = in.p;
	uint64_t before = a->segment_bytes;
	size_t used;
	a->segment_bytes += in.n;
	a->offset += in.n;
	a->wal_bytes += in.n;
	if (!a->header_seen) {
		if (!carry_fill(a, &in, WAL_HEADER_BYTES))
			return 0;
		if (header_apply(a, e) < 0)
			return -1;
	}
	size_t frame_bytes = (size_t)wal_frame_bytes(a->chain.page_bytes);
	if (a->carry_n > 0) {
		uint64_t at = before - a->carry_n;
		if (!carry_fill(a, &in, frame_bytes))
			return 0;
		if (frames_apply(a, (struct span){ a->carry, frame_bytes }, at, &used, e) < 0)
			return -1;
		if (a->done)
			return 0;
		/* Its page cannot stay in the carry, which is needed at the end of this piece. */
		if (refs_wait(a, e) < 0)
			return -1;
		a->carry_n = 0;
	}
	if (frames_apply(a, in, before + (uint64_t)(in.p - from), &used, e) < 0)
		return -1;
	in.p += used;
	in.n -= used;
	if (a->done)
		return 0;
	carry_fill(a, &in, frame_bytes);
	return refs_wait(a, e);
}

int apply_end(struct apply *a, uint64_t index_end, struct err *e)
{
	if (a->segment_bytes == 0) {
		err_set(e, ERR_DAMAGED, "it holds no data");
		return damaged(a, e);
	}
	if (a->carry_n > 0) {
		err_set(e, ERR_DAMAGED, "its data ends inside a %s after %" PRIu64 " bytes",
			a->header_seen ? "frame" : "WAL header", a->segment_bytes);
		return damaged(a, e);
	}
	if (index_end > a->offset) {
		err_set(e, ERR_DAMAGED,
			"a segment is missing behind it in generation %s: index %08" PRIx64
			" ends at offset %" PRIu64 ", found offset %" PRIu64,
			a->c.generation.name, a->index, index_end, a->offset);
		return damaged(a, e);
	}
	return 0;
}

int apply_finish(struct apply *a, struct err *e)
{
	if (!a->begun)
		return 0;
	if (index_finish(a, e) < 0 || pages_flush(&a->pages, e) < 0)
		return -1;
	if (!a->committed || a->pages.file_bytes == a->size_bytes)
		return 0;
	return pages_set_length(&a->pages, a->size_bytes, e);
}
