/* SPDX-License-Identifier: Apache-2.0
 *
 * The databases that are served, and what the daemon tells of them and asks: see live.h.
 *
 * Happy path: a database comes with its first request (follower.c has the requests). Each step of the daemon
 * tells what is new; whoever waits for it is woken. Once a second each follower that has everything is told so.
 * The spool keeps what somebody may need, within its bounds. What all are told first, the lineage, is read by a
 * worker when it is first wanted.
 *
 * Failure modes: somebody is too slow, and what he needs leaves the list (told, and cut if he does not even
 * take that); commits are not captured (all are let go, for heartbeats would be a lie); the lineage cannot be
 * read (nobody can follow, said in the log). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "live/lineage.h"
#include "live/parts.h"

enum {
	KEEP_US = 600000000,
	LINGER_US = 1000000,
	OLDER_MAX = 50000, /* segments of older indexes that are kept */
};

/* ---- server and database ---- */

static void beat(struct loop_timer *t);

struct live_server *live_server_new(struct loop *l, struct pool *p)
{
	struct live_server *s = calloc(1, sizeof *s);
	if (!s)
		return NULL;
	*s = (struct live_server){ .loop = l, .pool = p, .beat.fire = beat };
	s->end = &s->first;
	return s;
}

void live_server_free(struct live_server *s)
{
	if (!s)
		return;
	loop_timer_cancel(s->loop, &s->beat);
	free(s);
}

struct live_db *live_db_new(struct live_server *s, const struct live_ops *ops, void *arg, const char *path,
			    const char *meta_dir, const char *spool_dir)
{
	struct live_db *d = calloc(1, sizeof *d);
	if (!d)
		return NULL;
	*d = (struct live_db){ .server = s,
			       .ops = *ops,
			       .arg = arg,
			       .path = strdup(path),
			       .meta_dir = strdup(meta_dir),
			       .spool_dir = strdup(spool_dir) };
	if (!d->path || !d->meta_dir || !d->spool_dir) {
		free(d->path);
		free(d->meta_dir);
		free(d->spool_dir);
		free(d);
		return NULL;
	}
	d->next = s->dbs;
	d->at = &s->dbs;
	if (d->next)
		d->next->at = &d->next;
	s->dbs = d;
	return d;
}

static void db_free(struct live_db *d)
{
	segments_drop(d);
	bytes_put(d->lineage);
	bytes_put(d->heartbeat);
	if ((*d->at = d->next))
		d->next->at = d->at;
	free(d->path);
	free(d->meta_dir);
	free(d->spool_dir);
	free(d);
}

static void nothing(void *arg)
{
	(void)arg;
}

/* Connections end a little later than we say so. */
void live_db_free(struct live_db *d)
{
	if (!d)
		return;
	live_end(d, "the database is not served here any longer");
	d->ops = (struct live_ops){ nothing, nothing, nothing };
	d->now = (struct live_now){ .ready = false };
	d->orphan = true;
	for (struct follower *f = d->followers; f; f = f->next)
		httpd_cut(f->conn);
	live_let_go(d);
}

void live_let_go(struct live_db *d)
{
	if (d->orphan && d->n == 0 && !d->hashings && d->jobs == 0)
		db_free(d);
}

struct live_now *live_now(struct live_db *d)
{
	return &d->now;
}

void live_submit(struct live_db *d, struct task *t)
{
	struct err e;
	d->jobs++;
	if (pool_submit(d->server->pool, t, &e) == 0)
		return;
	log_warn("no worker thread; working on the loop", L_S("error", e.text));
	t->rc = t->run(t);
	t->done(t);
}

/* ---- segments of the current index ---- */

static void count_current(struct live_db *d, const struct spool_segment *from)
{
	for (const struct spool_segment *s = from; s; s = s->next) {
		if (s->at.index != d->current.index ||
		    !generation_equal(&s->generation, &d->current.generation)) {
			d->current.generation = s->generation;
			d->current.index = s->at.index;
			d->current.bytes = 0;
		}
		d->current.bytes += s->stored_bytes;
	}
}

void live_count_anew(struct live_db *d)
{
	d->current.generation = (struct generation){ "" };
	d->current.bytes = 0;
	count_current(d, d->now.segs);
}

const struct spool_segment *live_find(const struct live_db *d, const struct generation *g, struct position at)
{
	for (const struct spool_segment *s = d->now.segs; s; s = s->next)
		if (s->at.index == at.index && s->at.offset <= at.offset && at.offset < s->end &&
		    generation_equal(&s->generation, g))
			return s;
	return NULL;
}

/* ---- lineage ---- */

static void settle_all(struct live_db *d, enum phase phase)
{
	for (struct follower *f = d->followers, *next; f; f = next) {
		next = f->next;
		if (f->phase == phase)
			follower_settle(f);
	}
}

struct lineage_job {
	struct task task;
	struct live_db *d;
	struct dyn text;
	struct err e;
	bool followed;
};

static int lineage_run(struct task *t)
{
	struct lineage_job *j = LIVE_OWNER(t, struct lineage_job, task);
	struct owner owner = owner_of(j->d->path);
	struct lineage l;
	/* Of a followed database it is its primary's, and whoever follows that one writes it. */
	if ((j->followed ? lineage_read(j->d->meta_dir, &l, &j->e)
			 : lineage_read_or_make(j->d->meta_dir, &owner, &l, &j->e)) < 0)
		return -1;
	int rc = lineage_text(&l, &j->text);
	if (rc < 0)
		err_set(&j->e, ERR_FAIL, "no memory");
	lineage_free(&l);
	return rc;
}

static void lineage_done(struct task *t)
{
	struct lineage_job *j = LIVE_OWNER(t, struct lineage_job, task);
	struct live_db *d = j->d;
	struct position zero = { 0, 0 };
	d->jobs--;
	d->lineage_out = false;
	*d->lineage_error = 0;
	if (t->rc == 0)
		d->lineage = bytes_text_record(RECORD_LINEAGE, &d->now.generation, zero,
					       (struct span){ j->text.p, j->text.len });
	if (!d->lineage) {
		snprintf(d->lineage_error, sizeof d->lineage_error, "the lineage cannot be read: %.200s",
			 t->rc < 0 ? j->e.text : "no memory");
		log_error("nobody can follow", L_S("db", d->path), L_S("error", d->lineage_error));
	}
	dyn_free(&j->text);
	free(j);
	if (d->lineage_again) {
		live_lineage_changed(d);
		live_lineage_wanted(d);
		return;
	}
	settle_all(d, PHASE_LINEAGE);
	d->ops.mark(d->arg);
}

void live_lineage_wanted(struct live_db *d)
{
	struct lineage_job *j = d->lineage_out ? NULL : calloc(1, sizeof *j);
	if (!j)
		return;
	*j = (struct lineage_job){ .d = d,
				   .followed = d->now.followed,
				   .text = DYN_INIT(LINEAGE_TEXT_BYTES_MAX) };
	j->task = (struct task){ .run = lineage_run, .done = lineage_done, .class = TASK_QUICK };
	d->lineage_out = true;
	live_submit(d, &j->task);
}

void live_restart(struct live_db *d, const char *why)
{
	for (struct follower *f = d->followers, *next; f; f = next) {
		next = f->next;
		if (f->phase != PHASE_LINEAGE)
			follower_end(f, why);
	}
	hashes_cancel(d);
	if (d->exact)
		exact_cancel(d->exact);
}

void live_lineage_changed(struct live_db *d)
{
	d->lineage_again = d->lineage_out;
	bytes_put(d->lineage);
	d->lineage = NULL;
	*d->lineage_error = 0;
	live_restart(d, "who may write this database has changed");
}

/* ---- what the daemon tells ---- */

void live_offer(struct live_db *d, const struct spool_segment *first)
{
	if (!first)
		return;
	count_current(d, first);
	d->fresh_at = first->at;
	for (struct follower *f = d->followers; f; f = f->next) {
		if (f->phase != PHASE_FOLLOW || (f->seg && !f->waits_for_end))
			continue;
		if (!f->seg)
			f->seg = first;
		follower_wake(f);
	}
}

const char live_stalled[] = "commits are not captured at present";

void live_step_done(struct live_db *d)
{
	for (struct follower *f = d->followers, *next; f; f = next) {
		next = f->next;
		bool other = !generation_equal(&f->generation, &d->now.generation);
		bool behind = position_compare(f->at, d->now.captured) != 0, idle = !f->seg || f->waits_for_end;
		/* Heartbeats would say that it has everything. */
		if (f->phase == PHASE_FOLLOW && idle && d->now.stalled)
			follower_end(f, live_stalled);
		else if (f->phase == PHASE_FOLLOW && idle && (other || behind))
			follower_wake(f); /* and finds that there is no more */
		else if (f->phase == PHASE_CONTENT && other)
			follower_end(f, "a new generation has begun");
	}
	copy_step_done(d);
	exact_step_done(d);
}

void live_prepared(struct live_db *d, bool good, const char *why)
{
	d->preparing = false;
	if (good)
		live_count_anew(d);
	for (struct follower *f = d->followers, *next; f; f = next) {
		next = f->next;
		if (f->phase == PHASE_HEAD && good)
			follower_settle(f);
		else if (f->phase == PHASE_HEAD)
			follower_end(f, why);
	}
	hashes_prepared(d, good, why);
}

/* For followers alone: the other half is for replicas that cannot be reached. */
static bool too_much(const struct live_now *n)
{
	return n->segs_bytes > n->quota_bytes / 2;
}

void live_leaves(struct live_db *d, const struct spool_segment *s)
{
	segments_forget(d, s);
	if (s->at.index == d->current.index && generation_equal(&s->generation, &d->current.generation))
		d->current.bytes -= s->stored_bytes < d->current.bytes ? s->stored_bytes : d->current.bytes;
	for (struct follower *f = d->followers, *next; f; f = next) {
		next = f->next;
		bool needs = f->phase == PHASE_CONTENT && generation_equal(&f->generation, &s->generation) &&
			     position_compare(f->from, s->at) <= 0;
		if (f->seg != s && !needs)
			continue;
		char why[200];
		snprintf(why, sizeof why, "%s: %s is not kept any longer",
			 too_much(&d->now) ? "the spool is at half of its quota" : "too slow",
			 f->seg == s ? "what comes next" : "the WAL that the content needs");
		d->totals.fallen_out++;
		follower_end(f, why);
	}
}

int64_t live_turn(struct live_db *d, int64_t now_us)
{
	if (d->n > 0 || d->hashings || !d->left_us || now_us >= d->left_us + KEEP_US)
		return 0;
	return d->left_us + KEEP_US;
}

void live_end(struct live_db *d, const char *why)
{
	if (d->ended)
		return;
	d->ended = true;
	d->ended_us = mono_us();
	d->now.ready = false;
	d->left_us = 0;
	snprintf(d->end_why, sizeof d->end_why, "%s", why);
	hashes_cancel(d);
	live_cancel_copies(d, why);
	for (struct follower *f = d->followers, *next; f; f = next) {
		next = f->next;
		if (f->phase == PHASE_FOLLOW && f->seg && !f->waits_for_end)
			continue; /* it is sent what is there, and told then */
		follower_end(f, why);
	}
}

void live_cancel_copies(struct live_db *d, const char *why)
{
	for (struct follower *f = d->followers, *next; f; f = next) {
		next = f->next;
		if (f->phase == PHASE_CONTENT)
			follower_end(f, why);
	}
	hashes_cancel(d);
	if (d->exact)
		exact_cancel(d->exact);
}

/* ---- what it asks ---- */

bool live_followed(const struct live_db *d)
{
	if (d->ended)
		return false;
	return d->n > 0 || d->hashings || (d->left_us && mono_us() < d->left_us + KEEP_US);
}

int64_t live_lingers(const struct live_db *d)
{
	int64_t until_us = d->ended_us + LINGER_US;
	if (!d->ended || mono_us() >= until_us)
		return 0;
	for (const struct follower *f = d->followers; f; f = f->next)
		if (f->now || f->queued || (f->phase == PHASE_FOLLOW && f->seg))
			return until_us;
	return 0;
}

bool live_hurries(const struct live_db *d)
{
	return d->n > 0 && !d->ended;
}

bool live_busy(const struct live_db *d)
{
	return d->jobs > 0 || d->copies > 0;
}

bool live_keeps(const struct live_db *d, const struct spool_segment *s, uint64_t window_bytes)
{
	struct generation g;
	struct position from;
	const struct live_now *n = &d->now;
	if (live_lingers(d))
		return true;
	if (!live_followed(d) || too_much(n))
		return false;
	if (s->at.index == n->captured.index && generation_equal(&s->generation, &n->generation))
		return true;
	if (copy_oldest(d, &g, &from) && generation_equal(&g, &s->generation) &&
	    position_compare(from, s->at) <= 0)
		return true;
	uint64_t older = n->segs_bytes - (d->current.bytes < n->segs_bytes ? d->current.bytes : n->segs_bytes);
	uint64_t most = n->quota_bytes / 4 < window_bytes ? n->quota_bytes / 4 : window_bytes;
	return older <= most && n->segs_n <= OLDER_MAX;
}

/* ---- once a second ---- */

static void beat(struct loop_timer *t)
{
	struct live_server *s = LIVE_OWNER(t, struct live_server, beat);
	int64_t now_us = loop_now_us(s->loop);
	bool any = false;
	for (struct live_db *d = s->dbs; d; d = d->next) {
		for (struct follower *f = d->followers, *next; f; f = next) {
			next = f->next;
			follower_beat(f, now_us);
		}
		any = any || d->n > 0;
	}
	copy_beat(s, now_us);
	if (any)
		loop_timer_set(s->loop, &s->beat, now_us + LIVE_BEAT_US);
}

/* ---- for people ---- */

static void measure(const struct follower *f, int64_t now_wall_us, struct live_follower *ret)
{
	if (f->phase != PHASE_FOLLOW)
		return;
	for (const struct spool_segment *s = f->seg; s; s = s->next) {
		ret->behind_bytes += s->end - s->at.offset;
		if (!ret->lag_us && s->commits_n > 0 && now_wall_us > s->commits[0].wall_us)
			ret->lag_us = now_wall_us - s->commits[0].wall_us;
	}
}

void live_each(const struct live_db *d, int64_t now_wall_us, live_fn *fn, void *arg)
{
	static const enum live_phase phases[] = {
		[PHASE_LINEAGE] = LIVE_WAITS,  [PHASE_HEAD] = LIVE_WAITS,     [PHASE_PROOF] = LIVE_WAITS,
		[PHASE_CONTENT] = LIVE_COPIES, [PHASE_FOLLOW] = LIVE_FOLLOWS, [PHASE_ENDS] = LIVE_ENDS
	};
	for (const struct follower *f = d->followers; f; f = f->next) {
		struct live_follower one = { .peer = f->peer,
					     .extended = f->extended,
					     .phase = phases[f->phase],
					     .generation = f->generation,
					     .at = f->at,
					     .bytes = f->bytes,
					     .segments = f->segments,
					     .since_wall_us = f->since_wall_us };
		measure(f, now_wall_us, &one);
		fn(arg, &one);
	}
}

size_t live_count(const struct live_db *d)
{
	return d->n;
}

struct live_totals live_totals(const struct live_db *d)
{
	return d->totals;
}
