/* SPDX-License-Identifier: Apache-2.0
 *
 * What the tests of src/db share: a directory of one's own, other processes that use SQLite (peers), files by
 * hand, and a database as capture tells it, replayed page by page.
 *
 * A peer is this test program, run again as `PROGRAM peer`, since POSIX locks do not work inside one process.
 * It takes a line and answers with a line that begins with ok or err; see peer_main for the lines. Its VFS is
 * SQLite's own with two methods replaced, so that it can die inside the sync of a commit or stand still inside
 * a checkpoint.
 *
 * The tested process opens no file of a database that it has open through SQLite: closing it would drop the
 * locks of the process. What has to look at such files is done by the shell (sh) or a peer; only the -wal may
 * be opened. */
#ifndef WB_TEST_WORLD_H
#define WB_TEST_WORLD_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sqlite3.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "core/segment.h"
#include "core/wal.h"
#include "db/spool.h"
#include "db/vfs.h"

#define HELPER static __attribute__((unused))

enum { WAIT_MS = 20000, LINE_BYTES = 4096 };

/* ---- the directory ---- */

static char world[64];

HELPER int world_make(void **state)
{
	struct err e;
	(void)state;
	if (!getenv("WALBROOK_TEST_LOG"))
		log_setup(LOG_ERROR + 1, false, 2);
	else
		log_setup(LOG_DEBUG, false, 2);
	snprintf(world, sizeof world, "/tmp/wb-db-XXXXXX");
	return mkdtemp(world) && vfs_setup(&e) == 0 ? 0 : -1;
}

HELPER int world_drop(void **state)
{
	char cmd[256];
	(void)state;
	snprintf(cmd, sizeof cmd, "chmod -R u+rwX '%s'; rm -rf '%s'", world, world);
	return system(cmd);
}

/* A path in the directory; valid for the next fifteen calls. */
HELPER const char *at(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
HELPER const char *at(const char *fmt, ...)
{
	static char bufs[16][PATH_BYTES];
	static unsigned next;
	char *buf = bufs[next++ % 16];
	int n = snprintf(buf, PATH_BYTES, "%s/", world);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(buf + n, PATH_BYTES - (size_t)n, fmt, ap);
	va_end(ap);
	return buf;
}

/* Runs a line of shell, inside the directory. */
HELPER void sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
HELPER void sh(const char *fmt, ...)
{
	char cmd[LINE_BYTES];
	int n = snprintf(cmd, sizeof cmd, "cd '%s' && ", world);
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(cmd + n, sizeof cmd - (size_t)n, fmt, ap);
	va_end(ap);
	int rc = system(cmd);
	if (rc != 0)
		fail_msg("status %d of: %s", rc, cmd);
}

HELPER bool exists(const char *path)
{
	return access(path, F_OK) == 0;
}

HELPER struct dyn slurp(const char *path)
{
	struct err e;
	struct dyn d = DYN_INIT((size_t)1 << 30);
	if (file_read_all(path, &d, &e) < 0)
		fail_msg("%s", e.text);
	return d;
}

HELPER void spew(const char *path, const void *p, size_t n)
{
	FILE *f = fopen(path, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(p, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

/* ---- the peer's side ---- */

enum { STALL_HEADER = 1, STALL_READ0 = 2, STALL_READ1 = 4 };

static struct {
	int die_in_wal_sync, die_in_wal_write; /* in this many of them, before it is done; 0: never */
	unsigned stalls;
	bool locked_checkpoint;
	sqlite3_vfs vfs;
	sqlite3_vfs *unix_vfs;
	struct {
		const sqlite3_io_methods *real;
		sqlite3_io_methods ours;
		int is_wal;
	} kinds[16];
	int kinds_n;
} shim;

HELPER int peer_line(char line[LINE_BYTES])
{
	int n = 0;
	for (; n < LINE_BYTES - 1; n++)
		if (read(0, line + n, 1) != 1 || line[n] == '\n')
			break;
	bool whole = n < LINE_BYTES - 1 && line[n] == '\n';
	line[n] = 0;
	return whole ? n : -1;
}

HELPER void peer_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
HELPER void peer_say(const char *fmt, ...)
{
	char line[LINE_BYTES];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof line - 1, fmt, ap);
	va_end(ap);
	n = n < LINE_BYTES - 2 ? n : LINE_BYTES - 2;
	line[n] = '\n';
	if (write(1, line, (size_t)n + 1) != n + 1)
		_exit(3);
}

HELPER void peer_stall(unsigned where, const char *name)
{
	char line[LINE_BYTES];
	if (!(shim.stalls & where))
		return;
	shim.stalls &= ~where;
	peer_say("stalled %s", name);
	if (peer_line(line) < 0)
		_exit(3);
}

static const sqlite3_io_methods *shim_real(sqlite3_file *f)
{
	for (int i = 0; i < shim.kinds_n; i++)
		if (f->pMethods == &shim.kinds[i].ours)
			return shim.kinds[i].real;
	abort();
}

static int shim_wal_sync(sqlite3_file *f, int flags)
{
	if (shim.die_in_wal_sync > 0 && --shim.die_in_wal_sync == 0)
		kill(getpid(), SIGKILL);
	return shim_real(f)->xSync(f, flags);
}

static int shim_wal_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 off)
{
	if (shim.die_in_wal_write > 0 && --shim.die_in_wal_write == 0)
		kill(getpid(), SIGKILL);
	return shim_real(f)->xWrite(f, p, n, off);
}

/* SQLite calls this with NULL when a header that it has just read is not the one that it knew: in a checkpoint
 * the checkpoint lock is held by then, and the header that will be used is read. */
static int shim_unfetch(sqlite3_file *f, sqlite3_int64 off, void *p)
{
	if (!p && shim.locked_checkpoint)
		peer_stall(STALL_HEADER, "header");
	return shim_real(f)->xUnfetch(f, off, p);
}

static int shim_shm_lock(sqlite3_file *f, int ofs, int n, int flags)
{
	bool take = flags == (SQLITE_SHM_LOCK | SQLITE_SHM_EXCLUSIVE);
	if (ofs == SHM_READ0 && n == 1 && take && shim.locked_checkpoint)
		peer_stall(STALL_READ0, "read0");
	if (ofs == SHM_READ0 + 1 && n == 1 && take && shim.locked_checkpoint)
		peer_stall(STALL_READ1, "read1");
	int rc = shim_real(f)->xShmLock(f, ofs, n, flags);
	if (rc == SQLITE_OK && ofs == SHM_CKPT)
		shim.locked_checkpoint = take;
	return rc;
}

static int shim_open(sqlite3_vfs *vfs, sqlite3_filename name, sqlite3_file *f, int flags, int *out)
{
	(void)vfs;
	int rc = shim.unix_vfs->xOpen(shim.unix_vfs, name, f, flags, out);
	int i = 0, is_wal = (flags & SQLITE_OPEN_WAL) != 0;
	if (rc != SQLITE_OK || !f->pMethods)
		return rc;
	while (i < shim.kinds_n && (shim.kinds[i].real != f->pMethods || shim.kinds[i].is_wal != is_wal))
		i++;
	if (i == shim.kinds_n) {
		if (i == sizeof shim.kinds / sizeof *shim.kinds)
			abort();
		shim.kinds[i].real = f->pMethods;
		shim.kinds[i].is_wal = is_wal;
		shim.kinds[i].ours = *f->pMethods;
		if (is_wal) {
			shim.kinds[i].ours.xSync = shim_wal_sync;
			shim.kinds[i].ours.xWrite = shim_wal_write;
		}
		if (f->pMethods->xShmLock)
			shim.kinds[i].ours.xShmLock = shim_shm_lock;
		if (f->pMethods->iVersion >= 3)
			shim.kinds[i].ours.xUnfetch = shim_unfetch;
		shim.kinds_n++;
	}
	f->pMethods = &shim.kinds[i].ours;
	return rc;
}

static void shim_install(void)
{
	shim.unix_vfs = sqlite3_vfs_find("unix");
	shim.vfs = *shim.unix_vfs;
	shim.vfs.zName = "test";
	shim.vfs.pNext = NULL;
	shim.vfs.xOpen = shim_open;
	sqlite3_vfs_register(&shim.vfs, 1);
}

static int peer_row(void *arg, int n, char **v, char **names)
{
	(void)names;
	snprintf(arg, LINE_BYTES - 8, "%s%s%s%s%s", v[0] ? v[0] : "NULL", n > 1 ? "|" : "",
		 n > 1 && v[1] ? v[1] : "", n > 2 ? "|" : "", n > 2 && v[2] ? v[2] : "");
	return 0;
}

static bool peer_told(void)
{
	struct pollfd p = { .fd = 0, .events = POLLIN };
	return poll(&p, 1, 0) > 0;
}

/* Commits without pause (or with one, in microseconds) until a line comes. */
static void peer_writes(sqlite3 *db, int rows, int bytes, int pause_us)
{
	long n = 0;
	char sql[512], line[LINE_BYTES];
	for (unsigned seed = 1; !peer_told(); n++) {
		snprintf(sql, sizeof sql,
			 "BEGIN IMMEDIATE; WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM c WHERE "
			 "i<%d) "
			 "INSERT INTO t(v) SELECT randomblob(%d) FROM c; UPDATE t SET v=randomblob(%d) WHERE "
			 "id=%u;"
			 "DELETE FROM t WHERE id=%u; COMMIT",
			 rows, bytes, bytes / 2, seed * 7 % 1000, seed * 13 % 3000);
		seed++;
		if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK) {
			snprintf(line, sizeof line, "err %s after %ld", sqlite3_errmsg(db), n);
			if (!sqlite3_get_autocommit(db))
				sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
			peer_say("%s", line);
			return;
		}
		if (pause_us)
			usleep((unsigned)pause_us);
	}
	if (peer_line(line) >= 0)
		peer_say("ok %ld", n);
}

/* Checkpoints in a loop until a line comes. The answer: checkpoints, busy ones, the longest in ms. */
static void peer_checkpoints(sqlite3 *db, const char *mode, int pause_us)
{
	static const char *const modes[] = { "PASSIVE", "FULL", "RESTART", "TRUNCATE" };
	long n = 0, busy = 0;
	int64_t worst_us = 0;
	char line[LINE_BYTES], row[LINE_BYTES], sql[128];
	for (; !peer_told(); n++) {
		int64_t from_us = mono_us();
		snprintf(sql, sizeof sql, "PRAGMA wal_checkpoint(%s)",
			 strcmp(mode, "ALL") == 0 ? modes[n % 4] : mode);
		strcpy(row, "1");
		sqlite3_exec(db, sql, peer_row, row, NULL);
		busy += row[0] != '0';
		if (mono_us() - from_us > worst_us)
			worst_us = mono_us() - from_us;
		usleep((unsigned)pause_us);
	}
	if (peer_line(line) >= 0)
		peer_say("ok %ld %ld %ld", n, busy, (long)(worst_us / 1000));
}

/* Asks the kernel, in one call and again and again, whether any of the five read slots is locked by somebody.
 */
static void peer_watches(const char *shm)
{
	long n = 0, holes = 0;
	char line[LINE_BYTES];
	int fd = open(shm, O_RDWR | O_CLOEXEC);
	peer_say(fd < 0 ? "err" : "ok");
	for (; !peer_told(); n++) {
		struct flock l = {
			.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 120 + SHM_READ0, .l_len = 5
		};
		holes += fcntl(fd, F_GETLK, &l) < 0 || l.l_type == F_UNLCK;
	}
	if (peer_line(line) >= 0)
		peer_say("ok %ld %ld", n, holes);
	close(fd);
}

static void peer_sql(sqlite3 *db, const char *sql)
{
	char row[LINE_BYTES] = "", *why = NULL;
	int rc = sqlite3_exec(db, sql, peer_row, row, &why);
	if (rc == SQLITE_OK)
		peer_say("ok %s", row);
	else
		peer_say("err %d %s", rc, why ? why : "");
	sqlite3_free(why);
}

/* open PATH, close, die-in-sync N, die-in-write N (of the WAL), stall-header, stall-read0, stall-read1, write
 * ROWS BYTES PAUSE_US, checkpoint MODE PAUSE_US (PASSIVE … TRUNCATE, or ALL in turn), watch-slots SHM (says ok
 * when it begins); anything else is SQL, answered by the first three columns of its last row. */
HELPER int peer_main(void)
{
	char line[LINE_BYTES], word[64];
	sqlite3 *db = NULL;
	int a, b, c;
	shim_install();
	while (peer_line(line) >= 0) {
		if (strncmp(line, "open ", 5) == 0) {
			int rc = sqlite3_open(line + 5, &db);
			sqlite3_busy_timeout(db, 10000);
			peer_say(rc == SQLITE_OK ? "ok" : "err %d", rc);
		} else if (strcmp(line, "close") == 0) {
			peer_say(sqlite3_close(db) == SQLITE_OK ? "ok" : "err");
			db = NULL;
		} else if (sscanf(line, "die-in-sync %d", &a) == 1) {
			shim.die_in_wal_sync = a;
			peer_say("ok");
		} else if (sscanf(line, "die-in-write %d", &a) == 1) {
			shim.die_in_wal_write = a;
			peer_say("ok");
		} else if (strncmp(line, "stall-", 6) == 0) {
			shim.stalls |= line[6] == 'h'	 ? STALL_HEADER
				       : line[10] == '0' ? STALL_READ0
							 : STALL_READ1;
			peer_say("ok");
		} else if (sscanf(line, "write %d %d %d", &a, &b, &c) == 3) {
			peer_writes(db, a, b, c);
		} else if (strncmp(line, "watch-slots ", 12) == 0) {
			peer_watches(line + 12);
		} else if (sscanf(line, "checkpoint %63s %d", word, &a) == 2) {
			peer_checkpoints(db, word, a);
		} else {
			peer_sql(db, line);
		}
	}
	sqlite3_close(db);
	return 0;
}

/* ---- the test's side of a peer ---- */

struct peer {
	pid_t pid;
	int to, from;
};

/* This program, run again with other arguments (NULL at the end). */
HELPER struct peer peer_start_as(const char *const *args)
{
	int in[2], out[2];
	char exe[PATH_BYTES];
	ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
	assert_true(n > 0 && pipe2(in, O_CLOEXEC) == 0 && pipe2(out, O_CLOEXEC) == 0);
	exe[n] = 0;
	struct peer p = { .to = in[1], .from = out[0] };
	p.pid = fork();
	assert_true(p.pid >= 0);
	if (p.pid == 0) {
		dup2(in[0], 0);
		dup2(out[1], 1);
		char *argv[10] = { exe };
		for (int i = 0; i < 8 && args[i]; i++)
			argv[i + 1] = strdup(args[i]);
		execv(exe, argv);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	signal(SIGPIPE, SIG_IGN);
	return p;
}

HELPER struct peer peer_start(void)
{
	const char *args[] = { "peer", NULL };
	return peer_start_as(args);
}

HELPER void peer_tell(struct peer *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
HELPER void peer_tell(struct peer *p, const char *fmt, ...)
{
	char line[LINE_BYTES];
	va_list ap;
	va_start(ap, fmt);
	int n = vsnprintf(line, sizeof line - 1, fmt, ap);
	va_end(ap);
	assert_true(n > 0 && n < LINE_BYTES - 1);
	line[n] = '\n';
	assert_int_equal(write(p->to, line, (size_t)n + 1), n + 1);
}

/* The next line; "gone": it ended. */
HELPER const char *peer_hear(struct peer *p)
{
	static char bufs[8][LINE_BYTES];
	static unsigned next;
	char *line = bufs[next++ % 8];
	for (int n = 0; n < LINE_BYTES; n++) {
		struct pollfd w = { .fd = p->from, .events = POLLIN };
		if (poll(&w, 1, WAIT_MS) <= 0)
			fail_msg("a peer does not answer");
		if (read(p->from, line + n, 1) != 1)
			return "gone";
		if (line[n] == '\n') {
			line[n] = 0;
			return line;
		}
	}
	fail_msg("a peer's line is too long");
	return "";
}

/* Tells a line and gives what came after "ok "; anything else fails the test. */
HELPER const char *peer_do(struct peer *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
HELPER const char *peer_do(struct peer *p, const char *fmt, ...)
{
	char line[LINE_BYTES];
	va_list ap;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	peer_tell(p, "%s", line);
	const char *answer = peer_hear(p);
	if (strncmp(answer, "ok", 2) != 0)
		fail_msg("%s: %s", line, answer);
	return answer[2] ? answer + 3 : "";
}

HELPER struct peer peer_open(const char *path)
{
	struct peer p = peer_start();
	peer_do(&p, "open %s", path);
	return p;
}

HELPER void peer_reap(struct peer *p)
{
	int status;
	close(p->to);
	close(p->from);
	assert_int_equal(waitpid(p->pid, &status, 0), p->pid);
	p->pid = 0;
}

HELPER void peer_kill(struct peer *p)
{
	kill(p->pid, SIGKILL);
	peer_reap(p);
}

/* Ends without closing the database properly: no checkpoint on close, no removal of the WAL. */
HELPER void peer_leave(struct peer *p)
{
	peer_kill(p);
}

HELPER void peer_close(struct peer *p)
{
	peer_do(p, "close");
	peer_reap(p);
}

/* Opens, runs, leaves as a killed process does; the answer is valid for a while. */
HELPER const char *sql_once(const char *path, const char *sql)
{
	struct peer p = peer_open(path);
	const char *answer = peer_do(&p, "%s", sql);
	peer_leave(&p);
	return answer;
}

/* ---- a WAL by hand ---- */

struct fake_wal {
	struct dyn bytes;
	struct wal_chain chain;
	uint32_t pages;
};

HELPER void fake_begin(struct fake_wal *w, uint32_t page_bytes, uint32_t salt)
{
	struct wal_header h = { .page_bytes = page_bytes };
	uint8_t raw[WAL_HEADER_BYTES];
	put_be32(h.salt, salt);
	put_be32(h.salt + 4, ~salt);
	wal_header_write(raw, &h);
	*w = (struct fake_wal){ .bytes = DYN_INIT((size_t)1 << 30) };
	assert_int_equal(dyn_add(&w->bytes, raw, sizeof raw), 0);
	assert_int_equal(wal_header_parse((struct span){ raw, sizeof raw }, &h), WAL_OK);
	w->chain = wal_chain_start(&h);
}

HELPER void fake_frame(struct fake_wal *w, uint32_t pgno, uint32_t commit_pages)
{
	size_t n = (size_t)wal_frame_bytes(w->chain.page_bytes);
	uint8_t *f = calloc(1, n);
	assert_non_null(f);
	put_be32(f, pgno);
	put_be32(f + 4, commit_pages);
	memcpy(f + 8, w->chain.salt, 8);
	for (size_t i = WAL_FRAME_HEADER_BYTES; i < n; i++)
		f[i] = (uint8_t)(i * pgno + w->chain.offset);
	struct wal_sum s = wal_checksum(w->chain.sum, w->chain.big_endian, f, 8);
	s = wal_checksum(s, w->chain.big_endian, f + WAL_FRAME_HEADER_BYTES, w->chain.page_bytes);
	put_be32(f + 16, s.s0);
	put_be32(f + 20, s.s1);
	assert_int_equal(dyn_add(&w->bytes, f, n), 0);
	w->chain.sum = s;
	w->chain.offset += n;
	free(f);
}

/* ---- segments ---- */

HELPER int to_dyn(void *arg, struct span out, struct err *e)
{
	return dyn_add(arg, out.p, out.n) < 0 ? err_set(e, ERR_FAIL, "no memory") : 0;
}

HELPER struct dyn packed(struct span plain)
{
	struct err e;
	struct dyn d = DYN_INIT((size_t)1 << 30);
	struct segment_writer *w = segment_writer_new(to_dyn, &d);
	assert_non_null(w);
	assert_int_equal(segment_write(w, plain, &e), 0);
	assert_int_equal(segment_finish(w, &e), 0);
	segment_writer_free(w);
	return d;
}

/* Appends the plain bytes of a stored object to *to. */
HELPER void unpack_to(struct dyn *to, const char *path)
{
	struct err e;
	struct dyn stored = slurp(path);
	struct segment_reader *r = segment_reader_new(to_dyn, to);
	assert_non_null(r);
	if (segment_read(r, (struct span){ stored.p, stored.len }, &e) < 0 || segment_read_end(r, &e) < 0)
		fail_msg("%s: %s", path, e.text);
	segment_reader_free(r);
	dyn_free(&stored);
}

HELPER void free_list(struct spool_segment *s)
{
	while (s) {
		struct spool_segment *next = s->next;
		spool_segment_free(s);
		s = next;
	}
}

/* ---- a replay ---- */

/* Segments applied to a copy of the database, verified on the way: contiguous, whole chain, ends on a commit.
 */
struct replay {
	struct dyn image; /* of the database file */
	uint64_t index;	  /* of the WAL that is being applied */
	struct wal_chain chain;
	uint64_t commits;
	bool inside; /* a transaction: its end has not come yet */
};

HELPER void replay_frame(struct replay *r, const uint8_t *frame, struct wal_frame *f, uint32_t page_bytes)
{
	size_t end = (size_t)f->pgno * page_bytes;
	if (end > r->image.len) {
		size_t more = end - r->image.len;
		assert_int_equal(dyn_reserve(&r->image, more), 0);
		memset(r->image.p + r->image.len, 0, more);
		r->image.len = end;
	}
	memcpy(r->image.p + end - page_bytes, frame + WAL_FRAME_HEADER_BYTES, page_bytes);
}

/* Plain bytes of a segment that begins at `from`. Only one that was cut for its size may end inside a
 * transaction. */
HELPER void replay_plain(struct replay *r, struct position from, struct span in)
{
	struct wal_header h;
	struct wal_frame f = { .commit_pages = 0 };
	if (from.offset == 0) {
		assert_false(r->inside);
		assert_true(from.index == r->index + 1 || (from.index == r->index && r->chain.offset == 0));
		assert_int_equal(wal_header_parse(in, &h), WAL_OK);
		r->chain = wal_chain_start(&h);
		r->index = from.index;
		in.p += WAL_HEADER_BYTES;
		in.n -= WAL_HEADER_BYTES;
	}
	assert_int_equal(from.index, r->index);
	assert_true(from.offset == 0 || from.offset == r->chain.offset);
	size_t frame = (size_t)wal_frame_bytes(r->chain.page_bytes);
	assert_int_equal(in.n % frame, 0);
	for (size_t i = 0; i < in.n; i += frame) {
		enum wal_check why = wal_chain_step(&r->chain, (struct span){ in.p + i, in.n - i }, &f);
		if (why != WAL_OK)
			fail_msg("the chain breaks at %llx:%llu: %s", (unsigned long long)r->index,
				 (unsigned long long)r->chain.offset, wal_check_text(why));
		replay_frame(r, in.p + i, &f, r->chain.page_bytes);
		r->inside = f.commit_pages == 0;
		r->commits += f.commit_pages != 0;
		if (f.commit_pages && (size_t)f.commit_pages * r->chain.page_bytes < r->image.len)
			r->image.len = (size_t)f.commit_pages * r->chain.page_bytes;
	}
}

HELPER void replay_segments(struct replay *r, const struct spool *spool, const struct spool_segment *s)
{
	for (; s; s = s->next) {
		char path[PATH_BYTES];
		struct dyn plain = DYN_INIT((size_t)1 << 30);
		spool_path(spool, &s->generation, s->at, path);
		unpack_to(&plain, path);
		assert_int_equal(s->at.offset + plain.len, s->end);
		replay_plain(r, s->at, (struct span){ plain.p, plain.len });
		dyn_free(&plain);
	}
}

/* Copies the WAL into the database (nobody else may have it open) and compares. */
HELPER void replay_equals(struct replay *r, const char *path)
{
	const char *answer = sql_once(path, "PRAGMA wal_checkpoint(TRUNCATE)");
	assert_int_equal(answer[0], '0');
	assert_false(r->inside);
	struct dyn now = slurp(path);
	uint32_t page_bytes = r->chain.page_bytes ? r->chain.page_bytes : 512;
	assert_int_equal(r->image.len, now.len);
	for (size_t i = 0; i < now.len; i += page_bytes)
		if (memcmp(r->image.p + i, now.p + i, page_bytes) != 0)
			fail_msg("page %zu differs", i / page_bytes + 1);
	dyn_free(&now);
}

#endif
