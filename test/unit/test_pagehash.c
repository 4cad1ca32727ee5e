/* SPDX-License-Identifier: Apache-2.0
 *
 * core/pagehash: the same hashes whatever the pieces are; what differs is counted and found. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/pagehash.h"

enum { PAGE = 1024, PAGES = 70 };

static uint8_t db[PAGE * PAGES];

static void make_db(void)
{
	for (size_t i = 0; i < sizeof db; i++)
		db[i] = (uint8_t)(i * 2654435761u >> 13);
	memcpy(db, "SQLite format 3", 16);
	db[16] = PAGE >> 8;
	db[17] = 0;
}

static struct page_hashes in_pieces(size_t piece)
{
	struct page_hashes h = { 0 };
	struct err e = ERR_INIT;
	for (size_t at = 0; at < sizeof db; at += piece) {
		size_t n = sizeof db - at < piece ? sizeof db - at : piece;
		assert_int_equal(page_hashes_add(&h, (struct span){ db + at, n }, &e), 0);
	}
	assert_int_equal(page_hashes_end(&h, &e), 0);
	return h;
}

static void test_pieces(void **state)
{
	(void)state;
	static const size_t pieces[] = { 1, 7, 99, 100, 101, PAGE - 1, PAGE, PAGE + 1, 5000, sizeof db };
	uint32_t first;
	make_db();
	for (size_t i = 0; i < sizeof pieces / sizeof *pieces; i++) {
		struct page_hashes h = in_pieces(pieces[i]);
		assert_int_equal(h.page_bytes, PAGE);
		assert_int_equal(h.n, PAGES);
		for (size_t k = 0; k < PAGES; k++)
			assert_int_equal(h.v[k], page_hash(db + k * PAGE, PAGE));
		struct page_hashes again = in_pieces(4096);
		assert_int_equal(page_hashes_differ(&h, &again, &first), 0);
		page_hashes_free(&again);
		page_hashes_free(&h);
	}
}

static void test_changes(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	uint32_t first;
	make_db();
	struct page_hashes a = in_pieces(4096), b = in_pieces(4096);
	db[41 * PAGE + 3] ^= 1;
	assert_int_equal(page_hashes_put(&b, 42, db + 41 * PAGE, &e), 0);
	assert_int_equal(page_hashes_differ(&a, &b, &first), 1);
	assert_int_equal(first, 42);
	/* Grows over pages that nobody writes: zeros. Shrinks: they are gone. */
	static const uint8_t zeros[PAGE];
	assert_int_equal(page_hashes_put(&b, PAGES + 3, db, &e), 0);
	assert_int_equal(b.n, PAGES + 3);
	assert_int_equal(b.v[PAGES], page_hash(zeros, PAGE));
	assert_int_equal(page_hashes_differ(&a, &b, &first), 4);
	assert_int_equal(page_hashes_resize(&b, 41, &e), 0);
	assert_int_equal(page_hashes_differ(&a, &b, &first), PAGES - 41);
	assert_int_equal(first, 42);
	b.page_bytes = 512;
	assert_int_equal(page_hashes_differ(&a, &b, &first), PAGES);
	page_hashes_free(&b);
	/* What goes beyond what it is compared with is counted, not kept: a page number is a number from
	 * outside. */
	db[41 * PAGE + 3] ^= 1;
	b = (struct page_hashes){ .limit = PAGES };
	assert_int_equal(page_hashes_add(&b, (struct span){ db, sizeof db }, &e), 0);
	assert_int_equal(page_hashes_put(&b, UINT32_MAX - 1, db, &e), 0);
	assert_int_equal(b.n, PAGES);
	assert_true(b.cap < 4 * PAGES + 256);
	assert_int_equal(page_hashes_pages(&b), UINT32_MAX - 1);
	assert_int_equal(page_hashes_resize(&b, PAGES + 2, &e), 0);
	assert_int_equal(page_hashes_differ(&a, &b, &first), 2);
	assert_int_equal(first, PAGES + 1);
	assert_int_equal(page_hashes_resize(&b, PAGES, &e), 0);
	assert_int_equal(page_hashes_differ(&a, &b, &first), 0);
	page_hashes_free(&a);
	page_hashes_free(&b);
}

static void test_no_database(void **state)
{
	(void)state;
	struct page_hashes h = { 0 };
	struct err e = ERR_INIT;
	make_db();
	db[3] = 'x';
	assert_int_equal(page_hashes_add(&h, (struct span){ db, 50 }, &e), 0);
	assert_int_equal(page_hashes_add(&h, (struct span){ db + 50, 50 }, &e), -1);
	assert_int_equal(e.kind, ERR_DAMAGED);
	page_hashes_free(&h);
	make_db();
	db[17] = 3;
	assert_int_equal(page_hashes_add(&h, (struct span){ db, 200 }, &e), -1);
	page_hashes_free(&h);
	assert_int_equal(page_hashes_add(&h, (struct span){ db, 99 }, &e), 0);
	assert_int_equal(page_hashes_end(&h, &e), -1);
	page_hashes_free(&h);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pieces),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_no_database),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("pagehash", tests, NULL, NULL);
}
