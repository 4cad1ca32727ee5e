/* SPDX-License-Identifier: Apache-2.0
 *
 * restore/: replicas made up here, restored and compared with a model of SQLite's rule for checkpoints; damage,
 * races with a writer and with retention, interruption, and (in the test build) every fault at every system
 * call, tried in children of this program: `test_restore fault DIR`. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <lz4frame.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/file.h"
#include "base/log.h"
#include "core/segment.h"
#include "core/wal.h"
#include "restore/progress.h"
#include "restore/restore.h"

#define GEN "0123456789abcdef"

static char temp[64];

static const char *under(const char *name)
{
	static char bufs[8][PATH_BYTES];
	static unsigned next;
	char *buf = bufs[next++ % 8];
	snprintf(buf, PATH_BYTES, "%s/%s", temp, name);
	return buf;
}

__attribute__((format(printf, 1, 2))) static void shell(const char *fmt, ...)
{
	char cmd[4 * PATH_BYTES];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(cmd, sizeof cmd, fmt, ap);
	va_end(ap);
	if (system(cmd) != 0)
		fail_msg("failed: %s", cmd);
}

static int fresh(void **state)
{
	(void)state;
	shell("chmod -R u+rwx '%s'; rm -rf '%s'/* && mkdir '%s/out'", temp, temp, temp);
	return 0;
}

static uint32_t rng_state = 1;
static uint32_t rng(uint32_t below)
{
	rng_state ^= rng_state << 13;
	rng_state ^= rng_state >> 17;
	rng_state ^= rng_state << 5;
	return rng_state % below;
}

/* ---- making replicas ---- */

static struct dyn bytes_new(void)
{
	return DYN_INIT((size_t)1 << 30);
}

static int to_bytes(void *arg, struct span out, struct err *e)
{
	return dyn_add(arg, out.p, out.n) < 0 ? err_set(e, ERR_FAIL, "no memory") : 0;
}

static struct store *store_new(const char *name)
{
	struct store *s;
	struct err e;
	assert_int_equal(store_file_open(under(name), NULL, &s, &e), 0);
	return s;
}

static void object_put(const char *replica, enum object_kind kind, struct position at, struct span stored)
{
	char key[OBJECT_KEY_BYTES];
	struct err e;
	struct object o = { .kind = kind, .generation = { GEN }, .at = at };
	struct store *s = store_new(replica);
	if (store_put_bytes(s, object_key(key, &o), stored, &e) < 0)
		fail_msg("%s", e.text);
	store_close(s);
}

static void plain_put(const char *replica, enum object_kind kind, struct position at, struct span plain)
{
	struct dyn stored = bytes_new();
	struct err e;
	struct segment_writer *w = segment_writer_new(to_bytes, &stored);
	assert_non_null(w);
	assert_int_equal(segment_write(w, plain, &e), 0);
	assert_int_equal(segment_finish(w, &e), 0);
	segment_writer_free(w);
	object_put(replica, kind, at, (struct span){ stored.p, stored.len });
	dyn_free(&stored);
}

/* A frame as somebody else's tool may write it. */
static void frame_put(const char *replica, enum object_kind kind, struct position at, struct span plain,
		      LZ4F_blockMode_t mode, LZ4F_blockSizeID_t size, bool block_sums, bool content_size)
{
	LZ4F_preferences_t p = { .frameInfo = { .blockMode = mode,
						.blockSizeID = size,
						.blockChecksumFlag = block_sums,
						.contentChecksumFlag = 1,
						.contentSize = content_size ? plain.n : 0 } };
	size_t cap = LZ4F_compressFrameBound(plain.n, &p);
	uint8_t *buf = malloc(cap);
	assert_non_null(buf);
	size_t n = LZ4F_compressFrame(buf, cap, plain.p, plain.n, &p);
	assert_false(LZ4F_isError(n));
	object_put(replica, kind, at, (struct span){ buf, n });
	free(buf);
}

static void doc_put(const char *replica, struct wal_index_doc *d)
{
	struct dyn b = bytes_new();
	memcpy(d->generation.name, GEN, sizeof GEN);
	assert_int_equal(index_doc_write(d, &b), 0);
	object_put(replica, OBJECT_INDEX, (struct position){ d->index, 0 }, (struct span){ b.p, b.len });
	dyn_free(&b);
	index_doc_free(d);
}

static void page_fill(uint8_t *p, uint32_t page_bytes, uint32_t pgno, uint32_t version)
{
	for (uint32_t i = 0; i < page_bytes; i += 8) {
		uint32_t x = (pgno * 2654435761u) ^ (version * 40503u) ^ (i / 64);
		memcpy(p + i, &x, 4);
		memcpy(p + i + 4, &pgno, 4);
	}
	if (pgno == 1) {
		memcpy(p, "SQLite format 3", 16);
		p[16] = (uint8_t)(page_bytes >> 8);
		p[17] = page_bytes == PAGE_BYTES_MAX;
	}
}

/* A database and its WAL in the making: what a restore must give, by SQLite's rule, is kept beside. */
struct world {
	const char *replica;
	uint32_t page_bytes;
	uint32_t version;
	struct dyn db;	    /* the state after all finished indexes */
	struct dyn wal;	    /* of this index */
	struct dyn touched; /* page numbers and places of their last committed pages in wal */
	struct wal_chain chain;
	uint64_t index, shipped; /* bytes of the WAL in segments */
	size_t committed;	 /* bytes of the WAL up to the last commit */
	uint32_t size_pages;	 /* at the last commit of this index, 0: none */
};

static void world_begin(struct world *w, const char *replica, uint32_t page_bytes, uint32_t pages)
{
	*w = (struct world){ .replica = replica, .page_bytes = page_bytes };
	w->db = bytes_new();
	w->wal = bytes_new();
	uint8_t *page = malloc(page_bytes);
	for (uint32_t pgno = 1; pgno <= pages; pgno++) {
		page_fill(page, page_bytes, pgno, 0);
		assert_int_equal(dyn_add(&w->db, page, page_bytes), 0);
	}
	free(page);
}

static void world_snapshot(struct world *w)
{
	plain_put(w->replica, OBJECT_SNAPSHOT, (struct position){ w->index, 0 },
		  (struct span){ w->db.p, w->db.len });
}

static void wal_begin(struct world *w, bool big_endian)
{
	uint8_t head[WAL_HEADER_BYTES];
	struct wal_header h = { .page_bytes = w->page_bytes, .big_endian = big_endian };
	uint32_t salt = (uint32_t)w->index + 77;
	memcpy(h.salt, &salt, 4);
	wal_header_write(head, &h);
	assert_int_equal(wal_header_parse((struct span){ head, sizeof head }, &h), WAL_OK);
	w->chain = wal_chain_start(&h);
	w->wal.len = 0;
	w->shipped = 0;
	w->size_pages = 0;
	w->committed = 0;
	assert_int_equal(dyn_add(&w->wal, head, sizeof head), 0);
}

static void wal_frame_add(struct world *w, uint32_t pgno, uint32_t commit_pages)
{
	size_t n = WAL_FRAME_HEADER_BYTES + w->page_bytes;
	uint8_t *f = calloc(1, n);
	page_fill(f + WAL_FRAME_HEADER_BYTES, w->page_bytes, pgno, ++w->version);
	put_be32(f, pgno);
	put_be32(f + 4, commit_pages);
	memcpy(f + 8, w->chain.salt, 8);
	struct wal_sum s = wal_checksum(w->chain.sum, w->chain.big_endian, f, 8);
	s = wal_checksum(s, w->chain.big_endian, f + WAL_FRAME_HEADER_BYTES, w->page_bytes);
	put_be32(f + 16, s.s0);
	put_be32(f + 20, s.s1);
	w->chain.sum = s;
	w->chain.offset += n;
	assert_int_equal(dyn_add(&w->wal, f, n), 0);
	free(f);
	if (commit_pages != 0) {
		w->committed = w->wal.len;
		w->size_pages = commit_pages;
	}
}

/* Ships the WAL up to here. */
static void segment_cut(struct world *w)
{
	if (w->wal.len == w->shipped)
		return;
	plain_put(w->replica, OBJECT_SEGMENT, (struct position){ w->index, w->shipped },
		  (struct span){ w->wal.p + w->shipped, w->wal.len - (size_t)w->shipped });
	w->shipped = w->wal.len;
}

static void dyn_resize(struct dyn *d, size_t n)
{
	if (n > d->len) {
		assert_int_equal(dyn_reserve(d, n - d->len), 0);
		memset(d->p + d->len, 0, n - d->len);
	}
	d->len = n;
}

/* What SQLite does: the last committed version of each page that is not behind the final size. */
static void model_checkpoint(struct world *w, size_t wal_bytes, uint32_t size_pages)
{
	size_t n = WAL_FRAME_HEADER_BYTES + w->page_bytes;
	if (size_pages == 0)
		return;
	for (size_t at = WAL_HEADER_BYTES; at + n <= wal_bytes; at += n) {
		uint32_t pgno = get_be32(w->wal.p + at);
		if (pgno > size_pages)
			continue;
		if ((size_t)pgno * w->page_bytes > w->db.len)
			dyn_resize(&w->db, (size_t)pgno * w->page_bytes);
		memcpy(w->db.p + (size_t)(pgno - 1) * w->page_bytes, w->wal.p + at + WAL_FRAME_HEADER_BYTES,
		       w->page_bytes);
	}
	dyn_resize(&w->db, (size_t)size_pages * w->page_bytes);
}

static void wal_end(struct world *w)
{
	segment_cut(w);
	model_checkpoint(w, w->committed, w->size_pages);
	w->index++;
}

static void world_free(struct world *w)
{
	dyn_free(&w->db);
	dyn_free(&w->wal);
}

/* A small one: a snapshot and `indexes` WALs of two commits in two segments each. */
static void world_small(struct world *w, const char *replica, unsigned indexes)
{
	world_begin(w, replica, 4096, 5);
	world_snapshot(w);
	for (unsigned i = 0; i < indexes; i++) {
		wal_begin(w, false);
		wal_frame_add(w, 2, 5);
		segment_cut(w);
		wal_frame_add(w, 6 + i, 0);
		wal_frame_add(w, 1, 6 + i);
		wal_end(w);
	}
}

/* ---- restoring ---- */

static int open_more(void *arg, struct store **ret, struct err *e)
{
	return store_file_open(arg, NULL, ret, e);
}

static struct restore_source source_new(const char *replica)
{
	static char roots[4][PATH_BYTES];
	static unsigned next;
	char *root = roots[next++ % 4];
	snprintf(root, PATH_BYTES, "%s", under(replica));
	return (struct restore_source){ .store = store_new(replica),
					.name = replica,
					.open_more = open_more,
					.arg = root,
					.how_to_name = "URL" };
}

static struct restore_wish wish_new(void)
{
	static char output[PATH_BYTES];
	snprintf(output, sizeof output, "%s/out/db", temp);
	return (struct restore_wish){ .output = output, .parallelism = 3, .owner = OWNER_PRIVATE };
}

static struct restore_result result;

static int run(struct restore_wish w, struct err *e)
{
	struct restore_source s = source_new("r");
	int rc = restore_run(&s, 1, &w, &result, e);
	store_close(s.store);
	return rc;
}

static void expect_nothing_left(void)
{
	shell("test -z \"$(ls -A '%s/out')\"", temp);
}

static void expect_bytes(const struct dyn *db)
{
	struct dyn got = bytes_new();
	struct err e;
	if (file_read_all(under("out/db"), &got, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(got.len, db->len);
	for (size_t i = 0; i < got.len; i += 512)
		if (memcmp(got.p + i, db->p + i, got.len - i < 512 ? got.len - i : 512) != 0)
			fail_msg("differs near byte %zu of %zu", i, got.len);
	dyn_free(&got);
	shell("test \"$(ls -A '%s/out')\" = db && rm '%s/out/db'", temp, temp);
}

static void expect_restored(struct restore_wish w, const struct dyn *db)
{
	struct err e = ERR_INIT;
	if (run(w, &e) < 0)
		fail_msg("%s", e.text);
	expect_bytes(db);
}

static void expect_error(struct restore_wish w, enum err_kind kind, const char *a, const char *b)
{
	struct err e = ERR_INIT;
	assert_int_equal(run(w, &e), -1);
	if (e.kind != kind || (a && !strstr(e.text, a)) || (b && !strstr(e.text, b)))
		fail_msg("expected kind %d with \"%s\" and \"%s\", got %d: %s", (int)kind, a ? a : "",
			 b ? b : "", (int)e.kind, e.text);
	expect_nothing_left();
}

/* ---- the model ---- */

/* A random history. Every kind of thing happens: growing, shrinking, pages never written, transactions over
 * several segments, large ones, WALs that end without a commit, headers alone. */
static void history(struct world *w, uint32_t page_bytes, uint32_t pages, uint32_t transaction_pages)
{
	world_begin(w, "r", page_bytes, pages);
	w->index = rng(3) * 100;
	world_snapshot(w);
	uint32_t size = pages;
	for (unsigned i = 0; i < 4; i++) {
		wal_begin(w, rng(2));
		if (rng(2))
			segment_cut(w);
		for (unsigned t = rng(6); t-- > 0;) {
			size = rng(3) == 0 ? 1 + rng(pages * 2) : size;
			for (uint32_t n = rng(transaction_pages); n-- > 0;) {
				wal_frame_add(w, 1 + rng(size + 3), 0);
				if (rng(40) == 0)
					segment_cut(w);
			}
			/* The last transaction of some indexes never commits. */
			wal_frame_add(w, 1 + rng(size), t == 0 && rng(3) == 0 ? 0 : size);
			if (rng(2))
				segment_cut(w);
		}
		wal_end(w);
	}
}

static void test_model(void **state)
{
	static const struct {
		uint32_t page_bytes, pages, transaction_pages;
	} kinds[] = {
		{ 512, 300, 60 }, { 1024, 40, 200 }, { 4096, 80, 50 }, { 65536, 60, 70 }, { 512, 20000, 9000 }
	};
	for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
		for (uint32_t seed = 1; seed <= 6; seed++) {
			struct world w;
			struct restore_wish wish = wish_new();
			fresh(state);
			rng_state = seed * 7919 + (uint32_t)k;
			history(&w, kinds[k].page_bytes, kinds[k].pages, kinds[k].transaction_pages);
			wish.parallelism = (int)(seed % 4);
			wish.memory_bytes = seed % 2; /* 1: as little as is possible */
			expect_restored(wish, &w.db);
			world_free(&w);
		}
	}
}

/* One transaction that rewrites every page and is far larger than all buffers: without its commit it leaves no
 * trace. */
static void test_large_transaction(void **state)
{
	(void)state;
	for (int commits = 0; commits < 2; commits++) {
		struct world w;
		fresh(state);
		world_begin(&w, "r", 4096, 3000);
		world_snapshot(&w);
		wal_begin(&w, false);
		wal_frame_add(&w, 7, 3000);
		for (uint32_t pgno = 1; pgno <= 4000; pgno++)
			wal_frame_add(&w, pgno, 0);
		wal_frame_add(&w, 9, commits ? 4000 : 0);
		wal_end(&w);
		struct restore_wish wish = wish_new();
		wish.memory_bytes = 1;
		expect_restored(wish, &w.db);
		assert_int_equal(result.database_bytes, commits ? 4000 * 4096 : 3000 * 4096);
		assert_int_equal(result.reached.offset, wal_offset_of(4096, commits ? 4002 : 1));
		world_free(&w);
	}
}

static void test_empty_snapshot_and_headers(void **state)
{
	(void)state;
	struct world w;
	world_begin(&w, "r", 1024, 0);
	world_snapshot(&w);
	wal_begin(&w, false);
	wal_end(&w);
	wal_begin(&w, false);
	segment_cut(&w);
	wal_frame_add(&w, 1, 0);
	wal_frame_add(&w, 2, 2);
	wal_end(&w);
	wal_begin(&w, true);
	wal_end(&w);
	expect_restored(wish_new(), &w.db);
	assert_int_equal(w.db.len, 2048);
	world_free(&w);
}

static void test_result(void **state)
{
	(void)state;
	struct world w;
	world_small(&w, "r", 2);
	expect_restored(wish_new(), &w.db);
	assert_string_equal(result.generation.name, GEN);
	assert_string_equal(result.source, "r");
	assert_int_equal(result.reached.index, 1);
	assert_int_equal(result.reached.offset, wal_offset_of(4096, 3));
	assert_int_equal(result.segments, 4);
	assert_int_equal(result.wal_bytes, 2 * wal_offset_of(4096, 3));
	assert_int_equal(result.database_bytes, w.db.len);
	assert_true(result.fetched_bytes > 100 && result.fetched_bytes < w.db.len);
	world_free(&w);
}

/* ---- frames of other tools ---- */

static void test_frames(void **state)
{
	(void)state;
	static const struct {
		LZ4F_blockMode_t mode;
		LZ4F_blockSizeID_t size;
		bool block_sums, content_size;
	} kinds[] = { { LZ4F_blockLinked, LZ4F_max64KB, false, false },
		      { LZ4F_blockLinked, LZ4F_max4MB, false, true },
		      { LZ4F_blockIndependent, LZ4F_max64KB, false, true },
		      { LZ4F_blockIndependent, LZ4F_max1MB, false, false },
		      { LZ4F_blockIndependent, LZ4F_max256KB, true, false } };
	for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
		struct world w;
		fresh(state);
		world_begin(&w, "r", 4096, 3300);
		frame_put("r", OBJECT_SNAPSHOT, (struct position){ 0, 0 }, (struct span){ w.db.p, w.db.len },
			  kinds[i].mode, kinds[i].size, kinds[i].block_sums, kinds[i].content_size);
		wal_begin(&w, false);
		for (uint32_t k = 0; k < 2500; k++)
			wal_frame_add(&w, 1 + k % 700, k % 10 == 9 ? 3300 : 0);
		frame_put("r", OBJECT_SEGMENT, (struct position){ 0, 0 }, (struct span){ w.wal.p, w.wal.len },
			  kinds[i].mode, kinds[i].size, kinds[i].block_sums, kinds[i].content_size);
		w.shipped = w.wal.len;
		wal_end(&w);
		for (int threads = 1; threads <= 4; threads++) {
			struct restore_wish wish = wish_new();
			wish.parallelism = threads;
			expect_restored(wish, &w.db);
		}
		world_free(&w);
	}
}

/* A damaged block in the middle of a large object: the object is named, not what its data looked like. */
static void test_damage_in_large_segment(void **state)
{
	(void)state;
	struct world w;
	const char *key = "r/generations/" GEN "/wal/00000000_00000000.wal.lz4";
	world_begin(&w, "r", 4096, 3300);
	world_snapshot(&w);
	wal_begin(&w, false);
	for (uint32_t k = 0; k < 4000; k++)
		wal_frame_add(&w, 1 + k % 700, k % 10 == 9 ? 3300 : 0);
	/* Kept plain, so that the flipped bit is one of a page and all blocks still decode. */
	struct dyn stored = bytes_new();
	dyn_add(&stored, segment_header, SEGMENT_HEADER_BYTES);
	uint8_t word[4];
	for (size_t at = 0; at < w.wal.len; at += SEGMENT_BLOCK_BYTES) {
		size_t n = w.wal.len - at < SEGMENT_BLOCK_BYTES ? w.wal.len - at : SEGMENT_BLOCK_BYTES;
		put_le32(word, 0x80000000u | (uint32_t)n);
		dyn_add(&stored, word, 4);
		dyn_add(&stored, w.wal.p + at, n);
	}
	dyn_add(&stored,
		"\0\0\0\0"
		"\1\2\3\4",
		8);
	stored.p[100000] ^= 1;
	object_put("r", OBJECT_SEGMENT, (struct position){ 0, 0 }, (struct span){ stored.p, stored.len });
	expect_error(wish_new(), ERR_DAMAGED, strchr(key, '/') + 1, "content checksum");
	/* Cut off far behind the place where the chain breaks. */
	shell("truncate -s -100 '%s'", under(key));
	expect_error(wish_new(), ERR_DAMAGED, strchr(key, '/') + 1, "cut off");
	dyn_free(&stored);
	world_free(&w);
}

static void test_snapshot_damage(void **state)
{
	(void)state;
	struct world w;
	const char *path = "r/generations/" GEN "/snapshots/00000000.snapshot.lz4";
	world_begin(&w, "r", 4096, 5000);
	world_snapshot(&w);
	/* Each place in turn: blocks, the end mark, the content checksum. */
	static const int places[] = { 2000, 50000, -9, -6, -1 };
	for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
		struct dyn b = bytes_new();
		struct err e;
		assert_int_equal(file_read_all(under(path), &b, &e), 0);
		size_t at = places[i] < 0 ? b.len - (size_t)-places[i] : (size_t)places[i];
		assert_true(at < b.len);
		b.p[at] ^= 0x40;
		assert_int_equal(file_publish(under(path), b.p, b.len, &OWNER_PRIVATE, &e), 0);
		expect_error(wish_new(), ERR_DAMAGED, "00000000.snapshot.lz4", NULL);
		b.p[at] ^= 0x40;
		assert_int_equal(file_publish(under(path), b.p, b.len, &OWNER_PRIVATE, &e), 0);
		dyn_free(&b);
	}
	expect_restored(wish_new(), &w.db);
	plain_put("r", OBJECT_SNAPSHOT, (struct position){ 0, 0 },
		  (struct span){ (const uint8_t *)"hello", 5 });
	expect_error(wish_new(), ERR_DAMAGED, "not an SQLite database", "00000000.snapshot.lz4");
	world_free(&w);
}

/* The newest snapshot is damaged, and the WAL since the older one has a hole: both are told. */
static void test_snapshot_damage_no_way_back(void **state)
{
	(void)state;
	struct world w;
	world_begin(&w, "r", 4096, 5);
	world_snapshot(&w);
	for (unsigned i = 0; i < 3; i++) {
		if (i == 2)
			world_snapshot(&w);
		wal_begin(&w, false);
		wal_frame_add(&w, 2, 5);
		wal_end(&w);
	}
	shell("truncate -s 20 '%s' && rm '%s'", under("r/generations/" GEN "/snapshots/00000002.snapshot.lz4"),
	      under("r/generations/" GEN "/wal/00000001_00000000.wal.lz4"));
	expect_error(wish_new(), ERR_DAMAGED, "00000002.snapshot.lz4: the object is cut off",
		     "missing index 00000001");
	world_free(&w);
}

/* ---- what does not fit ---- */

static void test_chain_errors(void **state)
{
	struct world w;
	/* Another page size. */
	world_begin(&w, "r", 4096, 5);
	world_snapshot(&w);
	w.page_bytes = 1024;
	wal_begin(&w, false);
	wal_frame_add(&w, 2, 5);
	wal_end(&w);
	expect_error(wish_new(), ERR_DAMAGED, "page size", "00000000_00000000.wal.lz4");
	world_free(&w);
	/* The bytes of a segment, changed in one place; offsets count from its beginning. */
	static const struct {
		size_t at;
		const char *says;
	} flips[] = { { 0, "WAL header" },
		      { 25, "WAL header" },
		      { 32 + 9, "frame at byte 32" },
		      { 32 + 100, "frame at byte 32" },
		      { 32 + 4120 + 20, "frame at byte 4152" } };
	for (size_t i = 0; i < sizeof flips / sizeof *flips; i++) {
		fresh(state);
		world_begin(&w, "r", 4096, 5);
		world_snapshot(&w);
		wal_begin(&w, false);
		wal_frame_add(&w, 2, 5);
		wal_frame_add(&w, 3, 5);
		w.wal.p[flips[i].at] ^= 4;
		segment_cut(&w);
		expect_error(wish_new(), ERR_DAMAGED, flips[i].says, "00000000_00000000.wal.lz4");
		world_free(&w);
	}
	/* Ends inside a frame, inside the header, holds nothing. */
	static const struct {
		size_t n;
		const char *says;
	} ends[] = { { 100, "inside a frame" }, { 31, "inside a WAL header" }, { 0, "no data" } };
	for (size_t i = 0; i < sizeof ends / sizeof *ends; i++) {
		fresh(state);
		world_begin(&w, "r", 4096, 5);
		world_snapshot(&w);
		wal_begin(&w, false);
		wal_frame_add(&w, 2, 5);
		w.wal.len = ends[i].n;
		plain_put("r", OBJECT_SEGMENT, (struct position){ 0, 0 }, (struct span){ w.wal.p, ends[i].n });
		expect_error(wish_new(), ERR_DAMAGED, ends[i].says, "00000000_00000000.wal.lz4");
		world_free(&w);
	}
}

static void test_gap_and_overlap(void **state)
{
	struct world w;
	world_small(&w, "r", 1);
	shell("mv '%s' '%s'", under("r/generations/" GEN "/wal/00000000_00001038.wal.lz4"),
	      under("r/generations/" GEN "/wal/00000000_00001039.wal.lz4"));
	expect_error(wish_new(), ERR_DAMAGED, "expected index 00000000 offset 4152", "offset 4153");
	world_free(&w);
	fresh(state);
	world_small(&w, "r", 1);
	shell("mv '%s' '%s'", under("r/generations/" GEN "/wal/00000000_00001038.wal.lz4"),
	      under("r/generations/" GEN "/wal/00000000_00000038.wal.lz4"));
	expect_error(wish_new(), ERR_DAMAGED, "overlaps", "No whole WAL index before it can be restored");
	world_free(&w);
}

/* ---- index documents ---- */

static void test_known_end(void **state)
{
	(void)state;
	struct world w;
	world_small(&w, "r", 3);
	struct wal_index_doc d = {
		.index = 1, .page_bytes = 4096, .end_offset = wal_offset_of(4096, 3), .ended = true
	};
	doc_put("r", &d);
	expect_restored(wish_new(), &w.db);
	/* The document says that index 1 went on behind what is there. */
	d = (struct wal_index_doc){
		.index = 1, .page_bytes = 4096, .end_offset = wal_offset_of(4096, 4), .ended = true
	};
	doc_put("r", &d);
	expect_error(wish_new(), ERR_DAMAGED, "index 00000001 ends at offset 16512, found offset 12392",
		     "-index 0 ");
	struct restore_wish wish = wish_new();
	wish.by_index = true;
	wish.index = 1;
	struct err e;
	assert_int_equal(run(wish, &e), 0);
	shell("rm '%s/out/db'", temp);
	/* A damaged document is worth a warning only. */
	shell("printf x > '%s'", under("r/generations/" GEN "/index/00000001.index"));
	expect_restored(wish_new(), &w.db);
	world_free(&w);
}

/* Damage inside an index: the commits of the segments before it can be had by time, and the hint says so. */
static void test_hint_by_time(void **state)
{
	(void)state;
	struct world w;
	struct restore_wish wish = wish_new();
	world_small(&w, "r", 1);
	struct wal_index_doc d = { .page_bytes = 4096, .end_offset = wal_offset_of(4096, 3) };
	assert_int_equal(index_doc_add(&d, (struct index_commit){ wal_offset_of(4096, 1), 1500000 }), 0);
	assert_int_equal(index_doc_add(&d, (struct index_commit){ wal_offset_of(4096, 3), 2000000 }), 0);
	doc_put("r", &d);
	shell("printf x | dd of='%s' bs=1 seek=40 conv=notrunc status=none",
	      under("r/generations/" GEN "/wal/00000000_00001038.wal.lz4"));
	expect_error(wish, ERR_DAMAGED, "00000000_00001038.wal.lz4",
		     "restored is 1970-01-01T00:00:01.500000Z: walbrook restore -generation " GEN
		     " -timestamp 1970-01-01T00:00:01.500000Z -o ");
	wish.by_time = true;
	wish.wall_us = 1500000;
	wish.generation = (struct generation){ GEN };
	struct err e;
	if (run(wish, &e) < 0)
		fail_msg("what the hint names does not work: %s", e.text);
	assert_int_equal(result.reached.offset, wal_offset_of(4096, 1));
	shell("rm '%s/out/db'", temp);
	world_free(&w);
}

/* Restore by time, exactly, though all objects have the time of the copy: commit k was made at k seconds. */
static void test_by_time(void **state)
{
	(void)state;
	struct world w;
	struct dyn states[1 + 40 * 3];
	unsigned n = 0;
	world_begin(&w, "r", 1024, 4);
	world_snapshot(&w);
	for (unsigned i = 0; i < 40; i++) {
		struct wal_index_doc d = { .index = i, .page_bytes = 1024, .ended = i < 39 };
		struct dyn before = bytes_new();
		dyn_add(&before, w.db.p, w.db.len);
		wal_begin(&w, false);
		for (unsigned c = 0; c < 3; c++) {
			wal_frame_add(&w, 2 + rng(3), 0);
			wal_frame_add(&w, 1, 4 + i);
			if (rng(2))
				segment_cut(&w);
			n++;
			struct index_commit commit = { w.wal.len, (int64_t)n * 1000000 };
			assert_int_equal(index_doc_add(&d, commit), 0);
			/* The state right after this commit. */
			w.db.len = 0;
			dyn_add(&w.db, before.p, before.len);
			model_checkpoint(&w, w.wal.len, 4 + i);
			states[n] = bytes_new();
			dyn_add(&states[n], w.db.p, w.db.len);
		}
		d.end_offset = w.wal.len;
		doc_put("r", &d);
		dyn_free(&before);
		segment_cut(&w);
		w.index++;
	}
	/* Documents that are missing or damaged in between do no harm elsewhere. */
	shell("rm '%s'", under("r/generations/" GEN "/index/00000008.index"));
	shell("printf x > '%s'", under("r/generations/" GEN "/index/00000014.index"));
	shell("touch -d @0 '%s'", under("r/generations/" GEN "/snapshots/00000000.snapshot.lz4"));
	for (unsigned k = 1; k <= n; k++) {
		unsigned index = (k - 1) / 3;
		if (index >= 7 && index <= 8)
			continue;
		if (index >= 19 && index <= 20) /* 0x14 */
			continue;
		struct restore_wish wish = wish_new();
		wish.by_time = true;
		wish.wall_us = (int64_t)k * 1000000 + 999999;
		expect_restored(wish, &states[k]);
	}
	for (unsigned k = 1; k <= n; k++)
		dyn_free(&states[k]);
	world_free(&w);
}

/* A fuzzy snapshot that is whole only behind what is there: the older one is used. */
static void test_fuzzy_snapshot(void **state)
{
	(void)state;
	struct world w;
	world_small(&w, "r", 2);
	struct dyn expected = bytes_new();
	dyn_add(&expected, w.db.p, w.db.len);
	for (unsigned reachable = 0; reachable < 2; reachable++) {
		struct wal_index_doc d = { .index = 1,
					   .page_bytes = 4096,
					   .end_offset = wal_offset_of(4096, 3),
					   .snapshot_fuzzy = true,
					   .usable_from = { reachable ? 1 : 2, wal_offset_of(4096, 1) } };
		doc_put("r", &d);
		memset(w.db.p + 4096 * 2, 0x55, 4096);
		plain_put("r", OBJECT_SNAPSHOT, (struct position){ 1, 0 }, (struct span){ w.db.p, w.db.len });
		expect_restored(wish_new(), reachable ? &w.db : &expected);
	}
	dyn_free(&expected);
	world_free(&w);
}

/* ---- the place of the output ---- */

static void test_output_taken(void **state)
{
	static const char *const names[] = { "db", "db-wal", "db-shm", "db-journal" };
	struct world w;
	for (size_t i = 0; i < 4; i++) {
		char path[PATH_BYTES];
		fresh(state);
		world_small(&w, "r", 1);
		snprintf(path, sizeof path, "%s/out/%s", temp, names[i]);
		shell("echo precious > '%s'", path);
		struct err e = ERR_INIT;
		assert_int_equal(run(wish_new(), &e), -1);
		assert_int_equal(e.kind, ERR_EXISTS);
		assert_non_null(strstr(e.text, path));
		shell("test \"$(ls -A '%s/out')\" = %s && grep -q precious '%s'", temp, names[i], path);
		world_free(&w);
	}
	struct err e;
	assert_int_equal(restore_check_output("", &e), -1);
	assert_int_equal(e.kind, ERR_USAGE);
	assert_int_equal(restore_check_output(under("out/other"), &e), 0);
}

static void test_directories(void **state)
{
	(void)state;
	struct world w;
	struct stat st;
	struct restore_wish wish = wish_new();
	world_small(&w, "r", 1);
	char output[PATH_BYTES];
	snprintf(output, sizeof output, "%s/out/a/b/c/db", temp);
	wish.output = output;
	wish.owner.file_mode = 0640;
	wish.owner.dir_mode = 0750;
	umask(0);
	struct err e = ERR_INIT;
	if (run(wish, &e) < 0)
		fail_msg("%s", e.text);
	umask(022);
	assert_int_equal(stat(wish.output, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(stat(under("out/a/b"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	/* On failure only those that were made go away. */
	shell("truncate -s 20 '%s' && rm -r '%s'",
	      under("r/generations/" GEN "/snapshots/00000000.snapshot.lz4"), under("out/a/b"));
	assert_int_equal(run(wish, &e), -1);
	assert_int_equal(e.kind, ERR_DAMAGED);
	shell("test \"$(cd '%s/out' && find .)\" = '.\n./a'", temp);
	world_free(&w);
}

static void test_stale_temp(void **state)
{
	(void)state;
	struct world w;
	world_small(&w, "r", 1);
	shell("echo left behind > '%s/out/db.walbrook-restore'", temp);
	expect_restored(wish_new(), &w.db);
	int fd = open(under("out/db.walbrook-restore"), O_RDWR | O_CREAT, 0600);
	assert_true(fd >= 0);
	assert_int_equal(flock(fd, LOCK_EX | LOCK_NB), 0);
	struct err e = ERR_INIT;
	assert_int_equal(run(wish_new(), &e), -1);
	assert_int_equal(e.kind, ERR_BUSY);
	shell("test \"$(ls -A '%s/out')\" = db.walbrook-restore", temp);
	close(fd);
	expect_restored(wish_new(), &w.db);
	world_free(&w);
}

/* ---- a store that does something at a chosen moment ---- */

struct trick {
	struct store base;
	struct store *inner;
	struct trick_plan *plan;
};

struct trick_plan {
	const char *root;
	void (*on_list)(struct trick_plan *p, const char *prefix, bool before);
	void (*on_get)(struct trick_plan *p, const char *key);
	void (*on_read)(struct trick_plan *p);
	enum err_kind list_fails;
	_Atomic unsigned lists, gets, reads;
	struct world *world;
};

static int trick_list(struct store *s, const char *prefix, store_list_fn *fn, void *arg, struct err *e)
{
	struct trick *t = (struct trick *)s;
	t->plan->lists++;
	if (t->plan->list_fails != ERR_NONE)
		return err_set(e, t->plan->list_fails, "the network is down");
	if (t->plan->on_list)
		t->plan->on_list(t->plan, prefix, true);
	int rc = t->inner->ops->list(t->inner, prefix, fn, arg, e);
	if (t->plan->on_list)
		t->plan->on_list(t->plan, prefix, false);
	return rc;
}

struct trick_get {
	struct store_get *inner;
	struct trick *t;
};

static int trick_get_begin(struct store *s, const char *key, uint64_t offset, struct store_get **ret,
			   struct err *e)
{
	struct trick *t = (struct trick *)s;
	struct trick_get *g = calloc(1, sizeof *g);
	t->plan->gets++;
	if (t->plan->on_get)
		t->plan->on_get(t->plan, key);
	g->t = t;
	if (t->inner->ops->get_begin(t->inner, key, offset, &g->inner, e) < 0) {
		free(g);
		return -1;
	}
	*ret = (struct store_get *)(void *)g;
	return 0;
}

static long trick_get_read(struct store_get *get, void *p, size_t n, struct err *e)
{
	struct trick_get *g = (struct trick_get *)(void *)get;
	g->t->plan->reads++;
	if (g->t->plan->on_read)
		g->t->plan->on_read(g->t->plan);
	return g->t->inner->ops->get_read(g->inner, p, n, e);
}

static void trick_get_end(struct store_get *get)
{
	struct trick_get *g = (struct trick_get *)(void *)get;
	g->t->inner->ops->get_end(g->inner);
	free(g);
}

static void trick_close(struct store *s)
{
	store_close(((struct trick *)s)->inner);
	free(s);
}

static const struct store_ops trick_ops = {
	.scheme = "trick",
	.list = trick_list,
	.get_begin = trick_get_begin,
	.get_read = trick_get_read,
	.get_end = trick_get_end,
	.close = trick_close,
};

static int trick_open(void *arg, struct store **ret, struct err *e)
{
	struct trick_plan *p = arg;
	struct trick *t = calloc(1, sizeof *t);
	t->plan = p;
	t->base.ops = &trick_ops;
	snprintf(t->base.label, sizeof t->base.label, "trick:%s", path_base(p->root));
	*ret = &t->base;
	return store_file_open(p->root, NULL, &t->inner, e);
}

static struct restore_source trick_source(struct trick_plan *p, const char *replica)
{
	static char roots[4][PATH_BYTES];
	static unsigned next;
	char *root = roots[next++ % 4];
	struct err e;
	struct restore_source s = { .name = replica, .open_more = trick_open, .arg = p, .how_to_name = "URL" };
	snprintf(root, PATH_BYTES, "%s", under(replica));
	p->root = root;
	assert_int_equal(trick_open(p, &s.store, &e), 0);
	return s;
}

static int trick_run(struct trick_plan *p, struct err *e)
{
	struct restore_wish w = wish_new();
	struct restore_source s = trick_source(p, "r");
	int rc = restore_run(&s, 1, &w, &result, e);
	store_close(s.store);
	return rc;
}

static bool wal_prefix(const char *prefix)
{
	return strstr(prefix, "/wal/") != NULL;
}

/* Between the listings another commit arrives whose first half the second listing misses. */
static void late_hole(struct trick_plan *p, const char *prefix, bool before)
{
	if (!wal_prefix(prefix) || before || p->lists > 4)
		return;
	struct world *w = p->world;
	w->index--;
	wal_frame_add(w, 3, 0);
	w->shipped = w->wal.len; /* not there yet */
	wal_frame_add(w, 4, 8);
	segment_cut(w);
	w->index++;
}

static void test_writer_between_listings(void **state)
{
	(void)state;
	struct world w;
	world_small(&w, "r", 2);
	struct trick_plan p = { .on_list = late_hole, .world = &w };
	struct err e = ERR_INIT;
	if (trick_run(&p, &e) < 0)
		fail_msg("%s", e.text);
	expect_bytes(&w.db);
	world_free(&w);
}

/* The first listing shows an object and not the one that was written before it. */
static void early_hole(struct trick_plan *p, const char *prefix, bool before)
{
	char here[PATH_BYTES], away[PATH_BYTES];
	if (!wal_prefix(prefix) || p->lists > 4)
		return;
	snprintf(here, sizeof here, "%.3000s/generations/" GEN "/wal/00000001_00000000.wal.lz4", p->root);
	snprintf(away, sizeof away, "%.3000s-away", p->root);
	assert_int_equal(before ? rename(here, away) : rename(away, here), 0);
}

static void test_hole_in_first_listing(void **state)
{
	(void)state;
	struct world w;
	world_small(&w, "r", 2);
	struct trick_plan p = { .on_list = early_hole, .world = &w };
	struct err e = ERR_INIT;
	if (trick_run(&p, &e) < 0)
		fail_msg("%s", e.text);
	expect_bytes(&w.db);
	world_free(&w);
}

/* Retention runs when the first object is asked for: the old snapshot and its WAL go, a newer one is there. */
static void retention(struct trick_plan *p, const char *key)
{
	(void)key;
	if (p->gets > 1)
		return;
	world_snapshot(p->world);
	shell("rm '%s'/generations/" GEN "/wal/* '%s'/generations/" GEN "/snapshots/00000000.*", p->root,
	      p->root);
}

/* Retention that never ends. */
static void vanish(struct trick_plan *p, const char *key)
{
	(void)p;
	if (strstr(key, "/wal/00000001_00001038"))
		unlink(under("r/generations/" GEN "/wal/00000001_00001038.wal.lz4"));
}

static void reappear(struct trick_plan *p, const char *prefix, bool before)
{
	if (wal_prefix(prefix) && before)
		shell("cp '%s-kept' '%s/generations/" GEN "/wal/00000001_00001038.wal.lz4'", p->root, p->root);
}

static void test_retention_meanwhile(void **state)
{
	struct world w;
	world_small(&w, "r", 2);
	struct trick_plan p = { .on_get = retention, .world = &w };
	struct err e = ERR_INIT;
	if (trick_run(&p, &e) < 0)
		fail_msg("%s", e.text);
	expect_bytes(&w.db);
	world_free(&w);
	fresh(state);
	world_small(&w, "r", 2);
	shell("cp '%s' '%s-kept'", under("r/generations/" GEN "/wal/00000001_00001038.wal.lz4"), under("r"));
	p = (struct trick_plan){ .on_get = vanish, .on_list = reappear, .world = &w };
	assert_int_equal(trick_run(&p, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	expect_nothing_left();
	/* generations/ and two times the three folders, three times over */
	assert_int_equal(p.lists, 3 * 7);
	world_free(&w);
}

static unsigned interrupt_at;
static void interrupt(struct trick_plan *p)
{
	if (p->reads == interrupt_at)
		restore_interrupt();
}

static void test_interrupt(void **state)
{
	(void)state;
	struct world w;
	world_small(&w, "r", 3);
	struct err e = ERR_INIT;
	unsigned done = 0;
	for (interrupt_at = 1; !done; interrupt_at++) {
		struct trick_plan p = { .on_read = interrupt, .world = &w };
		if (trick_run(&p, &e) == 0) {
			/* The last read may be too late to matter. */
			shell("rm '%s/out/db'", temp);
			done = p.reads < interrupt_at;
			continue;
		}
		assert_int_equal(e.kind, ERR_FAIL);
		assert_non_null(strstr(e.text, "interrupted"));
		expect_nothing_left();
	}
	assert_true(interrupt_at > 5);
	/* Before the run begins. */
	restore_interrupt();
	expect_error(wish_new(), ERR_FAIL, "interrupted", NULL);
	expect_restored(wish_new(), &w.db);
	world_free(&w);
}

/* ---- several sources ---- */

/* A damaged replica does not matter when another one reaches as far; one that does not is named. */
static void test_damaged_source(void **state)
{
	(void)state;
	struct world a, b;
	struct err e = ERR_INIT;
	struct restore_wish wish = wish_new();
	world_small(&a, "r", 3);
	world_small(&b, "r2", 3);
	shell("find '%s' -type f -exec touch -d @1000 '{}' +", under("r2"));
	shell("printf x | dd of='%s' bs=1 seek=40 conv=notrunc status=none",
	      under("r/generations/" GEN "/wal/00000001_00001038.wal.lz4"));
	for (int hole = 0; hole < 2; hole++) {
		struct restore_source s[2] = { source_new("r"), source_new("r2") };
		assert_int_equal(restore_run(s, 2, &wish, &result, &e), 0);
		assert_string_equal(result.source, "r2");
		expect_bytes(&b.db);
		store_close(s[0].store);
		store_close(s[1].store);
		shell("rm -f '%s'", under("r/generations/" GEN "/wal/00000001_00000000.wal.lz4"));
	}
	shell("rm '%s'", under("r2/generations/" GEN "/wal/00000002_00001038.wal.lz4"));
	struct restore_source s[2] = { source_new("r"), source_new("r2") };
	assert_int_equal(restore_run(s, 2, &wish, &result, &e), -1);
	assert_int_equal(e.kind, ERR_DAMAGED);
	assert_non_null(strstr(e.text, "missing first segment of index 00000001"));
	assert_non_null(strstr(e.text, "Another replica reaches to " GEN "/00000002:0 at least"));
	assert_non_null(strstr(e.text, "-replica r2"));
	store_close(s[0].store);
	store_close(s[1].store);
	expect_nothing_left();
	world_free(&a);
	world_free(&b);
}

static void test_sources(void **state)
{
	(void)state;
	struct world a, b;
	struct err e = ERR_INIT;
	struct restore_wish wish = wish_new();
	world_small(&a, "r", 1);
	world_small(&b, "r2", 3);
	shell("find '%s' '%s' -type f -exec touch -d @1000 '{}' +", under("r"), under("r2"));
	struct restore_source s[2] = { source_new("r"), source_new("r2") };
	/* Equally new: the first. */
	assert_int_equal(restore_run(s, 2, &wish, &result, &e), 0);
	assert_string_equal(result.source, "r");
	expect_bytes(&a.db);
	shell("touch -d @1001 '%s'", under("r2/generations/" GEN "/wal/00000002_00001038.wal.lz4"));
	assert_int_equal(restore_run(s, 2, &wish, &result, &e), 0);
	assert_string_equal(result.source, "r2");
	expect_bytes(&b.db);
	store_close(s[0].store);
	store_close(s[1].store);
	/* One that does not answer is skipped, if another one has something. */
	struct trick_plan p = { .list_fails = ERR_UNREACHABLE };
	s[0] = trick_source(&p, "r2");
	s[1] = source_new("r");
	assert_int_equal(restore_run(s, 2, &wish, &result, &e), 0);
	expect_bytes(&a.db);
	/* If no other one has anything it is not known whether there is a backup. */
	store_close(s[1].store);
	shell("mkdir '%s'", under("empty"));
	s[1] = source_new("empty");
	assert_int_equal(restore_run(s, 2, &wish, &result, &e), -1);
	assert_int_equal(e.kind, ERR_UNREACHABLE);
	assert_int_equal(restore_run(s + 1, 1, &wish, &result, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	assert_non_null(strstr(e.text, "no backup found"));
	assert_non_null(strstr(e.text, "empty"));
	store_close(s[0].store);
	store_close(s[1].store);
	expect_nothing_left();
	world_free(&a);
	world_free(&b);
}

static void test_wishes(void **state)
{
	(void)state;
	struct world w;
	struct restore_wish wish = wish_new();
	world_small(&w, "r", 2);
	wish.by_index = wish.by_time = true;
	expect_error(wish, ERR_USAGE, "index", "time");
	wish = wish_new();
	memcpy(wish.generation.name, "00000000000000aa", 17);
	expect_error(wish, ERR_NOTHING, "00000000000000aa", NULL);
	wish = wish_new();
	wish.by_time = true;
	wish.wall_us = 1000;
	expect_error(wish, ERR_NOTHING, "first moment", NULL);
	memcpy(wish.generation.name, GEN, 17);
	wish.by_time = false;
	wish.by_index = true;
	wish.index = 99;
	expect_restored(wish, &w.db);
	shell("rm -r '%s'", under("r"));
	expect_error(wish_new(), ERR_NOTHING, NULL, NULL);
	world_free(&w);
}

/* ---- progress ---- */

static void test_progress(void **state)
{
	(void)state;
	char text[PROGRESS_TEXT_BYTES], got[4096] = "";
	assert_string_equal(progress_text(text, 0, 2048, 0), "restoring 0 B of 2.0 KiB (0 %), 0 B/s");
	assert_string_equal(progress_text(text, 25 << 20, 100 << 20, 2000),
			    "restoring 25.0 MiB of 100.0 MiB (25 %), 12.5 MiB/s, 6 s left");
	assert_string_equal(progress_text(text, (uint64_t)1 << 30, (uint64_t)200 << 30, 1000),
			    "restoring 1.0 GiB of 200.0 GiB (0 %), 1.0 GiB/s, 3 min 19 s left");
	assert_string_equal(progress_text(text, 10, 5, 1000),
			    "restoring 10 B of 10 B (100 %), 10 B/s, 0 s left");
	int pipe_fd[2];
	struct progress p;
	assert_int_equal(pipe(pipe_fd), 0);
	progress_init(&p, true, pipe_fd[1]);
	progress_begin(&p, 1000);
	progress_add(&p, 10); /* too early for a line */
	usleep(250 * 1000);
	progress_add(&p, 490);
	progress_add(&p, 1); /* too early for another one */
	progress_end(&p);
	close(pipe_fd[1]);
	assert_true(read(pipe_fd[0], got, sizeof got - 1) > 0);
	close(pipe_fd[0]);
	assert_int_equal(strncmp(got, "\rrestoring 500 B of 1000 B (50 %), ", 34), 0);
	assert_string_equal(strchr(got, '\033'), "\033[K\r\033[K");
}

/* ---- faults ---- */

#ifdef WALBROOK_FAULTS

static void fault_world(struct world *w)
{
	world_begin(w, "r", 4096, 1500);
	world_snapshot(w);
	wal_begin(w, false);
	for (uint32_t pgno = 1; pgno <= 1500; pgno++)
		wal_frame_add(w, pgno, pgno == 1500 ? 1500 : 0);
	wal_end(w);
	wal_begin(w, false);
	wal_frame_add(w, 2, 1400);
	wal_frame_add(w, 3, 0);
	wal_end(w);
}

/* 0, or 10 and the kind of the error. */
static int fault_child(const char *dir)
{
	struct err e = ERR_INIT;
	struct restore_wish w = wish_new();
	log_setup(LOG_ERROR, false, 2);
	snprintf(temp, sizeof temp, "%.60s", dir);
	char output[PATH_BYTES];
	snprintf(output, sizeof output, "%s/out/sub/db", temp);
	w.output = output;
	w.memory_bytes = 1;
	w.parallelism = 1;
	return run(w, &e) == 0 ? 0 : 10 + (int)e.kind;
}

static int run_child(const char *fault, const char *trace)
{
	char self[PATH_BYTES];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	assert_true(n > 0);
	self[n] = 0;
	pid_t pid = fork();
	if (pid == 0) {
		if (fault)
			setenv("WALBROOK_FAULT", fault, 1);
		if (trace)
			setenv("WALBROOK_FAULT_TRACE", trace, 1);
		execl(self, self, "fault", temp, (char *)NULL);
		_exit(98);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* Nothing, or the whole; a temporary file only if the process was killed, and the next run is not bothered by
 * it. */
static void test_every_fault(void **state)
{
	static const char *const actions[] = { "eio", "enospc", "short", "eintr", "die", "die-after" };
	struct world w;
	fresh(state);
	fault_world(&w);
	assert_int_equal(run_child(NULL, under("trace")), 0);
	shell("mv '%s' '%s'", under("out/sub/db"), under("out/db"));
	FILE *f = fopen(under("trace"), "r");
	assert_non_null(f);
	unsigned calls = 0;
	for (int c; (c = fgetc(f)) != EOF;)
		calls += c == '\n';
	fclose(f);
	assert_in_range(calls, 20, 2000);
	shell("rm '%s'; rmdir '%s'", under("trace"), under("out/sub"));
	expect_bytes(&w.db);
	for (size_t a = 0; a < 6; a++) {
		/* Most calls are writes of the same kind: all of the first and the last, and some between. */
		for (unsigned n = 1; n <= calls; n += n < 8 || n + 10 > calls ? 1 : 31) {
			char fault[64];
			snprintf(fault, sizeof fault, "*:%u:%s", n, actions[a]);
			int rc = run_child(fault, NULL);
			bool killed = rc == -SIGKILL, there = access(under("out/sub/db"), F_OK) == 0;
			if (rc != 0 && !killed && (rc < 11 || rc > 20))
				fail_msg("%s: the child ended with %d", fault, rc);
			if (killed != (a >= 4))
				fail_msg("%s: the child ended with %d", fault, rc);
			if (rc == 0 && !there)
				fail_msg("%s: done, but nothing is there", fault);
			if (there)
				shell("mv '%s' '%s'", under("out/sub/db"), under("db"));
			if (!killed)
				shell("test -z \"$(find '%s' -type f)\"", under("out"));
			if (!there)
				assert_int_equal(run_child(NULL, NULL), 0);
			if (!there)
				shell("mv '%s' '%s'", under("out/sub/db"), under("db"));
			shell("rm -rf '%s' && mkdir '%s' && mv '%s' '%s'", under("out"), under("out"),
			      under("db"), under("out/db"));
			expect_bytes(&w.db);
		}
	}
	world_free(&w);
}

#endif

static int make_temp(void **state)
{
	(void)state;
	umask(022);
	log_setup(LOG_ERROR, false, 2);
	/* In memory where that is possible: thousands of objects are made here, each with its fsync. */
	snprintf(temp, sizeof temp, "%s/wb-restore-XXXXXX",
		 access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
	return mkdtemp(temp) ? 0 : -1;
}

static int drop_temp(void **state)
{
	(void)state;
	shell("rm -rf '%s'", temp);
	return 0;
}

#define TEST(f) cmocka_unit_test_setup(f, fresh)

int main(int argc, char **argv)
{
#ifdef WALBROOK_FAULTS
	if (argc == 3 && strcmp(argv[1], "fault") == 0)
		return fault_child(argv[2]);
#endif
	(void)argc, (void)argv;
	const struct CMUnitTest tests[] = {
		TEST(test_model),
		TEST(test_large_transaction),
		TEST(test_empty_snapshot_and_headers),
		TEST(test_result),
		TEST(test_frames),
		TEST(test_damage_in_large_segment),
		TEST(test_snapshot_damage),
		TEST(test_snapshot_damage_no_way_back),
		TEST(test_chain_errors),
		TEST(test_gap_and_overlap),
		TEST(test_known_end),
		TEST(test_hint_by_time),
		TEST(test_by_time),
		TEST(test_fuzzy_snapshot),
		TEST(test_output_taken),
		TEST(test_directories),
		TEST(test_stale_temp),
		TEST(test_writer_between_listings),
		TEST(test_hole_in_first_listing),
		TEST(test_retention_meanwhile),
		TEST(test_interrupt),
		TEST(test_damaged_source),
		TEST(test_sources),
		TEST(test_wishes),
		TEST(test_progress),
#ifdef WALBROOK_FAULTS
		TEST(test_every_fault),
#endif
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("restore", tests, make_temp, drop_temp);
}
