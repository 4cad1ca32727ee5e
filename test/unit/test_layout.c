/* SPDX-License-Identifier: Apache-2.0
 *
 * Names of objects both ways, and the names that are not ours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/layout.h"

static const struct generation gen = { "0123456789abcdef" };

static struct object object(enum object_kind kind, uint64_t index, uint64_t offset)
{
	return (struct object){ .kind = kind, .generation = gen, .at = { index, offset } };
}

static void expect_key(enum object_kind kind, uint64_t index, uint64_t offset, const char *prefix,
		       const char *name)
{
	char buf[OBJECT_KEY_BYTES], want[OBJECT_KEY_BYTES];
	struct object o = object(kind, index, offset);
	struct position back;
	snprintf(want, sizeof want, "%s%s", prefix, name);
	assert_string_equal(object_key(buf, &o), want);
	assert_string_equal(object_name(buf, &o), name);
	assert_string_equal(object_prefix(buf, kind, &gen), prefix);
	assert_true(object_parse(name, kind, &back));
	assert_int_equal(position_compare(back, o.at), 0);
}

static void test_keys(void **state)
{
	(void)state;
	const char *snapshots = "generations/0123456789abcdef/snapshots/";
	const char *wal = "generations/0123456789abcdef/wal/", *index = "generations/0123456789abcdef/index/";
	expect_key(OBJECT_SNAPSHOT, 0, 0, snapshots, "00000000.snapshot.lz4");
	expect_key(OBJECT_SNAPSHOT, 1000, 0, snapshots, "000003e8.snapshot.lz4");
	expect_key(OBJECT_SEGMENT, 1000, 1001, wal, "000003e8_000003e9.wal.lz4");
	expect_key(OBJECT_SEGMENT, 3, 4152, wal, "00000003_00001038.wal.lz4");
	expect_key(OBJECT_SEGMENT, 0x7fffffff, 0xffffffff, wal, "7fffffff_ffffffff.wal.lz4");
	expect_key(OBJECT_SEGMENT, 1, 0x100000000, wal, "00000001_100000000.wal.lz4");
	expect_key(OBJECT_SEGMENT, INT64_MAX, INT64_MAX, wal, "7fffffffffffffff_7fffffffffffffff.wal.lz4");
	expect_key(OBJECT_INDEX, 7, 0, index, "00000007.index");
	expect_key(OBJECT_INDEX, INT64_MAX, 0, index, "7fffffffffffffff.index");
}

static void test_foreign_names(void **state)
{
	(void)state;
	static const char *const segments[] = {
		"",
		"_",
		".wal.lz4",
		"00000001.wal.lz4",
		"00000001_.wal.lz4",
		"00000001_00000000",
		"00000001_00000000.wal",
		"00000001_00000000.wal.lz",
		"00000001_00000000.wal.lz4.tmp",
		"00000001_00000000.wal.lz4 ",
		" 00000001_00000000.wal.lz4",
		"00000001_00000000.WAL.LZ4",
		"0000000A_00000000.wal.lz4",
		"00000001_0000000A.wal.lz4",
		"0000001_00000000.wal.lz4",
		"00000001_0000000.wal.lz4",
		"00000001-00000000.wal.lz4",
		"00000001__00000000.wal.lz4",
		"000000001_00000000.wal.lz4",
		"00000001_000000000.wal.lz4",
		"00000001_8000000000000000.wal.lz4",
		"ffffffffffffffff_00000000.wal.lz4",
		"00000001_10000000000000000.wal.lz4",
		"00000001_00000000.snapshot.lz4",
		"0x000001_00000000.wal.lz4",
		"+0000001_00000000.wal.lz4",
		"00000001_00000000_00000000.wal.lz4",
		"foo.txt",
		".DS_Store",
	};
	static const char *const snapshots[] = {
		"",
		"README",
		"0000000B.snapshot.lz4",
		"00000008.snapshot.lz4.tmp",
		"0000008.snapshot.lz4",
		"000000008.snapshot.lz4",
		"00000008.wal.lz4",
		"00000008_00000000.snapshot.lz4",
		"00000008snapshot.lz4",
		"00000008",
		"8000000000000000.snapshot.lz4",
		"00000008.index",
	};
	static const char *const indexes[] = { "", "00000001", "0000001.index", "00000001.INDEX",
					       "00000001.index.tmp" };
	struct position p = { 42, 43 };
	for (size_t i = 0; i < sizeof segments / sizeof *segments; i++)
		assert_false(object_parse(segments[i], OBJECT_SEGMENT, &p));
	for (size_t i = 0; i < sizeof snapshots / sizeof *snapshots; i++)
		assert_false(object_parse(snapshots[i], OBJECT_SNAPSHOT, &p));
	for (size_t i = 0; i < sizeof indexes / sizeof *indexes; i++)
		assert_false(object_parse(indexes[i], OBJECT_INDEX, &p));
	assert_int_equal(p.index, 42); /* written on success only */
	assert_int_equal(p.offset, 43);
}

static void test_generations(void **state)
{
	(void)state;
	static const char *const bad[] = { "",
					   "0123456789abcde",
					   "0123456789abcdef0",
					   "0123456789abcdeF",
					   "0123456789abcdeg",
					   "0123456789abcde ",
					   "tmp",
					   "..",
					   "0123456789abcd/f" };
	assert_true(generation_valid("0123456789abcdef"));
	assert_true(generation_valid("0000000000000000"));
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(generation_valid(bad[i]));
	assert_string_equal(generation_from(0).name, "0000000000000000");
	assert_string_equal(generation_from(0x00ff0000deadbeefu).name, "00ff0000deadbeef");
	struct generation g = generation_from(UINT64_MAX), none = { "" };
	assert_true(generation_valid(g.name));
	assert_false(generation_none(&g));
	assert_true(generation_none(&none));
	assert_true(generation_equal(&g, &g));
	assert_false(generation_equal(&g, &gen));
}

static void test_positions(void **state)
{
	(void)state;
	char buf[POSITION_TEXT_BYTES];
	struct generation none = { "" };
	assert_string_equal(position_format(buf, &gen, (struct position){ 15, 4152 }),
			    "0123456789abcdef/0000000f:4152");
	assert_string_equal(position_format(buf, &gen, (struct position){ INT64_MAX, INT64_MAX }),
			    "0123456789abcdef/7fffffffffffffff:9223372036854775807");
	assert_string_equal(position_format(buf, &none, (struct position){ 0, 0 }), "");
	static const struct position ascending[] = {
		{ 0, 0 }, { 0, 32 }, { 0, 0x100000000 }, { 1, 0 }, { 0x100000000, 0 }
	};
	for (int i = 0; i < 5; i++) {
		for (int k = 0; k < 5; k++) {
			int c = position_compare(ascending[i], ascending[k]);
			assert_int_equal((c > 0) - (c < 0), (i > k) - (i < k));
		}
	}
}

static void test_position_parse(void **state)
{
	(void)state;
	static const char *const good[] = {
		"0123456789abcdef/00000000:0",
		"0123456789abcdef/0000000a:4152",
		"0123456789abcdef/7fffffff:9223372036854775807",
		"0123456789abcdef/7fffffffffffffff:1",
	};
	static const char *const bad[] = {
		"",
		"/",
		"0123456789abcdef",
		"0123456789abcdef/",
		"0123456789abcdef/00000000",
		"0123456789abcdef/00000000:",
		"0123456789abcde/00000000:0",
		"0123456789abcdeff/00000000:0",
		"0123456789ABCDEF/00000000:0",
		"0123456789abcdef/0000000:0",
		"0123456789abcdef/000000000:0",
		"0123456789abcdef/0000000A:0",
		"0123456789abcdef/8000000000000000:0",
		"0123456789abcdef/00000000:00",
		"0123456789abcdef/00000000:01",
		"0123456789abcdef/00000000:-1",
		"0123456789abcdef/00000000:+1",
		"0123456789abcdef/00000000:1 ",
		" 0123456789abcdef/00000000:1",
		"0123456789abcdef/00000000:1\n",
		"0123456789abcdef/00000000:0x10",
		"0123456789abcdef/00000000:9223372036854775808",
		"0123456789abcdef/00000000:99999999999999999999",
	};
	char buf[POSITION_TEXT_BYTES];
	struct generation g;
	struct position p;
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_true(position_parse(good[i], &g, &p));
		assert_string_equal(position_format(buf, &g, p), good[i]);
	}
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		if (position_parse(bad[i], &g, &p))
			fail_msg("parsed: \"%s\"", bad[i]);
}

static void test_index_parse(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		uint64_t value;
	} good[] = {
		{ "0", 0 },
		{ "00000f", 15 },
		{ "0x1F", 31 },
		{ "0X1f", 31 },
		{ "FFFFFFFF", 0xffffffff },
		{ "a", 10 },
		{ "7fffffffffffffff", INT64_MAX },
		{ "0000000000000001", 1 },
	};
	static const char *const bad[] = { "",
					   "0x",
					   "0X",
					   "x1",
					   "-1",
					   "+1",
					   " 1",
					   "1 ",
					   "g",
					   "1g",
					   "0x0x1",
					   "1.0",
					   "00000000000000001",
					   "8000000000000000",
					   "ffffffffffffffff" };
	uint64_t v = 99;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_false(index_parse(bad[i], &v));
	assert_int_equal(v, 99);
	for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
		assert_true(index_parse(good[i].text, &v));
		assert_int_equal(v, good[i].value);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys),	    cmocka_unit_test(test_foreign_names),
		cmocka_unit_test(test_generations), cmocka_unit_test(test_positions),
		cmocka_unit_test(test_index_parse), cmocka_unit_test(test_position_parse),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}
