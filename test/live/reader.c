/* SPDX-License-Identifier: Apache-2.0
 *
 * livereader DB LOG rw|ro MMAP_BYTES HOLD_US REOPEN BUSY_MS SEED: an ordinary reader of a follower's database,
 * for the torture of live replication (test/live/load.py tells what is in it). For any SQLite since 3.7.0, so
 * that there can be readers of other versions:
 *
 *   cc -O1 -I DIR -o reader test/live/reader.c DIR/sqlite3.c -lpthread -ldl -lm
 *   WALBROOK_LIVE_READERS=./reader make torture-live
 *
 * 1. Opens DB (rw: as readers usually do; ro: SQLITE_OPEN_READONLY), and again after about REOPEN transactions.
 * 2. In each transaction: the state, that the newest link says the same, one time in four every cell against
 * the digest of the state, seldom integrity_check; after HOLD_US at most the state once more: it must not have
 * moved.
 * 3. Each state that was not seen before goes to LOG as `SEQ CHAIN`: the driver looks whether it was ever
 * committed.
 * 4. When standard input ends it says `ok READS WHOLE BUSY OPENS VERSION`, or `err` and what was wrong. Never
 * an older state than the one before, never an error but SQLITE_BUSY, and with a busy timeout (BUSY_MS) not
 * even that. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sqlite3.h>

struct state {
	sqlite3_int64 seq, chain, digest, cells, extras;
};

static struct {
	sqlite3 *db;
	const char *path;
	int log, read_only, hold_us, reopen, busy_ms, version;
	long mmap_bytes, reads, whole, busy, opens;
	sqlite3_int64 last;
	unsigned random;
	char wrong[512];
} r;

static unsigned crc_table[256];

static void crc_prepare(void)
{
	for (unsigned i = 0; i < 256; i++) {
		unsigned c = i;
		for (int k = 0; k < 8; k++)
			c = c & 1 ? 0xedb88320u ^ (c >> 1) : c >> 1;
		crc_table[i] = c;
	}
}

static unsigned crc_more(unsigned crc, const unsigned char *p, int n)
{
	while (n-- > 0)
		crc = crc_table[(crc ^ *p++) & 0xff] ^ (crc >> 8);
	return crc;
}

static unsigned crc_number(unsigned crc, sqlite3_int64 v)
{
	unsigned char b[8];
	for (int i = 0; i < 8; i++)
		b[i] = (unsigned char)((sqlite3_uint64)v >> 8 * i);
	return crc_more(crc, b, 8);
}

static unsigned below(unsigned n)
{
	r.random = r.random * 1664525u + 1013904223u;
	return (r.random >> 8) % n;
}

static int wrong(const char *what)
{
	if (!r.wrong[0])
		snprintf(r.wrong, sizeof r.wrong, "%s (SQLite says %d, %s)", what,
			 sqlite3_extended_errcode(r.db), sqlite3_errmsg(r.db));
	return SQLITE_ERROR;
}

/* One row of up to five numbers. */
static int numbers(const char *sql, sqlite3_int64 *to, int n)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(r.db, sql, -1, &st, NULL);
	if (rc != SQLITE_OK)
		return rc;
	rc = sqlite3_step(st);
	int row = rc == SQLITE_ROW;
	for (int i = 0; row && i < n; i++)
		to[i] = sqlite3_column_int64(st, i);
	int done = sqlite3_finalize(st);
	return row ? SQLITE_OK : done != SQLITE_OK ? done : wrong("a row that must be there is not there");
}

static int state_now(struct state *s)
{
	sqlite3_int64 v[5];
	int rc = numbers("SELECT seq, chain, digest, cells, extras FROM state", v, 5);
	if (rc == SQLITE_OK)
		*s = (struct state){ v[0], v[1], v[2], v[3], v[4] };
	return rc;
}

static int look_at_links(const struct state *s)
{
	sqlite3_int64 link[4], extras;
	int rc = numbers(
		"SELECT seq, chain, digest, (SELECT count(*) FROM link) FROM link ORDER BY seq DESC LIMIT 1",
		link, 4);
	if (rc == SQLITE_OK)
		rc = numbers("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name LIKE 'extra%'",
			     &extras, 1);
	if (rc != SQLITE_OK)
		return rc;
	if (link[0] != s->seq || link[1] != s->chain || link[2] != s->digest)
		return wrong("torn: the newest link is not that of the state");
	if (link[3] != (s->seq < 200 ? s->seq + 1 : 200))
		return wrong("torn: too many or too few links");
	return extras == s->extras ? SQLITE_OK : wrong("torn: the schema is that of another state");
}

static int look_at_cells(const struct state *s)
{
	sqlite3_stmt *st = NULL;
	sqlite3_int64 cells = 0;
	sqlite3_uint64 digest = 0;
	int rc = sqlite3_prepare_v2(r.db,
				    below(2) ? "SELECT id, seq, data FROM cell"
					     : "SELECT id, seq, data FROM cell ORDER BY seq",
				    -1, &st, NULL);
	if (rc != SQLITE_OK)
		return rc;
	while ((rc = sqlite3_step(st)) == SQLITE_ROW) {
		unsigned crc = crc_number(crc_number(0xffffffffu, sqlite3_column_int64(st, 0)),
					  sqlite3_column_int64(st, 1));
		const unsigned char *data = sqlite3_column_blob(st, 2);
		digest += ~crc_more(crc, data, sqlite3_column_bytes(st, 2)) & 0xffffffffu;
		cells++;
	}
	rc = sqlite3_finalize(st);
	if (rc != SQLITE_OK)
		return rc;
	r.whole++;
	if (cells != s->cells || (sqlite3_int64)digest != s->digest)
		return wrong("torn: the cells are not those of the state");
	return SQLITE_OK;
}

static int look_at_file(void)
{
	sqlite3_stmt *st = NULL;
	int rc = sqlite3_prepare_v2(r.db, "PRAGMA integrity_check(1)", -1, &st, NULL);
	if (rc != SQLITE_OK)
		return rc;
	rc = sqlite3_step(st);
	const char *text = rc == SQLITE_ROW ? (const char *)sqlite3_column_text(st, 0) : NULL;
	if (text && strcmp(text, "ok") != 0) {
		char said[300];
		snprintf(said, sizeof said, "integrity_check: %s", text);
		wrong(said);
	}
	int done = sqlite3_finalize(st);
	return r.wrong[0] ? SQLITE_ERROR : done;
}

static void note(const struct state *s)
{
	char line[64];
	int n = snprintf(line, sizeof line, "%lld %lld\n", (long long)s->seq, (long long)s->chain);
	if (write(r.log, line, (size_t)n) != n)
		wrong("cannot write the log of what was seen");
}

static int look(void)
{
	struct state s, again;
	int rc = state_now(&s);
	if (rc == SQLITE_OK)
		rc = look_at_links(&s);
	if (rc == SQLITE_OK && below(4) == 0)
		rc = look_at_cells(&s);
	if (rc == SQLITE_OK && below(150) == 0)
		rc = look_at_file();
	if (rc != SQLITE_OK)
		return rc;
	if (r.hold_us > 0)
		usleep(below((unsigned)r.hold_us));
	rc = state_now(&again);
	if (rc != SQLITE_OK)
		return rc;
	if (memcmp(&s, &again, sizeof s) != 0)
		return wrong("the snapshot moved inside a transaction");
	if (s.seq < r.last) {
		char text[100];
		snprintf(text, sizeof text, "older than before: %lld after %lld", (long long)s.seq,
			 (long long)r.last);
		return wrong(text);
	}
	if (s.seq > r.last)
		note(&s);
	r.last = s.seq;
	return SQLITE_OK;
}

/* BUSY where the connection has no patience is what SQLite does when another connection closes or recovers. */
static int forgiven(int rc)
{
	if ((rc & 0xff) != SQLITE_BUSY || r.busy_ms > 0)
		return 0;
	r.busy++;
	return 1;
}

static void transaction(void)
{
	int rc = sqlite3_exec(r.db, "BEGIN", NULL, NULL, NULL);
	if (rc == SQLITE_OK)
		rc = look();
	if (rc == SQLITE_OK)
		rc = sqlite3_exec(r.db, "COMMIT", NULL, NULL, NULL);
	if (rc != SQLITE_OK && !forgiven(rc))
		wrong("error");
	if (!sqlite3_get_autocommit(r.db))
		sqlite3_exec(r.db, "ROLLBACK", NULL, NULL, NULL);
	r.reads += rc == SQLITE_OK;
}

static void reopen(void)
{
	char pragma[64];
	if (r.db && sqlite3_close(r.db) != SQLITE_OK)
		wrong("close");
	if (sqlite3_open_v2(r.path, &r.db, r.read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE, NULL) !=
	    SQLITE_OK)
		wrong("open");
	sqlite3_extended_result_codes(r.db, 1);
	sqlite3_busy_timeout(r.db, r.busy_ms);
	snprintf(pragma, sizeof pragma, "PRAGMA mmap_size=%ld", r.mmap_bytes);
	int rc = sqlite3_exec(r.db, pragma, NULL, NULL, NULL);
	if (rc != SQLITE_OK && !forgiven(rc))
		wrong("mmap_size");
	r.opens++;
}

int main(int argc, char **argv)
{
	if (argc != 9)
		return 2;
	crc_prepare();
	r.path = argv[1];
	r.log = open(argv[2], O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	r.read_only = strcmp(argv[3], "ro") == 0;
	r.mmap_bytes = atol(argv[4]);
	r.hold_us = atoi(argv[5]);
	r.reopen = atoi(argv[6]);
	r.busy_ms = atoi(argv[7]);
	r.random = (unsigned)strtoul(argv[8], NULL, 10);
	struct pollfd in = { .fd = 0, .events = POLLIN };
	while (!r.wrong[0] && poll(&in, 1, 0) == 0) {
		if (!r.db || (r.reopen > 0 && below((unsigned)r.reopen) == 0))
			reopen();
		if (!r.wrong[0])
			transaction();
	}
	if (r.wrong[0])
		printf("err %s, with SQLite %s, %s, mmap %ld, after %ld transactions at %lld\n", r.wrong,
		       sqlite3_libversion(), argv[3], r.mmap_bytes, r.reads, (long long)r.last);
	else
		printf("ok %ld %ld %ld %ld %s\n", r.reads, r.whole, r.busy, r.opens, sqlite3_libversion());
	return r.wrong[0] != 0;
}
