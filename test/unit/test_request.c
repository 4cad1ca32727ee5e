/* SPDX-License-Identifier: Apache-2.0
 *
 * The line of a request and the end of an answer: what is written reads back, what is wrong is said. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "daemon/request.h"

static struct request r;
static struct err e;

static int parse(const char *line)
{
	request_free(&r);
	e = ERR_INIT;
	return request_parse((struct span){ (const uint8_t *)line, strlen(line) }, &r, &e);
}

static void test_plain(void **state)
{
	(void)state;
	assert_int_equal(parse("walbrook/1 status"), 0);
	assert_int_equal(r.verb, REQUEST_STATUS);
	assert_false(r.json);
	assert_int_equal(r.dbs_n, 0);
	assert_int_equal(parse("  walbrook/1   reload  format=json "), 0);
	assert_int_equal(r.verb, REQUEST_RELOAD);
	assert_true(r.json);
	assert_int_equal(parse("walbrook/1 sync db=/a%20b db=/c%25 db=/d replica=s3 timeout-ms=1500"), 0);
	assert_int_equal(r.verb, REQUEST_SYNC);
	assert_int_equal(r.dbs_n, 3);
	assert_string_equal(r.dbs[0], "/a b");
	assert_string_equal(r.dbs[1], "/c%");
	assert_string_equal(r.dbs[2], "/d");
	assert_string_equal(r.replica, "s3");
	assert_int_equal(r.timeout_us, 1500000);
	assert_int_equal(parse("walbrook/1 position db=/a"), 0);
	assert_int_equal(r.verb, REQUEST_POSITION);
	assert_int_equal(r.timeout_us, 10000000);
	assert_int_equal(parse("walbrook/1 wait db=/a position=0123456789abcdef/0000000a:4152 timeout-ms=5"),
			 0);
	assert_int_equal(r.verb, REQUEST_WAIT);
	assert_string_equal(r.position, "0123456789abcdef/0000000a:4152");
	assert_int_equal(r.timeout_us, 5000);
	request_free(&r);
}

static void test_wrong(void **state)
{
	static const struct {
		const char *line, *says;
	} all[] = {
		{ "", "begins with walbrook/1" },
		{ "walbrook/2 status", "begins with walbrook/1" },
		{ "GET / HTTP/1.1", "begins with walbrook/1" },
		{ "walbrook/1", "no request" },
		{ "walbrook/1 stop", "there are status, sync, reload, position and wait" },
		{ "walbrook/1 status json", "KEY=VALUE" },
		{ "walbrook/1 status format=xml", "json or text" },
		{ "walbrook/1 status format=json format=json", "twice" },
		{ "walbrook/1 status replica=a", "status has no key" },
		{ "walbrook/1 reload db=/a", "reload has no key" },
		{ "walbrook/1 status db=a.db", "absolute" },
		{ "walbrook/1 status db=", "empty or not encoded" },
		{ "walbrook/1 status db=/a%", "not encoded" },
		{ "walbrook/1 status db=/a%2", "not encoded" },
		{ "walbrook/1 status db=/a%zz", "not encoded" },
		{ "walbrook/1 status db=/a%00", "not encoded" },
		{ "walbrook/1 status db=/a\tb", "not encoded" },
		{ "walbrook/1 sync timeout-ms=0", "timeout-ms" },
		{ "walbrook/1 sync timeout-ms=86400001", "timeout-ms" },
		{ "walbrook/1 sync timeout-ms=99999999999999999999999", "timeout-ms" },
		{ "walbrook/1 sync timeout-ms=-1", "timeout-ms" },
		{ "walbrook/1 sync timeout-ms=5s", "timeout-ms" },
		{ "walbrook/1 status timeout-ms=5", "status has no key" },
		{ "walbrook/1 position", "exactly one db" },
		{ "walbrook/1 position db=/a db=/b", "exactly one db" },
		{ "walbrook/1 position db=/a position=0123456789abcdef/00000000:0", "position has no key" },
		{ "walbrook/1 wait db=/a", "takes a position" },
		{ "walbrook/1 wait position=0123456789abcdef/00000000:0", "exactly one db" },
		{ "walbrook/1 wait db=/a position=1:0", "GENERATION/INDEX:OFFSET" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
		assert_int_equal(parse(all[i].line), -1);
		assert_int_equal(e.kind, ERR_USAGE);
		if (!strstr(e.text, all[i].says))
			fail_msg("%s: %s", all[i].line, e.text);
	}
	request_free(&r);
}

static void test_round_trip(void **state)
{
	const char *dbs[] = { "/plain", "/with space", "/100%", "/tab\tand\nline", "/\xc3\xa4\x01\x7f" };
	struct request out = { .verb = REQUEST_SYNC,
			       .json = true,
			       .replica = "a=b c",
			       .timeout_us = 5000,
			       .dbs = dbs,
			       .dbs_n = 5 };
	struct dyn line = DYN_INIT(1 << 20);
	(void)state;
	assert_int_equal(request_write(&out, &line), 0);
	assert_int_equal(line.p[line.len - 1], '\n');
	assert_int_equal(request_parse((struct span){ line.p, line.len - 1 }, &r, &e), 0);
	assert_int_equal(r.dbs_n, 5);
	for (size_t i = 0; i < 5; i++)
		assert_string_equal(r.dbs[i], dbs[i]);
	assert_string_equal(r.replica, "a=b c");
	assert_int_equal(r.timeout_us, 5000);
	request_free(&r);
	dyn_free(&line);
}

static void test_too_long(void **state)
{
	const char *dbs[40];
	char path[2048] = "/";
	struct request out = { .verb = REQUEST_STATUS, .dbs = dbs, .dbs_n = 40 };
	struct dyn line = DYN_INIT(1 << 20);
	(void)state;
	memset(path + 1, 'x', sizeof path - 2);
	for (size_t i = 0; i < 40; i++)
		dbs[i] = path;
	assert_int_equal(request_write(&out, &line), -1);
	dyn_free(&line);
}

static void test_end(void **state)
{
	struct dyn line = DYN_INIT(4096);
	struct span sentence;
	int code;
	(void)state;
	assert_int_equal(answer_end(&line, 10, "two\nlines"), 0);
	assert_true(answer_end_parse((struct span){ line.p, line.len - 1 }, &code, &sentence));
	assert_int_equal(code, 10);
	assert_int_equal(sentence.n, 9);
	assert_memory_equal(sentence.p, "two?lines", 9);
	static const char *const none[] = {
		"", "{", "walbrook/1", "walbrook/1 x", "walbrook/1 1234 y", "walbrook/12 1 y"
	};
	for (size_t i = 0; i < sizeof none / sizeof *none; i++)
		assert_false(answer_end_parse((struct span){ (const uint8_t *)none[i], strlen(none[i]) }, &code,
					      &sentence));
	dyn_free(&line);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_plain),	   cmocka_unit_test(test_wrong),
		cmocka_unit_test(test_round_trip), cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_end),
	};
	return cmocka_run_group_tests_name("request", tests, NULL, NULL);
}
