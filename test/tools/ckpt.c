/* SPDX-License-Identifier: Apache-2.0
 *
 * ckpt DB -mode PASSIVE|FULL|RESTART|TRUNCATE [-secs N] [-every MS] [-pause MS] [-auto PAGES] [-other]
 * [-timeout MS]: an application's own checkpoints while it writes.
 *
 *   1. One connection writes one-row transactions, without pause or with -pause MS between them.
 *   2. Every -every MS a checkpoint of the mode, on the same connection between two transactions, or with
 * -other on a second connection (its own thread) while the writer goes on.
 *   3. One line: n=, median_ms=, worst_ms=, busy=, errors=, tx=, longest_tx_ms=.
 *
 * Exit 0 whatever was measured; 1 when SQLite failed in another way than BUSY. */
#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "samples.h"

struct ckpt {
	const char *path;
	int mode;
	double secs;
	unsigned every_ms, pause_ms, timeout_ms;
	int auto_pages;
	bool other;
	int64_t end_us;
	_Atomic bool over;
	struct samples checkpoint_us, tx_us;
	uint64_t busy, errors;
};

static sqlite3 *open_db(struct ckpt *c)
{
	sqlite3 *db = NULL;
	if (sqlite3_open(c->path, &db) == SQLITE_OK) {
		sqlite3_busy_timeout(db, (int)c->timeout_ms);
		if (sqlite3_exec(db,
				 "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
				 "CREATE TABLE IF NOT EXISTS ckpt(id INTEGER PRIMARY KEY, text TEXT)",
				 NULL, NULL, NULL) == SQLITE_OK) {
			sqlite3_wal_autocheckpoint(db, c->auto_pages);
			return db;
		}
	}
	fprintf(stderr, "ckpt: %s: %s\n", c->path, sqlite3_errmsg(db));
	c->errors++;
	sqlite3_close(db);
	return NULL;
}

static void checkpoint(struct ckpt *c, sqlite3 *db)
{
	int64_t from_us = mono_us();
	int rc = sqlite3_wal_checkpoint_v2(db, NULL, c->mode, NULL, NULL);
	samples_add(&c->checkpoint_us, mono_us() - from_us);
	if (rc == SQLITE_BUSY || rc == SQLITE_LOCKED) {
		c->busy++;
	} else if (rc != SQLITE_OK) {
		fprintf(stderr, "ckpt: checkpoint: %s\n", sqlite3_errmsg(db));
		c->errors++;
	}
}

static void *checkpointer(void *arg)
{
	struct ckpt *c = arg;
	sqlite3 *db = open_db(c);
	while (db && !atomic_load(&c->over)) {
		sleep_us(c->every_ms * 1000LL);
		checkpoint(c, db);
	}
	sqlite3_close(db);
	return NULL;
}

static void write_all(struct ckpt *c)
{
	sqlite3 *db = open_db(c);
	sqlite3_stmt *st = NULL;
	const char *sql =
		"INSERT INTO ckpt(text) VALUES('a row of the usual length, as applications write them')";
	if (!db || sqlite3_prepare_v2(db, sql, -1, &st, NULL) != SQLITE_OK)
		c->errors++;
	int64_t next_us = mono_us() + c->every_ms * 1000LL;
	for (int64_t now_us; st && (now_us = mono_us()) < c->end_us;) {
		sqlite3_step(st);
		int rc = sqlite3_reset(st);
		samples_add(&c->tx_us, mono_us() - now_us);
		if (rc != SQLITE_OK) {
			fprintf(stderr, "ckpt: INSERT: %s\n", sqlite3_errmsg(db));
			c->errors++;
		}
		if (!c->other && mono_us() >= next_us) {
			checkpoint(c, db);
			next_us = mono_us() + c->every_ms * 1000LL;
		}
		if (c->pause_ms)
			sleep_us(c->pause_ms * 1000LL);
	}
	sqlite3_finalize(st);
	atomic_store(&c->over, true);
	sqlite3_close(db);
}

static int parse(int argc, char **argv, struct ckpt *c)
{
	static const struct {
		const char *name;
		int mode;
	} modes[] = { { "PASSIVE", SQLITE_CHECKPOINT_PASSIVE },
		      { "FULL", SQLITE_CHECKPOINT_FULL },
		      { "RESTART", SQLITE_CHECKPOINT_RESTART },
		      { "TRUNCATE", SQLITE_CHECKPOINT_TRUNCATE } };
	for (int i = 2; i < argc; i++) {
		const char *k = argv[i], *v = i + 1 < argc ? argv[i + 1] : "";
		if (strcmp(k, "-other") == 0) {
			c->other = true;
			continue;
		}
		if (strcmp(k, "-mode") == 0)
			for (size_t m = 0; m < sizeof modes / sizeof *modes; m++)
				c->mode = strcmp(v, modes[m].name) == 0 ? modes[m].mode : c->mode;
		else if (strcmp(k, "-secs") == 0)
			c->secs = strtod(v, NULL);
		else if (strcmp(k, "-every") == 0)
			c->every_ms = (unsigned)strtoul(v, NULL, 10);
		else if (strcmp(k, "-pause") == 0)
			c->pause_ms = (unsigned)strtoul(v, NULL, 10);
		else if (strcmp(k, "-timeout") == 0)
			c->timeout_ms = (unsigned)strtoul(v, NULL, 10);
		else if (strcmp(k, "-auto") == 0)
			c->auto_pages = (int)strtol(v, NULL, 10);
		else
			return -1;
		i++;
	}
	return argc > 1 && c->mode >= 0 ? 0 : -1;
}

int main(int argc, char **argv)
{
	struct ckpt c = {
		.path = argv[1], .mode = -1, .secs = 5, .every_ms = 200, .timeout_ms = 5000, .auto_pages = 1000
	};
	if (parse(argc, argv, &c) < 0) {
		fprintf(stderr,
			"usage: ckpt DB -mode PASSIVE|FULL|RESTART|TRUNCATE [-secs N] [-every MS] [-pause MS] "
			"[-auto PAGES] [-timeout MS] [-other]\n");
		return 2;
	}
	pthread_t thread;
	c.end_us = mono_us() + (int64_t)(c.secs * 1e6);
	if (c.other && pthread_create(&thread, NULL, checkpointer, &c) != 0)
		return 1;
	write_all(&c);
	if (c.other)
		pthread_join(thread, NULL);
	double median_ms = (double)samples_at(&c.checkpoint_us, 50) / 1000;
	printf("n=%zu median_ms=%.2f worst_ms=%.2f busy=%llu errors=%llu tx=%zu longest_tx_ms=%.2f\n",
	       c.checkpoint_us.n, median_ms, (double)c.checkpoint_us.max / 1000, (unsigned long long)c.busy,
	       (unsigned long long)c.errors, c.tx_us.n, (double)c.tx_us.max / 1000);
	samples_free(&c.checkpoint_us);
	samples_free(&c.tx_us);
	return c.errors ? 1 : 0;
}
