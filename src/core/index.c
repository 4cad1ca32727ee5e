/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of the index beside the segments, one object for each WAL index.
 *
 *   0  "WBIX"                                  magic
 *   4  1                                       version
 *   5  flags: 1 ended, 2 snapshot is fuzzy     other bits are 0
 *   6  generation, 8 bytes                     the 16 hex digits of its name
 *  14  salt, 8 bytes                           as in the WAL header
 *  22  page size / 256                         varint; 0: not known, then end and commits are 0 as well
 *      index                                   varint
 *      end                                     varint: 0 for offset 0, else 1 + frames before it
 *      usable-from index, offset               two varints, only with flag 2
 *      number of commits                       varint
 *      of each commit, two varints:            frames since the one before (the first: since offset 32), not 0
 *                                              microseconds since the one before (the first: since 1970)
 *      XXH64, seed 0, of all that is before    8 bytes, big-endian
 *
 * Varints are LEB128. A commit takes 2 to 5 bytes, so a million of them is some 4 MB. Offsets of frames are
 * counted in frames because a WAL offset that is not a frame boundary cannot be meant; that is checked when
 * writing.
 *
 * Reading: the checksum is looked at first, so the rest is what somebody wrote on purpose; it is checked all
 * the same (the number of commits against the bytes that are there before anything is allocated, sums against
 * overflow, nothing behind the last commit). A version that is not 1 is refused: what it means is unknown.
 *
 * Failure: a document that does not parse is ERR_DAMAGED and worth a warning only, for restore works without
 * it. */
#include "core/index.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "core/wal.h"

static const uint8_t magic[4] = { 'W', 'B', 'I', 'X' };
enum {
	VERSION = 1,
	FLAG_ENDED = 1,
	FLAG_FUZZY = 2,
	FIXED_BYTES = 22,
	SUM_BYTES = 8,
	HEAD_MAX_BYTES = FIXED_BYTES + 6 * 10,
	COMMIT_MAX_BYTES = 20,
	COMMIT_MIN_BYTES = 2,
};
static_assert(PAGE_BYTES_MIN % 256 == 0, "page sizes are stored in units of 256 bytes");

int index_doc_add(struct wal_index_doc *d, struct index_commit c)
{
	if (d->commits_n > 0) {
		const struct index_commit *last = &d->commits[d->commits_n - 1];
		if (c.offset <= last->offset)
			return -1;
		if (c.wall_us < last->wall_us)
			c.wall_us = last->wall_us;
	}
	if (d->commits_n == d->commits_cap) {
		size_t cap = d->commits_cap ? d->commits_cap * 2 : 16;
		struct index_commit *p = realloc(d->commits, cap * sizeof *p);
		if (!p)
			return -1;
		d->commits = p;
		d->commits_cap = cap;
	}
	d->commits[d->commits_n++] = c;
	return 0;
}

void index_doc_free(struct wal_index_doc *d)
{
	free(d->commits);
	*d = (struct wal_index_doc){ 0 };
}

/* Whole frames before a WAL offset; false if the offset is not behind the header or not a frame boundary. */
static bool frames_before(uint32_t page_bytes, uint64_t offset, uint64_t *ret)
{
	*ret = wal_frames_in(page_bytes, offset);
	return offset <= INT64_MAX && wal_offset_of(page_bytes, *ret) == offset;
}

/* A document may be made for its snapshot alone, before a page was seen; else the offsets need a page size. */
static bool page_bytes_fits(const struct wal_index_doc *d)
{
	return page_bytes_valid(d->page_bytes) ||
	       (d->page_bytes == 0 && d->end_offset == 0 && d->commits_n == 0);
}

/* Everything up to the number of commits, or 0 if the format cannot say it. */
static size_t head_write(uint8_t out[HEAD_MAX_BYTES], const struct wal_index_doc *d)
{
	uint64_t end = 0;
	if (!generation_valid(d->generation.name) || !page_bytes_fits(d) || d->index > INT64_MAX)
		return 0;
	if (d->end_offset != 0) {
		if (!frames_before(d->page_bytes, d->end_offset, &end))
			return 0;
		end++;
	}
	memcpy(out, magic, sizeof magic);
	out[4] = VERSION;
	out[5] = (uint8_t)((d->ended ? FLAG_ENDED : 0) | (d->snapshot_fuzzy ? FLAG_FUZZY : 0));
	put_be64(out + 6, strtoull(d->generation.name, NULL, 16));
	memcpy(out + 14, d->salt, sizeof d->salt);
	size_t n = FIXED_BYTES;
	n += put_varint(out + n, d->page_bytes / 256);
	n += put_varint(out + n, d->index);
	n += put_varint(out + n, end);
	if (d->snapshot_fuzzy) {
		if (d->usable_from.index > INT64_MAX || d->usable_from.offset > INT64_MAX)
			return 0;
		n += put_varint(out + n, d->usable_from.index);
		n += put_varint(out + n, d->usable_from.offset);
	}
	n += put_varint(out + n, d->commits_n);
	return n;
}

static int commits_write(const struct wal_index_doc *d, struct dyn *to)
{
	uint64_t frames = 0;
	int64_t wall_us = 0;
	for (size_t i = 0; i < d->commits_n; i++) {
		const struct index_commit *c = &d->commits[i];
		uint64_t here;
		if (!frames_before(d->page_bytes, c->offset, &here) || here <= frames || c->wall_us < wall_us)
			return -1;
		uint8_t out[COMMIT_MAX_BYTES];
		size_t n = put_varint(out, here - frames);
		n += put_varint(out + n, (uint64_t)(c->wall_us - wall_us));
		if (dyn_add(to, out, n) < 0)
			return -1;
		frames = here;
		wall_us = c->wall_us;
	}
	return 0;
}

int index_doc_write(const struct wal_index_doc *d, struct dyn *to)
{
	size_t start = to->len;
	uint8_t head[HEAD_MAX_BYTES], sum[SUM_BYTES];
	size_t n = head_write(head, d);
	if (n == 0 || dyn_add(to, head, n) < 0 || commits_write(d, to) < 0)
		goto fail;
	put_be64(sum, XXH64(to->p + start, to->len - start, 0));
	if (dyn_add(to, sum, sizeof sum) < 0 || to->len - start > INDEX_DOC_MAX_BYTES)
		goto fail;
	return 0;
fail:
	to->len = start;
	return -1;
}

/* base + 1 frame numbers to a byte offset; *bad if it would pass 63 bits. */
static uint64_t offset_after(uint32_t page_bytes, uint64_t frames, bool *bad)
{
	if (frames > (INT64_MAX - WAL_HEADER_BYTES) / wal_frame_bytes(page_bytes)) {
		*bad = true;
		return 0;
	}
	return wal_offset_of(page_bytes, frames);
}

/* The part before the commits. false: some value cannot be. */
static bool head_parse(struct cur *c, struct wal_index_doc *d, uint64_t *ret_commits)
{
	struct span m = cur_take(c, sizeof magic);
	uint8_t version = cur_u8(c), flags = cur_u8(c);
	if (c->bad || memcmp(m.p, magic, sizeof magic) != 0 || version != VERSION)
		return false;
	d->generation = generation_from(cur_be64(c));
	struct span salt = cur_take(c, sizeof d->salt);
	uint64_t page_units = cur_varint(c);
	d->index = cur_varint(c);
	uint64_t end = cur_varint(c);
	d->ended = (flags & FLAG_ENDED) != 0;
	d->snapshot_fuzzy = (flags & FLAG_FUZZY) != 0;
	if (d->snapshot_fuzzy) {
		d->usable_from.index = cur_varint(c);
		d->usable_from.offset = cur_varint(c);
	}
	*ret_commits = cur_varint(c);
	if (c->bad || (flags & ~(FLAG_ENDED | FLAG_FUZZY)) || page_units > PAGE_BYTES_MAX / 256)
		return false;
	memcpy(d->salt, salt.p, sizeof d->salt);
	d->page_bytes = (uint32_t)page_units * 256;
	bool offsets = end != 0 || *ret_commits != 0;
	if (!(page_bytes_valid(d->page_bytes) || (page_units == 0 && !offsets)) || d->index > INT64_MAX)
		return false;
	if (d->usable_from.index > INT64_MAX || d->usable_from.offset > INT64_MAX)
		return false;
	bool bad = false;
	d->end_offset = end == 0 ? 0 : offset_after(d->page_bytes, end - 1, &bad);
	return !bad && *ret_commits <= c->n / COMMIT_MIN_BYTES;
}

/* false: some value cannot be. d->commits has room for n. */
static bool commits_parse(struct cur *c, struct wal_index_doc *d, size_t n)
{
	uint64_t frames = 0, wall_us = 0;
	for (size_t i = 0; i < n; i++) {
		uint64_t more_frames = cur_varint(c), more_us = cur_varint(c);
		bool bad = c->bad || more_frames == 0 || __builtin_add_overflow(frames, more_frames, &frames) ||
			   __builtin_add_overflow(wall_us, more_us, &wall_us) || wall_us > INT64_MAX;
		uint64_t offset = bad ? 0 : offset_after(d->page_bytes, frames, &bad);
		if (bad)
			return false;
		d->commits[d->commits_n++] =
			(struct index_commit){ .offset = offset, .wall_us = (int64_t)wall_us };
	}
	return c->n == 0;
}

int index_doc_parse(struct span in, struct wal_index_doc *ret, struct err *e)
{
	if (in.n < FIXED_BYTES + SUM_BYTES || in.n > INDEX_DOC_MAX_BYTES)
		return err_set(e, ERR_DAMAGED, "index document has an impossible size of %zu bytes", in.n);
	struct cur c = { .p = in.p, .n = in.n - SUM_BYTES };
	if (memcmp(in.p, magic, sizeof magic) != 0)
		return err_set(e, ERR_DAMAGED, "not an index document (it does not begin with WBIX)");
	if (get_be64(in.p + c.n) != XXH64(in.p, c.n, 0))
		return err_set(e, ERR_DAMAGED, "index document is damaged: its checksum does not fit");
	if (in.p[4] != VERSION)
		return err_set(e, ERR_DAMAGED, "index document has version %u, this program knows version %d",
			       in.p[4], VERSION);
	struct wal_index_doc d = { 0 };
	uint64_t commits;
	if (!head_parse(&c, &d, &commits))
		return err_set(e, ERR_DAMAGED, "index document holds impossible values in its head");
	if (commits > 0) {
		d.commits = malloc((size_t)commits * sizeof *d.commits);
		if (!d.commits)
			return err_set(e, ERR_FAIL, "no memory for %" PRIu64 " commits of an index document",
				       commits);
		d.commits_cap = (size_t)commits;
	}
	if (!commits_parse(&c, &d, (size_t)commits)) {
		index_doc_free(&d);
		return err_set(e, ERR_DAMAGED, "index document holds impossible values in its commits");
	}
	*ret = d;
	return 0;
}
