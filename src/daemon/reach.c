/* SPDX-License-Identifier: Apache-2.0
 *
 * Positions and who waits for them: see reach.h.
 *
 * Happy path: who asks for the position has a step forced; when one that began after the question has captured
 * all that was committed when it began, the captured position is the answer (a follower answers at once with
 * what its readers see). Who waits stands in the list of the database; each turn of it that may have moved the
 * position looks at the list.
 *
 * Failure modes: the time is over; the generation is over or another one (a follower may be about to learn of
 * it, and is waited for); the database is broken, is not there, or leaves the configuration. */
#include "daemon/reach.h"

#include <string.h>

#include "base/clock.h"
#include "daemon/upstream.h"

bool reach_here(const struct managed *m, struct generation *ret_generation, struct position *ret)
{
	struct upstream_seen seen;
	if (m->up) { /* what readers see */
		upstream_look(m->up, &seen);
		*ret_generation = seen.generation;
		*ret = seen.applied;
		return seen.known;
	}
	*ret_generation = m->generation;
	*ret = m->captured;
	return !generation_none(&m->generation);
}

static enum reach_result cannot(const struct managed *m, struct err *e)
{
	enum err_kind kind = m->seen.why_kind != ERR_NONE ? m->seen.why_kind : ERR_NOTHING;
	const char *path = m->conf->path, *why = m->seen.why ? m->seen.why : "nothing of it is captured yet";
	size_t n = strlen(path);
	if (strncmp(why, path, n) == 0 && strncmp(why + n, ": ", 2) == 0)
		why += n + 2; /* the path stands before it already */
	err_set(e, kind, "%s is %s: %s", path, db_state_name(m->state), why);
	return REACH_CANNOT;
}

/* Which position it is. */
static enum reach_result look_position(struct reach *r, struct err *e)
{
	const struct managed *m = r->m;
	bool looked = m->seen.done_step >= r->first_step || m->stepped_to_stop;
	if (looked && (m->state == DB_BROKEN || m->state == DB_WAITING))
		return cannot(m, e);
	if (m->seen.reached_step < r->first_step && !m->stepped_to_stop)
		return REACH_NOT_YET;
	return reach_here(m, &r->generation, &r->at) ? REACH_DONE : cannot(m, e);
}

/* last: nobody waits any longer. */
static enum reach_result look_wait(struct reach *r, bool last, struct err *e)
{
	const struct managed *m = r->m;
	char want[POSITION_TEXT_BYTES], is[POSITION_TEXT_BYTES];
	struct generation g;
	struct position here;
	if (!reach_here(m, &g, &here))
		return REACH_NOT_YET;
	if (generation_equal(&g, &r->generation)) {
		r->met = true;
		return position_compare(here, r->at) >= 0 ? REACH_DONE : REACH_NOT_YET;
	}
	if (m->up && !r->met && !last)
		return REACH_NOT_YET; /* it may be about to hear of it */
	err_set(e, ERR_FAIL, "%s is at %s, which is another generation than that of %s", m->conf->path,
		position_format(is, &g, here), position_format(want, &r->generation, r->at));
	err_hint(e, "What was committed there is not necessarily here; ask for a new position on the primary");
	return REACH_OTHER;
}

static enum reach_result look(struct reach *r, bool last, struct err *e)
{
	return r->asks ? look_position(r, e) : look_wait(r, last, e);
}

static void take_out(struct reach *r)
{
	*r->link = r->next;
	if (r->next)
		r->next->link = r->link;
}

static void put_in(struct reach *r, struct reach **list)
{
	r->next = *list;
	r->link = list;
	if (r->next)
		r->next->link = &r->next;
	*list = r;
}

static void end(struct reach *r)
{
	take_out(r);
	loop_timer_cancel(r->m->en->loop, &r->timer);
	r->m = NULL;
}

static void late(struct loop_timer *t)
{
	struct reach *r = OWNER_OF(t, struct reach, timer);
	char is[POSITION_TEXT_BYTES] = "", want[POSITION_TEXT_BYTES];
	struct generation g;
	struct position here;
	struct err e;
	enum reach_result result = look(r, true, &e);
	if (result == REACH_NOT_YET) {
		result = REACH_LATE;
		if (reach_here(r->m, &g, &here))
			position_format(is, &g, here);
		if (r->asks)
			err_set(&e, ERR_DEADLINE,
				"the deadline has passed, and not everything of %s is captured: %s",
				r->m->conf->path, r->m->seen.why ? r->m->seen.why : "it is busy");
		else
			err_set(&e, ERR_DEADLINE, "the deadline has passed: %s is at %s, not yet at %s",
				r->m->conf->path, *is ? is : "no position",
				position_format(want, &r->generation, r->at));
	}
	end(r);
	r->over(r, result, &e);
}

static enum reach_result begin(struct reach *r, struct daemon *d, const char *path, int64_t timeout_us,
			       reach_over *over, struct err *e)
{
	struct managed *m = set_find(d, path);
	if (!m) {
		err_set(e, ERR_NOTHING, "%s is not a database of this daemon", path);
		return REACH_CANNOT;
	}
	r->m = m;
	r->first_step = m->steps_begun + 1;
	enum reach_result result = look(r, false, e);
	if (result != REACH_NOT_YET) {
		r->m = NULL;
		return result;
	}
	r->over = over;
	r->timer = (struct loop_timer){ .fire = late };
	put_in(r, &m->reaches);
	if (m->up)
		upstream_watch(m->up, true);
	loop_timer_set(d->en.loop, &r->timer, mono_us() + timeout_us);
	return REACH_NOT_YET;
}

enum reach_result reach_position(struct reach *r, struct daemon *d, const char *path, int64_t timeout_us,
				 reach_over *over, struct err *e)
{
	*r = (struct reach){ .asks = true };
	enum reach_result result = begin(r, d, path, timeout_us, over, e);
	if (result == REACH_NOT_YET) {
		r->m->sweep = true; /* a step, whatever the index says */
		managed_mark(r->m);
	}
	return result;
}

enum reach_result reach_wait(struct reach *r, struct daemon *d, const char *path, int64_t timeout_us,
			     reach_over *over, struct err *e)
{
	r->asks = r->met = false;
	return begin(r, d, path, timeout_us, over, e);
}

void reach_cancel(struct reach *r)
{
	if (r->m)
		end(r);
}

/* Those that are over first come onto a list of their own: whom the end of one takes along leaves either list.
 */
void reach_turn(struct managed *m)
{
	struct reach *ended = NULL;
	struct err e;
	for (struct reach *r = m->reaches, *next; r; r = next) {
		next = r->next;
		if (look(r, false, &e) == REACH_NOT_YET)
			continue;
		take_out(r);
		put_in(r, &ended);
	}
	while (ended) {
		struct reach *r = ended;
		enum reach_result result = look(r, false, &e);
		end(r);
		r->over(r, result, &e);
	}
}

void reach_forget(struct managed *m)
{
	struct err e;
	while (m->reaches) {
		struct reach *r = m->reaches;
		err_set(&e, ERR_NOTHING, "%s is not a database of this daemon any more", m->conf->path);
		end(r);
		r->over(r, REACH_CANNOT, &e);
	}
}
