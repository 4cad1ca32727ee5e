/* SPDX-License-Identifier: Apache-2.0
 *
 * oldreader DB: reads a follower's database (test/unit/followrig.h tells what is in it) until its standard
 * input ends; for any SQLite since 3.7.0, so that tests can have readers of other versions:
 *
 *   cc -I DIR -o reader test/tools/oldreader.c DIR/sqlite3.c -lpthread -ldl -lm
 *   WALBROOK_TEST_READERS=./reader build/test/test_follow
 *
 * Says `ok READS BUSY`, or `err` and what was wrong. Every transaction must see one state, never older than the
 * one before. */
#include <poll.h>
#include <stdio.h>
#include <string.h>

#include <sqlite3.h>

static int look(sqlite3 *db, const char *sql, sqlite3_int64 *ret)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(db, sql, -1, &st, NULL);
	if (rc != SQLITE_OK)
		return rc;
	rc = sqlite3_step(st);
	*ret = rc == SQLITE_ROW ? sqlite3_column_int64(st, 0) : -1;
	const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
	if (text && strcmp(text, "ok") == 0)
		*ret = 1;
	int done = sqlite3_finalize(st);
	return rc == SQLITE_ROW ? SQLITE_OK : done;
}

static const char *transaction(sqlite3 *db, long n, sqlite3_int64 *last, int *rc)
{
	sqlite3_int64 seq, rows, newest, sum, sound = 1;
	if ((*rc = sqlite3_exec(db, "BEGIN", NULL, NULL, NULL)) != SQLITE_OK ||
	    (*rc = look(db, "SELECT seq FROM state", &seq)) != SQLITE_OK ||
	    (*rc = look(db, "SELECT count(*) FROM link", &rows)) != SQLITE_OK ||
	    (*rc = look(db, "SELECT max(seq) FROM link", &newest)) != SQLITE_OK ||
	    (*rc = look(db, "SELECT sum(v) FROM account", &sum)) != SQLITE_OK ||
	    (n % 16 == 0 && (*rc = look(db, "PRAGMA integrity_check", &sound)) != SQLITE_OK) ||
	    (*rc = sqlite3_exec(db, "COMMIT", NULL, NULL, NULL)) != SQLITE_OK)
		return "error";
	if (rows != seq || newest != seq || sum != 0 || sound != 1)
		return "torn";
	if (seq < *last)
		return "older than before";
	*last = seq;
	return NULL;
}

int main(int argc, char **argv)
{
	sqlite3 *db;
	sqlite3_int64 last = 0;
	long n = 0, busy = 0;
	int rc = argc == 2 ? sqlite3_open(argv[1], &db) : SQLITE_MISUSE;
	const char *bad = rc == SQLITE_OK ? NULL : "open";
	struct pollfd in = { .fd = 0, .events = POLLIN };
	for (; !bad && (n == busy || poll(&in, 1, 0) == 0); n++) {
		bad = transaction(db, n, &last, &rc);
		if (bad && rc == SQLITE_BUSY) {
			bad = NULL;
			busy++;
			sqlite3_exec(db, "ROLLBACK", NULL, NULL, NULL);
		}
	}
	if (bad)
		printf("err %s (%d) with SQLite %s after %ld reads\n", bad, rc, sqlite3_libversion(), n);
	else
		printf("ok %ld %ld %s\n", n, busy, sqlite3_libversion());
	return bad != NULL;
}
