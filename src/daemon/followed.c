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
	m->report = (struct db_report){ .loaded = news->loaded };
	append(&m->report.fresh, news->fresh);
	news->loaded = news->fresh = NULL;
	managed_take_segments(m);
	m->state = seen.known ? DB_IDLE : DB_WAITING;
	m->ready = seen.known || seen.state == UPSTREAM_REFUSED || seen.state == UPSTREAM_STOPPED;
	m->opened = m->opened || seen.known;
	m->missing = m->sweep = m->walk = false;
	m->begin = NULL;
	m->steps_begun++; /* who waits for a step waits for this */
	managed_saw_followed(m, &seen, loaded);
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
	if (m->segs) {
		append(&m->drop, m->segs);
		for (m->drop_last = m->drop; m->drop_last->next;)
			m->drop_last = m->drop_last->next;
	}
	m->segs = m->segs_last = NULL;
	m->segs_bytes = 0;
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
	m->wants_rewind = false;
	for (size_t i = 0; i < m->ships_n; i++)
		m->ships[i].lagged = false;
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
	snap_followed(m, &news);
	rewind_if_wanted(m);
	int64_t next_us = generation_none(&m->generation) ? 0 : managed_turn_replicas(m, now_us);
	bound_spool(m);
	give_back(m);
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
		if (!news.ended || m->snap)
			return 0;
		m->stepped_to_stop = true;
	}
	managed_mark(m);
	return 0;
}
