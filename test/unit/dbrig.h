/* SPDX-License-Identifier: Apache-2.0
 *
 * One database with db_step and db_look in a small loop, as the daemon has it (daemon/managed.c): a step when
 * the mapped index has changed or a step is due, a walk when another process seems to insist on a checkpoint.
 * After each step the locks are looked at: exactly one of the two connections reads, and what it reads it holds
 * on a slot. */
#ifndef WB_TEST_DBRIG_H
#define WB_TEST_DBRIG_H

#include "world.h"

#include "db/db.h"

struct rig {
	char path[PATH_BYTES], meta[PATH_BYTES];
	struct db d;
	struct db_report rep;			/* of the last step, but for its segments */
	struct spool_segment *segs, **segs_end; /* of the current generation */
	unsigned generations, steps, walks, opened;
	int64_t due_us, step_us, probe_us, worst_step_us;
	struct snapshot *pinned; /* let go when somebody insists on a checkpoint */
};

HELPER struct db_options rig_options(struct rig *r)
{
	return (struct db_options){ .path = r->path,
				    .meta_dir = r->meta,
				    .min_checkpoint_pages = 1000,
				    .max_checkpoint_pages = 10000,
				    .checkpoint_interval_us = 60000000,
				    .spool_quota_bytes = 1ull << 30,
				    .wal_cap_bytes = 1ull << 30 };
}

HELPER void rig_init(struct rig *r, const char *path)
{
	struct err e;
	*r = (struct rig){ .generations = 0 };
	r->segs_end = &r->segs;
	snprintf(r->path, sizeof r->path, "%s", path);
	snprintf(r->meta, sizeof r->meta, "%.4000s-meta", path);
	struct db_options o = rig_options(r);
	assert_int_equal(db_init(&r->d, &o, &e), 0);
}

HELPER void rig_drop_segments(struct rig *r)
{
	free_list(r->segs);
	r->segs = NULL;
	r->segs_end = &r->segs;
}

static void rig_check_locks(const struct rig *r, const struct snapshot *s)
{
	const struct relay *y = &r->d.relay;
	if (!relay_holds(y))
		return;
	const struct conn *holder = &y->c[y->holder], *other = &y->c[!y->holder];
	assert_true(conn_reading(holder));
	assert_true(conn_slot(holder) >= 0);
	assert_false(conn_is_open(other) && (conn_reading(other) || conn_slot(other) >= 0));
	assert_false(conn_is_open(&y->writer) && conn_reading(&y->writer));
	if (s && s->exact)
		assert_true(conn_slot(&s->conn) >= 0);
}

static void rig_append(struct rig *r, struct spool_segment *s)
{
	while (s) {
		struct spool_segment *next = s->next;
		s->next = NULL;
		if (generation_equal(&s->generation, &r->d.cap.at.generation)) {
			*r->segs_end = s;
			r->segs_end = &s->next;
		} else {
			spool_segment_free(s);
		}
		s = next;
	}
}

/* The segments of the current generation, as a daemon takes them: those of the spool at first, then what is
 * fresh. */
static void rig_take(struct rig *r)
{
	if (r->rep.generation_began) {
		rig_drop_segments(r);
		r->generations++;
	}
	rig_append(r, r->rep.loaded);
	rig_append(r, r->rep.fresh);
	r->rep.loaded = r->rep.fresh = NULL;
}

HELPER void rig_order(struct rig *r, struct db_order o)
{
	int64_t from_us = mono_us();
	db_step(&r->d, &o, &r->rep);
	if (mono_us() - from_us > r->worst_step_us)
		r->worst_step_us = mono_us() - from_us;
	r->steps++;
	r->opened += r->rep.opened;
	r->due_us = r->rep.due_us;
	r->step_us = mono_us();
	rig_take(r);
	rig_check_locks(r, o.snapshot);
}

HELPER void rig_step(struct rig *r)
{
	rig_order(r, (struct db_order){ 0 });
}

/* One look and what follows from it. Gives whether there was anything to do. */
HELPER bool rig_turn(struct rig *r)
{
	uint64_t frames;
	int pid;
	int64_t now_us = mono_us();
	enum db_look look = db_look(&r->d, &frames);
	if (look == DB_LOOK_CHANGED)
		db_prove_early(&r->d);
	if (look == DB_LOOK_CHANGED || (r->due_us && now_us >= r->due_us) || !r->steps ||
	    (look == DB_LOOK_TORN && now_us - r->step_us > 3000)) {
		rig_step(r);
		return true;
	}
	if (look == DB_LOOK_SAME && (db_may_park(&r->d) || db_goes_along(&r->d))) {
		rig_step(r);
		return true;
	}
	if (look == DB_LOOK_SAME && db_has_backlog(&r->d) && now_us >= r->probe_us) {
		r->probe_us = now_us + 6000;
		if (now_us - r->step_us >= 3000 && relay_foreign_insists(&r->d.relay, &pid)) {
			if (r->pinned) {
				conn_end(&r->pinned->conn);
				r->pinned->exact = false;
			}
			rig_order(r, (struct db_order){ .walk = true });
			r->walks++;
			return true;
		}
	}
	return false;
}

HELPER void rig_run(struct rig *r, int ms)
{
	for (int64_t until_us = mono_us() + ms * 1000LL; mono_us() < until_us;)
		if (!rig_turn(r))
			sleep_us(300);
}

/* Tells a peer that is in a loop to stop, and goes on until it has: it may be waiting for us. */
HELPER const char *rig_stop_peer(struct rig *r, struct peer *p)
{
	struct pollfd w = { .fd = p->from, .events = POLLIN };
	peer_tell(p, "stop");
	for (int64_t until_us = mono_us() + WAIT_MS * 1000LL; poll(&w, 1, 0) == 0 && mono_us() < until_us;)
		if (!rig_turn(r))
			sleep_us(300);
	const char *answer = peer_hear(p);
	if (strncmp(answer, "ok ", 3) != 0)
		fail_msg("%s", answer);
	return answer + 3;
}

HELPER bool rig_parked(const struct rig *r)
{
	uint64_t frames;
	const struct db *d = &r->d;
	return relay_holds(&d->relay) && db_look(d, &frames) == DB_LOOK_SAME && !db_has_backlog(d) &&
	       conn_slot(&d->relay.c[d->relay.holder]) == 0;
}

/* Runs until all is captured and copied and the hold is on slot 0. */
HELPER void rig_park(struct rig *r)
{
	int64_t until_us = mono_us() + WAIT_MS * 1000LL;
	while (!r->steps || !rig_parked(r)) {
		if (mono_us() > until_us)
			fail_msg("it does not come to rest: state %s %s", db_state_name(r->d.state),
				 r->d.why.text);
		if (!rig_turn(r))
			sleep_us(300);
	}
}

/* Runs until the state is s. */
HELPER void rig_until(struct rig *r, enum db_state s)
{
	int64_t until_us = mono_us() + WAIT_MS * 1000LL;
	while (!r->steps || r->d.state != s) {
		if (mono_us() > until_us)
			fail_msg("state %s instead of %s: %s", db_state_name(r->d.state), db_state_name(s),
				 r->d.why.text);
		if (!rig_turn(r))
			sleep_us(1000);
	}
}

/* Captures all, saves, lets go; then the files are nobody's. */
HELPER void rig_stop(struct rig *r)
{
	for (int i = 0; i < 1000 && !(i && r->rep.stopped); i++) {
		rig_order(r, (struct db_order){ .stop = true });
		if (!r->rep.stopped)
			sleep_us(1000);
	}
	assert_false(relay_holds(&r->d.relay));
}

/* As if the process had been killed: nothing is saved. */
HELPER void rig_fini(struct rig *r)
{
	db_fini(&r->d);
	rig_drop_segments(r);
}

/* A new process on the same files. */
HELPER void rig_again(struct rig *r)
{
	char path[PATH_BYTES];
	memcpy(path, r->path, sizeof path);
	rig_fini(r);
	rig_init(r, path);
}

HELPER struct peer rig_make_db(const char *path, const char *pragma)
{
	struct peer p = peer_open(path);
	peer_do(&p, "%s", pragma);
	peer_do(&p, "PRAGMA journal_mode=wal");
	peer_do(&p, "PRAGMA wal_autocheckpoint=0");
	peer_do(&p, "CREATE TABLE t(id INTEGER PRIMARY KEY, v)");
	peer_do(&p, "PRAGMA wal_checkpoint(TRUNCATE)");
	return p;
}

/* A copy of the database file for a replay: through another process, since ours must not close such a file. */
HELPER struct replay rig_image(const struct rig *r)
{
	struct replay re = { .image = DYN_INIT((size_t)1 << 30) };
	sh("cp '%s' '%s-image'", r->path, r->path);
	char copy[PATH_BYTES];
	snprintf(copy, sizeof copy, "%.4000s-image", r->path);
	struct dyn d = slurp(copy);
	assert_int_equal(dyn_add(&re.image, d.p, d.len), 0);
	dyn_free(&d);
	return re;
}

#endif
