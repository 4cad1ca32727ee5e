/* SPDX-License-Identifier: Apache-2.0
 *
 * What is shown: see status.h.
 *
 * Happy path: while a step is out its struct db is the worker's, and while a job is out its struct replica is.
 * So the little that is shown of them is copied where the loop has them in hand: of a database when a step is
 * over, of a replica just before a job takes it. Nothing else is kept for those who ask; ages and sums are
 * computed when they do, by a walk along the segments that wait.
 *
 * Failure modes: no memory for the text of an error (it is then missing, the counters are not). */
#include "daemon/status.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "daemon/upstream.h"

struct status_now status_now(void)
{
	return (struct status_now){ mono_us(), wall_us() };
}

/* Texts of trouble are kept only where there is trouble. */
static void keep_text(char **at, const char *text)
{
	if (*at && text && strcmp(*at, text) == 0)
		return;
	free(*at);
	*at = text ? strdup(text) : NULL;
}

void managed_saw(struct managed *m)
{
	struct db_seen *s = &m->seen;
	const struct db *d = &m->db;
	bool trouble = d->why.kind != ERR_NONE;
	s->steps++;
	s->steps_us += m->took_us;
	s->errors += trouble && d->state != DB_WAITING;
	s->generations += m->report.generation_began;
	s->gaps += d->state == DB_GAP && m->state != DB_GAP;
	if (d->state != m->state || !s->state_wall_us)
		s->state_wall_us = wall_us();
	if (m->report.generation_began || (m->report.opened && !s->generation_wall_us))
		s->generation_wall_us = wall_us();
	s->relay = d->relay.n;
	s->frames = d->cap.frames;
	s->wal_bytes = d->cap.bytes;
	s->commits = d->cap.commits;
	s->restarts = d->cap.restarts;
	s->commit_wall_us = d->cap.at.wall_us;
	s->file_bytes = d->is[0].bytes;
	s->wal_file_bytes = d->is[1].bytes;
	s->spool_bytes = d->cap.spool.bytes;
	s->page_bytes = d->page_bytes;
	s->wal_frames = d->mx_frame;
	s->wal_frames_copied = d->backfill;
	s->why_kind = d->why.kind;
	keep_text(&s->why, trouble ? d->why.text : NULL);
	s->done_step = m->steps_begun;
	if (m->report.reached) {
		s->reached_step = m->steps_begun;
		m->behind_wall_us = 0;
	}
}

void managed_saw_followed(struct managed *m, const struct upstream_seen *seen, bool opened)
{
	struct db_seen *s = &m->seen;
	bool trouble = seen->reason[0] != 0;
	s->state_wall_us = seen->since_wall_us;
	if (opened || (!s->generation_wall_us && seen->known))
		s->generation_wall_us = wall_us();
	s->commit_wall_us = seen->commit_wall_us;
	s->commits = seen->transactions;
	s->page_bytes = seen->page_bytes;
	s->file_bytes = (uint64_t)seen->pages * seen->page_bytes;
	s->wal_file_bytes = seen->wal_bytes;
	s->spool_bytes = m->segs_bytes;
	s->why_kind = seen->known || !trouble ? ERR_NONE : ERR_UNREACHABLE;
	keep_text(&s->why, trouble ? seen->reason : NULL);
}

static struct replica_seen look(const struct replica *r)
{
	struct replica_seen s = { .generation = r->generation,
				  .at = r->at,
				  .snapshot_at = { UINT64_MAX, 0 },
				  .objects = r->objects,
				  .stored_bytes = r->stored_bytes,
				  .wal_bytes = r->wal_bytes,
				  .deleted = r->deleted,
				  .wants_snapshot = r->wants_snapshot,
				  .doc_dirty = r->doc_dirty };
	if (r->snapshots_n > 0) {
		const struct replica_snapshot *last = &r->snapshots[r->snapshots_n - 1];
		s.snapshot_at.index = last->index;
		s.snapshot_wall_us = last->created_us;
		if (r->snapshot_at.index == last->index)
			s.snapshot_at = r->snapshot_at;
	}
	return s;
}

void ship_saw(struct shipper *s)
{
	s->seen = look(&s->r);
}

void ship_saw_error(struct shipper *s, const char *text)
{
	s->n.errors++;
	s->n.error_wall_us = wall_us();
	keep_text(&s->n.error, text);
}

static struct replica_seen seen_now(const struct shipper *s)
{
	bool taken = s->job != SHIP_NONE || s->held;
	return taken ? s->seen : look(&s->r);
}

static bool restorable(const struct shipper *s, const struct replica_seen *r)
{
	return s->attached && !r->wants_snapshot && !generation_none(&r->generation) &&
	       generation_equal(&r->generation, &s->m->generation);
}

bool ship_restorable(const struct shipper *s)
{
	struct replica_seen r = seen_now(s);
	return restorable(s, &r);
}

/* The earlier one; 0 is none. */
static int64_t earlier(int64_t a, int64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

/* Something is pending, so an age is never 0, whatever was done to the clock. */
static int64_t age_us(int64_t wall_us, int64_t now_wall_us)
{
	if (wall_us == 0)
		return 0;
	return now_wall_us > wall_us ? now_wall_us - wall_us : 1;
}

/* Since when there is something that no replica can have: it is not captured. */
static int64_t uncaptured_wall_us(const struct managed *m)
{
	return m->state == DB_GAP ? earlier(m->seen.state_wall_us, m->behind_wall_us) : m->behind_wall_us;
}

static int64_t oldest_unshipped(const struct shipper *s, const struct replica_seen *r)
{
	const struct managed *m = s->m;
	int64_t oldest_us = uncaptured_wall_us(m);
	if (generation_none(&m->generation))
		return oldest_us;
	for (const struct spool_segment *g = s->cursor; g; g = g->next)
		if (g->commits_n > 0) {
			oldest_us = earlier(oldest_us, g->commits[0].wall_us);
			break;
		}
	/* Without a snapshot nothing of the generation can be restored from it. */
	if (s->adrift_wall_us)
		return earlier(oldest_us, s->adrift_wall_us);
	return restorable(s, r) ? oldest_us : earlier(oldest_us, m->seen.generation_wall_us);
}

/* The oldest commit that some replica lacks, or that is not captured. */
static int64_t oldest_of_all(const struct managed *m)
{
	int64_t oldest_us = uncaptured_wall_us(m);
	for (size_t i = 0; i < m->ships_n; i++) {
		struct replica_seen r = seen_now(&m->ships[i]);
		oldest_us = earlier(oldest_us, oldest_unshipped(&m->ships[i], &r));
	}
	return oldest_us;
}

enum { SAMPLE_US = 1000000 };

/* Only while there are captures, and rarely: there may be a thousand of them. Who is behind at the moment of a
 * new capture has not been sent what came before it. */
void status_sample_followers(struct managed *m, struct status_now now)
{
	struct status_followers f;
	if (!m->live || live_count(m->live) == 0 || now.mono_us - m->followers_lag.noted_us < SAMPLE_US)
		return;
	status_of_followers(m, now, &f);
	lag_sample(&m->followers_lag, now.mono_us, f.lag_us);
}

void managed_saw_lag(struct managed *m)
{
	struct status_now now = status_now();
	int64_t lag_us = age_us(oldest_of_all(m), now.wall_us);
	if (m->up) {
		struct upstream_seen seen;
		upstream_look(m->up, &seen);
		int64_t of_copy_us = upstream_lag_us(&seen, now.wall_us);
		lag_us = of_copy_us > lag_us ? of_copy_us : lag_us;
	}
	lag_note(&m->lag, now.mono_us, lag_us ? now.mono_us - lag_us : 0);
	status_sample_followers(m, now);
}

/* The state with what the loop knows beyond the last step. */
static enum db_state shown_state(const struct managed *m, struct status_now now, int64_t *ret_since_wall_us)
{
	*ret_since_wall_us = m->seen.state_wall_us;
	if (m->state != DB_IDLE)
		return m->state;
	if (m->snap && m->snap->phase == SNAP_COPY && !m->snap->drill) {
		*ret_since_wall_us = now.wall_us - (now.mono_us - m->snap->since_us);
		return DB_SNAPSHOT;
	}
	if (m->out) {
		*ret_since_wall_us = now.wall_us - (now.mono_us - m->step_us);
		return DB_CAPTURING;
	}
	if (m->behind_wall_us) {
		*ret_since_wall_us = m->behind_wall_us;
		return DB_DIRTY;
	}
	return DB_IDLE;
}

void status_of_daemon(const struct daemon *d, struct status_daemon *ret)
{
	*ret = (struct status_daemon){ .version = WALBROOK_VERSION,
				       .config = d->conf->file,
				       .pid = (int)getpid(),
				       .started_wall_us = d->started_wall_us,
				       .databases = d->n,
				       .stopping = d->en.stopping };
}

void status_of_db(const struct managed *m, struct status_now now, struct status_db *ret)
{
	const struct db_seen *s = &m->seen;
	*ret = (struct status_db){ .path = m->conf->path,
				   .reason = s->why ? s->why : "",
				   .generation = m->generation,
				   .captured = m->captured,
				   .commit_wall_us = s->commit_wall_us,
				   .page_bytes = s->page_bytes,
				   .file_bytes = s->file_bytes,
				   .wal_file_bytes = s->wal_file_bytes,
				   .wal_uncopied_frames = s->wal_frames - s->wal_frames_copied,
				   .captured_wal_bytes = s->wal_bytes,
				   .captured_frames = s->frames,
				   .captured_commits = s->commits,
				   .wal_restarts = s->restarts,
				   .spool_bytes = s->spool_bytes,
				   .spool_segments = m->drop_n,
				   .steps = s->steps,
				   .step_errors = s->errors,
				   .steps_us = s->steps_us,
				   .checkpoints = s->relay,
				   .generations_begun = s->generations,
				   .gaps = s->gaps,
				   .replicas_n = m->ships_n };
	ret->state = shown_state(m, now, &ret->since_wall_us);
	ret->state_name = db_state_name(ret->state);
	ret->followed = m->up != NULL;
	if (m->up) { /* what readers see, this moment */
		struct upstream_seen seen;
		upstream_look(m->up, &seen);
		ret->captured = seen.applied;
		ret->generation = seen.generation;
		ret->state_name = upstream_state_name(seen.state);
		ret->commit_wall_us = seen.commit_wall_us;
		ret->captured_commits = seen.transactions;
	}
	if (!m->ready && !(m->up && s->why))
		ret->reason = "not looked at yet";
	if (s->wal_frames > 0 && s->page_bytes > 0)
		ret->wal_bytes = wal_offset_of(s->page_bytes, s->wal_frames);
	for (const struct spool_segment *g = m->segs; g; g = g->next)
		ret->spool_segments++;
	ret->oldest_unshipped_wall_us = oldest_of_all(m);
	ret->oldest_unshipped_age_us = age_us(ret->oldest_unshipped_wall_us, now.wall_us);
}

void status_of_replica(const struct shipper *s, struct status_now now, struct status_replica *ret)
{
	struct replica_seen r = seen_now(s);
	*ret = (struct status_replica){ .name = s->conf->name,
					.type = s->conf->type,
					.url = s->r.store ? s->r.store->label : "",
					.attached = s->attached,
					.failing = s->misses > 0,
					.generation = r.generation,
					.at = r.at,
					.success_wall_us = s->n.success_wall_us,
					.errors = s->n.errors,
					.error_wall_us = s->n.error_wall_us,
					.error = s->n.error ? s->n.error : "",
					.tries = s->misses,
					.objects = r.objects,
					.stored_bytes = r.stored_bytes,
					.wal_bytes = r.wal_bytes,
					.snapshots = s->n.snapshots,
					.snapshots_failed = s->n.snapshots_failed,
					.snapshot_wall_us = r.snapshot_wall_us,
					.snapshot_at = r.snapshot_at,
					.deleted = r.deleted,
					.validation = s->validation };
	ret->restorable = restorable(s, &r);
	ret->oldest_unshipped_wall_us = oldest_unshipped(s, &r);
	ret->lag_us = age_us(ret->oldest_unshipped_wall_us, now.wall_us);
	if (s->misses && s->retry_us > now.mono_us)
		ret->retry_in_us = s->retry_us - now.mono_us;
	for (const struct spool_segment *g = s->cursor; g; g = g->next) {
		ret->behind_bytes += g->end - g->at.offset;
		ret->behind_segments++;
	}
}

bool status_of_upstream(const struct managed *m, struct status_now now, struct status_upstream *ret)
{
	if (!m->up)
		return false;
	ret->path = conf_upstream_path(m->conf);
	url_shown(ret->url, m->conf->upstream_url);
	upstream_look(m->up, &ret->seen);
	const struct upstream_seen *s = &ret->seen;
	ret->state = upstream_state_name(s->state);
	ret->lag_us = upstream_lag_us(s, now.wall_us);
	bool behind = s->known && s->applied.index == s->primary.index && s->applied.offset < s->primary.offset;
	ret->behind_bytes = behind ? s->primary.offset - s->applied.offset : 0;
	return true;
}

static void add_follower(void *arg, const struct live_follower *f)
{
	struct status_followers *sum = arg;
	sum->n++;
	sum->copying += f->phase == LIVE_COPIES;
	sum->lag_us = f->lag_us > sum->lag_us ? f->lag_us : sum->lag_us;
	sum->behind_bytes = f->behind_bytes > sum->behind_bytes ? f->behind_bytes : sum->behind_bytes;
}

void status_of_followers(const struct managed *m, struct status_now now, struct status_followers *ret)
{
	*ret = (struct status_followers){ .n = 0 };
	if (!m->live)
		return;
	ret->totals = live_totals(m->live);
	live_each(m->live, now.wall_us, add_follower, ret);
}

const char *status_follower_phase(enum live_phase p)
{
	static const char *const names[] = { [LIVE_WAITS] = "waits",
					     [LIVE_COPIES] = "copies",
					     [LIVE_FOLLOWS] = "follows",
					     [LIVE_ENDS] = "ends" };
	return names[p];
}
