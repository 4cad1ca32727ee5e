/* SPDX-License-Identifier: Apache-2.0
 *
 * Followers of a database: between live/ and the loop's view of it.
 *
 * Happy path: GET /stream finds the database; from then on each step tells what is new (serve_saw), the spool
 * keeps what followers may need (serve_keeps), and a change is captured at once (serve_hurries). What a new
 * follower needs and the spool has no more, the next step reads again (serve_head).
 *
 * Failure modes: no such database (404); not ready (503); the head cannot be read again (whoever waits is
 * told); the file was replaced while content is read (that ends, so that the connection closes). */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/http.h"
#include "daemon/serve.h"
#include "daemon/upstream.h"
#include "live/live.h"

enum { BODY_SPARE_BYTES = 64 << 10 };

/* ---- what live asks of a database ---- */

static void want_head(void *arg)
{
	struct managed *m = arg;
	m->head_wanted = true;
	m->head_again_us = 0;
	m->head_tries = 0;
	managed_mark(m);
}

static void want_step(void *arg)
{
	struct managed *m = arg;
	m->sweep = true;
	managed_mark(m);
}

static void mark(void *arg)
{
	managed_mark(arg);
}

static const struct live_ops ops = { .prepare = want_head, .step = want_step, .mark = mark };

/* The WAL was begun anew behind what is captured, and that is all in the database file. */
static bool is_reset(const struct managed *m)
{
	return m->reset.offset > 0 && position_compare(m->reset, m->captured) == 0 &&
	       generation_equal(&m->reset_of, &m->generation);
}

static struct position next_position(const struct managed *m)
{
	return is_reset(m) ? (struct position){ m->captured.index + 1, 0 } : m->captured;
}

static void see(struct managed *m)
{
	struct live_now *n = live_now(m->live);
	*n = (struct live_now){ .ready = m->opened && m->state == DB_IDLE && !generation_none(&m->generation) &&
					 !m->stepped_to_stop && !m->leaving,
				.stalled = !m->up && (m->state == DB_GAP || m->state == DB_BROKEN),
				.filed = !m->up || followed_is_filed(m),
				.generation = m->generation,
				.captured = next_position(m),
				.last = m->captured,
				.captured_sum = m->captured_sum,
				.followed = m->up != NULL,
				.page_bytes = m->seen.page_bytes,
				.file_bytes = m->seen.file_bytes,
				.segs = m->segs,
				.segs_bytes = m->segs_bytes,
				.segs_n = m->segs_n,
				.quota_bytes = m->db.o.spool_quota_bytes,
				.steps_begun = m->steps_begun,
				.reached_step = m->seen.reached_step };
}

/* ---- what the loop asks and tells ---- */

/* The first segment of the current index that is in the list; NULL: none. */
static const struct spool_segment *first_of_index(const struct managed *m)
{
	const struct spool_segment *s = m->segs;
	while (s && (s->at.index != m->captured.index || !generation_equal(&s->generation, &m->generation)))
		s = s->next;
	return s;
}

static bool has_head(const struct managed *m)
{
	const struct spool_segment *s = first_of_index(m);
	return m->captured.offset == 0 || is_reset(m) || (s && s->at.offset == 0);
}

uint64_t serve_head(struct managed *m)
{
	const struct spool_segment *s = first_of_index(m);
	if (!m->head_wanted || has_head(m))
		return 0;
	return s ? s->at.offset : m->captured.offset;
}

bool serve_wants_step(const struct managed *m)
{
	return m->head_wanted;
}

static void tell_head(struct managed *m)
{
	enum db_head is = m->report.head_is;
	if (!m->head_wanted || is == DB_HEAD_MORE)
		return;
	if (!has_head(m) && !m->order.head_to && m->state == DB_IDLE)
		return; /* this step was out already when it was wanted */
	if (!has_head(m) && is == DB_HEAD_GONE) {
		m->reset = m->captured;
		m->reset_of = m->generation;
		see(m);
	}
	m->head_wanted = false;
	if (has_head(m))
		live_prepared(m->live, true, "");
	else
		live_prepared(m->live, false, "the beginning of the WAL cannot be had now");
}

void serve_head_over(struct managed *m, bool good, const char *why)
{
	m->head_wanted = false;
	see(m);
	live_prepared(m->live, good, why);
}

void serve_lineage_changed(struct managed *m)
{
	if (m->live)
		live_lineage_changed(m->live);
}

void serve_saw(struct managed *m, struct spool_segment *first)
{
	if (!m->live)
		return;
	see(m);
	live_offer(m->live, first);
	if (!m->up)
		tell_head(m);
	see(m);
	live_step_done(m->live);
}

bool serve_hurries(const struct managed *m)
{
	return m->live && live_hurries(m->live);
}

bool serve_keeps(struct managed *m)
{
	if (!m->live)
		return false;
	see(m);
	return live_keeps(m->live, m->segs, (uint64_t)m->en->follow_window_bytes);
}

void serve_leaves(struct managed *m)
{
	if (!m->live)
		return;
	live_leaves(m->live, m->segs);
	if (live_followed(m->live) || managed_stopping(m))
		return;
	m->sweep = true; /* the time of followers is over: what was kept for them goes now */
	managed_mark(m);
}

bool serve_holds(const struct managed *m)
{
	return m->live && live_busy(m->live);
}

void serve_cancel(struct managed *m)
{
	if (!m->live)
		return;
	see(m);
	live_cancel_copies(m->live, "the database file was let go");
}

int64_t serve_turn(struct managed *m, int64_t now_us)
{
	if (!m->live)
		return 0;
	see(m);
	return live_turn(m->live, now_us);
}

void serve_end(struct managed *m, const char *why)
{
	if (!m->live)
		return;
	see(m);
	live_end(m->live, why);
}

int64_t serve_lingers(const struct managed *m)
{
	return m->live ? live_lingers(m->live) : 0;
}

void serve_fini(struct managed *m)
{
	live_db_free(m->live);
	m->live = NULL;
}

/* ---- requests ---- */

static struct live_db *live_of(struct daemon *d, struct managed *m)
{
	char spool[PATH_BYTES];
	if (!d->en.live)
		d->en.live = live_server_new(d->en.loop, d->en.pool);
	if (!m->live && d->en.live && path_join(spool, m->meta_dir, "walbrook/spool") == 0)
		m->live = live_db_new(d->en.live, &ops, m, m->conf->path, m->meta_dir, spool);
	if (m->live)
		see(m);
	return m->live;
}

/* NULL: answered. */
static struct live_db *find(struct daemon *d, const struct httpd_request *q, struct httpd_answer *ret)
{
	const char *path = httpd_query(q, "path");
	struct managed *m = path && *path ? set_find(d, path) : NULL;
	if (!m || m->leaving) {
		live_not_here(q, ret);
		return NULL;
	}
	struct live_db *live = live_of(d, m);
	if (!live)
		http_say(ret, 500, "no memory");
	return live;
}

void serve_stream(struct daemon *d, const struct httpd_request *q, struct httpd_answer *ret)
{
	struct live_db *live = find(d, q, ret);
	if (live)
		live_stream(live, q, ret);
}

void serve_hashes(struct daemon *d, const struct httpd_request *q, struct httpd_answer *ret)
{
	struct live_db *live = find(d, q, ret);
	if (live)
		live_hashes(live, q, ret);
}

size_t serve_body_most(struct daemon *d, const struct httpd_request *q)
{
	const char *path = httpd_query(q, "path");
	const struct managed *m = path && *path ? set_find(d, path) : NULL;
	uint64_t pages = m && m->seen.page_bytes ? m->seen.file_bytes / m->seen.page_bytes : 0;
	return (size_t)(pages / 8) + BODY_SPARE_BYTES;
}

void serve_close(struct daemon *d)
{
	live_server_free(d->en.live);
	d->en.live = NULL;
}
