/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemon: see daemon.h.
 *
 * Happy path: signals blocked, loop, workers and watches made, every database marked for its first step; from
 * then on events mark and run_due picks. A signal sets `stopping`: each database takes a last step, ships what
 * it has, lets go; when all have, the loop ends.
 *
 * Failure modes: every database broken at the start (its reason is ours); the deadline after a signal passes,
 * or a second signal comes (we end at once and say what was not shipped); inotify is not to be had or overflows
 * (all are looked at). */
#include "daemon/daemon.h"

#include <malloc.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "daemon/control.h"
#include "daemon/http.h"
#include "daemon/parts.h"
#include "daemon/reach.h"
#include "daemon/serve.h"
#include "daemon/sync.h"

/* Nothing was ever served and nothing can be: the reason is ours. */
static bool all_broken(struct daemon *d)
{
	if (d->served || d->n == 0)
		return false;
	for (size_t i = 0; i < d->n; i++) {
		if (d->dbs[i]->opened || d->dbs[i]->out || !d->dbs[i]->ready || d->dbs[i]->state != DB_BROKEN)
			return false;
	}
	*d->why = d->dbs[0]->db.why;
	return true;
}

static void run_due(void *arg)
{
	struct daemon *d = arg;
	struct managed *list = d->en.marked;
	d->en.marked = NULL;
	while (list) {
		struct managed *m = list;
		list = m->mark_next;
		m->marked = false;
		managed_turn(m);
		if (m->syncs)
			sync_turn(m);
		if (m->reaches)
			reach_turn(m);
	}
	set_turn(d);
	scan_turn(d);
	bool broken = !d->en.stopping && all_broken(d);
	if (broken && pool_out(d->en.pool) == 0) { /* what is under way ends first, and nothing follows it */
		d->broken = true;
		loop_stop(d->en.loop);
		return;
	}
	if (!broken)
		command_turn(d);
	if (d->en.marked || d->en.gone)
		loop_wake(d->en.loop);
	if (d->en.stopping && stop_finished(d) && pool_out(d->en.pool) == 0)
		loop_stop(d->en.loop);
}

static void raise_limits(void)
{
	struct rlimit l;
	if (getrlimit(RLIMIT_NOFILE, &l) == 0 && l.rlim_cur < l.rlim_max) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
	/* Threads share the heap, and a busy database finds its buffers there again instead of faulting in
	 * new ones; when it rests they go back to the system (db.c). */
	mallopt(M_MMAP_THRESHOLD, 16 << 20);
	mallopt(M_TRIM_THRESHOLD, 32 << 20);
	mallopt(M_ARENA_MAX, 1);
	prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);
}

static unsigned workers(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	long n = cpus > 0 ? cpus * 2 : 4;
	return n < 4 ? 4 : n > 64 ? 64 : (unsigned)n;
}

static int open_engine(struct daemon *d, struct err *e)
{
	struct err why;
	if (loop_new(&d->en.loop, e) < 0 || signals_open(&d->signals, d->en.loop, stop_on_signal, d, e) < 0)
		return -1;
	if (pool_new(d->en.loop, workers(), &d->en.pool, e) < 0)
		return -1;
	if (watcher_new(d->en.loop, set_everything_changed, d, &d->en.watcher, &why) < 0)
		log_warn("no file watches; looking once in a while instead", L_S("error", why.text));
	d->en.snapshots_max = 2;
	d->en.follow_window_bytes = d->conf->follow_window_bytes;
	return 0;
}

static void close_all(struct daemon *d)
{
	control_close(d);
	/* After a deadline or a second signal jobs may still be out, in a call that does not return: end
	 * without them. */
	if (d->en.pool && pool_out(d->en.pool) > 0) {
		log_warn("ending with work under way", L_I("jobs", pool_out(d->en.pool)));
		_exit(d->status);
	}
	http_close(d->http);
	set_close(d);
	serve_close(d);
	if (d->en.pool)
		pool_free(d->en.pool);
	if (d->en.watcher)
		watcher_free(d->en.watcher);
	if (d->en.loop) {
		loop_timer_cancel(d->en.loop, &d->deadline);
		loop_timer_cancel(d->en.loop, &d->summary);
		service_close(d);
		signals_close(&d->signals);
		loop_free(d->en.loop);
	}
}

int daemon_run(const struct conf *c, struct err *e, int *ret_exit)
{
	struct daemon d = { .conf = c, .why = e, .started_wall_us = wall_us(), .service.to.fd = -1 };
	int rc = -1;
	*ret_exit = 0;
	if (c->dbs_n == 0)
		return err_set(e, ERR_CONFIG, "%s: no databases are configured (key dbs)",
			       c->file ? c->file : "command line");
	child_remember_start();
	raise_limits();
	signals_block();
	command_init(&d);
	srand48((long)mono_us() ^ getpid());
	log_info("walbrook", L_S("version", WALBROOK_VERSION), L_I("databases", c->dbs_n));
	stop_init(&d);
	if (open_engine(&d, e) == 0 && set_open(&d, e) == 0 && control_open(&d, e) == 0 &&
	    http_open(&d, &d.http, e) == 0) {
		loop_before_sleep(d.en.loop, run_due, &d);
		loop_wake(d.en.loop);
		service_open(&d);
		summary_start(&d);
		rc = loop_run(d.en.loop, e);
		if (d.broken)
			rc = -1;
		if (rc == 0)
			stop_judge(&d);
		log_flush();
		log_info("stopped", L_I("status", rc < 0 ? err_exit_code(e->kind) : d.status));
	}
	*ret_exit = d.status;
	close_all(&d);
	return rc;
}
