/* SPDX-License-Identifier: Apache-2.0
 *
 * A database that follows another machine's, on the loop: see upstream.h.
 *
 * Happy path: its thread is started at the first turn. What it has spooled goes to the replicas as if it had
 * been captured here; what all have goes back to it, to be removed. The position of the database is that of the
 * spool. A snapshot for a replica is a copy of the file, from a moment at which everything of older indexes is
 * in it.
 *
 * Promotion: the thread ends; from then on the database is one like any other, and its next step begins a new
 * generation.
 *
 * Failure modes: a replica that lacks what is gone here (the current index comes once more, from its start);
 * one that fails until the spool is full (it starts anew with a later index). */
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/managed.h"
#include "daemon/upstream.h"

static void append(struct spool_segment **to, struct spool_segment *list)
{
	while (*to)
		to = &(*to)->next;
	*to = list;
}

/* What a lost connection leaves may not fit behind what is listed; then neither counts. */
static bool fits(const struct managed *m, const struct spool_segment *next)
{
	const struct spool_segment *last = m->segs ? m->segs_last : NULL;
	return !last || !next || next->at.offset == 0 ||
	       !generation_equal(&last->generation, &next->generation) ||
	       (next->at.index == last->at.index && next->at.offset == last->end);
}

static void take_news(struct managed *m, struct upstream_news *news)
{
	struct upstream_seen seen;
	upstream_take(m->up, news);
	upstream_look(m->up, &seen);
	bool loaded = news->loaded != NULL;
	m->generation = news->of;
	m->captured = news->at;
	if (news->loaded && m->segs) { /* opened once more: what is listed is what is there */
		spool_segments_free(news->loaded);
		news->loaded = NULL;
	}
	m->wants_rewind = m->wants_rewind || !fits(m, news->fresh);
	m->report = (struct db_report){ .loaded = news->loaded };
	append(&m->report.fresh, news->fresh);
	news->loaded = news->fresh = NULL;
	managed_take_segments(m);
	m->state = seen.known ? DB_IDLE : DB_WAITING;
	m->ready = seen.known || seen.state == UPSTREAM_REFUSED || seen.state == UPSTREAM_STOPPED;
	m->opened = m->opened || seen.known;
	m->missing = m->walk = false;
	m->begin = NULL;
	managed_saw_followed(m, &seen, loaded);
	uint64_t epoch = seen.content_epoch + seen.local_writers;
	if (m->epoch != epoch) { /* what was read of the file is not of one history */
		serve_cancel(m);
		m->filed_of = (struct generation){ "" };
	}
	m->epoch = epoch;
	news->copied = news->copied && news->copied_epoch == epoch;
	m->wants_rewind = m->wants_rewind || news->hole;
	if (news->lineage)
		serve_lineage_changed(m);
}

/* Who waits for a step waits for this: the thread looks up, and all that it has applied is here. */
static void steps(struct managed *m, const struct upstream_news *news)
{
	if (m->tick_step && news->ticks > m->tick) {
		m->seen.done_step = m->seen.reached_step = m->tick_step;
		m->tick_step = 0;
		serve_saw(m, NULL);
	}
	if (!m->sweep || m->tick_step)
		return;
	m->sweep = false;
	m->tick_step = ++m->steps_begun;
	m->tick = upstream_tick(m->up);
}

bool followed_is_filed(const struct managed *m)
{
	return generation_equal(&m->filed_of, &m->generation) && m->filed.index == m->captured.index;
}

/* The list has the current index from its start without a hole. */
static bool whole_index(const struct managed *m)
{
	uint64_t end = 0;
	for (const struct spool_segment *s = m->segs; s; s = s->next)
		if (s->at.index == m->captured.index && generation_equal(&s->generation, &m->generation)) {
			if (s->at.offset != end)
				return false;
			end = s->end;
		}
	return end == m->captured.offset;
}

/* What followers of this one need: the current index from its start, and in the file what was before it. */
static void prepare(struct managed *m, const struct upstream_news *news, int64_t now_us)
{
	enum { FILING_US = 10000000 };
	if (news->copied) {
		m->filed_of = news->copied_of;
		m->filed = news->copied_at;
		m->filing = false;
	}
	if (!m->head_wanted || !m->live)
		return;
	if (!m->head_again_us)
		m->head_again_us = now_us + FILING_US;
	bool head = whole_index(m), filed = followed_is_filed(m);
	if (head && filed) {
		serve_head_over(m, true, "");
		return;
	}
	if (now_us >= m->head_again_us) {
		serve_head_over(m, false,
				head ? "a reader of this copy keeps its WAL from being copied"
				     : "the beginning of the WAL cannot be had now");
		return;
	}
	if (!head && !m->head_tries) {
		m->head_tries = 1;
		m->wants_rewind = true;
	}
	if (!filed && !m->filing) {
		m->filing = true;
		upstream_want_copy(m->up);
	}
}

/* The files of the spool are its thread's. */
static void give_back(struct managed *m)
{
	if (!m->drop)
		return;
	upstream_drop(m->up, m->drop);
	m->drop = m->drop_last = NULL;
	m->drop_n = 0;
}

/* All segments of the list: a replica begins once more from the start of the index. */
static bool forget_segments(struct managed *m)
{
	for (size_t i = 0; i < m->ships_n; i++)
		if (m->ships[i].job != SHIP_NONE || m->ships[i].held)
			return false;
	for (size_t i = 0; i < m->ships_n; i++) {
		m->ships[i].cursor = NULL;
		m->ships[i].paid = NULL;
	}
	for (struct spool_segment *s; (s = m->segs);) {
		serve_leaves(m);
		m->segs = s->next;
		s->next = NULL;
		append(&m->drop, s);
		m->drop_last = s;
		m->drop_n++;
	}
	m->segs_last = NULL;
	m->segs_bytes = m->segs_n = 0;
	return true;
}

static void rewind_if_wanted(struct managed *m)
{
	if (!m->wants_rewind || !forget_segments(m))
		return;
	give_back(m);
	m->wants_rewind = false;
	upstream_rewind(m->up);
}

/* No replica takes segments, and there is no more room. */
static void bound_spool(struct managed *m)
{
	if (m->segs_bytes < m->db.o.spool_quota_bytes || m->wants_rewind)
		return;
	log_warn("the spool is full; replicas will start anew with a snapshot", L_S("db", m->conf->path),
		 L_I("spool_bytes", m->segs_bytes));
	if (!forget_segments(m))
		return;
	for (size_t i = 0; i < m->ships_n; i++) {
		m->ships[i].attached = m->ships[i].lagged = true;
		m->ships[i].lag_index = m->captured.index + 1;
		m->ships[i].r.generation = (struct generation){ "" };
	}
}

/* From now on it is a database of ours. */
static bool become_primary(struct managed *m)
{
	struct err ignored;
	if (upstream_promotion(m->up, &ignored) != PROMOTION_DONE || (m->snap && m->snap->out))
		return false;
	snap_cancel(m);
	if (m->snap)
		return false;
	upstream_free(m->up);
	m->up = NULL;
	m->promoted = true;
	m->db.spool_loaded = true; /* it is in the list */
	m->ready = m->opened = false;
	m->state = DB_WAITING;
	m->wants_rewind = m->filing = m->head_wanted = false;
	m->tick_step = 0;
	for (size_t i = 0; i < m->ships_n; i++)
		m->ships[i].lagged = false;
	serve_lineage_changed(m);
	return true;
}

int64_t followed_turn(struct managed *m, int64_t now_us)
{
	struct upstream_news news;
	if (!upstream_started(m->up))
		upstream_start(m->up);
	take_news(m, &news);
	if (news.ended && become_primary(m)) {
		managed_mark(m);
		return now_us;
	}
	if (!m->reaches)
		upstream_watch(m->up, false);
	steps(m, &news);
	snap_followed(m, &news);
	prepare(m, &news, now_us);
	rewind_if_wanted(m);
	int64_t next_us = generation_none(&m->generation) ? 0 : managed_turn_replicas(m, now_us);
	bound_spool(m);
	give_back(m);
	if (m->head_wanted && m->live && (!next_us || m->head_again_us < next_us))
		next_us = m->head_again_us;
	return next_us;
}

int64_t followed_turn_stopping(struct managed *m, int64_t now_us)
{
	struct upstream_news news;
	(void)now_us;
	snap_unqueue(m);
	snap_cancel(m);
	if (!upstream_started(m->up)) {
		m->stepped_to_stop = true;
	} else {
		upstream_stop(m->up);
		take_news(m, &news);
		steps(m, &news);
		if (!news.ended || m->snap)
			return 0;
		m->stepped_to_stop = true;
	}
	managed_mark(m);
	return 0;
}
