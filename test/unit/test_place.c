/* SPDX-License-Identifier: Apache-2.0
 *
 * db/place: what is written is read back, and a record that is torn in any way leaves the other one in force.
 */
#include "world.h"

#include "db/place.h"

static struct place some_place(uint64_t n)
{
	struct place p = {
		.generation = generation_from(0x0123456789abcdefull + n),
		.index = n,
		.chain = { .page_bytes = 4096, .offset = 32 + n * 4120, .sum = { 0xdeadbeef, (uint32_t)n } },
		.wall_us = 1700000000000000 + (int64_t)n
	};
	memset(p.chain.salt, (int)(0x80 + n), sizeof p.chain.salt);
	return p;
}

static void expect_place(const struct place *got, const struct place *want)
{
	assert_string_equal(got->generation.name, want->generation.name);
	assert_int_equal(got->index, want->index);
	assert_int_equal(got->chain.page_bytes, want->chain.page_bytes);
	assert_int_equal(got->chain.big_endian, want->chain.big_endian);
	assert_memory_equal(got->chain.salt, want->chain.salt, 8);
	assert_true(wal_sum_equal(got->chain.sum, want->chain.sum));
	assert_int_equal(got->chain.offset, want->chain.offset);
	assert_int_equal(got->wall_us, want->wall_us);
}

static void write_place(const char *path, const struct place *p, uint64_t seq)
{
	struct err e;
	if (place_write(path, &OWNER_PRIVATE, p, seq, &e) < 0)
		fail_msg("%s", e.text);
}

static void expect_read(const char *path, const struct place *want, uint64_t seq)
{
	struct place got;
	uint64_t got_seq = 0;
	struct err e;
	if (place_read(path, &got, &got_seq, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(got_seq, seq);
	expect_place(&got, want);
}

static void test_round_trip(void **state)
{
	(void)state;
	const char *path = at("round");
	struct place odd[] = {
		some_place(0),
		some_place(7),
		{ .generation = generation_from(UINT64_MAX),
		  .index = INT64_MAX,
		  .chain = { .page_bytes = 65536,
			     .big_endian = true,
			     .salt = { 0, 255, 1, 254, 16, 1, 0, 128 },
			     .sum = { UINT32_MAX, 0 },
			     .offset = UINT64_MAX },
		  .wall_us = INT64_MAX },
		{ .generation = generation_from(0), .wall_us = -1 },
	};
	for (uint64_t seq = 0; seq < 12; seq++) {
		const struct place *p = &odd[seq % 4];
		write_place(path, p, seq);
		expect_read(path, p, seq);
	}
	struct stat st;
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_size, 2 * PLACE_RECORD_BYTES);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void test_longest_fits(void **state)
{
	(void)state;
	struct place p = { .generation = generation_from(UINT64_MAX),
			   .index = UINT64_MAX,
			   .chain = { .page_bytes = UINT32_MAX, .offset = UINT64_MAX, .sum = { ~0u, ~0u } },
			   .wall_us = INT64_MIN };
	memset(p.chain.salt, 255, 8);
	write_place(at("longest"), &p, UINT64_MAX);
	expect_read(at("longest"), &p, UINT64_MAX);
}

static void test_none(void **state)
{
	(void)state;
	struct place p;
	uint64_t seq;
	struct err e;
	assert_int_equal(place_read(at("missing"), &p, &seq, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	spew(at("empty"), "", 0);
	assert_int_equal(place_read(at("empty"), &p, &seq, &e), -1);
	assert_int_equal(e.kind, ERR_DAMAGED);
	char junk[3 * PLACE_RECORD_BYTES];
	memset(junk, 'x', sizeof junk);
	spew(at("junk"), junk, sizeof junk);
	assert_int_equal(place_read(at("junk"), &p, &seq, &e), -1);
	assert_int_equal(e.kind, ERR_DAMAGED);
	assert_non_null(strstr(e.text, "junk"));
}

/* Every byte of the newer record, changed in three ways: the older one holds, or (in the padding, which says
 * nothing) the newer one still does; never a third thing. And the next write mends the file. */
static void flip_each(uint64_t newer)
{
	const char *path = at("flip");
	struct place old = some_place(newer - 1), new = some_place(newer), next = some_place(newer + 1);
	unsigned fell_back = 0;
	unlink(path);
	write_place(path, &old, newer - 1);
	write_place(path, &new, newer);
	struct dyn good = slurp(path);
	size_t from = newer % 2 * PLACE_RECORD_BYTES;
	for (size_t i = 0; i < PLACE_RECORD_BYTES; i++) {
		static const uint8_t masks[] = { 0x01, 0x80, 0xff };
		for (size_t m = 0; m < sizeof masks; m++) {
			struct place got;
			uint64_t seq;
			struct err e;
			good.p[from + i] ^= masks[m];
			spew(path, good.p, good.len);
			good.p[from + i] ^= masks[m];
			assert_int_equal(place_read(path, &got, &seq, &e), 0);
			assert_true(seq == newer || seq == newer - 1);
			expect_place(&got, seq == newer ? &new : &old);
			fell_back += seq != newer;
			if (seq == newer) /* only behind the checksum */
				assert_true(good.p[from + i] == ' ' || good.p[from + i] == '\n');
		}
	}
	assert_true(fell_back > 3 * 120);
	memset(good.p + from, 0, PLACE_RECORD_BYTES);
	spew(path, good.p, good.len);
	expect_read(path, &old, newer - 1);
	write_place(path, &next, newer);
	expect_read(path, &next, newer);
	dyn_free(&good);
}

static void test_torn(void **state)
{
	(void)state;
	flip_each(40); /* the newer one is the first record in the file */
	flip_each(41); /* the second */
}

static void test_cut(void **state)
{
	(void)state;
	const char *path = at("cut");
	for (uint64_t newer = 10; newer < 12; newer++) {
		struct place old = some_place(newer - 1), new = some_place(newer);
		unlink(path);
		write_place(path, &old, newer - 1);
		write_place(path, &new, newer);
		struct dyn good = slurp(path);
		for (size_t n = 0; n < good.len; n++) {
			struct place got;
			uint64_t seq;
			struct err e;
			spew(path, good.p, n);
			int rc = place_read(path, &got, &seq, &e);
			if (n < PLACE_RECORD_BYTES) {
				assert_int_equal(rc, -1);
				assert_int_equal(e.kind, ERR_DAMAGED);
			} else {
				assert_int_equal(rc, 0);
				expect_place(&got, newer % 2 ? &old : &new);
			}
		}
		dyn_free(&good);
	}
}

static void test_both_bad(void **state)
{
	(void)state;
	const char *path = at("both");
	struct place p = some_place(1);
	uint64_t seq;
	struct err e;
	write_place(path, &p, 1);
	struct dyn d = slurp(path);
	d.p[30] ^= 1;
	d.p[PLACE_RECORD_BYTES + 30] ^= 1;
	spew(path, d.p, d.len);
	assert_int_equal(place_read(path, &p, &seq, &e), -1);
	assert_int_equal(e.kind, ERR_DAMAGED);
	dyn_free(&d);
}

int main(int argc, char **argv)
{
	if (argc == 2)
		cmocka_set_test_filter(argv[1]);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_longest_fits),
		cmocka_unit_test(test_none),	   cmocka_unit_test(test_torn),
		cmocka_unit_test(test_cut),	   cmocka_unit_test(test_both_bad),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("place", tests, world_make, world_drop);
}
