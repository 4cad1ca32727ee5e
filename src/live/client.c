/* SPDX-License-Identifier: Apache-2.0
 *
 * The reader of a live stream: see client.h.
 *
 * Happy path: 40 bytes make a header; what its type may be at this place is checked before any of the payload
 * is taken. Small payloads are collected and told as a whole. Large ones pass through in pieces: content as it
 * is, segments and compressed pages by way of the LZ4 reader, then in whole frames or pages; only what is not
 * whole yet is kept, and the last block of a segment until the checksum at its end was good.
 *
 * Failure modes, all ERR_DAMAGED with type and position of the record: a record that cannot be here, a payload
 * that is too large for its type or ends in the middle of a frame, content whose parts do not follow each
 * other, LZ4 data that is damaged, a seal that does not fit. Types that are not known are skipped when their
 * seal is good, but not in a plain stream. */
#include "live/client.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/segment.h"
#include "core/wal.h"

enum {
	SMALL_MAX_BYTES = 16 << 20, /* COMMITS of a segment with a million of them */
	TEXT_MAX_BYTES = 64 << 10,
	COMMIT_BYTES = 16,
	CONTENT_BYTES = 12,
	HASHES_HEAD_BYTES = 8,
	HASH_BYTES = 8,
	CHECK_BYTES = 8,
	PLACE_AT = 8, /* generation, index and offset in the header of a record */
	PLACE_BYTES = 24,
	LINEAGE_MAX_BYTES = 2 << 20,
	PAGES_MAX_BYTES = 64 << 20,
	SEGMENT_MAX_BYTES = 1 << 30,
	PGNO_BYTES = 4,
};

static const char *name_of(uint32_t type)
{
	switch (type) {
	case RECORD_SNAPSHOT:
		return "snapshot";
	case RECORD_SEGMENT:
		return "segment";
	case RECORD_COMMITS:
		return "commits";
	case RECORD_HEARTBEAT:
		return "heartbeat";
	case RECORD_HASHES:
		return "hashes";
	case RECORD_PAGES:
		return "pages";
	case RECORD_LINEAGE:
		return "lineage";
	case RECORD_CONTENT:
		return "content";
	case RECORD_COMPLETE:
		return "complete";
	case RECORD_END:
		return "end";
	default:
		return "unknown";
	}
}

/* Damage: where, and what. */
static int bad(const struct live_reader *r, const char *what, struct err *e)
{
	return err_set(e, ERR_DAMAGED,
		       "the stream is damaged at a record of type %" PRIu32 " (%s) at index %08" PRIx64
		       " offset %" PRIu64 ": %s",
		       r->r.type, name_of(r->r.type), r->r.at.index, r->r.at.offset, what);
}

#define TELL(r, name, ...) ((r)->events->name ? (r)->events->name((r)->arg, __VA_ARGS__) : 0)

void live_reader_init(struct live_reader *r, const struct live_events *events, void *arg, bool extended,
		      uint32_t page_bytes)
{
	*r = (struct live_reader){ .events = events,
				   .arg = arg,
				   .extended = extended,
				   .page_bytes = page_bytes_valid(page_bytes) ? page_bytes : 0,
				   .small = DYN_INIT(SMALL_MAX_BYTES),
				   .held = DYN_INIT(2 * SEGMENT_BLOCK_BYTES) };
}

bool live_between_records(const struct live_reader *r)
{
	return !r->in_record && r->head_n == 0;
}

void live_reader_rest(struct live_reader *r)
{
	if (!live_between_records(r))
		return;
	dyn_free(&r->small);
	dyn_free(&r->held);
	segment_reader_free(r->lz4);
	r->lz4 = NULL;
}

static void check_free(struct live_reader *r)
{
	XXH64_freeState(r->check);
	r->check = NULL;
}

void live_reader_fini(struct live_reader *r)
{
	check_free(r);
	dyn_free(&r->small);
	dyn_free(&r->held);
	segment_reader_free(r->lz4);
	r->lz4 = NULL;
}

/* ---- the check ---- */

static int check_begin(struct live_reader *r, struct err *e)
{
	check_free(r);
	r->check = XXH64_createState();
	if (!r->check)
		return err_set(e, ERR_FAIL, "no memory for the check of the content");
	XXH64_reset(r->check, 0);
	return 0;
}

static void check_add(struct live_reader *r, const void *p, size_t n)
{
	if (r->check && n > 0)
		XXH64_update(r->check, p, n);
}

static void check_place(struct live_reader *r)
{
	check_add(r, r->head + PLACE_AT, PLACE_BYTES);
}

static int check_end(struct live_reader *r, const uint8_t *want, struct err *e)
{
	uint64_t is = XXH64_digest(r->check);
	check_free(r);
	return is == get_be64(want) ? 0 : bad(r, "what came is not what was sent", e);
}

/* ---- units: frames, pages with their numbers ---- */

static size_t unit_bytes(const struct live_reader *r)
{
	if (r->r.type == RECORD_PAGES)
		return (size_t)PGNO_BYTES + r->page_bytes;
	return r->at.offset == 0 ? WAL_HEADER_BYTES : (size_t)wal_frame_bytes(r->page_bytes);
}

/* Whole units, one after the other. */
static int tell_units(struct live_reader *r, struct span in, struct err *e)
{
	if (r->r.type == RECORD_SEGMENT) {
		struct position from = r->at;
		r->at.offset += in.n;
		return TELL(r, plain, from, in, r->proven, e);
	}
	for (size_t each = unit_bytes(r); in.n > 0; in.p += each, in.n -= each)
		if (TELL(r, page, get_be32(in.p), in.p + PGNO_BYTES, e) != 0)
			return -1;
	return 0;
}

/* The page size of a WAL is in its header. */
static int see_wal_header(struct live_reader *r, const uint8_t *header, struct err *e)
{
	struct wal_header h;
	enum wal_check why = wal_header_parse((struct span){ header, WAL_HEADER_BYTES }, &h);
	if (why != WAL_OK)
		return bad(r, wal_check_text(why), e);
	r->page_bytes = h.page_bytes;
	return 0;
}

/* How much of `in` is whole units. 0: not even one. */
static int whole_of(struct live_reader *r, struct span in, size_t *ret, struct err *e)
{
	size_t head = 0;
	*ret = 0;
	if (r->r.type == RECORD_SEGMENT && r->at.offset == 0) {
		head = WAL_HEADER_BYTES;
		if (in.n < head)
			return 0;
		if (see_wal_header(r, in.p, e) < 0)
			return -1;
	}
	size_t each = r->r.type == RECORD_PAGES ? unit_bytes(r) : (size_t)wal_frame_bytes(r->page_bytes);
	*ret = head + (in.n - head) / each * each;
	return 0;
}

/* Plain bytes of a segment, or of pages that differ. */
static int take_units(struct live_reader *r, struct span in, struct err *e)
{
	while (r->small.len > 0 && in.n > 0) { /* the rest of one that had come in part */
		size_t lacks = unit_bytes(r) - r->small.len, n = lacks < in.n ? lacks : in.n, whole;
		if (dyn_add(&r->small, in.p, n) < 0)
			return err_set(e, ERR_FAIL, "no memory for a frame of the stream");
		in.p += n;
		in.n -= n;
		struct span one = { r->small.p, r->small.len };
		if (n < lacks)
			return 0;
		if (whole_of(r, one, &whole, e) < 0 || tell_units(r, one, e) != 0)
			return -1;
		r->small.len = 0;
	}
	size_t whole;
	if (whole_of(r, in, &whole, e) < 0)
		return -1;
	if (whole > 0 && tell_units(r, (struct span){ in.p, whole }, e) != 0)
		return -1;
	if (in.n > whole && dyn_add(&r->small, in.p + whole, in.n - whole) < 0)
		return err_set(e, ERR_FAIL, "no memory for a frame of the stream");
	return 0;
}

/* ---- content ---- */

static int content_bytes(struct live_reader *r, struct span in, struct err *e)
{
	check_add(r, in.p, in.n);
	if (r->differing)
		return take_units(r, in, e);
	r->content_next += in.n;
	return TELL(r, bytes, in, e);
}

/* A block of a segment is kept back until the next one comes, or the end of all of them was checked. */
static int hold(struct live_reader *r, struct span out, struct err *e)
{
	int rc = r->held.len > 0 ? take_units(r, (struct span){ r->held.p, r->held.len }, e) : 0;
	r->held.len = 0;
	if (rc == 0 && dyn_add(&r->held, out.p, out.n) < 0)
		rc = err_set(e, ERR_FAIL, "no memory for a block of the stream");
	return rc;
}

static int from_lz4(void *arg, struct span out, struct err *e)
{
	struct live_reader *r = arg;
	return r->r.type == RECORD_PAGES ? content_bytes(r, out, e) : hold(r, out, e);
}

static int begin_lz4(struct live_reader *r, struct err *e)
{
	if (r->lz4)
		segment_reader_reset(r->lz4);
	else
		r->lz4 = segment_reader_new(from_lz4, r);
	return r->lz4 ? 0 : err_set(e, ERR_FAIL, "no memory to decompress the stream");
}

/* ---- hashes ---- */

static int hashes_head(struct live_reader *r, struct err *e)
{
	uint32_t page_bytes = get_be32(r->small.p);
	r->hashes_n = get_be32(r->small.p + 4);
	if (!page_bytes_valid(page_bytes) || r->hashes_n == 0 ||
	    r->r.size_bytes != HASHES_HEAD_BYTES + (uint64_t)r->hashes_n * HASH_BYTES + CHECK_BYTES)
		return bad(r, "page size, number of pages and length do not fit", e);
	return TELL(r, hashes, &r->r, page_bytes, r->hashes_n, e);
}

/* Eight bytes each: the head, then the hashes, then the check. */
static int hashes_unit(struct live_reader *r, struct err *e)
{
	if (r->hashes_n > 0 && r->hashed == r->hashes_n) {
		r->hashed++;
		return check_end(r, r->small.p, e);
	}
	check_add(r, r->small.p, HASH_BYTES);
	if (r->hashes_n == 0)
		return hashes_head(r, e);
	r->hashed++;
	return TELL(r, hash, r->hashed, get_be64(r->small.p), e);
}

static int hashes_bytes(struct live_reader *r, struct span in, struct err *e)
{
	while (in.n > 0) {
		size_t lacks = HASH_BYTES - r->small.len, n = lacks < in.n ? lacks : in.n;
		if (dyn_add(&r->small, in.p, n) < 0)
			return err_set(e, ERR_FAIL, "no memory for the hashes of the stream");
		in.p += n;
		in.n -= n;
		if (n < lacks)
			return 0;
		r->small.len = 0;
		if (hashes_unit(r, e) != 0)
			return -1;
	}
	return 0;
}

/* ---- records ---- */

static uint64_t small_max(uint32_t type)
{
	switch (type) {
	case RECORD_COMMITS:
		return SMALL_MAX_BYTES;
	case RECORD_HEARTBEAT:
		return 8 + RECORD_SEAL_BYTES;
	case RECORD_CONTENT:
		return CONTENT_BYTES;
	case RECORD_COMPLETE:
		return CHECK_BYTES;
	case RECORD_LINEAGE:
		return LINEAGE_MAX_BYTES;
	case RECORD_END:
		return TEXT_MAX_BYTES;
	case RECORD_SNAPSHOT:
	case RECORD_SEGMENT:
	case RECORD_HASHES:
	case RECORD_PAGES:
		return 0;
	default: /* nobody knows it, but its seal is looked at */
		return SMALL_MAX_BYTES;
	}
}

static bool is_small(uint32_t type)
{
	return small_max(type) > 0;
}

static int begin_segment(struct live_reader *r, struct err *e)
{
	uint64_t offset = r->r.at.offset;
	if (r->left > SEGMENT_MAX_BYTES)
		return bad(r, "it is too long", e);
	if (r->in_content)
		return bad(r, "the content before it is not complete", e);
	if (offset > 0 && r->page_bytes == 0)
		return bad(r, "the page size is not known", e);
	if (offset > 0 &&
	    (offset < WAL_HEADER_BYTES || (offset - WAL_HEADER_BYTES) % wal_frame_bytes(r->page_bytes) != 0))
		return bad(r, "it does not begin with a frame", e);
	r->at = r->r.at;
	r->held.len = 0;
	r->proven = false;
	return begin_lz4(r, e) < 0 ? -1 : TELL(r, segment, &r->r, e);
}

static int begin_pages(struct live_reader *r, struct err *e)
{
	if (!r->in_content)
		return bad(r, "no content was begun", e);
	if (r->left > PAGES_MAX_BYTES)
		return bad(r, "it is too long", e);
	check_place(r);
	if (!r->differing && r->r.at.offset != r->content_next)
		return bad(r, "a part of the content is missing", e);
	return r->r.flags & RECORD_LZ4 ? begin_lz4(r, e) : 0;
}

static int begin_snapshot(struct live_reader *r, struct err *e)
{
	if (r->extended)
		return bad(r, "an extended stream has none", e);
	if (r->r.at.offset != 0)
		return bad(r, "it is not at offset 0", e);
	return TELL(r, content, &r->r, 0, 0, false, e);
}

static int begin(struct live_reader *r, struct err *e)
{
	r->small.len = 0;
	r->left = r->r.size_bytes;
	r->in_record = true;
	r->records++;
	if (r->extended && !r->begun && r->r.type != RECORD_LINEAGE && r->r.type != RECORD_END &&
	    r->r.type != RECORD_HASHES)
		return bad(r, "the first record must tell the lineage", e);
	r->begun = true;
	/* A segment that is skipped because its type was damaged would be a hole that nothing else shows when
	 * the next one begins another index. */
	if (r->owed && (r->r.type != RECORD_SEGMENT || position_compare(r->r.at, r->owed_at) != 0))
		return bad(r, "the segment of the commits before it is missing", e);
	r->owed = false;
	if (!r->extended && r->r.type != RECORD_SEGMENT && r->r.type != RECORD_SNAPSHOT)
		return bad(r, "a plain stream has only snapshots and segments", e);
	uint32_t known = r->r.type == RECORD_PAGES ? RECORD_LZ4 : 0;
	if (!record_is_sealed(r->r.type) && (r->r.flags & ~known) != 0)
		return bad(r, "its flags are not known", e);
	if (is_small(r->r.type) && r->left > small_max(r->r.type))
		return bad(r, "it is too long", e);
	switch (r->r.type) {
	case RECORD_SNAPSHOT:
		return begin_snapshot(r, e);
	case RECORD_SEGMENT:
		return begin_segment(r, e);
	case RECORD_PAGES:
		return begin_pages(r, e);
	case RECORD_HASHES:
		r->hashed = r->hashes_n = 0;
		if (check_begin(r, e) < 0)
			return -1;
		check_place(r);
		return 0;
	case RECORD_COMPLETE:
		check_place(r);
		return r->in_content ? 0 : bad(r, "no content was begun", e);
	default:
		return 0;
	}
}

static int payload(struct live_reader *r, struct span in, struct err *e)
{
	if (is_small(r->r.type))
		return dyn_add(&r->small, in.p, in.n) < 0 ? err_set(e, ERR_FAIL, "no memory for a record") : 0;
	switch (r->r.type) {
	case RECORD_SNAPSHOT:
		return TELL(r, bytes, in, e);
	case RECORD_HASHES:
		return hashes_bytes(r, in, e);
	case RECORD_PAGES:
		if (!(r->r.flags & RECORD_LZ4))
			return content_bytes(r, in, e);
		break;
	default:
		if (TELL(r, stored, in, e) != 0)
			return -1;
	}
	struct err why = ERR_INIT;
	if (segment_read(r->lz4, in, &why) == 0)
		return segment_behind_bytes(r->lz4) == 0
			       ? 0
			       : bad(r, "it goes on behind the end of its LZ4 frame", e);
	*e = why;
	return why.kind == ERR_DAMAGED && !strstr(why.text, "the stream is damaged") ? bad(r, why.text, e) : -1;
}

static int tell_commits(struct live_reader *r, struct err *e)
{
	r->owed = true;
	r->owed_at = r->r.at;
	size_t n = r->small.len / COMMIT_BYTES;
	struct index_commit *v = malloc(n * sizeof *v);
	if (!v)
		return err_set(e, ERR_FAIL, "no memory for the times of commits");
	int rc = 0;
	for (size_t i = 0; i < n; i++) {
		const uint8_t *p = r->small.p + i * COMMIT_BYTES;
		uint64_t wall_us = get_be64(p + 8);
		v[i] = (struct index_commit){ get_be64(p), wall_us > INT64_MAX ? 0 : (int64_t)wall_us };
		if (v[i].offset <= (i ? v[i - 1].offset : r->r.at.offset) || v[i].offset > INT64_MAX)
			rc = bad(r, "its commits are not in order", e);
	}
	if (rc == 0)
		rc = TELL(r, commits, &r->r, v, n, e);
	free(v);
	return rc;
}

static int tell_content(struct live_reader *r, struct err *e)
{
	if (r->small.len != CONTENT_BYTES)
		return bad(r, "it is too short", e);
	uint32_t page_bytes = get_be32(r->small.p), pages = get_be32(r->small.p + 4),
		 how = get_be32(r->small.p + 8);
	if (!page_bytes_valid(page_bytes) || pages == 0 || how > 1 || r->r.at.offset != 0)
		return bad(r, "page size, number of pages or kind cannot be", e);
	if (check_begin(r, e) < 0)
		return -1;
	check_place(r);
	check_add(r, r->small.p, r->small.len);
	r->page_bytes = page_bytes;
	r->in_content = true;
	r->differing = how == 1;
	r->content_next = 0;
	return TELL(r, content, &r->r, page_bytes, pages, r->differing, e);
}

/* What a person is shown: one line, printable. */
static int tell_end(struct live_reader *r, struct err *e)
{
	char text[512];
	size_t n = r->small.len < sizeof text - 1 ? r->small.len : sizeof text - 1;
	for (size_t i = 0; i < n; i++)
		text[i] = r->small.p[i] < ' ' || r->small.p[i] == 0x7f ? ' ' : (char)r->small.p[i];
	text[n] = 0;
	return TELL(r, end, &r->r, text, e);
}

static int end_lz4(struct live_reader *r, struct err *e)
{
	struct err why = ERR_INIT;
	if (segment_read_end(r->lz4, &why) < 0)
		return bad(r, why.text, e);
	r->proven = true;
	if (r->r.type == RECORD_SEGMENT && take_units(r, (struct span){ r->held.p, r->held.len }, e) != 0)
		return -1;
	return r->small.len > 0 ? bad(r, "it ends inside a frame", e) : 0;
}

/* What is behind it counts no more. */
static int break_seal(struct live_reader *r, struct err *e)
{
	if (!record_seal_good(r->head, (struct span){ r->small.p, r->small.len }))
		return bad(r, "what came is not what was sent", e);
	r->small.len -= RECORD_SEAL_BYTES;
	return 0;
}

static int end_record(struct live_reader *r, struct err *e)
{
	r->in_record = false;
	if (record_is_sealed(r->r.type) && break_seal(r, e) < 0)
		return -1;
	switch (r->r.type) {
	case RECORD_SNAPSHOT:
		return TELL(r, complete, &r->r, e);
	case RECORD_SEGMENT:
		return end_lz4(r, e) < 0 ? -1 : TELL(r, segment_end, r->at, e);
	case RECORD_PAGES:
		if (r->r.flags & RECORD_LZ4)
			return end_lz4(r, e);
		return r->small.len > 0 ? bad(r, "it ends inside a page", e) : 0;
	case RECORD_HASHES:
		return r->hashes_n == 0 || r->hashed <= r->hashes_n ? bad(r, "it ends too early", e) : 0;
	case RECORD_COMPLETE:
		r->in_content = false;
		if (r->small.len != CHECK_BYTES)
			return bad(r, "it is too short", e);
		if (check_end(r, r->small.p, e) < 0)
			return -1;
		return TELL(r, complete, &r->r, e);
	case RECORD_LINEAGE:
		return TELL(r, lineage, (struct span){ r->small.p, r->small.len }, e);
	case RECORD_COMMITS:
		return tell_commits(r, e);
	case RECORD_HEARTBEAT:
		return TELL(r, heartbeat, &r->r, (int64_t)(get_be64(r->small.p) & INT64_MAX), e);
	case RECORD_CONTENT:
		return tell_content(r, e);
	case RECORD_END:
		return tell_end(r, e);
	default:
		return 0;
	}
}

static int header(struct live_reader *r, struct span *in, struct err *e)
{
	size_t lacks = RECORD_HEADER_BYTES - r->head_n, n = lacks < in->n ? lacks : in->n;
	memcpy(r->head + r->head_n, in->p, n);
	r->head_n += n;
	in->p += n;
	in->n -= n;
	if (r->head_n < RECORD_HEADER_BYTES)
		return 0;
	r->head_n = 0;
	return record_parse((struct span){ r->head, RECORD_HEADER_BYTES }, &r->r, e) < 0 ? -1 : begin(r, e);
}

static int step(struct live_reader *r, struct span *in, struct err *e)
{
	if (!r->in_record)
		return header(r, in, e);
	struct span part = { in->p, r->left < in->n ? (size_t)r->left : in->n };
	if (part.n > 0 && payload(r, part, e) != 0)
		return -1;
	r->left -= part.n;
	in->p += part.n;
	in->n -= part.n;
	return 0;
}

int live_read(struct live_reader *r, struct span in, struct err *e)
{
	if (r->failed)
		return err_set(e, ERR_FAIL, "the stream was damaged before");
	while (in.n > 0) {
		int rc = step(r, &in, e);
		if (rc == 0 && r->in_record && r->left == 0)
			rc = end_record(r, e);
		if (rc != 0) {
			r->failed = true;
			return -1;
		}
	}
	return 0;
}
