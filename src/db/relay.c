/* SPDX-License-Identifier: Apache-2.0
 *
 * The relay: how the WAL is let go without ever losing a frame. docs/relay.md has the proof.
 *
 * The rule: at every moment at least one of our two connections holds a read transaction, and the one that
 * holds is let go only after everything up to the other one's snapshot is captured.
 *
 *   on slot k >= 1: no writer can restart the WAL. Anybody may copy all of it: the frames stay;
 *   on slot 0:      no checkpoint can copy anything. A writer may restart the WAL, but only if everything in it
 * had been copied, and what is copied was captured.
 *
 * Both are held by their locks alone (conn_take_slot): k exclusively, with no mark, so that nobody waits for us
 * and nobody shares it. Where readers of the application have all of those, an ordinary read takes their place,
 * with a mark past which nothing is copied.
 *
 * A round (roles swap; H holds, O is the other):
 *   1. O begins: slot k, or slot 0 if everything is copied.
 *   2. Capture up to the index as it is now, which is at or past O's snapshot. H still holds.
 *   3. Guard: if O is not on slot 0, the checkpoint lock must have been seen free since the last restart, once
 * for each incarnation of the WAL. Otherwise a checkpoint that read its header before the last restart
 * (SQLite 3.7.0-3.51.2) could go on with it as soon as slot 0 is free, and hide new frames.
 *   4. H ends, and copies by a PASSIVE checkpoint. It takes the checkpoint lock before it ends.
 *   5. If everything is copied H begins, on slot 0. What came since 2 is captured and made durable; then O ends
 *      and H is parked. Otherwise O goes on holding.
 * An application whose own checkpoints copy the WAL needs no copy of ours: relay_along.c.
 *
 * Locks of POSIX belong to the process: closing any descriptor of the database or of its -shm would drop all of
 * them. So both are only reached through SQLite; shm_fd, for looking at other processes' locks, is opened after
 * SQLite opened its own and closed after the last connection is closed. The -wal carries no locks.
 *
 * Failure modes: BUSY of any kind leaves us as we were (RELAY_AGAIN); a gap leaves the hold in place, so that a
 * new generation can begin from it. */
#include "db/relay_parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "db/vfs.h"

enum {
	HOLD_TRIES = 200,
	SMALL_BACKLOG_FRAMES = 256,
	WRITE_LOCK_WAIT_US = 50000,
	PROVE_WAIT_US = 1000,
	BRAKE_SLICES = 400,
	BRAKE_SLICE_US = 20000,
	BRAKE_GAP_US = 2000,
	BRAKE_PIECE_BYTES = 4 << 20,
	CKPT_WAIT_US = 5000,
	CKPT_RETRY_US = 20,
	INSISTS_US = 25000,
	INSISTS_LOOKS = 5,
	SLOT_FIRST = 2, /* of those that we take for ourselves: see conn_take_slot */
	SLOT_LAST = 4,
	SHM_LOCK_OFFSET = 120, /* of the first lock byte in the -shm */
	SHM_REGION_BYTES = 32768,
};

void relay_init(struct relay *r, const char *path)
{
	*r = (struct relay){ .path = path, .holder = -1, .shm_fd = -1 };
}

struct conn *relay_conn(struct relay *r)
{
	return &r->c[r->holder];
}

enum relay_result relay_busy_or_fail(const struct err *e)
{
	return e->kind == ERR_BUSY ? RELAY_AGAIN : RELAY_FAIL;
}

static enum relay_result from_capture(enum capture_result rc)
{
	return rc == CAPTURE_OK ? RELAY_OK : rc == CAPTURE_GAP ? RELAY_GAP : RELAY_FAIL;
}

/* First those that have no mark: a checkpoint of the application that has just read an old one waits for that
 * slot. */
static bool take_free_slot(struct conn *c)
{
	for (int any = 0; any <= 1; any++)
		for (int slot = SLOT_LAST; slot >= SLOT_FIRST; slot--)
			if ((any || shm_mark(c->shm, slot) == SHM_MARK_NONE) && conn_take_slot(c, slot))
				return true;
	return false;
}

enum relay_result relay_hold(struct relay *r, struct wal_index *ret, uint8_t raw[WAL_INDEX_HEADER_BYTES],
			     struct err *e)
{
	struct conn *a = &r->c[0];
	if (!conn_is_open(a) && conn_open(a, r->path, e) < 0)
		return relay_busy_or_fail(e);
	/* What the index says once the slot is ours stays in the WAL. */
	if (take_free_slot(a)) {
		if (conn_index_patiently(a, raw, ret)) {
			r->holder = 0;
			return RELAY_OK;
		}
		conn_end(a);
	}
	for (int i = 0; i < HOLD_TRIES; i++) {
		uint8_t before[WAL_INDEX_HEADER_BYTES];
		struct wal_index first;
		bool had = conn_index(a, before, &first);
		if (conn_begin(a, e) < 0) {
			if (e->kind != ERR_BUSY)
				return RELAY_FAIL;
			sleep_us(500);
			continue;
		}
		/* The second look: a writer may have come between the first one and the begin. */
		if (had && conn_index(a, raw, ret) && memcmp(before, raw, sizeof before) == 0) {
			r->holder = 0;
			return RELAY_OK;
		}
		conn_end(a);
	}
	err_set(e, ERR_BUSY, "%s: the WAL index does not stand still long enough to begin", r->path);
	return RELAY_AGAIN;
}

void relay_release(struct relay *r)
{
	conn_close(&r->writer);
	conn_close(&r->c[0]);
	conn_close(&r->c[1]);
	if (r->shm_fd >= 0)
		close(r->shm_fd);
	r->shm_fd = -1;
	r->holder = -1;
	r->is_proven = false;
}

int relay_shm_fd(struct relay *r)
{
	if (r->shm_fd < 0) {
		char path[PATH_BYTES];
		conn_shm_path(relay_conn(r), path);
		r->shm_fd = open(path, O_RDWR | O_CLOEXEC);
	}
	return r->shm_fd;
}

enum lock_seen { LOCK_UNKNOWN, LOCK_FREE, LOCK_HELD };

/* Looks at a lock of the shared index as other processes hold it; changes nothing. */
static enum lock_seen look_at_lock(struct relay *r, int lock, int *ret_pid)
{
	struct flock l = {
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = SHM_LOCK_OFFSET + lock, .l_len = 1
	};
	if (relay_shm_fd(r) < 0 || fcntl(r->shm_fd, F_GETLK, &l) < 0)
		return LOCK_UNKNOWN;
	*ret_pid = l.l_pid;
	return l.l_type == F_UNLCK ? LOCK_FREE : LOCK_HELD;
}

bool relay_foreign_lock(struct relay *r, int lock, int *ret_pid)
{
	return look_at_lock(r, lock, ret_pid) == LOCK_HELD;
}

/* What the proof was made for: the salts must be those read before the lock was taken, not after. */
static void note_proof(struct relay *r, const struct wal_index *h)
{
	memcpy(r->proven, h->salt, sizeof r->proven);
	r->is_proven = true;
	r->proven_empty = h->mx_frame == 0;
}

/* A proof for an empty WAL holds for its first frames too, although their writer may have chosen new salts: a
 * checkpoint that read the header of an empty WAL finds nothing to do, and frames that came since cannot have
 * been copied, and so not restarted, while we sit on slot 0. */
static void carry_proof(struct relay *r, const struct wal_index *h)
{
	/* With the same salts too: once there are frames the proof is one for them, and not for what comes
	 * after. */
	if (r->is_proven && r->proven_empty)
		note_proof(r, h);
}

/* Tries for wait_us to take the checkpoint lock with `take`, or, with NULL, to see it free. Either proves h. */
static bool checkpoint_free(struct relay *r, struct conn *take, const struct wal_index *h, int64_t wait_us)
{
	for (int64_t until_us = mono_us() + wait_us;;) {
		int pid;
		if (take ? conn_take_checkpoint(take) : look_at_lock(r, SHM_CKPT, &pid) == LOCK_FREE) {
			note_proof(r, h);
			return true;
		}
		r->n.refused++;
		if (mono_us() >= until_us)
			return false;
		sleep_us(CKPT_RETRY_US);
	}
}

static bool is_proven(const struct relay *r, const struct wal_index *h)
{
	return (r->is_proven && memcmp(r->proven, h->salt, sizeof r->proven) == 0) || r->test_without_guard;
}

/* To see the checkpoint lock free once is as good as to take it: whoever held it before is over, whoever takes
 * it later reads its header later. And it does not make a checkpoint of the application BUSY. */
bool relay_prove(struct relay *r, const struct wal_index *h, int64_t wait_us)
{
	carry_proof(r, h);
	if (is_proven(r, h))
		return true;
	if (!checkpoint_free(r, NULL, h, wait_us))
		return false;
	r->n.proofs++;
	return true;
}

/* The index as it is now; the two copies may differ for the moment of a write. When they stay different a
 * writer died between them: a read on an idle connection recovers the index. */
int relay_index_now(struct conn *c, struct wal_index *h, struct err *e)
{
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	return conn_index_patiently(c, raw, h) ? 0 : err_set(e, ERR_BUSY, "the WAL index is being written");
}

enum relay_result relay_capture(struct relay *r, struct conn *conn, struct capture *c,
				const struct wal_index *h, bool durable, uint64_t budget_bytes, struct err *e)
{
	uint64_t restarts = c->restarts;
	carry_proof(r, h);
	enum relay_result rc = from_capture(capture_some(c, conn, h, durable, budget_bytes, e));
	if (c->restarts != restarts)
		log_debug("wal restarted", L_S("db", r->path), L_I("index", c->at.index));
	return rc;
}

enum relay_result relay_capture_now(struct relay *r, struct conn *conn, struct capture *c, bool durable,
				    struct wal_index *h, struct err *e)
{
	if (relay_index_now(conn, h, e) < 0)
		return RELAY_AGAIN;
	enum relay_result rc = relay_capture(r, conn, c, h, durable, UINT64_MAX, e);
	if (rc == RELAY_OK && durable && spool_sync(&c->spool, e) < 0)
		return RELAY_FAIL;
	return rc;
}

bool relay_foreign_insists(struct relay *r, int *ret_pid)
{
	int writer = 0;
	return relay_holds(r) && relay_foreign_lock(r, SHM_CKPT, ret_pid) &&
	       relay_foreign_lock(r, SHM_WRITE, &writer) && writer == *ret_pid;
}

static bool single_threaded(int pid)
{
	char path[64], line[128];
	int threads = 0;
	snprintf(path, sizeof path, "/proc/%d/status", pid);
	FILE *f = fopen(path, "re");
	while (f && threads == 0 && fgets(line, sizeof line, f))
		if (sscanf(line, "Threads: %d", &threads) != 1)
			threads = 0;
	if (f)
		fclose(f);
	return threads == 1;
}

/* A process of several threads: a stale PASSIVE in one and a long write transaction in another look the same
 * for a moment. That lasts as long as the one sleeps between two instructions; a FULL that waits for us lasts.
 * Should it be the former after all, what happens is what happens without us. */
static bool insists_for_long(struct relay *r, int pid, const uint8_t raw[WAL_INDEX_HEADER_BYTES])
{
	int64_t now_us = mono_us();
	if (r->insists_pid != pid || memcmp(r->insists_raw, raw, sizeof r->insists_raw) != 0) {
		r->insists_pid = pid;
		memcpy(r->insists_raw, raw, sizeof r->insists_raw);
		r->insists_us = now_us;
		r->insists_seen = 0;
	}
	return ++r->insists_seen >= INSISTS_LOOKS && now_us - r->insists_us >= INSISTS_US;
}

/* A process of one thread that has the checkpoint lock and the write lock is in a FULL, RESTART or TRUNCATE, or
 * in a checkpoint that it began inside its own write transaction. Either way no WAL was restarted since it read
 * the header: that is a proof too. It matters for an application that checkpoints right after the first commit
 * of a WAL, before our turn came to take the lock. */
static bool prove_by_holder(struct relay *r, const struct wal_index *h)
{
	uint8_t before[WAL_INDEX_HEADER_BYTES], after[WAL_INDEX_HEADER_BYTES];
	struct wal_index now;
	int pid, again;
	struct conn *c = relay_conn(r);
	if (!conn_index(c, before, &now) || memcmp(now.salt, h->salt, sizeof now.salt) != 0)
		return false;
	if (!relay_foreign_insists(r, &pid))
		return false;
	bool alone = single_threaded(pid);
	if (!relay_foreign_insists(r, &again) || again != pid || !conn_index(c, after, &now) ||
	    memcmp(before, after, sizeof before) != 0 || (!alone && !insists_for_long(r, pid, after)))
		return false;
	note_proof(r, h);
	r->n.proofs++;
	return true;
}

void relay_let(struct relay *r, struct conn *c)
{
	int slot = conn_slot(c);
	conn_end(c);
	if (slot < 1)
		return;
	if (r->left[0] != slot)
		r->left[1] = r->left[0];
	r->left[0] = slot;
}

/* Begins on another slot than the last two that we left: a checkpoint of the application that saw our old mark
 * on one of them waits, asleep, for that very slot to be free for a moment, whatever mark it has by then. */
static int begin_elsewhere(struct relay *r, struct conn *other, struct err *e)
{
	struct conn *hold = relay_conn(r);
	bool blocked[2] = { false, false };
	for (int i = 0; i < 2; i++)
		blocked[i] = r->left[i] >= 1 && r->left[i] != conn_slot(hold) &&
			     vfs_block_slot(hold->file, r->left[i]);
	int rc = conn_begin(other, e);
	for (int i = 0; i < 2; i++)
		if (blocked[i])
			vfs_unblock_slot(hold->file, r->left[i]);
	return rc;
}

static bool all_copied(struct conn *c)
{
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	struct wal_index h;
	return conn_index(c, raw, &h) && shm_backfill(c->shm) == h.mx_frame;
}

/* Slot 0, if all is copied. What is seen after the lock counts: nothing can be copied from then on. */
static bool take_slot_0(struct conn *c)
{
	if (!all_copied(c) || !conn_take_slot(c, 0))
		return false;
	if (all_copied(c))
		return true;
	conn_end(c);
	return false;
}

/* Slot 0, or a slot of our own; where readers of the application have all of them, an ordinary read. */
static int begin(struct relay *r, struct conn *other, struct err *e)
{
	if (take_slot_0(other) || take_free_slot(other))
		return 0;
	return begin_elsewhere(r, other, e);
}

enum relay_result relay_both_hold(struct relay *r, struct capture *c, bool durable, struct wal_index *h,
				  struct err *e)
{
	struct conn *other = &r->c[!r->holder];
	if (!conn_is_open(other) && conn_open(other, r->path, e) < 0)
		return relay_busy_or_fail(e);
	if (begin(r, other, e) < 0)
		return relay_busy_or_fail(e);
	enum relay_result rc = relay_capture_now(r, other, c, durable, h, e);
	/* From slot 0 to a slot k, and for any copy of ours: no stale checkpoint may be about. */
	if (rc == RELAY_OK && conn_slot(other) != 0 && !relay_prove(r, h, PROVE_WAIT_US) &&
	    !prove_by_holder(r, h))
		rc = RELAY_AGAIN;
	if (rc != RELAY_OK)
		relay_let(r, other);
	return rc;
}

/* Steps 4 and 5, with the checkpoint lock in the holder's hand if it is to copy. Where only slot 0 is left to
 * us a writer may begin the WAL anew: not before what was captured of it is durable. */
static enum relay_result copy_and_park(struct relay *r, struct capture *c, bool copy, struct err *e)
{
	struct conn *hold = relay_conn(r), *other = &r->c[!r->holder];
	if (conn_slot(other) == 0 && spool_sync(&c->spool, e) < 0) {
		conn_drop_checkpoint(hold);
		relay_let(r, other);
		return RELAY_FAIL;
	}
	relay_let(r, hold);
	r->holder = !r->holder;
	if (conn_slot(other) == 0) {
		conn_drop_checkpoint(hold);
		return RELAY_OK; /* all was copied already: parked */
	}
	if (!copy)
		return RELAY_OK;
	int64_t from_us = mono_us();
	int rc = conn_passive(hold, e);
	r->n.copy_us += mono_us() - from_us;
	conn_drop_checkpoint(hold);
	if (rc < 0)
		return relay_busy_or_fail(e);
	r->n.copies++;
	if (!take_slot_0(hold))
		return RELAY_OK;
	/* All is copied. It must be captured as well, and durable, before slot 0 is all that is left to us. */
	struct wal_index h;
	enum relay_result got = relay_capture_now(r, hold, c, true, &h, e);
	if (got != RELAY_OK) {
		relay_let(r, hold);
		return got;
	}
	relay_let(r, other);
	r->holder = !r->holder;
	return RELAY_OK;
}

enum relay_result relay_park(struct relay *r, struct capture *c, struct err *e)
{
	struct wal_index h;
	struct conn *hold = relay_conn(r);
	if (!hold->bare)
		return relay_round(r, c, false, true, e);
	if (!all_copied(hold) || !conn_add_slot_0(hold))
		return RELAY_OK;
	enum relay_result rc = RELAY_OK;
	bool copied = all_copied(hold);
	if (copied)
		rc = relay_capture_now(r, hold, c, true, &h, e);
	conn_keep_one_slot(hold, copied && rc == RELAY_OK);
	return rc;
}

enum relay_result relay_round(struct relay *r, struct capture *c, bool copy, bool durable, struct err *e)
{
	struct wal_index h;
	enum relay_result rc = relay_both_hold(r, c, durable, &h, e);
	if (rc != RELAY_OK)
		return rc;
	r->n.rounds++;
	/* The lock is kept from here through the copy, so that no automatic checkpoint of an application slips
	 * in between and does in a commit's time what we do in ours. */
	struct conn *other = &r->c[!r->holder];
	if (copy && conn_slot(other) != 0 && !checkpoint_free(r, relay_conn(r), &h, CKPT_WAIT_US)) {
		relay_let(r, other);
		return RELAY_AGAIN;
	}
	return copy_and_park(r, c, copy, e);
}

static uint32_t backlog(struct relay *r)
{
	struct wal_index h;
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	struct conn *c = relay_conn(r);
	if (!conn_index(c, raw, &h))
		return 0;
	uint32_t done = shm_backfill(c->shm);
	return h.mx_frame > done ? h.mx_frame - done : 0;
}

/* A writer that we keep up with: all but the last few frames is captured, copied and synced before the lock is
 * taken. The copy syncs the WAL with the checkpoint lock in hand, and the hold with the write lock: each finds
 * most of it written already. What the round captures is not synced by it: its slot k keeps the WAL from
 * beginning anew. */
static enum relay_result before_hold(struct relay *r, struct capture *c, struct err *e)
{
	struct wal_index h;
	enum relay_result rc = RELAY_OK;
	if (backlog(r) > SMALL_BACKLOG_FRAMES) {
		if (conn_sync_wal(relay_conn(r), e) < 0)
			return RELAY_FAIL;
		rc = relay_round(r, c, true, false, e);
		if (rc != RELAY_OK || conn_slot(relay_conn(r)) == 0)
			return rc;
		if (conn_sync_db(relay_conn(r), e) < 0)
			return RELAY_FAIL;
	}
	rc = relay_capture_now(r, relay_conn(r), c, true, &h, e);
	if (rc == RELAY_OK && conn_sync_wal(relay_conn(r), e) < 0)
		return RELAY_FAIL;
	return rc;
}

void relay_note_hold(struct relay *r, int64_t from_us)
{
	int64_t held_us = mono_us() - from_us;
	if (held_us > r->n.longest_hold_us)
		r->n.longest_hold_us = held_us;
}

/* A writer that runs ahead of us is slowed: it waits while we capture, slice by slice, and gets in between for
 * a moment. Ends with the lock held when all is captured. */
static enum relay_result capture_braked(struct relay *r, struct capture *c, struct err *e)
{
	struct wal_index h;
	for (int i = 0; i < BRAKE_SLICES; i++) {
		if (conn_take_write(&r->writer, WRITE_LOCK_WAIT_US, e) < 0)
			return relay_busy_or_fail(e);
		int64_t from_us = mono_us();
		enum relay_result rc;
		do {
			rc = relay_index_now(relay_conn(r), &h, e) < 0
				     ? RELAY_AGAIN
				     : relay_capture(r, relay_conn(r), c, &h, false, BRAKE_PIECE_BYTES, e);
			if (rc == RELAY_OK && (c->blind || capture_reached(c, &h)))
				return RELAY_OK;
		} while (rc == RELAY_OK && mono_us() - from_us < BRAKE_SLICE_US);
		conn_drop_write(&r->writer);
		relay_note_hold(r, from_us);
		if (rc != RELAY_OK)
			return rc;
		sleep_us(BRAKE_GAP_US);
	}
	err_set(e, ERR_BUSY, "%s: the writer is too far ahead", r->path);
	return RELAY_AGAIN;
}

enum relay_result relay_forced(struct relay *r, struct capture *c, bool brake, struct err *e)
{
	if (!conn_is_open(&r->writer) && conn_open(&r->writer, r->path, e) < 0)
		return relay_busy_or_fail(e);
	/* Nobody is stopped again for a copy that another process, which is at one, kept from being made.
	 * Before the first time the lock need not be seen free: beside a writer that copies at each commit it
	 * seldom is, until that writer is stopped. */
	struct wal_index h;
	if (relay_index_now(relay_conn(r), &h, e) < 0)
		return RELAY_AGAIN;
	if (r->force_refused && !checkpoint_free(r, NULL, &h, CKPT_WAIT_US)) {
		err_set(e, ERR_BUSY, "%s: another process copies the WAL", r->path);
		return RELAY_AGAIN;
	}
	enum relay_result rc = brake ? capture_braked(r, c, e) : before_hold(r, c, e);
	if (rc != RELAY_OK)
		return rc;
	if (!brake && conn_take_write(&r->writer, WRITE_LOCK_WAIT_US, e) < 0)
		return relay_busy_or_fail(e);
	int64_t from_us = mono_us();
	rc = relay_round(r, c, true, false, e);
	conn_drop_write(&r->writer);
	int64_t held_us = mono_us() - from_us;
	relay_note_hold(r, from_us);
	r->force_refused = rc == RELAY_AGAIN;
	r->n.forced++;
	log_debug("forced hold", L_S("db", r->path), L_I("held_us", held_us), L_I("brake", brake));
	if (spool_sync(&c->spool, e) < 0)
		return RELAY_FAIL;
	return rc;
}

bool relay_foreign_writer(struct relay *r)
{
	int pid;
	return relay_holds(r) && relay_foreign_lock(r, SHM_WRITE, &pid);
}

int relay_foreign_reader(struct relay *r)
{
	int pid = 0;
	for (int slot = 0; relay_holds(r) && slot < 5; slot++)
		if (relay_foreign_lock(r, SHM_READ0 + slot, &pid))
			return pid;
	return 0;
}

void relay_rest(struct relay *r)
{
	conn_close(&r->writer);
	if (!relay_holds(r))
		return;
	conn_close(&r->c[!r->holder]);
	sqlite3_db_release_memory(relay_conn(r)->db);
	/* Of the index only the header is looked at while it is quiet; the rest need not be in our memory. */
	long page = sysconf(_SC_PAGESIZE);
	uintptr_t shm = (uintptr_t)relay_conn(r)->shm;
	if (page > 0 && page < SHM_REGION_BYTES && shm % (uintptr_t)page == 0)
		madvise((void *)(shm + (uintptr_t)page), SHM_REGION_BYTES - (size_t)page, MADV_DONTNEED);
}
