/* SPDX-License-Identifier: Apache-2.0
 *
 * follow DIR PAGE_BYTES PAGES_PER_TXN MB: how fast a follower applies, beside how fast SQLite wrote the same.
 *
 *   1. SQLite updates rows of about a page each, so many in a transaction (synchronous=NORMAL), until its WALs
 * have MB megabytes; each time that a WAL has 4 MiB it is kept in memory and begun anew by a TRUNCATE
 *      checkpoint. The time of the transactions and checkpoints is the reference.
 *   2. A follower takes these WALs in pieces of one transaction, publishes each, and checkpoints at 4 MiB as
 * well.
 *   3. The same, all transactions of a WAL in one step, as a follower that is far behind.
 *
 * One line: transactions=, frames=, sqlite_secs=, follow_secs=, merged_secs=. */
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "db/follow.h"
#include "db/vfs.h"

enum { LOG_BYTES = 4 << 20, DB_BYTES = 16 << 20, POOL_BYTES = 1 << 20, WALS_MAX = 4096 };

static struct {
	char src[4096];
	int page_bytes, pages_per_txn;
	uint8_t *pool;
	struct dyn first, wals[WALS_MAX];
	int wals_n;
	unsigned long transactions, frames;
	uint64_t rng;
} b;

static _Noreturn void die(const char *what, const char *why)
{
	fprintf(stderr, "follow: %s: %s\n", what, why);
	exit(1);
}

static struct dyn keep(const char *suffix)
{
	char path[4200];
	struct err e;
	struct dyn d = DYN_INIT((size_t)1 << 30);
	snprintf(path, sizeof path, "%s%s", b.src, suffix);
	if (file_read_all(path, &d, &e) < 0)
		die(path, e.text);
	return d;
}

static void run(sqlite3 *db, const char *sql)
{
	if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
		die(sql, sqlite3_errmsg(db));
}

static unsigned below(unsigned n)
{
	b.rng = b.rng * 6364136223846793005u + 1442695040888963407u;
	return (unsigned)(b.rng >> 33) % n;
}

static void put_row(sqlite3 *db, sqlite3_stmt *st, int id)
{
	int bytes = b.page_bytes * 9 / 10;
	sqlite3_bind_blob(st, 1, b.pool + below((unsigned)(POOL_BYTES - bytes)), bytes, SQLITE_STATIC);
	sqlite3_bind_int(st, 2, id);
	if (sqlite3_step(st) != SQLITE_DONE)
		die("a row", sqlite3_errmsg(db));
	sqlite3_reset(st);
}

static double write_source(uint64_t total_bytes)
{
	sqlite3 *db;
	sqlite3_stmt *st;
	char sql[64];
	int rows = DB_BYTES / b.page_bytes;
	int64_t us = 0;
	if (sqlite3_open(b.src, &db) != SQLITE_OK)
		die(b.src, sqlite3_errmsg(db));
	snprintf(sql, sizeof sql, "PRAGMA page_size=%d", b.page_bytes);
	run(db, sql);
	run(db, "PRAGMA journal_mode=wal; PRAGMA synchronous=NORMAL; PRAGMA wal_autocheckpoint=0;"
		"CREATE TABLE t(id INTEGER PRIMARY KEY, v BLOB); BEGIN");
	sqlite3_prepare_v2(db, "INSERT INTO t(v, id) VALUES(?,?)", -1, &st, NULL);
	for (int i = 1; i <= rows; i++)
		put_row(db, st, i);
	sqlite3_finalize(st);
	run(db, "COMMIT; PRAGMA wal_checkpoint(TRUNCATE)");
	b.first = keep("");
	sqlite3_prepare_v2(db, "UPDATE t SET v=? WHERE id=?", -1, &st, NULL);
	for (uint64_t done = 0; done < total_bytes && b.wals_n < WALS_MAX;) {
		char path[4200];
		struct stat now = { .st_size = 0 };
		int64_t from_us = mono_us();
		for (uint64_t n = 0; n < LOG_BYTES; b.transactions++) {
			run(db, "BEGIN IMMEDIATE");
			for (int k = 0; k < b.pages_per_txn; k++)
				put_row(db, st, 1 + (int)below((unsigned)rows));
			run(db, "COMMIT");
			n += (uint64_t)b.pages_per_txn * wal_frame_bytes((uint32_t)b.page_bytes);
		}
		us += mono_us() - from_us;
		b.wals[b.wals_n] = keep("-wal");
		b.frames += wal_frames_in((uint32_t)b.page_bytes, b.wals[b.wals_n].len);
		done += b.wals[b.wals_n++].len;
		from_us = mono_us();
		run(db, "PRAGMA wal_checkpoint(TRUNCATE)");
		us += mono_us() - from_us;
		snprintf(path, sizeof path, "%s-wal", b.src);
		if (stat(path, &now) < 0 || now.st_size != 0)
			die(path, "the WAL did not begin anew");
	}
	sqlite3_finalize(st);
	sqlite3_close(db);
	return (double)us / 1e6;
}

/* Bytes of one transaction at p. */
static size_t transaction(const uint8_t *p, size_t n, size_t frame)
{
	size_t at = 0;
	while (at + frame <= n) {
		at += frame;
		if (get_be32(p + at - frame + 4) != 0)
			break;
	}
	return at;
}

static void take_wal(struct follow *f, const struct generation *g, int i, bool merge)
{
	struct err e;
	size_t frame = (size_t)wal_frame_bytes((uint32_t)b.page_bytes);
	for (size_t at = 0, n; at < b.wals[i].len; at += n) {
		const uint8_t *p = b.wals[i].p + at;
		size_t head = at == 0 ? WAL_HEADER_BYTES : 0;
		n = merge ? b.wals[i].len : head + transaction(p + head, b.wals[i].len - at - head, frame);
		struct position from = { (uint64_t)i, at };
		if (follow_segment(f, g, from, (struct span){ p, n }, merge, &e) != FOLLOW_OK)
			die("apply", e.text);
	}
}

static double follow_all(const char *dir, const char *name, bool merge)
{
	struct follow f;
	struct err e;
	char path[4200], meta[4200];
	struct generation g = generation_from(1);
	snprintf(path, sizeof path, "%s/%s", dir, name);
	snprintf(meta, sizeof meta, "%s/%s-meta", dir, name);
	struct follow_options o = { .path = path, .meta_dir = meta, .owner = OWNER_PRIVATE };
	if (follow_open(&f, &o, &e) != FOLLOW_CONTENT || follow_content_begin(&f, &g, 0, &e) != FOLLOW_OK ||
	    follow_content_bytes(&f, (struct span){ b.first.p, b.first.len }, &e) != FOLLOW_OK ||
	    follow_content_end(&f, &e) != FOLLOW_OK)
		die(path, e.text);
	int64_t from_us = mono_us();
	for (int i = 0; i < b.wals_n; i++)
		take_wal(&f, &g, i, merge);
	int64_t us = mono_us() - from_us;
	if (f.n.transactions != b.transactions)
		die(path, "not all transactions came");
	follow_close(&f);
	return (double)us / 1e6;
}

int main(int argc, char **argv)
{
	struct err e;
	if (argc != 5) {
		fprintf(stderr, "usage: follow DIR PAGE_BYTES PAGES_PER_TXN MB\n");
		return 2;
	}
	b.page_bytes = atoi(argv[2]);
	b.pages_per_txn = atoi(argv[3]);
	b.pool = malloc(POOL_BYTES);
	if (!b.pool || !page_bytes_valid((uint32_t)b.page_bytes) || b.pages_per_txn < 1)
		die(argv[2], "arguments");
	for (int i = 0; i < POOL_BYTES; i++)
		b.pool[i] = (uint8_t)below(256);
	snprintf(b.src, sizeof b.src, "%s/source", argv[1]);
	if (vfs_setup(&e) < 0)
		die("SQLite", e.text);
	double sqlite_secs = write_source((uint64_t)atoi(argv[4]) << 20);
	double each_secs = follow_all(argv[1], "each", false),
	       merged_secs = follow_all(argv[1], "merged", true);
	printf("transactions=%lu frames=%lu sqlite_secs=%.4f follow_secs=%.4f merged_secs=%.4f\n",
	       b.transactions, b.frames, sqlite_secs, each_secs, merged_secs);
	return 0;
}
