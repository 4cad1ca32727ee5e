/* SPDX-License-Identifier: Apache-2.0
 *
 * Objects from nowhere. First byte of the input: bit 0 asks for a right header checksum, bit 1 for a right
 * content checksum at the end; the rest is the size of the pieces in which it is fed. The reader must say the
 * same in pieces and at once; the splicer must take what the reader takes, and its output must read as the same
 * bytes. The input is also written as a segment and read back. */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "core/segment.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { PLAIN_MAX = 64 << 20 };

static int gather(void *arg, struct span out, struct err *e)
{
	assert(out.n > 0 && out.n <= SEGMENT_BLOCK_BYTES + 4);
	return dyn_add(arg, out.p, out.n) == 0 ? 0 : err_set(e, ERR_SPACE, "more than this test takes");
}

static int read_in(struct span in, size_t piece, struct dyn *out, struct err *e)
{
	struct segment_reader *r = segment_reader_new(gather, out);
	int rc = 0;
	for (size_t at = 0, n; rc == 0 && at < in.n; at += n) {
		n = in.n - at < piece ? in.n - at : piece;
		rc = segment_read(r, (struct span){ in.p + at, n }, e);
	}
	if (rc == 0)
		rc = segment_read_end(r, e);
	assert(rc != 0 || segment_plain_bytes(r) == out->len);
	segment_reader_free(r);
	return rc;
}

static int splice_in(struct span in, size_t piece, struct dyn *out, struct err *e)
{
	struct segment_splicer *s = segment_splicer_new(gather, out);
	int rc = 0;
	for (int twice = 0; rc == 0 && twice < 2; twice++) {
		for (size_t at = 0, n; rc == 0 && at < in.n; at += n) {
			n = in.n - at < piece ? in.n - at : piece;
			rc = segment_splice(s, (struct span){ in.p + at, n }, e);
		}
		if (rc == 0)
			rc = segment_splice_next(s, e);
	}
	struct err after = ERR_INIT; /* a failed splice says so once more at its end */
	int end = segment_splice_finish(s, rc == 0 ? e : &after);
	segment_splicer_free(s);
	return rc == 0 ? end : rc;
}

static void try_object(struct span in, size_t piece)
{
	struct dyn once = DYN_INIT(PLAIN_MAX), pieces = DYN_INIT(PLAIN_MAX), spliced = DYN_INIT(PLAIN_MAX),
		   twice = DYN_INIT(PLAIN_MAX);
	struct err e = ERR_INIT, e2 = ERR_INIT;
	int rc = read_in(in, SIZE_MAX, &once, &e);
	assert(read_in(in, piece, &pieces, &e2) == rc);
	assert(e.kind == e2.kind && strcmp(e.text, e2.text) == 0);
	assert(once.len == pieces.len && (once.len == 0 || memcmp(once.p, pieces.p, once.len) == 0));
	e2 = ERR_INIT;
	int spliced_rc = splice_in(in, piece, &spliced, &e2);
	if (e.kind != ERR_SPACE && e2.kind != ERR_SPACE)
		assert(rc == spliced_rc && (rc == 0 || strcmp(e.text, e2.text) == 0));
	if (spliced_rc == 0) {
		assert(read_in((struct span){ spliced.p, spliced.len }, piece, &twice, &e) == 0);
		assert(twice.len == 2 * once.len);
		if (once.len > 0)
			assert(memcmp(twice.p, once.p, once.len) == 0 &&
			       memcmp(twice.p + once.len, once.p, once.len) == 0);
	}
	dyn_free(&once);
	dyn_free(&pieces);
	dyn_free(&spliced);
	dyn_free(&twice);
}

static void try_plain(struct span plain)
{
	struct dyn stored = DYN_INIT(PLAIN_MAX), back = DYN_INIT(PLAIN_MAX);
	struct err e;
	struct segment_writer *w = segment_writer_new(gather, &stored);
	assert(segment_write(w, plain, &e) == 0 && segment_finish(w, &e) == 0);
	segment_writer_free(w);
	assert(memcmp(stored.p, segment_header, SEGMENT_HEADER_BYTES) == 0);
	assert(read_in((struct span){ stored.p, stored.len }, 100, &back, &e) == 0);
	assert(back.len == plain.n && (plain.n == 0 || memcmp(back.p, plain.p, plain.n) == 0));
	dyn_free(&stored);
	dyn_free(&back);
}

/* Puts right checksums where a frame header and the end of a frame would be. */
static void make_right(uint8_t *p, size_t n, unsigned what)
{
	if ((what & 1) && n >= FRAME_HEADER_MAX) {
		size_t header = FRAME_HEADER_MIN + (p[4] & 0x08 ? 8u : 0u);
		put_le32(p, FRAME_MAGIC);
		p[4] = (uint8_t)((p[4] & 0x3c) | 0x40);
		p[5] = (uint8_t)(0x40 | (p[5] & 0x30));
		p[header - 1] = (uint8_t)(XXH32(p + 4, header - 5, 0) >> 8);
	}
	struct walk w = { .stage = STAGE_HEAD };
	struct segment_frame f;
	struct err e;
	if (!(what & 2) || segment_frame_parse((struct span){ p, n }, &f, &e) != 1 || !f.content_sum)
		return;
	if (walk_init(&w) < 0)
		return;
	/* Cut at the end mark the walk stops in STAGE_SUM and knows the checksum that it waits for. */
	struct dyn plain = DYN_INIT(PLAIN_MAX);
	struct segment_reader r = { .sink = gather, .arg = &plain };
	for (size_t at = 0; at < n && w.stage != STAGE_SUM; at++)
		if (walk_feed(&w, (struct span){ p + at, 1 }, reader_block, &r, &e) < 0)
			break;
	if (w.stage == STAGE_SUM && n - w.stored >= 4)
		put_le32(p + w.stored, XXH32_digest(w.sum));
	dyn_free(&plain);
	walk_free(&w);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	uint8_t *p = malloc(size);
	memcpy(p, data + 1, size - 1);
	make_right(p, size - 1, *data);
	try_object((struct span){ p, size - 1 }, 1u + (*data >> 2));
	try_plain((struct span){ p, size - 1 });
	free(p);
	return 0;
}
