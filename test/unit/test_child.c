/* SPDX-License-Identifier: Apache-2.0
 *
 * Commands: how they are split into words, and how they start, get signals and end. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "rt/child.h"
#include "rt/signals.h"

static void test_words(void **state)
{
	static const struct {
		const char *line, *words[6];
	} rows[] = {
		{ "app", { "app" } },
		{ "  app \t -x\n y  ", { "app", "-x", "y" } },
		{ "app 'a b' \"c d\"", { "app", "a b", "c d" } },
		{ "app a'b'\"c\"d", { "app", "abcd" } },
		{ "app '' \"\" x", { "app", "", "", "x" } },
		{ "app a\\ b \\' \\\\", { "app", "a b", "'", "\\" } },
		{ "app 'a\\b' '\"'", { "app", "a\\b", "\"" } },
		{ "app \"a\\\"b\\\\c\\d\\$\\`\" \"'\"", { "app", "a\"b\\c\\d$`", "'" } },
		{ "app $HOME * ~ `x` (y) #z", { "app", "$HOME", "*", "~", "`x`", "(y)" } },
		{ "app 'a;b' \"<>\" \\& \\|", { "app", "a;b", "<>", "&", "|" } },
		{ "app gr\xc3\xbcn", { "app", "gr\xc3\xbcn" } },
		{ "a b c d", { "a", "b", "c", "d" } },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char **argv;
		struct err e = ERR_INIT;
		if (child_split(rows[i].line, &argv, &e) < 0)
			fail_msg("%s: %s", rows[i].line, e.text);
		size_t n = 0;
		for (; n < 6 && rows[i].words[n]; n++) {
			assert_non_null(argv[n]);
			assert_string_equal(argv[n], rows[i].words[n]);
		}
		if (n < 6)
			assert_null(argv[n]);
		child_argv_free(argv);
	}
}

static void test_words_refused(void **state)
{
	static const struct {
		const char *line, *text;
	} rows[] = {
		{ "app 'a b", "command: unterminated quote: the ' at column 5 has no end" },
		{ "app \"a b", "command: unterminated quote: the \" at column 5 has no end" },
		{ "app \"a\\", "command: unterminated quote: the \" at column 5 has no end" },
		{ "app \"a\\\"", "command: unterminated quote: the \" at column 5 has no end" },
		{ "app a\\", "command: nothing follows the backslash at the end" },
		{ "app; rm x", "command: the ; at column 4 needs a shell: quote it, or run sh -c '...'" },
		{ "app >log", "command: the > at column 5 needs a shell: quote it, or run sh -c '...'" },
		{ "a&", "command: the & at column 2 needs a shell: quote it, or run sh -c '...'" },
		{ "", "command: it is empty" },
		{ " \t", "command: it is empty" },
		{ "'' x", "command: it is empty" },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char **argv = NULL;
		struct err e = ERR_INIT;
		assert_int_equal(child_split(rows[i].line, &argv, &e), -1);
		assert_int_equal(e.kind, ERR_CONFIG);
		assert_string_equal(e.text, rows[i].text);
		assert_null(argv);
	}
}

static void start(struct child *c, const char *line)
{
	char **argv;
	struct err e = ERR_INIT;
	assert_int_equal(child_split(line, &argv, &e), 0);
	if (child_start(c, argv, &e) < 0)
		fail_msg("%s", e.text);
	assert_true(c->pid > 0);
	child_argv_free(argv);
}

static int ended(struct child *c)
{
	while (!child_ended(c))
		sleep_us(1000);
	assert_int_equal(c->pid, 0);
	assert_true(child_ended(c));
	return c->exit_code;
}

static void test_exit_codes(void **state)
{
	struct child c = { 0 };
	(void)state;
	start(&c, "sh -c 'exit 7'");
	assert_int_equal(ended(&c), 7);
	start(&c, "true");
	assert_int_equal(ended(&c), 0);
	start(&c, "sh -c 'kill -9 $$'");
	assert_int_equal(ended(&c), 137);
	start(&c, "sleep 100");
	assert_false(child_ended(&c));
	child_signal(&c, SIGTERM);
	assert_int_equal(ended(&c), 143);
	child_signal(&c, SIGTERM); /* none there */
	/* Standard input is empty. */
	start(&c, "sh -c 'test -z \"$(cat)\" && exit 5'");
	assert_int_equal(ended(&c), 5);
}

/* We block signals and ignore SIGPIPE; a child must not: it dies from both. */
static void test_signals_restored(void **state)
{
	struct child c = { 0 };
	(void)state;
	signals_block();
	start(&c, "sh -c 'kill -TERM $$; exit 3'");
	assert_int_equal(ended(&c), 143);
	start(&c, "sh -c 'kill -PIPE $$; exit 3'");
	assert_int_equal(ended(&c), signals_pipe_was_ignored() ? 3 : 141);
}

static void test_cannot_start(void **state)
{
	struct child c = { 0 };
	struct err e = ERR_INIT;
	char name[] = "/nowhere/app", dir[] = "/tmp";
	char *absent[] = { name, NULL }, *directory[] = { dir, NULL };
	(void)state;
	assert_int_equal(child_start(&c, absent, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	assert_string_equal(e.text, "/nowhere/app: cannot start the command: No such file or directory");
	assert_int_equal(child_start(&c, directory, &e), -1);
	assert_int_equal(e.kind, ERR_UNREACHABLE);
	assert_int_equal(c.pid, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_words),	     cmocka_unit_test(test_words_refused),
		cmocka_unit_test(test_exit_codes),   cmocka_unit_test(test_signals_restored),
		cmocka_unit_test(test_cannot_start),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("child", tests, NULL, NULL);
}
