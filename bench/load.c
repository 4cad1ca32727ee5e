/* SPDX-License-Identifier: Apache-2.0
 *
 * load DB -secs N [-rows R] [-rate TPS] [-page BYTES] [-full]: an application that writes.
 *
 *   1. Opens (makes) the database: WAL mode, default autocheckpoint, synchronous NORMAL unless -full.
 *   2. Transactions of R rows, one after another or TPS a second, for N seconds. A second thread looks at the
 * size of the WAL every 2 ms.
 *   3. One line: tx=, secs=, tps=, median_us=, p99_us=, longest_us= (BEGIN IMMEDIATE to the end of COMMIT),
 * wal_bytes=, cpu_secs= (of the thread that writes).
 *
 * -init only makes the database and one row, and leaves without closing, so that the row stays in the WAL.
 * Any error of SQLite ends it with 1; BUSY cannot come up within the 20 s timeout unless somebody misbehaves.
 */
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../test/tools/samples.h"
#include "base/clock.h"

enum { BUSY_TIMEOUT_MS = 20000, TEXT_BYTES = 96 };

struct load {
	const char *path;
	double secs;
	unsigned rows, rate, page_bytes;
	bool full, init;
	sqlite3 *db;
	sqlite3_stmt *begin, *insert, *commit;
	_Atomic bool over;
	int64_t wal_peak_bytes;
	struct samples commit_us;
	uint64_t rng;
};

static int fail(const struct load *l, const char *what)
{
	fprintf(stderr, "load: %s: %s: %s\n", l->path, what, sqlite3_errmsg(l->db));
	return 1;
}

static void *watch_wal(void *arg)
{
	struct load *l = arg;
	char wal[4096];
	struct stat st;
	snprintf(wal, sizeof wal, "%s-wal", l->path);
	while (!atomic_load(&l->over)) {
		if (stat(wal, &st) == 0 && st.st_size > l->wal_peak_bytes)
			l->wal_peak_bytes = st.st_size;
		sleep_us(2000);
	}
	return NULL;
}

static int open_db(struct load *l)
{
	char sql[512];
	if (sqlite3_open(l->path, &l->db) != SQLITE_OK)
		return fail(l, "open");
	sqlite3_busy_timeout(l->db, BUSY_TIMEOUT_MS);
	snprintf(sql, sizeof sql,
		 "PRAGMA page_size=%u; PRAGMA journal_mode=WAL; PRAGMA synchronous=%s;"
		 "CREATE TABLE IF NOT EXISTS t(id INTEGER PRIMARY KEY, a INTEGER, b TEXT);",
		 l->page_bytes, l->full ? "FULL" : "NORMAL");
	if (sqlite3_exec(l->db, sql, NULL, NULL, NULL) != SQLITE_OK)
		return fail(l, "schema");
	if (sqlite3_prepare_v2(l->db, "BEGIN IMMEDIATE", -1, &l->begin, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(l->db, "INSERT INTO t(a, b) VALUES(?, ?)", -1, &l->insert, NULL) != SQLITE_OK ||
	    sqlite3_prepare_v2(l->db, "COMMIT", -1, &l->commit, NULL) != SQLITE_OK)
		return fail(l, "prepare");
	return 0;
}

static int run(sqlite3_stmt *st)
{
	sqlite3_step(st);
	return sqlite3_reset(st);
}

static int transaction(struct load *l)
{
	static const char words[] =
		"order shipped to customer at the usual address, paid by card, invoice number ";
	char text[TEXT_BYTES + 40];
	if (run(l->begin) != SQLITE_OK)
		return fail(l, "BEGIN");
	for (unsigned i = 0; i < l->rows; i++) {
		l->rng = l->rng * 6364136223846793005u + 1442695040888963407u;
		int n = snprintf(text, sizeof text, "%s%016llx", words, (unsigned long long)l->rng);
		sqlite3_bind_int64(l->insert, 1, (sqlite3_int64)(l->rng >> 40));
		sqlite3_bind_text(l->insert, 2, text, n, SQLITE_STATIC);
		if (run(l->insert) != SQLITE_OK)
			return fail(l, "INSERT");
	}
	return run(l->commit) == SQLITE_OK ? 0 : fail(l, "COMMIT");
}

static double thread_cpu_secs(void)
{
	struct rusage u;
	getrusage(RUSAGE_THREAD, &u);
	return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
	       (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static int write_all(struct load *l)
{
	double cpu_secs = thread_cpu_secs();
	int64_t begin_us = mono_us(), end_us = begin_us + (int64_t)(l->secs * 1e6), next_us = begin_us;
	for (int64_t now_us = begin_us; now_us < end_us; now_us = mono_us()) {
		if (l->rate) {
			if (now_us < next_us) {
				sleep_us(next_us - now_us);
				continue;
			}
			next_us += 1000000 / l->rate;
			now_us = mono_us();
		}
		if (transaction(l) != 0)
			return 1;
		samples_add(&l->commit_us, mono_us() - now_us);
	}
	double secs = (double)(mono_us() - begin_us) / 1e6;
	cpu_secs = thread_cpu_secs() - cpu_secs;
	atomic_store(&l->over, true);
	int64_t median_us = samples_at(&l->commit_us, 50), p99_us = samples_at(&l->commit_us, 99);
	printf("tx=%zu secs=%.3f tps=%.1f median_us=%lld p99_us=%lld longest_us=%lld wal_bytes=%lld "
	       "cpu_secs=%.4f\n",
	       l->commit_us.n, secs, (double)l->commit_us.n / secs, (long long)median_us, (long long)p99_us,
	       (long long)l->commit_us.max, (long long)l->wal_peak_bytes, cpu_secs);
	return 0;
}

static void parse(int argc, char **argv, struct load *l)
{
	for (int i = 2; i < argc; i++) {
		const char *v = i + 1 < argc ? argv[i + 1] : "";
		if (strcmp(argv[i], "-full") == 0) {
			l->full = true;
			continue;
		} else if (strcmp(argv[i], "-init") == 0) {
			l->init = true;
			continue;
		} else if (strcmp(argv[i], "-secs") == 0) {
			l->secs = strtod(v, NULL);
		} else if (strcmp(argv[i], "-rows") == 0) {
			l->rows = (unsigned)strtoul(v, NULL, 10);
		} else if (strcmp(argv[i], "-rate") == 0) {
			l->rate = (unsigned)strtoul(v, NULL, 10);
		} else if (strcmp(argv[i], "-page") == 0) {
			l->page_bytes = (unsigned)strtoul(v, NULL, 10);
		} else {
			fprintf(stderr, "load: unknown option %s\n", argv[i]);
			exit(2);
		}
		i++;
	}
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		fprintf(stderr,
			"usage: load DB [-init] [-secs N] [-rows R] [-rate TPS] [-page BYTES] [-full]\n");
		return 2;
	}
	struct load l = { .path = argv[1], .secs = 3, .rows = 1, .page_bytes = 4096, .rng = 1 };
	pthread_t watcher;
	parse(argc, argv, &l);
	if (open_db(&l) != 0)
		return 1;
	if (l.init)
		_exit(transaction(&l));
	if (pthread_create(&watcher, NULL, watch_wal, &l) != 0)
		return 1;
	int rc = write_all(&l);
	atomic_store(&l.over, true);
	pthread_join(watcher, NULL);
	sqlite3_finalize(l.begin);
	sqlite3_finalize(l.insert);
	sqlite3_finalize(l.commit);
	sqlite3_close(l.db);
	samples_free(&l.commit_us);
	return rc;
}
