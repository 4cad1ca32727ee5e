/* SPDX-License-Identifier: Apache-2.0
 *
 * store/: URLs, the file store's promises one by one, and (in the test build) every fault at every system call
 * of an upload, tried in children of this program: `test_store fault DIR`. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "store/store.h"

#define GEN "0123456789abcdef"
#define WAL "generations/" GEN "/wal/"
#define SEGMENT WAL "00000001_00000000.wal.lz4"

static char root[64];

static int make_root(void **state)
{
	(void)state;
	umask(022);
	snprintf(root, sizeof root, "/tmp/wb-store-XXXXXX");
	return mkdtemp(root) ? 0 : -1;
}

static int drop_root(void **state)
{
	char cmd[256];
	(void)state;
	snprintf(cmd, sizeof cmd, "chmod -R u+rwx '%s'; rm -rf '%s'", root, root);
	return system(cmd);
}

static const char *under(const char *name)
{
	static char bufs[4][PATH_BYTES];
	static unsigned next;
	char *buf = bufs[next++ % 4];
	snprintf(buf, PATH_BYTES, "%s%s%s", root, *name ? "/" : "", name);
	return buf;
}

static struct store *open_store(const char *name)
{
	struct store *s;
	struct err e = ERR_INIT;
	struct owner o = { .file_mode = 0640,
			   .dir_mode = 0750,
			   .uid = geteuid(),
			   .dir_uid = geteuid(),
			   .gid = getegid(),
			   .dir_gid = getegid() };
	assert_int_equal(store_file_open(under(name), &o, &s, &e), 0);
	return s;
}

static void put(struct store *s, const char *key, const char *text)
{
	struct err e = ERR_INIT;
	if (store_put_bytes(s, key, (struct span){ (const uint8_t *)text, strlen(text) }, &e) < 0)
		fail_msg("%s", e.text);
}

static void expect(struct store *s, const char *key, const char *text)
{
	struct err e = ERR_INIT;
	struct dyn b = DYN_INIT(1 << 16);
	if (store_get_bytes(s, key, &b, &e) < 0)
		fail_msg("%s", e.text);
	assert_int_equal(b.len, strlen(text));
	assert_memory_equal(b.p, text, b.len);
	dyn_free(&b);
}

static void write_file(const char *path, const char *text)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	fclose(f);
}

/* Names in a directory, whatever they are. */
static int count_files(const char *dir)
{
	int n = 0;
	DIR *d = opendir(dir);
	if (!d)
		return -1;
	for (const struct dirent *de; (de = readdir(d));)
		n += de->d_name[0] != '.';
	closedir(d);
	return n;
}

struct seen {
	int n, dirs, stop_after;
	uint64_t bytes;
	int64_t newest_us;
	char last[256];
};

static int on_entry(void *arg, const struct store_entry *entry, struct err *e)
{
	struct seen *s = arg;
	s->n++;
	s->dirs += entry->is_dir;
	s->bytes += entry->bytes;
	if (entry->created_us > s->newest_us)
		s->newest_us = entry->created_us;
	snprintf(s->last, sizeof s->last, "%s", entry->name);
	return s->stop_after && s->n == s->stop_after ? err_set(e, ERR_DAMAGED, "enough") : 0;
}

/* ---- URLs ---- */

static void test_url_paths(void **state)
{
	static const struct {
		const char *url, *label;
	} rows[] = {
		{ "file:///a/b", "/a/b" },
		{ "file:///a//b/", "/a/b" },
		{ "file:///a/./x/../b", "/a/b" },
		{ "file://rel/x", "/rel/x" },
		{ "file:///a%20b", "/a%20b" },
		{ "file:///a b", "/a%20b" },
		{ "file:///a b%41", "/a%20bA" },
		{ "file:///b%41", "/b%41" },
		{ "file:///\xc3\xbc", "/%C3%BC" },
		{ "file:///a?b=c", "/a?b=c" },
		{ "file:///a(1)'[]!*", "/a(1)'[]!*" },
		{ "file:///a (1)", "/a%20%281%29" },
		{ "file:///x@y", "/x@y" },
		{ "/plain/a b/%41/", "/plain/a b/%41" },
		{ "~/x", "/home/me/x" },
	};
	struct store *s;
	struct err e = ERR_INIT;
	(void)state;
	setenv("HOME", "/home/me", 1);
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		if (store_open(rows[i].url, true, NULL, &s, &e) < 0)
			fail_msg("%s: %s", rows[i].url, e.text);
		assert_string_equal(s->label, rows[i].label);
		assert_string_equal(s->ops->scheme, "file");
		store_close(s);
	}
}

static void test_url_refused(void **state)
{
	static const struct {
		const char *url, *text;
	} rows[] = {
		{ "ftp://me:secret@host/x?secret",
		  "unknown replica URL scheme \"ftp\" in ftp://host/x; this build "
		  "knows: file" },
		{ "s3://AKIA:secret@bucket/p?key=secret",
		  "s3://bucket/p: this version cannot use s3 replicas yet; "
		  "it can use: file" },
		{ "s3://AKIA:sec/ret@bucket/p", "s3://bucket/p: this version cannot use s3 replicas yet; "
						"it can use: file" },
		{ "gs://b/secret@p",
		  "gs://b/secret@p: this version cannot use gs replicas yet; it can use: file" },
		{ "sftp://u:secret@h:22/p",
		  "sftp://h:22/p: this version cannot use sftp replicas yet; it can use: file" },
		{ "abs://a@c/p", "abs://c/p: this version cannot use abs replicas yet; it can use: file" },
		{ "gcs://b", "gcs://b: this version cannot use gcs replicas yet; it can use: file" },
		{ "file://u:secret@h/p", "file://h/p: a file URL names no user; write file:///path" },
		{ "file://", "file://: names no directory; write file:///path" },
		{ "file:///a%2", "file:///a%2: % must be followed by two hexadecimal digits in a URL" },
		{ "file:///a%zz", "file:///a%zz: % must be followed by two hexadecimal digits in a URL" },
		{ "file:///a b%00", "file:///a b%00: a path cannot hold a zero byte" },
		{ "file:///a\nb", "file:///a\nb: a URL cannot hold control characters" },
		{ "/a/b", "replica URL has no scheme: /a/b; a directory is written file:///path" },
		{ "", "replica URL has no scheme: ; a directory is written file:///path" },
		{ "FILE:///a", "unknown replica URL scheme \"FILE\" in FILE:///a; this build knows: file" },
	};
	struct store *s;
	struct err e = ERR_INIT;
	(void)state;
	for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
		assert_int_equal(store_open(rows[i].url, false, NULL, &s, &e), -1);
		assert_int_equal(e.kind, ERR_CONFIG);
		assert_string_equal(e.text, rows[i].text);
	}
	char big[2 * PATH_BYTES];
	memset(big, ' ', sizeof big - 1);
	memcpy(big, "file:///", 8);
	big[sizeof big - 1] = 0;
	assert_int_equal(store_open(big, false, NULL, &s, &e), -1);
	assert_int_equal(store_open(big + 7, true, NULL, &s, &e), -1);
}

/* ---- objects ---- */

static void test_put_get(void **state)
{
	struct store *s = open_store("p/q");
	struct err e = ERR_INIT;
	struct stat st;
	struct store_get *g;
	char got[16];
	(void)state;
	put(s, SEGMENT, "hello");
	expect(s, SEGMENT, "hello");
	put(s, SEGMENT, "hello again");
	expect(s, SEGMENT, "hello again");
	assert_int_equal(stat(under("p/q/" SEGMENT), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0640);
	assert_int_equal(stat(under("p/q"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(stat(under("p/q/" WAL), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0750);
	assert_int_equal(count_files(under("p/q/" WAL)), 1);
	assert_int_equal(s->ops->get_begin(s, SEGMENT, 6, &g, &e), 0);
	assert_int_equal(s->ops->get_read(g, got, 3, &e), 3);
	assert_memory_equal(got, "aga", 3);
	assert_int_equal(s->ops->get_read(g, got, sizeof got, &e), 2);
	assert_int_equal(s->ops->get_read(g, got, sizeof got, &e), 0);
	s->ops->get_end(g);
	assert_int_equal(s->ops->get_begin(s, SEGMENT, UINT64_MAX, &g, &e), 0);
	assert_int_equal(s->ops->get_read(g, got, sizeof got, &e), 0);
	s->ops->get_end(g);
	assert_int_equal(s->ops->get_begin(s, "absent", 0, &g, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	assert_int_equal(s->ops->get_begin(s, "generations", 0, &g, &e), -1);
	assert_int_equal(e.kind, ERR_UNREACHABLE);
	struct dyn b = DYN_INIT(4);
	assert_int_equal(store_get_bytes(s, SEGMENT, &b, &e), -1);
	assert_int_equal(b.len, 0);
	dyn_free(&b);
	put(s, "empty", "");
	expect(s, "empty", "");
	store_close(s);
}

static void test_keys(void **state)
{
	static const char *const bad[] = { "", "/a", "a/", "a//b", "../x", "a/../b", ".", "a/.", ".." };
	struct store *s = open_store("keys");
	struct store_put *p;
	struct store_get *g;
	struct err e = ERR_INIT;
	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(s->ops->put_begin(s, bad[i], &p, &e), -1);
		assert_int_equal(s->ops->get_begin(s, bad[i], 0, &g, &e), -1);
		assert_int_equal(e.kind, ERR_FAIL);
		assert_int_equal(s->ops->remove(s, &bad[i], 1, &e), -1);
	}
	put(s, "..a/b..", "x");
	expect(s, "..a/b..", "x");
	static char big[PATH_BYTES];
	memset(big, 'k', sizeof big - 1);
	assert_int_equal(s->ops->put_begin(s, big, &p, &e), -1);
	store_close(s);
}

static void test_invisible_until_commit(void **state)
{
	struct store *s = open_store("inv");
	struct store_put *p, *q;
	struct err e = ERR_INIT;
	struct seen seen = { 0 };
	(void)state;
	assert_int_equal(s->ops->put_begin(s, "a/x", &p, &e), 0);
	assert_int_equal(s->ops->put_write(p, (struct span){ (const uint8_t *)"one", 3 }, &e), 0);
	assert_int_equal(s->ops->list(s, "a/", on_entry, &seen, &e), 0);
	assert_int_equal(seen.n, 0);
	assert_int_equal(access(under("inv/a/x.tmp"), F_OK), 0);
	/* A second upload of the same key meanwhile does not touch the first one's file. */
	assert_int_equal(s->ops->put_begin(s, "a/x", &q, &e), 0);
	assert_int_equal(s->ops->put_write(q, (struct span){ (const uint8_t *)"two!", 4 }, &e), 0);
	assert_int_equal(count_files(under("inv/a")), 2);
	assert_int_equal(s->ops->list(s, "a/", on_entry, &seen, &e), 0);
	assert_int_equal(seen.n, 0);
	assert_int_equal(s->ops->put_commit(q, &e), 0);
	expect(s, "a/x", "two!");
	assert_int_equal(s->ops->put_commit(p, &e), 0);
	expect(s, "a/x", "one");
	assert_int_equal(count_files(under("inv/a")), 1);
	assert_int_equal(s->ops->put_begin(s, "a/x", &p, &e), 0);
	assert_int_equal(s->ops->put_write(p, (struct span){ (const uint8_t *)"no", 2 }, &e), 0);
	s->ops->put_abort(p);
	expect(s, "a/x", "one");
	assert_int_equal(count_files(under("inv/a")), 1);
	/* Commit fails (the name became a directory): nothing stays. */
	assert_int_equal(s->ops->put_begin(s, "a/d", &p, &e), 0);
	assert_int_equal(mkdir(under("inv/a/d"), 0700), 0);
	assert_int_equal(s->ops->put_commit(p, &e), -1);
	assert_int_equal(count_files(under("inv/a")), 2);
	store_close(s);
}

/* What a slow upload needs is published while it goes on, and must not look younger. */
static void test_time_of_publication(void **state)
{
	(void)state;
	struct err e;
	struct store *s = open_store("times");
	struct store_put *p;
	struct stat slow, quick;
	assert_int_equal(s->ops->put_begin(s, SEGMENT, &p, &e), 0);
	assert_int_equal(s->ops->put_write(p, (struct span){ (const uint8_t *)"slow", 4 }, &e), 0);
	sleep_us(20000);
	assert_int_equal(store_put_bytes(s, "quick", (struct span){ (const uint8_t *)"x", 1 }, &e), 0);
	assert_int_equal(s->ops->put_commit(p, &e), 0);
	assert_int_equal(stat(under("times/" SEGMENT), &slow), 0);
	assert_int_equal(stat(under("times/quick"), &quick), 0);
	assert_true(
		slow.st_mtim.tv_sec > quick.st_mtim.tv_sec ||
		(slow.st_mtim.tv_sec == quick.st_mtim.tv_sec && slow.st_mtim.tv_nsec >= quick.st_mtim.tv_nsec));
	store_close(s);
}

static void test_stale_temp(void **state)
{
	struct store *s = open_store("stale");
	(void)state;
	put(s, "a/x", "1");
	write_file(under("stale/a/x.tmp"), "of a dead run, and longer than what comes");
	put(s, "a/x", "2");
	expect(s, "a/x", "2");
	assert_int_equal(count_files(under("stale/a")), 1);
	/* Held by a living writer elsewhere: kept. */
	write_file(under("stale/a/x.tmp"), "alive");
	int fd = open(under("stale/a/x.tmp"), O_RDWR);
	assert_int_equal(flock(fd, LOCK_EX), 0);
	put(s, "a/x", "3");
	expect(s, "a/x", "3");
	assert_int_equal(access(under("stale/a/x.tmp"), F_OK), 0);
	close(fd);
	put(s, "a/x", "4");
	assert_int_equal(count_files(under("stale/a")), 1);
	/* A link or a directory in the way is not followed and not lost. */
	write_file(under("stale/victim"), "mine");
	assert_int_equal(symlink(under("stale/victim"), under("stale/a/x.tmp")), 0);
	put(s, "a/x", "5");
	expect(s, "a/x", "5");
	expect(s, "victim", "mine");
	unlink(under("stale/a/x.tmp"));
	assert_int_equal(mkdir(under("stale/a/x.tmp"), 0700), 0);
	put(s, "a/x", "6");
	expect(s, "a/x", "6");
	store_close(s);
}

static void test_list(void **state)
{
	struct store *s = open_store("list");
	struct err e = ERR_INIT;
	struct seen seen = { 0 };
	(void)state;
	assert_int_equal(s->ops->list(s, "generations/", on_entry, &seen, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	assert_non_null(strstr(e.text, under("list")));
	assert_int_equal(s->ops->list(s, "", on_entry, &seen, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	put(s, SEGMENT, "12345");
	put(s, WAL "x", "123");
	assert_int_equal(mkdir(under("list/" WAL "sub"), 0700), 0);
	assert_int_equal(symlink("/nowhere/at/all", under("list/" WAL "dangling")), 0);
	write_file(under("list/" WAL "y.tmp"), "t");
	write_file(under("list/" WAL "y.tmp-12-0"), "t");
	assert_int_equal(s->ops->list(s, WAL, on_entry, &seen, &e), 0);
	assert_int_equal(seen.n, 4);
	assert_int_equal(seen.dirs, 1);
	assert_int_equal(seen.bytes, 8);
	assert_true(llabs(seen.newest_us - wall_us()) < 3600 * 1000000ll);
	seen = (struct seen){ 0 };
	assert_int_equal(s->ops->list(s, "", on_entry, &seen, &e), 0);
	assert_int_equal(seen.n, 1);
	assert_string_equal(seen.last, "generations");
	seen = (struct seen){ 0 };
	assert_int_equal(s->ops->list(s, "generations/fedcba9876543210/wal/", on_entry, &seen, &e), 0);
	assert_int_equal(seen.n, 0);
	seen = (struct seen){ .stop_after = 2 };
	assert_int_equal(s->ops->list(s, WAL, on_entry, &seen, &e), -1);
	assert_int_equal(seen.n, 2);
	assert_string_equal(e.text, "enough");
	assert_int_equal(s->ops->list(s, "generations", on_entry, &seen, &e), -1);
	assert_int_equal(s->ops->list(s, "../", on_entry, &seen, &e), -1);
	store_close(s);
}

static void test_list_temp(void **state)
{
	struct store *s = open_store("temp");
	struct store_put *p;
	struct err e = ERR_INIT;
	struct seen seen = { 0 };
	(void)state;
	assert_int_equal(s->ops->list_temp(s, WAL, on_entry, &seen, &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	put(s, SEGMENT, "12345");
	assert_int_equal(s->ops->list_temp(s, WAL, on_entry, &seen, &e), 0);
	assert_int_equal(s->ops->list_temp(s, "generations/fedcba9876543210/wal/", on_entry, &seen, &e), 0);
	assert_int_equal(seen.n, 0);
	/* Of an upload that goes on it says nothing; of one that is dead it does. */
	assert_int_equal(s->ops->put_begin(s, WAL "alive", &p, &e), 0);
	write_file(under("temp/" WAL "dead.tmp"), "dead");
	assert_int_equal(s->ops->list_temp(s, WAL, on_entry, &seen, &e), 0);
	assert_int_equal(seen.n, 1);
	assert_int_equal(seen.bytes, 4);
	assert_string_equal(seen.last, "dead.tmp");
	s->ops->put_abort(p);
	store_close(s);
}

static void test_root_not_a_directory(void **state)
{
	struct store *s = open_store("rootfile");
	struct store_put *p;
	struct err e = ERR_INIT;
	struct seen seen = { 0 };
	(void)state;
	write_file(under("rootfile"), "a file");
	assert_int_equal(s->ops->list(s, "", on_entry, &seen, &e), -1);
	assert_int_equal(e.kind, ERR_UNREACHABLE);
	assert_int_equal(s->ops->list(s, "generations/", on_entry, &seen, &e), -1);
	assert_int_equal(e.kind, ERR_UNREACHABLE);
	assert_int_equal(s->ops->put_begin(s, SEGMENT, &p, &e), -1);
	assert_int_equal(e.kind, ERR_UNREACHABLE);
	assert_non_null(strstr(e.text, under("rootfile")));
	store_close(s);
}

/* ---- linking ---- */

static ino_t inode(const char *path)
{
	struct stat st;
	return stat(path, &st) == 0 ? st.st_ino : 0;
}

static void test_put_file(void **state)
{
	struct store *s = open_store("link");
	struct err e = ERR_INIT;
	(void)state;
	write_file(under("local1"), "first");
	write_file(under("local2"), "second");
	assert_int_equal(s->ops->put_file(s, SEGMENT, under("local1"), &e), 1);
	expect(s, SEGMENT, "first");
	assert_int_equal(inode(under("link/" SEGMENT)), inode(under("local1")));
	assert_int_equal(s->ops->put_file(s, SEGMENT, under("local2"), &e), 1); /* replaces */
	expect(s, SEGMENT, "second");
	assert_int_equal(s->ops->put_file(s, SEGMENT, under("local2"), &e), 1); /* again */
	assert_int_equal(count_files(under("link/" WAL)), 1);
	put(s, SEGMENT, "copied"); /* never writes into the linked file */
	assert_int_equal(s->ops->put_file(s, SEGMENT, under("local1"), &e), 1);
	assert_int_equal(s->ops->sync(s, &e), 0);
	assert_int_equal(s->ops->sync(s, &e), 0);
	assert_int_equal(unlink(under("local1")), 0);
	expect(s, SEGMENT, "first");
	assert_int_equal(s->ops->put_file(s, SEGMENT, under("local1"), &e), -1);
	assert_int_equal(e.kind, ERR_NOTHING);
	assert_non_null(strstr(e.text, "local1"));
	/* More directories than are remembered. */
	for (int i = 0; i < 40; i++) {
		char key[64];
		snprintf(key, sizeof key, "many/%d/x", i);
		assert_int_equal(s->ops->put_file(s, key, under("local2"), &e), 1);
	}
	assert_int_equal(s->ops->put_file(s, "many/0", under("local2"), &e), -1); /* a directory has the name */
	assert_int_equal(count_files(under("link/many")), 40);
	/* Another file system: the caller copies. */
	char other[] = "/dev/shm/wb-store-XXXXXX";
	int fd = mkstemp(other);
	if (fd >= 0) {
		struct stat a, b;
		assert_int_equal(fstat(fd, &a), 0);
		assert_int_equal(stat(root, &b), 0);
		assert_int_equal(s->ops->put_file(s, "o/x", other, &e), a.st_dev == b.st_dev);
		close(fd);
		unlink(other);
	}
	store_close(s);
}

/* ---- removal ---- */

static void test_remove(void **state)
{
	struct store *s = open_store("rm");
	struct err e = ERR_INIT;
	static const char *const keys[] = { "a/1", "a/absent", "b/2", "nodir/x", "a/3" };
	static const char *const stops[] = { "b/4", "a", "b/5" };
	(void)state;
	put(s, "a/1", "x");
	put(s, "b/2", "x");
	put(s, "a/3", "x");
	assert_int_equal(s->ops->remove(s, keys, 5, &e), 0);
	assert_int_equal(count_files(under("rm/a")), 0);
	assert_int_equal(count_files(under("rm/b")), 0);
	put(s, "b/4", "x");
	put(s, "b/5", "x");
	assert_int_equal(s->ops->remove(s, stops, 3, &e), -1); /* a directory: stops there */
	assert_int_equal(access(under("rm/b/4"), F_OK), -1);
	assert_int_equal(access(under("rm/b/5"), F_OK), 0);
	assert_int_equal(s->ops->remove(s, NULL, 0, &e), 0);
	store_close(s);
}

static void test_remove_all(void **state)
{
	static const char *const bad[] = { "",
					   "generations/",
					   "generations/" GEN,
					   WAL,
					   "generations/0123456789ABCDEF/",
					   "generations/../../../../ab/",
					   "snapshots/" GEN "/",
					   "generations/0123456789abcdef0/" };
	struct store *s = open_store("all");
	struct err e = ERR_INIT;
	(void)state;
	assert_int_equal(s->ops->remove_all(s, "generations/" GEN "/", &e), 0); /* nothing there at all */
	put(s, "generations/fedcba9876543210/wal/x", "stays");
	assert_int_equal(s->ops->remove_all(s, "generations/" GEN "/", &e), 0);
	put(s, SEGMENT, "x");
	put(s, "generations/" GEN "/snapshots/00000000.snapshot.lz4", "x");
	put(s, "generations/" GEN "/deep/er/and/deeper/x", "x");
	write_file(under("all/" WAL "left.tmp"), "x");
	write_file(under("all/outside"), "mine");
	assert_int_equal(mkdir(under("all/outdir"), 0700), 0);
	write_file(under("all/outdir/f"), "mine");
	assert_int_equal(symlink(under("all/outside"), under("all/" WAL "link")), 0);
	assert_int_equal(symlink(under("all/outdir"), under("all/generations/" GEN "/dirlink")), 0);
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
		assert_int_equal(s->ops->remove_all(s, bad[i], &e), -1);
	expect(s, SEGMENT, "x");
	assert_int_equal(s->ops->remove_all(s, "generations/" GEN "/", &e), 0);
	assert_int_equal(access(under("all/generations/" GEN), F_OK), -1);
	expect(s, "outside", "mine");
	expect(s, "outdir/f", "mine");
	expect(s, "generations/fedcba9876543210/wal/x", "stays");
	/* The generation itself is a link: only the link goes. */
	assert_int_equal(symlink(under("all/outdir"), under("all/generations/" GEN)), 0);
	assert_int_equal(s->ops->remove_all(s, "generations/" GEN "/", &e), 0);
	expect(s, "outdir/f", "mine");
	assert_int_equal(count_files(under("all/generations")), 1);
	store_close(s);
}

static void test_remove_all_depth(void **state)
{
	struct store *s = open_store("deep");
	struct err e = ERR_INIT;
	char key[1024] = "generations/" GEN;
	(void)state;
	for (int i = 0; i < 60; i++)
		strcat(key, "/d");
	strcat(key, "/x");
	put(s, key, "x");
	assert_int_equal(s->ops->remove_all(s, "generations/" GEN "/", &e), 0);
	assert_int_equal(count_files(under("deep/generations")), 0);
	key[strlen(key) - 2] = 0;
	strcat(key, "/d/d/d/d/d/d/d/d/d/d/x");
	put(s, key, "x");
	assert_int_equal(s->ops->remove_all(s, "generations/" GEN "/", &e), -1);
	assert_non_null(strstr(e.text, "deep"));
	store_close(s);
}

/* ---- many writers of one key ---- */

enum { WRITERS = 4, ROUNDS = 60, BODY_BYTES = 20000 };

static char race_root[128];

static void *writer(void *arg)
{
	static const uint8_t letters[] = "abcdefgh";
	uint8_t body[BODY_BYTES];
	long bad = 0;
	struct store *s;
	struct err e = ERR_INIT;
	memset(body, letters[(uintptr_t)arg], sizeof body);
	if (store_file_open(race_root, NULL, &s, &e) < 0)
		return (void *)1;
	for (int i = 0; i < ROUNDS; i++) {
		struct dyn b = DYN_INIT(1 << 20);
		bad += store_put_bytes(s, "k/one", (struct span){ body, sizeof body }, &e) < 0;
		bad += store_get_bytes(s, "k/one", &b, &e) < 0 || b.len != BODY_BYTES;
		for (size_t n = 1; n < b.len; n++)
			bad += b.p[n] != b.p[0];
		dyn_free(&b);
	}
	store_close(s);
	return (void *)bad;
}

static void test_writers(void **state)
{
	pthread_t t[WRITERS];
	(void)state;
	snprintf(race_root, sizeof race_root, "%s/race", root);
	for (uintptr_t i = 0; i < WRITERS; i++)
		assert_int_equal(pthread_create(&t[i], NULL, writer, (void *)i), 0);
	for (size_t i = 0; i < WRITERS; i++) {
		void *bad;
		assert_int_equal(pthread_join(t[i], &bad), 0);
		assert_null(bad);
	}
	assert_int_equal(count_files(under("race/k")), 1);
}

#ifdef WALBROOK_FAULTS

/* Puts, links and removes once; 0, or 10 + the number of operations that failed. */
static int fault_child(const char *dir)
{
	struct store *s;
	struct err e = ERR_INIT;
	char local[PATH_BYTES];
	int failed = 0;
	static const char *const keys[] = { "w/old" };
	if (store_file_open(dir, NULL, &s, &e) < 0)
		return 99;
	snprintf(local, sizeof local, "%s-local", dir);
	failed += store_put_bytes(s, "w/key", (struct span){ (const uint8_t *)"new value", 9 }, &e) < 0;
	failed += store_put_bytes(s, "w/fresh/key", (struct span){ (const uint8_t *)"fresh", 5 }, &e) < 0;
	failed += s->ops->put_file(s, "w/link", local, &e) != 1;
	failed += s->ops->sync(s, &e) < 0;
	failed += s->ops->remove(s, keys, 1, &e) < 0;
	failed += s->ops->remove_all(s, "generations/" GEN "/", &e) < 0;
	store_close(s);
	return failed ? 10 + failed : 0;
}

static int run_child(const char *fault)
{
	char self[PATH_BYTES];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	assert_true(n > 0);
	self[n] = 0;
	pid_t pid = fork();
	if (pid == 0) {
		setenv("WALBROOK_FAULT", fault, 1);
		execl(self, self, "fault", under("f"), (char *)NULL);
		_exit(98);
	}
	int status;
	assert_int_equal(waitpid(pid, &status, 0), pid);
	return WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

/* A key holds one of two texts, or nothing where that is allowed. */
static void expect_either(struct store *s, const char *key, const char *a, const char *b)
{
	struct err e = ERR_INIT;
	struct dyn got = DYN_INIT(1 << 16);
	int rc = store_get_bytes(s, key, &got, &e);
	dyn_add(&got, "", 1);
	if (rc < 0)
		assert_true(a == NULL && e.kind == ERR_NOTHING);
	else if (!a || strcmp((char *)got.p, a) != 0)
		assert_string_equal((char *)got.p, b);
	dyn_free(&got);
}

/* The scenario under one fault: whatever happened, all objects are whole, and a clean run afterwards succeeds
 * and leaves no temp file. Returns how the child ended. */
static int one_fault(const char *fault)
{
	struct store *s = open_store("f");
	struct err e = ERR_INIT;
	put(s, "w/key", "old value");
	put(s, "w/old", "to be removed");
	put(s, "generations/" GEN "/snapshots/a", "x");
	put(s, "generations/" GEN "/wal/b", "x");
	write_file(under("f-local"), "linked");
	int rc = run_child(fault);
	expect_either(s, "w/key", "old value", "new value");
	expect_either(s, "w/fresh/key", NULL, "fresh");
	expect_either(s, "w/link", NULL, "linked");
	expect_either(s, "w/old", NULL, "to be removed");
	expect_either(s, "generations/" GEN "/snapshots/a", NULL, "x");
	if (access(under("f/generations/" GEN "/wal/b"), F_OK) < 0) /* the snapshots go first */
		assert_int_equal(access(under("f/generations/" GEN "/snapshots/a"), F_OK), -1);
	assert_int_equal(run_child("*:100000:die"), 0);
	expect(s, "w/key", "new value");
	expect(s, "w/fresh/key", "fresh");
	expect(s, "w/link", "linked");
	assert_int_equal(count_files(under("f/w")), 3);
	assert_int_equal(count_files(under("f/w/fresh")), 1);
	assert_int_equal(count_files(under("f/generations")), 0);
	assert_int_equal(s->ops->remove(s, (const char *const[]){ "w/fresh/key", "w/link" }, 2, &e), 0);
	assert_int_equal(rmdir(under("f/w/fresh")), 0);
	store_close(s);
	return rc;
}

static void test_every_death(void **state)
{
	char fault[64];
	int n = 0;
	(void)state;
	do {
		snprintf(fault, sizeof fault, "*:%d:die", ++n);
	} while (one_fault(fault) == -SIGKILL);
	assert_true(n > 20);
	for (int i = 1; i < n; i++) {
		snprintf(fault, sizeof fault, "*:%d:die-after", i);
		assert_int_equal(one_fault(fault), -SIGKILL);
	}
}

/* A fault fails at most the operation that it hits; a short or interrupted transfer fails none. */
static void test_every_fault(void **state)
{
	static const char *const actions[] = { "enospc", "eio", "eintr" };
	int failed = 0;
	(void)state;
	for (size_t i = 0; i < sizeof actions / sizeof *actions; i++) {
		for (int n = 1; n < 45; n++) {
			char fault[64];
			snprintf(fault, sizeof fault, "*:%d:%s", n, actions[i]);
			int rc = one_fault(fault);
			assert_true(rc == 0 || rc == 11);
			failed += rc == 11;
		}
	}
	assert_true(failed > 30);
	assert_int_equal(one_fault("write:1:short,write:2:eintr,write:3:short,fsync:1:eintr,open:1:eintr"), 0);
}

#endif

int main(int argc, char **argv)
{
#ifdef WALBROOK_FAULTS
	if (argc == 3 && strcmp(argv[1], "fault") == 0)
		return fault_child(argv[2]);
#endif
	(void)argc, (void)argv;
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_url_paths),
		cmocka_unit_test(test_url_refused),
		cmocka_unit_test(test_put_get),
		cmocka_unit_test(test_keys),
		cmocka_unit_test(test_invisible_until_commit),
		cmocka_unit_test(test_time_of_publication),
		cmocka_unit_test(test_stale_temp),
		cmocka_unit_test(test_list),
		cmocka_unit_test(test_list_temp),
		cmocka_unit_test(test_root_not_a_directory),
		cmocka_unit_test(test_put_file),
		cmocka_unit_test(test_remove),
		cmocka_unit_test(test_remove_all),
		cmocka_unit_test(test_remove_all_depth),
		cmocka_unit_test(test_writers),
#ifdef WALBROOK_FAULTS
		cmocka_unit_test(test_every_death),
		cmocka_unit_test(test_every_fault),
#endif
	};
	cmocka_set_message_output(CM_OUTPUT_TAP);
	return cmocka_run_group_tests_name("store", tests, make_root, drop_root);
}
