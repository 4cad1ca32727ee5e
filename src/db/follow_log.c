/* SPDX-License-Identifier: Apache-2.0
 *
 * The follower's own WAL is kept short.
 *
 * Happy path: when it is over its limit, SQLite's TRUNCATE checkpoint runs on our connection, which still holds
 * the write lock: everything is copied into the database file and, if nobody reads from the WAL at that moment,
 * it begins anew. Then page 1 is written into it once more (txn_anchor), because an empty log is no proof of
 * anything after a crash.
 *
 * With readers that overlap without a pause there is no such moment, because every publication gives new
 * readers a snapshot of their own. So publishing rests for some milliseconds, and it is tried again and again:
 * once everything is copied, new readers begin on slot 0, which does not hold the WAL, and the old ones go.
 * That takes at most twice as long as the longest read, which we do not know: the rest begins with pause_us and
 * doubles with each failure, while the next try waits until the log has grown by half. So readers of up to half
 * a second cost a log of some ten times its limit, not an endless one.
 *
 * Failure modes: a reader that does not end. Then the log grows and the next try comes when it has grown by
 * half; at the cap applying waits (FOLLOW_FULL). The process that holds the slot is named: a lock of another
 * process can be asked for with F_GETLK, on a descriptor of the -shm that is opened after SQLite's own and
 * closed after it (closing any descriptor drops all locks of the process). */
#include "db/follow_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "db/vfs.h"

enum { SHM_LOCK_OFFSET = 120, SLOTS = 5, TRY_AGAIN_US = 300, PAUSE_MAX_US = 1000000, FAILED_MAX = 16 };

uint64_t follow_log_bytes(const struct follow *f)
{
	return f->live.mx_frame ? wal_offset_of(f->page_bytes, f->live.mx_frame) : 0;
}

int log_holder(struct follow *f, int lock)
{
	struct flock l = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = SHM_LOCK_OFFSET + lock, .l_len = 1
	};
	if (f->shm_fd < 0) {
		char path[PATH_BYTES];
		conn_shm_path(&f->conn, path);
		f->shm_fd = open(path, O_RDWR | O_CLOEXEC);
	}
	return f->shm_fd < 0 || fcntl(f->shm_fd, F_GETLK, &l) < 0 || l.l_type == F_UNLCK ? 0 : l.l_pid;
}

/* The process that reads from the WAL, the one with the oldest snapshot first. 0: none other is seen. */
static int foreign_reader(struct follow *f)
{
	int best = 0;
	uint32_t oldest = UINT32_MAX;
	for (int slot = SLOTS - 1; slot >= 0; slot--) {
		int pid = log_holder(f, SHM_READ0 + slot);
		uint32_t mark = slot ? shm_mark(f->conn.shm, slot) : 0;
		if (pid == 0 || mark > oldest)
			continue;
		best = pid;
		oldest = mark;
	}
	return best;
}

static void name_of(int pid, char *out, size_t room)
{
	char path[64];
	size_t n = 0;
	snprintf(path, sizeof path, "/proc/%d/comm", pid);
	FILE *p = fopen(path, "re");
	if (p)
		n = fread(out, 1, room - 1, p);
	if (p)
		fclose(p);
	while (n > 0 && (uint8_t)out[n - 1] <= ' ')
		n--;
	out[n] = 0;
}

static void note_reader(struct follow *f)
{
	char name[64];
	int pid = foreign_reader(f);
	if (pid <= 0) {
		snprintf(f->why, sizeof f->why, "a reader does not end its transaction");
		return;
	}
	name_of(pid, name, sizeof name);
	snprintf(f->why, sizeof f->why, "process %d (%s) does not end its read transaction", pid, name);
}

static int checkpoint(struct follow *f, int mode)
{
	return sqlite3_wal_checkpoint_v2(f->conn.db, "main", mode, NULL, NULL);
}

static bool is_busy(int rc)
{
	return (rc & 0xff) == SQLITE_BUSY || (rc & 0xff) == SQLITE_LOCKED;
}

static enum follow_result checkpoint_failed(struct follow *f, int rc, struct err *e)
{
	enum err_kind kind = (rc & 0xff) == SQLITE_FULL ? ERR_SPACE : ERR_UNREACHABLE;
	return err_set(e, kind, "%s: the WAL cannot be copied into the database: %s", f->o.path,
		       sqlite3_errstr(rc));
}

/* The log was begun anew by our checkpoint: the header is another one, and ours. */
static enum follow_result take_empty_log(struct follow *f, struct err *e)
{
	struct wal_index h;
	if (!conn_index_patiently(&f->conn, f->raw, &h) || h.mx_frame != 0 || h.change != f->live.change) {
		f->known = false;
		err_set(e, ERR_FAIL, "%s: somebody wrote while the WAL was begun anew", f->o.path);
		return FOLLOW_CONTENT;
	}
	f->live = h;
	f->n.restarts++;
	f->why[0] = 0;
	f->failed_restarts = 0;
	f->next_restart_bytes = f->o.log_limit_bytes;
	txn_reset(f);
	return txn_anchor(f, e);
}

/* What somebody did to the file before it is not to be taken for what the checkpoint did. */
static int try_for(struct follow *f, int mode, int64_t pause_us)
{
	int64_t until_us = mono_us() + pause_us;
	for (;;) {
		follow_look_at_file(f);
		int rc = checkpoint(f, mode);
		follow_note_file(f);
		if (!is_busy(rc) || mono_us() >= until_us)
			return rc;
		sleep_us(TRY_AGAIN_US);
	}
}

enum follow_result follow_restart_log(struct follow *f, struct err *e)
{
	if (f->live.mx_frame == 0)
		return FOLLOW_OK;
	if (f->frames != f->live.mx_frame) {
		err_set(e, ERR_BUSY, "%s: a transaction is being received", f->o.path);
		return FOLLOW_AGAIN;
	}
	f->n.pauses++;
	int64_t pause_us = f->o.pause_us << f->failed_restarts;
	int rc = try_for(f, SQLITE_CHECKPOINT_TRUNCATE, pause_us < PAUSE_MAX_US ? pause_us : PAUSE_MAX_US);
	if (rc == SQLITE_OK)
		return take_empty_log(f, e);
	f->failed_restarts += f->failed_restarts < FAILED_MAX;
	uint64_t bytes = follow_log_bytes(f), more = bytes / 2;
	f->next_restart_bytes = bytes + (more > f->o.log_limit_bytes ? more : f->o.log_limit_bytes);
	if (f->next_restart_bytes > f->o.log_cap_bytes && bytes < f->o.log_cap_bytes)
		f->next_restart_bytes = f->o.log_cap_bytes;
	if (!is_busy(rc))
		return checkpoint_failed(f, rc, e);
	note_reader(f);
	err_set(e, ERR_BUSY, "%s-wal: cannot be begun anew: %s", f->o.path, f->why);
	return FOLLOW_AGAIN;
}

enum follow_result log_tend(struct follow *f, struct err *e)
{
	if (follow_log_bytes(f) < f->next_restart_bytes || f->frames != f->live.mx_frame)
		return FOLLOW_OK;
	enum follow_result rc = follow_restart_log(f, e);
	if (rc == FOLLOW_AGAIN) {
		log_debug("wal not begun anew", L_S("db", f->o.path), L_S("why", f->why),
			  L_I("bytes", follow_log_bytes(f)));
		return FOLLOW_OK;
	}
	return rc;
}

enum follow_result log_cap(struct follow *f, struct err *e)
{
	if (follow_log_bytes(f) < f->o.log_cap_bytes || f->frames != f->live.mx_frame)
		return FOLLOW_OK;
	enum follow_result rc = follow_restart_log(f, e);
	if (rc != FOLLOW_AGAIN)
		return rc;
	err_set(e, ERR_SPACE, "%s-wal: has reached its cap of %llu bytes; applying waits because %s", f->o.path,
		(unsigned long long)f->o.log_cap_bytes, f->why);
	return FOLLOW_FULL;
}

enum follow_result log_backfill(struct follow *f, struct err *e)
{
	if (f->live.mx_frame == 0)
		return FOLLOW_OK;
	/* FULL waits for readers of old snapshots only; those of the newest one do not hinder the copy. */
	int rc = try_for(f, SQLITE_CHECKPOINT_FULL, f->o.pause_us);
	if (rc != SQLITE_OK && !is_busy(rc))
		return checkpoint_failed(f, rc, e);
	if (rc == SQLITE_OK && shm_backfill(f->conn.shm) == f->live.mx_frame)
		return FOLLOW_OK;
	note_reader(f);
	err_set(e, ERR_BUSY, "%s: its WAL cannot be copied into it: %s", f->o.path, f->why);
	return FOLLOW_AGAIN;
}

enum follow_result follow_backfill(struct follow *f, struct err *e)
{
	if (f->known && f->frames == f->live.mx_frame && f->content.mode == CONTENT_NONE)
		return log_backfill(f, e);
	err_set(e, ERR_BUSY, "%s: a transaction is being received", f->o.path);
	return FOLLOW_AGAIN;
}
