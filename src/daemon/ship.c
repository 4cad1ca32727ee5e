/* SPDX-License-Identifier: Apache-2.0
 *
 * Shipping on the leading edge. One token comes each sync interval, up to 60 are saved, and one pays for all
 * that is ready when it is spent: after a quiet time a commit is away at once, and in the long run a busy
 * database is shipped once an interval. Segments of one WAL index that are due together go out as one object
 * (the format has no object that spans two).
 *
 * Happy path: what a killed run knew of an older generation and had not told is told; attach (what does the
 * replica hold of this generation?), then object after object; when it is quiet, and before it goes on to
 * another generation, the index object is settled; once in a retention check interval retention runs.
 *
 * Failure modes: a job fails (backoff with jitter, independent of new commits; said at the 1st, 2nd, 4th, 8th …
 * time); the replica lacks something that is in neither spool nor WAL, holds what we never shipped, or was
 * emptied under our hands (a new generation). */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/managed.h"
#include "db/shipped.h"

enum {
	TOKENS_MOST = 60,
	RETRY_FIRST_US = 250000,
	RETRY_MOST_US = 30000000,
	SETTLE_AFTER_US = 1500000,
};

int ship_init(struct shipper *s, struct managed *m, const struct conf_replica *conf, struct err *e)
{
	*s = (struct shipper){ .m = m, .conf = conf, .tokens = TOKENS_MOST };
	s->r = (struct replica){ .db_path = m->conf->path,
				 .name = conf->name,
				 .url = conf->url ? conf->url : conf->path,
				 .owner = owner_of(m->conf->path),
				 .retention_us = conf->retention_us,
				 .snapshot_interval_us = conf->snapshot_interval_us };
	if (conf_replica_keys(conf, &s->r.keys, NULL, e) < 0)
		return -1;
	if (s->r.keys.recipients_n == 0)
		return 0;
	s->r.shipped_dir = shipped_dir(m->meta_dir, s->r.name, s->r.url);
	return s->r.shipped_dir ? 0 : err_set(e, ERR_FAIL, "no memory");
}

bool ship_has_token(struct shipper *s, int64_t now_us)
{
	int64_t interval_us = s->conf->sync_interval_us;
	if (interval_us <= 0 || s->paid)
		return true;
	if (s->tokens_us && now_us > s->tokens_us)
		s->tokens += (double)(now_us - s->tokens_us) / (double)interval_us;
	s->tokens_us = now_us;
	if (s->tokens > TOKENS_MOST)
		s->tokens = TOKENS_MOST;
	return s->tokens >= 1;
}

bool ship_done(const struct shipper *s)
{
	if (s->job != SHIP_NONE || s->held)
		return false; /* its state is the job's */
	return generation_none(&s->m->generation) || (s->attached && !s->cursor && !s->r.doc_dirty);
}

/* The last one of all replicas: what was kept has been of use. */
static int run_left(struct shipper *s)
{
	char dir[PATH_BYTES];
	if (!s->left_last)
		return replica_recall_old(&s->r, &s->m->db.cap.spool, &s->m->left, &s->e);
	int n = snprintf(dir, sizeof dir, "%s/%s", s->m->db.cap.spool.dir, s->m->left.name);
	if (n > 0 && (size_t)n < sizeof dir)
		times_remove_all(dir);
	return 0;
}

static int run(struct task *t)
{
	struct shipper *s = OWNER_OF(t, struct shipper, task);
	switch (s->job) {
	case SHIP_ATTACH:
		s->rc = replica_attach(&s->r, &s->target, &s->any, &s->e);
		if (s->rc == 0 && s->any)
			s->rc = replica_recall(&s->r, &s->m->db.cap.spool, &s->e);
		break;
	case SHIP_LEFT:
		s->rc = run_left(s);
		break;
	case SHIP_OBJECT:
		s->rc = replica_ship(&s->r, &s->m->db.cap.spool, s->batch, s->batch_n, &s->e);
		if (s->rc == 0)
			s->rc = replica_settle(&s->r, false, &s->e);
		break;
	case SHIP_SETTLE:
		s->rc = replica_settle(&s->r, true, &s->e);
		break;
	case SHIP_LOOK:
		s->rc = replica_look(&s->r, &s->e);
		break;
	case SHIP_RETAIN:
		s->rc = replica_retain(&s->r, wall_us(), &s->e);
		break;
	case SHIP_NONE:
	default:
		break;
	}
	return s->rc;
}

static void failed(struct shipper *s, int64_t now_us)
{
	int64_t wait_us = RETRY_FIRST_US << (s->misses < 7 ? s->misses : 7);
	if (wait_us > RETRY_MOST_US)
		wait_us = RETRY_MOST_US;
	s->misses++;
	ship_saw_error(s, s->e.text);
	s->retry_us = now_us + wait_us * 3 / 4 + (int64_t)(drand48() * (double)wait_us / 2);
	if ((s->misses & (s->misses - 1)) == 0)
		log_error("replica fails; trying again", L_S("db", s->m->conf->path), L_S("replica", s->r.name),
			  L_S("error", s->e.text), L_I("tries", s->misses),
			  L_MS("retry_in", (s->retry_us - now_us) / 1000));
}

static bool same_generation(const struct spool_segment *g, const struct generation *h)
{
	return generation_equal(&g->generation, h);
}

static bool continues(struct position at, const struct spool_segment *g)
{
	if (position_compare(at, g->at) == 0)
		return true;
	/* Inside it, at the end of a frame: the rest of it follows. */
	if (g->at.index == at.index && at.offset > g->at.offset && at.offset < g->end)
		return at.offset >= WAL_HEADER_BYTES && g->page_bytes > 0 &&
		       (at.offset - WAL_HEADER_BYTES) % wal_frame_bytes(g->page_bytes) == 0;
	/* The next WAL index, if the one before is known to be there to its end: nothing else would ever show
	 * that its last frames are missing. */
	return g->at.index == at.index + 1 && g->at.offset == 0 && g->prev_end == at.offset && at.offset > 0;
}

/* A followed database cannot begin a generation: the current index comes once more from its start, and if that
 * did not help, the replica goes on with the next one. */
static void start_anew_followed(struct shipper *s, const char *why)
{
	struct managed *m = s->m;
	bool again = s->rewound && s->rewound_at == m->captured.index;
	log_warn("a replica starts anew with a snapshot", L_S("db", m->conf->path), L_S("replica", s->r.name),
		 L_S("reason", why));
	s->rewound = true;
	s->rewound_at = m->captured.index;
	s->lag_index = m->captured.index + (again ? 1 : 0);
	s->lagged = true;
	m->wants_rewind = m->wants_rewind || !again;
}

static void start_anew(struct shipper *s, const char *why)
{
	if (s->m->up) {
		start_anew_followed(s, why);
		goto wait;
	}
	log_warn("a new generation will begin because of a replica", L_S("db", s->m->conf->path),
		 L_S("replica", s->r.name), L_S("reason", why));
	s->m->begin = why;
wait:
	if (!s->adrift_wall_us)
		s->adrift_wall_us = wall_us();
	s->paid = NULL;
	s->attached = true;
	s->r.generation = (struct generation){ "" };
	s->cursor = NULL; /* waits for the first segment of the new one */
}

static void skip_generation(struct shipper *s)
{
	struct generation g = s->cursor->generation;
	s->paid = NULL;
	while (s->cursor && same_generation(s->cursor, &g))
		s->cursor = s->cursor->next;
}

static struct spool_segment *first_of(struct shipper *s, const struct generation *g)
{
	struct spool_segment *at = s->cursor;
	while (at && !same_generation(at, g))
		at = at->next;
	return at;
}

/* Of an older generation: go on where it ends if the replica has it, else leave it. */
static void attached_old(struct shipper *s)
{
	while (s->cursor && same_generation(s->cursor, &s->target) &&
	       (s->cursor->at.index < s->r.at.index ||
		(s->cursor->at.index == s->r.at.index && s->cursor->end <= s->r.at.offset)))
		s->cursor = s->cursor->next;
	if (!s->cursor || !same_generation(s->cursor, &s->target))
		return;
	if (s->any && !s->r.foreign && s->r.snapshots_n > 0 && continues(s->r.at, s->cursor))
		return;
	log_warn("the end of an older generation cannot be added to this replica", L_S("db", s->m->conf->path),
		 L_S("replica", s->r.name), L_S("generation", s->target.name));
	skip_generation(s);
}

/* Of the current generation: does what it holds meet what we have? */
static void attached_current(struct shipper *s)
{
	struct managed *m = s->m;
	struct spool_segment *g = first_of(s, &s->target);
	if (!s->any) {
		struct position zero = { m->captured.index, 0 };
		if (g && g->at.offset == 0)
			zero = g->at;
		else if (g || m->captured.offset > 0) {
			start_anew(s,
				   "a replica has nothing of the generation, and its beginning is gone here");
			return;
		}
		replica_rebase(&s->r, &s->target, zero);
		s->cursor = g;
		return;
	}
	if (s->r.foreign) {
		start_anew(s, s->r.foreign);
		return;
	}
	if (position_compare(s->r.at, m->captured) > 0) {
		start_anew(s, "a replica is ahead of what was captured here");
		return;
	}
	while (g && position_compare((struct position){ g->at.index, g->end }, s->r.at) <= 0)
		g = g->next;
	s->cursor = g;
	bool meets = g ? continues(s->r.at, g) && (!s->r.end_damaged || s->r.at.index == g->at.index)
		       : position_compare(s->r.at, m->captured) == 0 ||
				     (m->captured.index == s->r.at.index + 1 && m->captured.offset == 0 &&
				      !s->r.end_damaged);
	if (!meets)
		start_anew(s, "a replica lacks what is gone here");
}

static void finish_attach(struct shipper *s)
{
	if (s->m->out) {
		/* A step may be capturing right now: decide when it is over (attached stays false). */
		s->r.generation = (struct generation){ "" };
		return;
	}
	s->attached = true;
	if (generation_equal(&s->target, &s->m->generation))
		attached_current(s);
	else
		attached_old(s);
}

static void finish_object(struct shipper *s, int64_t now_us)
{
	size_t n = s->batch_n;
	s->shipped_us = now_us;
	/* replica_ship moves r.at when the object is there, also when its index could not be written. */
	const struct spool_segment *last = s->batch[n - 1];
	if (position_compare(s->r.at, (struct position){ last->at.index, last->end }) != 0)
		return;
	for (size_t i = 0; i < n; i++) {
		if (s->cursor == s->paid)
			s->paid = NULL;
		s->cursor = s->cursor->next;
	}
	log_debug("segment written", L_S("db", s->m->conf->path), L_S("replica", s->r.name),
		  L_I("index", last->at.index), L_I("offset", last->end));
}

/* Deleted, or its disk is mounted no more: what is written now would follow nothing. */
static void emptied(struct shipper *s)
{
	bool current = generation_equal(&s->r.generation, &s->m->generation);
	if (!current && s->cursor && same_generation(s->cursor, &s->r.generation))
		skip_generation(s);
	replica_rebase(&s->r, &(struct generation){ "" }, (struct position){ 0, 0 });
	if (current)
		start_anew(s, "what was in a replica is not there any more");
}

static void left_done(struct shipper *s)
{
	struct managed *m = s->m;
	if (s->left_last)
		m->left = (struct generation){ "" };
	s->left_done = true;
	s->left_last = false;
}

static void done(struct task *t)
{
	struct shipper *s = OWNER_OF(t, struct shipper, task);
	enum ship_job was = s->job;
	int64_t now_us = mono_us();
	s->job = SHIP_NONE;
	if (was == SHIP_ATTACH && s->rc == 0)
		finish_attach(s);
	if (was == SHIP_OBJECT)
		finish_object(s, now_us);
	if (was == SHIP_LEFT && s->rc == 0)
		left_done(s);
	if (was == SHIP_LOOK && s->rc == 0 && !s->r.wants_snapshot && !s->r.emptied)
		s->looked_us = s->look_us;
	if (s->r.emptied)
		emptied(s);
	if (s->rc < 0) {
		failed(s, now_us);
	} else {
		if (s->misses)
			log_info("replica is well again", L_S("db", s->m->conf->path),
				 L_S("replica", s->r.name), L_I("tries", s->misses));
		s->misses = 0;
		s->retry_us = 0;
		s->n.success_wall_us = wall_us();
	}
	if (s->rc == 0 && !s->r.doc_dirty) {
		s->settled_in = s->r.generation;
		s->settled = s->r.at;
	}
	if (was == SHIP_RETAIN && s->rc == 0)
		s->retain_us = now_us + s->conf->retention_check_interval_us;
	managed_mark(s->m);
}

static void submit(struct shipper *s, enum ship_job job)
{
	ship_saw(s);
	s->job = job;
	s->rc = 0;
	s->e = ERR_INIT;
	s->task = (struct task){ .run = run, .done = done, .class = TASK_QUICK };
	engine_submit(s->m->en, &s->task);
}

/* What earlier runs knew of an older generation; true: its job is out now. The last replica clears it away. */
static bool left_turn(struct shipper *s)
{
	struct managed *m = s->m;
	if (generation_none(&m->left) || managed_stopping(m))
		return false;
	for (size_t i = 0; s->left_done && i < m->ships_n; i++)
		if (!m->ships[i].left_done || m->ships[i].left_last)
			return false;
	s->left_last = s->left_done;
	submit(s, SHIP_LEFT);
	return true;
}

void ship_offer(struct shipper *s, struct spool_segment *first)
{
	if (s->cursor)
		return;
	/* One that waits for a beginning does not take what comes before it. */
	if (s->attached && generation_none(&s->r.generation))
		while (first && (first->at.offset != 0 || !same_generation(first, &s->m->generation) ||
				 (s->lagged && first->at.index < s->lag_index)))
			first = first->next;
	s->cursor = first;
}

static void submit_object(struct shipper *s)
{
	uint64_t plain = 0;
	if (!s->batch)
		s->batch = calloc(SHIP_BATCH, sizeof *s->batch);
	if (!s->batch)
		return;
	s->batch_n = 0;
	for (struct spool_segment *g = s->cursor; g && s->batch_n < SHIP_BATCH && plain < SHIP_BATCH_BYTES;
	     g = g->next) {
		if (s->batch_n > 0) {
			const struct spool_segment *before = s->batch[s->batch_n - 1];
			if (!same_generation(g, &before->generation) || g->at.index != before->at.index ||
			    g->at.offset != before->end)
				break;
		}
		s->batch[s->batch_n++] = g;
		plain += g->end - g->at.offset;
		if (replica_has_of(&s->r, g) > 0)
			break;
	}
	submit(s, SHIP_OBJECT);
}

/* The generation that the replica is to be in next, or none when nothing is to be done. */
static bool needs_attach(struct shipper *s, struct generation *ret)
{
	struct managed *m = s->m;
	*ret = s->cursor ? s->cursor->generation : m->generation;
	if (generation_none(ret))
		return false;
	if (s->attached && generation_equal(&s->r.generation, ret))
		return false;
	return true;
}

/* What is in r->doc would be lost with the next generation. */
static bool leaves_generation(struct shipper *s)
{
	struct generation g;
	return s->attached && (needs_attach(s, &g) || s->lagged);
}

/* Into another generation. One that was born in this run is empty everywhere: no store is asked. */
static bool enter_generation(struct shipper *s, const struct generation *g)
{
	struct managed *m = s->m;
	if (generation_equal(g, &m->born)) {
		struct position zero = { m->captured.index, 0 };
		if (s->cursor)
			zero = s->cursor->at;
		if (zero.offset == 0 && (s->cursor || m->captured.offset == 0)) {
			replica_rebase(&s->r, g, zero);
			s->attached = true;
			managed_mark(m); /* it wants a snapshot, and those were looked at before the replicas */
			return true;
		}
		if (!m->begin)
			start_anew(s, "a replica has not got the beginning of the generation");
		return false;
	}
	s->target = *g;
	submit(s, SHIP_ATTACH);
	return false;
}

/* Segments of a followed database may come twice. */
static void pass_what_it_has(struct shipper *s)
{
	while (s->cursor && same_generation(s->cursor, &s->r.generation) &&
	       position_compare((struct position){ s->cursor->at.index, s->cursor->end }, s->r.at) <= 0)
		s->cursor = s->cursor->next;
}

int64_t ship_turn(struct shipper *s, int64_t now_us)
{
	struct generation g;
	bool stopping = managed_stopping(s->m);
	if (s->job != SHIP_NONE || s->held)
		return 0;
	if (s->misses && now_us < s->retry_us)
		return s->retry_us;
	if (s->m->out && !s->attached)
		return 0; /* looked at again when the step is over */
	if (left_turn(s))
		return 0;
	if (s->r.doc_dirty && leaves_generation(s)) {
		submit(s, SHIP_SETTLE);
		return 0;
	}
	if (s->lagged) {
		if (!s->cursor)
			return 0;
		s->lagged = false;
		/* Of the index from which on it is to start anew it may have the beginning: that is kept. */
		if (s->m->up && s->r.at.index == s->cursor->at.index)
			s->attached = false;
		else
			replica_rebase(&s->r, &s->cursor->generation, s->cursor->at);
	}
	if (s->m->up && s->attached)
		pass_what_it_has(s);
	if (!s->m->begin && needs_attach(s, &g) && !enter_generation(s, &g))
		return 0;
	if (!s->attached || generation_none(&s->r.generation))
		return 0;
	enum sync_wish wish = s->m->syncs ? sync_wish(s) : SYNC_NONE;
	if (wish == SYNC_SETTLE) {
		submit(s, SHIP_SETTLE);
		return 0;
	}
	if (wish == SYNC_LOOK) {
		s->look_us = now_us;
		submit(s, SHIP_LOOK);
		return 0;
	}
	if (s->cursor) {
		if (!continues(s->r.at, s->cursor)) {
			if (generation_equal(&s->cursor->generation, &s->m->generation))
				start_anew(s, "a replica lacks what is gone here");
			else
				skip_generation(s);
			return now_us;
		}
		bool has_token = ship_has_token(s, now_us);
		if (stopping || wish == SYNC_SHIP || has_token) {
			if (!stopping && !s->paid && s->conf->sync_interval_us > 0) {
				s->tokens -= has_token ? 1 : 0; /* for one who waits it goes without */
				s->paid = s->m->segs_last;
			}
			submit_object(s);
			return 0;
		}
		return now_us + (int64_t)((1 - s->tokens) * (double)s->conf->sync_interval_us) + 1;
	}
	if (s->r.doc_dirty) {
		if (stopping || now_us - s->shipped_us >= SETTLE_AFTER_US) {
			submit(s, SHIP_SETTLE);
			return 0;
		}
		return s->shipped_us + SETTLE_AFTER_US;
	}
	if (stopping || s->conf->retention_us <= 0)
		return 0;
	if (!s->retain_us) /* spread over the interval, so that many databases do not come at once */
		s->retain_us = now_us + (int64_t)(drand48() * (double)s->conf->retention_check_interval_us);
	if (now_us >= s->retain_us) {
		submit(s, SHIP_RETAIN);
		return 0;
	}
	return s->retain_us;
}
