/* SPDX-License-Identifier: Apache-2.0
 *
 * A writer: an application process with several connections, each on its own thread.
 *
 *   1. BEGIN IMMEDIATE; read the last row of the chain. It must be one that nobody contradicts, and not older
 * than what was acknowledged before: else the database under the application went back.
 *   2. Append the next row and do to the other tables what it says; now and then with a savepoint that is
 * rolled back.
 *   3. COMMIT (or ROLLBACK), then acknowledge in the shared file.
 *   In between, each when it is due: checkpoints of all four modes, VACUUM, incremental vacuum, long reads,
 * pauses.
 *
 * Death inside fsync: the functions fsync and fdatasync of this program come before libc's, for SQLite too. A
 * trap set by a thread springs at its next sync of a -wal file (or of the database, in a checkpoint): the
 * process kills itself there, before or after the real call. In a commit that is the moment when the commit
 * frame is in the file and the index does not know it yet.
 *
 * BUSY and its kin are counted and tried again. Any other error of SQLite is a failure of the run. */
#include "torture.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"

enum { WRITER_OF_FINISH = WRITERS_MAX * CONNS_MAX, BUSY_TIMEOUT_MS = 10000, CHECKPOINT_TIMEOUT_MS = 5000 };

enum statement { ST_BEGIN, ST_COMMIT, ST_ROLLBACK, ST_LAST, ST_ROW, ST_PUT, ST_DELETE, ST_TALLY, ST_N };

static const char *const sql_text[ST_N] = {
	[ST_BEGIN] = "BEGIN IMMEDIATE",
	[ST_COMMIT] = "COMMIT",
	[ST_ROLLBACK] = "ROLLBACK",
	[ST_LAST] = "SELECT seq, hash FROM chain ORDER BY seq DESC LIMIT 1",
	[ST_ROW] = "INSERT INTO chain VALUES(?,?,?,?,?,?,?)",
	[ST_PUT] = "INSERT OR REPLACE INTO cell VALUES(?,?,?)",
	[ST_DELETE] = "DELETE FROM cell WHERE id=?",
	[ST_TALLY] =
		"INSERT INTO tally VALUES(?1,?2,1) ON CONFLICT(writer) DO UPDATE SET last_seq=?2, txns=txns+1",
};

struct conn {
	struct shared *sh;
	sqlite3 *db;
	sqlite3_stmt *st[ST_N];
	uint32_t writer, thread;
	uint64_t rng;
	bool full_sync, small_cache;
	int64_t seen_us;   /* when it last looked for chores */
	uint32_t spent_us; /* between the last two looks */
	uint8_t *bytes;	   /* CELL_MAX_BYTES */
};

enum trap { TRAP_NONE, TRAP_BEFORE, TRAP_AFTER };
static __thread enum trap trap_set;
static __thread _Atomic uint64_t *trap_count;

static bool fd_is_wal_or_db(int fd)
{
	char link[64], target[PATH_MAX_BYTES];
	snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
	ssize_t n = readlink(link, target, sizeof target - 1);
	if (n <= 0)
		return false;
	target[n] = 0;
	return (n > 4 && strcmp(target + n - 4, "-wal") == 0) || (n > 3 && strcmp(target + n - 3, ".db") == 0);
}

static int sync_or_die(int fd, long number)
{
	bool die = trap_set != TRAP_NONE && fd_is_wal_or_db(fd);
	int rc = 0;
	if (!die || trap_set == TRAP_AFTER)
		rc = (int)syscall(number, fd);
	if (die) {
		atomic_fetch_add(trap_count, 1);
		kill(getpid(), SIGKILL);
		for (;;)
			pause();
	}
	return rc;
}

__attribute__((visibility("default"))) int fsync(int fd)
{
	return sync_or_die(fd, SYS_fsync);
}

__attribute__((visibility("default"))) int fdatasync(int fd)
{
	return sync_or_die(fd, SYS_fdatasync);
}

static void set_trap(struct conn *c, _Atomic uint64_t *count)
{
	trap_count = count;
	trap_set = rng_percent(&c->rng, 50) ? TRAP_BEFORE : TRAP_AFTER;
}

/* Memoryless, so that a writer that is killed often does as many chores as one that lives long. */
static bool due(struct conn *c, enum chore what)
{
	const struct round_config *k = &c->sh->config;
	uint32_t mean_us = k->every_ms[what] * 1000 * k->writers * k->conns;
	return mean_us && rng_below(&c->rng, mean_us) < c->spent_us;
}

static void look_at_clock(struct conn *c)
{
	enum { SPENT_MAX_US = 200000 };
	int64_t now_us = mono_us();
	int64_t spent_us = now_us - c->seen_us;
	c->seen_us = now_us;
	c->spent_us = spent_us < SPENT_MAX_US ? (uint32_t)spent_us : SPENT_MAX_US;
}

/* True: try again later. Anything that is not about locks is noted as a failure. */
static bool soft(struct conn *c, int rc, const char *doing)
{
	switch (rc & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
	case SQLITE_PROTOCOL:
	case SQLITE_INTERRUPT:
		atomic_fetch_add(&c->sh->busy, 1);
		return true;
	default:
		note_failure(c->sh, "writer %u.%u, %s: %s (%d)", c->writer, c->thread, doing,
			     sqlite3_errmsg(c->db), sqlite3_extended_errcode(c->db));
		return false;
	}
}

static int run(struct conn *c, enum statement which)
{
	sqlite3_stmt *st = c->st[which];
	sqlite3_step(st);
	int rc = sqlite3_reset(st);
	sqlite3_clear_bindings(st);
	return rc;
}

static int exec(struct conn *c, const char *sql)
{
	return sqlite3_exec(c->db, sql, NULL, NULL, NULL);
}

static int read_last(struct conn *c, uint64_t *seq, uint8_t hash[HASH_BYTES])
{
	sqlite3_stmt *st = c->st[ST_LAST];
	int rc = sqlite3_step(st);
	*seq = 0;
	memset(hash, 0, HASH_BYTES);
	if (rc == SQLITE_ROW) {
		*seq = (uint64_t)sqlite3_column_int64(st, 0);
		if (sqlite3_column_bytes(st, 1) == HASH_BYTES)
			memcpy(hash, sqlite3_column_blob(st, 1), HASH_BYTES);
	}
	return sqlite3_reset(st);
}

/* The source itself must never lose or change what was committed. */
static bool source_went_back(struct conn *c, uint64_t acked, uint64_t last, const uint8_t hash[HASH_BYTES])
{
	if (last < acked) {
		note_failure(c->sh, "the source went back: %llu was acknowledged, the last row is %llu",
			     (unsigned long long)acked, (unsigned long long)last);
		return true;
	}
	if (last > 0 && !chain_witness(c->sh, last, hash)) {
		note_failure(c->sh, "the source's row %llu is not what was seen committed (or restored) before",
			     (unsigned long long)last);
		return true;
	}
	return false;
}

static void draw_row(struct conn *c, struct chain_row *row)
{
	uint32_t dice = rng_below(&c->rng, 100);
	row->writer = c->writer * CONNS_MAX + c->thread;
	row->kind = dice < 75 ? TX_SMALL : dice < 93 ? TX_MULTI : dice < 98 ? TX_BLOB : TX_BIG;
	row->nonce = rng_next(&c->rng);
	row->payload_bytes = 8 + rng_below(&c->rng, PAYLOAD_MAX_BYTES - 8);
	for (uint32_t i = 0; i < row->payload_bytes; i++)
		row->payload[i] = (uint8_t)rng_next(&c->rng);
}

static int put_row(struct conn *c, const struct chain_row *row, const uint8_t hash[HASH_BYTES])
{
	sqlite3_stmt *st = c->st[ST_ROW];
	sqlite3_bind_int64(st, 1, (sqlite3_int64)row->seq);
	sqlite3_bind_int64(st, 2, row->writer);
	sqlite3_bind_int64(st, 3, row->kind);
	sqlite3_bind_int64(st, 4, (sqlite3_int64)row->nonce);
	sqlite3_bind_blob(st, 5, row->prev, HASH_BYTES, SQLITE_STATIC);
	sqlite3_bind_blob(st, 6, row->payload, (int)row->payload_bytes, SQLITE_STATIC);
	sqlite3_bind_blob(st, 7, hash, HASH_BYTES, SQLITE_STATIC);
	int rc = run(c, ST_ROW);
	if (rc != SQLITE_OK)
		return rc;
	st = c->st[ST_TALLY];
	sqlite3_bind_int64(st, 1, row->writer);
	sqlite3_bind_int64(st, 2, (sqlite3_int64)row->seq);
	return run(c, ST_TALLY);
}

static int put_cell(struct conn *c, const struct chain_row *row, const struct cell_op *op)
{
	if (op->bytes == 0) {
		sqlite3_bind_int64(c->st[ST_DELETE], 1, op->id);
		return run(c, ST_DELETE);
	}
	sqlite3_stmt *st = c->st[ST_PUT];
	chain_fill(row->nonce, op, c->bytes);
	sqlite3_bind_int64(st, 1, op->id);
	sqlite3_bind_int64(st, 2, (sqlite3_int64)row->seq);
	sqlite3_bind_blob(st, 3, c->bytes, (int)op->bytes, SQLITE_STATIC);
	return run(c, ST_PUT);
}

/* Writes that are taken back inside the transaction; with a small cache their pages may be in the WAL already.
 */
static int put_and_take_back(struct conn *c, const struct chain_row *row)
{
	int rc = exec(c, "SAVEPOINT s");
	for (uint32_t i = 0; rc == SQLITE_OK && i < 40; i++) {
		struct cell_op op = { 1 + rng_below(&c->rng, CELLS), 1 + rng_below(&c->rng, 2000) };
		rc = put_cell(c, row, &op);
	}
	return rc == SQLITE_OK ? exec(c, "ROLLBACK TO s; RELEASE s") : rc;
}

static int commit_row(struct conn *c, const struct chain_row *row, const uint8_t hash[HASH_BYTES])
{
	bool die = c->full_sync && due(c, CHORE_DIE_IN_FSYNC);
	atomic_store(&c->sh->seq[row->seq].commit_begin_us, wall_us());
	if (die)
		set_trap(c, &c->sh->died_in_commit);
	int rc = run(c, ST_COMMIT);
	trap_set = TRAP_NONE;
	if (rc != SQLITE_OK)
		return rc;
	if (!chain_witness(c->sh, row->seq, hash))
		note_failure(c->sh,
			     "transaction %llu is committed now, and another one was seen under its number",
			     (unsigned long long)row->seq);
	uint64_t acked = atomic_load(&c->sh->acked);
	while (acked < row->seq && !atomic_compare_exchange_weak(&c->sh->acked, &acked, row->seq))
		;
	atomic_fetch_add(&c->sh->commits, 1);
	return SQLITE_OK;
}

static int fill_transaction(struct conn *c, struct chain_row *row, uint8_t hash[HASH_BYTES])
{
	struct cell_op ops[OPS_MAX];
	uint64_t acked = atomic_load(&c->sh->acked), last;
	int rc = read_last(c, &last, row->prev);
	if (rc != SQLITE_OK)
		return rc;
	if (source_went_back(c, acked, last, row->prev))
		return SQLITE_INTERRUPT;
	row->seq = last + 1;
	if (row->seq >= SEQ_MAX) {
		atomic_store(&c->sh->stop, 1);
		return SQLITE_INTERRUPT;
	}
	draw_row(c, row);
	chain_hash(row, hash);
	rc = put_row(c, row, hash);
	if (rc == SQLITE_OK && !c->small_cache && rng_percent(&c->rng, 4))
		rc = put_and_take_back(c, row);
	uint32_t n = chain_ops(row, c->sh->config.page_bytes, ops);
	for (uint32_t i = 0; rc == SQLITE_OK && i < n; i++)
		rc = put_cell(c, row, &ops[i]);
	return rc;
}

static bool transaction(struct conn *c)
{
	struct chain_row row = { 0 };
	uint8_t hash[HASH_BYTES];
	int rc = run(c, ST_BEGIN);
	if (rc != SQLITE_OK)
		return soft(c, rc, "BEGIN IMMEDIATE");
	rc = fill_transaction(c, &row, hash);
	bool keep = rc == SQLITE_OK && !rng_percent(&c->rng, c->sh->config.rollback_percent);
	if (keep)
		rc = commit_row(c, &row, hash);
	bool go_on = rc == SQLITE_OK || soft(c, rc, "transaction");
	if (!sqlite3_get_autocommit(c->db)) {
		run(c, ST_ROLLBACK);
		atomic_fetch_add(&c->sh->rollbacks, 1);
	}
	return go_on;
}

static bool checkpoint(struct conn *c)
{
	static const int modes[] = { SQLITE_CHECKPOINT_PASSIVE, SQLITE_CHECKPOINT_FULL,
				     SQLITE_CHECKPOINT_RESTART, SQLITE_CHECKPOINT_TRUNCATE };
	bool die = rng_percent(&c->rng, c->sh->config.die_in_checkpoint_percent);
	if (die)
		set_trap(c, &c->sh->died_in_checkpoint);
	sqlite3_busy_timeout(c->db, CHECKPOINT_TIMEOUT_MS);
	int rc = sqlite3_wal_checkpoint_v2(c->db, NULL, modes[rng_below(&c->rng, 4)], NULL, NULL);
	sqlite3_busy_timeout(c->db, BUSY_TIMEOUT_MS);
	trap_set = TRAP_NONE;
	atomic_fetch_add(&c->sh->checkpoints, 1);
	if (rc == SQLITE_OK)
		return true;
	if ((rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED) {
		atomic_fetch_add(&c->sh->checkpoints_busy, 1);
		return true;
	}
	return soft(c, rc, "checkpoint");
}

static bool vacuum(struct conn *c, const char *sql)
{
	int rc = exec(c, sql);
	atomic_fetch_add(&c->sh->vacuums, rc == SQLITE_OK);
	return rc == SQLITE_OK || soft(c, rc, sql);
}

static void nap(struct conn *c, uint32_t ms)
{
	for (uint32_t i = 0; i < ms && !atomic_load(&c->sh->stop); i += 5)
		sleep_us(5000);
}

/* Holds a read transaction; what it sees must not move meanwhile. */
static bool long_read(struct conn *c)
{
	uint64_t before, after;
	uint8_t hash[HASH_BYTES], again[HASH_BYTES];
	int rc = exec(c, "BEGIN");
	if (rc == SQLITE_OK)
		rc = read_last(c, &before, hash);
	if (rc == SQLITE_OK)
		nap(c, 50 + rng_below(&c->rng, c->sh->config.read_max_ms - 50));
	if (rc == SQLITE_OK)
		rc = read_last(c, &after, again);
	if (rc == SQLITE_OK && (before != after || memcmp(hash, again, HASH_BYTES) != 0))
		note_failure(c->sh, "a reader's snapshot moved from row %llu to %llu",
			     (unsigned long long)before, (unsigned long long)after);
	if (!sqlite3_get_autocommit(c->db))
		exec(c, "ROLLBACK");
	atomic_fetch_add(&c->sh->reads, 1);
	return rc == SQLITE_OK || soft(c, rc, "long read");
}

static bool do_chore(struct conn *c, enum chore what)
{
	switch (what) {
	case CHORE_CHECKPOINT:
		return checkpoint(c);
	case CHORE_VACUUM:
		return vacuum(c, "VACUUM");
	case CHORE_INCREMENTAL_VACUUM:
		return vacuum(c, "PRAGMA incremental_vacuum(50)");
	case CHORE_READ:
		return long_read(c);
	case CHORE_PAUSE:
		nap(c, 5 + rng_below(&c->rng, 150));
		return true;
	case CHORE_DIE_IN_FSYNC: /* in commit_row and checkpoint */
	case CHORE_N:
		break;
	}
	return true;
}

/* Asked for while walbrook is away: end this incarnation of the WAL and begin another. */
static bool restart_wal(struct conn *c)
{
	sqlite3_busy_timeout(c->db, 300);
	int mode = rng_percent(&c->rng, 50) ? SQLITE_CHECKPOINT_RESTART : SQLITE_CHECKPOINT_TRUNCATE;
	int rc = sqlite3_wal_checkpoint_v2(c->db, NULL, mode, NULL, NULL);
	sqlite3_busy_timeout(c->db, BUSY_TIMEOUT_MS);
	if (rc == SQLITE_OK)
		atomic_store(&c->sh->want_restart, 0);
	return rc == SQLITE_OK || rc == SQLITE_BUSY || soft(c, rc, "checkpoint while walbrook is away");
}

static bool work_once(struct conn *c)
{
	if (atomic_load(&c->sh->want_restart) && c->thread == 0 && !restart_wal(c))
		return false;
	look_at_clock(c);
	for (int i = 0; i < CHORE_DIE_IN_FSYNC; i++)
		if (due(c, (enum chore)i))
			return do_chore(c, (enum chore)i);
	if (!transaction(c))
		return false;
	if (c->sh->config.pace_us)
		sleep_us(rng_around(&c->rng, c->sh->config.pace_us));
	return true;
}

static int conn_open(struct conn *c)
{
	if (sqlite3_open(c->sh->config.db_path, &c->db) != SQLITE_OK) {
		note_failure(c->sh, "writer cannot open the database: %s", sqlite3_errmsg(c->db));
		return -1;
	}
	sqlite3_busy_timeout(c->db, BUSY_TIMEOUT_MS);
	char sql[160];
	snprintf(sql, sizeof sql, "PRAGMA synchronous=%s; PRAGMA wal_autocheckpoint=%u; PRAGMA cache_size=%d;",
		 c->full_sync ? "FULL" : "NORMAL", c->sh->config.autocheckpoint_pages,
		 c->small_cache ? 10 : -2000);
	for (int rc; (rc = exec(c, sql)) != SQLITE_OK;)
		if (!soft(c, rc, "PRAGMA"))
			return -1;
	for (int i = 0; i < ST_N; i++) {
		int rc;
		while ((rc = sqlite3_prepare_v3(c->db, sql_text[i], -1, SQLITE_PREPARE_PERSISTENT, &c->st[i],
						NULL)))
			if (!soft(c, rc, sql_text[i]))
				return -1;
	}
	c->bytes = malloc(CELL_MAX_BYTES);
	return c->bytes ? 0 : -1;
}

static void conn_close(struct conn *c)
{
	for (int i = 0; i < ST_N; i++)
		sqlite3_finalize(c->st[i]);
	sqlite3_close(c->db);
	free(c->bytes);
}

static void *conn_main(void *arg)
{
	struct conn *c = arg;
	_Atomic uint32_t *parked = &c->sh->parked[c->writer][c->thread];
	if (conn_open(c) == 0) {
		while (!atomic_load(&c->sh->stop) && !atomic_load(&c->sh->failed)) {
			bool quiet = atomic_load(&c->sh->pause) != 0;
			atomic_store(parked, quiet);
			if (quiet)
				sleep_us(1000);
			else if (!work_once(c))
				break;
		}
	}
	atomic_store(parked, 1);
	conn_close(c);
	return NULL;
}

int writer_main(struct shared *sh, uint32_t id, uint64_t seed)
{
	struct conn conns[CONNS_MAX] = { 0 };
	pthread_t threads[CONNS_MAX];
	uint32_t n = 0;
	for (; n < sh->config.conns; n++) {
		struct conn *c = &conns[n];
		c->sh = sh;
		c->writer = id;
		c->thread = n;
		c->rng = seed + n;
		rng_next(&c->rng);
		c->full_sync = n == 0 || rng_percent(&c->rng, 20);
		c->small_cache = rng_percent(&c->rng, 50);
		if (pthread_create(&threads[n], NULL, conn_main, c) != 0)
			break;
	}
	for (uint32_t i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	return n == sh->config.conns ? 0 : 1;
}

int writer_init(struct shared *sh)
{
	struct conn c = { .sh = sh };
	static const char *const vacuum[] = { "NONE", "FULL", "INCREMENTAL" };
	char sql[160];
	if (sqlite3_open(sh->config.db_path, &c.db) != SQLITE_OK)
		return 1;
	sqlite3_busy_timeout(c.db, BUSY_TIMEOUT_MS);
	snprintf(sql, sizeof sql, "PRAGMA page_size=%u; PRAGMA auto_vacuum=%s; PRAGMA journal_mode=WAL;",
		 sh->config.page_bytes, vacuum[sh->config.auto_vacuum]);
	int rc = exec(&c, sql);
	if (rc == SQLITE_OK)
		rc = exec(&c, "BEGIN IMMEDIATE");
	if (rc == SQLITE_OK)
		rc = exec(&c, chain_schema);
	if (rc == SQLITE_OK)
		rc = exec(&c, "COMMIT");
	if (rc != SQLITE_OK)
		note_failure(sh, "the application cannot make its database: %s (%d)", sqlite3_errmsg(c.db),
			     sqlite3_extended_errcode(c.db));
	sqlite3_close(c.db);
	return rc == SQLITE_OK ? 0 : 1;
}

int writer_finish(struct shared *sh)
{
	struct conn c = { .sh = sh, .writer = WRITER_OF_FINISH / CONNS_MAX, .rng = sh->config.seed };
	uint64_t before = atomic_load(&sh->commits);
	bool ok = conn_open(&c) == 0;
	if (ok)
		sqlite3_wal_autocheckpoint(c.db, 0);
	for (int i = 0; ok && i < 50 && atomic_load(&sh->commits) == before; i++)
		ok = transaction(&c);
	conn_close(&c);
	return ok && atomic_load(&sh->commits) > before ? 0 : 1;
}
