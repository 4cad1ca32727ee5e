/* SPDX-License-Identifier: Apache-2.0
 *
 * visible APP COPY -rate TPS -secs N: from a commit on a primary to a reader of its follower.
 *
 *   1. A thread reads COPY (the follower's file, an ordinary connection of its own) every 100 us.
 *   2. The other one commits a row in APP, TPS a second for N seconds (synchronous NORMAL), and notes when
 * each COMMIT returned.
 *   3. One line a commit: us=, from that to the end of the first read that saw it (0 when that was before).
 *
 * APP has a table t(id INTEGER PRIMARY KEY, a, b), and COPY has been published once. A BUSY of the reader is
 * tried again, as an application would; any other error, or a commit that is not seen within 30 s, ends it
 * with 1. */
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { POLL_US = 100, GIVE_UP_US = 30000000, BUSY_TIMEOUT_MS = 20000 };

static struct {
	sqlite3 *copy;
	sqlite3_stmt *newest;
	int64_t first, n; /* rows first + 1 … first + n are committed here */
	int64_t *committed_us, *seen_us;
	int64_t end_us;
	bool failed;
} v;

static sqlite3 *open_db(const char *path)
{
	sqlite3 *db;
	if (sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK) {
		fprintf(stderr, "visible: %s: %s\n", path, sqlite3_errmsg(db));
		exit(1);
	}
	return db;
}

/* The newest row of the copy; -1: an error, -2: busy. */
static int64_t newest(void)
{
	int rc = sqlite3_step(v.newest);
	int64_t id = rc == SQLITE_ROW ? sqlite3_column_int64(v.newest, 0) : rc == SQLITE_BUSY ? -2 : -1;
	sqlite3_reset(v.newest);
	return id;
}

static void *read_copy(void *arg)
{
	int64_t last = v.first;
	(void)arg;
	while (last < v.first + v.n) {
		int64_t id = newest(), now_us = mono_us();
		if (id == -1 || now_us > v.end_us) {
			fprintf(stderr, "visible: after row %lld: %s\n", (long long)(last - v.first),
				id == -1 ? sqlite3_errmsg(v.copy) : "the next one does not come");
			v.failed = true;
			return NULL;
		}
		while (last < id && last < v.first + v.n)
			v.seen_us[++last - v.first - 1] = now_us;
		sleep_us(POLL_US);
	}
	return NULL;
}

static int commit_all(sqlite3 *app, double rate)
{
	sqlite3_stmt *put;
	int64_t begin_us = mono_us();
	if (sqlite3_exec(app, "PRAGMA synchronous=NORMAL", NULL, NULL, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(app, "INSERT INTO t(id, a, b) VALUES(?, 1, randomblob(200))", -1, &put, NULL) !=
		    SQLITE_OK)
		return -1;
	for (int64_t i = 0; i < v.n; i++) {
		int64_t wait_us = begin_us + (int64_t)((double)i * 1e6 / rate) - mono_us();
		if (wait_us > 0)
			sleep_us(wait_us);
		sqlite3_bind_int64(put, 1, v.first + 1 + i);
		sqlite3_step(put);
		if (sqlite3_reset(put) != SQLITE_OK)
			return -1;
		v.committed_us[i] = mono_us();
	}
	sqlite3_finalize(put);
	return 0;
}

int main(int argc, char **argv)
{
	pthread_t reader;
	if (argc != 7 || strcmp(argv[3], "-rate") != 0 || strcmp(argv[5], "-secs") != 0) {
		fprintf(stderr, "usage: visible APP COPY -rate TPS -secs N\n");
		return 2;
	}
	double rate = strtod(argv[4], NULL), secs = strtod(argv[6], NULL);
	sqlite3 *app = open_db(argv[1]);
	sqlite3_busy_timeout(app, BUSY_TIMEOUT_MS);
	v.copy = open_db(argv[2]);
	v.n = (int64_t)(rate * secs);
	v.committed_us = calloc((size_t)v.n, sizeof *v.committed_us);
	v.seen_us = calloc((size_t)v.n, sizeof *v.seen_us);
	v.end_us = mono_us() + (int64_t)(secs * 1e6) + GIVE_UP_US;
	if (!v.committed_us || !v.seen_us ||
	    sqlite3_prepare_v2(v.copy, "SELECT max(id) FROM t", -1, &v.newest, NULL) != SQLITE_OK ||
	    (v.first = newest()) < 0 || pthread_create(&reader, NULL, read_copy, NULL) != 0) {
		fprintf(stderr, "visible: %s: %s\n", argv[2], sqlite3_errmsg(v.copy));
		return 1;
	}
	if (commit_all(app, rate) < 0) {
		fprintf(stderr, "visible: %s: %s\n", argv[1], sqlite3_errmsg(app));
		return 1;
	}
	pthread_join(reader, NULL);
	for (int64_t i = 0; i < v.n && !v.failed; i++) {
		int64_t us = v.seen_us[i] - v.committed_us[i];
		printf("us=%lld\n", (long long)(us > 0 ? us : 0));
	}
	sqlite3_finalize(v.newest);
	sqlite3_close(v.copy);
	sqlite3_close(app);
	return v.failed;
}
