/* SPDX-License-Identifier: Apache-2.0
 *
 * Restore of replicas that Litestream 0.3.13 wrote (test/golden/v03; and all of ../shared/fixtures/v03 where
 * that is there): every run that its restores.tsv names must give the same bytes, and every damaged replica an
 * error that says what is wrong, or the bytes that can still be had. The damaged ones are made here from
 * broken/good.
 *
 * WALBROOK_GOLDEN: where golden data lies (test/golden); WALBROOK_FIXTURES: the originals (../shared/fixtures).
 */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "restore/restore.h"
#include "store/crypt.h"

#define GEN "generations/7fb8b2af171de49f/"
#define SECOND GEN "wal/00000004_00001038.wal.lz4"
#define LAST GEN "wal/00000007_00005098.wal.lz4"
#define SNAP0 GEN "snapshots/00000000.snapshot.lz4"
#define SNAP3 GEN "snapshots/00000003.snapshot.lz4"
#define GOOD "fd52b61c95509c58157934281745397ec0cea50a2d2583387ace26864a60dc5d"
#define SNAP3_ALONE "372e0acc07a797a9390cf9d3b15b773e43e8c4071fc9fa5a1d1884803cda044e"

static char temp[64];
static char golden[PATH_BYTES], fixtures[PATH_BYTES];

static const char *env_or(const char *name, const char *otherwise)
{
	const char *v = getenv(name);
	return v && *v ? v : otherwise;
}

static bool is_dir(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

__attribute__((format(printf, 1, 2))) static void shell(const char *fmt, ...)
{
	char cmd[4 * PATH_BYTES];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(cmd, sizeof cmd, fmt, ap);
	va_end(ap);
	assert_in_range(n, 1, sizeof cmd - 1);
	if (system(cmd) != 0)
		fail_msg("failed: %s", cmd);
}

static char *line_of(const char *command, char *buf, size_t n)
{
	FILE *f = popen(command, "r");
	assert_non_null(f);
	if (!fgets(buf, (int)n, f))
		fail_msg("no output: %s", command);
	pclose(f);
	buf[strcspn(buf, " \n")] = 0;
	return buf;
}

static char *digest(const char *path, char buf[80])
{
	char cmd[PATH_BYTES + 32];
	snprintf(cmd, sizeof cmd, "sha256sum < '%s'", path);
	return line_of(cmd, buf, 80);
}

static unsigned count_files(const char *dir)
{
	char cmd[PATH_BYTES + 64], buf[32];
	snprintf(cmd, sizeof cmd, "find '%s' | wc -l", dir);
	return (unsigned)atoi(line_of(cmd, buf, sizeof buf));
}

/* Copies a case to temp/replica and sets its times. */
static void case_copy(const char *dir)
{
	char path[PATH_BYTES + 64], name[PATH_BYTES], when[64];
	shell("rm -rf '%s/replica' && cp -r '%s/replica' '%s/replica' && chmod -R u+w '%s/replica'", temp, dir,
	      temp, temp);
	snprintf(path, sizeof path, "%s/mtimes.tsv", dir);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	unsigned lines = 0;
	while (fscanf(f, "%4095s %63s", name, when) == 2) {
		int64_t us;
		assert_int_equal(time_parse(when, &us), 0);
		/* The digits behind the microseconds: a time is cut, so they must not make a difference. */
		const char *dot = strchr(when, '.');
		long ns = dot ? (long)(us % 1000000) * 1000 + (strlen(dot) == 11 ? atol(dot + 7) : 0) : 0;
		struct timespec t[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_sec = us / 1000000, .tv_nsec = ns } };
		snprintf(path, sizeof path, "%s/%s", temp, name);
		assert_int_equal(utimensat(AT_FDCWD, path, t, 0), 0);
		lines++;
	}
	fclose(f);
	assert_true(lines > 0);
}

static const struct age_keys *keys; /* that the next restore is given */

static int open_more(void *arg, struct store **ret, struct err *e)
{
	return store_open_keyed(arg, true, NULL, keys, ret, e);
}

/* Restores temp/replica to temp/out/db. */
static int restore(struct restore_wish *w, struct err *e)
{
	char root[PATH_BYTES], out[PATH_BYTES];
	struct store *s;
	struct restore_result result;
	snprintf(root, sizeof root, "%s/replica", temp);
	snprintf(out, sizeof out, "%s/out/db", temp);
	shell("rm -rf '%s/out' && mkdir '%s/out'", temp, temp);
	unsigned before = count_files(root);
	assert_int_equal(open_more(root, &s, e), 0);
	struct restore_source source = { .store = s,
					 .name = "file",
					 .open_more = open_more,
					 .arg = root,
					 .how_to_name = "file:///replica" };
	w->output = out;
	w->owner = OWNER_PRIVATE;
	int rc = restore_run(&source, 1, w, &result, e);
	store_close(s);
	assert_int_equal(count_files(root), before);
	snprintf(out, sizeof out, "%s/out", temp);
	assert_int_equal(count_files(out), rc == 0 ? 2 : 1);
	w->output = NULL;
	return rc;
}

static void expect_digest(const char *what, const char *expected)
{
	char path[PATH_BYTES], got[80];
	snprintf(path, sizeof path, "%s/out/db", temp);
	if (strcmp(digest(path, got), expected) != 0)
		fail_msg("%s: digest %s, expected %s", what, got, expected);
}

/* ---- what Litestream restored ---- */

/* The flags of a line of restores.tsv. */
static struct restore_wish wish_of(char *flags)
{
	struct restore_wish w = { 0 };
	char *save = NULL;
	for (char *f = strtok_r(flags, " ", &save); f; f = strtok_r(NULL, " ", &save)) {
		const char *value = strtok_r(NULL, " ", &save);
		assert_non_null(value);
		if (strcmp(f, "-generation") == 0) {
			assert_true(generation_valid(value));
			memcpy(w.generation.name, value, sizeof w.generation.name);
		} else if (strcmp(f, "-index") == 0) {
			w.by_index = true;
			assert_true(index_parse(value, &w.index));
		} else if (strcmp(f, "-timestamp") == 0) {
			w.by_time = true;
			assert_int_equal(time_parse(value, &w.wall_us), 0);
		} else {
			fail_msg("unknown flag %s", f);
		}
	}
	return w;
}

/* One line of restores.tsv: name, flags, exit code, size, digest, … */
static void run_line(const char *dir, char *line, const char *latest)
{
	char *field[5], *at = line;
	for (size_t i = 0; i < 5; i++) {
		field[i] = at;
		at = strchr(at, '\t');
		assert_non_null(at);
		*at++ = 0;
	}
	struct restore_wish w = wish_of(field[1]);
	for (int threads = 1; threads <= 4; threads += 3) {
		struct err e = ERR_INIT;
		w.parallelism = threads;
		w.memory_bytes = threads == 1 ? 1 : 0;
		int rc = restore(&w, &e);
		char what[2 * PATH_BYTES];
		snprintf(what, sizeof what, "%s %s", dir, field[0]);
		if (strcmp(field[0], "after-last") == 0) {
			/* 0.3.13 refuses a time after the newest object; the newest state is an answer, too. */
			assert_int_equal(rc, 0);
			expect_digest(what, latest);
		} else if (strcmp(field[2], "0") == 0) {
			if (rc < 0)
				fail_msg("%s: %s", what, e.text);
			expect_digest(what, field[4]);
		} else {
			assert_int_equal(rc, -1);
			assert_int_equal(e.kind, ERR_NOTHING);
		}
	}
}

static unsigned run_case(const char *dir)
{
	char path[PATH_BYTES], line[1024], latest[80];
	print_message("# %s\n", dir);
	case_copy(dir);
	snprintf(path, sizeof path, "cat '%.4000s/expected.sha256'", dir);
	line_of(path, latest, sizeof latest);
	snprintf(path, sizeof path, "%.4000s/restores.tsv", dir);
	FILE *f = fopen(path, "r");
	assert_non_null(f);
	assert_non_null(fgets(line, sizeof line, f));
	unsigned n = 0;
	while (fgets(line, sizeof line, f)) {
		run_line(dir, line, latest);
		n++;
	}
	fclose(f);
	return n;
}

static const char *const cases[] = {
	"page4096-basic", "page512",	   "page65536",		"two-generations",
	"snapshots",	  "point-in-time", "snapshot-4mib",	"header-only-segment",
	"vacuum",	  "utf16",	   "split-transaction", "broken/good",
};

static void test_as_litestream_restored(void **state)
{
	(void)state;
	unsigned n = 0;
	for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
		char dir[PATH_BYTES + 64];
		snprintf(dir, sizeof dir, "%s/v03/%s", golden, cases[i]);
		n += run_case(dir);
	}
	assert_int_equal(n, 35);
}

static void test_originals(void **state)
{
	(void)state;
	unsigned n = 0;
	for (size_t i = 0; *fixtures && i < sizeof cases / sizeof *cases; i++) {
		char dir[PATH_BYTES + 64];
		snprintf(dir, sizeof dir, "%s/v03/%s", fixtures, cases[i]);
		n += run_case(dir);
	}
	assert_int_equal(n, *fixtures ? 35 : 0);
}

static struct age_keys identity_of(const char *dir, const char *name)
{
	char path[2 * PATH_BYTES];
	struct dyn d = DYN_INIT(1 << 16);
	struct age_keys k = { 0 };
	struct err e = ERR_INIT;
	snprintf(path, sizeof path, "%s/%s", dir, name);
	if (file_read_all(path, &d, &e) < 0 ||
	    age_keys_parse(&k, AGE_IDENTITY, (struct span){ d.p, d.len }, &e) < 0)
		fail_msg("%s", e.text);
	dyn_free(&d);
	return k;
}

static void test_encrypted(void **state)
{
	(void)state;
	char dir[PATH_BYTES + 64];
	struct restore_wish w = { .parallelism = 2 };
	struct err e = ERR_INIT;
	snprintf(dir, sizeof dir, "%s/v03/age", golden);
	case_copy(dir);
	assert_int_equal(restore(&w, &e), -1);
	assert_int_equal(e.kind, ERR_CONFIG);
	assert_non_null(strstr(e.text, "encrypted"));
	assert_non_null(strstr(e.text, ".snapshot.lz4"));
	assert_non_null(strstr(e.text, "-identity"));
	struct age_keys wrong = identity_of(dir, "wrong-identity.txt");
	keys = &wrong;
	assert_int_equal(restore(&w, &e), -1);
	assert_int_equal(e.kind, ERR_CONFIG);
	assert_non_null(strstr(e.text, "written for another key"));
	assert_non_null(strstr(e.text, ".snapshot.lz4"));
	struct age_keys right = identity_of(dir, "identity.txt");
	keys = &right;
	assert_int_equal(run_case(dir), 1);
	keys = NULL;
	age_keys_free(&wrong);
	age_keys_free(&right);
}

/* A replica that is not encrypted, and a key for it: said as what it is, not taken for damage. */
static void test_not_encrypted(void **state)
{
	(void)state;
	char dir[PATH_BYTES + 64];
	struct restore_wish w = { .parallelism = 2 };
	struct err e = ERR_INIT;
	snprintf(dir, sizeof dir, "%s/v03/age", golden);
	struct age_keys key = identity_of(dir, "identity.txt");
	snprintf(dir, sizeof dir, "%s/v03/page512", golden);
	case_copy(dir);
	keys = &key;
	assert_int_equal(restore(&w, &e), -1);
	keys = NULL;
	assert_int_equal(e.kind, ERR_CONFIG);
	assert_non_null(strstr(e.text, "not encrypted"));
	age_keys_free(&key);
}

/* ---- damaged replicas ---- */

static const char *replica_path(const char *key)
{
	static char bufs[2][PATH_BYTES];
	static unsigned next;
	char *buf = bufs[next++ % 2];
	snprintf(buf, PATH_BYTES, "%s/replica/%s", temp, key);
	return buf;
}

static off_t size_of(const char *key)
{
	struct stat st;
	assert_int_equal(stat(replica_path(key), &st), 0);
	return st.st_size;
}

static void cut(const char *key, off_t size)
{
	assert_true(size < size_of(key));
	assert_int_equal(truncate(replica_path(key), size), 0);
}

static void flip(const char *key, off_t at, int bit)
{
	uint8_t b;
	int fd = open(replica_path(key), O_RDWR);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &b, 1, at), 1);
	b ^= (uint8_t)(1u << bit);
	assert_int_equal(pwrite(fd, &b, 1, at), 1);
	close(fd);
}

static void delete_all(const char *pattern)
{
	shell("rm '%s/replica/" GEN "'%s", temp, pattern);
}

static void d_middle(void)
{
	delete_all("wal/00000004_00001038.wal.lz4");
}
static void d_last_of_index(void)
{
	delete_all("wal/00000004_000090f8.wal.lz4");
}
static void d_first(void)
{
	delete_all("wal/00000004_00000000.wal.lz4");
}
static void d_index(void)
{
	delete_all("wal/00000004_*");
}
static void d_truncated(void)
{
	assert_int_equal(size_of(SECOND), 1122);
	cut(SECOND, 673);
}
static void d_block_end(void)
{
	cut(SECOND, size_of(SECOND) - 8);
}
static void d_frame_header(void)
{
	cut(SECOND, 7);
}
static void d_empty(void)
{
	cut(SECOND, 0);
}
static void d_flip(void)
{
	flip(SECOND, 541, 4);
}
static void d_flip_snapshot(void)
{
	flip(SNAP3, 2329, 7);
}
static void d_flip_last(void)
{
	flip(LAST, 395, 4);
}
static void d_garbage(void)
{
	uint8_t bytes[1122];
	uint32_t x = 12345;
	for (size_t i = 0; i < sizeof bytes; i++) {
		x = x * 1103515245 + 12345;
		bytes[i] = (uint8_t)(x >> 16);
	}
	assert_int_equal(size_of(SECOND), sizeof bytes);
	FILE *f = fopen(replica_path(SECOND), "r+");
	assert_non_null(f);
	assert_int_equal(fwrite(bytes, sizeof bytes, 1, f), 1);
	fclose(f);
}
static void d_wrong_content(void)
{
	shell("cp '%s' '%s'", replica_path(GEN "wal/00000005_00000000.wal.lz4"), replica_path(SECOND));
}
static void d_truncated_snapshot(void)
{
	cut(SNAP3, size_of(SNAP3) * 6 / 10);
}
static void d_no_newest_snapshot(void)
{
	delete_all("snapshots/00000003.snapshot.lz4");
}
static void d_no_oldest_snapshot(void)
{
	delete_all("snapshots/00000000.snapshot.lz4");
}
static void d_no_snapshots(void)
{
	delete_all("snapshots/*");
}
static void d_retention(void)
{
	delete_all("snapshots/00000000.snapshot.lz4");
	delete_all("wal/00000000_00000000.wal.lz4");
}
static void d_no_wal(void)
{
	delete_all("wal/*");
}
static void d_old_wal_only(void)
{
	delete_all("wal/0000000[34567]_*");
}
static void d_oldest_wal_only(void)
{
	delete_all("wal/0000000[1234567]_*");
}
static void d_empty_snapshot(void)
{
	cut(SNAP3, 0);
}
static void d_last_block_end(void)
{
	cut(LAST, size_of(LAST) - 8);
}
static void d_no_newest_index(void)
{
	delete_all("wal/00000007_*");
}
static void d_strangers(void)
{
	static const char *const names[] = {
		GEN "wal/00000008_00000000.wal.lz4.tmp",
		GEN "wal/foo.txt",
		GEN "wal/00000011_00000000.WAL.LZ4",
		GEN "wal/0000000A_00000000.wal.lz4",
		GEN "wal/00000002.wal.lz4",
		GEN "wal/0000001_00000000.wal.lz4",
		GEN "snapshots/0000000B.snapshot.lz4",
		GEN "snapshots/00000008.snapshot.lz4.tmp",
		GEN "snapshots/README",
		GEN "notes.txt",
		"generations/foo.txt",
		"generations/ABCDEF0123456789/wal/00000000_00000000.wal.lz4",
		"generations/0123456789abcde/snapshots/00000000.snapshot.lz4",
		"generations/00000000000000ff/",
		"lost+found/x",
		".DS_Store",
	};
	for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
		const char *path = replica_path(names[i]);
		if (path[strlen(path) - 1] == '/')
			shell("mkdir -p '%s'", path);
		else
			shell("mkdir -p \"$(dirname '%s')\" && echo something > '%s'", path, path);
	}
}

static const struct broken {
	const char *name;
	void (*damage)(void);
	enum err_kind kind;
	const char *digest;  /* of the output, kind ERR_NONE */
	const char *says[5]; /* what the text of the error holds */
} broken[] = {
	{ "missing-middle-segment",
	  d_middle,
	  ERR_DAMAGED,
	  NULL,
	  { "7fb8b2af171de49f", "index 00000004 offset 4152", "offset 12392", "00000004_00003068.wal.lz4",
	    "-index 3" } },
	{ "missing-last-segment-of-index",
	  d_last_of_index,
	  ERR_NONE,
	  "90d49de19aa9796afa6ed2fa2b6e13de3953965f34ef22679f8d11a335cfe458",
	  { NULL } },
	{ "missing-first-segment",
	  d_first,
	  ERR_DAMAGED,
	  NULL,
	  { "7fb8b2af171de49f", "index 00000004", "expected offset 0", "4152", "-index 3" } },
	{ "missing-index",
	  d_index,
	  ERR_DAMAGED,
	  NULL,
	  { "missing index 00000004", "7fb8b2af171de49f", "-index 3 ", "-o ", "file:///replica" } },
	{ "truncated-segment", d_truncated, ERR_DAMAGED, NULL, { SECOND, "cut off", "-index 3" } },
	{ "truncated-at-block-end", d_block_end, ERR_DAMAGED, NULL, { SECOND, "end mark", "-index 3" } },
	{ "truncated-to-frame-header", d_frame_header, ERR_DAMAGED, NULL, { SECOND, "cut off", "-index 3" } },
	{ "empty-segment", d_empty, ERR_DAMAGED, NULL, { SECOND, "empty", "-index 3" } },
	{ "flipped-bit-segment", d_flip, ERR_DAMAGED, NULL, { SECOND, "content checksum", "-index 3" } },
	{ "flipped-bit-snapshot", d_flip_snapshot, ERR_NONE, GOOD, { NULL } },
	{ "flipped-bit-last-segment",
	  d_flip_last,
	  ERR_DAMAGED,
	  NULL,
	  { LAST, "content checksum", "-index 6" } },
	{ "garbage-segment", d_garbage, ERR_DAMAGED, NULL, { SECOND, "not an LZ4 frame", "-index 3" } },
	{ "wrong-content-segment", d_wrong_content, ERR_DAMAGED, NULL, { SECOND, "salt", "-index 3" } },
	{ "truncated-snapshot", d_truncated_snapshot, ERR_NONE, GOOD, { NULL } },
	{ "missing-newest-snapshot", d_no_newest_snapshot, ERR_NONE, GOOD, { NULL } },
	{ "missing-oldest-snapshot", d_no_oldest_snapshot, ERR_NONE, GOOD, { NULL } },
	{ "missing-all-snapshots", d_no_snapshots, ERR_NOTHING, NULL, { "snapshot" } },
	{ "retention-cut-short", d_retention, ERR_NONE, GOOD, { NULL } },
	{ "snapshot-only", d_no_wal, ERR_NONE, SNAP3_ALONE, { NULL } },
	{ "snapshot-newer-than-wal", d_old_wal_only, ERR_NONE, SNAP3_ALONE, { NULL } },
	{ "snapshot-much-newer-than-wal", d_oldest_wal_only, ERR_NONE, SNAP3_ALONE, { NULL } },
	{ "empty-snapshot", d_empty_snapshot, ERR_NONE, GOOD, { NULL } },
	{ "truncated-last-segment-at-block-end", d_last_block_end, ERR_DAMAGED, NULL, { LAST, "end mark" } },
	{ "missing-newest-index",
	  d_no_newest_index,
	  ERR_NONE,
	  "3073e4004a1eb51f433e43428f9c62333ea2a1559ce7a136ced377cf6537697b",
	  { NULL } },
	{ "foreign-names", d_strangers, ERR_NONE, GOOD, { NULL } },
};
enum { BROKEN_N = sizeof broken / sizeof *broken };

/* temp/replica is the damaged one. */
static void broken_check(const struct broken *b)
{
	for (int threads = 1; threads <= 4; threads += 3) {
		struct restore_wish w = { .parallelism = threads };
		struct err e = ERR_INIT;
		int rc = restore(&w, &e);
		if (rc < 0)
			print_message("# %s: %s\n", b->name, e.text);
		if (b->kind == ERR_NONE) {
			assert_int_equal(rc, 0);
			expect_digest(b->name, b->digest);
			continue;
		}
		assert_int_equal(rc, -1);
		assert_int_equal(e.kind, b->kind);
		for (size_t i = 0; i < 5 && b->says[i]; i++)
			if (!strstr(e.text, b->says[i]))
				fail_msg("%s: the error does not say \"%s\": %s", b->name, b->says[i], e.text);
	}
}

static void test_broken(void **state)
{
	(void)state;
	for (size_t i = 0; i < BROKEN_N; i++) {
		char dir[PATH_BYTES + 64];
		snprintf(dir, sizeof dir, "%s/v03/broken/good", golden);
		case_copy(dir);
		broken[i].damage();
		broken_check(&broken[i]);
	}
}

static void test_broken_originals(void **state)
{
	(void)state;
	unsigned n = 0;
	for (size_t i = 0; *fixtures && i < BROKEN_N; i++) {
		char dir[PATH_BYTES + 64];
		snprintf(dir, sizeof dir, "%s/v03/broken/%s", fixtures, broken[i].name);
		case_copy(dir);
		broken_check(&broken[i]);
		n++;
	}
	assert_int_equal(n, *fixtures ? (int)BROKEN_N : 0);
}

/* What the hint after damage names does work. */
static void test_hint_works(void **state)
{
	(void)state;
	char dir[PATH_BYTES + 64];
	struct restore_wish w = { .parallelism = 2, .by_index = true, .index = 3 };
	struct err e = ERR_INIT;
	char with[80], path[PATH_BYTES];
	snprintf(dir, sizeof dir, "%s/v03/broken/good", golden);
	case_copy(dir);
	assert_int_equal(restore(&w, &e), 0);
	snprintf(path, sizeof path, "%s/out/db", temp);
	digest(path, with);
	d_flip();
	assert_int_equal(restore(&w, &e), 0);
	expect_digest("before the damage", with);
}

static int setup(void **state)
{
	(void)state;
	struct err e;
	char shared[PATH_BYTES], v03[PATH_BYTES];
	snprintf(temp, sizeof temp, "/tmp/wb-restore-XXXXXX");
	log_setup(LOG_ERROR, false, 2);
	if (path_absolute(golden, env_or("WALBROOK_GOLDEN", "test/golden"), &e) < 0 ||
	    path_absolute(shared, env_or("WALBROOK_FIXTURES", "../shared/fixtures"), &e) < 0)
		return -1;
	if (path_join(v03, shared, "v03") == 0 && is_dir(v03))
		memcpy(fixtures, shared, sizeof fixtures);
	return mkdtemp(temp) ? 0 : -1;
}

static int teardown(void **state)
{
	(void)state;
	shell("rm -rf '%s'", temp);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_as_litestream_restored),
		cmocka_unit_test(test_originals),
		cmocka_unit_test(test_encrypted),
		cmocka_unit_test(test_not_encrypted),
		cmocka_unit_test(test_broken),
		cmocka_unit_test(test_broken_originals),
		cmocka_unit_test(test_hint_works),
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests(tests, setup, teardown);
}
