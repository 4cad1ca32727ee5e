/* SPDX-License-Identifier: Apache-2.0
 *
 * The application's own checkpoints, and what they need from us. docs/relay.md has the proof.
 *
 * An automatic checkpoint (it is PASSIVE: it waits for nobody) copies everything, since our mark does not limit
 * it. We go along: capture meanwhile, and the moment that its last page is copied we are on slot 0, so that the
 * next commit finds the WAL copied and nobody on the other slots, and begins it anew. Beside a writer at full
 * speed that moment is some microseconds long. So the write lock is taken while the checkpoint, which does not
 * need it, is at work: the writer is in it, and loses nothing by that. And its end is waited for awake.
 *
 * FULL, RESTART and TRUNCATE hold the write lock and wait for readers. FULL does not see us. The other two wait
 * for slots 1 to 4 at their end: there we go to slot 0 as well (the walk). Where our mark could not be freed,
 * because another process sat on the slot when it was tried, they wait for that too, and we step forward.
 *
 * Failure modes: the moment is missed, or the checkpoint takes longer than we wait: all stays as it was, and
 * the next commit past the limit begins another checkpoint. Nobody else's checkpoint copies (an application
 * that turned them off): relay_forced. */
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/sys.h"
#include "db/relay_parts.h"
#include "db/vfs.h"

enum {
	WALK_LIMIT_US = 400000,
	ASIDE_FIRST_US = 15000,
	ASIDE_AGAIN_US = 120000, /* longer than SQLite sleeps between two tries */
	WRITE_WAIT_US = 3000,
	AWAKE_US = 5000, /* a checkpoint of 1,000 pages takes 2 to 6 ms */
	UNLOCK_US = 2000,
	NEXT_US = 1000,
	ASLEEP_US = 15000,
	ASLEEP_LOOK_US = 200,
	LOOKS_BETWEEN = 100,
	AHEAD_BYTES = 3 << 19,
	AHEAD_LEAST_BYTES = 256 << 10,
	SENT_STEP_FRAMES = 64,
	STAY_LOOK_US = 60,
	STAY_QUIET_US = 3000,
};

/* Whether to leave the slot for another one although its mark is in nobody's way: the other process may have
 * read an older mark of it just before we took it, and then it waits for this slot, whatever mark it has by
 * now. With a lower mark a begin does not join it. Not when the other one copies already. */
static bool step_aside(struct relay *r, const struct wal_index *h, int64_t *next_us)
{
	if (mono_us() < *next_us || shm_attempted(relay_conn(r)->shm) == h->mx_frame)
		return false;
	conn_lower_mark(relay_conn(r), h->mx_frame);
	*next_us = mono_us() + ASIDE_AGAIN_US;
	return true;
}

/* The second half of the walk: the other process copies to the end; as soon as it is there we go to slot 0. */
static enum relay_result walk_to_slot_0(struct relay *r, struct capture *c, struct err *e)
{
	int64_t until_us = mono_us() + WALK_LIMIT_US, aside_us = mono_us() + ASIDE_FIRST_US;
	while (mono_us() < until_us) {
		struct wal_index h;
		enum relay_result rc = relay_capture_now(r, relay_conn(r), c, true, &h, e);
		if (rc != RELAY_OK)
			return rc;
		if (conn_slot(relay_conn(r)) == 0)
			return RELAY_OK;
		/* Copied to the end: to slot 0. Or it waits for our mark because a commit came after it: step
		 * forward, which is to another slot. */
		const volatile uint8_t *shm = relay_conn(r)->shm;
		if (step_aside(r, &h, &aside_us) || shm_backfill(shm) == h.mx_frame ||
		    shm_mark(shm, conn_slot(relay_conn(r))) < h.mx_frame) {
			rc = relay_round(r, c, false, true, e);
			if (rc != RELAY_OK)
				return rc;
			continue;
		}
		int pid;
		if (!relay_foreign_insists(r, &pid))
			return RELAY_OK; /* it is gone; the next round copies what is left */
		sleep_us(300);
	}
	return RELAY_OK;
}

enum relay_result relay_walk(struct relay *r, struct capture *c, struct err *e)
{
	struct wal_index h;
	int64_t from_us = mono_us();
	enum relay_result rc;
	if (!relay_conn(r)->bare || conn_slot(relay_conn(r)) == 0) {
		rc = relay_both_hold(r, c, true, &h, e);
		if (rc != RELAY_OK)
			return rc;
		relay_let(r, relay_conn(r));
		r->holder = !r->holder;
	}
	rc = walk_to_slot_0(r, c, e);
	r->n.walks++;
	log_debug("walk", L_S("db", r->path), L_I("us", mono_us() - from_us));
	return rc;
}

/* A checkpoint of another process is copying all that there is. */
static bool copied_by_other(struct relay *r, const struct wal_index *h)
{
	int pid;
	const volatile uint8_t *shm = relay_conn(r)->shm;
	uint32_t attempted = shm_attempted(shm); /* before SQLite 3.11 nobody fills it */
	return shm_backfill(shm) < h->mx_frame && (attempted == 0 || attempted >= h->mx_frame) &&
	       relay_foreign_lock(r, SHM_CKPT, &pid);
}

bool relay_goes_along(struct relay *r)
{
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	struct wal_index h;
	return relay_holds(r) && relay_conn(r)->bare && conn_slot(relay_conn(r)) > 0 &&
	       conn_index(relay_conn(r), raw, &h) && copied_by_other(r, &h);
}

/* The state of the WAL that a meeting is about: all of it captured and durable. */
struct meeting {
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	struct wal_index h;
};

static bool stands(struct relay *r, const struct meeting *m)
{
	uint8_t now[WAL_INDEX_HEADER_BYTES];
	struct wal_index h;
	return conn_index(relay_conn(r), now, &h) && memcmp(m->raw, now, sizeof now) == 0;
}

static enum relay_result capture_all(struct relay *r, struct capture *c, struct meeting *m, bool *ret_all,
				     struct err *e)
{
	struct wal_index h;
	enum relay_result rc = relay_capture_now(r, relay_conn(r), c, false, &h, e);
	if (rc == RELAY_OK && spool_sync(&c->spool, e) < 0) /* with all that was captured ahead, once */
		rc = RELAY_FAIL;
	*ret_all = rc == RELAY_OK && conn_index(relay_conn(r), m->raw, &m->h) &&
		   (c->blind || capture_reached(c, &m->h));
	return rc;
}

/* Between two looks at memory that another core writes. */
static void spin_hint(void)
{
#if defined __x86_64__ || defined __i386__
	__builtin_ia32_pause();
#else
	__atomic_signal_fence(__ATOMIC_SEQ_CST);
#endif
}

/* Waits until the last page is copied: awake, or asleep when it takes long. false: it is not, or not all. */
static bool wait_copied(struct relay *r, const struct meeting *m, bool awake)
{
	const volatile uint8_t *shm = relay_conn(r)->shm;
	int64_t until_us = mono_us() + (awake ? AWAKE_US : ASLEEP_US);
	for (;;) {
		for (int i = 0; i < LOOKS_BETWEEN; i++) {
			if (shm_backfill(shm) >= m->h.mx_frame)
				return true;
			spin_hint();
		}
		if (mono_us() > until_us || !copied_by_other(r, &m->h))
			return shm_backfill(shm) >= m->h.mx_frame;
		if (awake)
			sched_yield();
		else
			sleep_us(ASLEEP_LOOK_US);
	}
}

/* From our slot to slot 0 by its lock alone, which the checkpoint lets go right after its last page. What
 * stands is captured; if something came after it we stay. */
static void to_slot_0(struct relay *r, const struct meeting *m)
{
	struct conn *hold = relay_conn(r);
	/* A process that is stopped between its last page and its unlock must not stop us as well. */
	for (int64_t until_us = mono_us() + UNLOCK_US; !conn_add_slot_0(hold);)
		if (mono_us() > until_us || !stands(r, m) || shm_backfill(hold->shm) != m->h.mx_frame)
			return;
	bool good = stands(r, m) && shm_backfill(hold->shm) == m->h.mx_frame;
	conn_keep_one_slot(hold, good);
	r->n.met += good;
	r->met_frames = m->h.mx_frame;
}

/* The next commit begins the WAL anew, and from then on slot 0 must not be left before the checkpoint lock was
 * seen free. A FULL that comes before that look would wait for us in vain: so it is made at once. */
static void prove_next(struct relay *r, const struct meeting *m)
{
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	struct wal_index h;
	for (int64_t until_us = mono_us() + NEXT_US; mono_us() < until_us; sched_yield())
		if (conn_index(relay_conn(r), raw, &h) && h.mx_frame > 0 &&
		    memcmp(h.salt, m->h.salt, sizeof h.salt) != 0 && relay_prove(r, &h, 0))
			return;
}

/* A commit of the writer may be under way, with its sync; not when the checkpoint itself has that lock. */
static bool take_write(struct relay *r)
{
	int pid;
	struct err busy;
	return !relay_foreign_insists(r, &pid) && conn_take_write(&r->writer, WRITE_WAIT_US, &busy) == 0;
}

/* With the write lock, where it is to be had, nothing more comes. Beside a writer at full speed it is taken
 * first: to make the capture durable takes as long as the checkpoint, and a commit in between costs a
 * checkpoint of its own. Else as late as can be; then the second capture is of what came while the first one
 * was made durable. */
static enum relay_result meet(struct relay *r, struct capture *c, bool awake, bool first, struct err *e)
{
	struct meeting m = { .h.mx_frame = 0 };
	bool all, held = awake && first && take_write(r);
	int64_t held_us = mono_us();
	uint32_t before = shm_backfill(relay_conn(r)->shm);
	enum relay_result rc = capture_all(r, c, &m, &all, e);
	if (rc == RELAY_OK && awake && !held) {
		held = take_write(r);
		held_us = mono_us();
	}
	if (rc == RELAY_OK && (!all || !stands(r, &m)))
		rc = capture_all(r, c, &m, &all, e);
	if (rc == RELAY_OK && all && wait_copied(r, &m, awake))
		to_slot_0(r, &m);
	if (held) {
		conn_drop_write(&r->writer);
		relay_note_hold(r, held_us);
	}
	if (rc != RELAY_OK)
		return rc;
	r->is_slow = conn_slot(relay_conn(r)) != 0;
	memcpy(r->slow_salt, m.h.salt, sizeof r->slow_salt);
	r->slow_backfill = before;
	if (!r->is_slow)
		prove_next(r, &m);
	return RELAY_OK;
}

/* Awake once for a checkpoint; one that takes longer is waited for asleep, and nobody waits for us. It is the
 * same as long as nothing more is copied: other connections may commit meanwhile. */
static enum relay_result meet_end(struct relay *r, struct capture *c, bool first, struct err *e)
{
	uint8_t raw[WAL_INDEX_HEADER_BYTES];
	struct wal_index h;
	if (!conn_is_open(&r->writer) && conn_open(&r->writer, r->path, e) < 0)
		return relay_busy_or_fail(e);
	bool slow = r->is_slow && conn_index(relay_conn(r), raw, &h) &&
		    memcmp(h.salt, r->slow_salt, sizeof h.salt) == 0 &&
		    shm_backfill(relay_conn(r)->shm) == r->slow_backfill;
	return meet(r, c, !slow, first, e);
}

static uint64_t ahead_bytes(const struct capture *c, const struct wal_index *h)
{
	uint64_t end = wal_offset_of(h->page_bytes, h->mx_frame);
	bool same = memcmp(c->at.chain.salt, h->salt, 8) == 0;
	return h->mx_frame == 0 || (same && end < c->at.chain.offset) ? 0
	       : same						      ? end - c->at.chain.offset
								      : end;
}

/* A stay beside a writer at full speed. */
struct stay {
	bool on;
	int wal_fd;    /* -1: not open. The -wal carries no locks, so it may be opened and closed */
	uint32_t sent; /* so many frames of the WAL are on their way to the disk */
};

/* The sync of the WAL is most of the writer's checkpoint: 4 MB that it waits for. The system is asked to write
 * them as they come, so that little is left to wait for. Nothing relies on it. */
static void send_ahead(struct relay *r, struct stay *s, const struct wal_index *h)
{
	if (h->mx_frame < s->sent)
		s->sent = 0;
	if (!s->on || h->mx_frame < s->sent + SENT_STEP_FRAMES)
		return;
	if (s->wal_fd < 0)
		s->wal_fd = open(conn_wal_path(relay_conn(r)), O_RDONLY | O_CLOEXEC);
	uint64_t from = wal_offset_of(h->page_bytes, s->sent);
	if (s->wal_fd >= 0)
		sys_sync_file_range(s->wal_fd, (off_t)from,
				    (off_t)(wal_offset_of(h->page_bytes, h->mx_frame) - from),
				    SYNC_FILE_RANGE_WRITE);
	s->sent = h->mx_frame;
}

/* A good deal of it; or right before the length at which the last checkpoint came, so that what is left for the
 * next one is small, and its file made already. */
static bool worth_capturing(const struct relay *r, const struct capture *c, const struct wal_index *h)
{
	uint64_t ahead = ahead_bytes(c, h);
	bool soon = h->mx_frame >= r->met_frames - r->met_frames / 8 &&
		    h->mx_frame < r->met_frames - r->met_frames / 16;
	return ahead >= (soon ? AHEAD_LEAST_BYTES : AHEAD_BYTES);
}

static enum relay_result capture_ahead(struct relay *r, struct capture *c, const struct wal_index *h,
				       struct err *e)
{
	enum relay_result rc = relay_capture(r, relay_conn(r), c, h, false, UINT64_MAX, e);
	spool_send_ahead(&c->spool);
	spool_prepare(&c->spool);
	return rc;
}

/* One look at the WAL, and what it asks for. false in *ret_did: nothing. */
static enum relay_result look(struct relay *r, struct capture *c, const struct relay_pace *p, struct stay *s,
			      const struct wal_index *h, bool *ret_did, struct err *e)
{
	struct conn *hold = relay_conn(r);
	*ret_did = true;
	bool copied = shm_backfill(hold->shm) == h->mx_frame;
	relay_prove(r, h, 0);
	if (conn_slot(hold) == 0 && h->mx_frame >= p->step_frames && !copied)
		return relay_round(r, c, false, false, e);
	if (!hold->bare && conn_slot(hold) > 0) /* an ordinary read: a slot of our own may be free by now */
		return relay_round(r, c, false, false, e);
	if (conn_slot(hold) > 0 && copied)
		return relay_park(r, c, e);
	if (conn_slot(hold) > 0 && copied_by_other(r, h))
		return meet_end(r, c, s->on, e);
	send_ahead(r, s, h);
	if (!c->blind && s->on && worth_capturing(r, c, h))
		return capture_ahead(r, c, h, e);
	*ret_did = false;
	return RELAY_OK;
}

static enum relay_result go_along(struct relay *r, struct capture *c, const struct relay_pace *p,
				  struct stay *s, struct err *e)
{
	int64_t now_us = mono_us(), moved_us = now_us,
		until_us = now_us + (relay_conn(r)->bare ? p->stay_us : 0);
	uint64_t met = r->n.met;
	uint32_t before = 0;
	for (;;) {
		struct wal_index h;
		bool did;
		if (relay_index_now(relay_conn(r), &h, e) < 0)
			return RELAY_AGAIN;
		enum relay_result rc = look(r, c, p, s, &h, &did, e);
		now_us = mono_us();
		if (h.mx_frame != before)
			moved_us = now_us;
		before = h.mx_frame;
		if (rc != RELAY_OK || met != r->n.met || now_us >= until_us || h.mx_frame >= p->most_frames ||
		    now_us - moved_us > STAY_QUIET_US)
			return rc;
		if (!did)
			sleep_us(STAY_LOOK_US);
	}
}

enum relay_result relay_along(struct relay *r, struct capture *c, const struct relay_pace *p, struct err *e)
{
	struct stay s = { .on = p->stay_us > 0, .wal_fd = -1 };
	enum relay_result rc = go_along(r, c, p, &s, e);
	if (s.wal_fd >= 0)
		close(s.wal_fd);
	return rc;
}
