/* SPDX-License-Identifier: Apache-2.0
 *
 * The log as a whole: golden lines as Go's slog writes them, priorities for the journal, and what becomes of
 * messages that repeat. (test_base.c: escapes, durations, cutting.) */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/repeat.h"

static int pipe_fds[2];
static char text[65536];

static int open_pipe(void **state)
{
	(void)state;
	return pipe2(pipe_fds, O_NONBLOCK | O_CLOEXEC);
}

static int close_pipe(void **state)
{
	(void)state;
	log_collapse(false);
	log_setup(LOG_INFO, false, 2);
	unsetenv("JOURNAL_STREAM");
	close(pipe_fds[0]);
	close(pipe_fds[1]);
	return 0;
}

/* What was logged since, every time of day as T. */
static const char *logged(void)
{
	ssize_t n = read(pipe_fds[0], text, sizeof text - 1);
	text[n < 0 ? 0 : n] = 0;
	char *to = text;
	for (const char *from = text; *from; from++) {
		int year, digits = 0;
		char zone = 0;
		if (sscanf(from, "%4d-%*2d-%*2dT%*2d:%*2d:%*2d%n", &year, &digits) == 1 && digits == 19) {
			from += digits;
			while (*from == '.' || (*from >= '0' && *from <= '9'))
				from++;
			zone = *from;
		}
		if (zone == 'Z')
			*to++ = 'T';
		else
			*to++ = *from;
	}
	*to = 0;
	return text;
}

/* The lines that Go 1.21's slog handlers write for the same records. */
static void test_golden(void **state)
{
	(void)state;
	log_setup(LOG_DEBUG, false, pipe_fds[1]);
	log_debug("sync: ok");
	log_info("replicating to", L_S("name", "file"), L_S("path", "/a b"), L_MS("sync-interval", 1000));
	log_warn("odd", L_S("v", "a\vb\ac\\d"), L_S("w", "c:\\d"), L_S("z", "tag=1"), L_I("n", 0));
	log_error("failed to run", L_S("error", "open \"x\": no\nsuch"));
	assert_string_equal(
		logged(), "time=T level=DEBUG msg=\"sync: ok\"\n"
			  "time=T level=INFO msg=\"replicating to\" name=file path=\"/a b\" sync-interval=1s\n"
			  "time=T level=WARN msg=odd v=\"a\\vb\\ac\\\\d\" w=c:\\d z=\"tag=1\" n=0\n"
			  "time=T level=ERROR msg=\"failed to run\" error=\"open \\\"x\\\": no\\nsuch\"\n");
	log_setup(LOG_DEBUG, true, pipe_fds[1]);
	log_debug("sync: ok");
	log_warn("odd", L_S("v", "a\vb\bc"), L_S("path", "/a b"), L_MS("sync-interval", 1000), L_I("n", -1));
	assert_string_equal(logged(),
			    "{\"time\":\"T\",\"level\":\"DEBUG\",\"msg\":\"sync: ok\"}\n"
			    "{\"time\":\"T\",\"level\":\"WARN\",\"msg\":\"odd\",\"v\":\"a\\u000bb\\bc\","
			    "\"path\":\"/a b\",\"sync-interval\":1000000000,\"n\":-1}\n");
}

static void test_journal(void **state)
{
	struct stat st;
	char stream[64];
	(void)state;
	assert_int_equal(fstat(pipe_fds[1], &st), 0);
	snprintf(stream, sizeof stream, "%llu:%llu", (unsigned long long)st.st_dev,
		 (unsigned long long)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_setup(LOG_DEBUG, false, pipe_fds[1]);
	log_debug("a");
	log_info("b");
	log_warn("c");
	log_error("d");
	assert_string_equal(logged(), "<7>time=T level=DEBUG msg=a\n<6>time=T level=INFO msg=b\n"
				      "<4>time=T level=WARN msg=c\n<3>time=T level=ERROR msg=d\n");
	log_setup(LOG_INFO, true, pipe_fds[1]);
	log_info("json");
	assert_string_equal(logged(), "{\"time\":\"T\",\"level\":\"INFO\",\"msg\":\"json\"}\n");
	/* Another stream, or nonsense: not the journal. */
	static const char *const others[] = { "1:2", "", "x", "1" };
	for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
		setenv("JOURNAL_STREAM", others[i], 1);
		log_setup(LOG_INFO, false, pipe_fds[1]);
		log_error("d");
		assert_string_equal(logged(), "time=T level=ERROR msg=d\n");
	}
}

static void fail_once(const char *db, const char *error, int tries)
{
	log_error("replica fails", L_S("db", db), L_S("error", error), L_I("tries", tries));
}

static void test_collapse(void **state)
{
	(void)state;
	log_setup(LOG_INFO, false, pipe_fds[1]);
	log_collapse(true);
	for (int i = 1; i <= 5; i++) {
		fail_once("/a", "gone", i);
		fail_once("/b", "gone", i);
		log_info("not an error");
	}
	fail_once("/a", "another reason", 6);
	assert_string_equal(logged(), "time=T level=ERROR msg=\"replica fails\" db=/a error=gone tries=1\n"
				      "time=T level=ERROR msg=\"replica fails\" db=/b error=gone tries=1\n"
				      "time=T level=INFO msg=\"not an error\"\n"
				      "time=T level=INFO msg=\"not an error\"\n"
				      "time=T level=INFO msg=\"not an error\"\n"
				      "time=T level=INFO msg=\"not an error\"\n"
				      "time=T level=INFO msg=\"not an error\"\n"
				      "time=T level=ERROR msg=\"replica fails\" db=/a error=\"another reason\" "
				      "tries=6\n");
	log_flush();
	assert_string_equal(
		logged(), "time=T level=INFO msg=\"last of a series: replica fails\" db=/a error=gone tries=1 "
			  "repeated=4 last=T\n"
			  "time=T level=INFO msg=\"last of a series: replica fails\" db=/b error=gone tries=1 "
			  "repeated=4 last=T\n");
	log_flush(); /* said once */
	assert_string_equal(logged(), "");
	log_collapse(false);
	fail_once("/a", "gone", 1);
	fail_once("/a", "gone", 1);
	assert_string_equal(logged(), "time=T level=ERROR msg=\"replica fails\" db=/a error=gone tries=1\n"
				      "time=T level=ERROR msg=\"replica fails\" db=/a error=gone tries=1\n");
}

/* An attribute that does not fit into the slot is left out of the last line, which stays whole, also as JSON.
 */
static void test_collapse_long(void **state)
{
	char big[600];
	(void)state;
	memset(big, 'x', sizeof big - 1);
	big[sizeof big - 1] = 0;
	log_setup(LOG_INFO, true, pipe_fds[1]);
	log_collapse(true);
	for (int i = 0; i < 2; i++)
		log_warn("long", L_S("db", "/a"), L_S("error", big), L_I("n", 1));
	logged();
	log_flush();
	assert_string_equal(logged(), "{\"time\":\"T\",\"level\":\"INFO\",\"msg\":\"last of a series: long\","
				      "\"db\":\"/a\",\"repeated\":1,\"last\":\"T\"}\n");
	for (int i = 0; i < 2; i++)
		log_warn(big, L_S("db", "/a"));
	logged();
	log_flush();
	const char *line = logged();
	assert_non_null(strstr(line, "\"last of a series: xxx"));
	assert_non_null(strstr(line, "xxx\",\"db\":\"/a\",\"repeated\":1,\"last\":\"T\"}\n"));
}

/* ---- which of them are said ---- */

static struct repeats r;

static bool comes(const char *key, int64_t s, uint64_t *ret_unsaid)
{
	struct repeat *slot, lost;
	bool now = repeat_comes(&r, repeat_key(0, key), s * 1000000, &slot, ret_unsaid, &lost);
	assert_non_null(slot);
	return now;
}

/* Once a second for a day: at 0, 60, 180, 420, … and then hourly; none is lost in the counts. */
static void test_pace(void **state)
{
	static const int first[] = { 0, 60, 180, 420, 900, 1860, 3780, 7380, 10980 };
	uint64_t unsaid, counted = 0;
	int said = 0;
	(void)state;
	memset(&r, 0, sizeof r);
	for (int s = 0; s < 86400; s++) {
		if (!comes("k", s + 1000, &unsaid))
			continue;
		if (said < (int)(sizeof first / sizeof *first))
			assert_int_equal(s, first[said]);
		said++;
		counted += 1 + unsaid;
	}
	assert_int_equal(said, 7 + 22);
	struct repeat over;
	assert_true(repeat_over(&r, INT64_MAX, true, &over));
	assert_int_equal(counted + over.unsaid, 86400);
	assert_false(repeat_over(&r, INT64_MAX, true, &over));
}

static void test_over(void **state)
{
	struct repeat over;
	uint64_t unsaid;
	(void)state;
	memset(&r, 0, sizeof r);
	assert_true(comes("k", 1000, &unsaid));
	assert_false(repeat_over(&r, INT64_MAX, false, &over)); /* all was said: nothing to add */
	assert_false(comes("k", 1001, &unsaid));
	assert_true(comes("other", 1002, &unsaid));
	assert_false(comes("other", 1300 - 250, &unsaid));
	assert_false(repeat_over(&r, 1600 * INT64_C(1000000), false, &over));
	assert_true(repeat_over(&r, 1601 * INT64_C(1000000), false, &over));
	assert_int_equal(over.key, repeat_key(0, "k"));
	assert_int_equal(over.unsaid, 1);
	assert_int_equal(over.seen_us, 1001 * INT64_C(1000000));
	assert_false(repeat_over(&r, 1602 * INT64_C(1000000), false, &over));
	assert_true(comes("k", 1603, &unsaid)); /* it comes again: said at once */
	assert_int_equal(unsaid, 0);
	assert_true(repeat_over(&r, 1700 * INT64_C(1000000), false, &over));
	assert_int_equal(over.key, repeat_key(0, "other"));
	/* Seldom: each time it is later than the wait, so it is said, and nothing is ever over. */
	for (int i = 0; i < 40; i++) {
		assert_true(comes("seldom", 10000 + i * 4000, &unsaid));
		assert_int_equal(unsaid, 0);
	}
}

/* More keys than slots: said each time, the quiet ones go, and what was not said of them is handed out. */
static void test_many_keys(void **state)
{
	char key[16];
	struct repeat *slot, lost;
	uint64_t unsaid;
	(void)state;
	memset(&r, 0, sizeof r);
	for (int i = 0; i < REPEAT_KEYS; i++) {
		snprintf(key, sizeof key, "k%d", i);
		assert_true(comes(key, 1000 + i, &unsaid));
	}
	assert_false(comes("k0", 1055, &unsaid)); /* now all others were quiet for longer */
	int handed_out = 0;
	for (int i = 0; i < REPEAT_KEYS; i++) {
		snprintf(key, sizeof key, "n%d", i);
		assert_true(repeat_comes(&r, repeat_key(0, key), (2000 + i) * INT64_C(1000000), &slot, &unsaid,
					 &lost));
		handed_out += lost.key != 0;
		assert_true(lost.key == 0 || (lost.key == repeat_key(0, "k0") && lost.unsaid == 1));
	}
	assert_int_equal(handed_out, 1);
	assert_true(comes("k0", 4000, &unsaid)); /* forgotten */
	assert_int_equal(unsaid, 0);
}

static void test_keys(void **state)
{
	(void)state;
	/* "ab","c" is not "a","bc". */
	assert_int_not_equal(repeat_key(repeat_key(0, "ab"), "c"), repeat_key(repeat_key(0, "a"), "bc"));
	assert_int_not_equal(repeat_key(0, ""), 0);
	assert_int_equal(repeat_key(0, "x"), repeat_key(0, "x"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_golden, open_pipe, close_pipe),
		cmocka_unit_test_setup_teardown(test_journal, open_pipe, close_pipe),
		cmocka_unit_test_setup_teardown(test_collapse, open_pipe, close_pipe),
		cmocka_unit_test_setup_teardown(test_collapse_long, open_pipe, close_pipe),
		cmocka_unit_test(test_pace),
		cmocka_unit_test(test_over),
		cmocka_unit_test(test_many_keys),
		cmocka_unit_test(test_keys),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
