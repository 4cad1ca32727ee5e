/* SPDX-License-Identifier: Apache-2.0
 *
 * conf/args: every way of writing a flag, where flags end, and what each refusal says. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "conf/args.h"

enum { WORDS = 8 };

struct values {
	const char *text, *output;
	bool on, off;
	int number;
	int64_t us;
	struct args_time time;
	struct args_hex index;
};

#define AT(member) offsetof(struct values, member)

static const struct args_flag flags[] = {
	{ "text", ARGS_TEXT, AT(text), "TEXT", "a text", 0, 0 },
	{ "o", ARGS_TEXT, AT(output), "PATH", "a path", 0, 0 },
	{ "on-switch", ARGS_BOOL, AT(on), NULL, "a switch", 0, 0 },
	{ "off", ARGS_BOOL, AT(off), NULL, "a switch", 0, 0 },
	{ "number", ARGS_INT, AT(number), "N", "a number", -5, 10 },
	{ "wait", ARGS_DURATION, AT(us), "TIME", "a duration", 0, 0 },
	{ "timestamp", ARGS_TIME, AT(time), "TIME", "a time", 0, 0 },
	{ "index", ARGS_HEX, AT(index), "HEX", "an index", 0, 0 },
	{ 0 },
};

/* `words` is one string, words divided by `|`; "" is no word at all. */
static int parse(const char *words, struct values *v, int *ret_first, struct err *e)
{
	char copy[256], *argv[WORDS];
	int argc = 0;
	static char kept[256]; /* texts of flags are borrowed from the words */
	snprintf(copy, sizeof copy, "%s", words);
	memcpy(kept, copy, sizeof kept);
	*v = (struct values){ .off = true, .number = 7, .us = -1 };
	*e = ERR_INIT;
	*ret_first = -1;
	for (char *p = *words ? kept : NULL; p;) {
		char *end = strchr(p, '|');
		if (end)
			*end++ = 0;
		assert_true(argc < WORDS);
		argv[argc++] = p;
		p = end;
	}
	return args_parse(flags, v, argc, argv, ret_first, e);
}

static struct values good(const char *words, int first)
{
	struct values v;
	struct err e;
	int at;
	if (parse(words, &v, &at, &e) != 0)
		fail_msg("%s: %s", words, e.text);
	if (at != first)
		fail_msg("%s: arguments begin at %d", words, at);
	return v;
}

static void refuse(const char *words, const char *want)
{
	struct values v;
	struct err e;
	int at;
	int rc = parse(words, &v, &at, &e);
	if (rc != -1 || e.kind != ERR_USAGE || !strstr(e.text, want))
		fail_msg("%s: %d, expected \"%s\", got \"%s\"", words, rc, want, rc < 0 ? e.text : "");
}

static void nothing_is_nothing(void **state)
{
	(void)state;
	struct values v = good("", 0);
	assert_null(v.text);
	assert_false(v.on);
	assert_true(v.off);
	assert_int_equal(v.number, 7);
	assert_false(v.time.given);
	assert_false(v.index.given);
}

static void one_flag_can_be_written_in_four_ways(void **state)
{
	static const char *const ways[] = { "-text|a b", "--text|a b", "-text=a b", "--text=a b" };
	(void)state;
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
		assert_string_equal(good(ways[i], i < 2 ? 2 : 1).text, "a b");
	assert_string_equal(good("-text=", 1).text, "");
	assert_string_equal(good("-text=a=b", 1).text, "a=b");
	assert_string_equal(good("-o|-", 2).output, "-");
	assert_string_equal(good("-o|-5", 2).output, "-5");
	assert_string_equal(good("-o=-text", 1).output, "-text");
	assert_string_equal(good("-o|a|-o|b", 4).output, "b");
}

static void switches(void **state)
{
	(void)state;
	assert_true(good("-on-switch", 1).on);
	assert_true(good("-on-switch=true", 1).on);
	assert_true(good("--on-switch=1", 1).on);
	assert_true(good("-on-switch=T", 1).on);
	assert_false(good("-off=false", 1).off);
	assert_false(good("-off=0", 1).off);
	assert_false(good("-off=F", 1).off);
	assert_true(good("-on-switch|false", 1).on); /* the next word is never the value of a switch */
	refuse("-off=maybe", "neither true nor false");
	refuse("-off=", "neither true nor false");
}

static void values_have_types(void **state)
{
	(void)state;
	assert_int_equal(good("-number|-5", 2).number, -5);
	assert_int_equal(good("-number=10", 1).number, 10);
	refuse("-number=11", "allowed are -5 to 10");
	refuse("-number=99999999999999999999", "allowed are -5 to 10");
	refuse("-number=", "not a whole number");
	refuse("-number=1x", "not a whole number");
	refuse("-number= 1", "not a whole number");
	assert_int_equal(good("-wait=1m30s", 1).us, 90000000);
	refuse("-wait=10", "-wait: \"10\" has no unit");
	struct values v = good("-timestamp|2020-01-02T03:04:05.25Z", 2);
	assert_true(v.time.given);
	assert_int_equal(v.time.wall_us, INT64_C(1577934245250000));
	assert_int_equal(good("-timestamp=2020-01-02T05:04:05+02:00", 1).time.wall_us,
			 INT64_C(1577934245000000));
	refuse("-timestamp=2020-01-02", "2000-01-02T15:04:05Z");
	refuse("-timestamp=2020-01-02 03:04:05", "2000-01-02T15:04:05Z");
	refuse("-timestamp=yesterday", "\"yesterday\" is not a time");
	v = good("-index|0000001f", 2);
	assert_true(v.index.given);
	assert_int_equal(v.index.value, 31);
	assert_int_equal(good("-index=0x1F", 1).index.value, 31);
	refuse("-index=zz", "e.g. 0000001f");
	refuse("-index=", "e.g. 0000001f");
	refuse("-index=11112222333344445", "is not a WAL index");
}

static void flags_end_at_the_first_argument(void **state)
{
	(void)state;
	assert_int_equal((int)good("-on-switch|a|b", 1).on, 1);
	good("a|b", 0);
	good("-|a", 0);
	good("--", 1);
	good("--|-text|a", 1);
	good("-on-switch|--|-o", 2);
	refuse("a|-o|b", "flags must come before arguments: -o");
	refuse("-on-switch|a|--text=b", "flags must come before arguments: --text=b");
	refuse("a|-5", "goes behind --");
}

static void unknown_flags_have_neighbours(void **state)
{
	(void)state;
	refuse("-txet|a", "there is no flag -txet. Did you mean -text?");
	refuse("--timestmap=x", "Did you mean -timestamp?");
	refuse("-on-swich", "Did you mean -on-switch?");
	refuse("-xyzzy", "-h lists");
	refuse("-tex|a", "there is no flag -tex"); /* no abbreviations */
	refuse("---text|a", "there is no flag");
	refuse("-=a", "there is no flag");
	refuse("-Text|a", "Did you mean -text?");
}

static void values_are_not_forgotten(void **state)
{
	(void)state;
	refuse("-o", "-o needs a value: -o PATH");
	refuse("-text|a|--o", "-o needs a value");
	refuse("-o|-on-switch|a", "write -o=-on-switch");
	refuse("-o|--text=a", "the flag --text=a follows");
}

static void help_is_asked_for(void **state)
{
	static const char *const ways[] = { "-h", "-help", "--help", "-on-switch|-h", "-h|-nonsense" };
	struct values v;
	struct err e;
	int at;
	(void)state;
	for (size_t i = 0; i < sizeof ways / sizeof *ways; i++)
		assert_int_equal(parse(ways[i], &v, &at, &e), 1);
	refuse("-nonsense|-h", "there is no flag");
	refuse("a|-h", "flags must come before");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_is_nothing),
		cmocka_unit_test(one_flag_can_be_written_in_four_ways),
		cmocka_unit_test(switches),
		cmocka_unit_test(values_have_types),
		cmocka_unit_test(flags_end_at_the_first_argument),
		cmocka_unit_test(unknown_flags_have_neighbours),
		cmocka_unit_test(values_are_not_forgotten),
		cmocka_unit_test(help_is_asked_for),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("args", tests, NULL, NULL);
}
