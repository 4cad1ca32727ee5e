/* SPDX-License-Identifier: Apache-2.0
 *
 * Segments of the source's WAL become transactions of ours.
 *
 * Happy path: the segment begins where the one before it ended (or with the header of the next index). Each
 * frame is verified with the source's salts and chain, given our salts and chain (follow_txn.c), and at a
 * commit frame the transaction is published. WAL checksums are weak (a change of the same high bits in a few
 * words can cancel out), so what came compressed is held until the checksum behind all of it was good. A client
 * that could only name an index gets that index from its start: then frames that we have are verified again,
 * and at our position the checksums must agree.
 *
 * Failure modes: a segment of another place (FOLLOW_GAP); bytes that are no frame, or the wrong one
 * (FOLLOW_FAIL, ERR_DAMAGED): the transaction is dropped. A tail without a commit at the end of an index is
 * what its writer left when it died: dropped when the next index begins. */
#include "db/follow_parts.h"

#include <inttypes.h>
#include <string.h>

static enum follow_result gap(struct follow *f, const struct position *from, const char *why, struct err *e)
{
	err_set(e, ERR_DAMAGED,
		"%s: what comes at index %08" PRIx64 " offset %" PRIu64 " does not continue index %08" PRIx64
		" offset %" PRIu64 ": %s",
		f->o.path, from->index, from->offset, f->next.index, f->next.chain.offset, why);
	return FOLLOW_GAP;
}

static uint32_t page_bytes_here(const struct follow *f)
{
	return f->content.mode == CONTENT_NONE ? f->page_bytes : f->content.page_bytes;
}

/* The segment of offset 0 of the index that we are in: from here on verified again, until we are where we were.
 */
static enum follow_result go_back(struct follow *f, const struct position *from, const struct wal_header *h,
				  struct err *e)
{
	const struct wal_chain *have = &f->at.chain;
	if (memcmp(h->salt, have->salt, sizeof h->salt) != 0 || h->page_bytes != have->page_bytes ||
	    h->big_endian != have->big_endian)
		return gap(f, from, "another WAL has the number of ours", e);
	follow_drop(f);
	f->next.chain = wal_chain_start(h);
	f->catching_up = have->offset > WAL_HEADER_BYTES;
	if (!f->catching_up && !wal_sum_equal(f->next.chain.sum, have->sum))
		return gap(f, from, "another WAL has the number of ours", e);
	return FOLLOW_OK;
}

static enum follow_result begin_index(struct follow *f, const struct position *from, struct span *in,
				      struct err *e)
{
	struct wal_header h;
	enum wal_check why = wal_header_parse(*in, &h);
	if (why != WAL_OK)
		return err_set(e, ERR_DAMAGED, "%s: the header of index %08" PRIx64 " of the source is %s",
			       f->o.path, from->index, wal_check_text(why));
	in->p += WAL_HEADER_BYTES;
	in->n -= WAL_HEADER_BYTES;
	bool first = from->index == f->next.index && f->next.chain.offset == 0;
	bool next = from->index == f->next.index + 1;
	if (!first && !next) {
		if (f->known && f->content.mode == CONTENT_NONE && from->index == f->at.index)
			return go_back(f, from, &h, e);
		return gap(f, from, "it is not the next index", e);
	}
	if (h.page_bytes != page_bytes_here(f))
		return gap(f, from, "the page size is another one", e);
	if (next && f->content.inside) {
		/* The frames of that transaction are in the content, and nothing takes them out again. */
		err_set(e, ERR_DAMAGED, "%s: a transaction of the source was broken off while content came",
			f->o.path);
		return FOLLOW_CONTENT;
	}
	if (next && f->content.mode == CONTENT_NONE)
		txn_reset(f);
	f->catching_up = false;
	f->next.index = from->index;
	f->next.chain = wal_chain_start(&h);
	return FOLLOW_OK;
}

static enum follow_result find_place(struct follow *f, const struct generation *g, const struct position *from,
				     struct span *in, struct err *e)
{
	if (!f->known && f->content.mode == CONTENT_NONE) {
		err_set(e, ERR_NOTHING, "%s: holds no known state of the source", f->o.path);
		return FOLLOW_CONTENT;
	}
	if (f->content.mode != CONTENT_NONE && (!f->content.ended || f->content.ready))
		return gap(f, from, "the content before it is not complete", e);
	if (!generation_equal(g, &f->next.generation))
		return gap(f, from, "it is of another generation", e);
	if (from->offset == 0)
		return begin_index(f, from, in, e);
	if (from->index == f->next.index && from->offset == f->next.chain.offset)
		return FOLLOW_OK;
	if (f->content.mode == CONTENT_NONE && from->index == f->at.index &&
	    from->offset == f->at.chain.offset) {
		follow_drop(f); /* the rest of a transaction comes once more, from its start */
		return FOLLOW_OK;
	}
	return gap(f, from, "there is a hole, or it comes twice", e);
}

/* Bytes from the start of `in` to the end of its last commit frame. */
static size_t last_commit(struct span in, size_t frame_bytes)
{
	size_t n = in.n / frame_bytes;
	while (n > 0 && get_be32(in.p + (n - 1) * frame_bytes + 4) == 0)
		n--;
	return n * frame_bytes;
}

static enum follow_result take(struct follow *f, const struct wal_frame *fr, bool publish, struct err *e)
{
	if (f->content.mode != CONTENT_NONE)
		return content_frame(f, fr, e);
	uint32_t commit_pages = publish ? fr->commit_pages : 0;
	if (f->frames == f->live.mx_frame) {
		enum follow_result rc = log_cap(f, e);
		if (rc != FOLLOW_OK)
			return rc;
	}
	if (txn_frame(f, fr->pgno, commit_pages, fr->page, e) < 0)
		return FOLLOW_FAIL;
	f->n.transactions += fr->commit_pages != 0;
	if (!commit_pages)
		return FOLLOW_OK;
	if (txn_publish(f, commit_pages, &f->next, e) < 0)
		return FOLLOW_FAIL;
	return log_tend(f, e);
}

static enum follow_result frames(struct follow *f, struct span in, enum follow_publish how, struct err *e)
{
	size_t each = (size_t)wal_frame_bytes(f->next.chain.page_bytes);
	const uint8_t *publish_from = how == FOLLOW_EACH ? in.p : in.p + last_commit(in, each);
	while (in.n > 0) {
		struct wal_frame fr;
		enum wal_check why = wal_chain_step(&f->next.chain, in, &fr);
		if (why != WAL_OK)
			return err_set(e, ERR_DAMAGED,
				       "%s: the frame at index %08" PRIx64 " offset %" PRIu64
				       " of the source is bad: %s",
				       f->o.path, f->next.index, f->next.chain.offset, wal_check_text(why));
		in.p += each;
		in.n -= each;
		if (f->catching_up) {
			if (f->next.chain.offset < f->at.chain.offset)
				continue;
			f->catching_up = false;
			if (wal_sum_equal(f->next.chain.sum, f->at.chain.sum))
				continue;
			return gap(f, &(struct position){ f->next.index, f->next.chain.offset },
				   "the WAL of the source differs from what was applied", e);
		}
		enum follow_result rc = take(f, &fr, in.p >= publish_from && !f->holding, e);
		if (rc != FOLLOW_OK)
			return rc;
	}
	return FOLLOW_OK;
}

/* A segment that is only a header moves the position, not the content. */
static enum follow_result note_position(struct follow *f, struct err *e)
{
	bool same = f->at.index == f->next.index && f->at.chain.offset == f->next.chain.offset;
	if (!f->known || same || f->catching_up || f->frames != f->live.mx_frame ||
	    f->next.chain.offset != WAL_HEADER_BYTES || f->content.mode != CONTENT_NONE)
		return FOLLOW_OK;
	struct follow_local here = follow_local_of(&f->live);
	struct follow_place p = { .before = { here, f->at }, .after = { here, f->next }, .inode = f->inode };
	if (follow_place_write(&f->place, &p, e) < 0)
		return FOLLOW_FAIL;
	f->at = f->next;
	return FOLLOW_OK;
}

enum follow_result follow_segment(struct follow *f, const struct generation *g, struct position from,
				  struct span plain, enum follow_publish how, struct err *e)
{
	f->holding = how == FOLLOW_HELD;
	if (f->known && (follow_disturbed(f) || follow_moved(f))) {
		follow_drop(f);
		f->known = false;
		f->lost = true;
		err_set(e, ERR_FAIL, "%s: somebody else wrote it, or removed files of it", f->o.path);
		return FOLLOW_CONTENT;
	}
	enum follow_result rc = find_place(f, g, &from, &plain, e);
	if (rc == FOLLOW_OK)
		rc = frames(f, plain, how, e);
	if (rc == FOLLOW_OK)
		rc = content_look(f, e);
	if (rc == FOLLOW_OK)
		rc = note_position(f, e);
	bool waiting = f->content.ready && rc == FOLLOW_AGAIN;
	if (rc != FOLLOW_OK && !waiting)
		follow_drop(f);
	return rc;
}

void follow_drop(struct follow *f)
{
	content_drop(f);
	if (conn_is_open(&f->conn))
		txn_reset(f);
	f->catching_up = false;
	f->next = f->at;
}
