/* SPDX-License-Identifier: Apache-2.0
 *
 * The WAL reader against WAL files that SQLite wrote (test/golden/wal, stored as LZ4), against a second, slow
 * implementation of the checksum below, and against a living WAL index made here by SQLite.
 *
 * WALBROOK_GOLDEN names test/golden; WALBROOK_FIXTURES a folder with further cases (wal/wal-reader,
 * wal/wal-writer), which are left out, with a message, when they are not there. */
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
#include <sqlite3.h>

#include "core/wal.h"

/* ---- files ---- */

struct bytes {
	uint8_t *p;
	size_t n;
};

static const char *root(const char *variable, const char *otherwise)
{
	const char *dir = getenv(variable);
	return dir ? dir : otherwise;
}

static bool read_file(const char *path, struct bytes *ret)
{
	FILE *f = fopen(path, "rb");
	if (!f)
		return false;
	size_t cap = 1 << 16;
	*ret = (struct bytes){ .p = malloc(cap) };
	assert_non_null(ret->p);
	for (size_t got; (got = fread(ret->p + ret->n, 1, cap - ret->n, f)) > 0;) {
		ret->n += got;
		if (ret->n == cap) {
			cap *= 2;
			ret->p = realloc(ret->p, cap);
			assert_non_null(ret->p);
		}
	}
	fclose(f);
	return true;
}

static struct bytes read_lz4(const char *path)
{
	struct bytes packed, plain = { .p = malloc(1 << 20) };
	if (!read_file(path, &packed))
		fail_msg("%s: not there (is WALBROOK_GOLDEN right?)", path);
	LZ4F_dctx *d;
	assert_false(LZ4F_isError(LZ4F_createDecompressionContext(&d, LZ4F_VERSION)));
	size_t at = 0, rc = 1;
	while (rc != 0 && at < packed.n) {
		size_t in = packed.n - at, out = (1 << 20) - plain.n;
		rc = LZ4F_decompress(d, plain.p + plain.n, &out, packed.p + at, &in, NULL);
		assert_false(LZ4F_isError(rc));
		at += in;
		plain.n += out;
	}
	assert_int_equal(rc, 0);
	LZ4F_freeDecompressionContext(d);
	free(packed.p);
	return plain;
}

/* ---- a second implementation, word by word as the format tells it ---- */

static uint32_t slow_word(const uint8_t *p, bool big_endian)
{
	uint32_t v = 0;
	for (int i = 0; i < 4; i++)
		v = v << 8 | p[big_endian ? i : 3 - i];
	return v;
}

static struct wal_sum slow_sum(struct wal_sum s, bool big_endian, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i + 8 <= n; i += 8) {
		s.s0 += slow_word(p + i, big_endian) + s.s1;
		s.s1 += slow_word(p + i + 4, big_endian) + s.s0;
	}
	return s;
}

static uint64_t random_state = 88172645463325252u;
static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* A WAL of random pages with the slow checksum: frame i is page i % 7 + 1, every third is a commit frame. */
struct built {
	struct bytes wal;
	struct wal_header header;
};

static void put_frame(uint8_t *f, const struct wal_header *h, struct wal_sum *sum)
{
	memcpy(f + 8, h->salt, 8);
	*sum = slow_sum(*sum, h->big_endian, f, 8);
	*sum = slow_sum(*sum, h->big_endian, f + 24, h->page_bytes);
	put_be32(f + 16, sum->s0);
	put_be32(f + 20, sum->s1);
}

static struct built build(uint32_t page_bytes, bool big_endian, unsigned frames)
{
	struct built b = { .header = {
				   .page_bytes = page_bytes, .big_endian = big_endian, .checkpoint_seq = 7 } };
	for (int i = 0; i < 8; i++)
		b.header.salt[i] = (uint8_t)random_next();
	b.wal.n = (size_t)wal_offset_of(page_bytes, frames);
	b.wal.p = malloc(b.wal.n);
	assert_non_null(b.wal.p);
	wal_header_write(b.wal.p, &b.header);
	b.header.sum = slow_sum((struct wal_sum){ 0, 0 }, big_endian, b.wal.p, 24);
	struct wal_sum sum = b.header.sum;
	for (unsigned i = 0; i < frames; i++) {
		uint8_t *f = b.wal.p + wal_offset_of(page_bytes, i);
		put_be32(f, i % 7 + 1);
		put_be32(f + 4, i % 3 == 2 ? 7 : 0);
		for (uint32_t k = 0; k < page_bytes; k++)
			f[24 + k] = (uint8_t)random_next();
		put_frame(f, &b.header, &sum);
	}
	return b;
}

static struct span behind_header(const struct bytes *wal)
{
	return (struct span){ wal->p + WAL_HEADER_BYTES, wal->n - WAL_HEADER_BYTES };
}

/* ---- golden files ---- */

struct seen {
	unsigned frames, committed;
	uint32_t page_bytes;
	uint32_t pgno[512], commit[512];
};

static int see(void *arg, const struct wal_frame *f, uint64_t offset)
{
	struct seen *s = arg;
	assert_in_range(s->frames, 0, 511);
	assert_int_equal(offset, wal_offset_of(s->page_bytes, s->frames));
	s->pgno[s->frames] = f->pgno;
	s->commit[s->frames++] = f->commit_pages;
	if (f->commit_pages)
		s->committed = s->frames;
	return 0;
}

struct golden {
	const char *name;
	uint32_t page_bytes;
	bool big_endian;
	unsigned committed, valid, whole;
	enum wal_check stop;
};

static const struct golden goldens[] = {
	{ "page512", 512, false, 56, 56, 56, WAL_SHORT },
	{ "page1024", 1024, false, 40, 40, 40, WAL_SHORT },
	{ "page4096", 4096, false, 27, 27, 27, WAL_SHORT },
	{ "page65536", 65536, false, 4, 4, 4, WAL_SHORT },
	{ "big-endian", 1024, true, 46, 46, 46, WAL_SHORT },
	{ "big-endian-4096", 4096, true, 21, 21, 21, WAL_SHORT },
	{ "restart-stale", 4096, false, 10, 10, 77, WAL_BAD_SALT },
	{ "restart-twice", 1024, false, 6, 6, 181, WAL_BAD_SALT },
	{ "uncommitted-tail", 4096, false, 18, 44, 44, WAL_SHORT },
	{ "uncommitted-only", 4096, false, 0, 26, 26, WAL_SHORT },
	{ "rolled-back-then-committed", 4096, false, 17, 17, 40, WAL_BAD_SUM },
	{ "big-transaction", 1024, false, 76, 76, 76, WAL_SHORT },
	{ "shrink", 1024, false, 123, 123, 123, WAL_SHORT },
	{ "torn-tail", 4096, false, 15, 17, 17, WAL_SHORT },
	{ "flipped-middle", 4096, false, 15, 16, 32, WAL_BAD_SUM },
};

static const struct golden further[] = {
	{ "wal-reader/ok", 4096, false, 3, 3, 3, WAL_SHORT },
	{ "wal-reader/salt-mismatch", 4096, false, 0, 1, 3, WAL_BAD_SALT },
	{ "wal-reader/frame-checksum-mismatch", 4096, false, 0, 1, 3, WAL_BAD_SUM },
	{ "wal-reader/frame-salts", 4096, false, 2, 2, 10, WAL_BAD_SALT },
	{ "wal-reader/read-wal-fields-ok", 4096, false, 3, 3, 3, WAL_SHORT },
	{ "wal-writer/static", 4096, false, 3, 3, 3, WAL_SHORT },
	{ "wal-writer/live", 4096, false, 1, 1, 1, WAL_SHORT },
	{ "wal-writer/split-0", 4096, false, 4, 4, 4, WAL_SHORT },
	{ "wal-writer/split-1", 4096, false, 1, 1, 1, WAL_SHORT },
	{ "wal-writer/split-2", 4096, false, 2, 2, 2, WAL_SHORT },
};

/* Everything that expected.tsv and the table of the case say about a WAL. */
static void check_case(const struct golden *g, const char *dir, const struct bytes *wal)
{
	struct wal_header h, h2;
	struct seen s = { .page_bytes = g->page_bytes };
	size_t good;
	uint8_t again[WAL_HEADER_BYTES];
	assert_int_equal(wal_header_parse((struct span){ wal->p, wal->n }, &h), WAL_OK);
	assert_int_equal(h.page_bytes, g->page_bytes);
	assert_int_equal(h.big_endian, g->big_endian);
	wal_header_write(again, &h);
	assert_memory_equal(again, wal->p, sizeof again);
	h.sum = (struct wal_sum){ 1, 2 };
	wal_header_write(again, &h);
	assert_int_equal(wal_header_parse((struct span){ again, sizeof again }, &h2), WAL_OK);
	assert_int_equal(wal_frames_in(g->page_bytes, wal->n), g->whole);

	struct wal_chain c = wal_chain_start(&h2);
	assert_int_equal(wal_chain_run(&c, behind_header(wal), see, &s, &good), g->stop);
	assert_int_equal(s.frames, g->valid);
	assert_int_equal(good, g->valid * wal_frame_bytes(g->page_bytes));
	assert_int_equal(c.offset, wal_offset_of(g->page_bytes, g->valid));
	assert_int_equal(s.committed, g->committed);

	char path[512], line[128];
	snprintf(path, sizeof path, "%s/expected.tsv", dir);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof line, f)); /* the names of the columns */
	unsigned n = 0;
	for (; fgets(line, sizeof line, f); n++) {
		unsigned frame, pgno, commit;
		assert_int_equal(sscanf(line, "%u\t%u\t%u", &frame, &pgno, &commit), 3);
		assert_int_equal(frame, n + 1);
		assert_int_equal(pgno, s.pgno[n]);
		assert_int_equal(commit, s.commit[n]);
	}
	fclose(f);
	assert_int_equal(n, g->committed);
}

static void test_golden_files(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
		char dir[400], path[512];
		snprintf(dir, sizeof dir, "%s/wal/%s", root("WALBROOK_GOLDEN", "test/golden"), goldens[i].name);
		snprintf(path, sizeof path, "%s/db-wal.lz4", dir);
		struct bytes wal = read_lz4(path);
		check_case(&goldens[i], dir, &wal);
		free(wal.p);
	}
}

static const char *fixtures(void)
{
	return root("WALBROOK_FIXTURES", "../shared/fixtures");
}

static bool further_wal(const char *name, char dir[400], struct bytes *ret)
{
	char path[512];
	snprintf(dir, 400, "%s/wal/%s", fixtures(), name);
	snprintf(path, sizeof path, "%s/%s", dir, strncmp(name, "wal-reader", 10) == 0 ? "wal" : "db-wal");
	if (read_file(path, ret))
		return true;
	print_message("# left out: %s is not there\n", path);
	return false;
}

static void test_further_files(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof further / sizeof *further; i++) {
		char dir[400];
		struct bytes wal;
		if (!further_wal(further[i].name, dir, &wal))
			continue;
		check_case(&further[i], dir, &wal);
		free(wal.p);
	}
}

/* A WAL made again from its pages and salts alone is the WAL that SQLite wrote. */
static void make_again(const struct bytes *wal, unsigned frames)
{
	struct wal_header h;
	assert_int_equal(wal_header_parse((struct span){ wal->p, wal->n }, &h), WAL_OK);
	struct wal_chain c = wal_chain_start(&h);
	size_t n = (size_t)wal_offset_of(h.page_bytes, frames);
	assert_true(n <= wal->n);
	uint8_t *made = malloc(n);
	assert_non_null(made);
	wal_header_write(made, &h);
	for (unsigned k = 0; k < frames; k++) {
		size_t at = (size_t)wal_offset_of(h.page_bytes, k);
		const uint8_t *f = wal->p + at;
		assert_int_equal(c.offset, at);
		wal_frame_write(&c, get_be32(f), get_be32(f + 4), f + WAL_FRAME_HEADER_BYTES, made + at);
		memcpy(made + at + WAL_FRAME_HEADER_BYTES, f + WAL_FRAME_HEADER_BYTES, h.page_bytes);
	}
	assert_memory_equal(made, wal->p, n);
	free(made);
}

static void test_made_again(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof goldens / sizeof *goldens; i++) {
		char path[512];
		snprintf(path, sizeof path, "%s/wal/%s/db-wal.lz4", root("WALBROOK_GOLDEN", "test/golden"),
			 goldens[i].name);
		struct bytes wal = read_lz4(path);
		make_again(&wal, goldens[i].valid);
		free(wal.p);
	}
}

/* And those of wal-writer, which are not copied into the tree. */
static void test_writer_fixtures(void **state)
{
	(void)state;
	static const struct {
		const char *name;
		unsigned frames;
	} cases[] = { { "static", 3 }, { "live", 1 }, { "split-0", 4 }, { "split-1", 1 }, { "split-2", 2 } };
	char path[512];
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		snprintf(path, sizeof path, "%s/wal/wal-writer/%s/db-wal",
			 root("WALBROOK_FIXTURES", "../shared/fixtures"), cases[i].name);
		struct bytes wal;
		if (!read_file(path, &wal)) {
			print_message("# skipped: %s is not here\n", path);
			return;
		}
		make_again(&wal, cases[i].frames);
		free(wal.p);
	}
}

/* ---- checksum and chain ---- */

static void test_checksum_against_slow(void **state)
{
	(void)state;
	uint8_t buf[4096 + 8];
	for (int round = 0; round < 400; round++) {
		for (size_t i = 0; i < sizeof buf; i++)
			buf[i] = (uint8_t)random_next();
		size_t shift = random_next() % 8, n = random_next() % 513 * 8;
		struct wal_sum from = { (uint32_t)random_next(), (uint32_t)random_next() };
		for (int big_endian = 0; big_endian < 2; big_endian++) {
			struct wal_sum want = slow_sum(from, big_endian, buf + shift, n);
			assert_true(wal_sum_equal(wal_checksum(from, big_endian, buf + shift, n), want));
		}
	}
}

static void test_every_page_size(void **state)
{
	(void)state;
	for (uint32_t page_bytes = PAGE_BYTES_MIN; page_bytes <= PAGE_BYTES_MAX; page_bytes *= 2) {
		for (int big_endian = 0; big_endian < 2; big_endian++) {
			struct built b = build(page_bytes, big_endian, 5);
			struct wal_header h;
			size_t good;
			assert_int_equal(wal_header_parse((struct span){ b.wal.p, b.wal.n }, &h), WAL_OK);
			assert_int_equal(h.page_bytes, page_bytes);
			assert_int_equal(h.checkpoint_seq, 7);
			assert_int_equal(h.big_endian, big_endian);
			assert_memory_equal(h.salt, b.header.salt, 8);
			assert_true(wal_sum_equal(h.sum, b.header.sum));
			struct wal_chain c = wal_chain_start(&h);
			assert_int_equal(wal_chain_run(&c, behind_header(&b.wal), NULL, NULL, &good),
					 WAL_SHORT);
			assert_int_equal(c.offset, b.wal.n);
			assert_int_equal(good, b.wal.n - WAL_HEADER_BYTES);
			free(b.wal.p);
		}
	}
}

/* Any cut of the bytes into pieces gives the same chain when the rest of a piece is carried over. */
static void test_arbitrary_splits(void **state)
{
	(void)state;
	struct built b = build(512, true, 40);
	struct wal_chain whole = wal_chain_start(&b.header);
	size_t good;
	wal_chain_run(&whole, behind_header(&b.wal), NULL, NULL, &good);
	for (int round = 0; round < 300; round++) {
		struct wal_chain c = wal_chain_start(&b.header);
		size_t done = WAL_HEADER_BYTES, end = done;
		while (end < b.wal.n) {
			end += random_next() % 1500;
			if (end > b.wal.n)
				end = b.wal.n;
			struct span in = { b.wal.p + done, end - done };
			assert_int_equal(wal_chain_run(&c, in, NULL, NULL, &good), WAL_SHORT);
			assert_int_equal(good % wal_frame_bytes(512), 0);
			done += good;
			assert_int_equal(c.offset, done);
		}
		assert_int_equal(done, b.wal.n);
		assert_true(wal_sum_equal(c.sum, whole.sum));
	}
	free(b.wal.p);
}

static int stop_at_third(void *arg, const struct wal_frame *f, uint64_t offset)
{
	(void)f;
	(void)offset;
	return ++*(int *)arg == 3;
}

static void test_step_is_run(void **state)
{
	(void)state;
	struct built b = build(1024, false, 6);
	struct wal_chain run = wal_chain_start(&b.header), step = run;
	size_t good;
	int calls = 0;
	assert_int_equal(wal_chain_run(&run, behind_header(&b.wal), stop_at_third, &calls, &good), WAL_OK);
	assert_int_equal(calls, 3);
	assert_int_equal(good, 3 * 1048);
	struct wal_frame f;
	for (unsigned i = 0; i < 3; i++) {
		struct span in = { b.wal.p + step.offset, b.wal.n - (size_t)step.offset };
		assert_int_equal(wal_chain_step(&step, in, &f), WAL_OK);
		assert_int_equal(f.pgno, i + 1);
		assert_int_equal(f.commit_pages, i == 2 ? 7 : 0);
		assert_ptr_equal(f.page, in.p + 24);
	}
	assert_memory_equal(&step, &run, sizeof run);
	free(b.wal.p);
}

/* ---- every verdict ---- */

static enum wal_check header_verdict(const uint8_t *p, size_t n)
{
	struct wal_header h;
	return wal_header_parse((struct span){ p, n }, &h);
}

static void test_header_verdicts(void **state)
{
	(void)state;
	struct built b = build(4096, false, 0);
	uint8_t h[WAL_HEADER_BYTES];
	for (size_t n = 0; n < WAL_HEADER_BYTES; n++)
		assert_int_equal(header_verdict(b.wal.p, n), WAL_SHORT);
	assert_int_equal(header_verdict(b.wal.p, WAL_HEADER_BYTES), WAL_OK);
	for (unsigned bit = 0; bit < WAL_HEADER_BYTES * 8; bit++) {
		memcpy(h, b.wal.p, sizeof h);
		h[bit / 8] ^= (uint8_t)(1u << bit % 8);
		enum wal_check want = WAL_BAD_SUM;
		if (bit / 8 < 8)
			want = bit == 24 ? WAL_BAD_SUM : WAL_BAD_MAGIC; /* bit 24 turns the byte order */
		else if (bit / 8 < 12)
			want = WAL_BAD_PAGE_SIZE;
		assert_int_equal(header_verdict(h, sizeof h), want);
	}
	static const uint32_t bad_sizes[] = { 0, 1, 256, 511, 513, 1000, 65535, 65537, 131072, 0x80000000u };
	for (size_t i = 0; i < sizeof bad_sizes / sizeof *bad_sizes; i++) {
		struct wal_header bad = b.header;
		bad.page_bytes = bad_sizes[i];
		wal_header_write(h, &bad);
		assert_int_equal(header_verdict(h, sizeof h), WAL_BAD_PAGE_SIZE);
		assert_false(page_bytes_valid(bad_sizes[i]));
	}
	free(b.wal.p);
}

static void expect_frame(const struct built *b, unsigned good_frames, enum wal_check want)
{
	struct wal_chain c = wal_chain_start(&b->header);
	size_t good;
	assert_int_equal(wal_chain_run(&c, behind_header(&b->wal), NULL, NULL, &good), want);
	assert_int_equal(good, good_frames * wal_frame_bytes(b->header.page_bytes));
	struct wal_chain before = c;
	struct wal_frame f;
	struct span rest = { b->wal.p + c.offset, b->wal.n - (size_t)c.offset };
	assert_int_equal(wal_chain_step(&c, rest, &f), want);
	assert_memory_equal(&c, &before, sizeof c);
}

static void test_frame_verdicts(void **state)
{
	(void)state;
	struct built b = build(512, false, 3);
	uint8_t *second = b.wal.p + wal_offset_of(512, 1);
	expect_frame(&b, 3, WAL_SHORT);
	for (unsigned bit = 0; bit < (24 + 512) * 8; bit++) {
		second[bit / 8] ^= (uint8_t)(1u << bit % 8);
		enum wal_check want = bit / 8 >= 8 && bit / 8 < 16 ? WAL_BAD_SALT : WAL_BAD_SUM;
		if (get_be32(second) == 0)
			want = WAL_BAD_PGNO;
		expect_frame(&b, 1, want);
		second[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	put_be32(second, 0);
	struct wal_chain c = wal_chain_start(&b.header);
	struct wal_frame f;
	assert_int_equal(wal_chain_step(&c, behind_header(&b.wal), &f), WAL_OK);
	struct wal_sum sum = c.sum;
	put_frame(second, &b.header, &sum); /* a right checksum does not help page 0 */
	expect_frame(&b, 1, WAL_BAD_PGNO);
	b.wal.n = (size_t)wal_offset_of(512, 1) - 1;
	expect_frame(&b, 0, WAL_SHORT);
	free(b.wal.p);
}

static void test_texts(void **state)
{
	(void)state;
	for (enum wal_check c = WAL_OK; c <= WAL_BAD_PGNO; c++) {
		assert_true(strlen(wal_check_text(c)) > 4);
		for (enum wal_check d = WAL_OK; d < c; d++)
			assert_string_not_equal(wal_check_text(c), wal_check_text(d));
	}
}

/* ---- the WAL index ---- */

static void check_index(const uint8_t *shm, const struct bytes *wal)
{
	struct wal_index x;
	struct wal_header h;
	struct seen s = { 0 };
	size_t good;
	assert_memory_equal(shm, shm + WAL_INDEX_HEADER_BYTES, WAL_INDEX_HEADER_BYTES);
	assert_true(wal_index_parse(shm, &x));
	assert_int_equal(wal_header_parse((struct span){ wal->p, wal->n }, &h), WAL_OK);
	struct wal_chain c = wal_chain_start(&h);
	s.page_bytes = h.page_bytes;
	wal_chain_run(&c, behind_header(wal), see, &s, &good);
	assert_int_equal(x.page_bytes, h.page_bytes);
	assert_int_equal(x.big_endian, h.big_endian);
	assert_memory_equal(x.salt, h.salt, 8);
	assert_int_equal(x.mx_frame, s.frames);
	assert_int_equal(x.pages, s.commit[s.frames - 1]);
	assert_true(wal_sum_equal(x.frame_sum, c.sum));
	for (unsigned bit = 0; bit < WAL_INDEX_HEADER_BYTES * 8; bit++) {
		uint8_t bad[WAL_INDEX_HEADER_BYTES];
		memcpy(bad, shm, sizeof bad);
		bad[bit / 8] ^= (uint8_t)(1u << bit % 8);
		assert_false(wal_index_parse(bad, &x));
	}
	static const uint8_t zeros[WAL_INDEX_HEADER_BYTES];
	assert_false(wal_index_parse(zeros, &x));
}

static void sql(sqlite3 *db, const char *text)
{
	char *message = NULL;
	if (sqlite3_exec(db, text, NULL, NULL, &message) != SQLITE_OK)
		fail_msg("%s: %s", text, message);
}

static void live_index(const char *dir, int page_bytes)
{
	char path[100], text[128];
	struct bytes wal, shm;
	sqlite3 *db;
	snprintf(path, sizeof path, "%s/%d.db", dir, page_bytes);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	snprintf(text, sizeof text, "PRAGMA page_size=%d; PRAGMA journal_mode=WAL; CREATE TABLE t(x)",
		 page_bytes);
	sql(db, text);
	sql(db, "INSERT INTO t VALUES(randomblob(3000)); INSERT INTO t VALUES(zeroblob(9000))");
	snprintf(text, sizeof text, "%s-wal", path);
	assert_true(read_file(text, &wal));
	snprintf(text, sizeof text, "%s-shm", path);
	assert_true(read_file(text, &shm));
	assert_true(shm.n > 2 * WAL_INDEX_HEADER_BYTES);
	check_index(shm.p, &wal);
	struct wal_index before, after;
	assert_true(wal_index_parse(shm.p, &before));
	free(shm.p);
	sql(db, "DELETE FROM t");
	assert_true(read_file(text, &shm));
	assert_true(wal_index_parse(shm.p, &after));
	assert_true(after.mx_frame > before.mx_frame);
	assert_int_not_equal(after.change, before.change);
	free(shm.p);
	free(wal.p);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	unlink(path);
}

static void test_index_live(void **state)
{
	(void)state;
	char dir[] = "/tmp/walbrook-test-XXXXXX";
	assert_non_null(mkdtemp(dir));
	for (int page_bytes = PAGE_BYTES_MIN; page_bytes <= PAGE_BYTES_MAX; page_bytes *= 2)
		live_index(dir, page_bytes);
	assert_int_equal(rmdir(dir), 0);
}

static void test_index_of_fixture(void **state)
{
	(void)state;
	char dir[400], path[512];
	struct bytes wal, shm;
	if (!further_wal("wal-writer/live", dir, &wal))
		return;
	snprintf(path, sizeof path, "%s/db-shm", dir);
	assert_true(read_file(path, &shm));
	check_index(shm.p, &wal);
	free(shm.p);
	free(wal.p);
}

/* A right index header with nothing in it but a page size and a number of frames. */
static bool parse_index_of(uint32_t size, uint32_t mx_frame, struct wal_index *ret)
{
	const uint16_t probe = 1;
	bool host_big = *(const uint8_t *)&probe == 0;
	uint8_t x[WAL_INDEX_HEADER_BYTES] = { 0 };
	uint32_t version = 3007000;
	uint16_t size16 = (uint16_t)size;
	memcpy(x, &version, 4);
	x[12] = 1;
	memcpy(x + 14, &size16, 2);
	memcpy(x + 16, &mx_frame, 4);
	struct wal_sum sum = slow_sum((struct wal_sum){ 0, 0 }, host_big, x, 40);
	memcpy(x + 40, &sum.s0, 4);
	memcpy(x + 44, &sum.s1, 4);
	return wal_index_parse(x, ret);
}

/* A page size of 65536 does not fit the 16 bits of the index and is stored as 1; sizes that cannot be are
 * refused; only an empty WAL may have none. */
static void test_index_page_sizes(void **state)
{
	(void)state;
	struct wal_index ret;
	for (uint32_t size = 0; size < 65536; size++) {
		for (uint32_t mx_frame = 0; mx_frame < 2; mx_frame++) {
			bool want = size == 1 || page_bytes_valid(size) || (size == 0 && mx_frame == 0);
			assert_int_equal(parse_index_of(size, mx_frame, &ret), want);
			if (want)
				assert_int_equal(ret.page_bytes, size == 1 ? 65536 : size);
		}
	}
}

/* The first connection to a database without a WAL makes an index that knows no page size. */
static void test_index_of_empty_wal(void **state)
{
	(void)state;
	char dir[] = "/tmp/walbrook-test-XXXXXX", path[64], text[80];
	struct bytes shm;
	struct wal_index x;
	sqlite3 *db;
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof path, "%s/db", dir);
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sql(db, "PRAGMA journal_mode=WAL; CREATE TABLE t(x)");
	assert_int_equal(sqlite3_close(db), SQLITE_OK); /* checkpoints and removes the WAL */
	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	sql(db, "SELECT count(*) FROM t");
	snprintf(text, sizeof text, "%s-shm", path);
	assert_true(read_file(text, &shm));
	assert_true(wal_index_parse(shm.p, &x));
	assert_int_equal(x.mx_frame, 0);
	assert_int_equal(x.page_bytes, 0);
	free(shm.p);
	assert_int_equal(sqlite3_close(db), SQLITE_OK);
	unlink(path);
	assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden_files),
		cmocka_unit_test(test_further_files),
		cmocka_unit_test(test_made_again),
		cmocka_unit_test(test_writer_fixtures),
		cmocka_unit_test(test_checksum_against_slow),
		cmocka_unit_test(test_every_page_size),
		cmocka_unit_test(test_arbitrary_splits),
		cmocka_unit_test(test_step_is_run),
		cmocka_unit_test(test_header_verdicts),
		cmocka_unit_test(test_frame_verdicts),
		cmocka_unit_test(test_texts),
		cmocka_unit_test(test_index_live),
		cmocka_unit_test(test_index_of_fixture),
		cmocka_unit_test(test_index_page_sizes),
		cmocka_unit_test(test_index_of_empty_wal),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("wal", tests, NULL, NULL);
}
