/* SPDX-License-Identifier: Apache-2.0
 *
 * JSON that other programs read back: every kind of value, escapes, broken UTF-8, lines, full buffers; and the
 * table that stands beside it. SQLite's JSON functions are the other program. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sqlite3.h>

#include "base/json.h"
#include "cmd/table.h"

static struct dyn out;

static struct json fresh(unsigned lines)
{
	dyn_free(&out);
	out = DYN_INIT(1 << 20);
	return JSON_TO_DYN(&out, lines);
}

static const char *text(void)
{
	assert_int_equal(dyn_add(&out, "", 1), 0);
	out.len--;
	return (const char *)out.p;
}

static int clean(void **state)
{
	(void)state;
	dyn_free(&out);
	return 0;
}

static void test_values(void **state)
{
	(void)state;
	struct json j = fresh(0);
	json_object(&j, NULL);
	json_string(&j, "s", "x");
	json_string(&j, "none", NULL);
	json_int(&j, "least", INT64_MIN);
	json_uint(&j, "most", UINT64_MAX);
	json_bool(&j, "yes", true);
	json_bool(&j, "no", false);
	json_null(&j, "null");
	json_time(&j, "at", 1234567890123456);
	json_array(&j, "a");
	json_end(&j);
	json_array(&j, "b");
	json_int(&j, NULL, 1);
	json_object(&j, NULL);
	json_end(&j);
	json_array(&j, NULL);
	json_int(&j, NULL, 2);
	json_end(&j);
	json_end(&j);
	json_int(&j, "last", 0);
	json_end(&j);
	assert_int_equal(json_finish(&j), 0);
	assert_string_equal(text(),
			    "{\"s\":\"x\",\"none\":null,\"least\":-9223372036854775808,"
			    "\"most\":18446744073709551615,\"yes\":true,\"no\":false,\"null\":null,"
			    "\"at\":\"2009-02-13T23:31:30.123456Z\",\"a\":[],\"b\":[1,{},[2]],\"last\":0}");
}

static void test_doubles(void **state)
{
	(void)state;
	static const struct {
		double v;
		const char *want;
	} cases[] = {
		{ 0, "0" },
		{ 0.1, "0.1" },
		{ 1.5, "1.5" },
		{ -2, "-2" },
		{ 1e300, "1e+300" },
		{ 1.0 / 3, "0.3333333333333333" },
		{ 0.1 + 0.2, "0.30000000000000004" },
	};
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		struct json j = fresh(0);
		json_double(&j, NULL, cases[i].v);
		assert_int_equal(json_finish(&j), 0);
		assert_string_equal(text(), cases[i].want);
	}
	double odd[] = { strtod("nan", NULL), strtod("inf", NULL), strtod("-inf", NULL) };
	for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
		struct json j = fresh(0);
		json_double(&j, NULL, odd[i]);
		assert_int_equal(json_finish(&j), 0);
		assert_string_equal(text(), "null");
	}
}

static void expect_text(struct span in, const char *want)
{
	struct json j = fresh(0);
	json_bytes(&j, NULL, in);
	assert_int_equal(json_finish(&j), 0);
	assert_string_equal(text(), want);
}

#define SPAN(s) ((struct span){ (const uint8_t *)(s), sizeof(s) - 1 })
#define BAD "\xef\xbf\xbd"

static void test_escapes(void **state)
{
	(void)state;
	expect_text(SPAN(""), "\"\"");
	expect_text(SPAN("a\"b\\c/d"), "\"a\\\"b\\\\c/d\"");
	expect_text(SPAN("\b\t\n\f\r\x01\x1f\x7f"), "\"\\b\\t\\n\\f\\r\\u0001\\u001f\\u007f\"");
	expect_text(SPAN("a\0b"), "\"a\\u0000b\"");
	expect_text(SPAN("\xc2\x9b[2J \xe2\x80\xa8"), "\"\\u009b[2J \\u2028\"");
	expect_text(SPAN("gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\x8a"),
		    "\"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x8c\x8a\"");
	/* a lone continuation, overlong, surrogate, too large, cut short at the end */
	expect_text(SPAN("x\x80y"), "\"x" BAD "y\"");
	expect_text(SPAN("\xc0\xaf"), "\"" BAD BAD "\"");
	expect_text(SPAN("\xe0\x80\xaf"), "\"" BAD BAD BAD "\"");
	expect_text(SPAN("\xed\xa0\x80"), "\"" BAD BAD BAD "\"");
	expect_text(SPAN("\xf4\x90\x80\x80"), "\"" BAD BAD BAD BAD "\"");
	expect_text(SPAN("ok\xe2\x82"), "\"ok" BAD BAD "\"");
	expect_text(SPAN("\xf5\xff"), "\"" BAD BAD "\"");
	expect_text(SPAN("\xe2\x82\"\xc3"), "\"" BAD BAD "\\\"" BAD "\"");
}

/* Whatever the bytes: SQLite takes it for JSON, and what was valid comes back as it was. */
static void test_random_bytes(void **state)
{
	(void)state;
	sqlite3 *db;
	sqlite3_stmt *s;
	assert_int_equal(sqlite3_open(":memory:", &db), SQLITE_OK);
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT json_valid(?1), json_extract(?1, '$.k')", -1, &s, NULL),
			 SQLITE_OK);
	srand(7);
	for (int i = 0; i < 2000; i++) {
		uint8_t bytes[40];
		size_t n = (size_t)rand() % sizeof bytes;
		bool ascii = i % 2;
		for (size_t k = 0; k < n; k++)
			bytes[k] = (uint8_t)(ascii ? 1 + rand() % 127 : rand());
		struct json j = fresh((unsigned)i % 3);
		json_object(&j, NULL);
		json_bytes(&j, "k", (struct span){ bytes, n });
		json_end(&j);
		assert_int_equal(json_finish(&j), 0);
		sqlite3_bind_text(s, 1, (char *)out.p, (int)out.len, SQLITE_STATIC);
		assert_int_equal(sqlite3_step(s), SQLITE_ROW);
		assert_int_equal(sqlite3_column_int(s, 0), 1);
		if (ascii) {
			assert_int_equal(sqlite3_column_bytes(s, 1), n);
			assert_memory_equal(sqlite3_column_text(s, 1), bytes, n);
		}
		sqlite3_reset(s);
	}
	sqlite3_finalize(s);
	sqlite3_close(db);
}

static void test_lines(void **state)
{
	(void)state;
	struct json j = fresh(1);
	json_array(&j, NULL);
	for (int i = 0; i < 2; i++) {
		json_object(&j, NULL);
		json_int(&j, "a", i);
		json_int(&j, "b", i);
		json_end(&j);
	}
	json_end(&j);
	assert_int_equal(json_finish(&j), 0);
	assert_string_equal(text(), "[\n  {\"a\": 0, \"b\": 0},\n  {\"a\": 1, \"b\": 1}\n]");
	j = fresh(9);
	json_object(&j, NULL);
	json_array(&j, "none");
	json_end(&j);
	json_array(&j, "one");
	json_int(&j, NULL, 1);
	json_end(&j);
	json_end(&j);
	assert_int_equal(json_finish(&j), 0);
	assert_string_equal(text(), "{\n  \"none\": [],\n  \"one\": [\n    1\n  ]\n}");
}

static void test_stream(void **state)
{
	(void)state;
	char *p = NULL;
	size_t n = 0;
	FILE *f = open_memstream(&p, &n);
	struct json j = JSON_TO_FILE(f, 0);
	json_array(&j, NULL);
	json_string(&j, NULL, "x");
	json_end(&j);
	assert_int_equal(json_finish(&j), 0);
	fclose(f);
	assert_string_equal(p, "[\"x\"]\n");
	free(p);
	f = fopen("/dev/full", "w");
	assert_non_null(f);
	setvbuf(f, NULL, _IONBF, 0);
	j = JSON_TO_FILE(f, 0);
	json_null(&j, NULL);
	assert_int_equal(json_finish(&j), -1);
	fclose(f);
}

static void test_full_buffer(void **state)
{
	(void)state;
	struct dyn small = DYN_INIT(16);
	struct json j = JSON_TO_DYN(&small, 0);
	json_array(&j, NULL);
	for (int i = 0; i < 10; i++)
		json_string(&j, NULL, "abc");
	json_end(&j);
	assert_int_equal(json_finish(&j), -1);
	assert_true(small.len <= 16);
	dyn_free(&small);
}

static void expect_table(struct table *t, const char *want)
{
	char *p = NULL;
	size_t n = 0;
	struct err e = ERR_INIT;
	FILE *f = open_memstream(&p, &n);
	assert_int_equal(table_print(t, f, &e), 0);
	fclose(f);
	assert_string_equal(p, want);
	free(p);
	table_free(t);
}

static void test_table(void **state)
{
	(void)state;
	static const char *const titles[] = { "path", "n", "replicas", NULL };
	struct table t;
	table_init(&t, titles);
	expect_table(&t, "path  n  replicas\n");
	table_init(&t, titles);
	table_cell(&t, "/var/lib/%s", "app.db");
	table_cell(&t, "%d", 12345);
	table_cell(&t, "file");
	table_cell(&t, "/\xc3\xbc\n");
	table_cell(&t, "%s", "");
	table_cell(&t, "a,b");
	expect_table(&t, "path             n      replicas\n"
			 "/var/lib/app.db  12345  file\n"
			 "/\xc3\xbc?                     a,b\n");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_values),	    cmocka_unit_test(test_doubles),
		cmocka_unit_test(test_escapes),	    cmocka_unit_test(test_random_bytes),
		cmocka_unit_test(test_lines),	    cmocka_unit_test(test_stream),
		cmocka_unit_test(test_full_buffer), cmocka_unit_test(test_table),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("json", tests, NULL, clean);
}
