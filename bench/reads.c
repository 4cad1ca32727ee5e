/* SPDX-License-Identifier: Apache-2.0
 *
 * reads DB -secs N [-rows R]: an application that reads single rows by their key, one after another.
 *
 *   1. Opens DB, prepares SELECT b FROM t WHERE id=?, and asks for rows 1 … R (1000) once, so that all is in
 * its cache; then at random for N seconds, each in a transaction of its own.
 *   2. One line: queries=, secs=, qps=, cpu_secs= (of this process), misses= (pages read from the file, of
 * all; SQLite drops the cache of a connection after each commit of somebody else), slowest_us= (16 queries).
 *
 * Nothing may fail, BUSY neither: a reader is never to be in anybody's way. A row that is not there ends it
 * with 1 as well. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "base/clock.h"

enum { LOOK_EVERY = 16 };

static double cpu_secs(void)
{
	struct rusage u;
	getrusage(RUSAGE_SELF, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static _Noreturn void die(sqlite3 *db, const char *path)
{
	fprintf(stderr, "reads: %s: %s\n", path, sqlite3_errmsg(db));
	exit(1);
}

static void one(sqlite3 *db, sqlite3_stmt *get, unsigned id, const char *path)
{
	sqlite3_bind_int64(get, 1, id);
	if (sqlite3_step(get) != SQLITE_ROW || sqlite3_column_bytes(get, 0) == 0 ||
	    sqlite3_reset(get) != SQLITE_OK)
		die(db, path);
}

int main(int argc, char **argv)
{
	sqlite3 *db;
	sqlite3_stmt *get;
	double secs = 1;
	unsigned rows = 1000;
	uint64_t rng = 1, n = 0;
	int64_t slowest_us = 0;
	int misses = 0, high;
	for (int i = 2; i + 1 < argc; i += 2) {
		if (strcmp(argv[i], "-secs") == 0)
			secs = strtod(argv[i + 1], NULL);
		else if (strcmp(argv[i], "-rows") == 0)
			rows = (unsigned)strtoul(argv[i + 1], NULL, 10);
		else
			argc = 0;
	}
	if (argc < 2 || argc % 2 != 0) {
		fprintf(stderr, "usage: reads DB [-secs N] [-rows R]\n");
		return 2;
	}
	if (sqlite3_open_v2(argv[1], &db, SQLITE_OPEN_READWRITE, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(db, "SELECT b FROM t WHERE id=?", -1, &get, NULL) != SQLITE_OK)
		die(db, argv[1]);
	for (unsigned id = 1; id <= rows; id++)
		one(db, get, id, argv[1]);
	sqlite3_db_status(db, SQLITE_DBSTATUS_CACHE_MISS, &misses, &high, 1);
	int64_t begin_us = mono_us(), now_us = begin_us, end_us = begin_us + (int64_t)(secs * 1e6);
	double cpu = cpu_secs();
	while (now_us < end_us) {
		for (int i = 0; i < LOOK_EVERY; i++) {
			rng = rng * 6364136223846793005u + 1442695040888963407u;
			one(db, get, 1 + (unsigned)((rng >> 33) % rows), argv[1]);
		}
		n += LOOK_EVERY;
		int64_t before_us = now_us;
		now_us = mono_us();
		if (now_us - before_us > slowest_us)
			slowest_us = now_us - before_us;
	}
	double took = (double)(now_us - begin_us) / 1e6;
	cpu = cpu_secs() - cpu;
	sqlite3_db_status(db, SQLITE_DBSTATUS_CACHE_MISS, &misses, &high, 0);
	printf("queries=%llu secs=%.4f qps=%.1f cpu_secs=%.4f misses=%d slowest_us=%lld\n",
	       (unsigned long long)n, took, (double)n / took, cpu, misses, (long long)slowest_us);
	sqlite3_finalize(get);
	sqlite3_close(db);
	return 0;
}
