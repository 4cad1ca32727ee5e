/* SPDX-License-Identifier: Apache-2.0
 *
 * Capture: see capture.h.
 *
 * Happy path: from the position to 32 + mxFrame frames, in pieces of whole frames: read, verify each frame
 * against the running chain, hand the same bytes to the compressor. At the end the chain must be the checksum
 * that the index holds for its last frame. Then the segment gets its name and the position moves.
 *
 * Only mxFrame of a validated index header says what is committed. A commit flag in the file proves nothing:
 * its writer may have died, or its sync failed, before it published; the next writer overwrites such a frame
 * with the same salts.
 *
 * Failure modes: the spool cannot be written (position unmoved, try again); the frames do not continue the
 * chain, the index went backwards, or its checksum is another one (a gap: CAPTURE_GAP, nothing of it is kept).
 */
#include "db/capture.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"

void capture_init(struct capture *c)
{
	*c = (struct capture){ .fresh_end = NULL };
	c->fresh_end = &c->fresh;
}

void capture_fini(struct capture *c)
{
	spool_segments_free(c->fresh);
	c->fresh = NULL;
	spool_fini(&c->spool);
}

void capture_restart(struct capture *c, const struct generation *g)
{
	int64_t wall = c->at.wall_us;
	c->prev_end = 0;
	c->at = (struct place){ .generation = *g, .wall_us = wall };
}

bool capture_reached(const struct capture *c, const struct wal_index *h)
{
	if (h->mx_frame == 0)
		return c->at.chain.offset == 0 || memcmp(c->at.chain.salt, h->salt, 8) != 0;
	return memcmp(c->at.chain.salt, h->salt, 8) == 0 &&
	       c->at.chain.offset == wal_offset_of(h->page_bytes, h->mx_frame);
}

/* One segment being captured. */
struct run {
	struct capture *c;
	struct spool_file file;
	struct segment_writer *writer;
	struct wal_chain chain; /* moves ahead of c->at.chain until the segment is ended */
	struct index_commit *commits;
	size_t commits_n, commits_cap;
	uint64_t budget_bytes;
	int64_t wall_us;
	bool open, ends_on_commit, no_memory;
};

static int to_file(void *arg, struct span out, struct err *e)
{
	struct run *r = arg;
	return spool_add(&r->file, out, e);
}

static int note_commit(void *arg, const struct wal_frame *f, uint64_t offset)
{
	struct run *r = arg;
	r->ends_on_commit = f->commit_pages != 0;
	if (!f->commit_pages)
		return 0;
	if (r->commits_n == r->commits_cap) {
		size_t cap = r->commits_cap ? r->commits_cap * 2 : 8;
		struct index_commit *more = realloc(r->commits, cap * sizeof *more);
		if (!more) {
			r->no_memory = true;
			return 1;
		}
		r->commits = more;
		r->commits_cap = cap;
	}
	r->commits[r->commits_n++] =
		(struct index_commit){ offset + wal_frame_bytes(r->chain.page_bytes), r->wall_us };
	return 0;
}

static int run_open(struct run *r, struct err *e)
{
	struct position at = { r->c->at.index, r->c->at.chain.offset };
	if (spool_begin(&r->c->spool, &r->c->at.generation, at, &r->file, e) < 0)
		return -1;
	r->open = true;
	return 0;
}

static int run_end(struct run *r, bool sync, struct err *e)
{
	struct capture *c = r->c;
	struct spool_segment *s = calloc(1, sizeof *s);
	if (!s)
		return err_set(e, ERR_FAIL, "no memory");
	if (segment_finish(r->writer, e) < 0) {
		free(s);
		return -1;
	}
	*s = (struct spool_segment){ .generation = c->at.generation,
				     .at = r->file.at,
				     .end = r->chain.offset,
				     .prev_end = r->file.at.offset == 0 ? c->prev_end : 0,
				     .stored_bytes = r->file.stored_bytes,
				     .page_bytes = r->chain.page_bytes,
				     .commits = r->commits,
				     .commits_n = r->commits_n };
	memcpy(s->salt, r->chain.salt, 8);
	spool_note_times(&r->file, s);
	r->open = false; /* a failed commit has removed the file */
	if (spool_commit(&r->file, sync, e) < 0) {
		free(s); /* its commits are still ours */
		return -1;
	}
	r->commits = NULL;
	r->commits_n = r->commits_cap = 0;
	c->frames += wal_frames_in(s->page_bytes, s->end) - wal_frames_in(s->page_bytes, s->at.offset);
	c->bytes += s->end - s->at.offset;
	c->commits += s->commits_n;
	c->at.chain = r->chain;
	c->at.wall_us = r->wall_us;
	*c->fresh_end = s;
	c->fresh_end = &s->next;
	return 0;
}

static enum capture_result gap(struct err *e, const struct capture *c, const char *what)
{
	err_set(e, ERR_DAMAGED, "%s at index %08" PRIx64 " offset %" PRIu64, what, c->at.index,
		c->at.chain.offset);
	return CAPTURE_GAP;
}

/* Offset 0: the header of the WAL goes first. */
static enum capture_result begin_index(struct run *r, struct conn *conn, const struct wal_index *h,
				       struct err *e)
{
	uint8_t raw[WAL_HEADER_BYTES];
	struct wal_header wh;
	long n = conn_read_wal(conn, raw, sizeof raw, 0, e);
	if (n < 0)
		return CAPTURE_FAIL;
	enum wal_check why = wal_header_parse((struct span){ raw, (size_t)n }, &wh);
	if (why != WAL_OK) {
		err_set(e, ERR_DAMAGED, "the header of the WAL is not valid (%s)", wal_check_text(why));
		return CAPTURE_GAP;
	}
	if (memcmp(wh.salt, h->salt, 8) != 0 || wh.page_bytes != h->page_bytes)
		return gap(e, r->c, "the header of the WAL is another one than its index says");
	if (run_open(r, e) < 0)
		return CAPTURE_FAIL;
	r->chain = wal_chain_start(&wh);
	return segment_write(r->writer, (struct span){ raw, sizeof raw }, e) < 0 ? CAPTURE_FAIL : CAPTURE_OK;
}

static enum capture_result piece(struct run *r, struct conn *conn, uint8_t *buf, size_t want, struct err *e)
{
	long n = conn_read_wal(conn, buf, want, r->chain.offset, e);
	if (n < 0)
		return CAPTURE_FAIL;
	if ((size_t)n < want)
		return gap(e, r->c, "the WAL is shorter than its index says");
	size_t good = 0;
	enum wal_check why = wal_chain_run(&r->chain, (struct span){ buf, want }, note_commit, r, &good);
	if (r->no_memory) {
		err_set(e, ERR_FAIL, "no memory");
		return CAPTURE_FAIL;
	}
	if (good != want) {
		err_set(e, ERR_DAMAGED,
			"the WAL does not continue what was captured (%s) at index %08" PRIx64
			" offset %" PRIu64,
			wal_check_text(why), r->c->at.index, r->chain.offset);
		return CAPTURE_GAP;
	}
	if (!r->open && run_open(r, e) < 0)
		return CAPTURE_FAIL;
	return segment_write(r->writer, (struct span){ buf, want }, e) < 0 ? CAPTURE_FAIL : CAPTURE_OK;
}

static enum capture_result capture_range(struct run *r, struct conn *conn, const struct wal_index *h, bool sync,
					 struct err *e)
{
	uint64_t end = wal_offset_of(h->page_bytes, h->mx_frame);
	uint64_t frame = wal_frame_bytes(h->page_bytes);
	uint64_t piece_bytes = CAPTURE_PIECE_BYTES / frame * frame;
	if (piece_bytes == 0)
		piece_bytes = frame;
	enum capture_result rc = CAPTURE_OK;
	if (r->chain.offset == 0 && (rc = begin_index(r, conn, h, e)) != CAPTURE_OK)
		return rc;
	uint64_t most = end - r->chain.offset < piece_bytes ? end - r->chain.offset : piece_bytes;
	uint8_t *buf = malloc((size_t)most);
	if (!buf) {
		err_set(e, ERR_FAIL, "no memory");
		return CAPTURE_FAIL;
	}
	uint64_t from = r->chain.offset;
	while (rc == CAPTURE_OK && r->chain.offset < end && r->chain.offset - from < r->budget_bytes) {
		uint64_t left = end - r->chain.offset;
		rc = piece(r, conn, buf, (size_t)(left < most ? left : most), e);
		if (rc == CAPTURE_OK && r->chain.offset < end && r->ends_on_commit &&
		    r->chain.offset - r->file.at.offset >= CAPTURE_SEGMENT_BYTES && run_end(r, sync, e) < 0)
			rc = CAPTURE_FAIL;
	}
	free(buf);
	if (rc == CAPTURE_OK && r->chain.offset == end && !wal_sum_equal(r->chain.sum, h->frame_sum))
		rc = gap(e, r->c, "the checksum of the last frame is another one than the index says");
	if (rc == CAPTURE_OK && r->open && run_end(r, sync, e) < 0)
		rc = CAPTURE_FAIL;
	return rc;
}

/* The new salts count only with the first frame: a restart that is announced in the index and never written is
 * undone by a recovery, and then the old chain is there again. */
static void follow_restart(struct capture *c, const struct wal_index *h)
{
	if (h->mx_frame == 0 || memcmp(c->at.chain.salt, h->salt, 8) == 0)
		return;
	if (c->at.chain.offset > 0) {
		c->prev_end = c->at.chain.offset;
		c->at.index++;
		c->restarts++;
	}
	c->at.chain = (struct wal_chain){ 0 };
	memcpy(c->at.chain.salt, h->salt, 8);
}

enum capture_result capture_to(struct capture *c, struct conn *conn, const struct wal_index *h, bool sync,
			       struct err *e)
{
	return capture_some(c, conn, h, sync, UINT64_MAX, e);
}

enum capture_result capture_some(struct capture *c, struct conn *conn, const struct wal_index *h, bool sync,
				 uint64_t budget_bytes, struct err *e)
{
	if (c->blind)
		return CAPTURE_OK;
	follow_restart(c, h);
	if (h->mx_frame == 0 && (c->at.chain.offset == 0 || memcmp(c->at.chain.salt, h->salt, 8) != 0))
		return CAPTURE_OK; /* empty, or restarted and still empty */
	if (c->at.chain.offset > 0 && (h->page_bytes != c->at.chain.page_bytes ||
				       wal_offset_of(h->page_bytes, h->mx_frame) < c->at.chain.offset))
		return gap(e, c, "the WAL is shorter than what was captured of it");
	if (capture_reached(c, h))
		return wal_sum_equal(c->at.chain.sum, h->frame_sum)
			       ? CAPTURE_OK
			       : gap(e, c, "the last frame is another one than was captured");
	struct run r = { .c = c, .chain = c->at.chain, .file.fd = -1 };
	int64_t now = wall_us();
	r.wall_us = now > c->at.wall_us ? now : c->at.wall_us;
	r.writer = segment_writer_new(to_file, &r);
	if (!r.writer) {
		err_set(e, ERR_FAIL, "no memory");
		return CAPTURE_FAIL;
	}
	r.file.at = (struct position){ c->at.index, c->at.chain.offset };
	r.budget_bytes = budget_bytes;
	enum capture_result rc = capture_range(&r, conn, h, sync, e);
	if (r.open)
		spool_abort(&r.file);
	segment_writer_free(r.writer);
	free(r.commits);
	return rc;
}

bool capture_proven(const struct capture *c, struct conn *conn, const struct wal_index *h, struct err *why)
{
	const struct wal_chain *at = &c->at.chain;
	uint8_t head[WAL_FRAME_HEADER_BYTES];
	if (at->offset <= WAL_HEADER_BYTES) {
		err_set(why, ERR_DAMAGED, "the position is at the beginning of a WAL, which proves nothing");
		return false;
	}
	if (memcmp(at->salt, h->salt, 8) != 0 || at->page_bytes != h->page_bytes) {
		err_set(why, ERR_DAMAGED, "the WAL was restarted while nobody watched");
		return false;
	}
	if (wal_offset_of(h->page_bytes, h->mx_frame) < at->offset) {
		err_set(why, ERR_DAMAGED, "the WAL is shorter than what was captured of it");
		return false;
	}
	if (conn_read_wal(conn, head, sizeof head, at->offset - wal_frame_bytes(at->page_bytes), why) !=
	    (long)sizeof head) {
		err_set(why, ERR_DAMAGED, "the last captured frame is not in the WAL any more");
		return false;
	}
	struct wal_sum sum = { get_be32(head + 16), get_be32(head + 20) };
	if (!wal_sum_equal(sum, at->sum)) {
		err_set(why, ERR_DAMAGED, "the last captured frame is another one now");
		return false;
	}
	return true;
}
