/* SPDX-License-Identifier: Apache-2.0
 *
 * core/record: the header bytes as Litestream's stream of 2022 has them, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "core/record.h"

/* The second record of a captured stream: the 32-byte header of a WAL as a segment. */
static const uint8_t golden[RECORD_HEADER_BYTES] = {
	0, 0, 0, 2, 0, 0, 0, 0, 0x0c, 0xa5, 0xfb, 0x8a, 0x03, 0x26, 0xf1, 0x03, 0, 0, 0, 0,
	0, 0, 0, 1, 0, 0, 0, 0, 0,    0,    0,	  0,	0,    0,    0,	  0,	0, 0, 0, 51,
};

static void test_golden(void **state)
{
	(void)state;
	struct record r, again;
	struct err e = ERR_INIT;
	uint8_t out[RECORD_HEADER_BYTES];
	assert_int_equal(record_parse((struct span){ golden, sizeof golden }, &r, &e), 0);
	assert_int_equal(r.type, RECORD_SEGMENT);
	assert_string_equal(r.generation.name, "0ca5fb8a0326f103");
	assert_int_equal(r.at.index, 1);
	assert_int_equal(r.at.offset, 0);
	assert_int_equal(r.size_bytes, 51);
	record_write(out, &r);
	assert_memory_equal(out, golden, sizeof golden);
	r.at = (struct position){ 0x1234567890, INT64_MAX };
	record_write(out, &r);
	assert_int_equal(record_parse((struct span){ out, sizeof out }, &again, &e), 0);
	assert_int_equal(position_compare(again.at, r.at), 0);
}

static void test_refused(void **state)
{
	(void)state;
	struct record r;
	struct err e = ERR_INIT;
	for (size_t n = 0; n < sizeof golden; n++)
		assert_int_equal(record_parse((struct span){ golden, n }, &r, &e), -1);
	static const size_t signs[] = { 16, 24, 32 };
	for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
		uint8_t bad[RECORD_HEADER_BYTES];
		memcpy(bad, golden, sizeof bad);
		bad[signs[i]] = 0x80;
		assert_int_equal(record_parse((struct span){ bad, sizeof bad }, &r, &e), -1);
		assert_int_equal(e.kind, ERR_DAMAGED);
	}
	static const struct {
		uint32_t type;
		uint64_t bytes;
		int rc;
	} sizes[] = {
		{ RECORD_SNAPSHOT, 0, 0 },   { RECORD_SEGMENT, 0, -1 },	  { RECORD_COMMITS, 0, -1 },
		{ RECORD_COMMITS, 32, -1 },  { RECORD_COMMITS, 40, 0 },	  { RECORD_COMMITS, 8, -1 },
		{ RECORD_HEARTBEAT, 16, 0 }, { RECORD_HEARTBEAT, 8, -1 }, { 4000000000u, 123456789, 0 },
	};
	for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		uint8_t out[RECORD_HEADER_BYTES];
		struct record w = { .type = sizes[i].type, .size_bytes = sizes[i].bytes };
		memcpy(w.generation.name, "0123456789abcdef", 17);
		record_write(out, &w);
		assert_int_equal(record_parse((struct span){ out, sizeof out }, &r, &e), sizes[i].rc);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_golden),
		cmocka_unit_test(test_refused),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("record", tests, NULL, NULL);
}
