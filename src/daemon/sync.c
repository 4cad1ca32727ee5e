/* SPDX-License-Identifier: Apache-2.0
 *
 * Waiting until all is shipped: see sync.h.
 *
 * Happy path: a step is forced; once one that began after the request has captured all that was committed when
 * it began, the captured position is what to wait for. Replicas that are behind it ship without a token and
 * settle without waiting for quiet (ship.c asks sync_wish). A database is over when each replica that was asked
 * for holds everything before the position, its index included, and a snapshot of that generation: that one is
 * looked for (one listing), since somebody may have deleted it.
 *
 * Failure modes: a new generation begins meanwhile (another step is waited for, and a new position); the
 * database is broken (over, with its reason); it is not there (nothing to wait for but what was captured
 * before); it leaves the configuration (over). A replica that fails is waited for until the deadline of whoever
 * asks. */
#include "daemon/sync.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

bool sync_concerns(const struct sync *y, const struct shipper *s)
{
	return !y->replica || strcmp(y->replica, s->conf->name) == 0;
}

/* No job has the replica in hand. */
static bool passed(const struct sync_wait *w, const struct shipper *s)
{
	if (!s->attached || !generation_equal(&s->r.generation, &w->generation))
		return false;
	/* Nothing of a new WAL index yet: the end of the one before will do. */
	bool new_index = w->at.offset == 0 && s->r.at.index + 1 == w->at.index && !s->cursor;
	return new_index || position_compare(s->r.at, w->at) >= 0;
}

static bool settled(const struct sync_wait *w, const struct shipper *s)
{
	if (generation_none(&w->generation))
		return true;
	if (generation_equal(&s->settled_in, &w->generation) && position_compare(s->settled, w->at) >= 0)
		return true;
	return s->job == SHIP_NONE && !s->held && !s->r.doc_dirty && passed(w, s);
}

/* What others deleted meanwhile is noticed by looking only: a backup without its snapshot is none. */
static bool looked_at(const struct sync_wait *w, const struct shipper *s)
{
	return s->looked_us >= w->of->begun_us;
}

bool sync_has(const struct sync_wait *w, const struct shipper *s)
{
	return w->aimed && settled(w, s) &&
	       (generation_none(&w->generation) || (ship_restorable(s) && looked_at(w, s)));
}

enum sync_wish sync_wish(const struct shipper *s)
{
	enum sync_wish wish = SYNC_NONE;
	for (const struct sync_wait *w = s->m->syncs; w; w = w->next) {
		if (!w->aimed || !sync_concerns(w->of, s))
			continue;
		if (settled(w, s)) {
			bool look = !generation_none(&w->generation) && ship_restorable(s) && !looked_at(w, s);
			if (look && wish == SYNC_NONE)
				wish = SYNC_LOOK;
			continue;
		}
		if (!passed(w, s))
			return SYNC_SHIP;
		wish = SYNC_SETTLE;
	}
	return wish;
}

static bool take_aim(struct sync_wait *w)
{
	const struct managed *m = w->m;
	bool looked = m->seen.done_step >= w->first_step || m->stepped_to_stop;
	bool absent = looked && m->state == DB_WAITING && m->seen.why_kind == ERR_NOTHING;
	if (m->seen.reached_step < w->first_step && !m->stepped_to_stop && !absent)
		return false;
	w->aimed = true;
	w->generation = m->generation;
	w->at = m->captured;
	managed_mark(w->m); /* its replicas hurry from now on */
	return true;
}

/* true: this one is over. */
static bool look(struct sync_wait *w)
{
	const struct managed *m = w->m;
	if (m->state == DB_BROKEN && m->seen.done_step >= w->first_step) {
		w->kind = m->seen.why_kind;
		return true;
	}
	if (w->aimed && !generation_equal(&w->generation, &m->generation)) {
		w->aimed = false;
		w->first_step = m->seen.done_step; /* the one that began it counts, if it captured all */
	}
	if (!w->aimed && !take_aim(w))
		return false;
	for (size_t i = 0; i < m->ships_n; i++)
		if (sync_concerns(w->of, &m->ships[i]) && !sync_has(w, &m->ships[i]))
			return false;
	return true;
}

/* It is out of the list already: with the last one everything here may be freed. */
static void ended(struct sync_wait *w)
{
	w->over = true;
	if (--w->of->left == 0)
		w->of->done(w->of, w->of->arg);
}

void sync_turn(struct managed *m)
{
	for (struct sync_wait **at = &m->syncs; *at;) {
		struct sync_wait *w = *at;
		if (look(w)) {
			*at = w->next;
			ended(w);
		} else {
			at = &w->next;
		}
	}
}

void sync_forget(struct managed *m)
{
	while (m->syncs) {
		struct sync_wait *w = m->syncs;
		m->syncs = w->next;
		w->m = NULL;
		w->kind = ERR_NOTHING;
		ended(w);
	}
}

static void add(struct sync *y, struct managed *m)
{
	if (m->syncs && m->syncs->of == y)
		return; /* named twice */
	struct sync_wait *w = &y->waits[y->n++];
	*w = (struct sync_wait){ .next = m->syncs, .of = y, .m = m, .first_step = m->steps_begun + 1 };
	m->syncs = w;
	y->left++;
	m->sweep = true; /* a step, whatever the index says */
	for (size_t i = 0; i < m->ships_n; i++)
		if (sync_concerns(y, &m->ships[i]))
			m->ships[i].retry_us = 0; /* a person asks: no waiting for the next try */
	managed_mark(m);
}

static struct managed *find(struct daemon *d, const char *path)
{
	for (size_t i = 0; i < d->n; i++)
		if (strcmp(d->dbs[i]->conf->path, path) == 0)
			return d->dbs[i];
	return NULL;
}

static bool has_replica(const struct managed *m, const char *name)
{
	for (size_t i = 0; i < m->ships_n; i++)
		if (!name || strcmp(m->ships[i].conf->name, name) == 0)
			return true;
	return false;
}

static int add_named(struct sync *y, struct daemon *d, const struct request *r, struct err *e)
{
	for (size_t i = 0; i < r->dbs_n; i++) {
		struct managed *m = find(d, r->dbs[i]);
		if (!m)
			return err_set(e, ERR_NOTHING, "%s is not a database of this daemon", r->dbs[i]);
		if (r->replica && !has_replica(m, r->replica))
			return err_set(e, ERR_NOTHING, "%s has no replica \"%.100s\"", r->dbs[i], r->replica);
	}
	for (size_t i = 0; i < r->dbs_n; i++)
		add(y, find(d, r->dbs[i]));
	return 0;
}

static int add_all(struct sync *y, struct daemon *d, const struct request *r, struct err *e)
{
	for (size_t i = 0; i < d->n; i++)
		if (!r->replica || has_replica(d->dbs[i], r->replica))
			add(y, d->dbs[i]);
	if (y->n == 0 && r->replica)
		return err_set(e, ERR_NOTHING, "no database of this daemon has a replica \"%.100s\"",
			       r->replica);
	return 0;
}

int sync_begin(struct daemon *d, const struct request *r, void (*done)(struct sync *y, void *arg), void *arg,
	       struct sync **ret, struct err *e)
{
	size_t most = r->dbs_n ? r->dbs_n : d->n;
	struct sync *y = calloc(1, sizeof *y);
	if (y) {
		*y = (struct sync){ .begun_us = mono_us(), .done = done, .arg = arg };
		y->waits = calloc(most ? most : 1, sizeof *y->waits);
		y->replica = r->replica ? strdup(r->replica) : NULL;
	}
	if (!y || !y->waits || (r->replica && !y->replica)) {
		if (y)
			sync_free(y);
		return err_set(e, ERR_FAIL, "no memory");
	}
	if ((r->dbs_n ? add_named(y, d, r, e) : add_all(y, d, r, e)) < 0) {
		sync_free(y);
		return -1;
	}
	*ret = y;
	return 0;
}

void sync_free(struct sync *y)
{
	for (size_t i = 0; i < y->n; i++) {
		struct sync_wait *w = &y->waits[i];
		struct sync_wait **at = w->m ? &w->m->syncs : NULL;
		while (at && *at && *at != w)
			at = &(*at)->next;
		if (at && *at)
			*at = w->next;
	}
	free(y->waits);
	free(y->replica);
	free(y);
}
