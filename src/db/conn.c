/* SPDX-License-Identifier: Apache-2.0
 *
 * Connections: see conn.h.
 *
 * A begin runs `BEGIN; PRAGMA user_version`: a bare BEGIN takes no lock, and user_version needs no schema (it
 * is a field of page 1). Only sqlite3_txn_state() tells whether the read really holds.
 *
 * Failure modes: SQLITE_BUSY and friends become ERR_BUSY (the caller tries again); anything else names the
 * database and SQLite's own words. */
#include "db/conn.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/file.h"
#include "db/vfs.h"

enum { WRITE_LOCK_SPINS = 100 }; /* some 50 us */

static bool rc_busy(int rc)
{
	int primary = rc & 0xff;
	return primary == SQLITE_BUSY || primary == SQLITE_LOCKED || primary == SQLITE_PROTOCOL;
}

static int conn_fail(struct conn *c, int rc, const char *what, struct err *e)
{
	const char *name = c->db ? sqlite3_db_filename(c->db, "main") : NULL;
	const char *why = c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc);
	enum err_kind kind = ERR_FAIL;
	if (rc_busy(rc))
		kind = ERR_BUSY;
	else if ((rc & 0xff) == SQLITE_NOTADB || (rc & 0xff) == SQLITE_CORRUPT)
		kind = ERR_DAMAGED;
	else if ((rc & 0xff) == SQLITE_FULL)
		kind = ERR_SPACE;
	else if ((rc & 0xff) == SQLITE_CANTOPEN || (rc & 0xff) == SQLITE_PERM ||
		 (rc & 0xff) == SQLITE_READONLY || (rc & 0xff) == SQLITE_IOERR)
		kind = ERR_UNREACHABLE;
	return err_set(e, kind, "%s: %s: %s", name ? name : "database", what, why);
}

static int set_up(struct conn *c, struct err *e)
{
	int on = 1;
	sqlite3_db_config(c->db, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, (int *)NULL);
	sqlite3_wal_autocheckpoint(c->db, 0);
	int rc = sqlite3_exec(c->db, "PRAGMA synchronous=NORMAL; PRAGMA cache_size=8", NULL, NULL, NULL);
	if (rc != SQLITE_OK)
		return conn_fail(c, rc, "cannot be set up", e);
	if (sqlite3_file_control(c->db, "main", SQLITE_FCNTL_PERSIST_WAL, &on) != SQLITE_OK ||
	    sqlite3_file_control(c->db, "main", SQLITE_FCNTL_FILE_POINTER, &c->file) != SQLITE_OK)
		return err_set(e, ERR_FAIL, "SQLite does not give access to its files");
	return 0;
}

static int map_index(struct conn *c, struct err *e)
{
	if (sqlite3_file_control(c->db, "main", SQLITE_FCNTL_JOURNAL_POINTER, &c->wal_file) != SQLITE_OK ||
	    !c->wal_file || !c->wal_file->pMethods)
		return err_set(e, ERR_FAIL, "%s: is not in WAL mode", sqlite3_db_filename(c->db, "main"));
	void volatile *p = NULL;
	int rc = c->file->pMethods->xShmMap(c->file, 0, 32768, 0, &p);
	if (rc == SQLITE_READONLY)
		return err_set(
			e, ERR_UNREACHABLE,
			"%s-shm: can only be opened read-only, so that the WAL cannot be held. Give the user "
			"of walbrook permission to write it",
			sqlite3_db_filename(c->db, "main"));
	if (rc != SQLITE_OK || !p)
		return err_set(
			e, ERR_FAIL,
			"%s: the WAL index is not in shared memory (locking_mode=EXCLUSIVE in an application, "
			"or no WAL mode)",
			sqlite3_db_filename(c->db, "main"));
	c->shm = p;
	return 0;
}

int conn_open(struct conn *c, const char *path, struct err *e)
{
	*c = (struct conn){ 0 };
	int rc = sqlite3_open_v2(path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, VFS_NAME);
	if (rc != SQLITE_OK) {
		err_set(e, ERR_UNREACHABLE, "%s: cannot be opened: %s", path,
			c->db ? sqlite3_errmsg(c->db) : sqlite3_errstr(rc));
		goto fail;
	}
	if (set_up(c, e) < 0 || conn_begin(c, e) < 0)
		goto fail;
	if (map_index(c, e) < 0)
		goto fail;
	conn_end(c);
	return 0;
fail:
	conn_close(c);
	return -1;
}

void conn_close(struct conn *c)
{
	if (!c->db)
		return;
	if (c->file)
		vfs_drop_checkpoint(c->file);
	conn_end(c);
	sqlite3_close(c->db);
	*c = (struct conn){ 0 };
}

bool conn_reading(const struct conn *c)
{
	return c->bare || (c->db && sqlite3_txn_state(c->db, "main") != SQLITE_TXN_NONE);
}

int conn_slot(const struct conn *c)
{
	if (c->bare)
		return c->bare_slot;
	return c->db ? vfs_read_slot(c->file) : -1;
}

int conn_begin(struct conn *c, struct err *e)
{
	int rc = sqlite3_exec(c->db, "BEGIN; PRAGMA user_version", NULL, NULL, NULL);
	if (rc == SQLITE_OK && sqlite3_txn_state(c->db, "main") == SQLITE_TXN_READ)
		return 0;
	if (rc == SQLITE_OK)
		err_set(e, ERR_BUSY, "%s: a read did not begin", sqlite3_db_filename(c->db, "main"));
	else
		conn_fail(c, rc, "cannot begin a read", e);
	conn_end(c);
	return -1;
}

bool conn_take_slot(struct conn *c, int slot)
{
	if (!vfs_take_slot(c->file, slot))
		return false;
	uint32_t *mark = (uint32_t *)(uintptr_t)(c->shm + 100) + slot;
	if (slot > 0)
		__atomic_store_n(mark, SHM_MARK_NONE, __ATOMIC_SEQ_CST);
	c->bare = true;
	c->bare_slot = slot;
	return true;
}

bool conn_add_slot_0(struct conn *c)
{
	return vfs_take_slot(c->file, 0);
}

void conn_keep_one_slot(struct conn *c, bool slot_0)
{
	vfs_drop_slot(c->file, slot_0 ? c->bare_slot : 0);
	if (slot_0)
		c->bare_slot = 0;
}

void conn_end(struct conn *c)
{
	if (c->bare)
		vfs_drop_slot(c->file, c->bare_slot);
	c->bare = false;
	if (c->db && !sqlite3_get_autocommit(c->db))
		sqlite3_exec(c->db, "ROLLBACK", NULL, NULL, NULL);
}

/* Tries often and briefly: beside a writer that never pauses the lock is free for a few microseconds at a time.
 */
int conn_take_write(struct conn *c, int64_t wait_us, struct err *e)
{
	int64_t until_us = mono_us() + wait_us;
	for (int i = 1; !vfs_take_write(c->file); i++) {
		if (i % WRITE_LOCK_SPINS)
			continue;
		if (mono_us() > until_us)
			return err_set(e, ERR_BUSY, "%s: the write lock is busy",
				       sqlite3_db_filename(c->db, "main"));
		sleep_us(50);
	}
	return 0;
}

void conn_drop_write(struct conn *c)
{
	vfs_drop_write(c->file);
}

int conn_passive(struct conn *c, struct err *e)
{
	int rc = sqlite3_wal_checkpoint_v2(c->db, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	return rc == SQLITE_OK ? 0 : conn_fail(c, rc, "checkpoint", e);
}

bool conn_take_checkpoint(struct conn *c)
{
	return vfs_take_checkpoint(c->file);
}

void conn_drop_checkpoint(struct conn *c)
{
	vfs_drop_checkpoint(c->file);
}

/* Word by word: another process writes here while we read; the checksum decides whether what we got is whole.
 */
static void shm_copy(const volatile uint8_t *from, uint8_t to[WAL_INDEX_HEADER_BYTES])
{
	const volatile uint32_t *w = (const volatile uint32_t *)(const volatile void *)from;
	for (size_t i = 0; i < WAL_INDEX_HEADER_BYTES / 4; i++) {
		uint32_t v = __atomic_load_n(&w[i], __ATOMIC_RELAXED);
		memcpy(to + 4 * i, &v, 4);
	}
}

bool shm_index(const volatile uint8_t *shm, uint8_t raw[WAL_INDEX_HEADER_BYTES], struct wal_index *ret)
{
	uint8_t second[WAL_INDEX_HEADER_BYTES];
	shm_copy(shm, raw);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	shm_copy(shm + WAL_INDEX_HEADER_BYTES, second);
	return memcmp(raw, second, sizeof second) == 0 && wal_index_parse(raw, ret);
}

bool conn_index(const struct conn *c, uint8_t raw[WAL_INDEX_HEADER_BYTES], struct wal_index *ret)
{
	return shm_index(c->shm, raw, ret);
}

bool conn_index_patiently(const struct conn *c, uint8_t raw[WAL_INDEX_HEADER_BYTES], struct wal_index *ret)
{
	for (int i = 0; i < 100; i++) {
		if (conn_index(c, raw, ret))
			return true;
		sleep_us(50);
	}
	return false;
}

uint32_t shm_backfill(const volatile uint8_t *shm)
{
	const volatile uint32_t *w = (const volatile uint32_t *)(const volatile void *)(shm + 96);
	return __atomic_load_n(w, __ATOMIC_ACQUIRE);
}

uint32_t shm_mark(const volatile uint8_t *shm, int slot)
{
	const volatile uint32_t *w = (const volatile uint32_t *)(const volatile void *)(shm + 100);
	return __atomic_load_n(w + slot, __ATOMIC_ACQUIRE);
}

uint32_t shm_attempted(const volatile uint8_t *shm)
{
	const volatile uint32_t *w = (const volatile uint32_t *)(const volatile void *)(shm + 128);
	return __atomic_load_n(w, __ATOMIC_ACQUIRE);
}

/* Nobody else changes the mark of a slot that somebody holds, and a mark that is lower than what its readers
 * see is what SQLite itself uses when all slots are busy. */
void conn_lower_mark(struct conn *c, uint32_t mark)
{
	int slot = conn_slot(c);
	uint32_t *w = (uint32_t *)(uintptr_t)(c->shm + 100);
	if (slot >= 1 && shm_mark(c->shm, slot) == mark && mark > 0)
		__atomic_store_n(w + slot, mark - 1, __ATOMIC_RELEASE);
}

static long read_through(sqlite3_file *f, const char *what, void *p, size_t n, uint64_t off, struct err *e)
{
	sqlite3_int64 size = 0;
	int rc = f->pMethods->xRead(f, p, (int)n, (sqlite3_int64)off);
	if (rc == SQLITE_OK)
		return (long)n;
	if (rc == SQLITE_IOERR_SHORT_READ && f->pMethods->xFileSize(f, &size) == SQLITE_OK) {
		uint64_t end = (uint64_t)size;
		if (end <= off)
			return 0;
		return end - off < n ? (long)(end - off) : (long)n;
	}
	return err_set(e, ERR_UNREACHABLE, "%s cannot be read at offset %llu: %s", what,
		       (unsigned long long)off, sqlite3_errstr(rc));
}

long conn_read_wal(struct conn *c, void *p, size_t n, uint64_t off, struct err *e)
{
	return read_through(c->wal_file, "the WAL", p, n, off, e);
}

long conn_read_db(struct conn *c, void *p, size_t n, uint64_t off, struct err *e)
{
	return read_through(c->file, "the database", p, n, off, e);
}

int conn_sync_wal(struct conn *c, struct err *e)
{
	int rc = c->wal_file->pMethods->xSync(c->wal_file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
	return rc == SQLITE_OK ? 0 : conn_fail(c, rc, "cannot sync the WAL", e);
}

int conn_sync_db(struct conn *c, struct err *e)
{
	int rc = c->file->pMethods->xSync(c->file, SQLITE_SYNC_NORMAL | SQLITE_SYNC_DATAONLY);
	return rc == SQLITE_OK ? 0 : conn_fail(c, rc, "cannot sync the database", e);
}

bool conn_moved(struct conn *c)
{
	int moved = 0;
	if (c->file->pMethods->xFileControl(c->file, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK && moved)
		return true;
	moved = 0;
	return c->wal_file->pMethods->xFileControl(c->wal_file, SQLITE_FCNTL_HAS_MOVED, &moved) == SQLITE_OK &&
	       moved;
}

const char *conn_wal_path(const struct conn *c)
{
	return sqlite3_filename_wal(sqlite3_db_filename(c->db, "main"));
}

void conn_shm_path(const struct conn *c, char *buf)
{
	const char *wal = conn_wal_path(c);
	snprintf(buf, PATH_BYTES, "%.*sshm", (int)strlen(wal) - 3, wal);
}
