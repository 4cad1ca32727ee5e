/* SPDX-License-Identifier: Apache-2.0
 *
 * Index documents: there and back, the bytes themselves, and everything that must be refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <xxhash.h>

#include "core/index.h"
#include "core/wal.h"

static const int64_t start_us = 1790000000000000;

static struct wal_index_doc sample(uint32_t page_bytes, unsigned commits)
{
	struct wal_index_doc d = {
		.generation = { "00ff00deadbeef07" },
		.index = 0x1234,
		.page_bytes = page_bytes,
		.salt = { 1, 2, 3, 4, 5, 6, 7, 255 },
		.end_offset = wal_offset_of(page_bytes, 3 * (uint64_t)commits + 1),
		.ended = true,
	};
	for (unsigned i = 0; i < commits; i++) {
		struct index_commit c = { wal_offset_of(page_bytes, 3 * (uint64_t)i + 2),
					  start_us + i * (int64_t)i };
		assert_int_equal(index_doc_add(&d, c), 0);
	}
	return d;
}

static struct dyn written(const struct wal_index_doc *d)
{
	struct dyn to = DYN_INIT(INDEX_DOC_MAX_BYTES);
	assert_int_equal(index_doc_write(d, &to), 0);
	return to;
}

static void expect_equal(const struct wal_index_doc *a, const struct wal_index_doc *b)
{
	assert_string_equal(a->generation.name, b->generation.name);
	assert_int_equal(a->index, b->index);
	assert_int_equal(a->page_bytes, b->page_bytes);
	assert_memory_equal(a->salt, b->salt, 8);
	assert_int_equal(a->end_offset, b->end_offset);
	assert_int_equal(a->ended, b->ended);
	assert_int_equal(a->snapshot_fuzzy, b->snapshot_fuzzy);
	assert_int_equal(position_compare(a->usable_from, b->usable_from), 0);
	assert_int_equal(a->commits_n, b->commits_n);
	for (size_t i = 0; i < a->commits_n; i++) {
		assert_int_equal(a->commits[i].offset, b->commits[i].offset);
		assert_int_equal(a->commits[i].wall_us, b->commits[i].wall_us);
	}
}

static void expect_round_trip(struct wal_index_doc *d)
{
	struct dyn bytes = written(d);
	struct wal_index_doc back;
	struct err e = ERR_INIT;
	assert_int_equal(index_doc_parse((struct span){ bytes.p, bytes.len }, &back, &e), 0);
	expect_equal(d, &back);
	index_doc_free(&back);
	index_doc_free(d);
	dyn_free(&bytes);
}

static void test_there_and_back(void **state)
{
	(void)state;
	static const unsigned commits[] = { 0, 1, 2, 17, 100000 };
	for (uint32_t page_bytes = PAGE_BYTES_MIN; page_bytes <= PAGE_BYTES_MAX; page_bytes *= 2) {
		for (size_t i = 0; i < sizeof commits / sizeof *commits; i++) {
			struct wal_index_doc d = sample(page_bytes, commits[i]);
			expect_round_trip(&d);
		}
	}
	struct wal_index_doc d = sample(4096, 2);
	d.ended = false;
	d.snapshot_fuzzy = true;
	d.usable_from = (struct position){ 0x1235, 0x100001038 };
	expect_round_trip(&d);
	d = sample(4096, 0);
	d.end_offset = 0;
	d.index = INT64_MAX;
	d.generation = generation_from(UINT64_MAX);
	expect_round_trip(&d);
	d = sample(4096, 0);
	d.end_offset = WAL_HEADER_BYTES;
	expect_round_trip(&d);
	d = sample(4096, 0); /* made for the snapshot alone */
	d.page_bytes = 0;
	d.end_offset = 0;
	d.snapshot_fuzzy = true;
	d.usable_from = (struct position){ 0x1234, 4152 };
	expect_round_trip(&d);
	d = sample(512, 1); /* beyond 32 bits, and the last offset that there is */
	assert_int_equal(index_doc_add(&d, (struct index_commit){ wal_offset_of(512, 1ull << 40), INT64_MAX }),
			 0);
	d.end_offset = wal_offset_of(512, (INT64_MAX - 32) / 536);
	expect_round_trip(&d);
}

static void test_small(void **state)
{
	(void)state;
	struct wal_index_doc d = sample(4096, 0);
	for (unsigned i = 0; i < 10000; i++) /* 200 commits of two frames a second */
		assert_int_equal(index_doc_add(&d, (struct index_commit){ wal_offset_of(4096, 2 * i + 2),
									  start_us + 5000 * i }),
				 0);
	struct dyn bytes = written(&d);
	assert_in_range(bytes.len, 20000, 30100);
	dyn_free(&bytes);
	index_doc_free(&d);
}

/* The format is a promise: these bytes must not change. */
static void test_golden_bytes(void **state)
{
	(void)state;
	static const uint8_t want[] = {
		'W',  'B',  'I',  'X',	1,    3,		      /* ended, fuzzy */
		0x00, 0xff, 0x00, 0xde, 0xad, 0xbe, 0xef, 0x07,	      /* generation */
		1,    2,    3,	  4,	5,    6,    7,	  255,	      /* salt */
		0x10,						      /* pages of 4096 */
		0xb4, 0x24,					      /* index 0x1234 */
		0x08,						      /* end: 7 frames */
		0xb4, 0x24, 0xb8, 0x20,				      /* usable from 0x1234, 4152 */
		0x02,						      /* commits */
		0x02, 0x80, 0xc0, 0x97, 0xd1, 0xed, 0xff, 0x96, 0x03, /* 2 frames, 1790000000000000 us */
		0x03, 0x01,					      /* 3 frames more, 1 us later */
	};
	struct wal_index_doc d = sample(4096, 2);
	d.snapshot_fuzzy = true;
	d.usable_from = (struct position){ 0x1234, 4152 };
	struct dyn bytes = written(&d);
	assert_int_equal(bytes.len, sizeof want + 8);
	assert_memory_equal(bytes.p, want, sizeof want);
	assert_int_equal(get_be64(bytes.p + sizeof want), XXH64(want, sizeof want, 0));
	dyn_free(&bytes);
	index_doc_free(&d);
}

static void test_add(void **state)
{
	(void)state;
	struct wal_index_doc d = sample(4096, 1);
	struct index_commit c = d.commits[0];
	assert_int_equal(index_doc_add(&d, c), -1); /* the same place again */
	assert_int_equal(index_doc_add(&d, (struct index_commit){ c.offset - 4120, c.wall_us + 1 }), -1);
	assert_int_equal(d.commits_n, 1);
	assert_int_equal(index_doc_add(&d, (struct index_commit){ c.offset + 4120, c.wall_us - 1 }), 0);
	assert_int_equal(d.commits[1].wall_us, c.wall_us); /* the clock was set back */
	index_doc_free(&d);
	assert_null(d.commits);
	assert_int_equal(d.commits_cap, 0);
}

static void expect_unwritable(struct wal_index_doc d)
{
	struct dyn to = DYN_INIT(1000);
	assert_int_equal(dyn_add(&to, "before", 6), 0);
	assert_int_equal(index_doc_write(&d, &to), -1);
	assert_int_equal(to.len, 6);
	dyn_free(&to);
}

static void test_unwritable(void **state)
{
	(void)state;
	struct wal_index_doc d = sample(4096, 2), bad = d;
	bad.page_bytes = 4095;
	expect_unwritable(bad);
	bad = d;
	bad.page_bytes = 0;
	expect_unwritable(bad);
	bad = d;
	bad.end_offset++;
	expect_unwritable(bad);
	bad = d;
	bad.end_offset = 31;
	expect_unwritable(bad);
	bad = d;
	bad.generation.name[3] = 'G';
	expect_unwritable(bad);
	bad = d;
	bad.index = (uint64_t)INT64_MAX + 1;
	expect_unwritable(bad);
	bad = d;
	bad.snapshot_fuzzy = true;
	bad.usable_from.offset = UINT64_MAX;
	expect_unwritable(bad);
	d.commits[1].offset++;
	expect_unwritable(d);
	d.commits[1].offset = d.commits[0].offset;
	expect_unwritable(d);
	d.commits[1].offset += 4120;
	d.commits[1].wall_us = d.commits[0].wall_us - 1;
	expect_unwritable(d);
	d.commits[0].wall_us = -1;
	expect_unwritable(d);
	index_doc_free(&d);
	d = sample(4096, 1000); /* more than the ceiling of the buffer */
	expect_unwritable(d);
	index_doc_free(&d);
}

static void expect_damaged(const uint8_t *p, size_t n)
{
	struct wal_index_doc d = { .commits_n = 77 };
	struct err e = ERR_INIT;
	assert_int_equal(index_doc_parse((struct span){ p, n }, &d, &e), -1);
	assert_int_equal(e.kind, ERR_DAMAGED);
	assert_true(strlen(e.text) > 20);
	assert_int_equal(d.commits_n, 77);
}

static void test_every_cut_and_flip(void **state)
{
	(void)state;
	struct wal_index_doc d = sample(4096, 5);
	struct dyn bytes = written(&d);
	for (size_t n = 0; n < bytes.len; n++)
		expect_damaged(bytes.p, n);
	for (size_t bit = 0; bit < bytes.len * 8; bit++) {
		bytes.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
		expect_damaged(bytes.p, bytes.len);
		bytes.p[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	assert_int_equal(dyn_add(&bytes, "x", 1), 0);
	expect_damaged(bytes.p, bytes.len);
	dyn_free(&bytes);
	index_doc_free(&d);
}

/* A document with a right checksum whose values cannot be. */
static void expect_odd(const uint8_t *fixed, const uint8_t *rest, size_t n)
{
	uint8_t buf[256];
	memcpy(buf, fixed, 22);
	memcpy(buf + 22, rest, n);
	put_be64(buf + 22 + n, XXH64(buf, 22 + n, 0));
	expect_damaged(buf, 22 + n + 8);
}

#define ODD(...) expect_odd(fixed, (const uint8_t[]){ __VA_ARGS__ }, sizeof((const uint8_t[]){ __VA_ARGS__ }))

static void test_odd_values(void **state)
{
	(void)state;
	uint8_t fixed[22] = { 'W', 'B', 'I', 'X', 1, 0 };
	const uint8_t good[] = { 16, 0, 0, 0 };
	uint8_t buf[64];
	struct wal_index_doc d;
	struct err e = ERR_INIT;
	memcpy(buf, fixed, 22);
	memcpy(buf + 22, good, 4);
	put_be64(buf + 26, XXH64(buf, 26, 0));
	assert_int_equal(index_doc_parse((struct span){ buf, 34 }, &d, &e), 0);
	index_doc_free(&d);

	ODD(0, 0, 1, 0);			    /* offset 32, but no page size */
	ODD(0, 0, 0, 1, 1, 1);			    /* a commit, but no page size */
	ODD(3, 0, 0, 0);			    /* 768 */
	ODD(1, 0, 0, 0);			    /* 256 */
	ODD(0x80, 0x04, 0, 0, 0);		    /* 131072 */
	ODD(0x90, 0x80, 0x80, 0x80, 0x10, 0, 0, 0); /* more than 32 bits */
	ODD(16);				    /* ends early */
	ODD(16, 0, 0);				    /* no number of commits */
	ODD(16, 0, 0, 0, 0);			    /* a byte too many */
	ODD(16, 0, 0, 1);			    /* one commit, none there */
	ODD(16, 0, 0, 1, 1);			    /* half a commit */
	ODD(16, 0, 0, 1, 0, 1);			    /* 0 frames */
	ODD(16, 0, 0, 2, 1, 1, 0, 1);		    /* 0 frames more */
	ODD(16, 0, 0, 1, 1, 1, 9);		    /* a byte behind the commits */
	ODD(16, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 0, 0);	      /* index past 63 bits */
	ODD(16, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0);	      /* end past 63 bits */
	ODD(16, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 1); /* 2^64-1 commits */
	ODD(16, 0, 0, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1);    /* frames past 63 bits */
	ODD(16, 0, 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1); /* time past 63 bits */
	ODD(16, 0, 0, 1, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2); /* varint past 64 bits */
	ODD(16, 0, 0, 2, 1, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 1, 1); /* sum past 63 bits */
	fixed[5] = 4;
	ODD(16, 0, 0, 0); /* unknown flag */
	fixed[5] = 2;
	ODD(16, 0, 0, 0);    /* fuzzy, but no position */
	ODD(16, 0, 0, 0, 0); /* half a position */
	fixed[5] = 0;
	fixed[4] = 2;
	ODD(16, 0, 0, 0); /* unknown version */
	fixed[4] = 1;
	fixed[0] = 'w';
	ODD(16, 0, 0, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back), cmocka_unit_test(test_small),
		cmocka_unit_test(test_golden_bytes),   cmocka_unit_test(test_add),
		cmocka_unit_test(test_unwritable),     cmocka_unit_test(test_every_cut_and_flip),
		cmocka_unit_test(test_odd_values),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("index", tests, NULL, NULL);
}
