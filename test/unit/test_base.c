/* SPDX-License-Identifier: Apache-2.0
 *
 * base/: clock, log, file and paths, errors and buffers, and (in the test build) the faults of the system
 * calls, which are tried in children of this program: `test_base fault SCENARIO DIR`. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/file.h"
#include "base/log.h"
#include "base/sys.h"

static char root[64];

static char *at(char *buf, const char *name)
{
	assert_int_equal(path_join(buf, root, name), 0);
	return buf;
}

static int make_root(void **state)
{
	(void)state;
	snprintf(root, sizeof root, "/tmp/wb-base-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int drop_root(void **state)
{
	char cmd[128];
	(void)state;
	snprintf(cmd, sizeof cmd, "rm -rf '%s'", root);
	return system(cmd);
}

/* ---- clock ---- */

static void test_time_text(void **state)
{
	static const struct {
		const char *text;
		int64_t us;
		int digits;
	} rows[] = {
		{ "1970-01-01T00:00:00Z", 0, 0 },
		{ "1969-12-31T23:59:59.999999Z", -1, 6 },
		{ "2000-02-29T12:34:56.789Z", 951827696789000, 3 },
		{ "2026-01-02T03:04:05.123456Z", 1767323045123456, 6 },
		{ "2100-03-01T00:00:00Z", 4107542400000000, 0 },
		{ "0000-01-01T00:00:00Z", -62167219200000000, 0 },
		{ "9999-12-31T23:59:59.999999Z", 253402300799999999, 6 },
	};
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		char buf[TIME_TEXT_BYTES];
		int64_t us;
		assert_string_equal(time_format(buf, rows[i].us, rows[i].digits), rows[i].text);
		assert_int_equal(time_parse(rows[i].text, &us), 0);
		assert_int_equal(us, rows[i].us);
	}
	char buf[TIME_TEXT_BYTES];
	assert_true(strlen(time_format(buf, INT64_MIN, 6)) > 20);
	assert_true(strlen(time_format(buf, INT64_MAX, 6)) > 20);
}

static void test_time_parse(void **state)
{
	static const char *const bad[] = { "",
					   "2026-01-02",
					   "2026-01-02T03:04:05",
					   "2026-13-02T03:04:05Z",
					   "2026-02-29T03:04:05Z",
					   "1900-02-29T03:04:05Z",
					   "2026-00-02T03:04:05Z",
					   "2026-01-00T03:04:05Z",
					   "2026-01-02T24:04:05Z",
					   "2026-01-02T03:60:05Z",
					   "2026-01-02T03:04:60Z",
					   "2026-01-02T03:04:05.Z",
					   "2026-01-02T03:04:05.1234567890Z",
					   "2026-01-02T03:04:05+0100",
					   "2026-01-02T03:04:05+24:00",
					   "2026-01-02T03:04:05Zx",
					   "2026-1-02T03:04:05Z",
					   "+026-01-02T03:04:05Z",
					   "2026-01-02 03:04:05Z" };
	int64_t us = 42;
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		if (time_parse(bad[i], &us) == 0)
			fail_msg("taken: %s", bad[i]);
	}
	assert_int_equal(us, 42);
	assert_int_equal(time_parse("2026-01-02T05:04:05.1+02:00", &us), 0);
	assert_int_equal(us, 1767323045100000);
	assert_int_equal(time_parse("2026-01-01T21:34:05.123456999-05:30", &us), 0);
	assert_int_equal(us, 1767323045123456);
	/* Every day of 800 years there and back. */
	for (int64_t day = -200000; day < 200000; day += 7) {
		char buf[TIME_TEXT_BYTES];
		assert_int_equal(time_parse(time_format(buf, day * 86400 * 1000000, 0), &us), 0);
		assert_int_equal(us, day * 86400 * 1000000);
	}
}

static void test_clocks(void **state)
{
	(void)state;
	int64_t before = mono_us();
	sleep_us(3000);
	assert_true(mono_us() - before >= 3000);
	assert_true(wall_us() > 1700000000000000);
	sleep_us(-5);
	assert_true(mono_ms() * 1000 <= mono_us());
}

/* ---- log ---- */

static char log_text[8192];

/* What log_write made of it, read back from a pipe. */
static const char *logged(bool json, const char *msg, const struct log_attr *a, unsigned long n)
{
	int fds[2];
	assert_int_equal(pipe(fds), 0);
	log_setup(LOG_INFO, json, fds[1]);
	errno = 77;
	log_write(LOG_WARN, msg, a, n);
	assert_int_equal(errno, 77);
	log_setup(LOG_INFO, false, 2);
	ssize_t got = read(fds[0], log_text, sizeof log_text - 1);
	assert_true(got > 0);
	log_text[got] = 0;
	close(fds[0]);
	close(fds[1]);
	assert_int_equal(log_text[got - 1], '\n');
	return log_text;
}

static const char *after_time(const char *line, const char *from)
{
	const char *p = strstr(line, from);
	assert_non_null(p);
	return p;
}

static void test_log_text(void **state)
{
	const struct log_attr a[] = {
		L_S("db", "/a/b"),	    L_S("e", ""),      L_S("s", "two words"), L_S("eq", "a=b"),
		L_S("q", "\"\\\n\x01\x7f"), L_S("bs", "a\\b"), L_S("u", "grün"),      L_S("bad", "\xff"),
		L_S("ctl", "\xc2\x85"),	    L_S("nul", NULL),  L_I("n", -5),	      L_MS("d0", 0),
	};
	int64_t us;
	char time[32];
	(void)state;
	const char *line = logged(false, "hello world", a, sizeof a / sizeof *a);
	assert_int_equal(strncmp(line, "time=", 5), 0);
	snprintf(time, sizeof time, "%.24s", line + 5);
	assert_int_equal(time_parse(time, &us), 0);
	assert_true(wall_us() - us < 60 * 1000000);
	assert_string_equal(after_time(line, " level="),
			    " level=WARN msg=\"hello world\" db=/a/b e=\"\" s=\"two words\" eq=\"a=b\" "
			    "q=\"\\\"\\\\\\n\\x01\\x7f\" bs=a\\b u=grün bad=\"\\xff\" ctl=\"\\u0085\" nul=\"\" "
			    "n=-5 d0=0s\n");
	assert_string_equal(after_time(logged(false, "sync", NULL, 0), " level="), " level=WARN msg=sync\n");
}

static void test_log_durations(void **state)
{
	static const struct {
		int64_t ms;
		const char *text;
	} rows[] = { { 12, "12ms" },	   { 1500, "1.5s" },	  { 1000, "1s" },
		     { 61020, "1m1.02s" }, { 3600000, "1h0m0s" }, { 86400000 + 1, "24h0m0.001s" },
		     { -250, "-250ms" },   { -1250, "-1.25s" } };
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		const struct log_attr a[] = { L_MS("d", rows[i].ms) };
		char want[64];
		snprintf(want, sizeof want, " d=%s\n", rows[i].text);
		assert_string_equal(after_time(logged(false, "m", a, 1), " d="), want);
	}
	const struct log_attr huge[] = { L_MS("d", INT64_MAX), L_MS("f", INT64_MIN), L_MS("g", 12) };
	assert_string_equal(after_time(logged(true, "m", huge, 3), "\"d\""),
			    "\"d\":9223372036854775807,\"f\":-9223372036854775808,\"g\":12000000}\n");
	assert_non_null(strstr(logged(false, "m", huge, 3), " f=-2562047788015h12m55.808s"));
}

static void test_log_json(void **state)
{
	const struct log_attr a[] = { L_S("s", "a\"\\\n\t\x01\xff\xe2\x80\xa8ü"), L_I("n", 7) };
	(void)state;
	const char *line = logged(true, "hello", a, 2);
	assert_int_equal(strncmp(line, "{\"time\":\"20", 11), 0);
	assert_string_equal(after_time(line, ",\"level\""),
			    ",\"level\":\"WARN\",\"msg\":\"hello\",\"s\":"
			    "\"a\\\"\\\\\\n\\t\\u0001\\ufffd\\u2028ü\",\"n\":7}\n");
}

/* A long value at every length around the ceiling: one line, never above 4096 bytes, JSON closed properly. */
static void test_log_cut(void **state)
{
	static char big[6000];
	(void)state;
	for (size_t n = 3900; n < 4300; n++) {
		memset(big, 'x', n);
		if (n % 3 == 0)
			memset(big + n - 60, '"', 60);
		big[n] = 0;
		const struct log_attr a[] = { L_S("one", big), L_S("two", "2"), L_I("three", 3) };
		for (int json = 0; json < 2; json++) {
			const char *line = logged(json, "m", a, 3);
			size_t len = strlen(line);
			assert_true(len <= 4096);
			assert_ptr_equal(strchr(line, '\n'), line + len - 1);
			if (json)
				assert_memory_equal(line + len - 3,
						    strstr(line, "…")	    ? "\"}\n"
						    : strstr(line, "three") ? "3}\n"
									    : "\"}\n",
						    3);
			assert_true(n < 4200 || strstr(line, "…"));
		}
	}
}

static void test_log_level(void **state)
{
	(void)state;
	log_setup(LOG_WARN, false, 2);
	assert_false(log_enabled(LOG_INFO));
	assert_true(log_enabled(LOG_ERROR));
	log_info("must not be seen", L_S("a", "b"));
	log_setup(LOG_INFO, false, 2);
	assert_true(log_enabled(LOG_INFO));
	assert_false(log_enabled(LOG_DEBUG));
}

/* ---- err and buf ---- */

static void test_err(void **state)
{
	struct err e = ERR_INIT;
	(void)state;
	assert_int_equal(err_sys(&e, ENOSPC, "%s: cannot write", "/x"), -1);
	assert_int_equal(e.kind, ERR_SPACE);
	err_wrap(&e, "db %s", "a");
	err_hint(&e, "free some");
	assert_string_equal(e.text, "db a: /x: cannot write: No space left on device. free some");
	assert_int_equal(err_exit_code(ERR_DEADLINE), 10);
	assert_true(err_worth_retry(ERR_BUSY));
	char big[3000];
	memset(big, 'y', sizeof big - 1);
	big[sizeof big - 1] = 0;
	unsetenv("INVOCATION_ID");
	err_sys(&e, EROFS, "/x: cannot write");
	assert_string_equal(e.text, "/x: cannot write: Read-only file system");
	setenv("INVOCATION_ID", "0123456789abcdef0123456789abcdef", 1); /* as systemd does */
	err_sys(&e, EROFS, "/x: cannot write");
	assert_non_null(strstr(e.text, "ReadWritePaths="));
	unsetenv("INVOCATION_ID");
	err_sys(&e, EIO, "%s", big);
	err_wrap(&e, "%s", big);
	err_hint(&e, "%s", big);
	assert_int_equal(strlen(e.text), ERR_TEXT_BYTES - 1);
}

static void test_buf(void **state)
{
	struct dyn b = DYN_INIT(10);
	(void)state;
	assert_int_equal(dyn_add(&b, "12345678", 8), 0);
	assert_int_equal(dyn_add(&b, "901", 3), -1);
	assert_int_equal(b.len, 8);
	dyn_free(&b);
	static const uint64_t values[] = { 0, 127, 128, 1u << 31, UINT64_MAX };
	for (size_t i = 0; i < sizeof values / sizeof *values; i++) {
		uint8_t raw[10];
		struct cur c = { raw, put_varint(raw, values[i]), false };
		assert_int_equal(cur_varint(&c), values[i]);
		assert_false(c.bad);
		assert_int_equal(c.n, 0);
	}
	uint8_t over[] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02 };
	struct cur c = { over, sizeof over, false };
	cur_varint(&c);
	assert_true(c.bad);
}

/* ---- paths ---- */

static void test_paths(void **state)
{
	static const struct {
		const char *path, *dir;
	} dirs[] = { { "/a/b", "/a" }, { "/a", "/" },	    { "a", "." },	{ "/a/b/", "/a" },
		     { "/", "/" },     { "//a//b", "//a" }, { "a/b/c", "a/b" }, { "", "." } };
	char buf[PATH_BYTES];
	(void)state;
	for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
		assert_int_equal(path_dir(buf, dirs[i].path), 0);
		assert_string_equal(buf, dirs[i].dir);
	}
	snprintf(buf, sizeof buf, "/x/y/z");
	assert_int_equal(path_dir(buf, buf), 0);
	assert_string_equal(buf, "/x/y");
	assert_string_equal(path_base("/a/b.db"), "b.db");
	assert_string_equal(path_base("b.db"), "b.db");
	assert_int_equal(path_join(buf, "/a/", "b"), 0);
	assert_string_equal(buf, "/a/b");
	assert_int_equal(path_join(buf, "", "b"), 0);
	assert_string_equal(buf, "b");
	char big[PATH_BYTES + 8];
	memset(big, 'p', sizeof big - 1);
	big[sizeof big - 1] = 0;
	assert_int_equal(path_join(buf, "/", big), -1);
	struct err e;
	assert_int_equal(path_absolute(buf, big, &e), -1);
	assert_int_equal(e.kind, ERR_CONFIG);
}

static void test_path_absolute(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = { { "/a/b", "/a/b" },
		     { "/a//b/", "/a/b" },
		     { "/a/./b/.", "/a/b" },
		     { "/a/../b", "/b" },
		     { "/../..", "/" },
		     { "/", "/" },
		     { "/a/b/../../..", "/" },
		     { "~", "/home/me" },
		     { "~/x/../y", "/home/me/y" },
		     { "/a/..b/c..", "/a/..b/c.." } };
	char buf[PATH_BYTES], cwd[PATH_BYTES], want[2 * PATH_BYTES];
	struct err e;
	(void)state;
	setenv("HOME", "/home/me", 1);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(path_absolute(buf, rows[i].in, &e), 0);
		assert_string_equal(buf, rows[i].out);
	}
	assert_non_null(getcwd(cwd, sizeof cwd));
	assert_int_equal(path_absolute(buf, "x/~/y", &e), 0);
	snprintf(want, sizeof want, "%s%sx/~/y", cwd, strcmp(cwd, "/") ? "/" : "");
	assert_string_equal(buf, want);
	assert_int_equal(path_absolute(buf, "", &e), -1);
	setenv("HOME", "relative", 1);
	assert_int_equal(path_absolute(buf, "~/x", &e), -1);
	unsetenv("HOME");
	assert_int_equal(path_absolute(buf, "~/x", &e), 0); /* from the user database */
	assert_int_equal(buf[0], '/');
	setenv("HOME", "/home/me", 1);
}

/* ---- files ---- */

static void test_publish(void **state)
{
	char path[PATH_BYTES], temp[PATH_BYTES];
	struct owner o = OWNER_PRIVATE;
	struct dyn b = DYN_INIT(1 << 20);
	struct err e = ERR_INIT;
	struct stat st;
	(void)state;
	at(path, "f");
	assert_int_equal(file_publish(path, "one", 3, &o, &e), 0);
	assert_int_equal(file_publish(path, "two!", 4, &o, &e), 0);
	assert_int_equal(file_read_all(path, &b, &e), 0);
	assert_int_equal(b.len, 4);
	assert_memory_equal(b.p, "two!", 4);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
	assert_int_equal(access(at(temp, "f.tmp"), F_OK), -1);
	/* The target is a directory: rename fails, the temp file goes away. */
	mkdir(at(path, "d"), 0700);
	assert_int_equal(file_publish(path, "x", 1, &o, &e), -1);
	assert_non_null(strstr(e.text, path));
	assert_int_equal(access(at(temp, "d.tmp"), F_OK), -1);
	assert_int_equal(file_publish(at(path, "none/f"), "x", 1, &o, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	dyn_free(&b);
}

static void test_read_all(void **state)
{
	char path[PATH_BYTES];
	struct dyn b = DYN_INIT(200000);
	struct err e = ERR_INIT;
	struct owner o = OWNER_PRIVATE;
	static char big[200001];
	(void)state;
	at(path, "big");
	memset(big, 'z', sizeof big);
	assert_int_equal(file_publish(path, big, 200000, &o, &e), 0);
	assert_int_equal(file_read_all(path, &b, &e), 0);
	assert_int_equal(b.len, 200000);
	dyn_free(&b);
	assert_int_equal(file_publish(path, big, 200001, &o, &e), 0);
	assert_int_equal(file_read_all(path, &b, &e), -1);
	assert_non_null(strstr(e.text, "200000"));
	assert_int_equal(b.len, 0);
	assert_int_equal(file_read_all(at(path, "absent"), &b, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	assert_int_equal(file_read_all(root, &b, &e), -1);
	assert_int_equal(e.kind, ERR_UNREACHABLE);
	dyn_free(&b);
}

static void test_positioned(void **state)
{
	char path[PATH_BYTES], got[8];
	struct owner o = OWNER_PRIVATE;
	struct err e = ERR_INIT;
	(void)state;
	int fd = file_create(at(path, "p"), &o, &e);
	assert_true(fd >= 0);
	assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	assert_int_equal(file_pwrite_all(fd, path, "abcdef", 6, 2, &e), 0);
	assert_int_equal(file_pread_full(fd, path, got, 8, 4, &e), 4);
	assert_memory_equal(got, "cdef", 4);
	assert_int_equal(file_pread_full(fd, path, got, 8, 100, &e), 0);
	close(fd);
	assert_int_equal(file_write_all(fd, path, "x", 1, &e), -1);
	assert_int_equal(e.sys, EBADF);
	assert_int_equal(file_pread_full(fd, path, got, 1, 0, &e), -1);
}

static void test_dir_make(void **state)
{
	char path[PATH_BYTES], file[PATH_BYTES];
	struct owner o = { .file_mode = 0640,
			   .dir_mode = 0750,
			   .uid = geteuid(),
			   .dir_uid = geteuid(),
			   .gid = getegid(),
			   .dir_gid = getegid() };
	struct err e = ERR_INIT;
	struct stat st;
	(void)state;
	umask(022);
	assert_int_equal(dir_make(at(path, "m/n//o/"), &o, &e), 0);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(dir_make(path, &o, &e), 0);
	int fd = file_create(at(file, "m/file"), &o, &e);
	assert_true(fd >= 0);
	close(fd);
	struct owner found = owner_of(file);
	assert_int_equal(found.file_mode, 0640);
	assert_int_equal(found.dir_mode, 0750);
	assert_int_equal(found.uid, geteuid());
	assert_int_equal(owner_of("/absent/x").file_mode, 0600);
	assert_int_equal(dir_make(at(path, "m/file/below"), &o, &e), -1);
	assert_int_equal(e.sys, ENOTDIR);
	assert_int_equal(dir_make(file, &o, &e), -1);
	assert_int_equal(dir_sync(at(path, "absent"), &e), -1);
}

static void test_rename_noreplace(void **state)
{
	char a[PATH_BYTES], b[PATH_BYTES];
	struct owner o = OWNER_PRIVATE;
	struct err e;
	(void)state;
	assert_int_equal(file_publish(at(a, "ra"), "a", 1, &o, &e), 0);
	assert_int_equal(file_publish(at(b, "rb"), "b", 1, &o, &e), 0);
	assert_int_equal(sys_rename_noreplace(a, b), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(unlink(b), 0);
	assert_int_equal(sys_rename_noreplace(a, b), 0);
	assert_int_equal(access(a, F_OK), -1);
	assert_int_equal(access(b, F_OK), 0);
}

#ifdef WALBROOK_FAULTS

/* ---- faults ---- */

/* In the child. Status: 0 as a quiet run, 10 + errno when the scenario failed. */
static int fault_child(const char *scenario, const char *dir)
{
	struct owner o = OWNER_PRIVATE;
	struct err e = ERR_INIT;
	char path[PATH_BYTES], other[PATH_BYTES];
	path_join(path, dir, "out");
	path_join(other, dir, "arm");
	if (strcmp(scenario, "publish") == 0)
		return file_publish(path, "0123456789", 10, &o, &e) == 0 ? 0 : 10 + e.sys;
	if (strcmp(scenario, "arm") == 0) { /* the first unlink is not counted, the second is */
		sys_unlink(path);
		int fd = open(other, O_CREAT | O_WRONLY, 0600);
		close(fd);
		return sys_unlink(path) < 0 && errno == EIO ? 0 : 1;
	}
	if (strcmp(scenario, "mkdir") == 0)
		return sys_mkdir(path, 0700) == 0 ? 0 : 10 + errno;
	return 99;
}

static int run_child(const char *scenario, const char *fault, const char *trace, const char *arm)
{
	char self[PATH_BYTES];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	assert_true(n > 0);
	self[n] = 0;
	pid_t pid = fork();
	if (pid == 0) {
		setenv("WALBROOK_FAULT", fault, 1);
		if (trace)
			setenv("WALBROOK_FAULT_TRACE", trace, 1);
		if (arm)
			setenv("WALBROOK_FAULT_ARM", arm, 1);
		if (strstr(fault, "nonsense")) /* its complaint is not for the test's reader */
			close(2);
		execl(self, self, "fault", scenario, root, (char *)NULL);
		_exit(98);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

static void test_faults(void **state)
{
	char out[PATH_BYTES], temp[PATH_BYTES], log[PATH_BYTES], arm[PATH_BYTES];
	struct dyn b = DYN_INIT(1 << 20);
	struct err e;
	(void)state;
	at(out, "out");
	at(temp, "out.tmp");
	at(log, "trace");
	at(arm, "arm");
	assert_int_equal(run_child("publish", "*:100:die", log, NULL), 0);
	assert_int_equal(file_read_all(log, &b, &e), 0);
	dyn_add(&b, "", 1);
	char *save = NULL, *line = strtok_r((char *)b.p, "\n", &save);
	static const char *const calls[] = { "open ", "write ", "fsync ", "rename ", "fsync " };
	for (size_t i = 0; i < sizeof calls / sizeof *calls; i++, line = strtok_r(NULL, "\n", &save)) {
		assert_non_null(line);
		assert_int_equal(strncmp(line, calls[i], strlen(calls[i])), 0);
		assert_non_null(strstr(line, root));
	}
	assert_null(line);
	dyn_free(&b);
	assert_int_equal(unlink(out), 0);
	assert_int_equal(run_child("publish", "rename:1:die", NULL, NULL), -SIGKILL);
	assert_int_equal(access(out, F_OK), -1);
	assert_int_equal(access(temp, F_OK), 0);
	assert_int_equal(run_child("publish", "rename:1:die-after", NULL, NULL), -SIGKILL);
	assert_int_equal(access(out, F_OK), 0);
	assert_int_equal(unlink(out), 0);
	assert_int_equal(run_child("publish", "write:1:enospc", NULL, NULL), 10 + ENOSPC);
	assert_int_equal(run_child("publish", "fsync:1:eio", NULL, NULL), 10 + EIO);
	assert_int_equal(access(temp, F_OK), -1);
	assert_int_equal(access(out, F_OK), -1);
	/* short and interrupted transfers are overcome */
	assert_int_equal(
		run_child("publish", "write:1:short,write:2:eintr,fsync:1:eintr,*:1:eintr", NULL, NULL), 0);
	assert_int_equal(file_read_all(out, &b, &e), 0);
	assert_int_equal(b.len, 10);
	dyn_free(&b);
	assert_int_equal(unlink(out), 0);
	assert_int_equal(run_child("mkdir", "mkdir:1:eintr", NULL, NULL), 10 + EINTR);
	assert_int_equal(run_child("arm", "unlink:1:eio", NULL, arm), 0);
	assert_int_equal(run_child("publish", "nonsense:1:eio", NULL, NULL), 2);
	assert_int_equal(run_child("publish", "write:0:nonsense", NULL, NULL), 2);
}

static void test_names(void **state)
{
	size_t n = 0;
	(void)state;
	while (sys_names[n])
		n++;
	assert_int_equal(n, 19);
	assert_int_equal(sys_fault_sqlite_sync(), 0);
}

#endif

int main(int argc, char **argv)
{
#ifdef WALBROOK_FAULTS
	if (argc == 4 && strcmp(argv[1], "fault") == 0)
		return fault_child(argv[2], argv[3]);
#endif
	(void)argc, (void)argv;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_time_text),
		cmocka_unit_test(test_time_parse),
		cmocka_unit_test(test_clocks),
		cmocka_unit_test(test_log_text),
		cmocka_unit_test(test_log_durations),
		cmocka_unit_test(test_log_json),
		cmocka_unit_test(test_log_cut),
		cmocka_unit_test(test_log_level),
		cmocka_unit_test(test_err),
		cmocka_unit_test(test_buf),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_path_absolute),
		cmocka_unit_test(test_publish),
		cmocka_unit_test(test_read_all),
		cmocka_unit_test(test_positioned),
		cmocka_unit_test(test_dir_make),
		cmocka_unit_test(test_rename_noreplace),
#ifdef WALBROOK_FAULTS
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_names),
#endif
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("base", tests, make_root, drop_root);
}
