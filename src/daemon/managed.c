/* SPDX-License-Identifier: Apache-2.0
 *
 * One database on the loop: see managed.h.
 *
 * Happy path: the one-shot watch on the -wal fires, the mapped index is looked at until the commit is
 * published, a step is submitted at once if a replica has a token (else when enough has come together), its
 * segments go to the replicas, the watch is armed again, and after 200 ms of quiet the step that lets the WAL
 * go follows by its timer. While frames wait to be copied and the index stands still, the locks of other
 * processes are looked at: an application may insist on a checkpoint.
 *
 * Failure modes: no inotify watch to be had (the look once a monitor interval finds the change); an index that
 * is being written for more than a few milliseconds (the step heals it). */
#include "daemon/managed.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/promote.h"
#include "daemon/reach.h"
#include "daemon/sync.h"
#include "daemon/upstream.h"

enum {
	POLL_FIRST_US = 40,
	POLL_MOST_US = 1000,
	POLL_FOR_US = 30000,
	BUSY_FRAMES = 200,
	BUSY_US = 20000,
	BUSY_LOOK_US = 1000,
	POLL_FLIGHT_US = 5000,
	IN_FLIGHT_US = 5000000,
	PROBE_US = 2000,
	PARK_AGAIN_US = 500,
	TORN_US = 3000,
	DROP_MANY = 64,
	LEAVE_FOR_US = 30000000,
};

static int step_run(struct task *t)
{
	struct managed *m = OWNER_OF(t, struct managed, task);
	int64_t from_us = mono_us();
	db_step(&m->db, &m->order, &m->report);
	m->took_us = mono_us() - from_us;
	return 0;
}

/* What earlier runs left: older generations first, the current one last. */
static void take_loaded(struct managed *m)
{
	struct spool_segment *old = NULL, **old_end = &old, *now = NULL, **now_end = &now;
	for (struct spool_segment *next, *list = m->report.loaded; list; list = next) {
		next = list->next;
		list->next = NULL;
		struct spool_segment ***end =
			generation_equal(&list->generation, &m->generation) ? &now_end : &old_end;
		**end = list;
		*end = &list->next;
	}
	*old_end = now;
	m->report.loaded = NULL;
	m->segs = old;
	for (struct spool_segment *s = m->segs; s; s = s->next) {
		m->segs_last = s;
		m->segs_bytes += s->stored_bytes;
		m->segs_n++;
	}
	for (size_t i = 0; i < m->ships_n; i++)
		m->ships[i].cursor = m->segs;
}

static void take_fresh(struct managed *m)
{
	struct spool_segment *first = m->report.fresh;
	m->report.fresh = NULL;
	if (!first)
		return;
	if (m->segs_last)
		m->segs_last->next = first;
	else
		m->segs = first;
	for (struct spool_segment *s = first; s; s = s->next) {
		m->segs_last = s;
		m->segs_bytes += s->stored_bytes;
		m->segs_n++;
	}
	for (size_t i = 0; i < m->ships_n; i++)
		ship_offer(&m->ships[i], first);
}

static void drop_head(struct managed *m, struct spool_segment *first, struct spool_segment *last)
{
	for (struct spool_segment *s = first; s; s = s->next) {
		m->segs_bytes -= s->stored_bytes;
		m->segs_n--;
		m->drop_n++;
	}
	if (m->drop)
		m->drop_last->next = first;
	else
		m->drop = first;
	m->drop_last = last;
}

/* What a follower wants goes before all others. Replicas are past it: their cursors do not move. */
static void take_head(struct managed *m)
{
	struct spool_segment *first = m->report.head, *last = NULL;
	m->report.head = NULL;
	for (struct spool_segment *s = first; s; s = s->next) {
		last = s;
		m->segs_bytes += s->stored_bytes;
		m->segs_n++;
	}
	if (!last)
		return;
	if (m->segs ? !generation_equal(&last->generation, &m->segs->generation) ||
			      last->at.index != m->segs->at.index || last->end != m->segs->at.offset
		    : last->at.index != m->captured.index || last->end != m->captured.offset) {
		drop_head(m, first, last); /* what it was to go before has left meanwhile */
		return;
	}
	last->next = m->segs;
	if (!m->segs)
		m->segs_last = last;
	m->segs = first;
}

void managed_take_segments(struct managed *m)
{
	if (m->report.loaded)
		take_loaded(m);
	struct spool_segment *fresh = m->report.fresh;
	take_fresh(m);
	take_head(m);
	serve_saw(m, fresh);
}

static void step_done(struct task *t)
{
	struct managed *m = OWNER_OF(t, struct managed, task);
	m->out = false;
	m->ready = true;
	m->order.remove = NULL;
	m->due_us = m->report.due_us;
	if (m->report.generation_began) {
		m->born = m->db.cap.at.generation;
		m->begin = NULL;
		for (size_t i = 0; i < m->ships_n; i++)
			m->ships[i].lagged = false; /* its number was one of the generation before */
	}
	managed_saw(m);
	m->missing = m->report.missing;
	m->state = m->db.state;
	m->opened = m->opened || m->report.opened;
	m->generation = m->db.cap.at.generation;
	m->captured = (struct position){ m->db.cap.at.index, m->db.cap.at.chain.offset };
	m->captured_sum = m->db.cap.at.chain.sum;
	managed_take_segments(m);
	if (!generation_none(&m->report.left))
		m->left = m->report.left;
	m->stepped_to_stop = m->stepped_to_stop || m->report.stopped;
	snap_step_done(m, m->report.pinned);
	snap_bound_wal(m, (uint64_t)m->db.mx_frame * m->db.cap.at.chain.page_bytes);
	managed_mark(m);
}

static void submit_step(struct managed *m, int64_t now_us)
{
	m->order = (struct db_order){ .walk = m->walk,
				      .stop = managed_stopping(m) && m->may_let_go,
				      .only_remove = m->stepped_to_stop,
				      .begin = m->begin,
				      .remove = m->drop,
				      .head_to = serve_head(m) };
	m->order.frozen = snap_freezes(m);
	if (m->snap && m->snap->phase == SNAP_WANTED) {
		m->order.pin = true;
		m->order.snapshot = &m->snap->s;
	}
	m->drop = NULL;
	m->drop_n = 0;
	m->walk = m->sweep = false;
	m->step_us = now_us;
	m->torn_us = 0;
	m->out = true;
	m->steps_begun++;
	m->task = (struct task){ .run = step_run, .done = step_done, .class = TASK_QUICK, .urgent = true };
	engine_submit(m->en, &m->task);
}

static void timer_fired(struct loop_timer *t)
{
	managed_mark(OWNER_OF(t, struct managed, timer));
}

/* The WAL was written to: from now on the commit is about to be published. */
static void wal_changed(struct watch *w, uint32_t mask, const char *name)
{
	struct managed *m = OWNER_OF(w, struct managed, watch);
	(void)mask;
	(void)name;
	m->watching = m->in_flight = false;
	m->poll_us = POLL_FIRST_US;
	m->poll_until_us = mono_us() + POLL_FOR_US;
	managed_mark(m);
}

static bool arm(struct managed *m)
{
	struct err e;
	const char *path = db_wal_path(&m->db);
	if (m->watching || !m->en->watcher || !path)
		return false;
	m->watching = watch_arm(m->en->watcher, &m->watch, path, WATCH_WRITES, &e) == 0;
	return m->watching;
}

static int64_t sooner(int64_t a, int64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

static bool any_token(struct managed *m, int64_t now_us)
{
	for (size_t i = 0; i < m->ships_n; i++)
		if (ship_has_token(&m->ships[i], now_us))
			return true;
	return false;
}

/* Looks once in PROBE_US whether another process waits for us with a checkpoint; then a step walks. */
static bool walk_if_insisted(struct managed *m, int64_t now_us)
{
	int pid;
	if (now_us < m->probe_us)
		return false;
	m->probe_us = now_us + PROBE_US;
	/* Just after a step it is not worth it; but one that is to pin a snapshot comes every 2 ms. */
	bool pins = m->snap && m->snap->phase == SNAP_WANTED;
	if (!pins && now_us - m->step_us < PROBE_US / 2)
		return false;
	if (!relay_foreign_insists(&m->db.relay, &pid))
		return false;
	m->walk = true;
	if (m->snap) /* an exact copy in the making holds what the other one waits for */
		atomic_store(&m->snap->s.let_go, true);
	submit_step(m, now_us);
	return true;
}

/* The index says that there is something new. Returns when to look again, 0: a step was submitted. */
static int64_t turn_changed(struct managed *m, uint64_t new_frames, int64_t now_us)
{
	bool enough = new_frames == 0 || new_frames >= BUSY_FRAMES || now_us - m->step_us >= BUSY_US;
	/* Tokens are for what comes after a quiet time; a writer at full speed would spend them all at once. */
	if (enough || db_goes_along(&m->db) || serve_hurries(m) || (!m->busy && any_token(m, now_us))) {
		m->busy = new_frames >= BUSY_FRAMES;
		submit_step(m, now_us);
		return 0;
	}
	if (!m->behind_wall_us)
		m->behind_wall_us = wall_us();
	return walk_if_insisted(m, now_us) ? 0 : now_us + BUSY_LOOK_US;
}

/* Nothing new. Returns when to look again, 0: only an event or nothing. */
static int64_t turn_same(struct managed *m, int64_t now_us)
{
	int64_t next_us = m->due_us;
	uint64_t frames;
	if (now_us >= m->poll_until_us && arm(m)) {
		/* A commit may have been written before the arming and be published only later, after its sync:
		 * as long as a writer is at work, go on looking. */
		m->in_flight = true;
		m->poll_until_us = now_us + IN_FLIGHT_US;
		m->poll_us = POLL_FIRST_US;
	}
	if (m->in_flight && (now_us >= m->poll_until_us || !relay_foreign_writer(&m->db.relay))) {
		m->in_flight = false;
		m->poll_until_us = 0;
		if (db_look(&m->db, &frames) != DB_LOOK_SAME)
			return now_us;
	}
	if (now_us < m->poll_until_us) {
		int64_t most_us = m->in_flight ? POLL_FLIGHT_US : POLL_MOST_US;
		next_us = sooner(next_us, now_us + m->poll_us);
		m->poll_us = m->poll_us * 3 / 2 < most_us ? m->poll_us * 3 / 2 : most_us;
	}
	if (db_may_park(&m->db) ? now_us - m->step_us >= PARK_AGAIN_US : db_goes_along(&m->db)) {
		submit_step(m, now_us);
		return 0;
	}
	if (db_may_park(&m->db))
		return sooner(next_us, m->step_us + PARK_AGAIN_US);
	if (!db_has_backlog(&m->db))
		return next_us;
	if (walk_if_insisted(m, now_us))
		return 0;
	return sooner(next_us, m->probe_us);
}

static int64_t turn_db(struct managed *m, int64_t now_us)
{
	uint64_t frames;
	if (m->out)
		return 0;
	bool pin = m->snap && m->snap->phase == SNAP_WANTED;
	/* A connection of a snapshot is still open to files that were let go: not before it is closed. */
	if (m->opened && !relay_holds(&m->db.relay) && (m->snap || serve_holds(m))) {
		serve_cancel(m);
		return now_us + BUSY_US;
	}
	if (serve_wants_step(m) || (m->begin && (!m->due_us || now_us >= m->due_us)) || m->sweep ||
	    m->drop_n >= DROP_MANY || (m->due_us && now_us >= m->due_us) || !m->ready ||
	    (pin && now_us - m->step_us >= BUSY_LOOK_US)) {
		submit_step(m, now_us);
		return 0;
	}
	switch (db_look(&m->db, &frames)) {
	case DB_LOOK_CHANGED:
		m->torn_us = 0;
		db_prove_early(&m->db);
		return turn_changed(m, frames, now_us);
	case DB_LOOK_TORN:
		if (!m->torn_us)
			m->torn_us = now_us;
		if (now_us - m->torn_us > TORN_US) {
			submit_step(m, now_us);
			return 0;
		}
		return now_us + 100;
	case DB_LOOK_SAME:
		m->torn_us = 0;
		return pin ? sooner(turn_same(m, now_us), m->step_us + BUSY_LOOK_US) : turn_same(m, now_us);
	case DB_LOOK_NONE:
	default:
		return m->due_us;
	}
}

/* Segments that everybody has passed leave the list; the next step removes them from the spool. */
static void trim(struct managed *m)
{
	while (m->segs) {
		struct spool_segment *s = m->segs;
		for (size_t i = 0; i < m->ships_n; i++)
			if (m->ships[i].cursor == s || !m->ships[i].attached)
				return;
		if (serve_keeps(m))
			return;
		serve_leaves(m);
		m->segs = s->next;
		if (!m->segs)
			m->segs_last = NULL;
		m->segs_bytes -= s->stored_bytes;
		m->segs_n--;
		s->next = NULL;
		if (m->drop)
			m->drop_last->next = s;
		else
			m->drop = s;
		m->drop_last = s;
		m->drop_n++;
	}
}

/* The first one that some replica waits for: what is before it is kept for followers. */
static const struct spool_segment *first_waiting(const struct managed *m)
{
	for (const struct spool_segment *s = m->segs; s; s = s->next)
		for (size_t i = 0; i < m->ships_n; i++)
			if (m->ships[i].cursor == s)
				return s;
	return NULL;
}

/* Before the quota makes a gap for all: a replica that fails for long while another one gets on starts anew. */
static void drop_laggards(struct managed *m)
{
	bool someone = false; /* gets on */
	if (m->segs_bytes < m->db.o.spool_quota_bytes / 4 * 3)
		return;
	const struct spool_segment *first = first_waiting(m);
	for (size_t i = 0; i < m->ships_n; i++)
		someone = someone || (m->ships[i].misses == 0 && m->ships[i].cursor != first);
	for (size_t i = 0; someone && i < m->ships_n; i++) {
		struct shipper *s = &m->ships[i];
		if (s->job != SHIP_NONE || s->held || s->misses == 0 || (s->attached && s->cursor != first))
			continue;
		log_warn("replica lags too far behind and will start anew with a snapshot",
			 L_S("db", m->conf->path), L_S("replica", s->r.name),
			 L_I("spool_bytes", m->segs_bytes));
		s->adrift_wall_us = m->segs && m->segs->commits_n ? m->segs->commits[0].wall_us : wall_us();
		s->cursor = NULL;
		s->paid = NULL;
		s->attached = s->lagged = true;
		s->lag_index = m->captured.index + 2;
		s->r.generation = (struct generation){ "" };
	}
}

int64_t managed_turn_replicas(struct managed *m, int64_t now_us)
{
	int64_t next_us = snap_turn(m, now_us); /* before the replicas are at work again */
	for (size_t i = 0; i < m->ships_n; i++)
		next_us = sooner(next_us, ship_turn(&m->ships[i], now_us));
	trim(m);
	drop_laggards(m);
	return next_us;
}

static bool all_done(struct managed *m)
{
	for (size_t i = 0; i < m->ships_n; i++)
		if (!ship_done(&m->ships[i]))
			return false;
	return true;
}

/* A generation that has no snapshot yet cannot be restored: stopping waits for its first one, if the database
 * is there, and if nobody goes on with it. */
static bool lacks_snapshot(const struct managed *m)
{
	if (generation_none(&m->generation) || m->state != DB_IDLE || m->handover)
		return false;
	for (size_t i = 0; i < m->ships_n; i++) {
		const struct shipper *s = &m->ships[i];
		if (s->job != SHIP_NONE || s->held || !s->attached || s->r.wants_snapshot ||
		    !generation_equal(&s->r.generation, &m->generation))
			return true;
	}
	return false;
}

static bool jobs_out(const struct managed *m)
{
	for (size_t i = 0; i < m->ships_n; i++)
		if (m->ships[i].job != SHIP_NONE || m->ships[i].held)
			return true;
	return m->out;
}

/* After the signal: the first snapshot if it is missing, a last step, everything to the replicas, then the
 * segments go. */
static int64_t turn_stopping(struct managed *m, int64_t now_us)
{
	int64_t next_us = 0;
	if (m->up && !m->stepped_to_stop) {
		next_us = followed_turn_stopping(m, now_us);
		return sooner(next_us, serve_turn(m, now_us));
	}
	if (m->snap && (m->snap->drill || m->handover))
		snap_cancel(m);
	if (m->out || (m->snap && m->snap->out))
		return 0;
	if (!m->stepped_to_stop && ((!m->ready && !m->handover) || lacks_snapshot(m))) {
		m->may_let_go = false;
		next_us = turn_db(m, now_us);
		next_us = sooner(next_us, snap_turn(m, now_us)); /* before the replicas are at work again */
		for (size_t i = 0; i < m->ships_n; i++)
			next_us = sooner(next_us, ship_turn(&m->ships[i], now_us));
		trim(m);
		return sooner(next_us, now_us + BUSY_US);
	}
	snap_unqueue(m);
	snap_cancel(m);
	/* A step that could not capture everything says when to try again. */
	if (!m->stepped_to_stop && (!m->may_let_go || now_us >= m->due_us)) {
		m->may_let_go = true;
		submit_step(m, now_us);
		return 0;
	}
	for (size_t i = 0; i < m->ships_n && !m->handover; i++)
		next_us = sooner(next_us, ship_turn(&m->ships[i], now_us));
	if (!m->stepped_to_stop)
		return sooner(next_us, m->due_us);
	serve_end(m, m->leaving ? "the database is not served here any longer" : "the primary stops");
	trim(m);
	int64_t lingers_us = serve_lingers(m);
	if (lingers_us || serve_holds(m))
		return sooner(next_us, lingers_us); /* or when a job is back */
	/* Whoever goes on with the database ships what is in the spool. */
	bool done = m->handover ? !jobs_out(m) : all_done(m);
	if (done && m->drop) {
		submit_step(m, now_us); /* nothing is open any more: it only removes */
		return 0;
	}
	m->finished = done;
	return next_us;
}

void managed_leave(struct managed *m)
{
	if (!m->leaving) {
		m->leaving = true;
		m->leave_by_us = mono_us() + LEAVE_FOR_US;
	}
	managed_mark(m);
}

/* Its time is over: what could not be shipped waits in the spool, in case the database is taken on again. */
static bool leave_late(struct managed *m)
{
	snap_unqueue(m);
	snap_cancel(m);
	serve_end(m, "the database is not served here any longer");
	if (m->snap || jobs_out(m) || serve_holds(m))
		return false; /* looked at again when they are done */
	log_error("database is let go before everything was shipped; what is missing waits in the spool",
		  L_S("db", m->conf->path), L_S("error", m->db.why.text));
	return true;
}

static int64_t turn_leaving(struct managed *m, int64_t now_us)
{
	if (now_us < m->leave_by_us)
		return sooner(turn_stopping(m, now_us), m->leave_by_us);
	m->finished = leave_late(m);
	return 0;
}

void managed_turn(struct managed *m)
{
	int64_t now_us = mono_us(), next_us;
	if (m->finished)
		return;
	if (m->missing && m->from_directory && !m->sweep && !m->out && !managed_stopping(m)) {
		log_info("database has gone from its directory", L_S("db", m->conf->path));
		managed_leave(m);
	}
	if (m->leaving) {
		next_us = turn_leaving(m, now_us);
	} else if (m->en->stopping) {
		next_us = turn_stopping(m, now_us);
	} else if (m->up) {
		next_us = followed_turn(m, now_us);
		next_us = sooner(next_us, serve_turn(m, now_us));
	} else {
		next_us = turn_db(m, now_us);
		next_us = sooner(next_us, managed_turn_replicas(m, now_us));
		next_us = sooner(next_us, serve_turn(m, now_us));
	}
	if (next_us)
		loop_timer_set(m->en->loop, &m->timer, next_us);
	else
		loop_timer_cancel(m->en->loop, &m->timer);
	managed_saw_lag(m);
	if (m->finished && m->leaving && !m->gone) {
		m->gone = true;
		m->gone_next = m->en->gone;
		m->en->gone = m;
	}
}

void managed_mark(struct managed *m)
{
	if (m->marked)
		return;
	m->marked = true;
	m->mark_next = m->en->marked;
	m->en->marked = m;
}

void engine_submit(struct engine *en, struct task *t)
{
	struct err e;
	if (pool_submit(en->pool, t, &e) == 0)
		return;
	/* Not a single thread can be made: this one does it, slowly, rather than not at all. */
	log_warn("no worker thread; working on the loop", L_S("error", e.text));
	t->rc = t->run(t);
	t->done(t);
}

/* It follows a primary, unless it has become one. */
static int init_upstream(struct managed *m, bool keep, struct err *e)
{
	char text[PROMOTED_TEXT_BYTES], note[PATH_BYTES];
	if (!m->conf->upstream_url)
		return 0;
	if (!promoted_before(m->meta_dir, text))
		return upstream_new(m, keep || m->conf->replicas_n > 0, &m->up, e);
	m->promoted = true;
	if (path_join(note, m->meta_dir, "walbrook/promoted") < 0) /* it has been read */
		note[0] = 0;
	log_warn(
		"this database was promoted and is a primary, although the configuration says upstream; to let "
		"it follow again, and lose what was written here since, remove the file and set upstream.adopt",
		L_S("db", m->conf->path), L_S("since", text), L_S("file", note));
	return 0;
}

int managed_init(struct managed *m, struct engine *en, const struct conf_db *conf, bool keep, struct err *e)
{
	char meta[PATH_BYTES];
	*m = (struct managed){ .en = en, .conf = conf, .watch.changed = wal_changed };
	m->timer.fire = timer_fired;
	if (conf_meta_dir(conf, meta, e) < 0)
		return -1;
	m->meta_dir = strdup(meta);
	m->ships = calloc(conf->replicas_n ? conf->replicas_n : 1, sizeof *m->ships);
	if (!m->meta_dir || !m->ships)
		return err_set(e, ERR_FAIL, "no memory");
	struct db_options o = { .path = conf->path,
				.meta_dir = m->meta_dir,
				.min_checkpoint_pages = conf->min_checkpoint_pages,
				.max_checkpoint_pages = conf->max_checkpoint_pages,
				.checkpoint_interval_us = conf->checkpoint_interval_us,
				.spool_quota_bytes = (uint64_t)conf->spool_quota_bytes,
				.wal_cap_bytes = 1ull << 30 };
	if (db_init(&m->db, &o, e) < 0 || init_upstream(m, keep, e) < 0)
		return -1;
	for (size_t i = 0; i < conf->replicas_n; i++) {
		int rc = ship_init(&m->ships[i], m, &conf->replicas[i], e);
		m->ships_n++;
		if (rc < 0 || replica_open(&m->ships[i].r, e) < 0)
			return err_wrap(e, "%s: replica %s", conf->path, m->ships[i].r.name);
	}
	return 0;
}

void managed_fini(struct managed *m)
{
	if (!m->en)
		return;
	sync_forget(m);
	reach_forget(m);
	upstream_free(m->up);
	serve_fini(m);
	if (m->en->watcher)
		watch_cancel(m->en->watcher, &m->watch);
	loop_timer_cancel(m->en->loop, &m->timer);
	snap_unqueue(m);
	snap_cancel(m);
	for (size_t i = 0; i < m->ships_n; i++) {
		replica_fini(&m->ships[i].r);
		free(m->ships[i].batch);
		free(m->ships[i].n.error);
	}
	free(m->seen.why);
	db_fini(&m->db);
	spool_segments_free(m->segs);
	spool_segments_free(m->drop);
	spool_segments_free(m->report.fresh);
	spool_segments_free(m->report.head);
	free(m->ships);
	free(m->meta_dir);
}
