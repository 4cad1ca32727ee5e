/* SPDX-License-Identifier: Apache-2.0
 *
 * live/lineage: the text there and back, texts that are none, and which of two may be followed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "live/lineage.h"

#define TEXT                                                                                                   \
	"walbrook-lineage 1\n"                                                                                 \
	"line 5f0c6d3b9f2e4a71\n"                                                                              \
	"promoted 2f77a0d41c9be503 37ba5b6d12c0a1f5/0000000a:4152 2026-11-21T10:00:00.000000Z\n"

static int parse(const char *text, struct lineage *l, struct err *e)
{
	return lineage_parse((struct span){ (const uint8_t *)text, strlen(text) }, l, e);
}

static void test_there_and_back(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct lineage l;
	struct dyn text = DYN_INIT(10000);
	assert_int_equal(parse(TEXT, &l, &e), 0);
	assert_string_equal(l.line, "5f0c6d3b9f2e4a71");
	assert_int_equal(l.n, 1);
	assert_string_equal(l.promotions[0].id, "2f77a0d41c9be503");
	assert_string_equal(l.promotions[0].generation.name, "37ba5b6d12c0a1f5");
	assert_int_equal(l.promotions[0].at.index, 10);
	assert_int_equal(l.promotions[0].at.offset, 4152);
	assert_int_equal(lineage_text(&l, &text), 0);
	assert_int_equal(text.len, strlen(TEXT));
	assert_memory_equal(text.p, TEXT, text.len);
	dyn_free(&text);
	lineage_free(&l);
}

static void test_refused(void **state)
{
	(void)state;
	static const char *const texts[] = {
		"",
		"walbrook-lineage 1\n",
		"walbrook-lineage 2\nline 5f0c6d3b9f2e4a71\n",
		"walbrook-lineage 1\nline 5f0c6d3b9f2e4a7\n",
		"walbrook-lineage 1\nline 5F0C6D3B9F2E4A71\n",
		"walbrook-lineage 1\nline 5f0c6d3b9f2e4a71 \n\n",
		"walbrook-lineage 1\nline 5f0c6d3b9f2e4a71",
		TEXT "promoted 2f77a0d41c9be503\n",
		TEXT "promoted 2f77a0d41c9be503 37ba5b6d12c0a1f5/a:4152 2026-11-21T10:00:00.000000Z\n",
		TEXT "promoted 2f77a0d41c9be503 37ba5b6d12c0a1f5/0000000a:41x 2026-11-21T10:00:00.000000Z\n",
		TEXT "promoted 2f77a0d41c9be503 37ba5b6d12c0a1f5/0000000a:4152 yesterday\n",
		TEXT "demoted\n",
		TEXT "plain and more\n",
		TEXT "plain\nplain\n",
	};
	for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
		struct err e = ERR_INIT;
		struct lineage l;
		assert_int_equal(parse(texts[i], &l, &e), -1);
		assert_int_equal(e.kind, ERR_DAMAGED);
		assert_null(l.promotions);
	}
}

static void test_which(void **state)
{
	(void)state;
	struct err e = ERR_INIT;
	struct lineage first, promoted, other, branch;
	struct generation g = generation_from(7);
	assert_int_equal(lineage_make(&first, &e), 0);
	assert_int_equal(lineage_make(&other, &e), 0);
	promoted = branch = (struct lineage){ .n = 0 };
	memcpy(promoted.line, first.line, sizeof first.line);
	memcpy(branch.line, first.line, sizeof first.line);
	assert_int_equal(lineage_promote(&promoted, &g, (struct position){ 1, 32 }, 5, &e), 0);
	assert_int_equal(lineage_promote(&branch, &g, (struct position){ 1, 32 }, 5, &e), 0);
	assert_int_equal(lineage_compare(&first, &first), LINEAGE_SAME);
	assert_int_equal(lineage_compare(&promoted, &promoted), LINEAGE_SAME);
	assert_int_equal(lineage_compare(&first, &promoted), LINEAGE_AHEAD);
	assert_int_equal(lineage_compare(&promoted, &first), LINEAGE_BEHIND);
	assert_int_equal(lineage_compare(&promoted, &branch), LINEAGE_BRANCH);
	assert_int_equal(lineage_compare(&first, &other), LINEAGE_OTHER);
	/* One that was made because a plain server has none gives way, until somebody is promoted. */
	assert_false(lineage_gives_way(&first, &other));
	first.plain = promoted.plain = true;
	assert_true(lineage_gives_way(&first, &other));
	assert_false(lineage_gives_way(&first, &promoted));
	assert_false(lineage_gives_way(&promoted, &other));
	struct dyn text = DYN_INIT(1 << 20);
	struct lineage again;
	assert_int_equal(lineage_text(&promoted, &text), 0);
	assert_int_equal(lineage_parse((struct span){ text.p, text.len }, &again, &e), 0);
	assert_true(again.plain && lineage_compare(&again, &promoted) == LINEAGE_SAME);
	lineage_free(&again);
	dyn_free(&text);
	lineage_free(&promoted);
	lineage_free(&branch);
}

static void test_file(void **state)
{
	(void)state;
	char dir[] = "/tmp/wb-lineage-XXXXXX", sub[100];
	struct err e = ERR_INIT;
	struct owner owner = OWNER_PRIVATE;
	struct lineage one, two;
	assert_non_null(mkdtemp(dir));
	snprintf(sub, sizeof sub, "%s/walbrook", dir);
	assert_int_equal(mkdir(sub, 0700), 0);
	assert_int_equal(lineage_read(dir, &one, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	assert_int_equal(lineage_read_or_make(dir, &owner, &one, &e), 0);
	assert_int_equal(lineage_read_or_make(dir, &owner, &two, &e), 0);
	assert_int_equal(lineage_compare(&one, &two), LINEAGE_SAME);
	lineage_free(&one);
	lineage_free(&two);
	snprintf(sub, sizeof sub, "%s/walbrook/lineage", dir);
	unlink(sub);
	snprintf(sub, sizeof sub, "%s/walbrook", dir);
	rmdir(sub);
	rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_which),
		cmocka_unit_test(test_file),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("lineage", tests, NULL, NULL);
}
