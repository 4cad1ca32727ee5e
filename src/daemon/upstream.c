/* SPDX-License-Identifier: Apache-2.0
 *
 * What the loop and the thread of a followed database share: see upstream.h.
 *
 * Happy path: the thread leaves news behind the lock, sets `told` and wakes the loop; the hook marks the
 * database, and its turn takes the news. Orders go the other way: left behind the lock, and the thread is
 * woken, whether it sleeps or waits for bytes. Readers of the copy are served by the thread alone; the loop is
 * on no path to them.
 *
 * Failure modes: no thread to be had (the reason is shown, and the next start tries again). */
#include "daemon/upstream.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/feed.h"

const char *upstream_state_name(enum upstream_state s)
{
	static const char *const names[] = {
#define X(id, name) [UPSTREAM_##id] = name,
		UPSTREAM_STATES(X)
#undef X
	};
	return names[s];
}

int64_t upstream_lag_us(const struct upstream_seen *s, int64_t now_wall_us)
{
	enum { SILENT_US = 3000000 };
	int64_t since_us = s->heard_wall_us;
	if (!s->known)
		return -1;
	bool all = s->connected && position_compare(s->applied, s->primary) >= 0;
	if (all && (!s->extended || now_wall_us - s->heard_wall_us < SILENT_US))
		return 0;
	if (s->connected && s->applied_wall_us && s->applied_wall_us < since_us)
		since_us = s->applied_wall_us;
	return since_us && now_wall_us > since_us ? now_wall_us - since_us : 0;
}

static void hook_run(struct loop_hook *h)
{
	struct upstream *up = OWNER_OF(h, struct upstream, hook);
	if (atomic_exchange(&up->told, false))
		managed_mark(up->m);
}

int upstream_new(struct managed *m, bool keep, struct upstream **ret, struct err *e)
{
	struct upstream *up = calloc(1, sizeof *up);
	pthread_condattr_t attr;
	if (!up)
		return err_set(e, ERR_FAIL, "no memory");
	up->m = m;
	up->keep = keep;
	up->hook.run = hook_run;
	up->seen.since_wall_us = wall_us();
	pthread_mutex_init(&up->lock, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&up->woken, &attr);
	pthread_condattr_destroy(&attr);
	*ret = up;
	return 0;
}

void upstream_start(struct upstream *up)
{
	enum { STACK_BYTES = 1 << 20 };
	pthread_attr_t attr;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, STACK_BYTES);
	loop_hook_add(up->m->en->loop, &up->hook);
	up->started = true;
	int sys = pthread_create(&up->thread, &attr, feed_run, up);
	pthread_attr_destroy(&attr);
	if (sys == 0)
		return;
	struct err e;
	err_sys(&e, sys, "%s: no thread to follow its primary with", up->m->conf->path);
	log_error("database is not followed", L_S("db", up->m->conf->path), L_S("error", e.text));
	loop_hook_remove(up->m->en->loop, &up->hook);
	up->started = false;
	up->news.ended = true;
	snprintf(up->seen.reason, sizeof up->seen.reason, "%.500s", e.text);
}

bool upstream_started(const struct upstream *up)
{
	return up->started || up->news.ended;
}

void upstream_free(struct upstream *up)
{
	if (!up)
		return;
	if (up->started) {
		upstream_stop(up);
		pthread_join(up->thread, NULL);
		loop_hook_remove(up->m->en->loop, &up->hook);
	}
	spool_segments_free(up->news.loaded);
	spool_segments_free(up->news.fresh);
	spool_segments_free(up->drop);
	pthread_cond_destroy(&up->woken);
	pthread_mutex_destroy(&up->lock);
	free(up);
}

void upstream_look(struct upstream *up, struct upstream_seen *ret)
{
	pthread_mutex_lock(&up->lock);
	*ret = up->seen;
	pthread_mutex_unlock(&up->lock);
}

/* ---- orders ---- */

/* With the lock. */
static void wake(struct upstream *up)
{
	pthread_cond_signal(&up->woken);
	if (up->client)
		client_wake(up->client);
}

void upstream_take(struct upstream *up, struct upstream_news *ret)
{
	pthread_mutex_lock(&up->lock);
	*ret = up->news;
	up->news.loaded = up->news.fresh = NULL;
	up->fresh_last = NULL;
	up->news.copied = up->news.lineage = up->news.hole = false;
	pthread_mutex_unlock(&up->lock);
}

void upstream_drop(struct upstream *up, struct spool_segment *list)
{
	struct spool_segment *last = list;
	while (last && last->next)
		last = last->next;
	pthread_mutex_lock(&up->lock);
	if (last) {
		last->next = up->drop;
		up->drop = list;
	}
	pthread_mutex_unlock(&up->lock);
}

void upstream_stop(struct upstream *up)
{
	pthread_mutex_lock(&up->lock);
	atomic_store(&up->stop, true);
	wake(up);
	pthread_mutex_unlock(&up->lock);
}

void upstream_want_copy(struct upstream *up)
{
	pthread_mutex_lock(&up->lock);
	up->want_copy = true;
	up->news.copied = false;
	wake(up);
	pthread_mutex_unlock(&up->lock);
}

uint64_t upstream_tick(struct upstream *up)
{
	pthread_mutex_lock(&up->lock);
	uint64_t n = up->ticks_wanted++;
	wake(up);
	pthread_mutex_unlock(&up->lock);
	return n;
}

void upstream_rewind(struct upstream *up)
{
	pthread_mutex_lock(&up->lock);
	if (up->fresh_last) { /* they come again */
		up->fresh_last->next = up->drop;
		up->drop = up->news.fresh;
		up->news.fresh = up->fresh_last = NULL;
	}
	up->rewind = true;
	wake(up);
	pthread_mutex_unlock(&up->lock);
}

void upstream_watch(struct upstream *up, bool watched)
{
	atomic_store(&up->watched, watched);
	if (watched) { /* it may have moved just before */
		atomic_store(&up->told, true);
		loop_wake(up->m->en->loop);
	}
}

void upstream_promote(struct upstream *up)
{
	pthread_mutex_lock(&up->lock);
	up->promotion = PROMOTION_ASKED;
	atomic_store(&up->promote, true);
	wake(up);
	pthread_mutex_unlock(&up->lock);
}

enum upstream_promotion upstream_promotion(struct upstream *up, struct err *ret)
{
	pthread_mutex_lock(&up->lock);
	enum upstream_promotion p = up->promotion;
	*ret = up->promotion_e;
	pthread_mutex_unlock(&up->lock);
	return p;
}
