/* SPDX-License-Identifier: Apache-2.0
 *
 * Segments: our writer against liblz4's own frame calls and the lz4 program, our reader against every kind of
 * frame that liblz4 can write and against damage of every kind, the splicer against both. */
#include <glob.h>
#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <lz4frame.h>
#include <xxhash.h>

#include "core/segment.h"

enum { MIB = 1 << 20, BLOCK = SEGMENT_BLOCK_BYTES };

static uint64_t random_state = 88172645463325252u;
static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* ---- data and sinks ---- */

/* Like pages of a database: runs of zeros, words and noise. noise: incompressible. */
static struct dyn data_make(size_t n, bool noise)
{
	struct dyn d = DYN_INIT(SIZE_MAX);
	if (n > 0)
		assert_int_equal(dyn_reserve(&d, n), 0);
	d.len = n;
	for (size_t i = 0; i < n;) {
		size_t run = 1 + random_next() % 200;
		int kind = noise ? 0 : (int)(random_next() % 4);
		for (; run > 0 && i < n; run--, i++)
			d.p[i] = kind == 0   ? (uint8_t)random_next()
				 : kind == 1 ? 0
					     : (uint8_t) "walbrook"[i % 8];
	}
	return d;
}

static struct span whole(const struct dyn *d)
{
	return (struct span){ d->p, d->len };
}

static int gather(void *arg, struct span out, struct err *e)
{
	(void)e;
	assert_in_range(out.n, 1, BLOCK + 64);
	assert_int_equal(dyn_add(arg, out.p, out.n), 0);
	return 0;
}

/* Sizes of pieces: 0 is everything at once, negative is random up to that. */
static size_t piece(long size, size_t left)
{
	size_t n = size == 0 ? left : size > 0 ? (size_t)size : random_next() % (size_t)-size;
	return n < left ? n : left;
}

static struct dyn packed(const struct dyn *plain, long pieces)
{
	struct dyn out = DYN_INIT(SIZE_MAX);
	struct err e = ERR_INIT;
	struct segment_writer *w = segment_writer_new(gather, &out);
	assert_non_null(w);
	for (size_t at = 0, n; at < plain->len; at += n) {
		n = piece(pieces, plain->len - at);
		assert_int_equal(segment_write(w, (struct span){ plain->p + at, n }, &e), 0);
	}
	assert_int_equal(segment_finish(w, &e), 0);
	segment_writer_free(w);
	return out;
}

/* What liblz4 makes of it with these preferences, buffering as it likes. */
static struct dyn reference(const struct dyn *plain, const LZ4F_preferences_t *prefs)
{
	LZ4F_cctx *c;
	size_t cap = LZ4F_compressFrameBound(plain->len, prefs) + BLOCK + LZ4F_HEADER_SIZE_MAX;
	struct dyn out = DYN_INIT(SIZE_MAX);
	assert_int_equal(dyn_reserve(&out, cap), 0);
	assert_false(LZ4F_isError(LZ4F_createCompressionContext(&c, LZ4F_VERSION)));
	out.len = LZ4F_compressBegin(c, out.p, cap, prefs);
	for (size_t at = 0, n; at < plain->len; at += n) {
		n = piece(100000, plain->len - at);
		size_t got = LZ4F_compressUpdate(c, out.p + out.len, cap - out.len, plain->p + at, n, NULL);
		assert_false(LZ4F_isError(got));
		out.len += got;
	}
	size_t got = LZ4F_compressEnd(c, out.p + out.len, cap - out.len, NULL);
	assert_false(LZ4F_isError(got));
	out.len += got;
	LZ4F_freeCompressionContext(c);
	return out;
}

static LZ4F_preferences_t prefs_of(LZ4F_blockSizeID_t id, bool linked, bool sums, bool content_sum)
{
	return (LZ4F_preferences_t){
		.frameInfo = { .blockSizeID = id,
			       .blockMode = linked ? LZ4F_blockLinked : LZ4F_blockIndependent,
			       .blockChecksumFlag = sums ? LZ4F_blockChecksumEnabled : LZ4F_noBlockChecksum,
			       .contentChecksumFlag =
				       content_sum ? LZ4F_contentChecksumEnabled : LZ4F_noContentChecksum },
	};
}

/* Reads `stored` in pieces. 0, or -1 and *e; *out gets what came. */
static int unpack(struct span stored, long pieces, struct dyn *out, struct err *e)
{
	*out = DYN_INIT(SIZE_MAX);
	struct segment_reader *r = segment_reader_new(gather, out);
	assert_non_null(r);
	int rc = 0;
	for (size_t at = 0, n; rc == 0 && at < stored.n; at += n) {
		n = piece(pieces, stored.n - at);
		rc = segment_read(r, (struct span){ stored.p + at, n }, e);
	}
	if (rc == 0)
		rc = segment_read_end(r, e);
	assert_int_equal(segment_plain_bytes(r) >= out->len, 1);
	segment_reader_free(r);
	return rc;
}

static void expect_plain(struct span stored, long pieces, const struct dyn *plain)
{
	struct dyn out;
	struct err e = ERR_INIT;
	if (unpack(stored, pieces, &out, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(out.len, plain->len);
	if (plain->len > 0)
		assert_memory_equal(out.p, plain->p, plain->len);
	dyn_free(&out);
}

static void expect_refused(struct span stored, const char *text)
{
	static const long pieces[] = { 0, 1, 5 };
	for (int i = 0; i < 3; i++) {
		struct dyn out;
		struct err e = ERR_INIT;
		assert_int_equal(unpack(stored, pieces[i], &out, &e), -1);
		assert_int_equal(e.kind, ERR_DAMAGED);
		if (!strstr(e.text, text))
			fail_msg("\"%s\" does not contain \"%s\"", e.text, text);
		dyn_free(&out);
	}
}

/* ---- writer ---- */

static void test_golden_bytes(void **state)
{
	(void)state;
	static const uint8_t empty[] = { 0x04, 0x22, 0x4d, 0x18, 0x64, 0x70, 0xb9, 0,
					 0,    0,    0,	   0x05, 0x5d, 0xcc, 0x02 };
	static const uint8_t zeros32[] = { 0x04, 0x22, 0x4d, 0x18, 0x64, 0x70, 0xb9, 11, 0, 0, 0 };
	struct dyn plain = data_make(0, false), out = packed(&plain, 0);
	assert_int_equal(out.len, sizeof empty);
	assert_memory_equal(out.p, empty, sizeof empty);
	dyn_free(&out);

	plain = data_make(32, true); /* a WAL header: does not shrink, so it is stored as it is */
	out = packed(&plain, 0);
	assert_int_equal(out.len, 7 + 4 + 32 + 8);
	assert_memory_equal(out.p, empty, 7);
	assert_int_equal(get_le32(out.p + 7), 0x80000020u);
	assert_memory_equal(out.p + 11, plain.p, 32);
	assert_int_equal(get_le32(out.p + 43), 0);
	assert_int_equal(get_le32(out.p + 47), XXH32(plain.p, 32, 0));
	dyn_free(&out);
	memset(plain.p, 0, 32);
	out = packed(&plain, 0);
	assert_memory_equal(out.p, zeros32, sizeof zeros32);
	dyn_free(&out);
	dyn_free(&plain);

	plain = data_make(24 + 4096, false); /* one frame */
	out = packed(&plain, 0);
	assert_memory_equal(out.p, empty, 7);
	assert_memory_equal(out.p, segment_header, SEGMENT_HEADER_BYTES);
	assert_true(out.len < plain.len);
	dyn_free(&out);
	dyn_free(&plain);
}

/* The same bytes as liblz4 with 4 MiB independent blocks, however the input is cut. */
static void test_writer_is_reference(void **state)
{
	(void)state;
	static const size_t sizes[] = {
		0, 1, 12, 13, 100, 4120, 65536, 300000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 2 * BLOCK + 4120
	};
	static const long pieces[] = { 0, 4120, -3 * MIB, -100000, BLOCK };
	LZ4F_preferences_t prefs = prefs_of(LZ4F_max4MB, false, false, true);
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		struct dyn plain = data_make(sizes[i], i % 3 == 2), want = reference(&plain, &prefs);
		for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
			struct dyn out = packed(&plain, pieces[k]);
			assert_int_equal(out.len, want.len);
			assert_memory_equal(out.p, want.p, want.len);
			dyn_free(&out);
		}
		expect_plain(whole(&want), -70000, &plain);
		dyn_free(&want);
		dyn_free(&plain);
	}
}

static void test_lz4_program_reads_it(void **state)
{
	(void)state;
	struct dyn plain = data_make(BLOCK + 4120, false), out = packed(&plain, 0), back = DYN_INIT(SIZE_MAX);
	char path[] = "/tmp/walbrook-test-XXXXXX", command[128];
	int fd = mkstemp(path);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, out.p, out.len), out.len);
	close(fd);
	snprintf(command, sizeof command, "lz4 -dc %s", path);
	FILE *f = popen(command, "r");
	assert_non_null(f);
	uint8_t buf[4096];
	for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;)
		assert_int_equal(dyn_add(&back, buf, n), 0);
	assert_int_equal(pclose(f), 0);
	unlink(path);
	assert_int_equal(back.len, plain.len);
	assert_memory_equal(back.p, plain.p, plain.len);
	dyn_free(&back);
	dyn_free(&out);
	dyn_free(&plain);
}

struct failing {
	size_t left; /* calls before the one that fails */
	struct dyn got;
};

static int fail_later(void *arg, struct span out, struct err *e)
{
	struct failing *f = arg;
	if (f->left-- == 0)
		return err_set(e, ERR_SPACE, "no space here");
	return dyn_add(&f->got, out.p, out.n);
}

static int write_all(struct segment_writer *w, const struct dyn *plain, struct err *e)
{
	return segment_write(w, whole(plain), e) < 0 ? -1 : segment_finish(w, e);
}

static void test_writer_failure_and_reuse(void **state)
{
	(void)state;
	struct dyn plain = data_make(2 * BLOCK + 5000, false), want = packed(&plain, 0);
	struct failing f = { .got = DYN_INIT(SIZE_MAX) };
	struct segment_writer *w = segment_writer_new(fail_later, &f);
	struct err e;
	int rc = -1;
	for (size_t n = 0; rc < 0; n++) {
		e = ERR_INIT;
		f.left = n;
		f.got.len = 0;
		rc = write_all(w, &plain, &e);
		if (rc == 0) {
			assert_int_equal(n, 5); /* header, three blocks, end */
			break;
		}
		assert_int_equal(e.kind, ERR_SPACE);
		assert_string_equal(e.text, "no space here");
		if (n < 3) { /* it failed in segment_write: it stays so until reset */
			assert_int_equal(segment_write(w, whole(&plain), &e), -1);
			segment_writer_reset(w);
		}
	}
	assert_int_equal(f.got.len, want.len);
	assert_memory_equal(f.got.p, want.p, want.len);
	f.got.len = 0; /* begun and forgotten */
	f.left = SIZE_MAX;
	assert_int_equal(segment_write(w, (struct span){ plain.p, 100 }, &e), 0);
	segment_writer_reset(w);
	f.got.len = 0;
	assert_int_equal(write_all(w, &plain, &e), 0);
	assert_memory_equal(f.got.p, want.p, want.len);
	segment_writer_free(w);
	dyn_free(&f.got);
	dyn_free(&want);
	dyn_free(&plain);
}

/* A small segment needs little memory, large buffers do not stay. (A sanitizer's allocator tells nothing.) */
static void test_writer_memory(void **state)
{
	(void)state;
	struct dyn small = data_make(4096, false), large = data_make(3 * MIB, true), out = DYN_INIT(SIZE_MAX);
	struct err e;
	assert_int_equal(dyn_reserve(&out, 8 * MIB), 0);
	size_t before = mallinfo2().uordblks + mallinfo2().hblkhd;
	struct segment_writer *w = segment_writer_new(gather, &out);
	assert_int_equal(write_all(w, &small, &e), 0);
	assert_true(mallinfo2().uordblks + mallinfo2().hblkhd <= before + 60000);
	assert_int_equal(write_all(w, &large, &e), 0);
	assert_true(mallinfo2().uordblks + mallinfo2().hblkhd <= before + 120000);
	segment_writer_free(w);
	assert_int_equal(mallinfo2().uordblks + mallinfo2().hblkhd, before);
	dyn_free(&out);
	dyn_free(&large);
	dyn_free(&small);
}

/* ---- reader ---- */

static void test_reader_takes_every_kind(void **state)
{
	(void)state;
	static const size_t sizes[] = { 0, 1, 4120, 70000, 300000, BLOCK, BLOCK + 100000 };
	static const long pieces[] = { 0, -100000 };
	struct dyn plain = data_make(BLOCK + 100000, false);
	for (int kind = 0; kind < 4 * 16; kind++) {
		LZ4F_preferences_t prefs =
			prefs_of(LZ4F_max64KB + (unsigned)kind / 16, kind & 1, kind & 2, kind & 4);
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			struct dyn part = { .p = plain.p, .len = sizes[i] };
			prefs.frameInfo.contentSize = kind & 8 ? part.len : 0;
			struct dyn stored = reference(&part, &prefs);
			for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++)
				expect_plain(whole(&stored), pieces[k], &part);
			if (stored.len < 100000)
				expect_plain(whole(&stored), 1, &part);
			dyn_free(&stored);
		}
	}
	dyn_free(&plain);
}

static void add_le32(struct dyn *d, uint32_t v)
{
	uint8_t b[4];
	put_le32(b, v);
	assert_int_equal(dyn_add(d, b, 4), 0);
}

static void add_skippable(struct dyn *d, uint32_t magic, uint32_t n)
{
	add_le32(d, magic);
	add_le32(d, n);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(dyn_add(d, "\x04", 1), 0);
}

static void test_reader_around_the_frame(void **state)
{
	(void)state;
	struct dyn plain = data_make(4120, false), frame = packed(&plain, 0), d = DYN_INIT(SIZE_MAX);
	add_skippable(&d, 0x184d2a50, 0);
	add_skippable(&d, 0x184d2a5f, 3);
	add_skippable(&d, 0x184d2a57, 100000);
	size_t front = d.len;
	assert_int_equal(dyn_add(&d, frame.p, frame.len), 0);
	struct segment_frame f;
	struct err e = ERR_INIT;
	assert_int_equal(segment_frame_parse(whole(&d), &f, &e), 1);
	assert_int_equal(f.header_bytes, front + 7);
	assert_int_equal(segment_frame_parse((struct span){ d.p, front - 1 }, &f, &e), 0);
	size_t end = d.len;
	assert_int_equal(dyn_add(&d, "whatever follows the end mark", 29), 0);
	for (long pieces = -500; pieces < 3; pieces += 71) {
		expect_plain((struct span){ d.p, end }, pieces, &plain);
		expect_plain(whole(&d), pieces, &plain);
	}
	expect_refused((struct span){ d.p, front }, "inside the LZ4 frame header");
	expect_refused((struct span){ d.p, 20 }, "inside the LZ4 frame header");
	dyn_free(&d);

	/* blocks of length zero, as 0.3.13 writes at multiples of 4 MiB, here also in front */
	assert_int_equal(dyn_add(&d, segment_header, 7), 0);
	add_le32(&d, 0x80000000);
	assert_int_equal(dyn_add(&d, frame.p + 7, frame.len - 15), 0);
	add_le32(&d, 0x80000000);
	assert_int_equal(dyn_add(&d, frame.p + frame.len - 8, 8), 0);
	expect_plain(whole(&d), 0, &plain);
	expect_plain(whole(&d), 1, &plain);
	dyn_free(&d);
	dyn_free(&frame);
	dyn_free(&plain);
}

static void test_reader_refuses_strangers(void **state)
{
	(void)state;
	static const char age[] = "age-encryption.org/v1\n-> X25519 abc";
	static const uint8_t old[] = { 0x02, 0x21, 0x4c, 0x18, 0, 0, 0, 0 };
	expect_refused((struct span){ NULL, 0 }, "is empty");
	expect_refused((struct span){ (const uint8_t *)age, sizeof age - 1 }, "encrypted");
	expect_refused((struct span){ (const uint8_t *)age, 21 }, "encrypted");
	expect_refused((struct span){ (const uint8_t *)age, 20 }, "cut off");
	expect_refused((struct span){ (const uint8_t *)"age-encryption.com/v1", 21 }, "not an LZ4 frame");
	expect_refused((struct span){ (const uint8_t *)"SQLite format 3", 16 }, "begins with 53 51 4c 69");
	expect_refused((struct span){ old, sizeof old }, "old LZ4 format");
	expect_refused((struct span){ segment_header, 1 }, "inside the LZ4 frame header");
	expect_refused((struct span){ segment_header, 6 }, "inside the LZ4 frame header");
	expect_refused((struct span){ segment_header, 7 }, "end mark is missing");
}

/* A frame header of these descriptor bytes with a right checksum, and 12 bytes that may belong to it. */
static struct dyn header_of(uint8_t flg, uint8_t bd)
{
	struct dyn d = DYN_INIT(SIZE_MAX);
	uint8_t desc[14] = { flg, bd };
	size_t n = 2 + (flg & 8 ? 8u : 0u) + (flg & 1 ? 4u : 0u);
	assert_int_equal(dyn_add(&d, segment_header, 4), 0);
	assert_int_equal(dyn_add(&d, desc, n), 0);
	uint8_t sum = (uint8_t)(XXH32(desc, n, 0) >> 8);
	assert_int_equal(dyn_add(&d, &sum, 1), 0);
	return d;
}

static void test_every_descriptor(void **state)
{
	(void)state;
	for (unsigned flg = 0; flg < 256; flg++) {
		for (unsigned bd = 0; bd < 256; bd++) {
			struct dyn d = header_of((uint8_t)flg, (uint8_t)bd);
			struct segment_frame f;
			struct err e = ERR_INIT;
			bool good = flg >> 6 == 1 && !(flg & 3) && !(bd & 0x8f) && bd >> 4 >= 4;
			assert_int_equal(segment_frame_parse(whole(&d), &f, &e), good ? 1 : -1);
			assert_int_equal(segment_frame_parse((struct span){ d.p, d.len - 1 }, &f, &e), 0);
			if (good) {
				assert_int_equal(f.block_max_bytes, 65536u << 2 * ((bd >> 4) - 4));
				assert_int_equal(f.independent, flg >> 5 & 1);
				assert_int_equal(f.block_sums, flg >> 4 & 1);
				assert_int_equal(f.content_size, flg >> 3 & 1);
				assert_int_equal(f.content_sum, flg >> 2 & 1);
				assert_int_equal(f.header_bytes, d.len);
			} else {
				assert_int_equal(e.kind, ERR_DAMAGED);
			}
			dyn_free(&d);
		}
	}
	static const struct {
		uint8_t flg, bd;
		const char *text;
	} bad[] = { { 0x24, 0x70, "version" },	      { 0xa4, 0x70, "version" },  { 0x66, 0x70, "reserved" },
		    { 0x64, 0xf0, "reserved" },	      { 0x64, 0x71, "reserved" }, { 0x65, 0x70, "dictionary" },
		    { 0x64, 0x30, "block size id 3" } };
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		struct dyn d = header_of(bad[i].flg, bad[i].bd);
		expect_refused(whole(&d), bad[i].text);
		dyn_free(&d);
	}
}

/* Every cut and every flipped bit of an object is noticed, and a cut is called one. (Some flips are none: a
 * match of zeros is the same from another place. Then the data must be right.) */
static void test_every_cut_and_flip(void **state)
{
	(void)state;
	struct dyn plain = data_make(900, false), d = packed(&plain, 0);
	size_t harmless = 0;
	assert_true(d.len < 900);
	for (size_t n = 1; n < d.len; n++)
		expect_refused((struct span){ d.p, n }, "cut off");
	for (size_t bit = 0; bit < d.len * 8; bit++) {
		struct dyn out;
		struct err e = ERR_INIT;
		d.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		if (unpack(whole(&d), 0, &out, &e) == 0) {
			harmless++;
			assert_int_equal(out.len, plain.len);
			assert_memory_equal(out.p, plain.p, plain.len);
		} else {
			assert_int_equal(e.kind, ERR_DAMAGED);
			assert_true(strlen(e.text) > 10);
		}
		d.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		dyn_free(&out);
	}
	assert_in_range(harmless, 0, d.len / 10);
	d.p[6] ^= 1;
	expect_refused(whole(&d), "header is damaged");
	d.p[6] ^= 1;
	d.p[d.len - 1] ^= 1;
	expect_refused(whole(&d), "content checksum");
	d.p[d.len - 1] ^= 1;
	put_le32(d.p + 7, BLOCK + 1);
	expect_refused(whole(&d), "damaged LZ4 block");
	put_le32(d.p + 7, (BLOCK + 1) | 0x80000000u);
	expect_refused(whole(&d), "damaged LZ4 block");
	dyn_free(&d);

	LZ4F_preferences_t prefs = prefs_of(LZ4F_max64KB, false, true, true);
	d = reference(&plain, &prefs);
	d.p[d.len - 9] ^= 1; /* in the checksum of the block */
	expect_refused(whole(&d), "block checksum");
	dyn_free(&d);
	dyn_free(&plain);
}

static void test_content_size(void **state)
{
	(void)state;
	struct dyn plain = data_make(100000, false);
	LZ4F_preferences_t prefs = prefs_of(LZ4F_max64KB, false, false, true);
	prefs.frameInfo.contentSize = plain.len;
	struct dyn d = reference(&plain, &prefs);
	static const uint64_t wrong[] = { 0, 1, 65536, 99999, 100001, UINT64_MAX };
	for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
		put_le32(d.p + 6, (uint32_t)wrong[i]);
		put_le32(d.p + 10, (uint32_t)(wrong[i] >> 32));
		d.p[14] = (uint8_t)(XXH32(d.p + 4, 10, 0) >> 8);
		expect_refused(whole(&d), "content size");
	}
	dyn_free(&d);
	dyn_free(&plain);
}

static void test_reader_reuse(void **state)
{
	(void)state;
	struct dyn plain = data_make(70000, false), d = packed(&plain, 0), out = DYN_INIT(SIZE_MAX);
	struct segment_reader *r = segment_reader_new(gather, &out);
	struct err e = ERR_INIT;
	for (int round = 0; round < 50; round++) {
		size_t n = round % 5 == 0 ? d.len : random_next() % d.len;
		if (round % 7 == 3)
			d.p[20] ^= 0x55;
		bool good = n == d.len && round % 7 != 3;
		out.len = 0;
		int rc = segment_read(r, (struct span){ d.p, n }, &e);
		if (rc == 0)
			rc = segment_read_end(r, &e);
		assert_int_equal(rc, good ? 0 : -1);
		if (good)
			assert_memory_equal(out.p, plain.p, plain.len);
		if (round % 7 == 3)
			d.p[20] ^= 0x55;
		segment_reader_reset(r);
		assert_int_equal(segment_plain_bytes(r), 0);
	}
	segment_reader_free(r);
	struct failing f = { .left = 0 };
	r = segment_reader_new(fail_later, &f);
	assert_int_equal(segment_read(r, whole(&d), &e), -1);
	assert_string_equal(e.text, "no space here");
	assert_int_equal(segment_read(r, whole(&d), &e), -1);
	assert_int_equal(segment_read_end(r, &e), -1);
	segment_reader_free(r);
	dyn_free(&out);
	dyn_free(&d);
	dyn_free(&plain);
}

/* ---- splicer ---- */

static int splice_one(struct segment_splicer *s, struct span stored, long pieces, struct err *e)
{
	for (size_t at = 0, n; at < stored.n; at += n) {
		n = piece(pieces, stored.n - at);
		if (segment_splice(s, (struct span){ stored.p + at, n }, e) < 0)
			return -1;
	}
	return segment_splice_next(s, e);
}

static void test_splice_copies(void **state)
{
	(void)state;
	static const size_t sizes[] = { 4120, 32, 2 * BLOCK + 99, 0, 1, BLOCK, 70000 };
	static const long pieces[] = { 0, 1000, -3 * MIB };
	struct dyn all = data_make(4 * BLOCK, false), out = DYN_INIT(SIZE_MAX);
	struct segment_splicer *s = segment_splicer_new(gather, &out);
	for (size_t k = 0; k < sizeof pieces / sizeof *pieces; k++) {
		struct err e = ERR_INIT;
		size_t at = 0, blocks = 0;
		out.len = 0;
		for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
			struct dyn part = { .p = all.p + at, .len = sizes[i] }, stored = packed(&part, 0);
			assert_int_equal(splice_one(s, whole(&stored), pieces[k], &e), 0);
			at += sizes[i];
			blocks += stored.len - SEGMENT_HEADER_BYTES - SEGMENT_TRAILER_BYTES;
			dyn_free(&stored);
		}
		assert_int_equal(segment_splice_plain_bytes(s), at);
		assert_int_equal(segment_splice_finish(s, &e), 0);
		assert_int_equal(out.len, SEGMENT_HEADER_BYTES + blocks + SEGMENT_TRAILER_BYTES);
		assert_memory_equal(out.p, segment_header, SEGMENT_HEADER_BYTES);
		struct dyn want = { .p = all.p, .len = at };
		expect_plain(whole(&out), 0, &want);
		assert_int_equal(get_le32(out.p + out.len - 4), XXH32(all.p, at, 0));
	}
	segment_splicer_free(s);
	dyn_free(&out);
	dyn_free(&all);
}

/* Objects of other programs: all kinds of frames, mixed with ours. */
static void test_splice_strangers(void **state)
{
	(void)state;
	struct dyn all = data_make(64 * 100000, false), out = DYN_INIT(SIZE_MAX);
	struct segment_splicer *s = segment_splicer_new(gather, &out);
	struct err e = ERR_INIT;
	for (size_t kind = 0; kind < 64; kind++) {
		struct dyn part = { .p = all.p + kind * 100000, .len = 100000 }, front = DYN_INIT(SIZE_MAX);
		LZ4F_preferences_t prefs =
			prefs_of(LZ4F_max64KB + (unsigned)kind / 16, kind & 1, kind & 2, kind & 4);
		prefs.frameInfo.contentSize = kind & 8 ? part.len : 0;
		struct dyn stored = reference(&part, &prefs);
		add_skippable(&front, 0x184d2a53, 5);
		assert_int_equal(dyn_add(&front, stored.p, stored.len), 0);
		assert_int_equal(dyn_add(&front, "tail", 4), 0);
		if (splice_one(s, whole(&front), kind % 3 == 0 ? 0 : -5000, &e) < 0)
			fail_msg("kind %zu: %s", kind, e.text);
		dyn_free(&front);
		dyn_free(&stored);
	}
	assert_int_equal(segment_splice_plain_bytes(s), all.len);
	assert_int_equal(segment_splice_finish(s, &e), 0);
	assert_memory_equal(out.p, segment_header, SEGMENT_HEADER_BYTES);
	expect_plain(whole(&out), 0, &all);
	segment_splicer_free(s);
	dyn_free(&out);
	dyn_free(&all);
}

static void expect_unspliced(struct segment_splicer *s, struct span stored, const char *text)
{
	static const long pieces[] = { 0, 1 };
	for (int i = 0; i < 2; i++) {
		struct err e = ERR_INIT;
		assert_int_equal(splice_one(s, stored, pieces[i], &e), -1);
		assert_int_equal(e.kind, ERR_DAMAGED);
		if (!strstr(e.text, text))
			fail_msg("\"%s\" does not contain \"%s\"", e.text, text);
		assert_int_equal(segment_splice(s, stored, &e), -1); /* it stays so */
		assert_int_equal(segment_splice_finish(s, &e), -1);
	}
}

static void test_splice_notices_damage(void **state)
{
	(void)state;
	struct dyn plain = data_make(900, true), d = packed(&plain, 0), out = DYN_INIT(SIZE_MAX);
	struct segment_splicer *s = segment_splicer_new(gather, &out);
	struct err e = ERR_INIT;
	expect_unspliced(s, (struct span){ NULL, 0 }, "is empty");
	for (size_t n = 1; n < d.len; n++)
		expect_unspliced(s, (struct span){ d.p, n }, "cut off");
	for (size_t bit = 0; bit < d.len * 8; bit++) {
		d.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		expect_unspliced(s, whole(&d), "");
		d.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	d.p[d.len - 1] ^= 1;
	expect_unspliced(s, whole(&d), "content checksum");
	d.p[d.len - 1] ^= 1;
	LZ4F_preferences_t prefs = prefs_of(LZ4F_max4MB, false, true, true);
	struct dyn summed = reference(&plain, &prefs);
	summed.p[summed.len - 9] ^= 1;
	expect_unspliced(s, whole(&summed), "block checksum");
	dyn_free(&summed);
	struct dyn words = data_make(900, false), small = packed(&words, 0);
	memset(small.p + 11, 0xff, small.len - 19);
	expect_unspliced(s, whole(&small), "damaged LZ4 block");
	put_le32(small.p + 7, BLOCK + 1);
	expect_unspliced(s, whole(&small), "damaged LZ4 block");
	dyn_free(&small);
	dyn_free(&words);

	/* after all that it still works; an object that is not finished is noticed at the end */
	out.len = 0;
	assert_int_equal(segment_splice(s, whole(&d), &e), 0);
	assert_int_equal(segment_splice_finish(s, &e), -1);
	out.len = 0;
	assert_int_equal(splice_one(s, whole(&d), 0, &e), 0);
	assert_int_equal(segment_splice_finish(s, &e), 0);
	assert_int_equal(out.len, d.len);
	assert_memory_equal(out.p, d.p, d.len);
	out.len = 0; /* nothing at all is an empty object */
	assert_int_equal(segment_splice_finish(s, &e), 0);
	assert_int_equal(out.len, 15);
	segment_splicer_free(s);
	dyn_free(&out);
	dyn_free(&d);
	dyn_free(&plain);
}

static void test_splice_sink_failure(void **state)
{
	(void)state;
	struct dyn plain = data_make(9000, false), ours = packed(&plain, 0);
	LZ4F_preferences_t prefs = prefs_of(LZ4F_max64KB, true, false, true);
	struct dyn linked = reference(&plain, &prefs);
	struct failing f = { .got = DYN_INIT(SIZE_MAX) };
	struct segment_splicer *s = segment_splicer_new(fail_later, &f);
	size_t failures = 0;
	for (int rc = -1; rc < 0; failures++) {
		struct err e = ERR_INIT;
		f.left = failures;
		f.got.len = 0;
		rc = splice_one(s, whole(&ours), 0, &e);
		if (rc == 0)
			rc = splice_one(s, whole(&linked), 0, &e);
		if (rc < 0)
			assert_string_equal(e.text, "no space here");
		int end = segment_splice_finish(s, &e);
		if (rc < 0)
			assert_int_equal(end, -1);
		else
			rc = end;
	}
	assert_int_equal(failures,
			 6); /* header, size and bytes, a block made anew, end: five failures, then none */
	segment_splicer_free(s);
	dyn_free(&f.got);
	dyn_free(&linked);
	dyn_free(&ours);
	dyn_free(&plain);
}

/* ---- objects of 0.3.13 ---- */

static struct dyn read_file(const char *path)
{
	struct dyn d = DYN_INIT(SIZE_MAX);
	uint8_t buf[65536];
	FILE *f = fopen(path, "rb");
	assert_non_null(f);
	for (size_t n; (n = fread(buf, 1, sizeof buf, f)) > 0;)
		assert_int_equal(dyn_add(&d, buf, n), 0);
	fclose(f);
	return d;
}

/* The database was 4 MiB long, so the frame ends with a block of length zero. */
static void test_zero_block_of_the_original(void **state)
{
	(void)state;
	const char *dir = getenv("WALBROOK_FIXTURES");
	char pattern[512];
	glob_t g;
	snprintf(pattern, sizeof pattern, "%s/v03/snapshot-4mib/replica/generations/*/snapshots/*.snapshot.lz4",
		 dir ? dir : "../shared/fixtures");
	if (glob(pattern, 0, NULL, &g) != 0) {
		print_message("# left out: %s is not there\n", pattern);
		return;
	}
	struct dyn d = read_file(g.gl_pathv[0]), out, spliced = DYN_INIT(SIZE_MAX);
	struct err e = ERR_INIT;
	assert_int_equal(get_le32(d.p + d.len - 12), 0x80000000u);
	assert_memory_equal(d.p, segment_header, SEGMENT_HEADER_BYTES);
	assert_int_equal(unpack(whole(&d), 0, &out, &e), 0);
	assert_int_equal(out.len, BLOCK);
	struct segment_splicer *s = segment_splicer_new(gather, &spliced);
	assert_int_equal(splice_one(s, whole(&d), 0, &e), 0);
	assert_int_equal(segment_splice_finish(s, &e), 0);
	expect_plain(whole(&spliced), 0, &out);
	segment_splicer_free(s);
	dyn_free(&spliced);
	dyn_free(&out);
	dyn_free(&d);
	globfree(&g);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_bytes),
		cmocka_unit_test(test_writer_is_reference),
		cmocka_unit_test(test_lz4_program_reads_it),
		cmocka_unit_test(test_writer_failure_and_reuse),
		cmocka_unit_test(test_writer_memory),
		cmocka_unit_test(test_reader_takes_every_kind),
		cmocka_unit_test(test_reader_around_the_frame),
		cmocka_unit_test(test_reader_refuses_strangers),
		cmocka_unit_test(test_every_descriptor),
		cmocka_unit_test(test_every_cut_and_flip),
		cmocka_unit_test(test_content_size),
		cmocka_unit_test(test_reader_reuse),
		cmocka_unit_test(test_splice_copies),
		cmocka_unit_test(test_splice_strangers),
		cmocka_unit_test(test_splice_notices_damage),
		cmocka_unit_test(test_splice_sink_failure),
		cmocka_unit_test(test_zero_block_of_the_original),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("segment", tests, NULL, NULL);
}
