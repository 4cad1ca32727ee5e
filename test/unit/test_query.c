/* SPDX-License-Identifier: Apache-2.0
 *
 * live/query: what a client asks of /stream, and what is refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "live/query.h"

/* NAME=VALUE, each followed by a zero byte; an empty one ends it. */
static const char *param(void *arg, const char *name)
{
	size_t n = strlen(name);
	for (const char *p = arg; *p; p += strlen(p) + 1)
		if (strncmp(p, name, n) == 0 && p[n] == '=')
			return p + n + 1;
	return NULL;
}

static int parse(const char *text, size_t bytes, struct live_query *ret, struct err *e)
{
	char copy[400] = { 0 };
	memcpy(copy, text, bytes);
	*e = ERR_INIT;
	return live_query_parse(param, copy, ret, e);
}
#define PARSE(text) parse(text, sizeof(text), &q, &e)

static void test_good(void **state)
{
	(void)state;
	struct live_query q;
	struct err e;
	assert_int_equal(PARSE("path=/a.db\0"), 0);
	assert_false(q.has_position || q.extended || q.has_sum);
	assert_int_equal(PARSE("path=/a.db\0generation=0123456789abcdef\0index=0000000a\0txn=1\0offset=1038\0"
			       "sum=00000001fffffffe\0"),
			 0);
	assert_true(q.has_position && q.extended && q.has_offset && q.has_sum);
	assert_string_equal(q.generation.name, "0123456789abcdef");
	assert_int_equal(q.at.index, 10);
	assert_int_equal(q.at.offset, 0x1038);
	assert_true(q.sum == 0x00000001fffffffeu);
	/* Only one of the two is no position. */
	assert_int_equal(PARSE("path=/a.db\0generation=0123456789abcdef\0offset=20\0"), 0);
	assert_false(q.has_position || q.has_offset);
	assert_int_equal(q.at.offset, 0);
	assert_int_equal(PARSE("path=/a.db\0index=5\0"), 0);
	assert_false(q.has_position);
	assert_int_equal(q.at.index, 0);
}

static void test_refused(void **state)
{
	(void)state;
	struct live_query q;
	struct err e;
	assert_int_equal(PARSE("generation=0123456789abcdef\0"), -1);
	assert_string_equal(e.text, "Database name required");
	assert_int_equal(PARSE("path=\0"), -1);
	assert_int_equal(PARSE("path=/a\0index=zz\0"), -1);
	assert_string_equal(e.text, "Invalid index query parameter");
	assert_int_equal(PARSE("path=/a\0index=0x1\0"), -1);
	assert_int_equal(PARSE("path=/a\0index=ffffffffffffffff\0"), -1);
	assert_int_equal(PARSE("path=/a\0index=11111111111111111\0"), -1);
	assert_int_equal(PARSE("path=/a\0generation=0123456789ABCDEF\0index=1\0"), -1);
	assert_int_equal(PARSE("path=/a\0generation=0123456789abcde\0index=1\0"), -1);
	assert_int_equal(PARSE("path=/a\0generation=0123456789abcdef\0index=1\0offset=-1\0"), -1);
	assert_int_equal(PARSE("path=/a\0txn=2\0"), -1);
	assert_int_equal(PARSE("path=/a\0sum=12\0"), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_refused),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("query", tests, NULL, NULL);
}
