/* SPDX-License-Identifier: Apache-2.0
 *
 * Snapshots on the loop: for a new generation, and on the interval. One pass over the file feeds all replicas
 * that want one at that moment; segments go on being shipped meanwhile.
 *
 * Only few are made at a time, however many databases there are: the others wait in a queue, and the next one
 * is called when a place becomes free.
 *
 * Happy path: WANTED (steps try to pin the database where it is exact) -> COPY (a long job) -> PUBLISH (the
 * index object says from where on it is usable, then the object appears).
 *
 * Failure modes: it cannot be pinned for 10 s, or the WAL passes its cap while it is: the copy is fuzzy, and is
 * published only when everything captured by its end has been shipped (COPIED, SHIP). A new generation begins
 * meanwhile: cancelled and wanted again. A replica that fails is left out and tries again with its own backoff.
 */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/managed.h"
#include "daemon/upstream.h"

enum { PIN_FOR_US = 10000000, AGAIN_US = 5000000 };

static bool interval_over(const struct shipper *s)
{
	const struct replica *r = &s->r;
	int64_t every_us = r->snapshot_interval_us > 0 ? r->snapshot_interval_us : r->retention_us;
	if (every_us <= 0 || r->snapshots_n == 0)
		return false;
	const struct replica_snapshot *last = &r->snapshots[r->snapshots_n - 1];
	/* One snapshot for each WAL index: a second would hide the moments between. And none if nothing was
	 * written. */
	if (last->index >= s->m->captured.index)
		return false;
	return wall_us() - last->created_us >= every_us;
}

static bool wants(const struct shipper *s, int64_t now_us)
{
	if (!s->attached || s->held || s->job != SHIP_NONE || generation_none(&s->r.generation) ||
	    !generation_equal(&s->r.generation, &s->m->generation) || (s->misses && now_us < s->retry_us))
		return false;
	return s->r.wants_snapshot || interval_over(s);
}

static void leave_queue(struct managed *m)
{
	if ((*m->snap_at = m->snap_next))
		m->snap_next->snap_at = m->snap_at;
	else
		m->en->snap_end = m->snap_at;
}

/* Keeps the free places for those who have waited longest. */
static void call_next(struct engine *en)
{
	while (en->snap_first && en->snapshots_out + en->snapshots_called < en->snapshots_max) {
		struct managed *m = en->snap_first;
		leave_queue(m);
		m->snap_queue = SNAP_CALLED;
		en->snapshots_called++;
		managed_mark(m);
	}
}

void snap_unqueue(struct managed *m)
{
	struct engine *en = m->en;
	if (m->snap_queue == SNAP_QUEUED)
		leave_queue(m);
	else if (m->snap_queue == SNAP_CALLED)
		en->snapshots_called--;
	m->snap_queue = SNAP_NOT_QUEUED;
	call_next(en);
}

/* true: it has a place now; else it is called when there is one. */
static bool queue_up(struct managed *m)
{
	struct engine *en = m->en;
	if (m->snap_queue == SNAP_NOT_QUEUED) {
		m->snap_queue = SNAP_QUEUED;
		m->snap_next = NULL;
		m->snap_at = en->snap_first ? en->snap_end : &en->snap_first;
		*m->snap_at = m;
		en->snap_end = &m->snap_next;
		call_next(en);
	}
	return m->snap_queue == SNAP_CALLED;
}

void snap_cancel(struct managed *m)
{
	struct snap *p = m->snap;
	if (!p)
		return;
	atomic_store(&p->s.cancel, true);
	if (p->out && p->drill && p->phase == SNAP_PUBLISH)
		validate_interrupt();
	if (p->out || (m->out && m->order.snapshot == &p->s))
		return; /* a job that works on it ends soon, and then this is called again */
	if (p->outs)
		snapshot_outs_end(&p->s, p->outs, p->n, false);
	for (size_t i = 0; p->to && i < p->n; i++)
		p->to[i]->held = false;
	snapshot_close(&p->s);
	m->en->snapshots_out--;
	validate_free(p->drill);
	free(p->outs);
	free(p->to);
	free(p);
	m->snap = NULL;
	call_next(m->en);
}

bool snap_freezes(const struct managed *m)
{
	const struct snap *p = m->snap;
	return p && p->phase == SNAP_COPY && p->out && p->was_exact && !atomic_load(&p->s.let_go);
}

void snap_bound_wal(struct managed *m, uint64_t wal_bytes)
{
	if (snap_freezes(m) && wal_bytes > m->db.o.wal_cap_bytes) {
		log_info("the WAL has reached its cap during a snapshot, which goes on as a fuzzy one",
			 L_S("db", m->conf->path), L_I("wal_bytes", wal_bytes));
		atomic_store(&m->snap->s.let_go, true);
	}
}

static void begin_drill(struct managed *m, struct shipper *to, int64_t now_us)
{
	struct snap *p = calloc(1, sizeof *p);
	struct shipper **one = calloc(1, sizeof *one);
	struct snapshot_out *none = calloc(1, sizeof *none);
	if (!p || !one || !none || !(p->drill = validate_new(to))) {
		free(p);
		free(one);
		free(none);
		return;
	}
	*one = to;
	m->en->snapshots_out++;
	*p = (struct snap){ .m = m,
			    .phase = SNAP_WANTED,
			    .since_us = now_us,
			    .generation = m->generation,
			    .outs = none,
			    .to = one,
			    .drill = p->drill };
	none->replica = &to->r;
	m->snap = p;
}

/* For those who want one now; whether a job of theirs is out when the copy begins does not matter then. */
static void begin(struct managed *m, int64_t now_us)
{
	struct snap *p = calloc(1, sizeof *p);
	if (!p)
		return;
	p->outs = calloc(m->ships_n, sizeof *p->outs);
	p->to = calloc(m->ships_n, sizeof *p->to);
	for (size_t i = 0; p->outs && p->to && i < m->ships_n; i++) {
		if (!wants(&m->ships[i], now_us))
			continue;
		p->outs[p->n].replica = &m->ships[i].r;
		p->to[p->n++] = &m->ships[i];
	}
	if (p->n == 0) {
		free(p->outs);
		free(p->to);
		free(p);
		return;
	}
	m->en->snapshots_out++;
	p->m = m;
	p->phase = SNAP_WANTED;
	p->since_us = now_us;
	p->generation = m->generation;
	m->snap = p;
}

static int copy_run(struct task *t)
{
	struct snap *p = OWNER_OF(t, struct snap, task);
	struct managed *m = p->m;
	struct err e = ERR_INIT;
	if (p->drill) {
		validate_database(p->drill, &p->s);
		return 0;
	}
	if (!p->s.exact && snapshot_open_fuzzy(&p->s, m->db.o.path, &e) < 0) {
		for (size_t i = 0; i < p->n; i++)
			p->outs[i].e = e;
		return 0;
	}
	snapshot_outs_copy(&p->s, p->outs, p->n);
	return 0;
}

static void report_failures(struct managed *m, int64_t now_us)
{
	struct snap *p = m->snap;
	for (size_t i = 0; i < p->n; i++) {
		if (p->outs[i].e.kind == ERR_NONE || atomic_load(&p->s.cancel))
			continue;
		p->to[i]->misses++;
		p->to[i]->retry_us = now_us + AGAIN_US;
		p->to[i]->n.snapshots_failed++;
		p->to[i]->e = p->outs[i].e;
		ship_saw_error(p->to[i], p->outs[i].e.text);
		log_error("snapshot cannot be written; trying again", L_S("db", m->conf->path),
			  L_S("replica", p->to[i]->r.name), L_S("error", p->outs[i].e.text));
	}
}

static bool any_good(const struct snap *p)
{
	if (p->drill)
		return validate_goes_on(p->drill);
	for (size_t i = 0; i < p->n; i++)
		if (p->outs[i].e.kind == ERR_NONE)
			return true;
	return false;
}

static void copy_done(struct task *t)
{
	struct snap *p = OWNER_OF(t, struct snap, task);
	struct managed *m = p->m;
	p->out = false;
	report_failures(m, mono_us());
	if (p->drill && !any_good(p))
		validate_done(p->drill, &p->s, mono_us());
	if (atomic_load(&p->s.cancel) || !any_good(p)) {
		snap_cancel(m);
	} else if (p->s.exact) {
		/* The WAL up to its state must be there too: what is older must not be replayed over it. */
		p->usable_from = p->s.at;
		p->phase = SNAP_SHIP;
	} else {
		/* What was written to the file up to now is in the WAL. A step that is out already may have
		 * looked at the WAL before that; only the next one captures through the end of the copy. */
		p->phase = SNAP_COPIED;
		p->end_step = m->steps_begun + 1;
		m->sweep = true;
		if (m->up)
			p->tick = upstream_tick(m->up);
	}
	if (m->snap)
		conn_end(&p->s.conn); /* the WAL may go again */
	managed_mark(m);
}

static void submit(struct managed *m, int (*run)(struct task *), void (*done)(struct task *),
		   enum task_class kind)
{
	struct snap *p = m->snap;
	p->out = true;
	p->task = (struct task){ .run = run, .done = done, .class = kind };
	engine_submit(m->en, &p->task);
}

static void start_copy(struct managed *m)
{
	struct snap *p = m->snap;
	p->phase = SNAP_COPY;
	p->was_exact = p->s.exact;
	if (!p->s.exact) {
		p->s.generation = m->generation;
		p->s.at = m->captured;
		log_debug("snapshot is not to be had exactly; copying a fuzzy one", L_S("db", m->conf->path));
	}
	submit(m, copy_run, copy_done, TASK_LONG);
}

void snap_step_done(struct managed *m, bool pinned)
{
	struct snap *p = m->snap;
	if (!p)
		return;
	if (!relay_holds(&m->db.relay) || (atomic_load(&p->s.cancel) && !p->out)) {
		/* The files were let go, and with them perhaps the lock of the copy. */
		snap_cancel(m);
		return;
	}
	if (p->phase == SNAP_WANTED && pinned && !p->out) {
		start_copy(m);
	} else if (p->phase == SNAP_COPIED && m->seen.reached_step >= p->end_step) {
		p->usable_from = m->captured;
		p->phase = SNAP_SHIP;
	} else if (p->phase == SNAP_COPIED) {
		m->sweep = true; /* it captures only so much at once, or began too early: one more */
	}
}

/* Of a followed database: the copy begins when everything of older indexes is in the file, and it is good with
 * what was applied by its end. Content that came in between was not written by any WAL: then it is of no use.
 */
void snap_followed(struct managed *m, const struct upstream_news *news)
{
	struct snap *p = m->snap;
	struct upstream_seen seen;
	if (!p || p->out)
		return;
	upstream_look(m->up, &seen);
	if (p->phase == SNAP_WANTED && news->copied && generation_equal(&news->copied_of, &p->generation)) {
		p->epoch = news->copied_epoch;
		p->phase = SNAP_COPY;
		p->was_exact = p->s.exact = false;
		p->s.generation = news->copied_of;
		p->s.at = news->copied_at;
		submit(m, copy_run, copy_done, TASK_LONG);
	} else if (p->phase > SNAP_WANTED && p->epoch != seen.content_epoch + seen.local_writers) {
		snap_cancel(m);
	} else if (p->phase == SNAP_COPIED && news->ticks > p->tick) {
		p->usable_from = m->captured;
		p->phase = SNAP_SHIP;
	}
}

static int publish_run(struct task *t)
{
	struct snap *p = OWNER_OF(t, struct snap, task);
	for (size_t i = 0; i < p->n; i++)
		if (p->outs[i].e.kind == ERR_NONE)
			replica_note_usable(p->outs[i].replica, &p->s, p->usable_from, &p->outs[i].e);
	snapshot_outs_end(&p->s, p->outs, p->n, true);
	for (size_t i = 0; i < p->n; i++)
		if (p->outs[i].e.kind == ERR_NONE)
			replica_note_snapshot(p->outs[i].replica, &p->s, &p->outs[i].e);
	return 0;
}

static void publish_done(struct task *t)
{
	struct snap *p = OWNER_OF(t, struct snap, task);
	struct managed *m = p->m;
	int64_t now_us = mono_us();
	p->out = false;
	report_failures(m, now_us);
	for (size_t i = 0; i < p->n; i++) {
		p->to[i]->held = false;
		if (p->outs[i].e.kind != ERR_NONE)
			continue;
		p->to[i]->misses = 0;
		p->to[i]->n.snapshots++;
		p->to[i]->n.success_wall_us = wall_us();
		p->to[i]->adrift_wall_us = 0;
		char at[POSITION_TEXT_BYTES];
		log_info("snapshot written", L_S("db", m->conf->path), L_S("replica", p->to[i]->r.name),
			 L_S("position", position_format(at, &p->s.generation, p->s.at)),
			 L_I("bytes", p->outs[i].stored_bytes), L_S("kind", p->s.exact ? "exact" : "fuzzy"),
			 L_MS("elapsed", (now_us - p->since_us) / 1000));
	}
	free(p->outs);
	p->outs = NULL;
	snap_cancel(m);
	managed_mark(m);
}

static int drill_run(struct task *t)
{
	struct snap *p = OWNER_OF(t, struct snap, task);
	validate_replica(p->drill, &p->s);
	return 0;
}

static void drill_done(struct task *t)
{
	struct snap *p = OWNER_OF(t, struct snap, task);
	struct managed *m = p->m;
	p->out = false;
	validate_done(p->drill, &p->s, mono_us());
	snap_cancel(m);
	managed_mark(m);
}

/* Publishing needs the replicas' index objects: it waits until none of their jobs is out and holds them. */
static bool hold_all(struct snap *p)
{
	for (size_t i = 0; i < p->n; i++)
		if (p->outs[i].e.kind == ERR_NONE && p->to[i]->job != SHIP_NONE)
			return false;
	for (size_t i = 0; i < p->n; i++) {
		ship_saw(p->to[i]);
		p->to[i]->held = p->outs[i].e.kind == ERR_NONE;
	}
	return true;
}

/* A replica that is not there yet and fails is not waited for. (One that is there may have failed before, also
 * at its last snapshot: then nothing else would ever clear that.) */
static bool shipped(struct snap *p)
{
	const struct shipper *one = p->to[0];
	if (p->drill)
		return one->job == SHIP_NONE && position_compare(one->r.at, p->usable_from) >= 0;
	for (size_t i = 0; i < p->n; i++) {
		struct shipper *to = p->to[i];
		if (p->outs[i].e.kind != ERR_NONE)
			continue;
		if (to->job != SHIP_NONE)
			return false; /* looked at again when it is done */
		if (!generation_equal(&to->r.generation, &p->s.generation) ||
		    position_compare(to->r.at, p->usable_from) >= 0)
			continue;
		if (to->misses == 0)
			return false;
		/* One that fails does not keep the others waiting. */
		err_set(&p->outs[i].e, ERR_UNREACHABLE, "the replica fails; its snapshot comes later");
	}
	return true;
}

int64_t snap_turn(struct managed *m, int64_t now_us)
{
	struct snap *p = m->snap;
	if (!p) {
		bool wanted = false;
		for (size_t i = 0; i < m->ships_n; i++)
			wanted = wanted || wants(&m->ships[i], now_us);
		int64_t next_us = 0;
		struct shipper *check = wanted || m->up ? NULL : validate_wanted(m, now_us, &next_us);
		if ((!wanted && !check) || m->begin || m->state != DB_IDLE) {
			if (m->snap_queue != SNAP_NOT_QUEUED)
				snap_unqueue(m);
			return next_us;
		}
		if (!queue_up(m))
			return 0;
		if (check)
			begin_drill(m, check, now_us);
		else
			begin(m, now_us);
		snap_unqueue(m);
		if (m->up && m->snap)
			upstream_want_copy(m->up);
		managed_mark(m);
		return now_us;
	}
	if (!generation_equal(&p->generation, &m->generation)) {
		snap_cancel(m);
		return now_us;
	}
	if (p->out)
		return 0;
	if (m->state != DB_IDLE) {
		snap_cancel(m);
		return 0;
	}
	if (p->phase == SNAP_WANTED && m->up)
		return 0; /* snap_followed */
	if (p->phase == SNAP_WANTED && now_us - p->since_us > PIN_FOR_US && !m->out) {
		conn_end(&p->s.conn);
		start_copy(m);
		return 0;
	}
	if (p->phase == SNAP_SHIP && p->drill &&
	    p->to[0]->misses > 0) { /* others may need a snapshot meanwhile */
		validate_done(p->drill, &p->s, now_us);
		snap_cancel(m);
		return now_us;
	}
	if (p->phase == SNAP_SHIP && shipped(p))
		p->phase = SNAP_PUBLISH;
	if (p->phase == SNAP_PUBLISH && p->drill)
		submit(m, drill_run, drill_done, TASK_LONG);
	else if (p->phase == SNAP_PUBLISH && hold_all(p))
		submit(m, publish_run, publish_done, TASK_QUICK);
	return p->phase == SNAP_WANTED ? now_us + 2000 : 0;
}
